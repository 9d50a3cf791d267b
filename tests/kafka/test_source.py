"""The Kafka side alone: rebalances inside one call, offsets that are gone, callbacks that fail."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as Position
from kafka_tools import committed, produce, wait_for
from map_tools import HERE, Ids
from sink_tools import GROUP, LETTERS, PROTOCOLS, QUIET, RunningSink, indexed, lines, run_to_end, sink_config

from splunk_hec.errors import ConfigError
from splunk_hec_emulator import Emulator
from splunk_hec_kafka._mock_kafka import MockKafka
from splunk_hec_kafka.commit_maps import CommitMaps
from splunk_hec_kafka.commits import Commits
from splunk_hec_kafka.consumer_settings import consumer_properties
from splunk_hec_kafka.enquiries import Starts
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.identities import Identities
from splunk_hec_kafka.metrics import Metrics
from splunk_hec_kafka.offsets import OffsetLedger, Run, TopicPartition
from splunk_hec_kafka.outside import THE_WORLD
from splunk_hec_kafka.settled_map import SettledMap, SettledRun, decode, encode
from splunk_hec_kafka.source import KafkaSource, matches
from splunk_hec_kafka.stalls import PAUSE_AFTER_S, Stalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from splunk_hec_kafka.config import SinkConfig

P, Q = TopicPartition("logs", 0), TopicPartition("logs", 1)
INCREMENTAL = PROTOCOLS["cooperative"]


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    """A broker with two partitions of logs, and the topic of dead letters."""
    with MockKafka({"logs": 2, LETTERS: 1}) as broker:
        yield broker


@pytest.fixture
def hec() -> Iterator[Emulator]:
    """An emulator whose acks come at once."""
    with Emulator(ack_delay="0s") as emulator:
        yield emulator


class _Script:
    """A librdkafka consumer that does in one `consume` what the test says; notes what is asked of it.

    The real one does these things too, but not when a test wants it.
    """

    def __init__(self, *turns: Callable[[_Script], list[Message]]) -> None:
        self.turns = list(turns)
        self.starts: dict[TopicPartition, int] = {}
        self.texts: dict[TopicPartition, str] = {}
        self.moved: list[tuple[str, dict[int, int]]] = []
        self.commits: list[dict[int, int]] = []
        self.ends: dict[int, tuple[int, int]] = {}
        self.commit_error: KafkaException | None = None

    def subscribe(self, _topics: object, **callbacks: Callable[[Any, list[Position]], None]) -> None:
        self.on = callbacks

    def unsubscribe(self) -> None:
        pass

    def consume(self, _count: int, _timeout_s: float) -> list[Message]:
        return self.turns.pop(0)(self) if self.turns else []

    def assigned(self, *at: TopicPartition) -> None:
        self.on["on_assign"](self, [Position(*one) for one in at])

    def revoked(self, *at: TopicPartition) -> None:
        self.on["on_revoke"](self, [Position(*one) for one in at])

    def lost(self, *at: TopicPartition) -> None:
        self.on["on_lost"](self, [Position(*one) for one in at])

    def committed(self, partitions: list[Position], timeout: float) -> list[Position]:
        asked = [TopicPartition(one.topic, one.partition) for one in partitions]
        return [Position(*at, self.starts.get(at, -1001), self.texts.get(at, "")) for at in asked]

    def commit(self, offsets: list[Position], *, asynchronous: bool) -> list[Position]:
        if self.commit_error is not None:
            raise self.commit_error
        self.commits.append({one.partition: one.offset for one in offsets})
        return offsets

    def get_watermark_offsets(self, at: Position, **_: object) -> tuple[int, int] | None:
        return self.ends.get(at.partition)

    def pause(self, partitions: list[Position]) -> None:
        self.moved.append(("pause", {one.partition: one.offset for one in partitions}))

    def resume(self, partitions: list[Position]) -> None:
        self.moved.append(("resume", {one.partition: one.offset for one in partitions}))

    def unassign(self) -> None:
        """Nothing to note."""

    close = unassign

    def assignment(self) -> list[Position]:
        return [Position(*P)]

    def assign(self, partitions: list[Position]) -> None:
        self.moved.append(("assign", {one.partition: one.offset for one in partitions}))

    def incremental_assign(self, partitions: list[Position]) -> None:
        self.moved.append(("add", {one.partition: one.offset for one in partitions}))

    def incremental_unassign(self, partitions: list[Position]) -> None:
        self.moved.append(("remove", {one.partition: one.offset for one in partitions}))


class Scripted:
    """A source over a script, its ledger, its maps, and what it told."""

    def __init__(self, config: SinkConfig, script: _Script) -> None:
        self.ledger = OffsetLedger(keeps_leaders=True)
        self.revoked: list[tuple[list[TopicPartition], bool]] = []
        self.lost: list[tuple[TopicPartition, int, int]] = []
        self.source = KafkaSource(
            config,
            self.ledger,
            on_revoke=lambda going, is_lost: self.revoked.append((going, is_lost)),
            on_lost_range=lambda *lost: self.lost.append(lost),
        )
        self.source._consumer.close()
        self.source._consumer = self.source.enquiries._consumer = script  # type: ignore[assignment]
        ids: Any = Ids()
        self.maps = CommitMaps(self.ledger, Identities(ids, ids, THE_WORLD.clock))
        self.source.commits.maps = self.maps if config.kafka.settled_runs_in_commits else None
        self.source.subscribe()


def record(at: TopicPartition, offset: int) -> Message:
    """A record as consumed."""
    return Message(topic=at.topic, partition=at.partition, offset=offset, value=b"v", leader_epoch=0)


def event(at: TopicPartition, offset: int, code: int) -> Message:
    """An event as consumed."""
    return Message(topic=at.topic, partition=at.partition, offset=offset, error=KafkaError(code))


def eof(at: TopicPartition, offset: int) -> Message:
    """The end of a partition."""
    return event(at, offset, KafkaError._PARTITION_EOF)


def offsets(messages: list[Message]) -> list[tuple[int | None, int | None]]:
    """Partition and offset of each."""
    return [(one.partition(), one.offset()) for one in messages]


# -- a rebalance in the middle of one call -------------------------------------------------------------


def test_records_gathered_before_their_partition_went_are_dropped(kafka: MockKafka, hec: Emulator) -> None:
    """A revoke in the middle of consume: what was gathered for that partition is dropped."""

    def rebalance(script: _Script) -> list[Message]:
        script.revoked(P)
        return [record(P, 5), record(Q, 7), eof(P, 9)]

    script = _Script(lambda it: it.assigned(P, Q) or [record(P, 4), record(Q, 6)], rebalance)
    it = Scripted(sink_config(kafka, hec, properties=INCREMENTAL), script)
    it.source.consume(9, 0)
    assert offsets(it.source.consume(9, 0)) == [(1, 7)]
    assert it.ledger.committable() == {Q: 6}
    assert it.revoked == [([P], False)]
    assert script.commits == [{0: 4}]
    assert it.source.has_left_some


@pytest.mark.parametrize("protocol", ["range", "cooperative"])
def test_a_partition_that_came_back_in_the_same_call_is_read_from_its_start(
    kafka: MockKafka, hec: Emulator, protocol: str
) -> None:
    """Old records behind a new assignment would commit past what was dropped: read again from the start."""

    def rebalance(script: _Script) -> list[Message]:
        old = [record(P, 5), eof(P, 9), record(Q, 2)]
        script.revoked(P)
        script.assigned(P)
        return [*old, record(P, 4)]

    script = _Script(lambda it: it.assigned(P, Q) or [record(P, 4), record(Q, 1)], rebalance)
    script.starts = {P: 4, Q: 1}
    it = Scripted(sink_config(kafka, hec, properties=PROTOCOLS[protocol]), script)
    it.source.consume(9, 0)
    assert offsets(it.source.consume(9, 0)) == [(1, 2)]
    assert it.ledger.committable() == {P: 4, Q: 1}
    assert it.ledger.positions()[P] == 4
    again = {"range": [("assign", {0: 4, 1: 3})], "cooperative": [("remove", {0: 4}), ("add", {0: 4})]}
    moved = [one for one in script.moved if one[0] != "resume"]
    assert moved[len(moved) - len(again[protocol]) :] == again[protocol]
    assert sum(name in ("assign", "add") for name, _ in moved) == 3


def test_a_partition_without_a_position_that_came_back_is_read_from_the_beginning(
    kafka: MockKafka, hec: Emulator
) -> None:
    """The same, where nothing is committed yet."""

    def rebalance(script: _Script) -> list[Message]:
        script.revoked(P)
        script.assigned(P)
        return [record(P, 5)]

    script = _Script(lambda it: it.assigned(P) or [], rebalance)
    it = Scripted(sink_config(kafka, hec), script)
    it.source.consume(9, 0)
    assert it.source.consume(9, 0) == []
    assert script.moved[::2] == [("assign", {0: OFFSET_BEGINNING})] * 3


def test_nothing_is_committed_for_lost_partitions(kafka: MockKafka, hec: Emulator) -> None:
    """The group has gone on: a commit would overwrite what the new owner did."""

    def lose(script: _Script) -> list[Message]:
        script.lost(P)
        return []

    script = _Script(lambda it: it.assigned(P) or [record(P, 4)], lose)
    it = Scripted(sink_config(kafka, hec), script)
    it.source.consume(9, 0)
    it.source.consume(9, 0)
    assert script.commits == []
    assert it.revoked == [([P], True)]
    assert not it.ledger.epochs
    assert it.source.has_left_some


def test_closing_commits_nothing_and_starts_nothing(kafka: MockKafka, hec: Emulator) -> None:
    """Callbacks that come while the consumer closes find a sink that has ended: no commit, no question."""
    script = _Script(lambda it: it.assigned(P) or [record(P, 4)])
    it = Scripted(sink_config(kafka, hec), script)
    it.source.consume(9, 0)
    it.source.close()
    before = list(script.moved)
    script.assigned(Q)
    assert script.moved == before
    script.revoked(P)
    script.lost(Q)
    assert script.commits == []
    assert it.revoked == []


# -- offsets that do not exist -------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["range", "cooperative"])
def test_records_of_a_topic_made_anew_are_fenced(kafka: MockKafka, hec: Emulator, protocol: str) -> None:
    """A position beyond the end is another log: read it from its beginning, fence what is under way."""

    def out_of_range(_script: _Script) -> list[Message]:
        return [record(P, 52), record(Q, 1), event(P, 53, KafkaError._AUTO_OFFSET_RESET)]

    script = _Script(lambda it: it.assigned(P, Q) or [record(P, 51)], out_of_range)
    script.starts, script.ends = {P: 51, Q: 1}, {0: (0, 7)}
    it = Scripted(sink_config(kafka, hec, properties=PROTOCOLS[protocol]), script)
    it.source.consume(9, 0)
    before = it.ledger.epochs
    assert offsets(it.source.consume(9, 0)) == [(1, 1)]
    assert it.ledger.epochs[P] != before[P]
    assert it.ledger.epochs[Q] == before[Q]
    assert it.ledger.committable()[P] == 0
    assert it.lost == []
    assert script.moved[-1][1][0] == 0


def test_a_partition_that_is_moved_stays_paused(kafka: MockKafka, hec: Emulator) -> None:
    """Assigning anew forgets the pause: it is said again, or a full budget would be overrun."""
    gone = [event(P, 5, KafkaError._AUTO_OFFSET_RESET)]
    script = _Script(lambda it: it.assigned(P) or [], lambda _: gone)
    script.starts, script.ends = {P: 5}, {0: (7, 9)}
    it = Scripted(sink_config(kafka, hec), script)
    it.source.consume(9, 0)
    it.source.pause(is_paused=True)
    it.source.consume(9, 0)
    assert script.moved[-2:] == [("assign", {0: 7}), ("pause", {0: 7})]
    assert it.lost == [(P, 5, 7)]


def test_a_new_assignment_is_paused_or_resumed_by_what_holds_now(kafka: MockKafka, hec: Emulator) -> None:
    """A partition keeps its pause while it is away: each assignment says what holds now, either way."""
    script = _Script(lambda it: it.assigned(P) or [], lambda it: it.assigned(Q) or [])
    it = Scripted(sink_config(kafka, hec), script)
    it.source.consume(9, 0)
    it.source.pause(is_paused=True)
    it.source.consume(9, 0)
    assert [moved for moved in script.moved if moved[0] != "assign"] == [
        ("resume", {0: OFFSET_BEGINNING}),
        ("pause", {0: -1001}),
        ("pause", {1: OFFSET_BEGINNING}),
    ]


def test_the_end_that_latest_found_is_committed_before_anything_is_read(
    kafka: MockKafka, hec: Emulator
) -> None:
    """The next member must not look the end up anew: what came in between would be read by nobody."""

    def assign(script: _Script) -> list[Message]:
        script.assigned(P)
        assert script.commits == [{0: 7}]
        return []

    script = _Script(assign)
    script.ends = {0: (2, 7)}
    it = Scripted(sink_config(kafka, hec, kafka_start="latest"), script)
    it.source.enquiries._known_at_start = {P}
    it.source.consume(9, 0)
    assert it.ledger.committable() == {P: 7}
    assert it.source.commits.are_up_to_date()


def test_events_of_partitions_that_are_not_ours_change_nothing(kafka: MockKafka, hec: Emulator) -> None:
    """A late event of a partition that went is ignored."""
    script = _Script(lambda _: [event(P, 5, KafkaError._AUTO_OFFSET_RESET), eof(Q, 3)])
    it = Scripted(sink_config(kafka, hec), script)
    assert it.source.consume(9, 0) == []
    assert (it.ledger.committable(), script.moved) == ({}, [])


def test_a_broker_that_does_not_tell_the_offsets_ends_the_sink(kafka: MockKafka, hec: Emulator) -> None:
    """Without knowing what is left of a partition nothing can go on: exit 4."""
    script = _Script(lambda it: it.assigned(P) or [], lambda _: [event(P, 5, KafkaError._AUTO_OFFSET_RESET)])
    it = Scripted(sink_config(kafka, hec), script)
    it.source.consume(9, 0)
    with pytest.raises(SinkFailure, match="offsets of logs/0") as caught:
        it.source.consume(9, 0)
    assert caught.value.exit_code == ExitCode.KAFKA


def delete_first_records(kafka: MockKafka, count: int) -> None:
    """Fill partition 0 beyond the mock broker's 5 MiB, so that the oldest are gone."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "batch.num.messages": 1} | QUIET)
    for number in range(count):
        producer.produce("logs", b"%d" % number + b"x" * 800_000, partition=0)
        producer.flush(10)


