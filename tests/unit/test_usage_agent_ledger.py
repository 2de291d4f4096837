"""What a recorder saw reaches every publisher, each at its own times, with times that are never too late."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from flagmw.usage import known_code
from flagmw.usage.config import UsageConfig
from flagmw.usage.functions import Seen
from flagmw.usage.known_code import KnownCode, ScanAbandoned
from flagmw.usage.ledger import Bequest, Ledger
from tests.unit.usage_agent_support import Recorder, process, until

SOURCE = "def a():\n    pass\n\n\ndef b():\n    pass\n"


def rest(spent_s: float) -> None:
    """Go on at once."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "views.py").write_text(SOURCE)
    return tmp_path


@pytest.fixture
def known(folder: Path) -> KnownCode:
    return KnownCode(UsageConfig(packages=("shop",), codebase=(str(folder),)))


def seen(folder: Path, name: str, line: int) -> Seen:
    return Seen(os.path.realpath(folder / "shop" / "views.py"), line, name, "")


class Watched:
    """A ledger with a recorder that the test commands."""

    def __init__(self, folder: Path, known: KnownCode, publishers: int = 2) -> None:
        self.recorder = Recorder()
        self.known = known
        self.started_at = time.time()
        self.ledger = Ledger(self.recorder, known, publishers, self.started_at)
        known.current(rest)
        self._folder = folder

    def see(self, *functions: tuple[str, int]) -> None:
        self.recorder._seen |= {seen(self._folder, *one) for one in functions}

    def names(self, number: int = 0) -> list[str]:
        hashes = self.ledger.take(number, rest).hashes
        names = {one.signature_hash: one.name for one in self.known.current(rest).functions}
        return sorted(names[one] for one in hashes)


@pytest.fixture
def watched(folder: Path, known: KnownCode) -> Watched:
    return Watched(folder, known)


A, B = ("a", 1), ("b", 5)


def test_what_one_publisher_takes_is_kept_for_the_others(watched: Watched) -> None:
    watched.see(A)
    assert watched.names(0) == ["a"]
    watched.see(B)
    assert (watched.names(0), watched.names(1), watched.names(1)) == (["b"], ["a", "b"], [])


def test_an_interval_begins_when_the_publisher_took_last(watched: Watched) -> None:
    first = watched.ledger.take(0, rest)
    between = time.time()
    second = watched.ledger.take(0, rest)
    other = watched.ledger.take(1, rest)
    assert first.started_at == other.started_at == watched.started_at
    assert watched.started_at <= second.started_at <= between


def test_what_is_of_no_code_base_is_dropped(watched: Watched) -> None:
    watched.recorder._seen = {Seen("/elsewhere.py", 1, "a", "")}
    watched.see(A)
    assert watched.names() == ["a"]


def test_what_ran_before_the_code_base_was_read_comes_later(folder: Path, known: KnownCode) -> None:
    recorder = Recorder()
    ledger = Ledger(recorder, known, 1, 1_000.0)
    recorder._seen = {seen(folder, *A)}
    assert not ledger.take(0, rest).hashes
    known.current(rest)
    interval = ledger.take(0, rest)
    assert (len(interval.hashes), interval.started_at) == (1, 1_000.0)


