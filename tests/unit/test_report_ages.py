"""Ages of last calls: how they are read, shown and put into classes."""

from __future__ import annotations

import pytest

from flagmw.errors import ConfigError
from flagmw.report.ages import DAY_S, Age, AgeLimits, read_age, shown_age

NOW = 1_000_000_000.0


@pytest.mark.parametrize(
    ("ago_s", "age"),
    [
        (None, Age.NEVER),
        (31 * DAY_S, Age.OLD),
        (30 * DAY_S, Age.AGING),
        (8 * DAY_S, Age.AGING),
        (7 * DAY_S, Age.RECENT),
        (0.0, Age.RECENT),
        (-60.0, Age.RECENT),
    ],
)
def test_a_last_call_belongs_to_the_class_whose_limit_it_has_passed(ago_s: float | None, age: Age) -> None:
    assert AgeLimits().age_of(None if ago_s is None else NOW - ago_s, NOW) is age


@pytest.mark.parametrize(("old_s", "aging_s"), [(7.0, 7.0), (7.0, 30.0), (30.0, 0.0), (30.0, -1.0)])
def test_limits_that_do_not_rise_are_refused(old_s: float, aging_s: float) -> None:
    with pytest.raises(ConfigError, match="limits of ages"):
        AgeLimits(old_s=old_s, aging_s=aging_s)


@pytest.mark.parametrize(
    ("text", "age_s"), [("30d", 30 * DAY_S), ("12h", 43_200.0), ("2w", 14 * DAY_S), ("1.5m", 90.0), ("9s", 9.0)]
)
def test_an_age_is_a_number_and_a_unit(text: str, age_s: float) -> None:
    assert read_age(text) == age_s


def test_the_word_never_is_an_age_without_an_end() -> None:
    assert read_age("never") is None


@pytest.mark.parametrize("text", ["", "d", "30", "30 days", "-1d", "0d", "nand", "infd", "1e999d", "Never"])
def test_what_is_no_age_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="such as 30d"):
        read_age(text)


@pytest.mark.parametrize(
    ("age_s", "shown"), [(40 * DAY_S, "40 d"), (7_300.0, "2 h"), (61.0, "1 min"), (59.9, "59 s"), (-3.0, "0 s")]
)
def test_an_age_is_shown_in_its_largest_unit(age_s: float, shown: str) -> None:
    assert shown_age(age_s) == shown