def commit(kafka: MockKafka, offset: int) -> None:
    """Commit for partition 0, as another member did."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": GROUP} | QUIET)
    consumer.commit(offsets=[Position("logs", 0, offset)], asynchronous=False)
    consumer.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_loss_by_retention_is_told_and_the_rest_delivered(
    kafka: MockKafka, hec: Emulator, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Records deleted before they were read: an ERROR with the range, a count, and on from what is left."""
    delete_first_records(kafka, 12)
    commit(kafka, 2)
    code, running = run_to_end(sink_config(kafka, hec, properties=PROTOCOLS[protocol]))
    assert code == ExitCode.OK
    found = sorted(offset for _, _, offset in indexed(hec))
    assert found[-1] == 11
    first = found[0]
    assert found == list(range(first, 12))
    assert first > 2
    (told,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert f"offsets 2 to {first - 1} were deleted" in told.getMessage()
    assert running.metrics.total("lost_records", topic="logs", partition="0") == first - 2
    assert committed(kafka.bootstrap, GROUP, "logs", [0]) == {0: 12}


def test_loss_by_retention_ends_the_sink_with_start_fail(
    kafka: MockKafka, hec: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """With start = fail a lost range is told and ends the sink with 4; nothing is committed."""
    delete_first_records(kafka, 12)
    commit(kafka, 2)
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": GROUP} | QUIET)
    consumer.commit(offsets=[Position("logs", 1, 0)], asynchronous=False)
    consumer.close()
    with RunningSink(sink_config(kafka, hec, kafka_start="fail")) as running:
        assert running.ended() == ExitCode.KAFKA
        assert "offset 2 of logs/0 is out of range" in str(running.failure)
    assert any("were deleted" in one.getMessage() for one in caplog.records)
    assert committed(kafka.bootstrap, GROUP, "logs", [0]) == {0: 2}


# -- callbacks that fail -------------------------------------------------------------------------------


def test_a_failure_inside_a_callback_ends_the_sink_from_the_loop(kafka: MockKafka, hec: Emulator) -> None:
    """What is found in an assignment callback is raised by consume, and records that came are not taken."""

    def assign(script: _Script) -> list[Message]:
        script.assigned(P)
        return [record(P, 0)]

    it = Scripted(sink_config(kafka, hec, kafka_start="fail"), _Script(assign))
    with pytest.raises(SinkFailure, match="no committed offset"):
        it.source.consume(9, 0)
    assert it.ledger.committable() == {}


def test_committed_offsets_are_asked_again_while_the_broker_restarts(kafka: MockKafka, hec: Emulator) -> None:
    """One unanswered question in a rebalance is not the end; no answer for the start's patience is."""

    class Deaf(_Script):
        unheard = 2

        def committed(self, partitions: list[Position], timeout: float) -> list[Position]:
            self.unheard -= 1
            if self.unheard >= 0:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            return super().committed(partitions, timeout)

    deaf = Deaf(lambda it: it.assigned(P) or [record(P, 0)])
    it = Scripted(sink_config(kafka, hec), deaf)
    assert offsets(it.source.consume(9, 0)) == [(0, 0)]
    deaf = Deaf(lambda it: it.assigned(P) or [])
    it = Scripted(sink_config(kafka, hec, run_startup_timeout_s=1e-9), deaf)
    with pytest.raises(SinkFailure, match="committed offsets"):
        it.source.consume(9, 0)


def test_a_partition_whose_offset_cannot_be_told_is_asked_again(kafka: MockKafka, hec: Emulator) -> None:
    """An error of one partition is no commit, and must not be read as there is none: asked again."""

    class Erring(_Script):
        calls = 0

        def committed(self, partitions: list[Position], timeout: float) -> list[Position]:
            self.calls += 1
            found = Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "g"} | QUIET)
            found.close()
            if self.calls > 1:
                return super().committed(partitions, timeout)
            return [_Erring("logs", 0)]

    script = Erring(lambda it: it.assigned(P) or [record(P, 3)])
    script.starts = {P: 3}
    it = Scripted(sink_config(kafka, hec), script)
    it.source.consume(9, 0)
    assert script.calls == 2
    assert it.ledger.committable() == {P: 3}


