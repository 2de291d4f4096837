"""Which functions die with a branch: only what nothing else mentions, and nobody saw running."""

from __future__ import annotations

from pathlib import Path

import pytest

from flagmw.stale.files import files_of
from flagmw.stale.modules import Code
from flagmw.stale.reach import Calls
from flagmw.stale.removal import Removal, removal_of
from flagmw.stale.sites import find_call_sites
from flagmw.usage.codebase import Scanner
from tests.unit.stale_support import DAY_S, NOW, calls_of, removal, usage_of, written

VIEWS = """\
from app.old import old_checkout

def view(request):
    if request.flags.is_enabled("k"):
        return 1
    return old_checkout(request)
"""
OLD = """\
def old_checkout(request):
    return total(request) + shared()

def total(request):
    return 1

def shared():
    return 2
"""
FILES = {
    "app/__init__.py": "",
    "app/views.py": VIEWS,
    "app/old.py": OLD,
    "app/use.py": "from app.old import shared\nshared()\n",
}


def names(found: Removal) -> list[str]:
    return [function.name for function in found.functions]


def test_functions_die_with_their_only_caller(tmp_path: Path) -> None:
    found = removal(tmp_path, FILES, value=True)
    assert names(found) == ["app.old.old_checkout", "app.old.total"]
    assert not found.unproven
    assert [(Path(each.path).name, each.first_line, each.last_line) for each in found.ranges] == [
        ("old.py", 1, 2),
        ("old.py", 4, 5),
        ("views.py", 4, 4),
        ("views.py", 6, 6),
    ]
    assert found.lines == 6


def test_nothing_dies_with_a_branch_that_lives(tmp_path: Path) -> None:
    assert names(removal(tmp_path, FILES, value=False)) == []


def test_a_function_that_ran_lives_and_so_does_what_it_calls(tmp_path: Path) -> None:
    assert names(removal(tmp_path, FILES, value=True, called=["old_checkout"])) == []


def test_a_function_that_ran_further_down_lives(tmp_path: Path) -> None:
    assert names(removal(tmp_path, FILES, value=True, called=["total"])) == ["app.old.old_checkout"]


def test_without_a_store_nothing_is_proven(tmp_path: Path) -> None:
    found = removal(tmp_path, FILES, value=True, is_watched=False)
    assert names(found) == []
    assert [function.name for function in found.unproven] == ["app.old.old_checkout", "app.old.total"]


@pytest.mark.parametrize(
    ("known_for_days", "called"), [(10, {"view"}), (60, set[str]())], ids=["watched too short", "nothing ran at all"]
)
def test_a_store_that_cannot_know_proves_nothing(known_for_days: float, called: set[str], tmp_path: Path) -> None:
    config = written(tmp_path, FILES)
    code, scanned = Code(files_of(config).files), Scanner(config).scan()
    usage = usage_of(scanned.functions, called, known_for_days=known_for_days)
    calls = Calls(scanned, usage, since=NOW - 30 * DAY_S, known_by=NOW - 30 * DAY_S)
    found = removal_of(flag_key="k", value=True, sites=find_call_sites(code).of("k"), code=code, calls=calls)
    assert (names(found), len(found.unproven)) == ([], 2)


def test_a_call_before_the_flag_settled_does_not_count(tmp_path: Path) -> None:
    config = written(tmp_path, FILES)
    code, scanned = Code(files_of(config).files), Scanner(config).scan()
    usage = usage_of(scanned.functions, {"view"}, ran_before={"old_checkout", "total"})
    calls = Calls(scanned, usage, since=NOW - 30 * DAY_S, known_by=NOW - 30 * DAY_S)
    found = removal_of(flag_key="k", value=True, sites=find_call_sites(code).of("k"), code=code, calls=calls)
    assert names(found) == ["app.old.old_checkout", "app.old.total"]


