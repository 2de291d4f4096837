"""Compiles one FeatBit flag to a function of a context.

What is wrong in a flag breaks no more than what needs it, as in FeatBit's own client: a user who is served before the
defect comes into play is served.

Source: FeatBit reference, sections 8, 10 and 11; vectors `env_*`, `edge_*`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from flagmw.core.md5_rollout import ALWAYS, Range, compile_rollout, make_rollout, range_of
from flagmw.core.rule_order import (
    BROKEN,
    ERROR,
    Choose,
    Evaluate,
    Rule,
    always_giving,
    choose_broken,
    choose_nothing,
    going_through,
)
from flagmw.core.snapshot import Kind, Outcome, failed
from flagmw.core.text_values import boolean_word, json_value
from flagmw.core.versioned import Links
from flagmw.dialects.featbit.conditions import compile_conditions, items_of, property_of
from flagmw.evaluation import NO_METADATA, ErrorCode, MetadataValue, Reason
from flagmw.frozen import FrozenDict

OFF, TARGET, RULE, FALLTHROUGH = "flag off", "target match", "rule match", "fall through all rules"

NO_VARIATION = failed(ErrorCode.GENERAL, "the flag has no variation with the id it is to serve", provider_reason=ERROR)


class Served(NamedTuple):
    """What an event tells of the variation that was served.

    Attributes:
        id: as in the document.
        text: the value as in the document.
    """

    id: Any
    text: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variation:
    served: Served
    value: Any
    kinds: Mapping[Kind, Any] | None


_NO_VARIATION = _Variation(served=Served(None, None), value=None, kinds=None)
_BROKEN = _Variation(served=Served(None, None), value=None, kinds=None)
_FAILURES = {id(_NO_VARIATION): NO_VARIATION, id(_BROKEN): BROKEN}


def compile_flag(flag: Mapping[str, Any], links: Links) -> Evaluate:
    """Make the function that evaluates a flag; it never raises."""
    try:
        return _FlagCompiler(flag, links).compile()
    except (TypeError, KeyError, AttributeError):
        return always_giving(BROKEN)


class _FlagCompiler:
    """What is known of a flag while it is compiled. Methods raise TypeError or KeyError for what is missing."""

    def __init__(self, flag: Mapping[str, Any], links: Links) -> None:
        self._flag = flag
        self._links = links
        self._exposes = flag.get("insightsEnabled") is not False
        self._variations = _read_variations(flag["variations"], flag["variationType"])
        self._metadata: Mapping[str, MetadataValue] = NO_METADATA
        if isinstance(flag["name"], str):
            self._metadata = FrozenDict({"name": flag["name"]})
        self._made: dict[tuple[Any, ...], Outcome] = {}

    def compile(self) -> Evaluate:
        if not self._flag["isEnabled"]:
            return always_giving(
                self._outcome(self._variation(self._flag["disabledVariationId"]), OFF, Reason.DISABLED)
            )
        targets, are_well = self._targets()
        if not are_well:
            return going_through(targets, (), BROKEN, choose_broken)
        rules = self._rules()
        alone = Reason.DEFAULT if targets or rules else Reason.STATIC
        try:
            fallthrough, choose = self._choice(self._flag["fallthrough"], FALLTHROUGH, alone)
        except (TypeError, KeyError):
            fallthrough, choose = BROKEN, choose_broken
        if fallthrough is not None and not targets and not rules:
            return always_giving(fallthrough)
        return going_through(targets, rules, fallthrough, choose)

    def _targets(self) -> tuple[dict[str, Outcome], bool]:
        """Give what is served to certain users, and whether that is all."""
        found: dict[str, Outcome] = {}
        try:
            for target in items_of(self._flag["targetUsers"]):
                keys = items_of(target["keyIds"])
                outcome = self._outcome(self._variation(target.get("variationId")), TARGET, Reason.TARGETING_MATCH)
                for key in keys:
                    if isinstance(key, str):
                        found.setdefault(key, outcome)
        except (TypeError, KeyError):
            return found, False
        return found, True

    def _rules(self) -> tuple[Rule, ...]:
        try:
            rules = items_of(self._flag["rules"])
        except (TypeError, KeyError):
            rules = [None]
        made = []
        for rule in rules:
            conditions = compile_conditions(rule, self._links)
            try:
                outcome, choose = self._choice(rule, RULE, Reason.TARGETING_MATCH)
            except (TypeError, KeyError):
                outcome, choose = BROKEN, choose_broken
            made.append((conditions, outcome, choose))
        return tuple(made)

    def _choice(self, rule: Any, provider_reason: str, reason: Reason) -> tuple[Outcome | None, Choose]:
        """Give what a rule serves everybody, or else the function that chooses by the user."""
        rollout = make_rollout(self._ranges(rule["variations"]))
        if not rollout.is_split:
            only = rollout.served[0]
            return (
                (self._outcome(only, provider_reason, reason), choose_broken)
                if only is not None
                else (None, choose_nothing)
            )
        served = {id(variation): variation for variation in rollout.served if variation is not None}
        in_experiment = len(served.keys() - _FAILURES.keys()) > 1
        outcomes = {
            known: self._outcome(variation, provider_reason, Reason.SPLIT, in_experiment=in_experiment)
            for known, variation in served.items()
        }
        dispatch = rule.get("dispatchKey") or "keyid"
        return None, compile_rollout(
            rollout.map(lambda variation: outcomes[id(variation)]),
            self._flag["key"],
            property_of(dispatch),
            is_ascii=False,
        )

    def _ranges(self, entries: Any) -> list[tuple[Range | None, _Variation]]:
        ranges: list[tuple[Range | None, _Variation]] = []
        for entry in items_of(entries):
            if not isinstance(entry, dict) or "rollout" not in entry:
                ranges.append((ALWAYS, _BROKEN))  # whoever gets here
                break
            ranges.append((range_of(entry["rollout"]), self._variation(entry.get("id"))))
        return ranges

    def _variation(self, variation_id: Any) -> _Variation:
        if not isinstance(variation_id, Hashable):
            return _NO_VARIATION
        return self._variations.get(variation_id, _NO_VARIATION)

    def _outcome(
        self, variation: _Variation, provider_reason: str, reason: Reason, *, in_experiment: bool = False
    ) -> Outcome:
        failure = _FAILURES.get(id(variation))
        if failure is not None:
            return failure
        made_by = (id(variation), provider_reason, reason, in_experiment)
        if made_by not in self._made:
            shown = variation.served.id
            self._made[made_by] = Outcome(
                reason=reason,
                value=variation.value,
                variation=shown if isinstance(shown, str) else str(shown),
                direct=not isinstance(variation.value, (dict, list)),
                provider_reason=provider_reason,
                metadata=self._metadata,
                exposes=self._exposes,
                in_experiment=in_experiment,
                kinds=variation.kinds,
                detail=variation.served,
            )
        return self._made[made_by]


def _read_variations(variations: Any, variation_type: Any) -> dict[Any, _Variation]:
    read = {}
    for variation in items_of(variations):
        if isinstance(variation, dict) and isinstance(variation.get("id"), Hashable) and "value" in variation:
            text = variation["value"]
            value = typed_value(text, variation_type)
            kinds: Mapping[Kind, Any] | None = None
            if isinstance(value, str) and (word := boolean_word(value)) is not None:
                kinds = MappingProxyType({"string": value, "boolean": word})
            read[variation["id"]] = _Variation(served=Served(variation["id"], text), value=value, kinds=kinds)
    return read


def typed_value(text: Any, variation_type: Any) -> Any:
    """Give a variation's value as the flag's type says; the text itself where it is none of that type."""
    try:
        if variation_type in ("boolean", "json"):
            return json_value(text)
        if variation_type == "number":
            number = float(text)
            return int(number) if number.is_integer() else number
    except (TypeError, ValueError, OverflowError):
        return text
    return text
