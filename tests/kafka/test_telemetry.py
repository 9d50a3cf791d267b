"""OpenTelemetry: a span for each batch, linked to its records' traces; metrics; and off unless wanted."""

from __future__ import annotations

import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from kafka_tools import produce
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from record_tools import message
from sink_tools import LETTERS, lines, sink_config

from splunk_hec.events import Outcome, OutcomeKind
from splunk_hec_emulator import Emulator
from splunk_hec_kafka import otel
from splunk_hec_kafka.metrics import CATALOGUE, Metrics, exported_name
from splunk_hec_kafka.offsets import TopicPartition
from splunk_hec_kafka.originals import Beside, Originals, Records
from splunk_hec_kafka.otel import OpenTelemetry, parents
from splunk_hec_kafka.outside import THE_WORLD
from splunk_hec_kafka.sink import Sink
from splunk_hec_kafka.telemetry import telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from splunk_hec_kafka._mock_kafka import MockKafka

TRACE, SPAN = 0xAF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
PARENT = f"00-{TRACE:032x}-{SPAN:016x}-01".encode()


class Told:
    """What was told, kept in memory."""

    def __init__(self, metrics: Metrics) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.telemetry = OpenTelemetry(
            metrics,
            resource=Resource.create({"service.name": "sink"}),
            spans=SimpleSpanProcessor(self._spans),
            reader=self._reader,
        )

    @property
    def spans(self) -> list[Any]:
        """All spans so far."""
        return list(self._spans.get_finished_spans())

    def values(self) -> dict[tuple[str, tuple[tuple[str, Any], ...]], float]:
        """Name and attributes → value, asked now."""
        data = self._reader.get_metrics_data()
        assert data is not None
        return {
            (metric.name, tuple(sorted(point.attributes.items()))): point.value
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }


@pytest.fixture
def told() -> Iterator[Told]:
    """Telemetry in memory, of metrics of its own."""
    one = Told(Metrics())
    yield one
    one.telemetry.close(5)


def records(*parents_of: bytes | None) -> Records:
    """A batch of records with these `traceparent` headers."""
    messages = [
        message(b"v", at, headers=None if one is None else [("other", b"x"), ("traceparent", one)])
        for at, one in enumerate(parents_of)
    ]
    beside = Beside(messages, [(1, 0)] * len(messages), {})
    return Records.of(Originals("raw", beside), {TopicPartition("t", 3): 1})


def outcome(kind: OutcomeKind = OutcomeKind.DELIVERED, **more: Any) -> Outcome:
    """How a batch ended."""
    return Outcome(
        **{"kind": kind, "refs": records(PARENT, None), "count": 2, "url": "https://s:8088"} | more
    )


def test_a_batch_is_one_span_with_its_times_and_its_records(told: Told) -> None:
    """From the first try to the outcome, however many records: what it held, where from, how it went."""
    began = time.time() - 3
    told.telemetry.batch(outcome(first_attempt_s=began, attempts=2, ack_latency_s=1.5, size_bytes=70))
    (span,) = told.spans
    assert span.start_time == pytest.approx(began * 1e9, abs=1e6)
    assert span.end_time - span.start_time == pytest.approx(3e9, abs=2e9)
    assert dict(span.attributes) == {
        "hec.outcome": "delivered",
        "hec.events": 2,
        "hec.size_bytes": 70,
        "hec.attempts": 2,
        "hec.ack_latency_s": 1.5,
        "url.full": "https://s:8088",
        "kafka.records": "t/3@0-1",
    }
    assert [(link.context.trace_id, link.context.span_id) for link in span.links] == [(TRACE, SPAN)]
    assert span.status.status_code is StatusCode.UNSET


def test_a_failure_is_an_error_with_its_reason(told: Told) -> None:
    """A rejected event is found by its reason, status and code."""
    told.telemetry.batch(
        outcome(OutcomeKind.REJECTED, reason="bad_index", http_status=400, code=7, text="Incorrect index")
    )
    (span,) = told.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "Incorrect index"
    assert span.attributes["hec.reason"] == "bad_index"
    assert (span.attributes["http.response.status_code"], span.attributes["hec.code"]) == (400, 7)


