"""What `flagmw.testing.override_flags` decorates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from flagmw import Client, ConfigError
from flagmw.testing import Static, override_flags

client = Client(Static({"banner": "old"}))


def banner() -> str:
    return client.string("banner", {})


@override_flags(banner="test")
def test_a_function_has_the_overrides() -> None:
    assert banner() == "test"


@pytest.mark.asyncio
@override_flags(banner="test")
async def test_a_coroutine_function_has_the_overrides() -> None:
    await asyncio.sleep(0)
    assert banner() == "test"


@pytest.fixture
@override_flags(banner="test")
def overridden() -> Iterator[None]:
    yield  # noqa: PT022  # that it is a generator is the point


@pytest.mark.usefixtures("overridden")
def test_a_fixture_has_the_overrides_until_it_ends() -> None:
    assert banner() == "test"


def test_an_async_generator_has_the_overrides_until_it_ends() -> None:
    @override_flags(banner="test")
    async def generator() -> AsyncIterator[str]:
        yield banner()
        yield banner()

    async def collect() -> list[str]:
        return [value async for value in generator()]

    assert (asyncio.run(collect()), banner()) == (["test", "test"], "old")


class Inherited:
    def test_a_test_that_is_inherited_has_the_overrides(self) -> None:
        assert banner() == "test"


@override_flags(banner="test")
class TestAClass(Inherited):
    def test_a_method_has_the_overrides(self) -> None:
        assert banner() == "test"

    @staticmethod
    def test_a_static_method_has_the_overrides() -> None:
        assert banner() == "test"

    @classmethod
    def test_a_class_method_has_the_overrides(cls) -> None:
        assert banner() == "test"


def test_the_base_of_a_decorated_class_stays_as_it_was() -> None:
    with pytest.raises(AssertionError):
        Inherited().test_a_test_that_is_inherited_has_the_overrides()


def test_what_cannot_be_decorated_is_refused() -> None:
    with pytest.raises(ConfigError, match="decorates functions and classes"):
        override_flags(banner="test")(42)
