"""What is kept of evaluations: added up day by day, written once, whatever a transaction or a fork does."""

from __future__ import annotations

import datetime as dt
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from flagmw import Client, UserContext
from flagmw.errors import FlagmwError
from flagmw.flag_counts import (
    KEPT_DAYS,
    KNOWN_INTERVAL_S,
    MAX_UNKNOWN_PER_DAY,
    FlagCount,
    FlagCounts,
    FlagHistory,
    read_flag_counts,
)
from flagmw.providers import Static
from flagmw.tallies import NOT_FOUND, Tallies
from flagmw.usage.seams import ProcessIdentity
from flagmw.usage.store_tables import connected, make_tables, run_script
from tests.unit.support import compiled, document, flag

USER = UserContext("user-1")
NOON_S = 1_700_049_600.0
DAY_S = 86_400.0
PROCESS = ProcessIdentity(uuid="p", pid=1, hostname="host", started_at=NOON_S - 100.0)


class Shop:
    """An application with a client, what it writes, and where."""

    def __init__(self, path: Path, flags: Any = None, **owner: str) -> None:
        self.path = path
        self.provider = Static({"beta": False, "banner": "old"} if flags is None else flags)
        self.client = Client(self.provider)
        self.tallies = self.client.tally(lambda: None)
        self.owner = {"app_name": "shop", "environment": "test", "client_name": "default", **owner}
        self.companion = FlagCounts(self.tallies, snapshot=self.client.snapshot_if_used, **self.owner)

    def evaluate(self, key: str = "beta", times: int = 1) -> None:
        for _ in range(times):
            self.client.variation(key, USER)

    def publish(self, at: float = NOON_S, *, process: ProcessIdentity = PROCESS, fails: bool = False) -> None:
        """Do what the agent does: write in a transaction, and tell when it is safe."""
        with connected(self.path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            make_tables(connection)
            run_script(connection, self.companion.schema)
            self.companion.write(connection, process, at)
            connection.execute("ROLLBACK" if fails else "COMMIT")
        if not fails:
            self.companion.written()

    def history(self, **chosen: str) -> FlagHistory:
        return read_flag_counts(self.path, **chosen)

    def counts(self) -> dict[tuple[Any, ...], int]:
        return {
            (one.flag_key, one.variation, one.value_json, one.reason, one.day.isoformat()): one.count
            for one in self.history().counts
        }

    def known(self) -> dict[str, bool]:
        return {one.flag_key: one.is_there for one in self.history().known}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "usage.db")


BETA = ("beta", "off", "false", "STATIC", "2023-11-15")


# --- counts ---------------------------------------------------------------------------------------------------


def test_counts_of_a_day_add_up(shop: Shop) -> None:
    shop.evaluate(times=3)
    shop.publish(NOON_S)
    shop.evaluate(times=2)
    shop.publish(NOON_S + 60.0)
    shop.publish(NOON_S + 120.0)
    assert shop.history().counts == (
        FlagCount(
            flag_key="beta",
            variation="off",
            value_json="false",
            reason="STATIC",
            day=dt.date(2023, 11, 15),
            count=5,
            first_at=NOON_S,
            last_at=NOON_S + 60.0,
            app_name="shop",
            environment="test",
            client_name="default",
        ),
    )


def test_another_day_is_counted_apart(shop: Shop) -> None:
    shop.evaluate()
    shop.publish(NOON_S)
    shop.evaluate(times=2)
    shop.publish(NOON_S + DAY_S)
    assert shop.counts() == {BETA: 1, (*BETA[:4], "2023-11-16"): 2}


def test_days_are_those_of_utc(shop: Shop) -> None:
    shop.evaluate()
    shop.publish(NOON_S + DAY_S / 2 - 0.001)
    shop.evaluate()
    shop.publish(NOON_S + DAY_S / 2)
    assert {one.day.isoformat() for one in shop.history().counts} == {"2023-11-15", "2023-11-16"}


def test_variations_without_a_name_or_value_add_up_as_well(shop: Shop) -> None:
    for at in (NOON_S, NOON_S + 60.0):
        shop.evaluate("gone")
        shop.publish(at)
    assert shop.counts() == {("gone", None, None, NOT_FOUND, "2023-11-15"): 2}


def test_what_a_failed_transaction_has_not_written_is_written_by_the_next(shop: Shop) -> None:
    shop.evaluate(times=2)
    shop.publish(NOON_S, fails=True)
    shop.evaluate()
    shop.publish(NOON_S + 60.0)
    assert shop.counts() == {BETA: 3}


