"""Small shops, one for each host, that run in a process of their own under the usage agent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flagmw.flag_counts import FlagHistory, read_flag_counts
from flagmw.usage.store import read_usage

STORE = "usage.db"
FLAGS = {
    "flags": {
        "beta": {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"},
        "unread": {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"},
    }
}
USAGE = {"packages": ["shop"], "store": STORE, "app_name": "shop", "environment": "test"}

PRELUDE = """
import json
import logging
import sys
import threading

logging.getLogger("flagmw").addFilter(lambda record: "flag 'gone' gives the default" not in record.getMessage())

def tell(found):
    print(json.dumps(found))
"""

COMMON = '''
import functools
import flagmw

def loud(view):
    """Keep a view as decorators do: the framework gets another function."""
    @functools.wraps(view)
    def wrapped(*args, **kwargs):
        return view(*args, **kwargs)
    return wrapped

def answer():
    flags = flagmw.flags
    return f"{flags.is_enabled('beta')} {flags.is_enabled('beta')} {flags.variation('gone', 5)}"

def forgotten():
    return "nobody calls this"
'''

FLASK = """
import flask
import flagmw_flask
from shop.common import answer, loud

def create_app(**arguments):
    app = flask.Flask("shop")
    app.config["FLAGMW"] = SETTINGS

    @app.get("/")
    @loud
    def home():
        return answer()

    @app.get("/rare")
    @loud
    def rare():
        return "rare"

    flagmw_flask.Flags(app, **arguments)
    return app

SETTINGS = {"FLAG_FILE": "flags.json"}
"""

DJANGO_SETTINGS = """
SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["flagmw_django"]
MIDDLEWARE = ["flagmw_django.FlagMiddleware"]
ROOT_URLCONF = "shop.urls"
FLAGMW = {"FLAG_FILE": "flags.json"}
"""

DJANGO_URLS = """
from django.http import HttpResponse
from django.urls import path
from django.views import View
from shop.common import answer, loud

@loud
def home(request):
    return HttpResponse(answer())

class Rare(View):
    def get(self, request):
        return HttpResponse("rare")

async def later(request):
    return HttpResponse("later")

urlpatterns = [path("", home), path("rare", Rare.as_view()), path("later", later)]
"""

ASGI = """
from flagmw import Client
from flagmw.providers import FlagFile
from shop.common import answer

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": await home() if scope["path"] == "/" else await rare()})

async def home():
    return answer().encode()

async def rare():
    return b"rare"

def client():
    return Client(FlagFile("flags.json"))
"""

WSGI = """
from flagmw import Client
from flagmw.providers import FlagFile
from shop.common import answer

def app(environ, start_response):
    start_response("200 OK", [])
    return home() if environ["PATH_INFO"] == "/" else rare()

def home():
    yield answer().encode()

def rare():
    yield b"rare"

def client():
    return Client(FlagFile("flags.json"))
"""

FASTAPI = """
import fastapi
from flagmw import Client
from flagmw.providers import FlagFile
from flagmw_starlette import FlagMiddleware
from shop.common import answer, loud

app = fastapi.FastAPI()

@app.get("/")
@loud
def home():
    return answer()

@app.get("/later")
async def later():
    return answer()

@app.get("/rare")
async def rare():
    return "rare"

def install(**arguments):
    app.add_middleware(FlagMiddleware, client=Client(FlagFile("flags.json")), **arguments)
"""

STARLETTE = """
from flagmw import Client
from flagmw.providers import FlagFile
from flagmw_starlette import FlagMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from shop.common import answer

async def home(request):
    return PlainTextResponse(answer())

async def rare(request):
    return PlainTextResponse("rare")

def create_app(**arguments):
    return Starlette(
        routes=[Route("/", home), Route("/rare", rare)],
        middleware=[Middleware(FlagMiddleware, client=Client(FlagFile("flags.json")), **arguments)],
    )
"""

CELERY = """
from celery import Celery
from flagmw import Client
from flagmw.providers import FlagFile
from flagmw_celery import Flags
from shop.common import answer

app = Celery("shop", broker="memory://", backend="cache+memory://")
app.conf.task_always_eager = True

@app.task
def home():
    return answer()

@app.task
def rare():
    return "rare"

def install(client=None, **arguments):
    Flags(app, client, **arguments)
"""

MODULES = {
    "common": COMMON,
    "with_flask": FLASK,
    "settings": DJANGO_SETTINGS,
    "urls": DJANGO_URLS,
    "with_asgi": ASGI,
    "with_wsgi": WSGI,
    "with_fastapi": FASTAPI,
    "with_starlette": STARLETTE,
    "with_celery": CELERY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A folder with the package `shop`, in which programs run."""

    folder: Path

    @property
    def store(self) -> Path:
        """Where the agent writes, when it does."""
        return self.folder / STORE

    def run(self, program: str, *names: str, usage: Any = USAGE, environment: Mapping[str, str] | None = None) -> Any:
        """Run a program and give what it tells last; it must end well and log no more than that `gone` is no flag.

        Args:
            program: finds the modules of the shop, `USAGE`, and `tell`, which prints.
            names: the modules that the shop has besides `common`.
            usage: what `USAGE` is.
            environment: added to this process's.
        """
        package = self.folder / "shop"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").touch()
        for name in ("common", *names):
            (package / f"{name}.py").write_text(MODULES[name])
        (self.folder / "flags.json").write_text(json.dumps(FLAGS))
        script = self.folder / "program.py"
        script.write_text(f"{PRELUDE}\nUSAGE = {usage!r}\n{textwrap.dedent(program)}")
        ran = subprocess.run(
            [sys.executable, "-W", "error", str(script)],
            cwd=self.folder,
            env={**os.environ, "FLAGMW_SECRET": "of the tests", **(environment or {})},
            capture_output=True,
            text=True,
            timeout=60.0,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
        return json.loads(ran.stdout.splitlines()[-1])

    def write_section(self) -> None:
        """Put the same settings into a `pyproject.toml`."""
        lines = [f"{name} = {json.dumps(value)}" for name, value in USAGE.items()]
        (self.folder / "pyproject.toml").write_text("\n".join(["[tool.flagmw.usage]", *lines]))

    def ran(self) -> set[str]:
        """Name the functions that were seen running, without the package's name."""
        return {name for name, at in self._functions().items() if at is not None}

    def never(self) -> set[str]:
        """Name those that were not."""
        return {name for name, at in self._functions().items() if at is None}

    def _functions(self) -> dict[str, float | None]:
        stored = read_usage(self.store, app_name="shop", environment="test").functions
        return {
            f"{one.function.declaring_type}.{one.function.name}".removeprefix("shop."): one.last_invoked_at
            for one in stored
        }

    def history(self) -> FlagHistory:
        """Give what is known of flags."""
        return read_flag_counts(self.store, app_name="shop", environment="test")

    def counts(self) -> dict[tuple[str, str | None, str], int]:
        """Give counts by flag key, variation and reason."""
        return {(one.flag_key, one.variation, one.reason): one.count for one in self.history().counts}
