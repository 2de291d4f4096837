"""Defaults of flags that the provider has: they win over the caller's wherever a flag cannot be evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flagmw import Client, ConfigError, Reason, UserContext
from flagmw.accessor import Flags
from flagmw.http import facts_of_environ
from flagmw.providers import FeatBit, FeatureFlagCo
from flagmw.users import Visitors
from tests.services.environments import featbit, featureflag_co
from tests.services.tokens import featureflag_co_secret

OWN = {"gone": "own", "broken": "own", "page": {"size": 5}, "fine": "own"}
USER = UserContext("u1", name="Ann")
NOBODY = {"plan": "pro"}


def _featbit(**options: Any) -> FeatBit:
    flags = [featbit.flag("fine", values=("yes",), kind="string"), featbit.flag("broken", variations=[])]
    return FeatBit("", offline=True, bootstrap=featbit.environment(flags), **options)


def _featureflag_co(**options: Any) -> FeatureFlagCo:
    flags = [featureflag_co.flag("fine", values=("yes",)), featureflag_co.flag("broken", ranges=[[0, 0], [0, 0]])]
    return FeatureFlagCo(featureflag_co_secret(), offline=True, bootstrap=featureflag_co.environment(flags), **options)


Make = Callable[..., Any]
each = pytest.mark.parametrize("make", [_featbit, _featureflag_co], ids=["featbit", "featureflag.co"])


def asked(client: Client, user: Any) -> list[Callable[..., Any]]:
    """Give the ways to ask for a flag: through the client and through a request's accessor."""
    flags = Flags(client, Visitors(lambda _: user, facts_of_environ, False), {})  # noqa: FBT003  # no cookie
    return [lambda key, default: client.variation(key, user, default), flags.variation]


@each
@pytest.mark.parametrize("key", ["gone", "broken"])
def test_a_flag_that_cannot_be_evaluated_has_its_own_default(make: Make, key: str) -> None:
    with Client(make(defaults=OWN)) as client:
        for ask in asked(client, USER):
            assert [ask(key, "callers"), ask(key, "callers")] == ["own", "own"]
        detail = client.variation_detail(key, USER, "callers")
        assert (detail.value, detail.variation, detail.reason) == ("own", None, Reason.ERROR)


@each
def test_so_have_all_flags_for_a_user_who_is_none_and_before_any_flags_are_there(make: Make) -> None:
    with Client(make(defaults=OWN)) as client:
        for ask in asked(client, NOBODY):
            assert ask("fine", "callers") == "own"
    empty = FeatBit("", offline=True, defaults=OWN)
    with Client(empty) as client:
        for ask in asked(client, USER):
            assert ask("fine", "callers") == "own"
            assert ask("page", None) == {"size": 5}
            assert ask("page", None) is not ask("page", None)
            assert ask("other", "callers") == "callers"


@each
def test_a_flag_that_is_well_and_one_without_own_default_are_as_ever(make: Make) -> None:
    with Client(make(defaults=OWN)) as client:
        for ask in asked(client, USER):
            assert ask("fine", "callers") == "yes"
            assert ask("other", "callers") == "callers"
            assert ask(["unhashable"], "callers") == "callers"


@each
def test_an_own_default_of_another_type_gives_way_to_the_callers(make: Make) -> None:
    with Client(make(defaults={"gone": "text", "on": True})) as client:
        assert client.integer("gone", USER, default=7) == 7
        assert client.string("gone", USER, default="callers") == "text"
        assert client.is_enabled("on", USER) is True
        assert client.is_enabled("gone", USER) is False


@each
def test_own_defaults_are_copied_compared_and_checked(make: Make) -> None:
    own = {"page": {"size": 5}}
    provider = make(defaults=own)
    own["page"]["size"] = 6
    assert provider == make(defaults={"page": {"size": 5}})
    assert provider != make(defaults=own)
    wrongs: list[Any] = [[], "x", {1: 2}]
    for wrong in wrongs:
        with pytest.raises(ConfigError, match="defaults must be a mapping from flag keys"):
            make(defaults=wrong)


@pytest.mark.parametrize(("word", "enabled"), [("on", True), ("TRUE", True), ("off", False), ("perhaps", False)])
def test_a_text_as_default_is_read_as_the_word_it_is(word: str, enabled: bool) -> None:
    with Client(_featureflag_co(defaults={"f": word})) as client:
        flags = Flags(client, Visitors(lambda _: USER, facts_of_environ, False), {})  # noqa: FBT003  # no cookie
        assert [client.is_enabled("f", USER), flags.is_enabled("f"), flags.is_enabled("f")] == [enabled] * 3
        assert client.string("f", USER) == word
