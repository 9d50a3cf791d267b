"""What became of every record, in arrays by partition: millions of them in some dozens of megabytes.

Reads the producer's log, the journals and the dead letters, and finds what is wrong with single events (E2,
E9, E10). Not for what follows from all of them together (`checker`), nor for causes (`causes`).
"""

from __future__ import annotations

from array import array
from collections import Counter
from typing import TYPE_CHECKING

from . import files
from .files import BAD_INDEX, GOOD, KINDS, NO_UID, Indexed, Letter, Place, Produced, digest, key_of
from .members import MAIN_INDEX, SIDE, SIDE_INDEX

if TYPE_CHECKING:
    from pathlib import Path

    from .findings import Findings

ABSENT = 0
CUT_REFUSAL = "refused_by_proxy"
LATENCY_STEP_MS, LATENCY_STEPS = 20, 30_000


class Partition:
    """The records of one partition, by offset.

    Attributes:
        kind: 1 + the place in KINDS; 0: not produced.
        uid: The producer's number.
        digest: The first 8 bytes of the value's SHA-256.
        stamp: The record's own time (ms).
        resolved: When it was first indexed or dead-lettered (ms); 0: never.
        owner: Number of the launch that indexed it first; 0: not indexed.
        letters: How many dead letters it has.
        extras: Offsets of all further copies, in the order of the journals.
        extra_launches: The launch number of each of them.
        extra_moments: When each of them was indexed (ms).
    """

    def __init__(self) -> None:
        self.kind = bytearray()
        self.uid = array("q")
        self.digest = array("Q")
        self.stamp = array("q")
        self.resolved = array("q")
        self.owner = array("H")
        self.letters = bytearray()
        self.extras = array("q")
        self.extra_launches = array("H")
        self.extra_moments = array("q")

    def __len__(self) -> int:
        return len(self.kind)

    def grow(self, size: int) -> None:
        """Make room for offsets below `size`."""
        more = size - len(self.kind)
        if more > 0:
            more += size // 4 + 1024
            for table in (self.kind, self.letters):
                table.extend(bytes(more))
            for wide in (self.uid, self.digest, self.stamp, self.resolved, self.owner):
                wide.frombytes(bytes(more * wide.itemsize))

    def has(self, offset: int) -> bool:
        """Whether such a record was produced."""
        return 0 <= offset < len(self.kind) and self.kind[offset] != ABSENT

    def add_extra(self, offset: int, launch: int, at_ms: int) -> None:
        """A copy beyond the first."""
        self.extras.append(offset)
        self.extra_launches.append(launch)
        self.extra_moments.append(at_ms)

    def resolve(self, offset: int, at_ms: int) -> None:
        """It was indexed or dead-lettered at this time."""
        before = self.resolved[offset]
        if not before or at_ms < before:
            self.resolved[offset] = at_ms


