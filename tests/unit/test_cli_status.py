"""`flagmw status`, run as a user runs it: what it prints of real processes, and its exit codes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flagmw import Client
from flagmw.cli import main
from flagmw.cli_status import HEADINGS, ExitCode, exit_code, of_client
from flagmw.lifecycle import places
from flagmw.processes import Environment
from flagmw.providers import FeatBit, FlagFile, Static
from flagmw.status import EventCounts, Role, State
from tests.services.tokens import featbit_secret
from tests.unit.presence_support import place_in, shown, status, unreadable
from tests.unit.support import until

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command; give exit code, output and errors."""
    monkeypatch.setenv(places.VARIABLE, str(tmp_path))

    def run_status(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["status", *arguments])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run_status


def leave_events(folder: Path) -> None:
    """Leave events of a process that is gone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "events-1-ab12-0.spool"
    path.write_bytes(b"x" * 2_500)
    os.utime(path, (time.time() - 60,) * 2)


def test_without_processes_the_folder_is_named_and_the_code_is_3(run: Run, tmp_path: Path) -> None:
    code, out, err = run()
    assert (code, err) == (ExitCode.NOBODY, "")
    assert str(tmp_path) in out


def test_a_process_that_is_well_gets_a_line(run: Run, tmp_path: Path) -> None:
    told = status(events=EventCounts(waiting=1, sent=22, dropped=3), role=Role.LEADER, revision="rev-7")
    with shown(tmp_path, told):
        code, out, _ = run()
    name, headings, line = out.splitlines()
    assert code == ExitCode.WELL
    assert name == f"{place_in(tmp_path).path().name}: 1 process"
    assert tuple(headings.split()) == HEADINGS
    assert line.split()[0] == str(os.getpid())
    assert line.split()[2:6] == ["leader", "OK", "rev-7", "100"]
    assert line.split()[-3:] == ["1", "22", "3"]


def test_a_provider_without_events_has_no_counts(run: Run, tmp_path: Path) -> None:
    with shown(tmp_path, status(events=None)):
        assert run()[1].split()[-3:] == ["-", "-", "-"]


def test_what_is_wrong_with_a_process_is_said_and_the_code_is_1(run: Run, tmp_path: Path) -> None:
    with shown(tmp_path, status(state=State.OFF, since=time.time(), error="the secret is refused")):
        code, out, _ = run()
    assert code == ExitCode.DEGRADED
    assert out.splitlines()[-1].startswith(f"{os.getpid()}: OFF for 0.")
    assert out.splitlines()[-1].endswith("the secret is refused")


def test_an_error_steers_no_terminal(run: Run, tmp_path: Path) -> None:
    with shown(tmp_path, status(state=State.INTERRUPTED, error="\x1b[31m\nred")):
        out = run()[1]
    assert "\x1b" not in out
    assert "\\x1b[31m\\nred" in out


def test_environments_are_shown_one_after_another(run: Run, tmp_path: Path) -> None:
    leave_events(tmp_path / "hackle-0123456789abcdef-v1")
    with shown(tmp_path):
        lines = run()[1].splitlines()
    assert [line.split("-")[0] for line in lines if line.endswith(("processes", "process"))] == ["hackle", "test"]
    assert "" in lines


def test_events_that_were_left_are_told(run: Run, tmp_path: Path) -> None:
    with shown(tmp_path):
        leave_events(place_in(tmp_path).path())
        code, out, _ = run()
    assert (code, out.splitlines()[-1]) == (ExitCode.WELL, "1 event file of processes that are gone, 2.5 kB")


def test_events_that_were_left_where_nobody_is_are_a_problem(run: Run, tmp_path: Path) -> None:
    leave_events(tmp_path / "hackle-0123456789abcdef-v1")
    code, out, _ = run()
    assert (code, out.splitlines()[0]) == (ExitCode.DEGRADED, "hackle-0123456789abcdef-v1: no processes")


def test_another_folder_can_be_named(run: Run, tmp_path: Path) -> None:
    with shown(tmp_path / "elsewhere"):
        assert run()[0] == ExitCode.NOBODY
        assert run("--state-dir", str(tmp_path / "elsewhere"))[0] == ExitCode.WELL


def test_how_old_flags_may_be_can_be_said(run: Run, tmp_path: Path) -> None:
    with shown(tmp_path, status(revision_age_s=30.0)):
        assert run()[0] == ExitCode.WELL
        code, out, _ = run("--max-stale", "20")
    assert code == ExitCode.DEGRADED
    assert "last known to be the newest" in out


@pytest.mark.parametrize("arguments", [("--max-stale", "0"), ("--max-stale", "x"), ("--state-dir",), ("extra",)])
def test_a_wrong_use_gives_2(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments)[0] == ExitCode.WRONG_USE


def test_a_folder_that_cannot_be_read_is_a_wrong_use(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run("--state-dir", str(tmp_path / "file"))
    assert code == ExitCode.WRONG_USE
    assert "cannot be read" in " ".join(err.split())


def test_json_holds_all_of_it(run: Run, tmp_path: Path) -> None:
    with shown(tmp_path, status(state=State.OFF, error="refused", events=EventCounts(sent=4))):
        leave_events(place_in(tmp_path).path())
        code, out, _ = run("--json")
    told = json.loads(out)
    [environment] = told["environments"]
    [process] = environment["processes"]
    assert (code, told["is_well"], environment["left_files"], environment["left_bytes"]) == (1, False, 1, 2_500)
    assert (process["pid"], process["state"], process["role"], process["revision"]) == (
        os.getpid(),
        "OFF",
        "follower",
        "r1",
    )
    assert (process["events"]["sent"], process["error"], len(process["problems"])) == (4, "refused", 1)
    assert process["silent_s"] >= 0


def test_json_of_nothing_is_json(run: Run) -> None:
    code, out, _ = run("--json")
    assert (code, json.loads(out)) == (ExitCode.NOBODY, {"is_well": False, "environments": []})


def test_json_tells_of_a_process_that_tells_nothing(run: Run, tmp_path: Path) -> None:
    with unreadable(tmp_path):
        [process] = json.loads(run("--json")[1])["environments"][0]["processes"]
    assert (process["pid"], process["state"], len(process["problems"])) == (os.getpid(), None, 1)


def test_text_tells_of_a_process_that_tells_nothing(run: Run, tmp_path: Path) -> None:
    with unreadable(tmp_path):
        code, out, _ = run()
    assert code == ExitCode.DEGRADED
    assert out.splitlines()[2].split()[:3] == [str(os.getpid()), "?", "?"]


# --- for web frameworks -------------------------------------------------------------------------------------------


def test_no_environment_at_all_is_nobody() -> None:
    assert exit_code([]) is ExitCode.NOBODY
    assert exit_code([Environment(name="a", folder=Path("a"))]) is ExitCode.NOBODY


def test_of_a_service_only_the_clients_own_environment_is_told(tmp_path: Path) -> None:
    with shown(tmp_path):
        lines, code = of_client(Client(FeatBit(featbit_secret(), state_dir=tmp_path)))
    assert code is ExitCode.NOBODY
    assert "no process uses flags here" in lines[0]


def test_looking_at_a_service_starts_nothing(tmp_path: Path) -> None:
    client = Client(FeatBit(featbit_secret(), state_dir=tmp_path))
    of_client(client)
    assert (client.status.pid, list(tmp_path.iterdir())) == (0, [])


def test_of_flags_that_each_process_has_for_itself_the_client_is_told() -> None:
    lines, code = of_client(Client(Static({"a": True, "b": False})))
    assert code is ExitCode.WELL
    assert [line.split(":")[0] for line in lines] == ["state", "revision", "flags", "changed"]
    assert lines[2].split() == ["flags:", "2"]


def test_a_flag_file_that_is_missing_is_told(tmp_path: Path) -> None:
    lines, code = of_client(Client(FlagFile(tmp_path / "gone.yaml")))
    assert code is ExitCode.DEGRADED
    assert "gone.yaml" in lines[-1]


def test_an_offline_client_without_flags_is_told(tmp_path: Path) -> None:
    lines, code = of_client(Client(FlagFile(tmp_path / "flags.yaml"), offline=True))
    assert code is ExitCode.DEGRADED
    assert "no flags have arrived" in lines[-1]


def test_a_flag_file_that_breaks_is_told(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text('{"flags": {"a": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"}}}')
    client = Client(FlagFile(path))
    assert of_client(client)[1] is ExitCode.WELL
    path.write_text("{")
    until(lambda: client.status.error)
    assert of_client(client)[1] is ExitCode.DEGRADED
