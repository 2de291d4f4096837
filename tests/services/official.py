"""An official client in another process, so that what it does to its process stays there.

    with OfficialFeatBit(secret=server.secret, streaming_url=server.ws_url, event_url=server.url) as client:
        rows = client.evaluate(users, [{"key": "checkout-v2", "default": None}])
        rows[0][0]  # {"value": …, "reason": …, "variation_id": …}, or {"raises": "AttributeError"}
        client.flush()

    with OfficialHackle(sdk_key=server.sdk_key, url=server.url) as client:
        client.evaluate(users, [{"call": "variation_detail", "key": 5, "default": "A"}])
        client.sync()  # instead of waiting for the next poll

The constructors take the arguments of `FeatBitCalls` and `HackleCalls` in `tests.services.official_clients`, which are the
same clients in this process, for benchmarks.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
DEADLINE_S = 120.0
"""For one command; a thousand users and all flags take their time."""

CLOSE_S = 30.0


class OfficialError(AssertionError):
    """The other process failed at a command."""


class Official:
    """A process with an official client; a context manager.

    Args:
        service: `featbit` or `hackle`.
        options: of the client.
    """

    def __init__(self, service: str, options: Mapping[str, Any]) -> None:
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # closed by close
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.services.official_process", service],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            bufsize=0,
        )
        self._unread = b""
        try:
            self.was_ready_at_start: bool = self.ask("start", **options)
        except BaseException:
            self._end()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the client, which sends its last events, and end the process."""
        if self._process.poll() is None:
            try:
                self.ask("close")
            finally:
                self._end()
        else:
            self._end()

    def log(self) -> str:
        """Give what the client has logged and printed; only errors are logged."""
        self._log.seek(0)
        return self._log.read()

    # --- commands ---------------------------------------------------------------------------------------------

    def evaluate(self, users: Sequence[Any], requests: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
        """Evaluate every request for every user.

        Returns:
            A row for each user, with an item for each request: value and reason, or `{"raises": name of the exception}`.
        """
        rows: list[list[dict[str, Any]]] = self.ask("evaluate", users=users, requests=requests)
        return rows

    def call(self, user: Any, name: str, *arguments: Any) -> Any:
        """Call something else for a user: `identify`, `track_metric`, `all_variations`; `track`, `update_user_properties`."""
        return self.ask("call", user=user, name=name, arguments=arguments)

    def watch(self, user: Any, request: Mapping[str, Any], value: Any, timeout_s: float = 10.0) -> None:
        """Begin to evaluate over and over until a value comes; `seen_at_s` waits for that."""
        self._tell("await_value", user=user, request=request, value=value, timeout_s=timeout_s)

    def seen_at_s(self) -> float:
        """Give when the value that is watched for came, on the monotonic clock, which all processes share."""
        seen: float = self._hear(DEADLINE_S)
        return seen

    def time_evaluation(self, user: Any, request: Mapping[str, Any], count: int) -> float:
        """Give the seconds that one evaluation takes, on average."""
        seconds: float = self.ask("time_evaluation", user=user, request=request, count=count)
        return seconds

    def is_ready(self) -> bool:
        """Tell whether the client has flags."""
        ready: bool = self.ask("is_ready")
        return ready

    def sync(self) -> None:
        """Fetch changes at once (Hackle)."""
        self.ask("sync")

    def flush(self) -> None:
        """Have events sent at once; the server tells when they have come."""
        self.ask("flush")

    def ask(self, command: str, /, **arguments: Any) -> Any:
        """Send a command and wait for its answer."""
        self._tell(command, **arguments)
        return self._hear(DEADLINE_S)

    def _tell(self, command: str, /, **arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")

    def _hear(self, timeout_s: float) -> Any:
        answer = json.loads(self._line(timeout_s))
        if "fails" in answer:
            raise OfficialError(answer["fails"])
        return answer["gives"]

    def _line(self, timeout_s: float) -> bytes:
        assert self._process.stdout is not None
        deadline_s = time.monotonic() + timeout_s
        parts = [self._unread]
        while b"\n" not in parts[-1]:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([self._process.stdout], [], [], left_s)[0]:
                raise OfficialError(f"no answer within {timeout_s:g} s; it logged:\n{self.log()}")
            part = self._process.stdout.read(2**20)
            if not part:
                raise OfficialError(f"the process ended; it logged:\n{self.log()}")
            parts.append(part)
        line, _, self._unread = b"".join(parts).partition(b"\n")
        return line

    def _end(self) -> None:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(CLOSE_S)
        process.stdout.close()
        self._log.close()


class OfficialFeatBit(Official):
    """`fb-python-sdk` in a process of its own; for the arguments see `FeatBitCalls`."""

    def __init__(self, **options: Any) -> None:
        super().__init__("featbit", options)


class OfficialHackle(Official):
    """`hackle-sdk` in a process of its own; for the arguments see `HackleCalls`."""

    def __init__(self, **options: Any) -> None:
        super().__init__("hackle", options)