def test_what_waited_keeps_its_day(shop: Shop) -> None:
    shop.evaluate()
    shop.publish(NOON_S, fails=True)
    shop.publish(NOON_S + DAY_S)
    assert shop.counts() == {BETA: 1}


def test_processes_add_up(shop: Shop) -> None:
    other = Shop(shop.path)
    for one, times in ((shop, 2), (other, 3), (shop, 4)):
        one.evaluate(times=times)
        one.publish()
    assert shop.counts() == {BETA: 9}


def test_two_stores_count_the_same_evaluations(shop: Shop, tmp_path: Path) -> None:
    other = Shop(tmp_path / "other.db")
    other.companion = FlagCounts(shop.tallies, app_name="shop", environment="test")
    shop.evaluate(times=2)
    shop.publish()
    shop.evaluate()
    other.publish()
    shop.publish()
    assert (shop.counts(), other.counts()) == ({BETA: 3}, {BETA: 3})


def test_a_child_writes_nothing_of_its_parent(shop: Shop) -> None:
    shop.evaluate(times=5)
    shop.publish(fails=True)
    shop.companion.forked()
    shop.evaluate()
    shop.publish()
    assert shop.counts() == {BETA: 1}


def test_a_value_that_changes_is_counted_apart(shop: Shop) -> None:
    shop.evaluate("banner")
    shop.publish()
    shop.provider.update({"beta": False, "banner": "new"})
    shop.publish()
    shop.evaluate("banner")
    shop.publish()
    assert {key[2] for key in shop.counts()} == {'"old"', '"new"'}


def test_days_long_gone_are_removed(shop: Shop) -> None:
    shop.evaluate()
    shop.publish(NOON_S)
    shop.evaluate()
    shop.publish(NOON_S + KEPT_DAYS * DAY_S)
    assert len(shop.counts()) == 2
    shop.publish(NOON_S + (KEPT_DAYS + 1) * DAY_S)
    assert len(shop.counts()) == 1


