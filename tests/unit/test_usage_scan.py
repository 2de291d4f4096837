"""Which functions a code base has: files, packages, problems, and what a second scan reads."""

from __future__ import annotations

import os
import socket
import warnings
from pathlib import Path
from typing import Any

import pytest

from flagmw.usage.codebase import Scanner
from flagmw.usage.functions import FunctionKind, Seen
from tests.unit.scan_support import config_for, scan, signatures, touch, write


def test_async_functions_lambdas_and_nested_functions_are_found_with_their_kind(tmp_path: Path) -> None:
    write(tmp_path, {"app/m.py": "async def a(x):\n    def b(y): pass\nc = lambda z: z\n"})
    assert [(function.signature, function.kind) for function in scan(tmp_path).functions] == [
        ("app.m.a(x)", FunctionKind.ASYNC),
        ("app.m.b(y)", FunctionKind.DEF),
        ("app.m.<lambda>(z)", FunctionKind.LAMBDA),
    ]


def test_a_function_begins_at_its_first_decorator_and_ends_with_its_last_statement(tmp_path: Path) -> None:
    write(tmp_path, {"app/m.py": "@one\n@two\ndef f():\n    return g(\n        1,\n    )\n\n# after\nx = 1\n"})
    (function,) = scan(tmp_path).functions
    assert (function.first_line, function.last_line) == (1, 6)


def test_code_that_ran_is_found_by_its_place(tmp_path: Path) -> None:
    write(tmp_path, {"app/m.py": "\ndef f(a, *b): pass\n"})
    seen = Seen(os.path.realpath(tmp_path / "app/m.py"), 2, "f", "a, *b")
    found = scan(tmp_path).find(seen)
    assert found is not None
    assert found.signature == "app.m.f(a, *b)"


def test_lambdas_that_a_recorder_cannot_tell_apart_are_one(tmp_path: Path) -> None:
    write(tmp_path, {"app/m.py": "class K:\n    f = lambda: (lambda: 0)\n"})
    assert signatures(scan(tmp_path)) == ["app.m.K.<lambda>()"]


def test_a_lambda_under_a_statement_in_a_class_has_no_class(tmp_path: Path) -> None:
    write(tmp_path, {"app/m.py": "class K:\n    if x:\n        f = lambda: 0\n    g = lambda a: 0\n"})
    assert signatures(scan(tmp_path)) == ["app.m.<lambda>()", "app.m.K.<lambda>(a)"]


def test_a_file_to_which_two_packages_lead_counts_once(tmp_path: Path) -> None:
    write(tmp_path, {"app/sub/m.py": "def f(): pass\n"})
    assert signatures(scan(tmp_path, ["app", "app.sub"])) == ["app.sub.m.f()"]


@pytest.mark.parametrize("link", ["alias.py", "zebra.py"])
def test_a_file_is_named_by_its_own_path_rather_than_by_a_link(tmp_path: Path, link: str) -> None:
    write(tmp_path, {"app/real.py": "def f(): pass\n"})
    (tmp_path / "app" / link).symlink_to("real.py")
    assert signatures(scan(tmp_path)) == ["app.real.f()"]


def test_a_code_base_stays_where_it_was_when_the_application_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"app/m.py": "def f(): pass\n"})
    monkeypatch.chdir(tmp_path)
    scanner = Scanner(config_for(Path()))
    monkeypatch.chdir("/")
    assert signatures(scanner.scan()) == ["app.m.f()"]


BAD_FILES: dict[str, tuple[bytes, int]] = {
    "a syntax error": (b"x = 1\ndef broken(:\n", 2),
    "bytes that are no text": (b"x = 1\ny = '\xff'\n", 0),
    "bytes that are not in the encoding it names": (b"# coding: ascii\nx = '\xc3\xa9'\n", 2),
    "an encoding that does not exist": (b"# coding: klingon\n", 0),
    "a null byte": (b"x = 1\x00\n", 0),
    "too many brackets": (b"(" * 5000, 1),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_left_out_and_the_others_are_found(tmp_path: Path, kind: str) -> None:
    content, _ = BAD_FILES[kind]
    write(tmp_path, {"app/bad.py": content, "app/good.py": "def f(): pass\n"})
    assert signatures(scan(tmp_path)) == ["app.good.f()"]


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, kind: str) -> None:
    content, line = BAD_FILES[kind]
    write(tmp_path, {"app/bad.py": content})
    (problem,) = scan(tmp_path).problems
    assert (problem.path, problem.line) == (str(tmp_path / "app/bad.py"), line or problem.line)


def test_a_folder_that_is_called_like_a_module_is_named_and_what_is_in_it_is_found(tmp_path: Path) -> None:
    write(tmp_path, {"app/x.py/m.py": "def f(): pass\n"})
    found = scan(tmp_path)
    assert [problem.path for problem in found.problems] == [str(tmp_path / "app/x.py")]
    assert [function.name for function in found.functions] == ["f"]


def test_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"app/m.py": "def f(): pass\n"})
    (tmp_path / "app/gone.py").symlink_to("nowhere")
    assert [problem.path for problem in scan(tmp_path).problems] == [str(tmp_path / "app/gone.py")]


