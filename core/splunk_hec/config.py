"""`HecConfig`: every setting of a client, validated once, immutable, safe to print.

Guarantees: a constructed config is usable; the token is in no repr and no pickle (a literal token refuses
to be pickled; a reference such as `env:NAME` is pickled as the reference).
Non-obvious: `token` may be a *reference*. It is resolved by `TokenSource`, in the process that uses it.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from splunk_hec._gcp_secret import GcpSecret
from splunk_hec.errors import ConfigError
from splunk_hec.events import FieldValue

REDACTED = "***"
_REFERENCE = re.compile(r"^(env|file|gcp-secret):(.+)$", re.DOTALL)
_POSITIVE = (
    "lanes",
    "batch_max_bytes",
    "batch_max_events",
    "event_max_bytes",
    "in_flight_max_bytes",
    "in_flight_max_events",
    "request_deadline_s",
    "ack_deadline_s",
)
_NOT_NEGATIVE = ("linger_s", "give_up_after_s", "halt_patience_s")


class HecConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of one client: one token, one or more endpoints.

    Attributes:
        url: `https://host:8088`, or several of them; lanes are spread over them.
        token: The HEC token: `env:NAME`, `file:PATH` (re-read when it changes),
            `gcp-secret:projects/P/secrets/S` (re-read every minute), or the literal.
        ack: `required`: delivered means acknowledged by the indexer, and a token without
            acknowledgements halts; `auto`: probed at start; `off`: delivered means accepted.
        lanes: Worker threads in all, at least one per url.
        batch_max_bytes: Decoded size at which a batch is sealed.
        batch_max_events: Count at which a batch is sealed.
        event_max_bytes: Largest encoded event; larger is refused (`too_large`). Splunk's own limit is
            5 MiB (`maxEventSize`).
        linger_s: Longest time an event waits for its batch to fill.
        gzip: `fast` (isal level 1), `small` (zlib level 6), `off`.
        in_flight_max_bytes: Budget of memory held for accepted, unsettled events.
        in_flight_max_events: The same as a count.
        request_deadline_s: Total time of one request, connect to last byte.
        ack_deadline_s: From the reply to the acknowledgement, before a batch is sent again.
        on_ack_timeout: `resend`, or settle as `unconfirmed`.
        give_up_after_s: Age at which an unsettled event is settled as gave_up; 0 = never.
        halt_patience_s: How long a refused deployment is probed before `Halted` is raised; 0 = at once.
        verify: Verify TLS.
        ca_file: Trust these CAs only (PEM); empty: the platform's bundle.
        client_cert: Client certificate (PEM).
        client_key: Its key, if in a file of its own.
        proxy: Empty = none, `env` = from the environment, or a URL.
        endpoint: `event` or `raw`.
        index: Default metadata of events that name none.
        source: Default metadata of events that name none.
        sourcetype: Default metadata of events that name none.
        host: Default metadata of events that name none.
        fields: Default indexed fields; an event's own fields win key by key.
        threads: False: no thread is ever started; all work happens inside the caller's calls.
    """

    url: str | tuple[str, ...]
    token: str
    ack: Literal["required", "auto", "off"] = "required"
    lanes: int = 8
    batch_max_bytes: int = 1_000_000
    batch_max_events: int = 5_000
    event_max_bytes: int = 5_000_000
    linger_s: float = 0.5
    gzip: Literal["fast", "small", "off"] = "fast"
    in_flight_max_bytes: int = 268_435_456
    in_flight_max_events: int = 2_000_000
    request_deadline_s: float = 60
    ack_deadline_s: float = 300
    on_ack_timeout: Literal["resend", "unconfirmed"] = "resend"
    give_up_after_s: float = 0
    halt_patience_s: float = 300
    verify: bool = True
    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""
    proxy: str = ""
    endpoint: Literal["event", "raw"] = "event"
    index: str = ""
    source: str = ""
    sourcetype: str = ""
    host: str = ""
    fields: dict[str, FieldValue] = {}
    threads: bool = True

    def __post_init__(self) -> None:
        try:
            checked = msgspec.convert(msgspec.structs.asdict(self), dict[str, Any])
            msgspec.convert(checked, _Types)
        except msgspec.ValidationError as error:
            raise ConfigError(f"HecConfig: {_shown(error)}") from None
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be greater than 0, not {getattr(self, name)}")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not self.token.strip():
            raise ConfigError("token is empty; give env:NAME, file:PATH or the token itself")
        if not self.urls:
            raise ConfigError("url is empty; give one such as https://splunk.example:8088")
        for url in self.urls:
            _check_url(url)
        if self.client_key and not self.client_cert:
            raise ConfigError("client_key is set without client_cert")
        if self.proxy not in ("", "env"):
            _check_url(self.proxy, what="proxy")
        if self.endpoint == "raw" and self.fields:
            raise ConfigError("fields are not possible on the raw endpoint; use endpoint='event'")

    @property
    def urls(self) -> tuple[str, ...]:
        """The endpoints, without a trailing slash."""
        given = (self.url,) if isinstance(self.url, str) else self.url
        return tuple(url.rstrip("/") for url in given)

    @classmethod
    def from_env(cls, prefix: str = "SPLUNK_HEC_", /, **overrides: Any) -> HecConfig:
        """Read the settings from environment variables: `prefix` + the key in capitals.

        Args:
            prefix: What the variables start with.
            **overrides: Settings that win over the environment.

        Returns:
            The config. Several urls are separated by commas; `fields` is a JSON object.

        Raises:
            ConfigError: A variable is unknown, or a value is missing or of the wrong form.
        """
        names = {field.name for field in msgspec.structs.fields(cls)}
        given: dict[str, Any] = {}
        for variable, value in os.environ.items():
            if not variable.startswith(prefix):
                continue
            key = variable.removeprefix(prefix).lower()
            if key not in names:
                near = get_close_matches(key, names, n=1)
                hint = f"; did you mean {prefix}{near[0].upper()}?" if near else ""
                raise ConfigError(f"unknown variable {variable}{hint}")
            given[key] = value
        if "," in given.get("url", ""):
            given["url"] = [url.strip() for url in given["url"].split(",")]
        try:
            if "fields" in given:
                given["fields"] = msgspec.json.decode(given["fields"])
            return msgspec.convert(given | overrides, cls, strict=False)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise ConfigError(f"environment {prefix}*: {_shown(error)}") from None

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.public().items())
        return f"HecConfig({shown})"

    def __reduce__(self) -> Any:
        if not is_reference(self.token):
            raise TypeError("a HecConfig with a literal token is not pickled; use env:NAME or file:PATH")
        return _rebuild, (msgspec.structs.asdict(self),)

    def public(self) -> dict[str, Any]:
        """All settings with the token hidden (a reference is shown, a literal is not)."""
        values = msgspec.structs.asdict(self)
        if not is_reference(self.token):
            values["token"] = REDACTED
        values["proxy"] = hide_password(self.proxy)
        return values


