"""The metrics: exact names, right numbers, from any thread, and a table that is complete."""

from __future__ import annotations

import random
import threading
from typing import get_args

import pytest
from prometheus_client import generate_latest

from splunk_hec.events import OutcomeKind
from splunk_hec.observe import CATALOGUE as CLIENT_CATALOGUE
from splunk_hec.observe import Cause
from splunk_hec_kafka.metrics import CATALOGUE, Metrics, exported_name, markdown_table

PROMISED = {
    "hec_sink_events_total": ("outcome",),
    "hec_sink_records_consumed_total": ("topic",),
    "hec_sink_records_skipped_total": ("reason",),
    "hec_sink_requests_total": ("status", "code"),
    "hec_sink_resends_total": ("cause",),
    "hec_sink_ack_latency_seconds": (),
    "hec_sink_oldest_unsettled_age_seconds": (),
    "hec_sink_in_flight_bytes": (),
    "hec_sink_paused": ("reason",),
    "hec_sink_committed_offset": ("topic", "partition"),
    "hec_sink_dead_letters_total": ("reason",),
    "hec_sink_fenced_acks_total": (),
    "hec_sink_halted": (),
    "hec_sink_lag_records": ("topic", "partition"),
    "hec_sink_channels_retired_total": ("cause",),
    "hec_sink_pause_seconds_total": ("reason",),
    "hec_sink_lost_records_total": ("topic", "partition"),
    "hec_sink_dead_letter_limit_used": (),
    "hec_sink_build_info": ("version", "python", "librdkafka"),
}
"""What dashboards rely on: names and labels never change."""


@pytest.fixture
def metrics() -> Metrics:
    """Fresh metrics."""
    return Metrics()


def page(metrics: Metrics) -> list[str]:
    """The sample lines of `/metrics`."""
    return [line for line in generate_latest(metrics.registry).decode().splitlines() if line[0] != "#"]


def value(metrics: Metrics, series: str) -> float | None:
    """The value of a series as the page shows it; None if it is not there."""
    return next((float(line.split()[-1]) for line in page(metrics) if line.rsplit(" ", 1)[0] == series), None)


class TestNames:
    """The public names."""

    def test_every_promised_metric_exists_with_its_labels(self) -> None:
        """Dashboards and alerts by the documented names keep working."""
        ours = {exported_name(metric): metric.labels for metric in CATALOGUE}
        assert ours.items() >= PROMISED.items()

    def test_the_page_holds_the_exact_names_and_nothing_beside(self, metrics: Metrics) -> None:
        """Each catalogued metric is on the page under its exported name, and no other is."""
        for metric in CLIENT_CATALOGUE:
            metrics.count(metric.name, 1, **dict.fromkeys(metric.labels, "x"))
        metrics.consumed("t", 1)
        metrics.skipped("drop", 1)
        metrics.dead_letter("blank")
        metrics.lost_range("t", 0, 1)
        metrics.committed("t", 0, 1)
        metrics.lag("t", 0, 1)
        shown = {line.split("{")[0].split(" ")[0] for line in page(metrics)}
        histogram = {f"hec_sink_ack_latency_seconds_{part}" for part in ("bucket", "count", "sum")}
        others = {exported_name(metric) for metric in CATALOGUE if metric.kind != "histogram"}
        assert shown == histogram | others

    def test_the_table_has_a_row_for_each(self) -> None:
        """The documentation generated from the catalogue names every metric, its labels and its meaning."""
        rows = markdown_table().splitlines()
        assert len(rows) == len(CATALOGUE) + 2
        for metric, row in zip(CATALOGUE, rows[2:], strict=True):
            assert row.startswith(f"| `{exported_name(metric)}` | {metric.kind} |")
            assert all(f"`{label}`" in row for label in metric.labels)
            assert metric.help in row

    def test_closed_sets_begin_at_zero(self, metrics: Metrics) -> None:
        """The first resend or refusal is an increase, not a new series that a rate cannot see."""
        for outcome in OutcomeKind:
            assert value(metrics, f'hec_sink_events_total{{outcome="{outcome}"}}') == 0
        for cause in get_args(Cause):
            assert value(metrics, f'hec_sink_resends_total{{cause="{cause}"}}') == 0
        for reason in ("budget", "endpoint", "dead_letters"):
            assert value(metrics, f'hec_sink_paused{{reason="{reason}"}}') == 0
            assert value(metrics, f'hec_sink_pause_seconds_total{{reason="{reason}"}}') == 0
        for reason in ("blank", "too_large", "gave_up", "undecodable"):
            assert value(metrics, f'hec_sink_dead_letters_total{{reason="{reason}"}}') == 0
        for cause in ("unknown_reply", "ack_timeout", "idle"):
            assert value(metrics, f'hec_sink_channels_retired_total{{cause="{cause}"}}') == 0

    def test_a_loss_is_an_increase_of_a_series_that_was_there(self, metrics: Metrics) -> None:
        """From the first commit on, losses are shown as none, so that an alert sees the first."""
        metrics.committed("t", 0, 7)
        assert value(metrics, 'hec_sink_lost_records_total{partition="0",topic="t"}') == 0

    def test_build_info_tells_the_version(self, metrics: Metrics) -> None:
        """One series, always 1, whose labels say what runs."""
        (line,) = [line for line in page(metrics) if line.startswith("hec_sink_build_info{")]
        assert 'version="' in line
        assert line.endswith(" 1.0")


