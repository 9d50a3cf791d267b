"""Pub/Sub messages as events: the `_metadata` convention of Dataflow's template."""

from __future__ import annotations

import json
from typing import Any

import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage

from splunk_hec import Event, HecConfig, InvalidEvent
from splunk_hec._envelope import EnvelopeEncoder
from splunk_hec_beam.pubsub_metadata import event_of_message

ENCODER = EnvelopeEncoder(HecConfig(url="http://localhost:1", token="t"))


def line_of(message: Any, **options: bool) -> bytes:
    """The envelope that Splunk gets."""
    return ENCODER.encode(event_of_message(message, **options))


@pytest.mark.parametrize("form", ["bytes", "text", "message"])
def test_metadata_is_taken_out_of_the_event(form: str) -> None:
    """Each name of `_metadata` becomes HEC's own, the event is what is left, in each form of a message."""
    text = json.dumps(
        {
            "a": 1,
            "_metadata": {
                "time": "2026-03-01T10:00:00.5Z",
                "host": "web-1",
                "source": "s",
                "sourcetype": "st",
                "index": "i",
                "fields": {"team": "x"},
            },
            "b": [2],
        }
    )
    data = text.encode()
    message = {"bytes": data, "text": text, "message": PubsubMessage(data, {})}[form]
    assert json.loads(line_of(message)) == {
        "time": 1772359200.5,
        "host": "web-1",
        "source": "s",
        "sourcetype": "st",
        "index": "i",
        "fields": {"team": "x"},
        "event": {"a": 1, "b": [2]},
    }


def test_an_event_in_the_metadata_is_sent_instead() -> None:
    """`_metadata.event` replaces the event, whether text or object; an empty one counts as none."""
    for own, sent in (("line", "line"), ({"x": 1}, {"x": 1}), ("", {"a": 1}), (None, {"a": 1})):
        message = json.dumps({"a": 1, "_metadata": {"event": own}})
        assert json.loads(line_of(message))["event"] == sent


def test_members_are_sent_byte_for_byte() -> None:
    """No number or text of the event is written anew: precision and escapes stay."""
    assert b'{"n":1.10,"s":"\\u00e9","big":12345678901234567890123}' in line_of(
        b'{"n":1.10,"s":"\\u00e9","_metadata":{"index":"i"},"big":12345678901234567890123}'
    )
    assert b'"event":{ "n" : 1.10 }' in line_of(b'{ "n" : 1.10 }')


@pytest.mark.parametrize("text", ["plain", '{"broken', "[1,2]", '"x"', "17", '{"a":1} {"b":2}'])
def test_what_is_no_json_object_is_text(text: str) -> None:
    """Anything but one JSON object is sent as the text it is."""
    assert event_of_message(text.encode()) == Event(text.encode())
    assert json.loads(line_of(text)) == {"event": text}


def test_a_metadata_that_is_no_object_belongs_to_the_event() -> None:
    """Only an object is the convention; another value of that name stays where it is."""
    assert json.loads(line_of(b'{"_metadata": "mine"}')) == {"event": {"_metadata": "mine"}}


def test_the_timestamp_of_a_log_entry_is_its_time() -> None:
    """Cloud Logging's `timestamp` counts where `_metadata` has no time, and is ignored if it is no time."""
    assert json.loads(line_of('{"timestamp":"2026-03-01T10:00:00.123456789Z"}'))["time"] == 1772359200.123456
    assert "time" not in json.loads(line_of('{"timestamp":"Today"}'))
    assert "time" not in json.loads(line_of('{"timestamp":12}'))
    both = '{"timestamp":"2020-01-01T00:00:00Z","_metadata":{"time":"2026-03-01T10:00:00Z"}}'
    assert json.loads(line_of(both))["time"] == 1772359200


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"time": "yesterday"}, "bad_time"),
        ({"time": "2026-03-01T10:00:00"}, "bad_time"),
        ({"time": [1]}, "bad_time"),
        ({"fields": {"a": {"b": 1}}}, "bad_fields"),
        ({"fields": "team=x"}, "bad_fields"),
        ({"fields": [1]}, "bad_fields"),
        ({"host": 5}, "invalid_event"),
        ({"index": ["i"]}, "invalid_event"),
        ({"event": True}, "invalid_event"),
        ({"event": "  "}, "blank"),
    ],
)
def test_metadata_that_cannot_be_kept_refuses_the_event(metadata: dict[str, Any], reason: str) -> None:
    """An event is never sent with other metadata than its sender asked for."""
    with pytest.raises(InvalidEvent) as caught:
        line_of(json.dumps({"a": 1, "_metadata": metadata}))
    assert caught.value.reason == reason


@pytest.mark.parametrize(("data", "reason"), [(b"", "blank"), (None, "blank"), (b"\xff", "undecodable")])
def test_a_message_without_text_is_refused(data: bytes | None, reason: str) -> None:
    """A message without data, or whose data is no UTF-8, has its reason."""
    with pytest.raises(InvalidEvent) as caught:
        line_of(PubsubMessage(data, {"a": "b"}))
    assert caught.value.reason == reason


def test_attributes_are_fields_only_on_request() -> None:
    """Attributes are indexed when asked for, for text and JSON; the metadata's own fields win."""
    text = PubsubMessage(b"line", {"a": "1"})
    assert "fields" not in json.loads(line_of(text))
    assert json.loads(line_of(text, attributes_as_fields=True))["fields"] == {"a": "1"}
    entry = PubsubMessage(b'{"_metadata":{"fields":{"a":"2"}}}', {"a": "1", "b": "3"})
    assert json.loads(line_of(entry, attributes_as_fields=True)) == {
        "fields": {"a": "2", "b": "3"},
        "event": {},
    }


def test_deep_nesting_is_refused_not_raised() -> None:
    """JSON too deep to be read is text like any other that is no JSON object."""
    text = '{"a":' + "[" * 100_000
    assert json.loads(line_of(text)) == {"event": text}
