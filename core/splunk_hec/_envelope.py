"""Event → envelope bytes: the only place that knows HEC's JSON keys and what they may hold.

Not for sizes of batches or anything about replies. Guarantees: what comes out is one line, one JSON
object in valid UTF-8, with no key but HEC's seven, a fixed-point `time` and flat `fields`; whatever cannot
be that is refused with `InvalidEvent` here, at its call site.

Non-obvious: msgspec writes NaN as `null` and would pass invalid UTF-8 through a `Raw`, so both are looked
for explicitly; the look costs nothing for text because it starts from a cheap substring test.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import repeat
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlencode

import msgspec
from msgspec import UNSET, Raw, UnsetType

from splunk_hec._block import Block
from splunk_hec._times import fixed_time
from splunk_hec.errors import InvalidEvent
from splunk_hec.events import Envelope, Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from splunk_hec.config import HecConfig

BLANK = " \t\r\n\v\f"
"""White space that Splunk counts as blank for sure (code 13); anything else is left to Splunk to judge."""

_METRIC = "metric_name"
_SCALARS = (str, int, float, bool, type(None))


class _Line(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """HEC's closed set of keys, in the order they are written."""

    time: Raw | UnsetType = UNSET
    host: str | UnsetType | None = UNSET
    source: str | UnsetType | None = UNSET
    sourcetype: str | UnsetType | None = UNSET
    index: str | UnsetType | None = UNSET
    fields: dict[str, Any] | UnsetType | None = UNSET
    event: Any = UNSET


class _Ready(_Line):
    """A ready envelope: its event is passed through, not decoded."""

    event: Raw | UnsetType = UNSET


class _Text(msgspec.Struct, gc=False):
    """An envelope that holds text and the client's defaults: the row of `encode_texts`."""

    time: float | UnsetType
    host: str | UnsetType
    source: str | UnsetType
    sourcetype: str | UnsetType
    index: str | UnsetType
    fields: Any
    event: str


class _Index(msgspec.Struct):
    index: str | None = None


_TEXTS = ("host", "source", "sourcetype", "index")
_to_json = msgspec.json.Encoder().encode
_to_lines = msgspec.json.Encoder().encode_lines
_to_raw = msgspec.json.Decoder(Raw).decode
_to_ready = msgspec.json.Decoder(_Ready).decode
_to_index = msgspec.json.Decoder(_Index).decode


