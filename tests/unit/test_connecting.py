"""Opening connections: addresses, deadlines, interruption, proxies, TLS."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flagmw.connecting import Connector, Target
from flagmw.errors import ProtocolError, TransportError
from flagmw.lifecycle.waker import Waker
from flagmw.line import Interrupted, Line, Overdue
from flagmw.network import Network
from tests.services.blackhole import BlackHole
from tests.unit.network_support import PATIENT, QUICK, TLS_FOLDER, Peer, RawServer, descriptors, free_port

CA_FILE = str(TLS_FOLDER / "loopback.crt")


@contextmanager
def connected(
    port: int, network: Network = PATIENT, *, is_secure: bool = False, host: str = "127.0.0.1"
) -> Iterator[Line]:
    waker = Waker()
    line = None
    try:
        line = Connector(network, waker, time.monotonic).connect(Target(host=host, port=port, is_secure=is_secure))
        yield line
    finally:
        if line is not None:
            line.close()
        waker.close()


def error_of(port: int, network: Network = PATIENT, **options: Any) -> TransportError:
    with pytest.raises(TransportError) as caught, connected(port, network, **options):
        pass
    return caught.value


@contextmanager
def woken_soon(connector_calls: Callable[[Waker], object]) -> Iterator[list[BaseException | float]]:
    """Run something in a thread, and wake it when the block ends; gives what it raised and how long that took."""
    waker = Waker()
    seen: list[BaseException | float] = []

    def run() -> None:
        try:
            connector_calls(waker)
        except BaseException as error:
            seen.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield seen
    began = time.monotonic()
    waker.wake()
    thread.join(10)
    seen.append(time.monotonic() - began)
    waker.close()


# --- addresses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://flags.example", ("flags.example", 80, False, "/")),
        ("https://flags.example/", ("flags.example", 443, True, "/")),
        ("ws://flags.example:8080/streaming?token=a&type=server", ("flags.example", 8080, False, "/streaming?token=a&type=server")),
        ("wss://Flags.Example/a/b", ("flags.example", 443, True, "/a/b")),
        ("wss://[::1]:5100/streaming", ("::1", 5100, True, "/streaming")),
        ("http://flags.example?x=1", ("flags.example", 80, False, "/?x=1")),
        ("http://flags.example/a b/ü?c=d e%20f", ("flags.example", 80, False, "/a%20b/%C3%BC?c=d%20e%20f")),
        ("http://flags.example/p#part", ("flags.example", 80, False, "/p")),
    ],
)  # fmt: skip
def test_a_url_is_read(url: str, expected: tuple[str, int, bool, str]) -> None:
    target = Target.of(url)
    assert (target.host, target.port, target.is_secure, target.resource) == expected


@pytest.mark.parametrize("url", ["", "flags.example", "ftp://flags.example", "http://", "http://h:x1", "http://[::1"])
def test_what_is_no_address_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(TransportError) as caught:
        Target.of(url)
    assert str(caught.value) == "the service's address is no URL with a host"


def test_an_address_shows_nothing_of_path_and_query() -> None:
    assert "hush" not in repr(Target.of("ws://flags.example/hush?token=hush"))


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://flags.example", "flags.example"),
        ("https://flags.example:443", "flags.example"),
        ("http://flags.example:443", "flags.example:443"),
        ("ws://[::1]:81", "[::1]:81"),
    ],
)
def test_the_host_header_names_a_port_that_is_not_the_schemes(url: str, authority: str) -> None:
    assert Target.of(url).authority == authority


# --- connecting -----------------------------------------------------------------------------------------------


def test_bytes_go_both_ways() -> None:
    with RawServer(lambda peer: peer.send(peer.read_exactly(5)[::-1])) as server, connected(server.port) as line:
        line.sendall(b"hello")
        assert b"".join(iter(lambda: line.recv(3), b"")) == b"olleh"


def test_a_refused_connection_says_so() -> None:
    port = free_port()
    assert str(error_of(port)) == f"127.0.0.1:{port} refused the connection"


def test_an_unknown_host_says_so() -> None:
    assert "nowhere.invalid:80: the host's name is not known" in str(error_of(80, host="nowhere.invalid"))


@pytest.mark.parametrize("host", ["a" * 70 + ".example", "a..b"])
def test_a_host_that_cannot_be_one_is_an_error_like_others(host: str) -> None:
    assert "the host's name is" in str(error_of(80, host=host))


def test_a_port_that_takes_no_connection_is_given_up_in_time() -> None:
    with BlackHole() as hole:
        began = time.monotonic()
        error = error_of(hole.port, QUICK)
        assert isinstance(error, Overdue)
        assert str(error) == f"127.0.0.1:{hole.port} did not let us connect in 0.4 s"
        assert 0.3 < time.monotonic() - began < 2.0


def test_connecting_ends_when_another_thread_wakes_it() -> None:
    with BlackHole() as hole:
        target = Target(host="127.0.0.1", port=hole.port, is_secure=False)
        with woken_soon(lambda waker: Connector(PATIENT, waker, time.monotonic).connect(target)) as seen:
            pass
        assert isinstance(seen[0], Interrupted)
        assert seen[1] < 1.0  # type: ignore[operator]  # a number of seconds


def test_who_is_woken_before_does_not_begin_to_connect() -> None:
    waker = Waker()
    waker.wake()
    with RawServer(Peer.hold) as server:
        target = Target(host="127.0.0.1", port=server.port, is_secure=False)
        with pytest.raises(Interrupted):
            Connector(PATIENT, waker, time.monotonic).connect(target).recv(1)
    waker.close()


def _resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_the_next_address_of_a_host_is_tried_when_the_first_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(lambda peer: peer.send(b"!")) as server:
        _resolving_to(monkeypatch, ("127.0.0.1", free_port()), ("127.0.0.1", server.port))
        with connected(1, host="flags.example") as line:
            assert line.recv(1) == b"!"


def test_an_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with BlackHole() as hole, RawServer(lambda peer: peer.send(b"!")) as server:
        _resolving_to(monkeypatch, ("127.0.0.1", hole.port), ("127.0.0.1", server.port))
        with connected(1, QUICK, host="flags.example") as line:
            assert line.recv(1) == b"!"


def test_when_no_address_answers_the_last_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolving_to(monkeypatch, ("127.0.0.1", free_port()), ("127.0.0.1", free_port()))
    assert str(error_of(81, host="flags.example")) == "flags.example:81 refused the connection"


def test_failed_attempts_leave_no_descriptor_open() -> None:
    with BlackHole() as hole, RawServer(Peer.hold) as server:
        before = descriptors()
        for _ in range(5):
            error_of(free_port())
            error_of(server.port, QUICK, is_secure=True)
        error_of(hole.port, QUICK)
        assert descriptors() - before <= server.accepted  # the server's own ends


# --- TLS ------------------------------------------------------------------------------------------------------


def trusting(ca_file: str | None = CA_FILE, **options: Any) -> Network:
    return Network(proxy="", ca_file=ca_file, **options)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_certificate_of_the_ca_file_is_trusted(host: str) -> None:
    with (
        RawServer(lambda peer: peer.send(peer.read_exactly(5)[::-1]), certificate="loopback") as server,
        connected(server.port, trusting(), is_secure=True, host=host) as line,
    ):
        line.sendall(b"hello")
        assert line.recv(5) == b"olleh"


def test_a_certificate_that_nobody_vouches_for_is_refused_with_what_to_do() -> None:
    with RawServer(Peer.hold, certificate="loopback") as server:
        assert str(error_of(server.port, is_secure=True)) == (
            f"127.0.0.1:{server.port}: its certificate is not trusted: self-signed certificate; "
            "name the certificates to trust with ca_file"
        )


def test_a_certificate_of_another_host_is_refused() -> None:
    with RawServer(Peer.hold, certificate="elsewhere") as server:
        error = error_of(server.port, trusting(str(TLS_FOLDER / "elsewhere.crt")), is_secure=True)
        assert "its certificate is not trusted: IP address mismatch" in str(error)


def test_a_ca_file_replaces_the_systems_certificates() -> None:
    with RawServer(Peer.hold, certificate="loopback") as server:
        error = error_of(server.port, trusting(str(TLS_FOLDER / "elsewhere.crt")), is_secure=True)
        assert "its certificate is not trusted" in str(error)


def test_any_certificate_will_do_when_that_was_asked_for() -> None:
    with (
        RawServer(lambda peer: peer.send(b"!"), certificate="elsewhere") as server,
        connected(server.port, trusting(None, verify=False), is_secure=True) as line,
    ):
        assert line.recv(1) == b"!"


def test_a_ca_file_that_is_missing_is_named() -> None:
    error = error_of(free_port(), trusting("/no/such/file.pem"), is_secure=True)
    assert str(error) == "ca_file /no/such/file.pem: No such file or directory"


def test_a_ca_file_without_certificates_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nothing in here\n")
    assert str(path) in str(error_of(free_port(), trusting(str(path)), is_secure=True))


def test_a_server_without_tls_is_an_error_that_speaks_of_tls() -> None:
    with RawServer(lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        assert f"127.0.0.1:{server.port}: TLS failed" in str(error_of(server.port, trusting(), is_secure=True))


def test_a_server_that_hangs_up_in_the_middle_of_tls_is_an_error() -> None:
    with RawServer(lambda peer: peer.read_exactly(10)) as server:
        assert server.peer in str(error_of(server.port, trusting(), is_secure=True))


def test_a_server_that_says_nothing_in_tls_is_given_up_in_time() -> None:
    with RawServer(Peer.hold) as server:
        began = time.monotonic()
        assert isinstance(error_of(server.port, trusting(connect_timeout_s=0.3), is_secure=True), Overdue)
        assert time.monotonic() - began < 2.0


def test_a_server_that_drips_its_half_of_tls_is_given_up_in_time() -> None:
    def drip(peer: Peer) -> None:
        peer.send(b"\x16\x03\x03\x40\x00")
        while True:
            peer.send(b"\x02")
            time.sleep(0.02)  # the misbehaviour itself

    with RawServer(drip) as server:
        began = time.monotonic()
        error_of(server.port, trusting(connect_timeout_s=0.3), is_secure=True)
        assert time.monotonic() - began < 2.0


def test_tls_ends_when_another_thread_wakes_it() -> None:
    has_come = threading.Event()

    def listen(peer: Peer) -> None:
        peer.read_exactly(1)
        has_come.set()
        peer.hold()

    with RawServer(listen) as server:
        target = Target(host="127.0.0.1", port=server.port, is_secure=True)
        with woken_soon(lambda waker: Connector(PATIENT, waker, time.monotonic).connect(target)) as seen:
            assert has_come.wait(10)
        assert isinstance(seen[0], Interrupted)
        assert seen[1] < 1.0  # type: ignore[operator]  # a number of seconds


# --- proxies --------------------------------------------------------------------------------------------------


def behind(proxy: RawServer, userinfo: str = "", **options: Any) -> Network:
    return Network(proxy=f"http://{userinfo}{proxy.peer}", **options)


def test_a_proxy_is_asked_for_host_and_port_with_its_password_and_then_out_of_the_way() -> None:
    requests = []

    def serve(peer: Peer) -> None:
        requests.append(peer.read_request())
        peer.send(b"HTTP/1.1 200 Connection established\r\nX-Some: thing\r\n\r\n")
        peer.send(peer.read_exactly(5)[::-1])

    with RawServer(serve) as proxy:
        network = behind(proxy, "ana:p%40ss@")
        with connected(8123, network, host="flags.example") as line:
            line.sendall(b"hello")
            assert line.recv(5) == b"olleh"
    password = base64.b64encode(b"ana:p@ss").decode()
    assert requests == [
        f"CONNECT flags.example:8123 HTTP/1.1\r\nHost: flags.example:8123\r\nProxy-Authorization: Basic {password}"
    ]


def test_tls_is_spoken_with_the_target_behind_a_proxy() -> None:
    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        with socket.create_connection(("127.0.0.1", server.port)) as far:
            back = threading.Thread(target=_pump, args=(far, peer.socket))
            back.start()
            _pump(peer.socket, far)
            back.join(10)

    with RawServer(lambda peer: peer.send(b"!"), certificate="loopback") as server, RawServer(serve) as proxy:
        network = behind(proxy, ca_file=CA_FILE)
        with connected(443, network, is_secure=True, host="localhost") as line:
            assert line.recv(1) == b"!"


def _pump(source: socket.socket, drain: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            drain.sendall(data)
        drain.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway", "403 Forbidden"])
def test_a_proxy_that_refuses_is_named_with_its_answer(status: str) -> None:
    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.answer(status=status)

    with RawServer(serve) as proxy:
        error = error_of(443, behind(proxy, "ana:hush@"), host="flags.example")
        assert str(error) == f"the proxy {proxy.peer} does not connect us to flags.example:443 (HTTP {status[:3]})"


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 fine\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nmore"]
)
def test_a_proxy_that_is_none_is_a_protocol_error(answer: bytes) -> None:
    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer)
        peer.hold()

    with RawServer(serve) as proxy:
        error = error_of(443, behind(proxy), host="flags.example", is_secure=True)
        assert isinstance(error, ProtocolError)


def test_a_target_without_tls_may_speak_first_through_a_proxy() -> None:
    def serve(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        peer.hold()

    with RawServer(serve) as proxy, connected(80, behind(proxy), host="flags.example") as line:
        assert line.recv(5) == b"hello"


def test_a_proxy_that_hangs_up_is_an_error() -> None:
    with RawServer(lambda peer: peer.read_request()) as proxy:
        assert str(error_of(443, behind(proxy))) == f"{proxy.peer} closed the connection without an answer"


def test_a_proxy_that_is_down_is_named() -> None:
    port = free_port()
    error = error_of(443, Network(proxy=f"http://127.0.0.1:{port}"), host="flags.example")
    assert str(error) == f"127.0.0.1:{port} refused the connection"


def test_a_proxy_that_says_nothing_is_given_up_in_time() -> None:
    with RawServer(Peer.hold) as proxy:
        began = time.monotonic()
        error_of(443, behind(proxy, connect_timeout_s=0.3))
        assert time.monotonic() - began < 2.0


def proxy_of(url: str, network: Network | None = None) -> tuple[str, int] | None:
    proxy = Connector(network or Network(), Waker(), time.monotonic).proxy_for(Target.of(url))
    return None if proxy is None else (proxy.host, proxy.port)


@pytest.fixture
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ws_proxy", "wss_proxy", "request_method"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.usefixtures("_no_proxies")
class TestEnvironment:
    """Which proxy the environment's variables name."""

    def test_without_variables_there_is_no_proxy(self) -> None:
        assert proxy_of("https://flags.example") is None

    @pytest.mark.parametrize("url", ["https://flags.example", "wss://flags.example"])
    def test_https_proxy_is_for_what_speaks_tls(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://secure.example:3128")
        monkeypatch.setenv("HTTP_PROXY", "http://plain.example:3128")
        assert proxy_of(url) == ("secure.example", 3128)

    @pytest.mark.parametrize("url", ["http://flags.example", "ws://flags.example"])
    def test_http_proxy_is_for_what_does_not(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("https_proxy", "http://secure.example:3128")
        monkeypatch.setenv("http_proxy", "plain.example")
        assert proxy_of(url) == ("plain.example", 80)

    def test_all_proxy_is_for_the_rest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ALL_PROXY", "http://any.example:8080")
        assert proxy_of("wss://flags.example") == ("any.example", 8080)

    @pytest.mark.parametrize(
        ("no_proxy", "url"),
        [
            ("flags.example", "wss://flags.example"),
            ("example", "wss://flags.example"),
            (".example", "wss://flags.example"),
            ("a.b, flags.example:443", "wss://flags.example"),
            ("*", "wss://flags.example"),
            ("127.0.0.1", "wss://127.0.0.1:5100"),
            ("10.0.0.0/8,192.168.0.0/16", "wss://192.168.7.9"),
            ("x/y,fd00::/8", "wss://[fd00::7]"),
        ],
    )
    def test_no_proxy_names_hosts_domains_and_networks(
        self, no_proxy: str, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://secure.example:3128")
        monkeypatch.setenv("NO_PROXY", no_proxy)
        assert proxy_of(url) is None

    @pytest.mark.parametrize("no_proxy", ["other.example", "10.0.0.0/8", "flags.example:80", ""])
    def test_no_proxy_leaves_other_hosts_to_the_proxy(self, no_proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://secure.example:3128")
        monkeypatch.setenv("NO_PROXY", no_proxy)
        assert proxy_of("wss://flags.example") == ("secure.example", 3128)
        assert proxy_of("wss://11.1.1.1") == ("secure.example", 3128)

    def test_a_proxy_that_was_set_precedes_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://secure.example:3128")
        monkeypatch.setenv("NO_PROXY", "*")
        assert proxy_of("wss://flags.example", Network(proxy="http://mine.example:1")) == ("mine.example", 1)

    def test_an_empty_proxy_means_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://secure.example:3128")
        assert proxy_of("wss://flags.example", Network(proxy="")) is None

    @pytest.mark.parametrize("value", ["socks5://ana:hush@p.example:1", "https://ana:hush@p.example", "http://:x"])
    def test_a_proxy_of_another_kind_is_an_error_that_says_what_to_do(
        self, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", value)
        with pytest.raises(TransportError, match="set proxy") as caught:
            proxy_of("wss://flags.example")
        assert "hush" not in str(caught.value)
