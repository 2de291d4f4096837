"""The official clients behind one interface, in the process that calls it.

Importing fbclient replaces the logger class, names a log level and silences another library's logger; `load` puts that back.
While it connects, fbclient also changes the default timeout of websocket-client; hackle has a singleton and global metrics. Tests use `tests.services.official`, which keeps all this in another process; benchmarks may use
`FeatBitCalls(...).client` and `HackleCalls(...).client` from here.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

MODULES = {"featbit": "fbclient", "hackle": "hackle.hackle"}
ROOM = 200
"""How many events may wait in an official client's queue before the next evaluation."""

ROOM_S = 20.0
"""How long they may take to leave it."""


STOP_S = 2.0
"""How long the thread of a stream that was cut may take to end."""


class Calls(Protocol):
    """What can be asked of either client.

    Attributes:
        client: the official client itself.
    """

    client: Any

    def user_of(self, user: Any) -> Any:
        """Turn a user as it comes in JSON into what the client takes."""

    def evaluate(self, user: Any, request: Mapping[str, Any]) -> dict[str, Any]:
        """Evaluate; gives the value and the reason, and raises what the client raises."""

    def bare(self, user: Any, request: Mapping[str, Any]) -> Callable[[], Any]:
        """Give the call of the client itself, to be timed."""

    def call(self, user: Any, name: str, arguments: Sequence[Any]) -> Any:
        """Call something else for a user, such as `track`."""

    def is_ready(self) -> bool:
        """Tell whether the client has flags."""

    def make_room(self) -> None:
        """Wait until the queue of events is nearly empty: these clients drop what does not fit."""

    def sync(self) -> None:
        """Fetch changes at once, if this client polls."""

    def flush(self) -> None:
        """Have events sent at once; does not wait."""

    def close(self) -> None:
        """Stop the client; sends what is queued."""


def load(service: str) -> Any:
    """Import an official client and undo what that did to the process.

    Returns:
        The module `fbclient` or `hackle.hackle`.
    """
    with _unchanged():
        return importlib.import_module(MODULES[service])


@contextmanager
def _unchanged() -> Iterator[None]:
    logger_class = logging.getLoggerClass()
    level = logging.getLogger("schedule").level
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.setLoggerClass(logger_class)
        logging.getLogger("schedule").setLevel(level)
        logging._levelToName.pop(5, None)
        logging._nameToLevel.pop("TRACE", None)


class FeatBitCalls:
    """`fbclient.FBClient`.

    Args:
        secret: of the environment.
        streaming_url: of the server, `ws://…`.
        event_url: of the server, `http://…`.
        sends_events: false has the client evaluate without events.
        start_wait_s: how long the constructor may wait for flags.
        bootstrap: an envelope as text; the client then is offline, and the other arguments do not matter.
        options: more options of `fbclient.Config`.

    A request is `{"key": …, "default": …}`.
    """

    def __init__(
        self,
        *,
        secret: str = "",
        streaming_url: str = "",
        event_url: str = "",
        sends_events: bool = True,
        start_wait_s: float = 15.0,
        bootstrap: str | None = None,
        **options: Any,
    ) -> None:
        module = load("featbit")
        if not sends_events:
            options["event_processor_imp"] = importlib.import_module("fbclient.event_processor").NullEventProcessor
        if bootstrap is not None:
            options["offline"] = True
        config = module.Config(secret, event_url=event_url, streaming_url=streaming_url, **options)
        self.client: Any = module.FBClient(config, start_wait=start_wait_s)
        self._sends_events = sends_events and bootstrap is None
        if bootstrap is not None:
            assert self.client.initialize_from_external_json(bootstrap), "the client refuses the bootstrap document"

    def user_of(self, user: Any) -> Any:
        return user

    def evaluate(self, user: Any, request: Mapping[str, Any]) -> dict[str, Any]:
        detail = self.client.variation_detail(request["key"], user, request.get("default"))
        return {"value": detail.variation, "reason": detail.reason, "variation_id": detail.variation_id}

    def bare(self, user: Any, request: Mapping[str, Any]) -> Callable[[], Any]:
        variation, key, default = self.client.variation, request["key"], request.get("default")
        return lambda: variation(key, user, default)

    def call(self, user: Any, name: str, arguments: Sequence[Any]) -> Any:
        if name == "all_variations":
            states = self.client.get_all_latest_flag_variations(user)
            return {key: states.get_variation(key) for key in states.keys()}  # noqa: SIM118  # it is not a mapping
        getattr(self.client, name)(user, *arguments)
        return None

    def is_ready(self) -> bool:
        return bool(self.client.initialize)

    def make_room(self) -> None:
        if self._sends_events:
            inbox = self.client._event_processor._DefaultEventProcessor__inbox
            _wait_for_room(inbox.qsize)

    def sync(self) -> None:
        raise NotImplementedError("this client is pushed its changes")

    def flush(self) -> None:
        self.client.flush()

    def close(self) -> None:
        """Stop the client, which delivers its events.

        The stream is cut before: left to itself, the client closes the socket under the eyes of the thread that waits for it,
        and then waits 6 s for that thread.
        """
        streaming: Any = self.client._update_processor
        application = getattr(streaming, "_Streaming__wsapp", None)
        if application is not None and application.sock is not None and application.sock.sock is not None:
            streaming._Streaming__force_close = True
            streaming._Streaming__stop_event.set()
            with suppress(OSError):
                application.sock.sock.shutdown(socket.SHUT_RDWR)
            streaming.join(STOP_S)
        self.client.stop()