class _Erring(Position):
    """A partition as the broker tells it with an error (librdkafka's own has no setter for it)."""

    error = KafkaError(KafkaError.NOT_COORDINATOR)


def test_a_fatal_error_ends_the_sink(
    kafka: MockKafka, hec: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """An error librdkafka calls fatal ends the sink with 4; any other is logged."""
    it = Scripted(sink_config(kafka, hec), _Script())
    it.source._on_error(KafkaError(KafkaError._TRANSPORT))
    assert it.source.failure is None
    assert "kafka: " in caplog.text
    it.source._on_error(KafkaError(KafkaError._FATAL, "fenced", fatal=True))
    with pytest.raises(SinkFailure, match="failed for good") as caught:
        it.source.serve(0)
    assert caught.value.exit_code == ExitCode.KAFKA


def test_an_unknown_property_is_a_configuration_error(kafka: MockKafka, hec: Emulator) -> None:
    """Librdkafka's judgement of a property names the section."""
    with pytest.raises(ConfigError, match=r"^kafka\.properties: "):
        Scripted(sink_config(kafka, hec, properties={"no.such.thing": 1}), _Script())


def test_the_promise_cannot_be_overridden(kafka: MockKafka, hec: Emulator) -> None:
    """Whatever is configured, librdkafka neither commits, stores nor resets offsets by itself."""
    hostile = {
        "enable.auto.commit": True,
        "enable.auto.offset.store": True,
        "auto.offset.reset": "latest",
        "enable.partition.eof": False,
        "fetch.wait.max.ms": 77,
    }
    found = consumer_properties(sink_config(kafka, hec, properties=hostile))
    assert found["enable.auto.commit"] == found["enable.auto.offset.store"] == "false"
    assert (found["auto.offset.reset"], found["enable.partition.eof"]) == ("error", "true")
    assert found["fetch.wait.max.ms"] == "77"


# -- commits -------------------------------------------------------------------------------------------


def held(**starts: int) -> tuple[OffsetLedger, Commits]:
    """A ledger with partitions whose start is known, and its commits."""
    ledger = OffsetLedger()
    ledger.assign({TopicPartition("logs", int(name[1:])): start for name, start in starts.items()})
    return ledger, Commits(ledger)


def test_one_asynchronous_commit_at_a_time() -> None:
    """A second commit waits for the report of the first, unless that is lost for long."""
    _, commits = held(p0=5)
    script: Any = _Script()
    commits.begin(script, 0.0)
    commits.begin(script, 20.0)
    assert script.commits == [{0: 5}]
    commits.begin(script, 31.0)
    assert len(script.commits) == 2
    commits.on_report(None, [Position("logs", 0, 5)])
    assert commits.committed == {P: 5}
    assert commits.are_up_to_date()
    commits.begin(script, 31.1)
    assert len(script.commits) == 2
    commits.begin(script, 32.0)
    assert len(script.commits) == 3


def test_a_commit_that_is_refused_is_not_believed() -> None:
    """Neither an exception nor an error in a report counts as committed; the next turn tries again."""
    _, commits = held(p0=5)
    script: Any = _Script()
    script.commit_error = KafkaException(KafkaError(KafkaError._STATE))
    commits.begin(script, 0.0)
    commits.carry_out(script, [P], 0.0)
    script.commit_error = None
    commits.begin(script, 1.0)
    commits.on_report(KafkaError(KafkaError.UNKNOWN_MEMBER_ID), [Position("logs", 0, 5)])
    commits.on_report(None, [_Erring("logs", 0, 5)])
    assert commits.committed == {}
    assert not commits.are_up_to_date()
    commits.begin(script, 2.0)
    assert len(script.commits) == 2


def test_what_is_committed_already_is_not_committed_in_a_revoke() -> None:
    """A rebalance is not made longer by a commit that changes nothing."""
    _, commits = held(p0=5, p1=6)
    script: Any = _Script()
    commits.learn(Starts({P: 5}, {}, {}))
    commits.carry_out(script, [P], 0.0)
    assert script.commits == []
    commits.carry_out(script, [P, Q], 0.0)
    assert script.commits == [{1: 6}]
    commits.forget([Q])
    assert commits.committed == {P: 5}


def test_a_revoke_lets_an_older_commit_pass_first() -> None:
    """While an asynchronous commit may still be repeated, the one of a revoke waits; else it does not."""
    slept: list[float] = []
    ledger = OffsetLedger()
    ledger.assign({P: 5})
    commits = Commits(ledger, THE_WORLD._replace(clock=lambda: 10.25, sleep=slept.append))
    script: Any = _Script()
    commits.carry_out(script, [P], 0.0)
    assert slept == []  # nothing is under way
    ledger.jump(P, 7)
    commits.begin(script, 10.0)
    commits.carry_out(script, [P], 0.0)
    assert slept == [pytest.approx(0.75)]
    assert script.commits == [{0: 5}, {0: 7}, {0: 7}]
    ledger.jump(P, 9)
    commits.carry_out(script, [P], 10.2)  # it may have been held up until the group was there again
    assert slept[1:] == [pytest.approx(0.95)]


def test_the_group_does_not_go_back_when_a_commit_is_repeated(kafka: MockKafka) -> None:
    """What librdkafka really does: a refused asynchronous commit arrives after the one that followed it."""
    ledger = OffsetLedger()
    ledger.assign({P: 100})
    commits = Commits(ledger)
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "g", **QUIET})
    try:
        consumer.subscribe(["logs"])
        wait_for(lambda: consumer.consume(1, 0.1) or consumer.assignment(), "the assignment")
        kafka.push_errors(
            8,  # OffsetCommit
            [KafkaError.COORDINATOR_LOAD_IN_PROGRESS],
        )
        commits.begin(consumer, THE_WORLD.clock())
        ledger.jump(P, 200)
        commits.carry_out(consumer, [P], THE_WORLD.clock())
        Event().wait(0.5)  # it would come 0.1 or 0.2 s after the first
        (found,) = consumer.committed([Position("logs", 0)], timeout=5)
        assert found.offset == 200
    finally:
        consumer.close()


