"""Splunk down in mid-run: the sink holds what it has, keeps its partitions, and catches up by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from e2e_tools import (
    END_S,
    SinkProcess,
    Splunk,
    fill,
    free_port,
    get,
    lag,
    log_lines,
    places,
    rest,
    settings,
)

if TYPE_CHECKING:
    from pathlib import Path

    from real_kafka import RealKafka

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

RECORDS, PARTITIONS = 120_000, 6
IN_FLIGHT_BYTES = 16 * 2**20
DOWN_S, BUSY_S, ACK_DEADLINE_S = 8, 5, 15
MEMORY_FLOOR_BYTES = 200 * 2**20


def test_an_outage_costs_time_and_nothing_else(real_kafka: RealKafka, tmp_path: Path) -> None:
    """Refused connections, then 503: nothing lost, no rebalance, memory within its bound, no help needed."""
    real_kafka.create_topic("outage", PARTITIONS)
    real_kafka.create_topic("outage.dead")
    fill(real_kafka.bootstrap, "outage", [line.ljust(500) for line in log_lines(RECORDS)], PARTITIONS)
    port = free_port()
    with Splunk(tmp_path, "--ack-delay", "0.5s") as splunk:
        config = settings(
            real_kafka.bootstrap,
            ["outage"],
            splunk.url,
            hec__in_flight_max_bytes=IN_FLIGHT_BYTES,
            # What the server had taken and forgot is sent again after this; by default after 300 s.
            hec__ack_deadline_s=ACK_DEADLINE_S,
            server__listen=f"127.0.0.1:{port}",
        ) | {'kafka.properties."max.poll.interval.ms"': "6000"}  # a loop that blocks is put out of the group
        with SinkProcess(tmp_path / "sink", config) as sink:
            sink.wait_until(lambda: splunk.stats()["events_indexed"] >= RECORDS // 10, "work", END_S)
            splunk.kill()
            rest(DOWN_S)  # the outage
            sink.wait_until(lambda: get(port, "/readyz")[0] == 503, "red readiness", END_S)
            splunk.start("--fault", f"busy,for_s={BUSY_S}")
            sink.wait_until(
                lambda: lag(real_kafka.bootstrap, "group-of-outage", "outage") == 0, "no lag", 180
            )
            assert sink.peak_rss_bytes() <= MEMORY_FLOOR_BYTES + 2 * IN_FLIGHT_BYTES
            assert (len(sink.logged("assigned ")), sink.logged("lost ")) == (1, [])
            sink.wait_until(lambda: get(port, "/readyz")[0] == 200, "green readiness", END_S)
            assert sink.terminate() == 0
        assert splunk.indexed().keys() == places(real_kafka.bootstrap, "outage")
