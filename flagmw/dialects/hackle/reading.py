"""Reads a Hackle config document: one malformed definition is left out and reported, the rest is used.

The official client refuses the whole document instead. What it drops while parsing is dropped here too, since decisions
depend on it: conditions of a type that is not supported at their place, targets that lose all their conditions, and
experiments of unknown status.

Source: Hackle reference, sections 3.2 to 3.4, and 21 (4, 20).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flagmw.core.documents import MAX_DEPTH, Document, as_json, depth_of
from flagmw.dialects.hackle.model import (
    AB_TEST,
    FEATURE_FLAG,
    Action,
    Bucket,
    Condition,
    Container,
    Experiment,
    Match,
    Parameter,
    ParameterRule,
    Rule,
    Segment,
    Slot,
    Target,
    Variation,
    Workspace,
)
from flagmw.errors import DocumentError, Path, Problem
from flagmw.frozen import EMPTY, FrozenDict

STATUSES = {"READY": "DRAFT", "RUNNING": "RUNNING", "PAUSED": "PAUSED", "STOPPED": "COMPLETED"}

IN_RULES = frozenset({"SEGMENT", "USER_PROPERTY", "HACKLE_PROPERTY", "AB_TEST", "FEATURE_FLAG"})
IN_OVERRIDES = frozenset({"SEGMENT"})
IN_SEGMENTS = frozenset({"USER_ID", "USER_PROPERTY", "HACKLE_PROPERTY"})
"""The types of conditions that are supported at a place; others are dropped there."""

_SECTIONS = (
    "experiments",
    "featureFlags",
    "remoteConfigParameters",
    "segments",
    "buckets",
    "containers",
    "parameterConfigurations",
    "events",
)

T = TypeVar("T")


class _Malformed(Exception):
    """A definition that cannot be used, with the place inside it."""

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.path: Path = path


def parse(document: Document) -> Mapping[str, Any]:
    """Parse a document's text.

    Raises:
        DocumentError: not UTF-8, not JSON, or no object.
    """
    try:
        if isinstance(document.content, bytes):
            # The hook does nothing but run Python code now and then, so that other threads get their turn.
            value = json.loads(document.content.decode("utf-8"), object_hook=_itself)
        else:
            value = json.loads(json.dumps(document.content, default=as_json))
    except (TypeError, ValueError, RecursionError) as error:
        found = str(error) if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise DocumentError(document.name, (Problem(message=f"not a JSON document: {found}"),)) from None
    if not isinstance(value, dict):
        raise _refused(document, f"expected an object, found {_kind_of(value)}")
    for section in _SECTIONS:
        if not isinstance(value.get(section, []), list):
            raise _refused(document, f"expected a list, found {_kind_of(value[section])}", section)
    return value


def check_is_config(document: Document, data: Mapping[str, Any]) -> None:
    """Refuse an object that is surely something else: sections may be missing, but not all and the workspace, too.

    Raises:
        DocumentError: nothing in it is a config's.
    """
    if not data.keys() & {*_SECTIONS, "workspace"}:
        raise _refused(document, "expected a config, found an object without any of its sections")


def _refused(document: Document, message: str, *path: str | int) -> DocumentError:
    return DocumentError(document.name, (Problem(message=message, path=path),))


def _itself(value: dict[str, Any]) -> dict[str, Any]:
    return value


class Reader:
    """Reads one parsed document.

    Attributes:
        problems: what was left out, as errors, and what was dropped as the official client does, as warnings.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data
        self._place: Path = ()
        self.problems: list[Problem] = []

    def read(self) -> Workspace:
        """Read all definitions."""
        return Workspace(
            ab_tests=self._section("experiments", lambda raw: self._experiment(raw, AB_TEST)),
            feature_flags=self._section("featureFlags", lambda raw: self._experiment(raw, FEATURE_FLAG)),
            parameters=self._section("remoteConfigParameters", self._parameter),
            segments=self._section("segments", self._segment),
            buckets=self._section("buckets", _bucket),
            containers=self._section("containers", _container),
            configurations=self._section("parameterConfigurations", _configuration),
            events=self._section("events", _event),
        )

    def _section(self, name: str, read: Callable[[Any], tuple[Any, T] | None]) -> dict[Any, T]:
        found: dict[Any, T] = {}
        for index, raw in enumerate(self._data.get(name, ())):
            self._place = (name, index)
            try:
                entry = read(raw)
            except _Malformed as error:
                shown = f" (key {raw['key']!r})" if isinstance(raw, dict) and type(raw.get("key")) in (int, str) else ""
                message = f"left out{shown}: {error}"
                self.problems.append(Problem(message=message, path=(name, index, *error.path)))
                continue
            if entry is not None:
                found[entry[0]] = entry[1]
        return found

    # --- experiments ------------------------------------------------------------------------------------------

    def _experiment(self, raw: Any, kind: str) -> tuple[int, Experiment] | None:
        execution = _field(raw, "execution")
        status = STATUSES.get(_hashable(_field(execution, "status", "execution")))
        if status is None:
            return None
        is_test = kind == AB_TEST
        segment_overrides, audiences, rules = (
            _list(execution.get(name, ()), "execution", name)
            for name in ("segmentOverrides", "targetAudiences", "targetRules")
        )
        experiment = Experiment(
            kind=kind,
            id=_id(raw, "id"),
            key=_key(raw),
            identifier_type=_identifier_type(raw),
            version=_field(raw, "version"),
            status=status,
            execution_version=_field(execution, "version", "execution"),
            variations=tuple(_variation(variation) for variation in _list_of(raw, "variations")),
            user_overrides=_user_overrides(execution),
            segment_overrides=self._rules(segment_overrides, IN_OVERRIDES, "segmentOverrides"),
            audiences=self._targets(audiences, IN_RULES, "targetAudiences") if is_test else (),
            rules=() if is_test else self._rules(rules, IN_RULES, "targetRules"),
            default_rule=_action(_field(execution, "defaultRule", "execution"), "defaultRule"),
            container_id=_hashable(raw.get("containerId")) if is_test else None,
            winner_id=_hashable(raw.get("winnerVariationId")),
        )
        return experiment.key, experiment

    def _rules(self, raws: list[Any], supported: frozenset[str], where: str) -> tuple[Rule, ...]:
        rules = []
        for raw in raws:
            target = self._target(_field(raw, "target", where), supported, where)
            action = _action(_field(raw, "action", where), where)
            if target:
                rules.append(Rule(target, action))
            else:
                self._warn(f"{where}: a rule without any supported condition is ignored")
        return tuple(rules)

    def _targets(self, raws: list[Any], supported: frozenset[str], where: str) -> tuple[Target, ...]:
        targets = tuple(target for raw in raws if (target := self._target(raw, supported, where)))
        if raws and not targets and where == "targetAudiences":
            self._warn(f"{where}: no supported condition is left, so the test applies to everybody")
        return targets

    def _target(self, raw: Any, supported: frozenset[str], where: str) -> Target:
        conditions = []
        for condition in _list_of(raw, "conditions", where):
            key = _field(condition, "key", where)
            key_type, key_name = _field(key, "type", where), _field(key, "name", where)
            if _hashable(key_type) in supported:
                match = _match(_field(condition, "match", where), where)
                conditions.append(Condition(key_type, key_name, match))
            else:
                self._warn(
                    f"{where}: a condition of the type {str(key_type)[:40]!r} is not supported here, and ignored"
                )
        return tuple(conditions)

    # --- the others -------------------------------------------------------------------------------------------

    def _segment(self, raw: Any) -> tuple[str, Segment]:
        key = _field(raw, "key")
        if not isinstance(key, str):
            raise _Malformed(f"expected a text, found {_kind_of(key)}", "key")
        for required in ("id", "type"):
            _field(raw, required)
        return key, Segment(key, self._targets(_list_of(raw, "targets"), IN_SEGMENTS, "targets"))

    def _parameter(self, raw: Any) -> tuple[str, Parameter]:
        key = _field(raw, "key")
        if not isinstance(key, str):
            raise _Malformed(f"expected a text, found {_kind_of(key)}", "key")
        value_id, value = _value(raw, "defaultValue")
        parameter = Parameter(
            id=_hashable(_field(raw, "id")),
            key=key,
            type=_field(raw, "type"),
            identifier_type=_identifier_type(raw),
            rules=tuple(self._parameter_rule(rule) for rule in _list_of(raw, "targetRules")),
            value_id=value_id,
            value=value,
        )
        return key, parameter

    def _parameter_rule(self, raw: Any) -> ParameterRule:
        value_id, value = _value(raw, "value", "targetRules")
        target = self._target(_field(raw, "target", "targetRules"), IN_RULES, "targetRules")
        if not target:
            self._warn("targetRules: a rule without any supported condition is an error when it is reached")
        return ParameterRule(
            key=_field(raw, "key", "targetRules"),
            name=_field(raw, "name", "targetRules"),
            target=target,
            bucket_id=_hashable(_field(raw, "bucketId", "targetRules")),
            value_id=value_id,
            value=value,
        )

    def _warn(self, message: str) -> None:
        problem = Problem(message=message, path=self._place, severity="warning")
        if problem not in self.problems[-1:]:
            self.problems.append(problem)