def test_nothing_known_is_nothing_to_commit() -> None:
    """Without a position there is no commit, not even an empty one."""
    _, commits = held()
    script: Any = _Script()
    commits.begin(script, 0.0)
    assert script.commits == []


# -- settled maps ----------------------------------------------------------------------------------------


MAPPED = SettledMap(*HERE, 0, 5, (SettledRun(7, 9, 0),))


def mapping(kafka: MockKafka, hec: Emulator, *turns: Callable[[_Script], list[Message]]) -> Scripted:
    """A source that keeps maps; P was committed at 5, with one."""
    script = _Script(*turns)
    script.starts, script.texts, script.ends = {P: 5}, {P: encode(MAPPED)}, {0: (6, 20)}
    return Scripted(sink_config(kafka, hec, kafka_settled_runs_in_commits=True), script)


def test_the_text_beside_a_commit_is_the_map_of_its_partition(kafka: MockKafka, hec: Emulator) -> None:
    """What was committed with an offset is known before anything of its partition is read."""
    it = mapping(kafka, hec, lambda it: it.assigned(P) or [record(P, 5), record(P, 6), record(P, 7)])
    assert offsets(it.maps.split(it.source.consume(9, 0)).settled) == [(0, 7)]


def test_a_position_that_is_gone_makes_the_map_void(kafka: MockKafka, hec: Emulator) -> None:
    """Retention or another topic: what the offsets of the map mean is not known any more."""
    gone = [event(P, 5, KafkaError._AUTO_OFFSET_RESET)]
    it = mapping(kafka, hec, lambda it: it.assigned(P) or [], lambda _: gone, lambda _: [record(P, 7)])
    it.source.consume(9, 0)
    it.source.consume(9, 0)
    assert it.maps.split(it.source.consume(9, 0)).settled == []


