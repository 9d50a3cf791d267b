"""The files of a run: what stands in each line, and who writes it. Nothing here judges.

    produced.tsv    the producer: one line a delivery report
    hec-*/journal.jsonl   the HEC servers: one line an event that is durably indexed
    letters.jsonl   a third client: one line a dead letter
    samples.jsonl   an observer: committed offsets, ends of the partitions, what the sinks say of themselves
    commits.tsv     the same observer: every commit of the group, from __consumer_offsets
    wire.jsonl      the proxy: which ack id was told on which channel, which was asked
    events.jsonl    the nemesis: faults, starts and ends of processes, what the end was like
    sinks/*.log     the sinks' own logs, for the causes of duplicates

Times are milliseconds since 1970 by this machine's clock; the sinks' own clocks may be false.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRODUCED, LETTERS, SAMPLES = "produced.tsv", "letters.jsonl", "samples.jsonl"
COMMITS, WIRE, EVENTS = "commits.tsv", "wire.jsonl", "events.jsonl"
JOURNALS, SINKS = "hec-*/journal.jsonl", "sinks"
GOOD, UNDECODABLE, BLANK, TOO_LARGE, BAD_INDEX = "good", "undecodable", "blank", "too_large", "bad_index"
KINDS = (GOOD, UNDECODABLE, BLANK, TOO_LARGE, BAD_INDEX)
"""What is to become of a record: indexed, or dead-lettered with this reason."""

NO_UID = -1
Place = tuple[str, int]


def now_ms() -> int:
    """This machine's clock."""
    return time.time_ns() // 1_000_000


def digest(value: bytes) -> str:
    """SHA-256 of a value."""
    return hashlib.sha256(value).hexdigest()


def key_of(uid: int) -> bytes:
    """The key that the producer gives a record."""
    return b"key-%d" % (uid % 1_000)


class Produced(NamedTuple):
    """A record that the broker took. `offset` -1: it may have, its report said that nobody knows."""

    topic: str
    partition: int
    offset: int
    uid: int
    sha256: str
    stamp_ms: int
    kind: str

    def line(self) -> str:
        """As it stands in the file."""
        return "\t".join(map(str, self)) + "\n"


class Commit(NamedTuple):
    """What the group committed, and when the broker wrote it down."""

    at_ms: int
    topic: str
    partition: int
    offset: int

    def line(self) -> str:
        """As it stands in the file."""
        return "\t".join(map(str, self)) + "\n"


class Provenance(msgspec.Struct):
    """Indexed fields of an event."""

    kafka_topic: str
    kafka_partition: int
    kafka_offset: int
    launch: str
    uid: str = ""


class Indexed(msgspec.Struct):
    """A line of a journal."""

    index: str
    source: str
    sourcetype: str
    time: float
    fields: Provenance
    event: Any
    received: float
    durable: float


class Letter(msgspec.Struct, kw_only=True):
    """A dead letter, as a third client read it. `headers`: the original's, in their order."""

    at_ms: int
    topic: str
    partition: int
    offset: int
    reason: str
    key: str
    sha256: str
    headers: list[tuple[str, str]]
    stamp_ms: int


class Sample(msgspec.Struct, kw_only=True):
    """What an observer saw between `at_ms` and `until_ms`; offsets by topic and partition."""

    at_ms: int
    until_ms: int
    committed: dict[str, dict[int, int]] = {}
    ends: dict[str, dict[int, int]] = {}
    sinks: dict[str, dict[str, float]] = {}
    error: str = ""

    @property
    def lag(self) -> int | None:
        """Records not committed; None if the ends were not asked."""
        if not self.ends:
            return None
        return sum(
            end - self.committed.get(topic, {}).get(partition, 0)
            for topic, ends in self.ends.items()
            for partition, end in ends.items()
        )


class Log:
    """A file that grows a line at a time. Any thread."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, line: str) -> None:
        """Add a line, line end included."""
        with self._lock:
            self._file.write(line)

    def note(self, **values: Any) -> None:
        """Add a JSON line with the time."""
        with self._lock:
            self._file.write(json.dumps({"t": now_ms(), **values}) + "\n")
            self._file.flush()

    def add(self, item: msgspec.Struct) -> None:
        """Add a JSON line."""
        self.write(msgspec.json.encode(item).decode() + "\n")

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self._file.close()


def produced(folder: Path) -> Iterator[Produced]:
    """The producer's log."""
    with (folder / PRODUCED).open(encoding="utf-8") as file:
        for line in file:
            topic, partition, offset, uid, sha256, stamp, kind = line.rstrip("\n").split("\t")
            yield Produced(topic, int(partition), int(offset), int(uid), sha256, int(stamp), kind)


def commits(folder: Path) -> Iterator[Commit]:
    """The group's commits, in the order of the broker."""
    with (folder / COMMITS).open(encoding="utf-8") as file:
        for line in file:
            at, topic, partition, offset = line.rstrip("\n").split("\t")
            yield Commit(int(at), topic, int(partition), int(offset))


def journal(path: Path) -> Iterator[Indexed]:
    """What one HEC server indexed; the last line may be cut, as it is when its disk is full."""
    read = msgspec.json.Decoder(Indexed).decode
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield read(line)


def letters(folder: Path) -> Iterator[Letter]:
    """The dead letters."""
    return _json_lines(folder / LETTERS, Letter)


def samples(folder: Path) -> Iterator[Sample]:
    """The observer's samples."""
    return _json_lines(folder / SAMPLES, Sample)


def events(folder: Path) -> list[dict[str, Any]]:
    """The nemesis' log."""
    return list(_json_lines(folder / EVENTS, dict[str, Any]))


def wire(folder: Path) -> Iterator[dict[str, Any]]:
    """The proxy's log."""
    return _json_lines(folder / WIRE, dict[str, Any])


def _json_lines(path: Path, kind: Any) -> Iterator[Any]:
    read = msgspec.json.Decoder(kind).decode
    if path.exists():
        with path.open("rb") as file:
            yield from map(read, file)
