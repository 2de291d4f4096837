"""Requests: they end in time or when they are interrupted, and secrets go to one origin only."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from flagmw.errors import TransportError
from flagmw.line import Interrupted, Overdue
from flagmw.network import Network
from flagmw.session import HttpSession
from tests.services.blackhole import BlackHole
from tests.services.proxies import ForwardProxy
from tests.unit.network_support import PATIENT, QUICK, SECRET, TLS_FOLDER, Peer, RawServer, descriptors, free_port
from tests.unit.session_support import HEADERS, answering, failing, get, saying, session

# --- deadlines ------------------------------------------------------------------------------------------------


def drip(text: bytes, after: bytes = b"") -> Callable[[Peer], None]:
    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.send(after)
        for place in range(len(text)):
            peer.send(text[place : place + 1])
            time.sleep(0.02)  # the misbehaviour itself

    return serve


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


@pytest.mark.parametrize(
    "serve",
    [
        pytest.param(saying(b"", Peer.hold), id="says nothing"),
        pytest.param(saying(OK, Peer.hold), id="stalls in its body"),
        pytest.param(drip(OK * 10), id="drips its head"),
        pytest.param(drip(b"x" * 1000, OK), id="drips its body"),
        pytest.param(drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 100), id="continues for ever"),
        pytest.param(drip(b"1\r\nx\r\n" * 100, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), id="drips chunks"),
    ],
)  # fmt: skip
def test_an_answer_that_does_not_come_to_its_end_is_given_up_in_time(serve: Callable[[Peer], object]) -> None:
    began = time.monotonic()
    assert isinstance(failing(serve, QUICK), Overdue)
    assert time.monotonic() - began < 3.0


def test_the_time_for_connecting_is_not_added_to_that_for_the_answer() -> None:
    began = time.monotonic()
    assert isinstance(failing(saying(b"", Peer.hold), replace(PATIENT, read_timeout_s=0.3)), Overdue)
    assert time.monotonic() - began < 3.0


def test_a_server_that_does_not_read_is_given_up_in_time() -> None:
    waiting = threading.Event()
    with RawServer(lambda _: waiting.wait(10)) as server, session(QUICK) as made:
        with pytest.raises(Overdue):
            made.request("POST", f"http://{server.peer}/", HEADERS, b"x" * 50_000_000)
        waiting.set()


def test_a_server_that_does_not_let_us_connect_is_given_up_in_time() -> None:
    with BlackHole() as hole, session(QUICK) as made, pytest.raises(Overdue):
        made.request("GET", f"http://127.0.0.1:{hole.port}/", HEADERS)


def test_each_request_has_a_time_of_its_own() -> None:
    now = [1000.0]
    made = HttpSession(QUICK, monotonic=lambda: now[0])
    with RawServer(answering()) as server:
        for _ in range(4):
            made.request("GET", f"http://{server.peer}/", HEADERS)
            now[0] += 3600.0
        made.close()
        assert server.accepted == 1


# --- interrupting ---------------------------------------------------------------------------------------------


def interrupted_after(come: threading.Event, url: str) -> float:
    """Interrupt a request when it has come somewhere; gives how long it took to end."""
    made = HttpSession(PATIENT)
    ended: list[object] = []

    def run() -> None:
        try:
            made.request("GET", url, HEADERS)
        except BaseException as error:
            ended.append(error)
        finally:
            made.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert come.wait(10)
    began = time.monotonic()
    made.interrupt()
    thread.join(10)
    assert isinstance(ended[0], Interrupted)
    return time.monotonic() - began


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\nConte", OK + b"abc"])
def test_an_interrupted_request_ends_at_once(before: bytes) -> None:
    come = threading.Event()

    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.send(before)
        come.set()
        peer.hold()

    with RawServer(serve) as server:
        assert interrupted_after(come, f"http://{server.peer}/") < 1.0


def test_connecting_can_be_interrupted() -> None:
    come = threading.Event()
    come.set()
    with BlackHole() as hole:
        assert interrupted_after(come, hole.url) < 1.0


def test_nothing_follows_an_interruption() -> None:
    with RawServer(answering()) as server, session() as made:
        made.request("GET", f"http://{server.peer}/", HEADERS)
        made.interrupt()
        with pytest.raises(Interrupted):
            made.request("GET", f"http://{server.peer}/", HEADERS)


def test_nothing_follows_the_close() -> None:
    with RawServer(answering()) as server, session() as made:
        made.request("GET", f"http://{server.peer}/", HEADERS)
        made.close()
        with pytest.raises(Interrupted):
            made.request("GET", f"http://{server.peer}/", HEADERS)
        assert server.accepted == 1


def test_requests_that_fail_leave_no_descriptor_open() -> None:
    with session() as made:
        with pytest.raises(TransportError):
            made.request("GET", f"http://127.0.0.1:{free_port()}/", HEADERS)
        with RawServer(Peer.read_request) as server:
            before = descriptors()
            for _ in range(20):
                with pytest.raises(TransportError):
                    made.request("GET", f"http://{server.peer}/", HEADERS)
        assert descriptors() <= before


# --- redirects, cookies, passwords ----------------------------------------------------------------------------


def test_a_redirect_within_the_same_origin_is_followed() -> None:
    paths = []

    def serve(peer: Peer) -> None:
        while True:
            request = peer.read_request()
            paths.append(request.split(" ")[1])
            assert SECRET in request
            if len(paths) < 3:
                peer.answer(status="302 Found", Location=["/two", f"http://{server.peer}/three"][len(paths) - 1])
            else:
                peer.answer(b"there")

    with RawServer(serve) as server:
        assert get(server, path="/one").body == b"there"
    assert paths == ["/one", "/two", "/three"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_redirect_to_another_origin_is_not_followed(scheme: str) -> None:
    with RawServer(Peer.read_request) as other:
        with RawServer(answering(status="302 Found", Location=f"{scheme}://{other.peer}/")) as server:
            assert get(server).status == 302
        assert other.accepted == 0


def test_a_redirect_for_ever_ends_with_the_redirect() -> None:
    with RawServer(answering(status="302 Found", Location="/again")) as server:
        assert get(server).status == 302


def test_a_post_is_not_redirected() -> None:
    with RawServer(answering(status="307 Temporary Redirect", Location="/again")) as server, session() as made:
        assert made.request("POST", f"http://{server.peer}/", HEADERS, b"x").status == 307


def test_cookies_are_not_kept() -> None:
    seen = []

    def serve(peer: Peer) -> None:
        while True:
            seen.append(peer.read_request())
            peer.answer(Set_Cookie="a=b; Path=/")

    with RawServer(serve) as server, session() as made:
        for _ in range(2):
            made.request("GET", f"http://{server.peer}/", HEADERS)
    assert not any("Cookie" in request for request in seen)


def test_passwords_of_the_users_netrc_file_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login ana password netrc-password\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = []

    def serve(peer: Peer) -> None:
        while True:
            seen.append(peer.read_request())
            peer.answer()

    with RawServer(serve) as server, session() as made:
        made.request("GET", f"http://{server.peer}/", HEADERS)
        made.request("GET", f"http://{server.peer}/", {})
    assert f"Authorization: {SECRET}" in seen[0]
    assert "Authorization" not in seen[1]


# --- proxies and TLS ------------------------------------------------------------------------------------------


def test_a_proxy_is_asked_for_the_whole_address_when_there_is_no_tls() -> None:
    with (
        RawServer(answering(b"there")) as server,
        ForwardProxy(user="ana", password="p@ss") as proxy,
        session(Network(proxy=proxy.url.replace("//", "//ana:p%40ss@"))) as made,
    ):
        assert made.request("GET", f"http://{server.peer}/config", HEADERS).body == b"there"
        assert [(passed.method, passed.target) for passed in proxy.passed] == [("GET", f"http://{server.peer}/config")]


def test_a_proxy_connects_us_when_there_is_tls() -> None:
    with (
        RawServer(answering(b"there"), certificate="loopback") as server,
        ForwardProxy() as proxy,
        session(Network(proxy=proxy.url, ca_file=str(TLS_FOLDER / "loopback.crt"))) as made,
    ):
        for _ in range(2):
            assert made.request("GET", f"https://{server.peer}/", HEADERS).body == b"there"
        assert [(passed.method, passed.target) for passed in proxy.passed] == [("CONNECT", server.peer)]
        assert not any(SECRET in str(passed.headers) for passed in proxy.passed)


def test_a_password_that_a_proxy_does_not_take_is_not_shown() -> None:
    with ForwardProxy(user="ana", password="p") as proxy:
        network = Network(proxy=proxy.url.replace("//", f"//ana:{SECRET}@"))
        with session(network) as made, pytest.raises(TransportError, match="HTTP 407") as caught:
            made.request("GET", "https://flags.example/", HEADERS)
        assert SECRET not in str(caught.value)


def test_the_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(answering(b"there")) as server, ForwardProxy() as proxy, session(Network()) as made:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        made.request("GET", f"http://{server.peer}/", HEADERS)
        assert len(proxy.passed) == 1


def test_no_proxy_of_the_environment_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(answering(b"there")) as server, session(Network()) as made:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert made.request("GET", f"http://{server.peer}/", HEADERS).body == b"there"


def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    refused = pytest.raises(TransportError, match="its certificate is not trusted: self-signed certificate")
    with RawServer(answering(), certificate="loopback") as server, session() as made, refused:
        made.request("GET", f"https://{server.peer}/", HEADERS)


def test_other_libraries_certificates_do_not_loosen_what_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(TLS_FOLDER / "loopback.crt"))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(TLS_FOLDER / "loopback.crt"))
    network = Network(proxy="", ca_file=str(TLS_FOLDER / "elsewhere.crt"))
    refused = pytest.raises(TransportError, match="its certificate is not trusted")
    with RawServer(answering(), certificate="loopback") as server, session(network) as made, refused:
        made.request("GET", f"https://{server.peer}/", HEADERS)


def test_any_certificate_will_do_when_that_was_asked_for() -> None:
    with (
        RawServer(answering(b"x"), certificate="elsewhere") as server,
        session(Network(proxy="", verify=False)) as made,
    ):
        assert made.request("GET", f"https://{server.peer}/", HEADERS).body == b"x"


# --- the libraries beneath ------------------------------------------------------------------------------------


def test_the_libraries_log_nothing_of_what_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with RawServer(answering()) as server:
        get(server, path=f"/{SECRET}")
    assert not [record for record in caplog.records if record.name.startswith(("urllib3", "requests"))]


def test_the_libraries_log_what_others_ask(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with RawServer(answering()) as server:
        get(server)
        with requests.Session() as theirs:
            theirs.trust_env = False
            theirs.get(f"http://{server.peer}/mine").close()
    assert [record for record in caplog.records if "/mine" in record.getMessage()]


def test_the_libraries_are_not_imported_before_they_are_needed() -> None:
    code = (
        "import sys, flagmw, flagmw.providers, flagmw.session\n"
        "from flagmw.network import Network\n"
        "flagmw.session.HttpSession(Network())\n"
        "heavy = {'requests', 'urllib3', 'websocket', 'ssl', 'http.client', 'email.utils'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
