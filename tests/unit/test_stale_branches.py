"""What can no longer run when a flag keeps its value, in Python files."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.unit.stale_support import branches, parts, removal


def dead(folder: Path, source: str, *, value: Any) -> list[tuple[int, int]]:
    return branches(removal(folder, textwrap.dedent(source), value=value))


FUNCTION = "def f(flags, a, b):\n"


def in_function(source: str) -> str:
    return FUNCTION + textwrap.indent(textwrap.dedent(source).strip("\n"), "    ") + "\n"


@pytest.mark.parametrize(
    ("condition", "value", "expected"),
    [
        ('flags.is_enabled("k")', True, False),
        ('flags.is_enabled("k")', False, True),
        ('not flags.is_enabled("k")', True, True),
        ('flags.is_enabled("k") and a', False, True),
        ('flags.is_enabled("k") and a', True, None),
        ('a and flags.is_enabled("k")', False, True),
        ('flags.is_enabled("k") or a', True, False),
        ('flags.is_enabled("k") or a', False, None),
        ('a or flags.is_enabled("k")', True, False),
        ('not (flags.is_enabled("k") and a)', False, False),
        ('flags.string("k") == "b"', "b", False),
        ('flags.string("k") == "b"', "a", True),
        ('"b" == flags.string("k")', "a", True),
        ('flags.string("k") != "b"', "b", True),
        ('flags.variation("k") in ("a", "b")', "a", False),
        ('flags.variation("k") in ["c", "b"]', "a", True),
        ('flags.variation("k") not in {"a"}', "a", True),
        ('flags.variation("k") in (a, "b")', "a", None),
        ('flags.variation("k") in (a, "b")', "b", False),
        ('flags.integer("k") > 3', 3, True),
        ('flags.integer("k") >= 3', 3, False),
        ('flags.number("k") < 0.5', 0.25, False),
        ('flags.variation("k") is True', True, False),
        ('flags.variation("k") is not None', True, False),
        ('flags.variation("k") is "a"', "a", None),
        ('flags.variation("k")', "", True),
        ('flags.json("k")', [], True),
        ('flags.variation_detail("k").value', False, True),
        ('flags.variation_detail("k")', False, None),
        ('bool(flags.variation("k"))', False, True),
        ('(x := flags.is_enabled("k"))', False, True),
        ('"new" if flags.is_enabled("k") else ""', False, True),
        ('flags.is_enabled("k") == a', True, None),
        ('flags.string("k").startswith("b")', "a", None),
        ('flags.is_enabled("k")', "true", None),
        ('flags.string("k") == "b"', 7, None),
        ('flags.integer("k") == 1', True, None),
        ('flags.integer("k") == 1', "1", None),
        ('flags.is_enabled("other")', True, None),
        ('other.is_enabled("k")', True, None),
        ("DEBUG and flags.is_enabled('k')", False, True),
        ("False and flags.is_enabled('k')", False, None),
    ],
)
def test_a_condition_decides_what_dies(condition: str, value: Any, expected: bool | None, tmp_path: Path) -> None:
    source = f"DEBUG = False\ndef f(flags, other, a):\n    if {condition}:\n        a()\n    else:\n        a()\n"
    found = dead(tmp_path, source, value=value)
    assert found == {True: [(4, 4)], False: [(5, 6)], None: []}[expected]


@pytest.mark.parametrize("spelling", ["Theme.DARK", "DARK", "themes.Theme.DARK", "Plain.DARK.value", "OFTEN"])
def test_constants_and_members_are_compared(spelling: str, tmp_path: Path) -> None:
    files = {
        "app/__init__.py": "",
        "app/themes.py": 'from enum import StrEnum\nclass Theme(StrEnum):\n    DARK = "dark"\n',
        "app/views.py": f"""\
from enum import Enum
from app import themes
from app.themes import Theme
DARK = "dark"
OFTEN = "light"
OFTEN = "dark"
class Plain(Enum):
    DARK = "dark"
def f(flags, a):
    if flags.string("k") == {spelling}:
        a()
    else:
        a()
