"""The source: where a read begins and ends, how it is split, and that its settings hold no secret."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import pytest
from apache_beam.utils.timestamp import MAX_TIMESTAMP
from kafka_source_tools import commit, places, read_to_end
from kafka_tools import committed, produce

from splunk_hec.errors import ConfigError
from splunk_hec_beam.kafka_commits import committer_of
from splunk_hec_beam.kafka_group import KafkaGroup
from splunk_hec_beam.kafka_plan import Plan, Start
from splunk_hec_beam.kafka_read import ReadKafkaUntilDelivered
from splunk_hec_beam.kafka_source import KafkaSource
from splunk_hec_kafka._mock_kafka import MockKafka

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "correct-horse-battery"


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    """A broker with three partitions of logs, ten records in each of the first two."""
    with MockKafka({"logs": 3}) as broker:
        for partition in (0, 1):
            produce(broker.bootstrap, "logs", [b"%d" % number for number in range(10)], partition=partition)
        yield broker


def source_of(
    kafka: MockKafka, group: str = "g", *, start: Start = "earliest", topics: tuple[str, ...] = ("logs",)
) -> KafkaSource:
    """A source that ends at the end."""
    return KafkaSource(Plan(KafkaGroup.of(kafka.bootstrap, group), topics, start, True))


def read(source: KafkaSource) -> list[tuple[int, int]]:
    """Partition and offset of everything it reads, sorted (partitions come in any order)."""
    reader = source.create_reader(None, None)
    try:
        return sorted(places(read_to_end(reader)))
    finally:
        reader.close()


# -- splitting -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2, 20])
def test_a_split_covers_each_partition_once(kafka: MockKafka, most: int) -> None:
    """As many sub-sources as there are partitions, or as Beam wants at most; together they are the whole."""
    parts = source_of(kafka).split(most)
    assert len(parts) == min(most, 3)
    assert parts[-1].split(1) == [parts[-1]]
    assert sorted(share.partition for part in parts for share in part.shares) == [0, 1, 2]
    found = [place for part in parts for place in read(part)]
    assert sorted(found) == [(partition, offset) for partition in (0, 1) for offset in range(10)]


def test_the_end_is_fixed_when_the_source_is_split(kafka: MockKafka) -> None:
    """What is written after that is not read."""
    parts = source_of(kafka).split(20)
    produce(kafka.bootstrap, "logs", [b"late"] * 5, partition=0)
    found = [place for part in parts for place in read(part)]
    assert sorted(found) == [(partition, offset) for partition in (0, 1) for offset in range(10)]


def test_a_pickle_has_the_same_bytes_wherever_it_is_made(kafka: MockKafka) -> None:
    """Beam finds a parked reader by the source's bytes: after a round trip they must be what they were."""
    (part, *_) = source_of(kafka).split(20)
    there = pickle.dumps(part)
    again = pickle.loads(there)
    assert pickle.dumps(again) == there
    assert again == part
    assert hash(again) == hash(part)
    assert repr(again) == "<KafkaSource g | logs/0>"
    assert repr(source_of(kafka)) == "<KafkaSource g | logs>"


# -- starts --------------------------------------------------------------------------------------------


def test_a_commit_wins_over_the_start(kafka: MockKafka) -> None:
    """Where the group has committed, reading goes on there; elsewhere at the first record that exists."""
    commit(kafka.bootstrap, "g", "logs", {1: 7})
    assert read(source_of(kafka)) == [(0, offset) for offset in range(10)] + [(1, 7), (1, 8), (1, 9)]


def test_a_commit_made_after_the_split_counts(kafka: MockKafka) -> None:
    """A reader asks the group again when it begins: another bundle may have been committed meanwhile."""
    (part, *_) = source_of(kafka).split(20)
    commit(kafka.bootstrap, "g", "logs", {0: 9})
    assert read(part) == [(0, 9)]