class Tables:
    """All partitions.

    Attributes:
        launches: The number of each launch that indexed something, from 1.
        latency: Records by the time from their stamp to their first indexing, in steps of 20 ms.
        first_received: When each launch's first event was received (ms).
        extras_by_s: Duplicates by the second of their indexing.
        taken_by_s: Copies by the number of their launch and the second of their indexing.
        inversions: First copies that were indexed after one of a higher offset.
    """

    def __init__(self) -> None:
        self.partitions: dict[Place, Partition] = {}
        self.launches: dict[str, int] = {}
        self.unsure: set[int] = set()
        self.produced: Counter[str] = Counter()
        self.indexed = self.letters = self.inversions = 0
        self.latency = array("Q", bytes(8 * LATENCY_STEPS))
        self.first_received: dict[str, int] = {}
        self.extras_by_s: Counter[int] = Counter()
        self.taken_by_s: Counter[tuple[int, int]] = Counter()
        self._highest: dict[Place, int] = {}

    # -- reading ---------------------------------------------------------------------------------------

    def read(self, folder: Path, findings: Findings) -> None:
        """All logs that tell of records."""
        for one in files.produced(folder):
            self.add_produced(one)
        for path in sorted(folder.glob(files.JOURNALS)):
            for event in files.journal(path):
                self.add_indexed(event, findings)
            self._highest.clear()
        for letter in files.letters(folder):
            self.add_letter(letter, findings)

    def add_produced(self, one: Produced) -> None:
        """A delivery report."""
        if one.offset < 0:
            self.unsure.add(one.uid)
            return
        partition = self.partitions.setdefault((one.topic, one.partition), Partition())
        at = one.offset
        partition.grow(at + 1)
        partition.kind[at] = 1 + KINDS.index(one.kind)
        partition.uid[at] = one.uid
        partition.digest[at] = _short(one.sha256)
        partition.stamp[at] = one.stamp_ms
        self.produced[one.kind] += 1

    def add_indexed(self, event: Indexed, findings: Findings) -> None:
        """A line of a journal."""
        self.indexed += 1
        fields = event.fields
        place, offset = (fields.kafka_topic, fields.kafka_partition), fields.kafka_offset
        partition = self.partitions.get(place)
        if partition is None or not partition.has(offset):
            if int(fields.uid or NO_UID) not in self.unsure:
                findings.violate("E2", f"{_shown(place, offset)} is indexed and was never produced")
            return
        if (wrong := _wrong_in(event, partition, offset)) is not None:
            findings.violate("E9", f"{_shown(place, offset)}: {wrong}")
        launch = self.launches.setdefault(fields.launch, len(self.launches) + 1)
        durable_ms, received_ms = int(event.durable * 1000), int(event.received * 1000)
        if received_ms < self.first_received.get(fields.launch, received_ms + 1):
            self.first_received[fields.launch] = received_ms
        self.taken_by_s[launch, durable_ms // 1000] += 1
        if partition.owner[offset]:
            partition.add_extra(offset, launch, durable_ms)
            self.extras_by_s[durable_ms // 1000] += 1
        else:
            partition.owner[offset] = launch
            step = max(0, durable_ms - partition.stamp[offset]) // LATENCY_STEP_MS
            self.latency[min(step, LATENCY_STEPS - 1)] += 1
            highest = self._highest.get(place, -1)
            self.inversions += offset < highest
            self._highest[place] = max(offset, highest)
        partition.resolve(offset, durable_ms)

    def add_letter(self, letter: Letter, findings: Findings) -> None:
        """A dead letter."""
        self.letters += 1
        place, offset = (letter.topic, letter.partition), letter.offset
        partition = self.partitions.get(place)
        if partition is None or not partition.has(offset):
            if int(dict(letter.headers).get("uid", NO_UID)) not in self.unsure:
                findings.violate("E2", f"{_shown(place, offset)} is dead-lettered and was never produced")
            return
        if (wrong := _wrong_in_letter(letter, partition, offset)) is not None:
            findings.violate("E10", f"{_shown(place, offset)}: {wrong}")
        partition.letters[offset] = min(255, partition.letters[offset] + 1)
        partition.resolve(offset, letter.at_ms)

    # -- figures ---------------------------------------------------------------------------------------

    def latency_s(self, share: float) -> float:
        """The time from a record's stamp to its indexing that this share of the records was within."""
        wanted, seen = share * sum(self.latency), 0
        for step, count in enumerate(self.latency):
            seen += count
            if seen >= wanted:
                return (step + 1) * LATENCY_STEP_MS / 1000
        return 0.0

    def indexed_by(self, launch: str, since_ms: int, until_ms: int) -> int:
        """How many copies of its a launch had indexed in this time."""
        number = self.launches.get(launch, 0)
        first, last = since_ms // 1000, until_ms // 1000
        return sum(
            count
            for (by, second), count in self.taken_by_s.items()
            if by == number and first <= second <= last
        )

    @property
    def duplicates(self) -> int:
        """Copies beyond the first."""
        return sum(len(partition.extras) for partition in self.partitions.values())


def _wrong_in(event: Indexed, partition: Partition, offset: int) -> str | None:
    fields = event.fields
    if not isinstance(event.event, str) or _short(digest(event.event.encode())) != partition.digest[offset]:
        return "the payload is another"
    if fields.uid != str(partition.uid[offset]):
        return f"uid {fields.uid} instead of {partition.uid[offset]}"
    if abs(event.time * 1000 - partition.stamp[offset]) >= 1:
        return f"time {event.time} instead of {partition.stamp[offset] / 1000}"
    wanted = (index_of(fields.kafka_topic), f"kafka:{fields.kafka_topic}", "chaos")
    found = (event.index, event.source, event.sourcetype)
    return None if found == wanted else f"index, source, sourcetype are {found}"


def _wrong_in_letter(letter: Letter, partition: Partition, offset: int) -> str | None:
    uid = partition.uid[offset]
    kind = KINDS[partition.kind[offset] - 1]
    headers = letter.headers
    if _short(letter.sha256) != partition.digest[offset] or letter.key != key_of(uid).decode():
        return "key or value is another"
    if [name for name, _ in headers] != ["uid", "index"] or headers[0][1] != str(uid):
        return f"its own headers are {headers}"
    if letter.stamp_ms != partition.stamp[offset]:
        return f"its time was {letter.stamp_ms}, not {partition.stamp[offset]}"
    if kind == GOOD:
        return f"a good record is dead-lettered as {letter.reason}"
    # What Splunk refuses looks like a proxy's refusal when the reply is cut in its headers, twice.
    is_right = letter.reason == kind or (kind == BAD_INDEX and letter.reason == CUT_REFUSAL)
    return None if is_right else f"dead-lettered as {letter.reason} instead of {kind}"


def index_of(topic: str) -> str:
    """Where good records of a topic are indexed."""
    return SIDE_INDEX if topic == SIDE else MAIN_INDEX


def _short(sha256: str) -> int:
    return int(sha256[:16], 16)


def _shown(place: Place, offset: int) -> str:
    return f"{place[0]}/{place[1]}@{offset}"
