"""The collector's messages: beside others of the same names, and nothing but what the protocol has."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from flagmw.errors import ProtocolError
from flagmw.usage.scavenger.messages import PACKAGE, Messages, written
from tests.services.scavenger_server import PROTO


def test_messages_of_the_same_names_may_live_in_the_process() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="flagmw/usage/scavenger.proto", syntax="proto3")
    file.message_type.add(name="GetConfigRequest").field.add(
        name="else", number=1, label=1, type=descriptor_pb2.FieldDescriptorProto.TYPE_INT64
    )
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())  # as generated modules do
    other = message_factory.GetMessageClass(pool.FindMessageTypeByName("GetConfigRequest"))
    messages = Messages()
    assert written(messages.new("GetConfigRequest", api_key="k")) == b"\x0a\x01k"
    assert written(other(**{"else": 1})) == b"\x08\x01"


def test_messages_can_be_made_twice() -> None:
    assert written(Messages().new("PublicationResponse", status="OK")) == written(
        Messages().new("PublicationResponse", status="OK")
    )


@pytest.mark.parametrize("name", sorted(PROTO.messages))
def test_our_messages_are_those_of_the_protocols_file(name: str) -> None:
    theirs, ours = (descriptor_pb2.DescriptorProto() for _ in range(2))
    PROTO.messages[name].DESCRIPTOR.CopyToProto(theirs)
    Messages().new(name).DESCRIPTOR.CopyToProto(ours)
    assert str(ours).replace(f".{PACKAGE}.", ".") == str(theirs)


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05ab", b"\x08", b"\x0a\x02\xff\xfe"])
def test_bytes_that_are_no_message_are_an_error(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="is no message of its protocol"):
        Messages().read("PublicationResponse", data)


def test_unknown_fields_are_left_alone() -> None:
    assert Messages().read("PublicationResponse", b"\x0a\x02OK\x98\x06\x01").status == "OK"
