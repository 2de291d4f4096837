"""From messages to snapshots, for both services: what is taken, what is refused, and what is kept of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flagmw.core.documents import Document
from flagmw.core.snapshot import changed_keys
from flagmw.core.syncing import MAX_VERSION
from flagmw.dialects import Dialect
from flagmw.dialects.featbit import FeatBitDialect, FeatBitStream
from flagmw.dialects.featbit.dialect import version_of
from flagmw.dialects.featureflag_co import FeatureFlagCoDialect, FeatureFlagCoStream
from flagmw.errors import DocumentError
from tests.unit.streamed_support import (
    FFC_SECRET,
    compiled,
    document,
    fb_flag,
    fb_rule,
    fb_segment,
    ffc_flag,
    ffc_segment,
    in_segment,
    outcome_of,
    sync,
)

FB, FFC = FeatBitDialect(), FeatureFlagCoDialect(FFC_SECRET)

BOTH = pytest.mark.parametrize("dialect", [FB, FFC], ids=["featbit", "featureflag_co"])


def refusal(dialect: Dialect, message: object) -> str:
    compilation = dialect.compile([document(message)], (), None)
    assert compilation.snapshot is None
    (error,) = compilation.errors
    assert isinstance(error, DocumentError)
    return str(error)


@BOTH
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "a message:1:1: invalid JSON"),
        ('{"messageType":\n  oops}', "a message:2:3: invalid JSON: expecting value"),
        ("[]", "expected an object, got a list"),
        ("null", "expected an object, got null"),
        ('"text"', "expected an object, got a text"),
        ("17", "expected an object, got a number"),
        ("true", "expected an object, got a boolean"),
        ('{"messageType": "data-sync"}', "data: expected an object, got null"),
        ('{"messageType": "data-sync", "data": []}', "data: expected an object, got a list"),
        (
            '{"messageType": "data-sync", "data": {"eventType": "rp_full", "featureFlags": [], "segments": []}}',
            'data.eventType: expected "full" or "patch"',
        ),
        (
            '{"messageType": "data-sync", "data": {"eventType": "full", "featureFlags": {}, "segments": []}}',
            "data.featureFlags: expected a list, got an object",
        ),
        ("[" * 200_000, "nested too deeply"),
        ('{"n": ' + "9" * 5_000 + "}", "too many digits"),
    ],
)
def test_what_is_no_message_is_refused_and_the_error_says_where_and_why(
    dialect: Dialect, text: str, shown: str
) -> None:
    assert shown in refusal(dialect, text)


def test_what_is_no_utf_8_is_refused() -> None:
    compilation = FB.compile([Document(name="a message", content=b'{"a": "\xff"}')], (), None)
    assert "not UTF-8 at byte 7" in str(compilation.errors[0])


def test_a_byte_order_mark_is_passed_over() -> None:
    content = b"\xef\xbb\xbf" + json.dumps(sync([fb_flag()])).encode()
    assert FB.compile([Document(name="a file", content=content)], (), None).snapshot is not None


@BOTH
@pytest.mark.parametrize("message", [{"messageType": "pong", "data": {}}, {"messageType": "x"}, {"messageType": None}])
def test_a_message_about_something_else_says_nothing(dialect: Dialect, message: object) -> None:
    compilation = dialect.compile([document(message)], (), None)
    assert (compilation.snapshot, compilation.errors) == (None, ())


def test_an_error_shows_nothing_of_a_documents_content() -> None:
    for text in ('{"user": "ana@example.com", oops', '["ana@example.com"]', '{"a": "ana@example.com"}'):
        assert "ana" not in refusal(FB, text)


def test_featbit_refuses_a_message_without_segments() -> None:
    message = sync([fb_flag()])
    del message["data"]["segments"]
    assert "data.segments: expected a list" in refusal(FB, message)


def test_featureflag_co_takes_missing_and_null_lists_as_empty() -> None:
    message = sync([ffc_flag()])
    del message["data"]["segments"]
    assert list(compiled(FFC, message).flags) == ["a"]
    message["data"]["segments"] = None
    message["data"]["userTags"] = None
    assert list(compiled(FFC, message).flags) == ["a"]


def test_featureflag_co_takes_a_download_which_has_no_envelope() -> None:
    assert list(compiled(FFC, {"featureFlags": [ffc_flag()]}).flags) == ["a"]
    assert "has no featureFlags" in refusal(FFC, {"flags": {}})


def test_featbit_wants_an_envelope() -> None:
    assert "messageType" in refusal(FB, {"featureFlags": [fb_flag()], "segments": []})


@pytest.mark.parametrize("content", [sync([fb_flag()]), json.dumps(sync([fb_flag()])).encode()])
def test_a_bootstrap_document_may_be_parsed_already(content: Any) -> None:
    compilation = FB.compile([Document(name="bootstrap", content=content)], (), None)
    assert compilation.snapshot is not None
    assert list(compilation.snapshot.flags) == ["a"]


def test_a_bootstrap_document_may_be_yaml() -> None:
    text = json.dumps(sync([fb_flag()])).encode()  # JSON is YAML
    assert FB.compile([Document(name="bootstrap", content=text, is_yaml=True)], (), None).snapshot is not None


@BOTH
def test_documents_that_are_kept_keep_their_flags(dialect: Dialect) -> None:
    before = compiled(dialect, sync())
    assert dialect.compile([], ["a file"], before).snapshot is before


# --- items ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [None, 5, "x", [], {}, {"key": None, "isArchived": False}])
def test_an_item_that_says_no_key_is_passed_over(bad: object) -> None:
    assert list(compiled(FB, sync([bad, fb_flag("b")])).flags) == ["b"]
    assert list(compiled(FFC, sync([bad, ffc_flag("b")])).flags) == ["b"]


def test_a_message_of_nothing_but_unusable_items_is_refused() -> None:
    assert "none of the flags and segments can be used" in refusal(FB, sync([{}], [5]))


def test_an_item_without_is_archived_is_not_archived_when_others_have_it() -> None:
    flag = fb_flag("b")
    del flag["isArchived"]
    assert sorted(compiled(FB, sync([fb_flag(), flag])).flags) == ["a", "b"]


def test_an_item_without_is_archived_is_taken_as_a_change() -> None:
    flag = fb_flag(isEnabled=False, updatedAt="2024-01-02T00:00:00Z")
    del flag["isArchived"]
    after = compiled(FB, sync([flag], kind="patch"), compiled(FB, sync([fb_flag()])))
    assert outcome_of(after, "a").provider_reason == "flag off"


@BOTH
def test_everything_without_is_archived_is_not_from_this_service(dialect: Dialect) -> None:
    flag = fb_flag() if dialect is FB else ffc_flag()
    del flag["isArchived"]
    assert "isArchived" in refusal(dialect, sync([flag]))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2024-01-01T00:00:00Z", 1704067200000),
        ("2024-01-01T00:00:00.1234567Z", 1704067200123),
        ("2024-01-01T02:00:00.124+02:00", 1704067200124),
        ("2024-01-01T00:00:01.0005Z", 1704067201000),
        ("2024-01-01T00:00:01.0015Z", 1704067201002),
        ("2024-01-01T00:00:00.63", 1704067200630),
        ("yesterday", 0),
        ("", 0),
        (None, 0),
        (1704067200000, 0),
        ("0001-01-01T00:00:00+14:00", 0),
    ],
)
def test_featbits_times_are_milliseconds_and_without_an_offset_utc(text: object, version: int) -> None:
    assert max(version_of(text), 0) == version


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_new_york")
def test_featbits_times_without_an_offset_are_utc_wherever_the_machine_is() -> None:
    assert version_of("2024-01-01T00:00:00") == 1704067200000


@pytest.mark.parametrize("timestamp", [None, "10", True, float("nan"), float("inf"), MAX_VERSION + 1, -(10**30)])
def test_featureflag_cos_times_are_numbers_and_anything_else_is_0(timestamp: object) -> None:
    stream = FeatureFlagCoStream(FFC_SECRET, "wss://x", lambda: 0.0, lambda: 0.0)
    greeting = stream.greeting(compiled(FFC, sync([ffc_flag(timestamp=timestamp)])))
    assert json.loads(greeting or "")["data"]["timestamp"] == 0


# --- versions of messages -------------------------------------------------------------------------------------


def test_a_message_that_brings_nothing_new_confirms_the_flags_in_force() -> None:
    before = compiled(FB, sync([fb_flag(updatedAt="2024-01-05T00:00:00Z")]))
    for message in (
        sync(kind="patch"),
        sync([fb_flag(updatedAt="2024-01-05T00:00:00Z", isEnabled=False)], kind="patch"),
        sync([fb_flag(updatedAt="2024-01-04T00:00:00Z")]),
        sync([fb_flag(updatedAt="2024-01-05T00:00:00Z")]),
    ):
        assert compiled(FB, message, before) is before


def test_featbit_refuses_a_document_of_which_nothing_says_when_it_changed() -> None:
    assert "when it was last changed" in refusal(FB, sync([fb_flag(updatedAt="yesterday")]))


def test_featureflag_co_takes_a_document_of_version_0() -> None:
    assert list(compiled(FFC, sync([ffc_flag(timestamp=0)])).flags) == ["a"]


def test_featbit_takes_no_change_that_does_not_say_when_it_happened() -> None:
    before = compiled(FB, sync([fb_flag()]))
    assert compiled(FB, sync([fb_flag("b", updatedAt="yesterday")], kind="patch"), before) is before


@BOTH
def test_an_environment_without_flags_is_one(dialect: Dialect) -> None:
    assert dict(compiled(dialect, sync()).flags) == {}


def test_the_greeting_asks_for_what_is_newer_than_the_flags_in_force() -> None:
    stream = FeatBitStream("secret", "wss://x", lambda: 0.0, lambda: 0.0)
    snapshot = compiled(FB, sync([fb_flag()], [fb_segment(updatedAt="2024-01-03T00:00:00.123Z")]))
    assert stream.greeting(snapshot) == '{"messageType": "data-sync", "data": {"timestamp": 1704240000123}}'
    assert stream.greeting(None) == '{"messageType": "data-sync", "data": {"timestamp": 0}}'


# --- sharing and keeping --------------------------------------------------------------------------------------


def test_a_change_of_one_flag_leaves_all_others_the_same_objects() -> None:
    before = compiled(FB, sync([fb_flag(f"flag-{n}") for n in range(200)]))
    after = compiled(
        FB, sync([fb_flag("flag-7", isEnabled=False, updatedAt="2024-01-02T00:00:00Z")], kind="patch"), before
    )
    assert [key for key in before.flags if before.flags[key] is not after.flags[key]] == ["flag-7"]
    assert changed_keys(before, after) == {"flag-7"}


def test_a_full_message_compiles_only_what_has_changed() -> None:
    before = compiled(FB, sync([fb_flag("a"), fb_flag("b"), fb_flag("c")]))
    after = compiled(FB, sync([fb_flag("a"), fb_flag("b", updatedAt="2024-01-02T00:00:00Z")]), before)
    assert after.flags["a"] is before.flags["a"]
    assert changed_keys(before, after) == {"b", "c"}


def test_a_change_of_a_segment_alters_the_flags_that_use_it_even_through_another_segment() -> None:
    nested = fb_segment("outer", rules=[{"conditions": [in_segment("inner")]}])
    flags = [
        fb_flag("direct", rules=[fb_rule([in_segment("inner")])]),
        fb_flag("nested", rules=[fb_rule([in_segment("outer")])]),
        fb_flag("other"),
    ]
    before = compiled(FB, sync(flags, [nested, fb_segment("inner")]))
    changed = fb_segment("inner", included=["u-1"], updatedAt="2024-01-02T00:00:00Z")
    after = compiled(FB, sync((), [changed], kind="patch"), before)
    assert changed_keys(before, after) == {"direct", "nested"}
    assert [outcome_of(before, key).value for key in ("direct", "nested")] == [False, False]
    assert [outcome_of(after, key).value for key in ("direct", "nested")] == [True, True]


@pytest.mark.parametrize(
    ("dialect", "message", "patch"),
    [
        (
            FB,
            sync([fb_flag(), fb_flag("gone", isArchived=True)], [fb_segment()]),
            sync([fb_flag("b", updatedAt="2024-02-01T00:00:00Z")], kind="patch"),
        ),
        (
            FFC,
            sync([ffc_flag(), ffc_flag("gone", isArchived=True)], [ffc_segment()]),
            sync([ffc_flag("b", timestamp=20)], kind="patch"),
        ),
    ],
    ids=["featbit", "featureflag_co"],
)
def test_what_is_written_down_is_the_same_flags_when_it_is_read_again(
    dialect: Dialect, message: object, patch: object
) -> None:
    snapshot = compiled(dialect, patch, compiled(dialect, message))
    pieces = list(dialect.dump(snapshot) or ())
    again = compiled(dialect, b"".join(pieces).decode())
    assert again.revision == snapshot.revision
    assert {key: flag.digest for key, flag in again.flags.items()} == {
        key: flag.digest for key, flag in snapshot.flags.items()
    }
    assert len(pieces) > len(snapshot.flags)  # none of them is the whole
