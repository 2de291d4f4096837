"""Which modules are watched, and under which path; what code objects say of their functions."""

from __future__ import annotations

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from flagmw.usage.code_names import is_function, name_of, tree_of
from flagmw.usage.config import UsageConfig
from flagmw.usage.scope import Scope


def scope(*packages: str, **more: Any) -> Scope:
    config = UsageConfig(packages=packages, codebase=more.pop("codebase", (".",)))
    for name, value in more.items():
        object.__setattr__(config, name, value)  # past the checks, which may refuse what Scavenger's agents take
    return Scope(config)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def takes(scope: Scope, path: str, name: str = "some.module") -> bool:
    return scope.path_of(name, os.path.abspath(path)) is not None


@pytest.mark.parametrize(
    ("packages", "path", "expected"),
    [
        (["app"], "app/views.py", True),
        (["app"], "app/deep/er/views.py", True),
        (["app"], "app/__init__.py", True),
        (["app"], "apples/core.py", False),
        (["app"], "app.py", False),
        (["app"], "other/app/views.py", False),
        (["app.sub"], "app/sub/views.py", True),
        (["app.sub"], "app/views.py", False),
        (["app."], "app/views.py", True),
        (["tools", "app"], "app/views.py", True),
        ([""], "anything.py", True),
        ([""], "../beside.py", False),
    ],
)
def test_a_package_is_a_folder_with_a_boundary(packages: list[str], path: str, expected: bool) -> None:
    assert takes(scope(*packages), path) is expected


def test_wildcards_stand_for_the_folders_that_exist() -> None:
    for name in ("app_one", "app_two", "other"):
        os.mkdir(name)
    watched = scope("app_*")
    assert [takes(watched, f"{name}/m.py") for name in ("app_one", "app_two", "other")] == [True, True, False]


@pytest.mark.parametrize(
    ("excluded", "path", "expected"),
    [
        (["app.api"], "app/api/views.py", False),
        (["app.api"], "app/api_v2.py", False),
        (["app.api"], "app/views.py", True),
        (["api"], "app/api.py", True),
        (["app.api.py"], "app/api.py", True),
        ([""], "app/views.py", True),
    ],
)
def test_what_is_excluded_is_the_beginning_of_a_path(excluded: list[str], path: str, expected: bool) -> None:
    assert takes(scope("app", exclude_packages=tuple(excluded)), path) is expected


def test_an_empty_exclusion_takes_all_of_a_folder_with_a_name() -> None:
    assert not takes(scope("app", codebase=("src",), exclude_packages=("",)), "src/app/views.py")


def test_folders_are_those_of_the_moment_of_construction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = scope("app")
    path = os.path.abspath("app/views.py")
    monkeypatch.chdir("/")
    assert watched.path_of("app.views", path) == os.path.realpath(path)


@pytest.mark.parametrize("through", ["folder", "package", "file"])
def test_links_lead_to_one_path(through: str) -> None:
    os.makedirs("real/app")
    Path("real/app/m.py").write_text("")
    os.makedirs("linked/app" if through == "file" else "linked")
    link = {"folder": "linked/code", "package": "linked/app", "file": "linked/app/m.py"}[through]
    target = {"folder": "real", "package": "real/app", "file": "real/app/m.py"}[through]
    os.symlink(os.path.abspath(target), link)
    folder = "linked/code" if through == "folder" else "linked"
    found = scope("app", codebase=(folder,)).path_of("app.m", os.path.abspath(f"{folder}/app/m.py"))
    assert found == os.path.realpath("real/app/m.py")


def test_an_exclusion_holds_behind_a_linked_folder() -> None:
    os.makedirs("real/app")
    os.symlink("real", "linked")
    watched = scope("app", codebase=("linked",), exclude_packages=("app.api",))
    assert not takes(watched, "linked/app/api.py")