def test_a_group_that_was_set_back_is_followed(kafka: MockKafka) -> None:
    """Also by a process that remembers having committed more: the second read is committed like the first."""
    for start in (0, 3):
        commit(kafka.bootstrap, "g", "logs", {0: start})
        reader = source_of(kafka).create_reader(None, None)
        assert min(offset for partition, offset in places(read_to_end(reader)) if partition == 0) == start
        reader.get_checkpoint_mark().finalize_checkpoint()
        reader.close()
        assert committed(kafka.bootstrap, "g", "logs", [0]) == {0: 10}


def test_latest_is_the_end_when_the_read_begins_and_stays_it(kafka: MockKafka) -> None:
    """It is committed at once: a second start must not find a later end and skip what came in between."""
    source_of(kafka, start="latest").split(20)
    assert committed(kafka.bootstrap, "g", "logs", [0, 1, 2]) == {0: 10, 1: 10, 2: 0}
    produce(kafka.bootstrap, "logs", [b"new"], partition=0)
    assert read(source_of(kafka, start="latest")) == [(0, 10)]


def test_latest_reads_a_new_partition_from_its_beginning(kafka: MockKafka) -> None:
    """One without a commit in a topic whose others have one was added later: nothing of it is skipped."""
    commit(kafka.bootstrap, "g", "logs", {0: 10, 2: 0})
    assert read(source_of(kafka, start="latest")) == [(1, offset) for offset in range(10)]


def test_start_fail_wants_a_commit_for_every_partition(kafka: MockKafka) -> None:
    """The first partition without one is named; with all of them reading begins there."""
    commit(kafka.bootstrap, "g", "logs", {0: 8, 2: 0})
    with pytest.raises(ConfigError, match="logs/1 has no committed offset"):
        source_of(kafka, start="fail").split(20)
    with pytest.raises(ConfigError, match="logs/1 has no committed offset"):
        source_of(kafka, start="fail").create_reader(None, None)
    commit(kafka.bootstrap, "g", "logs", {1: 10})
    assert read(source_of(kafka, start="fail")) == [(0, 8), (0, 9)]


def test_a_missing_topic_is_named_and_not_made(kafka: MockKafka) -> None:
    """Asking for a topic must not create it."""
    for _ in range(2):
        with pytest.raises(ConfigError, match="the topic 'nothere' does not exist"):
            source_of(kafka, topics=("logs", "nothere")).split(20)


def test_an_older_checkpoint_delivers_again_and_takes_nothing_back(kafka: MockKafka) -> None:
    """A reader obeys its mark, not the group; the group stays where it was until it is passed."""
    (source, *_) = source_of(kafka).split(20)
    reader = source.create_reader(None, None)
    read_to_end(reader, most=2)
    mark = reader.get_checkpoint_mark()
    reader.close()
    commit(kafka.bootstrap, "g", "logs", {0: 6})
    committer_of(source.plan.group)._known.clear()  # as in a new process
    again = source.create_reader(None, mark)
    first = read_to_end(again, most=1)[0]
    assert first.offset == 2
    again.get_checkpoint_mark().finalize_checkpoint()
    assert committed(kafka.bootstrap, "g", "logs", [0]) == {0: 6}
    while again.get_watermark() < MAX_TIMESTAMP:
        again.advance()
    again.get_checkpoint_mark().finalize_checkpoint()
    again.close()
    assert committed(kafka.bootstrap, "g", "logs", [0]) == {0: 10}


# -- settings ------------------------------------------------------------------------------------------


