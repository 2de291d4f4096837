"""Processes tell of themselves, and are no longer told of when they are gone, however they went."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flagmw.lifecycle.places import StatePlace
from flagmw.presence import MAX_ERROR_CHARS, PERIOD_S, Presence, decode, encode, program_name
from flagmw.status import EventCounts, Role, State, Status
from tests.unit.presence_support import ROOT, files, living, pids, place_in, processes, shown, status
from tests.unit.support import until

LOOK = """
import sys
from pathlib import Path
from flagmw.processes import read_environment
print(len(read_environment(Path(sys.argv[1])).processes))
"""


def seen_from_outside(folder: Path) -> int:
    """Count the processes that another process sees."""
    looked = subprocess.run(
        [sys.executable, "-c", LOOK, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    return int(looked.stdout)


# --- telling --------------------------------------------------------------------------------------------------


def test_a_process_tells_how_it_is_doing(tmp_path: Path) -> None:
    told = status(error="the service is down", events=EventCounts(waiting=1, sent=2, dropped=3), role=Role.LEADER)
    with shown(tmp_path, told):
        [process] = processes(tmp_path)
    found = process.status
    assert found is not None
    assert (process.pid, found.pid, found.state, found.role) == (os.getpid(), os.getpid(), State.OK, Role.LEADER)
    assert (found.error, found.revision, found.flags, found.events) == (told.error, "r1", 3, told.events)


def test_ages_go_on_after_they_were_told(tmp_path: Path) -> None:
    with shown(tmp_path):
        first = processes(tmp_path)[0].status
        assert first is not None
        assert first.age_s is not None
        assert 100.0 <= first.age_s < 110.0
        until(lambda: (processes(tmp_path)[0].status or status()).age_s != first.age_s)


def test_a_process_tells_again_and_again(tmp_path: Path) -> None:
    states = iter([State.INITIALIZING, State.INTERRUPTED])
    presence = Presence(place_in(tmp_path), lambda: status(state=next(states, State.OK)))
    presence.start()
    try:
        until(lambda: [one.status and one.status.state for one in processes(tmp_path)] == [State.OK])
    finally:
        presence.close()


def test_only_the_user_may_read_the_file(tmp_path: Path) -> None:
    with shown(tmp_path):
        [path] = files(tmp_path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_is_removed_at_close(tmp_path: Path) -> None:
    with shown(tmp_path) as presence:
        assert presence.close(5.0)
        assert files(tmp_path) == []


def test_the_descriptor_is_closed_at_close(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with shown(tmp_path):
        pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_starting_and_closing_twice_does_no_harm(tmp_path: Path) -> None:
    with shown(tmp_path) as presence:
        presence.start()
        assert len(files(tmp_path)) == 1
        presence.close()
        presence.close()
    assert files(tmp_path) == []


def test_closing_what_was_not_started_does_no_harm(tmp_path: Path) -> None:
    assert Presence(place_in(tmp_path), status).close()
    assert not place_in(tmp_path).path().exists()


def test_making_one_touches_nothing(tmp_path: Path) -> None:
    threads = threading.active_count()
    Presence(place_in(tmp_path), status)
    assert (list(tmp_path.iterdir()), threading.active_count()) == ([], threads)


def test_two_clients_of_one_process_are_both_seen(tmp_path: Path) -> None:
    with shown(tmp_path), shown(tmp_path):
        until(lambda: pids(tmp_path) == [os.getpid()] * 2)


def test_the_file_is_removed_when_the_process_ends(tmp_path: Path) -> None:
    with living(tmp_path) as [process]:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=10)
        assert files(tmp_path) == []
        process.stdin = None


# --- the dead and the living ------------------------------------------------------------------------------------


def test_a_killed_process_is_gone_with_its_file(tmp_path: Path) -> None:
    with living(tmp_path, number=2) as [killed, other]:
        killed.kill()
        killed.wait(timeout=10)
        assert len(files(tmp_path)) == 2
        assert pids(tmp_path) == [other.pid]
        assert len(files(tmp_path)) == 1


def test_a_stopped_process_is_silent(tmp_path: Path) -> None:
    with living(tmp_path) as [process]:
        process.send_signal(signal.SIGSTOP)
        until(lambda: processes(tmp_path)[0].silent_s > 2 * PERIOD_S, 15.0)


def test_looking_from_the_same_process_does_not_free_the_lock(tmp_path: Path) -> None:
    with shown(tmp_path):
        assert pids(tmp_path) == [os.getpid()]
        assert seen_from_outside(place_in(tmp_path).path()) == 1


def test_a_namesake_of_the_past_is_not_taken_for_this_process(tmp_path: Path) -> None:
    with shown(tmp_path):
        (files(tmp_path)[0].parent / f"process-{os.getpid()}-0123456789ab.json").write_bytes(b"{}")
        assert pids(tmp_path) == [os.getpid()]
        assert len(files(tmp_path)) == 1


def test_a_forked_child_keeps_nothing_of_its_parents_file(tmp_path: Path) -> None:
    with living(tmp_path, "forks") as [parent]:
        assert parent.stdout is not None
        child, held = map(int, parent.stdout.readline().split())
        try:
            assert held == 0
            assert pids(tmp_path) == [parent.pid]
            parent.kill()
            parent.wait(timeout=10)
            assert pids(tmp_path) == []
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_file_of_which_nobody_holds_a_lock_is_removed(tmp_path: Path) -> None:
    folder = place_in(tmp_path).open()
    assert folder is not None
    left = folder / "process-1-00.json"
    left.write_bytes(encode(status(), program="p", began=0.0, at=0.0))
    assert (pids(tmp_path), left.exists()) == ([], False)


# --- what may go wrong ------------------------------------------------------------------------------------------


def test_a_process_that_cannot_write_is_seen_all_the_same(tmp_path: Path) -> None:
    with living(tmp_path, "full") as [process]:
        [found] = processes(tmp_path)
        assert (found.pid, found.status) == (process.pid, None)


def test_a_file_that_somebody_removes_is_made_again(tmp_path: Path) -> None:
    with shown(tmp_path):
        [path] = files(tmp_path)
        path.unlink()
        until(lambda: pids(tmp_path) == [os.getpid()])
        assert files(tmp_path) != [path]


def test_a_folder_that_somebody_removes_is_made_again(tmp_path: Path) -> None:
    with shown(tmp_path):
        shutil.rmtree(place_in(tmp_path).path())
        until(lambda: pids(tmp_path) == [os.getpid()])


def test_a_folder_that_cannot_be_used_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("flagmw.presence.RETRY_S", 0.05)
    tmp_path.chmod(0o755)
    presence = Presence(place_in(tmp_path), status)
    presence.start()
    try:
        until(lambda: caplog.records)
        tmp_path.chmod(0o700)
        until(lambda: pids(tmp_path) == [os.getpid()])
    finally:
        presence.close()


def test_a_descriptor_that_somebody_else_took_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other"
    with shown(tmp_path):
        [path] = files(tmp_path)
        [number] = [int(name) for name in os.listdir("/proc/self/fd") if _leads_to(name, path)]
        stolen = os.open(other, os.O_RDWR | os.O_CREAT)
        os.dup2(stolen, number)
        os.close(stolen)
        until(lambda: [one for one in files(tmp_path) if one != path])
    try:
        assert other.read_bytes() == b""
        os.fstat(number)
    finally:
        os.close(number)


def _leads_to(name: str, path: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{name}") == str(path)
    except OSError:
        return False


def test_a_folder_that_cannot_be_used_costs_the_file_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    presence = Presence(StatePlace(tmp_path / "file", "test", []), status)
    presence.start()
    assert presence.close(5.0)
    assert [record.levelno for record in caplog.records if record.levelno > logging.WARNING] == []


def test_an_error_in_what_it_tells_does_not_end_the_telling(tmp_path: Path) -> None:
    calls = iter([1])

    def describe() -> Status:
        if next(calls, None):
            raise ValueError("a defect")
        return status()

    presence = Presence(place_in(tmp_path), describe)
    presence.start()
    try:
        until(lambda: any(one.status for one in processes(tmp_path)))
    finally:
        presence.close()


def test_nobody_sees_a_file_before_it_tells_something(tmp_path: Path) -> None:
    folder = place_in(tmp_path).open()
    assert folder is not None
    seen: list[list[str]] = []

    def describe() -> Status:
        seen.append([path.name for path in folder.glob("*.json")])
        return status()

    presence = Presence(place_in(tmp_path), describe)
    presence.start()
    try:
        until(lambda: seen and pids(tmp_path))
    finally:
        presence.close()
    assert (seen[0], list(folder.iterdir())) == ([], [])


# --- the text ---------------------------------------------------------------------------------------------------


def test_what_is_told_can_be_read_again() -> None:
    told = decode(encode(status(error="ä"), program="p", began=1.5, at=2.5) + b"   \n")
    assert told is not None
    assert (told["error"], told["program"], told["began"], told["at"], told["state"]) == ("ä", "p", 1.5, 2.5, "OK")


def test_the_file_is_json(tmp_path: Path) -> None:
    with shown(tmp_path):
        assert json.loads(files(tmp_path)[0].read_bytes())["process"]["revision"] == "r1"


def test_a_torn_text_is_not_read() -> None:
    before, after = (encode(status(revision=name), program="p", began=1.0, at=2.0) for name in ("r1", "r2"))
    torn = [after[:at] + before[at:] for at in range(1, len(after)) if after[:at] + before[at:] not in (before, after)]
    assert torn
    assert [decode(text) for text in torn] == [None] * len(torn)


@pytest.mark.parametrize("text", [b"", b"{}", b"null", b'{"crc":"00000000","process":}', b"\x00" * 1024, b"}" * 40])
def test_other_texts_are_not_read(text: bytes) -> None:
    assert decode(text) is None


def test_a_shorter_text_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    revisions = iter(["long" * 1000] * 2)
    presence = Presence(place_in(tmp_path), lambda: status(revision=next(revisions, "short")))
    presence.start()
    try:
        until(lambda: [one.status and one.status.revision for one in processes(tmp_path)] == ["short"])
    finally:
        presence.close()


def test_the_text_of_an_error_is_bounded() -> None:
    told = decode(encode(status(error="e" * 5000), program="p", began=1.0, at=2.0))
    assert told is not None
    assert len(told["error"]) == MAX_ERROR_CHARS


@pytest.mark.parametrize(
    ("called", "name"),
    [
        (["/usr/bin/gunicorn", "x"], "gunicorn"),
        (["/lib/gunicorn/__main__.py"], "gunicorn"),
        ([""], "python"),
        ([], "python"),
    ],
)
def test_a_program_is_named_as_people_know_it(called: list[str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", called)
    assert program_name() == name


def test_the_folder_is_tidied_again_and_again(tmp_path: Path) -> None:
    looked: list[Path] = []
    presence = Presence(place_in(tmp_path), status, looked.append, tidy_interval_s=0.01)
    presence.start()
    until(lambda: len(looked) > 2)
    assert presence.close(5.0)
    assert set(looked) == {place_in(tmp_path).path()}


def test_what_fails_at_tidying_does_not_end_the_telling(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise OSError

    presence = Presence(place_in(tmp_path), status, fail, tidy_interval_s=0.01)
    presence.start()
    until(lambda: pids(tmp_path) == [os.getpid()])
    assert presence.close(5.0)
