"""`Client.warm`: flags for the children, without a thread in the parent."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from flagmw import Client, UserContext
from flagmw.providers import FeatBit, FlagFile, Static
from tests.services.environments import featbit
from tests.services.featbit_server import FeatBitServer

USER = UserContext("ann", name="Ann")
FLAGS = """{"flags": {"beta": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"}}}"""


def provider_of(server: FeatBitServer) -> FeatBit:
    return FeatBit(server.secret, streaming_url=server.ws_url, event_url=server.url, events=False)


def in_child(client: Client, key: str) -> object:
    """Give what a forked child evaluates first."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, repr(client.variation(key, USER, "default")).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


def test_a_child_has_the_flags_of_a_warmed_parent_while_the_service_is_down() -> None:
    with FeatBitServer() as server:
        server.put_flag(featbit.flag("banner", values=("old", "new"), kind="string", serves=0))
        client = Client(provider_of(server))
        assert client.warm(10.0)
    assert in_child(client, "banner") == "'old'"


def test_warming_starts_no_thread_and_leaves_no_connection() -> None:
    with FeatBitServer() as server:
        server.put_flag(featbit.flag("banner", values=("old", "new"), kind="string", serves=0))
        before = threading.active_count()
        client = Client(provider_of(server))
        client.warm(10.0)
        threads = threading.active_count()
        server.wait_for(lambda each: each.tcp_open == 0)
    assert threads == before


def test_warming_in_vain_gives_false_within_the_time_given() -> None:
    with FeatBitServer() as server:
        provider = provider_of(server)
    client = Client(provider)
    assert client.warm(0.5) is False
    assert client.variation("banner", USER, "default") == "default"
    client.close()


def test_a_flag_file_is_read_by_warming(tmp_path: Path) -> None:
    (tmp_path / "flags.json").write_text(FLAGS)
    client = Client(FlagFile(tmp_path / "flags.json"))
    before = threading.active_count()
    assert (client.warm(), threading.active_count()) == (True, before)


def test_a_client_that_runs_is_warm_as_soon_as_it_has_flags() -> None:
    with Client(Static({"beta": True})) as client:
        assert client.warm()


def test_an_offline_client_cannot_be_warmed() -> None:
    assert Client(FlagFile("flags.json"), offline=True).warm() is False
