"""Compiled files give what parsing gives; modules without a source are found by them alone."""

from __future__ import annotations

import importlib
import importlib.util
import marshal
import os
import py_compile
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

from flagmw.usage.bare_code import bare_definitions
from flagmw.usage.compiled_scan import checked_definitions
from flagmw.usage.definitions import Definition, each_place_once
from flagmw.usage.file_reading import Content, definitions_of, read
from flagmw.usage.source_scan import definitions_in
from tests.unit.scan_support import compile_all, scan, signatures, touch, write

CASES = {
    "parameters": "def f(a, /, b, *c, d=1, **e): pass\ndef g(*, k): pass\nasync def h(*a): yield\n",
    "a class": "class K:\n    '''text'''\n    x = 1\n    @property\n    def p(self):\n        return 1\n\n    class L:\n        def m(self): pass\n",
    "functions in functions": "def f():\n    class K:\n        def m(self):\n            def n(): pass\n    return lambda x: x\n",
    "under a statement in a class": "class K:\n    if x:\n        def f(self): pass\n        class L:\n            def g(self): pass\n    def h(self): pass\n",
    "all under a statement in a class": "class K:\n    while x:\n        def f(self): pass\n",
    "under a case in a class": "class K:\n    match x:\n        case _:\n            def f(self): pass\n",
    "under a true condition in a class": "class K:\n    if True: f = lambda: 0\n",
    "after a return": "def f():\n    return 1\n    def gone(): pass\n",
    "under a false condition": "if 0:\n    def gone(): pass\nif False:\n    x = lambda: 0\nwhile 0:\n    def gone_too(): pass\n",
    "after an endless loop": "def f():\n    while True:\n        pass\n    def gone(): pass\n",
    "without debugging": "if not __debug__:\n    def gone(): pass\n",
    "words in texts": '"""def f(): and lambda x: 0"""\n# def g(): pass\ndef h():\n    """lambda: 1"""\n    return f"{(lambda: 1)()}"\n',
    "private parameters": "class _K:\n    def f(self, __x, __y__, *__z): pass\n    def g(self, _K__x): pass\n",
    "only private parameters": "class K:\n    def f(self, __x): return lambda __y: 0\n",
    "a class of underscores": "class __:\n    def f(self, __x): pass\n",
    "a name made global": "def f():\n    global g\n    def g(): pass\nclass K:\n    global h\n    def h(): pass\n",
    "final blocks": "try:\n    x\nfinally:\n    def f(): pass\n    g = lambda: 0\n",
    "lambdas of one line": "a, b = lambda: 0, lambda: 0\nclass K: c = lambda d: 0\n",
    "lambdas of many lines": "x = [\n    lambda a: (\n        a +\n        1\n    ),\n    lambda b: b,\n]\n",
    "lambdas in defaults": "class K:\n    def f(self, key=lambda x: x,\n          other=lambda y: y): pass\n    @deco(lambda z: z)\n    def g(self): pass\n",
    "lambdas in comprehensions": "class K:\n    a = [lambda x: x for _ in y]\n    b = list(lambda z: z for _ in y)\n",
    "lambdas in annotations": "def f(a: (lambda x: 0)):\n    b: (lambda y: 0) = 1\nc: (lambda z: 0)\n",
    "annotations as texts": "from __future__ import division\nfrom __future__ import annotations\ndef f(a: (lambda x: 0)): pass\n",
    "headers of many lines": "class K(\n    Base,\n):\n    def f(\n        self,\n        a=1,\n    ) -> int:\n        '''text'''\n\n    def g(self): pass\n",
    "decorators of many lines": "@a(\n    b,\n)\n@c\nclass K:\n    @d(\n        e,\n    )\n    # why\n    def f(self):\n        '''text'''\n\nx = 1\n",
    "texts that are not indented": 'def f():\n    return """\ntext\n"""\n\ndef g():\n    x = f"""\n{y}\n\ntext\n"""\n\nz = 1\n',
    "calls that are not indented": "def f():\n    return g(\n1,\n2)\n\nx = 1\n",
    "comments after a function": "def f():\n    pass\n    # inside\n# outside\n\n\nx = 1\n",
    "an ending that does nothing": "def f():\n    g()\n    pass\n    ...\n    'text'\nx = 1\n",
    "blocks after a function": "try:\n    def f(): pass\nfinally:\n    def g():\n        pass\nif x:\n    def h():\n        pass\nelse:\n    pass\n",
    "other line ends": "class K:\r\n    def f(self):\r\n        pass\r\n\r\n    def g(self): pass\r\n",
    "form feeds": "\f\nclass K:\n    def f(self): pass\n\f\ndef g(): pass\n",
    "tabs": "class K:\n\tdef f(self):\n\t\tpass\n\tif x:\n\t\tdef g(self): pass\n",
    "no line end": "def f(): return 1",
    "nothing": "",
    "names beyond ASCII": "class Été:\n    def ﬁn(self, ª): pass\n    def 한글(self, __é): pass\n",
}
GENERIC_CASES = {
    "generic functions": "def f[T: (lambda: 0)](a: T): pass\nclass K[T]:\n    def m[U](self, u: U): pass\n    def n(self): pass\n",
    "a type alias and a function that is gone": "type X = int\nif 0:\n    def gone(): pass\n",
    "type aliases": "type X = int\ntype Y[T] = list[T]\nclass K:\n    type Z = lambda: 0\n    def f(self): pass\n",
}
if sys.version_info >= (3, 12):
    CASES |= GENERIC_CASES


