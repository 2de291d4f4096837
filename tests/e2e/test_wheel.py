"""The wheel, away from the tree and without extras: what `pip install flagmw` gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROBE = """
import json, sys, threading
import flagmw
import flagmw.providers
services = [flagmw.Client("hackle://key"), flagmw.Client(flagmw.providers.FeatBit("secret"))]
heavy = ["requests", "urllib3", "certifi", "websocket", "django", "flask", "yaml", "starlette", "watchfiles", "click"]
heavy += ["werkzeug"]
loaded = [name for name in heavy if name in sys.modules]
threads = threading.active_count()
from flagmw.providers import FlagFile, Static
from flagmw.wsgi import FlagMiddleware
from flagmw.asgi import FlagMiddleware as AsgiMiddleware
import flagmw.testing
user = flagmw.UserContext("u")
with open("flags.json", "w") as file:
    file.write('{"flags": {"f": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"}}}')
with open("flags.yaml", "w") as file:
    file.write("flags: {}")
as_json, as_yaml = flagmw.Client(FlagFile("flags.json")), flagmw.Client(FlagFile("flags.yaml"))
print(json.dumps({
    "file": flagmw.__file__,
    "loaded": loaded,
    "threads": threads,
    "value": as_json.is_enabled("f", user),
    "yaml": [as_yaml.is_enabled("f", user), as_yaml.status.error],
    "missing": [name for name in flagmw.__all__ if not hasattr(flagmw, name)],
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_core_and_adapters_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info" not in name}
    adapters = {path.name for path in (ROOT / "contrib").iterdir() if path.is_dir()}
    assert top == {"flagmw", *adapters}
    assert "flagmw_django" in adapters
    assert {f"{package}/py.typed" for package in top} <= set(names)
    assert not [name for name in names if name.endswith((".pyc", ".md")) and ".dist-info" not in name]


def test_the_wheel_holds_all_parts_of_the_reports_page(wheel: Path) -> None:
    assets = ROOT / "flagmw" / "report" / "assets"
    parts = {str(path.relative_to(ROOT)) for path in assets.iterdir()}
    assert parts
    assert parts <= set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_alone_imports_lightly_and_serves_flags(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FLAGMW"))}
    done = subprocess.run(
        [str(python), "-I", "-c", PROBE],
        cwd=tmp_path,
        env=clean,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["file"].startswith(str(environment))
    assert (found["loaded"], found["threads"], found["value"], found["missing"]) == ([], 1, True, [])
    served, error = found["yaml"]
    assert served is False
    assert "pip install 'flagmw[file]'" in error
    command = subprocess.run(
        [str(environment / "bin" / "flagmw"), "check", "flags.json"],
        cwd=tmp_path,
        env=clean,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert command.returncode == 2
    assert "pip install 'flagmw[cli]'" in command.stderr
