"""Which offset may be committed: the ledger of open records.

Pure; owned by the loop's thread. Not for talking to Kafka (`source`). Guarantee: `committable` never passes
a record that is open, whatever the order in which records settle.

    a record    seen ─open→ open ─settle→ settled        (skipped ones settle at once)
    a partition assigned (a new epoch) → revoked or lost (what comes later for that epoch is fenced)

Non-obvious: a group member *can* commit partitions it no longer owns, since the coordinator checks member and
generation but not ownership; so fencing late acknowledgements is ours, by epoch. Offsets that were never seen
between two records (compaction, transaction markers) count as settled, and at the end of a partition the
end offset itself is committable, or the lag of a transactional topic would never reach 0.

Leader epochs are kept only when asked for. They never fall within a log, so the first and the last record of
consecutive ones tell them all: no record in between is looked at.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from confluent_kafka import Message

from splunk_hec_kafka.settled_map import SettledRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from splunk_hec_kafka.originals import Consumed


class TopicPartition(NamedTuple):
    """A partition's name."""

    topic: str
    partition: int


class Run(NamedTuple):
    """Strictly consecutive offsets `first`…`last` of one partition in one assignment."""

    at: TopicPartition
    epoch: int
    first: int
    last: int


# A consumed record has all three; the client's types also think of records that were not sent yet.
_offset_of = cast("Callable[[Message], int]", Message.offset)
_partition_of = cast("Callable[[Message], int]", Message.partition)
_topic_of = cast("Callable[[Message], str]", Message.topic)


def place(message: Consumed) -> tuple[TopicPartition, int]:
    """Where a consumed record stands: its partition and offset."""
    return TopicPartition(message.topic() or "", message.partition() or 0), message.offset() or 0


class Chunk(list[Message]):
    """Consumed records that remember their runs; never changed, parts of it are plain lists."""

    __slots__ = ("_runs",)

    @property
    def runs(self) -> list[tuple[TopicPartition, int, int]]:
        """What `consecutive` finds, looked for once."""
        try:
            return self._runs
        except AttributeError:
            self._runs: list[tuple[TopicPartition, int, int]] = _consecutive(self)
            return self._runs


def consecutive(messages: Sequence[Message]) -> list[tuple[TopicPartition, int, int]]:
    """Consumed records as (partition, first, last) of strictly consecutive offsets, in their order."""
    return messages.runs if isinstance(messages, Chunk) else _consecutive(messages)


def _consecutive(messages: Sequence[Message]) -> list[tuple[TopicPartition, int, int]]:
    offsets = list(map(_offset_of, messages))
    partitions = list(map(_partition_of, messages))
    topics = list(map(_topic_of, messages))
    places: list[Any] = partitions if len(set(topics)) < 2 else list(zip(topics, partitions, strict=True))
    found: list[tuple[TopicPartition, int, int]] = []
    start, total = 0, len(offsets)
    while start < total:
        stop = _run_end(places, offsets, start)
        at = TopicPartition(topics[start], partitions[start])
        found.append((at, offsets[start], offsets[stop - 1]))
        start = stop
    return found


def _run_end(places: list[Any], offsets: list[int], start: int) -> int:
    """Where a run that begins at `start` ends: by halving, since most chunks are a few long runs."""
    place, shift = places[start], offsets[start] - start

    def is_beyond(index: int) -> bool:
        return places[index] != place or offsets[index] - index != shift

    stop = len(offsets)
    while True:
        # What halving finds is a run unless another stands inside it that ends where this one would go on.
        stop = bisect_left(range(stop), True, start + 1, key=is_beyond)
        if _is_run(places, offsets, start, stop):
            return stop
        stop -= 1


def _is_run(places: list[Any], offsets: list[int], start: int, stop: int) -> bool:
    first, count = offsets[start], stop - start
    return (
        offsets[stop - 1] == first + count - 1
        and places[stop - 1] == places[start]
        and places[start:stop].count(places[start]) == count
        and offsets[start:stop] == list(range(first, first + count))
    )


