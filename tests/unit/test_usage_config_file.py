"""`scavenger.conf`: read as Scavenger's own agent reads it, mistakes named with their line."""

from __future__ import annotations

import configparser
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.errors import ConfigError
from flagmw.usage import UsageConfig
from flagmw.usage.config_file import _lines_of

BASE = "server_url=http://h:8080\napi_key=5ecret\npackages=shop\ncodebase=.\n"

Load = Callable[[str], UsageConfig]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a text that is the working directory's `scavenger.conf`."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str) -> UsageConfig:
        Path("scavenger.conf").write_bytes(text.encode("utf-8"))
        return UsageConfig.load()

    return load_text


def refused(load: Load, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return str(caught.value)


def test_the_file_of_scavengers_console_loads(load: Load) -> None:
    config = load(
        "serverUrl = http://scavenger:8080\napiKey = 5ecret\nappName = shop\nenvironment = prod\ncodeBase = src\n"
        "packages = com.shop,com.web\nasyncCodeBaseScanMode = true\nexcludeConstructors = true\n"
        "methodVisibility = protected\nexcludeGetterSetter = true\n"
    )
    assert config == UsageConfig(
        server_url="http://scavenger:8080",
        api_key="5ecret",
        app_name="shop",
        environment="prod",
        codebase=("src",),
        packages=("com.shop", "com.web"),
        async_codebase_scan_mode=True,
        exclude_init=True,
    )


def test_keys_without_meaning_are_named_in_one_line_of_the_log(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "flagmw"):
        load(f"{BASE}methodVisibility=protected\nannotations=x\n")
    assert caplog.messages == [
        "scavenger.conf: keys that mean nothing here are left alone: annotations, methodVisibility"
    ]


@pytest.mark.parametrize("text", ["false", "False", "0", "no", "NO", "off", ""])
def test_what_says_no_is_false(load: Load, text: str) -> None:
    assert load(f"{BASE}excludeInit={text}\n").exclude_init is False


@pytest.mark.parametrize("text", ["true", "1", "yes", "TRUE", "anything"])
def test_every_other_text_is_true(load: Load, text: str) -> None:
    assert load(f"{BASE}excludeInit={text}\n").exclude_init is True


@pytest.mark.parametrize("key", ["excludePackages", "decorators", "exclude_packages"])
def test_an_empty_list_is_empty(load: Load, key: str) -> None:
    config = load(f"{BASE}{key}=\n")
    assert (config.exclude_packages, config.decorators) == ((), ())


def test_no_package_means_everything_in_the_folders(load: Load) -> None:
    assert load(BASE.replace("packages=shop", "packages=")).packages == ("",)


def test_a_comma_too_many_names_nothing(load: Load) -> None:
    assert load(f"{BASE}excludePackages=a,,b,\n").exclude_packages == ("a", "b")


@pytest.mark.parametrize("key", ["appName", "app_version"])
def test_an_empty_name_is_the_default(load: Load, key: str) -> None:
    assert load(f"{BASE}{key}=\n") == load(BASE)


def test_settings_of_ours_may_be_in_it_too(load: Load) -> None:
    config = load(f"{BASE}store=my.db\nstoreIntervalS=2.5\nmax_functions=7\nexit_timeout_s=0.5\nproxy=http://p:1\n")
    found = (config.store, config.store_interval_s, config.max_functions, config.exit_timeout_s, config.proxy)
    assert found == ("my.db", 2.5, 7, 0.5, "http://p:1")


def test_it_can_say_that_there_is_no_store(load: Load) -> None:
    assert load(f"{BASE}store=\n").store is None


def test_it_can_say_that_there_is_no_collector(load: Load) -> None:
    config = load("server_url=\napi_key=\npackages=shop\ncodebase=.\n")
    assert (config.server_url, config.api_key) == (None, None)


def test_a_byte_order_mark_does_no_harm(load: Load) -> None:
    assert load("\ufeff" + BASE) == load(BASE)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system(load: Load, end: str) -> None:
    assert load(BASE.replace("\n", end)) == load(BASE)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("what is this\n", "scavenger.conf:5: this is no line of the form key=value; a comment begins with #"),
        ("=5\n", "scavenger.conf:5: this is no line of the form key=value; a comment begins with #"),
        ("\n# x\napi_key=5ecret\n", "scavenger.conf:7: 'api_key' was given in line 2 already; keep one of the two"),
        ("forceIntervalSeconds=soon\n", "scavenger.conf:5: forceIntervalSeconds must be a whole number, got 'soon'"),
        ("forceIntervalSeconds=\n", "scavenger.conf:5: forceIntervalSeconds must be a whole number, got ''"),
        ("store_interval_s=inf\n", "scavenger.conf:5: store_interval_s must be a number, got 'inf'"),
        ("store_interval_s=x\n", "scavenger.conf:5: store_interval_s must be a number, got 'x'"),
        ("schedulerIntervalMillis=10\n", "scavenger.conf:5: scheduler_interval_s must be above 0 seconds, got 0"),
        ("httpReadTimeoutSeconds=-1\n", "scavenger.conf:5: http_read_timeout_s must be above 0 seconds, got -1"),
        ("maxFunctions=many\n", "scavenger.conf:5: maxFunctions must be a whole number, got 'many'"),
        (
            "decorators=app.route\n",
            "scavenger.conf:5: decorators are written as '@app.route', without arguments and blanks, got 'app.route'",
        ),
    ],
)
def test_a_wrong_line_is_named_with_its_number(load: Load, more: str, message: str) -> None:
    assert refused(load, BASE + more) == message


