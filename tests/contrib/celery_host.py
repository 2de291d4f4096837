"""How the tests drive Celery apps: messages go through a broker in memory, and are taken from it when a test says so.

A message is executed as a worker executes it, only in the thread of the test.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.worker.request import Request
from celery.worker.strategy import proto1_to_proto2
from kombu.message import Message

import flagmw
from flagmw.accessor import Flags as Accessor
from flagmw.binding import current_flags, unbind
from flagmw.client import Client, User
from flagmw.users import Visitors
from flagmw_celery import Flags
from tests.contrib.support import static_client


class Broker:
    """A Celery app with a queue of its own.

    Args:
        client: evaluates the flags of tasks; a new one of `support.document()` if it is left out.
        arguments: for `flagmw_celery.Flags`; `installed=False` leaves the app without.

    Attributes:
        app: the app.
        seen: what its tasks have noted.
    """

    def __init__(self, client: Client | None = None, *, installed: bool = True, **arguments: Any) -> None:
        self.app = Celery(f"app-{uuid.uuid4().hex}", broker="memory://", set_as_current=False)
        self.app.conf.update(task_default_queue=uuid.uuid4().hex, result_backend="cache+memory://")
        self.seen: list[Any] = []
        if installed:
            Flags(self.app, client if client is not None else static_client(), **arguments)

    def task(self, function: Callable[[], Any] | None = None, **options: Any) -> Any:
        """Make a task that notes what a function gives, by default the user's key and whether `beta` is on for them."""
        look = function if function is not None else key_and_beta

        def body(*_: Any) -> None:
            self.seen.append(look())

        body.__name__ = f"task_{len(self.app.tasks)}"
        return self.app.task(body, **{"shared": False, **options})

    def take(self) -> Message | None:
        """Take the next message from the queue."""
        with self.app.connection_for_read() as connection:
            channel = connection.default_channel
            self.app.amqp.default_queue(channel).declare()
            message: Message | None = channel.basic_get(self.app.conf.task_default_queue, no_ack=True)
            return message

    def headers(self) -> dict[str, Any]:
        """Take the next message, and give its headers."""
        message = self.take()
        assert message is not None, "nothing was sent"
        found: dict[str, Any] = message.headers
        return found

    def run(self, message: Message | None = None) -> Any:
        """Execute a message, the next of the queue if it is left out; give its outcome."""
        message = message if message is not None else self.take()
        assert message is not None, "nothing was sent"
        if "task" in message.headers:
            request = Request(message, app=self.app)
        else:
            body, headers, decoded, utc = proto1_to_proto2(message, message.payload)
            request = Request(message, app=self.app, body=body, headers=headers, decoded=decoded, utc=utc)
        return request.execute()

    def run_all(self) -> list[Any]:
        """Execute messages until the queue is empty; give what the tasks have noted."""
        while (message := self.take()) is not None:
            self.run(message)
        return self.seen


def key_and_beta() -> tuple[str | None, bool]:
    return flagmw.flags.user.key, flagmw.flags.is_enabled("beta")


class Visit:
    """A request of a user, in which whatever is in the block happens.

    Args:
        user: who makes it; a function to find them out; None is nobody.
        client: evaluates its flags.
    """

    def __init__(self, user: User | Callable[[], Any] | None = None, client: Client | None = None) -> None:
        find = user if callable(user) else lambda: user
        visitors: Visitors[None] = Visitors(lambda _: find(), lambda _: None)
        self.flags = Accessor(client if client is not None else static_client(), visitors, None)

    def __enter__(self) -> Accessor:
        self.flags.gather()
        self._before = current_flags.get()
        current_flags.set(self.flags)
        return self.flags

    def __exit__(self, *_: object) -> None:
        self.flags.hand_over(is_last=True)
        unbind(self.flags, self._before)
