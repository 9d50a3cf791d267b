"""Which partitions a simulated consumer has, where it reads in each, and which of them are paused.

Not for records, callbacks or commits (`sim_consumer`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Position
from sim_broker import TOPIC

if TYPE_CHECKING:
    from sim_broker import Broker


class Positions:
    """The assignment of one consumer."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._positions: dict[int, int] = {}
        self._paused: set[int] = set()
        self._ends_told: set[int] = set()
        self._broken: set[int] = set()
        self._exhausted_at = -1
        self._has_acted = False

    def position(self, partition: int) -> int:
        """The next offset to fetch; 0 if it has none."""
        return self._positions.get(partition, 0)

    def assignment(self) -> list[Position]:
        """What it has."""
        return [Position(TOPIC, partition) for partition in sorted(self._positions)]

    def assign(self, partitions: list[Position]) -> None:
        """Replace the assignment."""
        self._positions = {}
        self.incremental_assign(partitions)

    def unassign(self) -> None:
        """Drop the assignment."""
        self._has_acted, self._positions = True, {}

    def incremental_assign(self, partitions: list[Position]) -> None:
        """Add to the assignment."""
        self._exhausted_at = -1
        self._has_acted = True
        for one in partitions:
            if one.partition in self._positions:
                raise KafkaException(KafkaError(KafkaError._CONFLICT))
            log = self.broker.logs[one.partition]
            self._positions[one.partition] = log.low if one.offset == OFFSET_BEGINNING else one.offset
            self._ends_told.discard(one.partition)
            self._broken.discard(one.partition)

    def incremental_unassign(self, partitions: list[Position]) -> None:
        """Take from the assignment."""
        self._has_acted = True
        for one in partitions:
            if one.partition not in self._positions:
                raise KafkaException(KafkaError(KafkaError._INVALID_ARG))
            del self._positions[one.partition]

    def pause(self, partitions: list[Position]) -> None:
        """Fetch no more of these; outlives the assignment."""
        self._paused |= {one.partition for one in partitions}

    def resume(self, partitions: list[Position]) -> None:
        """Fetch again."""
        self._exhausted_at = -1
        self._paused -= {one.partition for one in partitions}
