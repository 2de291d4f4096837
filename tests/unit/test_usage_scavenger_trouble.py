"""Why nothing arrives: said once per episode, and without the key."""

from __future__ import annotations

import logging

import pytest

from flagmw.errors import TransportError
from flagmw.usage.scavenger.trouble import Trouble

DOWN = TransportError("h:1 refused the connection")


@pytest.fixture(autouse=True)
def _hear(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "flagmw")


def test_an_episode_is_said_once_and_counted_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble("secret")
    for _ in range(50):
        trouble.failed("poll", DOWN)
    assert trouble.text == "h:1 refused the connection"
    trouble.healed("poll")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert caplog.messages[1].endswith("after 50 failures")
    assert trouble.text is None


def test_the_next_episode_is_said_again(caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble("secret")
    for _ in range(2):
        trouble.failed("poll", DOWN)
        trouble.healed("poll")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"] * 2


def test_polls_that_succeed_do_not_end_the_trouble_of_publications(caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble("secret")
    for _ in range(10):
        trouble.failed("invocations", DOWN)
        trouble.healed("poll")
    assert trouble.text is not None
    assert len(caplog.records) == 1


def test_ever_new_failures_are_no_flood(caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble("secret")
    for number in range(100):
        trouble.failed("poll", TransportError(f"at {number}"))
    assert len(caplog.records) == 3


def test_what_is_for_ever_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble("secret")
    trouble.final("no")
    assert [(record.levelname, trouble.text) for record in caplog.records] == [("ERROR", "no")]


def test_the_key_is_in_no_text(caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble("secret")
    trouble.failed("poll", TransportError("unknown key secret"))
    assert trouble.text == "unknown key ***"
    trouble.final("unknown key secret")
    assert "secret" not in caplog.text + str(trouble.text)
