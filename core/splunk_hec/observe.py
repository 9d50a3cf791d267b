"""What a client reports about itself while it works: the `Observer` protocol and the catalogue of names.

Not for outcomes (those come from `poll()`), and never for payloads or tokens. Calls come from worker
threads, once per batch or request, never per event; an observer must be quick and must not raise.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec


class Metric(msgspec.Struct, frozen=True):
    """One catalogued quantity: its name without prefix, what it is, its labels, and what it means."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


CATALOGUE: tuple[Metric, ...] = (
    Metric("events", "counter", ("outcome",), "Events settled, by outcome."),
    Metric("requests", "counter", ("status", "code"), "HTTP requests answered; status 0 = no reply."),
    Metric("resends", "counter", ("cause",), "Batches, or pieces of one, that are sent again, by cause."),
    Metric("ack_latency_seconds", "histogram", (), "From the reply with the ackId to its acknowledgement."),
    Metric("channels_retired", "counter", ("cause",), "Channels no longer posted to, by cause."),
    Metric("in_flight_bytes", "gauge", (), "Memory held for accepted, unsettled events."),
    Metric("in_flight_events", "gauge", (), "Accepted, unsettled events."),
    Metric("halted", "gauge", (), "1 while every endpoint refuses the deployment."),
)

Cause = Literal["unknown_reply", "busy", "ack_timeout", "ack_reply_lost", "channel_reset", "split"]
"""Why a batch is sent again: the label values of `resends`."""


class Observer(Protocol):
    """Receives counts. Any thread; must not block, must not raise."""

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Add `amount` to the counter `name` of the catalogue, or observe it in the histogram `name`."""
        ...


class Silent:
    """The observer of a client that nobody observes."""

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Do nothing."""
