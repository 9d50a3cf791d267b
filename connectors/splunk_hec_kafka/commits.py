"""Commits of one group member: what the ledger allows, and nothing else.

Owned by the loop's thread. Not for assignments (`source`), which say when a commit must be waited for.
Guarantees: one asynchronous commit at a time; what is believed committed was confirmed by the broker.
With `commit_maps` each offset takes along what is settled beyond it; news of that alone are worth a commit
where it is the last (a revoke, an end), but nothing is promised by them.

Non-obvious: a commit is due every two seconds even if nothing changed: after a jump of the wall clock
librdkafka keeps delivering to a member that the group has dropped, and only a commit notices. And a
synchronous commit may take as long as the session time-out (45 s) while the coordinator is away, so it is for
rebalance callbacks alone, where nothing else is possible. There it lets an asynchronous one pass first:
librdkafka repeats a commit that the coordinator refused for a moment, behind whatever was sent since (seen:
200 is committed and told, then 100 arrives again), and its report cannot be had within a callback.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Position

from splunk_hec_kafka.offsets import OffsetLedger, TopicPartition
from splunk_hec_kafka.outside import THE_WORLD, Outside

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from splunk_hec_kafka.commit_maps import CommitMaps
    from splunk_hec_kafka.enquiries import Starts

log = logging.getLogger("splunk_hec_kafka")

REPORT_S = 30.0
"""After so long without its report an asynchronous commit is taken for lost."""
REPEATS_S = 1.0
"""So long after it was sent an asynchronous commit may still be repeated (twice, after 0.1 and 0.2 s)."""
_TOO_LARGE = (
    KafkaError.OFFSET_METADATA_TOO_LARGE,
    KafkaError.INVALID_COMMIT_OFFSET_SIZE,
    KafkaError.UNKNOWN,
)
"""One map is too large, or all of a commit; of the latter Kafka 4.4 says no more than that it fails (seen).

