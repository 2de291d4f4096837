"""Settings mappings: every mistake is named at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flagmw.http import AnonymousCookie
from flagmw.providers import FlagFile, Static
from flagmw.settings import Settings, SettingsError, read_settings

STATIC = Static({"f": True})


def build_user(request: Any) -> None:
    return None


async def build_user_later(request: Any) -> None:
    return None


def make_provider() -> Static:
    return STATIC


def test_settings_are_read_in_upper_and_lower_case() -> None:
    upper = read_settings(
        "FLAGMW",
        {
            "FLAG_FILE": Path("flags.yaml"),
            "FRACTIONAL": "v3",
            "USER": build_user,
            "TRUSTED_PROXIES": 1,
            "START_WAIT": 2,
            "ANONYMOUS_COOKIE": {"NAME": "shop", "SAME_SITE": "Strict"},
            "OFFLINE": True,
            "NAME": "shop",
        },
        secret="s",
    )
    assert upper == Settings(
        provider=FlagFile("flags.yaml", fractional="v3"),
        user=build_user,
        anonymous=AnonymousCookie(secret="s", name="shop", same_site="Strict"),
        trusted_proxies=1,
        start_wait=2.0,
        offline=True,
        name="shop",
    )
    lower = read_settings("FLAGMW", {"flag_file": ["a.yaml", "b.yaml"], "anonymous_cookie": False})
    assert lower == Settings(provider=FlagFile("a.yaml", "b.yaml"), anonymous=False)


def test_providers_and_functions_may_be_dotted_paths() -> None:
    settings = read_settings(
        "FLAGMW", {"provider": "tests.unit.test_settings.make_provider", "user": "tests.unit.test_settings.build_user"}
    )
    assert type(settings.provider).__name__ == "Static"
    assert settings.user is not None
    assert settings.user.__name__ == "build_user"
    assert read_settings("FLAGMW", {"provider": STATIC}).provider is STATIC


def test_every_mistake_is_named_with_the_nearest_right_name() -> None:
    with pytest.raises(SettingsError) as raised:
        read_settings(
            "FLAGMW",
            {
                "FLAGFILE": "x",
                "FRACTIONEL": "v2",
                "START_WAITS": 1,
                "USER": "nowhere.build",
                "TRUSTED_PROXIES": -1,
                "OFFLINE": "yes",
                "ANONYMOUS_COOKIE": {"SAMESITE": "Lax", "MAX_AGE_S": 0},
            },
        )
    text = "\n".join(raised.value.problems)
    for expected in (
        "'FLAGFILE' is no setting; did you mean 'FLAG_FILE'?",
        "'FRACTIONEL' is no setting; did you mean 'FRACTIONAL'?",
        "'START_WAITS' is no setting; did you mean 'START_WAIT'?",
        "FLAG_FILE is missing",
        "USER: 'nowhere.build' cannot be imported",
        "TRUSTED_PROXIES must be an int from 0 up, got -1",
        "OFFLINE must be a bool",
        "ANONYMOUS_COOKIE: 'SAMESITE' is no setting; did you mean 'SAME_SITE'?",
        "max_age_s must be an int above 0",
    ):
        assert expected in text, expected
    assert len(raised.value.problems) == 9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, "must be a mapping"),
        ({}, "FLAG_FILE is missing"),
        ({"FLAG_FILE": 5}, "FLAG_FILE must be a path"),
        ({"FLAG_FILE": "flags.toml"}, "ends in"),
        ({"FLAG_FILE": "a.yaml", "PROVIDER": STATIC}, "exclude each other"),
        ({"PROVIDER": 5}, "PROVIDER must be one of"),
        ({"PROVIDER": "tests.unit.test_settings.nothing"}, "cannot be imported"),
        ({"FLAG_FILE": "a.yaml", "START_WAIT": "1"}, "START_WAIT must be a number of seconds"),
        ({"FLAG_FILE": "a.yaml", "USER": "build_user"}, "USER is a text that is no dotted path"),
        ({"FLAG_FILE": "a.yaml", "USER": 5}, "USER must be a function"),
        ({"FLAG_FILE": "a.yaml", "USER": build_user_later}, "USER must be a plain function"),
        ({"FLAG_FILE": "a.yaml", "FRACTIONAL": "v9"}, "fractional"),
        ({"FLAG_FILE": "a.yaml", "ANONYMOUS_COOKIE": "yes"}, "ANONYMOUS_COOKIE must be"),
        ({"FLAG_FILE": "a.yaml", "NAME": 5}, "NAME must be a str"),
        ({"FLAG_FILE": "a.yaml", 5: 5}, "5 is no setting"),
    ],
)
def test_a_wrong_setting_is_refused(settings: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_settings("FLAGMW", settings)
