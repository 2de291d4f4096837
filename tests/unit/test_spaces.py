"""A service that numbers its flags: keys of three kinds, defaults that matter, and each serving told once per request."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import pytest

from flagmw import Client, ErrorCode, Reason, UserContext
from flagmw.accessor import Flags
from flagmw.core.documents import Document
from flagmw.dialects import Dialect
from flagmw.dialects.hackle import HackleDialect
from flagmw.http import RequestFacts
from flagmw.testing import MemorySink, Static, override_flags
from flagmw.transports.memory import MemoryChannel, MemorySource
from flagmw.users import Visitors
from tests.services import hackle_workspaces as hackle

ADULT = UserContext("u-1", attributes={"age": 30})
FACTS = RequestFacts(
    path="/",
    method="GET",
    host="shop.example",
    user_agent="",
    accept_language="",
    client_address="192.0.2.1",
    is_secure=True,
    cookies="",
)


def workspace() -> dict[str, Any]:
    """Give a workspace in which 7 is an A/B test, not started yet, and a feature flag, and 1 is a test that runs."""
    document = hackle.small_workspace()
    arms = [hackle.variation(91, "A"), hackle.variation(92, "B")]
    document["experiments"] += [
        hackle.experiment(90, 7, arms, hackle.serve(92), status="READY"),
        hackle.experiment(93, 1, arms, hackle.serve(92)),
    ]
    return document


class Provider:
    """Hackle's dialect on a document in memory, with a sink to look into."""

    def __init__(self) -> None:
        self.kept = MemorySink()
        self.channel = MemoryChannel(Document(name="workspace", content=workspace()))

    def dialect(self) -> Dialect:
        return HackleDialect()

    def source(self) -> MemorySource:
        return MemorySource(self.channel)

    def sink(self) -> MemorySink:
        return self.kept

    def place(self) -> None:
        return None

    def cache(self) -> None:
        return None


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def client(provider: Provider) -> Client:
    return Client(provider)


@pytest.fixture
def flags(client: Client) -> Flags:
    visitors: Visitors[UserContext] = Visitors(lambda user: user, lambda _: FACTS)
    return Flags(client, visitors, ADULT)


def told(provider: Provider) -> list[tuple[str, str | None]]:
    return [(exposure.flag_key, exposure.outcome.variation) for exposure in provider.kept.exposures]


# --- keys ---------------------------------------------------------------------------------------------------


def test_the_same_number_is_a_test_for_variation_and_a_flag_for_is_enabled(client: Client, flags: Flags) -> None:
    assert (client.variation(7, ADULT, "A"), client.is_enabled(7, ADULT)) == ("A", True)
    for _ in range(2):
        assert (flags.variation(7, "A"), flags.is_enabled(7), flags.config("banner", "")) == ("A", True, "hello adult")


def test_unique_keys_reach_everything_by_variation(client: Client) -> None:
    keys = ("ab_test/1", "feature_flag/7", "remote_config/banner")
    assert [client.variation(key, ADULT, "") for key in keys] == ["B", True, "hello adult"]
    assert list(client.all_variations(ADULT)) == sorted(
        ["ab_test/1", "ab_test/42", "ab_test/7", "feature_flag/7", "remote_config/banner"]
    )


@pytest.mark.parametrize("key", [True, 1.0, "1", -1, None, [1]], ids=repr)
def test_what_only_equals_a_number_is_no_key(client: Client, flags: Flags, key: Any) -> None:
    assert (client.variation(1, ADULT, "A"), flags.variation(1, "A")) == ("B", "B")
    assert client.variation(key, ADULT, "mine") == "mine"
    assert flags.variation(key, "mine") == "mine"
    assert flags.variation_detail(key, "mine").error_code is not None


def test_a_key_of_another_space_is_not_found(client: Client) -> None:
    detail = client.variation_detail("banner", ADULT, "mine")
    assert (detail.value, detail.error_code) == ("mine", ErrorCode.FLAG_NOT_FOUND)
    assert client.variation_detail(41, ADULT, "mine").error_code is ErrorCode.FLAG_NOT_FOUND
    assert client.is_enabled(42, ADULT) is False


def test_a_flag_is_known_by_any_of_its_keys(client: Client) -> None:
    known: list[Any] = [42, 7, "banner", "feature_flag/7"]
    assert [client.is_flag_known(key) for key in [*known, 99, "nowhere", []]] == [True] * 4 + [False] * 3


# --- defaults -----------------------------------------------------------------------------------------------


def test_each_caller_gets_the_answer_for_its_own_default(client: Client, flags: Flags) -> None:
    assert [flags.variation(7, default) for default in ("A", "B", "nowhere")] == ["A", "B", "nowhere"]
    details = [flags.variation_detail(7, default) for default in ("B", "nowhere")]
    assert [detail.variation for detail in details] == ["B", "nowhere"]
    assert [flags.config("banner", default) for default in ("", 5, None)] == ["hello adult", 5, "hello adult"]
    assert flags.config_detail("banner", 5).error_code is ErrorCode.TYPE_MISMATCH
    assert client.config_detail("banner", ADULT, "").reason is not Reason.ERROR


def test_parameters_come_with_the_variation_and_are_read_by_exact_type(client: Client) -> None:
    detail = client.is_enabled_detail(7, ADULT)
    assert dict(detail.parameters) == {"button": "red", "max": 3}
    assert [detail.parameter("max"), detail.parameter("max", 1), detail.parameter("max", 1.0)] == [3, 3, 1.0]
    assert [detail.parameter("max", default=True), detail.parameter("none"), detail.parameter("none", 5)] == [
        True,
        None,
        5,
    ]


