"""What tests of the Kafka source need: a scripted client, DoFns that note what they see, runs in-process.

The DoFns are here, not in tests, because they are pickled by name; FnApiRunner runs them in this process, so
that what they note in `SEEN` is there afterwards.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.timestamp import MAX_TIMESTAMP
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from splunk_hec_beam.kafka_record import KafkaRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from apache_beam.runners.runner import PipelineResult

    from splunk_hec_beam.kafka_reader import KafkaReader

SEEN: defaultdict[str, list[Any]] = defaultdict(list)
DEADLINE_S = 20.0
NOW_S = 1_700_000_000.0
NOW_MS = int(NOW_S * 1000)


class Note(beam.DoFn):
    """Notes each element in `SEEN`, under a name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def process(self, element: Any) -> Iterator[Any]:
        """Pass it on."""
        SEEN[self._name].append(element)
        yield element


class FailAt(beam.DoFn):
    """Raises at one offset of one partition, each time."""

    def __init__(self, partition: int, offset: int) -> None:
        self._at = (partition, offset)

    def process(self, element: Any) -> Iterator[Any]:
        """Pass it on, or raise."""
        if isinstance(element, KafkaRecord) and (element.partition, element.offset) == self._at:
            raise RuntimeError("raised on purpose")
        yield element


class FailAtTheEnd(beam.DoFn):
    """Raises at the end of a bundle that held one offset of one partition, as a sink does."""

    def __init__(self, partition: int, offset: int) -> None:
        self._at = (partition, offset)
        self._is_due = False

    def process(self, element: Any) -> Iterator[Any]:
        """Pass it on."""
        if isinstance(element, KafkaRecord) and (element.partition, element.offset) == self._at:
            self._is_due = True
        yield element

    def finish_bundle(self) -> None:
        """Raise, if it was there."""
        if self._is_due:
            raise RuntimeError("raised on purpose")


def run(build: Callable[[beam.Pipeline], object], *flags: str) -> PipelineResult:
    """Build a streaming pipeline, run it in this process, wait for its end."""
    pipeline = beam.Pipeline(runner="FnApiRunner", options=PipelineOptions(["--streaming", *flags]))
    build(pipeline)
    result = pipeline.run()
    result.wait_until_finish()
    return result


def records_of(reader: KafkaReader, most: int = 1_000_000) -> list[KafkaRecord]:
    """What a reader hands out, from its start, until it has nothing or `most`."""
    found: list[KafkaRecord] = []
    more = reader.start()
    while more:
        found.append(reader.get_current())
        if len(found) == most:
            break
        more = reader.advance()
    return found


def read_to_end(reader: KafkaReader, most: int = 1_000_000) -> list[KafkaRecord]:
    """What a reader with a fixed end hands out until there or `most`, however slow the broker is."""
    found = records_of(reader, most)
    give_up_at = time.monotonic() + DEADLINE_S
    while len(found) < most and reader.get_watermark() < MAX_TIMESTAMP:
        assert time.monotonic() < give_up_at, f"the end was not reached in time, after {len(found)} records"
        if reader.advance():
            found.append(reader.get_current())
    return found


def places(records: list[KafkaRecord]) -> list[tuple[int, int]]:
    """Partition and offset of each."""
    return [(one.partition, one.offset) for one in records]


def commit(bootstrap: str, group: str, topic: str, offsets: dict[int, int]) -> None:
    """Commit from outside, as another client of the group did."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    wanted = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
    consumer.commit(offsets=wanted, asynchronous=False)
    consumer.close()


class ScriptedClient:
    """A librdkafka consumer that hands out what the test says, a list a `consume`; notes what is asked.

    The real one does these things too, but not when a test wants it.
    """

    def __init__(
        self, *turns: list[Message], logs: dict[tuple[str, int], tuple[int, int]] | None = None
    ) -> None:
        self.turns = list(turns)
        self.logs = logs or {}
        self.assigned: list[tuple[int, int]] = []
        self.unassigned: list[int] = []
        self.waits: list[float] = []
        self.closed = 0
        self.on_idle: Callable[[], None] = lambda: None

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """Note it."""
        self.assigned += [(one.partition, one.offset) for one in partitions]

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        """Note it."""
        self.unassigned += [one.partition for one in partitions]

    def consume(self, _count: int, timeout_s: float) -> list[Message]:
        """The next turn, if it is the turn's time: an empty one is waited for in vain."""
        if timeout_s:
            self.waits.append(timeout_s)
            self.on_idle()
        return self.turns.pop(0) if self.turns else []

    def get_watermark_offsets(self, at: TopicPartition, **_: object) -> tuple[int, int] | None:
        """What the test says about the log."""
        return self.logs.get((at.topic, at.partition))

    def close(self) -> None:
        """Note it."""
        self.closed += 1


def record(offset: int, ms: int | None = NOW_MS, partition: int = 0, **more: Any) -> Message:
    """A record as consumed."""
    stamp = (0, -1) if ms is None else (1, ms)
    return Message(
        topic="logs", partition=partition, offset=offset, timestamp=stamp, **{"value": b"v%d" % offset} | more
    )


def event(code: int, offset: int = 0, partition: int = 0) -> Message:
    """An event as consumed."""
    return Message(topic="logs", partition=partition, offset=offset, error=KafkaError(code))


def end(offset: int, partition: int = 0) -> Message:
    """The end of a partition."""
    return event(KafkaError._PARTITION_EOF, offset, partition)
