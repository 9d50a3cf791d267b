"""The sink's loop from start to end, and what it commits; against a mock broker and the emulator."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Message
from kafka_tools import committed, produce, read_all, wait_for
from sink_tools import (
    GROUP,
    LETTERS,
    Observer,
    RunningSink,
    dead_lettered,
    feed,
    indexed,
    lines,
    run_to_end,
    sink_config,
)

from splunk_hec._lane import Lane
from splunk_hec_emulator import Emulator
from splunk_hec_kafka._mock_kafka import MockKafka
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.metrics import Metrics
from splunk_hec_kafka.offsets import TopicPartition
from splunk_hec_kafka.readying import fix_of
from splunk_hec_kafka.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator

OFFSET_COMMIT = 8


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    """A broker with two partitions of logs, and the topic of dead letters."""
    with MockKafka({"logs": 2, LETTERS: 1}) as broker:
        yield broker


@pytest.fixture
def hec() -> Iterator[Emulator]:
    """An emulator whose acks come after a moment."""
    with Emulator(ack_delay="0.1s") as emulator:
        yield emulator


def commits(kafka: MockKafka, topic: str = "logs", partitions: int = 2) -> list[int]:
    """The group's committed offsets; 0 where there is none."""
    found = committed(kafka.bootstrap, GROUP, topic, range(partitions))
    return [found[number] or 0 for number in range(partitions)]


def codes(running: RunningSink) -> list[str]:
    """Why the sink is not ready."""
    return [reason.code for reason in running.sink.readiness().reasons]


# -- the good path -------------------------------------------------------------------------------------


def test_every_record_is_indexed_once_and_committed(kafka: MockKafka, hec: Emulator) -> None:
    """The main job: all records indexed, in order, nothing dead-lettered, everything committed, exit 0."""
    expected = feed(kafka, "logs", 2, 1500)
    with Observer(kafka, hec, "logs", 2) as observer:
        code, running = run_to_end(sink_config(kafka, hec))
    observer.check()
    assert observer.committed == {0: 1500, 1: 1500}
    assert code == ExitCode.OK
    assert indexed(hec) == dict.fromkeys(expected, 1)
    assert commits(kafka) == [1500, 1500]
    assert not dead_lettered(kafka)
    summary = running.sink.summary()
    assert (summary.records, summary.delivered, summary.committed, summary.resends) == (3000, 3000, True, {})
    assert summary.ack_latency_s["p99"] > 0
    assert (
        running.metrics.total("committed_offset") == 3000 or running.metrics.total("records_consumed") == 3000
    )


def test_until_end_takes_empty_partitions_several_topics_and_expressions(hec: Emulator) -> None:
    """All matched partitions are settled, empty ones included, topics that match nothing are left alone."""
    with MockKafka({"logs": 2, "empty": 3, "audit.a": 1, "audit.b": 1, "other": 1, LETTERS: 1}) as kafka:
        for topic in ("logs", "audit.a", "audit.b", "other"):
            produce(kafka.bootstrap, topic, lines(20), partition=0)
        code, _ = run_to_end(sink_config(kafka, hec, "logs", "empty", r"^audit\..*"))
        assert code == ExitCode.OK
        assert {topic for topic, _, _ in indexed(hec)} == {"logs", "audit.a", "audit.b"}
        assert commits(kafka) == [20, 0]
        assert commits(kafka, "audit.a", 1) == commits(kafka, "audit.b", 1) == [20]
        assert commits(kafka, "other", 1) == [0]


def test_until_end_with_nothing_at_all_ends_at_once(kafka: MockKafka, hec: Emulator) -> None:
    """Empty topics are done: no wait for a first record."""
    assert run_to_end(sink_config(kafka, hec))[0] == ExitCode.OK


def test_until_end_ends_while_more_is_written(kafka: MockKafka, hec: Emulator) -> None:
    """The end is fixed at the start: records that keep coming do not keep the sink."""
    feed(kafka, "logs", 2, 50)
    with RunningSink(sink_config(kafka, hec, run_shutdown_s=5), until_end=True) as running:
        deadline = time.monotonic() + 30
        while not running.is_ended and time.monotonic() < deadline:
            produce(kafka.bootstrap, "logs", lines(5), partition=0)
        assert running.ended() == ExitCode.OK
    assert min(commits(kafka)) >= 50


