"""The manifest of a batch: where its records came from, and what their envelopes do not hold of them.

Pure and immutable. Not for records that are never sent: those stay as they were consumed. Guarantees: each
record comes back exactly as it was consumed, byte for byte, for as long as it is not settled; nothing is read
again from the broker, since retention, compaction and permissions fail exactly when the only copy matters.

Non-obvious: a consumed Message of 512 B costs 851 B. Its value is in its envelope already, and that is soon
compressed; so what is kept is runs of offsets, keys and headers where there are any, and the times and the
few values that an envelope does not give back exactly. A small block kept for each chunk costs more than its
bytes: it lies between the records that come and go, and the allocator then walks through ever new memory.
"""

from __future__ import annotations

from array import array
from itertools import compress, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
from confluent_kafka import Message
from msgspec import Raw

from splunk_hec_kafka.headers import all_headers
from splunk_hec_kafka.offsets import Run, TopicPartition, consecutive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from splunk_hec_kafka.headers import Headers

STAMP_BYTES = 16
"""What the timestamp of one record costs that its line does not give back."""
RUN_BYTES = 170
CHUNK_BYTES = 600
"""What each run of offsets, and each chunk, costs beside that (measured: 721 for a chunk of one record)."""
LATEST_EXACT_MS = 2**50
"""From here on (the year 37647) thousandths of a second do not tell every millisecond."""
Reading = Literal["text", "json", "envelope", "raw", "avro", "protobuf", "json-schema"]


class Original:
    """One record, put together again."""

    __slots__ = ("_at", "_headers", "_key", "_offset", "_timestamp", "_value")

    def __init__(
        self,
        place: tuple[TopicPartition, int],
        timestamp: tuple[int, int],
        key: bytes | None,
        headers: Headers | None,
        value: bytes,
    ) -> None:
        self._at, self._offset = place
        self._timestamp = timestamp
        self._key = key
        self._headers = headers
        self._value = value

    def __repr__(self) -> str:
        return f"<Original {self._at.topic}/{self._at.partition}@{self._offset}>"

    def topic(self) -> str:
        """Its topic."""
        return self._at.topic

    def partition(self) -> int:
        """Its partition."""
        return self._at.partition

    def offset(self) -> int:
        """Its offset."""
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        """Kind of its timestamp, and milliseconds since 1970."""
        return self._timestamp

    def key(self) -> bytes | None:
        """Its key."""
        return self._key

    def value(self) -> bytes:
        """Its value."""
        return self._value

    def headers(self) -> Headers | None:
        """Its headers in order."""
        return self._headers

    def set_headers(self, headers: Headers, /) -> None:
        """Replace its headers."""
        self._headers = headers


Consumed = Message | Original
"""A record as it was consumed, or put together again."""
TAILS = (b"", b"\n", b"\r\n")
"""What a line leaves out at the end of a text."""


def tail_of(value: bytes) -> int:
    """Which of `TAILS` a text ends in."""
    return 0 if value[-1:] != b"\n" else 2 if value[-2:] == b"\r\n" else 1


class Beside(NamedTuple):
    """Records that are sent, and what is to be kept of them beside their lines.

    Attributes:
        messages: The records.
        stamps: Their timestamps.
        values: By position, the values that cannot be read back from their lines byte for byte.
        tails: For each, its place in `TAILS`; empty if all are the first.
        are_timed: Each line's time is its record's timestamp, for those that have one.
    """

    messages: Sequence[Message]
    stamps: Sequence[tuple[int, int]]
    values: Mapping[int, bytes]
    tails: bytes = b""
    are_timed: bool = False

    def only(self, fits: list[bool]) -> Beside:
        """Those that fit."""
        places = {old: new for new, old in enumerate(compress(range(len(fits)), fits))}
        return Beside(
            list(compress(self.messages, fits)),
            list(compress(self.stamps, fits)),
            {places[at]: value for at, value in self.values.items() if at in places},
            bytes(compress(self.tails, fits)),
            self.are_timed,
        )