def test_an_end_waits_for_the_news_of_a_map_but_not_for_ever(kafka: MockKafka, hec: Emulator) -> None:
    """What settled beyond an open record is told with the last commit; the promise is the offset's."""
    told: list[list[Position]] = []

    def report(script: _Script) -> list[Message]:
        told.append([Position(*P, 5, it.maps.texts({P: 5})[P])])
        it.source._on_commit(None, told[-1])
        return []

    it = mapping(kafka, hec, lambda it: it.assigned(P) or [record(P, offset) for offset in (5, 6, 7)], report)
    it.source.consume(9, 0)
    assert it.source.commit_by(THE_WORLD.clock())  # nothing is new
    assert it.ledger.settle(Run(P, it.ledger.epochs[P], 6, 7))
    assert it.source.commit_by(THE_WORLD.clock() + 10)
    found = decode(told[0][0].metadata)
    assert found is not None
    assert found.runs == (SettledRun(6, 9, 0),)
    it.ledger.open([record(P, 8)], 0.0)
    assert it.source.commit_by(
        THE_WORLD.clock()
    )  # its news are not told in time, and nothing is lost by that
    assert it.ledger.settle(Run(P, it.ledger.epochs[P], 5, 5))
    assert not it.source.commit_by(THE_WORLD.clock())


