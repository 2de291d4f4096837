from django import template

register = template.Library()


@register.filter
def loud(text):
    return _upper(text)


@register.simple_tag
def unused_tag(value=""):
    return value


def _upper(text):
    return text.upper()
