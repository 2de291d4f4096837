"""A small shop on Flask. What flagmw needs here: one setting, one line that installs it, and reads where they matter."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from flask import Flask, Request, abort, redirect, render_template, request, session, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from flagmw import UserContext, flags
from flagmw_flask import Flags, require_flag

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
app.config["FLAGMW"] = {"FLAG_FILE": Path(__file__).with_name("flags.yaml")}
Flags(app, user=user)


@app.get("/")
def product() -> str:
    return render_template("product.html")  # the template reads `new-gallery`, where it matters


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