def test_a_second_run_goes_on_where_the_first_ended(kafka: MockKafka, hec: Emulator) -> None:
    """What was committed is not read again, what came meanwhile is."""
    feed(kafka, "logs", 2, 50)
    assert run_to_end(sink_config(kafka, hec))[0] == ExitCode.OK
    for partition in range(2):
        produce(kafka.bootstrap, "logs", lines(10), partition=partition)
    code, running = run_to_end(sink_config(kafka, hec))
    assert code == ExitCode.OK
    assert running.sink.summary().records == 20
    assert indexed(hec) == {("logs", partition, offset): 1 for partition in range(2) for offset in range(60)}


# -- commits -------------------------------------------------------------------------------------------


def test_nothing_is_committed_before_it_is_acknowledged(kafka: MockKafka, hec: Emulator) -> None:
    """Accepted is not indexed: while acks are withheld the committed offset stays where it was."""
    feed(kafka, "logs", 2, 100)
    assert run_to_end(sink_config(kafka, hec))[0] == ExitCode.OK
    hec.set_faults("ack-error:503")
    produce(kafka.bootstrap, "logs", lines(100), partition=0)
    with RunningSink(sink_config(kafka, hec)) as running:
        wait_for(lambda: len(indexed(hec)) == 300, "the events to be indexed")
        before = running.metrics.total("requests", status="503")
        wait_for(lambda: running.metrics.total("requests", status="503") >= before + 2, "two more polls")
        assert commits(kafka) == [100, 100]
        hec.set_faults()
        wait_for(lambda: commits(kafka) == [200, 100], "the commit")
        assert running.stopped() == ExitCode.OK


def test_commits_that_fail_are_tried_again(kafka: MockKafka, hec: Emulator) -> None:
    """Errors of OffsetCommit cost time only: the offsets arrive in the end."""
    feed(kafka, "logs", 2, 100)
    kafka.push_errors(OFFSET_COMMIT, [7, 14, 15, 16])  # time-out, loading, no coordinator, not coordinator
    code, _ = run_to_end(sink_config(kafka, hec))
    assert code == ExitCode.OK
    assert commits(kafka) == [100, 100]


def test_a_member_that_commits_without_permission_ends(kafka: MockKafka, hec: Emulator) -> None:
    """A group that may not be written is a fault of the deployment: exit 4, not an endless warning."""
    feed(kafka, "logs", 1, 10)
    kafka.push_errors(OFFSET_COMMIT, [30] * 20)  # GROUP_AUTHORIZATION_FAILED
    with RunningSink(sink_config(kafka, hec)) as running:
        assert running.ended() == ExitCode.KAFKA
        assert "refuses this consumer" in str(running.failure)
    assert commits(kafka) == [0, 0]


@pytest.mark.e2e
def test_an_unchanged_offset_is_committed_again_and_again(kafka: MockKafka, hec: Emulator) -> None:
    """A commit goes out at least every two seconds: only it notices that the group dropped this member."""
    feed(kafka, "logs", 2, 10)
    with RunningSink(sink_config(kafka, hec)) as running:
        wait_for(lambda: commits(kafka) == [10, 10], "the first commit")
        for _ in range(2):
            kafka.push_errors(OFFSET_COMMIT, [25])  # UNKNOWN_MEMBER_ID: what a zombie would be told
            epochs = running.sink._ledger.epochs
            wait_for(lambda was=epochs: not was.keys() & running.sink._ledger.epochs.items(), "to notice")
            wait_for(
                lambda was=epochs: running.sink._ledger.epochs and running.sink._ledger.epochs != was,
                "the partitions to come back",
                15,
            )
        produce(kafka.bootstrap, "logs", lines(5), partition=0)
        wait_for(lambda: commits(kafka) == [15, 10], "records to flow again")
        assert running.stopped() == ExitCode.OK


def test_a_broker_that_restarts_costs_time_only(kafka: MockKafka, hec: Emulator) -> None:
    """With the broker away for a while nothing is lost and the sink goes on."""
    expected = feed(kafka, "logs", 2, 100)
    with RunningSink(sink_config(kafka, hec)) as running:
        wait_for(lambda: commits(kafka) == [100, 100], "the first records")
        kafka.broker_down()
        wait_for(lambda: not running.is_ended, "the sink to live")
        kafka.broker_up()
        produce(kafka.bootstrap, "logs", lines(50), partition=1)
        wait_for(lambda: commits(kafka) == [100, 150], "the rest", 30)
        assert running.stopped() == ExitCode.OK
    assert set(indexed(hec)) == expected | {("logs", 1, offset) for offset in range(100, 150)}


# -- a deployment that Splunk refuses ------------------------------------------------------------------


