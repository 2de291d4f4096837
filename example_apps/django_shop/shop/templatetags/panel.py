"""`{% panel %}`: shows which flags the request has read, so it belongs at the end of a page."""

import json
import os
from typing import Any

from django import template
from django.template.context import Context

register = template.Library()


@register.inclusion_tag("_panel.html", takes_context=True)
def panel(context: Context) -> dict[str, Any]:
    read = list(context["request"].flags.read().values())
    return {
        "flags": [(evaluation, json.dumps(evaluation.value, ensure_ascii=False)) for evaluation in read],
        "revision": read[0].revision if read else "",
        "pid": os.getpid(),
    }
