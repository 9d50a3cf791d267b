"""Records → lines for HEC: the hot path of the sink.

Not for choosing routes (`routes`), batching or sending. Guarantees: bad input never raises, it becomes a
refusal with its reason; every record handed in comes out exactly once, as a line, a refusal or a skip; the
order within a partition is kept; every line is one line.
Non-obvious: records are taken by topic, and one C call encodes all lines of a topic. Only when something in
such a run looks wrong is the run read record by record; both ways build the same rows, so they write the same
bytes. LF inside text is escaped by JSON, and in JSON taken as it is LF is replaced by a space (`_envelope`),
so the encoded run can be split at LF.
"""

from __future__ import annotations

from itertools import groupby
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

import msgspec
from confluent_kafka import Message
from msgspec import UNSET, Raw, UnsetType

from splunk_hec._envelope import BLANK, check_envelope, check_json_value
from splunk_hec._times import fixed_time
from splunk_hec.errors import InvalidEvent
from splunk_hec_kafka.templates import Record, Ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from splunk_hec_kafka.routes import CompiledRoute, RouteTable

Stage = Literal["DECODE", "PUT"]
_DECODE_REASONS = ("undecodable", "invalid_event")
_UNREADABLE = (InvalidEvent, UnicodeDecodeError)
_ends_in_lf = methodcaller("endswith", b"\n")


class Send(msgspec.Struct):
    """Lines for one endpoint kind and, on the raw endpoint, one query. `lines[i]` is `messages[i]`."""

    kind: Literal["event", "raw"]
    query: str
    lines: list[bytes]
    messages: list[Message]


class Refusal(msgspec.Struct, frozen=True):
    """A record that can never be indexed as it is.

    Attributes:
        message: The record.
        reason: A dead-letter reason, e.g. `undecodable`, `too_large`.
        text: What is wrong, for people; at most a few characters of the record.
        stage: `DECODE`: its value is not what the route says; `PUT`: HEC would refuse the event.
    """

    message: Message
    reason: str
    text: str
    stage: Stage


class Skip(msgspec.Struct, frozen=True):
    """A record that settles without being sent: a `tombstone` (null value), or its route says `drop`."""

    message: Message
    reason: Literal["tombstone", "drop"]


class Encoded(msgspec.Struct, frozen=True):
    """What became of a chunk of records: each is in exactly one of the three."""

    sends: list[Send]
    refusals: list[Refusal]
    skips: list[Skip]


class _Row(msgspec.Struct, gc=False):
    """An envelope to be encoded: HEC's keys in the order that `splunk_hec._envelope` writes them."""

    time: float | Raw | UnsetType
    host: str | UnsetType = UNSET
    source: str | UnsetType = UNSET
    sourcetype: str | UnsetType = UNSET
    index: str | UnsetType = UNSET
    fields: Any = UNSET
    event: str | Raw | UnsetType = UNSET


class _Provenance(msgspec.Struct, gc=False):
    kafka_topic: str
    kafka_partition: int | None
    kafka_offset: int | None


class _Ready(msgspec.Struct):
    """A checked envelope, its values as they were written."""

    time: Raw | UnsetType = UNSET
    host: str | UnsetType = UNSET
    source: str | UnsetType = UNSET
    sourcetype: str | UnsetType = UNSET
    index: str | UnsetType = UNSET
    fields: dict[str, Any] | UnsetType = UNSET
    event: Raw | UnsetType = UNSET


_encode_lines = msgspec.json.Encoder().encode_lines
_read_ready = msgspec.json.Decoder(_Ready).decode


