"""What is made of the processes of a host: who is read, and what is called well."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from flagmw.processes import (
    APART_S,
    LEFT_S,
    MAX_STALE_S,
    SILENT_S,
    STARTING_S,
    UNSEEN_S,
    Environment,
    Process,
    age,
    environment_of,
    problems_among,
    problems_of,
    read_environment,
    read_environments,
    shortened,
)
from flagmw.providers import FeatBit, Static
from flagmw.status import State
from tests.services.tokens import featbit_secret
from tests.unit.presence_support import living, place_in, processes, shown, status, unreadable

NAME = "test-0123456789abcdef-v1"


def process(pid: int = 1, *, silent_s: float = 0.5, began_s: float = 0.0, **changes: object) -> Process:
    """Make a process that is well, but for some changes."""
    return Process(pid=pid, program="p", began_s=began_s, silent_s=silent_s, status=status(**changes))


def environment(*processes: Process, left_files: int = 0) -> Environment:
    return Environment(name=NAME, folder=Path(NAME), processes=processes, left_files=left_files)


def events_of(folder: Path, pid: int, *, age_s: float, size: int = 10) -> Path:
    """Leave an event file in a folder."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"events-{pid}-ab12-0.spool"
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - age_s,) * 2)
    return path


# --- reading ------------------------------------------------------------------------------------------------


def test_there_are_no_environments_where_there_is_no_folder(tmp_path: Path) -> None:
    assert read_environments(tmp_path / "nothing") == ()


def test_an_environment_without_its_folder_is_empty(tmp_path: Path) -> None:
    assert read_environment(tmp_path / NAME) == Environment(name=NAME, folder=tmp_path / NAME)


def test_looking_makes_no_folder(tmp_path: Path) -> None:
    read_environment(tmp_path / "x" / NAME)
    assert list(tmp_path.iterdir()) == []


def test_only_environments_with_processes_or_events_are_given(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    events_of(tmp_path / "other-0123456789abcdef-v1", 1, age_s=60)
    with shown(tmp_path):
        assert [one.name.split("-")[0] for one in read_environments(tmp_path)] == ["other", "test"]


@pytest.mark.parametrize("name", ["test-0123456789abcdef-v2", "test-xyz-v1", "flags.json", "-0123456789abcdef-v1"])
def test_what_is_no_environment_of_this_release_is_left_alone(tmp_path: Path, name: str) -> None:
    events_of(tmp_path / name, 1, age_s=60)
    assert list(read_environments(tmp_path)) == []


def test_a_root_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        read_environments(tmp_path / "file")


def test_a_folder_that_is_a_link_is_not_looked_into(tmp_path: Path) -> None:
    with shown(tmp_path):
        link = tmp_path / NAME
        link.symlink_to(place_in(tmp_path).path())
        assert read_environment(link).processes == ()


def test_a_file_that_is_a_link_is_neither_read_nor_removed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("{}")
    (tmp_path / NAME).mkdir()
    link = tmp_path / NAME / "process-1-ab.json"
    link.symlink_to(target)
    assert read_environment(tmp_path / NAME).processes == ()
    assert (link.is_symlink(), target.exists()) == (True, True)


def test_a_pipe_in_the_folder_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    os.mkfifo(tmp_path / NAME / "process-1-ab.json")
    assert read_environment(tmp_path / NAME).processes == ()


def test_what_was_left_in_the_making_is_removed_after_a_while(tmp_path: Path) -> None:
    folder = tmp_path / NAME
    folder.mkdir()
    new, old = folder / "process-1-ab.unseen", folder / "process-2-ab.unseen"
    for path, age_s in ((new, UNSEEN_S / 2), (old, UNSEEN_S + 1)):
        path.write_text("")
        os.utime(path, (time.time() - age_s,) * 2)
    read_environment(folder)
    assert list(folder.iterdir()) == [new]


def test_other_files_stay_where_they_are(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    for name in ("flags", "leader.lock", "process-x-ab.json", "process-1.json", "process-1-ab.json.tmp"):
        (tmp_path / NAME / name).write_text("")
    read_environment(tmp_path / NAME)
    assert len(list((tmp_path / NAME).iterdir())) == 5


def test_processes_come_in_the_order_in_which_they_began(tmp_path: Path) -> None:
    with living(tmp_path) as [first], living(tmp_path) as [second]:
        assert [one.pid for one in read_environment(place_in(tmp_path).path()).processes] == [first.pid, second.pid]


def test_the_environment_of_a_provider_is_found(tmp_path: Path) -> None:
    provider = FeatBit(featbit_secret(), state_dir=tmp_path)
    found = environment_of(provider)
    assert found is not None
    assert (found.folder.parent, found.name.split("-")[0]) == (tmp_path, "featbit")


def test_providers_whose_processes_have_nothing_in_common_have_no_environment() -> None:
    assert environment_of(Static({})) is None
    assert environment_of(object()) is None


# --- events that were left --------------------------------------------------------------------------------------


def test_events_of_processes_that_are_gone_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / NAME
    events_of(folder, 1, age_s=60, size=10)
    events_of(folder, 2, age_s=60, size=5)
    found = read_environment(folder)
    assert (found.left_files, found.left_bytes) == (2, 15)


def test_empty_event_files_do_not_count(tmp_path: Path) -> None:
    events_of(tmp_path / NAME, 1, age_s=60, size=0)
    assert read_environment(tmp_path / NAME).left_files == 0


@pytest.mark.parametrize(
    ("offset", "left"),
    [(f"{4:020d}\n", (1, 6)), (f"{10:020d}\n", (0, 0)), (f"{11:020d}\n", (1, 10)), ("", (1, 10)), ("x", (1, 10))],
)
def test_only_what_was_not_delivered_counts(tmp_path: Path, offset: str, left: tuple[int, int]) -> None:
    events_of(tmp_path / NAME, 1, age_s=60, size=10).with_suffix(".offset").write_text(offset)
    found = read_environment(tmp_path / NAME)
    assert (found.left_files, found.left_bytes) == left


def test_events_of_a_process_that_may_just_begin_do_not_count(tmp_path: Path) -> None:
    events_of(tmp_path / NAME, 1, age_s=LEFT_S / 2)
    assert read_environment(tmp_path / NAME).left_files == 0


def test_events_of_the_living_do_not_count(tmp_path: Path) -> None:
    with shown(tmp_path):
        events_of(place_in(tmp_path).path(), os.getpid(), age_s=-60)
        assert read_environment(place_in(tmp_path).path()).left_files == 0


def test_events_of_an_earlier_process_with_the_same_id_count(tmp_path: Path) -> None:
    with shown(tmp_path):
        events_of(place_in(tmp_path).path(), os.getpid(), age_s=600)
        assert read_environment(place_in(tmp_path).path()).left_files == 1


# --- judging one process ------------------------------------------------------------------------------------------


def test_nothing_is_wrong_with_a_process_that_is_well() -> None:
    assert problems_of(process()) == []


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (process(silent_s=SILENT_S + 1), "silent for 6.0 s"),
        (Process(pid=1, silent_s=1.0), "tells nothing that can be read"),
        (process(state=State.INTERRUPTED, error="it is down"), "INTERRUPTED for"),
        (process(state=State.INTERRUPTED, error="it is down"), "it is down"),
        (process(state=State.OFF), "OFF for"),
        (process(revision_age_s=MAX_STALE_S + 1), "last known to be the newest 61 s ago"),
        (process(heartbeat_age_s=MAX_STALE_S + 1), "no sign of life for 61 s"),
        (process(state=State.INITIALIZING), "no flags after"),
    ],
)
def test_what_is_wrong_with_a_process_is_said(one: Process, said: str) -> None:
    [problem] = problems_of(one)
    assert said in problem


