"""Values of flags that are texts on the wire, read as other types.

Source: featureflag.co reference, section 14.4; the words are those of its `is_enabled`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from flagmw.core.documents import MAX_DEPTH, depth_of
from flagmw.core.snapshot import Kind

_WORDS = {
    **dict.fromkeys(("y", "yes", "t", "true", "on", "1"), True),
    **dict.fromkeys(("n", "no", "f", "false", "off", "0"), False),
}


def boolean_word(text: str) -> bool | None:
    """Read a text as yes or no, in any case; None when it is neither."""
    return _WORDS.get(text.lower())


def json_value(text: str) -> Any:
    """Parse a text as JSON.

    Raises:
        ValueError: it is none, or nested so deeply that copying it might exhaust Python's stack.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if depth_of(value) > MAX_DEPTH:
        raise ValueError("nested too deeply")
    return value


def kinds_of(text: str) -> Mapping[Kind, Any]:
    """Give a text read as each kind, None where it cannot be; what is no word for yes or no is False."""
    kinds: dict[Kind, Any] = {"string": text, "boolean": boolean_word(text) or False}
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        kinds["number"] = number
        if number.is_integer():
            kinds["integer"] = _integer_of(text, number)
    if text[:1] in ("{", "["):
        try:
            kinds["json"] = json_value(text)
        except ValueError:
            kinds["json"] = None
    return kinds


def _integer_of(text: str, number: float) -> int:
    try:
        return int(text)
    except ValueError:  # written with a fraction or an exponent
        return int(number)
