"""Whether an interpreter's code can be rewritten is said in words."""

from __future__ import annotations

from flagmw.usage import probes
from tests.unit.probes_support import IS_OURS


def test_an_interpreter_whose_code_can_be_rewritten_has_no_problem_and_any_other_says_which() -> None:
    expected = None if IS_OURS else "code can be rewritten in CPython 3.11 only"
    assert probes.problem() == expected
