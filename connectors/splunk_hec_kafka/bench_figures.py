"""What a `bench` run measured, the limit that binds, and what to raise. Pure, but for the observed transport.

The limit is the first of these that holds:

    busy      Splunk answered 5 % of the requests or more with 503 or 429
    lanes     the lanes spent 85 % of their time in requests
    budget    a submit waited for the budget a fifth of the time: events/s are at most the budget divided by
              the latency
    CPU       this process kept 85 % of a core or more busy
    none      none of these: more events, or more seconds, would tell
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec

from splunk_hec_kafka.summary import summary_text

if TYPE_CHECKING:
    from splunk_hec._protocol import Reply, Request, Transport, TransportError

BUSY = 0.05
OFTEN = 0.2
NEARLY = 0.85
GB = 1_000_000_000
ADVICE = {
    "busy": "Splunk refuses what it cannot take: add indexers or HEC endpoints, or send less; nothing here "
    "would help",
    "lanes": "raise hec.lanes, or name more endpoints in hec.url; if that does not help, Splunk is the limit",
    "budget": "raise hec.in_flight_max_bytes and hec.in_flight_max_events: events/s are at most what is in "
    "flight, divided by the acknowledgement latency",
    "CPU": "run more processes (run.processes): one core encodes and compresses no more than this",
    "none": "nothing here was used up: repeat it with more --events or --seconds",
}


class Tally:
    """What the client's transports did. Any thread.

    Attributes:
        full_s: How long submits waited for room in the budget; the caller's thread adds to it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.full_s = 0.0
        self.busy_s = 0.0
        self.wire_bytes = 0

    def observed(self, transport: Transport) -> Observed:
        """A transport whose requests count here."""
        return Observed(transport, self)

    def add(self, seconds: float, request: Request) -> None:
        """A request came to its end."""
        is_batch = bool(request.body) and not request.path.partition("?")[0].endswith("/ack")
        with self._lock:
            self.busy_s += seconds
            self.wire_bytes += len(request.body) if is_batch else 0


class Observed:
    """A transport, and a look at the clock before and after."""

    def __init__(self, transport: Transport, tally: Tally) -> None:
        self._transport = transport
        self._tally = tally

    def send(self, request: Request) -> Reply | TransportError:
        """See `Transport.send`."""
        before = time.monotonic()
        try:
            return self._transport.send(request)
        finally:
            self._tally.add(time.monotonic() - before, request)

    def forget(self, channel: str) -> None:
        """See `Transport.forget`."""
        self._transport.forget(channel)

    def close(self) -> None:
        """See `Transport.close`."""
        self._transport.close()


class Figures(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        acks: Delivered meant acknowledged.
        events, size_bytes: Accepted by the client; bytes of the events themselves.
        unsettled: Of these, without an outcome at the end.
        outcomes: Of the others.
        sent_s, seconds: Until the last was accepted; until the last was settled.
        sent_cpu_s, cpu_s: CPU seconds of this process until then.
        ack_latency_s: Median and 99th percentile.
        requests: Answered, by `status/code`.
        resends: By cause.
        lanes, in_flight_max_events, in_flight_max_bytes: As configured.
        tally: Of the transports.
    """

    acks: bool
    events: int
    size_bytes: int
    unsettled: int
    outcomes: dict[str, int]
    sent_s: float
    seconds: float
    sent_cpu_s: float
    cpu_s: float
    ack_latency_s: tuple[float, float]
    requests: dict[str, int]
    resends: dict[str, int]
    lanes: int
    in_flight_max_events: int
    in_flight_max_bytes: int
    tally: Tally


def limit(one: Figures) -> str:
    """What kept it from being faster; see the module's text."""
    answered = sum(one.requests.values())
    refused = sum(times for reply, times in one.requests.items() if reply.startswith(("503", "429")))
    if answered and refused / answered >= BUSY:
        return "busy"
    if one.tally.busy_s / (one.lanes * max(1e-9, one.seconds)) >= NEARLY:
        return "lanes"
    if one.tally.full_s / max(1e-9, one.sent_s) >= OFTEN:
        return "budget"
    return "CPU" if one.sent_cpu_s / max(1e-9, one.sent_s) >= NEARLY else "none"


def document(
    found: list[Figures], bench_id: str, urls: tuple[str, ...], *, is_local: bool, is_stopped: bool
) -> dict[str, Any]:
    """All runs as JSON."""
    return {
        "url": list(urls),
        "emulator": is_local,
        "bench_id": bench_id,
        "find": f"index=* sourcetype=hec-kafka-sink:bench bench_id={bench_id}",
        "stopped": is_stopped,
        "runs": [_run(one) for one in found],
    }


def _run(one: Figures) -> dict[str, Any]:
    p50, p99 = one.ack_latency_s
    settled = one.events - one.unsettled
    # The last events wait for their acknowledgement once; that is no work.
    flow_s = max(1e-3, one.seconds - (p50 if one.acks else 0.0), min(one.sent_s, one.seconds))
    binding = limit(one)
    return {
        "acks": one.acks,
        "events": one.events,
        "mb": round(one.size_bytes / 1e6, 3),
        **one.outcomes,
        "unsettled": one.unsettled,
        "events_per_s": round(settled / flow_s, 1),
        "mb_per_s": round(one.size_bytes / 1e6 * settled / max(1, one.events) / flow_s, 3),
        "ack_latency_s": {"p50": round(p50, 3), "p99": round(p99, 3)},
        "seconds": round(one.seconds, 3),
        "requests": one.requests,
        "resends": one.resends,
        "compression": round(one.size_bytes / one.tally.wire_bytes, 2) if one.tally.wire_bytes else 0.0,
        "cpu_s_per_gb": round(one.cpu_s / max(1, one.size_bytes) * GB, 2),
        "budget_events_per_s": round(one.in_flight_max_events / p50, 1) if p50 else None,
        "limit": binding,
        "advice": ADVICE[binding],
    }


def rows(told: dict[str, Any]) -> str:
    """The document for people: the runs one after another, then how to find the events."""
    parts = [
        summary_text({**one, "budget_events_per_s": one["budget_events_per_s"] or "no acknowledgement"})
        for one in told["runs"]
    ]
    if told["emulator"]:
        parts.append("measured against an embedded emulator on these cores: says nothing about your Splunk")
    else:
        parts.append(f"found by   {told['find']}\ndeleted by the same with | delete")
    if told["stopped"]:
        parts.append("stopped before its end")
    return "\n\n".join(parts)
