"""The Kafka side of the sink: one consumer, its assignments, its commits, its pauses.

Owned by the loop's thread; librdkafka calls back on it, from within `consume`, `commit_now` and `close`. Not
for what becomes of records. Guarantees: nothing is committed but what the ledger allows; one asynchronous
commit at a time; a partition without a commit starts where `kafka.start` says and nowhere else.

Non-obvious: pausing is dear, since it throws the prefetch away and each resume costs about a second; not
calling `consume` for a moment is free. And a commit is due every two seconds even if nothing changed: after a
jump of the wall clock librdkafka keeps delivering to a member that the group has dropped, and only a commit
notices.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Position

from splunk_hec.errors import ConfigError
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.kafka_properties import resolved
from splunk_hec_kafka.offsets import OffsetLedger, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from confluent_kafka import Message

    from splunk_hec_kafka.config import SinkConfig

log = logging.getLogger("splunk_hec_kafka")

ANSWER_S = 10.0
"""How long one question to the broker may take (offsets, watermarks, metadata)."""
COMMIT_REPORT_S = 30.0
"""After so long without its report an asynchronous commit is taken for lost."""
_TUNING = {
    # librdkafka waits this long before it fetches on after a queue was full; a consumer that drains its
    # queue in bursts starves on the default of 1,000 (measured: half the throughput).
    "fetch.queue.backoff.ms": "5",
    "fetch.wait.max.ms": "50",
    "queued.max.messages.kbytes": "65536",
}
_PROMISE = {
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    "enable.partition.eof": "true",
    "auto.offset.reset": "error",
}


def consumer_properties(config: SinkConfig) -> dict[str, Any]:
    """Librdkafka properties of the consumer.

    Raises:
        ConfigError: A secret's variable or file is missing.
    """
    own = resolved(config.kafka.properties)
    group = {"bootstrap.servers": config.kafka.bootstrap_servers, "group.id": config.kafka.group_id}
    return {"client.id": "hec-kafka-sink"} | _TUNING | own | group | _PROMISE


class KafkaSource:
    """One group member. `on_revoke` is asked to settle what it can before partitions go."""

    def __init__(
        self,
        config: SinkConfig,
        ledger: OffsetLedger,
        *,
        on_revoke: Callable[[list[TopicPartition]], None],
        on_lost_range: Callable[[TopicPartition, int, int], None],
        clock: Callable[[], float],
    ) -> None:
        """Make the consumer; it does not join its group before `subscribe`.

        Raises:
            ConfigError: librdkafka does not know a property, or not such a value.
        """
        self._config = config.kafka
        self._ledger = ledger
        self._on_revoke = on_revoke
        self._on_lost_range = on_lost_range
        self._clock = clock
        self._known_at_start: set[TopicPartition] = set()
        self._is_paused = False
        self._pending_commit: float | None = None
        self.committed: dict[TopicPartition, int] = {}
        self.failure: SinkFailure | None = None
        properties = consumer_properties(config)
        self.max_poll_interval_s = float(properties.get("max.poll.interval.ms", 300_000)) / 1000
        self._is_incremental = (
            "cooperative" in properties.get("partition.assignment.strategy", "")
            or properties.get("group.protocol", "").lower() == "consumer"
        )
        try:
            self._consumer = Consumer(
                properties | {"on_commit": self._on_commit, "error_cb": self._on_error}, logger=log
            )
        except KafkaException as error:
            raise ConfigError(f"kafka.properties: {error.args[0].str()}") from None

    # -- before and after ----------------------------------------------------------------------------

    def connect(self, timeout_s: float) -> dict[str, list[int]]:
        """Wait for a broker; returns the partitions of each matching topic.

        Raises:
            SinkFailure: No broker in time, or a topic that is named does not exist (exit 4).
        """
        try:
            metadata = self._consumer.list_topics(timeout=timeout_s)
        except KafkaException as error:
            raise SinkFailure(
                ExitCode.KAFKA,
                f"no broker answered at {self._config.bootstrap_servers}: {error.args[0].str()}",
                "check kafka.bootstrap_servers, the network, and security.protocol in kafka.properties",
            ) from None
        found = {
            name: sorted(topic.partitions)
            for name, topic in metadata.topics.items()
            if topic.error is None and matches(name, self._config.topics)
        }
        missing = [name for name in self._config.topics if not name.startswith("^") and name not in found]
        if missing:
            raise SinkFailure(
                ExitCode.KAFKA,
                f"the topic {missing[0]!r} does not exist, or this user may not describe it",
                "create it, or correct kafka.topics",
            )
        self._known_at_start = {TopicPartition(name, p) for name, ps in found.items() for p in ps}
        return found

    def end_offsets(self) -> dict[TopicPartition, tuple[int, int]]:
        """Low and end offset of every partition known at `connect`.

        Raises:
            SinkFailure: The broker does not say (exit 4).
        """
        return {at: self._watermarks(at) for at in sorted(self._known_at_start)}

    def subscribe(self) -> None:
        """Join the group."""
        self._consumer.subscribe(
            list(self._config.topics),
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )

    def close(self) -> None:
        """Leave the group; no commit happens here."""
        self._consumer.close()

    # -- records -------------------------------------------------------------------------------------

    def consume(self, count: int, timeout_s: float) -> list[Message]:
        """Records that arrived, opened in the ledger; serves callbacks, and deals with events itself.

        Raises:
            SinkFailure: Kafka failed for good.
        """
        messages = self._consumer.consume(count, timeout_s)
        records = [message for message in messages if message.error() is None]
        self._ledger.open(records, self._clock())
        if len(records) < len(messages):
            for message in messages:
                error = message.error()
                if error is not None:
                    self._on_event(message, error)
        if self.failure:
            raise self.failure
        return records

    def serve(self, timeout_s: float) -> None:
        """Serve callbacks only, once nothing is taken any more.

        A record that slips through is dropped unopened, so nothing past it is committed; and no end of a
        partition is noted either, since it could lie past such a record.

        Raises:
            SinkFailure: Kafka failed for good.
        """
        self._consumer.consume(1, timeout_s)
        if self.failure:
            raise self.failure

    def pause(self, *, is_paused: bool) -> None:
        """Stop or go on fetching, for all assigned partitions."""
        if is_paused is self._is_paused:
            return
        self._is_paused = is_paused
        self._apply_pause(self._consumer.assignment())

    def _apply_pause(self, partitions: list[Position]) -> None:
        # Said explicitly for every partition each time: one that was paused, revoked and assigned again
        # stays paused until somebody resumes it.
        if partitions:
            (self._consumer.pause if self._is_paused else self._consumer.resume)(partitions)

    def _on_event(self, message: Message, error: KafkaError) -> None:
        at = TopicPartition(message.topic() or "", message.partition() or 0)
        code = error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 -- librdkafka's own codes are named so
            self._ledger.reached_end(at, message.offset() or 0)
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001 -- as above
            self._out_of_range(at)
        elif (
            code in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)
            or error.fatal()
        ):
            self.failure = SinkFailure(
                ExitCode.KAFKA,
                f"Kafka refuses this consumer: {error.str()}",
                "grant READ on topics and group",
            )
        else:
            log.warning("kafka: %s", error.str())

    def _out_of_range(self, at: TopicPartition) -> None:
        """The position does not exist any more: say what is lost, and go on with what is left."""
        position = self._ledger.positions().get(at)
        low, high = self._watermarks(at)
        if self._config.start == "fail":
            self.failure = SinkFailure(
                ExitCode.KAFKA,
                f"offset {position} of {at.topic}/{at.partition} is out of range, the log is {low}…{high}",
                "reset the group's offsets, or set kafka.start",
            )
            return
        if position is not None and position < low:
            log.error("%s/%d: offsets %d to %d were deleted before they were read (retention): %d are lost",
                      at.topic, at.partition, position, low - 1, low - position)  # fmt: skip
            self._on_lost_range(at, position, low)
        elif position is not None:
            log.error("%s/%d: offset %d is beyond the end %d (was the topic recreated?); reading from %d",
                      at.topic, at.partition, position, high, low)  # fmt: skip
            self._ledger.assign({at: low})
        self._ledger.jump(at, low)
        self._consumer.seek(Position(at.topic, at.partition, low))

    def _watermarks(self, at: TopicPartition) -> tuple[int, int]:
        try:
            found = self._consumer.get_watermark_offsets(Position(at.topic, at.partition), timeout=ANSWER_S)
        except KafkaException as error:
            raise _unanswered(f"offsets of {at.topic}/{at.partition}", error) from None
        if found is None:
            raise _unanswered(f"offsets of {at.topic}/{at.partition}")
        return found

    # -- assignments ---------------------------------------------------------------------------------

    def _assigned(self, consumer: Consumer, partitions: list[Position]) -> None:
        try:
            starts = self._starts(partitions)
        except (KafkaException, SinkFailure) as error:
            self.failure = (
                error if isinstance(error, SinkFailure) else _unanswered("committed offsets", error)
            )
            return
        for position in partitions:
            position.offset = starts[TopicPartition(position.topic, position.partition)]
        if self._is_incremental:
            consumer.incremental_assign(partitions)
        else:
            consumer.assign(partitions)
        self._ledger.assign({at: start if start >= 0 else None for at, start in starts.items()})
        self._apply_pause(partitions)
        log.info("assigned %s", _shown(starts))

    def _starts(self, partitions: list[Position]) -> dict[TopicPartition, int]:
        """Where each partition begins: at its commit, else as `kafka.start` says.

        Raises:
            KafkaException: The broker does not answer.
            SinkFailure: There is no commit and `start` is `fail`.
        """
        starts: dict[TopicPartition, int] = {}
        for position in self._consumer.committed(partitions, timeout=ANSWER_S) if partitions else []:
            at = TopicPartition(position.topic, position.partition)
            if position.error is not None:
                raise KafkaException(position.error)
            if position.offset >= 0:
                starts[at] = self.committed[at] = position.offset
            elif self._config.start == "fail":
                raise SinkFailure(
                    ExitCode.KAFKA,
                    f"{at.topic}/{at.partition} has no committed offset and kafka.start is 'fail'",
                    "commit one with kafka-consumer-groups --reset-offsets, or set kafka.start",
                )
            elif self._config.start == "latest" and at in self._known_at_start:
                starts[at] = self._watermarks(at)[1]
            else:
                starts[at] = OFFSET_BEGINNING
        return starts

    def _revoked(self, consumer: Consumer, partitions: list[Position]) -> None:
        going = [TopicPartition(position.topic, position.partition) for position in partitions]
        log.info("revoked %s", _shown(going))
        self._on_revoke(going)
        self.commit_now(going)
        self._gone(consumer, partitions, going)

    def _lost(self, consumer: Consumer, partitions: list[Position]) -> None:
        going = [TopicPartition(position.topic, position.partition) for position in partitions]
        log.warning("lost %s: the group went on without this member; nothing is committed", _shown(going))
        self._gone(consumer, partitions, going)

    def _gone(self, consumer: Consumer, partitions: list[Position], going: list[TopicPartition]) -> None:
        self._ledger.revoke(going)
        for at in going:
            self.committed.pop(at, None)
        if self._is_incremental:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()

    # -- commits -------------------------------------------------------------------------------------

    def commit_soon(self, now: float) -> None:
        """Commit what the ledger allows, in the background; nothing while one is under way."""
        if self._pending_commit is not None and now - self._pending_commit < COMMIT_REPORT_S:
            return
        offsets = self._ledger.committable()
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=_positions(offsets), asynchronous=True)
        except KafkaException as error:
            log.warning("commit failed: %s; it is tried again", error.args[0].str())
        else:
            self._pending_commit = now

    def commit_now(self, partitions: Iterable[TopicPartition] | None = None) -> bool:
        """Commit and wait for the broker's word; False if it did not take all of it."""
        offsets = {
            at: offset
            for at, offset in self._ledger.committable(partitions).items()
            if self.committed.get(at) != offset
        }
        if not offsets:
            return True
        try:
            results = self._consumer.commit(offsets=_positions(offsets), asynchronous=False)
        except KafkaException as error:
            log.warning("commit failed: %s; what it covers is read again", error.args[0].str())
            return False
        return self._note(results or [])

    def _on_commit(self, error: KafkaError | None, partitions: list[Position]) -> None:
        self._pending_commit = None
        if error is not None:
            log.warning("commit failed: %s; it is tried again", error.str())
        else:
            self._note(partitions)

    def _note(self, results: list[Position]) -> bool:
        for result in results:
            if result.error is not None:
                log.warning("commit of %s/%d failed: %s", result.topic, result.partition, result.error.str())
            elif result.offset >= 0:
                self.committed[TopicPartition(result.topic, result.partition)] = result.offset
        return all(result.error is None for result in results)

    def group_committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """What the group has committed, by whichever member; partitions without a commit are left out."""
        wanted = [Position(at.topic, at.partition) for at in partitions]
        try:
            found = self._consumer.committed(wanted, timeout=ANSWER_S)
        except KafkaException as error:
            log.warning("the committed offsets cannot be read: %s", error.args[0].str())
            return {}
        return {TopicPartition(one.topic, one.partition): one.offset for one in found if one.offset >= 0}

    def lag(self) -> dict[TopicPartition, int]:
        """End of each assigned partition, as last heard, less what is committable; asks no broker."""
        lags: dict[TopicPartition, int] = {}
        for at, offset in self._ledger.committable().items():
            known = self._consumer.get_watermark_offsets(Position(at.topic, at.partition), cached=True)
            if known is not None and known[1] >= 0:
                lags[at] = max(0, known[1] - offset)
        return lags

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self.failure = SinkFailure(
                ExitCode.KAFKA, f"Kafka failed for good: {error.str()}", "restart the sink"
            )
        else:
            log.warning("kafka: %s", error.str())


def _unanswered(what: str, error: KafkaException | None = None) -> SinkFailure:
    why = f": {error.args[0].str()}" if error else ""
    return SinkFailure(ExitCode.KAFKA, f"the broker does not tell the {what}{why}", "check the broker")


def matches(name: str, topics: Iterable[str]) -> bool:
    """Whether a topic is named in `kafka.topics`, or matched by one of its regular expressions."""
    return any(re.match(topic, name) if topic.startswith("^") else topic == name for topic in topics)


def _positions(offsets: Mapping[TopicPartition, int]) -> list[Position]:
    return [Position(at.topic, at.partition, offset) for at, offset in offsets.items()]


def _shown(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(f"{at.topic}/{at.partition}" for at in partitions) or "no partitions"
