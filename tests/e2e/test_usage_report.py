"""The usage report of an example app that really ran, opened in a real browser: what a person sees, and can do.

With FLAGMW_PICTURE=docs/usage-report.png the picture of the docs is taken again.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from flagmw.report.page import page_of
from flagmw.report.page_data import page_data
from tests.e2e.browser import Tab, browser_tab
from tests.e2e.shops import DEADLINE_S, NAMES, Shop, copy_app, free_port, press, run_command, wait_until
from tests.unit.report_support import report, stored

APP = "flask_shop"
DAY_S = 86_400.0
MAX_PICTURE_BYTES = 400_000
TIMES = {
    "applications": ("watched_since", "scanned_at"),
    "functions": ("first_seen_at",),
    "invocations": ("first_invoked_at", "last_invoked_at"),
    "processes": ("started_at", "published_at", "ended_at"),
    "flag_counts": ("first_at", "last_at"),
    "flags_known": ("first_seen_at", "last_seen_at"),
    "flag_clients": ("watched_since", "known_at"),
}


# --- an app that has a history ------------------------------------------------------------------------------------


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """Serve the shop as its README says; gives its address."""
    port = free_port()
    with (directory / "server.log").open("a") as log:
        process = run_command(APP, directory, port, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(url, process), "the shop answers")
        yield url
        os.killpg(process.pid, signal.SIGINT)
        process.wait(DEADLINE_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(DEADLINE_S)


def answers(url: str, process: subprocess.Popen[str]) -> bool:
    assert process.poll() is None, "the server ended"
    try:
        return httpx.get(url, timeout=DEADLINE_S).status_code == 200
    except httpx.TransportError:
        return False


def visitor(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=DEADLINE_S, follow_redirects=True)


def look_until_both(url: str, key: str) -> None:
    """Be new visitors until a flag has given both of its values."""
    seen = set()

    def look() -> bool:
        with visitor(url) as somebody:
            seen.add(somebody.get("/flags.json").json()["flags"][key]["value"])
            somebody.get("/")
        return len(seen) == 2

    wait_until(look, f"{key} has given both values")


def age(store: Path, days: float) -> None:
    """Let days pass: all that the store has happened so much earlier."""
    connection = sqlite3.connect(store)
    with connection:
        for table, columns in TIMES.items():
            settings = ", ".join(f"{column} = {column} - {days * DAY_S}" for column in columns)
            connection.execute(f"UPDATE {table} SET {settings}")
        connection.execute("UPDATE flag_counts SET day = date(last_at, 'unixepoch')")
    connection.close()


def live(directory: Path) -> None:
    """Let the shop live for 40 days: two weeks with an error, then with buyers, and today."""
    store = directory / APP / "flagmw-usage.db"
    flags = directory / APP / "flags.yaml"
    with served(directory) as url, visitor(url) as lost:
        assert lost.get("/nowhere").status_code == 404
    age(store, 25)
    shipped = flags.read_text(encoding="utf-8")
    flags.write_text(shipped.replace("defaultVariant: meadow", "defaultVariant: dusk"), encoding="utf-8")
    with served(directory) as url, visitor(url) as buyer:
        press(buyer, "Germany")
        press(buyer, "Plus")
        assert buyer.get("/checkout").status_code == 200
        look_until_both(url, "new-gallery")
    age(store, 15)
    flags.write_text(shipped, encoding="utf-8")
    with served(directory) as url:
        look_until_both(url, "new-gallery")


def flagmw(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "flagmw"), *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "FLAGMW_DSN"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a shop that has lived."""
    directory = tmp_path_factory.mktemp("shop")
    copy_app(APP, directory)
    live(directory)
    return directory / APP


