"""What workers of real servers evaluate is in the store, each evaluation once."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from flagmw.flag_counts import read_flag_counts
from tests.e2e.shops import wait_until
from tests.e2e.watched_app import WatchedApp, gunicorn, uwsgi

pytestmark = pytest.mark.timeout(180)

STOP_S = 40.0

SHOP = """
import json, os, threading
import flask
import flagmw_flask

app = flask.Flask("shop")
app.config["SECRET_KEY"] = "of the tests"
app.config["FLAGMW"] = {"FLAG_FILE": os.environ["FLAGS"], "USAGE": json.loads(os.environ["WATCHED"])}

@app.get("/")
def home():
    flags = flask.request.flags
    flags.is_enabled("beta")
    flags.is_enabled("beta")
    threading.Event().wait(0.005)
    answer = flask.jsonify(pid=os.getpid())
    note()
    return answer

def note():
    # one write, which is kept whatever happens to the process
    descriptor = os.open(os.environ["FLAGS"] + ".truth", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, b".")
    finally:
        os.close(descriptor)

def rare():
    return "nobody calls this"

flagmw_flask.Flags(app)
application = app
"""

SERVERS = {
    "gunicorn": gunicorn(),
    "gunicorn --preload": gunicorn("--preload"),
    "gunicorn --max-requests": gunicorn("--max-requests", "9"),
    "gunicorn gevent": gunicorn("-k", "gevent"),
    "uWSGI": uwsgi("--master"),
    "uWSGI without a master": uwsgi(),
}


def stored(app: WatchedApp) -> int:
    return sum(one.count for one in read_flag_counts(app.store).counts)


@pytest.mark.parametrize("command", SERVERS.values(), ids=SERVERS.keys())
def test_each_evaluation_in_any_worker_is_stored_once(tmp_path: Path, command: Callable[[int], Sequence[str]]) -> None:
    flags, truth = tmp_path / "flags.json", tmp_path / "flags.json.truth"
    beta = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}
    flags.write_text(json.dumps({"flags": {"beta": beta}}))
    is_silent = "uwsgi" in " ".join(command(0))  # its workers may leave without a word
    app = WatchedApp(tmp_path, store_interval_s=0.3 if is_silent else 60.0)
    (tmp_path / "app.py").write_text(SHOP)
    running = app.serve(command, FLAGS=str(flags))
    try:
        app.ask_until(running, lambda answers: len(answers) >= 3 and answers.total() >= 40)
        if is_silent:
            wait_until(lambda: stored(app) == len(truth.read_bytes()), "all evaluations are stored")
        running.signal(signal.SIGTERM)
        assert running.await_end(STOP_S), running.log()[-3000:]
    finally:
        running.kill_all()
    assert {(one.flag_key, one.variation) for one in read_flag_counts(app.store).counts} == {("beta", "off")}
    assert stored(app) == len(truth.read_bytes())
