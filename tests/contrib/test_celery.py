"""`flagmw_celery.Flags`: a task sees the user who queued it, whatever way it is queued, and one state of the flags."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from celery import chain, chord, group
from celery.exceptions import Ignore, Reject

import flagmw
from flagmw import Client, UserContext
from flagmw.accessor import Flags as Accessor
from flagmw.binding import current_flags
from flagmw.providers import Static
from flagmw.testing import MemorySink
from flagmw.users import Visitors
from flagmw_celery import HEADER
from tests.contrib.asgi_host import app_of, get
from tests.contrib.celery_host import Broker, Visit, key_and_beta
from tests.contrib.django_app import testing  # sets Django up
from tests.contrib.django_app.host import DjangoHost, visit_asgi, visit_wsgi
from tests.contrib.flask_host import AsyncFlaskHost, FlaskHost
from tests.contrib.starlette_host import StarletteHost
from tests.contrib.support import COOKIE, DEADLINE_S, Host, document, static_client

__all__ = ["testing"]

HOSTS: dict[str, Host] = {
    "flask": FlaskHost(validated=True),
    "flask-async": AsyncFlaskHost(validated=False),
    "starlette": StarletteHost(),
    "django-wsgi": DjangoHost(visit_wsgi),
    "django-asgi": DjangoHost(visit_asgi, has_async_view=True),
}
ANN = ("ann", True)
NOBODY = (None, False)


@pytest.fixture
def broker() -> Broker:
    return Broker()


# --- from a request -------------------------------------------------------------------------------------------


@pytest.fixture(params=list(HOSTS))
def host(request: pytest.FixtureRequest) -> Host:
    return HOSTS[request.param]


def test_a_task_sees_the_user_of_the_request_that_queued_it(host: Host, broker: Broker) -> None:
    task = broker.task()
    with host.serve(lambda flags: task.delay() and None, static_client(), user=lambda _: {"key": "ann"}) as visit:
        assert visit().status == 200
    assert broker.run_all() == [ANN]


def test_a_task_sees_the_anonymous_id_that_the_response_sets(host: Host, broker: Broker) -> None:
    task = broker.task()
    with host.serve(lambda flags: task.delay() and None, static_client(), user=lambda _: None) as visit:
        (cookie,) = visit().cookies
    ((key, _),) = broker.run_all()
    assert cookie.value.startswith(key)


def test_a_request_that_queues_a_task_and_then_reads_flags_has_one_user(host: Host, broker: Broker) -> None:
    task = broker.task()

    def view(flags: Any) -> Any:
        task.delay()
        return flags.user.key

    with host.serve(view, static_client(), user=lambda _: None) as visit:
        key = visit().json
    ((seen, _),) = broker.run_all()
    assert seen == key


def test_a_request_that_queues_a_task_varies_by_cookie(host: Host, broker: Broker) -> None:
    task = broker.task()
    with host.serve(lambda flags: task.delay() and None, static_client()) as visit:
        assert "cookie" in visit().vary


def test_the_user_is_found_out_once_for_tasks_and_flags(host: Host, broker: Broker) -> None:
    task = broker.task()
    calls = []

    def user(_: Any) -> dict[str, str]:
        calls.append(1)
        return {"key": "ann"}

    def view(flags: Any) -> Any:
        task.delay()
        task.delay()
        return flags.is_enabled("beta")

    with host.serve(view, static_client(), user=user) as visit:
        assert visit().json is True
    assert len(calls) == 1


def test_queueing_a_task_starts_no_client() -> None:
    web = static_client()
    broker = Broker()
    with Visit({"key": "ann"}, web):
        broker.task().delay()
    assert web.status.state == "INITIALIZING"


def test_running_a_task_that_reads_no_flag_starts_no_client() -> None:
    client = static_client()
    broker = Broker(client)
    with Visit({"key": "ann"}):
        broker.task(lambda: None).delay()
    broker.run()
    assert client.status.state == "INITIALIZING"


def test_the_user_whom_a_request_has_identified_travels(broker: Broker) -> None:
    task = broker.task()
    with Visit({"key": "bob"}) as flags:
        flags.identify({"key": "ann"})
        task.delay()
    assert broker.run_all() == [ANN]


def test_everything_that_is_not_private_travels(broker: Broker) -> None:
    user = UserContext(
        "ann",
        name="Ann Ō \ud800",
        email="ann@example.org",
        country="DE",
        identifiers={"device": "d-1"},
        attributes={"seats": 2**70, "ratio": 0.1, "tags": ["a", {"b": None}], "on": True, "targetingKey": "x"},
    )
    task = broker.task(lambda: flagmw.flags.user)
    with Visit(user):
        task.delay()
    assert broker.run_all() == [user]


def test_a_task_queued_outside_of_requests_runs_for_nobody(broker: Broker) -> None:
    broker.task().delay()
    assert broker.run_all() == [NOBODY]


def test_a_message_queued_outside_of_requests_has_no_header_of_ours(broker: Broker) -> None:
    broker.task().delay()
    assert HEADER not in broker.headers()


def test_a_task_of_a_user_who_cannot_be_built_is_queued_and_runs_for_nobody(broker: Broker) -> None:
    def fail() -> None:
        raise LookupError("the application's error")

    task = broker.task()
    with Visit(fail):
        task.delay()
    assert broker.run_all() == [NOBODY]


def test_a_task_named_by_its_name_sees_the_user(broker: Broker) -> None:
    task = broker.task()
    with Visit({"key": "ann"}):
        broker.app.send_task(task.name)
    assert broker.run_all() == [ANN]


@pytest.mark.parametrize("protocol", [1, 2])
def test_both_formats_of_messages_carry_the_user(broker: Broker, protocol: int) -> None:
    broker.app.conf.task_protocol = protocol
    task = broker.task()
    with Visit({"key": "ann"}):
        task.delay()
    assert broker.run_all() == [ANN]


def test_a_header_of_the_callers_own_stays(broker: Broker) -> None:
    task = broker.task()
    with Visit({"key": "bob"}):
        task.apply_async(headers={HEADER: '{"key": "ann"}'})
    assert broker.run_all() == [ANN]


def test_an_empty_header_sends_nobody(broker: Broker) -> None:
    task = broker.task()
    with Visit({"key": "ann"}):
        task.apply_async(headers={HEADER: ""})
    assert broker.run_all() == [NOBODY]


def test_headers_of_the_callers_own_do_not_hide_ours(broker: Broker) -> None:
    task = broker.task()
    with Visit({"key": "ann"}):
        task.apply_async(headers={"headers": {"trace": "t-1"}})
    assert broker.run_all() == [ANN]


def test_a_message_of_nobody_is_nobodys_wherever_it_runs(broker: Broker) -> None:
    broker.task().delay()
    with Visit({"key": "ann"}):
        assert broker.run_all() == [NOBODY]


def test_a_request_is_let_go_of_when_its_user_is_found() -> None:
    class Request:
        """A request, which in frameworks refers to its accessor."""

    request = Request()
    flags = Accessor(static_client(), Visitors(lambda _: None, lambda _: None), request)
    flags.find_visitor()
    gone = weakref.ref(request)
    del request
    assert gone() is None


# --- from a task ------------------------------------------------------------------------------------------------


def carried_by(queue: Callable[[Broker, Any], Any]) -> Callable[[Broker], None]:
    """Make a test of a way in which the worker queues a further task."""

    def check(broker: Broker) -> None:
        with Visit({"key": "ann"}):
            queue(broker, broker.task())
        seen = broker.run_all()
        assert len(seen) > 1
        assert set(seen) == {ANN}

    return check


def from_a_task(broker: Broker, task: Any) -> None:
    broker.task(lambda: task.delay() and ANN).delay()


def from_a_task_of_a_task(broker: Broker, task: Any) -> None:
    middle = broker.task(lambda: task.delay() and ANN)
    broker.task(lambda: middle.delay() and ANN).delay()


def from_a_task_that_reads(broker: Broker, task: Any) -> None:
    broker.task(lambda: (key_and_beta(), task.delay())[0]).delay()


def as_a_chain(broker: Broker, task: Any) -> None:
    chain(task.s(), task.s(), task.s()).delay()


def as_a_group(broker: Broker, task: Any) -> None:
    group(task.s(), task.s()).delay()


def as_a_chord(broker: Broker, task: Any) -> None:
    chord([task.s(), task.s()])(task.s())


def as_a_callback(broker: Broker, task: Any) -> None:
    task.apply_async(link=task.s())


@pytest.mark.parametrize(
    "queue",
    [from_a_task, from_a_task_of_a_task, from_a_task_that_reads, as_a_chain, as_a_group, as_a_chord, as_a_callback],
)
def test_a_task_that_the_worker_queues_sees_the_same_user(broker: Broker, queue: Callable[[Broker, Any], Any]) -> None:
    carried_by(queue)(broker)


def test_an_error_callback_sees_the_same_user(broker: Broker) -> None:
    def fail() -> None:
        raise LookupError

    with Visit({"key": "ann"}):
        broker.task(fail).apply_async(link_error=broker.task().si())
    assert broker.run_all() == [ANN]


def test_a_task_that_is_tried_again_sees_the_same_user(broker: Broker) -> None:
    attempts = []

    def flaky() -> Any:
        attempts.append(key_and_beta())
        if len(attempts) < 3:
            raise LookupError
        return key_and_beta()

    task = broker.task(flaky, autoretry_for=(LookupError,), default_retry_delay=0, retry_backoff=False)
    with Visit({"key": "ann"}):
        task.delay()
    broker.run_all()
    assert attempts == [ANN, ANN, ANN]


def test_a_task_that_is_tried_again_begins_with_the_user_who_queued_it(broker: Broker) -> None:
    seen = []

    def flaky() -> None:
        seen.append(flagmw.flags.user.key)
        flagmw.flags.identify({"key": "ann"})
        if len(seen) < 2:
            raise LookupError

    task = broker.task(flaky, autoretry_for=(LookupError,), default_retry_delay=0, retry_backoff=False)
    with Visit({"key": "bob"}):
        task.delay()
    broker.run_all()
    assert seen == ["bob", "bob"]


def test_the_user_whom_a_task_has_identified_travels_on(broker: Broker) -> None:
    task = broker.task()

    def identify() -> Any:
        flagmw.flags.identify({"key": "ann"})
        task.delay()
        return ANN

    with Visit({"key": "bob"}):
        broker.task(identify).delay()
    assert broker.run_all() == [ANN, ANN]


def test_a_task_of_nobody_queues_tasks_of_nobody(broker: Broker) -> None:
    task = broker.task()
    broker.task(lambda: task.delay() and NOBODY).delay()
    assert broker.run_all() == [NOBODY, NOBODY]


# --- in a task ------------------------------------------------------------------------------------------------


def test_a_task_keeps_the_flags_of_its_first_read() -> None:
    provider = Static(document("old"))
    broker = Broker(Client(provider))

    def look() -> Any:
        first = flagmw.flags.string("banner")
        provider.update(document("new"))
        return first, flagmw.flags.variation_detail("banner").value, flagmw.flags.string("theme", "none")

    broker.task(look).delay()
    assert broker.run_all()[0][:2] == ("old", "old")


def test_the_next_task_has_the_flags_of_now() -> None:
    provider = Static(document("old"))
    broker = Broker(Client(provider))
    task = broker.task(lambda: flagmw.flags.string("banner"))
    task.delay()
    broker.run()
    provider.update(document("new"))
    task.delay()
    assert broker.run_all() == ["old", "new"]


def test_rules_find_no_request_in_a_task(broker: Broker) -> None:
    task = broker.task(lambda: "request" in flagmw.flags.user.attributes)
    app = flagmw_wsgi(lambda flags: task.delay() and None)
    app("/")
    assert broker.run_all() == [False]


def flagmw_wsgi(view: Callable[[Any], Any]) -> Callable[[str], Any]:
    """Serve a view below the plain WSGI middleware."""
    from werkzeug.test import Client as Browser

    from flagmw.wsgi import FlagMiddleware

    def app(environ: Any, start_response: Any) -> list[bytes]:
        view(environ["flagmw.flags"])
        start_response("200 OK", [])
        return [b""]

    return lambda path: Browser(FlagMiddleware(app, static_client(), anonymous=COOKIE)).get(path)


def ended_well() -> None:
    flagmw.flags.string("banner")


def failed() -> None:
    flagmw.flags.string("banner")
    raise LookupError


def ignored() -> None:
    flagmw.flags.string("banner")
    raise Ignore


def rejected() -> None:
    flagmw.flags.string("banner")
    raise Reject


@pytest.mark.parametrize("body", [ended_well, failed, ignored, rejected])
def test_nothing_is_bound_after_a_task(broker: Broker, body: Callable[[], None]) -> None:
    broker.task(body).delay()
    with contextlib.suppress(Reject):
        broker.run()
    assert current_flags.get() is None


def test_a_task_that_leaves_the_worker_leaves_nothing_bound(broker: Broker) -> None:
    def leave() -> None:
        raise SystemExit

    broker.task(leave).delay()
    with pytest.raises(SystemExit):
        broker.run()
    assert current_flags.get() is None


def test_two_tasks_at_a_time_have_users_of_their_own(broker: Broker) -> None:
    together = threading.Barrier(2)

    def look() -> Any:
        together.wait(DEADLINE_S)
        seen = key_and_beta()
        together.wait(DEADLINE_S)
        return seen

    task = broker.task(look)
    for key in ("ann", "bob"):
        with Visit({"key": key}):
            task.delay()
    messages = [broker.take(), broker.take()]
    threads = [threading.Thread(target=broker.run, args=(message,)) for message in messages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert sorted(broker.seen) == [ANN, ("bob", False)]


# --- eager tasks ------------------------------------------------------------------------------------------------


def test_an_eager_task_sees_the_user_of_the_request(broker: Broker) -> None:
    task = broker.task()
    with Visit({"key": "ann"}):
        task.apply()
    assert broker.seen == [ANN]


def test_an_eager_task_of_an_eager_task_sees_the_user(broker: Broker) -> None:
    inner = broker.task()
    broker.app.conf.task_always_eager = True
    outer = broker.task(lambda: inner.delay() and ANN)
    with Visit({"key": "ann"}):
        outer.delay()
    assert broker.seen == [ANN, ANN]


def test_an_eager_task_does_not_see_what_would_not_travel() -> None:
    broker = Broker(carry=False)
    task = broker.task()
    with Visit({"key": "ann"}):
        task.apply()
    assert broker.seen == [NOBODY]


def test_an_eager_task_gives_the_request_its_flags_back(broker: Broker) -> None:
    with Visit({"key": "bob"}) as flags:
        broker.task().apply(headers={HEADER: '{"key": "ann"}'})
        assert flagmw.flags == flags


def test_an_eager_task_sees_the_user_of_a_header_of_the_callers_own(broker: Broker) -> None:
    with Visit({"key": "bob"}):
        broker.task().apply(headers={HEADER: '{"key": "ann"}'})
    assert broker.seen == [ANN]


def test_a_task_has_its_flags_back_after_one_of_an_app_without_flags(broker: Broker) -> None:
    other = Broker(installed=False).task(lambda: None)

    def run_another() -> Any:
        other.apply()
        return key_and_beta()

    with Visit({"key": "ann"}):
        broker.task(run_another).delay()
    assert broker.run_all() == [ANN]


def test_an_eager_task_without_a_request_runs_for_nobody(broker: Broker) -> None:
    broker.task().apply()
    assert broker.seen == [NOBODY]


# --- events ---------------------------------------------------------------------------------------------------


def test_what_a_task_is_served_is_on_its_way_before_the_task_goes_on() -> None:
    sink = MemorySink()
    broker = Broker(static_client(sink))

    def look() -> list[str]:
        flagmw.flags.string("banner")
        return [exposure.flag_key for exposure in sink.exposures]

    with Visit({"key": "ann"}):
        broker.task(look).delay()
    assert broker.run_all() == [["banner"]]


def test_what_a_task_tracks_is_on_its_way_before_the_task_goes_on() -> None:
    sink = MemorySink()
    broker = Broker(static_client(sink))

    def look() -> list[tuple[str, str | None]]:
        flagmw.flags.track("paid", 3)
        return [(metric.event, metric.context.key) for metric in sink.metrics]

    with Visit({"key": "ann"}):
        broker.task(look).delay()
    assert broker.run_all() == [[("paid", "ann")]]


def test_what_a_request_was_served_is_on_its_way_before_a_task_of_it_is_sent(broker: Broker) -> None:
    sink = MemorySink()
    task = broker.task()
    with Visit({"key": "ann"}, static_client(sink)) as flags:
        flags.string("banner")
        task.delay()
        assert len(sink.exposures) == 1


# --- asyncio ----------------------------------------------------------------------------------------------------


def test_a_task_queued_from_a_thread_of_an_async_request_sees_the_user(broker: Broker) -> None:
    from flagmw.asgi import FlagMiddleware

    task = broker.task()

    async def view(flags: Any) -> None:
        await asyncio.to_thread(task.delay)

    get(FlagMiddleware(app_of(view), static_client(), user=lambda _: {"key": "ann"}))
    assert broker.run_all() == [ANN]