# --- parts ----------------------------------------------------------------------------------------------------


def _field(raw: Any, name: str, *where: str) -> Any:
    if not isinstance(raw, dict):
        raise _Malformed(f"expected an object with {name!r}, found {_kind_of(raw)}", *where)
    try:
        return raw[name]
    except KeyError:
        raise _Malformed(f"{name!r} is missing", *where) from None


def _list(value: Any, *where: str) -> list[Any]:
    if value == ():
        return []
    if not isinstance(value, list):
        raise _Malformed(f"expected a list, found {_kind_of(value)}", *where)
    return value


def _list_of(raw: Any, name: str, *where: str) -> list[Any]:
    return _list(_field(raw, name, *where), *where, name)


def _id(raw: Any, name: str, *where: str) -> int | str:
    value = _field(raw, name, *where)
    if type(value) not in (int, str):
        raise _Malformed(f"expected a number, found {_kind_of(value)}", *where, name)
    return value  # type: ignore[no-any-return]  # checked above


def _key(raw: Any) -> int:
    value = _field(raw, "key")
    if type(value) is not int:
        raise _Malformed(f"expected a whole number, found {_kind_of(value)}", "key")
    return value


def _identifier_type(raw: Any) -> Any:
    value = _field(raw, "identifierType")
    if isinstance(value, (list, dict)):
        raise _Malformed(f"expected a text, found {_kind_of(value)}", "identifierType")
    return value


