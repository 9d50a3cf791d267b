"""Settings are checked once, with a line that names the setting and the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from splunk_hec import ConfigError, HecConfig
from splunk_hec.config import TokenSource, hide_password, is_reference

if TYPE_CHECKING:
    from pathlib import Path

GOOD: dict[str, Any] = {"url": "https://splunk.example:8088", "token": "env:HEC_TOKEN"}

DEFAULTS = {
    "ack": "required", "lanes": 8, "batch_max_bytes": 1_000_000, "batch_max_events": 5_000,
    "event_max_bytes": 5_000_000, "linger_s": 0.5, "gzip": "fast", "in_flight_max_bytes": 268_435_456,
    "in_flight_max_events": 2_000_000, "request_deadline_s": 60, "ack_deadline_s": 300,
    "on_ack_timeout": "resend", "give_up_after_s": 0, "halt_patience_s": 300, "verify": True, "ca_file": "",
    "client_cert": "", "client_key": "", "proxy": "", "endpoint": "event", "index": "", "source": "",
    "sourcetype": "", "host": "", "fields": {}, "threads": True,
}  # fmt: skip


def test_defaults_are_those_that_are_documented() -> None:
    """The defaults are part of the public interface: changing one is a change users must be told of."""
    assert HecConfig(**GOOD).public() == GOOD | DEFAULTS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": ""}, "url is empty|not of the form"),
        ({"url": []}, "url is empty"),
        ({"url": "splunk:8088"}, "not of the form"),
        ({"url": "ftp://splunk"}, "not of the form"),
        ({"url": "https://"}, "not of the form"),
        ({"url": "https://splunk:99999"}, "impossible port"),
        ({"url": "https://splunk:8088/services/collector"}, "must end after the port"),
        ({"url": "https://user:pw@splunk:8088"}, "must end after the port"),
        ({"url": "https://splunk:8088?a=b"}, "must end after the port"),
        ({"url": ["https://a:1", "nonsense"]}, "nonsense"),
        ({"token": " "}, "token is empty"),
        ({"ack": "maybe"}, "ack"),
        ({"gzip": "fastest"}, "gzip"),
        ({"endpoint": "metrics"}, "endpoint"),
        ({"on_ack_timeout": "drop"}, "on_ack_timeout"),
        ({"lanes": 0}, "lanes must be greater than 0"),
        ({"lanes": "8"}, "lanes"),
        ({"batch_max_bytes": -1}, "batch_max_bytes must be greater than 0"),
        ({"request_deadline_s": 0}, "request_deadline_s must be greater than 0"),
        ({"linger_s": -0.1}, "linger_s must be 0 or more"),
        ({"halt_patience_s": -1}, "halt_patience_s must be 0 or more"),
        ({"client_key": "key.pem"}, "client_key is set without client_cert"),
        ({"proxy": "proxy:3128"}, "proxy 'proxy:3128' is not of the form"),
        ({"endpoint": "raw", "fields": {"a": "b"}}, "fields are not possible on the raw endpoint"),
        ({"fields": {"a": {"b": 1}}}, "fields"),
        ({"verify": "no"}, "verify"),
    ],
)
def test_wrong_setting_is_named(settings: dict[str, Any], message: str) -> None:
    """What cannot work is refused where it is written, in one line."""
    with pytest.raises(ConfigError, match=message) as caught:
        HecConfig(**GOOD | settings)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "http://127.0.0.1:8088/"},
        {"url": ["https://a:8088", "https://b:8088"]},
        {"url": "https://[::1]:8088"},
        {"proxy": "env"},
        {"proxy": "http://user:pw@proxy:3128"},
        {"linger_s": 0, "halt_patience_s": 0, "give_up_after_s": 0},
        {"fields": {"a": 1, "b": [1, "2"], "c": None, "d": True}},
    ],
)
def test_what_works_is_taken(settings: dict[str, Any]) -> None:
    """Urls with a trailing slash, several of them, proxies and zeros are fine."""
    config = HecConfig(**GOOD | settings)
    assert all(not url.endswith("/") for url in config.urls)
    assert config.urls


def test_config_cannot_be_changed() -> None:
    """A client may rely on it for its whole life; a changed copy is checked anew."""
    config = HecConfig(**GOOD)
    with pytest.raises(AttributeError):
        config.lanes = 1  # type: ignore[misc]
    assert msgspec.structs.replace(config, lanes=1).lanes == 1
    with pytest.raises(ConfigError):
        msgspec.structs.replace(config, lanes=0)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment of which nothing concerns us."""
    import os

    for name in list(os.environ):
        if name.startswith("SPLUNK_HEC_"):
            monkeypatch.delenv(name)
    return monkeypatch


