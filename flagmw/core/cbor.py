"""Encodes JSON values as CBOR, so that a value of any type can be hashed.

One encoding per value: RFC 8949, section 4.2.1 (core deterministic encoding), with numbers that have no fraction
as integers. A library would do for the format, but none has these number rules and this key order.

Source: RFC 8949 and the flagd rule reference, "fractional" v3; vectors `hashes`.
"""

from __future__ import annotations

import struct
from typing import Any


def encode_cbor(value: Any) -> bytes:
    """Encode a JSON value.

    Raises:
        ValueError: NaN, an infinity, a text with a lone surrogate or a type that JSON does not have.
    """
    kind = value.__class__
    if kind is str:
        text: bytes = value.encode("utf-8")
        return _head(3, len(text)) + text
    if value is None:
        return b"\xf6"
    if kind is bool:
        return b"\xf5" if value else b"\xf4"
    if kind is int or kind is float:
        return _number(value)
    if isinstance(value, (list, tuple)):
        return _head(4, len(value)) + b"".join([encode_cbor(item) for item in value])
    if isinstance(value, dict):
        entries = sorted((encode_cbor(key), encode_cbor(item)) for key, item in value.items())
        return _head(5, len(entries)) + b"".join([key + item for key, item in entries])
    raise ValueError(f"CBOR of JSON has no {kind.__name__}")


def _number(number: float) -> bytes:
    if isinstance(number, float):
        if number - number != 0:
            raise ValueError("CBOR of JSON has no NaN and no infinity")
        if not number.is_integer():
            return _float(number)
    whole = int(number)
    if 0 <= whole < 1 << 64:
        return _head(0, whole)
    if -(1 << 63) <= whole < 0:
        return _head(1, -1 - whole)
    try:
        return _float(float(number))
    except OverflowError:
        raise ValueError("CBOR of JSON has no integer beyond a double") from None


def _float(number: float) -> bytes:
    for form, initial in (("e", 0xF9), ("f", 0xFA)):
        try:
            packed = struct.pack(">" + form, number)
        except OverflowError:
            continue
        if struct.unpack(">" + form, packed)[0] == number:
            return bytes([initial]) + packed
    return b"\xfb" + struct.pack(">d", number)


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major << 5 | argument])
    for extra, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << (8 * size):
            return bytes([major << 5 | extra]) + argument.to_bytes(size, "big")
    raise ValueError("too long for CBOR")
