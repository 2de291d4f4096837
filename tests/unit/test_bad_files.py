"""Flag files that are broken by accident or on purpose: a clear error, no crash, no hang, the last good flags stay."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flagmw import Client, ConfigError, DocumentError, State, UserContext
from flagmw.core.documents import Document
from flagmw.core.operators import JSONLOGIC
from flagmw.dialects.flagd import check
from flagmw.errors import Problem
from flagmw.evaluation import ErrorCode, Reason
from flagmw.providers import FlagFile, Static
from tests.unit.support import compiled, dialect, document, flag, rule_result, until

USER = UserContext("user-1", attributes={"x": "y", "many": list(range(64))})
QUICK_S = 2.0
"""Far more than any of these takes, far less than what explodes takes."""

OPERATORS = [*JSONLOGIC, "starts_with", "ends_with", "sem_ver", "fractional", "$ref", "frob"]
GOOD = json.dumps({"flags": {"f": flag({"v": "good"}, "v")}})


def made(content: str | bytes, *, is_yaml: bool = False) -> Document:
    encoded = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return Document(name="flags.yaml" if is_yaml else "flags.json", content=encoded, is_yaml=is_yaml)


def refusal(source: Document) -> Problem:
    """Compile a document that is refused, and give the first problem."""
    began = time.monotonic()
    compilation = dialect().compile([source], (), None)
    assert time.monotonic() - began < QUICK_S
    assert compilation.snapshot is None
    (error,) = compilation.errors
    assert isinstance(error, DocumentError)
    return error.problems[0]


def with_value(text: str, *, is_yaml: bool = False) -> Document:
    """Make a document that has a text as the value of a variant, on line 2 from column 3."""
    return made('{"flags": {"f": {"state": "ENABLED", "variants": {"a":\n  ' + text + "}}}}", is_yaml=is_yaml)


def with_rule(rule: Any, **members: Any) -> Document:
    return document({"f": flag({"a": 1}, targeting=rule)}, **members)


# --- texts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_yaml", [False, True], ids=["json", "yaml"])
@pytest.mark.parametrize("text", ["", "   \n\t\n".replace("\t", ""), "\ufeff"])
def test_an_empty_file_is_said_to_be_empty(text: str, is_yaml: bool) -> None:
    assert "the file is empty" in refusal(made(text, is_yaml=is_yaml)).message


def test_every_way_of_cutting_a_file_short_is_an_error_with_a_place() -> None:
    text = json.dumps({"flags": {"f": flag({"ä": 'é\\"', "b": [1.5, None]}, "b", targeting={"var": "x"})}})
    for end in range(1, len(text)):
        assert refusal(made(text[:end])).line == 1


def test_yaml_that_is_cut_short_never_gives_half_a_flag() -> None:
    text = 'flags:\n  f: {state: ENABLED, variants: {"a": 1, "b": 2}, defaultVariant: "b"}\n'
    for end in range(1, len(text) - 1):
        compilation = dialect().compile([made(text[:end], is_yaml=True)], (), None)
        assert compilation.snapshot is None or not compilation.snapshot.flags


@pytest.mark.parametrize(
    ("content", "line", "column"),
    [
        (b'{\n "a": "\xff"}', 2, 8),
        (b"\xff\xfe{\x00}\x00", 1, 1),
        (b'{"a": "\xed\xa0\x80"}', 1, 8),
        (b'{"a": "\xc3', 1, 8),
        ("{}".encode("utf-16-be"), None, None),
    ],
)
def test_what_is_not_utf_8_is_refused_with_its_place(content: bytes, line: int | None, column: int | None) -> None:
    problem = refusal(made(content))
    assert line is None or ("UTF-8" in problem.message, problem.line, problem.column) == (True, line, column)


@pytest.mark.parametrize("is_yaml", [False, True], ids=["json", "yaml"])
@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbf" + GOOD.encode(), GOOD.replace(", ", ",\r\n").encode(), GOOD.replace(", ", ",\r").encode()],
    ids=["BOM", "CRLF", "CR"],
)
def test_marks_and_line_ends_of_other_systems_are_read(content: bytes, is_yaml: bool) -> None:
    assert set(compiled(made(content, is_yaml=is_yaml)).flags) == {"f"}


def test_lines_of_a_file_with_crlf_are_counted_once() -> None:
    assert refusal(made('{"flags": {\r\n"f": 1}}')).line == 2


def test_tabs_in_json_are_space() -> None:
    assert set(compiled(made(GOOD.replace(" ", "\t"))).flags) == {"f"}


def test_tabs_that_indent_yaml_are_refused_with_their_place() -> None:
    assert refusal(made("flags:\n\tf: {}\n", is_yaml=True)).line == 2


@pytest.mark.parametrize("is_yaml", [False, True], ids=["json", "yaml"])
@pytest.mark.parametrize("control", ["\0", "\x01", "\x1b"])
def test_control_characters_are_refused(control: str, is_yaml: bool) -> None:
    assert refusal(made('{"flags": "' + control + '"}', is_yaml=is_yaml)).line == 1


@pytest.mark.parametrize("is_yaml", [False, True], ids=["json", "yaml"])
def test_equal_keys_are_refused_at_the_second(is_yaml: bool) -> None:
    problem = refusal(made('{"flags": {"f": 1,\n "f": 2}}', is_yaml=is_yaml))
    assert ("twice" in problem.message, problem.line, problem.column) == (True, 2, 2)


def test_keys_that_are_equal_once_their_escapes_are_read_are_refused() -> None:
    assert "twice" in refusal(made(r'{"flags": {"f": 1, "\u0066": 2}}')).message


# --- numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, "9" * 400 + ".5"])
def test_numbers_that_json_does_not_have_are_refused_with_their_place(literal: str) -> None:
    problem = refusal(with_value(literal))
    assert (problem.line, problem.column) == (2, 3)


@pytest.mark.parametrize(
    "literal", [".nan", "-.inf", "1e999", "9" * 5000, "9" * 400 + ".5", "0x" + "f" * 5000, "0o" + "7" * 9000]
)
def test_numbers_that_flags_cannot_have_are_refused_in_yaml_with_their_place(literal: str) -> None:
    problem = refusal(with_value(literal, is_yaml=True))
    assert (problem.line, problem.column) == (2, 3)


@pytest.mark.parametrize(
    "text",
    [
        '{"flags": {}, "metadata": {"a": 1e999}}',
        '{"flags": {}, "$evaluators": {"a": 1e999}}',
        '{"flags": {}, "other": 1e999}',
    ],
)
def test_an_infinite_number_is_refused_wherever_it_stands(text: str) -> None:
    assert "1e999" in refusal(made(text)).message


@pytest.mark.parametrize("literal", ["1e999", "9" * 5000])
def test_check_finds_the_numbers_that_loading_refuses(literal: str) -> None:
    with pytest.raises(DocumentError):
        check(with_value(literal))


def test_numbers_out_of_range_are_told_in_words_of_ours() -> None:
    assert "sys." not in refusal(with_value("9" * 5000)).message


def test_a_large_whole_number_is_served_as_it_is() -> None:
    outcome = compiled(with_value("9" * 400)).flags["f"].evaluate(USER)
    assert outcome.reason is Reason.DEFAULT


# --- nesting and aliases ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_yaml", [False, True], ids=["json", "yaml"])
@pytest.mark.parametrize("depth", [101, 1_000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_refused(opening: str, closing: str, depth: int, is_yaml: bool) -> None:
    problem = refusal(made('{"flags": ' + opening * depth + "1" + closing * depth + "}", is_yaml=is_yaml))
    assert problem.message == "nested deeper than 100 levels"


def test_deeply_indented_yaml_is_refused_where_it_gets_too_deep() -> None:
    problem = refusal(made("\n".join(" " * depth + "a:" for depth in range(1_000)), is_yaml=True))
    assert (problem.message, problem.line) == ("nested deeper than 100 levels", 101)


def test_deep_nesting_in_memory_is_an_error_of_the_document() -> None:
    rule: Any = 1
    for _ in range(500):
        rule = {"!": rule}
    (error,) = (
        dialect().compile([Document(name="Static", content={"flags": {"f": flag(targeting=rule)}})], (), None).errors
    )
    assert isinstance(error, DocumentError)


def test_the_deepest_rule_that_is_accepted_is_evaluated() -> None:
    rule: Any = {"var": "x"}
    for _ in range(90):
        rule = {"!": [rule]} if len(json.dumps(rule)) % 2 else {"!": rule}
        if json.dumps(rule).count("[") + json.dumps(rule).count("{") > 90:
            break
    assert isinstance(rule_result(rule), bool)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join(['*' + chr(97 + level)] * 9)}]\n" for level in range(24)
)
MERGE_BOMB = (
    "a: &a {" + ", ".join(f"k{number}: 1" for number in range(1_000)) + "}\nflags:\n" + "  - {<<: *a}\n" * 3_000
)


@pytest.mark.parametrize("text", [BOMB, MERGE_BOMB], ids=["lists", "merge keys"])
def test_yaml_aliases_that_explode_are_refused(text: str) -> None:
    assert "the aliases expand to more than" in refusal(made(text, is_yaml=True)).message


@pytest.mark.parametrize("text", ["flags: &a [*a]", "flags: &a {<<: *a}", "flags: *nowhere"])
def test_yaml_aliases_without_an_anchor_before_them_are_refused(text: str) -> None:
    assert "no anchor" in refusal(made(text, is_yaml=True)).message


def test_aliases_cannot_get_around_the_limit_of_nesting() -> None:
    text = "a: &a0 " + "[" * 30 + "]" * 30 + "\n"
    text += "".join(f"a{n}: &a{n} {'[' * 30}*a{n - 1}{']' * 30}\n" for n in range(1, 5))
    assert refusal(made(text, is_yaml=True)).message == "nested deeper than 100 levels"


@pytest.mark.parametrize(
    "text",
    [
        "flags: !!python/object/apply:os.getcwd []",
        "flags: !!binary aGk=",
        "? [a, b]\n: 1",
        "flags: {}\n---\nflags: {}",
        "%YAML 9.9\n---\nflags: {}",
        "flags: {<<: 1}",
    ],
)
def test_what_yaml_has_beyond_json_is_refused_with_a_place(text: str) -> None:
    assert refusal(made(text, is_yaml=True)).line > 0


# --- wrong types --------------------------------------------------------------------------------------------

VALUES: list[Any] = [None, True, False, 0, 1.5, "", "text", [], [1], {}, {"a": 1}, [[{}]]]


@pytest.mark.parametrize("member", ["state", "variants", "defaultVariant", "targeting", "metadata", "key", "$comment"])
@pytest.mark.parametrize("value", VALUES)
def test_a_member_of_any_type_is_refused_or_served(member: str, value: Any) -> None:
    compilation = dialect().compile([document({"f": {**flag(default="on"), member: value}})], (), None)
    assert compilation.snapshot is not None or isinstance(compilation.errors[0], DocumentError)


@pytest.mark.parametrize("member", ["flags", "$evaluators", "metadata", "$schema", "other"])
@pytest.mark.parametrize("value", VALUES)
def test_a_part_of_any_type_is_refused_or_served(member: str, value: Any) -> None:
    content = json.dumps({"flags": {}, member: value}).encode()
    compilation = dialect().compile([made(content)], (), None)
    assert compilation.snapshot is not None or isinstance(compilation.errors[0], DocumentError)


@pytest.mark.parametrize("value", [*VALUES, "x" * 1_000_000])
def test_what_checking_finds_has_a_place_in_the_file(value: Any) -> None:
    problems = check(made(json.dumps({"flags": {"f": {"state": value, "variants": value, "metadata": value}}})))
    assert all(problem.line == 1 and problem.column > 0 for problem in problems)


@pytest.mark.parametrize(
    "source",
    [
        document({"f": {"state": "x" * 1_000_000, "variants": {"a": 1}}}),
        document({"f": flag(default="x" * 1_000_000)}),
        document({"f": flag({f"variant {number}": 1 for number in range(100_000)}, "none of them")}),
        document({"x" * 1_000_000: 1}),
        document({"f": {"x" * 1_000_000: 1}}),
        made('{"' + "x" * 1_000_000 + '": 1, "' + "x" * 1_000_000 + '": 1}'),
        made("x" * 1_000_000 + ": 1\n" + "x" * 1_000_000 + ": 1\n", is_yaml=True),
        with_value("9" * 1_000_000 + ".5", is_yaml=True),
        made("flags: *" + "x" * 1_000_000, is_yaml=True),
        made("flags: !" + "x" * 1_000_000 + " 1", is_yaml=True),
    ],
    ids=["state", "default", "variants", "flag key", "member", "json keys", "yaml keys", "number", "alias", "tag"],
)
def test_an_error_is_short_whatever_the_file_holds(source: Document) -> None:
    (error,) = dialect().compile([source], (), None).errors
    assert len(str(error)) < 2_000


# --- rules --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", ["", "If", "var ", "$ref ", "frob", "fractionalEvaluation", "x" * 100_000])
def test_an_unknown_operator_breaks_its_flag_and_no_other(operator: str) -> None:
    snapshot = compiled(document({"f": flag(targeting={operator: [1]}), "g": flag(default="on")}))
    outcomes = [snapshot.flags[key].evaluate(USER) for key in ("f", "g")]
    assert [outcome.error_code for outcome in outcomes] == [ErrorCode.PARSE_ERROR, None]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator_takes_arguments_of_any_type_in_any_place(operator: str, value: Any) -> None:
    for raw in (value, [value], ["1", value], ["1", value, "1"], [value, "=", value], [[value], value, value]):
        compiled(with_rule({operator: raw})).flags["f"].evaluate(USER)


@pytest.mark.parametrize(
    "evaluators",
    [
        {"a": {"$ref": "a"}},
        {"a": {"$ref": "b"}, "b": {"$ref": "a"}},
        {"a": {"!": [{"$ref": "b"}]}, "b": {"and": [True, {"$ref": "c"}]}, "c": {"map": [[1], {"$ref": "a"}]}},
        {"a": [{"$ref": "a"}, {"$ref": "a"}]},
    ],
)
def test_references_that_go_in_a_circle_break_their_flag(evaluators: dict[str, Any]) -> None:
    outcome = compiled(with_rule({"$ref": "a"}, **{"$evaluators": evaluators})).flags["f"].evaluate(USER)
    assert outcome.error_code is ErrorCode.PARSE_ERROR


def chain(length: int, link: Callable[[Any], Any], end: Any) -> dict[str, Any]:
    """Make evaluators that each refer to the next."""
    links = {f"e{number}": link({"$ref": f"e{number + 1}"}) for number in range(length)}
    return {**links, f"e{length}": end}


@pytest.mark.parametrize("length", [200, 5_000])
@pytest.mark.parametrize("end", [True, {"var": "x"}], ids=["constant", "variable"])
def test_a_long_chain_of_references_is_a_broken_flag_or_works(length: int, end: Any) -> None:
    evaluators = chain(length, lambda inner: {"!": [inner]}, end)
    source = with_rule({"if": [{"$ref": "e0"}, "a", "a"]}, **{"$evaluators": evaluators})
    outcome = compiled(source).flags["f"].evaluate(USER)
    assert outcome.error_code in (None, ErrorCode.PARSE_ERROR)


def test_references_compiled_on_their_own_before_do_not_hide_how_deep_a_rule_is() -> None:
    evaluators = chain(400, lambda inner: {"!": [inner]}, {"var": "x"})
    rule = {"or": [*({"and": [{"$ref": f"e{number}"}, False]} for number in range(400, -1, -40)), "a"]}
    outcome = compiled(with_rule(rule, **{"$evaluators": evaluators})).flags["f"].evaluate(USER)
    assert outcome.error_code in (None, ErrorCode.PARSE_ERROR)


def test_check_of_a_long_chain_of_references_ends() -> None:
    evaluators = chain(5_000, lambda inner: {"!": [inner]}, {"var": "x"})
    assert check(with_rule({"$ref": "e0"}, **{"$evaluators": evaluators}))


@pytest.mark.parametrize("operator", ["cat", "merge", "+", "and", "=="])
@pytest.mark.parametrize("end", ["x", ["x"], {"var": "x"}], ids=["text", "list", "variable"])
def test_references_that_multiply_neither_hang_nor_fill_the_memory(operator: str, end: Any) -> None:
    evaluators = chain(40, lambda inner: {operator: [inner, inner]}, end)
    began = time.monotonic()
    snapshot = compiled(with_rule({"if": [{"$ref": "e0"}, "a", "a"]}, **{"$evaluators": evaluators}))
    snapshot.flags["f"].evaluate(USER)
    assert time.monotonic() - began < QUICK_S


def test_lists_that_multiply_by_references_are_not_written_out() -> None:
    evaluators = chain(40, lambda inner: [inner, inner], "x")
    began = time.monotonic()
    snapshot = compiled(with_rule({"if": [{"cat": [{"$ref": "e0"}]}, "a", "a"]}, **{"$evaluators": evaluators}))
    snapshot.flags["f"].evaluate(USER)
    assert time.monotonic() - began < QUICK_S


@pytest.mark.parametrize("operator", ["cat", "merge"])
@pytest.mark.parametrize("items", [list(range(64)), {"var": "many"}], ids=["constant", "variable"])
def test_a_reduction_that_doubles_what_it_has_neither_hangs_nor_fills_the_memory(operator: str, items: Any) -> None:
    body = {operator: [{"var": "accumulator"}, {"var": "accumulator"}]}
    began = time.monotonic()
    snapshot = compiled(with_rule({"if": [{"reduce": [items, body, ["x"]]}, "a", "a"]}))
    snapshot.flags["f"].evaluate(USER)
    assert time.monotonic() - began < QUICK_S


@pytest.mark.parametrize("operator", ["cat", "==", "+", "in", "var", "substr", "missing"])
@pytest.mark.parametrize("items", [list(range(64)), {"var": "many"}], ids=["constant", "variable"])
def test_a_list_that_holds_itself_many_times_over_is_not_written_out(operator: str, items: Any) -> None:
    twice = {"reduce": [items, [{"var": "accumulator"}, {"var": "accumulator"}], "x"]}
    began = time.monotonic()
    snapshot = compiled(with_rule({"if": [{operator: [twice, "a"]}, "a", "a"]}))
    snapshot.flags["f"].evaluate(USER)
    assert time.monotonic() - began < QUICK_S


def test_a_long_list_of_texts_is_no_large_rule() -> None:
    texts = [f"user-{number}" for number in range(200_000)]
    outcome = compiled(with_rule({"if": [{"in": [{"var": "targetingKey"}, texts]}, "a"]})).flags["f"].evaluate(USER)
    assert outcome.variation == "a"


@pytest.mark.parametrize("text", ["1" * 500_000 + "x", "1" * 500_000 + ".", " " * 500_000 + "x", "0x" + "f" * 500_000])
def test_a_long_text_is_read_as_a_number_at_once(text: str) -> None:
    began = time.monotonic()
    rule_result({">": [{"var": "t"}, 5]}, UserContext("u", attributes={"t": text}))
    assert time.monotonic() - began < QUICK_S


# --- files --------------------------------------------------------------------------------------------------

BAD_FILES: dict[str, bytes] = {
    "empty": b"",
    "cut short": GOOD[:-9].encode(),
    "not UTF-8": b"\xff\xfe" + GOOD.encode(),
    "no mapping": b"[]",
    "wrong type": b'{"flags": {"f": 3}}',
    "equal keys": b'{"flags": {}, "flags": {}}',
    "nested": b'{"flags": ' + b"[" * 1_000 + b"]" * 1_000 + b"}",
    "number": b'{"flags": {"f": {"state": "ENABLED", "variants": {"v": 1e999}}}}',
}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    (tmp_path / "flags.json").write_text(GOOD)
    with Client(FlagFile(tmp_path / "flags.json")) as client:
        yield client


def replace(path: Path, content: bytes) -> None:
    path.with_name("new").write_bytes(content)
    os.replace(path.with_name("new"), path)


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES)
def test_after_a_bad_file_the_last_good_flags_stay_in_force(client: Client, tmp_path: Path, content: bytes) -> None:
    replace(tmp_path / "flags.json", content)
    until(lambda: client.status.state is State.INTERRUPTED)
    assert client.variation("f", USER) == "good"


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_one_error_in_the_log_with_its_place(
    client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    replace(tmp_path / "flags.json", content)
    until(lambda: client.status.state is State.INTERRUPTED)
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.getMessage().startswith(f"{tmp_path / 'flags.json'}:1:")


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES)
def test_a_client_that_starts_on_a_bad_file_gives_defaults_until_it_is_good(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "flags.json"
    path.write_bytes(content)
    with Client(FlagFile(path)) as client:
        assert client.variation_detail("f", USER, "default").error_code is ErrorCode.PROVIDER_NOT_READY
        replace(path, GOOD.encode())
        until(lambda: client.variation("f", USER) == "good")


def test_a_file_of_50_mb_is_refused_at_once_and_the_last_good_flags_stay(client: Client, tmp_path: Path) -> None:
    flags = b'{"flags": {' + b",".join(b'"f%d": %b' % (number, b" " * 1_000) for number in range(50_000)) + b"}}"
    assert len(flags) > 50_000_000
    replace(tmp_path / "flags.json", flags)
    waited_s = until(lambda: client.status.state is State.INTERRUPTED)
    assert (client.variation("f", USER), waited_s < QUICK_S) == ("good", True)


def test_the_error_of_a_file_that_is_too_large_says_what_to_do(client: Client, tmp_path: Path) -> None:
    os.truncate(tmp_path / "flags.json", 50_000_000)
    until(lambda: client.status.state is State.INTERRUPTED)
    assert "more than max_bytes=16777216; split it, or raise max_bytes" in str(client.status.error)


def test_a_path_that_no_system_takes_is_refused_when_it_is_configured() -> None:
    with pytest.raises(ConfigError):
        FlagFile("flags\0.json")


def test_without_a_parser_for_yaml_the_json_files_are_still_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "a.json").write_text(GOOD)
    (tmp_path / "b.yaml").write_text("flags: {}")
    with Client(FlagFile(tmp_path)) as client:
        assert client.variation("f", USER) == "good"


def test_a_rule_that_cannot_be_compiled_leaves_the_other_flags_of_memory_in_force() -> None:
    client = Client(Static({"flags": {"f": flag(targeting={"frob": 1}), "g": flag({"v": 1}, "v")}}))
    assert client.variation("g", USER) == 1


# --- whatever there may be ----------------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["x", "y", "a", "on", "", "targetingKey", "$flagd.flagKey", "$flagd.timestamp", "many.1", "é", "\ud800"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 100)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | st.text(max_size=5)
)
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4) | WORDS, inner, max_size=4),
    max_leaves=20,
)
ANY_RULE = st.recursive(
    SCALARS | st.sampled_from([{"var": "x"}, {"var": ""}, {"var": "many"}, {"$ref": "shared"}, ["a", 1], ["on", 3]]),
    lambda inner: (
        st.builds(lambda name, raw: {name: raw}, st.sampled_from(OPERATORS), st.lists(inner, max_size=4) | inner)
        | st.lists(inner, max_size=3)
    ),
    max_leaves=15,
)
ANY_FLAG = st.fixed_dictionaries(
    {"state": st.sampled_from(["ENABLED", "DISABLED"]) | ANY_JSON},
    optional={
        "variants": st.dictionaries(WORDS, ANY_JSON, min_size=1, max_size=3) | ANY_JSON,
        "defaultVariant": WORDS | ANY_JSON,
        "targeting": ANY_RULE,
        "metadata": ANY_JSON,
    },
)
ANY_DOCUMENT = ANY_JSON | st.fixed_dictionaries(
    {"flags": st.dictionaries(WORDS, ANY_FLAG, max_size=3) | ANY_JSON},
    optional={
        "$evaluators": st.dictionaries(st.just("shared") | WORDS, ANY_RULE, max_size=2) | ANY_JSON,
        "metadata": ANY_JSON,
    },
)
CONTEXTS = [UserContext(), USER, UserContext("é\ud800", attributes={"x": None, "many": {"1": [True, 1.5, "1e9"]}})]

some = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@some
@given(ANY_DOCUMENT, st.sampled_from(["v2", "v3"]))
def test_no_document_makes_loading_checking_or_evaluating_raise(value: Any, fractional: Any) -> None:
    source = made(json.dumps(value))
    compilation = dialect(fractional).compile([source], (), None)
    assert all(isinstance(error, DocumentError) for error in compilation.errors)
    for compiled_flag in compilation.snapshot.flags.values() if compilation.snapshot else ():
        for context in CONTEXTS:
            compiled_flag.evaluate(context)
    check(source, fractional)


@some
@given(ANY_RULE, ANY_RULE, st.sampled_from(["v2", "v3"]))
def test_no_rule_makes_compiling_or_evaluating_raise(rule: Any, shared: Any, fractional: Any) -> None:
    compiled_rule, _ = dialect(fractional).compile_rule("f", rule, {"shared": shared})
    for context in CONTEXTS:
        compiled_rule.run(context.values)


@some
@given(st.binary(max_size=60) | st.text("{}[]:,\"\\ \n-?&*!|>%#'ab1.<", max_size=40).map(str.encode), st.booleans())
def test_no_text_makes_loading_raise_anything_but_a_document_error(content: bytes, is_yaml: bool) -> None:
    compilation = dialect().compile([made(content, is_yaml=is_yaml)], (), None)
    assert all(isinstance(error, DocumentError) and error.problems[0].line for error in compilation.errors)
