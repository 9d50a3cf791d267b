"""Kafka on a virtual clock: logs with gaps and retention, one group, and the topic of dead letters.

Not for what a client library adds (`sim_consumer`, `sim_producer`). Guarantees: what is here is
what an outside observer would read; nobody's word about it is taken. A log holds None where a transaction
marker or a compacted record was: an offset that no consumer ever sees.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from sim_group import Group

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
    """One partition."""

    def __init__(self) -> None:
        self.records: list[Record | None] = []
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

    def _committed(self, partition: int, before: int, offset: int) -> None:
        self.on_commit(partition, before, offset)  # who watches is known only later

    def hits(self, name: str) -> bool:
        """Whether an armed fault strikes now."""
        if self.armed[name] <= 0:
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
            self.places[record.uid] = (partition, log.end)
        log.records.append(record)

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
        record = self.logs[where[0]].records[where[1]]
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

    def __init__(self, topics: dict[str, Topic]) -> None:
        self.topics = topics
        self.controller_id = -1
        self.brokers: dict[int, None] = {}
