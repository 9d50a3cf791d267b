"""Records → lines for HEC: the hot path of the sink.

Not for choosing routes (`routes`), batching or sending. Guarantees: bad input never raises, it becomes a
refusal with its reason; every record handed in comes out exactly once, as a line, a refusal or a skip; the
order within a partition is kept; every line is one line.
Non-obvious: records are taken by topic, and one C call encodes all lines of a topic. A record that is refused
is left out of that call, which costs the others nothing. LF inside text is escaped by JSON, and in JSON taken
as it is LF is replaced by a space (`_envelope`), so the encoded run can be split at LF.
"""

from __future__ import annotations

from itertools import compress, groupby, repeat
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlencode

import msgspec
from confluent_kafka import Message
from msgspec import UNSET, Raw, UnsetType

from splunk_hec._block import Block
from splunk_hec._envelope import check_envelope
from splunk_hec._times import fixed_time
from splunk_hec.errors import InvalidEvent
from splunk_hec_kafka.config_tree import DESCRIBED
from splunk_hec_kafka.encoded import Encoded, Refusal, Send, Skip
from splunk_hec_kafka.offsets import consecutive
from splunk_hec_kafka.originals import TAILS, Beside, Originals, tail_of
from splunk_hec_kafka.registry import RegistryAway
from splunk_hec_kafka.templates import Record, Ref
from splunk_hec_kafka.values import is_kept_by, read, read_all, read_text, valid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from splunk_hec_kafka.registry import SchemaReader
    from splunk_hec_kafka.routes import CompiledRoute, RouteTable

_DECODE_REASONS = ("undecodable", "invalid_event")
Stamp = tuple[int, int]


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

    def __init__(
        self, routes: RouteTable, *, event_max_bytes: int, schemas: SchemaReader | None = None
    ) -> None:
        """Encode by `routes`; a line longer than `event_max_bytes` is refused as `too_large`.

        Args:
            routes: All routes.
            event_max_bytes: The longest line.
            schemas: Decodes what needs a schema registry; None: no route does.
        """
        self._routes = routes
        self._schemas = schemas
        self._max_bytes = event_max_bytes

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """Encode a chunk.

        Args:
            messages: Records as consumed, without error events.

        Returns:
            Lines to send, refusals and skips. Never raises for what a record holds.
        """
        run = _Run(self._max_bytes)
        for topic, group in by_topic(messages).items():
            route = self._routes.for_topic(topic)
            if route.drops:
                run.skips += [Skip(message, "drop") for message in group]
                continue
            sent, values = run.without_tombstones(group)
            if route.value == "raw":
                run.take_raw(route, sent, values)
            elif route.value in DESCRIBED and self._schemas is not None:
                run.take_described(route, sent, values, self._schemas)
            elif route.is_constant and route.value != "envelope":
                run.take_alike(route, sent, values)
            else:
                run.take_one_by_one(route, sent, values)
        return Encoded(run.sends, run.refusals, run.skips, run.undecoded, run.fault)


def by_topic(messages: Sequence[Message]) -> dict[str, Sequence[Message]]:
    """Records by topic, their order within each kept; of one topic, as most chunks are, the very chunk."""
    topics = {at.topic for at, _, _ in consecutive(messages)}
    if len(topics) == 1:
        return {topics.pop(): messages}
    groups: dict[str, list[Message]] = {}
    for topic, neighbours in groupby(messages, Message.topic):
        groups.setdefault(topic or "", []).extend(neighbours)
    return {**groups}


