"""Shipping at a clock of the test's own: what is posted when, what is tried again, what is given up."""

from __future__ import annotations

import logging

import pytest

from flagmw.events.batches import MAX_ASKED_PAUSE_S
from flagmw.events.buffer import Entry, MemoryBuffer
from flagmw.events.posting import FIRST_PAUSE_S, MAX_PAUSE_S, REFUSED_PAUSE_S, Pace
from flagmw.events.shipping import CLOSING_PAUSE_S, Shipper
from flagmw.status import EventCounts
from tests.unit.event_support import Answered, NamingWire, Posted, ScriptedSession, exposure
from tests.unit.shipping_support import FLUSH_INTERVAL_S, World


def names_of(count: int) -> list[str]:
    return [f"e{place}" for place in range(count)]


# --- batches ----------------------------------------------------------------------------------------------------


def test_an_event_waits_a_flush_interval_for_others() -> None:
    world = World(NamingWire(), ScriptedSession()).put("a", "b").run()
    assert world.session.bodies == [["a", "b"]]
    assert world.waits == [FLUSH_INTERVAL_S, None]


def test_a_full_batch_does_not_wait() -> None:
    world = World(NamingWire(max_items=2), ScriptedSession()).put("a", "b", "c", "d").run()
    assert world.session.bodies == [["a", "b"], ["c", "d"]]
    assert world.waits == [None]


def test_what_is_left_over_from_full_batches_waits_for_others() -> None:
    world = World(NamingWire(max_items=2), ScriptedSession()).put("a", "b", "c").run()
    assert world.session.bodies == [["a", "b"], ["c"]]
    assert world.waits == [FLUSH_INTERVAL_S, None]


def test_an_event_that_comes_while_another_waits_travels_with_it() -> None:
    world = World(NamingWire(max_items=3), ScriptedSession()).put("a")
    world.events[0] = lambda: world.put("b")
    world.run()
    assert world.session.bodies == [["a", "b"]]
    assert world.waits == [FLUSH_INTERVAL_S, FLUSH_INTERVAL_S, None]


def test_a_thread_without_events_waits_for_ever_and_for_the_first_one() -> None:
    world = World(NamingWire(), ScriptedSession())
    levels: list[int] = []

    def put_one() -> None:
        levels.append(world.level)
        world.put("a")

    world.events[0] = put_one
    world.run()
    assert levels == [1]
    assert world.waits == [None, FLUSH_INTERVAL_S, None]


def test_an_event_that_comes_just_before_the_thread_falls_asleep_is_not_slept_over() -> None:
    class Busy(MemoryBuffer):
        """Has an event come right after it was found to be empty, once."""

        def take(self) -> Entry:
            try:
                return super().take()
            except IndexError:
                if late:
                    self.put(exposure(late.pop()))
                raise

    late = ["late"]
    world = World(NamingWire(), ScriptedSession(), kind=Busy).run()
    assert world.waits == [FLUSH_INTERVAL_S, None]
    assert world.session.bodies == [["late"]]


def test_a_waiting_batch_is_rung_for_when_it_is_full() -> None:
    world = World(NamingWire(max_items=5), ScriptedSession()).put("many:2:a", "b")
    levels: list[int] = []
    world.events[0] = lambda: levels.append(world.level)
    world.run()
    assert levels == [4], "two events are held, and two more items make a batch"


def test_an_event_of_several_items_travels_whole() -> None:
    world = World(NamingWire(max_items=3), ScriptedSession()).put("a", "b", "many:2:c", "d").run()
    assert world.session.bodies == [["a", "b"], ["c.0", "c.1", "d"]]
    assert world.counts.sent == 4


def test_an_event_of_more_items_than_fit_travels_alone() -> None:
    world = World(NamingWire(max_items=2), ScriptedSession()).put("a", "many:3:b", "c").run()
    assert world.session.bodies == [["a"], ["b.0", "b.1", "b.2"], ["c"]]


def test_an_event_that_cannot_be_encoded_takes_no_other_with_it() -> None:
    world = World(NamingWire(), ScriptedSession()).put("a", "bad", "b").run()
    assert world.session.bodies == [["a", "b"]]
    assert world.counts == EventCounts(sent=2, dropped=1)


def test_an_event_that_the_service_has_no_use_for_is_forgotten() -> None:
    world = World(NamingWire(), ScriptedSession()).put("none", "none").run()
    assert world.session.posted == []
    assert world.counts == EventCounts()


def test_many_events_that_the_service_has_no_use_for_do_not_keep_the_thread_busy() -> None:
    world = World(NamingWire(max_items=2), ScriptedSession()).put("a", *["none"] * 200).run()
    assert world.session.bodies == [["a"]]
    assert world.counts == EventCounts(sent=1)


