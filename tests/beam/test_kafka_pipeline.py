"""Whole pipelines on FnApiRunner: read once, in order, and committed only with the bundle that delivered."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import pytest
from kafka_source_tools import SEEN, FailAt, FailAtTheEnd, Note, run
from kafka_tools import committed, end_offsets, produce, wait_for

from splunk_hec_beam.kafka_commits import committer_of
from splunk_hec_beam.kafka_group import KafkaGroup
from splunk_hec_beam.kafka_read import ReadKafkaUntilDelivered
from splunk_hec_beam.kafka_record import KafkaRecord
from splunk_hec_kafka._mock_kafka import MockKafka

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from confluent_kafka import Consumer

GROUP = "pipeline"
COUNTS = {0: 1000, 1: 350}


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    """A broker with records in two of three partitions of logs, and an empty topic."""
    with MockKafka({"logs": 3, "empty": 2}) as broker:
        for partition, count in COUNTS.items():
            produce(
                broker.bootstrap, "logs", [b"%d" % number for number in range(count)], partition=partition
            )
        yield broker


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


def read(kafka: MockKafka, **more: Any) -> ReadKafkaUntilDelivered:
    """All topics, up to the end, in bundles of 300."""
    settings: dict[str, Any] = {"until_end": True, "max_records_per_bundle": 300, "poll_interval_s": 0}
    return ReadKafkaUntilDelivered(kafka.bootstrap, ["logs", "empty"], GROUP, **settings | more)


def offsets(kafka: MockKafka, topic: str = "logs") -> dict[int, int | None]:
    """What the group has committed."""
    return committed(kafka.bootstrap, GROUP, topic, end_offsets(kafka.bootstrap, topic))


def test_every_record_is_read_once_in_order_and_committed(kafka: MockKafka) -> None:
    """Across many bundles; the pipeline ends, empty partitions and topics are committed at their end too."""
    run(lambda pipeline: pipeline | read(kafka) | beam.ParDo(Note("all")))
    for partition, count in COUNTS.items():
        mine = [one.offset for one in SEEN["all"] if one.partition == partition]
        assert mine == list(range(count))
    assert all(type(one) is KafkaRecord and one.topic == "logs" for one in SEEN["all"])
    assert offsets(kafka) == {0: 1000, 1: 350, 2: 0}
    assert offsets(kafka, "empty") == {0: 0, 1: 0}


def test_a_second_run_goes_on_where_the_first_ended(kafka: MockKafka) -> None:
    """A new job without a checkpoint begins at the group's commits."""
    run(lambda pipeline: pipeline | read(kafka) | beam.ParDo(Note("first")))
    produce(kafka.bootstrap, "logs", [b"more"] * 3, partition=1)
    run(lambda pipeline: pipeline | read(kafka) | beam.ParDo(Note("second")))
    assert [(one.partition, one.offset) for one in SEEN["second"]] == [(1, 350), (1, 351), (1, 352)]
    assert offsets(kafka) == {0: 1000, 1: 353, 2: 0}


@pytest.mark.parametrize("fail", [FailAt(0, 299), FailAtTheEnd(0, 7)], ids=["process", "finish_bundle"])
def test_nothing_is_committed_of_a_bundle_that_failed(kafka: MockKafka, fail: beam.DoFn) -> None:
    """The first bundle of a partition fails, at its last record or after it: nothing of it is committed."""
    with pytest.raises(RuntimeError, match="on purpose"):
        run(lambda pipeline: pipeline | read(kafka) | beam.ParDo(fail))
    assert offsets(kafka)[0] is None


def test_the_bundles_before_a_failed_one_stay_committed(kafka: MockKafka) -> None:
    """Commits end where the last bundle that succeeded did; the next run begins there."""
    with pytest.raises(RuntimeError, match="on purpose"):
        run(lambda pipeline: pipeline | read(kafka) | beam.ParDo(FailAt(0, 700)))
    wait_for(lambda: offsets(kafka)[0] == 600, "the commit of the bundles that succeeded")
    run(lambda pipeline: pipeline | read(kafka) | beam.ParDo(Note("rest")))
    assert [one.offset for one in SEEN["rest"] if one.partition == 0] == list(range(600, 1000))


