"""A settled map: what is settled beyond the committed offset, as text that fits into a commit's metadata.

Pure. Not for whether a map holds for what is read now (`commit_maps`). Guarantees: `decode` never raises, and
takes nothing but a whole text that `encode` wrote; `encode` never writes more than it may, and if not all
runs fit it keeps the longest, since they save the most (of equals the nearest).

    hec-kafka-sink/1 CLUSTER TOPIC-ID PARTITION BASE RUNS CHECK        separated by single spaces
    RUNS   base64url of varints. A run: how far it begins after the end of the run before it (the first:
           after BASE); 2 x (its length - 1), plus 1 if its leader epoch is another than that of the run
           before it (the first: than 0); and then by how much, zigzag
    CHECK  CRC-32 of all before it

Non-obvious: why a run may be skipped at all, gaps included. A commit says of every offset below it that
nobody needs it any more; a run says the same of its own offsets, and what was a gap when the run was written
(compacted, aborted, a transaction's marker) a commit would have passed over just so. So the one question is
whether an offset still means what it meant. Within one topic id and one leader epoch a log is written once,
by one leader, front to back, and nothing in it is ever replaced by something else. Truncated offsets are
written again under a later epoch, and a topic made anew has another id: a record whose topic id or leader
epoch differs is read.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from bisect import bisect_left
from heapq import nlargest
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_BYTES = 4095
"""Kafka's offset.metadata.max.bytes is 4,096 by default; the client sends a byte more than that (seen)."""
PREFIX = "hec-kafka-sink/1"
_LEAST_RUN_BYTES = 2
_LAST_OFFSET = 2**63 - 1
_LAST_LEADER_EPOCH = 2**31 - 1


class SettledRun(NamedTuple):
    """Offsets `first`…`last`, all settled, and all read under one leader epoch."""

    first: int
    last: int
    leader_epoch: int


class SettledMap(NamedTuple):
    """What is settled beyond `base`, the committed offset, of one partition of one topic of one cluster."""

    cluster: str
    topic_id: str
    partition: int
    base: int
    runs: tuple[SettledRun, ...]

    @property
    def last(self) -> int:
        """The last offset it tells of."""
        return self.runs[-1].last

    @property
    def offsets(self) -> int:
        """Of how many offsets it tells."""
        return sum(map(_length, self.runs))

    def within(self, first: int, last: int, leader_epoch: int) -> Iterator[tuple[int, int]]:
        """Which of the offsets `first`…`last`, read under this leader epoch, are settled; as ranges."""
        for run in self.runs[bisect_left(self.runs, first, key=_last) :]:
            if run.first > last:
                return
            if run.leader_epoch == leader_epoch:
                yield max(first, run.first), min(last, run.last)

    def beyond(self, offset: int) -> list[SettledRun]:
        """What it tells of this offset and those after it."""
        rest = self.runs[bisect_left(self.runs, offset, key=_last) :]
        return [run._replace(first=max(run.first, offset)) for run in rest]


def encode(found: SettledMap, most_bytes: int = MOST_BYTES) -> str:
    """A map as text.

    Args:
        found: The map; its runs in order, none before its base.
        most_bytes: Longest text. Runs that do not fit are left out, the shortest first.

    Returns:
        The text; empty if there is nothing to tell, or no room for it.
    """
    head = f"{PREFIX} {found.cluster} {found.topic_id} {found.partition} {found.base} "
    if len(head.split()) != 5 or not head.isascii():  # never seen: an id that could not be read again
        return ""
    room = max(0, most_bytes - len(head) - len(_closed(""))) * 3 // 4
    runs: Sequence[SettledRun] = found.runs
    if len(runs) > room // _LEAST_RUN_BYTES:
        runs = _longest(runs, room // _LEAST_RUN_BYTES)
    packed = _packed(found.base, runs)
    while len(packed) > room:
        runs = _longest(runs, min(len(runs) - 1, len(runs) * room // len(packed)))
        packed = _packed(found.base, runs)
    return _closed(head + urlsafe_b64encode(packed).decode().rstrip("=")) if packed else ""


def decode(text: str | None) -> SettledMap | None:
    """The map that a text stands for; None for anything that `encode` did not write so."""
    if not text or len(text) > MOST_BYTES or not text.isascii():
        return None
    body = text.rpartition(" ")[0]
    fields = body.split(" ")
    if _closed(body) != text or len(fields) != 6 or fields[0] != PREFIX:
        return None
    _, cluster, topic_id, partition, base, packed = fields
    if not (cluster and topic_id and _is_number(partition) and _is_number(base)):
        return None
    try:
        runs = tuple(_unpacked(int(base), b64decode(packed + "=" * (-len(packed) % 4), b"-_", validate=True)))
    except ValueError:
        return None
    return SettledMap(cluster, topic_id, int(partition), int(base), runs) if runs else None


def _last(run: SettledRun) -> int:
    return run.last


def _length(run: SettledRun) -> int:
    return run.last - run.first + 1


def _longest(runs: Sequence[SettledRun], count: int) -> list[SettledRun]:
    """So many of the runs, in their order."""
    return sorted(nlargest(max(0, count), runs, key=_length))


def _closed(body: str) -> str:
    return f"{body} {crc32(body.encode()):08x}"


def _is_number(text: str) -> bool:
    return text.isdigit() and len(text) <= len(str(_LAST_OFFSET)) and str(int(text)) == text


def _packed(base: int, runs: Sequence[SettledRun]) -> bytes:
    found = bytearray()
    at, leader_epoch = base, 0
    for run in runs:
        change = run.leader_epoch - leader_epoch
        _write(found, run.first - at)
        _write(found, 2 * (run.last - run.first) + bool(change))
        if change:
            _write(found, 2 * change if change > 0 else -2 * change - 1)
        at, leader_epoch = run.last + 1, run.leader_epoch
    return bytes(found)


def _write(found: bytearray, number: int) -> None:
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)


def _unpacked(base: int, packed: bytes) -> Iterator[SettledRun]:
    """The runs.

    Raises:
        ValueError: It is cut, or tells of what cannot be.
    """
    numbers = _numbers(packed)
    at, leader_epoch = base, 0
    for distance in numbers:
        length, is_other = divmod(next(numbers, -1), 2)
        change = next(numbers, 0) if is_other else 0
        leader_epoch += change // 2 if change % 2 == 0 else -(change + 1) // 2
        run = SettledRun(at + distance, at + distance + length, leader_epoch)
        is_whole = length >= 0 and bool(is_other) == bool(change)
        if not is_whole or run.last > _LAST_OFFSET or not 0 <= leader_epoch <= _LAST_LEADER_EPOCH:
            raise ValueError("no run")
        yield run
        at = run.last + 1


def _numbers(packed: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("cut")
