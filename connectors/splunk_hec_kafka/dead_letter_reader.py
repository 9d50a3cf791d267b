"""Reads the dead-letter topic for the `dlq` commands: all that was there at the start, once or twice.

Not for what a letter says (`stored_letter`). Guarantees: only reads; joins no group and commits nothing;
letters written after it was made are not read, so a replay never meets its own.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from splunk_hec.errors import ConfigError
from splunk_hec_kafka.chatter import librdkafka_log
from splunk_hec_kafka.dead_letters import dead_letter_connection
from splunk_hec_kafka.enquiries import ANSWER_S
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.stored_letter import stored_letter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confluent_kafka import Message

    from splunk_hec_kafka.config import SinkConfig
    from splunk_hec_kafka.stored_letter import StoredLetter

_SILENCE_S = 30.0
"""So long without a record or the end of a partition, and the broker is taken for gone."""
_CHUNK = 500


class DeadLetterReader:
    """Letters of one topic. A context manager; one thread's."""

    def __init__(self, config: SinkConfig) -> None:
        """Connect, and fix where reading will end.

        Raises:
            ConfigError: No dead-letter topic is named, or librdkafka does not take a property.
            SinkFailure: No broker answers (exit 4), or the topic does not exist (exit 8).
        """
        self._topic = config.dead_letter.topic
        self._within_s = config.run.startup_timeout_s
        if not self._topic:
            raise ConfigError("dead_letter.topic: not set; there are no dead letters to read")
        own = {
            "group.id": config.kafka.group_id or "hec-kafka-sink-dlq",  # asked for, though none is joined
            "enable.auto.commit": "false",
            "enable.partition.eof": "true",
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": "50",
            "allow.auto.create.topics": "false",
        }
        try:
            self._consumer = Consumer(dead_letter_connection(config) | own, logger=librdkafka_log)
        except KafkaException as error:
            raise ConfigError(f"dead_letter.properties: {error.args[0].str()}") from None
        try:
            self._ends = self._asked_ends()
        except KafkaException as error:
            self._consumer.close()
            raise self._unanswered(error.args[0]) from None
        except SinkFailure:
            self._consumer.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def each(self) -> Iterator[StoredLetter]:
        """Every letter, those of a partition in order; may be called again to read all anew.

        Raises:
            SinkFailure: Kafka does not give them (exit 4).
        """
        unread = {number: low_end for number, low_end in self._ends.items() if low_end[0] < low_end[1]}
        self._consumer.assign(
            [TopicPartition(self._topic, number, low) for number, (low, _) in unread.items()]
        )
        heard_at = monotonic()
        while unread:
            messages = self._consumer.consume(_CHUNK, 0.5)
            if not messages and monotonic() - heard_at > _SILENCE_S:
                raise self._unanswered(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 -- librdkafka's code
            for message in messages:
                if (letter := self._taken(message, unread)) is not None:
                    yield letter
            if messages:  # after they were dealt with, however long that took
                heard_at = monotonic()
        self._consumer.unassign()

    def _taken(self, message: Message, unread: dict[int, tuple[int, int]]) -> StoredLetter | None:
        number, offset, error = message.partition() or 0, message.offset() or 0, message.error()
        end = unread.get(number, (0, 0))[1]
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 -- librdkafka names it so
                raise self._unanswered(error)
            unread.pop(number, None)
            return None
        if offset >= end - 1:
            unread.pop(number, None)
        return stored_letter(message) if offset < end else None

    def _asked_ends(self) -> dict[int, tuple[int, int]]:
        # All topics are listed: asking for one by name may create it.
        found = self._consumer.list_topics(timeout=self._within_s).topics.get(self._topic)
        if found is None or (found.error is not None and not found.partitions):
            raise SinkFailure(
                ExitCode.DEAD_LETTER_TOPIC,
                f"the dead-letter topic {self._topic} does not exist, or this user may not describe it",
                "correct dead_letter.topic, or --set dead_letter.topic=NAME",
            )
        ends: dict[int, tuple[int, int]] = {}
        for number in found.partitions:
            at = TopicPartition(self._topic, number)
            low_end = self._consumer.get_watermark_offsets(at, timeout=ANSWER_S)
            if low_end is None:  # pyright: ignore[reportUnnecessaryComparison] -- its stub forgets the time-out
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 -- librdkafka's code
            ends[number] = low_end
        return ends

    def _unanswered(self, error: KafkaError) -> SinkFailure:
        return SinkFailure(
            ExitCode.KAFKA,
            f"Kafka does not give the dead letters of {self._topic}: {error.str()}",
            "check the brokers, kafka.properties or dead_letter.properties, and READ on the topic",
        )