def place(folder: Path, name: str, line: int) -> tuple[str, int, str]:
    return str((folder / "app/old.py").resolve()), line, name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("app/more.py", "from app import old\nold.old_checkout(1)\n"),
        ("app/more.py", "from app.old import old_checkout as again\nagain(1)\n"),
        ("app/more.py", "from app.old import *\nhandlers = [old_checkout]\n"),
        ("app/more.py", "something.old_checkout()\n"),
        ("app/more.py", "path = 'app.old.old_checkout'\n"),
        ("app/more.py", "getattr(old, 'old_checkout')()\n"),
        ("app/more.py", "def f(kind):\n    return getattr(old, f'old_{kind}')()\n"),
        ("app/more.py", "def f(kind):\n    return getattr(old, kind + '_checkout')()\n"),
        ("app/more.py", "def old_checkout(:\n"),
        ("script.py", "from app.old import old_checkout\nold_checkout(1)\n"),
        ("templates/page.html", "{{ old_checkout() }}\n"),
        ("pyproject.toml", "[project.scripts]\nold = 'app.old:old_checkout'\n"),
        ("app/old.py", OLD + "__all__ = ['old_checkout']\n"),
        ("app/old.py", OLD + "old_checkout = wrapped(old_checkout)\n"),
        ("app/old.py", OLD + "def run(name):\n    return globals()[name]()\n"),
        ("app/old.py", "@register\n" + OLD),
        ("app/old.py", "import celery\napp = celery.Celery()\n@app.task\n" + OLD),
        ("app/old.py", "if x:\n    def old_checkout(request): pass\n" + OLD),
    ],
)
def test_a_function_that_something_else_mentions_lives(name: str, text: str, tmp_path: Path) -> None:
    assert names(removal(tmp_path, {**FILES, name: text}, value=True)) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("app/more.py", "from app.old import old_checkout\n"),
        ("app/more.py", "from app.old import old_checkout as again\n"),
        ("app/more.py", "# old_checkout(1)\n'''See old_checkout.'''\n"),
        ("app/tests/test_old.py", "from app.old import old_checkout\ndef test():\n    old_checkout(1)\n"),
        ("app/more.py", "def f():\n    '''Once old_checkout.'''\n"),
        ("app/old.py", "import functools\n@functools.lru_cache\n" + OLD),
        ("app/old.py", OLD.replace("total(request) +", "old_checkout(request) + total(request) +")),
        ("app/old.py", OLD.replace("    return 1", "    return old_checkout(request)")),
    ],
)
def test_what_is_no_use_of_a_function_does_not_keep_it(name: str, text: str, tmp_path: Path) -> None:
    assert "app.old.old_checkout" in names(removal(tmp_path, {**FILES, name: text}, value=True))


CLASS = """\
class Cart:
    def pay(self, flags):
        if flags.is_enabled("k"):
            return 1
        return self.old_pay()

    def old_pay(self):
        return self._fee + Cart.rate()

    @property
    def _fee(self):
        return 1

    @staticmethod
    def rate():
        return 2
"""


def test_methods_of_the_class_die_too(tmp_path: Path) -> None:
    found = removal(tmp_path, {"app/views.py": CLASS}, value=True)
    assert names(found) == ["app.views.Cart.old_pay", "app.views.Cart._fee", "app.views.Cart.rate"]


@pytest.mark.parametrize(
    "source",
    [
        CLASS.replace("class Cart:", "class Cart(Base):"),
        CLASS.replace("class Cart:", "@register\nclass Cart:"),
        CLASS.replace("class Cart:", "class Cart(metaclass=Registry):"),
        CLASS + "    def run(self, name):\n        return getattr(self, name)()\n",
        CLASS + "class Other:\n    def run(self, cart):\n        return cart.old_pay()\n",
        CLASS.replace("class Cart:", "class Base:\n    def old_pay(self):\n        return 1\n\nclass Cart(Base):"),
        CLASS.replace("old_pay", "__enter__"),
    ],
)
def test_a_method_that_may_be_called_from_elsewhere_lives(source: str, tmp_path: Path) -> None:
    assert names(removal(tmp_path, {"app/views.py": source}, value=True)) == []


def test_a_method_lives_by_the_calls_of_any_function_of_its_name(tmp_path: Path) -> None:
    files = {"app/views.py": CLASS, "app/other.py": "class Account:\n    def f(self):\n        self.old_pay()\n"}
    assert names(removal(tmp_path, files, value=True)) == []


def test_the_functions_of_one_line_expressions_die(tmp_path: Path) -> None:
    source = """\
def view(flags):
    return new() if flags.is_enabled("k") else old()

def new():
    return 1

def old():
    return 2
"""
    assert names(removal(tmp_path, {"app/views.py": source}, value=True)) == ["app.views.old"]
    assert names(removal(tmp_path, {"app/views.py": source}, value=False)) == ["app.views.new"]


def test_a_local_name_is_not_taken_for_a_function(tmp_path: Path) -> None:
    source = """\
def view(flags, old):
    return 1 if flags.is_enabled("k") else old()

def old():
    return 2
"""
    assert names(removal(tmp_path, {"app/views.py": source}, value=True)) == []


def test_calls_of_one_of_two_functions_with_one_signature_keep_both(tmp_path: Path) -> None:
    config = written(tmp_path, FILES)
    calls = calls_of(Scanner(config).scan(), ["old_checkout"])
    assert calls.of(*place(tmp_path, "old_checkout", 1))[1].value == "called"
    assert calls.of(*place(tmp_path, "total", 4))[1].value == "never"
    assert calls.of(*place(tmp_path, "unheard_of", 4))[1].value == "unproven"
