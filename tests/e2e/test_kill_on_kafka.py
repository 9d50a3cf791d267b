"""`kill -9` in mid-run: nothing is lost, nothing is committed early, and what comes twice is known."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from e2e_tools import (
    KillRun,
    Observer,
    SinkProcess,
    Splunk,
    fill,
    kill_moments,
    lag,
    log_lines,
    origins,
    places,
    settings,
)

if TYPE_CHECKING:
    from pathlib import Path

    from real_kafka import RealKafka

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

RECORDS, KILLS, PARTITIONS, SEED = 100_000, 5, 6, 3
IN_FLIGHT = 8_000


def test_kill_9_loses_nothing_and_repeats_what_was_in_flight(real_kafka: RealKafka, tmp_path: Path) -> None:
    """Killed five times in 100,000 records: each is indexed or dead-lettered, no commit was early."""
    real_kafka.create_topic("killed", PARTITIONS)
    real_kafka.create_topic("killed.dead")
    values = log_lines(RECORDS)
    values[500::1_000] = [b"\xff poison"] * len(values[500::1_000])
    fill(real_kafka.bootstrap, "killed", values, PARTITIONS)
    group = "group-of-killed"
    with Splunk(tmp_path, "--ack-delay", "0.3s..1s") as splunk:
        config = settings(real_kafka.bootstrap, ["killed"], splunk.url, hec__in_flight_max_events=IN_FLIGHT)
        with (
            SinkProcess(tmp_path / "sink", config) as sink,
            Observer(real_kafka.bootstrap, group, "killed", "killed.dead", splunk.journal) as observer,
        ):
            run = KillRun(real_kafka.bootstrap, "killed", group, sink, splunk)
            for events in kill_moments(SEED, KILLS, RECORDS):
                run.kill_after(events)
            sink.wait_until(lambda: lag(real_kafka.bootstrap, group, "killed") == 0, "no lag", 120)
            assert sink.terminate() == 0
        assert observer.accusations == []
        assert observer.samples > KILLS
        indexed = splunk.indexed()
    letters = origins(real_kafka.bootstrap, "killed.dead")
    assert indexed.keys() | letters.keys() == places(real_kafka.bootstrap, "killed")
    assert not indexed.keys() & letters.keys()
    assert len(letters) == len(values[500::1_000])
    # What is repeated is what was in flight or not yet committed when it was killed, and nothing else.
    assert (indexed - Counter(indexed.keys())).total() <= sum(run.repeated)
    assert len(run.repeated) == KILLS
