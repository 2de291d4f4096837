"""Serves an example app as it would be in production: `python example_apps/run.py flask_shop`, or `make demo`.

It says what to try, and then becomes the app's server. PORT is the port, 8000 without it.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path

APPS = Path(__file__).resolve().parent
HOST = "127.0.0.1"

WHAT_TO_TRY = """\
{name}: http://{host}:{port}/ , two workers. Ctrl-C stops it.

  1. Open {file}, line {line}: write `dusk` for `meadow`, save, and reload the page.
     All workers have the new flags, without a restart; the foot of the page says who answered and what it read.
  2. Break the file on purpose: write `dsk` there. The pages stay as they were, and each worker logs one line that
     names the mistake. Mend it, and the file is in force again.
  3. Pick Germany and Plus at the top of the page: the checkout opens. Its rules are in the same file.
"""


def main() -> None:
    """Run the app that the command line names."""
    names = sorted(path.parent.name for path in APPS.glob("*/flags.yaml"))
    name = sys.argv[1] if len(sys.argv) > 1 else "flask_shop"
    if name not in names:
        sys.exit(f"there is no example app {name!r}; there are {', '.join(names)}")
    port = os.environ.get("PORT") or "8000"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        sys.exit(f"PORT must be a number from 1 to 65535, got {port!r}")
    refuse_taken(int(port))
    folder = APPS / name
    file = folder / "flags.yaml"
    print(  # noqa: T201  # what it is for
        WHAT_TO_TRY.format(
            name=name, host=HOST, port=port, file=os.path.relpath(file), line=line_of(file, "<-- try this first")
        ),
        flush=True,
    )
    command = ["server.py"] if (folder / "server.py").exists() else ["-m", "gunicorn", "-c", "gunicorn.conf.py"]
    os.chdir(folder)
    os.environ["PORT"] = port
    os.execv(sys.executable, [sys.executable, *command])


def refuse_taken(port: int) -> None:
    """Exit with a hint when the port cannot be had: servers say it less clearly, some only after several tries."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            hint = "something else listens there" if error.errno == errno.EADDRINUSE else error.strerror
            other = 8001 if port != 8001 else 8002
            sys.exit(f"port {port} cannot be used: {hint}. Choose another one: PORT={other} make demo")


def line_of(file: Path, text: str) -> int:
    """Give the number of the first line with a text."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return next((number for number, line in enumerate(lines, start=1) if text in line), 1)


if __name__ == "__main__":
    main()