def test_headers_are_made_anew_for_each_try() -> None:
    world = World(NamingWire(), ScriptedSession(500)).put("a").run()
    assert [posted.headers["X-Made"] for posted in world.session.posted] == ["1", "2"]


def test_a_batch_is_posted_to_the_url_of_the_wire() -> None:
    posted = World(NamingWire(), ScriptedSession()).put("a").run().session.posted[0]
    assert (posted.method, posted.url) == ("POST", "http://events.example/track")


def test_a_batch_that_cannot_be_put_together_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    class Fragile(NamingWire):
        def body(self, items: object) -> bytes:
            raise ValueError("secret of the user")

    world = World(Fragile(max_items=1), ScriptedSession()).put("a", "b").run()
    assert world.counts == EventCounts(dropped=2)
    assert "secret" not in caplog.text


# --- trying again -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [500, 503, 408, 425, 429, 302, "no connection", OSError("secret"), ValueError()])
def test_what_passes_is_tried_again_with_the_same_bytes(failure: int | str | Exception) -> None:
    wire = NamingWire(takes_gzip=True, padding=2_000)
    world = World(wire, ScriptedSession(failure, failure)).put("a", "b").run()
    assert len({posted.body for posted in world.session.posted}) == 1
    assert wire.encoded == ["a", "b"]
    assert world.counts == EventCounts(sent=2, retried=2)


def test_a_batch_is_tried_until_it_is_delivered_and_later_ones_wait() -> None:
    world = World(NamingWire(max_items=1), ScriptedSession(*[500] * 40)).put("a", "b").run()
    assert world.session.bodies == [["a"]] * 41 + [["b"]]
    assert world.counts == EventCounts(sent=2, retried=1)


def test_pauses_between_tries_grow_up_to_a_bound() -> None:
    world = World(NamingWire(max_items=1), ScriptedSession(*[500] * 9)).put("a").run()
    grown = [min(FIRST_PAUSE_S * 2**place, MAX_PAUSE_S) for place in range(9)]
    assert world.waits[:-1] == grown
    assert grown[-1] == MAX_PAUSE_S


def test_a_pause_is_partly_a_matter_of_chance() -> None:
    world = World(NamingWire(max_items=1), ScriptedSession(500, 500), share=0.0).put("a").run()
    assert world.waits[:-1] == [FIRST_PAUSE_S / 2, FIRST_PAUSE_S]


def test_pauses_start_anew_after_a_delivery() -> None:
    world = World(NamingWire(max_items=1), ScriptedSession(500, 500, 200, 500)).put("a", "b").run()
    assert world.waits[:-1] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, FIRST_PAUSE_S]


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_may_say_for_how_long_to_wait(status: int) -> None:
    answer = Answered(status=status, headers={"Retry-After": "7"})
    assert World(NamingWire(max_items=1), ScriptedSession(answer)).put("a").run().waits[0] == 7.0


def test_a_service_may_not_ask_for_more_patience_than_the_queue_has() -> None:
    answer = Answered(status=429, headers={"Retry-After": "86400"})
    assert World(NamingWire(max_items=1), ScriptedSession(answer)).put("a").run().waits[0] == MAX_ASKED_PAUSE_S


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_secret_is_tried_again_slowly(status: int) -> None:
    world = World(NamingWire(max_items=1), ScriptedSession(status, status)).put("a").run()
    assert world.waits[:-1] == [REFUSED_PAUSE_S, REFUSED_PAUSE_S]
    assert world.counts == EventCounts(sent=1, retried=1)


def test_a_refused_secret_is_told_once_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    World(NamingWire(max_items=1), ScriptedSession(401, 401, 401)).put("a").run()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "status 401" in caplog.text


def test_a_secret_that_is_refused_again_later_is_told_again(caplog: pytest.LogCaptureFixture) -> None:
    World(NamingWire(max_items=1), ScriptedSession(401, 200, 401)).put("a", "b").run()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


def test_an_outage_is_told_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "flagmw"):
        World(NamingWire(max_items=1), ScriptedSession("the server is down", 500, 500)).put("a", "b").run()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "events cannot be delivered, they wait and are tried again: the server is down"),
        ("INFO", "events are delivered again after 3 tries that failed"),
    ]


