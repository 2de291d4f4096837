"""`flagmw usage`, run as a user runs it, on a small application that has a history."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from flagmw import Client
from flagmw.cli import main
from flagmw.flag_counts import FlagCounts
from flagmw.providers import Static
from flagmw.report.ages import DAY_S
from flagmw.usage import UsageConfig
from flagmw.usage.codebase import Scanner
from flagmw.usage.functions import CodeBase
from flagmw.usage.seams import Interval, ProcessIdentity
from flagmw.usage.store import StorePublisher

ROOT = Path(__file__).parents[2]
NOW = time.time()
PYPROJECT = """\
[tool.flagmw.usage]
packages = ["app"]
app_name = "shop"
environment = "prod"
"""
VIEWS = """\
from flagmw import Client
from flagmw.providers import Static
client = Client(Static({}))


def total(user):
    if client.is_enabled("new-total", user):
        return new_total()
    return old_total()


def new_total():
    return 1


def old_total():
    return 2


def search(user):
    return client.variation("serach", user)
"""

Run = Callable[..., "Done"]


@dataclass(frozen=True, kw_only=True)
class Done:
    code: int
    out: str
    err: str


@dataclass
class Turn:
    """A moment of a process in which some functions have run."""

    config: UsageConfig
    wall_s: float
    ran: frozenset[str]
    monotonic_s: float = 0.0

    def code_base(self) -> CodeBase:
        return Scanner(self.config).scan()

    def take(self) -> Interval:
        hashes = {one.signature_hash for one in self.code_base().functions if one.name in self.ran}
        ran, self.ran = frozenset(hashes), frozenset()
        return Interval(hashes=ran, started_at=self.wall_s)


def publish(ago_d: float, ran: Iterable[str], evaluated: Iterable[str] = ("new-total",)) -> None:
    """Let a process have run some days ago, and write what it saw."""
    at = NOW - ago_d * DAY_S
    client = Client(Static({"new-total": True, "winter": False}))
    counts = FlagCounts(
        client.tally(lambda: None), app_name="shop", environment="prod", snapshot=client.snapshot_if_used
    )
    for key in evaluated:
        client.variation(key, {"key": "ada"})
    config = UsageConfig.from_pyproject("pyproject.toml")
    process = ProcessIdentity(uuid=f"p{ago_d}", pid=1, hostname="h", started_at=at)
    publisher = StorePublisher(config, process, [counts], scanned_at=lambda: at)
    assert publisher.finish(Turn(config, at, frozenset(ran)), 10.0)


def read_all(descriptor: int) -> str:
    """Read what was written to a terminal, until nobody has it open."""
    parts = []
    try:
        while part := os.read(descriptor, 65_536):
            parts.append(part)
    except OSError:  # so Linux says that the other end is closed
        pass
    finally:
        os.close(descriptor)
    return b"".join(parts).decode("utf-8", "replace")


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an application, and go to its folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLAGMW_DSN", raising=False)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "views.py").write_text(VIEWS)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    return tmp_path


@pytest.fixture
def lived(app: Path) -> Path:
    """Let it live for 40 days."""
    publish(40, ["total", "new_total", "search"])
    publish(0.01, ["total", "new_total"])
    return app


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_usage(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as ended:
            main(["usage", *arguments])
        captured = capsys.readouterr()
        return Done(code=int(ended.value.code or 0), out=captured.out, err=captured.err)

    return run_usage


# --- report -----------------------------------------------------------------------------------------------------


def test_the_report_gives_each_function_and_flag_one_place_a_line(lived: Path, run: Run) -> None:
    done = run("report")
    assert done.code == 0
    assert [line.split(": ")[:3] for line in done.out.splitlines()] == [
        ["app/views.py:6", "recent", "app.views.total(user)"],
        ["app/views.py:12", "recent", "app.views.new_total()"],
        ["app/views.py:16", "never", "app.views.old_total()"],
        ["app/views.py:20", "old", "app.views.search(user)"],
        ["app/views.py:7", "stale", "new-total"],
        ["app/views.py:9", "dead branch of new-total", "line 9"],
        ["app/views.py:16", "dies with new-total", "app.views.old_total()"],
        ["app/views.py:21", "unknown", "serach"],
        ["-", "unused", "winter"],
    ]


def test_what_is_not_data_goes_to_standard_error(lived: Path, run: Run) -> None:
    done = run("report")
    assert done.err.splitlines()[-2].startswith("shop (prod), watched for 40 d")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--unused-for", "never"], ["old_total"]),
        (["--unused-for", "30d"], ["old_total", "search"]),
        (["--unused-for", "50d"], []),
        (["--search", "NEW_"], ["new_total"]),
        (["--package", "app.views"], ["total", "new_total", "old_total", "search"]),
        (["--package", "app.view"], []),
    ],
)
def test_functions_can_be_chosen(lived: Path, run: Run, arguments: list[str], names: list[str]) -> None:
    told = json.loads(run("report", "--json", *arguments).out)
    assert [function["signature"].split(".")[-1].split("(")[0] for function in told["functions"]] == names


def test_the_limits_of_ages_can_be_given(lived: Path, run: Run) -> None:
    told = json.loads(run("report", "--json", "--ages", "60d,30d").out)
    assert told["tree"]["by_age"]["aging"]["functions"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--unused-for", "soon"], "such as 30d"),
        (["--ages", "7d"], "two ages"),
        (["--ages", "7d,30d"], "limits of ages"),
        (["--depth", "0"], "--depth"),
        (["--settled-days", "0"], "--settled-days"),
        (["--config", "none.toml"], "none.toml"),
        (["--flags", "none.yaml"], "none.yaml"),
        (["--flags", "nobody://x"], "scheme is one of file"),
        (["--html", "none/report.html"], "cannot be written"),
    ],
)
def test_a_wrong_use_exits_with_2_and_says_what_is_wrong(
    lived: Path, run: Run, arguments: list[str], message: str
) -> None:
    done = run("report", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_the_page_is_written_where_it_is_wanted(lived: Path, run: Run) -> None:
    done = run("report", "--html", "report.html")
    assert (done.code, done.out) == (0, "report.html is written: open it in a browser\n")
    assert (lived / "report.html").read_text().startswith("<!doctype html>")


def test_a_page_in_the_applications_folder_keeps_no_function_alive(lived: Path, run: Run) -> None:
    before = run("report").out
    run("report", "--html", "report.html")
    assert run("report").out == before


def test_a_flag_file_says_which_flags_there_are(lived: Path, run: Run) -> None:
    Path("flags.yaml").write_text(
        "flags: {serach: {state: ENABLED, variants: {on: true}, defaultVariant: on}}", encoding="utf-8"
    )
    told = json.loads(run("report", "--json", "--flags", "flags.yaml").out)
    assert {flag["flag_key"]: flag["verdict"] for flag in told["flags"]} == {"new-total": "unknown", "serach": "live"}


def test_the_environments_provider_says_which_flags_there_are(
    lived: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("flags.yaml").write_text("flags: {}", encoding="utf-8")
    monkeypatch.setenv("FLAGMW_DSN", f"file://{lived}/flags.yaml")
    told = json.loads(run("report", "--json").out)
    assert {flag["verdict"] for flag in told["flags"]} == {"unknown"}


def test_an_environments_provider_that_fails_is_noted_and_the_stores_flags_are_taken(
    lived: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAGMW_DSN", "file:///nowhere/flags.yaml")
    done = run("report")
    assert "unused: winter" in done.out
    assert "note: FLAGMW_DSN: " in done.err


def test_settings_are_not_needed_where_there_is_a_store(lived: Path, run: Run) -> None:
    before = run("report").out
    (lived / "pyproject.toml").unlink()
    done = run("report")
    assert done.out == before
    assert "no settings were found" in done.err


def test_without_settings_and_store_the_report_says_what_to_do(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("report")
    assert done.code == 2
    assert "--config FILE" in done.err


def test_settings_with_a_mistake_are_not_passed_over(lived: Path, run: Run) -> None:
    (lived / "pyproject.toml").write_text(PYPROJECT + "pakages = 1\n")
    done = run("report")
    assert done.code == 2
    assert "pakages" in done.err


def test_a_missing_store_is_told(app: Path, run: Run) -> None:
    done = run("report")
    assert done.code == 2
    assert "there is no usage store" in done.err


def test_a_foreign_file_is_told(app: Path, run: Run) -> None:
    done = run("report", "--store", "pyproject.toml")
    assert done.code == 2
    assert "no SQLite file" in done.err


def test_an_unreadable_source_is_noted(lived: Path, run: Run) -> None:
    (lived / "app" / "broken.py").write_text("flags.is_enabled('new-total'\n")
    done = run("report")
    assert done.code == 0
    assert "was not read, the first: " in done.err
    assert "broken.py" in done.err


def test_names_that_steer_a_terminal_are_shown_harmlessly(lived: Path, run: Run) -> None:
    (lived / "app" / "views.py").write_text(VIEWS.replace("serach", "\\x1b[31m"))
    assert "\x1b" not in run("report").out


@pytest.mark.parametrize(("encoding", "branch"), [("utf-8", "└─ app"), ("ascii", "`- app")])
def test_a_terminal_gets_a_tree_in_its_own_encoding(lived: Path, encoding: str, branch: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "200"}
    primary, secondary = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", "from flagmw.cli import main; main(['usage', 'report'])"],
        cwd=lived,
        env=environment,
        stdout=secondary,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    ) as process:
        os.close(secondary)
        told = read_all(primary)
        assert process.wait(60) == 0
    assert branch in told
    assert "new-total gives true to everybody for 40 d; 4 lines go with it" in told


# --- check ------------------------------------------------------------------------------------------------------


def test_more_stale_flags_than_allowed_fail_and_are_listed(lived: Path, run: Run) -> None:
    done = run("check", "--max-stale", "0")
    assert done.code == 1
    assert done.out.startswith("app/views.py:7: stale: new-total: gives true to everybody")
    assert done.err == "1 stale flag, at most 0 allowed\n"


def test_as_many_as_allowed_are_fine(lived: Path, run: Run) -> None:
    done = run("check", "--max-stale", "1", "--max-unknown", "1", "--max-unused", "1", "--max-settled", "0")
    assert (done.code, done.out) == (0, "")


def test_each_limit_is_looked_at(lived: Path, run: Run) -> None:
    done = run("check", "--max-stale", "1", "--max-unknown", "0", "--max-unused", "0")
    assert done.code == 1
    assert [line.split(": ")[1:3] for line in done.out.splitlines()] == [["unknown", "serach"], ["unused", "winter"]]


def test_how_long_a_flag_must_be_settled_is_an_option(lived: Path, run: Run) -> None:
    assert run("check", "--max-stale", "0", "--settled-days", "90").code == 0


def test_a_check_without_a_limit_is_a_wrong_use(lived: Path, run: Run) -> None:
    done = run("check")
    assert done.code == 2
    assert "--max-stale 0" in done.err


def test_a_check_without_sources_cannot_tell(lived: Path, run: Run) -> None:
    (lived / "empty").mkdir()
    (lived / "other.toml").write_text('[tool.flagmw.usage]\ncodebase = ["empty"]\nstore = "flagmw-usage.db"\n')
    done = run("check", "--max-stale", "5", "--config", "other.toml")
    assert done.code == 2
    assert "there are no source files below" in done.err


# --- scan -------------------------------------------------------------------------------------------------------


def test_the_scan_counts_what_it_finds(app: Path, run: Run) -> None:
    done = run("scan")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("4 functions in 1 file, ")


def test_the_scan_names_what_it_cannot_read_and_goes_on(app: Path, run: Run) -> None:
    (app / "app" / "broken.py").write_text("def f(:\n")
    done = run("scan")
    assert done.code == 0
    assert re.match(r".*broken\.py:1: ", done.out)
    assert done.err.rstrip().endswith("; 1 problem")


def test_a_scan_that_finds_nothing_fails_and_says_where_it_looked(app: Path, run: Run) -> None:
    (app / "pyproject.toml").write_text(PYPROJECT.replace('"app"', '"apps"'))
    done = run("scan")
    assert done.code == 1
    assert "nothing was found: packages ['apps']" in done.err


# --- the command in the whole --------------------------------------------------------------------------------------


def test_other_commands_need_no_sqlite(app: Path) -> None:
    code = "import sys; sys.modules['sqlite3'] = None\nfrom flagmw.cli import main\nmain(['usage', 'scan'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=app, capture_output=True, text=True, timeout=60, check=False, env=os.environ
    )
    assert done.returncode == 2
    assert "sqlite3, which is not installed" in done.stderr


def test_the_docs_name_every_setting() -> None:
    page = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    table = page[page.index("## Settings") : page.index("## What is recorded")]
    assert set(re.findall(r"`(\w+)`(?=[^|]*\|)", table)) >= {item.name for item in fields(UsageConfig)}


def test_the_docs_name_every_option_of_the_report() -> None:
    page = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    told = subprocess.run(
        [str(Path(sys.executable).parent / "flagmw"), "usage", "report", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    options = set(re.findall(r"^\s+(--[\w-]+)", told.stdout, re.MULTILINE)) - {"--help"}
    assert options
    assert [option for option in options if f"`{option}" not in page] == []