def led(messages: Sequence[Message]) -> Iterator[tuple[TopicPartition, int, int, int]]:
    """Consumed records as `consecutive` gives them, each run with its one leader epoch; -1: not told."""
    index = 0
    for at, first, last in consecutive(messages):
        stop, begin = index + last - first + 1, first
        leader_epoch = _leader_epoch(messages[index])
        if leader_epoch != _leader_epoch(messages[stop - 1]):
            for offset, message in enumerate(messages[index:stop], first):
                if _leader_epoch(message) != leader_epoch:
                    yield at, begin, offset - 1, leader_epoch
                    begin, leader_epoch = offset, _leader_epoch(message)
        yield at, begin, last, leader_epoch
        index = stop


def _leader_epoch(message: Message) -> int:
    found = message.leader_epoch()
    return -1 if found is None else found


def shown(partitions: Iterable[TopicPartition], positions: Mapping[TopicPartition, int]) -> str:
    """Partitions for a log line, each with its next offset to read: `topic/partition@offset`."""
    each = (f"{at.topic}/{at.partition}@{positions.get(at, 'start')}" for at in partitions)
    return ", ".join(each) or "no partitions"


class _Open:
    """The open records of one partition, as disjoint runs in order. `seen`: the next offset to read."""

    def __init__(self, epoch: int, start: int | None) -> None:
        self.epoch = epoch
        self.seen = start
        self.firsts: list[int] = []
        self.lasts: list[int] = []
        self.opened: list[float] = []
        self.count = 0
        self.leaders: list[tuple[int, int]] = []  # from which offset on which leader epoch was told

    def open(self, first: int, last: int, now: float) -> None:
        if self.seen is not None and first < self.seen:
            raise AssertionError(f"offset {first} was seen before; the next is {self.seen}")
        self.firsts.append(first)
        self.lasts.append(last)
        self.opened.append(now)
        self.seen = last + 1
        self.count += last - first + 1

    def settle(self, first: int, last: int) -> None:
        """Close a range, all of it open; it may span several runs that were opened one after the other."""
        at = bisect_right(self.firsts, first) - 1
        if at < 0 or first > self.lasts[at]:
            raise AssertionError(f"offset {first} is not open")
        expected = self.count - (last - first + 1)
        while at < len(self.firsts) and self.firsts[at] <= last:
            start, end = self.firsts[at], self.lasts[at]
            low, high = max(first, start), min(last, end)
            self.count -= high - low + 1
            keep = [(start, low - 1), (high + 1, end)]
            keep = [(one, other) for one, other in keep if one <= other]
            self.firsts[at : at + 1] = [one for one, _ in keep]
            self.lasts[at : at + 1] = [other for _, other in keep]
            self.opened[at : at + 1] = [self.opened[at]] * len(keep)
            at += len(keep)
        if self.count != expected:
            raise AssertionError(f"of the offsets {first} to {last} not all were open")

    @property
    def committable(self) -> int | None:
        return self.firsts[0] if self.firsts else self.seen

    def led_by(self, first: int, leader_epoch: int) -> None:
        if not self.leaders or self.leaders[-1][1] != leader_epoch:
            self.leaders.append((first, leader_epoch))

    def settled_runs(self) -> Iterator[SettledRun]:
        """What lies settled behind the first open offset; a gap belongs to the leader epoch before it."""
        if self.seen is None or not self.firsts:
            return
        ends = [*self.firsts[1:], self.seen]
        for low, end in zip(self.lasts, ends, strict=True):
            at = low + 1
            while at < end:
                number = bisect_right(self.leaders, at, key=lambda leader: leader[0])
                stop = min(end, self.leaders[number][0]) if number < len(self.leaders) else end
                if number and self.leaders[number - 1][1] >= 0:
                    yield SettledRun(at, stop - 1, self.leaders[number - 1][1])
                at = stop