def test_a_pipe_and_a_socket_do_not_hold_up_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"app/m.py": "def f(): pass\n"})
    os.mkfifo(tmp_path / "app/pipe.py")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("app/socket.py")
        found = scan(tmp_path)
    assert len(found.problems) == 2
    assert signatures(found) == ["app.m.f()"]


def test_a_folder_that_does_not_exist_is_a_problem(tmp_path: Path) -> None:
    messages = [str(problem) for problem in scan(tmp_path / "nothing").problems]
    assert any("there is no such folder" in message for message in messages)


def test_a_package_without_files_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, {"app/m.py": "def f(): pass\n"})
    assert [problem.path for problem in scan(tmp_path, ["app", "shop"]).problems] == ["shop"]


def test_a_package_that_is_a_module_is_told_so(tmp_path: Path) -> None:
    write(tmp_path, {"views.py": "def f(): pass\n"})
    (problem,) = scan(tmp_path, ["views"]).problems
    assert "it is a single module" in problem.message


def test_a_package_that_is_all_excluded_is_told_so(tmp_path: Path) -> None:
    write(tmp_path, {"app/m.py": "def f(): pass\n"})
    (problem,) = scan(tmp_path, exclude_packages=("app",)).problems
    assert "exclude_packages" in problem.message


def test_coding_cookies_and_byte_order_marks_are_honoured(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "app/cookie.py": "# -*- coding: latin-1 -*-\ndef café(): pass\n".encode("latin-1"),
            "app/mark.py": b"\xef\xbb\xbfdef f(): pass\n",
        },
    )
    assert signatures(scan(tmp_path)) == ["app.cookie.café()", "app.mark.f()"]


def test_a_scan_does_not_warn_on_behalf_of_the_code_it_reads(tmp_path: Path) -> None:
    write(tmp_path, {"app/m.py": 'a = "\\d"\nb = f"\\N{BULLET} \\{a}"\nc = b"\\w" rb"\\""\ndef f(): return r"\\\\"\n'})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert signatures(scan(tmp_path)) == ["app.m.f()"]


def test_a_chain_of_a_thousand_branches_is_walked(tmp_path: Path) -> None:
    branches = "".join(f"elif x == {number}:\n    pass\n" for number in range(1000))
    write(tmp_path, {"app/m.py": f"if x:\n    pass\n{branches}else:\n    def f(): pass\n"})
    found = scan(tmp_path)
    assert [function.name for function in found.functions] == ["f"] or found.problems


def test_a_second_scan_reads_only_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"app/old.py": "def f(): pass\n", "app/new.py": "def g(): pass\n"})
    scanner = Scanner(config_for(tmp_path))
    before = scanner.scan()
    write(tmp_path, {"app/new.py": "def other(): pass\n"})
    after = scanner.scan()
    assert signatures(after) == ["app.new.other()", "app.old.f()"]
    assert after.functions[1] is before.functions[1]


def test_a_file_that_went_away_is_forgotten(tmp_path: Path) -> None:
    write(tmp_path, {"app/old.py": "def f(): pass\n", "app/new.py": "def g(): pass\n"})
    scanner = Scanner(config_for(tmp_path))
    scanner.scan()
    (tmp_path / "app/old.py").unlink()
    assert signatures(scanner.scan()) == ["app.new.g()"]


def test_progress_is_told_after_each_file(tmp_path: Path) -> None:
    write(tmp_path, {"app/a.py": "", "app/b.py": ""})
    told: list[tuple[int, int]] = []
    Scanner(config_for(tmp_path)).scan(on_progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_what_a_pause_raises_leaves_the_scanner_usable(tmp_path: Path) -> None:
    class Abandoned(BaseException):
        pass

    def leave(spent_s: float) -> None:
        raise Abandoned

    write(tmp_path, {"app/m.py": "def f(): pass\n"})
    scanner = Scanner(config_for(tmp_path))
    with pytest.raises(Abandoned):
        scanner.scan(pause=leave)
    assert signatures(scanner.scan()) == ["app.m.f()"]


def test_equal_code_has_one_fingerprint_wherever_it_lies(tmp_path: Path) -> None:
    for place in ("one", "two"):
        write(tmp_path / place, {"app/m.py": "def f(): pass\n"})
    assert scan(tmp_path / "one").fingerprint == scan(tmp_path / "two").fingerprint


@pytest.mark.parametrize("setting", [{"environment": "production"}, {"exclude_init": True}, {"decorators": ("@x",)}])
def test_another_setting_gives_another_fingerprint(tmp_path: Path, setting: dict[str, Any]) -> None:
    write(tmp_path, {"app/m.py": "def f(): pass\n"})
    assert scan(tmp_path).fingerprint != scan(tmp_path, **setting).fingerprint


def test_another_function_gives_another_fingerprint(tmp_path: Path) -> None:
    write(tmp_path, {"app/m.py": "def f(): pass\n"})
    before = scan(tmp_path).fingerprint
    write(tmp_path, {"app/m.py": "def f(a): pass\n"})
    touch(tmp_path / "app/m.py")
    assert scan(tmp_path).fingerprint != before
