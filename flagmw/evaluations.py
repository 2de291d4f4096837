"""`Evaluations`: what `all` and its kin give: flag keys at once, and each flag's evaluation when it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from flagmw.core import overrides
from flagmw.core.snapshot import Snapshot
from flagmw.evaluation import Evaluation


class Evaluations(Mapping[str, Evaluation]):
    """Evaluations by flag key, each made when it is read and kept."""

    def __init__(self, keys: Sequence[str], evaluate_one: Callable[[str], Evaluation]) -> None:
        self._keys = dict.fromkeys(keys)
        self._evaluate = evaluate_one
        self._made: dict[str, Evaluation] = {}

    def __getitem__(self, key: str) -> Evaluation:
        """Give one flag's evaluation.

        Raises:
            KeyError: no such flag.
        """
        if key not in self._keys:
            raise KeyError(key)
        if key not in self._made:
            self._made[key] = self._evaluate(key)
        return self._made[key]

    def __iter__(self) -> Iterator[str]:
        """Walk over the flag keys."""
        return iter(self._keys)

    def __len__(self) -> int:
        """Count the flags."""
        return len(self._keys)


def flag_keys(snapshot: Snapshot | None) -> list[str]:
    """Name the flags of a snapshot, and those that tests override."""
    return sorted({*(snapshot.flags if snapshot is not None else ()), *overrides.current}, key=str)
