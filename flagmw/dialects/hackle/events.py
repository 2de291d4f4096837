"""Encodes what is told to Hackle: exposures, remote config decisions, track events, changes of properties.

The official client's monitoring metrics (durations of its calls) are left out on purpose: nobody but Hackle reads them.

Source: Hackle reference, sections 16 and 18; vectors `wire`, and the events of all others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

from flagmw.context import UserContext
from flagmw.core.event_texts import NameTexts, OutcomeTexts, Pieces, UserTexts, json_text, quoted
from flagmw.core.records import Exposure, Identity, Metric
from flagmw.dialects.hackle.decisions import Nested, Served, Told
from flagmw.dialects.hackle.operations import PropertyOperations
from flagmw.dialects.hackle.remote_config import Configured, requested_type
from flagmw.dialects.hackle.users import FIELDS, ID, identifiers_of, properties_of
from flagmw.dialects.hackle.values import (
    MAX_IDENTIFIER_CHARS,
    MAX_NUMBER,
    MAX_PROPERTIES,
    MAX_TEXT_CHARS,
    is_number,
    is_property_name,
    kept_properties,
)
from flagmw.dialects.hackle.wire import EVENT_URL, SDK_NAME, SDK_VERSION, request_headers
from flagmw.frozen import EMPTY

_NAMES = NameTexts(lambda name: f"{quoted(name)}: " if is_property_name(name) else "")

KINDS: Mapping[str, str] = {
    "exposure": "exposureEvents",
    "track": "trackEvents",
    "remote_config": "remoteConfigEvents",
}
"""The list of a body for each kind of item."""

UPDATE_EVENT = "$properties"

SAFE_ATTRIBUTES = MAX_PROPERTIES - len(FIELDS)
"""A context with no more attributes is within the limits, whatever else it has."""

Item = tuple[str, bytes]


class EventTypes:
    """The events that the config document in force declares; the dialect writes it, the encoder reads it.

    Attributes:
        declared: id and key of each, by its key as a text.
    """

    __slots__ = ("declared",)

    def __init__(self) -> None:
        """Begin with none, as before the first document."""
        self.declared: Mapping[str, tuple[Any, Any]] = EMPTY


class HackleEvents:
    """Encodes events and puts them together to bodies.

    Args:
        sdk_key: names and opens the environment.
        event_url: base of the address.
        wall_clock: gives Unix time in seconds.
        uuid4: gives a random UUID (version 4) for each event, as text or as what has that as its text.
        event_types: what the dialect of the same provider was given; without it no event counts as declared.
        sdk_name: of the client, as the service knows it.
        sdk_version: of the client, as the service knows it.
    """

    max_items = 500
    takes_gzip = False

    def __init__(
        self,
        sdk_key: str,
        event_url: str = EVENT_URL,
        *,
        wall_clock: Callable[[], float],
        uuid4: Callable[[], object],
        event_types: EventTypes | None = None,
        sdk_name: str = SDK_NAME,
        sdk_version: str = SDK_VERSION,
    ) -> None:
        self.url = f"{event_url.rstrip('/')}/api/v2/events"
        self._headers = partial(request_headers, sdk_key, sdk_name=sdk_name, sdk_version=sdk_version)
        self._wall_clock = wall_clock
        self._uuid4 = uuid4
        self._event_types = event_types if event_types is not None else EventTypes()
        self._user_text = UserTexts(_user_text)
        self._exposure_texts = OutcomeTexts(_exposure_texts, by_default=True)

    def headers(self) -> Mapping[str, str]:
        """Give the headers of one post."""
        return {**self._headers(self._wall_clock()), "Content-Type": "application/json"}

    def exposure(self, exposure: Exposure) -> Sequence[Item]:
        """Encode what a call tells: its own decision, then those of other experiments that it asked for."""
        texts = self._exposure_texts(exposure)
        if not texts:
            return ()
        kind = "remote_config" if isinstance(exposure.outcome.detail, Configured) else "exposure"
        items = self._item(kind, exposure.context, exposure.at_s, texts[0])
        if len(texts) > 1:
            nested = [self._item("exposure", exposure.context, exposure.at_s, text) for text in texts[1:]]
            return [*items, *chain.from_iterable(nested)]
        return items

    def metric(self, metric: Metric) -> Sequence[Item]:
        """Encode a track event; nothing for one that Hackle would not take."""
        if self.refusal(metric) is not None:
            return ()
        private = metric.context.private
        properties = {name: value for name, value in metric.properties.items() if name not in private}
        return self._track(metric.context, metric.at_s, metric.event, metric.value, kept_properties(properties))

    def identity(self, identity: Identity) -> Sequence[Item]:
        """Encode changes of a user's properties; nothing for anything but `PropertyOperations`."""
        operations = identity.operations
        if not isinstance(operations, PropertyOperations):
            return ()
        private = identity.context.private
        public = {
            operation: {name: value for name, value in properties.items() if name not in private}
            for operation, properties in operations.items()
        }
        return self._track(identity.context, identity.at_s, UPDATE_EVENT, None, public)

    def refusal(self, metric: Metric) -> str | None:
        """Say why Hackle would not take a track event."""
        if not isinstance(metric.event, str) or not metric.event:
            return "the event's name must be a str that is not empty"
        if metric.value is not None and not is_number(metric.value):
            return "the event's value must be a number from -2**53 to 2**53"
        return None

    def body(self, items: Sequence[Item]) -> bytes:
        """Put items together to one request's body."""
        lists: dict[str, list[bytes]] = {name: [] for name in KINDS.values()}
        for kind, text in items:
            lists[KINDS[kind]].append(_without_constants(text))
        return b"{%s}" % b", ".join(b'"%s": [%s]' % (name.encode(), b", ".join(texts)) for name, texts in lists.items())

    def _track(
        self, context: UserContext, at_s: float, event: str, value: float | None, properties: Mapping[str, Any]
    ) -> Sequence[Item]:
        event_id, key = self._event_types.declared.get(event, (0, event))
        fields = {"eventTypeId": event_id, "eventTypeKey": key, "value": value}
        return self._item("track", context, at_s, _event_text(fields, properties))

    def _item(self, kind: str, context: UserContext, at_s: float, text: str) -> Sequence[Item]:
        """Put an event together, of what all events have and its own text; nothing where that could not be written."""
        if not text:
            return ()
        user, user_text = self._user_text.last
        if user is not context:
            user_text = self._user_text(context)
        begin = f'{{"insertId": {quoted(str(self._uuid4()))}, "timestamp": {round(at_s * 1000)}, '
        return ((kind, (begin + user_text + text).encode()),)