class EnvelopeEncoder:
    """Encodes events with a client's defaults. Immutable: any thread may use it."""

    def __init__(self, config: HecConfig) -> None:
        self._max_bytes = config.event_max_bytes
        self._defaults = {name: getattr(config, name) or UNSET for name in _TEXTS}
        self._fields = dict(config.fields)
        check_fields(self._fields)

    def encode(self, event: Event | Envelope) -> bytes:
        """One event as one line of HEC JSON, without a line end.

        Raises:
            InvalidEvent: With the reason; nothing was changed or sent.
        """
        try:
            line = self._ready(event) if isinstance(event, Envelope) else self._event(event)
            self._fill(line)
            body = _to_json(line)
        except UnicodeEncodeError:
            raise InvalidEvent(
                "undecodable", "a string holds a lone surrogate; it has no UTF-8 form"
            ) from None
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            if isinstance(error, InvalidEvent):
                raise
            raise InvalidEvent("invalid_event", f"the payload has no JSON form: {error}") from None
        return self._sized(body)

    def encode_texts(
        self, texts: Sequence[str], times: Iterable[float | UnsetType] | None = None
    ) -> Block | None:
        """Many texts at once, in one call to the JSON encoder; they say what `encode` says of each.

        Args:
            texts: Payloads, at least one.
            times: As many event times: seconds from 1 up to 1e11 (exact to the microsecond up to 2**33), or
                UNSET; None if no text has one.

        Returns:
            The lines; None if a text needs a closer look (it may be blank, oversize or no UTF-8): then
            `encode` says which, and why.
        """
        if not all(texts) or any(map(str.isspace, texts)):
            return None
        host, source, sourcetype, index = (self._defaults[name] for name in _TEXTS)
        fields = self._fields or UNSET
        timed = zip(texts, repeat(UNSET) if times is None else times, strict=times is not None)
        try:
            body = _to_lines([_Text(time, host, source, sourcetype, index, fields, t) for t, time in timed])
        except UnicodeEncodeError:
            return None
        block = Block(body, len(texts), end=len(body) - 1)
        is_small = len(body) <= self._max_bytes or max(map(len, block)) <= self._max_bytes
        return block if is_small else None

    def encode_raw(self, event: Event | Envelope) -> tuple[str, bytes]:
        """One event for the raw endpoint: the query that carries its metadata, and its bytes.

        Raises:
            InvalidEvent: It is blank or too large, or asks for what the raw endpoint cannot carry.
        """
        if isinstance(event, Envelope) or not isinstance(event.payload, str | bytes):
            raise InvalidEvent(
                "invalid_event", "the raw endpoint takes text; use endpoint='event' for objects"
            )
        if event.fields or event.time is not None:
            raise InvalidEvent("bad_fields", "the raw endpoint carries neither fields nor a time per event")
        try:
            body = event.payload.encode() if isinstance(event.payload, str) else event.payload
        except UnicodeEncodeError:
            raise InvalidEvent(
                "undecodable", "the text holds a lone surrogate; it has no UTF-8 form"
            ) from None
        if not body.strip():
            raise InvalidEvent("blank", "the text is empty or white space only")
        names = sorted(_TEXTS)
        metadata = {name: getattr(event, name) or self._defaults[name] for name in names}
        return urlencode({k: v for k, v in metadata.items() if v is not UNSET}), self._sized(body)

    def _event(self, event: Event) -> _Line:
        line = _Line(event=_payload(event))
        if event.time is not None:
            line.time = Raw(fixed_time(event.time).encode())
        for name in _TEXTS:
            value = getattr(event, name)
            if value is not None:
                if not isinstance(value, str):
                    raise InvalidEvent("invalid_event", f"{name} must be text, not {type(value).__name__}")
                setattr(line, name, value)
        if event.fields is not None:
            own = dict(event.fields)
            check_fields(own)
            line.fields = own
        return line

    def _ready(self, event: Envelope) -> _Line:
        payload = event.payload
        if isinstance(payload, Mapping):
            payload = _checked_json(dict(payload))
        elif isinstance(payload, str):
            payload = payload.encode()
        if not isinstance(payload, bytes):
            raise InvalidEvent("invalid_event", "an envelope is a JSON object as text, bytes or mapping")
        return _read_envelope(payload)

    def _fill(self, line: _Line) -> None:
        for name in _TEXTS:
            if getattr(line, name) is UNSET:
                setattr(line, name, self._defaults[name])
        if self._fields:
            line.fields = self._fields | (line.fields or {})

    def _sized(self, body: bytes) -> bytes:
        if len(body) > self._max_bytes:
            raise InvalidEvent("too_large", f"{len(body)} bytes encoded, the limit is {self._max_bytes}")
        return body


def check_envelope(body: bytes) -> bytes:
    """A ready HEC object, checked and written as one line.

    Args:
        body: JSON text of one object.

    Returns:
        The same object; `event` byte for byte but for white space, `time` in fixed point.

    Raises:
        InvalidEvent: It is not one object in UTF-8, has an unknown key (Splunk would answer 200 and lose it
            and all that follows: measured on 10.4.3), or a key holds what HEC refuses.
    """
    return _to_json(_read_envelope(body))