# The field types of HecConfig, checked by msgspec when the caller constructs it directly (a Struct's own
# constructor does not check types).
_Types = msgspec.defstruct(
    "_Types",
    [(field.name, field.type) for field in msgspec.structs.fields(HecConfig)],
)


def is_reference(token: str) -> bool:
    """Whether `token` names a place (`env:`, `file:`, `gcp-secret:`) instead of being the secret itself."""
    return _REFERENCE.match(token) is not None


def hide_password(url: str) -> str:
    """`url` with any user:password part replaced: all before the last `@`, as a password may hold `/@`."""
    private, at, place = url.rpartition("@")
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", private)
    return f"{scheme[0] if scheme else ''}{REDACTED}@{place}" if at else url


def _rebuild(values: dict[str, Any]) -> HecConfig:
    return HecConfig(**values)


def _shown(error: Exception) -> str:
    return str(error).replace("`$.", "`").replace(" - at ", ": ")


def _check_url(url: str, what: str = "url") -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{what} {hide_password(url)!r} is not of the form https://host:8088")
    if what == "url" and (parts.path.rstrip("/") or parts.query or parts.fragment or parts.username):
        raise ConfigError(
            f"url {hide_password(url)!r} must end after the port: the path is chosen by the client"
        )
    try:
        _ = parts.port
    except ValueError:
        raise ConfigError(f"{what} {hide_password(url)!r} has an impossible port") from None


class TokenSource:
    """Resolves a token or a reference to one; shared by a client's workers, its only state is a cache.

    A `file:` token is read again whenever the file's stamp changed, so a rotated secret is picked up
    without a restart.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        match = _REFERENCE.match(token)
        self._gcp = GcpSecret(match[2]) if match and match[1] == "gcp-secret" else None
        self._read: tuple[tuple[int, int, int], str] | None = None

    def __repr__(self) -> str:
        return f"TokenSource({self._token if is_reference(self._token) else REDACTED})"

    def __call__(self) -> str:
        """The secret as it is now.

        Raises:
            ConfigError: The variable or file does not exist or is empty.
        """
        match = _REFERENCE.match(self._token)
        if match is None:
            return self._token
        kind, name = match.groups()
        if self._gcp is not None:
            secret, place = self._gcp(), f"the secret {name}"
        elif kind == "env":
            secret, place = os.environ.get(name, ""), f"the environment variable {name}"
        else:
            secret, place = self._from_file(Path(name)), f"the file {name}"
        if not secret.strip():
            raise ConfigError(f"the token is to be read from {place}, which is missing or empty")
        return secret.strip()

    def _from_file(self, path: Path) -> str:
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if self._read is None or self._read[0] != stamp:
                self._read = (stamp, path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return ""
        return self._read[1]
