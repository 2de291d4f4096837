"""The example apps, started as their READMEs say and used as their visitors would: real servers, two workers each."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.shops import (
    APPS,
    DEADLINE_S,
    NAMES,
    WORKERS,
    Page,
    Shop,
    banner_of,
    copy_app,
    is_alive,
    press,
    run_command,
    wait_until,
)

PROMISE_S = 1.0
"""How soon an edit is in force in all workers: the README says so."""

PAGES = ("/", "/checkout", "/nowhere")


@pytest.fixture(scope="module", params=NAMES)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(request.param, tmp_path_factory.mktemp(request.param))
    yield shop
    shop.stop()


@pytest.fixture
def shop(running: Shop) -> Iterator[Shop]:
    """Give a running shop; its flags are put back afterwards."""
    yield running
    if running.flag_file.read_text(encoding="utf-8") != running.shipped:
        running.restore_flags()


# --- live flags -------------------------------------------------------------------------------------------------


def test_an_edit_is_served_by_every_worker_within_a_second_and_without_a_restart(shop: Shop) -> None:
    with shop.workers() as workers:
        shop.edit_banner("Lamps for everybody")
        edited = time.monotonic()
        for worker in workers:
            asked = time.monotonic()
            while banner_of(worker) != "Lamps for everybody":
                late_s = asked - edited
                assert late_s < PROMISE_S, f"worker {worker.pid} has the old flags {late_s:.2f} s after the edit"
                asked = time.monotonic()


def test_a_broken_edit_changes_nothing_and_every_worker_logs_it_once(shop: Shop) -> None:
    before = shop.themes()
    known = len(shop.errors())
    line = shop.break_flags()
    wait_until(lambda: len(shop.errors()) - known >= WORKERS, "each worker has logged the mistake")
    after = shop.themes()
    shop.restore_flags()  # what a worker had still to log about the broken file, it has logged by now

    errors = shop.errors()[known:]
    assert after == before
    assert sorted(f"[{pid}]" for pid in shop.pids) == sorted(error.split()[2] for error in errors)
    assert all(f"flags.yaml:{line}:" in error and "'dsk' is no variant" in error for error in errors)


def test_the_good_file_after_a_broken_one_is_in_force(shop: Shop) -> None:
    known = len(shop.errors())
    shop.break_flags()
    wait_until(lambda: len(shop.errors()) - known >= WORKERS, "each worker has logged the mistake")
    shop.edit_banner("Mended")
    shop.wait_for_banner("Mended")


def test_a_theme_from_the_flag_file_is_escaped_in_the_page(shop: Shop) -> None:
    shop.edit_banner("<script>&\"'")
    shop.wait_for_banner("<script>&\"'")
    with shop.visitor() as visitor:
        assert "<script>" not in visitor.get("/").text


# --- pages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("plan", ["Free", "Plus"])
def test_every_page_is_well_formed_and_labelled_and_needs_nothing_from_elsewhere(
    shop: Shop, path: str, plan: str
) -> None:
    with shop.visitor() as visitor:
        press(visitor, "France")
        press(visitor, plan)
        assert Page(visitor.get(path)).problems == []


def test_both_versions_of_the_product_page_are_well_formed(shop: Shop) -> None:
    problems: dict[bool, list[str]] = {}

    def look_as_somebody_new() -> bool:
        with shop.visitor() as visitor:
            has_gallery = visitor.get("/flags.json").json()["flags"]["new-gallery"]["value"]
            page = visitor.get("/")
            assert ('class="gallery"' in page.text) is has_gallery
            problems[has_gallery] = Page(page).problems
        return len(problems) == 2

    wait_until(look_as_somebody_new, "some visitors have seen the new gallery and some the classic one")
    assert problems == {True: [], False: []}


def test_the_page_tells_which_flags_it_read_and_who_answered(shop: Shop) -> None:
    with shop.visitor() as visitor:
        text = Page(visitor.get("/")).text
    panel = text[text.index("Flags that this request read") :]
    assert all(key in panel for key in ("shop-theme", "new-gallery", "checkout"))
    assert any(f"worker {pid} " in " ".join(panel.split()) for pid in shop.pids)


def test_the_stylesheet_is_served(shop: Shop) -> None:
    with shop.visitor() as visitor:
        response = visitor.get("/static/shop.css")
    assert response.headers["content-type"].startswith("text/css")


def test_the_checkout_is_closed_at_first(shop: Shop) -> None:
    with shop.visitor() as visitor:
        assert visitor.get("/checkout").status_code == 404


@pytest.mark.parametrize("button", ["Germany", "Plus"])
def test_the_checkout_stays_closed_when_only_one_rule_holds(shop: Shop, button: str) -> None:
    with shop.visitor() as visitor:
        press(visitor, button)
        assert visitor.get("/checkout").status_code == 404


@pytest.mark.parametrize("country", ["Germany", "France"])
def test_the_checkout_opens_by_country_and_plan(shop: Shop, country: str) -> None:
    with shop.visitor() as visitor:
        press(visitor, country)
        press(visitor, "Plus")
        assert visitor.get("/checkout").status_code == 200


def test_a_choice_that_is_not_offered_is_refused(shop: Shop) -> None:
    with shop.visitor() as visitor:
        page = Page(visitor.get("/"))
        assert visitor.post("/visitor/country/XX", data=page.hidden).status_code == 404


def test_a_visitor_stays_in_one_bucket_whichever_worker_answers(shop: Shop) -> None:
    answers: list[tuple[int, bool]] = []
    with shop.visitor() as visitor:

        def ask() -> bool:
            answer = visitor.get("/flags.json").json()
            answers.append((answer["pid"], answer["flags"]["new-gallery"]["value"]))
            return len({pid for pid, _ in answers}) == WORKERS and len(answers) >= 10

        wait_until(ask, "both workers have answered this visitor")
    assert len({value for _, value in answers}) == 1


# --- starting and stopping --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_ctrl_c_ends_the_server_and_all_workers(name: str, tmp_path: Path) -> None:
    shop = Shop(name, tmp_path)
    shop.stop()
    wait_until(lambda: not any(map(is_alive, shop.pids)), "the workers are gone")


def test_starting_says_which_line_of_which_file_to_edit(shop: Shop) -> None:
    line = shop.shipped[: shop.shipped.index("<-- try this first")].count("\n") + 1
    assert f"Open {shop.name}/flags.yaml, line {line}:" in shop.log()


def test_a_port_that_is_taken_is_told_with_another_one(tmp_path: Path) -> None:
    copy_app("flask_shop", tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        process = run_command("flask_shop", tmp_path, other.getsockname()[1], stderr=subprocess.PIPE)
        told = process.communicate(timeout=DEADLINE_S)[1]
    assert "PORT=8001" in told


def test_an_app_that_does_not_exist_is_told_with_those_that_do(tmp_path: Path) -> None:
    copy_app("flask_shop", tmp_path)
    process = run_command("bottle_shop", tmp_path, 0, stderr=subprocess.PIPE)
    assert "'bottle_shop'; there are flask_shop" in process.communicate(timeout=DEADLINE_S)[1]


def test_the_shops_look_the_same() -> None:
    assert len({(APPS / name / "static" / "shop.css").read_bytes() for name in NAMES}) == 1
