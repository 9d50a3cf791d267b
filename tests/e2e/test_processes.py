"""Several processes under one supervisor, on a real broker, with kills."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from e2e_tools import SinkProcess, Splunk, fill, free_port, get, lag, log_lines, metrics, places, settings
from kafka_tools import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from real_kafka import RealKafka

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="children are found in /proc"),
]


@pytest.fixture
def splunk(tmp_path: Path) -> Iterator[Splunk]:
    """A HEC server that acknowledges after a moment."""
    with Splunk(tmp_path, "--ack-delay", "0.2s") as server:
        yield server


def children(sink: SinkProcess) -> list[int]:
    """The sink processes that the supervisor runs now."""
    pid = sink.process.pid
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False


def test_a_killed_process_is_replaced_and_nothing_is_lost(
    real_kafka: RealKafka, splunk: Splunk, tmp_path: Path
) -> None:
    """`kill -9` of one of two: its partitions go on with the other and its successor; readiness tells it."""
    real_kafka.create_topic("crew", 4)
    real_kafka.create_topic("crew.dead")
    port = free_port()
    config = settings(real_kafka.bootstrap, ["crew"], splunk.url, server__listen=f"127.0.0.1:{port}")
    with SinkProcess(tmp_path / "sink", config, "--processes", "2") as sink:
        sink.wait_until(lambda: len(sink.logged("metrics and health")) == 3, "both to be started")
        sink.wait_until(lambda: get(port, "/readyz")[0] == 200, "both to be ready")
        fill(real_kafka.bootstrap, "crew", log_lines(20_000), 4)
        sink.wait_until(lambda: splunk.stats()["events_indexed"] > 1_000, "a good part to be indexed")
        before = children(sink)
        os.kill(before[0], signal.SIGKILL)
        sink.wait_until(lambda: sink.logged("ended with -9"), "the supervisor to notice")
        sink.wait_until(lambda: len(children(sink)) == 2, "a successor")
        assert before[1] in children(sink)
        sink.wait_until(lambda: lag(real_kafka.bootstrap, "group-of-crew", "crew") == 0, "the lag to be gone")
        sink.wait_until(lambda: get(port, "/readyz")[0] == 200, "both to be ready again")
        assert metrics(port)["hec_sink_lag_records", "partition=0,topic=crew"] == 0
        assert sink.terminate() == 0
    indexed = splunk.indexed()
    assert set(indexed) == places(real_kafka.bootstrap, "crew")


def test_a_killed_supervisor_takes_its_processes_along(
    real_kafka: RealKafka, splunk: Splunk, tmp_path: Path
) -> None:
    """`kill -9` of the supervisor: its processes drain, commit and end by themselves; none is left behind."""
    real_kafka.create_topic("orphans", 4)
    real_kafka.create_topic("orphans.dead")
    fill(real_kafka.bootstrap, "orphans", log_lines(2_000), 4)
    config = settings(real_kafka.bootstrap, ["orphans"], splunk.url)
    with SinkProcess(tmp_path / "sink", config, "--processes", "2") as sink:
        sink.wait_until(lambda: splunk.stats()["events_indexed"] == 2_000, "all to be indexed")
        left = children(sink)
        assert len(left) == 2
        sink.kill()
        wait_for(lambda: not any(map(runs, left)), "the processes to end", 60)
    assert len(sink.logged("the supervisor is gone")) == 2
    assert lag(real_kafka.bootstrap, "group-of-orphans", "orphans") == 0