def test_a_broker_that_tells_no_ids_costs_the_maps_and_nothing_else(
    kafka: MockKafka, hec: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """The mock cluster does not describe topics: records are delivered and committed as without maps."""
    produce(kafka.bootstrap, "logs", lines(50), partition=0)
    code, _ = run_to_end(sink_config(kafka, hec, kafka_settled_runs_in_commits=True))
    assert code == ExitCode.OK
    assert sum(indexed(hec).values()) == 50
    assert "the ids of the cluster and of logs cannot be told" in caplog.text
    assert committed(kafka.bootstrap, GROUP, "logs", [0]) == {0: 50}


# -- topics and stalls ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "is_matched"), [("app", True), ("application", False), ("audit.x", True), ("x.audit.", False)]
)
def test_topics_are_names_or_expressions(name: str, is_matched: bool) -> None:
    """A name matches itself alone; what starts with ^ is an expression."""
    assert matches(name, ["app", r"^audit\..*"]) is is_matched


def test_a_stall_is_told_once_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    """Short stalls are counted only; long ones are logged, shown, and logged again when they end."""
    caplog.set_level(logging.INFO)
    metrics = Metrics()
    stalls = Stalls(metrics)
    stalls.note({"budget"}, 10.0)
    assert not stalls.are_long({"budget"}, 10.5)
    stalls.note(set(), 10.5)
    assert (metrics.total("pause_seconds"), caplog.text) == (0.5, "")
    stalls.note({"budget"}, 11.0)
    stalls.note({"budget", "endpoint"}, 11.0 + PAUSE_AFTER_S)
    assert stalls.are_long({"budget"}, 11.0 + PAUSE_AFTER_S)
    assert not stalls.are_long({"endpoint"}, 11.0 + PAUSE_AFTER_S)
    assert stalls.is_told("budget")
    assert not stalls.is_told("endpoint")
    assert [name for name, _, _ in stalls.lasting(12.5)] == ["budget"]
    assert metrics.total("paused", reason="budget") == 1
    stalls.note(set(), 13.0)
    assert caplog.text.count("paused: ") == 1
    assert "resumed after 2.0 s (budget)" in caplog.text
    assert metrics.total("paused") == 0
    assert not stalls.are_long(set(), 13.0)


