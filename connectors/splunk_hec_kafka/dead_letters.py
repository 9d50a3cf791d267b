"""The producer of dead letters: takes records that Splunk will never take, and tells when they are safe.

Not for what a dead letter looks like (`dead_letter_record`) nor for when rejections are too many
(`reject_limit`). Guarantees: every record taken by `produce` comes back from `serve` exactly once, and
without an error only when all in-sync replicas have it; nothing here blocks but `flush`.
Non-obvious: a report of a passing fault (the time is up while a broker is down) is not handed out; the letter
is produced again. Only faults that time does not heal are handed out as errors, and end the sink (exit 8).
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer

from splunk_hec._batching import REF_BYTES
from splunk_hec.errors import ConfigError, one_line
from splunk_hec.events import Outcome
from splunk_hec_kafka.chatter import librdkafka_log
from splunk_hec_kafka.dead_letter_record import dead_letter_record
from splunk_hec_kafka.encoded import Refusal
from splunk_hec_kafka.headers import headers_of
from splunk_hec_kafka.kafka_properties import connection_properties, resolved
from splunk_hec_kafka.offsets import Run, place
from splunk_hec_kafka.originals import Consumed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confluent_kafka import Message

    from splunk_hec_kafka.config import SinkConfig

_log = logging.getLogger("splunk_hec_kafka")
_PERMANENT = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.POLICY_VIOLATION,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.INVALID_REQUIRED_ACKS,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 -- librdkafka's own codes are named so
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 -- librdkafka's own codes are named so
        KafkaError._INVALID_ARG,  # noqa: SLF001 -- librdkafka's own codes are named so
        KafkaError._FATAL,  # noqa: SLF001 -- librdkafka's own codes are named so
    }
)
"""What no waiting mends. Anything else is produced again, so that a broker's bad hour costs time only."""
_GIVEN_UP = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)  # noqa: SLF001 -- as above
"""What `close` makes of letters without a report."""
TELL_EVERY_S = 10.0
"""Between two lines about dead letters that were written."""
_DEFAULTS = {
    "enable.idempotence": "true",
    "delivery.timeout.ms": "60000",
    "message.max.bytes": "1000000000",
}
"""A large message.max.bytes leaves the judgement to the broker: librdkafka's 1,000,000 would refuse a record
of nearly that size as soon as the context headers are added."""


def producer_properties(config: SinkConfig) -> dict[str, str]:
    """Librdkafka properties of the producer of dead letters.

    Args:
        config: The sink's configuration.

    Returns:
        The way to the cluster (that of [kafka], unless dead_letter.properties names `bootstrap.servers`) and
        [dead_letter.properties], with acks from all in-sync replicas.

    Raises:
        ConfigError: A secret's variable or file is missing.
    """
    own = resolved(config.dead_letter.properties)
    defaults = dict(_DEFAULTS)
    if "message.timeout.ms" in own:  # an alias: both together are a contradiction
        del defaults["delivery.timeout.ms"]
    return dead_letter_connection(config) | defaults | own | {"acks": "all"}


def dead_letter_connection(config: SinkConfig) -> dict[str, str]:
    """Librdkafka properties that lead to the cluster of the dead-letter topic, e.g. for an AdminClient.

    Raises:
        ConfigError: A secret's variable or file is missing.
    """
    own = connection_properties(config.dead_letter.properties)
    servers = str(config.dead_letter.properties.get("bootstrap.servers", ""))
    if servers:
        return resolved({"bootstrap.servers": servers} | own)
    shared = connection_properties(config.kafka.properties)
    return resolved({"bootstrap.servers": config.kafka.bootstrap_servers} | shared | own)


class Letter(msgspec.Struct):
    """A record on its way to the dead letters, and what it holds of the budget meanwhile."""

    record: Consumed
    run: Run
    cause: Refusal | Outcome
    charge_bytes: int