def plain(definitions: list[Definition]) -> list[Definition]:
    """Leave out what compiled code does not tell."""
    return sorted(found._replace(level=0, decorators=()) for found in each_place_once(definitions))


@pytest.mark.parametrize("case", CASES)
def test_compiled_code_gives_what_parsing_gives(case: str) -> None:
    source = CASES[case].encode()
    found = checked_definitions(compile(source, "m.py", "exec", dont_inherit=True), source)
    assert found is None or plain(found) == plain(definitions_in(source))


@pytest.mark.parametrize(
    "case",
    [
        "parameters",
        "a class",
        "functions in functions",
        "under a statement in a class",
        "words in texts",
        "only private parameters",
        "headers of many lines",
        "decorators of many lines",
        "comments after a function",
        "an ending that does nothing",
        "other line ends",
        "tabs",
    ],
)
def test_ordinary_code_takes_no_parsing(case: str) -> None:
    source = CASES[case].encode()
    assert checked_definitions(compile(source, "m.py", "exec", dont_inherit=True), source) is not None


AMBIGUOUS = {
    "all under a statement in a class",  # no other class shows how wide an indentation is
    "under a true condition in a class",
    "private parameters",
    "lambdas in defaults",
    "lambdas in comprehensions",
    *GENERIC_CASES,
}


@pytest.mark.parametrize("case", sorted(CASES.keys() - AMBIGUOUS))
def test_code_without_a_source_gives_what_is_left_of_parsing(case: str) -> None:
    source = CASES[case].encode()
    bare = {found[:5] for found in bare_definitions(compile(source, "m.py", "exec", dont_inherit=True))}
    assert bare <= {found[:5] for found in definitions_in(source)}


def module_files(package: str) -> list[Path]:
    if package.startswith("stdlib/"):
        return sorted((Path(sysconfig.get_paths()["stdlib"]) / package.partition("/")[2]).rglob("*.py"))
    origin = importlib.util.find_spec(package)
    assert origin is not None and origin.origin is not None  # noqa: PT018  # for the type checker
    return sorted(Path(origin.origin).parent.rglob("*.py"))


def compiled(path: Path) -> Iterator[tuple[bytes, CodeType]]:
    source = path.read_bytes()
    try:
        yield source, compile(source, str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "package",
    [
        "stdlib/asyncio",
        "stdlib/email",
        "django.db.models",
        "sympy.core",
    ],
)
def test_a_library_gives_the_same_with_and_without_compiled_files(package: str) -> None:
    different = []
    for path in module_files(package):
        for source, code in compiled(path):
            found = checked_definitions(code, source)
            if found is not None and plain(found) != plain(definitions_in(source)):
                different.append(str(path))
    assert not different


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_few_files_of_a_library_have_to_be_parsed() -> None:
    files = [pair for path in module_files("django.db.models") for pair in compiled(path)]
    parsed = sum(checked_definitions(code, source) is None for source, code in files)
    assert parsed < len(files) / 50


def read_file(path: Path) -> tuple[list[Definition], bool]:
    """Give what is found in a file, and whether it was parsed."""
    from flagmw.usage.archives import Archives
    from flagmw.usage.files import CodeFile

    file = CodeFile(parts=("m.py",), path=str(path), shown_path=str(path), location=str(path))
    parsed = []

    def parse(source: bytes) -> list[Definition]:
        parsed.append(source)
        return definitions_in(source)

    with Archives() as archives:
        content: Content = read(file, archives)
        return definitions_of(file, content, parse), bool(parsed)


