"""What an emulator is told before it starts: tokens, delays, and every behaviour nobody has measured.

Rows that a named third party measured on a real Splunk are fixed in the code; rows that are documented to
differ between releases are profiles; rows that are unknown, and that the safety of a client may rest on, are
settings here, so that a client can be tried both ways. Everything is validated once and then frozen.
"""

import math
import os
import re
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

ACK_TOKEN = "00000000-0000-0000-0000-000000000001"  # noqa: S105 - a published test value, not a secret
PLAIN_TOKEN = "00000000-0000-0000-0000-000000000002"  # noqa: S105 - a published test value, not a secret

IdStart = Literal["zero", "one", "random"]
IdRestart = Literal["zero", "one", "random", "continued"]
PrefixAck = Literal["told", "hidden", "none"]


class SettingsError(ValueError):
    """A setting, token or fault rule that cannot be understood; the message is one line for people."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """One HEC token of the emulator, as an administrator would configure it."""

    value: str = field(repr=False)
    ack: bool = False  # useACK
    query: bool = False  # allowQueryStringAuth
    indexes: tuple[str, ...] = ()  # empty: every index name is taken (inputs.conf.spec)
    is_disabled: bool = False
    name: str = ""
    active_after_s: float = 0.0  # a fresh token answers 403 code 4 until its input was reloaded

    @property
    def default_index(self) -> str:
        """The index of an event that names none."""
        return self.indexes[0] if self.indexes else "main"

    @classmethod
    def parse(cls, spec: str) -> Self:
        """Read ``T[:ack][:query][:index=a,b][:disabled][:name=N][:after=SECONDS]``.

        Raises:
            SettingsError: a word is unknown or the value is empty.
        """
        value, *words = spec.split(":")
        if not value:
            raise SettingsError("--token: the token before the first ':' is empty")
        options: dict[str, Any] = {}
        for word in words:
            key, is_pair, text = word.partition("=")
            match key, bool(is_pair):
                case (("ack" | "query"), False):
                    options[key] = True
                case "disabled", False:
                    options["is_disabled"] = True
                case "index", True:
                    options["indexes"] = tuple(name for name in text.split(",") if name)
                case "name", True:
                    options["name"] = text
                case "after", True:
                    options["active_after_s"] = seconds(text, "--token: after")
                case _:
                    known = "ack, query, index=a,b, disabled, name=N, after=SECONDS"
                    raise SettingsError(f"--token: unknown word {word!r}; known: {known}")
        return cls(value=value, **options)


def seconds(text: str, where: str) -> float:
    """Read a length of time: ``1``, ``1s``, ``0.2s`` or ``200ms``.

    Raises:
        SettingsError: it is not one; the message starts with ``where``.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)?", text.strip())
    if match is None:
        raise SettingsError(f"{where}: {text!r} is not a length of time such as 1s, 0.2s or 200ms")
    return float(match[1]) / (1000 if match[2] == "ms" else 1)


@dataclass(frozen=True)
class Delay:
    """How long after its reply a request is durable and its ack true: uniform from low_s to high_s."""

    low_s: float
    high_s: float

    @property
    def is_never(self) -> bool:
        """Whether acks never come true at all."""
        return math.isinf(self.low_s)

    @classmethod
    def parse(cls, value: "str | float | Delay") -> "Delay":
        """Read ``1s``, ``0.2s..3s``, ``never`` or a number of seconds.

        Raises:
            SettingsError: it is none of these, or the range is upside down.
        """
        if isinstance(value, Delay):
            return value
        if value == "never":
            return cls(math.inf, math.inf)
        low, is_range, high = str(value).partition("..")
        low_s = seconds(low, "--ack-delay")
        high_s = seconds(high, "--ack-delay") if is_range else low_s
        if high_s < low_s:
            raise SettingsError(f"--ack-delay: {value!r} ends before it starts")
        return cls(low_s, high_s)


