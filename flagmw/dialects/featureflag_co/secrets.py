"""featureflag.co's environment secrets, which name the environment that flags belong to.

Source: featureflag.co reference, section 2.
"""

from __future__ import annotations

import binascii
from base64 import b64decode

_FIELDS = slice(1, 4)
"""Account, project and environment, among the fields of a secret."""


def flag_prefix(env_secret: str) -> str | None:
    """Give what the ids of an environment's flags begin with; None where the secret does not tell.

    Raises:
        ValueError: it is no secret; the message holds nothing of it.
    """
    try:
        fields = b64decode(env_secret, validate=True).decode("utf-8").split("__")[_FIELDS]
    except (ValueError, binascii.Error):
        raise ValueError("not a base64 text") from None
    return "FF__" + "__".join(fields) + "__" if len(fields) == _FIELDS.stop - _FIELDS.start else None


def check_env_secret(env_secret: object) -> str | None:
    """Say what is wrong with an environment's secret, without showing it; None when it can be used."""
    if not isinstance(env_secret, str):
        return f"must be a str, got {type(env_secret).__name__}"
    try:
        prefix = flag_prefix(env_secret)
    except ValueError:
        return "is no base64 text; copy it from the environment's settings, with its = at the end"
    if prefix is None:
        return "does not name an environment; copy it again from the environment's settings"
    return None