def test_a_wrong_token_ends_with_5_and_touches_nothing(kafka: MockKafka, hec: Emulator) -> None:
    """A token that stays refused ends the sink after the patience: nothing committed or dead-lettered."""
    feed(kafka, "logs", 2, 10)
    config = sink_config(kafka, hec, hec_token="wrong", hec_halt_patience_s=0.5)
    with RunningSink(config) as running:
        wait_for(lambda: "invalid_token" in codes(running), "the reason")
        assert running.ended() == ExitCode.HEC
        assert "fix: set hec.token" in str(running.failure)
    assert commits(kafka) == [0, 0]
    assert not read_all(kafka.bootstrap, LETTERS)


def test_a_wrong_token_with_no_patience_ends_at_once(kafka: MockKafka, hec: Emulator) -> None:
    """halt_patience_s = 0 means: do not wait at all."""
    with RunningSink(sink_config(kafka, hec, hec_token="wrong", hec_halt_patience_s=0)) as running:
        assert running.ended(5) == ExitCode.HEC


def test_a_sink_that_waits_for_its_token_can_be_stopped(kafka: MockKafka, hec: Emulator) -> None:
    """A stop is heard while the start waits for a refused token to heal, and the loop counts as turning."""
    with RunningSink(sink_config(kafka, hec, hec_token="wrong", hec_halt_patience_s=100)) as running:
        wait_for(lambda: "invalid_token" in codes(running), "the refusal")
        before = running.sink.turned_at()
        wait_for(lambda: running.sink.turned_at() > before, "a turn")
        running.sink.stop()
        assert running.ended(5) == ExitCode.OK


def test_a_token_refused_in_flight_halts_and_ends_with_5(kafka: MockKafka, hec: Emulator) -> None:
    """A token that is revoked while records flow: hold them, then end; they are read again."""
    feed(kafka, "logs", 1, 10)
    with RunningSink(sink_config(kafka, hec, hec_halt_patience_s=2)) as running:
        wait_for(lambda: commits(kafka) == [10, 0], "the first records")
        hec.set_tokens("another:ack")
        produce(kafka.bootstrap, "logs", lines(10), partition=0)
        wait_for(lambda: running.metrics.total("halted") == 1, "the halt")
        assert running.ended() == ExitCode.HEC
    assert commits(kafka) == [10, 0]
    assert not read_all(kafka.bootstrap, LETTERS)


def test_a_full_budget_does_not_hide_a_refusal(kafka: MockKafka, hec: Emulator) -> None:
    """With no room left and no patience the refusal ends the sink all the same."""
    feed(kafka, "logs", 1, 10)
    config = sink_config(kafka, hec, hec_halt_patience_s=0, hec_in_flight_max_events=5)
    with RunningSink(config) as running:
        wait_for(lambda: commits(kafka) == [10, 0], "the first records")
        hec.set_tokens("another:ack")
        produce(kafka.bootstrap, "logs", lines(50), partition=0)
        assert running.ended() == ExitCode.HEC
    assert commits(kafka) == [10, 0]


def test_a_failure_while_partitions_go_ends_the_sink_later(kafka: MockKafka, hec: Emulator) -> None:
    """Nothing can be raised in a rebalance callback: the failure is kept for the loop."""
    config = sink_config(kafka, hec, letter_on_reject="fail", letter_topic="")
    sink = Sink(config, metrics=Metrics())
    try:
        at = TopicPartition("logs", 0)
        sink._ledger.assign({at: 0})
        sink._ledger.open([Message(topic="logs", partition=0, offset=0, value=b"x")], 1.0)
        sink._delivery._refusal = SinkFailure(ExitCode.DEAD_LETTER_LIMIT, "refused", "mend it")
        sink._drain_revoked([at], is_lost=False)
        assert sink._source.failure is sink._delivery._refusal
    finally:
        sink._delivery.close()
        sink._source.close()


def test_a_halted_token_that_heals_resumes(kafka: MockKafka, hec: Emulator) -> None:
    """A token that comes back within the patience costs time only."""
    token = hec.token
    feed(kafka, "logs", 1, 10)
    with RunningSink(sink_config(kafka, hec, hec_halt_patience_s=60)) as running:
        wait_for(lambda: commits(kafka) == [10, 0], "the first records")
        hec.set_tokens("another:ack")
        produce(kafka.bootstrap, "logs", lines(10), partition=0)
        wait_for(lambda: "paused_endpoint" in codes(running), "the pause")
        hec.set_tokens(f"{token}:ack")
        wait_for(lambda: commits(kafka) == [20, 0], "the rest")
        wait_for(lambda: running.sink.readiness().ready, "readiness")
        assert running.metrics.total("halted") == 0
        assert running.stopped() == ExitCode.OK
    assert not read_all(kafka.bootstrap, LETTERS)