def transform(**more: Any) -> ReadKafkaUntilDelivered:
    """A read with fitting settings, or others."""
    fitting: dict[str, Any] = {"bootstrap_servers": "nowhere:1", "topics": "logs", "group_id": "g"}
    return ReadKafkaUntilDelivered(**fitting | more)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"bootstrap_servers": " "}, "bootstrap_servers is empty"),
        ({"group_id": ""}, "group_id is empty"),
        ({"topics": []}, "topics is empty"),
        ({"topics": ["a", ""]}, "topics is empty"),
        ({"topics": "^logs"}, "not expressions"),
        ({"start": "newest"}, "start must be one of earliest, latest, fail, not 'newest'"),
        ({"max_records_per_bundle": 0}, "max_records_per_bundle"),
        ({"max_read_time_s": 0}, "max_read_time_s"),
        ({"poll_interval_s": -1}, "poll_interval_s"),
        ({"properties": {"error_cb": print}}, "error_cb must be text"),
        (
            {"properties": {"enable.auto.commit": True}},
            "enable.auto.commit is refused: offsets are committed when",
        ),
        ({"properties": {"auto.offset.reset": "latest"}}, "use start="),
        ({"properties": {"group.id": "x"}}, "use group_id="),
        ({"properties": {"bootstrap.servers": "x"}}, "use bootstrap_servers="),
        ({"properties": {"enable.partition.eof": False}}, "the source needs it on"),
        ({"properties": {"enable.auto.offset.store": True}}, "is refused"),
        ({"properties": {"group.protocol": "consumer"}}, "joins no group"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(settings: dict[str, Any], text: str) -> None:
    """At construction, with what to do about it, before anything is contacted."""
    with pytest.raises(ConfigError, match=text):
        transform(**settings)


@pytest.mark.parametrize(
    "name", ["sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.client.secret"]
)
def test_a_secret_in_the_open_is_refused(name: str) -> None:
    """The refusal names the property and does not repeat the secret."""
    with pytest.raises(ConfigError, match=name) as caught:
        transform(properties={name: SECRET})
    assert SECRET not in str(caught.value)


def test_no_secret_is_in_the_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither in the pickled transform, nor in the graph, nor in what the runner shows; the reference is."""
    file = tmp_path / "key"
    file.write_text(SECRET)
    monkeypatch.setenv("KAFKA_PASSWORD", SECRET)
    properties = {"sasl.password": "env:KAFKA_PASSWORD", "ssl.key.password": f"file:{file}"}
    read = transform(properties=properties)
    pipeline = beam.Pipeline(runner="FnApiRunner")
    _ = pipeline | read
    graph = pipeline.to_runner_api().SerializeToString()
    for bytes_ in (pickle.dumps(read), graph, repr(read.display_data()).encode()):
        assert SECRET.encode() not in bytes_
    assert b"env:KAFKA_PASSWORD" in pickle.dumps(read)


def test_a_secret_is_found_where_it_is_used(monkeypatch: pytest.MonkeyPatch, kafka: MockKafka) -> None:
    """A worker without it says which property and where it looked; with it, the client is made."""
    properties = {"security.protocol": "plaintext", "sasl.password": "env:KAFKA_PASSWORD"}
    group = KafkaGroup.of(kafka.bootstrap, "g", properties)
    monkeypatch.delenv("KAFKA_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match=r"sasl\.password is read from env:KAFKA_PASSWORD"):
        group.consumer()
    monkeypatch.setenv("KAFKA_PASSWORD", SECRET)
    with group.asking() as consumer:
        assert "logs" in consumer.list_topics(timeout=10).topics


def test_an_unknown_property_is_a_configuration_error() -> None:
    """What librdkafka says about it is what the user reads."""
    with pytest.raises(ConfigError, match=r"^properties: No such configuration property"):
        KafkaGroup.of("nowhere:1", "g", {"no.such.thing": 1}).consumer()


def test_what_is_shown_says_what_is_read() -> None:
    """The runner's page names servers, topics and group."""
    shown = transform(topics=["a", "b", "a"], start="latest").display_data()
    assert shown["topics"] == "a, b"
    assert (shown["group_id"], shown["start"], shown["until_end"]) == ("g", "latest", False)


def test_librdkafka_speaks_through_logging(kafka: MockKafka, caplog: pytest.LogCaptureFixture) -> None:
    """Its lines go to a logger of ours, not to the standard error of a worker."""
    caplog.set_level(logging.DEBUG, "splunk_hec_beam.librdkafka")
    with KafkaGroup.of(kafka.bootstrap, "g", {"debug": "conf"}).asking() as consumer:
        consumer.poll(0.2)
    assert [one for one in caplog.records if one.name == "splunk_hec_beam.librdkafka"]
