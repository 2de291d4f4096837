"""What looks for secrets in the suite's logs must itself be able to find one."""

from __future__ import annotations

import logging

from tests.leaks import Watch, found_in, pieces, remember

SECRET = remember("a-secret-that-only-this-file-knows-0123456789")


def record(message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, None) if error is not None else None
    return logging.LogRecord("flagmw", logging.DEBUG, __file__, 1, message, arguments, info)


def test_a_secret_is_found_in_a_message_in_its_arguments_and_in_an_exception() -> None:
    for logged in (
        record(f"connecting with {SECRET}"),
        record("connecting with %s", SECRET),
        record("failed", error=ValueError(f"token={SECRET}")),
    ):
        watch = Watch()
        watch.emit(logged)
        assert len(watch.take()) == 1


def test_half_a_secret_is_found_as_it_stands_in_a_connection_token() -> None:
    assert found_in(f"QQXBS{SECRET[:14]}BDDWDQQQQQBWS")
    assert found_in(f"BDDWDQQQQQBWS{SECRET[-14:]}")


def test_what_is_no_secret_is_not_found() -> None:
    watch = Watch()
    watch.emit(record("connected to %s", "host.example:443"))
    assert watch.take() == []


def test_a_short_secret_is_looked_for_as_a_whole() -> None:
    assert pieces("short") == {"short"}