class TestNumbers:
    """What a call does to the page."""

    def test_the_client_counts_by_labels(self, metrics: Metrics) -> None:
        """Counters add up per label set; gauges take the last value."""
        metrics.count("requests", 1, status="503", code="9")
        metrics.count("requests", 2, status="503", code="9")
        metrics.count("requests", 1, status="0", code="")
        metrics.count("in_flight_bytes", 5)
        metrics.count("in_flight_bytes", 3)
        assert value(metrics, 'hec_sink_requests_total{code="9",status="503"}') == 3
        assert metrics.total("requests") == 4
        assert metrics.total("requests", status="503") == 3
        assert metrics.total("requests", status="200") == 0
        assert metrics.total("in_flight_bytes") == 3

    def test_an_observer_does_not_raise_over_a_name_it_does_not_know(self, metrics: Metrics) -> None:
        """A newer client's counter cannot stop a lane."""
        before = page(metrics)
        metrics.count("brand_new", 1, label="x")
        assert page(metrics) == before

    def test_the_loop_reports(self, metrics: Metrics) -> None:
        """Each report of the loop lands in its series."""
        metrics.consumed("t", 500)
        metrics.skipped("tombstone", 2)
        metrics.dead_letter("blank")
        metrics.dead_letter("blank", 2)
        metrics.lost_range("t", 3, 7)
        metrics.oldest_age(1.5)
        metrics.in_flight(1000, 2)
        metrics.halted(True)
        metrics.limit_used(0.25)
        assert value(metrics, "hec_sink_dead_letter_limit_used") == 0.25
        assert value(metrics, 'hec_sink_records_consumed_total{topic="t"}') == 500
        assert value(metrics, 'hec_sink_records_skipped_total{reason="tombstone"}') == 2
        assert value(metrics, 'hec_sink_dead_letters_total{reason="blank"}') == 3
        assert value(metrics, 'hec_sink_lost_records_total{partition="3",topic="t"}') == 7
        assert value(metrics, "hec_sink_oldest_unsettled_age_seconds") == 1.5
        assert value(metrics, "hec_sink_in_flight_bytes") == 1000
        assert value(metrics, "hec_sink_in_flight_events") == 2
        assert value(metrics, "hec_sink_halted") == 1

    def test_pauses_are_shown_and_their_time_adds_up(self, metrics: Metrics) -> None:
        """While paused the gauge is 1; each end adds its seconds."""
        metrics.paused("budget", is_paused=True)
        assert value(metrics, 'hec_sink_paused{reason="budget"}') == 1
        metrics.paused("budget", is_paused=False, seconds=2.5)
        metrics.paused("budget", is_paused=False, seconds=1)
        assert value(metrics, 'hec_sink_paused{reason="budget"}') == 0
        assert value(metrics, 'hec_sink_pause_seconds_total{reason="budget"}') == 3.5

    def test_fenced_is_told_as_a_total_and_never_falls(self, metrics: Metrics) -> None:
        """Repeating a total adds nothing."""
        for total in (3, 3, 5, 4):
            metrics.fenced(total)
        assert value(metrics, "hec_sink_fenced_acks_total") == 5

    def test_a_partition_that_went_is_forgotten(self, metrics: Metrics) -> None:
        """A lag that nobody here updates is not shown for ever; other partitions keep theirs."""
        for partition in (0, 1):
            metrics.committed("t", partition, 10)
            metrics.lag("t", partition, 5)
        metrics.forget("t", 0)
        metrics.forget("never seen", 0)
        assert value(metrics, 'hec_sink_lag_records{partition="0",topic="t"}') is None
        assert value(metrics, 'hec_sink_committed_offset{partition="0",topic="t"}') is None
        assert value(metrics, 'hec_sink_lag_records{partition="1",topic="t"}') == 5

    def test_two_instances_share_nothing(self, metrics: Metrics) -> None:
        """Each has its own registry."""
        Metrics().consumed("t", 1)
        assert metrics.total("records_consumed") == 0

    def test_no_count_is_lost_between_threads(self, metrics: Metrics) -> None:
        """Workers count at once; every call is in the sum."""

        def work() -> None:
            for _ in range(500):
                metrics.count("resends", 1, cause="busy")
                metrics.count("ack_latency_seconds", 0.5)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert metrics.total("resends", cause="busy") == 2000
        assert value(metrics, "hec_sink_ack_latency_seconds_count") == 2000


class TestReadings:
    """What the summary is made of."""

    def test_resends_name_the_causes_that_occurred(self, metrics: Metrics) -> None:
        """Whole numbers by cause, and none that did not occur."""
        assert metrics.resends() == {}
        metrics.count("resends", 1, cause="split")
        metrics.count("resends", 2, cause="busy")
        assert metrics.resends() == {"split": 1, "busy": 2}

    def test_ack_latency_is_zero_before_the_first(self, metrics: Metrics) -> None:
        """No acknowledgement, no latency."""
        assert metrics.ack_latency() == (0.0, 0.0)

    def test_ack_latency_is_right_within_two_percent(self, metrics: Metrics) -> None:
        """Median and 99th percentile of known values, over five orders of magnitude and in any order."""
        latencies = sorted(0.005 * 1.01**step for step in range(1000))
        for latency in random.Random(1).sample(latencies, len(latencies)):
            metrics.count("ack_latency_seconds", latency)
        p50, p99 = metrics.ack_latency()
        assert p50 == pytest.approx(latencies[499], rel=0.02)
        assert p99 == pytest.approx(latencies[989], rel=0.02)

    def test_latencies_below_a_millisecond_count_as_one(self, metrics: Metrics) -> None:
        """Even a zero has its place."""
        metrics.count("ack_latency_seconds", 0.0)
        assert metrics.ack_latency() == pytest.approx((0.001, 0.001), rel=0.02)
