"""A pytest plugin: the fixture `flag_overrides`. It imports flagmw only when the fixture is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

FlagOverrides = Callable[..., None]


@pytest.fixture
def flag_overrides() -> Iterator[FlagOverrides]:
    """Give a function that overrides flags until the test ends.

    It takes what `flagmw.testing.override_flags` takes: `flag_overrides(new_checkout=True)` or
    `flag_overrides({"new-checkout": True})`. A later call wins over an earlier one.
    """
    from flagmw.testing import override_flags  # noqa: PLC0415  # loaded in every pytest run of every user

    with ExitStack() as stack:

        def override(flags: Mapping[str, Any] | None = None, /, **named: Any) -> None:
            stack.enter_context(override_flags(flags, **named))

        yield override
