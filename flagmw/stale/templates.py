"""The tags of a template, Django's or Jinja's, and what they enclose: as much as it takes to find flags in them."""

from __future__ import annotations

import ast
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_TOKEN = re.compile(r"\{%[-+]?(?P<tag>.*?)[-+]?%\}|\{\{[-+]?(?P<print>.*?)[-+]?\}\}|\{#.*?#\}", re.DOTALL)
_SILENT = {"comment": "endcomment", "raw": "endraw", "verbatim": "endverbatim"}
_NAME = re.compile(r"\w*")
_BRANCHES = ("else", "elif", "elseif", "empty", "plural", "pluralize")
_BINDS = re.compile(r"\bas\s+(\w+)\s*$|\bas\s+(\w+)\b")


@dataclass(frozen=True, slots=True)
class Tag:
    """One `{% ... %}` or `{{ ... }}`.

    Attributes:
        name: its first word; empty for what is printed.
        rest: what follows the name, or all that is printed.
        start: offset of its first character in the text.
        end: offset after its last character.
        around: the blocks that it is in, outermost first, by the offsets of their tags.
    """

    name: str
    rest: str
    start: int
    end: int
    around: tuple[int, ...] = ()


@dataclass(slots=True)
class Clause:
    """What stands between two tags of a block.

    Attributes:
        tag: the one that opens it.
        end: offset of the tag after it.
    """

    tag: Tag
    end: int = 0


@dataclass(slots=True)
class Block:
    """A tag with its `{% end... %}`.

    Attributes:
        name: of the tag.
        clauses: what `elif` and `else` divide it into.
        closing: the last tag.
    """

    name: str
    clauses: list[Clause]
    closing: Tag | None = None


@dataclass(slots=True)
class Template:
    """A template that was taken apart.

    Attributes:
        text: of it.
        tags: in order.
        blocks: those with clauses, in the order of their beginnings.
        libraries: what `{% load %}` names.
        is_broken: whether blocks do not fit into each other, so that nothing can be said of them.
    """

    text: str
    tags: list[Tag] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    libraries: set[str] = field(default_factory=set)
    is_broken: bool = False
    _starts: list[int] = field(default_factory=list)

    def place(self, offset: int) -> tuple[int, int]:
        """Give line (1-based) and column (0-based) of an offset."""
        if not self._starts:
            self._starts = [0, *(match.end() for match in re.finditer("\n", self.text))]
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1]

    def line_span(self, line: int) -> tuple[int, int]:
        """Give the offsets of a line's beginning and of its end, without the line feed."""
        self.place(0)
        start = self._starts[line - 1]
        end = self._starts[line] - 1 if line < len(self._starts) else len(self.text)
        return start, end

    def bindings(self, name: str) -> int:
        """Count the places that may give a variable of the template a value."""
        count = 0
        for tag in self.tags:
            if tag.name in ("set", "for", "with", "macro", "call", "import", "from", "blocktrans", "blocktranslate"):
                head = re.split(r"\bin\b", tag.rest)[0] if tag.name == "for" else tag.rest
                if tag.name in ("set", "with", "blocktrans", "blocktranslate"):
                    count += bool(re.search(rf"(?<![\w.]){name}\s*(?:,[\w\s,]*)?(?:=(?!=)|$)|\bas\s+{name}\b", head))
                else:
                    count += bool(re.search(rf"(?<![\w.]){name}(?!\w)", head))
            elif tag.name:
                count += any(name in found for found in _BINDS.findall(tag.rest))
        return count


def parse_template(text: str) -> Template:
    """Take a template apart."""
    template = Template(text)
    raw = list(_tags(text))
    closers = {tag.name for tag in raw if tag.name.startswith("end")}
    stack: list[Block] = []
    for tag in raw:
        around = tuple(block.clauses[-1].tag.start for block in stack)
        placed = Tag(tag.name, tag.rest, tag.start, tag.end, around)
        template.tags.append(placed)
        if tag.name == "load":
            template.libraries.update(_loaded(tag.rest))
        elif tag.name in _BRANCHES and stack:
            stack[-1].clauses[-1].end = tag.start
            stack[-1].clauses.append(Clause(placed))
        elif tag.name.startswith("end"):
            opener = tag.name[3:]
            if not stack or stack[-1].name != opener:
                template.is_broken = True
            while stack and stack[-1].name != opener:
                stack.pop()
            if stack:
                block = stack.pop()
                block.clauses[-1].end = tag.start
                block.closing = placed
        elif f"end{tag.name}" in closers and not _stands_alone(tag):
            block = Block(tag.name, [Clause(placed)])
            stack.append(block)
            template.blocks.append(block)
    template.is_broken = template.is_broken or bool(stack)
    return template


def _stands_alone(tag: Tag) -> bool:
    """Tell whether a tag that may have an end has none: `{% set x = 1 %}`."""
    return tag.name == "set" and "=" in tag.rest


def _tags(text: str) -> Iterator[Tag]:
    silent: str | None = None
    for match in _TOKEN.finditer(text):
        printed, content = match["print"], match["tag"]
        if content is not None:
            content = content.strip()
            name = content[: _NAME.match(content).end()]  # type: ignore[union-attr]  # it matches anything
            rest = content[len(name) :]
            if silent is not None:
                silent = None if name == silent else silent
                continue
            if name in _SILENT:
                silent = _SILENT[name]
                continue
            yield Tag(name, rest.strip(), match.start(), match.end())
        elif printed is not None and silent is None:
            yield Tag("", printed.strip(), match.start(), match.end())


def _loaded(rest: str) -> Sequence[str]:
    names = rest.split()
    return names[-1:] if "from" in names else names


def words_of(rest: str) -> list[str]:
    """Split a Django tag's arguments; what is in quotes stays together."""
    return re.findall(r"(?:[^\s\"']|\"[^\"]*\"|'[^']*')+", rest)


def literal_of(word: str) -> str | None:
    """Give the text of a word in quotes; None for a variable."""
    if len(word) >= 2 and word[0] == word[-1] and word[0] in "\"'":
        return word[1:-1]
    return None


def expression_of(text: str) -> ast.expr | None:
    """Parse an expression of a template as one of Python's; None where the two languages differ."""
    if re.search(r"\bis\b|[|~%]", re.sub(r"\"[^\"]*\"|'[^']*'", "", text)):
        return None  # Jinja's tests and filters, and what else they do not have in common
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
