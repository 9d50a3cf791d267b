"""What the sink counts, for Prometheus and for its own summary.

Not for decisions: nothing in the sink acts on a metric. The catalogue is data, so that the documented table
is generated from it. All methods may be called from any thread, never block and are called once per batch,
request or turn, never per record.

Non-obvious: Prometheus histograms are too coarse for a p99, so acknowledgement latencies are also kept in a
fine one, of 2 % wide buckets, beside.
"""

from __future__ import annotations

import math
import platform
import threading
from collections import Counter as Tally
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, get_args

import confluent_kafka
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from splunk_hec.events import OutcomeKind
from splunk_hec.observe import CATALOGUE as CLIENT_CATALOGUE
from splunk_hec.observe import Cause, Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PREFIX = "hec_sink_"
CATALOGUE: tuple[Metric, ...] = (
    *CLIENT_CATALOGUE,
    Metric("records_consumed", "counter", ("topic",), "Records read from Kafka."),
    Metric(
        "records_skipped",
        "counter",
        ("reason",),
        "Records not sent on purpose: tombstone, drop, settled before.",
    ),
    Metric("dead_letters", "counter", ("reason",), "Records written to the dead-letter topic, by reason."),
    Metric(
        "dead_letter_limit_used",
        "gauge",
        (),
        "Share of the dead-letter limit that is used: above 1 the sink stops (exit 6).",
    ),
    Metric("lost_records", "counter", ("topic", "partition"), "Offsets Kafka deleted before they were read."),
    Metric("fenced_acks", "counter", (), "Outcomes that came after their partition had gone elsewhere."),
    Metric("committed_offset", "gauge", ("topic", "partition"), "Next offset to read, as committed."),
    Metric("lag_records", "gauge", ("topic", "partition"), "Records in Kafka behind the committed offset."),
    Metric(
        "oldest_unsettled_age_seconds", "gauge", (), "Since the oldest unsettled record was read; 0 = none."
    ),
    Metric("paused", "gauge", ("reason",), "1 while fetching is paused for this reason."),
    Metric("pause_seconds", "counter", ("reason",), "Time without fetching, added when a stall ends."),
    Metric(
        "build_info", "gauge", ("version", "python", "librdkafka"), "Always 1; the labels tell the versions."
    ),
)
"""Everything under `/metrics`, without the prefix."""

REJECTIONS = (
    "bad_fields",
    "bad_index",
    "bad_time",
    "blank",
    "gave_up",
    "invalid_event",
    "refused_by_proxy",
    "too_large",
    "unconfirmed",
    "undecodable",
)
"""The values of `hec.reason` in dead letters."""
PAUSES = ("budget", "dead_letters", "endpoint", "registry")
"""Why fetching may be paused."""
KNOWN_VALUES: dict[str, tuple[str, ...]] = {
    "events": tuple(OutcomeKind),
    "resends": get_args(Cause),
    "channels_retired": ("ack_timeout", "channel_reset", "idle", "left", "not_sticky", "unknown_reply"),
    "records_skipped": ("drop", "settled", "tombstone"),
    "dead_letters": REJECTIONS,
    "paused": PAUSES,
    "pause_seconds": PAUSES,
}
"""Label values known beforehand: those series begin at 0, so that their first increase is seen."""

_BUCKETS = (
    0.1,
    0.25,
    0.5,
    1,
    2,
    3,
    5,
    8,
    13,
    20,
    30,
    60,
    120,
    300,
    1800,
)  # acks take seconds, at worst 30 min
_WIDTH = math.log(1.02)
_LEAST_S = 0.001