def test_an_error_of_a_session_is_told_by_its_type(caplog: pytest.LogCaptureFixture) -> None:
    World(NamingWire(max_items=1), ScriptedSession(ValueError("https://secret@host"))).put("a").run()
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_a_session_that_cannot_be_made_is_tried_again() -> None:
    session = ScriptedSession()
    attempts: list[int] = []

    def connect() -> ScriptedSession:
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError("no such file")
        return session

    world = World(NamingWire(max_items=1), session)
    world.shipper = Shipper(
        NamingWire(max_items=1), world.buffer, connect, world, Pace(monotonic=lambda: world.now_s, random=lambda: 1.0)
    )
    world.put("a", "b").run()
    assert session.closed.is_set()
    assert (len(attempts), session.names) == (3, ["a", "b"])


# --- what a service does not take -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 404, 415, 422])
def test_a_batch_that_the_service_will_never_take_is_dropped_and_later_ones_are_not(status: int) -> None:
    world = World(NamingWire(max_items=2), ScriptedSession(status)).put("a", "b", "c").run()
    assert world.session.bodies == [["a", "b"], ["c"]]
    assert world.counts == EventCounts(sent=1, dropped=2)


def test_a_dropped_batch_is_told_with_its_status_and_without_its_content(caplog: pytest.LogCaptureFixture) -> None:
    World(NamingWire(), ScriptedSession(422)).put("ada", "grace").run()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "2 events (status 422)" in caplog.text
    assert "ada" not in caplog.text


def test_what_was_tried_again_and_then_dropped_does_not_count_as_tried_again() -> None:
    world = World(NamingWire(), ScriptedSession(500, 404)).put("a").run()
    assert world.counts == EventCounts(dropped=1)


def test_a_batch_that_is_too_large_is_split_until_it_fits_and_keeps_its_order() -> None:
    def at_most_2(posted: Posted) -> Answered:
        return Answered(status=413 if len(posted.names) > 2 else 200)

    names = names_of(7)
    world = World(NamingWire(), ScriptedSession(*[at_most_2] * 50)).put(*names).run()
    assert [name for body in world.session.bodies if len(body) <= 2 for name in body] == names
    assert world.counts == EventCounts(sent=7)


def test_a_single_event_that_is_too_large_is_dropped_alone() -> None:
    def without_b(posted: Posted) -> Answered:
        return Answered(status=413 if "b" in posted.names else 200)

    world = World(NamingWire(), ScriptedSession(*[without_b] * 50)).put("a", "b", "c", "none").run()
    assert world.session.bodies == [["a", "b", "c"], ["a"], ["b", "c"], ["b"], ["c"]]
    assert world.counts == EventCounts(sent=2, dropped=1)


# --- compression ------------------------------------------------------------------------------------------------


def test_a_large_body_is_compressed_for_a_service_that_takes_it() -> None:
    session = World(NamingWire(takes_gzip=True, padding=2_000), ScriptedSession()).put("a").run().session
    assert session.posted[0].headers["Content-Encoding"] == "gzip"
    assert len(session.posted[0].body) < 200
    assert session.names == ["a"]


def test_a_small_body_is_sent_as_it_is() -> None:
    session = World(NamingWire(takes_gzip=True), ScriptedSession()).put("a").run().session
    assert "Content-Encoding" not in session.posted[0].headers


@pytest.mark.parametrize("status", [400, 415])
def test_a_service_that_does_not_take_compressed_bodies_after_all_gets_plain_ones_for_good(status: int) -> None:
    wire = NamingWire(takes_gzip=True, padding=2_000, max_items=1)
    world = World(wire, ScriptedSession(status)).put("a", "b").run()
    assert ["Content-Encoding" in posted.headers for posted in world.session.posted] == [True, False, False]
    assert world.session.bodies == [["a"], ["a"], ["b"]]
    assert world.counts == EventCounts(sent=2)


def test_a_batch_that_is_refused_uncompressed_as_well_is_dropped() -> None:
    world = World(NamingWire(takes_gzip=True, padding=2_000), ScriptedSession(400, 400)).put("a").run()
    assert world.counts == EventCounts(dropped=1)


# --- a full queue -----------------------------------------------------------------------------------------------


def test_events_beyond_the_capacity_are_dropped_and_counted() -> None:
    world = World(NamingWire(), ScriptedSession(), capacity=3).put(*names_of(5)).run()
    assert world.session.names == ["e0", "e1", "e2"]
    assert world.counts == EventCounts(sent=3, dropped=2)


def test_a_full_queue_is_told_once_and_again_with_a_count_when_it_has_room(caplog: pytest.LogCaptureFixture) -> None:
    world = World(NamingWire(max_items=2), ScriptedSession(), capacity=2).put(*names_of(4))
    world.events[0] = lambda: world.put("f")
    world.run()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "the queue of events is full (2 wait): new events are dropped"),
        ("WARNING", "the queue of events has room again; 2 events were dropped meanwhile"),
    ]