def _user_text(context: UserContext) -> str:
    """Write what all events of a user have in common; what cannot be JSON is left out of the properties."""
    properties = _plain_properties(context) or _odd_properties(context)
    return f'{_identifiers(context)}, "userProperties": {properties}, "hackleProperties": {{}}'


def _identifiers(context: UserContext) -> str:
    key, private = context.key, context.private
    if not context.identifiers and key and len(key) <= MAX_IDENTIFIER_CHARS and ID not in private:
        text = quoted(key)
        return f'"userId": {text}, "identifiers": {{"{ID}": {text}}}'
    identifiers = identifiers_of(context, private)
    return f'"userId": {json_text(identifiers.get(ID))}, "identifiers": {json_text(identifiers)}'


def _plain_properties(context: UserContext) -> str | None:
    """Write what `properties_of` gives in one go; None where that is not all texts, integers and booleans within the limits."""
    attributes, private = context.attributes, context.private
    if len(attributes) > SAFE_ATTRIBUTES:
        return None
    members = []
    for name, value in attributes.items():
        if name in private:
            continue
        kind = value.__class__
        if kind is str and len(value) <= MAX_TEXT_CHARS:
            text = quoted(value)
        elif kind is bool:
            text = "true" if value else "false"
        elif kind is int and -MAX_NUMBER <= value <= MAX_NUMBER:
            text = repr(value)
        else:
            return None
        begin = _NAMES[name]
        if not begin:
            return None
        members.append(begin + text)
    for name, value in (("name", context.name), ("email", context.email), ("country", context.country)):
        if value is not None and name not in attributes and name not in private:
            if len(value) > MAX_TEXT_CHARS:
                return None
            members.append(f'"{name}": {quoted(value)}')
    return f"{{{', '.join(members)}}}"


