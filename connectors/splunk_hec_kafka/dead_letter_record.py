"""What a dead letter looks like: the original, and headers that say why and from where.

Pure. Not for writing it (`dead_letters`). Guarantees: key, value and all foreign headers are the original's,
byte for byte and in order; no header holds a token. Its timestamp is the time of writing: with the
original's an old record would be deleted by retention right after its offset was committed, and a future one
refused; so the original's goes into a header, for a replay to restore.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME

from splunk_hec.events import Outcome
from splunk_hec_kafka.headers import headers_of

if TYPE_CHECKING:
    from splunk_hec_kafka.encoded import Refusal
    from splunk_hec_kafka.headers import Headers
    from splunk_hec_kafka.originals import Consumed

REPLAYS = "hec.replays"
TEXT_MAX_CHARS = 1_000
"""A proxy's page in `hec.text` must not grow the record past the broker's limit."""
_CONNECT = "__connect.errors."
_CONNECT_NAMES = (
    "topic",
    "partition",
    "offset",
    "connector.name",
    "stage",
    "exception.class.name",
    "exception.message",
)
_HEC_NAMES = (
    "record.timestamp",
    "record.timestamp_type",
    "reason",
    "http_status",
    "code",
    "text",
    "attempts",
    "first_attempt",
    "url",
    "sink_version",
    "replays",
)
OUR_HEADERS = frozenset(f"{_CONNECT}{name}" for name in _CONNECT_NAMES) | frozenset(
    f"hec.{name}" for name in _HEC_NAMES
)
"""Headers of these names are replaced, so that a record that fails twice tells its latest story."""
_TIMESTAMP_TYPES = {TIMESTAMP_CREATE_TIME: "CreateTime", TIMESTAMP_LOG_APPEND_TIME: "LogAppendTime"}


def dead_letter_record(
    message: Consumed, cause: Refusal | Outcome
) -> tuple[bytes | None, bytes | None, Headers]:
    """Build the dead letter of one record.

    Args:
        message: The record as consumed.
        cause: Why it can never be indexed: the sink's own refusal, or Splunk's outcome.

    Returns:
        Key, value and headers to produce.
    """
    headers: Headers = [(name, value) for name, value in headers_of(message) if name not in OUR_HEADERS]
    kind, ms = message.timestamp()
    about = {
        f"{_CONNECT}topic": message.topic(),
        f"{_CONNECT}partition": message.partition(),
        f"{_CONNECT}offset": message.offset(),
        f"{_CONNECT}connector.name": "hec-kafka-sink",
        "hec.record.timestamp": ms if kind in _TIMESTAMP_TYPES else None,
        "hec.record.timestamp_type": _TIMESTAMP_TYPES.get(kind),
        "hec.sink_version": _sink_version(),
        REPLAYS: replays(message),
        **(_about_outcome(cause) if isinstance(cause, Outcome) else _about_refusal(cause)),
    }
    headers += [(name, str(value).encode()) for name, value in about.items() if value is not None]
    return message.key(), message.value(), headers


def replays(message: Consumed) -> int:
    """How often this record was replayed from a dead-letter topic: its own header, else 0."""
    last = dict(headers_of(message)).get(REPLAYS)
    text = last.decode(errors="replace") if isinstance(last, bytes) else last or ""
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 10 else 0


def _about_refusal(refusal: Refusal) -> dict[str, str | int | None]:
    return _about(refusal.reason, refusal.text) | {
        f"{_CONNECT}stage": refusal.stage,
        f"{_CONNECT}exception.class.name": "splunk_hec.InvalidEvent",
        "hec.http_status": 0,
        "hec.attempts": 0,
    }


def _about_outcome(outcome: Outcome) -> dict[str, str | int | None]:
    sent = outcome.first_attempt_s > 0
    first = datetime.fromtimestamp(outcome.first_attempt_s, UTC).isoformat(timespec="milliseconds")
    return _about(outcome.reason, outcome.text) | {
        f"{_CONNECT}stage": "PUT",
        f"{_CONNECT}exception.class.name": "splunk_hec.DeliveryFailed",
        "hec.http_status": outcome.http_status,
        "hec.code": outcome.code,
        "hec.attempts": outcome.attempts,
        "hec.first_attempt": first.replace("+00:00", "Z") if sent else None,
        "hec.url": outcome.url or None,
    }


def _about(reason: str, text: str) -> dict[str, str | int | None]:
    short = text.encode(errors="replace").decode()[:TEXT_MAX_CHARS]
    return {"hec.reason": reason, "hec.text": short, f"{_CONNECT}exception.message": f"{reason}: {short}"}


@cache
def _sink_version() -> str:
    return version("splunk-hec-sink")