def test_a_queue_that_is_full_again_is_told_again_with_its_own_count(caplog: pytest.LogCaptureFixture) -> None:
    world = World(NamingWire(max_items=2), ScriptedSession(), capacity=2).put(*names_of(4))
    world.events[0] = lambda: world.put(*names_of(5))
    world.run()
    assert [record.getMessage().split(";")[-1].strip() for record in caplog.records[1::2]] == [
        "2 events were dropped meanwhile",
        "3 events were dropped meanwhile",
    ]


# --- flushing and stopping --------------------------------------------------------------------------------------


def test_a_flush_in_a_pause_tries_at_once() -> None:
    world = World(NamingWire(max_items=1), ScriptedSession(401)).put("a")
    world.events[0] = lambda: world.shipper.flush(0.0)
    world.run()
    assert world.now_s == 0.0
    assert world.counts.sent == 1


def test_a_flush_that_was_tried_for_does_not_shorten_the_next_pause() -> None:
    world = World(NamingWire(max_items=1), ScriptedSession(401, 401)).put("a")
    world.events[0] = lambda: world.shipper.flush(0.0)
    world.run()
    assert world.now_s == REFUSED_PAUSE_S


def test_an_event_that_is_dropped_in_a_pause_does_not_shorten_it(caplog: pytest.LogCaptureFixture) -> None:
    world = World(NamingWire(max_items=1), ScriptedSession(500), capacity=1).put("a")
    world.events[0] = lambda: world.put("b")
    world.run()
    assert world.now_s == FIRST_PAUSE_S
    assert "the queue of events is full" in caplog.text


def test_a_flush_is_due_at_once() -> None:
    world = World(NamingWire(), ScriptedSession()).put("a")
    world.events[0] = lambda: world.shipper.flush(0.0)
    world.run()
    assert world.now_s == 0.0
    assert world.session.bodies == [["a"]]


def test_what_is_there_is_shipped_before_the_thread_ends() -> None:
    world = World(NamingWire(max_items=2), ScriptedSession()).put("a", "b", "c")
    world.stopping.set()
    world.run()
    assert world.session.bodies == [["a", "b"], ["c"]]
    assert world.waits == []


def test_the_last_delivery_is_tried_again_until_the_time_is_over() -> None:
    world = World(NamingWire(), ScriptedSession(*[500] * 99)).put("a", "b")
    world.stopping.set()
    world.shipper.finish_by(1.05)
    world.run()
    assert 1.05 <= world.now_s <= 1.05 + CLOSING_PAUSE_S
    assert world.waits == pytest.approx([CLOSING_PAUSE_S] * 11)
    assert world.counts == EventCounts(dropped=2)


def test_a_thread_that_is_stopped_in_a_pause_tries_at_once() -> None:
    world = World(NamingWire(max_items=1), ScriptedSession(500)).put("a")
    world.events[0] = world.stopping.set
    world.run()
    assert world.now_s == 0.0
    assert world.counts.sent == 1


def test_a_service_that_refuses_the_secret_does_not_hold_up_the_end() -> None:
    world = World(NamingWire(max_items=1), ScriptedSession(*[401] * 9)).put("a", "b")
    world.events[0] = world.stopping.set
    world.run()
    assert len(world.session.posted) == 2
    assert world.counts == EventCounts(dropped=2)


def test_nothing_is_posted_when_there_is_no_time_for_it() -> None:
    world = World(NamingWire(), ScriptedSession()).put("a")
    world.stopping.set()
    world.shipper.finish_by(0.0)
    world.run()
    assert world.session.posted == []


def test_a_process_that_leaves_without_closing_does_not_try_for_ever() -> None:
    world = World(NamingWire(), ScriptedSession(*[500] * 99)).put("a")
    world.stopping.set()
    world.run()
    assert 0.5 < world.now_s < 1.0


def test_what_is_left_is_told_once_as_an_error_with_its_number(caplog: pytest.LogCaptureFixture) -> None:
    world = World(NamingWire(), ScriptedSession()).put("a", "b")
    world.stopping.set()
    world.shipper.finish_by(0.0)
    world.run()
    world.shipper.end()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "2 events were not delivered in time and are lost")
    ]


def test_an_answer_that_comes_after_the_end_changes_no_count() -> None:
    world = World(NamingWire(max_items=1), ScriptedSession())

    def end_meanwhile(posted: Posted) -> Answered:
        world.shipper.end()
        return Answered()

    world.session.script.append(end_meanwhile)
    world.put("a", "b").run()
    assert world.session.names == ["a"]
    assert world.counts == EventCounts(dropped=2)