def test_keys_that_come_from_anywhere_do_not_fill_the_disk(shop: Shop) -> None:
    for start in range(0, 2 * MAX_UNKNOWN_PER_DAY, MAX_UNKNOWN_PER_DAY // 2):
        for number in range(MAX_UNKNOWN_PER_DAY // 2):
            shop.evaluate(f"garbage-{start + number}")
        shop.publish()
        shop.companion.forked()  # as in a worker that takes the place of this one
    shop.evaluate()
    shop.publish()
    assert len(shop.counts()) == MAX_UNKNOWN_PER_DAY + 1


def test_a_key_that_is_no_text_for_sqlite_is_kept_all_the_same(shop: Shop) -> None:
    shop.evaluate("half \ud800")
    shop.publish()
    assert [one.flag_key for one in shop.history().counts] == ["half ?"]


# --- the provider's flags -------------------------------------------------------------------------------------


def test_the_providers_flags_are_known_although_nobody_evaluates_them(shop: Shop) -> None:
    shop.client.start()
    shop.publish(NOON_S)
    known = shop.history().known
    assert [(one.flag_key, one.first_seen_at, one.last_seen_at, one.is_there) for one in known] == [
        ("banner", NOON_S, NOON_S, True),
        ("beta", NOON_S, NOON_S, True),
    ]


def test_a_flag_that_the_provider_has_no_more_is_known_as_gone(shop: Shop) -> None:
    shop.evaluate()
    shop.publish(NOON_S)
    shop.provider.update({"banner": "old", "newer": 1})
    shop.publish(NOON_S + 60.0)
    assert shop.known() == {"banner": True, "beta": False, "newer": True}


def test_a_flag_that_comes_back_is_there_since_before(shop: Shop) -> None:
    shop.evaluate()
    shop.publish(NOON_S)
    for at, flags in ((60.0, {"banner": "old"}), (120.0, {"beta": True})):
        shop.provider.update(flags)
        shop.publish(NOON_S + at)
    beta = next(one for one in shop.history().known if one.flag_key == "beta")
    assert (beta.first_seen_at, beta.last_seen_at, beta.is_there) == (NOON_S, NOON_S + 120.0, True)


def last_seen(shop: Shop) -> float:
    return max(one.last_seen_at for one in shop.history().known)


def test_flags_that_do_not_change_are_written_once_an_hour(shop: Shop) -> None:
    shop.evaluate()
    shop.publish(NOON_S)
    shop.publish(NOON_S + KNOWN_INTERVAL_S - 1.0)
    assert last_seen(shop) == NOON_S
    shop.publish(NOON_S + KNOWN_INTERVAL_S)
    assert last_seen(shop) == NOON_S + KNOWN_INTERVAL_S


def test_flags_that_a_failed_transaction_has_not_written_are_written_by_the_next(shop: Shop) -> None:
    shop.evaluate()
    shop.publish(NOON_S, fails=True)
    shop.publish(NOON_S + 1.0)
    assert shop.known() == {"banner": True, "beta": True}


def test_flags_that_were_not_written_are_not_taken_for_written(shop: Shop) -> None:
    shop.client.start()
    now: list[Any] = [shop.client.snapshot(), None, shop.client.snapshot()]
    shop.companion = FlagCounts(shop.tallies, snapshot=lambda: now.pop(0), **shop.owner)
    for fails in (True, False, False):
        shop.publish(fails=fails)
    assert shop.known() == {"banner": True, "beta": True}


def test_another_clients_flags_do_not_make_these_go(shop: Shop) -> None:
    other = Shop(shop.path, {"else": True}, client_name="default-2")
    for number, one in enumerate((shop, other)):
        one.client.start()
        one.publish(NOON_S + number)
    assert shop.known() == {"banner": True, "beta": True, "else": True}


def test_flags_of_an_earlier_process_are_not_taken_for_the_providers(tmp_path: Path) -> None:
    from dataclasses import replace

    stale = replace(compiled(document({"old": flag(default="on")})), is_stale=True)
    shop = Shop(tmp_path / "usage.db")
    shop.companion = FlagCounts(shop.tallies, snapshot=lambda: stale, **shop.owner)
    shop.publish()
    assert shop.known() == {}


def test_a_client_that_nobody_uses_has_no_flags_yet(shop: Shop) -> None:
    shop.publish()
    assert (shop.known(), shop.client.snapshot_if_used()) == ({}, None)


def test_many_flags_are_written_at_once(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "usage.db", {f"flag-{number}": True for number in range(5_000)})
    shop.client.start()
    shop.publish()
    assert len(shop.known()) == 5_000


# --- reading --------------------------------------------------------------------------------------------------


def test_counting_began_with_the_first_process(shop: Shop) -> None:
    shop.publish(NOON_S)
    later = ProcessIdentity(uuid="q", pid=2, hostname="host", started_at=NOON_S + 50.0)
    shop.publish(NOON_S + 60.0, process=later)
    assert shop.history().watched_since == PROCESS.started_at


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, {("shop", "test"), ("shop", "live"), ("mail", "live")}),
        ({"app_name": "shop"}, {("shop", "test"), ("shop", "live")}),
        ({"environment": "live"}, {("shop", "live"), ("mail", "live")}),
        ({"app_name": "mail", "environment": "live"}, {("mail", "live")}),
        ({"app_name": "nobody's"}, set()),
    ],
    ids=str,
)
def test_one_application_or_environment_can_be_read(
    tmp_path: Path, chosen: dict[str, str], expected: set[tuple[str, str]]
) -> None:
    path = tmp_path / "usage.db"
    for app_name, environment in (("shop", "test"), ("shop", "live"), ("mail", "live")):
        shop = Shop(path, app_name=app_name, environment=environment)
        shop.evaluate()
        shop.publish()
    history = read_flag_counts(path, **chosen)
    assert {(one.app_name, one.environment) for one in history.counts} == expected
    assert {(one.app_name, one.environment) for one in history.known} == expected
    assert (history.watched_since is not None) is bool(expected)


def test_a_store_without_flags_has_an_empty_history(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    with connected(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        make_tables(connection)
        connection.execute("COMMIT")
    assert read_flag_counts(path) == FlagHistory()


def test_a_store_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FlagmwError, match=r"nowhere\.db"):
        read_flag_counts(tmp_path / "nowhere.db")


def test_a_file_that_is_no_store_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("no database" * 100)
    with pytest.raises(FlagmwError, match=r"notes\.db"):
        read_flag_counts(path)


def test_reading_does_not_wait_for_a_writer(shop: Shop) -> None:
    shop.evaluate()
    shop.publish()
    writer = sqlite3.connect(shop.path, isolation_level=None)
    try:
        writer.execute("BEGIN IMMEDIATE")
        assert shop.counts() == {BETA: 1}
    finally:
        writer.close()


def test_counts_can_be_kept_without_a_client() -> None:
    assert FlagCounts(Tallies()).schema