class RecordEncoder:
    """Encodes chunks of consumed records. Owned by the loop's thread; holds nothing between calls."""

    def __init__(self, routes: RouteTable, *, event_max_bytes: int) -> None:
        """Encode by `routes`; a line longer than `event_max_bytes` is refused as `too_large`."""
        self._routes = routes
        self._max_bytes = event_max_bytes

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """Encode a chunk.

        Args:
            messages: Records as consumed, without error events.

        Returns:
            Lines to send, refusals and skips. Never raises for what a record holds.
        """
        run = _Run(self._max_bytes)
        by_topic: dict[str, list[Message]] = {}
        for topic_or_none, neighbours in groupby(messages, Message.topic):
            by_topic.setdefault(topic_or_none or "", []).extend(neighbours)
        for topic, group in by_topic.items():
            route = self._routes.for_topic(topic)
            if route.drops:
                run.skips += [Skip(message, "drop") for message in group]
            elif route.value == "raw":
                run.take_raw(route, group)
            else:
                run.take_events(route, group)
        return Encoded(list(run.sends.values()), run.refusals, run.skips)


class _Run:
    """The results of one chunk while they grow."""

    def __init__(self, max_bytes: int) -> None:
        self.sends: dict[tuple[str, str], Send] = {}
        self.refusals: list[Refusal] = []
        self.skips: list[Skip] = []
        self._max_bytes = max_bytes

    def take_events(self, route: CompiledRoute, messages: list[Message]) -> None:
        if route.is_constant and route.value != "envelope":
            try:
                values = _read_all(route, messages)
            except _UNREADABLE:
                pass
            else:
                self._send(messages, _constant_rows(route, messages, values))
                return
        rows: list[_Row] = []
        kept: list[Message] = []
        for message in messages:
            value = message.value()
            if value is None:
                self.skips.append(Skip(message, "tombstone"))
                continue
            try:
                rows.append(_row(route, message, value))
                kept.append(message)
            except InvalidEvent as error:
                self._refuse(message, error.reason, error.text)
        self._send(kept, rows)

    def take_raw(self, route: CompiledRoute, messages: list[Message]) -> None:
        constant = _query(route.metadata)
        for message in messages:
            value = message.value()
            if value is None:
                self.skips.append(Skip(message, "tombstone"))
                continue
            try:
                line = _read_text(route, value).encode()
            except InvalidEvent as error:
                self._refuse(message, error.reason, error.text)
            else:
                query = _query(route.metadata_of(Record(message))) if route.templates else constant
                self._add("raw", query, [message], [line])

    def _send(self, messages: list[Message], rows: list[_Row]) -> None:
        body = _encode_lines(rows)
        lines = body.split(b"\n")
        lines.pop()
        self._add("event", "", messages, lines)

    def _add(
        self, kind: Literal["event", "raw"], query: str, messages: list[Message], lines: list[bytes]
    ) -> None:
        if max(map(len, lines), default=0) > self._max_bytes:
            messages, lines = self._without_oversize(messages, lines)
        if not lines:
            return
        send = self.sends.setdefault((kind, query), Send(kind, query, [], []))
        send.lines += lines
        send.messages += messages

    def _without_oversize(
        self, messages: Iterable[Message], lines: Iterable[bytes]
    ) -> tuple[list[Message], list[bytes]]:
        fitting: list[tuple[Message, bytes]] = []
        for message, line in zip(messages, lines, strict=True):
            if len(line) <= self._max_bytes:
                fitting.append((message, line))
            else:
                text = f"{len(line)} bytes encoded, the limit is {self._max_bytes}"
                self._refuse(message, "too_large", text)
        return [message for message, _ in fitting], [line for _, line in fitting]

    def _refuse(self, message: Message, reason: str, text: str) -> None:
        stage: Stage = "DECODE" if reason in _DECODE_REASONS else "PUT"
        self.refusals.append(Refusal(message, reason, text, stage))


# ---- values ------------------------------------------------------------------------------------------


