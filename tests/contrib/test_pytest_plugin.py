"""`flagmw_pytest`: the fixture `flag_overrides`, as a user's test suite has it."""

from __future__ import annotations

import subprocess
import sys

import pytest

APP = """
    import flagmw
    from flagmw.providers import Static

    client = flagmw.Client(Static({"new-checkout": False, "colour": "red", "new_banner": "old"}))

    def colour():
        return client.string("colour", {})

    def new_checkout():
        return client.is_enabled("new-checkout", {})
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """Give a test suite with an app to test."""
    pytester.makepyfile(app=APP)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")  # or pytest-asyncio warns
    return pytester


def passes(suite: pytest.Pytester, tests: str, count: int = 1) -> None:
    """Run tests, all of which must pass."""
    suite.makepyfile(test_app=tests)
    suite.runpytest_inprocess().assert_outcomes(passed=count)


def test_the_fixture_is_there_without_any_configuration(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_app="def test(flag_overrides): pass")
    suite.runpytest_inprocess("--fixtures").stdout.fnmatch_lines(["flag_overrides*"])


def test_a_name_overrides_the_flag_whose_key_has_dashes(suite: pytest.Pytester) -> None:
    passes(
        suite,
        """
        from app import new_checkout

        def test(flag_overrides):
            flag_overrides(new_checkout=True)
            assert new_checkout()
        """,
    )


def test_a_mapping_overrides_flags_by_their_keys(suite: pytest.Pytester) -> None:
    passes(
        suite,
        """
        from app import colour, new_checkout

        def test(flag_overrides):
            flag_overrides({"new-checkout": True, "colour": "blue"})
            assert (new_checkout(), colour()) == (True, "blue")
        """,
    )


def test_a_later_call_wins_over_an_earlier_one(suite: pytest.Pytester) -> None:
    passes(
        suite,
        """
        from app import colour, new_checkout

        def test(flag_overrides):
            flag_overrides(colour="blue", new_checkout=True)
            flag_overrides(colour="green")
            assert (new_checkout(), colour()) == (True, "green")
        """,
    )


def test_nothing_is_overridden_before_the_first_call(suite: pytest.Pytester) -> None:
    passes(
        suite,
        """
        from app import colour

        def test(flag_overrides):
            assert colour() == "red"
        """,
    )


def test_the_overrides_end_with_their_test(suite: pytest.Pytester) -> None:
    passes(
        suite,
        """
        from app import colour

        def test_one(flag_overrides):
            flag_overrides(colour="blue")

        def test_two():
            assert colour() == "red"
        """,
        count=2,
    )


def test_the_overrides_end_with_a_test_that_fails(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_app="""
        from app import colour

        def test_one(flag_overrides):
            flag_overrides(colour="blue")
            raise ValueError

        def test_two():
            assert colour() == "red"
        """
    )
    suite.runpytest_inprocess().assert_outcomes(passed=1, failed=1)


def test_another_fixture_can_override_for_the_test_that_uses_it(suite: pytest.Pytester) -> None:
    passes(
        suite,
        """
        import pytest
        from app import colour

        @pytest.fixture
        def blue(flag_overrides):
            flag_overrides(colour="blue")

        def test(blue):
            assert colour() == "blue"
        """,
    )


def test_the_overrides_hold_in_threads_and_tasks(suite: pytest.Pytester) -> None:
    passes(
        suite,
        """
        import asyncio
        from concurrent.futures import ThreadPoolExecutor
        from app import colour

        def test(flag_overrides):
            flag_overrides(colour="blue")

            async def in_a_task():
                return await asyncio.create_task(asyncio.to_thread(colour))

            with ThreadPoolExecutor() as pool:
                assert pool.submit(colour).result() == "blue"
            assert asyncio.run(in_a_task()) == "blue"
        """,
    )


def test_a_wrong_argument_is_refused_where_it_is_given(suite: pytest.Pytester) -> None:
    passes(
        suite,
        """
        import flagmw
        import pytest

        def test(flag_overrides):
            with pytest.raises(flagmw.ConfigError, match="mapping"):
                flag_overrides("colour")
        """,
    )


def test_the_plugin_can_be_turned_off(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_app="def test(flag_overrides): pass")
    result = suite.runpytest_inprocess("-p", "no:flagmw")
    result.assert_outcomes(errors=1)


def test_a_test_run_that_overrides_nothing_imports_nothing_of_flagmw() -> None:
    code = "import sys, flagmw_pytest; sys.exit(any(name.split('.')[0] == 'flagmw' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
