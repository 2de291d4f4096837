"""A small shop on Flask. What flagmw needs here: one setting, one line that installs it, and reads where they matter."""

import datetime as dt
import json
import logging
import os
from pathlib import Path
from typing import Any

import delivery
from flask import Flask, Request, abort, redirect, render_template, request, session, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from flagmw import UserContext, flags
from flagmw_flask import Flags, require_flag

FOLDER = Path(__file__).parent
CHOICES = {
    "country": {"DE": "Germany", "FR": "France", "US": "USA"},
    "plan": {"free": "Free", "plus": "Plus"},
}

logging.basicConfig(format="%(asctime)s [%(process)d] %(levelname)s %(name)s: %(message)s")
logging.getLogger("flagmw").setLevel(logging.INFO)


def visitor() -> dict[str, str]:
    """Give the country and the plan that the visitor has picked; a real shop would look into the account."""
    return {"country": session.get("country", "US"), "plan": session.get("plan", "free")}


def user(_: Request) -> UserContext:
    """Say for whom flags are evaluated. It has no key, so flagmw recognises the visitor by a cookie of its own."""
    picked = visitor()
    return UserContext(country=picked["country"], attributes={"plan": picked["plan"]})


app = Flask(__name__)
app.config["SECRET_KEY"] = os.environ.get("SECRET_KEY", "for this demo only")
app.config["FLAGMW"] = {
    "FLAG_FILE": FOLDER / "flags.yaml",
    "USAGE": FOLDER / "pyproject.toml",  # which functions still run, which flags may go: flagmw usage report
}
Flags(app, user=user)


@app.get("/")
def product() -> str:
    country = visitor()["country"]
    if flags.is_enabled("delivery-promise"):
        arrives = delivery.promised(country, dt.datetime.now(tz=dt.UTC).date())
    else:
        arrives = delivery.estimated(country)
    return render_template("product.html", arrives=arrives)  # the template reads `new-gallery`, where it matters


@app.get("/checkout")
@require_flag("checkout")
def checkout() -> str:
    return render_template("checkout.html")


@app.post("/visitor/<field>/<value>")
def choose(field: str, value: str) -> Response:
    """Keep what the visitor has picked at the top of a page, and go back to that page."""
    if value not in CHOICES.get(field, {}):
        abort(404)
    session[field] = value
    return redirect(url_for("checkout" if request.args.get("page") == "checkout" else "product"), 303)


@app.get("/flags.json")
def flags_json() -> dict[str, Any]:
    """Give all flags as this visitor has them, and who answers."""
    evaluations = {
        key: {"value": e.value, "variation": e.variation, "reason": e.reason, "revision": e.revision}
        for key, e in flags.all().items()
    }
    return {"pid": os.getpid(), "flags": evaluations}


@app.errorhandler(404)
def not_found(_: HTTPException) -> tuple[str, int]:
    return render_template("not_found.html"), 404


@app.context_processor
def in_every_template() -> dict[str, Any]:
    return {"choices": CHOICES, "visitor": visitor(), "page": request.endpoint, "pid": os.getpid()}


@app.template_filter()
def as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
