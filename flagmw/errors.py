"""Every exception that flagmw raises.

The tree::

    FlagmwError
    ├── ConfigError          a setting or an argument is wrong; raised where it is given
    ├── ContextError         a user context has a value that flags cannot use
    ├── DocumentError        a flag document is refused; lists every problem with its place
    └── TransportError       documents do not arrive (missing file, dead server)
        ├── AuthError        the other side refuses our credentials
        └── ProtocolError    the other side answers something that its protocol does not have

Evaluating a flag raises none of them: it answers with the caller's default and a `Reason`.
Needs nothing else of flagmw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Path = tuple[str | int, ...]


class FlagmwError(Exception):
    """The root of all exceptions that flagmw raises."""


class ConfigError(FlagmwError, ValueError):
    """A setting is wrong. The message names it, what was found and what to do."""


class ContextError(FlagmwError, ValueError):
    """A user context cannot be built. The message names the attribute, never its value."""


class TransportError(FlagmwError):
    """Documents do not arrive: a missing file, a dead server."""


class AuthError(TransportError):
    """The other side refuses our credentials; trying again is useless."""


class ProtocolError(TransportError):
    """The other side sent something that its protocol does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong in a document.

    Attributes:
        message: what was found and what was expected.
        path: keys and indexes from the document's root to the value.
        line: 1-based, 0 when unknown.
        column: 1-based and counted in characters, 0 when unknown.
        severity: only an "error" makes a loader refuse the document. A "flag" problem breaks that one
            flag's rules, a "warning" nothing.
    """

    message: str
    path: Path = ()
    line: int = 0
    column: int = 0
    severity: Literal["error", "flag", "warning"] = "error"

    def __str__(self) -> str:
        where = ".".join(_shortened(str(part), 60) for part in self.path)
        message = _shortened(self.message, 400)
        return f"{where}: {message}" if where else message


def _shortened(text: str, chars: int) -> str:
    """Cut what stands in a document where it would fill a log."""
    return text if len(text) <= chars else text[: chars - 3] + "..."


class DocumentError(FlagmwError):
    """A flag document is refused as a whole.

    Attributes:
        name: the document's name, usually its path.
        problems: what is wrong with it, at least one.
    """

    def __init__(self, name: str, problems: tuple[Problem, ...]) -> None:
        """Keep the problems and make a message that shows the first of them with its place."""
        self.name = name
        self.problems = problems
        first = problems[0]
        place = f"{name}:{first.line}:{first.column}" if first.line else name
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{place}: {first}{more}")