@pytest.mark.parametrize("name", ["server_url", "api_key", "packages", "codebase"])
def test_what_must_be_there_is_named_when_it_is_missing(load: Load, name: str) -> None:
    text = "".join(line for line in BASE.splitlines(keepends=True) if not line.startswith(name))
    assert refused(load, text) == f"scavenger.conf: {name} is missing: add a line {name}=..."


def test_a_missing_key_that_is_there_misspelt_is_pointed_at(load: Load) -> None:
    assert refused(load, BASE.replace("packages", "pakages")).endswith("; line 3 has 'pakages', is that meant?")


def test_a_header_of_a_section_that_hides_everything_is_pointed_at(load: Load) -> None:
    message = refused(load, f"\n[scavenger]\n{BASE}")
    assert "what follows the line [scavenger], line 2, is not read: take that line out" in message


def test_what_follows_a_header_is_not_read(load: Load) -> None:
    assert load(f"{BASE}[other]\napp_name=x\n") == load(BASE)


def test_defaults_have_a_section_of_their_own(load: Load) -> None:
    assert load(f"{BASE}[DEFAULT]\napp_name=x\napi_key=other\n") == load(f"{BASE}app_name=x\n")


def test_a_file_that_is_not_there_is_an_error(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"none\.conf: there is no such file"):
        UsageConfig.load("none.conf")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it cannot be read: Is a directory"):
        UsageConfig.load(tmp_path)


def test_a_name_that_no_file_can_have_is_an_error() -> None:
    with pytest.raises(ConfigError, match="it cannot be read"):
        UsageConfig.load("a\0b.conf")


def test_what_is_not_utf_8_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "scavenger.conf"
    path.write_bytes(BASE.encode() + "app_name=Geschäft\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"scavenger\.conf:5: this is not UTF-8"):
        UsageConfig.load(path)


def test_an_endless_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scavenger.conf"
    path.write_bytes(b"# comment\n" * 200_000)
    with pytest.raises(ConfigError, match="is no file of settings"):
        UsageConfig.load(path)


@pytest.mark.parametrize("more", ["api_key=other\n", "wrong line\n", "[x]\n", "forceIntervalSeconds=5ecret9\n"])
def test_no_message_shows_the_key(load: Load, more: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "flagmw"):
        try:
            text = repr(load(BASE.replace("5ecret", "5ecret-key") + more))
        except ConfigError as error:
            text = str(error)
    assert "5ecret-key" not in text + caplog.text


# --- the same as configparser -------------------------------------------------------------------------------

LINES = """a=1|b: 2| c = 3|  d|\te||  |# x| ; y|a = b = c|a:b=c|[s]|[DEFAULT]|f=|nothing|=x| : x|g=#h|[]|[half|
k\u00a0=v\u00a0|l=1\x0c2|  m=4|    n = 5""".replace("|\n", "|").split("|")


@given(st.lists(st.sampled_from(LINES), max_size=12))
def test_lines_are_split_as_configparser_splits_them(lines: list[str]) -> None:
    text = "\n".join(lines)
    parser = configparser.RawConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys are case-sensitive
    try:
        parser.read_string(f"[own]\n{text}")
        theirs: dict[str, str] | None = dict(parser["own"])
    except configparser.Error:
        theirs = None
    try:
        read, _ = _lines_of(Path("scavenger.conf"), text)
        ours: dict[str, str] | None = {line.key: line.value for line in read}
    except ConfigError:
        ours = None
    assert ours == theirs
