"""`Function` and `CodeBase`: which functions exist, named as a Scavenger collector knows them.

What runs is matched with what exists by file, first line, name and parameters, so that both sides have one signature and
one hash whatever a decorator, a class or a closure makes of a function. Pure; knows no file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

SEPARATOR = ", "


class FunctionKind(StrEnum):
    """How a function is written."""

    DEF = "def"
    ASYNC = "async"
    LAMBDA = "lambda"


class Seen(NamedTuple):
    """Code that has run, as a recorder knows it.

    Attributes:
        path: the file that its module was loaded from, absolute, links resolved; inside an archive it begins with the
            archive's path. A `.pyc` without a source is named itself.
        first_line: of the code object, which is its first decorator's.
        name: the code object's; `<lambda>` for a lambda.
        parameter_types: as in `Function`.
    """

    path: str
    first_line: int
    name: str
    parameter_types: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function of the code base.

    Attributes:
        package_name: dotted path of its file inside the code base's folder; `app.__init__` for a package's own file.
        declaring_type: package_name, and the classes that enclose the function directly.
        name: as written after `def`; `<lambda>` for a lambda.
        parameter_types: names of the positional-or-keyword parameters, then `*name`, `**name`, joined by ", ".
        kind: how it is written.
        path: its file, absolute, links resolved, as in `Seen`.
        shown_path: its file as the code base's folder and the path in it, for people.
        first_line: of its first decorator, or of itself; 1-based.
        last_line: of its body.

    Source: the signature rules of the official Scavenger agent; cases in the conformance tests.
    """

    package_name: str
    declaring_type: str
    name: str
    parameter_types: str
    kind: FunctionKind
    path: str
    shown_path: str
    first_line: int
    last_line: int

    @property
    def signature(self) -> str:
        """The text that the collector knows the function by; functions that share it are one to the collector."""
        return f"{self.declaring_type}.{self.name}({self.parameter_types})"

    @property
    def signature_hash(self) -> str:
        """The signature's MD5 in lower-case hexadecimal digits."""
        return hash_of(self.signature)

    @property
    def seen(self) -> Seen:
        """What a recorder says when the function has run."""
        return Seen(self.path, self.first_line, self.name, self.parameter_types)


def hash_of(signature: str) -> str:
    """Give a signature's hash: MD5 of its UTF-8 bytes, 32 lower-case hexadecimal digits."""
    return hashlib.md5(signature.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProblem:
    """A file, or a folder of the code base, that could not be read.

    Attributes:
        path: as the configuration leads to it.
        message: what is wrong and what to do.
        line: 1-based, 0 when unknown.
    """

    path: str
    message: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}" if self.line else f"{self.path}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeBase:
    """The functions that exist.

    Attributes:
        functions: sorted by path and line; each place once, however often the configuration leads to it.
        fingerprint: the same for the same functions, configuration and environment.
        problems: what could not be read.
    """

    functions: tuple[Function, ...]
    fingerprint: str
    problems: tuple[FileProblem, ...] = ()
    _known: dict[Seen, Function] = field(default_factory=dict, init=False, repr=False, compare=False)

    def find(self, seen: Seen) -> Function | None:
        """Give the function that code belongs to; None for code outside the code base, or newer than it."""
        if not self._known:  # who never asks, such as a scan for people, does not pay for the index
            self._known.update({function.seen: function for function in self.functions})
        return self._known.get(seen)


def parameters_of(positional_or_keyword: Sequence[str], rest: str | None, keywords: str | None) -> str:
    """Write a function's parameters as signatures have them.

    Args:
        positional_or_keyword: names in order; positional-only and keyword-only ones do not appear.
        rest: the name after `*`.
        keywords: the name after `**`.
    """
    names = list(positional_or_keyword)
    if rest is not None:
        names.append(f"*{rest}")
    if keywords is not None:
        names.append(f"**{keywords}")
    return SEPARATOR.join(names)
