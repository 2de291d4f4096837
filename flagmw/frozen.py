"""`FrozenDict`, the read-only mapping of contexts and metadata. Needs nothing else of flagmw."""

from __future__ import annotations

from typing import Any, NoReturn, Self


class FrozenDict(dict[str, Any]):
    """A dict that cannot be changed: reads cost what a dict's do, and it is still JSON to `json.dumps`."""

    __slots__ = ()

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("this mapping is read-only; copy it with dict() to change it")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]  # a dict has none because it can change
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[str, Any]]]:
        return (FrozenDict, (dict(self),))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


EMPTY = FrozenDict()
