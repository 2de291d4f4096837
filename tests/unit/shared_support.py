"""What tests of the shared connection need: a source that says what it is told, and receivers that keep numbers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from flagmw.core.documents import Document
from flagmw.core.snapshot import Snapshot, make_snapshot
from flagmw.errors import TransportError
from flagmw.lifecycle.leadership import Leadership
from flagmw.lifecycle.places import StatePlace
from flagmw.lifecycle.threads import Background
from flagmw.status import Role
from flagmw.transports import Delivery, Receiver, Source
from flagmw.transports.following import FILE
from flagmw.transports.shared import LOCK, SharedSource
from flagmw.transports.snapshot_file import Mark
from flagmw.transports.snapshot_writer import SnapshotWriter
from tests.unit.support import until

CALM_S = 0.3
"""A period so long that a busy machine makes nobody miss three beats."""

QUICK_S = 0.06
"""A period so short that a test can wait for three beats to be missed."""

DEADLINE_S = 10.0
DOWN = TransportError("the hub is down")


class Numbers:
    """A receiver whose documents are numbers.

    Args:
        number: the one in force at first; None if there is none.
        has_versions: a lower number is ignored, as the dialects of streams ignore older flags.

    Attributes:
        snapshot: its revision is the number.
        deliveries: all that came.
        seen: the numbers that were put in force, in order.
        takes: whether whole documents are taken.
    """

    def __init__(self, number: int | None = None, *, has_versions: bool = True) -> None:
        self._has_versions = has_versions
        self.snapshot: Snapshot | None = None
        self.deliveries: list[Delivery] = []
        self.seen: list[int] = []
        self.takes = True
        if number is not None:
            self._put(number, is_stale=False)

    @property
    def number(self) -> int:
        """The number in force."""
        return int(self.snapshot.revision) if self.snapshot is not None else 0

    @property
    def errors(self) -> list[TransportError]:
        """The errors that came."""
        return [delivery.error for delivery in self.deliveries if delivery.error is not None]

    def deliver(self, delivery: Delivery) -> bool:
        self.deliveries.append(delivery)
        for document in delivery.documents:
            assert isinstance(document.content, bytes)
            try:
                number = int(document.content)
            except ValueError:
                return False
            if not self.takes:
                return False
            if not self._has_versions or number >= self.number:
                self._put(number, is_stale=delivery.is_stale)
        if not delivery.documents and delivery.error is None and self.snapshot is not None:
            self.snapshot = replace(self.snapshot, is_stale=delivery.is_stale)
        return True

    def _put(self, number: int, *, is_stale: bool) -> None:
        if self.snapshot is None or number != self.number:
            self.seen.append(number)
            self.snapshot = replace(make_snapshot({}, str(number), {}, object()), is_stale=is_stale)
        else:
            self.snapshot = replace(self.snapshot, is_stale=is_stale)

    def dump(self) -> Iterable[bytes] | None:
        return iter([str(self.number).encode()]) if self.snapshot is not None else None


@dataclass
class Hub:
    """A flag service in memory, with one number, that tells all connected sources when it changes.

    Attributes:
        number: the flags.
        opened: how many connections were opened so far.
        error: why connections fail; None lets them be.
        pushes: changes are messages of a stream.
        delay_s: how long the first answer takes.
    """

    number: int = 1
    opened: int = 0
    error: TransportError | None = None
    pushes: bool = True
    delay_s: float = 0.0
    sources: list[HubSource] = field(default_factory=list)

    def put(self, number: int) -> None:
        """Change the number."""
        self.number = number
        for source in list(self.sources):
            source.news.set()

    def fail(self, error: TransportError | None) -> None:
        """Break all connections, or let them come back."""
        self.error = error
        for source in list(self.sources):
            source.news.set()

    def end(self) -> None:
        """Let all sources end, as they would by a defect."""
        for source in list(self.sources):
            source.is_ending = True
            source.news.set()

    @property
    def connections(self) -> int:
        """How many sources are connected."""
        return len(self.sources)

    def source(self) -> HubSource:
        """Make a source."""
        return HubSource(self)


class HubSource:
    """Brings the number of a `Hub`."""

    background = True
    local = False
    awaited = True
    role = Role.ALONE
    heartbeat_s: float | None = None
    agreed_s: float | None = None

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._receiver: Receiver | None = None
        self.news = threading.Event()
        self.is_ending = False

    def open(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def fetch(self, receiver: Receiver, timeout_s: float) -> None:
        self._hub.opened += 1
        receiver.deliver(self._delivery())

    def run(self, stopping: threading.Event) -> None:
        assert self._receiver is not None
        self._hub.opened += 1
        self._hub.sources.append(self)
        try:
            stopping.wait(self._hub.delay_s)
            while not stopping.is_set() and not self.is_ending:
                self._receiver.deliver(self._delivery())
                self.news.wait()
                self.news.clear()
        finally:
            self._hub.sources.remove(self)

    def _delivery(self) -> Delivery:
        if self._hub.error is not None:
            return Delivery(error=self._hub.error)
        documents = (Document(name="hub", content=str(self._hub.number).encode()),)
        return Delivery(documents=documents, is_message=self._hub.pushes)

    def wake(self) -> None:
        self.news.set()


@dataclass
class Member:
    """A process's shared source, in a thread."""

    source: SharedSource
    numbers: Numbers
    thread: Background

    def stop(self) -> None:
        """Stop it as a process does that leaves."""
        assert self.thread.stop(DEADLINE_S)


