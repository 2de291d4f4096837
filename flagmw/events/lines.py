r"""How an event stands in a spool file: one line, with a mark where it begins and a checksum. Needs no file.

    \x1d 8 hexadecimal digits, then the items with \x1f between them, each `kind \x1e text`, then \n

Items are JSON in ASCII on one line, so none of these characters is in them. The mark is what makes a torn write
harmless: whatever is written after it begins with a mark of its own, and needs not know that the line before has no end.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from flagmw.events import Item

START = b"\x1d"
END = b"\n"
_BETWEEN_ITEMS = b"\x1f"
_AFTER_KIND = b"\x1e"
_DIGITS = 8
_NOT_ON_ONE_LINE = "the text of an event must be on one line, without control characters"

_heads: dict[str, tuple[bytes, int]] = {}
"""By kind, of which a service has a few: how an item begins, and the checksum of that."""


def line_of(items: Sequence[Item]) -> bytes:
    """Write an event.

    Raises:
        ValueError: a text is not on one line.
    """
    if len(items) == 1:  # as most have
        ((kind, text),) = items
        if END in text or START in text:
            raise ValueError(_NOT_ON_ONE_LINE)
        head, crc = _heads.get(kind) or _head_of(kind)
        return b"\x1d%08x%b%b\n" % (crc32(text, crc), head, text)
    content = _BETWEEN_ITEMS.join([b"%b\x1e%b" % (kind.encode(), text) for kind, text in items])
    if END in content or START in content:
        raise ValueError(_NOT_ON_ONE_LINE)
    return b"\x1d%08x%b\n" % (crc32(content), content)


def _head_of(kind: str) -> tuple[bytes, int]:
    head = kind.encode() + _AFTER_KIND
    _heads[kind] = head, crc32(head)
    return _heads[kind]


def items_of(line: bytes) -> tuple[int, Sequence[Item] | None]:
    """Read a line, without the character at its end.

    Returns:
        Where in it the event begins, behind what a torn write may have left, and its items; None for what is no event.
    """
    start = line.rfind(START)
    content = line[start + 1 + _DIGITS :]
    if start < 0 or line[start + 1 : start + 1 + _DIGITS] != b"%08x" % crc32(content):
        return max(start, 0), None
    items = []
    for item in content.split(_BETWEEN_ITEMS):
        kind, _, text = item.partition(_AFTER_KIND)
        items.append((kind.decode(errors="replace"), text))
    return start, items
