"""What must hold in every host: a test class per kind of host, for the host's own tests to take over.

A host's test file subclasses the kinds that it is and says in the fixture `host` how it is driven.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flagmw
from flagmw import ErrorCode
from flagmw.accessor import Flags
from flagmw.http import AnonymousCookie
from flagmw.testing import MemorySink, override_flags
from tests.contrib.support import (
    COOKIE,
    HOST_NAME,
    PEER,
    Builder,
    Host,
    Takings,
    file_client,
    in_threads,
    replace_flags,
    static_client,
)

ANN = {"key": "ann"}


def banner(flags: Flags) -> str:
    return flags.string("banner")


def user_key(flags: Flags) -> str | None:
    return flags.user.key


def nothing(flags: Flags) -> None:
    return None


class HostContract:
    """Holds for requests and websockets of every host."""

    @pytest.fixture
    def host(self) -> Host:
        raise NotImplementedError

    # --- lazy -----------------------------------------------------------------------------------------------

    def test_a_request_that_reads_nothing_builds_no_user(self, host: Host) -> None:
        user = Builder(ANN)
        with host.serve(nothing, static_client(), user=user) as visit:
            visit()
        assert user.calls == 0

    def test_a_request_that_reads_nothing_sets_no_header(self, host: Host) -> None:
        with host.serve(nothing, static_client()) as visit:
            reply = visit()
        assert (reply.values("Set-Cookie"), reply.values("Vary")) == ([], [])

    # --- stable and remembered ------------------------------------------------------------------------------

    def test_a_flag_keeps_its_value_while_its_file_changes(self, host: Host, tmp_path: Path) -> None:
        path = tmp_path / "flags.json"
        client = file_client(path)

        def read_edit_read(flags: Flags) -> list[str]:
            before = flags.string("banner")
            replace_flags(client, path, "new" if before == "old" else "old")
            return [before, flags.string("banner"), client.variation("banner", {})]

        with host.serve(read_edit_read, client) as visit:
            assert visit().json == ["old", "old", "new"]

    def test_the_next_request_has_the_changed_flags(self, host: Host, tmp_path: Path) -> None:
        path = tmp_path / "flags.json"
        client = file_client(path)
        with host.serve(banner, client) as visit:
            visit()
            replace_flags(client, path, "new")
            assert visit().json == "new"

    def test_a_flag_first_read_after_a_change_is_of_the_same_moment_as_the_others(
        self, host: Host, tmp_path: Path
    ) -> None:
        path = tmp_path / "flags.json"
        client = file_client(path)

        def read_edit_read_another(flags: Flags) -> str:
            flags.is_enabled("beta")
            replace_flags(client, path, "new")
            return flags.string("banner")

        with host.serve(read_edit_read_another, client) as visit:
            assert visit().json == "old"

    def test_refresh_takes_the_changed_flags(self, host: Host, tmp_path: Path) -> None:
        path = tmp_path / "flags.json"
        client = file_client(path)

        def read_edit_refresh_read(flags: Flags) -> list[str]:
            before = flags.string("banner")
            replace_flags(client, path, "new")
            flags.refresh()
            return [before, flags.string("banner")]

        with host.serve(read_edit_refresh_read, client) as visit:
            assert visit().json == ["old", "new"]

    def test_refresh_keeps_the_user(self, host: Host) -> None:
        user = Builder(ANN)

        def read_refresh_read(flags: Flags) -> bool:
            flags.is_enabled("beta")
            flags.refresh()
            return flags.is_enabled("beta")

        with host.serve(read_refresh_read, static_client(), user=user) as visit:
            assert (visit().json, user.calls) == (True, 1)

    def test_a_flag_is_evaluated_once_however_often_it_is_read(self, host: Host) -> None:
        sink = MemorySink()

        def read_often(flags: Flags) -> None:
            for _ in range(5):
                flags.string("banner")
                flags.variation("banner")
                flags.variation_detail("banner")

        with host.serve(read_often, static_client(sink)) as visit:
            visit()
        assert len(sink.exposures) == 1

    def test_each_request_evaluates_anew(self, host: Host) -> None:
        sink = MemorySink()
        with host.serve(banner, static_client(sink)) as visit:
            visit()
            visit()
        assert len(sink.exposures) == 2

    def test_eight_threads_of_a_request_evaluate_a_flag_once(self, host: Host) -> None:
        sink = MemorySink()

        def read_in_threads(flags: Flags) -> list[str]:
            return in_threads(lambda: flags.string("banner"))

        with host.serve(read_in_threads, static_client(sink)) as visit:
            reply = visit()
        assert (reply.json, len(sink.exposures)) == (["old"] * 8, 1)

    def test_eight_threads_of_a_request_build_its_user_once(self, host: Host) -> None:
        user = Builder(ANN)

        def read_in_threads(flags: Flags) -> list[bool]:
            return in_threads(lambda: flags.is_enabled("beta"))

        with host.serve(read_in_threads, static_client(), user=user) as visit:
            reply = visit()
        assert (reply.json, user.calls) == ([True] * 8, 1)

    # --- flagmw.flags ---------------------------------------------------------------------------------------

    def test_the_proxy_stands_for_the_accessor_of_the_request(self, host: Host) -> None:
        def compare(flags: Flags) -> bool:
            return flagmw.flags == flags

        with host.serve(compare, static_client()) as visit:
            assert visit().json is True

    def test_the_proxy_is_of_no_use_after_the_request(self, host: Host) -> None:
        with host.serve(banner, static_client()) as visit:
            visit()
        with pytest.raises(RuntimeError, match="outside a request"):
            flagmw.flags.is_enabled("beta")

    # --- overrides ------------------------------------------------------------------------------------------

    def test_an_override_holds_for_requests_within_its_block(self, host: Host) -> None:
        with host.serve(banner, static_client()) as visit, override_flags(banner="test"):
            assert visit().json == "test"

    def test_an_override_ends_with_its_block(self, host: Host) -> None:
        with host.serve(banner, static_client()) as visit:
            with override_flags(banner="test"):
                visit()
            assert visit().json == "old"

    def test_the_fixture_overrides_flags_of_requests(self, host: Host, flag_overrides: Callable[..., None]) -> None:
        flag_overrides(banner="test")
        with host.serve(banner, static_client()) as visit:
            assert visit().json == "test"

    def test_the_decorator_overrides_flags_of_requests(self, host: Host) -> None:
        with host.serve(banner, static_client()) as visit:

            @override_flags(banner="test")
            def decorated() -> Any:
                return visit().json

            assert (decorated(), visit().json) == ("test", "old")

    def test_an_override_in_the_middle_of_a_request_reaches_its_threads_and_ends(self, host: Host) -> None:
        def override(flags: Flags) -> list[Any]:
            before = flags.string("banner")
            with override_flags(banner="test"):
                during = in_threads(lambda: flags.string("banner"), 2)
            return [before, during, flags.string("banner")]

        with host.serve(override, static_client()) as visit:
            assert visit().json == ["old", ["test", "test"], "old"]

    def test_an_override_counts_no_exposure(self, host: Host) -> None:
        sink = MemorySink()
        with host.serve(banner, static_client(sink)) as visit, override_flags(banner="test"):
            visit()
        assert not sink.exposures

    # --- the anonymous cookie -------------------------------------------------------------------------------

    def test_the_first_read_sets_a_cookie_that_scripts_and_other_sites_cannot_use(self, host: Host) -> None:
        with host.serve(banner, static_client()) as visit:
            (cookie,) = visit().cookies
        found = {name: cookie[name] for name in ("httponly", "samesite", "max-age", "path", "domain", "secure")}
        assert found == {
            "httponly": True,
            "samesite": "Lax",
            "max-age": str(COOKIE.max_age_s),
            "path": "/",
            "domain": "",
            "secure": "",
        }

    def test_the_cookie_is_secure_on_https(self, host: Host) -> None:
        with host.serve(banner, static_client()) as visit:
            (cookie,) = visit(https=True).cookies
        assert cookie["secure"] is True

    def test_the_cookie_is_as_configured(self, host: Host) -> None:
        configured = AnonymousCookie(secret="other", name="visitor", max_age_s=60, path="/shop", same_site="Strict")
        with host.serve(banner, static_client(), anonymous=configured) as visit:
            (cookie,) = visit().cookies
        assert (cookie.key, cookie["max-age"], cookie["path"], cookie["samesite"]) == (
            "visitor",
            "60",
            "/shop",
            "Strict",
        )

    def test_a_cookie_that_comes_back_gives_the_same_id(self, host: Host) -> None:
        with host.serve(user_key, static_client()) as visit:
            first = visit()
            second = visit(headers={"Cookie": first.cookie_header})
        assert second.json == first.json

    def test_a_cookie_that_comes_back_is_not_set_again(self, host: Host) -> None:
        with host.serve(user_key, static_client()) as visit:
            first = visit()
            second = visit(headers={"Cookie": "theme=dark; " + first.cookie_header})
        assert second.cookies == []

    @pytest.mark.parametrize(
        "value",
        [
            "A" * 22,
            "A" * 22 + "." + "B" * 43,
            "A" * 100_000,
            "é" * 22,
            "\x7f",
            "",
            ".",
            '"' + "A" * 22 + '"',
        ],
        ids=["unsigned", "forged", "oversized", "non-ascii", "control", "empty", "dot", "quoted"],
    )
    def test_a_cookie_that_is_not_ours_gives_a_fresh_id(self, host: Host, value: str) -> None:
        with host.serve(user_key, static_client()) as visit:
            reply = visit(headers={"Cookie": f"{COOKIE.name}={value}"})
        (cookie,) = reply.cookies
        assert cookie.value.startswith(reply.json + ".")
        assert len(reply.json) == 22
        assert reply.json != "A" * 22

    def test_two_visitors_have_two_ids(self, host: Host) -> None:
        with host.serve(user_key, static_client()) as visit:
            assert visit().json != visit().json

    def test_without_the_cookie_users_have_no_key(self, host: Host) -> None:
        with host.serve(user_key, static_client(), anonymous=False) as visit:
            reply = visit()
        assert (reply.json, reply.cookies) == (None, [])

    def test_a_known_user_gets_no_cookie(self, host: Host) -> None:
        with host.serve(user_key, static_client(), user=Builder(ANN)) as visit:
            reply = visit()
        assert (reply.json, reply.cookies) == ("ann", [])

    def test_a_user_without_a_key_gets_the_anonymous_id(self, host: Host) -> None:
        with host.serve(user_key, static_client(), user=Builder({"country": "DE"})) as visit:
            reply = visit()
        assert reply.cookies[0].value.startswith(reply.json + ".")

    # --- users ----------------------------------------------------------------------------------------------

    def test_a_flag_is_evaluated_for_the_user_that_the_builder_gives(self, host: Host) -> None:
        def beta(flags: Flags) -> bool:
            return flags.is_enabled("beta")

        with host.serve(beta, static_client(), user=Builder(ANN)) as visit:
            assert visit().json is True

    def test_no_identity_is_taken_from_a_header_of_the_client(self, host: Host) -> None:
        names = ("User", "X-User", "Remote-User", "X-Remote-User", "X-Forwarded-User", "X-Auth-Request-User", "From")
        with host.serve(user_key, static_client()) as visit:
            reply = visit(headers=dict.fromkeys(names, "ann"))
        assert len(reply.json) == 22

    def test_a_builder_that_raises_gives_defaults_with_a_reason(self, host: Host) -> None:
        def detail(flags: Flags) -> list[Any]:
            evaluation = flags.variation_detail("banner", "default")
            return [evaluation.value, evaluation.reason, evaluation.error_code]

        with host.serve(detail, static_client(), user=Builder(ValueError("ann@example.com"))) as visit:
            reply = visit()
        assert (reply.status, reply.json) == (200, ["default", "ERROR", ErrorCode.INVALID_CONTEXT])

    def test_a_builder_that_raises_is_logged_once_and_without_its_text(
        self, host: Host, caplog: pytest.LogCaptureFixture
    ) -> None:
        with host.serve(banner, static_client(), user=Builder(ValueError("ann@example.com"))) as visit:
            for _ in range(3):
                visit()
        lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        assert len(lines) == 1
        assert "ValueError" in lines[0]
        assert "ann@example.com" not in lines[0]

    def test_a_builder_that_gives_nonsense_gives_defaults(self, host: Host) -> None:
        with host.serve(banner, static_client(), user=Builder(42)) as visit:
            reply = visit()
        assert (reply.status, reply.json) == (200, "")

    def test_identify_evaluates_for_another_user_from_there_on(self, host: Host) -> None:
        def log_in(flags: Flags) -> list[bool]:
            before = flags.is_enabled("beta")
            flags.identify(ANN)
            return [before, flags.is_enabled("beta")]

        with host.serve(log_in, static_client()) as visit:
            assert visit().json == [False, True]

    def test_identify_before_the_first_read_spares_the_builder(self, host: Host) -> None:
        user = Builder()

        def log_in(flags: Flags) -> bool:
            flags.identify(ANN)
            return flags.is_enabled("beta")

        with host.serve(log_in, static_client(), user=user) as visit:
            assert (visit().json, user.calls) == (True, 0)

    def test_identify_keeps_the_flags_of_the_request(self, host: Host, tmp_path: Path) -> None:
        path = tmp_path / "flags.json"
        client = file_client(path)

        def read_edit_log_in(flags: Flags) -> str:
            flags.string("banner")
            replace_flags(client, path, "new")
            flags.identify(ANN)
            return flags.string("banner")

        with host.serve(read_edit_log_in, client) as visit:
            assert visit().json == "old"

    def test_identify_without_a_key_keeps_the_anonymous_id(self, host: Host) -> None:
        def state_country(flags: Flags) -> list[str | None]:
            before = flags.user.key
            flags.identify({"country": "DE"})
            return [before, flags.user.key, flags.user.country]

        with host.serve(state_country, static_client()) as visit:
            before, after, country = visit().json
        assert (after, country) == (before, "DE")

    def test_rules_can_read_the_request(self, host: Host) -> None:
        def attributes(flags: Flags) -> dict[str, Any]:
            return dict(flags.user.attributes["request"])

        headers = {"User-Agent": "browser", "Accept-Language": "fr;q=0.5, de"}
        with host.serve(attributes, static_client()) as visit:
            reply = visit("/à/la/carte", headers)
        assert reply.json == {
            "path": "/à/la/carte",
            "method": "GET",
            "host": HOST_NAME,
            "user_agent": "browser",
            "language": "de",
            "client_address": PEER,
        }

    @pytest.mark.parametrize(
        ("proxies", "address"), [(0, PEER), (1, "198.51.100.1"), (2, "203.0.113.9"), (3, PEER)], ids=str
    )
    def test_only_trusted_proxies_say_who_the_client_is(self, host: Host, proxies: int, address: str) -> None:
        def client_address(flags: Flags) -> Any:
            return flags.user.attributes["request"]["client_address"]

        with host.serve(client_address, static_client(), trusted_proxies=proxies) as visit:
            reply = visit(headers={"X-Forwarded-For": "203.0.113.9, 198.51.100.1"})
        assert reply.json == address

    def test_what_a_user_did_is_tracked_for_that_user(self, host: Host) -> None:
        sink = MemorySink()

        def buy(flags: Flags) -> None:
            flags.track("bought", 9.5, colour="red")

        with host.serve(buy, static_client(sink), user=Builder(ANN)) as visit:
            visit()
        (metric,) = sink.metrics
        assert (metric.context.key, metric.event, metric.value, metric.properties) == (
            "ann",
            "bought",
            9.5,
            {"colour": "red"},
        )


class HttpContract(HostContract):
    """Holds for the HTTP requests of every host; the answer of a websocket is never cached."""

    def test_the_events_of_a_request_are_handed_over_in_one_go_after_the_view(self, host: Host) -> None:
        sink = Takings()

        def read_and_track(flags: Flags) -> list[int]:
            flags.string("banner")
            flags.is_enabled("beta")
            flags.track("bought", 2.0)
            return list(sink.sizes)

        with host.serve(read_and_track, static_client(sink), user=Builder(ANN)) as visit:
            assert (visit().json, sink.sizes) == ([], [3])

    def test_an_answer_that_depended_on_flags_varies_by_cookie(self, host: Host) -> None:
        with host.serve(banner, static_client()) as visit:
            assert visit().vary == ["cookie"]

    def test_an_answer_for_a_known_user_varies_by_cookie(self, host: Host) -> None:
        with host.serve(banner, static_client(), user=Builder(ANN)) as visit:
            assert visit().vary == ["cookie"]

    def test_an_answer_for_a_returning_visitor_varies_by_cookie(self, host: Host) -> None:
        with host.serve(banner, static_client()) as visit:
            assert visit(headers={"Cookie": visit().cookie_header}).vary == ["cookie"]

    def test_an_answer_after_a_builder_that_raised_varies_by_cookie(self, host: Host) -> None:
        with host.serve(banner, static_client(), user=Builder(ValueError())) as visit:
            assert visit().vary == ["cookie"]

    @pytest.mark.parametrize(
        ("own", "expected"),
        [
            ("Accept-Encoding", ["accept-encoding", "cookie"]),
            ("Accept, COOKIE", ["accept", "cookie"]),
            ("*", ["*"]),
        ],
    )
    def test_the_vary_header_of_the_app_is_kept(self, host: Host, own: str, expected: list[str]) -> None:
        with host.serve(banner, static_client(), vary=own) as visit:
            assert visit().vary == expected

    def test_a_vary_header_of_the_app_stays_as_it_is_when_nothing_was_read(self, host: Host) -> None:
        with host.serve(nothing, static_client(), vary="Accept-Encoding") as visit:
            assert visit().vary == ["accept-encoding"]


class TaskContract(HostContract):
    """Holds for hosts whose views are coroutine functions."""

    def test_the_tasks_of_a_request_evaluate_a_flag_once(self, host: Host) -> None:
        sink = MemorySink()
        user = Builder(ANN)

        async def read(flags: Flags) -> bool:
            await asyncio.sleep(0)
            return flags.is_enabled("beta")

        async def read_in_tasks(flags: Flags) -> list[bool]:
            return await asyncio.gather(*(read(flags) for _ in range(20)))

        with host.serve(read_in_tasks, static_client(sink), user=user) as visit:
            reply = visit()
        assert (reply.json, user.calls, len(sink.exposures)) == ([True] * 20, 1, 1)

    def test_the_proxy_works_in_tasks_and_threads_that_a_request_starts(self, host: Host) -> None:
        async def read() -> str:
            return flagmw.flags.string("banner")

        async def read_elsewhere(flags: Flags) -> list[str]:
            return [await asyncio.create_task(read()), await asyncio.to_thread(flagmw.flags.string, "banner")]

        with host.serve(read_elsewhere, static_client()) as visit:
            assert visit().json == ["old", "old"]

    def test_a_flag_keeps_its_value_in_tasks_while_its_file_changes(self, host: Host, tmp_path: Path) -> None:
        path = tmp_path / "flags.json"
        client = file_client(path)

        async def read_edit_read(flags: Flags) -> list[str]:
            before = flags.string("banner")
            await asyncio.to_thread(replace_flags, client, path, "new")
            return [before, await asyncio.create_task(asyncio.to_thread(flags.string, "banner"))]

        with host.serve(read_edit_read, client) as visit:
            assert visit().json == ["old", "old"]

    def test_an_override_in_the_middle_of_a_request_reaches_its_tasks_and_ends(self, host: Host) -> None:
        @override_flags(banner="test")
        async def overridden(flags: Flags) -> str:
            return await asyncio.create_task(asyncio.to_thread(flags.string, "banner"))

        async def override(flags: Flags) -> list[str]:
            return [flags.string("banner"), await overridden(flags), flags.string("banner")]

        with host.serve(override, static_client()) as visit:
            assert visit().json == ["old", "test", "old"]