def _read_all(route: CompiledRoute, messages: list[Message]) -> list[str] | list[Raw]:
    """All values of a run at once; raises if any of them may need a closer look."""
    values = [message.value() or b"" for message in messages]
    if not all(values):
        raise InvalidEvent("blank", "a null or empty value")
    if route.value == "json":
        return [_read_json(route, value) for value in values]
    if any(map(_ends_in_lf, values)):
        return [_read_text(route, value) for value in values]
    texts = [value.decode() for value in values]
    if any(map(str.isspace, texts)):
        raise InvalidEvent("blank", "a value that may be blank")
    return texts


def _read(route: CompiledRoute, value: bytes) -> str | Raw:
    return _read_json(route, value) if route.value == "json" else _read_text(route, value)


def _read_json(route: CompiledRoute, value: bytes) -> Raw:
    return Raw(check_json_value(_valid(route, value)))


def _read_text(route: CompiledRoute, value: bytes) -> str:
    """Text without one trailing line end."""
    try:
        text = value.decode(errors="replace" if route.replaces_invalid else "strict")
    except UnicodeDecodeError as error:
        raise InvalidEvent("undecodable", f"not UTF-8: {error.reason} at byte {error.start}") from None
    text = text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
    if not text.strip(BLANK):
        raise InvalidEvent("blank", "the value is empty or white space only")
    return text


def _valid(route: CompiledRoute, value: bytes) -> bytes:
    return value.decode(errors="replace").encode() if route.replaces_invalid else value


def _query(metadata: dict[str, str]) -> str:
    """The raw endpoint's metadata; sorted, so that equal metadata shares batches."""
    return urlencode(sorted(metadata.items()))


# ---- rows --------------------------------------------------------------------------------------------


def _constant_rows(route: CompiledRoute, messages: list[Message], values: Sequence[str | Raw]) -> list[_Row]:
    """Rows of a route whose records differ in value, time and provenance alone."""
    get = route.metadata.get
    host, source = get("host", UNSET), get("source", UNSET)
    sourcetype, index = get("sourcetype", UNSET), get("index", UNSET)
    fields: Iterable[Any]
    if route.adds_provenance and not route.fields:
        topic = route.topic
        fields = [_Provenance(topic, m.partition(), m.offset()) for m in messages]
    elif route.adds_provenance:
        fields = [route.fields_of(Record(message)) for message in messages]
    else:
        fields = [route.fields or UNSET] * len(messages)
    times: Iterable[float | UnsetType] = [UNSET] * len(messages)
    if route.time == "record":
        times = [ms / 1000 if kind and ms >= 0 else UNSET for kind, ms in map(Message.timestamp, messages)]
    return [
        _Row(time, host, source, sourcetype, index, one, value)
        for time, one, value in zip(times, fields, values, strict=True)
    ]


def _row(route: CompiledRoute, message: Message, value: bytes) -> _Row:
    """The row of one record, whatever its route.

    Raises:
        InvalidEvent: The record cannot be indexed as it is.
    """
    record = Record(message)
    ready = _read_ready(check_envelope(_valid(route, value))) if route.value == "envelope" else None
    event = _read(route, value) if ready is None else ready.event
    own_time = UNSET if ready is None else ready.time
    time = _time(route, record) if own_time is UNSET else own_time
    row = _Row(time, **route.metadata_of(record), fields=route.fields_of(record) or UNSET, event=event)
    return row if ready is None else _with_own_keys(row, ready)


def _with_own_keys(row: _Row, ready: _Ready) -> _Row:
    """The envelope's keys win over the route's, its fields one by one."""
    for name in ("host", "source", "sourcetype", "index"):
        own = getattr(ready, name)
        if own is not UNSET:
            setattr(row, name, own)
    if ready.fields is not UNSET:
        row.fields = (row.fields or {}) | ready.fields
    return row


def _time(route: CompiledRoute, record: Record) -> float | Raw | UnsetType:
    if route.time == "none":
        return UNSET
    found = record.find(route.time) if isinstance(route.time, Ref) else None
    if found is not None:
        return Raw(fixed_time(found).encode())
    kind, ms = record.message.timestamp()
    return ms / 1000 if kind and ms >= 0 else UNSET