class DeadLetters:
    """Writes dead letters. Owned by the loop's thread; librdkafka's own threads do the I/O."""

    def __init__(
        self, topic: str, properties: Mapping[str, str], *, producer: Callable[..., Producer] = Producer
    ) -> None:
        """Make the producer; connecting happens in the background.

        Args:
            topic: Where to write; checked beforehand by `check_topic`.
            properties: See `producer_properties`.
            producer: Makes the producer.

        Raises:
            ConfigError: librdkafka does not know a property, or not such a value.
        """
        self._topic = topic
        self._reports: list[tuple[Consumed, KafkaError | None]] = []
        self._again: deque[tuple[Consumed, Refusal | Outcome]] = deque()
        self._outstanding = 0
        self._written: Counter[str] = Counter()
        self._next_tell = 0.0
        try:
            self._producer = producer(dict(properties), logger=librdkafka_log)
        except KafkaException as error:
            raise ConfigError(f"dead_letter.properties: {error.args[0].str()}") from None

    @property
    def outstanding(self) -> int:
        """How many letters are taken and not yet handed out by `serve`."""
        return self._outstanding

    def produce(self, message: Consumed, cause: Refusal | Outcome) -> bool:
        """Take a record; never blocks.

        Args:
            message: The record.
            cause: Why it is dead.

        Returns:
            False if the local queue is full: not taken, try again after `serve`.
        """
        if not self._enqueue(message, cause):
            return False
        self._outstanding += 1
        return True

    def serve(self) -> list[tuple[Consumed, KafkaError | None]]:
        """Reports since the last call, in order of arrival; to be called in every turn of the loop.

        Returns:
            Each record once: None when all in-sync replicas have its letter, else why none ever will.
        """
        self._producer.poll(0)
        if self._again:
            self._produce_again()
        reports, self._reports = self._reports, []
        self._outstanding -= len(reports)
        self._tell()
        return reports

    def flush(self, timeout_s: float) -> int:
        """Wait until every letter has its report; they are then handed out by `serve`.

        Args:
            timeout_s: Longest wait.

        Returns:
            How many have none yet.
        """
        until = monotonic() + timeout_s
        while (left := self._outstanding - len(self._reports)) and (rest := until - monotonic()) > 0:
            self._produce_again()
            self._producer.flush(rest)
        return left

    def close(self) -> None:
        """Give up what has no report yet, so that the process can end; those records stay uncommitted."""
        self._next_tell = 0.0
        self._tell()
        self._again.clear()
        self._producer.purge()
        self._producer.poll(0)
        self._again.clear()

    def _note(self, message: Consumed, cause: Refusal | Outcome, error: KafkaError | None) -> None:
        if error is not None:  # it ends the sink, which says so
            return
        self._written[cause.reason] += 1
        if _log.isEnabledFor(logging.DEBUG):
            at, offset = place(message)
            _log.debug("%s/%d@%d is a dead letter: %s (%s)", *at, offset, cause.reason, one_line(cause.text))

    def _tell(self) -> None:
        """One line for many: thousands may come in a second."""
        if self._written and (now := monotonic()) >= self._next_tell:
            told = ", ".join(f"{count} {reason}" for reason, count in self._written.items())
            _log.warning("dead letters were written to %s: %s", self._topic, told)
            self._written.clear()
            self._next_tell = now + TELL_EVERY_S

    def _enqueue(self, message: Consumed, cause: Refusal | Outcome) -> bool:
        key, value, headers = dead_letter_record(message, cause)
        report = partial(self._on_report, message, cause)
        try:
            self._producer.produce(self._topic, value=value, key=key, headers=headers, on_delivery=report)
        except BufferError:
            return False
        except KafkaException as error:
            report(error.args[0], None)
        return True

    def _produce_again(self) -> None:
        for _ in range(len(self._again)):  # those that fail at once join the end for the next turn
            if not self._enqueue(*self._again[0]):
                return
            self._again.popleft()

    def _on_report(
        self, message: Consumed, cause: Refusal | Outcome, error: KafkaError | None, _written: Message | None
    ) -> None:
        """Called by librdkafka from within poll() and flush(), on the loop's thread."""
        if error is None or error.fatal() or error.code() in _PERMANENT:
            self._reports.append((message, error))
            self._note(message, cause, error)
        elif error.code() not in _GIVEN_UP:
            at, offset = place(message)
            _log.warning("the dead letter of %s/%d@%d is written again after: %s", *at, offset, error.str())
            self._again.append((message, cause))


def held_by(record: Consumed) -> int:
    """What keeping the original of a letter costs, in bytes."""
    size = len(record.value() or b"") + len(record.key() or b"")
    return REF_BYTES + size + sum(len(name) + len(value or b"") for name, value in headers_of(record))