def test_links_are_few_and_right() -> None:
    """Each trace once, a bounded number, from a bounded look at the records; rubbish leads nowhere."""
    many = [b"00-%032x-%016x-01" % (at + 1, 7) for at in range(2 * otel.MAX_LINKS)]
    assert len(list(parents(records(*many)))) == otel.MAX_LINKS
    assert len(list(parents(records(PARENT, PARENT, None)))) == 1
    bad = [b"", b"00-xyz", b"\xff" * 55, b"00-%032x-%016x-01" % (0, 1), b"00-%032x-%016x-01" % (1, 0)]
    assert list(parents(records(*bad))) == []
    assert list(parents(records(*[b"no"] * otel.MAX_LOOKED_AT, PARENT))) == []
    assert len(list(parents(records(None, *[b"no"] * (otel.MAX_LOOKED_AT - 1), PARENT)))) == 1
    assert list(parents(records(None, PARENT)[0:1])) == []  # a piece has the links of its own records


def test_metrics_are_those_of_the_page() -> None:
    """Each catalogued quantity is observed, with the value that /metrics shows at the same moment."""
    metrics = Metrics()
    fresh = Told(metrics)
    metrics.count("resends", 3, cause="busy")
    metrics.count("ack_latency_seconds", 0.5)
    metrics.committed("t", 3, 42)
    metrics.lag("t", 3, 7)
    metrics.consumed("t", 9)
    metrics.count("requests", 1, status="200", code="0")
    values = fresh.values()
    assert values["hec_sink_resends", (("cause", "busy"),)] == 3
    assert values["hec_sink_committed_offset", (("partition", "3"), ("topic", "t"))] == 42
    assert values["hec_sink_ack_latency_seconds_count", ()] == 1
    assert values["hec_sink_ack_latency_seconds_sum", ()] == 0.5
    metrics.count("resends", 1, cause="busy")
    assert fresh.values()["hec_sink_resends", (("cause", "busy"),)] == 4
    names = {name.removesuffix("_count").removesuffix("_sum") for name, _ in values}
    assert names == {exported_name(one).removesuffix("_total") for one in CATALOGUE}
    fresh.telemetry.close(5)


def test_a_running_sink_tells_each_batch(mock_kafka: MockKafka) -> None:
    """All delivered events are in spans, linked to the trace that its producer wrote into the headers."""
    mock_kafka.create_topic("logs", 1)
    mock_kafka.create_topic(LETTERS, 1)
    metrics = Metrics()
    told = Told(metrics)
    produce(mock_kafka.bootstrap, "logs", lines(30), headers=[[("traceparent", PARENT)]])
    with Emulator(ack_delay="0.05s") as hec:
        outside = THE_WORLD._replace(trace=told.telemetry.batch)
        config = sink_config(mock_kafka, hec)
        assert Sink(config, metrics=metrics, until_end=True, outside=outside).run() == 0
    delivered = [span for span in told.spans if span.attributes["hec.outcome"] == "delivered"]
    assert sum(span.attributes["hec.events"] for span in delivered) == 30
    assert [link.context.trace_id for span in delivered for link in span.links] == [TRACE]
    told.telemetry.close(5)


class Collector(BaseHTTPRequestHandler):
    """Takes what is exported, as an OpenTelemetry collector would."""

    taken: dict[str, list[bytes]]

    def do_POST(self) -> None:
        """Keep the body."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.setdefault(self.path, []).append(body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_the_standard_variables_turn_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an OTLP endpoint in the environment spans and metrics arrive there, under a name of their own."""
    taken: dict[str, list[bytes]] = {}
    handler = type("Handler", (Collector,), {"taken": taken})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
        monkeypatch.setenv(*next(iter(env.items())))
        one = telemetry(Metrics(), env)
        assert one is not None
        one.batch(outcome())
        one.close(20)
        server.shutdown()
        thread.join()
    (traces,) = (ExportTraceServiceRequest.FromString(body) for body in taken["/v1/traces"])
    (resource,) = traces.resource_spans
    assert [span.name for scope in resource.scope_spans for span in scope.spans] == ["hec batch"]
    assert "hec-kafka-sink" in {one.value.string_value for one in resource.resource.attributes}
    metrics = ExportMetricsServiceRequest.FromString(taken["/v1/metrics"][-1])
    names = {
        metric.name for one in metrics.resource_metrics for s in one.scope_metrics for metric in s.metrics
    }
    assert "hec_sink_in_flight_bytes" in names


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({}, ""),
        ({"OTEL_SERVICE_NAME": "x"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, ""),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318",
                "OTEL_TRACES_EXPORTER": "none",
                "OTEL_METRICS_EXPORTER": "none",
            },
            "",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "no telemetry",
        ),
    ],
)
def test_it_is_off_unless_it_is_wanted(
    env: dict[str, str], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without an endpoint, or turned off, nothing is told; what cannot be done is one line, not an end."""
    with caplog.at_level(logging.WARNING, "splunk_hec_kafka"):
        assert telemetry(Metrics(), env) is None
    assert (says in caplog.text) if says else not caplog.text