def _odd_properties(context: UserContext) -> str:
    properties = properties_of(context, context.private)
    try:
        return json_text(properties)
    except Exception:  # the values below names with "$" are anything
        return json_text({name: value for name, value in properties.items() if _is_json(value)})


def _event_text(fields: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    """Write what an event has of its own; what cannot be JSON is left out of its properties.

    Returns:
        The rest of the event's text, empty when not even that helps.
    """
    event = {**fields, "properties": properties}
    try:
        return f", {json_text(event)[1:]}"
    except Exception:  # the values below names with "$" are anything
        event["properties"] = {name: value for name, value in properties.items() if _is_json(value)}
    try:
        return f", {json_text(event)[1:]}"
    except Exception:  # such as a default variation that is no text
        return ""


def _exposure_texts(exposure: Exposure) -> Pieces:
    """Write what the events of an exposure have of their own: of its own decision, then of the nested ones."""
    detail = exposure.outcome.detail
    if isinstance(detail, Configured):
        own = _event_text(_remote_config(detail), _config_properties(detail, exposure))
    elif isinstance(detail, Told):
        own = _event_text(*_served(detail.served, exposure.default, {}))
    else:
        return ()
    return (own, *map(_nested_text, detail.nested))


def _nested_text(nested: Nested) -> str:
    root = {"$targetingRootType": nested.root_type, "$targetingRootId": nested.root_id}
    return _event_text(*_served(nested.served, None, root))


def _served(served: Served, default: Any, root: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the fields and the properties of an exposure."""
    experiment = served.experiment
    fields = {
        "experimentId": experiment.id,
        "experimentKey": experiment.key,
        "experimentType": experiment.kind,
        "experimentVersion": experiment.version,
        "variationId": served.variation_id,
        "variationKey": served.variation_key if served.variation_key is not None else default,
        "decisionReason": served.reason,
    }
    properties = dict(root)
    if served.configuration_id is not None:
        properties["$parameterConfigurationId"] = served.configuration_id
    properties["$experiment_version"] = experiment.version
    properties["$execution_version"] = experiment.execution_version
    return fields, properties


def _remote_config(detail: Configured) -> dict[str, Any]:
    return {
        "parameterId": detail.parameter.id,
        "parameterKey": detail.parameter.key,
        "parameterType": detail.parameter.type,
        "valueId": detail.value_id,
        "decisionReason": detail.reason,
    }


def _config_properties(detail: Configured, exposure: Exposure) -> dict[str, Any]:
    properties = {"requestValueType": requested_type(exposure.default), "requestDefaultValue": exposure.default}
    if detail.rule is not None:
        properties["targetRuleKey"], properties["targetRuleName"] = detail.rule
    properties["returnValue"] = exposure.default if exposure.outcome.uses_default else exposure.outcome.value
    return kept_properties(properties, (list,))


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except Exception:  # whatever an object of the caller's does
        return False
    return True


def _without_constants(text: bytes) -> bytes:
    """Give an item's text without NaN and infinities, which only Python takes for JSON and would spoil the body."""
    if b"NaN" not in text and b"Infinity" not in text:
        return text
    event = json.loads(text, object_pairs_hook=_finite_members)
    return text if event is None else json.dumps(event).encode()


def _finite_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: _finite_items(value) for name, value in pairs if not _is_constant(value)}


def _finite_items(value: Any) -> Any:
    return [_finite_items(item) for item in value if not _is_constant(item)] if isinstance(value, list) else value


def _is_constant(value: Any) -> bool:
    return isinstance(value, float) and not -float("inf") < value < float("inf")
