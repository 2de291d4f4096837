"""Descriptors that a forked child must not keep: the other end would not learn that its peer is gone.

A child closes the bare descriptor and says nothing to the peer, whom the parent goes on talking to. That is done
where a hook runs in the child; elsewhere they go with what the child drops at its first use. gevent's sockets are left
to that, too: taking one apart would touch the event loop, which a child shares with its parent at first.
"""

from __future__ import annotations

import contextlib
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


_sockets: dict[int, Living[Detachable]] = {}
_files: dict[int, tuple[int, int, int]] = {}
"""By descriptor: when it was given, as a number of forks, and what it is, since numbers come back."""


def close_in_children(end: Detachable) -> None:
    """Have a socket closed in each child that is forked while somebody keeps it; nothing is sent."""
    generation = hooks.generation()
    if generation not in _sockets:
        for given in [given for given, living in list(_sockets.items()) if not living.items()]:
            _sockets.pop(given, None)
    _sockets.setdefault(generation, Living()).add(end)


def close_file_in_children(descriptor: int) -> None:
    """Have a file closed in each child that is forked until `forget_file` is called, which whoever closes it does."""
    info = os.fstat(descriptor)
    _files[descriptor] = hooks.generation(), info.st_dev, info.st_ino


def forget_file(descriptor: int) -> None:
    """Leave a file alone from now on; to be called before it is closed."""
    _files.pop(descriptor, None)


@hooks.in_child
def _close_inherited() -> None:
    now = hooks.generation()  # what earlier hooks of this same fork have opened is this process's own
    inherited = [one for one, (given, *_) in list(_files.items()) if given != now]
    for descriptor in [*_taken_from_sockets(now), *filter(_is_same, inherited)]:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    for descriptor in inherited:
        forget_file(descriptor)


def _taken_from_sockets(now: int) -> list[int]:
    monkey = sys.modules.get("gevent.monkey")
    are_gevents = monkey is not None and monkey.is_module_patched("socket")
    found: list[int] = []
    for given in [one for one in list(_sockets) if one != now]:
        living = _sockets.pop(given)
        found += [] if are_gevents else [end.detach() for end in living.items()]
    return [descriptor for descriptor in found if descriptor >= 0]


def _is_same(descriptor: int) -> bool:
    try:
        info = os.fstat(descriptor)
    except OSError:
        return False
    return _files[descriptor][1:] == (info.st_dev, info.st_ino)