def test_a_token_without_acks_is_refused_where_they_are_required(kafka: MockKafka, hec: Emulator) -> None:
    """With ack = required a token that cannot acknowledge ends the sink before it joins the group."""
    config = sink_config(kafka, hec, hec_token=hec.plain_token, hec_halt_patience_s=0)
    with RunningSink(config) as running:
        assert running.ended() == ExitCode.HEC
        assert "acknowledgement" in str(running.failure)


def test_a_splunk_that_is_away_at_the_start_is_waited_for(kafka: MockKafka, hec: Emulator) -> None:
    """An unreachable or busy endpoint never ends the sink: it shows as not ready."""
    feed(kafka, "logs", 1, 10)
    hec.set_faults("busy,on=all")
    with RunningSink(sink_config(kafka, hec, hec_halt_patience_s=0)) as running:
        wait_for(lambda: "endpoint" in codes(running), "the reason")
        hec.set_faults()
        wait_for(lambda: commits(kafka) == [10, 0], "the records")
        assert running.stopped() == ExitCode.OK


def test_an_unknown_refusal_points_to_check() -> None:
    """Every refusal comes with something to do."""
    assert "hec-kafka-sink check" in fix_of("something new")


# -- what is wrong at the start ------------------------------------------------------------------------


def test_an_unreachable_broker_ends_with_4_in_time(kafka: MockKafka, hec: Emulator) -> None:
    """Without any broker the start gives up within startup_timeout_s."""
    kafka.broker_down()
    with RunningSink(sink_config(kafka, hec, run_startup_timeout_s=1)) as running:
        assert codes(running) == ["starting"]
        assert running.ended(8) == ExitCode.KAFKA
        assert kafka.bootstrap in str(running.failure)


def test_a_start_that_waits_for_a_broker_can_be_stopped(kafka: MockKafka, hec: Emulator) -> None:
    """A stop is heard while no broker answers."""
    kafka.broker_down()
    with RunningSink(sink_config(kafka, hec, run_startup_timeout_s=100)) as running:
        before = running.sink.turned_at()
        wait_for(lambda: running.sink.turned_at() > before, "a turn")
        running.sink.stop()
        assert running.ended(8) == ExitCode.OK


def test_a_missing_topic_ends_with_4(kafka: MockKafka, hec: Emulator) -> None:
    """A topic that is named and does not exist ends the sink, and is not created."""
    with RunningSink(sink_config(kafka, hec, "logs", "nowhere")) as running:
        assert running.ended() == ExitCode.KAFKA
        assert "'nowhere'" in str(running.failure)


def test_a_missing_dead_letter_topic_ends_with_8(kafka: MockKafka, hec: Emulator) -> None:
    """Without a place for dead letters nothing is begun."""
    with RunningSink(sink_config(kafka, hec, letter_topic="nowhere")) as running:
        assert running.ended() == ExitCode.DEAD_LETTER_TOPIC


# -- where reading starts ------------------------------------------------------------------------------


def test_start_latest_reads_what_comes_after_the_start(kafka: MockKafka, hec: Emulator) -> None:
    """With latest, older records are left alone, and the end found is committed at once."""
    feed(kafka, "logs", 2, 10)
    with RunningSink(sink_config(kafka, hec, kafka_start="latest")) as running:
        wait_for(lambda: commits(kafka) == [10, 10], "the start to be committed")
        produce(kafka.bootstrap, "logs", lines(5), partition=1)
        wait_for(lambda: commits(kafka) == [10, 15], "the new records")
        assert running.stopped() == ExitCode.OK
    assert set(indexed(hec)) == {("logs", 1, offset) for offset in range(10, 15)}


def test_start_latest_loses_nothing_between_two_members(kafka: MockKafka, hec: Emulator) -> None:
    """The end is looked up once: what came before the first commit is not skipped by the next member."""
    hec.set_faults("ack-error:503")
    with RunningSink(sink_config(kafka, hec, kafka_start="latest", run_shutdown_s=0.5)) as running:
        wait_for(lambda: running.sink._ledger.epochs, "the assignment")
        produce(kafka.bootstrap, "logs", lines(5), partition=1)
        wait_for(lambda: running.sink.summary().records == 5, "the records")
        assert running.stopped() == ExitCode.UNSETTLED
    hec.set_faults()
    with RunningSink(sink_config(kafka, hec, kafka_start="latest")) as running:
        wait_for(lambda: commits(kafka) == [0, 5], "the records to be read again")


