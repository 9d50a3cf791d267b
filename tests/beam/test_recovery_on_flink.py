"""From Kafka on Flink with checkpoints: whatever fails, all is indexed, then committed, never before.

The broker is librdkafka's mock cluster, the server an emulator, the workers are processes. What was indexed
is read from the server, what was committed by a client of its own, again and again while the job runs.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import pytest
import runners
from beam_tools import TOKEN, FailOnce, Site, Text, repeats, until
from kafka_tools import committed, produce

from splunk_hec_beam.kafka_read import ReadKafkaUntilDelivered
from splunk_hec_kafka._mock_kafka import MockKafka

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [runners.on("flink"), pytest.mark.hec_emulator(ack_delay=0.02, tokens=[f"{TOKEN}:ack"])]
STREAMING = ("--streaming", "--checkpointing_interval=1000", "--finish_bundle_before_checkpointing")
"""Without the last, a job whose first checkpoint precedes the end of its first bundle may never deliver."""
TOPIC, GROUP = "logs", "to-splunk"
AT_MOST_S = 100


class KafkaJob:
    """A topic, and a job that brings it to Splunk.

    Attributes:
        written: The texts of each partition; a text's place is its offset.
    """

    def __init__(
        self, bootstrap: str, runner: runners.Runner, workers: runners.WorkerPool, site: Site
    ) -> None:
        self._bootstrap, self._workers, self._site = bootstrap, workers, site
        self._pipeline = beam.Pipeline(options=runner.options(*STREAMING, *workers.flags))
        self.written: dict[int, list[str]] = {0: [], 1: [], 2: []}

    def write(self, count: int) -> None:
        """Write so many records to each partition."""
        for partition, texts in self.written.items():
            new = [f"partition {partition} record {len(texts) + number}" for number in range(count)]
            produce(self._bootstrap, TOPIC, [text.encode() for text in new], partition=partition)
            texts.extend(new)

    def write_blank(self) -> None:
        """Write a record that becomes a dead letter."""
        produce(self._bootstrap, TOPIC, [b""], partition=0)
        self.written[0].append("")

    def wire(
        self, *, before: beam.DoFn | None = None, behind: beam.DoFn | None = None, **settings: Any
    ) -> None:
        """Kafka to Splunk, with a step before the sink, or behind its dead letters, in the same bundle."""
        records: Any = self._pipeline | ReadKafkaUntilDelivered(
            self._bootstrap,
            TOPIC,
            GROUP,
            max_records_per_bundle=100,
            max_read_time_s=0.5,
            poll_interval_s=0.1,
        )
        if before is not None:
            records = records | "Text" >> beam.ParDo(Text()) | "Before" >> beam.ParDo(before)
        delivery = records | self._site.sink(batch_max_events=50, **settings)
        if behind is not None:
            _ = delivery.dead_letters | beam.Map(lambda row: row.reason) | "Behind" >> beam.ParDo(behind)

    def run(self, until_then: Callable[[], bool] = lambda: True) -> None:
        """Run until that came true and then all is committed; cancel, whatever happens."""
        result = self._pipeline.run()

        def how_it_is() -> str:
            return f"{result.state}, {self.lag()} records are not committed\n{self._workers.log()}"

        try:
            until(until_then, how_it_is, AT_MOST_S)
            until(lambda: self.lag() == 0, how_it_is, AT_MOST_S)
        finally:
            result.cancel()

    def lag(self) -> int:
        """Records that are not committed; fails if one is that is not indexed."""
        told = committed(self._bootstrap, GROUP, TOPIC, self.written)
        done = {partition: offset or 0 for partition, offset in told.items()}
        indexed = self._site.indexed()
        for partition, texts in self.written.items():
            lost = [text for text in texts[: done[partition]] if text and text not in indexed]
            assert not lost, f"partition {partition}: {done[partition]} is committed without {lost[:3]}"
        return sum(len(texts) - done[partition] for partition, texts in self.written.items())

    def repeated(self) -> int:
        """How many events are indexed more than once; fails if one is not at all."""
        texts = [text for partition in self.written.values() for text in partition if text]
        return repeats(self._site.indexed(), texts)


@pytest.fixture
def workers() -> Iterator[runners.WorkerPool]:
    """Workers as processes: they can be killed, and what a cancelled job leaves behind ends with them."""
    with runners.WorkerPool() as pool:
        yield pool


@pytest.fixture
def job(runner: runners.Runner, workers: runners.WorkerPool, site: Site) -> Iterator[KafkaJob]:
    """A job on a topic with 1,500 records in three partitions."""
    with MockKafka() as kafka:
        kafka.create_topic(TOPIC, 3)
        job = KafkaJob(kafka.bootstrap, runner, workers, site)
        job.write(500)
        yield job


def test_a_bundle_that_was_not_acknowledged_comes_again(job: KafkaJob, site: Site) -> None:
    """A lost batch fails its bundle; Flink goes back to its checkpoint; nothing is committed too soon."""
    site.hec.set_faults("lose-after-200,count=1")
    job.wire(bundle_deadline_s=1)
    job.run()
    assert site.hec.faults[0]["fired"] == 1
    assert job.repeated() <= 1_500


def test_a_step_before_that_raises_once_loses_nothing(job: KafkaJob, site: Site) -> None:
    """When a step before the sink raises, the records of its bundle come again: none was committed."""
    job.wire(before=FailOnce("partition 1 record 450", site.folder / "raised"))
    job.run()
    assert (site.folder / "raised").exists()
    assert job.repeated() <= 1_500


def test_a_step_behind_that_raises_once_loses_nothing(job: KafkaJob, site: Site) -> None:
    """When a step behind the dead letters raises, its records come again: none was committed."""
    job.write_blank()
    job.wire(behind=FailOnce("blank", site.folder / "raised"))
    job.run()
    assert (site.folder / "raised").exists()
    assert job.repeated() <= 1_500


def test_killed_workers_lose_nothing(job: KafkaJob, workers: runners.WorkerPool, site: Site) -> None:
    """After kill -9 of the worker in the middle of the work all is indexed and, in the end, committed."""
    job.write(500)
    job.wire()

    def kill() -> bool:
        if site.hec.stats()["events_indexed"] < 500:
            return False
        victims = workers.workers()
        assert victims
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        assert job.lag() > 0, "all was committed before the kill: it proves nothing"
        return True

    job.run(until_then=kill)
    assert job.repeated() <= 3_000
