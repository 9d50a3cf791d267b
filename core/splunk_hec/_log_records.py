"""A log record of Python's `logging` as an event: pure, one record at a time.

Not for sending (`_log_sender`). Guarantees: whatever the record holds has some form that can be encoded;
what has no JSON form of its own (objects, NaN, lone surrogates, cycles) becomes text in `tamed`, which is
only asked where the plain form was refused.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from splunk_hec.events import Event

if TYPE_CHECKING:
    from collections.abc import Iterable

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; anything else came by `extra`. taskName is there from Python 3.12 on."""

_DEPTH = 20
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
"""The integers that JSON readers, Splunk's among them, take as such."""

_tracebacks = logging.Formatter()


def event_of(record: logging.LogRecord, text: str | None, *, has_fields: bool) -> Event:
    """The event of a record: its time is the record's.

    Args:
        record: Any; a mapping as its message becomes members of the event.
        text: What the handler's formatter made of it, which is then the whole payload; None: there is no
            formatter, and the payload is an object with message, level, logger, and what else there is.
        has_fields: `extra` becomes indexed fields, not members of the payload.
    """
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    fields = {name: _flat(value) for name, value in extra.items()} if has_fields and extra else None
    if text is not None:
        return Event(text, time=record.created, fields=fields)
    said = cast("Any", record.msg)
    body: dict[str, Any] = {"level": record.levelname, "logger": record.name}
    if isinstance(said, Mapping) and not record.args:
        body.update(cast("Mapping[str, Any]", said))
    else:
        body = {"message": record.getMessage(), **body}
    if record.exc_info and not record.exc_text:
        record.exc_text = _tracebacks.formatException(record.exc_info)  # kept for the next handler
    if record.exc_text:
        body["exception"] = record.exc_text
    if record.stack_info:
        body["stack"] = record.stack_info
    if not has_fields:
        body.update(extra)
    return Event(body, time=record.created, fields=fields)


def dropped_notice(count: int) -> Event:
    """What stands where records were dropped."""
    text = f"{count} log records were dropped here: Splunk did not take them as fast as they came"
    return Event({"message": text, "level": "WARNING", "logger": "splunk_hec", "dropped": count})


def tamed(event: Event) -> Event:
    """The same event with everything that has no JSON form as text."""
    fields = None if event.fields is None else {_text(k): _tame(v, 1) for k, v in event.fields.items()}
    return Event(_tame(event.payload, 0), time=event.time, fields=fields)


def _flat(value: Any) -> Any:
    """Indexed fields are scalars or lists of them; anything else is its text."""
    if isinstance(value, list | tuple):
        items = cast("Iterable[Any]", value)
        return [one if isinstance(one, str | int | float) else _text(one) for one in items]
    return value if isinstance(value, str | int | float | None) else _text(value)


def _tame(value: Any, depth: int) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value) if _SMALLEST <= value <= _LARGEST else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if depth < _DEPTH and isinstance(value, Mapping):
        members = cast("Any", value)
        return {_text(name): _tame(member, depth + 1) for name, member in members.items()}
    if depth < _DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_tame(item, depth + 1) for item in cast("Iterable[Any]", value)]
    return _text(value)


def _text(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()
