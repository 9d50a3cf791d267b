"""`kafka.settled_runs_in_commits` on a real broker: what a crash repeats, and when a map is not used.

One batch's acknowledgement is withheld, so that nothing behind it can be committed; the maps in the commits
tell the next process what it need not send. Whatever is asserted of maps is read by a client of its own.
"""

from __future__ import annotations

import http.client
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from e2e_tools import (
    END_S,
    Feed,
    Place,
    SinkProcess,
    Splunk,
    fill,
    free_port,
    lag,
    log_lines,
    metrics,
    places,
    settings,
)
from kafka_tools import DEADLINE_S, committed, produce, wait_for
from real_kafka import RealKafka, why_impossible

from splunk_hec_kafka.settled_map import decode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

BEHIND, BATCH = 100_000, 500
MAPS: dict[str, Any] = {"kafka__settled_runs_in_commits": True, "hec__batch_max_events": BATCH}


@pytest.fixture
def splunk(tmp_path: Path) -> Iterator[Splunk]:
    """A HEC server with acknowledgements after 0.2 s."""
    with Splunk(tmp_path, "--ack-delay", "0.2s") as server:
        yield server


def withhold_one_ack(splunk: Splunk) -> None:
    """The next batch is indexed, and never acknowledged."""
    connection = http.client.HTTPConnection(splunk.url.removeprefix("http://"), timeout=END_S)
    try:
        connection.request("PUT", "/emulator/faults", json.dumps(["ack-never,count=1"]))
        reply = connection.getresponse()
        assert reply.status == 200, reply.read()
    finally:
        connection.close()


def commit_of(kafka: RealKafka, topic: str) -> TopicPartition:
    """What the group has committed of partition 0, and the text beside it."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": f"group-of-{topic}"})
    try:
        (found,) = consumer.committed([TopicPartition(topic, 0)], DEADLINE_S)
        return found
    finally:
        consumer.close()


def settled(kafka: RealKafka, topic: str) -> set[Place]:
    """What the group's commit calls settled: below its offset, and beyond by its map."""
    found = commit_of(kafka, topic)
    beyond = decode(found.metadata)
    offsets = set(range(max(0, found.offset)))
    for first, last, _ in beyond.runs if beyond is not None else ():
        offsets.update(range(first, last + 1))
    return {(topic, 0, offset) for offset in offsets}


def stick(kafka: RealKafka, splunk: Splunk, sink: SinkProcess, topic: str, behind: int) -> set[Place]:
    """Let one batch hang, and all that is written behind it settle; returns the batch."""
    sink.wait_until(lambda: sink.logged(f"assigned {topic}"), "its partition", END_S)
    withhold_one_ack(splunk)
    produce(kafka.bootstrap, topic, log_lines(BATCH), partition=0)
    sink.wait_until(lambda: splunk.stats()["events_indexed"] == BATCH, "the batch to be taken", END_S)
    fill(kafka.bootstrap, topic, log_lines(behind), 1)
    sink.wait_until(lambda: len(settled(kafka, topic)) >= behind, "the map of all behind it", END_S)
    return places(kafka.bootstrap, topic) - settled(kafka, topic)


def no_lag(kafka: RealKafka, sink: SinkProcess, topic: str) -> None:
    """Wait until everything is committed."""
    sink.wait_until(lambda: lag(kafka.bootstrap, f"group-of-{topic}", topic) == 0, "no lag", END_S)


def test_a_kill_repeats_the_batch_that_hung_and_not_what_settled_behind_it(
    real_kafka: RealKafka, splunk: Splunk, tmp_path: Path
) -> None:
    """With one acknowledgement withheld and 100,000 records settled behind, that batch alone comes twice."""
    topic, port = "hung", free_port()
    real_kafka.create_topic(topic)
    real_kafka.create_topic(f"{topic}.dead")
    config = settings(real_kafka.bootstrap, [topic], splunk.url, server__listen=f"127.0.0.1:{port}", **MAPS)
    with SinkProcess(tmp_path / "sink", config) as sink:
        hung = stick(real_kafka, splunk, sink, topic, BEHIND)
        assert committed(real_kafka.bootstrap, f"group-of-{topic}", topic, [0]) in ({0: 0}, {0: None})
        sink.kill()
        assert splunk.indexed() == Counter(places(real_kafka.bootstrap, topic))
        sink.start()
        no_lag(real_kafka, sink, topic)
        skipped = metrics(port)["hec_sink_records_skipped_total", "reason=settled"]
        assert sink.terminate() == 0
        beyond = (
            BATCH + BEHIND - len(hung)
        )  # a fetch that took a part of the first lines makes a smaller batch
        assert sink.logged(f"{topic}/0@0: {beyond} offsets up to {BEHIND + BATCH - 1} are settled already")
    assert 0 < len(hung) <= BATCH
    assert splunk.indexed() - Counter(places(real_kafka.bootstrap, topic)) == Counter(hung)
    assert skipped == beyond


