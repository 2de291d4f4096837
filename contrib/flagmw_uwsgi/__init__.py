"""`import flagmw_uwsgi` in an application that uWSGI forks: each worker starts its clients before its first request.

It is not needed: without it the first request of a worker starts them. It goes before or after other hooks in
`uwsgi.post_fork_hook`, does nothing in mules and spoolers, and nothing at all outside uWSGI.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from flagmw.lifecycle import hooks
from flagmw.lifecycle.process import build_all

__all__: list[str] = []


def _install(uwsgi: ModuleType) -> None:
    """Put ours after the one function that uWSGI calls in a forked process; without `uwsgidecorators`."""
    hooks.install()
    previous = getattr(uwsgi, "post_fork_hook", None)

    def post_fork_hook(*args: Any) -> None:
        try:
            if callable(previous):
                previous(*args)
        finally:
            if uwsgi.worker_id():  # 0 in mules and spoolers
                build_all()

    uwsgi.post_fork_hook = post_fork_hook  # type: ignore[attr-defined]  # it is made to be set


_uwsgi = sys.modules.get("uwsgi")
if _uwsgi is not None and hasattr(_uwsgi, "worker_id"):
    _install(_uwsgi)
