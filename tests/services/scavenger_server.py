"""A Scavenger collector for tests: initConfig over HTTP on one port, gRPC on another, and what a console would show.

with ScavengerServer(api_keys={"key"}) as collector:
    ...                                        # an agent with collector.url
    collector.wait_for(lambda c: c.invoked("shop"))

As a program it serves until its input ends: `python -m tests.services.scavenger_server` prints its URL as JSON, and for
each line `snapshot` it reads, the snapshot.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import grpc

from tests.services.proto_file import load_proto

PROTO = load_proto(Path(__file__).with_name("scavenger.proto"))
SERVICE = "GrpcAgentService"
POLL, CODE_BASE, INVOCATIONS = "PollConfig", "SendCodeBasePublication", "SendInvocationDataPublication"
METHODS = (POLL, CODE_BASE, INVOCATIONS)

LEAST_MILLIS = 1_490_000_000_000
MINUTE_MILLIS = 60_000
MAX_MESSAGE_BYTES = 10 * 1024 * 1024
"""What a collector takes unless its operator says otherwise."""

REQUIRED = ("api_key", "app_name", "app_version", "code_base_fingerprint", "hostname", "jvm_uuid")
WAIT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How a call is to fail.

    Attributes:
        code: the name of a gRPC status, such as "UNAVAILABLE"; None lets the call go on after the delay.
        text: what goes with it.
        delay_s: how long the call is kept waiting before; ended early when the server stops.
        calls: the numbers of the calls, from 0; None means all from now on.
    """

    code: str | None = "UNAVAILABLE"
    text: str = ""
    delay_s: float = 0.0
    calls: Collection[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call, as it came.

    Attributes:
        method: its name.
        message: what was sent.
        code: the status that was answered.
        at: wall time in seconds, by the server's clock.
    """

    method: str
    message: Any
    code: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a snapshot shows of one function in one application and environment."""

    app_name: str
    environment: str
    signature: str
    invoked_at_millis: int | None


@dataclass(slots=True, kw_only=True)
class Process:
    """An agent, as the collector's dashboard lists it."""

    app_name: str
    environment: str
    hostname: str
    app_version: str
    started_at_millis: int
    fingerprint: str
    polled_at: float | None = None


@dataclass(slots=True, kw_only=True)
class Known:
    """A function, as the collector keeps it: by its hash, for all applications."""

    entry: Any
    seen_at_millis: int
    is_garbage: bool = False


@dataclass(slots=True, kw_only=True)
class Tables:
    """What the collector stores."""

    processes: dict[str, Process] = field(default_factory=dict)
    polled: dict[str, float] = field(default_factory=dict)
    fingerprints: dict[tuple[str, str], int] = field(default_factory=dict)
    functions: dict[str, Known] = field(default_factory=dict)
    code_bases: dict[tuple[str, str], tuple[Any, ...]] = field(default_factory=dict)
    rows: dict[tuple[str, str, str], int | None] = field(default_factory=dict)


class ScavengerServer:
    """A collector on loopback; a context manager. Any thread may call its methods.

    Args:
        api_keys: who may send; None is everybody.
        poll_s: how long agents are told to wait between polls.
        publish_s: the same for publications.
        retry_s: the same after failures.
        max_message_bytes: larger messages are refused with RESOURCE_EXHAUSTED.

    Attributes:
        clock: wall time in seconds.
    """

    def __init__(
        self,
        *,
        api_keys: Collection[str] | None = None,
        poll_s: int = 1,
        publish_s: int = 1,
        retry_s: int = 1,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self.clock: Callable[[], float] = time.time
        self._api_keys = api_keys
        self._intervals = {
            "config_poll_interval_seconds": poll_s,
            "config_poll_retry_interval_seconds": retry_s,
            "code_base_publisher_check_interval_seconds": publish_s,
            "code_base_publisher_retry_interval_seconds": retry_s,
            "invocation_data_publisher_interval_seconds": publish_s,
            "invocation_data_publisher_retry_interval_seconds": retry_s,
        }
        self._max_message_bytes = max_message_bytes
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._failures: dict[str, Failure] = {}
        self._counts = dict.fromkeys(METHODS, 0)
        self._calls: list[Call] = []
        self._asked: list[str] = []
        self._tables = Tables()
        self._grpc: Any = None
        self._http: ThreadingHTTPServer | None = None
        self.grpc_port = 0
        self.http_port = 0

    # --- running ----------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen; after `close` on the same ports as before."""
        self._stopping.clear()
        options = [("grpc.max_receive_message_length", self._max_message_bytes), ("grpc.so_reuseport", 0)]
        self._grpc = grpc.server(ThreadPoolExecutor(8, thread_name_prefix="test-collector"), options=options)
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._answering(name),
                request_deserializer=method.takes.FromString,
                response_serializer=method.gives.SerializeToString,
            )
            for name, method in PROTO.services[SERVICE].items()
        }
        self._grpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.grpc_port = self._grpc.add_insecure_port(f"127.0.0.1:{self.grpc_port}")
        self._grpc.start()
        self._http = _Http(("127.0.0.1", self.http_port), _Handler)
        self._http.collector = self
        self.http_port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.05,), name="test-init-config", daemon=True).start()

    def close(self) -> None:
        """Stop listening and break off what is under way."""
        self._stopping.set()
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None
        if self._grpc is not None:
            self._grpc.stop(0).wait(10)
            self._grpc = None

    @property
    def url(self) -> str:
        """What agents are configured with."""
        return f"http://127.0.0.1:{self.http_port}"

    # --- what tests say ---------------------------------------------------------------------------------------

    def fail(self, method: str, failure: Failure) -> None:
        """Let calls of a method fail, until `heal`."""
        with self._changed:
            self._failures[method] = failure

    def heal(self) -> None:
        """Let all calls succeed again."""
        with self._changed:
            self._failures.clear()

    # --- what tests ask ---------------------------------------------------------------------------------------

    @property
    def calls(self) -> list[Call]:
        """All calls so far, those that failed included."""
        with self._changed:
            return list(self._calls)

    def calls_of(self, method: str) -> list[Call]:
        """All calls of a method."""
        return [call for call in self.calls if call.method == method]

    @property
    def init_config_queries(self) -> list[str]:
        """The queries with which initConfig was asked for, as they came."""
        with self._changed:
            return list(self._asked)

    @property
    def processes(self) -> dict[str, Process]:
        """The agents, by the id of their process."""
        with self._changed:
            return dict(self._tables.processes)

    def functions(self, app_name: str) -> list[Any]:
        """Give the entries of all code bases of an application, as they came."""
        with self._changed:
            return [
                entry for (app, _), entries in self._tables.code_bases.items() if app == app_name for entry in entries
            ]

    def fingerprints(self, app_name: str) -> list[str]:
        """Give the fingerprints that are known of an application."""
        with self._changed:
            return [fingerprint for app, fingerprint in self._tables.fingerprints if app == app_name]

    def invoked(self, app_name: str, environment: str | None = None) -> set[str]:
        """Give the hashes that were invoked, known or not."""
        with self._changed:
            return {
                hashed
                for (app, env, hashed), at in self._tables.rows.items()
                if app == app_name and environment in (None, env) and at is not None
            }

    def snapshot(self) -> list[Row]:
        """Give what a snapshot of all applications and environments shows.

        Raises:
            ValueError: a signature that makes snapshots fail as a whole.
        """
        with self._changed:
            tables = self._tables
            rows = []
            for (app, environment, hashed), at in sorted(tables.rows.items()):
                known = tables.functions.get(hashed)
                if known is None or known.is_garbage:
                    continue
                _, parenthesis, rest = known.entry.signature.partition("(")
                if not parenthesis or not rest:
                    raise ValueError(f"no snapshot can be made with {known.entry.signature!r}")
                rows.append(
                    Row(app_name=app, environment=environment, signature=known.entry.signature, invoked_at_millis=at)
                )
            return rows

    def wait_for(self, condition: Callable[[Self], object], timeout_s: float = WAIT_S, what: str = "") -> None:
        """Wait until a condition holds.

        Raises:
            AssertionError: it does not in time.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not condition(self):
                left_s = deadline - time.monotonic()
                counts = {method: len(self.calls_of(method)) for method in METHODS}
                assert left_s > 0, f"{what or 'the condition'} did not come true in {timeout_s} s; calls: {counts}"
                self._changed.wait(min(left_s, 0.5))

    def clean_up(self) -> None:
        """Do what a collector does every hour: forget silent processes, then what only they had."""
        now = self.clock()
        with self._changed:
            tables = self._tables
            for uuid, process in list(tables.processes.items()):
                if process.polled_at is None or now - process.polled_at > 50 * 60:
                    del tables.processes[uuid]
            in_use = {(process.app_name, process.fingerprint) for process in tables.processes.values()}
            for key in [key for key in tables.fingerprints if key not in in_use]:
                del tables.fingerprints[key]
                del tables.code_bases[key]
            if tables.processes and tables.fingerprints:
                oldest = min(tables.fingerprints.values())
                for known in tables.functions.values():
                    known.is_garbage = known.is_garbage or known.seen_at_millis < oldest

    # --- answering --------------------------------------------------------------------------------------------

    def init_config(self, query: str) -> tuple[int, str]:
        """Answer the HTTP request."""
        with self._changed:
            self._asked.append(query)
            self._changed.notify_all()
        if "licenseKey" not in parse_qs(query, keep_blank_values=True):
            return HTTPStatus.BAD_REQUEST, "{}"
        return HTTPStatus.OK, json.dumps({"collectorUrl": f"127.0.0.1:{self.grpc_port}"}, indent=2)

    def _answering(self, method: str) -> Callable[[Any, Any], Any]:
        def answer(message: Any, context: Any) -> Any:
            with self._changed:
                number = self._counts[method]
                self._counts[method] += 1
                failure = self._failures.get(method)
            if failure is not None and (failure.calls is None or number in failure.calls):
                self._stopping.wait(failure.delay_s)
                if failure.code is not None:
                    return self._refuse(context, method, message, failure.code, failure.text)
            code, text = self._judge(method, message)
            if code is not None:
                return self._refuse(context, method, message, code, text)
            with self._changed:
                if method == CODE_BASE:
                    self._import_code_base(message)
                elif method == INVOCATIONS:
                    self._import_invocations(message)
                else:
                    self._note_poll(message)
                self._record(method, message, "OK")
            if method == POLL:
                return PROTO.messages["GetConfigResponse"](**self._intervals)
            return PROTO.messages["PublicationResponse"](status="OK")

        return answer

    def _refuse(self, context: Any, method: str, message: Any, code: str, text: str) -> Any:
        with self._changed:
            self._record(method, message, code)
        context.abort(grpc.StatusCode[code], text)

    def _record(self, method: str, message: Any, code: str) -> None:
        self._calls.append(Call(method=method, message=message, code=code, at=self.clock()))
        self._changed.notify_all()

    def _judge(self, method: str, message: Any) -> tuple[str | None, str]:
        """Give the status with which a message is refused, None when it is fine."""
        key = message.api_key if method == POLL else message.common_data.api_key
        if method != POLL:
            common = message.common_data
            missing = [name for name in REQUIRED if not getattr(common, name)]
            if missing or not message.HasField("common_data"):
                return "INVALID_ARGUMENT", f"missing: {missing}"
            if min(common.jvm_started_at_millis, common.published_at_millis) < LEAST_MILLIS:
                return "INVALID_ARGUMENT", "a time before Scavenger"
            name = "signature_hash" if method == CODE_BASE else "hash"
            if not all(getattr(entry, name) for entry in message.entry):
                return "INVALID_ARGUMENT", f"an empty {name}"
        if self._api_keys is not None and key not in self._api_keys:
            return "UNAUTHENTICATED", "unknown api key"
        return None, ""

    def _note_poll(self, message: Any) -> None:
        self._tables.polled[message.jvm_uuid] = self.clock()
        process = self._tables.processes.get(message.jvm_uuid)
        if process is not None:
            process.polled_at = self.clock()

    def _import_process(self, common: Any) -> None:
        known = self._tables.processes.get(common.jvm_uuid)
        if known is not None:
            known.fingerprint = common.code_base_fingerprint
            return
        self._tables.processes[common.jvm_uuid] = Process(
            app_name=common.app_name,
            environment=common.environment,
            hostname=common.hostname,
            app_version=common.app_version,
            started_at_millis=common.jvm_started_at_millis,
            fingerprint=common.code_base_fingerprint,
            polled_at=self._tables.polled.get(common.jvm_uuid),
        )

    def _import_code_base(self, message: Any) -> None:
        tables, common = self._tables, message.common_data
        self._import_process(common)
        key = common.app_name, common.code_base_fingerprint
        published = _minute(common.published_at_millis)
        here = [at for (app, env, _), at in tables.rows.items() if (app, env) == (common.app_name, common.environment)]
        is_known = key in tables.fingerprints
        if not is_known:
            tables.fingerprints[key] = published
            tables.code_bases[key] = tuple(message.entry)
            for entry in message.entry:
                tables.functions[entry.signature_hash] = Known(entry=entry, seen_at_millis=published)
        if not is_known or None not in here:
            for entry in message.entry:
                tables.rows.setdefault((common.app_name, common.environment, entry.signature_hash), None)

    def _import_invocations(self, message: Any) -> None:
        common = message.common_data
        self._import_process(common)
        at = _minute(message.recording_interval_started_at_millis)
        for entry in message.entry:
            key = common.app_name, common.environment, entry.hash
            self._tables.rows[key] = max(at, self._tables.rows.get(key) or 0)


def _minute(millis: int) -> int:
    return millis - millis % MINUTE_MILLIS


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    collector: ScavengerServer


class _Handler(BaseHTTPRequestHandler):
    server: _Http

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/javaagent/v5/initConfig":
            status, body = self.server.collector.init_config(parts.query)
        else:
            status, body = HTTPStatus.NOT_FOUND, "{}"
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Be silent."""


def as_json(rows: list[Row]) -> str:
    """Write a snapshot for another process."""
    found: list[Mapping[str, Any]] = [
        {
            "app_name": row.app_name,
            "environment": row.environment,
            "signature": row.signature,
            "invoked_at_millis": row.invoked_at_millis,
        }
        for row in rows
    ]
    return json.dumps(found)


def main() -> None:
    """Serve until the input ends."""
    with ScavengerServer() as collector:
        print(json.dumps({"url": collector.url}), flush=True)
        for line in sys.stdin:
            if line.strip() == "snapshot":
                print(as_json(collector.snapshot()), flush=True)


if __name__ == "__main__":
    main()
