"""What templates never show when a flag keeps its value; the claims are held against Django and Jinja themselves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import pytest
from django.template import Context, Engine

from flagmw.accessor import Flags
from flagmw.stale.removal import Removal
from tests.unit.stale_programs import Flags as FlagsOfOne
from tests.unit.stale_support import branches, removal

DJANGO = {
    "both": '{% load flags %}\n{% ifflag "k" %}\n  m1\n{% else %}\n  m2\n{% endifflag %}\nm3\n',
    "one": '{% load flags %}\nm1\n{% ifflag "k" default=True %}\n  m2\n\n  m3\n{% endifflag %}\nm4',
    "line": '{% load flags %}<p>{% ifflag "k" %}m1{% else %}m2{% endifflag %}</p>m3',
    "mixed": '{% load flags %}<p>{% ifflag "k" %}m1\nm2\n{% else %}m3\nm4{% endifflag %}</p>m5',
    "nested": (
        '{% load flags %}\n{% for x in two %}\n{% if x %}\n{% ifflag "k" %}\nm1\n{% else %}\nm2\n{% endifflag %}\n'
        "{% else %}\nm3\n{% endif %}\n{% empty %}\nm4\n{% endfor %}\n"
    ),
    "inside": '{% load flags %}\n{% ifflag "k" %}\n{% if one %}\nm1\n{% else %}\nm2\n{% endif %}\n{% else %}\nm3\n{% endifflag %}\n',
    "variable": '{% load flags %}\n{% flag "k" as x %}\n{% if x == "a" %}\nm1\n{% elif not x %}\nm2\n{% else %}\nm3\n{% endif %}\n',
    "shadowed": '{% load flags %}\n{% flag "k" as x %}\n{% with x=one %}\n{% if x %}\nm1\n{% else %}\nm2\n{% endif %}\n{% endwith %}\n',
    "loop": '{% load flags %}\n{% flag "k" as x %}\n{% for x in two %}{% endfor %}{% if x %}\nm1\n{% else %}\nm2\n{% endif %}\n',
    "block": '{% load flags %}\n{% with y=one %}\n{% flag "k" as x %}\n{% endwith %}\n{% if x %}\nm1\n{% else %}\nm2\n{% endif %}\n',
    "chain": (
        '{% load flags %}\n{% flag "k" as x %}\n{% if one and x %}\nm1\n{% elif x or one %}\nm2\n{% elif x in "ab" %}\nm3\n'
        "{% else %}\nm4\n{% endif %}\n"
    ),
    "comment": '{% load flags %}\n{% comment %}\n{% ifflag "k" %}\n{% endcomment %}\n{% ifflag "k" %}\nm1\n{% endifflag %}\nm2\n',
    "child": '{% extends base %}{% load flags %}\n{% flag "k" as x %}\n{% block b %}\n{% if x %}\nm1\n{% else %}\nm2\n{% endif %}\n{% endblock %}\n',
    "lower": '{% load flags %}\n{% flag "k" as x %}\n{% if x == true %}\nm1\n{% else %}\nm2\n{% endif %}\n',
    "filtered": '{% load flags %}\n{% flag "k" as x %}\n{% if x|default:one %}\nm1\n{% else %}\nm2\n{% endif %}\n',
}
JINJA = {
    "if": '{% if flags.is_enabled("k") %}\nm1\n{% else %}\nm2\n{% endif %}\nm3\n',
    "chain": (
        '{%- if one and flags.is_enabled("k") %}\nm1\n{% elif not flags.variation("k") %}\nm2\n'
        '{% elif flags.string("k") == "b" %}\nm3\n{% else %}\nm4\n{%- endif %}\n'
    ),
    "set": '{% set x = flags.variation("k") %}\n{% if x == "a" or x is sameas true %}\nm1\n{% endif %}\n{% if x %}\nm2\n{% else %}\nm3\n{% endif %}\n',
    "set twice": '{% set x = flags.variation("k") %}\n{% set x = one %}\n{% if x %}\nm1\n{% else %}\nm2\n{% endif %}\n',
    "set inside": '{% for i in two %}\n{% set x = flags.variation("k") %}\n{% endfor %}\n{% if x %}\nm1\n{% else %}\nm2\n{% endif %}\n',
    "block set": '{% set x = flags.variation("k") %}{% set y %}\nhi\n{% endset %}\n{% if x %}\nm1\n{% else %}\nm2\n{% endif %}\n',
    "macro": (
        '{% macro shown(x) %}\n{% if x %}\nm1\n{% else %}\nm2\n{% endif %}\n{% endmacro %}\n{% set x = flags.variation("k") %}\n'
        "{{ shown(one) }}{{ shown(false) }}\n"
    ),
    "for else": '{% for i in two %}\n{% if flags.variation("k") %}\nm1\n{% endif %}\n{% else %}\nm2\n{% endfor %}\n',
    "filter": '{% if flags.variation("k")|upper == "A" %}\nm1\n{% else %}\nm2\n{% endif %}\n',
    "raw": '{% raw %}{% if flags.variation("k") %}{% endraw %}\n{% if flags.variation("k") %}\nm1\n{% endif %}\nm2\n',
    "line": '<b>{% if flags.variation("k") %}m1{% else %}m2{% endif %}</b>m3\n',
    "literals": '{% if flags.variation("k") == true %}\nm1\n{% elif flags.variation("k") in ["a", 3] %}\nm2\n{% endif %}\n',
    "shadowed": '{% set flags = other %}\n{% if flags.is_enabled("k") %}\nm1\n{% else %}\nm2\n{% endif %}\n',
    "inline": '{{ "m1" if flags.variation("k") else "m2" }}\n',
    "test": '{% if flags.variation("k") is string %}\nm1\n{% else %}\nm2\n{% endif %}\n',
    "unseen": '{% for i in two %}\n{% set y = flags.variation("k") %}\n{% block b %}\n{% if y %}\nm1\n{% else %}\nm2\n{% endif %}\n{% endblock %}\n{% endfor %}\n',
    "top": '{% set y = flags.variation("k") %}\n{% block b %}\n{% if y %}\nm1\n{% else %}\nm2\n{% endif %}\n{% endblock %}\n',
    "call": '{% macro f() %}\n{{ caller(one) }}\n{% endmacro %}\n{% set x = flags.variation("k") %}\n{% call(x) f() %}\n{% if x %}\nm1\n{% else %}\nm2\n{% endif %}\n{% endcall %}\n',
    "tight": '{%if(flags.variation("k"))%}\nm1\n{%else%}\nm2\n{%endif%}\n',
    "not equal": '{% if not flags.variation("k") == "a" %}\nm1\n{% else %}\nm2\n{% endif %}\n',
}
VALUES = (True, False, "a", "b", "", 3)


class Answers(Flags):
    """Answers for one flag, and passes for the accessor in templates."""

    __slots__ = ("answers",)

    def __init__(self, value: Any) -> None:
        import random

        self.answers = FlagsOfOne(value, random.Random(1))

    def variation(self, key: str | int, default: Any = None) -> Any:
        return self.answers.variation(str(key))

    def is_enabled(self, key: str | int, default: bool = False) -> bool:
        return self.answers.is_enabled(str(key))

    def string(self, key: str, default: str = "") -> str:
        return self.answers.string(key)


def in_django(text: str, value: Any, one: bool) -> str:
    request = type("Request", (), {"flags": Answers(value)})()
    engine = Engine(libraries={"flags": "flagmw_django.templatetags.flags"})
    base = engine.from_string("{% block b %}{% endblock %}")
    return engine.from_string(text).render(
        Context({"request": request, "one": one, "two": [1, 0], "x": "outer", "base": base})
    )


def in_jinja(text: str, value: Any, one: bool) -> str:
    return (
        jinja2.Environment()
        .from_string(text)
        .render(flags=Answers(value), other=Answers(not value), one=one, two=[1, 0], x="outer")
    )


def marks_on_dead_lines(text: str, found: Removal) -> set[str]:
    lines = text.split("\n")
    return {
        mark
        for branch in found.branches
        if not branch.is_part
        for line in lines[branch.first_line - 1 : branch.last_line]
        for mark in re.findall(r"m\d", line)
    }


@pytest.mark.parametrize("name", DJANGO)
@pytest.mark.parametrize("value", VALUES)
def test_django_never_shows_what_is_claimed_dead(name: str, value: Any, tmp_path: Path) -> None:
    found = removal(tmp_path, {"templates/page.html": DJANGO[name]}, value=value)
    shown = {mark for one in (True, False) for mark in re.findall(r"m\d", in_django(DJANGO[name], value, one))}
    assert not marks_on_dead_lines(DJANGO[name], found) & shown


@pytest.mark.parametrize("name", JINJA)
@pytest.mark.parametrize("value", VALUES)
def test_jinja_never_shows_what_is_claimed_dead(name: str, value: Any, tmp_path: Path) -> None:
    found = removal(tmp_path, {"templates/page.html": JINJA[name]}, value=value)
    shown = {mark for one in (True, False) for mark in re.findall(r"m\d", in_jinja(JINJA[name], value, one))}
    assert not marks_on_dead_lines(JINJA[name], found) & shown


def claims(folder: Path, text: str, value: Any) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    found = removal(folder, {"templates/page.html": text}, value=value)
    return branches(found), [(each.first_line, each.last_line) for each in found.ranges]


def test_a_part_and_its_tags_go(tmp_path: Path) -> None:
    assert claims(tmp_path, DJANGO["both"], value=True) == ([(4, 5)], [(2, 2), (4, 6)])
    assert claims(tmp_path, DJANGO["both"], value=False) == ([(3, 3)], [(2, 4), (6, 6)])


def test_a_part_in_a_line_is_told_and_not_counted(tmp_path: Path) -> None:
    found = removal(tmp_path, {"templates/page.html": DJANGO["line"]}, value=True)
    assert [(branch.first_line, branch.is_part) for branch in found.branches] == [(1, True)]
    assert found.lines == 0


def test_a_variable_of_the_template_is_followed(tmp_path: Path) -> None:
    assert claims(tmp_path, DJANGO["variable"], value="a")[0] == [(5, 6), (7, 8)]
    assert claims(tmp_path, JINJA["set"], value="")[0] == [(6, 6)]


def test_a_decided_chain_goes_with_its_tags(tmp_path: Path) -> None:
    assert claims(tmp_path, JINJA["if"], value=False) == ([(2, 2)], [(1, 3), (5, 5)])


@pytest.mark.parametrize("text", [JINJA["set twice"], JINJA["shadowed"], JINJA["filter"], JINJA["set inside"]])
def test_what_is_not_certain_kills_nothing(text: str, tmp_path: Path) -> None:
    assert claims(tmp_path, text, value=True)[0] == []


@pytest.mark.parametrize(
    "text",
    [
        '{% ifflag "k" %}\nm1\n{% endifflag %}\n',
        '{% load flags %}\n{% if x %}\n{% ifflag "k" %}\nm1\n{% endif %}\n{% endifflag %}\n',
        '{% load flags %}\n{% ifflag "other" %}\nm1\n{% endifflag %}\n',
        "{% load flags %}\n{% ifflag name %}\nm1\n{% endifflag %}\n",
    ],
)
def test_templates_that_do_not_fit_kill_nothing(text: str, tmp_path: Path) -> None:
    assert claims(tmp_path, text, value=False)[0] == []