class Originals:
    """What is kept of records of one topic that are sent. `held_bytes`: what that takes in memory."""

    __slots__ = (
        "_count",
        "_headers",
        "_keys",
        "_kind",
        "_kinds",
        "_milliseconds",
        "_read",
        "_runs",
        "_tails",
        "_values",
        "held_bytes",
    )

    def __init__(
        self,
        reading: Reading,
        beside: Beside,
    ) -> None:
        """Take down what their lines do not hold.

        Args:
            reading: How their values became lines.
            beside: The records, at least one, all of one topic.
        """
        messages, stamps, values = beside.messages, beside.stamps, beside.values
        self._runs = consecutive(messages)
        self._count = len(messages)
        self._kind = _kind_of_all(stamps) if beside.are_timed else 0
        self._kinds, self._milliseconds = b"", _NO_TIMES
        if not self._kind:
            self._kinds = bytes(map(itemgetter(0), stamps))
            self._milliseconds = array("q", map(itemgetter(1), stamps))
        keys = list(map(Message.key, messages))
        self._keys = keys if any(key is not None for key in set(keys)) else None
        self._headers = all_headers(messages)
        self._values = values
        self._tails = beside.tails
        self._read = _READ[reading]
        self.held_bytes = CHUNK_BYTES + RUN_BYTES * len(self._runs) + STAMP_BYTES * len(self._kinds)
        if self._keys is not None:
            self.held_bytes += sum([33 + len(key) for key in self._keys if key is not None])
        if self._headers is not None:
            self.held_bytes += sum(map(_size_of, self._headers))
        if values:
            self.held_bytes += sum(100 + len(value) for value in values.values())

    def __len__(self) -> int:
        return self._count

    def runs(self, start: int, stop: int) -> Iterator[tuple[TopicPartition, int, int]]:
        """Some of the records as runs of strictly consecutive offsets: partition, first and last."""
        index = 0
        for at, first, last in self._runs:
            low, high = max(start, index), min(stop, index + last - first + 1)
            if low < high:
                yield at, first + low - index, first + high - 1 - index
            index += last - first + 1

    def each(self, start: int, stop: int, lines: Iterable[bytes]) -> Iterator[Original]:
        """Some of the records as they were, put together from their lines."""
        runs = self.runs(start, stop)
        places = ((at, offset) for at, first, last in runs for offset in range(first, last + 1))
        for index, place, line in zip(range(start, stop), places, lines, strict=True):
            value = self._values.get(index)
            yield Original(
                place,
                self._stamp_of(index, line),
                None if self._keys is None else self._keys[index],
                None if self._headers is None else self._headers[index],
                self._read(line) + self._tail_of(index) if value is None else value,
            )

    def headers(self, start: int, stop: int) -> Iterator[Headers]:
        """The headers of those among some of the records that have any."""
        return (one for one in (self._headers or [])[start:stop] if one)

    def _stamp_of(self, index: int, line: bytes) -> tuple[int, int]:
        if self._kind:
            return self._kind, round(float(line[len(_TIME) : line.index(b",")]) * 1000)
        return self._kinds[index], self._milliseconds[index]

    def _tail_of(self, index: int) -> bytes:
        return TAILS[self._tails[index]] if self._tails else b""


class _Part(NamedTuple):
    """A stretch of originals, and the epochs of their partitions when they were consumed."""

    originals: Originals
    epochs: dict[TopicPartition, int]
    start: int
    stop: int


class Records:
    """The manifest: records in the order of the envelopes. Immutable."""

    __slots__ = ("_count", "parts")

    def __init__(self, parts: list[_Part]) -> None:
        self.parts = parts
        self._count = sum(part.stop - part.start for part in parts)

    @classmethod
    def of(cls, originals: Originals, epochs: dict[TopicPartition, int]) -> Records:
        """All of one chunk.

        Args:
            originals: The records.
            epochs: The assignment epochs of their partitions, as they were when these were consumed.
        """
        return cls([_Part(originals, epochs, 0, len(originals))])

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: slice) -> Records:
        start, stop, _ = index.indices(self._count)
        parts: list[_Part] = []
        at = 0
        for part in self.parts:
            size = part.stop - part.start
            low, high = max(0, start - at), min(size, stop - at)
            if low < high:
                parts.append(part._replace(start=part.start + low, stop=part.start + high))
            at += size
        return Records(parts)

    @classmethod
    def join(cls, manifests: list[Records]) -> Records:
        """One manifest of those that a batch was gathered from."""
        return cls([part for manifest in manifests for part in manifest.parts])

    def each(self, lines: Iterable[bytes]) -> Iterator[tuple[Original, Run]]:
        """Every record as it was, with its run of one.

        Args:
            lines: Their envelopes, in order.
        """
        unread = iter(lines)
        for originals, epochs, start, stop in self.parts:
            for one in originals.each(start, stop, islice(unread, stop - start)):
                at = TopicPartition(one.topic(), one.partition())
                yield one, Run(at, epochs[at], one.offset(), one.offset())

    def runs(self) -> list[Run]:
        """The records as runs, in their order; a gap in the offsets ends a run."""
        return [
            Run(at, epochs[at], first, last)
            for originals, epochs, start, stop in self.parts
            for at, first, last in originals.runs(start, stop)
        ]

    def headers(self, at_most: int) -> Iterator[Headers]:
        """The headers of the first so many records that have any."""
        each = (one for part in self.parts for one in part.originals.headers(part.start, part.stop))
        return islice(each, at_most)

    def places(self) -> str:
        """The runs for a log line, as `topic/partition@first-last`."""
        return ", ".join(f"{run.at.topic}/{run.at.partition}@{run.first}-{run.last}" for run in self.runs())


class _Text(msgspec.Struct):
    event: str


class _Json(msgspec.Struct):
    event: Raw


_NO_TIMES = array("q")
_TIME = b'{"time":'
"""How a line with a time begins. Not read as JSON: the event behind it may be nested too deep for that."""
_read_text = msgspec.json.Decoder(_Text).decode
_read_json = msgspec.json.Decoder(_Json).decode


def _kind_of_all(stamps: Sequence[tuple[int, int]]) -> int:
    """The kind that all have, if each time can be read back from a line; otherwise 0."""
    kinds = {kind if 0 <= ms < LATEST_EXACT_MS else 0 for kind, ms in stamps}
    return kinds.pop() if len(kinds) == 1 else 0


def _never(line: bytes) -> bytes:
    raise AssertionError(f"the original of a line of {len(line)} bytes was not kept")


_READ: dict[Reading, Callable[[bytes], bytes]] = {
    "text": lambda line: _read_text(line).event.encode(),
    "json": lambda line: bytes(_read_json(line).event),
    "raw": lambda line: line,
    "envelope": _never,
    "avro": _never,
    "protobuf": _never,
    "json-schema": _never,
}


def _size_of(headers: Headers) -> int:
    size = 56
    for name, value in headers:
        size += 160 + len(name) + len(value or b"")
    return size
