"""Batches and what answers to them mean."""

from __future__ import annotations

import gzip
import logging

import pytest

from flagmw.events.batches import MAX_ASKED_PAUSE_S, MAX_BODY_BYTES, Batch, Encoder, Verdict, asked_pause_s, verdict_of
from flagmw.events.buffer import Entry, MemoryBuffer
from flagmw.once import LogOnce
from tests.unit.event_support import NamingWire, exposure, identity, metric

NOW_S = 1_700_000_000.0


def entry(*names: str) -> Entry:
    return [("x", name.encode()) for name in names]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.SENT),
        (202, Verdict.SENT),
        (299, Verdict.SENT),
        (100, Verdict.RETRY),
        (302, Verdict.RETRY),
        (408, Verdict.RETRY),
        (425, Verdict.RETRY),
        (429, Verdict.RETRY),
        (500, Verdict.RETRY),
        (503, Verdict.RETRY),
        (599, Verdict.RETRY),
        (401, Verdict.RETRY_SLOWLY),
        (403, Verdict.RETRY_SLOWLY),
        (407, Verdict.RETRY_SLOWLY),
        (413, Verdict.SPLIT),
        (400, Verdict.REFUSED),
        (404, Verdict.REFUSED),
        (415, Verdict.REFUSED),
        (422, Verdict.REFUSED),
    ],
)
def test_a_status_says_what_becomes_of_a_batch(status: int, verdict: Verdict) -> None:
    assert verdict_of(status, was_compressed=False) is verdict


@pytest.mark.parametrize("status", [400, 415])
def test_a_compressed_body_may_be_what_a_service_does_not_take(status: int) -> None:
    assert verdict_of(status, was_compressed=True) is Verdict.PLAIN


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({}, 0.0),
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": ""}, 0.0),
        ({"Retry-After": "9" * 400}, MAX_ASKED_PAUSE_S),
        ({"Retry-After": "86400"}, MAX_ASKED_PAUSE_S),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:32 GMT"}, 12.0),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:00 GMT"}, 0.0),
        ({"Retry-After": "Tue, 99 Nov 2023 22:13:00 GMT"}, 0.0),
    ],
)
def test_a_service_may_ask_for_a_pause_within_bounds(headers: dict[str, str], pause_s: float) -> None:
    assert asked_pause_s(headers, NOW_S) == pause_s


def test_a_batch_has_room_up_to_the_number_of_items_a_body_may_have() -> None:
    batch = Batch([entry("a"), entry("b", "c")])
    assert batch.has_room_for(entry("d"), 4)
    assert not batch.has_room_for(entry("d", "e"), 4)


def test_a_batch_has_room_up_to_a_number_of_bytes() -> None:
    batch = Batch([entry("a" * (MAX_BODY_BYTES - 1))])
    assert batch.has_room_for(entry("b"), 50)
    assert not batch.has_room_for(entry("bb"), 50)


def test_an_event_of_more_items_than_a_body_may_have_travels_alone() -> None:
    assert Batch([None, ()]).has_room_for(entry("a", "b", "c"), 2)


def test_a_batch_counts_events_rather_than_items() -> None:
    batch = Batch([entry("a", "b"), (), None, entry("c")])
    assert (batch.events, batch.broken, len(batch.items)) == (2, 1, 3)


def test_halves_have_all_entries_in_order_and_an_event_each() -> None:
    batch = Batch([(), entry("a"), None, entry("b"), ()], was_retried=True)
    halves = batch.halves()
    assert halves is not None
    assert [half.entries for half in halves] == [[(), entry("a"), None], [entry("b"), ()]]
    assert all(half.was_retried for half in halves)


def test_a_batch_of_one_event_has_no_halves() -> None:
    assert Batch([entry("a", "b"), None, ()]).halves() is None


def test_a_small_body_is_not_compressed() -> None:
    assert Batch([entry('"a"')]).body(NamingWire(), may_compress=True) == (b'["a"]', False)


def test_a_large_body_is_compressed_to_the_same_bytes_each_time() -> None:
    batch = Batch([entry('"' + "a" * 2_000 + '"')])
    body, was_compressed = batch.body(NamingWire(), may_compress=True)
    assert was_compressed
    assert gzip.decompress(body) == b'["' + b"a" * 2_000 + b'"]'
    assert batch.body(NamingWire(), may_compress=True)[0] is body


def test_a_large_body_stays_plain_for_a_service_that_takes_no_other() -> None:
    assert not Batch([entry("a" * 2_000)]).body(NamingWire(), may_compress=False)[1]


def test_each_kind_of_event_is_encoded_by_its_own_method() -> None:
    encode = Encoder(NamingWire(), LogOnce(logging.getLogger("flagmw")))
    made = [encode(exposure("a")), encode(metric("b")), encode(identity("c"))]
    assert made == [entry('"a"'), entry('"b"'), entry('"c"')]


def test_what_cannot_be_encoded_is_told_once_and_without_its_content(caplog: pytest.LogCaptureFixture) -> None:
    encode = Encoder(NamingWire(), LogOnce(logging.getLogger("flagmw")))
    assert [encode(metric("bad")), encode(metric("bad too"))] == [None, None]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "secret" not in caplog.text


def test_a_full_buffer_takes_no_more() -> None:
    buffer = MemoryBuffer(2, Encoder(NamingWire(), LogOnce(logging.getLogger("flagmw"))))
    assert [buffer.put(exposure(name)) for name in "abc"] == [1, 2, 0]


def test_a_buffer_holds_events_until_they_are_settled() -> None:
    buffer = MemoryBuffer(9, Encoder(NamingWire(), LogOnce(logging.getLogger("flagmw"))))
    for name in "abc":
        buffer.put(exposure(name))
    assert [buffer.take(), buffer.take()] == [entry('"a"'), entry('"b"')]
    assert len(buffer) == 3
    buffer.settle(1)
    assert len(buffer) == 2
    assert buffer.take() == entry('"c"')
    with pytest.raises(IndexError):
        buffer.take()