def test_a_kill_in_full_flow_repeats_nothing_that_the_last_commit_told(
    real_kafka: RealKafka, splunk: Splunk, tmp_path: Path
) -> None:
    """While records keep coming: what was in flight or settled since the last commit comes twice, no more."""
    topic = "flowing"
    real_kafka.create_topic(topic)
    real_kafka.create_topic(f"{topic}.dead")
    config = settings(real_kafka.bootstrap, [topic], splunk.url, **MAPS)
    per_s = 2_000
    with SinkProcess(tmp_path / "sink", config) as sink:
        hung = stick(real_kafka, splunk, sink, topic, 10_000)
        with Feed(real_kafka.bootstrap, topic, 1, per_s=per_s):
            before = len(settled(real_kafka, topic))
            sink.wait_until(lambda: len(settled(real_kafka, topic)) > before + per_s, "the flow", END_S)
            sink.kill()
            told = settled(real_kafka, topic)
            sink.start()
            sink.wait_until(lambda: sink.logged("are settled already"), "its map", END_S)
        no_lag(real_kafka, sink, topic)
        assert sink.terminate() == 0
    assert splunk.indexed().keys() == places(real_kafka.bootstrap, topic)
    twice = splunk.indexed() - Counter(places(real_kafka.bootstrap, topic))
    assert not twice.keys() & told
    assert hung <= twice.keys()
    # Acknowledgements take 0.2 s, commits come every half second: three seconds are far more than both.
    assert twice.total() <= len(hung) + 3 * per_s


def test_an_end_with_a_batch_that_hangs_tells_what_settled_behind_it(splunk: Splunk, tmp_path: Path) -> None:
    """After SIGTERM, and a restart of the broker: what was settled is skipped, and what came since is not."""
    topic = "ended"
    if why_impossible():
        pytest.skip(f"NOT TESTED AGAINST A REAL KAFKA BROKER: {why_impossible()}")
    with RealKafka() as kafka:
        kafka.create_topic(topic)
        kafka.create_topic(f"{topic}.dead")
        config = settings(kafka.bootstrap, [topic], splunk.url, run__shutdown_s=2, **MAPS)
        with SinkProcess(tmp_path / "sink", config) as sink:
            hung = stick(kafka, splunk, sink, topic, 5_000)
            fill(kafka.bootstrap, topic, log_lines(5_000), 1)
            wait_for(
                lambda: splunk.stats()["events_indexed"] == BATCH + 10_000, "the rest to be taken", END_S
            )
            assert sink.terminate() == 7
            assert places(kafka.bootstrap, topic) - settled(kafka, topic) == hung
            kafka.kill()
            kafka.start()  # the partition has another leader epoch now
            fill(kafka.bootstrap, topic, log_lines(5_000), 1)
            sink.start()
            no_lag(kafka, sink, topic)
            assert sink.terminate() == 0
        twice = splunk.indexed() - Counter(places(kafka.bootstrap, topic))
        assert splunk.indexed().keys() == places(kafka.bootstrap, topic)
        assert twice == Counter(hung)


def test_a_topic_made_anew_is_read_although_its_commits_were_kept(
    real_kafka: RealKafka, splunk: Splunk, tmp_path: Path
) -> None:
    """The new topic has the same name, offsets and leader epochs: the map of the old one skips none of it."""
    topic = "anew"
    real_kafka.create_topic(topic)
    real_kafka.create_topic(f"{topic}.dead")
    config = settings(real_kafka.bootstrap, [topic], splunk.url, **MAPS)
    with SinkProcess(tmp_path / "sink", config) as sink:
        stick(real_kafka, splunk, sink, topic, 2_000)
        sink.kill()
        kept = commit_of(real_kafka, topic)
        assert decode(kept.metadata)
        admin = real_kafka.admin()
        admin.delete_topics([topic])[topic].result(END_S)
        wait_for(lambda: topic not in admin.list_topics(timeout=END_S).topics, "the topic to be gone", END_S)
        real_kafka.create_topic(topic)
        fill(real_kafka.bootstrap, topic, log_lines(3_000), 1)
        consumer = Consumer({"bootstrap.servers": real_kafka.bootstrap, "group.id": f"group-of-{topic}"})
        wait_for(lambda: _is_committed(consumer, kept), "the group to be empty", END_S)
        consumer.close()
        sink.start()
        no_lag(real_kafka, sink, topic)
        assert sink.terminate() == 0
        assert sink.summary()["skipped"] == 0
        assert sink.logged(f"{topic}/0: the settled map of its commit is not used: it is of the topic id")
    first = max(0, kept.offset)
    assert splunk.indexed().keys() >= {(topic, 0, offset) for offset in range(first, 3_000)}
    assert all(splunk.indexed()[topic, 0, offset] == 2 for offset in range(first, 2_000))


def _is_committed(consumer: Consumer, kept: TopicPartition) -> bool:
    """Whether the broker takes a commit from outside, which it does once the group has no members."""
    try:
        consumer.commit(offsets=[kept], asynchronous=False)
    except KafkaException:
        return False
    return True


def test_a_broker_that_refuses_such_texts_gets_the_offsets_alone(splunk: Splunk, tmp_path: Path) -> None:
    """With a small offset.metadata.max.bytes all is delivered and committed; the log says what is missing."""
    topic = "short"
    if why_impossible():
        pytest.skip(f"NOT TESTED AGAINST A REAL KAFKA BROKER: {why_impossible()}")
    with RealKafka({"offset.metadata.max.bytes": "64"}) as kafka:
        kafka.create_topic(topic)
        kafka.create_topic(f"{topic}.dead")
        config = settings(kafka.bootstrap, [topic], splunk.url, hec__ack_deadline_s=5, **MAPS)
        with SinkProcess(tmp_path / "sink", config) as sink:
            sink.wait_until(lambda: sink.logged(f"assigned {topic}"), "its partition", END_S)
            withhold_one_ack(splunk)
            produce(kafka.bootstrap, topic, log_lines(BATCH), partition=0)
            fill(kafka.bootstrap, topic, log_lines(5_000), 1)
            no_lag(kafka, sink, topic)
            assert sink.terminate() == 0
            [line] = sink.logged("the broker refuses a settled map")
        assert "offset.metadata.max.bytes" in line["message"]
        assert splunk.indexed().keys() == places(kafka.bootstrap, topic)