class _Run:
    """The results of one chunk while they grow."""

    def __init__(self, max_bytes: int) -> None:
        self.sends: list[Send] = []
        self.refusals: list[Refusal] = []
        self.skips: list[Skip] = []
        self.undecoded: list[Message] = []
        self.fault = ""
        self._max_bytes = max_bytes

    def without_tombstones(self, messages: Sequence[Message]) -> tuple[Sequence[Message], list[bytes]]:
        """Skip the records without a value; returns the others, and their values."""
        values = list(map(Message.value, messages))
        if not all(values) and None in values:
            self.skips += [Skip(one, "tombstone") for one in messages if one.value() is None]
            messages = [one for one in messages if one.value() is not None]
            values = list(map(Message.value, messages))
        return messages, cast("list[bytes]", values)

    def take_alike(self, route: CompiledRoute, messages: Sequence[Message], values: list[bytes]) -> None:
        """Encode, all at once, records that differ in value, time and provenance alone."""
        events, kept, tails, refused = read_all(route, values)
        beside = Beside(messages, list(map(Message.timestamp, messages)), kept, tails)
        if refused:
            for at, (reason, text) in refused.items():
                self._refuse(messages[at], reason, text)
            fits = [at not in refused for at in range(len(values))]
            events, beside = list(compress(events, fits)), beside.only(fits)
        self._add_rows(route, _constant_rows(route, beside.messages, events, beside.stamps), beside)

    def take_one_by_one(self, route: CompiledRoute, messages: Sequence[Message], values: list[bytes]) -> None:
        """Encode records each of which may have metadata of its own."""
        rows: list[_Row] = []
        sent: list[Message] = []
        kept: dict[int, bytes] = {}
        tails = bytearray()
        for message, value in zip(messages, values, strict=True):
            try:
                row = _row(route, message, value)
            except InvalidEvent as error:
                self._refuse(message, error.reason, error.text)
                continue
            tail = tail_of(value) if route.value == "text" else 0
            if route.value == "envelope" or not is_kept_by(row.event, value, tail):
                kept[len(sent)] = value
            rows.append(row)
            sent.append(message)
            tails.append(tail)
        stamps = list(map(Message.timestamp, sent))
        self._add_rows(route, rows, Beside(sent, stamps, kept, bytes(tails) if any(tails) else b""))

    def take_described(
        self,
        route: CompiledRoute,
        messages: Sequence[Message],
        values: list[bytes],
        schemas: SchemaReader,
    ) -> None:
        """Decode one by one, until the registry is needed and away."""
        rows: list[_Row] = []
        sent: list[Message] = []
        kept: dict[int, bytes] = {}
        for at, (message, value) in enumerate(zip(messages, values, strict=True)):
            try:
                row = _row(route, message, schemas.decode(route.value, message))
            except InvalidEvent as error:
                self._refuse(message, error.reason, error.text)
            except RegistryAway as error:
                self.undecoded += messages[at:]
                self.fault = str(error)
                break
            else:
                kept[len(sent)] = value
                rows.append(row)
                sent.append(message)
        self._add_rows(route, rows, Beside(sent, list(map(Message.timestamp, sent)), kept))

    def take_raw(self, route: CompiledRoute, messages: Sequence[Message], values: list[bytes]) -> None:
        """Lines for the raw endpoint, apart by their metadata."""
        constant = _query(route.metadata)
        found: dict[str, tuple[list[Message], list[bytes], list[bytes]]] = {}
        for message, value in zip(messages, values, strict=True):
            try:
                line = read_text(route, value).encode()
            except InvalidEvent as error:
                self._refuse(message, error.reason, error.text)
                continue
            query = _query(route.metadata_of(Record(message))) if route.templates else constant
            sent, originals, lines = found.setdefault(query, ([], [], []))
            sent.append(message)
            originals.append(value)
            lines.append(line)
        for query, (sent, originals, lines) in found.items():
            tails = bytes(map(tail_of, originals))
            ends = map(TAILS.__getitem__, tails)
            kept = {
                at: value
                for at, (value, line, end) in enumerate(zip(originals, lines, ends, strict=True))
                if value != line + end
            }
            beside = Beside(sent, list(map(Message.timestamp, sent)), kept, tails if any(tails) else b"")
            self._add(route, query, Block.of(lines), beside)

    def _add_rows(self, route: CompiledRoute, rows: list[_Row], beside: Beside) -> None:
        if rows:
            written = _encode_lines(rows)
            block = Block(written, len(rows), end=len(written) - 1)
            # An envelope may have a time of its own.
            are_timed = route.time == "record" and route.value != "envelope"
            self._add(route, "", block, beside._replace(are_timed=are_timed))

    def _add(self, route: CompiledRoute, query: str, block: Block, beside: Beside) -> None:
        if block.size_bytes > self._max_bytes and max(map(len, block)) > self._max_bytes:
            fits = [len(line) <= self._max_bytes for line in block]
            for message, line in zip(beside.messages, block, strict=True):
                if len(line) > self._max_bytes:
                    text = f"{len(line)} bytes encoded, the limit is {self._max_bytes}"
                    self._refuse(message, "too_large", text)
            block, beside = Block.of(list(compress(block, fits))), beside.only(fits)
        if block:
            self.sends.append(Send(route.destination, query, block, Originals(route.value, beside)))

    def _refuse(self, message: Message, reason: str, text: str) -> None:
        stage: Literal["DECODE", "PUT"] = "DECODE" if reason in _DECODE_REASONS else "PUT"
        self.refusals.append(Refusal(message, reason, text, stage))


def _query(metadata: dict[str, str]) -> str:
    """The raw endpoint's metadata; sorted, so that equal metadata shares batches."""
    return urlencode(sorted(metadata.items()))


# ---- rows --------------------------------------------------------------------------------------------


def _constant_rows(
    route: CompiledRoute, messages: Sequence[Message], values: Sequence[str | Raw], stamps: Sequence[Stamp]
) -> list[_Row]:
    """Rows of a route whose records differ in value, time and provenance alone."""
    get = route.metadata.get
    host, source = get("host", UNSET), get("source", UNSET)
    sourcetype, index = get("sourcetype", UNSET), get("index", UNSET)
    times: Iterable[float | UnsetType] = repeat(UNSET)
    if route.time == "record":
        times = [ms / 1000 if kind and ms >= 0 else UNSET for kind, ms in stamps]
    if not route.adds_provenance:
        same = route.fields or UNSET
        return [
            _Row(time, host, source, sourcetype, index, same, value)
            for time, value in zip(times, values, strict=False)
        ]
    fields: Iterable[Any]
    if route.fields:
        fields = [route.fields_of(Record(message)) for message in messages]
    else:
        places = map(Message.partition, messages), map(Message.offset, messages)
        fields = map(_Provenance, repeat(route.topic), *places)
    return [
        _Row(time, host, source, sourcetype, index, one, value)
        for time, one, value in zip(times, fields, values, strict=False)
    ]


def _row(route: CompiledRoute, message: Message, value: bytes) -> _Row:
    """The row of one record, whatever its route.

    Raises:
        InvalidEvent: The record cannot be indexed as it is.
    """
    record = Record(message, value if route.value in DESCRIBED else None)
    ready = _read_ready(check_envelope(valid(route, value))) if route.value == "envelope" else None
    event = read(route, value) if ready is None else ready.event
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
