"""The JsonLogic operators, each compiled to a closure.

Every one has the shape of `jsonlogic.Operator`. Missing arguments count as null, extra ones are compiled (their
defects are reported) and ignored.

Source: the flagd rule reference, "Operators"; the vectors' categories follow the modules here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from flagmw.core.coercion import less, less_or_equal, loose_equal, strict_equal, truthy
from flagmw.core.jsonlogic import Operator, compile_var
from flagmw.core.operators.arithmetic import binary, divide, extreme, fold, minus, remainder
from flagmw.core.operators.comparing import equality, order
from flagmw.core.operators.conditions import and_, if_, negation, or_
from flagmw.core.operators.lists import log, missing, missing_some, reduce, with_body
from flagmw.core.operators.texts import cat, in_, merge, substr

JSONLOGIC: Mapping[str, Operator] = MappingProxyType(
    {
        "var": compile_var,
        "missing": missing,
        "missing_some": missing_some,
        "if": if_,
        "?:": if_,
        "and": and_,
        "or": or_,
        "!": negation(twice=False),
        "!!": negation(twice=True),
        "==": equality(loose_equal, negated=False),
        "!=": equality(loose_equal, negated=True),
        "===": equality(strict_equal, negated=False),
        "!==": equality(strict_equal, negated=True),
        "<": order(less, swapped=False),
        "<=": order(less_or_equal, swapped=False),
        ">": order(less, swapped=True),
        ">=": order(less_or_equal, swapped=True),
        "+": fold(lambda a, b: a + b, 0.0),
        "*": fold(lambda a, b: a * b, 1.0),
        "-": minus,
        "/": binary(divide),
        "%": binary(remainder),
        "min": extreme(min, math.inf),
        "max": extreme(max, -math.inf),
        "cat": cat,
        "substr": substr,
        "in": in_,
        "merge": merge,
        "map": with_body(lambda values, each: [each(value) for value in values], list),
        "filter": with_body(lambda values, each: [value for value in values if truthy(each(value))], list),
        "all": with_body(
            lambda values, each: len(values) > 0 and all(truthy(each(value)) for value in values), lambda: False
        ),
        "some": with_body(lambda values, each: any(truthy(each(value)) for value in values), lambda: False),
        "none": with_body(lambda values, each: not any(truthy(each(value)) for value in values), lambda: True),
        "reduce": reduce,
        "log": log,
    }
)
