"""Beam metrics of `WriteToSplunkHEC`, all in the namespace `splunk_hec`. Counted in the bundle's thread.

Non-obvious: `cumulativeThrottlingSeconds` is the name by which Dataflow knows that a worker waits for
somebody else, so that it does not scale up against a Splunk that is busy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from apache_beam.io.components.adaptive_throttler import ThrottlingSignaler
from apache_beam.metrics.metric import Lineage, Metrics

from splunk_hec.events import OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from splunk_hec.events import Outcome

NAMESPACE = "splunk_hec"


class BundleMetrics:
    """One DoFn instance's counters."""

    def __init__(self, index: str) -> None:
        self._index = index
        self._events = {kind: Metrics.counter(NAMESPACE, f"events_{kind.value}") for kind in OutcomeKind}
        self._skipped = Metrics.counter(NAMESPACE, "events_skipped")
        self._bytes = Metrics.counter(NAMESPACE, "bytes_delivered")
        self._batches = Metrics.counter(NAMESPACE, "batches_delivered")
        self._ack_latency = Metrics.distribution(NAMESPACE, "ack_latency_ms")
        self._throttling = ThrottlingSignaler(NAMESPACE)
        self._throttled_s = 0.0

    def outcome(self, outcome: Outcome) -> None:
        """A batch, or a part of one, has ended."""
        self._events[outcome.kind].inc(outcome.count)
        if outcome.kind is OutcomeKind.DELIVERED:
            self._bytes.inc(outcome.size_bytes)
            self._batches.inc()
            if outcome.ack_latency_s:
                self._ack_latency.update(round(outcome.ack_latency_s * 1000))

    def refused(self, events: int) -> None:
        """Elements that were never sent."""
        if events:
            self._events[OutcomeKind.REJECTED].inc(events)

    def skipped(self, events: int) -> None:
        """Kafka records without a value, and what `to_event` gave None for."""
        if events:
            self._skipped.inc(events)

    def resends(self, by_cause: Mapping[str, int]) -> None:
        """Batches that were sent again."""
        for cause, batches in by_cause.items():
            Metrics.counter(NAMESPACE, f"resends_{cause}").inc(batches)

    def throttled(self, seconds: float) -> None:
        """Time that this bundle waited for an endpoint that fails or is busy."""
        self._throttled_s += seconds
        whole = int(self._throttled_s)
        if whole:
            self._throttled_s -= whole
            self._throttling.signal_throttled(whole)

    def reached(self, url: str) -> None:
        """Events went there: noted for lineage."""
        host = url.partition("://")[2]
        Lineage.sinks().add("splunk", host, self._index or "default")