class OffsetLedger:
    """The open records of every assigned partition. Owned by the loop's thread.

    Attributes:
        epochs: The current assignment epoch of each assigned partition. Replaced, never changed in place, so
            that a chunk may keep the one it was consumed under.
        fenced: Records that settled for an assignment that is over.
    """

    def __init__(self, *, keeps_leaders: bool = False) -> None:
        """Without partitions.

        Args:
            keeps_leaders: Note the leader epochs of records, for `settled_runs`.
        """
        self.epochs: dict[TopicPartition, int] = {}
        self.fenced = 0
        self._open: dict[TopicPartition, _Open] = {}
        self._last_epoch = 0
        self._keeps_leaders = keeps_leaders

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{at.topic}/{at.partition} {one.committable}+{one.count}" for at, one in self._open.items()
        )
        return f"<OffsetLedger {shown}>"

    def assign(self, starts: Mapping[TopicPartition, int | None]) -> None:
        """Partitions came; each begins a new epoch. The values are where reading starts, None if unknown."""
        for at, start in starts.items():
            self._last_epoch += 1
            self._open[at] = _Open(self._last_epoch, start)
        self.epochs = {at: one.epoch for at, one in self._open.items()}

    def revoke(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions went: what settles for them from now on is fenced."""
        for at in partitions:
            self._open.pop(at, None)
        self.epochs = {at: one.epoch for at, one in self._open.items()}

    def open(self, messages: Sequence[Message], now: float) -> None:
        """Records were consumed: to be called before anything is done with them."""
        if not messages:
            return
        if self._keeps_leaders:
            for at, first, last, leader_epoch in led(messages):
                self._open[at].open(first, last, now)
                self._open[at].led_by(first, leader_epoch)
            return
        for at, first, last in consecutive(messages):
            self._open[at].open(first, last, now)

    def settle(self, run: Run) -> bool:
        """Records are indexed, dead-lettered or skipped. False: for an assignment that is over (fenced)."""
        one = self._open.get(run.at)
        if one is None or one.epoch != run.epoch:
            self.fenced += run.last - run.first + 1
            return False
        one.settle(run.first, run.last)
        return True

    def is_current(self, run: Run) -> bool:
        """Whether the run belongs to an assignment that still holds."""
        return self.epochs.get(run.at) == run.epoch

    def reached_end(self, at: TopicPartition, offset: int) -> None:
        """The partition has nothing more before `offset`; markers after the last record count as seen."""
        one = self._open.get(at)
        if one is not None and (one.seen is None or offset > one.seen):
            one.seen = offset

    def jump(self, at: TopicPartition, offset: int) -> None:
        """Reading goes on at `offset` because what stood before it is gone (retention); open records stay."""
        self.reached_end(at, offset)

    def committable(self, partitions: Iterable[TopicPartition] | None = None) -> dict[TopicPartition, int]:
        """The next offset to read after a restart, for each (given) partition where it is known."""
        chosen = self._open if partitions is None else partitions
        found = {at: self._open[at].committable for at in chosen if at in self._open}
        return {at: offset for at, offset in found.items() if offset is not None}

    def settled_runs(self, at: TopicPartition) -> list[SettledRun]:
        """What is settled of a partition beyond its committable offset, as far as leader epochs are known."""
        one = self._open.get(at)
        return list(one.settled_runs()) if one is not None else []

    def next_offset(self, at: TopicPartition) -> int | None:
        """The next offset to consume of a partition, where it is known."""
        one = self._open.get(at)
        return one.seen if one is not None else None

    def positions(self) -> dict[TopicPartition, int]:
        """The next offset to consume, where it is known."""
        return {at: one.seen for at, one in self._open.items() if one.seen is not None}

    def open_count(self, partitions: Iterable[TopicPartition] | None = None) -> int:
        """How many records are open, of all or of some partitions."""
        chosen = self._open if partitions is None else partitions
        return sum(self._open[at].count for at in chosen if at in self._open)

    def oldest_opened_at(self) -> float | None:
        """When the oldest open record was consumed; None if nothing is open."""
        return min((one.opened[0] for one in self._open.values() if one.opened), default=None)
