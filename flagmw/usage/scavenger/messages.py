"""The collector's messages, as protobuf: built at run time, in a pool of our own.

A pool of our own, and not generated modules, so that the official agent, whose messages have the same names, can live in
the same process. The only file that imports protobuf, and not before a message is needed.

Source: the protocol's `.proto` file; cases of the conformance tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flagmw.errors import ProtocolError
from flagmw.lifecycle.imports import import_optional

PACKAGE = "flagmw.usage.scavenger"

_TEXT = "TYPE_STRING"
_INT32 = "TYPE_INT32"
_INT64 = "TYPE_INT64"

_MESSAGES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "CommonPublicationData": (
        ("api_key", _TEXT),
        ("app_name", _TEXT),
        ("app_version", _TEXT),
        ("code_base_fingerprint", _TEXT),
        ("environment", _TEXT),
        ("hostname", _TEXT),
        ("jvm_started_at_millis", _INT64),
        ("jvm_uuid", _TEXT),
        ("published_at_millis", _INT64),
    ),
    "CodeBasePublication": (("common_data", "CommonPublicationData"), ("entry", "*CodeBasePublication.CodeBaseEntry")),
    "CodeBasePublication.CodeBaseEntry": (
        ("declaring_type", _TEXT),
        ("visibility", _TEXT),
        ("signature", _TEXT),
        ("method_name", _TEXT),
        ("modifiers", _TEXT),
        ("package_name", _TEXT),
        ("parameter_types", _TEXT),
        ("signature_hash", _TEXT),
    ),
    "InvocationDataPublication": (
        ("common_data", "CommonPublicationData"),
        ("entry", "*InvocationDataPublication.InvocationDataEntry"),
        ("recording_interval_started_at_millis", _INT64),
    ),
    "InvocationDataPublication.InvocationDataEntry": (("hash", _TEXT),),
    "GetConfigRequest": (("api_key", _TEXT), ("jvm_uuid", _TEXT)),
    "GetConfigResponse": (
        ("config_poll_interval_seconds", _INT32),
        ("config_poll_retry_interval_seconds", _INT32),
        ("code_base_publisher_check_interval_seconds", _INT32),
        ("code_base_publisher_retry_interval_seconds", _INT32),
        ("invocation_data_publisher_interval_seconds", _INT32),
        ("invocation_data_publisher_retry_interval_seconds", _INT32),
    ),
    "PublicationResponse": (("status", _TEXT),),
    "InitConfigResponse": (("collector_url", _TEXT),),
}
"""Fields in the order of their numbers, which begin with 1; `*` repeats; a message in a message is named with a dot."""


def are_available() -> bool:
    """Tell whether protobuf is installed."""
    return import_optional("google.protobuf.message_factory") is not None


class Messages:
    """Makes messages. Needs protobuf, see `are_available`; any thread may use it."""

    def __init__(self) -> None:
        descriptors: Any = import_optional("google.protobuf.descriptor_pb2")
        pools: Any = import_optional("google.protobuf.descriptor_pool")
        factory: Any = import_optional("google.protobuf.message_factory")
        errors: Any = import_optional("google.protobuf.message")
        file = descriptors.FileDescriptorProto(name="flagmw/usage/scavenger.proto", package=PACKAGE, syntax="proto3")
        made: dict[str, Any] = {}
        for name, members in _MESSAGES.items():
            outer, _, inner = name.rpartition(".")
            message = made[outer].nested_type.add(name=inner) if outer else file.message_type.add(name=name)
            made[name] = message
            for number, (member, kind) in enumerate(members, start=1):
                _add(message, descriptors.FieldDescriptorProto, member, number, kind)
        pool = pools.DescriptorPool()
        pool.AddSerializedFile(file.SerializeToString())
        self._decode_error = errors.DecodeError
        self._kinds: dict[str, Any] = {
            name: factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in _MESSAGES
        }

    def new(self, name: str, **members: Any) -> Any:
        """Make a message.

        Raises:
            ValueError: a text that cannot be written as UTF-8, or a number that is too large.
        """
        return self._kinds[name](**members)

    def read(self, name: str, data: bytes) -> Any:
        """Read a message.

        Raises:
            ProtocolError: these bytes are none.
        """
        try:
            return self._kinds[name].FromString(data)
        except self._decode_error:
            raise ProtocolError("the collector's answer is no message of its protocol") from None


def written(message: Any) -> bytes:
    """Give a message's bytes: fields in the order of their numbers, defaults left out."""
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def _add(message: Any, kinds: Any, name: str, number: int, kind: str) -> None:
    label = kinds.LABEL_REPEATED if kind.startswith("*") else kinds.LABEL_OPTIONAL
    if kind.startswith("TYPE_"):
        message.field.add(name=name, number=number, label=label, type=getattr(kinds, kind))
    else:
        type_name = f".{PACKAGE}.{kind.removeprefix('*')}"
        message.field.add(name=name, number=number, label=label, type=kinds.TYPE_MESSAGE, type_name=type_name)