def test_a_recorder_that_fails_costs_nothing_else(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    watched.see(A)
    assert watched.names(0) == ["a"]
    watched.recorder._seen = None  # type: ignore[assignment]  # so that it fails
    assert watched.names(1) == ["a"]
    assert "taking what ran raised an error" in caplog.text


def test_what_another_process_left_behind_goes_to_one_publisher_once(folder: Path, watched: Watched) -> None:
    bequest = Bequest(process(started_at=500.0), [seen(folder, *B)], watched.known)
    watched.ledger.add(0, bequest)
    watched.see(A)
    assert (watched.names(0), watched.names(1), watched.names(0)) == (["a", "b"], ["a"], [])


def test_publishers_that_take_at_the_same_time_get_all(watched: Watched) -> None:
    taken: list[set[str]] = [set(), set()]
    ended = threading.Event()

    def take(number: int) -> None:
        while not ended.is_set():
            taken[number] |= watched.ledger.take(number, rest).hashes

    threads = [threading.Thread(target=take, args=[number]) for number in (0, 1)]
    for thread in threads:
        thread.start()
    watched.see(A)
    watched.see(B)
    until(lambda: len(taken[0]) == len(taken[1]) == 2)
    ended.set()
    for thread in threads:
        thread.join(10)


# --- code that changes while the process goes on --------------------------------------------------------------


def test_a_file_that_changed_is_read_again_when_its_code_runs(folder: Path, watched: Watched) -> None:
    (folder / "shop" / "views.py").write_text(f"# more\n{SOURCE}\n\ndef c():\n    pass\n")
    watched.see(("c", 10))
    assert watched.names() == ["c"]


def test_a_file_that_is_new_is_read_when_its_code_runs(folder: Path, watched: Watched) -> None:
    (folder / "shop" / "new.py").write_text("def d():\n    pass\n")
    watched.recorder._seen = {Seen(os.path.realpath(folder / "shop" / "new.py"), 1, "d", "")}
    assert watched.names() == ["d"]


def test_code_that_was_loaded_before_its_file_changed_is_still_known(folder: Path, watched: Watched) -> None:
    old = {one.name: one.signature_hash for one in watched.known.current(rest).functions}
    (folder / "shop" / "views.py").write_text(f"# more\n{SOURCE}")
    watched.see(("b", 6))
    watched.names()
    watched.see(A)
    assert watched.ledger.take(0, rest).hashes == {old["a"]}


def test_code_that_is_not_watched_does_not_make_the_code_base_be_read_at_each_turn(
    folder: Path, watched: Watched
) -> None:
    reads: list[float] = []

    def count(spent_s: float) -> None:
        reads.append(spent_s)

    (folder / "generated.py").write_text("x = 1\n")
    for _ in range(5):
        watched.recorder._seen = {Seen(os.path.realpath(folder / "generated.py"), 1, "x", "")}
        scanned_at = watched.known.scanned_at
        watched.ledger.take(0, count)
    assert watched.known.scanned_at == scanned_at


def test_an_old_code_base_is_looked_at_again(folder: Path, known: KnownCode, monkeypatch: pytest.MonkeyPatch) -> None:
    known.current(rest)
    (folder / "shop" / "views.py").write_text("def changed():\n    pass\n")
    assert [one.name for one in known.current(rest).functions] == ["a", "b"]
    monkeypatch.setattr(known_code, "RESCAN_S", 0.0)
    assert [one.name for one in known.current(rest).functions] == ["changed"]


# --- leaving while the code base is read ----------------------------------------------------------------------


def abandon(spent_s: float) -> None:
    raise ScanAbandoned


def test_a_scan_can_be_abandoned_and_made_later(known: KnownCode, folder: Path) -> None:
    for number in range(50):
        (folder / "shop" / f"f{number}.py").write_text(SOURCE)
    with pytest.raises(ScanAbandoned):
        known.current(abandon)
    assert len(known.current(rest).functions) == 102


def test_a_process_that_leaves_is_content_with_what_is_known(folder: Path, watched: Watched) -> None:
    for number in range(50):
        (folder / "shop" / f"f{number}.py").write_text(SOURCE)
    watched.recorder._seen = {Seen(os.path.realpath(folder / "shop" / "f1.py"), 1, "a", "")}
    watched.see(A)
    assert len(watched.ledger.take(0, abandon).hashes) == 1


def test_a_scan_that_fails_is_told_once_and_not_repeated_at_once(
    known: KnownCode, caplog: pytest.LogCaptureFixture
) -> None:
    scans = []

    class Failing:
        def scan(self, pause: object) -> None:
            scans.append(pause)
            raise ZeroDivisionError

    known._scanner = Failing()
    for _ in range(3):
        assert known.current(rest).functions == ()
    assert (len(scans), len(caplog.records)) == (1, 1)
    assert known.problem == "the code base cannot be read: ZeroDivisionError()"


def test_two_threads_that_need_the_code_base_read_it_once(known: KnownCode) -> None:
    bases = []
    gate = threading.Barrier(2)

    def read() -> None:
        gate.wait(10)
        bases.append(known.current(rest))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert bases[0] is bases[1]


def test_a_code_base_without_functions_is_told_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = KnownCode(UsageConfig(codebase=(str(folder),), packages=("nowhere",)))
    for _ in range(2):
        known.current(rest)
    (message,) = [one.getMessage() for one in caplog.records]
    assert message.startswith(f"the usage agent finds no function: packages 'nowhere' under '{folder}'; ")


def test_what_cannot_be_read_is_told_with_its_line(
    folder: Path, known: KnownCode, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "shop" / "bad.py").write_text("def a(:\n")
    known.current(rest)
    assert "bad.py:1: " in caplog.text
    assert len(known.current(rest).functions) == 2
