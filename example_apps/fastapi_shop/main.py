"""A small shop on FastAPI. What flagmw needs here: a client, one middleware, and reads where they matter."""

import json
import logging
import os
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection

from flagmw import Client, UserContext
from flagmw.http import AnonymousCookie
from flagmw.providers import FlagFile
from flagmw_starlette import FlagMiddleware, FlagsDep, require_flag

FOLDER = Path(__file__).parent
SECRET_KEY = os.environ.get("SECRET_KEY", "for this demo only")
CHOICES = {
    "country": {"DE": "Germany", "FR": "France", "US": "USA"},
    "plan": {"free": "Free", "plus": "Plus"},
}

logging.basicConfig(format="%(asctime)s [%(process)d] %(levelname)s %(name)s: %(message)s")
logging.getLogger("flagmw").setLevel(logging.INFO)


def visitor(connection: HTTPConnection) -> dict[str, str]:
    """Give the country and the plan that the visitor has picked; a real shop would look into the account."""
    return {"country": connection.session.get("country", "US"), "plan": connection.session.get("plan", "free")}


def user(connection: HTTPConnection) -> UserContext:
    """Say for whom flags are evaluated. It has no key, so flagmw recognises the visitor by a cookie of its own."""
    picked = visitor(connection)
    return UserContext(country=picked["country"], attributes={"plan": picked["plan"]})


app = FastAPI(title="Lamplight")
app.add_middleware(
    FlagMiddleware,
    client=Client(FlagFile(FOLDER / "flags.yaml")),
    user=user,
    anonymous=AnonymousCookie(secret=SECRET_KEY),
    usage=FOLDER / "pyproject.toml",  # which functions still run, which flags may go: flagmw usage report
)
app.add_middleware(SessionMiddleware, secret_key=SECRET_KEY)
app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")


def in_every_template(request: Request) -> dict[str, Any]:
    return {
        "flags": request.state.flags,
        "choices": CHOICES,
        "visitor": visitor(request),
        "page": getattr(request.scope.get("route"), "name", ""),
        "pid": os.getpid(),
    }


def as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


templates = Jinja2Templates(FOLDER / "templates", context_processors=[in_every_template])
templates.env.filters["as_json"] = as_json


@app.get("/")
async def product(request: Request) -> HTMLResponse:
    return templates.TemplateResponse(request, "product.html")  # it reads `new-gallery`, where it matters


@app.get("/checkout", dependencies=[Depends(require_flag("checkout"))])
async def checkout(request: Request) -> HTMLResponse:
    return templates.TemplateResponse(request, "checkout.html")


@app.post("/visitor/{field}/{value}")
async def choose(request: Request, field: str, value: str, page: str = "product") -> Response:
    """Keep what the visitor has picked at the top of a page, and go back to that page."""
    if value not in CHOICES.get(field, {}):
        raise HTTPException(HTTPStatus.NOT_FOUND)
    request.session[field] = value
    back = request.url_for("checkout" if page == "checkout" else "product")
    return RedirectResponse(back, HTTPStatus.SEE_OTHER)


@app.get("/flags.json")
async def flags_json(flags: FlagsDep) -> dict[str, Any]:
    """Give all flags as this visitor has them, and who answers."""
    evaluations = {
        key: {"value": e.value, "variation": e.variation, "reason": e.reason, "revision": e.revision}
        for key, e in flags.all().items()
    }
    return {"pid": os.getpid(), "flags": evaluations}


@app.exception_handler(HTTPStatus.NOT_FOUND)
async def not_found(request: Request, _: Exception) -> HTMLResponse:
    return templates.TemplateResponse(request, "not_found.html", status_code=HTTPStatus.NOT_FOUND)