""",
    }
    assert branches(removal(tmp_path, files, value="dark")) == ([(12, 13)] if spelling != "OFTEN" else [])


def test_a_constant_that_another_file_assigns_is_none(tmp_path: Path) -> None:
    files = {
        "app/views.py": 'LIMIT = "b"\ndef f(flags, a):\n    if flags.string("k") == LIMIT:\n        a()\n',
        "app/setup.py": "from app import views\nviews.LIMIT = load()\n",
    }
    assert branches(removal(tmp_path, files, value="a")) == []


def test_a_constant_that_a_star_may_bind_is_none(tmp_path: Path) -> None:
    source = 'LIMIT = "b"\nfrom settings import *\ndef f(flags, a):\n    if flags.string("k") == LIMIT:\n        a()\n'
    assert dead(tmp_path, source, value="a") == []


def test_a_key_that_another_file_assigns_decides_nothing(tmp_path: Path) -> None:
    files = {
        "app/views.py": 'KEY = "k"\ndef f(flags, a):\n    if flags.is_enabled(KEY):\n        a()\n',
        "app/setup.py": "from app import views\nviews.KEY = load()\n",
    }
    assert branches(removal(tmp_path, files, value=False)) == []


def test_a_bool_of_another_make_decides_nothing(tmp_path: Path) -> None:
    source = "from own import bool\ndef f(flags, a):\n    if bool(flags.is_enabled('k')):\n        a()\n"
    assert dead(tmp_path, source, value=False) == []


def test_an_elif_dies_with_what_follows_it(tmp_path: Path) -> None:
    source = in_function("""
        if a:
            b()
        elif flags.is_enabled("k"):
            b()
        elif b:
            b()
        else:
            b()
    """)
    assert dead(tmp_path, source, value=True) == [(6, 9)]


def test_an_elif_that_is_never_true_dies_alone(tmp_path: Path) -> None:
    source = in_function("""
        if a:
            b()
        elif flags.is_enabled("k"):
            b()
        else:
            b()
    """)
    found = removal(tmp_path, source, value=False)
    assert branches(found) == [(5, 5)]
    assert [(each.first_line, each.last_line) for each in found.ranges] == [(4, 5)]


@pytest.mark.parametrize(
    "leaving",
    ["return a", "raise ValueError", "\n        try:\n            return a\n        finally:\n            b()"],
)
def test_what_follows_a_statement_that_leaves_dies(leaving: str, tmp_path: Path) -> None:
    source = f'def f(flags, a, b):\n    if flags.is_enabled("k"): {leaving}\n    # the old way\n    a()\n    return b\n'
    if leaving.startswith("\n"):
        source = source.replace('"k"): ', '"k"):')
    lines = len(source.splitlines())
    assert dead(tmp_path, source, value=True) == [(lines - 1, lines)]


@pytest.mark.parametrize("leaving", ["continue", "break"])
def test_what_follows_a_jump_dies_in_the_loop_only(leaving: str, tmp_path: Path) -> None:
    source = in_function(f"""
        for x in a:
            if flags.is_enabled("k"):
                {leaving}
            b()
        b()
    """)
    assert dead(tmp_path, source, value=True) == [(5, 5)]


@pytest.mark.parametrize(
    "body",
    [
        "with a:\n    if flags.is_enabled('k'):\n        return b()\nb()",
        "for x in a:\n    if flags.is_enabled('k'):\n        return b()\nb()",
        "try:\n    if flags.is_enabled('k'):\n        return b()\nexcept ValueError:\n    b()\nb()",
        "if flags.is_enabled('k'):\n    a.exit()\nb()",
        "while flags.is_enabled('k'):\n    return b()\nb()",
    ],
)
def test_what_may_be_gone_on_from_kills_nothing(body: str, tmp_path: Path) -> None:
    assert dead(tmp_path, in_function(body), value=True) == []


def test_code_that_was_dead_before_is_not_the_flags(tmp_path: Path) -> None:
    source = in_function("""
        if flags.is_enabled("k"):
            return a
        else:
            return b
        b()
    """)
    assert dead(tmp_path, source, value=True) == [(4, 5)]


def test_a_variable_is_followed_in_its_function_and_inner_ones(tmp_path: Path) -> None:
    source = in_function("""
        new = flags.is_enabled("k")
        if new:
            a()
        def inner():
            if not new:
                b()
        return [b() for x in a if not new and x]
    """)
    assert dead(tmp_path, source, value=False) == [(4, 4)]
    assert dead(tmp_path, source, value=True) == [(7, 7)]


@pytest.mark.parametrize(
    "source",
    [
        "x = flags.is_enabled('k')\nx = a\nif x:\n    b()",
        "x = flags.is_enabled('k')\nif a:\n    x = b\nif x:\n    b()",
        "x = flags.is_enabled('k')\nx |= a\nif x:\n    b()",
        "x = flags.is_enabled('k')\nfor x in a:\n    b()\nif x:\n    b()",
        "x = flags.is_enabled('k')\ndel x\nif x:\n    b()",
        "x = flags.is_enabled('k')\ntry:\n    a()\nexcept ValueError as x:\n    pass\nif x:\n    b()",
        "x = flags.is_enabled('k')\ndef inner():\n    nonlocal x\n    x = a\ninner()\nif x:\n    b()",
        "x = flags.is_enabled('k')\n[x := y for y in a]\nif x:\n    b()",
        "x = flags.is_enabled('k')\nmatch a:\n    case [x]:\n        pass\nif x:\n    b()",
        "x = flags.is_enabled('k')\nimport x\nif x:\n    b()",
        "x = flags.is_enabled('k')\nwith a as x:\n    if x:\n        b()",
        "global x\nx = flags.is_enabled('k')\nif x:\n    b()",
        "x = flags.is_enabled('k')\ndef inner(x):\n    if x:\n        b()",
        "x = flags.is_enabled('k')\nclass Inner:\n    x = a\n    if x:\n        b()",
        "x, y = flags.is_enabled('k'), a\nif x:\n    b()",
        "a.x = flags.is_enabled('k')\nif a.x:\n    b()",
        "x = flags.json('k')\nx.append(1)\nif x:\n    b()",
        "with flags.is_enabled('k') as x:\n    if x:\n        b()",
    ],
)
def test_a_variable_that_may_have_another_value_decides_nothing(source: str, tmp_path: Path) -> None:
    value: Any = [] if "json" in source else False
    assert dead(tmp_path, in_function(source), value=value) == []


def test_module_variables_decide_nothing(tmp_path: Path) -> None:
    source = "import flagmw\nNEW = flagmw.get_client().is_enabled('k', None)\ndef f(a):\n    if NEW:\n        a()\n"
    assert dead(tmp_path, source, value=False) == []


def test_cases_die_that_are_never_taken(tmp_path: Path) -> None:
    source = in_function("""
        match flags.variation("k"):
            case "a":
                a()
            case "b" | "c":
                b()
            case other if a:
                b()
            case _:
                b()
    """)
    assert dead(tmp_path, source, value="b") == [(4, 4), (7, 8), (9, 10)]
    assert dead(tmp_path, source, value="d") == [(4, 4), (6, 6)]


def test_a_pattern_that_is_not_understood_kills_nothing(tmp_path: Path) -> None:
    source = in_function("""
        match flags.variation("k"):
            case str():
                a()
            case {"x": 1}:
                a()
            case _:
                b()
    """)
    assert dead(tmp_path, source, value="b") == []


def test_a_loop_that_never_begins_dies(tmp_path: Path) -> None:
    assert dead(tmp_path, in_function("while flags.is_enabled('k'):\n    a()\nb()"), value=False) == [(3, 3)]


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("return a() if flags.is_enabled('k') else b()", True),
        ("flags.is_enabled('k') and a()", False),
        ("flags.is_enabled('k') or a()", True),
        ("return [a(x) for x in b if flags.is_enabled('k')]", False),
        ("return {a(x): 1 for x in b if flags.is_enabled('k')}", False),
        ("return lambda: a() if flags.is_enabled('k') else b()", True),
        ("if flags.is_enabled('k'): a(); b()", False),
    ],
)
def test_what_shares_its_line_is_told_apart(source: str, value: Any, tmp_path: Path) -> None:
    found = removal(tmp_path, in_function(source), value=value)
    assert branches(found) == []
    assert parts(found)[:1] == [(2, 2)]


@pytest.mark.parametrize("package", ["flagmw_django", "flagmw_flask"])
def test_a_gated_view_dies_when_the_flag_is_off(package: str, tmp_path: Path) -> None:
    source = f"""\
