"""Secrets and connection tokens of FeatBit and featureflag.co, from the server's side.

Source: sections 1 to 3 of the two protocol references; rows of the token table are in `test_service_servers`.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from dataclasses import dataclass

LETTERS = "QBWSPHDXZU"
"""The digits 0 to 9."""

FEATBIT_SECRET_LENGTH = 44
ID_LENGTH = 22


class RefusedError(Exception):
    """A token or a secret that a server does not take; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a token holds.

    Attributes:
        secret: without trailing `=`.
        position: where the secret was cut open.
        time_ms: the clock of who made it, Unix milliseconds.
    """

    secret: str
    position: int
    time_ms: int


def build_token(secret: str, *, time_ms: int, position: int) -> str:
    """Write a token as the SDKs do.

    Args:
        secret: of the environment.
        time_ms: Unix milliseconds.
        position: where to cut the secret open.
    """
    text = secret.rstrip("=")
    code = _letters(str(time_ms))
    return f"{_letters(f'{position:03d}')}{_letters(f'{len(code):02d}')}{text[:position]}{code}{text[position:]}"


def decode_token(token: str) -> Token:
    """Read a token.

    Raises:
        RefusedError: it is none.
    """
    if len(token) < 5:
        raise RefusedError("a token has at least 5 characters")
    position, length = _number(token[:3]), _number(token[3:5])
    rest = token[5:]
    if position > 255 or position + length > len(rest):
        raise RefusedError(f"position {position} and length {length} do not fit")
    time_ms = _number(rest[position : position + length])
    return Token(secret=rest[:position] + rest[position + length :], position=position, time_ms=time_ms)


def _letters(digits: str) -> str:
    return "".join(LETTERS[int(digit)] for digit in digits)


def _number(letters: str) -> int:
    try:
        return int("".join(str(LETTERS.index(letter)) for letter in letters) or "0")
    except ValueError:
        raise RefusedError("a letter is not of the alphabet") from None


# --- FeatBit ----------------------------------------------------------------------------------------------------


def featbit_secret(environment: uuid.UUID | None = None, salt: uuid.UUID | None = None) -> str:
    """Issue a secret: 44 characters that end in the id of the environment."""
    return _encode_id(salt or uuid.uuid4()) + _encode_id(environment or uuid.uuid4())


def featbit_environment(secret: str) -> uuid.UUID:
    """Give the environment that a secret is for.

    Raises:
        RefusedError: it is not a well-formed secret.
    """
    if len(secret) != FEATBIT_SECRET_LENGTH:
        raise RefusedError(f"a secret has 44 characters, not {len(secret)}")
    try:
        environment = uuid.UUID(bytes_le=base64.b64decode(secret[ID_LENGTH:] + "==", altchars="-_", validate=True))
    except ValueError:
        raise RefusedError("the second half of the secret is not an id") from None
    if environment.int == 0:
        raise RefusedError("the environment is all zero")
    return environment


def _encode_id(value: uuid.UUID) -> str:
    return base64.urlsafe_b64encode(value.bytes_le).decode()[:ID_LENGTH]


# --- featureflag.co ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFlagCoEnvironment:
    """The ids inside a secret."""

    account: int
    project: int
    environment: int

    def flag_id(self, key: str) -> str:
        """Give the id that a flag is stored under."""
        return f"FF__{self.account}__{self.project}__{self.environment}__{key}"


def featureflag_co_secret(account: int = 36, project: int = 46, environment: int = 98) -> str:
    """Issue a secret; the same ids give the same secret."""
    text = f"7d1c-4b5e-%20220311093000__{account}__{project}__{environment}__default_9f27c"
    return base64.b64encode(text.encode()).decode()


def featureflag_co_environment(secret: str) -> FeatureFlagCoEnvironment:
    """Give the ids inside a secret, padded or not.

    Raises:
        RefusedError: it is not a secret.
    """
    text = secret.rstrip("=")
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode()
        account, project, environment = (int(part) for part in decoded.split("__")[1:4])
    except (binascii.Error, ValueError):
        raise RefusedError("the secret does not hold three numbers") from None
    if not (account and project and environment):
        raise RefusedError("an id in the secret is zero")
    return FeatureFlagCoEnvironment(account=account, project=project, environment=environment)
