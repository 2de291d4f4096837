"""Makes message classes of a `.proto` file, without a compiler: messages, nested messages, services; scalar fields.

They live in a pool of their own, so that other classes of the same names do no harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TOKEN = re.compile(r'"[^"]*"|[\w.]+|[{}()=;<>,]')
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
SCALARS = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method of a service: the classes of what it takes and gives."""

    takes: Any
    gives: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Proto:
    """What a file declares: classes by message name, methods by service and name."""

    messages: Mapping[str, Any]
    services: Mapping[str, Mapping[str, Method]]


def load_proto(path: Path) -> Proto:
    """Read a file."""
    file = descriptor_pb2.FileDescriptorProto(name=path.name)
    tokens = iter(TOKEN.findall(COMMENT.sub("", path.read_text(encoding="utf-8"))))
    methods: dict[str, dict[str, tuple[str, str]]] = {}
    for token in tokens:
        if token == "syntax":
            expect(tokens, "=")
            file.syntax = next(tokens).strip('"')
            expect(tokens, ";")
        elif token == "message":
            read_message(tokens, file.message_type.add(name=next(tokens)))
        elif token == "service":
            name = next(tokens)
            methods[name] = dict(read_service(tokens))
        else:
            raise ValueError(f"{path}: {token!r} is not understood")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    messages = {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(message.name))
        for message in file.message_type
    }
    services = {
        service: {name: Method(takes=messages[takes], gives=messages[gives]) for name, (takes, gives) in found.items()}
        for service, found in methods.items()
    }
    return Proto(messages=messages, services=services)


def expect(tokens: Iterator[str], wanted: str) -> None:
    found = next(tokens)
    if found != wanted:
        raise ValueError(f"{found!r} instead of {wanted!r}")


def read_message(tokens: Iterator[str], message: descriptor_pb2.DescriptorProto) -> None:
    """Read what is inside a message's braces."""
    expect(tokens, "{")
    while (token := next(tokens)) != "}":
        if token == "message":
            read_message(tokens, message.nested_type.add(name=next(tokens)))
            continue
        label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
        if token == "repeated":
            label, token = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED, next(tokens)
        field = message.field.add(name=next(tokens), label=label)
        if token in SCALARS:
            field.type = SCALARS[token]
        else:
            field.type_name = token
        expect(tokens, "=")
        field.number = int(next(tokens))
        expect(tokens, ";")


def read_service(tokens: Iterator[str]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Give each method's name and the names of what it takes and gives."""
    expect(tokens, "{")
    while (token := next(tokens)) != "}":
        if token != "rpc":
            raise ValueError(f"{token!r} instead of 'rpc'")
        name = next(tokens)
        expect(tokens, "(")
        takes = next(tokens)
        expect(tokens, ")")
        expect(tokens, "returns")
        expect(tokens, "(")
        gives = next(tokens)
        expect(tokens, ")")
        expect(tokens, ";")
        yield name, (takes, gives)
