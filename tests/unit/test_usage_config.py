"""The usage agent's settings: what is taken, what is refused and how that is said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from flagmw.errors import ConfigError
from flagmw.usage import UsageConfig
from flagmw.usage.config import DEFAULT_STORE

KEY = "5ecret-key"
URL = "http://scavenger.example:8080"


def refused(**settings: Any) -> str:
    """Give the message with which settings are refused."""
    with pytest.raises(ConfigError) as caught:
        UsageConfig(**settings)
    return str(caught.value)


def test_packages_alone_are_looked_for_in_the_working_directory() -> None:
    config = UsageConfig(packages=("shop",))
    assert (config.packages, config.codebase) == (("shop",), (".",))


def test_a_code_base_alone_is_watched_as_a_whole() -> None:
    config = UsageConfig(codebase=("src",))
    assert (config.packages, config.codebase) == (("",), ("src",))


def test_neither_packages_nor_code_base_is_an_error_that_says_what_to_write() -> None:
    message = refused()
    assert "packages=['shop']" in message
    assert "codebase=['src']" in message


def test_no_packages_at_all_are_an_error() -> None:
    assert "packages is empty" in refused(packages=(), codebase=["."])


@pytest.mark.parametrize("given", [["a", "b"], ("a", "b"), {"b", "a"}, (name for name in ("a", "b"))])
def test_a_list_is_any_iterable_of_texts(given: Any) -> None:
    assert UsageConfig(packages=given).packages == ("a", "b")


def test_a_single_text_is_one_name() -> None:
    assert UsageConfig(packages="shop").packages == ("shop",)  # type: ignore[arg-type]  # what the test is about


def test_a_folder_may_be_a_path() -> None:
    assert UsageConfig(codebase=[Path("src")]).codebase == ("src",)  # type: ignore[arg-type]  # what the test is about


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("packages", ["a", 1], "each of packages must be a text, got 1"),
        ("packages", 5, "packages must be a list of texts, got 5"),
        ("packages", b"shop", "packages must be a list of texts, got bytes"),
        ("packages", "shop,web", "dotted names in a list"),
        ("packages", ["src/shop"], "dotted names"),
        ("exclude_packages", ["a", ""], "exclude_packages has an empty name"),
        ("codebase", [""], "codebase has an empty name"),
        ("codebase", ["a\0b"], "codebase has a folder"),
        ("decorators", ["app.route"], "'@app.route'"),
        ("decorators", ["@app.route('/')"], "without arguments"),
        ("exclude_init", "no", "exclude_init must be True or False, got 'no'"),
        ("app_name", "", "app_name must not be empty"),
        ("app_version", 1.5, "app_version must be a text, got 1.5"),
        ("environment", None, "environment must be a text, got NoneType"),
        ("store", 5, "store must be the path of a file"),
        ("store_interval_s", 0, "store_interval_s must be above 0 seconds, got 0"),
        ("store_interval_s", float("nan"), "store_interval_s must be a number of seconds"),
        ("store_interval_s", float("inf"), "store_interval_s must be a number of seconds"),
        ("max_functions", 0, "max_functions must be a whole number above 0, got 0"),
        ("max_functions", True, "max_functions must be a whole number above 0, got True"),
        ("scheduler_interval_s", "10", "scheduler_interval_s must be a number of seconds, got '10'"),
        ("scheduler_initial_delay_s", -1, "scheduler_initial_delay_s must be 0 seconds or more, got -1"),
        ("force_interval_s", -1, "force_interval_s must be 0"),
        ("http_connect_timeout_s", 0, "http_connect_timeout_s must be above 0"),
        ("http_read_timeout_s", True, "http_read_timeout_s must be a number"),
        ("exit_timeout_s", -0.1, "exit_timeout_s must be 0"),
        ("ca_file", 5, "ca_file must be the path"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_setting_and_value(name: str, value: Any, part: str) -> None:
    assert part in refused(**{"packages": ["shop"], name: value})


@pytest.mark.parametrize(
    "url",
    [
        "scavenger:8080",
        "ftp://h",
        "http://",
        "http://h:port",
        "http://h:99999",
        "http://h:0",
        "http://h/ x",
        5,
        "//h:1",
    ],
)
def test_an_address_that_is_none_is_refused(url: Any) -> None:
    assert refused(packages="shop", server_url=url, api_key=KEY).startswith("server_url must be ")


def test_an_address_with_a_password_is_refused_and_not_shown() -> None:
    message = refused(packages="shop", server_url=f"http://user:{KEY}@h:8080", api_key="k")
    assert "no user, no password" in message
    assert KEY not in message


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", 5, f"{KEY}\x00"])
def test_a_key_that_is_none_is_refused_and_not_shown(key: Any) -> None:
    message = refused(packages="shop", server_url=URL, api_key=key)
    assert message.startswith("api_key")
    assert KEY not in message


def test_a_collector_needs_a_key() -> None:
    assert "server_url needs api_key" in refused(packages="shop", server_url=URL)


def test_a_key_needs_a_collector() -> None:
    message = refused(packages="shop", api_key=KEY)
    assert "api_key needs server_url" in message
    assert KEY not in message


def test_somewhere_must_be_reported_to() -> None:
    assert "nowhere to report" in refused(packages="shop", store=None)


def test_an_unusable_proxy_is_refused_and_not_shown() -> None:
    message = refused(packages="shop", proxy=f"https://u:{KEY}@p")
    assert message.startswith("proxy must be")
    assert KEY not in message


def test_secrets_are_in_no_repr() -> None:
    config = UsageConfig(packages="shop", server_url=URL, api_key=KEY, proxy=f"http://u:{KEY}@p:1")  # type: ignore[arg-type]  # one name
    assert KEY not in repr(config)


def test_equal_settings_are_equal_and_can_be_keys() -> None:
    first, second = UsageConfig(packages=["shop"]), UsageConfig(packages=("shop",))  # type: ignore[arg-type]  # as people write it
    assert {first: 1}[second] == 1


# --- whatever they are given as -----------------------------------------------------------------------------


def test_settings_are_settings() -> None:
    config = UsageConfig(packages=("shop",))
    assert UsageConfig.of(config) is config


@pytest.mark.parametrize("name", ["packages", "PACKAGES"])
def test_a_mapping_may_have_names_in_upper_or_lower_case(name: str) -> None:
    assert UsageConfig.of({name: ["shop"]}) == UsageConfig(packages=("shop",))


def test_a_mapping_may_have_scavengers_names_of_durations() -> None:
    assert UsageConfig.of({"PACKAGES": "shop", "FORCE_INTERVAL_SECONDS": 30}).force_interval_s == 30.0


def test_an_unknown_name_in_a_mapping_is_an_error_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"'PACKGES' is no setting of the usage agent; did you mean 'packages'\?"):
        UsageConfig.of({"PACKGES": ["shop"]})


def test_a_name_that_is_no_text_is_an_error() -> None:
    with pytest.raises(ConfigError, match="is no setting of the usage agent"):
        UsageConfig.of({5: ["shop"]})  # type: ignore[dict-item]  # what the test is about


def test_a_setting_given_twice_in_a_mapping_is_an_error() -> None:
    with pytest.raises(ConfigError, match="force_interval_s is given twice"):
        UsageConfig.of({"packages": "shop", "force_interval_s": 1, "FORCE_INTERVAL_SECONDS": 1})


def test_a_mapping_can_say_that_there_is_no_store() -> None:
    config = UsageConfig.of({"PACKAGES": "shop", "SERVER_URL": URL, "API_KEY": KEY, "STORE": None})
    assert config.store is None


@pytest.mark.parametrize("value", [False, None, 5, "", [("packages", "shop")]])
def test_what_can_be_no_settings_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="must be a UsageConfig, a mapping"):
        UsageConfig.of(value)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_conf(path: Path, more: str = "") -> Path:
    path.write_text(f"server_url={URL}\napi_key={KEY}\npackages=conf\ncodebase=.\n{more}", encoding="utf-8")
    return path


def write_toml(path: Path, section: str = 'packages = ["toml"]\n') -> Path:
    path.write_text(f"[project]\nname = 'x'\n[tool.flagmw.usage]\n{section}", encoding="utf-8")
    return path


def test_true_takes_scavenger_conf_first(folder: Path) -> None:
    write_conf(folder / "scavenger.conf")
    write_toml(folder / "pyproject.toml")
    assert UsageConfig.of(value=True).packages == ("conf",)


def test_true_takes_pyproject_where_there_is_no_scavenger_conf(folder: Path) -> None:
    write_toml(folder / "pyproject.toml")
    assert UsageConfig.of(value=True) == UsageConfig(packages=("toml",))


def test_true_says_what_was_looked_for_where_nothing_is(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        UsageConfig.of(value=True)
    for part in ("scavenger.conf", "pyproject.toml", "[tool.flagmw.usage]", os.getcwd()):
        assert part in str(caught.value)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_loaded(folder: Path, kind: Any) -> None:
    assert UsageConfig.of(kind(write_conf(folder / "my.conf"))).packages == ("conf",)


# --- pyproject.toml -----------------------------------------------------------------------------------------


def test_paths_in_a_toml_file_start_at_its_folder(folder: Path) -> None:
    (folder / "app").mkdir()
    path = write_toml(
        folder / "app" / "pyproject.toml", 'packages = ["shop"]\ncodebase = ["src", "/lib"]\nstore="u.db"'
    )
    config = UsageConfig.load(path)
    assert config.codebase == (str(folder / "app" / "src"), "/lib")
    assert config.store == str(folder / "app" / "u.db")


def test_a_toml_file_elsewhere_has_its_defaults_in_its_own_folder(folder: Path) -> None:
    (folder / "app").mkdir()
    config = UsageConfig.load(write_toml(folder / "app" / "pyproject.toml"))
    assert config.codebase == (str(folder / "app"),)
    assert config.store == str(folder / "app" / DEFAULT_STORE)


def test_a_toml_file_can_say_that_there_is_no_store(folder: Path) -> None:
    section = f'packages = ["shop"]\nserver_url = "{URL}"\napi_key = "{KEY}"\nstore = ""\n'
    assert UsageConfig.load(write_toml(folder / "pyproject.toml", section)).store is None


@pytest.mark.parametrize("name", ["store_interval_s", "store_interval_seconds"])
def test_durations_in_a_toml_file_have_either_name(folder: Path, name: str) -> None:
    path = write_toml(folder / "pyproject.toml", f'packages = ["shop"]\n{name} = 5\n')
    assert UsageConfig.from_pyproject(path).store_interval_s == 5.0


@pytest.mark.parametrize(
    ("section", "part"),
    [
        ('packges = ["shop"]\n', "did you mean 'packages'?"),
        ("packages = 5\n", "packages must be a list of texts, got 5"),
        ('packages = ["shop"]\nexclude_init = "yes"\n', "exclude_init must be True or False"),
        ("", "nothing says what to watch"),
    ],
)
def test_what_is_wrong_in_a_toml_file_is_said_with_its_name(folder: Path, section: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        UsageConfig.load(write_toml(folder / "pyproject.toml", section))
    assert str(caught.value).startswith(f"{folder / 'pyproject.toml'}, [tool.flagmw.usage]: ")
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[project]\nname = 'x'\n", "there is no section [tool.flagmw.usage]"),
        ("[tool.flagmw\n", "this is no TOML"),
        ("[tool]\nflagmw = 5\n", "[tool.flagmw.usage] must be a section"),
        ("[tool.flagmw]\nusage = true\n", "[tool.flagmw.usage] must be a section"),
    ],
)
def test_a_toml_file_without_the_section_is_an_error(folder: Path, text: str, part: str) -> None:
    path = folder / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        UsageConfig.load(path)
    assert part in str(caught.value)