def test_a_failure_in_one_of_two_sinks_holds_the_commit(kafka: MockKafka) -> None:
    """Both branches of a read are in its bundle."""

    def build(pipeline: beam.Pipeline) -> None:
        records = pipeline | read(kafka)
        _ = records | "One" >> beam.ParDo(Note("one"))
        _ = records | "Other" >> beam.ParDo(FailAt(0, 10))

    with pytest.raises(RuntimeError, match="on purpose"):
        run(build)
    assert offsets(kafka)[0] is None


@pytest.mark.parametrize(
    "barrier",
    [
        lambda it: it | beam.Reshuffle(),
        lambda it: (it, it.pipeline | beam.Create([1])) | beam.Flatten(),
    ],
    ids=["Reshuffle", "Flatten"],
)
def test_what_is_refused_does_break_the_promise(kafka: MockKafka, barrier: Callable[[Any], Any]) -> None:
    """Behind a shuffle or a Flatten of several, offsets are committed though the record was not delivered."""
    with pytest.raises(RuntimeError, match="on purpose"):
        run(lambda pipeline: barrier(pipeline | read(kafka)) | "Deliver" >> beam.ParDo(FailAt(0, 10)))
    wait_for(lambda: offsets(kafka)[0] == 1000, "the commit that should not have been")


def test_element_times_are_those_of_the_records(kafka: MockKafka) -> None:
    """So windows are by the records' own time, and they close at the end of the read."""
    times = [1_700_000_000_000 + 1000 * number for number in range(0, 90, 30)]
    produce(kafka.bootstrap, "logs", [b"t"] * 3, partition=2, timestamps=times)

    def build(pipeline: beam.Pipeline) -> None:
        _ = (
            pipeline
            | read(kafka, allow_shuffle=True)
            | beam.Filter(lambda one: one.value == b"t")
            | beam.WindowInto(beam.window.FixedWindows(60))
            | beam.Map(lambda one: (one.topic, one.offset))
            | beam.GroupByKey()
            | beam.Map(lambda pair: (pair[0], sorted(pair[1])))
            | beam.ParDo(Note("windows"))
        )

    run(build)
    # 1,700,000,000 s is 20 s into its minute
    assert sorted(SEEN["windows"]) == [("logs", [0, 1]), ("logs", [2])]


def test_a_reader_is_kept_between_bundles(kafka: MockKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection a partition, not one a bundle: Beam finds the parked reader again."""
    made: Counter[str] = Counter()
    make = KafkaGroup.consumer

    def counting(self: KafkaGroup, more: Any = None) -> Consumer:
        made[(more or {}).get("client.id", "reads")] += 1
        return make(self, more)

    monkeypatch.setattr(KafkaGroup, "consumer", counting)
    run(lambda pipeline: pipeline | read(kafka, max_records_per_bundle=50) | beam.ParDo(Note("x")))
    assert len(SEEN["x"]) == 1350
    assert made["reads"] == 1 + 5  # the plan's, and one for each partition


def test_nothing_is_left_running(kafka: MockKafka) -> None:
    """After the pipeline no reader is open, and the committer has neither a client nor a thread."""
    run(lambda pipeline: pipeline | read(kafka) | beam.ParDo(Note("x")))
    committer = committer_of(KafkaGroup.of(kafka.bootstrap, GROUP))
    assert (committer._readers, committer._consumer) == (0, None)
    assert not [one for one in threading.enumerate() if one.name == "commits-close"]


def test_the_backlog_is_told(kafka: MockKafka) -> None:
    """A gauge a partition: what was left of it at the end of its last bundle."""
    result = run(lambda pipeline: pipeline | read(kafka, max_records_per_bundle=990) | beam.ParDo(Note("x")))
    gauges = result.metrics().query()["gauges"]
    told = {one.key.metric.name: one.result.value for one in gauges}
    assert told["kafka_backlog_records_logs-0"] == 10


def test_a_missing_topic_fails_the_pipeline(kafka: MockKafka) -> None:
    """Beam swallows what split raises; the reader says it again, so that it cannot be missed."""
    with pytest.raises(Exception, match="the topic 'nothere' does not exist"):
        run(
            lambda pipeline: (
                pipeline
                | ReadKafkaUntilDelivered(kafka.bootstrap, "nothere", GROUP, until_end=True)
                | beam.ParDo(Note("x"))
            )
        )
