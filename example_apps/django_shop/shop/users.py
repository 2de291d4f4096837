"""For whom flags are evaluated, and what visitors pick about themselves at the top of each page."""

from typing import Any

from django.http import HttpRequest

from flagmw import UserContext

CHOICES = {
    "country": {"DE": "Germany", "FR": "France", "US": "USA"},
    "plan": {"free": "Free", "plus": "Plus"},
}


def visitor(request: HttpRequest) -> dict[str, str]:
    """Give the country and the plan that the visitor has picked; a real shop would look into the account."""
    return {"country": request.session.get("country", "US"), "plan": request.session.get("plan", "free")}


def build(request: HttpRequest) -> UserContext:
    """Say for whom flags are evaluated. It has no key, so flagmw recognises the visitor by a cookie of its own."""
    picked = visitor(request)
    return UserContext(country=picked["country"], attributes={"plan": picked["plan"]})


def in_every_template(request: HttpRequest) -> dict[str, Any]:
    """Give templates what the visitor can pick, and has picked."""
    picked = visitor(request)
    choices = {
        field: [(value, name, value == picked[field]) for value, name in names.items()]
        for field, names in CHOICES.items()
    }
    page = request.resolver_match.url_name if request.resolver_match else ""
    return {"choices": choices, "country": CHOICES["country"][picked["country"]], "page": page}
