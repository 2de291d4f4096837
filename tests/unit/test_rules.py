"""Rules where the reference evaluators differ: what JsonLogic's and flagd's documentation say, which no vector shows."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any

import pytest

from flagmw.context import UserContext
from flagmw.core.bucketing import bucket_bounds
from flagmw.core.evaluating import as_kind
from flagmw.evaluation import ErrorCode, Reason
from tests.unit.support import compiled, document, flag, rule_result

ABSENT: Any = {"var": "absent"}
CONTEXT = UserContext(
    "user-1",
    attributes={
        "text": "abc",
        "five": 5,
        "none": None,
        "empty": "",
        "yes": True,
        "one": [1],
        "list": [1, 2],
        "map": {"a": 1},
        "nothing": [],
        "deep": {"list": [{"a.b": 1, "c": 7}]},
    },
)


def var(name: str) -> dict[str, str]:
    return {"var": name}


@pytest.mark.parametrize(
    ("rule", "result"),
    [
        ({"==": [var("text"), 1]}, False),
        ({"!=": [var("text"), 1]}, True),
        ({">": [var("text"), 5]}, False),
        ({"==": [True, "true"]}, False),
        ({"==": [True, "1"]}, True),
        ({"==": [[1], 1]}, True),
        ({"==": [var("one"), "1"]}, True),
        ({"==": [[1], [1]]}, False),
        ({"===": [True, 1]}, False),
        ({"!==": [False, 0]}, True),
        ({"===": [[1], [1]]}, False),
        ({"===": [1, 1.0]}, True),
        ({"in": [True, [1]]}, False),
        ({"in": [1, [1.0]]}, True),
        ({"==": ["", 0]}, True),
        ({"==": ["0x10", 16]}, True),
        ({"==": [" 12 ", 12]}, True),
        ({"==": ["1_000", 1000]}, False),
        ({"==": [None, 0]}, False),
        ({"==": [None, False]}, False),
        ({"==": [ABSENT, None]}, True),
        ({"<": [None, "a"]}, False),
        ({"<": [None, "5"]}, True),
        ({"<": ["10", "9"]}, True),
        ({"<": ["10", 9]}, False),
        ({"<": ["\ufffd", "\U0001f600"]}, False),  # UTF-16: the surrogate comes before U+FFFD
        ({"<": [1, 2, 3]}, True),
        ({">=": [3, 3, 1]}, True),
        ({">": [3, 3, 1]}, False),
        ({"if": [{}, "yes", "no"]}, "yes"),
        ({"if": [[], "yes", "no"]}, "no"),
        ({"if": ["0", "yes", "no"]}, "yes"),
        ({"if": [{"+": ["x"]}, "yes", "no"]}, "no"),
        ({"if": []}, None),
        ({"if": ["only"]}, "only"),
        ({"if": [False, "a", True, "b"]}, "b"),
        ({"if": [False, "a"]}, None),
        ({"and": []}, None),
        ({"and": [1, "", 3]}, ""),
        ({"and": [var("map"), "last"]}, "last"),
        ({"or": [0, var("nothing"), "last"]}, "last"),
        ({"or": [0, ""]}, ""),
        ({"!": [var("nothing")]}, True),
        ({"!": var("list")}, False),
        ({"!!": [[0]]}, True),
        ({"cat": ["a", None, "b"]}, "ab"),
        ({"cat": [True, 1.0, 0.5, " "]}, "true10.5 "),
        ({"cat": [var("one"), var("map")]}, "1[object Object]"),
        ({"+": [None, True]}, 1),
        ({"+": []}, 0),
        ({"*": []}, 1),
        ({"-": [5]}, -5),
        ({"-": [5, None]}, 5),
        ({"%": [-7, 3]}, -1),
        ({"/": [1, 0]}, math.inf),
        ({"/": [-1, 0]}, -math.inf),
        ({"min": [None, 3]}, 0),
        ({"max": ["10", 9]}, 10),
        ({"substr": [None, 1]}, "ull"),
        ({"substr": [12345, 1, 2]}, "23"),
        ({"substr": ["jsonlogic", -5, 2]}, "lo"),
        ({"substr": ["jsonlogic", -50, 2]}, "js"),
        ({"substr": ["jsonlogic", 4, -2]}, "log"),
        ({"substr": ["jsonlogic", 50]}, ""),
        ({"all": [ABSENT, True]}, False),
        ({"all": [[], True]}, False),
        ({"none": [ABSENT, True]}, True),
        ({"some": [var("list"), {"==": [var(""), 2]}]}, True),
        ({"in": ["a", 5]}, False),
        ({"in": ["a", var("map")]}, False),
        ({"in": [1, "x1y"]}, True),
        ({"missing": ["none", "empty", "five", "text"]}, ["none", "empty"]),
        ({"missing": [["none", "five"]]}, ["none"]),
        ({"missing_some": [1, ["none", "five"]]}, []),
        ({"missing_some": [2, ["none", "five"]]}, ["none"]),
        ({"var": "text.length"}, None),
        ({"var": "text.0"}, None),
        ({"var": "deep.list.0.c"}, 7),
        ({"var": "deep.list.-1.c"}, None),
        ({"var": ["none", "fallback"]}, "fallback"),
        ({"var": [{"cat": ["fi", "ve"]}]}, 5),
        ({"var": 1}, None),
        ({"var": "$flagd.flagKey"}, "f"),
        ({"var": "$flagd.timestamp"}, 1_700_000_000),
        ({"var": "targetingKey"}, "user-1"),
        ({"map": [var("list"), {"*": [var(""), 2]}]}, [2, 4]),
        ({"map": [var("list"), var("$flagd.flagKey")]}, [None, None]),
        ({"filter": [ABSENT, True]}, []),
        ({"reduce": [var("list"), {"+": [var("current"), var("accumulator")]}, 10]}, 13),
        ({"reduce": [ABSENT, var("current"), "start"]}, "start"),
        ({"merge": [[1], 2, None, [[3]]]}, [1, 2, None, [3]]),
        ({"log": "x"}, "x"),
        ({"starts_with": ["abc", ""]}, True),
        ({"starts_with": ["abc", 1]}, None),
        ({"ends_with": ["abc"]}, None),
        ({"ends_with": ["a", "a", "a"]}, None),
        ({"sem_ver": ["v1.2", "=", "1.2.0"]}, True),
        ({"sem_ver": [1.2, "=", "1.2.0"]}, True),
        ({"sem_ver": ["1-alpha", "=", "1.0.0"]}, None),
        ({"sem_ver": ["1.2+b", "=", "1.2.0"]}, None),
        ({"sem_ver": ["vv1.0.0", "=", "1.0.0"]}, None),
        ({"sem_ver": [" 1.0.0", "=", "1.0.0"]}, None),
        ({"sem_ver": ["90071992547409930.0.0", ">", "90071992547409929.0.0"]}, True),
        ({"sem_ver": ["1.0.0-alpha.1", "<", "1.0.0-alpha.beta"]}, True),
        ({"sem_ver": ["1.0.0-rc.1", "<", "1.0.0"]}, True),
        ({"sem_ver": ["1.0.0+a", "=", "1.0.0+b"]}, True),
        ({"sem_ver": ["0.1.0", "^", "0.9.0"]}, True),
        ({"sem_ver": ["1.2.9", "~", "1.2.0"]}, True),
        ({"sem_ver": ["1.0.0", "==", "1.0.0"]}, None),
        ({"sem_ver": ["1.0.0", ABSENT, "1.0.0"]}, None),
        ({"sem_ver": [True, "=", "1.0.0"]}, None),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}),
        ({}, {}),
    ],
)
def test_a_rule_gives_what_the_documentation_says(rule: Any, result: Any) -> None:
    found = rule_result(rule, CONTEXT)
    assert found == result
    assert isinstance(found, bool) == isinstance(result, bool)


@pytest.mark.parametrize("rule", [{"%": [1, 0]}, {"/": [0, 0]}, {"+": ["x"]}, {"max": ["x", 1]}, {"*": [math.inf, 0]}])
def test_arithmetic_without_a_result_is_no_number(rule: Any) -> None:
    assert math.isnan(rule_result(rule))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, "1"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (1e-7, "1e-7"),
        (0.000001, "0.000001"),
        (1.5e300, "1.5e+300"),
        (123456.789, "123456.789"),
        (5e-324, "5e-324"),
        (10**25, "1e+25"),
    ],
)
def test_numbers_are_written_as_ecmascript_writes_them(number: float, text: str) -> None:
    assert rule_result({"cat": [number]}) == text


ROWS = [["a", 50], ["b", 50]]


@pytest.mark.parametrize(
    "rule",
    [
        {"fractional": []},
        {"fractional": ["seed"]},
        {"fractional": [None, *ROWS]},
        {"fractional": ["seed", ["a", None], ["b", 1]]},
        {"fractional": ["seed", ["a", 1, 1]]},
        {"fractional": ["seed", ["a", 0.5], ["b", 1]]},
        {"fractional": ["seed", ["a", True]]},
        {"fractional": ["seed", ["a", "1"]]},
        {"fractional": ["seed", [["a"], 1]]},
        {"fractional": ["seed", ["a", 0], ["b", -5]]},
        {"fractional": ["seed", ["a", 2**31]]},
        {"fractional": ["seed", "a", "b"]},
        {"map": [["x"], {"fractional": ROWS}]},
    ],
)
@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_malformed_fractional_decides_nothing(rule: Any, version: Any) -> None:
    assert rule_result(rule, fractional=version) in (None, [None])


@pytest.mark.parametrize("first", [5, True, {"a": 1, "b": 2}])
def test_only_v3_hashes_values_that_are_no_text(first: Any) -> None:
    assert rule_result({"fractional": [first, *ROWS]}, fractional="v2") is None
    assert rule_result({"fractional": [first, *ROWS]}, fractional="v3") in ("a", "b")


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_the_empty_text_is_a_value_to_hash_and_no_targeting_key(version: Any) -> None:
    assert rule_result({"fractional": ["", *ROWS]}, fractional=version) in ("a", "b")
    assert rule_result({"fractional": ROWS}, UserContext(""), fractional=version) is None


def test_v2_hashes_text_as_utf8() -> None:
    # MurmurHash3 of the three UTF-8 bytes of 語 falls into the upper half of the scale, by hashes.json's table.
    constant = rule_result({"fractional": ["日本", *ROWS]})
    computed = rule_result({"fractional": [{"cat": [var("a"), "本"]}, *ROWS]}, UserContext(attributes={"a": "日"}))
    assert constant == computed == "b"  # 3302619458 * 100 >> 32 is 76


def test_weights_may_be_computed_and_are_relative() -> None:
    half = {"/": [100, 2]}
    fixed = [rule_result({"fractional": [f"u{i}", ["a", 50], ["b", 50]]}) for i in range(50)]
    computed = [rule_result({"fractional": [f"u{i}", ["a", half], ["b", half]]}) for i in range(50)]
    scaled = [rule_result({"fractional": [f"u{i}", ["a", 1], ["b"]]}) for i in range(50)]
    assert fixed == computed == scaled
    assert set(fixed) == {"a", "b"}


@pytest.mark.parametrize("weights", [[1, 2], [3, 4, 0, 6], [50, 50], [1], [0, 7], [2**30, 2**30 - 1, 1]])
def test_buckets_begin_and_end_at_the_very_hash(weights: list[int]) -> None:
    """`floor(hash * total / 2**32)` below the running total: at each bound, one hash before it, and at both ends."""
    bounds, total = bucket_bounds(weights), sum(weights)
    for place in sorted({0, 2**32 - 1, *bounds, *(bound - 1 for bound in bounds)} - {-1, 2**32}):
        slot = place * total // 2**32
        expected = next(index for index in range(len(weights)) if sum(weights[: index + 1]) > slot)
        assert bisect_right(bounds, place) == expected


def test_a_rollout_gives_each_bucket_its_share() -> None:
    rule = {"fractional": [["a", 25], ["b", 75]]}
    served = [rule_result(rule, UserContext(f"user-{i}")) for i in range(4000)]
    assert 0.22 < served.count("a") / 4000 < 0.28


def test_a_lone_surrogate_in_what_is_hashed_decides_nothing() -> None:
    assert rule_result({"fractional": [var("bad"), *ROWS]}, UserContext(attributes={"bad": "\ud800"})) is None
    assert rule_result({"fractional": ROWS}, UserContext("\ud800")) is None


@pytest.mark.parametrize(
    ("targeting", "variation"),
    [(1.0, "1"), ({"/": [10, 10]}, "1"), ("", ""), (True, "true"), (0.5, "0.5"), ("missing", None), (["1"], None)],
)
def test_what_a_rule_results_in_names_a_variation(targeting: Any, variation: str | None) -> None:
    variants = {"1": "one", "": "empty", "true": "yes", "0.5": "half"}
    outcome = (
        compiled(document({"f": flag(variants, targeting={"if": [True, targeting]})})).flags["f"].evaluate(CONTEXT)
    )
    assert outcome.variation == variation
    assert outcome.error_code == (ErrorCode.GENERAL if variation is None else None)


@pytest.mark.parametrize(
    ("value", "kind", "read"),
    [
        (True, "number", None),
        (True, "integer", None),
        (0.5, "integer", None),
        (10.0, "integer", 10),
        (10, "number", 10.0),
        (None, "json", None),
        (None, "string", None),
        ([1], "json", [1]),
        (0, "integer", 0),
        ("", "string", ""),
        (10**400, "number", None),
    ],
)
def test_a_value_is_read_as_a_type_only_without_loss(value: Any, kind: Any, read: Any) -> None:
    outcome = compiled(document({"f": flag({"v": value}, "v")})).flags["f"].evaluate(CONTEXT)
    typed = as_kind(outcome, kind)
    if read is None:
        assert typed.error_code is ErrorCode.TYPE_MISMATCH
        assert typed.variation is None
    else:
        assert (typed.value, type(typed.value)) == (read, type(read))


@pytest.mark.parametrize(
    ("flag_definition", "reason"),
    [
        (flag(default="on"), Reason.STATIC),
        (flag(), Reason.DEFAULT),
        (flag(default=""), Reason.DEFAULT),
        (flag(default="on", targeting={}), Reason.STATIC),
        (flag(default="on", targeting={"var": "absent"}), Reason.DEFAULT),
        (flag(default="on", targeting={"if": [True, "off"]}), Reason.TARGETING_MATCH),
        ({**flag(default="on", targeting={"nonsense": []}), "state": "DISABLED"}, Reason.DISABLED),
    ],
)
def test_the_reason_says_how_the_value_came_about(flag_definition: Any, reason: Reason) -> None:
    assert compiled(document({"f": flag_definition})).flags["f"].evaluate(CONTEXT).reason is reason


@pytest.mark.parametrize(
    ("targeting", "evaluators", "message"),
    [
        ({"if": [True, "on", {"nonsense": [1]}]}, {}, "nonsense"),
        ({"$ref": "absent"}, {}, "absent"),
        ({"$ref": "a"}, {"a": {"!": {"$ref": "b"}}, "b": {"$ref": "a"}}, "circle"),
        ({"$ref": 5}, {}, "$ref"),
    ],
)
def test_a_rule_with_a_defect_fails_its_own_flag_only(targeting: Any, evaluators: Any, message: str) -> None:
    flags = {"broken": flag(default="on", targeting=targeting), "well": flag(default="on")}
    snapshot = compiled(document(flags, evaluators=evaluators))
    broken = snapshot.flags["broken"].evaluate(CONTEXT)
    assert broken.error_code is ErrorCode.PARSE_ERROR
    assert message in (broken.error_message or "")
    assert snapshot.flags["well"].evaluate(CONTEXT).value is True


def test_an_evaluator_may_refer_to_another() -> None:
    evaluators = {
        "german": {"==": [var("country"), "DE"]},
        "known": {"and": [{"$ref": "german"}, {"!!": var("email")}]},
    }
    rule = {"if": [{"$ref": "known"}, "on", "off"]}
    snapshot = compiled(document({"f": flag(targeting=rule)}, evaluators=evaluators))
    assert snapshot.flags["f"].evaluate(UserContext("u", country="DE", email="a@b")).value is True
    assert snapshot.flags["f"].evaluate(UserContext("u", country="FR", email="a@b")).value is False


def test_evaluators_that_multiply_are_refused_for_their_flag() -> None:
    evaluators: dict[str, Any] = {"e0": {"+": [var("five"), 1]}}
    evaluators |= {f"e{i}": {"+": [{"$ref": f"e{i - 1}"}] * 10} for i in range(1, 12)}
    snapshot = compiled(document({"f": flag(targeting={"$ref": "e11"})}, evaluators=evaluators))
    assert snapshot.flags["f"].evaluate(CONTEXT).error_code is ErrorCode.PARSE_ERROR
