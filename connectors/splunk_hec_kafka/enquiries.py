"""What the sink asks of Kafka: which partitions there are, where they begin and end, what is committed.

Owned by the loop's thread. Not for anything that changes something. Guarantees: no question is open longer
than `ANSWER_S`, whatever the broker does; asking never creates a topic.

Non-obvious: `latest` means the end as it was when a partition was first met. Partitions that appear after
the start are read from the beginning, or what was written before they were noticed would be lost.
"""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Position

from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.offsets import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from splunk_hec_kafka.config import Kafka

log = logging.getLogger("splunk_hec_kafka")

ANSWER_S = 10.0
"""How long one question to the broker may take (offsets, watermarks, metadata)."""
LOOK_S = 1.0
"""How long the running loop may wait for an answer that it can do without."""
_SLICE_S = 0.5
"""How long the start waits for a broker before it looks whether it should still go on."""


Offsets = tuple[int, int]
"""The first offset that exists, and the next to be written."""


class Starts(NamedTuple):
    """Where partitions begin.

    Attributes:
        known: Those with a commit, and where it is.
        fresh: The others, and where `kafka.start` says they begin.
        texts: What was committed beside the offset.
    """

    known: dict[TopicPartition, int]
    fresh: dict[TopicPartition, int]
    texts: dict[TopicPartition, str]


class Enquiries:
    """Asks with the sink's own consumer."""

    def __init__(self, consumer: Consumer, config: Kafka, clock: Callable[[], float]) -> None:
        self._consumer = consumer
        self._config = config
        self._clock = clock
        self._known_at_start: set[TopicPartition] = set()

    def connect(self, timeout_s: float, is_stopped: Callable[[], bool]) -> None:
        """Wait for a broker and learn the partitions of the matching topics; returns early when stopped.

        Raises:
            SinkFailure: No broker in time, or a topic that is named does not exist (exit 4).
        """
        deadline = self._clock() + timeout_s
        while True:
            left_s = deadline - self._clock()
            try:
                topics = self._consumer.list_topics(timeout=max(0.1, min(_SLICE_S, left_s))).topics
                break
            except KafkaException as error:
                if is_stopped():
                    return
                if left_s <= _SLICE_S:
                    raise SinkFailure(
                        ExitCode.KAFKA,
                        f"no broker answered at {self._config.bootstrap_servers}: {error.args[0].str()}",
                        "check kafka.bootstrap_servers, the network, and security.protocol",
                    ) from None
        # A topic whose leaders are being elected has an error and partitions: it exists.
        found = {
            name: topic.partitions
            for name, topic in topics.items()
            if (topic.partitions or topic.error is None) and matches(name, self._config.topics)
        }
        missing = [name for name in self._config.topics if not name.startswith("^") and name not in found]
        if missing:
            raise SinkFailure(
                ExitCode.KAFKA,
                f"the topic {missing[0]!r} does not exist, or this user may not describe it",
                "create it, or correct kafka.topics",
            )
        self._known_at_start = {TopicPartition(name, p) for name, ps in found.items() for p in ps}

    def end_offsets(self) -> dict[TopicPartition, Offsets]:
        """Low and end offset of every partition known at `connect`.

        Raises:
            SinkFailure: The broker does not say (exit 4).
        """
        with needing("the end offsets"):
            return {at: self.watermarks(at) for at in sorted(self._known_at_start)}

    def watermarks(self, at: TopicPartition) -> Offsets:
        """The first offset that exists, and the next to be written.

        Raises:
            KafkaException: The broker does not say.
        """
        where = Position(at.topic, at.partition)
        found = cast("Offsets | None", self._consumer.get_watermark_offsets(where, timeout=ANSWER_S))
        if found is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 -- librdkafka's code
        return found

    def starts(self, partitions: list[Position]) -> Starts:
        """Where partitions begin.

        Raises:
            KafkaException: The broker does not answer.
            SinkFailure: There is no commit and `start` is `fail` (exit 4).
        """
        known: dict[TopicPartition, int] = {}
        fresh: dict[TopicPartition, int] = {}
        texts: dict[TopicPartition, str] = {}
        for position in self._consumer.committed(partitions, timeout=ANSWER_S) if partitions else []:
            at = TopicPartition(position.topic, position.partition)
            if position.error is not None:
                raise KafkaException(position.error)
            if position.offset >= 0:
                known[at] = position.offset
                texts[at] = position.metadata or ""
            elif self._config.start == "fail":
                raise SinkFailure(
                    ExitCode.KAFKA,
                    f"{at.topic}/{at.partition} has no committed offset and kafka.start is 'fail'",
                    "commit one with kafka-consumer-groups --reset-offsets, or set kafka.start",
                )
            elif self._config.start == "latest" and at in self._known_at_start:
                fresh[at] = self.watermarks(at)[1]
            else:
                fresh[at] = OFFSET_BEGINNING
        return Starts(known, fresh, texts)

    def group_committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """What the group has committed, by whichever member; partitions without a commit are left out."""
        wanted = [Position(at.topic, at.partition) for at in partitions]
        try:
            found = self._consumer.committed(wanted, timeout=LOOK_S)
        except KafkaException as error:
            log.warning("the committed offsets cannot be read: %s", error.args[0].str())
            return {}
        return {TopicPartition(one.topic, one.partition): one.offset for one in found if one.offset >= 0}

    def lag(self, allowed: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """End of each partition, as last heard, less the offset that may be committed; asks no broker."""
        lags: dict[TopicPartition, int] = {}
        for at, offset in allowed.items():
            where = Position(at.topic, at.partition)
            known = cast("Offsets | None", self._consumer.get_watermark_offsets(where, cached=True))
            if known is not None and known[1] >= 0:
                lags[at] = max(0, known[1] - offset)
        return lags


def matches(name: str, topics: Iterable[str]) -> bool:
    """Whether a topic is named in `kafka.topics`, or matched by one of its regular expressions."""
    return any(re.match(topic, name) if topic.startswith("^") else topic == name for topic in topics)


@contextmanager
def needing(what: str) -> Generator[None]:
    """Turn librdkafka's exception into the failure that ends the sink.

    Raises:
        SinkFailure: Kafka does not give what is needed (exit 4).
    """
    try:
        yield
    except KafkaException as error:
        raise unanswered(what, error) from None


def unanswered(what: str, error: KafkaException) -> SinkFailure:
    """Kafka does not give what is needed."""
    return SinkFailure(
        ExitCode.KAFKA, f"Kafka does not give {what}: {error.args[0].str()}", "check the broker"
    )
