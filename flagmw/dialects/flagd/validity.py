"""Which flagd documents are valid: the checks that a loader makes, without looking into rules.

Source: flagd's flag definition format, "What makes a document invalid"; vectors `load_errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flagmw.errors import Path, Problem

FLAG_MEMBERS = ("state", "variants", "defaultVariant", "targeting", "metadata")


def document_problems(data: Any) -> list[Problem]:
    """Give what makes a parsed document invalid, without looking into rules.

    Source: flagd reference, "What makes a document invalid".
    """
    if not isinstance(data, dict):
        return [Problem(message=f"expected a mapping with 'flags', got {_kind(data)}")]
    problems: list[Problem] = []
    flags = data.get("flags")
    if "flags" not in data:
        problems.append(Problem(message="'flags' is missing; expected a mapping from flag key to flag"))
    elif not isinstance(flags, dict):
        problems.append(
            Problem(message=f"expected a mapping from flag key to flag, got {_kind(flags)}", path=("flags",))
        )
    else:
        for key, flag in flags.items():
            problems.extend(_flag_problems(key, flag))
    problems.extend(_metadata_problems(data, ()))
    evaluators = data.get("$evaluators")
    if evaluators is not None and not isinstance(evaluators, dict):
        message = f"expected a mapping from name to rule, got {_kind(evaluators)}"
        problems.append(Problem(message=message, path=("$evaluators",)))
    return problems


def _flag_problems(key: str, flag: Any) -> list[Problem]:
    path: Path = ("flags", key)
    if not key:
        return [Problem(message="a flag key must not be empty", path=path)]
    if not isinstance(flag, dict):
        return [Problem(message=f"expected a mapping with 'state' and 'variants', got {_kind(flag)}", path=path)]
    problems = []
    if flag.get("state") not in ("ENABLED", "DISABLED"):
        found = f"got {_shown(flag['state'])}" if "state" in flag else "it is missing"
        message = f'\'state\' must be "ENABLED" or "DISABLED", {found}'
        problems.append(Problem(message=message, path=(*path, "state")))
    variants = flag.get("variants")
    if not isinstance(variants, dict) or not variants:
        found = "an empty mapping" if variants == {} else _kind(variants)
        message = f"'variants' must be a mapping from name to value with at least one entry, got {found}"
        problems.append(Problem(message=message, path=(*path, "variants")))
        variants = None
    problems.extend(_default_problems(flag, variants, path))
    problems.extend(_metadata_problems(flag, path))
    if variants is not None and len({_type_name(value) for value in variants.values()}) > 1:
        message = "the variants have values of different types; typed reads will fail for some"
        problems.append(Problem(message=message, path=(*path, "variants"), severity="warning"))
    return problems


def _default_problems(flag: Mapping[str, Any], variants: Any, path: Path) -> list[Problem]:
    default = flag.get("defaultVariant")
    if default is None or default == "":
        return []
    path = (*path, "defaultVariant")
    if not isinstance(default, str):
        return [Problem(message=f"must name a variant, got {_kind(default)}", path=path)]
    if variants is not None and default not in variants:
        return [
            Problem(message=f"{default!r} is no variant; the variants are {', '.join(map(repr, variants))}", path=path)
        ]
    return []


def _metadata_problems(holder: Mapping[str, Any], path: Path) -> list[Problem]:
    metadata = holder.get("metadata")
    if metadata is None:
        return []
    path = (*path, "metadata")
    if not isinstance(metadata, dict):
        return [Problem(message=f"expected a mapping, got {_kind(metadata)}", path=path)]
    return [
        Problem(message=f"a metadata value is a string, number or boolean, got {_kind(value)}", path=(*path, name))
        for name, value in metadata.items()
        if isinstance(value, (dict, list))
    ]


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def _kind(value: Any) -> str:
    names = {"dict": "a mapping", "list": "a list", "str": "a string", "NoneType": "nothing", "bool": "a boolean"}
    return names.get(type(value).__name__, "a number")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:40] + "..."