def test_a_new_partition_is_read_from_its_beginning_with_latest(hec: Emulator) -> None:
    """Topics that appear after the start are read whole, also with start = latest."""
    with MockKafka({"logs.a": 1, LETTERS: 1}) as kafka:
        produce(kafka.bootstrap, "logs.a", lines(3))
        often = {"topic.metadata.refresh.interval.ms": 200, "metadata.max.age.ms": 1000}
        config = sink_config(kafka, hec, "^logs", kafka_start="latest", properties=often)
        with RunningSink(config) as running:
            wait_for(lambda: running.sink._ledger.epochs, "the assignment")
            kafka.create_topic("logs.b", 1)
            produce(kafka.bootstrap, "logs.b", lines(4))
            wait_for(lambda: len(indexed(hec)) == 4, "the new topic")
            assert running.stopped() == ExitCode.OK
        assert {topic for topic, _, _ in indexed(hec)} == {"logs.b"}


def test_the_log_says_where_reading_began_and_how_far_it_came(
    kafka: MockKafka, hec: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """With each assignment its start, with each that goes its position: what is read twice can be told."""
    caplog.set_level(logging.INFO, "splunk_hec_kafka")
    script = _Script(
        lambda it: it.assigned(P, Q) or [], lambda _: [record(P, 5)], lambda it: it.lost(P) or []
    )
    script.starts = {P: 5}
    it = Scripted(sink_config(kafka, hec, properties=INCREMENTAL), script)
    for _ in range(3):
        it.source.consume(9, 0)
    assert "assigned logs/0@5, logs/1@start" in caplog.text
    assert "lost logs/0@6: " in caplog.text


@pytest.mark.e2e
def test_a_member_that_leaves_before_its_first_assignment_never_hangs() -> None:
    """Closing ends whenever it comes: an assignment that is on its way then cannot freeze the process."""
    script = Path(__file__).with_name("close_at_once.py")
    subprocess.run([sys.executable, "-I", str(script), "60"], check=True, timeout=100)