def test_a_process_may_be_without_flags_when_it_begins() -> None:
    assert problems_of(process(state=State.INITIALIZING, began_s=time.time() - STARTING_S / 2)) == []


def test_no_heartbeat_and_no_age_are_nothing_wrong() -> None:
    assert problems_of(process(heartbeat_age_s=None, revision_age_s=None)) == []


def test_how_old_flags_may_be_can_be_said() -> None:
    assert problems_of(process(revision_age_s=90.0, heartbeat_age_s=90.0), 100.0) == []
    assert len(problems_of(process(revision_age_s=9.0, heartbeat_age_s=9.0), 1.0)) == 2


# --- judging them together ----------------------------------------------------------------------------------------


def test_processes_with_the_same_flags_are_well() -> None:
    assert problems_among(environment(process(1), process(2))) == []


def test_processes_that_stay_on_different_flags_are_named() -> None:
    found = environment(process(1, revision="a", age_s=100.0), process(2, revision="b", age_s=APART_S + 1))
    [problem] = problems_among(found)
    assert problem.endswith("a in 1; b in 2")


def test_processes_may_have_different_flags_right_after_a_change() -> None:
    found = environment(process(1, revision="a", age_s=100.0), process(2, revision="b", age_s=APART_S - 1))
    assert problems_among(found) == []


@pytest.mark.parametrize(
    "other",
    [
        process(2, revision="b", silent_s=SILENT_S + 1),
        process(2, revision="", age_s=None, state=State.INITIALIZING),
        Process(pid=2),
    ],
    ids=["silent", "without flags", "unreadable"],
)
def test_processes_that_tell_nothing_of_flags_are_not_compared(other: Process) -> None:
    assert problems_among(environment(process(1, revision="a"), other)) == []


def test_events_that_nobody_is_there_to_send_are_a_problem() -> None:
    assert len(problems_among(environment(left_files=1))) == 1
    assert problems_among(environment(process(), left_files=1)) == []


# --- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "-"),
        (-1.0, "0.0 s"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (10.4, "10 s"),
        (119.0, "119 s"),
        (120.0, "2 min"),
        (7_199.0, "120 min"),
        (7_200.0, "2 h"),
        (172_800.0, "2 d"),
    ],
)
def test_ages_are_said_as_people_do(seconds: float | None, said: str) -> None:
    assert age(seconds) == said


def test_long_revisions_are_shortened_to_both_ends() -> None:
    assert shortened("a" * 20) == "a" * 20
    assert shortened("a" * 30 + "b" * 11) == "aaaaaaaa…bbbbbbbbbbb"


def test_a_process_of_another_release_is_seen_without_details(tmp_path: Path) -> None:
    with unreadable(tmp_path):
        assert [(one.pid, one.status) for one in processes(tmp_path)] == [(os.getpid(), None)]