@pytest.fixture(scope="module")
def written(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the page of its report."""
    file = tmp_path_factory.mktemp("report") / "report.html"
    done = flagmw("usage", "report", "--html", str(file), folder=shop)
    assert done.returncode == 0, done.stderr
    return file


@pytest.fixture(scope="module")
def browser() -> Iterator[Tab]:
    with browser_tab() as tab:
        yield tab


@pytest.fixture
def page(browser: Tab, written: Path) -> Iterator[Tab]:
    """Open the page; whatever a test does, nothing may go wrong in it, and nothing be asked for."""
    browser.troubles.clear()
    browser.requests.clear()
    browser.open(written.as_uri())
    yield browser
    assert browser.troubles == []
    assert browser.requests == [written.as_uri()]


# --- the tree -----------------------------------------------------------------------------------------------------


def rows(page: Tab) -> list[str]:
    found: list[str] = page.ask("[...document.querySelectorAll('#tree .row .name')].map(name => name.textContent)")
    return found


def test_the_tree_shows_the_modules(page: Tab) -> None:
    assert rows(page) == ["app", "delivery"]


def test_a_click_opens_a_module_with_its_functions_and_their_ages(page: Tab) -> None:
    page.click_on("#tree .row:last-child")
    assert rows(page)[2:] == ["promised", "next_working_day", "estimated", "distance_km", "customs_days", "worded"]
    ages = page.ask("[...document.querySelectorAll('#tree .leaf')].map(row => row.className.split(' ')[2])")
    assert ages == ["recent", "recent", "never", "never", "never", "never"]


def test_the_tree_can_be_walked_with_the_keyboard(page: Tab) -> None:
    page.ask("document.getElementById('tree').focus()")
    for key in ("ArrowDown", "ArrowRight", "ArrowDown", "Enter"):
        page.press(key)
    chosen = page.ask("document.querySelector('#tree [aria-selected=true] .name').textContent")
    assert chosen == "promised"
    assert page.ask("document.querySelector('#functions tr.chosen td').textContent").startswith("promised(")


def test_each_age_of_the_shops_life_is_there(page: Tab) -> None:
    counts = page.ask("[...document.querySelectorAll('.chip b')].map(count => Number(count.textContent))")
    assert all(counts), counts
    assert sum(counts) == 15


# --- the map ------------------------------------------------------------------------------------------------------


def painted(page: Tab) -> set[str]:
    """Give the colours of the map, as far as they are those of ages."""
    found: list[str] = page.ask(
        """(() => {
            const canvas = document.querySelector('#map .paint');
            const pixels = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
            const seen = new Set(pixels);
            const style = getComputedStyle(document.documentElement);
            return ['never', 'old', 'aging', 'recent'].filter(age => {
                const [r, g, b] = style.getPropertyValue('--' + age).trim().match(/[0-9a-f]{2}/gi).map(part => parseInt(part, 16));
                return seen.has(((255 << 24) | (b << 16) | (g << 8) | r) >>> 0);
            });
        })()"""
    )
    return set(found)


def trail(page: Tab) -> list[str]:
    found: list[str] = page.ask(
        "[...document.querySelectorAll('#trail button, #trail [aria-current]')].map(e => e.textContent)"
    )
    return found


TIPPED = "document.querySelector('.tip').hidden ? '' : document.querySelector('.tip b').textContent"
"""What the map's tip is about; nothing between two of its parts."""


def point_at(page: Tab, wanted: str) -> tuple[float, float]:
    """Move the mouse over the map until its tip begins with a name."""
    box = page.box_of("#map")
    steps = [(x / 14, y / 10) for x in range(1, 14) for y in range(1, 10)]
    for x, y in ((box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in steps):
        page.point(x, y)
        if page.ask(TIPPED).startswith(wanted):
            return x, y
    raise AssertionError(f"nothing on the map is {wanted}")


def test_the_map_is_painted_in_the_colours_of_all_ages(page: Tab) -> None:
    assert painted(page) == {"never", "old", "aging", "recent"}


def test_the_tip_tells_of_a_function_its_last_call_and_its_place(page: Tab) -> None:
    point_at(page, "delivery.estimated(country)")
    tip = page.ask("document.querySelector('.tip').innerText")
    assert "last call: never, in 40 d" in tip
    assert "delivery.py:" in tip


def test_a_click_on_the_map_goes_into_a_module_and_escape_out_again(page: Tab) -> None:
    page.click(*point_at(page, "delivery."))
    assert trail(page) == ["All code", "delivery"]
    assert painted(page) == {"never", "recent"}
    assert page.ask("document.getElementById('table-heading').textContent") == "Functions of delivery"
    page.press("Escape")
    assert trail(page) == ["All code"]


def test_a_click_on_a_function_of_the_map_chooses_it(page: Tab) -> None:
    page.click(*point_at(page, "delivery."))
    page.click(*point_at(page, "delivery.distance_km("))
    assert page.ask("document.querySelector('#functions tr.chosen td').textContent") == "distance_km(start, end)"


def test_the_map_can_be_walked_with_the_keyboard(page: Tab) -> None:
    page.ask("document.getElementById('map').focus()")
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        page.press(key)
    assert trail(page) == ["All code", "delivery"]


# --- filters ------------------------------------------------------------------------------------------------------


def listed(page: Tab) -> int:
    number: int = page.ask("document.querySelectorAll('#functions tbody tr').length")
    return number


def test_ages_can_be_left_out_everywhere(page: Tab) -> None:
    for age_ in ("old", "aging", "recent"):
        page.click_on(f".chip[data-age={age_}]")
    assert listed(page) == 4
    assert rows(page) == ["delivery"]
    assert painted(page) == {"never"}


def test_a_search_leaves_what_it_finds_and_opens_the_tree_to_it(page: Tab) -> None:
    page.click_on("#search")
    page.type("DISTANCE")
    page.wait_for("document.querySelectorAll('#functions tbody tr').length === 1")
    assert rows(page) == ["delivery", "distance_km"]


def test_a_search_that_finds_nothing_says_so_and_can_be_taken_back(page: Tab) -> None:
    page.click_on("#search")
    page.type("no such function")
    page.wait_for("!document.querySelector('#map .empty').hidden")
    page.click_on("#reset")
    assert listed(page) == 15


def test_the_size_can_be_the_number_of_functions(page: Tab) -> None:
    page.click_on("[data-measure=functions]")
    sizes = page.ask("[...document.querySelectorAll('#tree .size')].map(size => size.textContent)")
    assert sizes == ["9", "6"]


def test_the_address_keeps_what_is_shown(page: Tab, written: Path) -> None:
    page.click(*point_at(page, "delivery."))
    address = page.ask("location.href")
    page.command("Page.navigate", url="about:blank")
    page.open(address)
    assert trail(page) == ["All code", "delivery"]
    page.requests[:] = [written.as_uri()]


# --- flags --------------------------------------------------------------------------------------------------------


FLAG = 'article[data-flag="delivery-promise"]'


def texts(page: Tab, selector: str) -> list[str]:
    found: list[str] = page.ask(f"[...document.querySelectorAll('{FLAG} {selector}')].map(e => e.textContent)")
    return found


def test_the_stale_flag_is_shown_with_its_dead_branch(page: Tab) -> None:
    assert texts(page, "li.site .text") == ['if flags.is_enabled("delivery-promise"):']
    assert texts(page, "li.dead .text") == ["else:", "arrives = delivery.estimated(country)"]
    assert page.box_of(f"{FLAG} li.dead")["height"] > 10


def test_the_dead_branch_stands_out(page: Tab) -> None:
    backgrounds = page.ask(
        f"['li.dead', 'li.site', 'li:first-child'].map(s => getComputedStyle(document.querySelector('{FLAG} ' + s)).backgroundColor)"
    )
    assert len(set(backgrounds)) == 3


def test_the_functions_that_die_with_the_flag_are_listed_with_the_lines_to_delete(page: Tab) -> None:
    dead = texts(page, "tbody td:first-child")
    assert dead == [
        "delivery.estimated(country)",
        "delivery.distance_km(start, end)",
        "delivery.customs_days(country)",
        "delivery.worded(least, most)",
    ]
    assert texts(page, ".saves") == ["18 lines go with it"]


def test_the_flags_that_do_their_work_are_live(page: Tab) -> None:
    found = page.ask(
        "Object.fromEntries([...document.querySelectorAll('.flag-table tbody tr')].map("
        "row => [row.cells[0].textContent, row.cells[1].textContent]))"
    )
    assert found == {
        "delivery-promise": "stale",
        "checkout": "live",
        "new-gallery": "live",
        "shop-theme": "live",
    }


def test_the_check_fails_for_the_stale_flag_and_names_it(shop: Path) -> None:
    done = flagmw("usage", "check", "--max-stale", "0", folder=shop)
    assert done.returncode == 1
    assert done.stdout.startswith("app.py:")
    assert "stale: delivery-promise: gives true to everybody" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_every_example_app_watches_its_usage(name: str, tmp_path: Path) -> None:
    app = Shop(name, tmp_path)
    try:
        with app.visitor() as somebody:
            assert somebody.get("/").status_code == 200
    finally:
        app.stop()
    done = flagmw("usage", "report", "--json", folder=tmp_path / name)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    ages = {function["signature"].split("(")[0].rpartition(".")[2]: function["age"] for function in told["functions"]}
    assert (ages["product"], ages["choose"]) == ("recent", "never")
    assert "new-gallery" in {flag["flag_key"] for flag in told["flags"]}


# --- looks --------------------------------------------------------------------------------------------------------


def test_the_page_can_be_dark(browser: Tab, written: Path) -> None:
    backgrounds = []
    for is_dark in (False, True):
        browser.open(written.as_uri(), is_dark=is_dark)
        backgrounds.append(browser.ask("getComputedStyle(document.body).backgroundColor"))
    assert backgrounds[0] != backgrounds[1]


def test_the_page_fits_a_narrow_window(browser: Tab, written: Path) -> None:
    browser.open(written.as_uri(), width=420)
    assert browser.ask("document.documentElement.scrollWidth") <= 420


def test_the_page_prints(page: Tab) -> None:
    assert page.command("Page.printToPDF", printBackground=True)["data"]


def test_the_picture_of_the_docs_shows_the_report(page: Tab, written: Path) -> None:
    page.open(written.as_uri(), width=1280)
    page.ask("document.querySelector('#tree .row:last-child').click()")
    page.ask("document.querySelector('#trail button').click()")
    picture = page.picture(is_whole=True)
    target = os.environ.get("FLAGMW_PICTURE")
    if target:
        Path(target).write_bytes(picture)
    page.requests[:] = [written.as_uri()]
    assert 20_000 < len(picture) < MAX_PICTURE_BYTES


def test_a_hundred_and_fifty_thousand_functions_stay_usable(browser: Tab, tmp_path: Path) -> None:
    functions = [
        stored(
            f"big.part{number // 3000}.module{number // 60}:f{number}", number % 60 * 9 + 1, ago_d=number % 50 or None
        )
        for number in range(150_000)
    ]
    file = tmp_path / "big.html"
    file.write_text(page_of(page_data(report(*functions)), "big", "1"), encoding="utf-8")
    browser.troubles.clear()
    browser.open(file.as_uri())
    took_ms = browser.ask(
        "(() => { const began = performance.now(); document.querySelector('[data-age=recent]').click();"
        " return performance.now() - began; })()"
    )
    browser.click_on("#search")
    browser.type("f100")
    browser.wait_for("document.getElementById('table-count').textContent === '950 functions'")
    assert browser.ask("document.querySelector('.tree-space').offsetHeight") > 950 * 27  # the tree is open
    assert browser.ask("document.querySelectorAll('*').length") < 2_000
    assert took_ms < 5_000
    assert browser.troubles == []
