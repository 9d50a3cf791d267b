"""Rebalances with unacknowledged batches, in each of the three group protocols."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from kafka_tools import committed, produce, wait_for
from sink_tools import (
    GROUP,
    LETTERS,
    PROTOCOLS,
    Observer,
    RunningSink,
    dead_lettered,
    feed,
    indexed,
    lines,
    sink_config,
)

from splunk_hec_emulator import Emulator
from splunk_hec_kafka import sink as loop
from splunk_hec_kafka._mock_kafka import MockKafka
from splunk_hec_kafka.failures import ExitCode

if TYPE_CHECKING:
    from splunk_hec_kafka.offsets import TopicPartition

PARTITIONS = 4


def assigned(running: RunningSink) -> set[TopicPartition]:
    """The partitions of a member now."""
    return set(running.sink._ledger.epochs)


def are_shared(*members: RunningSink) -> bool:
    """Whether every partition belongs to exactly one of these, and each has some."""
    owned = [assigned(member) for member in members]
    return all(owned) and sum(map(len, owned)) == len(set[object]().union(*owned)) == PARTITIONS


def all_committed(kafka: MockKafka, end: int) -> bool:
    """Whether every partition is committed up to `end`."""
    found = committed(kafka.bootstrap, GROUP, "logs", range(PARTITIONS))
    return found == dict.fromkeys(range(PARTITIONS), end)


@pytest.mark.e2e
@pytest.mark.timeout(200)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_lost_or_committed_too_far_in_rebalances(protocol: str) -> None:
    """Members come and go while acks are outstanding: all indexed, poison dead-lettered, commits safe."""
    with (
        MockKafka({"logs": PARTITIONS, LETTERS: 1}) as kafka,
        Emulator(ack_delay="0.2s..1s", seed=3) as hec,
        Observer(kafka, hec, "logs", PARTITIONS) as observer,
    ):
        config = sink_config(kafka, hec, properties=PROTOCOLS[protocol], hec_batch_max_events=40)
        end = 0

        def more() -> None:
            nonlocal end
            for partition in range(PARTITIONS):
                values: list[bytes | None] = [*lines(300, start=end), b"\xff"]
                produce(kafka.bootstrap, "logs", values, partition=partition)
            end += 301

        with RunningSink(config) as first:
            more()
            wait_for(lambda: len(assigned(first)) == PARTITIONS, "the first member")
            for _ in range(2):  # each round is two rebalances: one member comes, one goes
                more()
                with RunningSink(config) as second:
                    wait_for(lambda: are_shared(first, second), "the partitions to be shared", 40)
                    more()
                    wait_for(lambda: second.sink.summary().records > 0, "the second to read")
                    assert second.stopped() == ExitCode.OK
                wait_for(lambda: len(assigned(first)) == PARTITIONS, "the partitions to come back", 40)
            more()
            wait_for(lambda: all_committed(kafka, end), "everything to be committed", 60)
            assert first.stopped() == ExitCode.OK
        records = {("logs", partition, offset) for partition in range(PARTITIONS) for offset in range(end)}
        poison = {place for place in records if place[2] % 301 == 300}
        assert set(indexed(hec)) == records - poison
        assert set(dead_lettered(kafka)) == poison
    observer.check()


@pytest.mark.parametrize(
    "protocol", ["range", "cooperative", pytest.param("consumer", marks=pytest.mark.e2e)]
)
def test_a_late_ack_after_a_revoke_is_fenced(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ack that comes when its partition is another member's is counted and not committed."""
    monkeypatch.setattr(loop, "REVOKE_DRAIN_S", 0.2)
    with MockKafka({"logs": PARTITIONS, LETTERS: 1}) as kafka, Emulator(ack_delay="0s") as hec:
        config = sink_config(kafka, hec, properties=PROTOCOLS[protocol], run_shutdown_s=0.5)
        hec.set_faults("ack-error:503")
        with ExitStack() as stack:
            first = stack.enter_context(RunningSink(config))
            wait_for(lambda: len(assigned(first)) == PARTITIONS, "the first member")
            feed(kafka, "logs", PARTITIONS, 50)
            wait_for(lambda: hec.stats()["events_indexed"] == 50 * PARTITIONS, "the events")
            second = stack.enter_context(RunningSink(config))
            wait_for(lambda: are_shared(first, second), "the partitions to be shared", 40)
            found = committed(kafka.bootstrap, GROUP, "logs", range(PARTITIONS))
            assert set(found.values()) <= {None, 0}
            hec.set_faults()
            wait_for(lambda: first.metrics.total("fenced_acks") > 0, "the late acks", 40)
            wait_for(lambda: all_committed(kafka, 50), "the records, read again", 40)
            assert first.metrics.total("fenced_acks") >= 50
        assert set(indexed(hec)) == {("logs", p, o) for p in range(PARTITIONS) for o in range(50)}


@pytest.mark.e2e
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_partition_paused_revoked_and_reassigned_flows_again(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition that was paused when it went must not stay paused when it comes back."""
    monkeypatch.setattr(loop, "REVOKE_DRAIN_S", 0.2)
    with MockKafka({"logs": PARTITIONS, LETTERS: 1}) as kafka, Emulator(ack_delay="0s") as hec:
        tight = {"hec_in_flight_max_events": 100, "run_shutdown_s": 0.5}
        config = sink_config(kafka, hec, properties=PROTOCOLS[protocol], **tight)
        hec.set_faults("ack-error:503")
        with RunningSink(config) as first:
            wait_for(lambda: len(assigned(first)) == PARTITIONS, "the first member")
            feed(kafka, "logs", PARTITIONS, 100)
            wait_for(lambda: first.metrics.total("paused", reason="budget") == 1, "the pause")
            with RunningSink(sink_config(kafka, hec, properties=PROTOCOLS[protocol])) as second:
                wait_for(lambda: are_shared(first, second), "the partitions to be shared", 40)
                hec.set_faults()
                wait_for(lambda: first.metrics.total("paused", reason="budget") == 0, "the pause to end")
                assert second.stopped() == ExitCode.OK
            wait_for(lambda: len(assigned(first)) == PARTITIONS, "the partitions to come back", 40)
            for partition in range(PARTITIONS):
                produce(kafka.bootstrap, "logs", lines(20), partition=partition)
            wait_for(lambda: all_committed(kafka, 120), "all records to flow", 60)
            assert first.stopped() == ExitCode.OK
        assert set(indexed(hec)) == {("logs", p, o) for p in range(PARTITIONS) for o in range(120)}