class HackleCalls:
    """`hackle.Client`, a new one each time: the singleton around it is taken off.

    Args:
        sdk_key: of the workspace.
        url: of the server, for everything.
        sends_events: false has the client evaluate without events.
        sends_metrics: whether the client pushes metrics; they are global to the process.

    A request is `{"call": "variation_detail" | "feature_flag_detail" | "remote_config", "key": …, "default": …}`. A user is
    `{"id": …, "user_id": …, "device_id": …, "identifiers": {…}, "properties": {…}}` with any of these.
    """

    def __init__(self, *, sdk_key: str, url: str, sends_events: bool = True, sends_metrics: bool = False) -> None:
        module = load("hackle")
        builder = importlib.import_module("hackle.config").HackleConfig.builder()
        builder.sdk_url(url).event_url(url).monitoring_url(url).monitoring_enabled(sends_metrics)
        constructor = inspect.getclosurevars(module.Client).nonlocals["cls"]
        self.client: Any = constructor(sdk_key, config=builder.build())
        self._models = importlib.import_module("hackle.model")
        self._fetcher = self.client._core._HackleCore__workspace_fetcher
        self._processor = self.client._core._HackleCore__event_processor
        self._sends_events = sends_events
        if not sends_events:
            self.client._core._HackleCore__event_processor = _Silent(self._processor)

    def user_of(self, user: Any) -> Any:
        builder = self._models.HackleUser.builder()
        for name, value in user.items():
            getattr(builder, name)(value)
        return builder.build()

    def evaluate(self, user: Any, request: Mapping[str, Any]) -> dict[str, Any]:
        kind, key, default = request["call"], request["key"], request.get("default")
        if kind == "remote_config":
            return self._remote_config(user, key, default)
        if kind == "feature_flag_detail":
            decision = self.client.feature_flag_detail(key, user)
            value = decision.is_on
        else:
            decision = self.client.variation_detail(key, user, "A" if default is None else default)
            value = decision.variation
        parameters = getattr(decision.config, "parameters", {})
        return {"value": value, "reason": decision.reason, "config": dict(parameters)}

    def _remote_config(self, user: Any, key: Any, default: Any) -> dict[str, Any]:
        """Evaluate a parameter, and look at the reason, which this client keeps to itself."""
        core, reasons = self.client._core, []

        def remember(*arguments: Any) -> Any:
            decision = type(core).remote_config(core, *arguments)
            reasons.append(decision.reason)
            return decision

        core.remote_config = remember
        try:
            value = self.client.remote_config(user).get(key, default)
        finally:
            del core.remote_config
        return {"value": value, "reason": reasons[0] if reasons else "INVALID_INPUT"}

    def bare(self, user: Any, request: Mapping[str, Any]) -> Callable[[], Any]:
        client, key, default = self.client, request["key"], request.get("default")
        match request["call"]:
            case "remote_config":
                return lambda: client.remote_config(user).get(key, default)
            case "feature_flag_detail":
                return lambda: client.is_feature_on(key, user)
            case _:
                return lambda: client.variation(key, user)

    def call(self, user: Any, name: str, arguments: Sequence[Any]) -> None:
        """Call `track` (key, value, properties) or `update_user_properties` ([operation, …] each)."""
        if name == "track":
            key, value, properties = arguments
            event = self._models.HackleEvent.builder(key).value(value).properties(properties).build()
            self.client.track(event, user)
        else:
            assert name == "update_user_properties", name
            operations = self._models.PropertyOperations.builder()
            for operation, *rest in arguments:
                getattr(operations, operation)(*rest)
            self.client.update_user_properties(operations.build(), user)

    def is_ready(self) -> bool:
        return self._fetcher.fetch() is not None

    def make_room(self) -> None:
        if self._sends_events:
            _wait_for_room(self._processor._EventProcessor__queue.qsize)

    def sync(self) -> None:
        self._fetcher._WorkspaceFetcher__poll()

    def flush(self) -> None:
        self._processor._EventProcessor__flush()

    def close(self) -> None:
        self.client.close()


class _Silent:
    """An event processor that drops everything, and stops the one it stands for."""

    def __init__(self, processor: Any) -> None:
        self.stop = processor.stop

    def process(self, event: Any) -> None:
        pass


def _wait_for_room(size: Callable[[], int]) -> None:
    deadline_s = time.monotonic() + ROOM_S
    while size() > ROOM:
        assert time.monotonic() < deadline_s, f"{size()} events do not leave the queue"
        time.sleep(0.001)  # these clients offer nothing to wait on