@pytest.mark.parametrize(
    "mode",
    [
        py_compile.PycInvalidationMode.TIMESTAMP,
        py_compile.PycInvalidationMode.CHECKED_HASH,
        py_compile.PycInvalidationMode.UNCHECKED_HASH,
    ],
)
def test_a_valid_compiled_file_is_read(tmp_path: Path, mode: py_compile.PycInvalidationMode) -> None:
    write(tmp_path, {"m.py": "def f(): pass\n"})
    py_compile.compile(str(tmp_path / "m.py"), invalidation_mode=mode, optimize=0)
    assert not read_file(tmp_path / "m.py")[1]


@pytest.mark.parametrize(
    "mode", [py_compile.PycInvalidationMode.TIMESTAMP, py_compile.PycInvalidationMode.CHECKED_HASH]
)
def test_a_compiled_file_of_another_source_is_not_read(tmp_path: Path, mode: py_compile.PycInvalidationMode) -> None:
    write(tmp_path, {"m.py": "def f(): pass\n"})
    py_compile.compile(str(tmp_path / "m.py"), invalidation_mode=mode, optimize=0)
    write(tmp_path, {"m.py": "def g(): pass\n"})
    touch(tmp_path / "m.py")
    found, was_parsed = read_file(tmp_path / "m.py")
    assert ([definition.name for definition in found], was_parsed) == (["g"], True)


def test_unchecked_code_counts_rather_than_the_source_beside_it(tmp_path: Path) -> None:
    write(tmp_path, {"m.py": "def f(): pass\n"})
    py_compile.compile(
        str(tmp_path / "m.py"), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH, optimize=0
    )
    write(tmp_path, {"m.py": "def other(): pass\n"})
    assert [found.name for found in read_file(tmp_path / "m.py")[0]] == ["f"]


@pytest.mark.parametrize("damage", ["empty", "other version", "cut", "no code"])
def test_a_broken_compiled_file_is_passed_over(tmp_path: Path, damage: str) -> None:
    write(tmp_path, {"m.py": "def f(): pass\n"})
    path = Path(py_compile.compile(str(tmp_path / "m.py"), optimize=0) or "")
    content = path.read_bytes()
    broken = {
        "empty": b"",
        "other version": b"\x00\x00\r\n" + content[4:],
        "cut": content[:-10],
        "no code": content[:16] + marshal.dumps("text"),
    }
    path.write_bytes(broken[damage])
    found, was_parsed = read_file(tmp_path / "m.py")
    assert ([definition.name for definition in found], was_parsed) == (["f"], True)


def test_compiled_files_are_looked_for_below_the_prefix_that_python_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "elsewhere"))
    write(tmp_path, {"m.py": "def f(): pass\n"})
    py_compile.compile(str(tmp_path / "m.py"), optimize=0)
    assert not read_file(tmp_path / "m.py")[1]


def test_a_scan_gives_the_same_with_and_without_compiled_files(tmp_path: Path) -> None:
    write(tmp_path, {f"app/m{number}.py": source for number, source in enumerate(CASES.values())})
    parsed = scan(tmp_path)
    compile_all(tmp_path)
    assert scan(tmp_path) == parsed


def test_decorators_are_asked_of_the_source(tmp_path: Path) -> None:
    write(tmp_path, {"app/m.py": "@task\ndef f(): pass\ndef g(): pass\n"})
    compile_all(tmp_path)
    assert signatures(scan(tmp_path, decorators=("@task",))) == ["app.m.f()"]


def leave_compiled(folder: Path) -> None:
    """Put a `.pyc` in the place of each source."""
    for path in sorted(folder.rglob("*.py")):
        py_compile.compile(str(path), cfile=f"{path}c", doraise=True, optimize=0)
        path.unlink()


def test_a_module_without_a_source_is_named_as_if_it_had_one(tmp_path: Path) -> None:
    write(tmp_path, {"app/__init__.py": "def f(): pass\n", "app/m.py": "class K:\n    async def g(self, a): pass\n"})
    leave_compiled(tmp_path)
    assert signatures(scan(tmp_path)) == ["app.__init__.f()", "app.m.K.g(self, a)"]


def test_a_module_without_a_source_has_the_path_that_python_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"bare_app/__init__.py": "", "bare_app/m.py": "def f(): pass\n"})
    leave_compiled(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("bare_app.m")
    (function,) = scan(tmp_path, ["bare_app"]).functions
    assert function.path == os.path.realpath(str(module.__file__))


def test_a_module_that_another_python_compiled_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, {"app/m.pyc": b"\x00\x00\r\n" + bytes(20), "app/n.py": "def f(): pass\n"})
    (problem,) = scan(tmp_path).problems
    assert (problem.path, problem.message) == (str(tmp_path / "app/m.pyc"), "another version of Python compiled it")
