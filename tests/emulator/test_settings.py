"""Settings: tokens, delays, profiles, and one clear line for what is wrong."""

import math
from typing import Any

import pytest

from splunk_hec_emulator import Settings, SettingsError, Token
from splunk_hec_emulator.settings import PROFILES, Delay


def test_the_defaults_are_the_interfaces() -> None:
    """Two tokens, with acks and without, for every index; one node; one second."""
    plain = Settings.of()
    assert [(token.value[-4:], token.ack, token.indexes) for token in plain.tokens] == [
        ("0001", True, ()),
        ("0002", False, ()),
    ]
    assert (plain.listen, plain.profile, plain.nodes, plain.ack_delay) == (
        "127.0.0.1:8088",
        "ent-10.4",
        1,
        Delay(1.0, 1.0),
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("t", Token(value="t", name="token_1")),
        ("t:ack", Token(value="t", ack=True, name="token_1")),
        (
            "t:ack:query:index=a,b:disabled:name=n:after=2s",
            Token(
                value="t",
                ack=True,
                query=True,
                indexes=("a", "b"),
                is_disabled=True,
                name="n",
                active_after_s=2,
            ),
        ),
    ],
)
def test_a_token_is_read_from_its_spec(spec: str, expected: Token) -> None:
    """Every word of a token spec sets what it says."""
    assert Settings.of(tokens=[spec]).tokens == (expected,)


def test_a_token_shows_its_value_nowhere() -> None:
    """A token's repr, and that of the settings, leave the value out."""
    assert "secret" not in repr(Settings.of(tokens=["secret:ack"]))


def test_the_first_index_is_the_default_one() -> None:
    """Events that name no index go to the token's first, or to main."""
    assert Token(value="t", indexes=("a", "b")).default_index == "a"
    assert Token(value="t").default_index == "main"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1s", (1.0, 1.0)),
        ("0.2s..3s", (0.2, 3.0)),
        ("200ms", (0.2, 0.2)),
        (0.5, (0.5, 0.5)),
        (0, (0.0, 0.0)),
        ("never", (math.inf, math.inf)),
        (Delay(1, 2), (1, 2)),
    ],
)
def test_a_delay_is_read_in_every_form(value: Any, expected: tuple[float, float]) -> None:
    """Seconds, milliseconds, a range, a number or never."""
    delay = Settings.of(ack_delay=value).ack_delay
    assert (delay.low_s, delay.high_s) == expected
    assert delay.is_never == (value == "never")


@pytest.mark.parametrize("profile", PROFILES)
def test_an_option_overrides_its_profile(profile: str) -> None:
    """A profile gives defaults; what is named wins."""
    assert Settings.of(profile=profile, accepts_array_body=True).accepts_array_body
    assert not Settings.of(profile=profile, has_capacity_codes=False).has_capacity_codes


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"tokens": [":ack"]}, "--token"),
        ({"tokens": ["t:what"]}, "'what'"),
        ({"tokens": ["t:after=x"]}, "after"),
        ({"tokens": ["t", "t:ack"]}, "same value"),
        ({"ack_delay": "soon"}, "--ack-delay"),
        ({"ack_delay": "3s..1s"}, "before it starts"),
        ({"ack_delay": -1}, "--ack-delay"),
        ({"profile": "ent-11"}, "ent-10.4"),
        ({"nodes": 0}, "--nodes"),
        ({"nodes": 1.5}, "nodes"),
        ({"nodes": True}, "nodes"),
        ({"listen": "8088"}, "HOST:PORT"),
        ({"listen": "127.0.0.1:x"}, "HOST:PORT"),
        ({"listen": "127.0.0.1:99999"}, "HOST:PORT"),
        ({"ack_true": "sometimes"}, "once, always, never"),
        ({"keep_events": "no"}, "keep_events"),
        ({"max_idle_time_s": -1}, "max_idle_time_s"),
        ({"wat": 1}, "'wat'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(options: dict[str, Any], shown: str) -> None:
    """Every wrong option names itself."""
    with pytest.raises(SettingsError) as caught:
        Settings.of(**options)
    assert shown in str(caught.value)
    assert "\n" not in str(caught.value)
