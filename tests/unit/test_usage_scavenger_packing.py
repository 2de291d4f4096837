"""What is sent of a code base: within the collector's limits, and nothing that makes its snapshots fail."""

from __future__ import annotations

from typing import Any

import pytest

from flagmw.usage import UsageConfig
from flagmw.usage.functions import CodeBase, Function
from flagmw.usage.scavenger.messages import Messages, written
from flagmw.usage.scavenger.packing import (
    HASH_BYTES,
    LEAST_MILLIS,
    Parts,
    Sender,
    entry_bytes,
    entry_of,
    is_known_to_snapshots,
    millis,
    pack,
    part_fingerprint,
)
from tests.e2e.collecting import config_for, function, process


def base(*functions: Function) -> CodeBase:
    return CodeBase(functions=functions, fingerprint="f")


# --- functions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [
        function("f"),
        function("<lambda>"),
        function("f", parameters=""),
        function("größe", "app.größe"),
        function("f", "app.copy (2)"),
        function("f", "a" * 998),
    ],
)
def test_a_function_that_snapshots_can_show_is_sent(made: Function) -> None:
    assert is_known_to_snapshots(made)


@pytest.mark.parametrize(
    "made",
    [
        function("f", "(old)"),
        function("(", "app"),
        function("f", "app\udc80"),
        function("f", "a" * 1_000),
        function("f", parameters="a" * 65_535),
        function("f", parameters="é" * 32_768),
    ],
)
def test_a_function_that_makes_snapshots_fail_is_not_sent(made: Function) -> None:
    assert pack(base(made, function("g"))).functions == (function("g"),)


def test_what_is_not_sent_is_counted() -> None:
    packed = pack(base(function("f", "app\udc80"), function("g", "a" * 300), function("h")))
    assert (packed.left_out, packed.cut) == (1, 1)


def test_functions_that_share_a_signature_are_sent_once() -> None:
    assert len(pack(base(function("f"), function("f"), function("g"))).functions) == 2


def test_equal_code_bases_are_sent_equally_in_whatever_order_they_were_read() -> None:
    functions = [function(name) for name in "abcdef"]
    assert pack(base(*functions)) == pack(base(*reversed(functions)))


def test_a_long_class_is_cut_and_its_signature_is_not() -> None:
    entry = entry_of(function("f", "a" * 300), is_lean=False)
    assert (len(entry["declaring_type"]), entry["signature"]) == (256, "a" * 300 + ".f(request)")


def test_a_lean_entry_has_only_what_is_stored() -> None:
    whole, lean = entry_of(function("f"), is_lean=False), entry_of(function("f"), is_lean=True)
    assert set(whole) - set(lean) == {"package_name", "parameter_types"}


@pytest.mark.parametrize("is_lean", [True, False])
@pytest.mark.parametrize("name", ["f", "x" * 200, "größe", "関数" * 50])
def test_an_entry_has_no_more_bytes_than_is_reckoned(name: str, is_lean: bool) -> None:
    made = function(name, f"shop.{name}", name)
    message = Messages().new("CodeBasePublication", entry=[entry_of(made, is_lean=is_lean)])
    assert len(written(message)) <= entry_bytes(made, is_lean=is_lean)


def test_a_hash_has_no_more_bytes_than_is_reckoned() -> None:
    message = Messages().new("InvocationDataPublication", entry=[{"hash": function("f").signature_hash}])
    assert len(written(message)) <= HASH_BYTES


# --- parts --------------------------------------------------------------------------------------------------


def all_of(parts: Parts, max_bytes: int) -> list[tuple[int, int]]:
    found = []
    while not parts.is_over:
        first, last = parts.next(max_bytes)
        found.append((first, last))
        parts.sent(last)
    return found


@pytest.mark.parametrize(
    ("sizes", "max_bytes", "expected"),
    [
        ([], 10, [(0, 0)]),
        ([5], 10, [(0, 1)]),
        ([5, 5], 10, [(0, 2)]),
        ([5, 5, 1], 10, [(0, 2), (2, 3)]),
        ([50, 5, 50], 10, [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_parts_hold_what_goes_into_a_message_and_one_entry_at_least(
    sizes: list[int], max_bytes: int, expected: list[tuple[int, int]]
) -> None:
    assert all_of(Parts(sizes), max_bytes) == expected


def test_each_part_has_a_fingerprint_of_its_own() -> None:
    made = [part_fingerprint("f", 0, 1), part_fingerprint("f", 1, 2), part_fingerprint("g", 0, 1), "f"]
    assert len(set(made)) == 4


# --- who sends ----------------------------------------------------------------------------------------------


def common(config: UsageConfig, **identity: Any) -> dict[str, Any]:
    return Sender(config, process(**identity)).common("f", 1_700_000_000.5)


def test_the_sender_is_who_was_configured() -> None:
    assert common(config_for("http://h", app_version="1.2")) == {
        "api_key": "5ecret-key-of-a-workspace",
        "app_name": "shop",
        "app_version": "1.2",
        "code_base_fingerprint": "f",
        "environment": "test",
        "hostname": "host-1",
        "jvm_started_at_millis": 1_700_000_000_000,
        "jvm_uuid": "uuid-1",
        "published_at_millis": 1_700_000_000_500,
    }


def test_names_are_cut_to_the_collectors_columns() -> None:
    config = config_for("http://h", app_version="v" * 81, app_name="a" * 256, environment="e" * 255)
    sender = Sender(config, process())
    assert sender.cut == ("app_name", "app_version")
    assert len(sender.common("f", 0.0)["app_version"]) == 80


def test_a_host_without_a_name_has_one() -> None:
    assert common(config_for("http://h"), hostname="")["hostname"] == "unknown"


def test_a_name_that_is_no_text_can_be_sent() -> None:
    assert common(config_for("http://h"), hostname="h\udc80st")["hostname"] == "h?st"


def test_a_host_without_a_clock_is_not_refused_by_the_collector() -> None:
    assert millis(5.0) == LEAST_MILLIS
    assert common(config_for("http://h"), started_at=0.0)["jvm_started_at_millis"] == LEAST_MILLIS