def place_in(folder: Path) -> StatePlace:
    return StatePlace(folder / "state", "hub", ["secret"])


def file_in(folder: Path) -> Path:
    return place_in(folder).path() / FILE


@contextmanager
def member(hub: Hub, folder: Path, numbers: Numbers | None = None, period_s: float = CALM_S) -> Iterator[Member]:
    """Run a shared source."""
    source = SharedSource(hub.source, place_in(folder), pushes=hub.pushes, period_s=period_s, random=lambda: 1.0)
    numbers = numbers or Numbers(has_versions=hub.pushes)
    with receiving(source, numbers) as thread:
        yield Member(source, numbers, thread)


@contextmanager
def receiving(source: Source, numbers: Numbers) -> Iterator[Background]:
    """Run any source in a thread, as a client does."""
    source.open(numbers)
    thread = Background("flagmw-test", source.run, source.wake)
    thread.start()
    try:
        yield thread
    finally:
        assert thread.stop(DEADLINE_S)


@contextmanager
def pair(hub: Hub, folder: Path, period_s: float = CALM_S) -> Iterator[tuple[Member, Member]]:
    """Run one that leads and one that follows."""
    with member(hub, folder, period_s=period_s) as leader:
        wait_for_role(leader, Role.LEADER)
        until(file_in(folder).exists)
        with member(hub, folder, period_s=period_s) as follower:
            wait_for_role(follower, Role.FOLLOWER)
            yield leader, follower


def wait_for_role(one: Member, role: Role) -> None:
    until(lambda: one.source.role is role)


def wait_for_number(one: Member, number: int) -> None:
    until(lambda: one.numbers.number == number)


def write(folder: Path, number: int, mark: Mark = Mark.BEATING, as_of_s: float | None = None) -> SnapshotWriter:
    """Write the file as another process would."""
    place_in(folder).open()
    writer = SnapshotWriter(file_in(folder))
    writer.replace([str(number).encode()], (), None, mark, time.time() if as_of_s is None else as_of_s)
    return writer


class Beating:
    """Another process that leads: it holds no lock, which nobody asks for as long as it beats."""

    def __init__(self, folder: Path, number: int, as_of_s: float | None = None) -> None:
        self.as_of_s = as_of_s
        self.writer = write(folder, number, as_of_s=as_of_s)
        self._ending = threading.Event()
        self._messages: list[bytes] = []
        self._thread = threading.Thread(target=self._beat)

    def __enter__(self) -> Beating:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()

    def say(self, number: int) -> None:
        self._messages.append(str(number).encode())

    def _beat(self) -> None:
        while not self._ending.wait(QUICK_S / 4):
            messages, self._messages = self._messages, []
            as_of_s = time.time() if self.as_of_s is None else self.as_of_s
            self.writer.update(messages, None, Mark.BEATING, as_of_s)


def lead_elsewhere(folder: Path) -> Leadership:
    """Hold the lock in this process without beating, so that nobody else leads."""
    place_in(folder).open()
    lock = Leadership(place_in(folder).path() / LOCK)
    assert lock.try_to_lead()
    return lock
