"""The report as one HTML page that needs nothing else: no request leaves it, and no script but its own runs in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape
from importlib.resources import files
from typing import Any

SCRIPTS = ("data", "shared", "tree", "treemap", "table", "flags", "page")
"""In the order in which they need each other; together they are one script with one scope."""

GENERATOR = '<meta name="generator" content="flagmw '
"""By which a page of this report can be told from the templates of an application."""


def page_of(data: dict[str, Any], title: str, version: str) -> str:
    """Give the page.

    Args:
        data: what the page's scripts read; a value for JSON.
        title: of the page.
        version: of flagmw.
    """
    style = _asset("page.css")
    script = '(() => {\n"use strict";\n' + "\n".join(_asset(f"{name}.js") for name in SCRIPTS) + "})();\n"
    parts = {
        "policy": "; ".join(
            [
                "default-src 'none'",
                f"style-src '{_hash(style)}'",
                f"script-src '{_hash(script)}'",
                "img-src data:",
                "base-uri 'none'",
                "form-action 'none'",
                "require-trusted-types-for 'script'",
            ]
        ),
        "version": escape(version),
        "title": escape(title),
        "style": style,
        "data": _inside_script(data),
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("page.html"))


def _asset(name: str) -> str:
    return files("flagmw.report").joinpath("assets", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _inside_script(data: dict[str, Any]) -> str:
    """Write JSON that cannot end the script element that it is in: `<` occurs in texts only, where it can be escaped."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
