"""The connection token of featureflag.co and FeatBit: a secret, cut open, with the time in between.

It is obfuscation, not cryptography.

Source: featureflag.co reference, section 3; FeatBit reference, section 2; vectors `token.csv`.
"""

from __future__ import annotations

from typing import NamedTuple

ALPHABET = "QBWSPHDXZU"
"""The letters for the digits 0 to 9."""

_TO_LETTERS = str.maketrans("0123456789", ALPHABET)
_DIGITS = {letter: str(digit) for digit, letter in enumerate(ALPHABET)}


class Token(NamedTuple):
    """What a token holds.

    Attributes:
        secret: without trailing `=`.
        start: where it is cut open.
        timestamp_ms: Unix time.
    """

    secret: str
    start: int
    timestamp_ms: int


def start_of(secret: str, fraction: float) -> int:
    """Give the position where a secret is cut open, for a random number from 0 to 1."""
    return max(int(fraction * len(secret.rstrip("="))), 2)


def encode_token(secret: str, start: int, timestamp_ms: int) -> str:
    """Make the token of a secret at a time."""
    text = secret.rstrip("=")
    code = str(timestamp_ms).translate(_TO_LETTERS)
    head = f"{start % 1000:03}{len(code) % 100:02}".translate(_TO_LETTERS)
    return f"{head}{text[:start]}{code}{text[start:]}"


def decode_token(token: str) -> Token:
    """Read a token.

    Raises:
        ValueError: it is none; the message holds nothing of it.
    """
    start, length = _number(token[:3], 3), _number(token[3:5], 2)
    rest = token[5:]
    if len(rest) < start + length:
        raise ValueError("a token is too short for what it says of itself")
    code = rest[start : start + length]
    return Token(rest[:start] + rest[start + length :], start, _number(code, length) if code else 0)


def _number(letters: str, length: int) -> int:
    if len(letters) != length or not all(letter in _DIGITS for letter in letters):
        raise ValueError("a token has something else where its numbers are")
    return int("".join(_DIGITS[letter] for letter in letters))
