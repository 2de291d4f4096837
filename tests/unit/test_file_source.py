"""Flag files as people and orchestrators change them: what is in force follows within a second."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flagmw import Client, State, UserContext
from flagmw.errors import ConfigError
from flagmw.evaluation import ErrorCode
from flagmw.providers import FlagFile
from flagmw.transports import Delivery
from flagmw.transports.file import FileSource
from tests.unit.support import flag, until

USER = UserContext("user-1")
PROMISED_S = 1.0


def text(value: Any) -> str:
    return json.dumps({"flags": {"f": flag({"v": value}, "v")}})


@pytest.fixture(params=[True, False], ids=["watching", "polling"])
def start(request: pytest.FixtureRequest) -> Iterator[Callable[..., Client]]:
    """Give a function that starts a client on paths, in both ways of noticing changes."""
    clients: list[Client] = []

    def start_client(*paths: Path, **settings: Any) -> Client:
        client = Client(FlagFile(*paths, watch=request.param, **settings))
        clients.append(client)
        client.start()
        return client

    yield start_client
    for client in clients:
        assert client.close(5.0)


def served(client: Client) -> Any:
    return client.variation("f", USER, "default")


def test_an_edit_is_served_within_a_second(start: Callable[..., Client], tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text(text(0))
    client = start(path)
    assert served(client) == 0
    for value in range(1, 6):
        path.write_text(text(value))
        assert until(lambda: served(client) == value) < PROMISED_S  # noqa: B023  # used before the next round


def test_a_file_renamed_over_it_is_served_within_a_second(start: Callable[..., Client], tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text(text(0))
    client = start(path)
    for value in range(1, 4):
        temporary = tmp_path / "flags.json.tmp"
        temporary.write_text(text(value))
        temporary.replace(path)
        assert until(lambda: served(client) == value) < PROMISED_S  # noqa: B023  # used before the next round


def test_a_config_map_update_is_served_within_a_second(start: Callable[..., Client], tmp_path: Path) -> None:
    """Kubernetes swaps the symbolic link `..data`, through which the file is reached."""
    for value in range(3):
        version = tmp_path / f"..2026_{value}"
        version.mkdir()
        (version / "flags.json").write_text(text(value))
    (tmp_path / "..data").symlink_to("..2026_0")
    (tmp_path / "flags.json").symlink_to("..data/flags.json")
    file_client, folder_client = start(tmp_path / "flags.json"), start(tmp_path)
    for value in (1, 2):
        (tmp_path / "..data_tmp").symlink_to(f"..2026_{value}")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        assert until(lambda: served(file_client) == value) < PROMISED_S  # noqa: B023  # used before the next round
        assert until(lambda: served(folder_client) == value) < PROMISED_S  # noqa: B023  # the same


def test_a_swapped_folder_on_the_way_is_served_within_a_second(start: Callable[..., Client], tmp_path: Path) -> None:
    for value in range(2):
        (tmp_path / f"release_{value}").mkdir()
        (tmp_path / f"release_{value}" / "flags.json").write_text(text(value))
    (tmp_path / "current").symlink_to("release_0")
    client = start(tmp_path / "current" / "flags.json")
    assert served(client) == 0
    (tmp_path / "next").symlink_to("release_1")
    (tmp_path / "next").replace(tmp_path / "current")
    assert until(lambda: served(client) == 1) < PROMISED_S
    (tmp_path / "release_1" / "flags.json").write_text(text(2))
    assert until(lambda: served(client) == 2) < PROMISED_S


def test_a_deleted_file_leaves_its_flags_in_force_until_it_is_back(
    start: Callable[..., Client], tmp_path: Path
) -> None:
    path = tmp_path / "flags.json"
    path.write_text(text(0))
    client = start(path)
    path.unlink()
    assert until(lambda: client.status.state is State.INTERRUPTED) < PROMISED_S
    assert "does not exist" in (client.status.error or "")
    assert served(client) == 0
    path.write_text(text(1))
    assert until(lambda: served(client) == 1) < PROMISED_S
    until(lambda: client.status.state is State.OK)


def test_a_file_that_is_missing_at_the_start_gives_defaults_until_it_appears(
    start: Callable[..., Client], tmp_path: Path
) -> None:
    path = tmp_path / "later" / "flags.json"
    client = start(path)
    detail = client.variation_detail("f", USER, "default")
    assert (detail.value, detail.error_code) == ("default", ErrorCode.PROVIDER_NOT_READY)
    assert client.status.state is State.INITIALIZING
    assert not client.wait_until_ready(0.01)
    path.parent.mkdir()
    path.write_text(text(1))
    assert client.wait_until_ready(PROMISED_S)
    assert served(client) == 1


def test_a_broken_edit_is_logged_once_and_changes_nothing(
    start: Callable[..., Client], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "flags.json"
    path.write_text(text(0))
    client = start(path)
    broken = '{\n  "flags": {\n    "f": {"state": "ENABLED", "variants": {}, }\n  }\n}\n'
    path.write_text(broken)
    until(lambda: client.status.state is State.INTERRUPTED)
    os.utime(path)  # touched, not mended: no second complaint
    path.write_text(broken)
    path.write_text(text(1).replace("ENABLED", "enabled"))
    until(lambda: "'state'" in (client.status.error or ""))
    assert served(client) == 0
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 2, errors
    assert errors[0].startswith(f"{path}:3:")
    assert "the last good flags stay in force" in errors[0]
    assert f"{path}:1:27: flags.f.state: 'state' must be \"ENABLED\" or \"DISABLED\", got 'enabled'" in errors[1]
    path.write_text(text(2))
    until(lambda: served(client) == 2)
    until(lambda: client.status.state is State.OK)
    assert client.status.error is None


def test_a_rewrite_of_the_same_size_and_time_is_noticed(start: Callable[..., Client], tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text(text(1))
    moment = path.stat()
    client = start(path)
    path.write_text(text(2))
    os.utime(path, ns=(moment.st_atime_ns, moment.st_mtime_ns))
    assert until(lambda: served(client) == 2) < PROMISED_S


class Receiver:
    """Keeps the content of the newest delivery."""

    content: Any = None

    snapshot = None

    def dump(self) -> None:
        return None

    def deliver(self, delivery: Delivery) -> bool:
        self.content = delivery.documents[0].content
        return True


def test_rewrites_within_one_tick_of_the_file_systems_clock_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_stat = os.stat

    def stat_by_a_coarse_clock(path: Any, **options: Any) -> Any:
        info = real_stat(path, **options)
        second = 1_000_000_000
        return SimpleNamespace(
            st_mode=info.st_mode,
            st_size=info.st_size,
            st_ino=info.st_ino,
            st_mtime_ns=info.st_mtime_ns // second * second,
            st_ctime_ns=info.st_ctime_ns // second * second,
        )

    monkeypatch.setattr(os, "stat", stat_by_a_coarse_clock)
    path = tmp_path / "flags.json"
    path.write_bytes(b"0000")
    source = FileSource([path], max_bytes=100, poll_interval_s=1.0, wall_clock=time.time)
    receiver = Receiver()
    source.open(receiver)
    served_contents = []
    for number in range(1, 50):
        with path.open("r+b") as file:
            file.write(b"%04d" % number)
        source._look()
        served_contents.append(receiver.content)
    monkeypatch.undo()
    assert served_contents == [b"%04d" % number for number in range(1, 50)]


def test_a_folder_is_its_flag_files_in_order_of_name(start: Callable[..., Client], tmp_path: Path) -> None:
    (tmp_path / "10.json").write_text(text("first"))
    (tmp_path / "20.yaml").write_text("flags: {g: {state: ENABLED, variants: {on: true}, defaultVariant: on}}")
    (tmp_path / "notes.txt").write_text("not a flag file")
    (tmp_path / ".hidden.json").write_text("{")
    client = start(tmp_path)
    assert (served(client), client.is_enabled("g", USER)) == ("first", True)
    (tmp_path / "30.json").write_text(text("last"))
    until(lambda: served(client) == "last")
    (tmp_path / "30.json").unlink()
    until(lambda: served(client) == "first")
    (tmp_path / "20.yaml").unlink()
    until(lambda: client.variation_detail("g", USER).error_code is ErrorCode.FLAG_NOT_FOUND)
    assert client.status.state is State.OK


def test_a_broken_file_of_several_holds_up_no_other(
    start: Callable[..., Client], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    ours.write_text(text(0))
    theirs.write_text(json.dumps({"flags": {"g": flag(default="on")}}))
    client = start(ours, theirs)
    theirs.write_text("{")
    until(lambda: client.status.state is State.INTERRUPTED)
    ours.write_text(text(1))
    until(lambda: served(client) == 1)
    ours.write_text(text(2))
    until(lambda: served(client) == 2)
    assert client.is_enabled("g", USER)
    assert client.status.state is State.INTERRUPTED
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1, "the broken file is told of once, however often the other changes"


def test_changes_are_told_by_flag_key(start: Callable[..., Client], tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    flags = {"same": flag(default="on"), "altered": flag(default="on"), "removed": flag(default="on")}
    path.write_text(json.dumps({"flags": flags}))
    client = start(path)
    told: list[frozenset[str]] = []
    end = client.on_change(told.append)
    client.on_change(lambda keys: keys.nonsense())  # type: ignore[attr-defined]  # a bad callback of the caller's
    changed = {"same": flag(default="on", description="x"), "altered": flag(default="off"), "added": flag(default="on")}
    path.write_text(json.dumps({"flags": changed}))
    until(lambda: told)
    assert told == [frozenset({"altered", "removed", "added"})]
    end()
    path.write_text(json.dumps({"flags": {}}))
    until(lambda: client.status.flags == 0)
    assert len(told) == 1


def test_a_file_over_the_limit_is_refused_and_the_good_flags_stay(start: Callable[..., Client], tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text(text(0))
    client = start(path, max_bytes=1000)
    path.write_text(text("x" * 2000))
    until(lambda: client.status.state is State.INTERRUPTED)
    assert "max_bytes=1000" in (client.status.error or "")
    assert served(client) == 0


@pytest.mark.parametrize("what", ["directory", "fifo", "loop", "another ending"])
def test_a_path_that_is_no_readable_file_is_explained(start: Callable[..., Client], tmp_path: Path, what: str) -> None:
    path = tmp_path / ("flags.other" if what == "another ending" else "flags.json")
    if what == "another ending":
        path.write_text(text(0))
    elif what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("flags.json")
    client = start(path)
    assert served(client) == "default"
    assert str(path) in (client.status.error or "")


def test_one_named_daemon_thread_watches_and_ends_with_close(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text(text(0))
    before = set(threading.enumerate())
    client = Client(FlagFile(path))
    assert set(threading.enumerate()) == before
    client.start()
    (ours,) = set(threading.enumerate()) - before
    assert (ours.name, ours.daemon) == ("flagmw-source", True)
    assert client.close(5.0)
    assert client.close(5.0)
    assert set(threading.enumerate()) == before
    assert served(client) == 0
    assert client.status.state is State.OFF


def test_a_dropped_client_ends_its_thread(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text(text(0))
    client = Client(FlagFile(path))
    client.start()
    assert any(thread.name == "flagmw-source" for thread in threading.enumerate())
    del client
    until(lambda: not any(thread.name == "flagmw-source" for thread in threading.enumerate()))


@pytest.mark.parametrize(
    ("paths", "settings", "message"),
    [
        ((), {}, "at least one path"),
        ((5,), {}, "must be a str or a Path"),
        (("",), {}, "must be a str or a Path"),
        (("flags.toml",), {}, "ends in"),
        (("flags.yaml",), {"fractional": "v4"}, "fractional"),
        (("flags.yaml",), {"max_bytes": 0}, "max_bytes"),
        (("flags.yaml",), {"poll_interval_s": 0}, "poll_interval_s"),
        (("flags.yaml",), {"poll_interval_s": True}, "poll_interval_s"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(paths: Any, settings: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FlagFile(*paths, **settings)
