"""Replays letters into the topics they came from, where the running sink reads them again.

Guarantees: key, value and headers as they were, the original's timestamp, the original's partition where the
topic still has it, so that what shares a key stays together whatever partitioner its producer used. No topic
is created. A record counts as replayed when all in-sync replicas have it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from splunk_hec.errors import ConfigError
from splunk_hec_kafka.chatter import librdkafka_log
from splunk_hec_kafka.consumer_settings import admin_properties
from splunk_hec_kafka.dead_letter_topic import check_topic
from splunk_hec_kafka.enquiries import ANSWER_S
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.headers import headers_of
from splunk_hec_kafka.replay_rules import restored

if TYPE_CHECKING:
    from splunk_hec_kafka.config import SinkConfig
    from splunk_hec_kafka.replay_rules import Left
    from splunk_hec_kafka.stored_letter import StoredLetter

_TURN_S = 0.1
_SETTINGS = {
    "enable.idempotence": "true",
    "acks": "all",
    "allow.auto.create.topics": "false",
    "message.max.bytes": "1000000000",  # the broker judges the size, not the client's default
    "partitioner": "murmur2_random",  # Java's, for a topic that has fewer partitions now
}


class ReplayToTopic:
    """Where letters go with `--to topic`. One thread's."""

    refused_again = skipped = 0  # the sink that reads them will tell

    def __init__(self, config: SinkConfig) -> None:
        """Connect to the cluster of [kafka].

        Raises:
            ConfigError: librdkafka does not take a property.
            SinkFailure: No broker answers (exit 4).
        """
        self._servers = config.kafka.bootstrap_servers
        properties = admin_properties(config)
        try:
            self._admin = AdminClient({**properties}, logger=librdkafka_log)
            self._producer = Producer(properties | _SETTINGS, logger=librdkafka_log)
        except KafkaException as error:
            raise ConfigError(f"kafka.properties: {error.args[0].str()}") from None
        try:
            topics = self._admin.list_topics(timeout=config.run.startup_timeout_s).topics
        except KafkaException as error:
            raise SinkFailure(
                ExitCode.KAFKA,
                f"no broker answered at {self._servers}: {error.args[0].str()}",
                "check kafka.bootstrap_servers, the network, and security.protocol in kafka.properties",
            ) from None
        self._partitions = {name: frozenset(one.partitions) for name, one in topics.items() if one.partitions}
        self._retention_ms: dict[str, int] = {}
        self._outstanding = 0
        self._error: KafkaError | None = None
        self.replayed = 0

    def refusal(self, letter: StoredLetter) -> Left | None:
        """Why a letter cannot go there; None if it can."""
        if letter.topic not in self._partitions:
            return "no_topic"
        limit_ms = self._retention_of(letter.topic)
        is_appended = letter.context.get("hec.record.timestamp_type") == "LogAppendTime"
        if limit_ms < 0 or letter.record_ms is None or is_appended:  # such a topic gives it a new time
            return None
        return "too_old" if letter.record_ms < time.time() * 1000 - limit_ms else None

    def take(self, letter: StoredLetter) -> None:
        """Produce its record; waits while librdkafka's queue is full.

        Raises:
            SinkFailure: Kafka refuses a record for good (exit 4).
        """
        record = restored(letter)
        partition = record.partition() or 0
        where: dict[str, Any] = {}
        if partition in self._partitions[letter.topic]:
            where["partition"] = partition
        kind, ms = record.timestamp()
        if kind:
            where["timestamp"] = ms
        while True:
            try:
                self._producer.produce(
                    letter.topic,
                    value=record.value(),
                    key=record.key(),
                    headers=headers_of(record),
                    on_delivery=self._on_report,
                    **where,
                )
            except BufferError:
                self.serve(_TURN_S)
            except KafkaException as error:
                self._error = error.args[0]
                break
            else:
                self._outstanding += 1
                break
        self.serve(0)

    def serve(self, timeout_s: float) -> None:
        """Take reports, for at most so long.

        Raises:
            SinkFailure: Kafka refused a record for good (exit 4).
        """
        self._producer.poll(timeout_s)
        if self._error is not None:
            raise SinkFailure(
                ExitCode.KAFKA,
                f"a record cannot be written to its topic at {self._servers}: {self._error.str()}",
                "check the topic's max.message.bytes and the user's WRITE permission, or use --to splunk",
            )

    def is_settled(self) -> bool:
        """Whether every record that was taken has its report."""
        return not self._outstanding

    @property
    def unsettled(self) -> int:
        """How many records have no report yet."""
        return self._outstanding

    def close(self) -> None:
        """Give up what has no report."""
        self._producer.purge()
        self._producer.poll(0)

    def _on_report(self, error: KafkaError | None, _message: Message) -> None:
        self._outstanding -= 1
        if error is None:
            self.replayed += 1
        else:
            self._error = self._error or error

    def _retention_of(self, topic: str) -> int:
        """Its retention in ms; -1 if it is for ever, or not told."""
        if topic not in self._retention_ms:
            found = check_topic(self._admin, topic, ANSWER_S).retention_ms
            self._retention_ms[topic] = -1 if found is None else found
        return self._retention_ms[topic]
