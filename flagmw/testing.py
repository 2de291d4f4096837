"""For the tests of applications: `override_flags`, and the providers and sinks that hold everything in memory."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeVar

from flagmw.core import overrides
from flagmw.core.snapshot import Outcome, decided
from flagmw.errors import ConfigError
from flagmw.evaluation import Reason
from flagmw.events.memory import MemorySink
from flagmw.providers import Static

__all__ = ["MemorySink", "Static", "override_flags"]

OVERRIDE = "override"
"""The variation, and the provider's reason, of a flag that a test overrides."""

T = TypeVar("T")


class override_flags:  # noqa: N801  # reads like a function, as Django's override_settings does
    """Give flags fixed values, for all clients, requests, threads and tasks of this process.

    As a context manager, or as a decorator of a function, a coroutine function or a test class. Overrides nest,
    the innermost wins, and each ends with its own block.

    Args:
        flags: values by flag key, for keys that are no Python names.
        **named: values by flag key; `new_checkout=True` is for the keys `new_checkout` and `new-checkout`.

    Raises:
        ConfigError: `flags` is not a mapping.
    """

    def __init__(self, flags: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        if flags is not None and not isinstance(flags, Mapping):
            raise ConfigError(f"override_flags takes a mapping or keyword arguments, got {type(flags).__name__}")
        values = dict(named)
        values.update({key.replace("_", "-"): value for key, value in named.items()})
        values.update(flags or {})
        self._outcomes: dict[str, Outcome] = {
            key: decided(value, OVERRIDE, Reason.STATIC, provider_reason=OVERRIDE) for key, value in values.items()
        }
        self._tokens: list[object] = []

    def __enter__(self) -> Self:
        """Put the overrides in force."""
        token = object()
        self._tokens.append(token)
        overrides.push(token, self._outcomes)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        """Take them back."""
        overrides.remove(self._tokens.pop())

    def __call__(self, decorated: T) -> T:
        """Decorate a function, a coroutine function or a class whose tests all get the overrides."""
        if isinstance(decorated, type):
            return self._decorate_class(decorated)  # type: ignore[return-value]  # the same class
        if inspect.isasyncgenfunction(decorated):
            return self._decorate_async_generator(decorated)  # type: ignore[return-value]  # the same signature
        if inspect.isgeneratorfunction(decorated):
            return self._decorate_generator(decorated)  # type: ignore[return-value]  # the same signature
        if inspect.iscoroutinefunction(decorated):
            return self._decorate_coroutine(decorated)  # type: ignore[return-value]  # the same signature
        if callable(decorated):
            return self._decorate_function(decorated)  # type: ignore[return-value]  # the same signature
        raise ConfigError(f"override_flags decorates functions and classes, got {type(decorated).__name__}")

    def _decorate_function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def overridden(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return overridden

    def _decorate_coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def overridden(*args: Any, **kwargs: Any) -> Any:
            with self:
                return await function(*args, **kwargs)

        return overridden

    def _decorate_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def overridden(*args: Any, **kwargs: Any) -> Any:
            with self:  # until it ends: generators are fixtures here
                return (yield from function(*args, **kwargs))

        return overridden

    def _decorate_async_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def overridden(*args: Any, **kwargs: Any) -> Any:
            with self:
                async with aclosing(function(*args, **kwargs)) as values:
                    async for value in values:
                        yield value

        return overridden

    def _decorate_class(self, decorated: type) -> type:
        for name in dir(decorated):
            if not name.startswith("test"):
                continue
            member = inspect.getattr_static(decorated, name)
            if isinstance(member, (staticmethod, classmethod)):
                setattr(decorated, name, type(member)(self(member.__func__)))
            elif inspect.isfunction(member):
                setattr(decorated, name, self(member))
        return decorated
