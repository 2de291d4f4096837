"""Finds where templates read flags: `{% flag %}` and `{% ifflag %}` in Django's, calls of `flags` in Jinja's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from flagmw.stale.files import SourceFile
from flagmw.stale.sites import CLEAR, METHODS, CallSite
from flagmw.stale.templates import Tag, Template, literal_of, parse_template, words_of

LIBRARY = "flags"
FLAG_TAGS = ("flag", "ifflag")
_CALL = re.compile(
    r"(?P<receiver>(?:[A-Za-z_]\w*\s*\.\s*)+)(?P<method>"
    + "|".join(sorted(METHODS | {"all"}, key=len, reverse=True))
    + r")\s*\(\s*"
    r"(?:key\s*=\s*)?(?P<key>\"[^\"]*\"|'[^']*'|\d+\b)?(?:\s*,\s*(?:default\s*=\s*)?(?P<default>[^,()]+))?"
)


def sites_in_template(file: SourceFile, text: str) -> Iterator[CallSite]:
    """Find where one template reads flags."""
    template = parse_template(text)
    has_library = LIBRARY in template.libraries
    # django-waffle has tags of these names too.
    is_foreign = any(tag.name == "endflag" for tag in template.tags) or "waffle_tags" in template.libraries
    for tag in template.tags:
        if tag.name in FLAG_TAGS:
            if has_library or not is_foreign:
                site = _of_tag(file, template, tag, is_certain=has_library and not is_foreign)
                if site is not None:
                    yield site
        else:
            yield from _of_calls(file, template, tag)


def key_of(tag: Tag) -> str | None:
    """Give the key of a `{% flag %}` or `{% ifflag %}` tag; None for a variable."""
    words = words_of(tag.rest)
    key = words[0].removeprefix("key=") if words else ""
    return literal_of(key) or None


def _of_tag(file: SourceFile, template: Template, tag: Tag, *, is_certain: bool) -> CallSite | None:
    key = key_of(tag)
    if key is None and not is_certain:
        return None
    default = next((word[8:] for word in words_of(tag.rest) if word.startswith("default=")), None)
    use = "condition" if tag.name == "ifflag" else "assigned" if " as " in tag.rest else "template"
    return _site(file, template, tag.start, tag.end, key, tag.name, default, use, is_certain=is_certain)


def _of_calls(file: SourceFile, template: Template, tag: Tag) -> Iterator[CallSite]:
    offset = template.text.index(tag.rest, tag.start) if tag.rest else tag.start
    for match in _CALL.finditer(tag.rest):
        receiver = match["receiver"].rstrip(". \t\n").rpartition(".")[2].strip()
        is_certain = receiver == "flags" and not template.bindings("flags")
        key = (literal_of(match["key"]) or match["key"]) if match["key"] else None
        if match["method"] == "all":
            if is_certain:
                start = offset + match.start()
                yield _site(file, template, start, start, None, "all", None, "template", is_certain=True)
            continue
        if not is_certain and (key is None or match["method"] not in CLEAR):
            continue
        use = "condition" if tag.name in ("if", "elif") else "assigned" if tag.name == "set" else "template"
        start, end = offset + match.start(), offset + match.end()
        default = match["default"].strip() if match["default"] else None
        yield _site(file, template, start, end, key, match["method"], default, use, is_certain=is_certain)


def _site(
    file: SourceFile,
    template: Template,
    start: int,
    end: int,
    key: str | None,
    method: str,
    default: str | None,
    use: str,
    *,
    is_certain: bool,
) -> CallSite:
    line, column = template.place(start)
    return CallSite(
        path=file.path,
        shown_path=file.shown_path,
        line=line,
        column=column,
        end_line=template.place(max(end - 1, start))[0],
        flag_key=key,
        method=method,
        default=default,
        use=use,
        is_certain=is_certain,
        is_watched=file.is_watched,
    )
