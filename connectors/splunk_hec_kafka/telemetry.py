"""Whether OpenTelemetry is told of the sink, by the environment variables that it defines itself.

Off unless `OTEL_EXPORTER_OTLP_ENDPOINT`, or the one of traces or metrics, is set. Not for what is told
(`otel`). Guarantee: nothing here ends the sink; what is wrong is one line in the log, and it runs without.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from splunk_hec.events import Outcome
    from splunk_hec_kafka.metrics import Metrics

log = logging.getLogger("splunk_hec_kafka")

CLOSE_S = 5.0
_PROTOCOL = "http/protobuf"


class Telemetry(Protocol):
    """Is told what becomes of batches."""

    def batch(self, outcome: Outcome) -> None:
        """A batch has its outcome; the loop's thread."""
        ...

    def close(self, within_s: float) -> None:
        """The sink ends."""
        ...


def telemetry(metrics: Metrics, env: Mapping[str, str]) -> Telemetry | None:
    """Begin to tell OpenTelemetry, if the environment wants it; None if not, or if it cannot be done.

    Args:
        metrics: What its metrics are read from.
        env: `OTEL_SDK_DISABLED`, `OTEL_EXPORTER_OTLP_*`, `OTEL_TRACES_EXPORTER` and `OTEL_METRICS_EXPORTER`
            (`none` turns one off) decide; the exporters read more of it by themselves.
    """
    has_spans, has_metrics = _is_wanted("TRACES", env), _is_wanted("METRICS", env)
    if not (has_spans or has_metrics):
        return None
    if (protocol := env.get("OTEL_EXPORTER_OTLP_PROTOCOL", _PROTOCOL)) != _PROTOCOL:
        log.warning("no telemetry: OTEL_EXPORTER_OTLP_PROTOCOL is %s, the sink speaks %s (port 4318 mostly)",
                    protocol, _PROTOCOL)  # fmt: skip
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415 -- an extra
            OTLPMetricExporter,
        )
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 -- as above
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415 -- as above
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 -- as above
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 -- as above

        from splunk_hec_kafka.otel import OpenTelemetry  # noqa: PLC0415 -- as above
    except ImportError as error:
        log.warning("no telemetry: %s (fix: pip install 'splunk-hec-sink[otel]')", error)
        return None
    log.info("telemetry: %s", " and ".join(_names(has_spans=has_spans, has_metrics=has_metrics)))
    return OpenTelemetry(
        metrics,
        resource=Resource.create(_who(env)),
        spans=BatchSpanProcessor(OTLPSpanExporter()) if has_spans else None,
        reader=PeriodicExportingMetricReader(OTLPMetricExporter()) if has_metrics else None,
    )


def _is_wanted(signal: str, env: Mapping[str, str]) -> bool:
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get(f"OTEL_{signal}_EXPORTER") == "none":
        return False
    return bool(env.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT"))


def _names(*, has_spans: bool, has_metrics: bool) -> list[str]:
    return ["a span for each batch"] * has_spans + ["metrics"] * has_metrics


def _who(env: Mapping[str, str]) -> dict[str, str]:
    """What the environment does not say of this process itself: its name, and which of several it is."""
    told = env.get("OTEL_RESOURCE_ATTRIBUTES", "")
    ours = {
        "service.name": "hec-kafka-sink",
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
    }
    if env.get("OTEL_SERVICE_NAME"):
        del ours["service.name"]
    return {name: value for name, value in ours.items() if f"{name}=" not in told}
