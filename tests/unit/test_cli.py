"""The `flagmw` command, run as a user runs it: arguments in; output and exit code out."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flagmw import __version__
from flagmw.cli import main

FLAGS = """\
$evaluators:
  staff: {"ends_with": [{"var": "email"}, "@example.com"]}
flags:
  checkout:
    state: ENABLED
    variants: {on: true, off: false}
    defaultVariant: off
    targeting:
      if:
        - {"$ref": staff}
        - on
        - in: [{var: country}, [DE, AT]]
        - fractional:
            - [on, 25]
            - [off, 75]
        - off
  theme:
    state: ENABLED
    variants: {light: {ink: black}, dark: {ink: white}}
    defaultVariant: light
  no-else:
    state: ENABLED
    variants: {on: true, off: false}
    defaultVariant: off
    targeting: {if: [{var: beta}, on]}
  always:
    state: ENABLED
    variants: {on: true}
    targeting: {fractional: [[on]]}
  retired:
    state: DISABLED
    variants: {on: true}
"""

BROKEN = """\
flags:
  misspelt:
    state: ENABLED
    variants: {on: true, off: false}
    defaultVariant: off
    targeting: {frob: [1]}
  unfinished:
    variants: {on: true}
"""

STAFF = '{"key": "ada", "email": "ada@example.com"}'


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Command:
    capsys: pytest.CaptureFixture[str]
    folder: Path

    def __call__(self, *arguments: str) -> Ran:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        captured = self.capsys.readouterr()
        code = left.value.code
        assert isinstance(code, int)
        return Ran(code, captured.out, captured.err)

    def write(self, name: str, text: str | bytes) -> str:
        content = text.encode() if isinstance(text, str) else text
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(content)
        return name


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)
    command = Command(capsys, tmp_path)
    command.write("flags.yaml", FLAGS)
    return command


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, timeout=60, check=False
    )


def explained(command: Command, key: str, user: str = "{}", *options: str, path: str = "flags.yaml") -> dict[str, Any]:
    ran = command("eval", path, key, "--user", user, "--json", *options)
    return json.loads(ran.out)  # type: ignore[no-any-return]  # an object, as all tests below rely on


# --- the command --------------------------------------------------------------------------------------------


def test_version_is_the_packages(command: Command) -> None:
    assert command("--version") == Ran(0, f"flagmw {__version__}\n", "")


def test_importing_the_module_imports_neither_click_nor_rich(tmp_path: Path) -> None:
    code = "import sys, flagmw.cli; print(sorted({'click', 'rich'} & set(sys.modules)))"
    assert python(code, tmp_path).stdout == "[]\n"


def test_without_click_it_says_how_to_install_it_and_exits_with_2(tmp_path: Path) -> None:
    ran = python("import sys; sys.modules['click'] = None; from flagmw.cli import main; main()", tmp_path)
    assert (ran.returncode, ran.stderr) == (2, "the flagmw command needs click: pip install 'flagmw[cli]'\n")


def test_without_rich_a_terminal_gets_plain_text(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert on_a_terminal(monkeypatch, "check", "flags.yaml") == "5 flags in 1 file are fine\n"


# --- check --------------------------------------------------------------------------------------------------


def test_check_of_good_files_prints_one_line(command: Command) -> None:
    command.write("more.json", '{"flags": {}}')
    assert command("check", "flags.yaml", "more.json") == Ran(0, "5 flags in 2 files are fine\n", "")


def test_check_counts_one_flag_in_the_singular(command: Command) -> None:
    command.write("one.json", '{"flags": {"a": {"state": "ENABLED", "variants": {"on": true}}}}')
    assert command("check", "one.json").out == "1 flag in 1 file is fine\n"


def test_check_of_a_directory_takes_its_flag_files_and_no_others(command: Command) -> None:
    for name in ("d/a.json", "d/b.yml", "d/.hidden.json", "d/notes.txt", "d/sub/c.json"):
        command.write(name, '{"flags": {}}' if name.endswith(("a.json", ".yml")) else "no flags")
    assert command("check", "d").out == "0 flags in 2 files are fine\n"


def test_check_prints_every_problem_with_its_place(command: Command) -> None:
    command.write("broken.yaml", BROKEN)
    ran = command("check", "broken.yaml")
    assert ran.out.splitlines() == [
        "broken.yaml:6:23: flag: flags.misspelt.targeting.frob: unknown operator 'frob'",
        'broken.yaml:8:5: error: flags.unfinished.state: \'state\' must be "ENABLED" or "DISABLED", it is missing',
    ]


@pytest.mark.parametrize("key", ["misspelt", "unfinished"])
def test_check_exits_with_1_for_each_kind_of_problem_that_breaks_a_flag(command: Command, key: str) -> None:
    blocks = BROKEN.split("  unfinished:")
    command.write("x.yaml", blocks[0] if key == "misspelt" else "flags:\n  unfinished:" + blocks[1])
    assert command("check", "x.yaml").code == 1


def test_check_tells_the_number_of_problems_apart_from_them(command: Command) -> None:
    command.write("broken.yaml", BROKEN)
    assert command("check", "broken.yaml").err == "2 errors\n"


def test_check_exits_with_0_when_there_are_only_warnings(command: Command) -> None:
    command.write("w.json", '{"flags": {"a": {"state": "ENABLED", "variants": {"x": 1}, "defaultVarian": "x"}}}')
    ran = command("check", "w.json")
    assert (ran.code, ran.out.split(": ")[1], ran.err) == (0, "warning", "1 warning\n")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("gone.yaml", None, "gone.yaml: error: the flag file does not exist"),
        ("flags.txt", "{}", "flags.txt: error: a flag file ends in .json, .yaml, .yml, got '.txt'"),
        (
            "latin.json",
            b'{"flags": {"\xe9": 1}}',
            "latin.json:1:13: error: not UTF-8: byte 0xe9; save the file as UTF-8",
        ),
        ("cut.json", '{"flags": {', "cut.json:1:12: error: invalid JSON: expecting property name enclosed in double"),
        ("cut.yaml", "flags: {a: [", "cut.yaml:2:1: error: invalid YAML: "),
        ("twice.json", '{"flags": {},\n "flags": {}}', 'twice.json:2:2: error: the key "flags" is there twice'),
        ("empty.yaml", "", "empty.yaml:1:1: error: the file is empty, expected a mapping with 'flags'"),
        ("list.json", "[]", "list.json:1:1: error: expected a mapping with 'flags', got a list"),
    ],
)
def test_check_says_in_one_line_why_a_file_cannot_be_used(
    command: Command, name: str, content: str | bytes | None, line: str
) -> None:
    if content is not None:
        command.write(name, content)
    ran = command("check", name)
    assert (ran.code, ran.out.count("\n"), ran.out[: len(line)]) == (1, 1, line)


def test_check_of_a_directory_without_flag_files_is_an_error(command: Command) -> None:
    (command.folder / "empty").mkdir()
    ran = command("check", "empty")
    assert (ran.code, ran.out) == (1, "empty: error: no readable flag files (*.json, *.yaml, *.yml) in here\n")


def test_check_of_a_directory_goes_on_after_a_file_that_cannot_be_read(command: Command) -> None:
    command.write("d/a.json", "")
    os.truncate("d/a.json", 17 * 1024 * 1024)
    command.write("d/b.json", "[]")
    lines = command("check", "d").out.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["d/b.json:1:1", "d/a.json"]


def test_check_names_files_as_the_caller_does(command: Command) -> None:
    command.write("d/b.json", "[]")
    absolute = str(command.folder / "d")
    assert [command("check", path).out.split(":")[0] for path in ("d/", absolute)] == ["d/b.json", absolute + "/b.json"]


def test_check_keeps_a_problem_on_one_line_whatever_the_file_holds(command: Command) -> None:
    command.write("odd.json", json.dumps({"flags": {"a\n\x1b[2J\ud800": 1}}))
    assert command("check", "odd.json").out.startswith(r"odd.json:1:34: error: flags.a\n\x1b[2J\ud800: expected")


def test_check_without_a_path_is_a_wrong_use(command: Command) -> None:
    assert command("check").code == 2


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.delenv("NO_COLOR", raising=False)
        patch.setattr(sys, "stdout", terminal)
        with pytest.raises(SystemExit):
            main(arguments)
    return terminal.getvalue()


def test_check_has_colours_on_a_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    command.write("broken.yaml", BROKEN)
    assert "\x1b[1;31merror: \x1b[0m" in on_a_terminal(monkeypatch, "check", "broken.yaml")


def test_brackets_in_a_file_are_no_markup(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    command.write("odd.json", '{"flags": {"[bold]": 1}}')
    assert "flags.[bold]: expected" in on_a_terminal(monkeypatch, "check", "odd.json")


# --- eval: the answer ---------------------------------------------------------------------------------------


def test_eval_shows_value_variation_reason_and_the_rule_that_decided(command: Command) -> None:
    assert command("eval", "flags.yaml", "checkout", "--user", STAFF).out.splitlines() == [
        "flag       checkout",
        "value      true",
        "variation  on",
        "reason     TARGETING_MATCH",
        "file       flags.yaml",
        "why        condition 1 held",
        'flags.yaml:10:11: condition 1: held: {"$ref": "staff"}',
        'flags.yaml:11:11: result: "on"',
    ]


def test_eval_exits_with_0_for_an_answer(command: Command) -> None:
    assert command("eval", "flags.yaml", "checkout", "--user", STAFF).code == 0


def test_eval_shows_each_condition_that_was_looked_at_in_order(command: Command) -> None:
    conditions = explained(command, "checkout", '{"key": "ada", "country": "DE"}')["conditions"]
    assert [(one["place"], one["held"]) for one in conditions] == [
        ("flags.yaml:10:11", False),
        ("flags.yaml:12:11", True),
    ]


def test_eval_shows_a_conditions_json(command: Command) -> None:
    conditions = explained(command, "checkout", '{"country": "DE"}')["conditions"]
    assert conditions[1]["condition"] == {"in": [{"var": "country"}, ["DE", "AT"]]}


def test_eval_tells_the_share_of_the_rollout_that_decided(command: Command) -> None:
    answer = explained(command, "checkout", '{"key": "ada", "country": "DE"}')
    share = {"on": 25, "off": 75}[answer["variation"]]
    assert answer["explanation"] == f"condition 2 held; a rollout, in which {answer['variation']!r} has {share} of 100"


@pytest.mark.parametrize(
    ("key", "user", "why"),
    [
        ("checkout", "{}", "no condition held: the fallthrough was taken"),
        ("no-else", "{}", "no condition held: the fallthrough was taken, which is the default variant"),
        ("theme", "{}", "no rules: the default variant"),
        ("retired", "{}", "the flag is disabled: the caller's default"),
        ("always", '{"key": "a"}', "the rule has no conditions; a rollout, in which 'on' has 1 of 1"),
        ("always", "{}", "the rule has no conditions; the result is null: the caller's default"),
    ],
)
def test_eval_says_in_a_sentence_what_decided(command: Command, key: str, user: str, why: str) -> None:
    assert explained(command, key, user)["explanation"] == why


def test_eval_says_when_the_callers_default_is_the_answer(command: Command) -> None:
    answer = explained(command, "retired")
    assert (answer["value"], answer["uses_default"], answer["reason"]) == (None, True, "DISABLED")


def test_eval_takes_the_hashing_that_it_is_told_to(command: Command) -> None:
    def given(version: str) -> list[str]:
        users = [json.dumps({"key": f"user-{number}", "country": "DE"}) for number in range(40)]
        return [explained(command, "checkout", user, "--fractional", version)["variation"] for user in users]

    assert given("v2") != given("v3")


def test_eval_of_a_directory_names_the_file_whose_flag_is_in_force(command: Command) -> None:
    command.write("d/a.yaml", FLAGS)
    command.write(
        "d/b.json", '{"flags": {"theme": {"state": "ENABLED", "variants": {"x": "b"}, "defaultVariant": "x"}}}'
    )
    answer = explained(command, "theme", path="d")
    assert (answer["value"], answer["file"]) == ("b", "d/b.json")


def test_eval_of_a_directory_with_a_broken_file_answers_from_the_others_and_says_so(command: Command) -> None:
    command.write("d/a.yaml", FLAGS)
    command.write("d/b.json", "[]")
    ran = command("eval", "d", "theme")
    assert (ran.code, ran.err) == (0, "d/b.json:1:1: error: expected a mapping with 'flags', got a list\n")


# --- eval: where conditions stand ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targeting", "user", "variation", "why"),
    [
        ({"if": {"if": [{"var": "x"}, "a", "b"]}}, {"x": 1}, "a", "condition 1 held"),
        ({"if": [{"if": [{"var": "x"}, "a", "b"]}]}, {"x": 1}, "a", "condition 1 held"),
        ({"?:": [{"var": "x"}, "a", "b"]}, {"x": 1}, "a", "condition 1 held"),
        ({"$ref": "shared"}, {"x": 1}, "a", "condition 1 held"),
        (
            {"if": [{"var": "x"}, {"if": [{"var": "y"}, "a", "b"]}]},
            {"x": 1},
            "b",
            "condition 1 held and none of those in its result: the fallthrough was taken",
        ),
        ({"if": [{"var": "z"}, "b", {"if": [{"var": "x"}, "a", "b"]}]}, {"x": 1}, "a", "condition 2 held"),
        ({"or": [{"if": [{"var": "x"}, "a"]}, "b"]}, {"x": 1}, "a", "the rule's result"),
        ({"if": []}, {}, "b", "the rule has no conditions; the result is null: the default variant"),
        ({"if": ["a"]}, {}, "a", "the rule has no conditions"),
        ("a", {}, "a", "the rule has no conditions"),
        ({"if": [{"if": [{"var": "x"}, True]}, "a", "b"]}, {"x": 1}, "a", "condition 2 held"),
    ],
)
def test_eval_follows_rules_of_every_shape(
    command: Command, targeting: Any, user: dict[str, Any], variation: str, why: str
) -> None:
    flag = {"state": "ENABLED", "variants": {"a": 1, "b": 2}, "defaultVariant": "b", "targeting": targeting}
    evaluators = {"shared": {"if": [{"var": "x"}, "a", "b"]}}
    command.write("shape.json", json.dumps({"$evaluators": evaluators, "flags": {"f": flag}}, indent=1))
    answer = explained(command, "f", json.dumps(user), path="shape.json")
    assert (answer["variation"], answer["explanation"]) == (variation, why)


def test_eval_gives_the_place_of_a_condition_in_a_shared_rule(command: Command) -> None:
    command.write(
        "ref.yaml",
        "$evaluators:\n  shared:\n    if: [{var: x}, a, b]\n"
        "flags:\n  f:\n    state: ENABLED\n    variants: {a: 1, b: 2}\n    targeting: {$ref: shared}\n",
    )
    assert explained(command, "f", path="ref.yaml")["conditions"][0]["place"] == "ref.yaml:3:10"


def test_eval_cuts_a_long_condition(command: Command) -> None:
    flag = {"state": "ENABLED", "variants": {"a": 1}, "targeting": {"if": [{"in": [{"var": "x"}, ["y" * 500]]}, "a"]}}
    command.write("long.json", json.dumps({"flags": {"f": flag}}))
    assert max(map(len, command("eval", "long.json", "f").out.splitlines())) < 160


# --- eval: what goes wrong ----------------------------------------------------------------------------------


def test_eval_of_a_broken_rule_says_where_it_is_broken_and_exits_with_1(command: Command) -> None:
    command.write("broken.yaml", BROKEN.split("  unfinished:", maxsplit=1)[0])
    ran = command("eval", "broken.yaml", "misspelt")
    assert (ran.code, ran.out.splitlines()[-1]) == (
        1,
        "broken.yaml:6:23: flag: flags.misspelt.targeting.frob: unknown operator 'frob'",
    )


def test_eval_of_a_refused_file_shows_its_problems_and_exits_with_1(command: Command) -> None:
    command.write("broken.yaml", BROKEN)
    ran = command("eval", "broken.yaml", "misspelt")
    assert (ran.code, ran.out, ran.err.split(": ")[:2]) == (1, "", ["broken.yaml:8:5", "error"])


@pytest.mark.parametrize(
    ("key", "said"),
    [("chekout", "did you mean 'checkout'?"), ("zzzzz", "there are always, checkout, no-else, retired, theme")],
)
def test_eval_of_an_unknown_flag_suggests_another_and_exits_with_1(command: Command, key: str, said: str) -> None:
    ran = command("eval", "flags.yaml", key)
    assert (ran.code, ran.err) == (1, f"flags.yaml: error: no flag {key!r}; {said}\n")


def test_eval_of_a_missing_file_exits_with_1(command: Command) -> None:
    assert command("eval", "gone.yaml", "x") == Ran(1, "", "gone.yaml: error: the flag file does not exist\n")


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("{key: ada}", "is not JSON: expecting property name enclosed in double quotes at column 2"),
        ('["secret"]', "must be a JSON object"),
        ('"secret"', "must be a JSON object"),
        ('{"age": NaN}', "attribute 'age' is NaN or infinite"),
        ('{"key": 42}', "key must be a str, got int"),
        ('{"age": ' + "9" * 5000 + "}", "too long"),
        ('{"a": ' + "[" * 100_000, "too long"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "attribute 'a' is nested deeper than 32 levels"),
    ],
)
def test_eval_of_a_bad_user_says_what_is_wrong_and_exits_with_2(command: Command, user: str, said: str) -> None:
    ran = command("eval", "flags.yaml", "theme", "--user", user)
    assert (ran.code, said in " ".join(ran.err.split())) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--user", '{"email": "secret@example.com", x}'),
        ("--user", '{"key": ["secret"]}'),
        ("--user", '{"identifiers": {"device": {"secret": 1}}}'),
        ("--user", "{key:", "secret}"),
    ],
)
def test_eval_never_repeats_what_it_was_told_of_a_user(command: Command, arguments: tuple[str, ...]) -> None:
    ran = command("eval", "flags.yaml", "theme", *arguments)
    assert (ran.code, "secret" in ran.out + ran.err) == (2, False)