def test_environment_is_read_with_its_types(env: pytest.MonkeyPatch) -> None:
    """Numbers, booleans, several urls and a JSON object are read from text; keywords win."""
    env.setenv("SPLUNK_HEC_URL", "https://a:1, https://b:2")
    env.setenv("SPLUNK_HEC_TOKEN", "env:OTHER")
    env.setenv("SPLUNK_HEC_LANES", "3")
    env.setenv("SPLUNK_HEC_LINGER_S", "0.25")
    env.setenv("SPLUNK_HEC_VERIFY", "false")
    env.setenv("SPLUNK_HEC_FIELDS", '{"env":"prod"}')
    env.setenv("SPLUNK_HEC_INDEX", "from-env")
    config = HecConfig.from_env(index="mine")
    assert config.urls == ("https://a:1", "https://b:2")
    assert (config.lanes, config.linger_s, config.verify) == (3, 0.25, False)
    assert config.fields == {"env": "prod"}
    assert config.index == "mine"


def test_environment_prefix_can_be_chosen(env: pytest.MonkeyPatch) -> None:
    """Two clients in one process read two sets of variables."""
    env.setenv("OTHER_URL", "https://a:1")
    env.setenv("OTHER_TOKEN", "t")
    assert HecConfig.from_env("OTHER_").urls == ("https://a:1",)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SPLUNK_HEC_LANE", "3", "unknown variable SPLUNK_HEC_LANE; did you mean SPLUNK_HEC_LANES?"),
        ("SPLUNK_HEC_QQQQQ", "3", "unknown variable SPLUNK_HEC_QQQQQ$"),
        ("SPLUNK_HEC_LANES", "many", "lanes"),
        ("SPLUNK_HEC_FIELDS", "{", "environment SPLUNK_HEC_"),
        ("SPLUNK_HEC_LANES", "0", "lanes must be greater than 0"),
    ],
)
def test_wrong_variable_is_named(env: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    """A misspelt variable is an error that names the nearest known one, not a silent default."""
    env.setenv("SPLUNK_HEC_URL", "https://a:1")
    env.setenv("SPLUNK_HEC_TOKEN", "t")
    env.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        HecConfig.from_env()


def test_missing_variable_is_named(env: pytest.MonkeyPatch) -> None:
    """Without a url or a token there is nothing to do, and the text says which is missing."""
    env.setenv("SPLUNK_HEC_URL", "https://a:1")
    with pytest.raises(ConfigError, match="token"):
        HecConfig.from_env()


def test_token_references_are_resolved_where_they_are_used(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """env: and file: name a place, which is read at use and stripped of white space; a literal is itself."""
    env.setenv("HEC_TOKEN", " from-env\n")
    assert TokenSource("env:HEC_TOKEN")() == "from-env"
    path = tmp_path / "token"
    path.write_text("from-file\n")
    source = TokenSource(f"file:{path}")
    assert source() == "from-file"
    path.write_text("rotated, and longer\n")
    assert source() == "rotated, and longer"
    assert TokenSource("literal")() == "literal"
    assert is_reference("env:X")
    assert not is_reference("literal")


def test_unreadable_token_names_its_place(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing, empty or undecodable place is told by name, and nothing of its content."""
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for token, place in [
        ("env:NO_SUCH", "the environment variable NO_SUCH"),
        (f"file:{tmp_path}/none", f"the file {tmp_path}/none"),
        (f"file:{tmp_path}/empty", "empty"),
        (f"file:{tmp_path}/binary", "binary"),
        (f"file:{tmp_path}", "the file"),
    ]:
        with pytest.raises(ConfigError, match=place):
            TokenSource(token)()


def test_passwords_in_urls_are_hidden() -> None:
    """A proxy's password is not shown."""
    assert hide_password("http://user:pw@proxy:3128") == "http://***@proxy:3128"
    assert hide_password("http://proxy:3128/a") == "http://proxy:3128/a"
