"""Pub/Sub messages → events, by the conventions of the Dataflow template that writes Pub/Sub to Splunk.

An object `_metadata` in a JSON event says what HEC is told beside the event, and is taken out of it:

    {"_metadata": {"time": RFC 3339, "host", "source", "sourcetype", "index", "fields", "event"}, …the event…}

`event`, where given, is sent instead of the rest. Without a time there, an RFC 3339 `timestamp` in the
event (as in Cloud Logging's entries) is its time. What is no JSON object is text.
Guarantee: all other members of the event are sent byte for byte. Unlike the template, a `_metadata` that
cannot be kept (`bad_time`, `bad_fields`) refuses the event: the template sends such an event with other
metadata than asked.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from apache_beam.io.gcp.pubsub import PubsubMessage
from msgspec import Raw

from splunk_hec._envelope import check_json_value
from splunk_hec._times import fixed_time
from splunk_hec.errors import InvalidEvent
from splunk_hec.events import Envelope, Event
from splunk_hec_beam.log_lines import json_envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

METADATA = "_metadata"
TIMESTAMP = "timestamp"
_TEXTS = ("host", "source", "sourcetype", "index")
_to_members = msgspec.json.Decoder(dict[str, Raw]).decode


def event_of_message(
    message: PubsubMessage | bytes | str, *, attributes_as_fields: bool = False
) -> Event | Envelope:
    """The event a message stands for.

    Args:
        message: A message, or its data.
        attributes_as_fields: Index the message's attributes; `_metadata.fields` of the same name win.

    Raises:
        InvalidEvent: Its `_metadata` cannot be kept, or it has no data.
    """
    attributes: Mapping[str, str] | None = None
    if isinstance(message, PubsubMessage):
        attributes = message.attributes if attributes_as_fields else None
        message = message.data or b""
    members = _members(message)
    if members is None:
        return Event(message, fields=dict(attributes) if attributes else None)
    metadata = _metadata(members)
    fields = dict(attributes or {}) | _fields(metadata)
    return json_envelope(
        _event(message, members, metadata),
        time=_time(members, metadata),
        fields=fields or None,
        **{name: _text(metadata, name) for name in _TEXTS},
    )


def reader(*, attributes_as_fields: bool) -> Callable[[Any], Event | Envelope]:
    """`event_of_message` with its setting, as a `to_event`."""
    return partial(event_of_message, attributes_as_fields=attributes_as_fields)


def _members(message: bytes | str) -> dict[str, Raw] | None:
    """The members of a JSON object, undecoded; None if it is none."""
    if message.lstrip()[:1] not in (b"{", "{"):
        return None
    try:
        if isinstance(message, bytes):
            message.decode()
        return _to_members(message)
    except (UnicodeError, msgspec.DecodeError, RecursionError):
        return None


def _metadata(members: Mapping[str, Raw]) -> dict[str, Raw]:
    """The object of that name, empty if there is none: anything else is the sender's own member."""
    raw = members.get(METADATA)
    return _to_members(raw) if raw is not None and bytes(raw)[:1] == b"{" else {}


def _event(message: bytes | str, members: dict[str, Raw], metadata: Mapping[str, Raw]) -> bytes:
    own = metadata.get("event")
    if own is not None and bytes(own) not in (b"null", b'""'):
        return check_json_value(bytes(own))
    if METADATA in members and bytes(members[METADATA])[:1] == b"{":
        message = msgspec.json.encode({name: one for name, one in members.items() if name != METADATA})
    return check_json_value(message.encode() if isinstance(message, str) else message)


def _time(members: Mapping[str, Raw], metadata: Mapping[str, Raw]) -> Raw | None:
    asked = _value(metadata, "time")
    if asked not in (None, ""):
        return Raw(fixed_time(asked).encode())
    told = _value(members, TIMESTAMP)
    if not isinstance(told, str) or "T" not in told:
        return None
    try:
        return Raw(fixed_time(told).encode())
    except InvalidEvent:  # nobody said that this is the event's time
        return None


def _text(metadata: Mapping[str, Raw], name: str) -> str | None:
    value = _value(metadata, name)
    if value is not None and not isinstance(value, str):
        raise InvalidEvent("invalid_event", f"{METADATA}.{name} must be text, not {type(value).__name__}")
    return value or None


def _fields(metadata: Mapping[str, Raw]) -> dict[str, Any]:
    value = _value(metadata, "fields")
    if value in (None, ""):
        return {}
    if not isinstance(value, dict):
        raise InvalidEvent("bad_fields", f"{METADATA}.fields must be an object, not {type(value).__name__}")
    return value


def _value(members: Mapping[str, Raw], name: str) -> Any:
    raw = members.get(name)
    return None if raw is None else msgspec.json.decode(raw)
