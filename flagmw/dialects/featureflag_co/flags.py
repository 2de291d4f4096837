"""Compiles one featureflag.co flag to a function of a context.

What is wrong in a flag breaks no more than what needs it, as in the service's own client; a list that is null is empty.

Source: featureflag.co reference, sections 9, 11 and 12; vectors `env_*`, `edge_*`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from flagmw.context import UserContext
from flagmw.core.md5_rollout import ALWAYS, Range, compile_rollout, contains, make_rollout, range_of
from flagmw.core.properties import KEY
from flagmw.core.rule_order import (
    BROKEN,
    Choose,
    Evaluate,
    Rule,
    always_giving,
    choose_broken,
    choose_nothing,
    going_through,
)
from flagmw.core.snapshot import Kind, Outcome
from flagmw.core.text_values import kinds_of
from flagmw.core.versioned import Links
from flagmw.dialects.featureflag_co.conditions import compile_clauses, list_of
from flagmw.dialects.featureflag_co.prerequisites import Served, asking_first, read_prerequisites
from flagmw.evaluation import NO_METADATA, MetadataValue, Reason
from flagmw.frozen import FrozenDict

OFF, UNMET = "flag off", "prerequisite failed"
TARGET, RULE, FALLTHROUGH = "target match", "rule match", "fall through all rules"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    """A variation: its id, its text, and the text read as each kind."""

    local_id: Any
    value: Any
    kinds: Mapping[Kind, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Serving:
    """What a range serves.

    Attributes:
        option: None where the document does not say.
        sampled: who takes part in an experiment; ALWAYS is everybody, None nobody.
    """

    option: _Option | None
    sampled: Range | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """An outcome of which the experiment is told for some users only."""

    limits: Range
    told: Outcome
    untold: Outcome

    def decide(self, context: UserContext) -> Outcome:
        key = context.key or ""
        return self.told if contains(self.limits, b64encode(key.encode("utf-8", "replace"))) else self.untold


_BROKEN = _Serving(option=None, sampled=None)


def compile_flag(document: Mapping[str, Any], key: str, links: Links) -> Evaluate:
    """Make the function that evaluates a flag; it never raises.

    Args:
        document: the flag.
        key: by which callers ask for it.
        links: find other flags, and segments.
    """
    try:
        return _FlagCompiler(document, key, links).compile()
    except (TypeError, KeyError, AttributeError):
        return always_giving(BROKEN)


class _FlagCompiler:
    """What is known of a flag while it is compiled. Methods raise TypeError or KeyError for what is missing."""

    def __init__(self, document: Mapping[str, Any], key: str, links: Links) -> None:
        self._document = document
        self._flag = document["ff"]
        self._links = links
        shown = self._flag.get("keyName")
        self._key_name = shown if isinstance(shown, str) else key
        self._metadata: Mapping[str, MetadataValue] = NO_METADATA
        if isinstance(self._flag.get("name"), str):
            self._metadata = FrozenDict({"name": self._flag["name"]})
        self._include_all = document.get("exptIncludeAllRules")
        self._options: dict[Any, _Option] = {}
        self._servings: dict[Any, _Serving] = {}
        self._made: dict[tuple[Any, ...], Outcome] = {}

    def compile(self) -> Evaluate:
        if self._flag["status"] == "Disabled":
            return always_giving(self._when_off(OFF, Reason.DISABLED))
        evaluate = self._compile_rules()
        try:
            prerequisites = read_prerequisites(self._document["ffp"], self._flag.get("id"), self._links)
        except (TypeError, KeyError):
            return always_giving(BROKEN)
        if not prerequisites:
            return evaluate
        return asking_first(prerequisites, evaluate, self._when_off(UNMET, Reason.DISABLED))

    def _when_off(self, provider_reason: str, reason: Reason) -> Outcome:
        option = self._option(self._flag.get("variationOptionWhenDisabled"))
        return self._outcome(option, provider_reason, reason, is_told=False)

    def _compile_rules(self) -> Evaluate:
        targets, are_well = self._targets()
        if not are_well:
            return going_through(targets, (), BROKEN, choose_broken)
        rules = self._rules()
        alone = Reason.DEFAULT if targets or rules else Reason.STATIC
        try:
            is_included = self._flag.get("isDefaultRulePercentageRolloutsIncludedInExpt")
            entries = self._flag["defaultRulePercentageRollouts"]
            fallthrough, choose = self._choice(entries, is_included, FALLTHROUGH, alone)
        except (TypeError, KeyError):
            fallthrough, choose = BROKEN, choose_broken
        if fallthrough is not None and not targets and not rules:
            return always_giving(fallthrough)
        return going_through(targets, rules, fallthrough, choose)

    def _targets(self) -> tuple[dict[str, Outcome], bool]:
        """Give what is served to certain users, and whether that is all."""
        found: dict[str, Outcome] = {}
        is_told = self._include_all is None or bool(self._include_all)
        try:
            for target in list_of(self._document["targetIndividuals"]):
                keys = [individual["keyId"] for individual in list_of(target["individuals"])]
                option = self._option(target.get("valueOption"))
                outcome = self._outcome(option, TARGET, Reason.TARGETING_MATCH, is_told=is_told)
                for key in keys:
                    if isinstance(key, str):
                        found.setdefault(key, outcome)
        except (TypeError, KeyError):
            return found, False
        return found, True

    def _rules(self) -> tuple[Rule, ...]:
        try:
            rules = list_of(self._document["fftuwmtr"])
        except (TypeError, KeyError):
            rules = [None]
        made = []
        for rule in rules:
            clauses = compile_clauses(rule, self._links)
            try:
                entries = rule["valueOptionsVariationRuleValues"]
                is_included = rule.get("isIncludedInExpt")
                outcome, choose = self._choice(entries, is_included, RULE, Reason.TARGETING_MATCH)
            except (TypeError, KeyError):
                outcome, choose = BROKEN, choose_broken
            made.append((clauses, outcome, choose))
        return tuple(made)

    def _choice(
        self, entries: Any, is_included: Any, provider_reason: str, reason: Reason
    ) -> tuple[Outcome | None, Choose]:
        """Give what a rule serves everybody, or else the function that chooses by the user."""
        rollout = make_rollout(self._ranges(entries, is_included))
        if not rollout.is_split:
            only = rollout.served[0]
            if only is None:
                return None, choose_nothing
            whole = self._told(only, provider_reason, reason)
            return (whole, choose_broken) if isinstance(whole, Outcome) else (None, whole.decide)
        told = rollout.map(lambda serving: self._told(serving, provider_reason, Reason.SPLIT))
        choose = compile_rollout(told, "", KEY, is_ascii=True)
        if not any(isinstance(found, _Sample) for found in told.served):
            return None, choose  # type: ignore[return-value]  # all are outcomes, as just seen

        def choose_and_sample(context: UserContext) -> Outcome | None:
            found = choose(context)
            return found.decide(context) if isinstance(found, _Sample) else found

        return None, choose_and_sample

    def _ranges(self, entries: Any, is_included: Any) -> list[tuple[Range | None, _Serving]]:
        ranges: list[tuple[Range | None, _Serving]] = []
        for entry in list_of(entries):
            if not isinstance(entry, dict) or "rolloutPercentage" not in entry:
                ranges.append((ALWAYS, _BROKEN))  # whoever gets here
                break
            limits = range_of(entry["rolloutPercentage"])
            if limits is not None:
                ranges.append((limits, self._serving(entry, limits, is_included)))
        return ranges

    def _serving(self, entry: Mapping[str, Any], limits: Range, is_included: Any) -> _Serving:
        option = self._option(entry.get("valueOption"))
        try:
            sampled = self._sampled(entry.get("exptRollout"), limits, is_included)
        except (TypeError, OverflowError):
            return _BROKEN
        return self._servings.setdefault((id(option), sampled), _Serving(option=option, sampled=sampled))

    def _sampled(self, share: Any, limits: Range, is_included: Any) -> Range | None:
        """Say who of a range takes part in the flag's experiment."""
        if self._include_all is None or is_included is None or share is None:
            return ALWAYS
        width = limits[1] - limits[0]
        if not is_included or share == 0 or width == 0:
            return None
        return (0, min(share / width, 1))

    def _told(self, serving: _Serving, provider_reason: str, reason: Reason) -> Outcome | _Sample:
        if serving.sampled is None or serving.sampled == ALWAYS:
            return self._outcome(serving.option, provider_reason, reason, is_told=serving.sampled is not None)
        told = self._outcome(serving.option, provider_reason, reason, is_told=True)
        untold = self._outcome(serving.option, provider_reason, reason, is_told=False)
        return _Sample(limits=serving.sampled, told=told, untold=untold)

    def _option(self, value: Any) -> _Option | None:
        if not isinstance(value, dict) or "localId" not in value or "variationValue" not in value:
            return None
        local_id, text = value["localId"], value["variationValue"]
        if not isinstance(local_id, Hashable) or not isinstance(text, Hashable):
            return None
        known = self._options.get((local_id, text))
        if known is None:
            known = _Option(local_id=local_id, value=text, kinds=kinds_of(text) if isinstance(text, str) else None)
            self._options[local_id, text] = known
        return known

    def _outcome(self, option: _Option | None, provider_reason: str, reason: Reason, *, is_told: bool) -> Outcome:
        if option is None:
            return BROKEN
        made_by = (id(option), provider_reason, reason, is_told)
        if made_by not in self._made:
            served = Served(self._key_name, option.local_id, option.value, provider_reason, is_told)
            self._made[made_by] = Outcome(
                reason=reason,
                value=option.value,
                variation=str(option.local_id),
                direct=True,
                provider_reason=provider_reason,
                metadata=self._metadata,
                exposes=True,
                in_experiment=is_told,
                kinds=option.kinds,
                detail=(served,),
            )
        return self._made[made_by]