DEFAULT_TOKENS = (
    Token(value=ACK_TOKEN, ack=True, name="with_acks"),
    Token(value=PLAIN_TOKEN, name="without_acks"),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything an emulator is built from; make it with `Settings.of`, which applies the profile."""

    listen: str = "127.0.0.1:8088"
    tokens: tuple[Token, ...] = DEFAULT_TOKENS
    profile: str = "ent-10.4"
    ack_delay: Delay = Delay(1.0, 1.0)
    nodes: int = 1
    balance: Literal["sticky", "round-robin"] = "sticky"
    faults: tuple[str, ...] = ()
    journal: str = ""
    tls: tuple[str, str] | None = None
    seed: int = 0
    keep_events: bool = True  # False: only count (benchmarks); /emulator/events is then empty

    # Limits. Splunk's own, but for the two that protect this process.
    max_content_length: int = 838_860_800
    max_decoded_bytes: int = 134_217_728  # of one gzip body; more is answered 413, as a gzip bomb deserves
    max_buffered_bytes: int = 1_073_741_824  # of all bodies being received; more is answered 503
    max_event_bytes: int = 5_242_880
    max_channels: int = 1_000_000
    max_pending_acks: int = 10_000_000
    max_pending_acks_per_channel: int = 1_000_000
    max_idle_time_s: float = 600.0

    # What the releases are known to differ in; a profile sets these.
    missing_channel_code: Literal[10, 28] = 10
    has_capacity_codes: bool = True  # 24 to 27; else 503 code 9 for everything
    ack_idle_cleanup: bool = True
    fields_error_has_number: bool = True
    accepts_array_body: bool = True
    has_multi_metrics: bool = True

    # Acknowledgement, unknown on real servers: a safe client loses nothing under any combination.
    ack_ids_start: IdStart = "zero"
    ack_ids_after_restart: IdRestart = "zero"
    ack_counter: Literal["channel", "node"] = "channel"  # node: one counter for all channels
    ack_true: Literal["once", "always", "never"] = "once"
    refusal_prefix_ack: PrefixAck = "told"  # hidden: the id is used but not in the 400; none: no id at all
    busy_prefix_ack: PrefixAck = "told"  # the same for the prefix a 503 or 429 took
    refusal_consumes_id: bool = False  # a 400 at object 0 uses up an id
    busy_consumes_id: bool = False  # a 503 or 429 that took nothing uses up an id
    empty_post_consumes_id: bool = False  # so does a post without a body (a probe)
    near_capacity_has_ack_id: bool = True
    incorrect_index_base: Literal[0, 1] = 1  # what code 7 counts from

    # The other unknown rows of the protocol reference, with the defaults it gives.
    trailing_slash_is_route: bool = False
    health_checks_token: bool = False
    scheme_is_case_sensitive: bool = False
    channel_query_wins: bool = False
    channel_is_case_sensitive: bool = False
    true_event_is_accepted: bool = False
    duplicate_keys: Literal["last", "refuse"] = "last"
    invalid_utf8: Literal["refuse", "replace"] = "refuse"
    nan_is_accepted: bool = False
    truncated_gzip: Literal["html", "prefix"] = "html"
    empty_gzip_is_html: bool = False
    empty_acks_are_refused: bool = False
    ack_bad_body_code: Literal[5, 6] = 6
    ack_empty_body_code: Literal[5, 6] = 5
    ack_string_ids_are_accepted: bool = False
    raw_line_breaking: bool = False  # True: each line of a raw body is an event of its own
    indexes: tuple[str, ...] = ()  # the indexes that exist; empty: all. Matters to tokens that may name any
    last_chance_index: str = ""  # where events for a missing index go; "": nowhere

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            _check(name, getattr(self, name), hint)
        host, colon, port = self.listen.rpartition(":")
        if not colon or not host or not port.isdigit() or int(port) > 65535:
            raise SettingsError(f"--listen: {self.listen!r} is not HOST:PORT")
        if self.nodes < 1:
            raise SettingsError("--nodes: there must be at least one")
        if len({token.value for token in self.tokens}) < len(self.tokens):
            raise SettingsError("--token: two tokens have the same value")

    @classmethod
    def of(cls, **options: Any) -> Self:
        """Build settings from options: what the profile says, overridden by what is given.

        Args:
            **options: fields of this class; ``tokens`` may hold specs as text, ``ack_delay`` text or seconds.

        Raises:
            SettingsError: an option is unknown or has a value it cannot have.
        """
        profile = options.get("profile", cls.profile)
        if profile not in PROFILES:
            raise SettingsError(f"--profile: {profile!r} is none of {', '.join(PROFILES)}")
        if unknown := sorted(set(options) - {item.name for item in fields(cls)}):
            raise SettingsError(f"unknown setting {unknown[0]!r}")
        given = dict(options)
        if "tokens" in given:
            tokens = (Token.parse(t) if isinstance(t, str) else t for t in given["tokens"])
            given["tokens"] = tuple(named(tokens))
        if "ack_delay" in given:
            given["ack_delay"] = Delay.parse(given["ack_delay"])
        for name in ("faults", "indexes"):
            if name in given:
                given[name] = tuple(given[name])
        given["journal"] = os.fspath(given.get("journal", ""))
        if given.get("tls"):
            certificate, key = given["tls"]
            given["tls"] = os.fspath(certificate), os.fspath(key)
        return cls(**{**PROFILES[profile], **given})


def named(tokens: Any) -> list[Token]:
    """Give each token without a name one by its position, as ``source`` and log lines need it."""
    return [t if t.name else replace(t, name=f"token_{n}") for n, t in enumerate(tokens, 1)]


PROFILES: dict[str, dict[str, Any]] = {
    "legacy-7": {
        "has_capacity_codes": False,
        "ack_idle_cleanup": False,
        "fields_error_has_number": False,
        "accepts_array_body": False,
        "has_multi_metrics": False,
    },
    "ent-9": {"has_capacity_codes": False},
    "ent-10.4": {},
    "cloud-10.5": {"missing_channel_code": 28},
}


def _check(name: str, value: Any, hint: Any) -> None:
    """Hold one value against its annotation, where the annotation is a choice or a plain type."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            choices = ", ".join(str(choice) for choice in get_args(hint))
            raise SettingsError(f"{name}: {value!r} is none of {choices}")
    elif hint is bool and not isinstance(value, bool):
        raise SettingsError(f"{name}: {value!r} is neither True nor False")
    elif hint in (int, float):
        is_number = isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
        if not is_number or value < 0:
            raise SettingsError(f"{name}: {value!r} is not a {'whole ' * (hint is int)}number from 0 up")
