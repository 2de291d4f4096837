"""One evaluation that a caller asked for, with those of other experiments that conditions ask for on the way.

Source: Hackle reference, section 14.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flagmw.context import UserContext
from flagmw.dialects.hackle.decisions import Decision, Nested
from flagmw.dialects.hackle.defects import Defect
from flagmw.dialects.hackle.model import Id


class Call:
    """What has been evaluated in one call, and what is being evaluated.

    Args:
        root_type: what the call began with, in the words of events.
        root_id: its id.
    """

    __slots__ = ("_done", "_open", "_root_id", "_root_type", "nested")

    def __init__(self, root_type: str, root_id: Any) -> None:
        self._root_type = root_type
        self._root_id = root_id
        self._open = {root_id} if root_type == EXPERIMENT else set()
        self._done: dict[Id, Decision] = {}
        self.nested: list[Nested] = []

    def decision(self, asked: CompiledExperiment, context: UserContext, *, by_experiment: bool) -> Decision:
        """Evaluate another experiment, once per call. Ids alone count, be they of tests or of flags.

        Args:
            asked: the other experiment.
            context: the user.
            by_experiment: whether an experiment asks, rather than a remote config parameter.

        Raises:
            Defect: the experiment is being evaluated already, or something is wrong in it.
        """
        known = self._done.get(asked.id)
        if known is not None:
            return known
        if asked.id in self._open:
            raise Defect("conditions on other experiments form a circle")
        self._open.add(asked.id)  # for good: once it is done it is known
        decision = asked.decide(context, self)
        if decision.defect is not None:
            raise Defect(decision.defect)
        if by_experiment and decision.by_targeting is not None:
            decision = decision.by_targeting
        self._done[asked.id] = decision
        self.nested.append(Nested(decision.served, self._root_type, self._root_id))
        return decision


EXPERIMENT = "EXPERIMENT"
REMOTE_CONFIG = "REMOTE_CONFIG"

IDLE = Call("", None)
"""Given to what has no conditions on other experiments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledExperiment:
    """An experiment that conditions can ask.

    Attributes:
        decide: evaluates it for a prepared context; may raise.
    """

    id: Id
    decide: Callable[[UserContext, Call], Decision]


class Link:
    """Stands for an experiment that a condition names, until all experiments are compiled; None when there is none."""

    __slots__ = ("experiment",)

    def __init__(self) -> None:
        self.experiment: CompiledExperiment | None = None
