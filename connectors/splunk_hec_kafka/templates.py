"""Templates such as `{topic}-{header:team}`, and the places a time can come from.

Pure. Not for choosing a route (`routes`) and not for building events (`records`). Guarantees: rendering never
raises, whatever the record holds; a named thing that is absent or null makes the whole result None.
Non-obvious: what depends on the topic alone is folded by `bind`, so a constant costs nothing per record.
Objects and arrays found by `{field:…}` are written as compact JSON.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from splunk_hec.errors import ConfigError
from splunk_hec_kafka.headers import headers_of

if TYPE_CHECKING:
    from confluent_kafka import Message

Kind = Literal["topic", "partition", "offset", "key", "header", "field"]
_NAMED: dict[str, Kind] = {"header": "header", "field": "field"}
_PLAIN: dict[str, Kind] = {"topic": "topic", "partition": "partition", "offset": "offset", "key": "key"}
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Ref(msgspec.Struct, frozen=True):
    """One `{…}`: what it takes, and for header and field, by which name."""

    kind: Kind
    name: str = ""


class Record:
    """What templates see of one message; each part is looked up once, and only when asked for."""

    __slots__ = ("_headers", "_json", "_parsed", "message")

    def __init__(self, message: Message, decoded: bytes | None = None) -> None:
        """See `message`, and as its value `decoded`, if that is given."""
        self.message = message
        self._json = decoded
        self._headers: dict[str, str | bytes | None] | None = None
        self._parsed: Any = msgspec.UNSET

    def find(self, ref: Ref) -> Any:
        """The referenced thing: text, number, a JSON value, or None when it is absent or null."""
        message = self.message
        match ref.kind:
            case "topic":
                return message.topic()
            case "partition":
                return message.partition()
            case "offset":
                return message.offset()
            case "key":
                return _text(message.key())
            case "header":
                return _text(self.headers().get(ref.name))
            case "field":
                return self._field(ref.name)

    def headers(self) -> dict[str, str | bytes | None]:
        """Headers by name; of several with a name the last."""
        if self._headers is None:
            self._headers = dict(headers_of(self.message))
        return self._headers

    def _field(self, path: str) -> Any:
        if self._parsed is msgspec.UNSET:
            self._parsed = _parse(self.message.value() if self._json is None else self._json)
        value = self._parsed
        for name in path.split("."):
            if not isinstance(value, dict):
                return None
            value = cast("dict[str, Any]", value).get(name)
        return value


class Template:
    """A parsed template. Immutable; shared by all records of a route."""

    __slots__ = ("parts",)

    def __init__(self, text: str) -> None:
        """Parse `text`.

        Raises:
            ConfigError: A brace has no partner, or a name is unknown.
        """
        self.parts: tuple[str | Ref, ...] = _merged(_parts(text))

    def bind(self, topic: str) -> Template:
        """The same template for the records of one topic."""
        bound = Template("")
        bound.parts = _merged([topic if part == Ref("topic") else part for part in self.parts])
        return bound

    @property
    def constant(self) -> str | None:
        """The result, if no record can change it; else None."""
        if not self.parts:
            return ""
        return self.parts[0] if len(self.parts) == 1 and isinstance(self.parts[0], str) else None

    def render(self, record: Record) -> str | None:
        """The text for one record; None if something it names is absent or null."""
        texts: list[str] = []
        for part in self.parts:
            value = part if isinstance(part, str) else record.find(part)
            if value is None:
                return None
            texts.append(value if isinstance(value, str) else _json(value))
        return "".join(texts)


def parse_time_source(text: str) -> Ref | Literal["record", "none"]:
    """Read the route key `time`.

    Raises:
        ConfigError: It is none of `record`, `none`, `header:NAME`, `field:a.b`.
    """
    if text == "record":
        return "record"
    if text == "none":
        return "none"
    kind, _, name = text.partition(":")
    if kind not in _NAMED or not name:
        raise ConfigError(f"{text!r} is not a place for a time")
    return Ref(_NAMED[kind], name)


def _parts(text: str) -> list[str | Ref]:
    parts: list[str | Ref] = []
    end = 0
    for match in _TOKEN.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        token = match.group()
        if token in ("{{", "}}"):
            parts.append(token[0])
        elif match.group(1) is None:
            raise ConfigError(f"the template {text!r} has a lone brace {token!r}")
        else:
            parts.append(_ref(match.group(1), text))
    return [*parts, text[end:]]


def _ref(inside: str, text: str) -> Ref:
    kind, colon, name = inside.partition(":")
    if kind in _PLAIN and not colon:
        return Ref(_PLAIN[kind])
    if kind in _NAMED and name:
        return Ref(_NAMED[kind], name)
    raise ConfigError(
        f"the template {text!r} names {{{inside}}}; known are {{topic}}, {{partition}}, {{offset}}, {{key}}, "
        "{header:NAME} and {field:a.b}"
    )


def _merged(parts: list[str | Ref]) -> tuple[str | Ref, ...]:
    merged: list[str | Ref] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        elif part != "":
            merged.append(part)
    return tuple(merged)


def _text(value: bytes | str | None) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _parse(value: bytes | str | None) -> Any:
    try:
        return msgspec.json.decode(value or b"")
    except (ValueError, RecursionError):  # not JSON, not UTF-8, nested too deep
        return None


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
