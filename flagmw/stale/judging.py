"""How each flag is doing: unknown, unused, settled, stale or live, and why."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from flagmw.flag_counts import FlagCount, FlagHistory
from flagmw.stale.sites import CallSite, CallSites
from flagmw.tallies import NOT_FOUND

DAY_S = 86_400.0
DEFAULT_SETTLED_DAYS = 30.0
_NO_VARIATION = ("ERROR", NOT_FOUND)


class FlagStatus(StrEnum):
    """How a flag is doing."""

    UNKNOWN = "unknown"
    UNUSED = "unused"
    SETTLED = "settled"
    STALE = "stale"
    LIVE = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class VariationCount:
    """How often a flag gave one variation for one reason, as long as it was watched.

    Attributes:
        variation: None where there was none.
        value_json: its value, None where that was not kept.
        reason: as in `FlagCount`.
        count: of all days.
        last_at: when it last did, in seconds of wall time.
    """

    variation: str | None
    value_json: str | None
    reason: str
    count: int
    last_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagVerdict:
    """What is known of one flag.

    Attributes:
        flag_key: as the provider has it; of an unknown flag, as the code has it.
        status: how it is doing.
        why: the reason for the status, a sentence without its full stop.
        notes: what limits what was said, each such a sentence.
        sites: where it is read, uncertain places included.
        counts: most often first.
        evaluations: how often it gave a variation, in all.
        last_evaluated_at: when it last did; None when it never did.
        variation: the one that everybody has, of a settled or stale flag.
        value_json: its value; None where that was not kept.
        settled_since: since when nothing else was given, at the earliest since it was watched; None for other statuses.
        settled_by: since when it had to be, to count as settled.
    """

    flag_key: str
    status: FlagStatus
    why: str
    notes: tuple[str, ...] = ()
    sites: tuple[CallSite, ...] = ()
    counts: tuple[VariationCount, ...] = ()
    evaluations: int = 0
    last_evaluated_at: float | None = None
    variation: str | None = None
    value_json: str | None = None
    settled_since: float | None = None
    settled_by: float = 0.0

    @property
    def has_value(self) -> bool:
        """Whether everybody has one value, and it is known."""
        return self.settled_since is not None and self.value_json is not None

    @property
    def value(self) -> Any:
        """The value that everybody has; None without `has_value`."""
        return json.loads(self.value_json) if self.value_json is not None else None


def judge(
    sites: CallSites,
    history: FlagHistory,
    provider_keys: Collection[str] | None,
    now: float,
    settled_days: float = DEFAULT_SETTLED_DAYS,
) -> tuple[FlagVerdict, ...]:
    """Judge every flag that the code, the provider, or the history has.

    Args:
        sites: where flags are read.
        history: what they were evaluated to.
        provider_keys: the flags that there are; None takes those that the history knows.
        now: in seconds of wall time.
        settled_days: for how long everybody must have had one variation.

    Returns:
        One verdict per flag, by key.
    """
    keys = provider_keys if provider_keys is not None else _known_keys(history)
    counts: dict[str, list[FlagCount]] = {}
    for count in history.counts:
        counts.setdefault(count.flag_key, []).append(count)
    there = set(keys) if keys is not None else set()
    evaluated = {key for key, of_key in counts.items() if any(_is_variation(count) for count in of_key)}
    flags = there | evaluated
    by_flag, left = _assigned(sites, flags)
    judging = _Judging(history, now, settled_days, len(sites.dynamic))
    verdicts = [
        judging.of_flag(
            key, by_flag.get(key, ()), counts.get(key, ()), is_there=key in there if keys is not None else None
        )
        for key in flags
    ]
    if keys is not None:
        verdicts += [judging.unknown(key, of_key, counts.get(key, ())) for key, of_key in left.items()]
    return tuple(sorted(verdicts, key=lambda verdict: verdict.flag_key))


def _known_keys(history: FlagHistory) -> set[str] | None:
    return {known.flag_key for known in history.known if known.is_there} if history.known else None


def _assigned(sites: CallSites, flags: Collection[str]) -> tuple[dict[str, list[CallSite]], dict[str, list[CallSite]]]:
    """Give the sites of each flag, and those that are for no flag, by key.

    A service with several kinds of flags has unique keys such as "feature_flag/7", where the code says 7.
    """
    short: dict[str, list[str]] = {}
    for flag in flags:
        short.setdefault(flag.rpartition("/")[2], []).append(flag)
    by_flag: dict[str, list[CallSite]] = {}
    left: dict[str, list[CallSite]] = {}
    for site in sites.sites:
        if site.flag_key is None:
            continue
        if site.flag_key in flags:
            by_flag.setdefault(site.flag_key, []).append(site)
            continue
        meant = short.get(site.flag_key, ())
        for flag in meant:  # which of the kinds is meant, if any of these, is the service's own rule
            by_flag.setdefault(flag, []).append(replace(site, is_certain=False))
        if not meant:
            left.setdefault(site.flag_key, []).append(site)
    return by_flag, {
        key: of_key for key, of_key in left.items() if any(one.is_certain and one.is_watched for one in of_key)
    }


def _is_variation(count: FlagCount) -> bool:
    return count.variation is not None and count.reason not in _NO_VARIATION


class _Judging:
    def __init__(self, history: FlagHistory, now: float, settled_days: float, dynamic: int) -> None:
        self._watched_since = history.watched_since
        self._days = settled_days
        self._from = now - settled_days * DAY_S
        self._dynamic = dynamic

    def unknown(self, key: str, sites: Sequence[CallSite], counts: Iterable[FlagCount]) -> FlagVerdict:
        """Judge a key of the code that is no flag's."""
        return FlagVerdict(
            flag_key=key,
            status=FlagStatus.UNKNOWN,
            why="the code reads it, and the provider has no such flag",
            sites=tuple(sites),
            counts=_summed(counts),
            settled_by=self._from,
        )

    def of_flag(
        self, key: str, sites: Sequence[CallSite], counts: Sequence[FlagCount], *, is_there: bool | None
    ) -> FlagVerdict:
        """Judge a flag."""
        given = [count for count in counts if _is_variation(count)]
        recent = [count for count in given if count.last_at >= self._from]
        settled = _One.of(recent)
        trouble = self._not_settled(recent, given, settled)
        if is_there is False and sites:
            status, why = FlagStatus.UNKNOWN, "the code reads it, and the provider has no such flag any more"
        elif not sites and not recent and is_there:
            status = FlagStatus.UNUSED
            why = "the provider has it, and no code that was found reads it"
        elif trouble is not None:
            status, why = FlagStatus.LIVE, trouble
        else:
            status = FlagStatus.STALE if sites else FlagStatus.SETTLED
            why = f"everybody had {settled.shown if settled is not None else 'one variation'} for {self._days:g} days or longer"
            why += ", and the code still reads it" if sites else ""
        is_settled = status in (FlagStatus.SETTLED, FlagStatus.STALE)
        return FlagVerdict(
            flag_key=key,
            status=status,
            why=why,
            notes=self._notes(status, sites, recent, counts),
            sites=tuple(sites),
            counts=_summed(counts),
            evaluations=sum(count.count for count in given),
            last_evaluated_at=max((count.last_at for count in given), default=None),
            variation=settled.variation if settled is not None and is_settled else None,
            value_json=settled.value_json if settled is not None and is_settled else None,
            settled_since=self._since(given, settled) if settled is not None and is_settled else None,
            settled_by=self._from,
        )

    def _not_settled(self, recent: Sequence[FlagCount], given: Sequence[FlagCount], one: _One | None) -> str | None:
        """Say why a flag is not settled; None when it is."""
        if not given:
            return "it was never evaluated to a variation"
        if not recent:
            return f"it was not evaluated to a variation for {self._days:g} days"
        if one is None:
            number = len({(count.variation, _normal(count.value_json)) for count in recent})
            return f"{number} variations, or values, were given within {self._days:g} days"
        if self._watched_since is None or self._watched_since > self._from:
            return f"flags are watched for less than {self._days:g} days"
        if min(count.first_at for count in given) > self._from:
            return f"it is evaluated for less than {self._days:g} days"
        return None

    def _since(self, given: Iterable[FlagCount], one: _One) -> float:
        """Give the midnight, in UTC, after another variation was given; or when the flag was first evaluated."""
        others = [count for count in given if not one.is_of(count)]
        if not others:
            return min(count.first_at for count in given)
        day = dt.datetime.fromtimestamp(max(count.last_at for count in others), dt.UTC).date()
        return dt.datetime.combine(day, dt.time(), dt.UTC).timestamp() + DAY_S

    def _notes(
        self, status: FlagStatus, sites: Sequence[CallSite], recent: Sequence[FlagCount], counts: Sequence[FlagCount]
    ) -> tuple[str, ...]:
        notes: list[str] = []
        if status in (FlagStatus.UNUSED, FlagStatus.SETTLED) and self._dynamic:
            notes.append(f"{self._dynamic} places in the code read flags whose keys are not known from the source")
        if status in (FlagStatus.UNUSED, FlagStatus.SETTLED, FlagStatus.STALE):
            notes.append("whether other flags, or rules, depend on it cannot be seen here")
        if status is not FlagStatus.UNUSED and not sites and recent:
            notes.append("it is evaluated, so some code reads it that was not found")
        uncertain = sum(not site.is_certain for site in sites)
        if uncertain:
            notes.append(f"{uncertain} of its places may be for something else")
        missed = sum(count.count for count in counts if not _is_variation(count) and count.last_at >= self._from)
        if missed and status in (FlagStatus.SETTLED, FlagStatus.STALE):
            notes.append(f"{missed} evaluations gave the caller's default instead")
        return tuple(notes)


