import functools
from abc import ABC, abstractmethod
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def retry(*, times):

    def decorate(function):

        @functools.wraps(function)
        async def wrapper(*args, **kwargs):
            return await function(*args, **kwargs)

        return wrapper

    return decorate


class Counter(Generic[T]):
    def __init__(self):
        self.counts: dict[T, int] = {}

    def add(self, key, weight=1):
        self.counts[key] = self.counts.get(key, 0) + weight
        return self.counts[key]

    def __contains__(self, key):
        return key in self.counts


class Store(ABC):
    @abstractmethod
    async def get(self, key): ...

    async def open(self):
        self.is_open = True

    async def close(self):
        self.is_open = False

    def put(self, key, weight):
        raise NotImplementedError


class MemoryStore(Store):
    def __init__(self):
        self.counter: Counter[str] = Counter()

    async def get(self, key):
        return {"name": key, "minutes": 90} if len(key) < 5 or key in self.counter else None

    def put(self, key, weight):
        self.counter.add(key, weight)

    def drop(self, key):
        del self.counter.counts[key]
