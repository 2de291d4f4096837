"""The messages in which featureflag.co and FeatBit send flags: read from text, not compiled.

Source: featureflag.co reference, section 5.2; FeatBit reference, section 4.1; vectors `sync.json`.
"""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass
from typing import Any

from flagmw.core.documents import Document
from flagmw.core.parsing import parse
from flagmw.errors import DocumentError, Path, Problem

MESSAGE_TYPE = "data-sync"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncMessage:
    """What a service says of flags and segments.

    Attributes:
        is_full: it is everything there is; else what has changed.
        flags: items as they arrived, whatever they are.
        segments: the same.
    """

    is_full: bool
    flags: list[Any]
    segments: list[Any]


def read_message(document: Document, *, is_lenient: bool) -> SyncMessage | None:
    """Read one message.

    Args:
        document: the message.
        is_lenient: members that are missing or null are empty, and a document of flags may have no envelope.

    Returns:
        None for a message that is about something else.

    Raises:
        DocumentError: it cannot be used; with the place where that is known, and nothing of its content.
    """
    value = _parsed(document)
    if not isinstance(value, dict):
        raise _refused(document, f"expected an object, got {_kind(value)}")
    if "messageType" in value or not is_lenient:
        if value.get("messageType") != MESSAGE_TYPE:
            if "messageType" in value:
                return None
            raise _refused(document, f'has no messageType, expected "{MESSAGE_TYPE}"')
        data, path = value.get("data"), ("data",)
    else:
        data, path = {"eventType": "full", **value}, ()  # type: ignore[assignment]  # an empty path, too
    if not isinstance(data, dict):
        raise _refused(document, f"expected an object, got {_kind(data)}", path)
    event = data.get("eventType")
    if event not in ("full", "patch"):
        raise _refused(document, 'expected "full" or "patch"', (*path, "eventType"))
    if not path and "featureFlags" not in data:
        raise _refused(document, "has no featureFlags")
    return SyncMessage(
        is_full=event == "full",
        flags=_list(document, data, (*path, "featureFlags"), is_lenient=is_lenient),
        segments=_list(document, data, (*path, "segments"), is_lenient=is_lenient),
    )


def _list(document: Document, data: dict[str, Any], path: Path, *, is_lenient: bool) -> list[Any]:
    value = data.get(str(path[-1]))
    if value is None and is_lenient:
        return []
    if not isinstance(value, list):
        raise _refused(document, f"expected a list, got {_kind(value)}", path)
    return value


def _parsed(document: Document) -> Any:
    if document.is_yaml or not isinstance(document.content, bytes):
        return parse(document)
    # Not `parse`, which also finds duplicate keys: it takes twice the time, for documents that no person writes.
    content = document.content.removeprefix(codecs.BOM_UTF8)
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _refused(document, f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        message = f"invalid JSON: {error.msg[0].lower()}{error.msg[1:]}"
        problem = Problem(message=message, line=error.lineno, column=error.colno)
        raise DocumentError(document.name, (problem,)) from None
    except RecursionError:
        raise _refused(document, "nested too deeply") from None
    except ValueError:
        raise _refused(document, "has a number of too many digits") from None


def _refused(document: Document, message: str, path: Path = ()) -> DocumentError:
    return DocumentError(document.name, (Problem(message=message, path=path),))


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean"}
    return names.get(type(value), "a number")
