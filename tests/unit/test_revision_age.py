"""How long ago flags were known to be the newest: what health checks go by."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flagmw import Client, State
from flagmw.providers import FlagFile, Static
from flagmw.status import Status
from tests.unit.support import flag, until

OLD_S = 0.6


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "flags.json"
    path.write_text(json.dumps({"flags": {"a": flag(default="on")}}))
    return path


@pytest.fixture
def client(path: Path) -> Iterator[Client]:
    """Give a client whose flags came a while ago, and were looked at just now; nobody has asked for its status yet."""
    with Client(FlagFile(path, poll_interval_s=0.02, watch=False)) as client:
        old_s = time.monotonic() + OLD_S
        until(lambda: time.monotonic() > old_s)
        yield client


def age_of(status: Status) -> float:
    assert status.revision_age_s is not None
    return status.revision_age_s


def test_files_are_known_to_be_the_newest_as_long_as_they_are_looked_at(client: Client) -> None:
    assert age_of(client.status) < OLD_S / 2


def test_a_file_that_goes_leaves_flags_that_were_the_newest_till_then(
    client: Client, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.unlink()
    until(lambda: caplog.records)
    assert age_of(client.status) < OLD_S / 2


def test_a_file_that_breaks_leaves_flags_that_were_the_newest_till_then(
    client: Client, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text("{")
    until(lambda: caplog.records)
    assert age_of(client.status) < OLD_S / 2


@pytest.mark.parametrize("how", ["gone", "broken"])
def test_flags_grow_old_while_there_is_an_error(client: Client, path: Path, how: str) -> None:
    if how == "gone":
        os.unlink(path)
    else:
        path.write_text("{")
    until(lambda: client.status.state is State.INTERRUPTED)
    until(lambda: age_of(client.status) > OLD_S)


def test_flags_are_the_newest_again_when_the_error_is_over(client: Client, path: Path) -> None:
    content = path.read_text()
    path.write_text("{")
    until(lambda: age_of(client.status) > OLD_S)
    path.write_text(content)
    until(lambda: age_of(client.status) < OLD_S / 2)


def test_flags_in_memory_are_always_the_newest() -> None:
    with Client(Static({"a": True})) as client:
        until(lambda: (client.status.age_s or 0.0) > 0.1)
        assert age_of(client.status) < 0.1


def test_there_is_no_such_time_where_no_flags_came(tmp_path: Path) -> None:
    with Client(FlagFile(tmp_path / "gone.json")) as client:
        assert client.status.revision_age_s is None