def check_json_value(raw: bytes) -> bytes:
    """One JSON value that HEC takes as `event`, on one line.

    Args:
        raw: JSON text.

    Returns:
        The text with line ends between tokens replaced by spaces (inside strings JSON allows none).

    Raises:
        InvalidEvent: `undecodable` (not UTF-8), `blank`, or `invalid_event` (not one JSON value; or null,
            true or false, which HEC refuses with code 6 or does not define).
    """
    try:
        if not raw.isascii():
            raw.decode()
        _to_raw(raw)
    except UnicodeDecodeError as error:
        raise InvalidEvent("undecodable", f"not UTF-8: {error.reason} at byte {error.start}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidEvent("invalid_event", f"not one JSON value: {error}") from None
    _check_event_value(raw)
    return _one_line(raw)


def check_fields(fields: Mapping[str, Any]) -> None:
    """Indexed fields must be flat: scalars, or lists of scalars (HEC code 15 otherwise).

    Raises:
        InvalidEvent: `bad_fields`, naming the field.
    """
    for name, value in fields.items():
        if not isinstance(name, str):
            raise InvalidEvent("bad_fields", f"the field name {name!r} is not text")
        items = cast("list[Any]", value) if isinstance(value, list | tuple) else [value]
        for item in items:
            if not isinstance(item, _SCALARS):
                raise InvalidEvent("bad_fields", f"the field {name!r} is nested; fields must be flat")
            if isinstance(item, float) and not math.isfinite(item):
                raise InvalidEvent("bad_fields", f"the field {name!r} is {item}, which JSON cannot express")


def index_of(line: bytes) -> str | None:
    """The index that an encoded envelope asks for; None if it names none."""
    try:
        return _to_index(line).index
    except RecursionError:  # an event too deep to be read from here; index stands before it
        head = re.split(rb'[{,]"(?:fields|event)":', line, maxsplit=1)[0]
        return _to_index((head or b"{") + b"}").index


def raw_index_of(query: str) -> str:
    """The index that the query of a raw request asks for; empty if it names none."""
    return parse_qs(query).get("index", [""])[0]


def _read_envelope(body: bytes) -> _Line:
    try:
        if not body.isascii():
            body.decode()
        line = _to_ready(body)
    except UnicodeDecodeError as error:
        raise InvalidEvent("undecodable", f"not UTF-8: {error.reason} at byte {error.start}") from None
    except (msgspec.DecodeError, RecursionError) as error:  # ValidationError is a DecodeError
        raise InvalidEvent("invalid_event", f"not a HEC envelope: {error}") from None
    for name in (*_TEXTS, "fields"):
        if getattr(line, name) is None:
            setattr(line, name, UNSET)
    if line.time is not UNSET:
        line.time = _read_time(bytes(line.time))
    if line.fields is not UNSET:
        check_fields(line.fields or {})
    if line.event is not UNSET:
        _check_event_value(bytes(line.event))
        line.event = Raw(_one_line(bytes(line.event)))
    elif not line.fields or not any(name.startswith(_METRIC) for name in line.fields):
        raise InvalidEvent("invalid_event", "the envelope has neither an event nor a metric")
    return line


def _read_time(raw: bytes) -> Raw | UnsetType:
    time = msgspec.json.decode(raw) if raw[:1] == b'"' else raw.decode()
    return UNSET if time == "null" else Raw(fixed_time(time).encode())


def _check_event_value(raw: bytes) -> None:
    value = raw.strip()
    if value in (b"null", b"true", b"false"):
        raise InvalidEvent("invalid_event", f"HEC does not take {value.decode()} as an event")
    if value[:1] == b'"' and len(value) < 256 and not msgspec.json.decode(value).strip(BLANK):
        raise InvalidEvent("blank", "the event is an empty or blank string")


def _payload(event: Event) -> Any:
    payload = event.payload
    if isinstance(payload, bytes):
        try:
            payload = payload.decode()
        except UnicodeDecodeError as error:
            raise InvalidEvent("undecodable", f"not UTF-8: {error.reason} at byte {error.start}") from None
    if isinstance(payload, str):
        if not payload.strip(BLANK):
            raise InvalidEvent("blank", "the event is empty or white space only")
        return payload
    if payload is None:
        if event.fields and any(name.startswith(_METRIC) for name in event.fields):
            return "metric"
        raise InvalidEvent("invalid_event", "the payload is None and fields hold no metric")
    if isinstance(payload, bool):
        raise InvalidEvent("invalid_event", f"HEC does not take {str(payload).lower()} as an event")
    return Raw(_checked_json(dict(payload) if isinstance(payload, Mapping) else payload))


def _checked_json(value: Any) -> bytes:
    """JSON of `value`; the walk for NaN runs only if a null was written, since that is what NaN becomes."""
    body = _to_json(value)
    if b"null" in body:
        _refuse_nan(value)
    return body


def _refuse_nan(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidEvent("invalid_event", f"the payload holds {value}, which JSON cannot express")
    items: Any = cast("Any", value).values() if isinstance(value, Mapping) else value
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        for item in items:
            _refuse_nan(item)


def _one_line(raw: bytes) -> bytes:
    if b"\n" in raw or b"\r" in raw:
        return raw.replace(b"\n", b" ").replace(b"\r", b" ")
    return raw