class _Quantiles:
    """A histogram of 2 % wide buckets from 1 ms on: at most about 1,000 of them in a day-long range."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Tally[int] = Tally()  # guarded by _lock

    def observe(self, value: float) -> None:
        with self._lock:
            self._counts[math.ceil(math.log(max(value, _LEAST_S)) / _WIDTH)] += 1

    def at(self, *shares: float) -> list[float]:
        """The smallest value (within 2 %) that such a share of all observations does not exceed."""
        with self._lock:
            counts = sorted(self._counts.items())
        total = sum(count for _, count in counts)
        return [math.exp(_reached(counts, share * total) * _WIDTH) if total else 0.0 for share in shares]


def _reached(counts: Iterable[tuple[int, int]], wanted: float) -> int:
    """The first bucket with which `wanted` observations are counted."""
    seen = at = 0
    for at, count in counts:  # noqa: B007 -- the last bucket is the answer if rounding leaves none
        seen += count
        if seen >= wanted:
            break
    return at


class Metrics:
    """All of them, in a registry of their own; one per process. A `splunk_hec.observe.Observer`."""

    def __init__(self) -> None:
        # A `_created` series beside every counter would double the page for nothing.
        disable_created_metrics()  # type: ignore[no-untyped-call] # a setter without annotations
        self.registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._latency = _Quantiles()
        for metric in CATALOGUE:
            name, text, labels = PREFIX + metric.name, metric.help, metric.labels
            match metric.kind:
                case "counter":
                    self._counters[metric.name] = Counter(name, text, labels, registry=self.registry)
                case "gauge":
                    self._gauges[metric.name] = Gauge(name, text, labels, registry=self.registry)
                case "histogram":
                    self._histogram = Histogram(
                        name, text, labels, buckets=_BUCKETS, registry=self.registry
                    )  # there is one, of ack latencies
        for name, values in KNOWN_VALUES.items():
            for value in values:
                (self._counters.get(name) or self._gauges[name]).labels(value)
        self._fenced = 0
        versions = version("splunk-hec-sink"), platform.python_version(), confluent_kafka.libversion()[0]
        self._gauges["build_info"].labels(*versions).set(1)

    # -- what the client reports -------------------------------------------------------------------------

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter, set a gauge, observe in a histogram of the catalogue; ignore other names."""
        if name in self._counters:
            counter = self._counters[name]
            (counter.labels(**labels) if labels else counter).inc(amount)
        elif name in self._gauges:
            gauge = self._gauges[name]
            (gauge.labels(**labels) if labels else gauge).set(amount)
        elif name == "ack_latency_seconds":
            self._histogram.observe(amount)
            self._latency.observe(amount)

    # -- what the loop reports ---------------------------------------------------------------------------

    def consumed(self, topic: str, records: int) -> None:
        """Records were read."""
        self._counters["records_consumed"].labels(topic).inc(records)

    def skipped(self, reason: str, records: int) -> None:
        """Records were not sent on purpose."""
        self._counters["records_skipped"].labels(reason).inc(records)

    def dead_letter(self, reason: str, records: int = 1) -> None:
        """Dead letters were written for sure."""
        self._counters["dead_letters"].labels(reason).inc(records)

    def limit_used(self, share: float) -> None:
        """How much of the dead-letter limit is used."""
        self._gauges["dead_letter_limit_used"].set(share)

    def lost_range(self, topic: str, partition: int, records: int) -> None:
        """Offsets were gone before they were read."""
        self._counters["lost_records"].labels(topic, str(partition)).inc(records)

    def paused(self, reason: str, is_paused: bool, seconds: float = 0.0) -> None:
        """Fetching stopped, or went on after `seconds`."""
        self._gauges["paused"].labels(reason).set(is_paused)
        self._counters["pause_seconds"].labels(reason).inc(seconds)

    def committed(self, topic: str, partition: int, offset: int) -> None:
        """A commit succeeded."""
        self._gauges["committed_offset"].labels(topic, str(partition)).set(offset)
        self._counters["lost_records"].labels(topic, str(partition))  # begins at 0, as KNOWN_VALUES do

    def lag(self, topic: str, partition: int, records: int) -> None:
        """So many records are behind the committed offset."""
        self._gauges["lag_records"].labels(topic, str(partition)).set(records)

    def fenced(self, total: int) -> None:
        """So many outcomes were fenced since the start."""
        self._counters["fenced_acks"].inc(max(0, total - self._fenced))
        self._fenced = max(self._fenced, total)

    def oldest_age(self, age_s: float) -> None:
        """The age of the oldest unsettled record."""
        self._gauges["oldest_unsettled_age_seconds"].set(age_s)

    def in_flight(self, size_bytes: int, events: int) -> None:
        """What is accepted and not settled."""
        self._gauges["in_flight_bytes"].set(size_bytes)
        self._gauges["in_flight_events"].set(events)

    def halted(self, is_halted: bool) -> None:
        """Whether every endpoint refuses the deployment."""
        self._gauges["halted"].set(is_halted)

    def forget(self, topic: str, partition: int) -> None:
        """The partition is another member's now: its offset and lag are that member's to tell."""
        for name in ("committed_offset", "lag_records"):
            with suppress(KeyError):  # nothing was told of it yet
                self._gauges[name].remove(topic, str(partition))

    # -- readings for the summary ------------------------------------------------------------------------

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series of a counter or gauge that have these labels; 0 if there are none."""
        return sum(value for found, value in self.series(name) if labels.items() <= found.items())

    def resends(self) -> dict[str, int]:
        """How often batches were sent again, by cause; only causes that occurred."""
        return {labels["cause"]: int(value) for labels, value in self.series("resends") if value}

    def requests(self) -> dict[str, int]:
        """How many requests were answered how, by `status/code`; `0/` = no reply."""
        series = (
            (f"{labels['status']}/{labels['code']}", value)
            for labels, value in self.series("requests")
            if labels
        )
        return {reply: int(value) for reply, value in series if value}

    def ack_latency(self) -> tuple[float, float]:
        """Median and 99th percentile in seconds, within 2 %; zeros before the first acknowledgement."""
        p50, p99 = self._latency.at(0.5, 0.99)
        return p50, p99

    def series(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """Labels and value of each series of a counter or gauge, or of a histogram's `_count` or `_sum`."""
        is_part = name.endswith(("_count", "_sum"))
        metric = self._histogram if is_part else self._counters.get(name) or self._gauges[name]
        for family in metric.collect():
            for sample in family.samples:
                if not is_part or sample.name == PREFIX + name:
                    yield sample.labels, sample.value


def exported_name(metric: Metric) -> str:
    """The name as `/metrics` shows it."""
    return PREFIX + metric.name + ("_total" if metric.kind == "counter" else "")


def markdown_table() -> str:
    """Every metric as a Markdown table, for the documentation."""
    rows = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for metric in CATALOGUE:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{exported_name(metric)}` | {metric.kind} | {labels} | {metric.help} |")
    return "\n".join(rows) + "\n"
