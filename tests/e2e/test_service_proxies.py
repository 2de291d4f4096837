"""The forward proxy of the tests is one, and tells what passed."""

from __future__ import annotations

import time

import httpx
import pytest
import websocket

from tests.services.environments import featbit
from tests.services.featbit_server import FeatBitServer
from tests.services.proxies import ForwardProxy
from tests.services.raw import stream_path


def test_plain_requests_pass_the_proxy_and_are_recorded() -> None:
    with FeatBitServer() as server, ForwardProxy() as proxy:
        with httpx.Client(proxy=proxy.url) as client:
            codes = [client.get(server.url + "/health/liveness").status_code for _ in range(2)]
        assert codes == [200, 200]
        assert [(item.method, item.target, item.status) for item in proxy.passed] == [
            ("GET", server.url + "/health/liveness", 200)
        ] * 2


def test_a_body_passes_the_proxy() -> None:
    with FeatBitServer() as server, ForwardProxy() as proxy:
        headers = {"Authorization": server.secret}
        with httpx.Client(proxy=proxy.url, headers=headers) as client:
            client.post(server.url + "/api/public/insight/track", json=[{"user": {"keyId": "u-1"}}])
        assert server.events == [{"user": {"keyId": "u-1"}}]


def open_stream(server: FeatBitServer, proxy: ForwardProxy, auth: tuple[str, str] | None = None) -> websocket.WebSocket:
    return websocket.create_connection(
        server.ws_url + stream_path(server),
        timeout=10,
        http_proxy_host="127.0.0.1",
        http_proxy_port=proxy.port,
        http_proxy_auth=auth,
        http_no_proxy=["none"],  # loopback is spared otherwise
        proxy_type="http",
    )


def test_a_stream_passes_the_proxy_through_a_tunnel() -> None:
    with FeatBitServer() as server, ForwardProxy() as proxy:
        server.put_flag(featbit.boolean_flag())
        stream = open_stream(server, proxy)
        stream.send('{"messageType":"data-sync","data":{"timestamp":0}}')
        assert "checkout-v2" in str(stream.recv())
        stream.close()
        assert [(item.method, item.target) for item in proxy.passed] == [("CONNECT", f"127.0.0.1:{server.port}")]


def test_a_proxy_with_users_turns_others_away() -> None:
    with FeatBitServer() as server, ForwardProxy(user="ana", password="s3cret") as proxy:
        with httpx.Client(proxy=proxy.url) as client:
            assert client.get(server.url + "/health/liveness").status_code == 407
        with pytest.raises(websocket.WebSocketProxyException):
            open_stream(server, proxy)
        assert server.requests == []


def test_a_proxy_with_users_looks_at_the_password() -> None:
    with ForwardProxy(user="ana", password="s3cret") as proxy:
        url = proxy.url.replace("//", "//ana:guess@")
        assert httpx.get("http://127.0.0.1:1/", proxy=url).status_code == 407


def test_a_proxy_with_users_lets_them_pass() -> None:
    with FeatBitServer() as server, ForwardProxy(user="ana", password="s3cret") as proxy:
        with httpx.Client(proxy=proxy.url.replace("//", "//ana:s3cret@")) as client:
            assert client.get(server.url + "/health/liveness").status_code == 200
        open_stream(server, proxy, ("ana", "s3cret")).close()


def test_credentials_for_the_proxy_stay_with_the_proxy() -> None:
    with FeatBitServer() as server, ForwardProxy(user="ana", password="s3cret") as proxy:
        with httpx.Client(proxy=proxy.url.replace("//", "//ana:s3cret@")) as client:
            client.get(server.url + "/health/liveness")
        assert "proxy-authorization" not in server.requests[0].headers


def test_a_proxy_can_refuse() -> None:
    with FeatBitServer() as server, ForwardProxy() as proxy:
        proxy.refuses_with = 502
        with httpx.Client(proxy=proxy.url) as client:
            assert client.get(server.url + "/health/liveness").status_code == 502


def test_the_end_of_a_tunnel_reaches_the_server() -> None:
    with FeatBitServer() as server, ForwardProxy() as proxy:
        stream = open_stream(server, proxy)
        server.wait_for(lambda s: s.connections == 1)
        stream.close()
        server.wait_for(lambda s: s.connections == 0)


def test_a_proxy_that_closes_ends_its_tunnels() -> None:
    with FeatBitServer() as server:
        with ForwardProxy() as proxy:
            stream = open_stream(server, proxy)
            server.wait_for(lambda s: s.connections == 1)
        server.wait_for(lambda s: s.connections == 0)
        started_s = time.monotonic()
        with pytest.raises((OSError, websocket.WebSocketException)):
            stream.recv()
        stream.close()
        assert time.monotonic() - started_s < 5
