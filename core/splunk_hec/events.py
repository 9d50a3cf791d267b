"""What goes in (`Event`, `Envelope`) and what comes back (`Outcome`), and nothing that acts on them.

The one non-obvious thing: an outcome speaks for many events at once. It carries a *manifest*, any
sequence whose slices are again manifests (a list of refs, or the Kafka sink's runs of offsets), so that
a batch can be split where Splunk's reply says so without an object per event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol

import msgspec

Payload = str | bytes | int | float | list[Any] | tuple[Any, ...] | Mapping[str, Any] | None
FieldValue = str | int | float | bool | list[str | int | float | bool] | None


class _Positional(msgspec.Struct, frozen=True):
    """Holds the one positional field: a Struct takes either all of its own fields by keyword or none."""

    payload: Payload


class Event(_Positional, frozen=True, kw_only=True):
    """One event to index. Immutable; encoding happens in `submit`, on the caller's thread.

    Attributes:
        payload: Text (`str`, or `bytes` in UTF-8), or anything JSON for a structured event. None only
            for a pure metrics event (`fields` holds `metric_name…` keys).
        time: When it happened: seconds since 1970 (larger magnitudes are read as ms, µs, ns, as Splunk
            does), a numeric or RFC 3339 string, or an aware datetime. None: Splunk's time of receipt.
        host: Metadata; None takes the client's default.
        source: Metadata; None takes the client's default.
        sourcetype: Metadata; None takes the client's default.
        index: Metadata; None takes the client's default.
        fields: Indexed fields, flat: scalars or lists of scalars.
        ref: Yours; comes back untouched in `Outcome.refs`.
    """

    time: int | float | str | Decimal | datetime | None = None
    host: str | None = None
    source: str | None = None
    sourcetype: str | None = None
    index: str | None = None
    fields: Mapping[str, FieldValue] | None = None
    ref: Any = None


class Envelope(_Positional, frozen=True, kw_only=True):
    """A ready HEC object (`{"event": …, "index": …}`) as text, bytes or mapping; its keys win over defaults.

    Only the keys HEC knows are taken: an unknown one makes Splunk answer 200 and silently drop this
    event and all after it in the request (measured on 10.4.3), so it is refused at the call site.
    """

    ref: Any = None


class OutcomeKind(StrEnum):
    """How an event ended; exactly one of these, once."""

    DELIVERED = "delivered"
    """Acknowledged by the indexer; with acks off: accepted."""
    REJECTED = "rejected"
    """Splunk will never take it."""
    GAVE_UP = "gave_up"
    """The deadline is spent, or the client was closed first; Splunk may or may not have it."""
    UNCONFIRMED = "unconfirmed"
    """Accepted, no acknowledgement in time, and resending was not allowed."""


class Manifest(Protocol):
    """Which events a batch stands for, in the order of its envelopes.

    One that knows where they came from may have a method `places() -> str`: the debug record of a resend
    shows what it returns.
    """

    def __len__(self) -> int:
        """How many events."""
        ...

    def __getitem__(self, index: slice, /) -> Any:
        """The part of the manifest for those envelopes: again a manifest."""
        ...


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a group of events ended. Handed out by `poll()`.

    Attributes:
        kind: The outcome.
        refs: The refs of the events, in order (the manifest of the batch or a part of it).
        count: How many events.
        reason: For failures: the dead-letter reason. Empty when delivered.
        http_status: Of the reply that decided; 0 if there was none.
        code: HEC's code in that reply; None if there was none.
        text: HEC's text in that reply, or what went wrong.
        attempts: HTTP tries that carried these events.
        url: The endpoint that decided (never holds a token).
        first_attempt_s: Seconds since 1970 of the first try; 0.0 if there was none.
        ack_latency_s: From the deciding reply to the acknowledgement; 0.0 without acks.
        size_bytes: Encoded size of these events.
        lines: For failures on a stream that keeps lines: the envelopes as they were sent, in order.
    """

    kind: OutcomeKind
    refs: Any
    count: int
    reason: str = ""
    http_status: int = 0
    code: int | None = None
    text: str = ""
    attempts: int = 0
    url: str = ""
    first_attempt_s: float = 0.0
    ack_latency_s: float = 0.0
    size_bytes: int = 0
    lines: Iterable[bytes] = ()