def test_start_fail_refuses_a_group_without_commits(kafka: MockKafka, hec: Emulator) -> None:
    """With fail, a group that has no commit ends with 4; one that has goes on."""
    feed(kafka, "logs", 2, 10)
    with RunningSink(sink_config(kafka, hec, kafka_start="fail")) as running:
        assert running.ended() == ExitCode.KAFKA
        assert "no committed offset" in str(running.failure)
    assert commits(kafka) == [0, 0]
    assert run_to_end(sink_config(kafka, hec))[0] == ExitCode.OK
    assert run_to_end(sink_config(kafka, hec, kafka_start="fail"))[0] == ExitCode.OK


# -- the end -------------------------------------------------------------------------------------------


def test_stop_drains_and_commits(kafka: MockKafka, hec: Emulator) -> None:
    """The first stop settles and commits what was taken, and nothing more."""
    feed(kafka, "logs", 2, 300)
    with RunningSink(sink_config(kafka, hec)) as running:
        wait_for(lambda: running.sink.summary().records, "records")
        assert running.stopped() == ExitCode.OK
        summary = running.sink.summary()
        assert summary.delivered == summary.records
        assert summary.committed
    assert sum(commits(kafka)) == summary.records == len(indexed(hec))


def test_a_second_stop_ends_at_once(kafka: MockKafka, hec: Emulator) -> None:
    """The second stop does not wait for acks: 7, and what is unsettled is not committed."""
    feed(kafka, "logs", 2, 100)
    hec.set_faults("ack-error:503")
    with RunningSink(sink_config(kafka, hec, run_shutdown_s=100)) as running:
        wait_for(lambda: len(indexed(hec)) == 200, "the events")
        running.sink.stop()
        running.sink.stop()
        assert running.ended(5) == ExitCode.UNSETTLED
        assert not running.sink.summary().committed
    assert commits(kafka) == [0, 0]


def test_a_drain_that_takes_too_long_is_ended(kafka: MockKafka, hec: Emulator) -> None:
    """shutdown_s bounds the end: 7, and the next run delivers what was left."""
    feed(kafka, "logs", 2, 100)
    hec.set_faults("ack-error:503")
    with RunningSink(sink_config(kafka, hec, run_shutdown_s=1)) as running:
        wait_for(lambda: len(indexed(hec)) == 200, "the events")
        running.sink.stop()
        assert running.ended(6) == ExitCode.UNSETTLED
    assert commits(kafka) == [0, 0]
    hec.set_faults()
    assert run_to_end(sink_config(kafka, hec))[0] == ExitCode.OK
    assert commits(kafka) == [100, 100]


@pytest.mark.parametrize("session_ms", [1500, 30_000])
def test_the_end_is_in_time_without_a_broker(kafka: MockKafka, hec: Emulator, session_ms: int) -> None:
    """A broker that is away cannot hold the end for longer than shutdown_s, and 7 says what that means."""
    feed(kafka, "logs", 2, 100)
    hec.set_faults("ack-error:503")
    session = {"session.timeout.ms": session_ms}
    with RunningSink(sink_config(kafka, hec, run_shutdown_s=2, properties=session)) as running:
        wait_for(lambda: len(indexed(hec)) == 200, "the events")
        kafka.broker_down()
        hec.set_faults()
        wait_for(lambda: running.sink.summary().delivered == 200, "the acks")
        running.sink.stop()
        assert running.ended(8) == ExitCode.UNSETTLED


def test_a_fault_of_our_own_ends_with_1(
    kafka: MockKafka, hec: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception inside a lane ends the sink with 1, says so, and commits nothing that is open."""
    feed(kafka, "logs", 2, 100)

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("seeded")

    with monkeypatch.context() as patch, RunningSink(sink_config(kafka, hec)) as running:
        patch.setattr(Lane, "on_acks", broken)
        assert running.ended() == ExitCode.INTERNAL
        assert "ZeroDivisionError" in str(running.failure)
    assert commits(kafka) == [0, 0]


def test_a_fault_in_the_loop_commits_nothing(
    kafka: MockKafka, hec: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception in the loop itself leaves run(), and the group is left without a commit."""
    feed(kafka, "logs", 2, 100)
    with RunningSink(sink_config(kafka, hec)) as running:
        monkeypatch.setattr(running.sink._ledger, "settle", lambda run: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            running.ended()
    assert commits(kafka) == [0, 0]
