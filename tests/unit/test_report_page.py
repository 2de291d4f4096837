"""The report as a page and as JSON. How the page looks and works is test_usage_report's subject, in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

from flagmw.report.model import Report
from flagmw.report.page import page_of
from flagmw.report.page_data import page_data, title_of
from flagmw.report.told import told
from tests.unit.report_support import NOW, report, stale_flag, stored

NASTY = "</script><script>alert(1)</script><!-- {{data}} & \u2028 \ud800"


def page(made: Report) -> str:
    return page_of(page_data(made), title_of(made), "1")


def data_of(text: str) -> Any:
    found = re.search(r'<script type="application/json" id="report">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


class Parts(HTMLParser):
    """Collects what a page asks for, and its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[tuple[str, str]] = []
        self.handlers: list[str] = []
        self._open = ""
        self.policy = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "action", "data", "srcset"}]
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name == "style"]
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"] or ""
        self._open = tag if attributes.get("type") != "application/json" else ""

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in {"script", "style"}:
            self.inline.append((self._open, data))


# --- the page -----------------------------------------------------------------------------------------------------


def test_the_page_asks_for_nothing() -> None:
    text = page(report(stored(), flags=[stale_flag()]))
    assert [address for address in Parts(text).addresses if not address.startswith(("#", "data:"))] == []
    assert not re.findall(r"https?:|url\(|@import|fetch\(|XMLHttpRequest|import\(", text)


def test_the_pages_policy_allows_its_own_script_and_style_and_nothing_else() -> None:
    parts = Parts(page(report(stored())))
    hashes = {kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for kind, text in parts.inline}
    assert "default-src 'none'" in parts.policy
    assert f"script-src 'sha256-{hashes['script']}'" in parts.policy
    assert f"style-src 'sha256-{hashes['style']}'" in parts.policy
    assert "unsafe" not in parts.policy
    assert parts.handlers == []


def test_names_that_hold_markup_stay_data() -> None:
    flag = replace(stale_flag(NASTY), why=NASTY)
    made = report(stored("app.a:f", shown_path=NASTY, parameters=NASTY), flags=[flag], notes=[NASTY])
    text = page(made)
    assert text.count("<script") == text.count("</script>") == 2
    assert data_of(text)["files"] == [NASTY]
    assert data_of(text)["flags"][0]["key"] == NASTY


def test_a_title_that_holds_markup_is_escaped() -> None:
    assert "<title>&lt;b&gt;</title>" in page_of(page_data(report()), "<b>", "1")


def test_the_page_can_be_written_whatever_names_hold() -> None:
    page(report(stored("app.a:f", shown_path=NASTY))).encode("utf-8")


def test_nodes_and_functions_of_the_page_are_in_the_order_of_a_walk() -> None:
    made = report(stored("app.a:f", 3), stored("app.a:K.m", 9), stored("app.b:g"), stored("lib:h", ago_d=2))
    data = data_of(page(made))
    assert data["nodes"] == {
        "name": ["", "app", "a", "K", "b", "lib"],
        "kind": [0, 1, 2, 3, 2, 2],
        "parent": [0, 0, 1, 2, 1, 0],
        "end": [6, 5, 4, 4, 5, 6],
        "start": [0, 0, 0, 1, 2, 3],
    }
    assert data["functions"]["name"] == ["f", "m", "g", "h"]
    assert data["functions"]["ago"] == [-1, -1, -1, 2 * 86_400]


def test_an_empty_store_makes_a_page_too() -> None:
    data = data_of(page(report()))
    assert data["functions"]["name"] == []


# --- JSON ---------------------------------------------------------------------------------------------------------


def test_json_gives_each_function_with_its_place_and_times() -> None:
    (function,) = told(report(stored("app.a:K.f", 3, ago_d=2, parameters="self")))["functions"]
    assert function == {
        "signature": "app.a.K.f(self)",
        "kind": "def",
        "module": "app.a",
        "declaring_type": "app.a.K",
        "file": "app/a.py",
        "first_line": 3,
        "last_line": 7,
        "lines": 5,
        "age": "recent",
        "first_seen_at": "2026-09-19T11:06:40+00:00",
        "first_invoked_at": "2026-09-19T11:06:40+00:00",
        "last_invoked_at": "2026-11-16T11:06:40+00:00",
        "environments": ["prod"],
    }


def test_json_gives_the_tree_with_sums() -> None:
    (app,) = told(report(stored("app.a:f"), stored("app.b:g", ago_d=1)))["tree"]["children"]
    assert (app["dotted"], app["functions"], app["lines"], app["by_age"]["never"]) == (
        "app",
        2,
        10,
        {"functions": 1, "lines": 5},
    )


def test_json_gives_what_goes_with_a_stale_flag() -> None:
    (flag,) = told(report(flags=[stale_flag()]))["flags"]
    assert (flag["flag_key"], flag["verdict"], flag["value"]) == ("new-basket", "stale", True)
    assert flag["removal"]["branches"] == [
        {"file": "app/views.py", "first_line": 9, "last_line": 10, "why": "the flag is on", "is_part": False}
    ]
    assert flag["removal"]["functions"][0]["name"] == "app.views.old()"
    assert flag["removal"]["lines"] == 5


def test_json_is_json() -> None:
    made = report(stored(), flags=[stale_flag()])
    assert json.loads(json.dumps(told(made)))["made_at"] == "2026-11-18T11:06:40+00:00"
    assert made.made_at == NOW
