"""Hooks for `gunicorn.conf.py`: `from flagmw_gunicorn import post_fork, post_worker_init, worker_exit`.

None of them is needed. They make clients start before a worker's first request instead of with it, and the last
delivery of events begin before the interpreter goes down. With hooks of your own:

    import flagmw_gunicorn

    @flagmw_gunicorn.post_worker_init.also
    def post_worker_init(worker): ...
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol

from flagmw.lifecycle import hooks
from flagmw.lifecycle.process import build_all

__all__ = ["post_fork", "post_worker_init", "worker_exit"]


class Worker(Protocol):
    """What is read of gunicorn's worker."""

    pid: Any


OfServerAndWorker = Callable[[Any, Any], object]
OfWorker = Callable[[Any], object]


class PostFork:
    """Lets go of what a worker has inherited from a master that has used flags. Starts nothing: gevent comes later."""

    def __call__(self, server: object, worker: object) -> None:
        """Be called by gunicorn in the worker, right after the fork."""
        hooks.forked()

    def also(self, mine: OfServerAndWorker) -> OfServerAndWorker:
        """Give a hook that does this, then what `mine` does."""

        @wraps(mine)
        def post_fork(server: Any, worker: Any) -> object:
            self(server, worker)
            return mine(server, worker)

        return post_fork


class PostWorkerInit:
    """Starts the clients that the application has made, so that the first request finds them running."""

    def __call__(self, worker: object) -> None:
        """Be called by gunicorn in the worker, after it has imported the application."""
        build_all()

    def also(self, mine: OfWorker) -> OfWorker:
        """Give a hook that does this, then what `mine` does."""

        @wraps(mine)
        def post_worker_init(worker: Any) -> object:
            self(worker)
            return mine(worker)

        return post_worker_init


class WorkerExit:
    """Stops the threads of a worker with a last delivery of events, within the time that `EventOptions` gives it."""

    def __call__(self, server: object, worker: Worker) -> None:
        """Be called by gunicorn, in a worker that leaves, or in the master for one that vanished."""
        if worker.pid == os.getpid():
            hooks.leave()

    def also(self, mine: OfServerAndWorker) -> OfServerAndWorker:
        """Give a hook that does what `mine` does, which may still track events, then this."""

        @wraps(mine)
        def worker_exit(server: Any, worker: Any) -> object:
            try:
                return mine(server, worker)
            finally:
                self(server, worker)

        return worker_exit


post_fork = PostFork()
post_worker_init = PostWorkerInit()
worker_exit = WorkerExit()
