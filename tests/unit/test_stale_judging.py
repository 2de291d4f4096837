"""How flags are doing: unknown, unused, settled, stale, live."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

import pytest

from flagmw.flag_counts import FlagCount, FlagHistory, KnownFlag
from flagmw.stale.judging import FlagStatus, FlagVerdict, judge
from flagmw.stale.sites import CallSite, CallSites
from tests.unit.stale_support import DAY_S, NOW


def site(key: str | None = "k", *, is_certain: bool = True, is_watched: bool = True) -> CallSite:
    return CallSite(
        path="/app/views.py",
        shown_path="app/views.py",
        line=1,
        column=0,
        end_line=1,
        flag_key=key,
        method="is_enabled",
        is_certain=is_certain,
        is_watched=is_watched,
    )


def count(
    days_ago: float,
    variation: str | None = "on",
    value_json: str | None = "true",
    *,
    key: str = "k",
    reason: str = "STATIC",
    number: int = 10,
) -> FlagCount:
    at = NOW - days_ago * DAY_S
    return FlagCount(
        flag_key=key,
        variation=variation,
        value_json=value_json,
        reason=reason,
        day=dt.datetime.fromtimestamp(at, dt.UTC).date(),
        count=number,
        first_at=at,
        last_at=at + 60,
    )


def verdict(
    counts: Collection[FlagCount] = (),
    sites: Collection[CallSite] = (),
    provider_keys: set[str] | None = None,
    *,
    watched_days: float | None = 90,
    known: Collection[KnownFlag] = (),
) -> FlagVerdict:
    since = NOW - watched_days * DAY_S if watched_days is not None else None
    history = FlagHistory(counts=tuple(counts), known=tuple(known), watched_since=since)
    (found,) = judge(CallSites(sites=tuple(sites)), history, provider_keys, NOW, 30)
    return found


STEADY = [count(40), count(20), count(1)]


def test_one_variation_for_long_and_a_site_make_a_flag_stale() -> None:
    found = verdict(STEADY, [site()], {"k"})
    assert found.status is FlagStatus.STALE
    assert (found.variation, found.value, found.has_value) == ("on", True, True)
    assert found.why == "everybody had 'on' (true) for 30 days or longer, and the code still reads it"
    assert found.evaluations == 30
    assert found.last_evaluated_at == NOW - DAY_S + 60


def test_without_a_site_it_is_settled_and_some_code_must_read_it() -> None:
    found = verdict(STEADY, (), {"k"})
    assert found.status is FlagStatus.SETTLED
    assert any("that was not found" in note for note in found.notes)


def test_it_is_settled_since_the_day_after_another_variation() -> None:
    found = verdict([count(45, "off", "false"), *STEADY], [site()], {"k"})
    assert found.status is FlagStatus.STALE
    midnight = dt.datetime.fromtimestamp(found.settled_since or 0, dt.UTC)
    assert midnight.time() == dt.time()
    assert NOW - 45 * DAY_S < midnight.timestamp() <= NOW - 44 * DAY_S + 60


@pytest.mark.parametrize(
    ("counts", "watched_days", "why"),
    [
        ([*STEADY, count(5, "off", "false")], 90, "2 variations, or values, were given within 30 days"),
        ([*STEADY, count(5, "on", "1")], 90, "2 variations, or values, were given within 30 days"),
        ([count(20), count(1)], 90, "it is evaluated for less than 30 days"),
        (STEADY, 10, "flags are watched for less than 30 days"),
        (STEADY, None, "flags are watched for less than 30 days"),
        ([count(40)], 90, "it was not evaluated to a variation for 30 days"),
        ([], 90, "it was never evaluated to a variation"),
        (
            [count(40, None, None, reason="ERROR"), count(1, None, None, reason="ERROR")],
            90,
            "it was never evaluated to a variation",
        ),
        ([count(40, None, None, reason="DEFAULT"), count(1, None, None)], 90, "it was never evaluated to a variation"),
        ([count(1, None, None, reason="FLAG_NOT_FOUND")], 90, "it was never evaluated to a variation"),
    ],
)
def test_it_tells_why_a_flag_is_not_settled(counts: list[FlagCount], watched_days: float | None, why: str) -> None:
    found = verdict(counts, [site()], {"k"}, watched_days=watched_days)
    assert (found.status, found.why) == (FlagStatus.LIVE, why)
    assert found.settled_since is None
    assert not found.has_value


def test_errors_and_defaults_are_no_variation() -> None:
    found = verdict([*STEADY, count(2, None, None, reason="ERROR", number=3)], [site()], {"k"})
    assert found.status is FlagStatus.STALE
    assert "3 evaluations gave the caller's default instead" in found.notes


def test_two_spellings_of_a_number_are_one_value() -> None:
    assert verdict([count(40, "a", "3"), count(1, "a", "3.0")], [site()], {"k"}).status is FlagStatus.STALE


def test_a_value_that_was_not_kept_is_not_known() -> None:
    found = verdict([count(40, "a", None), count(1, "a", None)], [site()], {"k"})
    assert found.status is FlagStatus.STALE
    assert not found.has_value


def test_a_key_that_is_no_flags_is_unknown() -> None:
    found = verdict((), [site()], set())
    assert (found.flag_key, found.status) == ("k", FlagStatus.UNKNOWN)


def test_a_flag_that_the_provider_has_no_more_is_unknown() -> None:
    found = verdict(STEADY, [site()], set())
    assert found.status is FlagStatus.UNKNOWN
    assert found.why.endswith("any more")


def test_a_flag_that_no_code_reads_is_unused() -> None:
    found = verdict((), (), {"k"})
    assert found.status is FlagStatus.UNUSED
    assert not any("places in the code" in note for note in found.notes)


def test_unused_is_said_with_care_where_keys_are_made_up() -> None:
    found = verdict((), [site(None)], {"k"})
    assert found.status is FlagStatus.UNUSED
    assert any("1 places in the code" in note for note in found.notes)


def test_a_flag_that_is_evaluated_is_not_unused() -> None:
    assert verdict([count(1)], (), {"k"}).status is FlagStatus.LIVE


def test_without_the_providers_flags_nothing_is_unknown() -> None:
    history = FlagHistory(watched_since=NOW - 90 * DAY_S)
    assert judge(CallSites(sites=(site(),)), history, None, NOW) == ()


def test_the_providers_flags_are_known_from_the_history() -> None:
    known = [
        KnownFlag(flag_key="k", first_seen_at=0, last_seen_at=NOW),
        KnownFlag(flag_key="gone", first_seen_at=0, last_seen_at=NOW, is_there=False),
    ]
    found = verdict((), (), None, known=known)
    assert (found.flag_key, found.status) == ("k", FlagStatus.UNUSED)


@pytest.mark.parametrize("other", [site(is_certain=False), site(is_watched=False)])
def test_places_that_may_be_another_librarys_make_no_unknown_flag(other: CallSite) -> None:
    assert judge(CallSites(sites=(other,)), FlagHistory(), set(), NOW) == ()


def test_uncertain_places_keep_a_flag_from_being_unused() -> None:
    found = verdict(STEADY, [site(is_certain=False)], {"k"})
    assert found.status is FlagStatus.STALE
    assert any("something else" in note for note in found.notes)


def test_a_number_stands_for_all_flags_that_have_it() -> None:
    history = FlagHistory(watched_since=NOW - 90 * DAY_S)
    found = judge(CallSites(sites=(site("7"),)), history, {"ab_test/7", "feature_flag/7", "feature_flag/8"}, NOW)
    assert {one.flag_key: len(one.sites) for one in found} == {"ab_test/7": 1, "feature_flag/7": 1, "feature_flag/8": 0}
    assert not any(one.is_certain for each in found for one in each.sites)


def test_counts_are_summed_over_days() -> None:
    (one,) = verdict(STEADY, (), {"k"}).counts
    assert (one.variation, one.reason, one.count) == ("on", "STATIC", 30)
