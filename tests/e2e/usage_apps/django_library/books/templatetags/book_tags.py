from __future__ import annotations

from django import template

register = template.Library()


@register.filter
def loud(text: str) -> str:
    return _upper(text)


@register.simple_tag
def unused_tag(value: str = "") -> str:
    return value


def _upper(text: str) -> str:
    return text.upper()
