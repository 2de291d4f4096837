"""Seeing which code runs by probes in it, on CPython 3.11.

Functions are given a copy of their code that has a probe; so every reference to a function has it, wherever it is kept.
What is running goes on with the code it has; the functions that it is going to make are given theirs in its constants,
where it takes their code from. A generator or coroutine that was made before, and never advanced, is not seen.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Iterable
from types import CodeType, FunctionType

from flagmw.usage import probes
from flagmw.usage.code_names import tree_of
from flagmw.usage.code_rewriting import NOP, value_of
from flagmw.usage.live_code import LiveCode
from flagmw.usage.probes import Probe

_NOP = value_of(NOP)
_POINTER_BYTES = ctypes.sizeof(ctypes.c_void_p)


class ProbedCode:
    """Watches code objects. Making one changes nothing.

    Probes stay in the code once they are there, at no cost; all instances of a process share them.

    Attributes:
        problem: why nothing can be seen.
    """

    def __init__(self) -> None:
        self.problem: str | None = probes.problem()
        self._is_on = False
        self._paths: dict[int, str] = {}
        self._probes: list[Probe] = []
        self._codes: set[int] = set()
        self._told: dict[int, Probe] = {}
        self._left: list[tuple[CodeType, str]] = []

    def begin(self) -> None:
        """Be one of those that share probes."""
        if self.problem is None and not self._is_on:
            self._is_on = True
            _on.append(weakref.ref(self))

    def watch(self, code: CodeType, path: str) -> CodeType:
        """Watch the functions of a code object from now on.

        Returns:
            What is to be executed instead.
        """
        if not self._is_on:
            return code
        rewritten = probes.rewrite(code)
        for probe in rewritten.probes:
            if id(probe) not in self._paths:
                self._paths[id(probe)] = path  # a probe lives as long as the process
                self._share([probe] if probe.was_hit else [])
                probe.arm()
                self._probes.append(probe)
                self._codes.add(id(probe.code))
        return rewritten.code

    def watch_live(self, live: LiveCode) -> bool:
        """Watch code that exists already.

        Returns:
            Whether to look for more: other threads may have made functions of code that was about to be replaced.
        """
        found = _Replacing(self)
        for code, path in live.running():
            found.replace_constants(code, path)
        found.replace_codes([one for one in live.functions if id(one[0].__code__) not in self._codes])
        return found.has_replaced and len(sys._current_frames()) > 1  # noqa: SLF001  # documented; counts threads

    def drop_dead(self, path: str) -> None:
        """Do nothing: code with probes lives as long as the process."""

    def take(self) -> list[tuple[CodeType, str]]:
        """Give what was hit since the last time, with its path, and watch it again."""
        hit = self._hit()
        told = self._told.copy()
        for key in told:  # never another dict: another instance may be writing to this one
            self._told.pop(key, None)
        self._share(hit)
        for probe in hit:  # a call after this line counts for the next time, one before it has been seen already
            probe.arm()
        left, self._left = self._left, []
        told.update((id(probe), probe) for probe in hit)
        return [*left, *((probe.code, self._paths[key]) for key, probe in told.items())]

    def forget(self) -> None:
        """Watch again what was hit, in a forked child."""
        self._told.clear()
        self._left.clear()
        for probe in self._hit():
            probe.arm()

    def end(self) -> None:
        """Watch nothing any more; the probes of nobody else notice nothing from now on."""
        if not self._is_on:
            return
        self._left = self.take()
        self._is_on = False
        others = _others(self)
        _on.remove(weakref.ref(self))
        for probe in self._probes:
            if not any(other.has(probe) for other in others):
                probe.disarm()
        self._probes.clear()
        self._codes.clear()
        self._paths.clear()

    def has(self, probe: Probe) -> bool:
        """Tell whether a probe is one of those that are watched."""
        return id(probe) in self._paths

    def tell(self, hit: Iterable[Probe]) -> None:
        """Take note of what another instance found hit, and is about to arm."""
        self._told.update((id(probe), probe) for probe in hit if self.has(probe))

    def _hit(self) -> list[Probe]:
        return [probe for probe in self._probes if probe.flagmw_switch != _NOP]

    def _share(self, hit: Iterable[Probe]) -> None:
        """Tell the others what was hit, before it is armed for all."""
        for other in _others(self):
            other.tell(hit)


_on: list[weakref.ref[ProbedCode]] = []


def _others(one: ProbedCode) -> list[ProbedCode]:
    """Give those that share probes with one."""
    return [other for reference in list(_on) if (other := reference()) is not None and other is not one]


class _Replacing:
    """One round of putting rewritten code in the place of code that exists.

    Attributes:
        has_replaced: whether there was anything to do.
    """

    def __init__(self, watched: ProbedCode) -> None:
        self.has_replaced = False
        self._watched = watched
        self._new: dict[int, CodeType] = {}
        self._old: list[CodeType] = []  # what is kept alive keeps its id

    def replace_codes(self, functions: list[tuple[FunctionType, str]]) -> None:
        """Give functions their new code: the same to all that share it, and to those that were made by others' code."""
        codes = {id(function.__code__): (function.__code__, path) for function, path in functions}
        inner = {id(one) for code, _ in codes.values() for one in tree_of(code) if one is not code}
        for key, (code, path) in codes.items():
            if key not in inner:
                self._renew(code, path)
        for function, path in functions:
            code = function.__code__
            new = self._new.get(id(code)) or self._renew(code, path)
            if new is not code:
                function.__code__ = new
                self.has_replaced = True

    def replace_constants(self, code: CodeType, path: str) -> None:
        """Give running code the new code of what it is going to make."""
        for index, constant in enumerate(code.co_consts):
            if isinstance(constant, CodeType):
                new = self._new.get(id(constant)) or self._renew(constant, path)
                if new is not constant:
                    _put(code.co_consts, index, new)
                    self.has_replaced = True

    def _renew(self, code: CodeType, path: str) -> CodeType:
        new = self._watched.watch(code, path)
        self._old.append(code)
        self._new.update((id(old), one) for old, one in zip(tree_of(code), tree_of(new), strict=True))
        return new


def _put(constants: tuple[object, ...], index: int, new: CodeType) -> None:
    """Overwrite an item of a tuple that running code uses; the old item is kept, in case it is in use right now."""
    slot = ctypes.c_void_p.from_address(id(constants) + tuple.__basicsize__ + index * _POINTER_BYTES)
    if slot.value == id(constants[index]):  # tuples are laid out as expected
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(new))
        slot.value = id(new)
