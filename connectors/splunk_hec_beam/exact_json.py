"""Values ↔ JSON without loss: an element can be read back from a file, by people and by a replay.

Not for speed, and not for what Splunk gets. Guarantee: `from_json(to_json(value)) == value` for text,
bytes, JSON's own values, mappings, times, events, and the rows this package and Pub/Sub hand out; of
anything else only a text for people is kept, and reading that gives `Unreadable`.
Non-obvious: an object with one key that starts with `$` says what JSON cannot: `{"$bytes": "AAE="}`. A
mapping that has such a key of its own is written as pairs, so nothing can be mistaken. Nothing is ever
unpickled.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import apache_beam as beam
import msgspec
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.utils.timestamp import Timestamp

from splunk_hec.events import Envelope, Event
from splunk_hec_beam.kafka_record import KafkaHeader, KafkaRecord
from splunk_hec_beam.log_lines import LogLine

if TYPE_CHECKING:
    from collections.abc import Callable

_PLAIN = (str, int, bool, type(None))


class Unreadable(NamedTuple):
    """Stands for a value of a kind that JSON lines do not keep.

    Attributes:
        type: Its type's name.
        text: Its `repr`.
    """

    type: str
    text: str


def to_json(value: Any) -> Any:
    """What `json.dumps` can write of it."""
    if isinstance(value, _PLAIN) and type(value) in _PLAIN:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list):
        return [to_json(one) for one in value]
    if isinstance(value, Mapping):
        return _mapping(value)
    for kind, (name, write, _) in _KINDS.items():
        if isinstance(value, kind):
            return {f"${name}": write(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):  # a row of the user's own
        return {"$row": _members(cast("Any", value)._asdict())}
    if isinstance(value, tuple):
        return {"$tuple": [to_json(one) for one in value]}
    return {"$unreadable": [type(value).__name__, repr(value)]}


def from_json(value: Any) -> Any:
    """The value again.

    Raises:
        ValueError: `to_json` did not write it.
    """
    if isinstance(value, list):
        return [from_json(one) for one in value]
    if not isinstance(value, dict):
        return value
    members = cast("dict[str, Any]", value)
    name = next(iter(members), "")
    if not name.startswith("$"):
        return {key: from_json(one) for key, one in members.items()}
    read = _READERS.get(name)
    if read is None or len(members) > 1:
        raise ValueError(f"{name!r} is no kind of value that is known here")
    return read(members[name])


def _mapping(value: Mapping[Any, Any]) -> Any:
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        return _members(value)
    return {"$pairs": [[to_json(key), to_json(one)] for key, one in value.items()]}


def _members(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: to_json(one) for key, one in value.items()}


def _read_members(value: Any) -> dict[str, Any]:
    return {key: from_json(one) for key, one in value.items()}


def _write_event(event: Event) -> dict[str, Any]:
    set_ones = {name: one for name, one in msgspec.structs.asdict(event).items() if one is not None}
    return _members({name: one for name, one in set_ones.items() if name != "ref"})


def _read_event(value: Any) -> Event:
    members = _read_members(value)
    return Event(members.pop("payload", None), **members)


def _write_message(message: PubsubMessage) -> dict[str, Any]:
    return _members({name: one for name, one in vars(message).items() if one is not None})


def _read_message(value: Any) -> PubsubMessage:
    members = _read_members(value)
    return PubsubMessage(members.pop("data", None), members.pop("attributes", None), **members)


def _read_record(value: Any) -> KafkaRecord:
    members = _read_members(value)
    headers = [KafkaHeader(*one) for one in members.pop("headers")]
    return KafkaRecord(headers=headers, **members)


def _write_record(record: KafkaRecord) -> dict[str, Any]:
    headers = [[header.key, to_json(header.value)] for header in record.headers]
    return _members(record._asdict() | {"headers": None}) | {"headers": headers}


_KINDS: dict[type, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
    bytes: ("bytes", lambda value: b64encode(value).decode(), b64decode),
    float: ("float", repr, float),
    Decimal: ("decimal", str, Decimal),
    datetime: ("datetime", datetime.isoformat, datetime.fromisoformat),
    Timestamp: ("micros", lambda value: value.micros, lambda micros: Timestamp(micros=micros)),
    Event: ("event", _write_event, _read_event),
    Envelope: ("envelope", lambda value: to_json(value.payload), lambda value: Envelope(from_json(value))),
    KafkaRecord: ("kafka", _write_record, _read_record),
    LogLine: ("line", lambda value: _members(value._asdict()), lambda value: LogLine(**_read_members(value))),
    PubsubMessage: ("pubsub", _write_message, _read_message),
    beam.Row: (
        "row",
        lambda value: _members(value.as_dict()),
        lambda value: beam.Row(**_read_members(value)),
    ),
    Unreadable: ("unreadable", list, lambda value: Unreadable(*value)),
}
_READERS: dict[str, Callable[[Any], Any]] = {f"${name}": read for name, _, read in _KINDS.values()} | {
    "$pairs": lambda value: {from_json(key): from_json(one) for key, one in value},
    "$tuple": lambda value: tuple(from_json(one) for one in value),
}
