"""The pages of several processes as one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import generate_latest

from splunk_hec_kafka.merged_pages import MergedPages, ProcessPages, merge, read_page
from splunk_hec_kafka.metrics import Metrics
from splunk_hec_kafka.server import Readiness, Reason, StatusServer

if TYPE_CHECKING:
    from collections.abc import Generator

SINCE = 1_700_000_000.0
READY = Readiness(True)
PAUSED = Readiness(False, (Reason("paused_budget", "full", SINCE),))


@contextmanager
def process(
    pages: ProcessPages, metrics: Metrics, readiness: Readiness = READY, *, is_alive: bool = True
) -> Generator[StatusServer]:
    """A process's own pages, while it runs."""
    server = StatusServer("127.0.0.1:0", metrics, lambda: is_alive, lambda: readiness)
    server.start()
    try:
        pages.started(server.port)
        yield server
    finally:
        server.close()


def value(pages: MergedPages, name: str, **labels: str) -> float:
    """One merged value, by way of the text that Prometheus reads."""
    text = generate_latest(pages.registry).decode()
    series = {series: value for _, values in read_page(text).values() for series, value in values.items()}
    return series[name, tuple(sorted(labels.items()))]


def test_counters_add_up_and_gauges_do_not() -> None:
    """Events and what is in flight are added; of age, halt and a partition's lag the largest counts."""
    both = [ProcessPages(0), ProcessPages(1)]
    merged = MergedPages(both)
    metrics = [Metrics(), Metrics()]
    for number, one in enumerate(metrics, 1):
        one.count("events", 10 * number, outcome="delivered")
        one.count("ack_latency_seconds", 1.0)
        one.in_flight(100 * number, number)
        one.oldest_age(number)
        one.lag("logs", number, 5)
    metrics[0].halted(is_halted=True)
    with process(both[0], metrics[0]), process(both[1], metrics[1]):
        assert value(merged, "hec_sink_events_total", outcome="delivered") == 30
        assert value(merged, "hec_sink_ack_latency_seconds_count") == 2
        assert value(merged, "hec_sink_in_flight_bytes") == 300
        assert value(merged, "hec_sink_oldest_unsettled_age_seconds") == 2
        assert value(merged, "hec_sink_halted") == 1
        assert value(merged, "hec_sink_lag_records", topic="logs", partition="2") == 5


def test_a_counter_never_falls_when_a_process_is_started_again() -> None:
    """What a process had counted stays when it ends, and the next one adds to it; its gauges go with it."""
    pages = ProcessPages(0)
    merged = MergedPages([pages])
    first = Metrics()
    first.count("events", 7, outcome="delivered")
    first.in_flight(100, 1)
    with process(pages, first):
        assert value(merged, "hec_sink_events_total", outcome="delivered") == 7
    pages.ended("ended with 1")
    assert value(merged, "hec_sink_events_total", outcome="delivered") == 7
    second = Metrics()
    second.count("events", 2, outcome="delivered")
    with process(pages, second):
        assert value(merged, "hec_sink_events_total", outcome="delivered") == 9
        assert value(merged, "hec_sink_in_flight_bytes") == 0


def test_all_must_be_ready() -> None:
    """One process that is not ready makes the whole not ready, and its reason says which it is."""
    both = [ProcessPages(0), ProcessPages(1)]
    merged = MergedPages(both)
    assert [reason.code for reason in merged.readiness().reasons] == ["process", "process"]
    with process(both[0], Metrics()), process(both[1], Metrics(), PAUSED):
        readiness = merged.readiness()
        assert not readiness.ready
        assert readiness.reasons == (Reason("paused_budget", "process 1: full", SINCE),)
        both[1].ended("is started again")
        assert [reason.text for reason in merged.readiness().reasons] == ["process 1 is started again"]
    with process(both[0], Metrics()), process(both[1], Metrics()):
        assert merged.readiness() == Readiness(True)


def test_a_loop_that_stands_still_is_not_alive() -> None:
    """A running process whose loop does not turn is told; one that is being started is not held dead."""
    pages = ProcessPages(0)
    merged = MergedPages([pages])
    assert merged.is_alive()
    with process(pages, Metrics()):
        assert merged.is_alive()
    with process(pages, Metrics(), is_alive=False):
        assert not merged.is_alive()
    assert merged.is_alive(), "nobody answers on its port any more"


def test_merging_nothing_is_nothing() -> None:
    """Before any process was asked there is no series."""
    assert merge([]) == {}
    assert generate_latest(MergedPages([]).registry) == b""
