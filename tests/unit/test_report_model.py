"""The report's model: the tree with its sums, lines that count once, and what a selection chooses."""

from __future__ import annotations

import pytest

from flagmw.report.ages import Age
from flagmw.report.model import Selection, own_lines
from flagmw.report.tree import Node, NodeKind, Tally
from tests.unit.report_support import NOW, function, report, stale_flag, stored


def node_of(tree: Node, dotted: str) -> Node:
    (found,) = [node for node in tree.walk() if node.dotted == dotted]
    return found


# --- the tree ---------------------------------------------------------------------------------------------------


def test_functions_hang_below_packages_modules_and_classes() -> None:
    tree = report(stored("shop.basket.views:Basket.Line.total")).tree
    assert [(node.dotted, node.kind) for node in tree.walk()] == [
        ("", NodeKind.ROOT),
        ("shop", NodeKind.PACKAGE),
        ("shop.basket", NodeKind.PACKAGE),
        ("shop.basket.views", NodeKind.MODULE),
        ("shop.basket.views.Basket", NodeKind.CLASS),
        ("shop.basket.views.Basket.Line", NodeKind.CLASS),
    ]


def test_a_module_and_a_package_of_one_name_are_two_nodes() -> None:
    tree = report(stored("app.prices:f"), stored("app.prices.taxes:g")).tree
    kinds = [node.kind for node in tree.walk() if node.dotted == "app.prices"]
    assert kinds == [NodeKind.PACKAGE, NodeKind.MODULE]


def test_a_node_sums_up_what_is_below_it_by_age() -> None:
    made = report(
        stored("app.a:f", 1, last_line=10),
        stored("app.a:K.g", 20, last_line=24, ago_d=40),
        stored("app.b:h", 1, last_line=2, ago_d=1),
    )
    assert node_of(made.tree, "app").by_age == {
        Age.NEVER: Tally(functions=1, lines=10),
        Age.OLD: Tally(functions=1, lines=5),
        Age.AGING: Tally(),
        Age.RECENT: Tally(functions=1, lines=2),
    }


def test_a_node_has_the_last_call_of_what_is_below_it() -> None:
    made = report(stored("app.a:f", ago_d=9), stored("app.b:g", ago_d=3), stored("app.c:h"))
    assert node_of(made.tree, "app").last_invoked_at == NOW - 3 * 86_400
    assert node_of(made.tree, "app.c").last_invoked_at is None


def test_a_function_of_two_environments_is_one_with_its_latest_call() -> None:
    made = report(stored(ago_d=9, environment="prod"), stored(ago_d=2, environment="dev"), stored(environment="test"))
    (use,) = made.functions
    assert use.environments == ("dev", "prod", "test")
    assert use.last_invoked_at == NOW - 2 * 86_400


def test_functions_of_one_signature_at_two_places_are_two() -> None:
    assert len(report(stored(line=1), stored(line=9)).functions) == 2


# --- lines --------------------------------------------------------------------------------------------------------


def test_lines_of_an_inner_function_count_for_it_alone() -> None:
    outer, inner, innermost = (
        function(line=1, last_line=10),
        function(line=3, last_line=8),
        function(line=4, last_line=5),
    )
    assert own_lines([inner, outer, innermost]) == [4, 4, 2]


def test_neighbours_take_no_lines_from_each_other() -> None:
    assert own_lines([function(line=1, last_line=3), function(line=4, last_line=9)]) == [3, 6]


def test_a_file_takes_no_lines_from_another() -> None:
    assert own_lines([function("a:f", 1, 20), function("b:g", 5, 6)]) == [20, 2]


def test_a_lambda_that_fills_its_function_leaves_it_one_line() -> None:
    assert own_lines([function(line=1, last_line=1), function("app.views:<lambda>", 1, 1)]) == [1, 1]


# --- selections ---------------------------------------------------------------------------------------------------


FUNCTIONS = (
    stored("shop.basket:Basket.add", 1, ago_d=1),
    stored("shop.basket:Basket.merge", 9, ago_d=40),
    stored("shop.basketry:weave", 1, ago_d=35, known_d=50),
    stored("shop.search:find", 1),
    stored("shop.search:suggest", 9, known_d=3),
)


def chosen(selection: Selection) -> list[str]:
    return [use.function.name for use in report(*FUNCTIONS, selection=selection).functions]


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        (Selection(), ["add", "merge", "weave", "find", "suggest"]),
        (Selection(never=True), ["find", "suggest"]),
        (Selection(package="shop.basket"), ["add", "merge"]),
        (Selection(package="shop.basket.Basket"), ["add", "merge"]),
        (Selection(package="shop"), ["add", "merge", "weave", "find", "suggest"]),
        (Selection(text="SEARCH"), ["find", "suggest"]),
        (Selection(text="basket.add"), ["add"]),
        (Selection(never=True, text="find"), ["find"]),
    ],
)
def test_a_selection_chooses_by_age_package_and_text(selection: Selection, names: list[str]) -> None:
    assert chosen(selection) == names


def test_what_is_known_for_less_than_the_age_is_not_called_unused_for_it() -> None:
    assert chosen(Selection(unused_for_s=30 * 86_400)) == ["merge", "weave", "find"]


def test_a_selection_leaves_the_total_as_it_is() -> None:
    made = report(*FUNCTIONS, selection=Selection(never=True))
    assert (made.total, made.tree.total.functions) == (5, 2)


# --- flags --------------------------------------------------------------------------------------------------------


def test_stale_flags_come_first_and_live_ones_last() -> None:
    from dataclasses import replace

    flag = stale_flag("b")
    flags = [replace(flag, flag_key=key, verdict=verdict) for key, verdict in [("a", "live"), ("z", "unknown")]]
    made = report(flags=[*flags, flag, replace(flag, flag_key="a")])
    assert [one.flag_key for one in made.flags] == ["a", "b", "z", "a"]
