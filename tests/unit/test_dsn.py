"""Providers in one line of text: every form, and errors that show nothing of it."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from flagmw import Client, ConfigError, configure
from flagmw.providers import (
    EventOptions,
    FeatBit,
    FeatureFlagCo,
    FlagFile,
    Hackle,
    Network,
    StreamOptions,
    provider_from_dsn,
)
from flagmw.registry import forget_client
from flagmw.settings import SettingsError, read_settings
from tests.leaks import remember
from tests.services.tokens import featureflag_co_secret

FEATBIT = remember("v3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w")
FEATUREFLAG_CO = remember(featureflag_co_secret())
SLASHED = "YT8/PmE+Pj9fXzM2X180Nl9fOTg/Pz5fX2RlZmF1bHQ/Pz8+Pg=="
"""A secret of featureflag.co with all that base64 has: + and / and =."""
HACKLE = remember("hackle/key+that:nobody@may?see%")


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLAGMW_DSN", raising=False)


# --- files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dsn", "provider"),
    [
        ("file:flags.yaml", FlagFile("flags.yaml")),
        ("FILE:flags.yaml", FlagFile("flags.yaml")),
        (" file:flags.yaml\n", FlagFile("flags.yaml")),
        ("file:./a/flags.json", FlagFile("a/flags.json")),
        ("file:/etc/flags.yaml", FlagFile("/etc/flags.yaml")),
        ("file:///etc/flags.yaml", FlagFile("/etc/flags.yaml")),
        ("file://localhost/etc/flags.yaml", FlagFile("/etc/flags.yaml")),
        ("file:/etc/flags", FlagFile("/etc/flags")),
        ("file:two%20words%3F.yaml", FlagFile("two words?.yaml")),
        ("file:a+b@c.yaml", FlagFile("a+b@c.yaml")),
        ("file:flags.yaml?fractional=v3", FlagFile("flags.yaml", fractional="v3")),
        (
            "file:flags.yaml?poll_interval_s=2&watch=off&max_bytes=1000",
            FlagFile("flags.yaml", poll_interval_s=2.0, watch=False, max_bytes=1000),
        ),
        ("file:flags.yaml?", FlagFile("flags.yaml")),
    ],
)
def test_a_file(dsn: str, provider: FlagFile) -> None:
    assert provider_from_dsn(dsn) == provider


@pytest.mark.parametrize(
    ("dsn", "message"),
    [
        ("file:", "needs a path"),
        ("file:?fractional=v3", "needs a path"),
        ("file://etc/flags.yaml", "has no host"),
        ("file://host", "has no host"),
        ("file:flags.toml", "ends in"),
        ("file:featbit://SECRET@flags.example.com", "a path of FlagFile is no URL"),
        ("file:flags.yaml?fractional=v9", "fractional must be"),
        ("file:flags.yaml?max_bytes=1.5", "max_bytes must be a whole number"),
        ("file:flags.yaml?max_bytes=-5", "max_bytes must be a whole number"),
        ("file:flags.yaml?max_bytes=", "max_bytes must be a whole number"),
        ("file:flags.yaml?poll_interval_s=soon", "poll_interval_s must be a number"),
        ("file:flags.yaml?poll_interval_s=nan", "poll_interval_s must be above 0"),
        ("file:flags.yaml?watch=perhaps", "watch must be true or false"),
        ("file:flags.yaml?watch", "written name=value"),
        ("file:flags.yaml?watch=on&watch=off", "given twice"),
        ("file:flags.yaml?wach=on", "'wach' is no option; did you mean 'watch'?"),
        (
            "file:flags.yaml?polling=on",
            "polling is no option of this one; the options are fractional, max_bytes, poll_interval_s, watch",
        ),
        ("file:100%.yaml", "write %25"),
        ("file:%ff.yaml", "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_meant(dsn: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        provider_from_dsn(dsn)


# --- secrets and hosts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dsn", "provider"),
    [
        (f"featbit://{FEATBIT}", FeatBit(FEATBIT)),
        (f"featbit://{FEATBIT}@", FeatBit(FEATBIT)),
        (f"featbit://{FEATBIT}@/", FeatBit(FEATBIT)),
        (
            f"featbit://{FEATBIT}@flags.example.com",
            FeatBit(FEATBIT, streaming_url="wss://flags.example.com", event_url="https://flags.example.com"),
        ),
        (
            f"featbit://{FEATBIT}@flags.example.com:8443/flags/",
            FeatBit(
                FEATBIT,
                streaming_url="wss://flags.example.com:8443/flags",
                event_url="https://flags.example.com:8443/flags",
            ),
        ),
        (
            f"featbit://{FEATBIT}@127.0.0.1:5100?tls=false",
            FeatBit(FEATBIT, streaming_url="ws://127.0.0.1:5100", event_url="http://127.0.0.1:5100"),
        ),
        (
            f"featbit://{FEATBIT}@[::1]:5100?tls=0",
            FeatBit(FEATBIT, streaming_url="ws://[::1]:5100", event_url="http://[::1]:5100"),
        ),
        (
            f"featbit://{FEATBIT}@a.example?event_url=https://b.example:1",
            FeatBit(FEATBIT, streaming_url="wss://a.example", event_url="https://b.example:1"),
        ),
        ("hackle://KEY", Hackle("KEY")),
        (f"hackle://{quote(HACKLE, safe='')}", Hackle(HACKLE)),
        (
            f"hackle://{quote(HACKLE, safe='')}@hackle.example",
            Hackle(HACKLE, sdk_url="https://hackle.example", event_url="https://hackle.example"),
        ),
        ("hackle://K@Y@h.example", Hackle("K@Y", sdk_url="https://h.example", event_url="https://h.example")),
        ("hackle://KEY@h.example?tls=true", Hackle("KEY", sdk_url="https://h.example", event_url="https://h.example")),
    ],
)
def test_a_service(dsn: str, provider: Any) -> None:
    assert provider_from_dsn(dsn) == provider


@pytest.mark.parametrize("secret", [FEATUREFLAG_CO, SLASHED, quote(SLASHED, safe=""), quote(SLASHED)])
@pytest.mark.parametrize("host", ["", "@flags.example.com", "@flags.example.com:1234"])
def test_a_base64_secret_may_be_written_as_it_is_or_encoded(secret: str, host: str) -> None:
    provider = provider_from_dsn(f"featureflagco://{secret}{host}")
    assert isinstance(provider, FeatureFlagCo)
    assert provider.env_secret == (FEATUREFLAG_CO if secret == FEATUREFLAG_CO else SLASHED)
    place = host.removeprefix("@") or "api.featureflag.co"
    assert (provider.base_uri, provider.streaming_uri) == (f"https://{place}", f"wss://{place}")


# --- options ------------------------------------------------------------------------------------------------


def test_every_option_has_a_name_in_the_query(tmp_path: Path) -> None:
    common = (
        f"offline=no&bootstrap={tmp_path}/flags.json&cache_dir={tmp_path}/kept&connect_timeout_s=1&read_timeout_s=2"
        f"&proxy=http%3A%2F%2Fproxy.example%3A3128&ca_file=/etc/ca.pem&verify=true"
        f"&event_flush_interval_s=0.5&event_capacity=77"
    )
    options: dict[str, Any] = {
        "bootstrap": tmp_path / "flags.json",
        "cache_dir": tmp_path / "kept",
        "network": Network(
            connect_timeout_s=1, read_timeout_s=2, proxy="http://proxy.example:3128", ca_file="/etc/ca.pem"
        ),
        "events": EventOptions(flush_interval_s=0.5, capacity=77),
    }
    streams = "ping_interval_s=3&first_retry_delay_s=0.5&max_retry_delay_s=9"
    stream = StreamOptions(ping_interval_s=3, first_retry_delay_s=0.5, max_retry_delay_s=9)
    assert provider_from_dsn(f"hackle://KEY?poll_interval_s=5&{common}") == Hackle("KEY", poll_interval_s=5, **options)
    assert provider_from_dsn(f"featbit://{FEATBIT}?polling=1&poll_interval_s=5&{streams}&{common}") == FeatBit(
        FEATBIT, polling=True, poll_interval_s=5, stream=stream, **options
    )
    assert provider_from_dsn(f"featureflagco://{FEATUREFLAG_CO}?{streams}&{common}") == FeatureFlagCo(
        FEATUREFLAG_CO, stream=stream, **options
    )


def test_offline_and_without_events() -> None:
    assert provider_from_dsn("hackle://KEY?offline=true&bootstrap=w.json") == Hackle(
        "KEY", offline=True, bootstrap="w.json"
    )
    assert provider_from_dsn("hackle://KEY?events=false&event_capacity=7") == Hackle("KEY", events=False)
    assert provider_from_dsn("hackle://KEY?events=true&event_capacity=7") == Hackle(
        "KEY", events=EventOptions(capacity=7)
    )
    assert provider_from_dsn("hackle://KEY?proxy=") == Hackle("KEY", network=Network(proxy=""))


MISTAKES = [
    ("{secret}", "a DSN is a text such as"),
    ("", "a DSN is a text such as"),
    ("featbit", "a DSN is a text such as"),
    ("{secret}://x", "a DSN"),
    ("fetbit://{secret}", "scheme is one of file, featureflagco, featbit, hackle"),
    ("https://{secret}@flags.example.com", "scheme is one of"),
    ("featbit:{secret}", "begins with featbit://"),
    ("featbit:/{secret}@host", "begins with featbit://"),
    ("featbit://", "env_secret is missing"),
    ("featbit://@flags.example.com", "env_secret is missing"),
    ("hackle://@h.example", "sdk_key is missing"),
    ("featbit://{secret}/", "write %2F"),
    ("featbit://{secret}%", "write %25"),
    ("featbit://{secret}%ff", "not UTF-8"),
    ("featbit://{secret}%C3%A9", "env_secret has characters"),
    ("featbit://{secret}@flags.example.com:port", "host or port cannot be read"),
    ("featbit://{secret}@:5100", "host is missing"),
    ("featbit://{secret}?{secret}", "written name=value"),
    ("featbit://{secret}?{secret}=1", "an option is unknown"),
    ("featbit://a?{secret}@flags.example.com=1", "an option is unknown"),
    ("featbit://{secret}?tls=false", "tls=false is for a server of your own"),
    ("featbit://{secret}@host?tls={secret}", "tls must be true or false"),
    ("featbit://{secret}?polling={secret}", "polling must be true or false"),
    ("featbit://{secret}?poll_interval_s={secret}", "poll_interval_s must be a number"),
    ("featbit://{secret}?poll_interval_s=0", "poll_interval_s must be a number of seconds above 0"),
    ("featbit://{secret}?event_flush_interval_s=0", "event_flush_interval_s must be a number of seconds above 0"),
    ("featbit://{secret}?event_capacity=0", "event_capacity must be an int above 0"),
    ("featbit://{secret}?connect_timeout_s=-1", "connect_timeout_s must be"),
    ("featbit://{secret}?proxy={secret}", "proxy must be the URL"),
    ("featbit://{secret}?first_retry_delay_s=9&max_retry_delay_s=1", "max_retry_delay_s must not be below"),
    ("featbit://{secret}?event_url={secret}", "event_url must be the URL of a server"),
    ("featbit://{secret}?bootstrap=", "bootstrap is empty"),
    ("featbit://{secret}?pol_interval_s=5", "'pol_interval_s' is no option; did you mean 'poll_interval_s'"),
    ("hackle://{secret}?ping_interval_s=5", "ping_interval_s is no option of this one; the options are sdk_url"),
    ("hackle://{secret}?polling=true", "polling is no option of this one"),
    ("featureflagco://{secret}@host", "env_secret"),
]


@pytest.mark.parametrize(("template", "message"), MISTAKES)
def test_a_mistake_is_named_and_the_text_is_not_shown(
    template: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = template.replace("{secret}", FEATBIT)
    shown: list[str] = []

    def note(error: ConfigError) -> None:
        assert message in str(error)
        shown.append("".join(traceback.format_exception(error)))

    for read in (provider_from_dsn, Client, configure):
        with pytest.raises(ConfigError) as raised:
            read(dsn)
        note(raised.value)
    if ":" in dsn:
        with pytest.raises(SettingsError) as refused:
            read_settings("FLAGMW", {"PROVIDER": dsn})
        note(refused.value)
        monkeypatch.setenv("FLAGMW_DSN", dsn)
        with pytest.raises(ConfigError) as from_environment:
            configure()
        note(from_environment.value)
        assert "FLAGMW_DSN" in str(from_environment.value)
    for text in shown:
        assert FEATBIT not in text
        assert FEATBIT[:20] not in text


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="a DSN is a text such as"):
        provider_from_dsn(5)  # type: ignore[arg-type]  # as a caller may


# --- where a DSN is taken -----------------------------------------------------------------------------------


def test_a_client_takes_a_dsn(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text('{"flags": {"f": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"}}}')
    with Client(f"file:{path}") as client:
        assert client.provider == FlagFile(path)
        assert client.is_enabled("f", {"key": "u"})


def test_configure_takes_a_dsn_or_reads_it_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        client = configure("file:flags.yaml", name="dsn")
        assert configure(FlagFile("flags.yaml"), name="dsn") is client
        monkeypatch.setenv("FLAGMW_DSN", "file:flags.yaml")
        assert configure(name="dsn") is client
        monkeypatch.setenv("FLAGMW_DSN", "hackle://KEY")
        assert configure(name="dsn").provider == Hackle("KEY")
        for unset in ("", "  "):
            monkeypatch.setenv("FLAGMW_DSN", unset)
            with pytest.raises(ConfigError, match="FLAGMW_DSN, which is not set"):
                configure(name="dsn")
    finally:
        forget_client("dsn")


def test_settings_take_a_dsn_or_read_it_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings("FLAGMW", {"PROVIDER": "hackle://KEY"}).provider == Hackle("KEY")
    assert read_settings("FLAGMW", {"DSN": "file:flags.yaml"}).provider == FlagFile("flags.yaml")
    monkeypatch.setenv("FLAGMW_DSN", "hackle://KEY")
    assert read_settings("FLAGMW", {}).provider == Hackle("KEY")
    assert read_settings("FLAGMW", {"FLAG_FILE": "flags.yaml"}).provider == FlagFile("flags.yaml")
    assert read_settings("FLAGMW", {"DSN": "file:flags.yaml"}).provider == FlagFile("flags.yaml")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"FLAG_FILE": "a.yaml", "DSN": "hackle://KEY"}, "FLAG_FILE and DSN exclude each other"),
        ({"PROVIDER": "hackle://KEY", "DSN": "hackle://KEY"}, "PROVIDER and DSN exclude each other"),
        ({"DSN": 5}, "DSN: a DSN is a text"),
        ({"DSN": "shop.flags.provider"}, "DSN: a DSN is a text"),
        ({"FLAG_FILE": f"featbit://{FEATBIT}@flags.example.com"}, "a path of FlagFile is no URL"),
        ({"PROVIDER": FEATBIT}, "PROVIDER is a text that is no dotted path"),
        ({}, "or set FLAGMW_DSN"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as raised:
        read_settings("FLAGMW", settings)
    assert FEATBIT not in str(raised.value)