def test_a_file_in_an_archive_is_known_below_the_archive() -> None:
    found = scope("app", codebase=("bundle.zip",)).path_of("app.m", os.path.abspath("bundle.zip/app/m.py"))
    assert found == os.path.realpath("bundle.zip") + "/app/m.py"


def test_a_module_that_is_not_pythons_is_not_watched() -> None:
    assert not takes(scope("app"), "app/fast" + EXTENSION_SUFFIXES[0])


@pytest.mark.parametrize(
    ("packages", "name", "expected"),
    [
        ([""], "flagmw.usage.scope", False),
        ([""], "flagmw_django.apps", False),
        ([""], "flagmw2.module", True),
        (["flagmw"], "flagmw.usage.scope", True),
    ],
)
def test_flagmw_itself_is_watched_when_it_is_named(packages: list[str], name: str, expected: bool) -> None:
    assert takes(scope(*packages), name.replace(".", "/") + ".py", name) is expected


# --- what code objects say -----------------------------------------------------------------------------------


def named(source: str) -> list[tuple[int, str, str]]:
    code = compile(source, "module.py", "exec")
    found = [name_of(one) for one in tree_of(code) if is_function(one)]
    return sorted((one.first_line, one.name, one.parameter_types) for one in found)


@pytest.mark.parametrize(
    ("source", "parameters"),
    [
        ("def f(a, /, b, *c, d, **e): pass", "b, *c, **e"),
        ("def f(*, a, b=1): pass", ""),
        ("def f(a, *, b, **c): pass", "a, **c"),
        ("def f(a, __b, *__c): x = __b", "a, __b, *__c"),
        ("class K:\n def f(self, __x, *__y, k, **__z): pass", "self, __x, *__y, **__z"),
        ("class __K:\n def f(self, __x, __y__, _z): pass", "self, __x, __y__, _z"),
        ("class __:\n def f(self, __x): pass", "self, __x"),
        ("class A:\n class B:\n  def f(self, __x, _A__y): pass", "self, __x, _A__y"),
        ("class K:\n f = [(lambda __x: 1) for i in ()]", "__x"),
        ("class K:\n async def f(self, __x): pass", "self, __x"),
    ],
)
def test_parameters_are_those_of_the_source(source: str, parameters: str) -> None:
    assert named(source)[0][2] == parameters


def test_private_names_belong_to_the_class_around_wherever_the_function_is() -> None:
    source = "def o(__a):\n class K:\n  def m(self, __b):\n   def i(__c): pass\n"
    assert named(source) == [(1, "o", "__a"), (3, "m", "self, __b"), (4, "i", "__c")]


def test_the_first_line_is_the_first_decorators() -> None:
    assert named("\n@first\n@second(\n 1)\ndef f(): pass") == [(2, "f", "")]


def test_modules_classes_and_comprehensions_are_no_functions() -> None:
    source = "class K: pass\nx = [i for i in ()]\ny = {i for i in ()}\nz = {i: i for i in ()}\ng = (i for i in ())\n"
    assert named(source) == []


def test_functions_inside_anything_are_found() -> None:
    source = (
        "x = [lambda: [lambda y: y for j in ()] for i in ()]\nclass K:\n if x:\n  def f(self): return lambda z: z\n"
    )
    assert named(source) == [(1, "<lambda>", ""), (1, "<lambda>", "y"), (4, "<lambda>", "z"), (4, "f", "self")]


def test_type_parameters_stand_in_no_ones_way() -> None:
    if sys.version_info < (3, 12):
        return  # they are new in 3.12
    source = "class K[T]:\n def f[U](self, __x, y): pass\ndef g[V](a): pass\n"
    assert named(source) == [(2, "f", "self, __x, y"), (3, "g", "a")]


def test_a_tree_gives_each_code_before_what_is_inside_it() -> None:
    code = compile("def a():\n def b():\n  def c(): pass\n", "module.py", "exec")
    seen: list[CodeType] = []
    for one in tree_of(code):
        assert one is code or any(one in other.co_consts for other in seen)
        seen.append(one)
    assert len(seen) == 4
