"""What the sink tells OpenTelemetry: a span for each batch, and the catalogue's metrics.

Imported only where it is wanted (`telemetry`), since it needs the extra `otel`. Not for decisions.
Guarantees: a batch costs one span however many records it holds; no payload and no token is in any of it; the
metrics are read from the same counters as `/metrics`, whenever the reader asks.

Non-obvious: a span is written when its batch has its outcome, with the times that are known by then, so that
nothing of OpenTelemetry is on the way of a batch to Splunk. Providers are our own, not the process's.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from splunk_hec.events import OutcomeKind
from splunk_hec_kafka.metrics import CATALOGUE, PREFIX
from splunk_hec_kafka.originals import Records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.metrics import CallbackOptions
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor

    from splunk_hec.events import Outcome
    from splunk_hec_kafka.metrics import Metrics

MAX_LINKS = 32
"""A few of the thousands of traces that may lead to a batch; more would make its span a burden."""
MAX_LOOKED_AT = 256
"""Records of a batch that are looked at for a traceparent."""
MAX_PLACES_CHARS = 1000
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\b")
_NS = 1_000_000_000


class OpenTelemetry:
    """Spans and metrics of one sink. `batch` belongs to the loop's thread."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        resource: Resource,
        spans: SpanProcessor | None = None,
        reader: MetricReader | None = None,
    ) -> None:
        """Begin to tell.

        Args:
            metrics: Is read whenever `reader` asks.
            resource: Who tells.
            spans: Where spans go; None: nowhere.
            reader: Where metrics go; None: nowhere.
        """
        self._tracing = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._tracer = self._tracing.get_tracer("splunk_hec_kafka") if spans is not None else None
        if spans is not None:
            self._tracing.add_span_processor(spans)
        self._metering: MeterProvider | None = None
        if reader is not None:
            self._metering = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
            self._instrument(metrics, self._metering)

    def batch(self, outcome: Outcome) -> None:
        """A batch, or a piece of one, has its outcome."""
        if self._tracer is None:
            return
        now = time.time()
        attributes: dict[str, str | int | float] = {
            "hec.outcome": outcome.kind.value,
            "hec.events": outcome.count,
            "hec.size_bytes": outcome.size_bytes,
            "hec.attempts": outcome.attempts,
            "hec.ack_latency_s": outcome.ack_latency_s,
            "url.full": outcome.url,
        }
        records = outcome.refs
        if isinstance(records, Records):
            attributes["kafka.records"] = records.places()[:MAX_PLACES_CHARS]
        span = self._tracer.start_span(
            "hec batch",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            links=[Link(one) for one in parents(records)] if isinstance(records, Records) else [],
            start_time=int((outcome.first_attempt_s or now) * _NS),
        )
        if outcome.kind is not OutcomeKind.DELIVERED:
            span.set_attribute("hec.reason", outcome.reason)
            span.set_attribute("http.response.status_code", outcome.http_status)
            if outcome.code is not None:
                span.set_attribute("hec.code", outcome.code)
            span.set_status(Status(StatusCode.ERROR, outcome.text))
        span.end(int(now * _NS))

    def close(self, within_s: float) -> None:
        """Hand out what is not told yet, within so many seconds, and stop."""
        self._tracing.force_flush(int(within_s * 1000))
        self._tracing.shutdown()
        if self._metering is not None:
            self._metering.shutdown(within_s * 1000)

    def _instrument(self, metrics: Metrics, provider: MeterProvider) -> None:
        meter = provider.get_meter("splunk_hec_kafka")
        for metric in CATALOGUE:
            name, read = PREFIX + metric.name, _reading(metrics, metric.name)
            match metric.kind:
                case "counter":
                    meter.create_observable_counter(name, [read], description=metric.help)
                case "gauge":
                    meter.create_observable_gauge(name, [read], description=metric.help)
                case "histogram":  # there is no observable one: its count and sum are told
                    for part in ("_count", "_sum"):
                        meter.create_observable_counter(
                            name + part, [_reading(metrics, metric.name + part)], description=metric.help
                        )


def parents(records: Records) -> Iterator[SpanContext]:
    """The traces that the records of a batch belong to, each span once, by their `traceparent` headers."""
    found: set[bytes] = set()
    for headers in records.headers(MAX_LOOKED_AT):
        for name, value in headers:
            if name != "traceparent" or not isinstance(value, bytes) or value in found:
                continue
            told = _TRACEPARENT.match(value)
            if told is None:
                continue
            trace_id, span_id, flags = (int(part, 16) for part in told.groups())
            if trace_id and span_id:
                found.add(value)
                yield SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
            if len(found) == MAX_LINKS:
                return


def _reading(metrics: Metrics, name: str) -> Callable[[CallbackOptions], Iterator[Observation]]:
    def read(_options: CallbackOptions) -> Iterator[Observation]:
        for labels, value in metrics.series(name):
            yield Observation(value, labels)

    return read
