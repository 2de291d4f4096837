"""The migration pages: every public call of the other clients is in the table, and what the table answers exists here."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from flagmw import Client, Evaluation, Status
from flagmw.accessor import Flags
from flagmw.providers import EventOptions, FeatBit, Network, StreamOptions
from flagmw.providers.hackle import PropertyOperations
from flagmw.status import EventCounts

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in (DOCS / "migrating").glob("*.md")}

FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)

NOT_CALLS = {"build", "builder", "default", "validate", "to_event", "is_valid", "error_or_none", "get_default_value"}
"""What the builders end with, and what only their own clients call."""

FEATUREFLAG_CO = """
    FFCClient set_config get start_wait initialize is_offline update_status_provider wait_for_OKState variation
    variation_detail is_enabled get_all_latest_flag_variations track_metric track_metrics is_flag_known flush stop
    current_state success message data reason key_name name id is_success is_default_value key_names to_json_dict
    env_secret base_uri streaming_uri events_max_in_queue events_flush_interval events_retry_interval events_max_retries
    streaming_first_retry_delay offline data_storage update_processor_imp event_processor_imp http websocket
    connect_timeout read_timeout http_proxy ca_certs cert_file disable_ssl_verification timeout ping_interval sslopt
    copy_config_in_a_new_env defaults
"""
"""What the documentation of the client makes public; it is not published any more."""


def classes_of(module: str) -> Iterator[ast.ClassDef]:
    """Give the classes of a module without importing it: it would alter the logging of this process."""
    package, _, name = module.partition(".")
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed"
    assert spec.submodule_search_locations is not None
    source = Path(spec.submodule_search_locations[0]) / f"{name}.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            yield node


def public_names(module: str, *classes: str) -> set[str]:
    """Name the public methods and properties of classes."""
    found = [node for node in classes_of(module) if node.name in classes]
    assert len(found) == len(classes)
    names = {item.name for node in found for item in node.body if isinstance(item, ast.FunctionDef)}
    return {name for name in names if not name.startswith("_")} - NOT_CALLS


def arguments_of(module: str, name: str) -> set[str]:
    """Name the arguments of a class's constructor."""
    (node,) = [node for node in classes_of(module) if node.name == name]
    (init,) = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
    return {argument.arg for argument in (*init.args.args, *init.args.kwonlyargs)} - {"self"}


def missing(page: str, names: set[str]) -> set[str]:
    """Name what a page does not have in code."""
    code = " ".join(re.findall(r"`([^`]+)`", FENCE.sub("", PAGES[page])))
    return {name for name in names if not re.search(rf"\b{name}\b", code)}


def test_every_public_call_of_featbits_client_is_in_the_table() -> None:
    calls = public_names("fbclient.client", "FBClient")
    calls |= public_names("fbclient.common_types", "EvalDetail", "AllFlagStates") - {"to_json_str"}
    calls |= public_names("fbclient.flag_change_notification", "FlagTracker")
    calls |= {"current_state", "add_listener", "remove_listener", "wait_for_OKState"}
    assert len(calls) > 25
    assert missing("featbit", calls) == set()


def test_every_setting_of_featbits_client_is_in_the_table() -> None:
    names = arguments_of("fbclient.config", "Config") | arguments_of("fbclient.config", "HTTPConfig")
    names |= arguments_of("fbclient.config", "WebSocketConfig") - {
        "proxy_type",
        "proxy_host",
        "proxy_port",
        "proxy_auth",
    }
    assert len(names) > 15
    assert missing("featbit", names) == set()


def test_every_public_call_of_hackles_client_is_in_the_table() -> None:
    calls = public_names("hackle.hackle", "Client")
    calls |= public_names(
        "hackle.model", "HackleUserBuilder", "HackleEventBuilder", "PropertyOperationsBuilder", "Hackle"
    )
    calls |= public_names("hackle.config", "HackleConfigBuilder") | {"get"}
    assert len(calls) > 25
    assert missing("hackle", calls) == set()


def test_every_public_call_of_featureflag_cos_client_is_in_the_table() -> None:
    assert missing("featureflag-co", set(FEATUREFLAG_CO.split())) == set()


# --- what is ours -------------------------------------------------------------------------------------------


def names_of(kind: type) -> set[str]:
    fields = {item.name for item in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    return fields | set(dir(kind))


OURS = {
    "client": names_of(Client),
    "detail": names_of(Evaluation),
    "flags": names_of(Flags),
    "request.flags": names_of(Flags),
    "client.status": names_of(Status),
    "client.status.events": names_of(EventCounts),
    "status": names_of(Status),
}
ARGUMENTS = {
    "Network": names_of(Network),
    "StreamOptions": names_of(StreamOptions),
    "EventOptions": names_of(EventOptions),
    "PropertyOperations": names_of(PropertyOperations),
    "FeatBit": names_of(FeatBit) | {"offline", "bootstrap", "network", "events", "cache_dir"},
}


def answers(page: Path) -> Iterator[str]:
    """Give the code in a page's text; of the tables of a migration page only what is ours."""
    for line in re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    ).splitlines():
        is_theirs_first = page.parent.name == "migrating" and line.startswith("|")
        yield from re.findall(r"`([^`]+)`", line.split("|", 2)[2] if is_theirs_first else line)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_what_the_text_of_a_page_names_exists(page: Path) -> None:
    unknown = []
    for code in answers(page):
        for owner, name in re.findall(
            r"\b((?:client\.status|client|detail|request\.flags|flags|status))\.([a-z]\w*)", code
        ):
            # Files, Flask's extension, and the name of a metric.
            if name not in OURS[owner] and not (owner == "flags" and name in {"yaml", "json", "init_app", "age"}):
                unknown.append(f"{owner}.{name}")
        for owner, arguments in re.findall(r"\b(Network|StreamOptions|EventOptions)\(([^)]*)\)", code):
            unknown += [
                name for name in re.findall(r"\b([a-z]\w*)\b(?==|,|$)", arguments) if name not in ARGUMENTS[owner]
            ]
    assert unknown == []