@dataclass(frozen=True, slots=True)
class _One:
    """What everybody had."""

    variation: str | None
    value_json: str | None

    @classmethod
    def of(cls, counts: Sequence[FlagCount]) -> _One | None:
        found: Mapping[tuple[str | None, Any], FlagCount] = {
            (count.variation, _normal(count.value_json)): count for count in counts
        }
        if len(found) != 1:
            return None
        count = next(iter(found.values()))
        return cls(count.variation, count.value_json)

    def is_of(self, count: FlagCount) -> bool:
        return (count.variation, _normal(count.value_json)) == (self.variation, _normal(self.value_json))

    @property
    def shown(self) -> str:
        return f"{self.variation!r}" + (f" ({self.value_json})" if self.value_json is not None else "")


def _normal(value_json: str | None) -> Any:
    """Give what two spellings of one value have in common: 3 and 3.0 are one, 1 and true are not."""
    if value_json is None:
        return None
    try:
        value = json.loads(value_json)
    except ValueError:
        return value_json
    return (isinstance(value, bool), isinstance(value, str), value)


def _summed(counts: Iterable[FlagCount]) -> tuple[VariationCount, ...]:
    totals: dict[tuple[str | None, str | None, str], tuple[int, float]] = {}
    for count in counts:
        place = count.variation, count.value_json, count.reason
        number, last_at = totals.get(place, (0, 0.0))
        totals[place] = number + count.count, max(last_at, count.last_at)
    found = [
        VariationCount(variation=variation, value_json=value_json, reason=reason, count=number, last_at=last_at)
        for (variation, value_json, reason), (number, last_at) in totals.items()
    ]
    return tuple(sorted(found, key=lambda each: (-each.count, each.variation or "", each.reason)))