# --- telling the service ------------------------------------------------------------------------------------


def test_reading_again_tells_nothing_again(provider: Provider, flags: Flags) -> None:
    for _ in range(3):
        flags.variation(1, "A")
        flags.is_enabled(7)
        flags.config("banner", "")
        flags.variation_detail(1, "A")
    assert [key for key, _ in told(provider)] == ["ab_test/1", "feature_flag/7", "remote_config/banner"]


def test_a_variation_is_told_again_when_it_is_another_or_somebody_elses(provider: Provider, flags: Flags) -> None:
    flags.variation(7, "A")
    flags.variation(7, "B")
    flags.variation(7, "A")
    assert told(provider) == [("ab_test/7", "A"), ("ab_test/7", "B")]
    flags.identify(UserContext("u-2"))
    flags.variation(7, "A")
    flags.identify(ADULT)
    flags.variation(7, "A")
    assert [exposure.context.key for exposure in provider.kept.exposures] == ["u-1", "u-1", "u-2"]


def test_the_same_variation_is_not_told_again_after_a_refresh(provider: Provider, flags: Flags) -> None:
    flags.variation(1, "A")
    provider.channel.put(Document(name="workspace", content={**workspace(), "segments": []}))
    flags.refresh()
    assert flags.variation(1, "A") == "B"
    assert told(provider) == [("ab_test/1", "B")]


def test_listing_tells_nothing_until_a_value_is_read(provider: Provider, client: Client, flags: Flags) -> None:
    everything = (client.all_variations(ADULT), flags.all())
    assert [len(evaluations) for evaluations in everything] == [5, 5]
    assert told(provider) == []
    assert everything[0]["ab_test/1"].value == "B"
    assert everything[0]["ab_test/1"].value == "B"
    assert told(provider) == [("ab_test/1", "B")]


def test_looking_at_what_was_read_tells_nothing(provider: Provider, flags: Flags) -> None:
    flags.variation(1, "A")
    flags.is_enabled(7)
    before = told(provider)
    assert {key: one.variation for key, one in flags.read().items()} == {"ab_test/1": "B", "feature_flag/7": "B"}
    assert told(provider) == before


def test_each_call_of_a_client_is_told_and_a_default_never(provider: Provider, client: Client) -> None:
    for _ in range(2):
        client.variation(1, ADULT, "A")
    client.variation(99, ADULT, "A")
    client.variation(1, UserContext(), "A")
    assert told(provider) == [("ab_test/1", "B")] * 2


def test_an_override_is_told_to_nobody(provider: Provider, client: Client, flags: Flags) -> None:
    with override_flags({"ab_test/1": "C"}):
        assert (client.variation("ab_test/1", ADULT, "A"), flags.variation("ab_test/1", "A")) == ("C", "C")
    assert told(provider) == []


def test_who_takes_part_in_an_experiment_is_remembered(client: Client) -> None:
    assert not client.takes_part(ADULT)
    client.is_enabled(7, ADULT)
    assert not client.takes_part(ADULT)
    client.variation(42, ADULT, "A")
    assert client.takes_part(ADULT)
    assert not client.takes_part(UserContext("u-2"))


def test_telling_who_a_user_is_never_raises(provider: Provider, client: Client) -> None:
    client.identify(ADULT)
    client.identify({"nothing": "usable"})
    client.identify(ADULT, operations=["no", "mapping"])  # type: ignore[arg-type]  # the mistake
    assert [identity.context for identity in provider.kept.identities] == [ADULT]


def test_where_spaces_are_one_each_call_asks_for_the_same_flag() -> None:
    client = Client(Static({"f": True}, sink=(sink := MemorySink())))
    flags = Flags(client, Visitors(lambda user: user, lambda _: FACTS), ADULT)
    assert (flags.variation("f"), flags.is_enabled("f"), flags.config("f")) == (True, True, True)
    assert len(sink.exposures) == 1
    assert repr(flags) == "<Flags: 1 read>"


def test_a_condition_that_hackle_does_not_support_is_warned_of_once(
    provider: Provider, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    document = workspace()
    odd = hackle.target(hackle.condition("$id", "IN", "u-1", key_type="USER_ID"))
    document["experiments"][0]["execution"]["targetAudiences"] = [odd]
    client.start()
    for name in ("one", "two"):
        provider.channel.put(Document(name="workspace", content={**document, "workspace": {"id": name}}))
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len([text for text in warned if "USER_ID" in text]) == 1
    assert client.status.error is None


def test_a_member_of_an_enumeration_of_numbers_is_a_key(client: Client, flags: Flags) -> None:
    class Tests(IntEnum):
        RUNNING = 1

    assert client.variation(Tests.RUNNING, ADULT, "A") == "B"
    assert flags.variation(Tests.RUNNING, "A") == "B"


def test_changing_what_came_with_a_variation_changes_nothing_for_others(provider: Provider, client: Client) -> None:
    document = workspace()
    document["parameterConfigurations"][0]["parameters"] = [{"key": "sizes", "value": [1, 2]}]
    provider.channel.put(Document(name="workspace", content=document))
    client.is_enabled_detail(7, ADULT).parameter("sizes").append(3)
    assert client.is_enabled_detail(7, ADULT).parameter("sizes") == [1, 2]
