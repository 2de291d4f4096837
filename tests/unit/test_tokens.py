"""The connection token of featureflag.co and FeatBit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.core.tokens import Token, decode_token, encode_token, start_of

PADDED = "N2QxYy00YjVlLSUyMDIyMDMxMTA5MzAwMF9fMzZfXzQ2X185OF9fZGVmYXVsdF85ZjI3Yw=="
PLAIN = "v3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w"


@pytest.mark.parametrize(
    ("secret", "start", "timestamp_ms", "token"),
    [
        (
            PADDED,
            7,
            1662600000123,
            "QQXBSN2QxYy0BDDWDQQQQQBWS0YjVlLSUyMDIyMDMxMTA5MzAwMF9fMzZfXzQ2X185OF9fZGVmYXVsdF85ZjI3Yw",
        ),
        (PLAIN, 14, 1666018800754, "QBPBSv3faJy3RCUO8d-BDDDQBZZQQXHPEJiVdN6waRfGjfNan02Ms9c0LiTD6w"),
    ],
)
def test_the_worked_examples_of_the_references_come_out(secret: str, start: int, timestamp_ms: int, token: str) -> None:
    assert encode_token(secret, start, timestamp_ms) == token


def test_a_time_that_is_padded_with_zeros_is_read() -> None:
    token = "QBPBHv3faJy3RCUO8d-QQBDDDQBZZQQXHPEJiVdN6waRfGjfNan02Ms9c0LiTD6w"
    assert decode_token(token) == Token(PLAIN, 14, 1666018800754)


@given(st.text(st.characters(exclude_characters="="), min_size=3), st.floats(0, 1), st.integers(0, 10**20))
def test_what_is_encoded_is_decoded(secret: str, fraction: float, timestamp_ms: int) -> None:
    start = min(start_of(secret, fraction), 999)
    assert decode_token(encode_token(secret, start, timestamp_ms)) == Token(secret, start, timestamp_ms)


@given(st.floats(0, 1, exclude_max=True))
def test_a_secret_is_cut_after_its_second_character_at_the_earliest_and_before_its_last_at_the_latest(
    fraction: float,
) -> None:
    assert 2 <= start_of(PADDED, fraction) < len(PADDED.rstrip("="))


@pytest.mark.parametrize("token", ["", "QBP", "QBPB", "QBPBS", "qbpBSsecret", "QBPBSv3faJ", "ABCBS" + PLAIN])
def test_what_is_no_token_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(ValueError) as caught:
        decode_token(token)
    assert not token[5:] or token[5:] not in str(caught.value)
