"""Probes in functions' code, for CPython 3.11: each says whether its function ran, and costs nothing once it did.

A function's code begins with a switch: as long as that is a NOP, an assignment to an attribute of the probe comes next,
which by C code alone overwrites the switch itself, in the memory of the code object that is running, with a jump over
the assignment.
So the switch is the record. No Python code runs for it, nothing is allocated, no event reaches a tracer or profiler, and
nothing else can happen in between: threads, signals and collections wait until the function's own first instruction.

What can be noticed of rewritten code:

* `co_code`, `co_consts` (a number and the probe), `co_names` (`None`), `co_stacksize` and sizes in memory are the rewritten ones.
  `co_code` never shows the switch's state: it is a jump over the assignment, as if there were no probe. So copies of code,
  made by `code.replace`, pickled by value or marshalled, are not seen and pay nothing, and what reads bytecode, as numba
  does, finds nothing new that could be reached.
* except for generator functions, of which `types.coroutine` makes copies: there it is the NOP. A copy counts for the
  original, and pays for the assignment, some 30 ns, at each call. Pickled by value it has something harmless for the
  probe; it cannot be marshalled and run again.
* it is equal to a copy only while its switch is as `co_code` shows it. Its hash does not change.
* it lives as long as the process: such copies write through the probe into the original.

Needs `ctypes`; can be imported by any Python, and `problem` says whether it can be used.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from dataclasses import dataclass
from types import CodeType, FunctionType

from flagmw.usage import code_rewriting
from flagmw.usage.code_names import is_function

_NOP = code_rewriting.value_of(code_rewriting.NOP)
_ASSIGNED = "None"
"""The name that the code assigns to. What lists a function's names, as `inspect.getclosurevars` does, passes this one over,
since long ago None was a name."""

_NOWHERE = ctypes.c_uint16(_NOP)
_CO_GENERATOR = 0x20


class Probe(ctypes.Union):
    """Says whether a function ran. Its memory is the switch in the function's code.

    Any thread may use it. It equals itself only, so that code objects can be hashed and compared as ever.

    Attributes:
        code: refers to the probe in turn, and Python does not collect code, so that the memory stays what it is.
        flagmw_switch: the switch's code unit.
    """

    __slots__ = ("_jump", "code")
    _fields_ = (("flagmw_switch", ctypes.c_uint16), (_ASSIGNED, ctypes.c_uint16))

    code: CodeType
    flagmw_switch: int
    _jump: int

    __hash__ = object.__hash__

    @property
    def was_hit(self) -> bool:
        """Whether the function was entered since the probe was armed."""
        return self.flagmw_switch != _NOP

    def arm(self) -> None:
        """Forget that the function was entered, and notice when it is entered again."""
        self.flagmw_switch = _NOP

    def disarm(self) -> None:
        """Notice nothing, at no cost; `was_hit` means nothing from then on."""
        self.flagmw_switch = self._jump

    def __reduce__(self) -> tuple[type, tuple[type]]:
        """Stand in for the probe in pickled copies of the code, which may go where there is no flagmw."""
        return functools.partial, (int,)

    def __repr__(self) -> str:
        return f"<probe of {self.code.co_qualname}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What became of code.

    Attributes:
        code: with the probes in it and in the code of what is defined inside it; the same object if there are none.
        probes: armed; those of what is defined inside come first.
    """

    code: CodeType
    probes: tuple[Probe, ...]


def rewrite(code: CodeType) -> Rewritten:
    """Put a probe into each function: into the code itself, if it is a function's, and into all that it defines.

    Modules, bodies of classes, comprehensions and generator expressions get none, but the functions in them do. Code
    that has its probe, from here or as a copy, keeps it. What no compiler of 3.11 wrote is left alone. May only be
    called when there is no `problem`.
    """
    probes: list[Probe] = []
    return Rewritten(code=_rewritten(code, probes), probes=tuple(probes))


@functools.cache
def problem() -> str | None:
    """Say why code cannot be rewritten in this interpreter; None when it can be, which is tried once."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] != (3, 11):
        return "code can be rewritten in CPython 3.11 only"
    try:
        failed = _try_out()
    except Exception as error:  # whatever is unusual about this interpreter, the application must not suffer from it
        failed = repr(error)
    return failed and f"code cannot be rewritten in this build of CPython 3.11: {failed}"


def _rewritten(code: CodeType, probes: list[Probe]) -> CodeType:
    constants = code.co_consts
    changed: list[object] | None = None
    own: Probe | None = None
    for number, constant in enumerate(constants):
        if isinstance(constant, CodeType):
            inner = _rewritten(constant, probes)
            if inner is not constant:
                changed = changed or list(constants)
                changed[number] = inner
        elif isinstance(constant, Probe):
            own = constant
    if changed:
        code = code.replace(co_consts=tuple(changed))
    if own is None and is_function(code):
        code, own = _with_probe(code)
    if own is not None:
        probes.append(own)
    return code


def _with_probe(code: CodeType) -> tuple[CodeType, Probe | None]:
    entry = code_rewriting.entry_of(code)
    if entry is None:
        return code, None
    probe = Probe.from_address(ctypes.addressof(_NOWHERE))
    try:
        code, jump = code_rewriting.with_store(code, entry, probe, _ASSIGNED)
    except ValueError:  # tables that no compiler wrote
        return code, None
    probe.code = code
    probe._jump = jump  # noqa: SLF001  # its own module
    _pointer_of(probe).value = _address_of(code) + entry * code_rewriting.UNIT_BYTES
    if code.co_flags & _CO_GENERATOR:
        probe.arm()
    _ = code.co_code  # the interpreter keeps what it gives out first: this is what everybody will see
    probe.arm()
    return code, probe


def _address_of(code: CodeType) -> int:
    """Give the address of the instructions, which are the last part of a code object."""
    return id(code) + CodeType.__basicsize__


def _pointer_of(probe: Probe) -> ctypes.c_void_p:
    """Give a ctypes object's pointer to its memory, which is the first of its own fields.

    There is no other way: the constant must exist before the code object does, whose address it needs.
    """
    return ctypes.c_void_p.from_address(id(probe) + object.__basicsize__)


# --- trying it out ------------------------------------------------------------------------------------------


def _echo(value: int) -> int:
    return value


def _try_out() -> str | None:
    """Look at the memory before anything is written to it, then go through a probe's life.

    Returns:
        What is not as it should be.
    """
    probe = Probe.from_address(ctypes.addressof(_NOWHERE))
    if _pointer_of(probe).value != ctypes.addressof(_NOWHERE):
        return "objects of ctypes are laid out otherwise"
    code = _echo.__code__.replace(co_name="tried")
    if ctypes.string_at(_address_of(code), len(code.co_code)) != code.co_code:
        return "code objects are laid out otherwise"
    rewritten = rewrite(code)
    (probe,) = rewritten.probes
    echo = FunctionType(rewritten.code, {})
    before = rewritten.code.co_code
    found = [probe.was_hit]
    for change in (probe.arm, probe.arm, probe.disarm):
        change()
        found += (probe.was_hit, echo(1) == 1, probe.was_hit, rewritten.code.co_code == before)
    wanted = [False, *(False, True, True, True) * 2, *(True, True, True, True)]
    return None if found == wanted else f"a probe's life was {found}"
