"""Descriptors that a forked child must not keep: the other end would not learn that its peer is gone.

A child closes the bare descriptor and says nothing to the peer, whom the parent goes on talking to. That is done
where a hook runs in the child; elsewhere they go with what the child drops at its first use. gevent's sockets are left
to that, too: taking one apart would touch the event loop, which a child shares with its parent at first.
"""

from __future__ import annotations

import os
import sys
from typing import Protocol

from flagmw.lifecycle import hooks
from flagmw.lifecycle.living import Living


class Detachable(Protocol):
    """A socket, or what has one."""

    def detach(self) -> int:
        """Give the descriptor away, and never close it oneself; a negative number if there is none."""
        ...


_sockets: Living[Detachable] = Living()
_files: dict[int, tuple[int, int]] = {}


def close_in_children(end: Detachable) -> None:
    """Have a socket closed in each child that is forked while somebody keeps it; nothing is sent."""
    _sockets.add(end)


def close_file_in_children(descriptor: int) -> None:
    """Have a file closed in each child that is forked until `forget_file` is called, which whoever closes it does."""
    info = os.fstat(descriptor)
    _files[descriptor] = info.st_dev, info.st_ino


def forget_file(descriptor: int) -> None:
    """Leave a file alone from now on; to be called before it is closed."""
    _files.pop(descriptor, None)


@hooks.in_child
def _close_inherited() -> None:
    sockets = [end.detach() for end in _sockets.items()] if "gevent.monkey" not in sys.modules else []
    _sockets.clear()
    for descriptor in [*(one for one in sockets if one >= 0), *(one for one in list(_files) if _is_same(one))]:
        try:
            os.close(descriptor)
        except OSError:
            continue
    _files.clear()


def _is_same(descriptor: int) -> bool:
    """Tell whether a descriptor still is the file that was meant, since numbers come back."""
    try:
        info = os.fstat(descriptor)
    except OSError:
        return False
    return _files.get(descriptor) == (info.st_dev, info.st_ino)