def _hashable(value: Any) -> Any:
    """Give what may be looked up; a list or an object names nothing that there is."""
    return _kind_of(value) if isinstance(value, (list, dict)) else value


def _number(raw: Any, name: str, *where: str) -> int | float:
    value = _field(raw, name, *where)
    if type(value) not in (int, float) or value != value:  # noqa: PLR0124  # that is NaN, which is in no order
        raise _Malformed(f"expected a number, found {_kind_of(value)}", *where, name)
    return value  # type: ignore[no-any-return]  # checked above


def _plain(value: Any, *where: str) -> Any:
    """Give a value that is handed to callers, who copy it."""
    if isinstance(value, (list, dict)) and depth_of(value) > MAX_DEPTH:
        raise _Malformed(f"nested deeper than {MAX_DEPTH} levels", *where)
    return value


def _variation(raw: Any) -> Variation:
    key = _field(raw, "key", "variations")
    if not isinstance(key, str):
        raise _Malformed(f"expected a text, found {_kind_of(key)}", "variations", "key")
    return Variation(
        id=_id(raw, "id", "variations"),
        key=key,
        is_dropped=_field(raw, "status", "variations") == "DROPPED",
        configuration_id=_hashable(raw.get("parameterConfigurationId")),
    )


def _user_overrides(execution: Any) -> dict[str, Any]:
    overrides = {}
    for raw in _list_of(execution, "userOverrides", "execution"):
        user_id, variation_id = _field(raw, "userId", "userOverrides"), _field(raw, "variationId", "userOverrides")
        if isinstance(user_id, str):
            overrides[user_id] = _hashable(variation_id)
    return overrides


def _action(raw: Any, where: str) -> Action:
    kind = _field(raw, "type", where)
    return Action(kind, _hashable(raw.get("variationId")), _hashable(raw.get("bucketId")))


def _match(raw: Any, where: str) -> Match:
    kind, operator, value_type = (_field(raw, name, where) for name in ("type", "operator", "valueType"))
    return Match(kind, operator, value_type, tuple(_list_of(raw, "values", where)))


def _value(raw: Any, name: str, *where: str) -> tuple[Any, Any]:
    entry = _field(raw, name, *where)
    return _field(entry, "id", *where, name), _plain(_field(entry, "value", *where, name), *where, name)


def _bucket(raw: Any) -> tuple[int | str, Bucket]:
    seed, size = _number(raw, "seed"), _number(raw, "slotSize")
    if type(seed) is not int or type(size) is not int:
        raise _Malformed("expected whole numbers as seed and slotSize")
    slots = tuple(
        Slot(
            _number(slot, "startInclusive", "slots"),
            _number(slot, "endExclusive", "slots"),
            _hashable(_field(slot, "variationId", "slots")),
        )
        for slot in _list_of(raw, "slots")
    )
    return _id(raw, "id"), Bucket(seed, size, slots)


def _container(raw: Any) -> tuple[int | str, Container]:
    container_id, bucket_id = _id(raw, "id"), _hashable(_field(raw, "bucketId"))
    groups = {}
    for group in _list(raw.get("groups", ()), "groups"):
        members = _list_of(group, "experiments", "groups")
        groups[_hashable(_field(group, "id", "groups"))] = tuple(_hashable(member) for member in members)
    return container_id, Container(bucket_id, groups)


def _configuration(raw: Any) -> tuple[int | str, FrozenDict]:
    parameters = {}
    for entry in _list_of(raw, "parameters"):
        key, value = _field(entry, "key", "parameters"), _field(entry, "value", "parameters")
        parameters[_hashable(key)] = _plain(value, "parameters")
    return _id(raw, "id"), FrozenDict(parameters) if parameters else EMPTY


def _event(raw: Any) -> tuple[str, tuple[Any, Any]]:
    event_id, key = _field(raw, "id"), _field(raw, "key")
    return str(_hashable(key)), (event_id, key)


def _kind_of(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
