"""Kafka on a virtual clock: logs with gaps and retention, one group, and the topic of dead letters.

Not for what a client library adds (`sim_consumer`, `sim_producer`). Guarantees: what is here is
what an outside observer would read; nobody's word about it is taken. A log holds None where a transaction
marker or a compacted record was: an offset that no consumer ever sees. A topic made anew has another id; its
leader epochs begin at 0 again.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from sim_group import Group

from splunk_hec_kafka.settled_map import decode

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from sim_world import World

TOPIC = "logs"
LETTERS = "letters"
DAY_MS = 86_400_000
LETTERS_KEPT_MS = 7 * DAY_MS
NOW_MS = 1_700_000_000_000
"""Wall time at the start of a run; what matters is that old records are old."""

Headers = list[tuple[str, bytes | None]]


class Record(NamedTuple):
    """A record as it was produced."""

    uid: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


class Letter(NamedTuple):
    """A dead letter as it stands in its topic."""

    key: bytes | None
    value: bytes | None
    headers: Headers


class Log:
    """One partition.

    Attributes:
        records: What stands at each offset.
        leader_epochs: Under which leader it was written.
        leader_epoch: The present one.
        low: The first offset that is not deleted.
    """

    def __init__(self) -> None:
        self.records: list[Record | None] = []
        self.leader_epochs: list[int] = []
        self.leader_epoch = 0
        self.low = 0

    @property
    def end(self) -> int:
        """The offset that will be written next."""
        return len(self.records)


class Broker:
    """All of Kafka.

    Attributes:
        logs: The partitions of the topic that is read.
        letters: What stands in the dead-letter topic, by the uid of the original.
        read: How often each record was handed to a consumer.
        armed: Faults that hit so many of the next requests they concern.
        version: Changes whenever a log does.
        down_until: While the clock is below it, nothing is answered.
        cluster_id: Whose this is.
        topic_id: What the name of the topic stands for.
        retired: Records that nobody can read any more, through no fault of a sink.
        ghosts: What stood at offsets of a topic that is no more.
    """

    def __init__(self, world: World, protocol: str, rng: Random) -> None:
        self.world = world
        self.rng = rng
        self.logs: list[Log] = [Log() for _ in range(3)]
        self.on_commit: Callable[[int, int, int], None] = lambda _partition, _before, _after: None
        self.group = Group(protocol, rng, len(self.logs), self._committed)
        self.letters: dict[str, list[Letter]] = {}
        self.places: dict[str, tuple[int, int]] = {}
        self.read: Counter[str] = Counter()
        self.armed: Counter[str] = Counter()
        self.down_until = 0.0
        self.version = 0
        self.cluster_id = "cluster-0"
        self.topic_id = "topic-0"
        self.retired: set[str] = set()
        self.ghosts: dict[tuple[int, int], Record] = {}

    def _committed(self, partition: int, before: int, offset: int) -> None:
        self.on_commit(partition, before, offset)  # who watches is known only later

    def hits(self, name: str) -> bool:
        """Whether an armed fault strikes now."""
        if self.armed.get(name, 0) <= 0:  # a Counter makes its zeros slowly
            return False
        self.armed[name] -= 1
        self.world.fire(name)
        return True

    @property
    def is_down(self) -> bool:
        """Whether it answers nobody."""
        return self.world.now < self.down_until

    def produce(self, partition: int, record: Record | None) -> None:
        """Append to a partition; None is a marker."""
        log = self.logs[partition]
        self.version += 1
        if record is not None:
            uid = record.uid
            self.places[uid] = (partition, len(log.records))
            if uid not in self.read:
                self.read[uid] = 0
        log.records.append(record)
        log.leader_epochs.append(log.leader_epoch)

    def mapped(self, partition: int) -> set[int]:
        """The offsets that the committed map calls settled, if it holds for what stands there now."""
        given = decode(self.group.texts.get(partition))
        log, found = self.logs[partition], set[int]()
        here = (self.cluster_id, self.topic_id, partition, self.group.committed.get(partition))
        if given is not None and given[:4] == here:
            for first, last, leader_epoch in given.runs:
                found |= {
                    at for at in range(first, min(last + 1, log.end)) if log.leader_epochs[at] == leader_epoch
                }
        return found

    def mislabelled(self, partition: int, text: str, end: int) -> list[int]:
        """Records below `end` that a map names with another leader epoch than theirs."""
        given, log = decode(text), self.logs[partition]
        if given is None or (given.cluster, given.topic_id) != (self.cluster_id, self.topic_id):
            return []
        return [
            at
            for first, last, leader_epoch in given.runs
            for at in range(first, min(last + 1, end))
            if log.leader_epochs[at] != leader_epoch and log.records[at] is not None
        ]

    def add_partition(self) -> None:
        """The topic grows."""
        self.logs.append(Log())
        self.group.partitions = len(self.logs)
        self.group.rebalance(self.world.now)

    def expire(self, partition: int, low: int) -> None:
        """Retention deletes everything below an offset."""
        log = self.logs[partition]
        self.version += 1
        log.low = max(log.low, min(low, log.end))

    def write_letter(
        self, key: bytes | None, value: bytes | None, headers: Headers, kept_from_ms: int
    ) -> None:
        """A dead letter is on disk, unless retention takes it at once: an old timestamp is past its time."""
        named = dict(headers)
        where = (
            int(named["__connect.errors.partition"] or b""),
            int(named["__connect.errors.offset"] or b""),
        )
        records = self.logs[where[0]].records
        record = records[where[1]] if where[1] < len(records) else None
        if record is None or record.value != value:
            record = self.ghosts.get(where, record)
        uid = "nobody" if record is None else record.uid
        if kept_from_ms >= NOW_MS - LETTERS_KEPT_MS:
            self.letters.setdefault(uid, []).append(Letter(key, value, headers))
            self.world.tell("%s is a dead letter: %s", uid, (named.get("hec.reason") or b"?").decode())


class Topic:
    """A topic's metadata."""

    def __init__(self, partitions: dict[int, None]) -> None:
        self.partitions = partitions
        self.error = None


class Cluster:
    """A cluster's metadata; it names no controller, so nobody asks for settings."""

    def __init__(self, topics: dict[str, Topic], cluster_id: str = "") -> None:
        self.topics = topics
        self.cluster_id = cluster_id
        self.controller_id = -1
        self.brokers: dict[int, None] = {}