librdkafka reports the first for every partition of a commit, those included that were committed (seen).
"""
AGAIN_S = 0.2
"""Least time between two of them: one that is refused at once must not become a storm."""


class Commits:
    """`on_report` is librdkafka's callback; the consumer it belongs to is handed to each call that asks.

    Attributes:
        committed: What the group holds of the assigned partitions, as far as this member knows.
        maps: What goes along with each offset; None: nothing.
    """

    def __init__(
        self, ledger: OffsetLedger, outside: Outside = THE_WORLD, maps: CommitMaps | None = None
    ) -> None:
        self._ledger = ledger
        self._outside = outside
        self.maps = maps
        self._is_pending = False
        self._began_at = float("-inf")
        self.committed: dict[TopicPartition, int] = {}
        self._texts: dict[TopicPartition, str] = {}  # the maps that the group holds

    def are_up_to_date(self, partitions: Iterable[TopicPartition] | None = None) -> bool:
        """Whether everything that may be committed is, of all or of some partitions."""
        return not self._due(partitions)

    def owe_a_map(self) -> bool:
        """Whether more is known to be settled than the maps tell that are committed."""
        return bool(self._owed(None))

    def begin(self, consumer: Consumer, now: float) -> None:
        """Commit what the ledger allows, in the background; nothing while one is under way."""
        if now - self._began_at < (REPORT_S if self._is_pending else AGAIN_S):
            return
        offsets = self._ledger.committable()
        if not offsets:
            return
        self._began_at, self._is_pending = now, True
        try:
            consumer.commit(offsets=self._positions(offsets), asynchronous=True)
        except KafkaException as error:
            self._is_pending = False
            log.warning("commit of %s failed: %s; it is tried again", _told(offsets), error.args[0].str())

    def carry_out(self, consumer: Consumer, partitions: Iterable[TopicPartition], since: float) -> None:
        """Commit partitions that go, and wait for the broker's word; no older commit may follow.

        Args:
            consumer: Commits.
            partitions: Those that go.
            since: When the group said so. Then its coordinator was there, and what had been held up was sent.
        """
        due = self._owed(partitions) | self._due(partitions)
        if due and self._is_pending:
            passed_by = max(self._began_at, since) + REPEATS_S
            self._outside.sleep(max(0.0, passed_by - self._outside.clock()))
        self._commit(consumer, due)

    def pin(self, consumer: Consumer, starts: Mapping[TopicPartition, int]) -> None:
        """Commit where reading starts: the end of a partition must not be looked up a second time.

        Another member would find a later end, and what came in between would be read by nobody.
        """
        self._commit(consumer, starts)

    def on_report(self, error: KafkaError | None, partitions: list[Position]) -> None:
        """An asynchronous commit has ended. Called by librdkafka from within `consume`."""
        self._is_pending = False
        if error is not None:
            self._refuse_maps(error, partitions)
            which = {TopicPartition(one.topic, one.partition): one.offset for one in partitions}
            log.warning("commit of %s failed: %s; it is tried again", _told(which), error.str())
        else:
            self._note(partitions)

    def learn(self, starts: Starts) -> None:
        """The broker said what the group holds of partitions that come; nothing of them is fetched yet."""
        self.committed |= starts.known
        self._texts |= starts.texts
        if self.maps is not None:
            self.maps.begin(starts.known | starts.fresh, starts.texts)

    def distrust(self, at: TopicPartition) -> None:
        """What the partition holds may be something else now: what was known beyond its offset is void."""
        if self.maps is not None:
            self.maps.drop(at)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions went: what the group holds of them is another member's business."""
        for at in partitions:
            self.committed.pop(at, None)
            self._texts.pop(at, None)
            self.distrust(at)

    def _due(self, partitions: Iterable[TopicPartition] | None) -> dict[TopicPartition, int]:
        allowed = self._ledger.committable(partitions)
        return {at: offset for at, offset in allowed.items() if self.committed.get(at) != offset}

    def _owed(self, partitions: Iterable[TopicPartition] | None) -> dict[TopicPartition, int]:
        if self.maps is None:
            return {}
        allowed = self._ledger.committable(partitions)
        texts = self.maps.texts(allowed)
        return {
            at: offset for at, offset in allowed.items() if texts[at] and texts[at] != self._texts.get(at)
        }

    def _positions(self, offsets: Mapping[TopicPartition, int]) -> list[Position]:
        if self.maps is None:
            return positions_of(offsets)
        texts = self.maps.texts(offsets)
        return [Position(at.topic, at.partition, offset, texts[at]) for at, offset in offsets.items()]

    def _commit(self, consumer: Consumer, offsets: Mapping[TopicPartition, int]) -> None:
        if not offsets:
            return
        positions = self._positions(offsets)
        try:
            results = consumer.commit(offsets=positions, asynchronous=False)
        except KafkaException as error:
            if self._refuse_maps(error.args[0], positions):
                self._commit(consumer, offsets)  # each time fewer maps go along
                return
            why = error.args[0].str()
            log.warning("commit of %s failed: %s; what it covers is read again", _told(offsets), why)
        else:
            self._note(results or [])

    def _refuse_maps(self, error: KafkaError, positions: list[Position]) -> bool:
        """Whether maps were too large, and are not committed any more."""
        return self.maps is not None and error.code() in _TOO_LARGE and self.maps.refuse(positions)

    def _note(self, results: list[Position]) -> None:
        for result in results:
            at = TopicPartition(result.topic, result.partition)
            if result.error is not None:
                log.warning("commit of %s/%d failed: %s", at.topic, at.partition, result.error.str())
            elif result.offset >= 0:
                self.committed[at] = result.offset
                self._texts[at] = result.metadata or ""


def _told(offsets: Mapping[TopicPartition, int]) -> str:
    """Partitions and offsets, for a log line."""
    return ", ".join(f"{at.topic}/{at.partition}@{offset}" for at, offset in offsets.items())


def positions_of(offsets: Mapping[TopicPartition, int]) -> list[Position]:
    """Offsets as librdkafka takes them."""
    return [Position(at.topic, at.partition, offset) for at, offset in offsets.items()]
