"""kill -9 of the sink, again and again: what was promised before holds after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kafka_tools import committed, produce, wait_for
from sink_tools import (
    GROUP,
    LETTERS,
    PROTOCOLS,
    Observer,
    SinkProcess,
    dead_lettered,
    indexed,
    lines,
    sink_config,
)

from splunk_hec_emulator import Emulator
from splunk_hec_kafka._mock_kafka import MockKafka
from splunk_hec_kafka.failures import ExitCode

if TYPE_CHECKING:
    from sink_tools import Offset

PARTITIONS = 3
KILLS = 5
ROUND = 400


def feed_round(kafka: MockKafka, number: int) -> tuple[set[Offset], set[Offset]]:
    """Some more records in each partition, every fiftieth of them poison; returns good and bad places."""
    good: set[Offset] = set()
    bad: set[Offset] = set()
    for partition in range(PARTITIONS):
        values: list[bytes | None] = [*lines(ROUND, start=number * ROUND)]
        for at in range(0, ROUND, 50):
            values[at] = b"\xff poison"
        produce(kafka.bootstrap, "logs", values, partition=partition)
        for at in range(ROUND):
            (bad if at % 50 == 0 else good).add(("logs", partition, number * ROUND + at))
    return good, bad


@pytest.mark.e2e
@pytest.mark.timeout(240)
@pytest.mark.parametrize("protocol", ["range", "cooperative"])
def test_a_sink_killed_in_mid_flight_loses_nothing(protocol: str) -> None:
    """After five SIGKILLs every record is indexed or dead-lettered, and no commit was ever ahead of that."""
    good: set[Offset] = set()
    bad: set[Offset] = set()
    with (
        MockKafka({"logs": PARTITIONS, LETTERS: 1}) as kafka,
        Emulator(ack_delay="0.1s..0.6s", seed=7) as hec,
        Observer(kafka, hec, "logs", PARTITIONS) as observer,
    ):
        config = sink_config(kafka, hec, properties=PROTOCOLS[protocol], hec_batch_max_events=50)
        for number in range(KILLS):
            more_good, more_bad = feed_round(kafka, number)
            good |= more_good
            bad |= more_bad
            accepted = hec.stats()["events_accepted"]
            sink = SinkProcess(config)
            # Killed while some of it is accepted and most of it not yet acknowledged.
            hec.wait_for(lambda was=accepted: hec.stats()["events_accepted"] > was + 100, 40)
            assert sink.is_running
            sink.kill()
        sink = SinkProcess(config)
        total = KILLS * ROUND
        wait_for(
            lambda: (
                committed(kafka.bootstrap, GROUP, "logs", range(PARTITIONS))
                == dict.fromkeys(range(PARTITIONS), total)
            ),
            "everything to be committed",
            60,
        )
        assert sink.stopped() == ExitCode.OK
        assert set(indexed(hec)) == good
        assert set(dead_lettered(kafka)) == bad
    observer.check()


def test_a_process_ends_orderly_on_sigterm() -> None:
    """SIGTERM drains and commits: exit 0 and nothing is read again."""
    with MockKafka({"logs": 1, LETTERS: 1}) as kafka, Emulator(ack_delay="0.3s") as hec:
        produce(kafka.bootstrap, "logs", lines(200))
        sink = SinkProcess(sink_config(kafka, hec))
        hec.wait_for(lambda: hec.stats()["events_accepted"] == 200, 30)
        assert sink.stopped() == ExitCode.OK
        assert len(indexed(hec)) == 200
        assert committed(kafka.bootstrap, GROUP, "logs", [0]) == {0: 200}