from {package} import require_flag
@app.route("/")
@require_flag("k")
def view(request):
    x = 1
    return x
"""
    found = removal(tmp_path, source, value=False)
    assert branches(found) == [(5, 6)]
    assert found.lines == 5


def test_an_open_gate_goes_and_its_view_stays(tmp_path: Path) -> None:
    source = 'from flagmw_flask import require_flag\n@app.route("/")\n@require_flag("k")\ndef view():\n    return 1\n'
    found = removal(tmp_path, source, value=True)
    assert branches(found) == []
    assert [(each.first_line, each.last_line) for each in found.ranges] == [(3, 3)]


@pytest.mark.parametrize("below", ["@app.route('/')", "@register", "@other.thing()"])
def test_a_view_that_is_handed_out_below_its_gate_lives(below: str, tmp_path: Path) -> None:
    source = f"from flagmw_flask import require_flag\n@require_flag('k')\n{below}\ndef view():\n    return 1\n"
    assert dead(tmp_path, source, value=False) == []


def test_known_decorators_below_a_gate_do_no_harm(tmp_path: Path) -> None:
    source = """\
from django.views.decorators.http import require_POST
from django.contrib.auth.decorators import login_required
from flagmw_django import require_flag
@require_flag('k')
@login_required
@require_POST
def view(request):
    return 1
