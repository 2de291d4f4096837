"""Rollouts by MD5: the scale, and laying ranges out for one bisection."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.context import UserContext
from flagmw.core.md5_rollout import (
    Range,
    compile_rollout,
    contains,
    hash_of,
    make_rollout,
    percentage,
    range_of,
)
from flagmw.core.properties import KEY

AT_0, AT_HALF, AT_1 = b"edge-u1259152836", b"edge-u0387489440", b"edge-w8827897753"


@pytest.mark.parametrize(
    ("text", "placed"),
    [
        ("test-value", 0.14653629204258323),
        ("qKPKh1S3FolC", 0.9105919692665339),
        ("3eacb184-2d79-49df-9ea7-edd4f10e4c6f", 0.08994403155520558),
        ("u-42", 0.22529130475595593),
        ("dS00Mg==", 0.5223323097452521),
    ],
)
def test_texts_are_placed_as_the_references_say(text: str, placed: float) -> None:
    assert percentage(text.encode()) == placed


@given(st.binary(max_size=50))
def test_the_quick_hash_is_md5(data: bytes) -> None:
    assert hash_of(data) == int.from_bytes(hashlib.md5(data, usedforsecurity=False).digest()[:4], "little")


@given(
    st.lists(
        st.tuples(
            st.sampled_from([-1.0, 0, 0.0, 0.25, 0.5, 0.75, 1, 1.0, 2.0]) | st.floats(-0.1, 1.1), st.floats(-0.1, 1.1)
        ),
        max_size=6,
    ),
    st.sampled_from([AT_0, AT_HALF, AT_1]) | st.binary(max_size=8),
)
def test_a_laid_out_rollout_serves_what_trying_one_range_after_the_other_serves(
    ranges: list[Range], data: bytes
) -> None:
    tried = next((number for number, limits in enumerate(ranges) if contains(limits, data)), None)
    assert make_rollout([(limits, number) for number, limits in enumerate(ranges)]).find(data) == tried


@pytest.mark.parametrize(
    ("limits", "data", "is_in"),
    [
        ((0.5, 0.6), AT_HALF, True),
        ((0.4, 0.5), AT_HALF, False),
        ((0.0, 0.1), AT_0, True),
        ((0.9, 1), AT_1, False),
        ((0.5, 1), AT_1, False),
        ((0, 1), AT_1, True),
    ],
)
def test_a_range_has_its_lower_limit_and_not_its_upper_one_unless_it_is_the_whole_scale(
    limits: Range, data: bytes, is_in: bool
) -> None:
    assert contains(limits, data) is is_in
    assert (make_rollout([(limits, "in")]).find(data) == "in") is is_in


@pytest.mark.parametrize(
    "value", [None, [], [0], ["0", "1"], [0, None], {"0": 0, "1": 1}, "01", 5, [float("nan"), 1], [0, float("nan")]]
)
def test_a_malformed_range_is_none(value: object) -> None:
    assert range_of(value) is None


@pytest.mark.parametrize("value", [[0, 1], [0.0, 1.0], [False, True], [0, 1, 5]])
def test_everybody_is_in_the_range_from_0_to_1_however_it_is_written(value: object) -> None:
    limits = range_of(value)
    assert limits is not None
    assert not make_rollout([(limits, "all")]).is_split


def test_ranges_of_the_same_variation_that_touch_are_one() -> None:
    rollout = make_rollout([((0, 0.5), "a"), ((0.5, 0.75), "a"), ((0.75, 1), "b")])
    assert len(rollout.bounds) == 2 * 2  # where b begins and where it ends, and the same mirrored


def test_a_rollout_of_very_many_ranges_is_laid_out_in_no_time() -> None:
    ranges: list[tuple[Range | None, int]] = [((n / 50_000, 1.0), n) for n in range(50_000)]
    assert make_rollout(ranges).find(AT_HALF) == 0


def chosen(rollout: list[tuple[Range | None, str]], key: str, *, is_ascii: bool = False) -> str | None:
    return compile_rollout(make_rollout(rollout), "", KEY, is_ascii=is_ascii)(UserContext(key))


def test_a_text_that_is_no_unicode_is_only_in_the_range_that_has_everybody() -> None:
    assert chosen([((0, 0.9), "some"), ((0, 1), "all")], "\ud800") == "all"
    assert chosen([((0, 0.9), "some")], "\ud800") is None


def test_as_ascii_every_other_character_is_a_question_mark() -> None:
    ranges: list[tuple[Range | None, str]] = [((n / 100, (n + 1) / 100), str(n)) for n in range(100)]
    assert chosen(ranges, "zoé\U0001f98a\ud800", is_ascii=True) == chosen(ranges, "zo???", is_ascii=True)
    assert chosen(ranges, "zoé") != chosen(ranges, "zoé", is_ascii=True)


def test_the_prefix_is_hashed_too() -> None:
    choose = compile_rollout(make_rollout([((0.14, 0.15), "in")]), "test-", KEY, is_ascii=False)
    assert choose(UserContext("value")) == "in"
