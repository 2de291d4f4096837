"""What the parts share: processes of their own, which are always ended, and a secret to identify with."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from flagmw.lifecycle.places import VARIABLE

END_S = 10.0
PATIENCE_S = 120.0
"""For one answer; loading 10,000 flags takes a while."""

FEATBIT_SECRET = "v3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w"
HACKLE_KEY = "hackle-sdk-key-of-the-benchmarks"


class Apart:
    """A process that runs a function of ours, and the pipe to it."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def tell(self, what: Any) -> None:
        """Send something."""
        self._pipe.send(what)

    def hear(self) -> Any:
        """Wait for what comes next.

        Raises:
            RuntimeError: nothing comes.
        """
        if not self._pipe.poll(PATIENCE_S):
            raise RuntimeError(f"a process said nothing for {PATIENCE_S:g} s")
        try:
            return self._pipe.recv()
        except EOFError:
            raise RuntimeError("a process ended before it said what was measured; see above") from None


@contextmanager
def apart(body: Callable[..., None], *arguments: Any) -> Iterator[Apart]:
    """Run `body(pipe, *arguments)` in a new interpreter; it and what it forks use a state directory of their own."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory(prefix="flagmw-bench-") as folder:
        process = context.Process(target=_run, args=(folder, body, theirs, *arguments), daemon=True)
        process.start()
        theirs.close()
        try:
            yield Apart(ours)
        finally:
            ours.close()
            process.join(END_S)
            if process.is_alive():
                process.kill()
                process.join()


def _run(folder: str, body: Callable[..., None], *arguments: Any) -> None:
    os.environ[VARIABLE] = folder
    logging.disable(logging.CRITICAL)
    body(*arguments)


def in_a_fork(action: Callable[[Connection], None], pipe: Connection) -> int:
    """Run something in a forked child, which leaves without any hook.

    Returns:
        The child's process id.
    """
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        action(pipe)
        code = 0
    finally:
        os._exit(code)


def wait_for(condition: Callable[[], object]) -> None:
    """Look every few milliseconds until something is true.

    Raises:
        RuntimeError: it does not become true.
    """
    until_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > until_s:
            raise RuntimeError("a benchmark waited in vain")
        time.sleep(0.005)


def percentile(values: list[float], share: float) -> float:
    """Give the value that so large a share of the values does not exceed."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]