"""
    assert dead(tmp_path, source, value=False) == [(8, 8)]


FASTAPI = """\
from fastapi import Depends
from flagmw_starlette import require_flag
@app.get("/", dependencies=[Depends(require_flag("k"))])
async def page():
    return 1
"""


def test_a_gated_endpoint_dies_when_the_flag_is_off(tmp_path: Path) -> None:
    assert dead(tmp_path, FASTAPI, value=False) == [(5, 5)]


@pytest.mark.parametrize(
    "source",
    [
        FASTAPI + "page()\n",
        FASTAPI.replace("async def", '@app.get("/open")\nasync def'),
        FASTAPI.replace("fastapi", "elsewhere"),
    ],
)
def test_an_endpoint_with_another_way_in_lives(source: str, tmp_path: Path) -> None:
    assert dead(tmp_path, source, value=False) == []


MIXIN = """\
from django.views import View
from flagmw_django import RequireFlagMixin
class Summary(RequireFlagMixin, View):
    flag_key = "k"
    def get(self, request):
        return self.shown()
    def shown(self):
        return 1
"""


def test_the_handlers_of_a_gated_class_die_when_the_flag_is_off(tmp_path: Path) -> None:
    assert dead(tmp_path, MIXIN, value=False) == [(6, 6)]


@pytest.mark.parametrize(
    "source",
    [
        MIXIN + "class Open(Summary):\n    flag_key = 'open'\n",
        MIXIN + "Summary.as_view(flag_key='open')\n",
        MIXIN.replace("    def shown", "    def dispatch"),
        MIXIN + "Summary().get(None)\n",
        MIXIN.replace("RequireFlagMixin, View", "Other, RequireFlagMixin, View"),
    ],
)
def test_handlers_with_another_way_in_live(source: str, tmp_path: Path) -> None:
    assert dead(tmp_path, source, value=False) == []


def test_a_settled_flag_dies_nowhere_else(tmp_path: Path) -> None:
    files = {
        "app/a.py": "def f(flags, a):\n    if flags.is_enabled('k'):\n        a()\n",
        "app/b.py": "def f(waffle, a):\n    if waffle.is_enabled('k'):\n        a()\n",
    }
    found = removal(tmp_path, files, value=False)
    assert [Path(branch.path).name for branch in found.branches] == ["a.py"]
    assert len(found.sites) == 2


def test_lines_are_counted_once(tmp_path: Path) -> None:
    source = in_function("""
        new = flags.is_enabled("k")  # read
        if (
            new
        ):
            # the new way
            if new:

                a()
            b()
        # the old way
        else:
            b()
        flags.is_enabled("k")
    """)
    found = removal(tmp_path, source, value=True)
    assert branches(found) == [(12, 13)]
    assert [(each.first_line, each.last_line) for each in found.ranges] == [(2, 5), (7, 7), (12, 14)]
    assert found.lines == 8


def test_a_read_that_is_still_needed_stays(tmp_path: Path) -> None:
    source = in_function("new = flags.is_enabled('k')\nif new:\n    a()\nb(new)")
    assert [(each.first_line, each.last_line) for each in removal(tmp_path, source, value=False).ranges] == [(3, 4)]


def test_windows_lines_tabs_and_wide_letters_do_not_confuse(tmp_path: Path) -> None:
    path = tmp_path / "app" / "views.py"
    path.parent.mkdir()
    source = "def f(flags, a):\n\tx = 'é😀'; a(x)\n\tif flags.is_enabled('k'):\n\t\ta('é')\n\telse:\n\t\ta('😀')\n"
    path.write_bytes(source.replace("\n", "\r\n").encode())
    assert branches(removal(tmp_path, {}, value=True)) == [(5, 6)]
