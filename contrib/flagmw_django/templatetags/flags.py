"""Flags in templates: `{% load flags %}`, then `{% flag %}` and `{% ifflag %}`.

Both take the request's flags from the context's `request` (Django's `request` context processor puts it there), and
otherwise those of the request that this thread or task works on.
"""

from __future__ import annotations

from typing import Any

from django import template
from django.template.base import FilterExpression, NodeList, Parser, Token, token_kwargs
from django.template.context import Context

import flagmw
from flagmw.accessor import Flags

register = template.Library()


@register.simple_tag(takes_context=True)
def flag(context: Context, key: str, default: Any = "") -> Any:
    """Give a flag's value: `{% flag "banner" default="plain" as banner %}`, printed when there is no `as`."""
    return _flags(context).variation(key, default)


@register.tag
def ifflag(parser: Parser, token: Token) -> IfFlagNode:
    """Show one of two parts: `{% ifflag "new-checkout" %}…{% else %}…{% endifflag %}`; `default=True` for no value.

    Raises:
        TemplateSyntaxError: it is used in another way.
    """
    name, *bits = token.split_contents()
    options = token_kwargs(bits[1:], parser)
    has_key = bool(bits) and not token_kwargs(bits[:1], parser)
    if not has_key or len(bits) > 1 + len(options) or options.keys() - {"default"}:
        raise template.TemplateSyntaxError(
            f"'{name}' takes a flag key and perhaps a default, for example "
            f'{{% {name} "new-checkout" default=False %}}, got {{% {token.contents} %}}'
        )
    shown_when_on = parser.parse(("else", "endifflag"))
    shown_when_off = NodeList()
    if parser.next_token().contents == "else":
        shown_when_off = parser.parse(("endifflag",))
        parser.delete_first_token()
    return IfFlagNode(parser.compile_filter(bits[0]), options.get("default"), shown_when_on, shown_when_off)


class IfFlagNode(template.Node):
    """What `{% ifflag %}` becomes."""

    child_nodelists = ("shown_when_on", "shown_when_off")

    def __init__(
        self,
        key: FilterExpression,
        default: FilterExpression | None,
        shown_when_on: NodeList,
        shown_when_off: NodeList,
    ) -> None:
        self._key = key
        self._default = default
        self.shown_when_on = shown_when_on
        self.shown_when_off = shown_when_off

    def render(self, context: Context) -> Any:
        """Render one of the two parts."""
        default = self._default is not None and bool(self._default.resolve(context))
        is_on = _flags(context).is_enabled(self._key.resolve(context), default)
        return (self.shown_when_on if is_on else self.shown_when_off).render(context)


def _flags(context: Context) -> Flags:
    found = getattr(context.get("request"), "flags", None)
    return found if isinstance(found, Flags) else flagmw.flags
