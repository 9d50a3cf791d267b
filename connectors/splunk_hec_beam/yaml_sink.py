"""`WriteToSplunkHEC` for callers with plain values only: Beam YAML, and other SDKs by expansion service.

Not for Python pipelines. What it adds: a field of a row can be the event, since such callers have rows and
no `to_event`; and settings may come as rows where Python has mappings.
Non-obvious: Beam reads the annotations while it runs, so they must not be made text (`from __future__`).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Optional, Union

from splunk_hec.errors import InvalidEvent
from splunk_hec.events import Event
from splunk_hec_beam.elements import plain
from splunk_hec_beam.write import WriteToSplunkHEC

_METADATA = ("time", "host", "source", "sourcetype", "index")


def write_to_splunk_hec(
    url: Union[str, Sequence[str]],  # noqa: UP007 -- Beam's schemas know this form
    token: str,
    event_field: Optional[str] = None,  # noqa: UP045 -- likewise
    **settings: Any,
) -> WriteToSplunkHEC:
    """Delivers each element to Splunk's HTTP Event Collector before its bundle is committed.

    Args:
        url: `https://host:8088`, or several of them.
        token: `env:NAME`, `file:PATH`, or `gcp-secret:projects/P/secrets/S`, read on the worker.
        event_field: This field of a row is the event; the fields time, host, source, sourcetype and index are
            its metadata, all others its indexed fields. Without it a row is indexed whole, as JSON.
        **settings: Any other keyword of `WriteToSplunkHEC` but `to_event`.

    Raises:
        ConfigError: A setting is missing, unknown or of the wrong form; the text says how to mend it.
    """
    to_event = partial(event_of_row, event_field=event_field) if event_field else None
    given = {name: plain(value) for name, value in settings.items()}
    urls = url if isinstance(url, str) else list(url)
    return WriteToSplunkHEC(urls, token, to_event=to_event, **given)


def event_of_row(row: Any, *, event_field: str) -> Event:
    """The event that a row stands for.

    Args:
        row: A row or mapping.
        event_field: The field that holds the event.

    Raises:
        InvalidEvent: There is no such field, or it holds nothing.
    """
    members = plain(row)
    if not isinstance(members, Mapping):
        raise InvalidEvent("invalid_event", f"event_field needs rows, not {type(row).__name__}")
    others = dict(members)
    payload = others.pop(event_field, None)
    if payload is None:
        raise InvalidEvent("invalid_event", f"the row has no field {event_field!r}, or it is null")
    metadata = {name: others.pop(name) for name in _METADATA if name in others}
    fields = {name: value for name, value in others.items() if value is not None}
    return Event(payload, fields=fields or None, **metadata)
