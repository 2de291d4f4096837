from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def retry(*, times: int) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @functools.wraps(function)
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            return await function(*args, **kwargs)

        return wrapper

    return decorate


class Counter(Generic[T]):
    def __init__(self) -> None:
        self.counts: dict[T, int] = {}

    def add(self, key: T, weight: int = 1) -> int:
        self.counts[key] = self.counts.get(key, 0) + weight
        return self.counts[key]

    def __contains__(self, key: T) -> bool:
        return key in self.counts


class Store(ABC):
    @abstractmethod
    async def get(self, key: str) -> dict[str, Any] | None: ...

    async def open(self) -> None:
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False

    def put(self, key: str, weight: int) -> None:
        raise NotImplementedError


class MemoryStore(Store):
    def __init__(self) -> None:
        self.counter: Counter[str] = Counter()

    async def get(self, key: str) -> dict[str, Any] | None:
        return {"name": key, "minutes": 90} if len(key) < 5 or key in self.counter else None

    def put(self, key: str, weight: int) -> None:
        self.counter.add(key, weight)

    def drop(self, key: str) -> None:
        del self.counter.counts[key]
