"""Which part of a template is never shown when a flag keeps its value."""

from __future__ import annotations

import ast
from typing import Any

from flagmw.stale.dead import DeadCode, Span
from flagmw.stale.files import SourceFile
from flagmw.stale.sites import METHODS
from flagmw.stale.template_sites import LIBRARY, key_of, sites_in_template
from flagmw.stale.templates import Block, Tag, Template, expression_of, parse_template, words_of
from flagmw.stale.values import Evaluator, Known, converted

_LITERALS = {"true": True, "false": False, "none": None, "True": True, "False": False, "None": None}


def dead_in_template(file: SourceFile, text: str, flag_key: str, value: Any) -> DeadCode:
    """Find what a template never shows, in `{% ifflag %}` and `{% if %}`.

    Args:
        file: the template.
        text: of it.
        flag_key: the flag, as the template has it.
        value: the flag's, for ever.
    """
    dead = DeadCode(file)
    certain = [site for site in sites_in_template(file, text) if site.is_certain and site.flag_key == flag_key]
    template = parse_template(text)
    if certain and not template.is_broken:
        _Finder(dead, template, flag_key, value).find()
    return dead


class _Finder:
    def __init__(self, dead: DeadCode, template: Template, flag_key: str, value: Any) -> None:
        self._dead = dead
        self._template = template
        self._key = flag_key
        self._value = value
        self._gone: list[tuple[int, int]] = []
        self._names = {clause.tag.start: block.name for block in template.blocks for clause in block.clauses}

    def find(self) -> None:
        for block in self._template.blocks:
            if block.closing is None or any(start <= block.clauses[0].tag.start < end for start, end in self._gone):
                continue
            if block.name == "ifflag":
                self._ifflag(block)
            elif block.name == "if":
                self._if(block)
        for tag in self._template.tags:
            if tag.name == "flag" and " as " in tag.rest and key_of(tag) == self._key and self._is_unneeded(tag):
                self._drop(tag)

    def _ifflag(self, block: Block) -> None:
        first = block.clauses[0].tag
        known = converted("ifflag", self._value)
        if key_of(first) != self._key or known is None or LIBRARY not in self._template.libraries:
            return
        line = self._template.place(first.start)[0]
        shown = 0 if known.value else 1
        for place in range(len(block.clauses)):
            if place != shown:
                self._bury(block, place, f"the flag of line {line} decides")
        self._drop_tags(block)

    def _if(self, block: Block) -> None:
        decided_at = 0
        values: list[bool | None] = [None] * len(block.clauses)
        for place, clause in enumerate(block.clauses):
            line = self._template.place(clause.tag.start)[0]
            if decided_at:
                self._bury(block, place, f"the condition of line {decided_at} is always true")
                continue
            known = self._condition(clause.tag) if clause.tag.name != "else" else None
            if known is None or not known.by_flag:
                continue
            values[place] = bool(known.value)
            if known.value:
                decided_at = line
            else:
                self._bury(block, place, f"the condition of line {line} is never true")
        shown = next((place for place, known in enumerate(values) if known is not False), len(values))
        if shown == len(values) or values[shown] is True or (shown == 1 and block.clauses[1].tag.name == "else"):
            self._drop_tags(block)  # nothing is left to decide
        elif shown:
            for clause in block.clauses[:shown]:
                self._drop(clause.tag)

    def _condition(self, tag: Tag) -> Known | None:
        expression = expression_of(tag.rest)
        return self._evaluator(tag).truth(expression) if expression is not None else None

    def _evaluator(self, user: Tag) -> Evaluator:
        def read(expression: ast.expr) -> Known | None:
            if isinstance(expression, ast.Name):
                # `true` is a literal of Jinja's; to Django it is a variable.
                if expression.id in _LITERALS and (expression.id.istitle() or not self._template.libraries):
                    return Known(value=_LITERALS[expression.id], by_flag=False)
                return self._variable(expression.id, user)
            return self._call(expression)

        return Evaluator(read, lambda _: None)

    def _call(self, expression: ast.expr) -> Known | None:
        match expression:
            case ast.Call(func=ast.Attribute(value=receiver, attr=method), args=[ast.Constant(value=key), *_]):
                last = receiver.id if isinstance(receiver, ast.Name) else getattr(receiver, "attr", "")
                if (
                    last == "flags"
                    and method in METHODS
                    and str(key) == self._key
                    and not self._template.bindings("flags")
                ):
                    return converted(method, self._value)
        return None

    def _variable(self, name: str, user: Tag) -> Known | None:
        """Give the value of a variable that the template sets once, before and around where it is used."""
        if self._template.bindings(name) != 1:
            return None
        for tag in self._template.tags:
            if tag.start >= user.start or tag.around != user.around[: len(tag.around)]:
                continue
            if not self._is_seen(tag, user):
                continue
            words = words_of(tag.rest)
            if tag.name == "flag" and words[-2:] == ["as", name] and key_of(tag) == self._key:
                known = converted("flag", self._value) if LIBRARY in self._template.libraries else None
            elif tag.name == "set" and tag.rest.partition("=")[0].strip() == name:
                expression = expression_of(tag.rest.partition("=")[2])
                known = self._call(expression) if expression is not None else None
            else:
                continue
            return known if known is not None and not isinstance(known.value, (dict, list)) else None
        return None

    def _is_seen(self, tag: Tag, user: Tag) -> bool:
        """Tell whether what a tag sets is there where it is used: a block may be rendered without what is around it."""
        between = {self._names.get(start, "") for start in user.around[len(tag.around) :]}
        if between & {"macro", "call"}:
            return False
        is_child = any(other.name == "extends" for other in self._template.tags)
        return "block" not in between or (not is_child and not tag.around)

    def _is_unneeded(self, tag: Tag) -> bool:
        name = words_of(tag.rest)[-1]
        others = [other for other in self._template.tags if other is not tag and name in other.rest]
        return bool(others) and all(
            self._template.place(other.start)[0] in self._dead.lines
            or any(start <= other.start < end for start, end in self._gone)
            for other in others
        )

    def _bury(self, block: Block, place: int, why: str) -> None:
        """Note a clause as never shown, with its own `{% elif %}` or `{% else %}` where these stand alone."""
        clause = block.clauses[place]
        start, end = clause.tag.end if place == 0 else clause.tag.start, clause.end
        self._gone.append((start, end))
        first_line, first_column = self._template.place(start)
        last_line, last_column = self._template.place(end)
        whole_first = first_line if self._is_blank_before(start) else first_line + 1
        whole_last = last_line - 1
        if whole_first > whole_last and not self._template.text[start:end].strip():
            return
        span = Span(first_line, first_column, last_line, last_column)
        if whole_first <= whole_last and self._is_blank_before(end) and self._is_blank_after(start, place):
            self._dead.add(span, why, first_line=whole_first, last_line=whole_last, is_part=False)
        else:
            self._dead.add(span, why, first_line=first_line, last_line=last_line, is_part=True)
            self._dead.lines.update(range(whole_first, whole_last + 1))

    def _is_blank_before(self, offset: int) -> bool:
        start = self._template.line_span(self._template.place(offset)[0])[0]
        return not self._template.text[start:offset].strip()

    def _is_blank_after(self, offset: int, place: int) -> bool:
        if place:
            return True  # it begins with its own tag
        end = self._template.line_span(self._template.place(offset)[0])[1]
        return not self._template.text[offset:end].strip()

    def _drop_tags(self, block: Block) -> None:
        for clause in block.clauses:
            self._drop(clause.tag)
        if block.closing is not None:
            self._drop(block.closing)

    def _drop(self, tag: Tag) -> None:
        """Count the lines of a tag that has them to itself."""
        first, last = self._template.place(tag.start)[0], self._template.place(tag.end - 1)[0]
        start, end = self._template.line_span(first)[0], self._template.line_span(last)[1]
        if not self._template.text[start : tag.start].strip() and not self._template.text[tag.end : end].strip():
            self._dead.lines.update(range(first, last + 1))
