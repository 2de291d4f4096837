"""How an event stands in a file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.events.lines import items_of, line_of

KINDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126)).map(str.encode)
ITEMS = st.lists(st.tuples(KINDS, TEXTS), min_size=1, max_size=4)

ITEM = [("exposure", b'{"insertId": "a"}')]


@given(ITEMS)
def test_an_event_is_read_as_it_was_written(items: list[tuple[str, bytes]]) -> None:
    line = line_of(items)
    assert line.endswith(b"\n")
    assert items_of(line[:-1]) == (0, items)


@given(ITEMS, st.data())
def test_a_line_that_was_torn_is_no_event(items: list[tuple[str, bytes]], data: st.DataObject) -> None:
    line = line_of(items)
    torn = line[: data.draw(st.integers(0, len(line) - 2))]
    assert items_of(torn)[1] is None


@given(ITEMS, ITEMS, st.data())
def test_an_event_behind_a_torn_one_is_read(
    torn: list[tuple[str, bytes]], items: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    line = line_of(torn)
    rest = line[: data.draw(st.integers(0, len(line) - 1))]
    assert items_of(rest + line_of(items)[:-1]) == (len(rest), items)


@given(st.data())
def test_a_line_in_which_a_byte_was_altered_is_no_event(data: st.DataObject) -> None:
    line = bytearray(line_of(ITEM)[:-1])
    place = data.draw(st.integers(0, len(line) - 1))
    line[place] ^= data.draw(st.integers(1, 255))
    assert items_of(bytes(line))[1] is None


@pytest.mark.parametrize("line", [b"", b"\x1d", b"{}", b"\0" * 4096, b"\x1d00000000{}", b"a: foreign line"])
def test_a_foreign_line_is_no_event(line: bytes) -> None:
    assert items_of(line)[1] is None


@pytest.mark.parametrize("text", [b"a\nb", b"a\x1db"])
def test_a_text_that_would_break_the_format_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="on one line"):
        line_of([("x", text)])
