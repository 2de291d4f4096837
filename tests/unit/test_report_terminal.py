"""The report in a terminal, and as lines for grep."""

from __future__ import annotations

from flagmw.report import terminal
from tests.unit.report_support import report, stale_flag, stored, text_of


def test_the_tree_shows_names_numbers_and_the_last_call() -> None:
    lines = text_of(
        terminal.tree_lines(report(stored("app.a:f", ago_d=3), stored("app.a:g", 9), stored("app.b:h")))
    ).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["└─", "app", "3", "67%", "15", "3", "d", "ago"],
        ["├─", "a", "2", "50%", "10", "3", "d", "ago"],
        ["└─", "b", "1", "100%", "5", "never"],
    ]


def test_columns_of_the_tree_stand_below_each_other() -> None:
    lines = text_of(terminal.tree_lines(report(stored("app.a:f"), stored("app.long_name_of_a_module:g")))).splitlines()
    assert len({line.index("100%") for line in lines if "100%" in line}) == 1


def test_a_depth_of_one_shows_the_uppermost_level_only() -> None:
    lines = list(terminal.tree_lines(report(stored("app.a:f"), stored("lib.b:g"), stored("lib.c:g")), 1))
    assert [text_of([line]).split()[1] for line in lines[1:]] == ["app.a", "lib"]


def test_without_a_depth_each_function_has_a_line_with_its_place() -> None:
    text = text_of(terminal.tree_lines(report(stored("app.a:K.f", 7, parameters="self, x")), None))
    assert "f(self, x)" in text
    assert text.endswith("never  app/a.py:7")


def test_a_chain_of_packages_is_one_line() -> None:
    lines = text_of(terminal.tree_lines(report(stored("a.b.c:f"), stored("a.b.d:g")))).splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["a.b", "c", "d"]


def test_each_line_for_grep_begins_with_the_functions_place() -> None:
    text = text_of(terminal.plain_lines(report(stored("app.a:K.f", 7, parameters="self"))))
    assert text == "app/a.py:7: never: app.a.K.f(self): never"


def test_a_stale_flag_is_shown_with_its_dead_branch_and_functions() -> None:
    text = text_of(terminal.flag_lines(report(flags=[stale_flag()])))
    assert "new-basket gives true to everybody for 40 d; 5 lines go with it" in text
    assert "  >     7  if flags.is_enabled('new-basket'):" in text
    assert "  -    10      total = old()" in text
    assert "app/views.py:20: app.views.old()  3 lines, last call: never" in text


def test_lines_for_grep_name_site_branch_and_functions_of_a_stale_flag() -> None:
    assert text_of(terminal.plain_lines(report(flags=[stale_flag()]))).splitlines() == [
        "app/views.py:7: stale: new-basket: gives true to everybody for 40 d; 5 lines to delete",
        "app/views.py:9: dead branch of new-basket: lines 9 to 10: the flag is on",
        "app/views.py:20: dies with new-basket: app.views.old(): 3 lines",
    ]


def test_the_summary_says_how_long_was_watched_and_counts_by_age() -> None:
    text = text_of(terminal.summary_lines(report(stored("app.a:f", ago_d=40), stored("app.a:g", 9))))
    assert text.splitlines() == [
        "shop (prod), watched for 61 d, 2 processes",
        "2 functions, 10 lines: 1 never ran, 1 over 30 d ago, 0 over 7 d ago, 0 recently",
    ]
