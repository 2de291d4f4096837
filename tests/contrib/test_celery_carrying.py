"""What of a user travels through the broker, who decides it, and what becomes of headers that nobody can read."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flagmw
from flagmw import ContextError, UserContext
from flagmw.once import LogOnce
from flagmw_celery import HEADER, extension
from flagmw_celery.carrying import MAX_CHARS, public, read, written
from tests.contrib.celery_host import Broker, Visit
from tests.contrib.support import COOKIE, static_client

ANN = UserContext(
    "ann",
    name="Ann",
    email="ann@example.org",
    country="DE",
    identifiers={"device": "d-1", "account": "a-1"},
    attributes={"plan": "pro", "salary": 12},
    private=frozenset({"salary", "email", "account"}),
)


@pytest.fixture(autouse=True)
def _nothing_was_told_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extension, "_log_once", LogOnce(logging.getLogger("flagmw")))


def header_of(user: Any, **arguments: Any) -> Any:
    """Give what a message carries of a user, read; None when it carries nothing."""
    broker = Broker(**arguments)
    with Visit(user):
        broker.task().delay()
    header = broker.headers().get(HEADER)
    return None if header is None else json.loads(header)


def user_in_task(user: Any, **arguments: Any) -> UserContext:
    """Give the user whom a task sees."""
    broker = Broker(**arguments)
    task = broker.task(lambda: flagmw.flags.user)
    with Visit(user):
        task.delay()
    (seen,) = broker.run_all()
    assert isinstance(seen, UserContext)
    return seen


# --- privacy --------------------------------------------------------------------------------------------------


def test_private_attributes_stay_in_the_process() -> None:
    assert header_of(ANN) == {
        "key": "ann",
        "name": "Ann",
        "country": "DE",
        "identifiers": {"device": "d-1"},
        "attributes": {"plan": "pro"},
        "private": ["account", "email", "salary"],
    }


@pytest.mark.parametrize("field", ["name", "email", "country"])
def test_private_fields_stay_in_the_process(field: str) -> None:
    assert header_of(ANN.replace(private=frozenset({field}))).keys() & {"name", "email", "country"} == {
        "name",
        "email",
        "country",
    } - {field}


def test_private_attributes_stay_private_in_the_task() -> None:
    assert user_in_task(ANN).private == ANN.private


def test_what_the_middleware_knows_of_the_request_stays_in_the_process() -> None:
    from werkzeug.test import Client as Browser

    from flagmw.wsgi import FlagMiddleware

    broker = Broker()
    task = broker.task()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        task.delay()
        start_response("200 OK", [])
        return [b""]

    Browser(FlagMiddleware(app, static_client(), lambda _: {"key": "ann"}, anonymous=COOKIE)).get("/secret-path")
    assert json.loads(broker.headers()[HEADER]) == {"key": "ann", "private": ["request"]}


def test_nothing_travels_when_that_is_not_wanted() -> None:
    assert header_of(ANN, carry=False) is None


def test_a_task_runs_for_nobody_when_nothing_travels() -> None:
    assert user_in_task(ANN, carry=False) == UserContext()


# --- a rule of the application's --------------------------------------------------------------------------------


def test_a_function_says_what_travels() -> None:
    assert header_of(ANN, carry=lambda user: UserContext(user.key)) == {"key": "ann"}


def test_a_function_may_give_a_mapping() -> None:
    assert header_of(ANN, carry=lambda user: {"key": user.key, "plan": "x"}) == {
        "key": "ann",
        "attributes": {"plan": "x"},
    }


def test_a_function_may_send_nothing() -> None:
    assert header_of(ANN, carry=lambda user: None) is None


def test_a_function_may_let_private_attributes_travel_and_they_stay_private() -> None:
    assert user_in_task(ANN, carry=lambda user: user) == ANN


def test_a_function_is_not_asked_again_when_a_task_queues_another() -> None:
    broker = Broker(carry=lambda user: UserContext(f"<{user.key}>"))
    task = broker.task(lambda: flagmw.flags.user.key)
    with Visit(ANN):
        broker.task(lambda: (flagmw.flags.user.key, task.delay())[0]).delay()
    assert broker.run_all() == ["<ann>", "<ann>"]


@pytest.mark.parametrize("result", [LookupError("ann@example.org"), 17, {"key": 17}, float("nan")])
def test_a_function_that_fails_does_not_keep_the_task_from_being_sent(
    result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def carry(_: UserContext) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    assert user_in_task(ANN, carry=carry) == UserContext()
    assert "ann@example.org" not in caplog.text


def test_what_fails_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    def carry(_: UserContext) -> Any:
        raise ZeroDivisionError("told once")

    broker = Broker(carry=carry)
    task = broker.task()
    with Visit(ANN), caplog.at_level(logging.WARNING, "flagmw"):
        task.delay()
        task.delay()
    assert [record.message for record in caplog.records] == [
        "the user of a task does not travel with it: ZeroDivisionError; others like it are not told"
    ]


def test_a_function_is_not_asked_again_after_a_task_has_run_another_one_in_it() -> None:
    broker = Broker(carry=lambda user: UserContext(f"<{user.key}>"))
    task = broker.task(lambda: flagmw.flags.user.key)

    def run_and_queue() -> str | None:
        task.apply()
        task.delay()
        return flagmw.flags.user.key

    with Visit(ANN):
        broker.task(run_and_queue).delay()
    assert broker.run_all() == ["<ann>", "<ann>", "<ann>"]


# --- size -----------------------------------------------------------------------------------------------------


def test_a_user_larger_than_a_header_may_be_does_not_travel(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "flagmw"):
        assert header_of({"key": "ann", "essay": "x" * MAX_CHARS}) is None
    assert "x" * 20 not in caplog.text


def test_a_user_as_large_as_a_header_may_be_travels() -> None:
    room = MAX_CHARS - len(written(UserContext("ann", attributes={"essay": ""}))) + len("")
    user = UserContext("ann", attributes={"essay": "x" * room})
    assert len(written(user)) == MAX_CHARS
    assert user_in_task(user) == user


# --- headers that cannot be read ----------------------------------------------------------------------------------

MALFORMED: list[Any] = [
    "no JSON, of ann@example.org",
    "[]",
    "17",
    "null",
    "[" * 10_000,
    '{"key": ',
    '{"key": 17}',
    '{"key": {"of": "ann@example.org"}}',
    '{"attributes": []}',
    '{"attributes": {"ratio": NaN}}',
    '{"identifiers": {"device": 1}}',
    '{"private": "email"}',
    '{"key": ' + "9" * 5_000 + "}",
    '{"key": "' + "x" * MAX_CHARS + '"}',
    17,
    {"key": "ann@example.org"},
    ["ann"],
    True,
]


@pytest.mark.parametrize("header", MALFORMED, ids=[str(index) for index in range(len(MALFORMED))])
def test_a_task_with_a_header_that_cannot_be_read_runs_for_nobody(
    header: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker()
    broker.task(lambda: (flagmw.flags.user.key, flagmw.flags.string("banner"))).apply_async(headers={HEADER: header})
    with caplog.at_level(logging.DEBUG, "flagmw"):
        assert broker.run_all() == [(None, "old")]
    assert "ann@example.org" not in caplog.text


def test_a_header_that_cannot_be_read_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker()
    task = broker.task()
    for _ in range(2):
        task.apply_async(headers={HEADER: '{"country": 49}'})
    with caplog.at_level(logging.WARNING, "flagmw"):
        broker.run_all()
    (record,) = caplog.records
    assert record.message.startswith("the user of a task cannot be read, so that it runs for nobody: country must be")


def test_a_header_that_cannot_be_read_is_not_carried_on() -> None:
    broker = Broker()
    task = broker.task()
    broker.task(lambda: (flagmw.flags.user, task.delay())[0]).apply_async(headers={HEADER: "no JSON"})
    broker.run()
    assert HEADER not in broker.headers()


@pytest.mark.parametrize("headers", [{}, {HEADER: ""}])
def test_nobody_is_not_worth_a_line_in_the_log(headers: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker()
    broker.task().apply_async(headers=headers)
    with caplog.at_level(logging.INFO, "flagmw"):
        broker.run_all()
    assert not caplog.records


def test_a_user_who_cannot_be_built_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise LookupError

    with Visit(fail), caplog.at_level(logging.INFO, "flagmw"):
        Broker().task().delay()
    (record,) = caplog.records
    assert record.message.startswith("the user of a request could not be built")


def test_fields_of_later_releases_are_left_out() -> None:
    assert read('{"key": "ann", "tenant": "t-1"}') == UserContext("ann")


# --- there and back -----------------------------------------------------------------------------------------------

TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXT, values, max_size=3),
    max_leaves=5,
)
USERS = st.builds(
    UserContext,
    st.none() | TEXT,
    name=st.none() | TEXT,
    email=st.none() | TEXT,
    country=st.none() | TEXT,
    identifiers=st.dictionaries(TEXT, TEXT, max_size=3),
    attributes=st.dictionaries(TEXT, JSON, max_size=3),
    private=st.frozensets(TEXT, max_size=3),
)


@given(USERS)
def test_a_user_comes_back_as_they_were(user: UserContext) -> None:
    assert read(written(user)) == user


@given(USERS)
def test_the_text_of_a_user_is_ascii(user: UserContext) -> None:
    assert written(user).isascii()


@given(USERS)
def test_no_private_value_is_in_what_travels(user: UserContext) -> None:
    assert not public(user).values.keys() & (user.private - {"targetingKey"})


def test_a_user_without_private_attributes_is_not_copied() -> None:
    user = UserContext("ann")
    assert public(user) is user


@pytest.mark.parametrize("header", MALFORMED, ids=[str(index) for index in range(len(MALFORMED))])
def test_what_is_wrong_with_a_header_is_an_error_of_ours_that_shows_nothing_of_it(header: Any) -> None:
    with pytest.raises(ContextError) as raised:
        read(header)
    assert "ann@example.org" not in str(raised.value)
