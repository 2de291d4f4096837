"""Where the processes of one host meet: a private folder per environment of a flag service.

In it lie the flags that one process keeps current for all, the events that are on their way, and who is there. The
folder is found and checked when a process first needs it, since a server may change its user before that.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

logger = logging.getLogger("flagmw")

VARIABLE = "FLAGMW_STATE_DIR"
"""The environment variable that names the folder of all environments, where no option does."""

FORMAT = 1
"""Goes into the name, so that releases with other formats do not meet."""

_told: set[tuple[str, str]] = set()


class StatePlace:
    """The folder of one environment. Making one touches nothing.

    Args:
        root: the folder of all environments; None is FLAGMW_STATE_DIR, or a folder of this user's among the
            temporary files, which outlives processes but maybe no reboot.
        service: the flag service, for people who look there.
        identity: what makes this environment another one than others, such as its secret and its addresses; only a
            hash of it is seen.
    """

    def __init__(self, root: Path | None, service: str, identity: Sequence[str]) -> None:
        digest = hashlib.sha256("\0".join(identity).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self._root = root
        self._name = f"{service}-{digest}-v{FORMAT}"

    def path(self) -> Path:
        """Give the folder's path, for this process's user; nothing is touched."""
        return state_root(self._root) / self._name

    def open(self) -> Path | None:
        """Give the folder, made if it is missing.

        Returns:
            Its path; None where it cannot be had, or others could write there, which is told once in the log.
        """
        folder = self.path()
        try:
            for place in (folder.parent, folder):
                _make_private(place)
        except OSError as error:
            why = error.strerror or str(error)
            if (str(folder), why) not in _told:
                _told.add((str(folder), why))
                logger.warning(
                    "%s cannot be used (%s): each process keeps its own connection, and events wait in memory only; "
                    "set %s or the option state_dir to a folder that only this user can write to",
                    folder,
                    why,
                    VARIABLE,
                )
            return None
        return folder

    def __repr__(self) -> str:
        """Name the folder, which shows no secret."""
        return f"StatePlace({self._name!r})"


def state_root(root: Path | None = None) -> Path:
    """Give the folder of all environments.

    Args:
        root: as an option named it; None takes FLAGMW_STATE_DIR, or the user's own among the temporary files.
    """
    if root is not None:
        return root
    named = os.environ.get(VARIABLE, "").strip()
    if named:
        return Path(os.path.abspath(named))
    user = os.geteuid() if hasattr(os, "geteuid") else "user"
    return Path(tempfile.gettempdir()) / f"flagmw-{user}"


def _make_private(folder: Path) -> None:
    """Make a folder for its owner only, or see that it is one.

    Raises:
        OSError: it cannot be made, is a link or another's, or others may write to it.
    """
    with contextlib.suppress(FileExistsError):
        os.makedirs(folder, mode=0o700)
    info = os.lstat(folder)
    if not stat.S_ISDIR(info.st_mode):
        raise OSError("it is no folder, or a symbolic link")
    if os.name == "posix":
        if info.st_uid != os.geteuid():
            raise PermissionError("it belongs to another user")
        if info.st_mode & 0o077:
            raise PermissionError("other users may look into it; its mode must be 0700")
