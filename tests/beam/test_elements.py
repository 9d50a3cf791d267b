"""Elements become envelopes, many at once or one by one, or refusals with their reason."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import apache_beam as beam
import pytest
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MAX_TIMESTAMP, MIN_TIMESTAMP, Timestamp
from apache_beam.utils.windowed_value import WindowedValue
from hypothesis import given
from hypothesis import strategies as st

from splunk_hec import Envelope, Event, HecClient, HecConfig
from splunk_hec_beam.elements import ElementEncoder, Encoded
from splunk_hec_beam.kafka_record import KafkaRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

AT = Timestamp(1_700_000_000.25)
CONFIG = HecConfig(url="http://127.0.0.1:1", token="t", index="main", event_max_bytes=1_000)


@pytest.fixture(scope="module")
def client() -> Iterator[HecClient]:
    """A client that never sends: nothing is submitted to it."""
    hec = HecClient(CONFIG)
    yield hec
    hec.abort()


def windowed(value: Any, at: Timestamp = AT) -> WindowedValue:
    """An element in the global window."""
    return WindowedValue(value, at, (GlobalWindow(),))


def encode(client: HecClient, *values: Any, at: Timestamp = AT, **settings: Any) -> Encoded:
    """Encode elements with the defaults, or other settings."""
    defaults: dict[str, Any] = {"to_event": None, "takes_timestamps": True, "event_id_field": None}
    return ElementEncoder(client, **(defaults | settings)).encode([windowed(value, at) for value in values])


def read(encoded: Encoded) -> list[dict[str, Any]]:
    """The envelopes as objects; none may have been refused."""
    assert not encoded.refusals
    return [json.loads(line) for line in encoded.lines]


class Login(NamedTuple):
    """A row as Beam's schemas make them."""

    user: str
    at: Timestamp


ROW_TIME = "2023-11-14T22:13:20.250000Z"


@pytest.mark.parametrize(
    ("element", "event"),
    [
        ("text", "text"),
        ("zwölf".encode(), "zwölf"),
        ({"a": [1, None]}, {"a": [1, None]}),
        (beam.Row(user="x", more=beam.Row(n=1)), {"user": "x", "more": {"n": 1}}),
        (Login("x", AT), {"user": "x", "at": ROW_TIME}),
        ({"rows": [Login("x", AT)]}, {"rows": [{"user": "x", "at": ROW_TIME}]}),
        (Event("an event"), "an event"),
    ],
)
def test_each_kind_of_element_is_indexed_as_what_it_is(client: HecClient, element: Any, event: Any) -> None:
    """Text stays text, and mappings and rows become JSON, with the element's timestamp as the time."""
    assert read(encode(client, element)) == [{"time": 1_700_000_000.25, "index": "main", "event": event}]


def test_what_is_no_event_is_refused_and_hurts_no_other(client: HecClient) -> None:
    """Blank, undecodable, oversize and foreign elements are refused by reason; neighbours are encoded."""
    encoded = encode(client, "good", "", b"\xff", "x" * 2_000, 17, {"n": float("nan")}, b"also good")
    assert [(one.source.value, one.reason) for one in encoded.refusals if one.reason != "invalid_event"] == [
        ("", "blank"),
        (b"\xff", "undecodable"),
        ("x" * 2_000, "too_large"),
    ]
    assert [one.source.value for one in encoded.refusals][3:] == [
        17,
        {"n": pytest.approx(float("nan"), nan_ok=True)},
    ]
    assert [json.loads(line)["event"] for line in encoded.lines] == ["good", "also good"]
    assert [source.value for source, _ in encoded.manifest.each(encoded.lines)] == ["good", b"also good"]


@pytest.mark.parametrize("values", [("one", "two"), (b"one", b"two"), ({"n": 1}, {"n": 2})])
@pytest.mark.parametrize("at", [MIN_TIMESTAMP, MAX_TIMESTAMP, Timestamp(-1)])
def test_a_timestamp_that_stands_for_no_time_is_left_out(
    client: HecClient, at: Timestamp, values: tuple[Any, ...]
) -> None:
    """Beam's minimum, its maximum and what is before 1970 never reach Splunk as a time."""
    assert all("time" not in event for event in read(encode(client, *values, at=at)))


@pytest.mark.parametrize(("at", "time"), [(Timestamp(0), "0"), (Timestamp(micros=7), "0.000007")])
def test_times_just_after_1970_are_written_without_an_exponent(
    client: HecClient, at: Timestamp, time: str
) -> None:
    """HEC refuses scientific notation, and small numbers tend to it."""
    assert b'"time":%s,' % time.encode() in encode(client, "text", at=at).lines[0]


def test_an_events_own_time_wins_and_none_can_be_asked_for(client: HecClient) -> None:
    """A time that the event has is kept; with `time="none"` the Beam timestamp is not used."""
    assert read(encode(client, Event("a", time=17)))[0]["time"] == 17
    assert "time" not in read(encode(client, "a", takes_timestamps=False))[0]
    assert "time" not in read(encode(client, Event("a"), takes_timestamps=False))[0]


def test_to_event_may_skip_and_may_fail(client: HecClient) -> None:
    """None skips an element; what the user's function raises refuses that element alone."""

    def to_event(value: int) -> Any:
        return {0: None, 1: "text", 2: {"n": 2}, 3: Envelope({"event": "ready", "time": 5})}[value]

    encoded = encode(client, 0, 1, 2, 3, 4, to_event=to_event)
    assert [json.loads(line)["event"] for line in encoded.lines] == ["text", {"n": 2}, "ready"]
    assert encoded.skipped == 1
    assert [(one.source.value, one.reason, one.text) for one in encoded.refusals] == [
        (4, "invalid_event", "to_event raised KeyError: 4")
    ]


def test_a_kafka_record_brings_its_provenance_and_a_tombstone_is_skipped(client: HecClient) -> None:
    """Records from Kafka need no function of the user's, and a null value is no event."""
    record = KafkaRecord(
        topic="logs", partition=1, offset=2, timestamp_ms=5_000, key=None, value=b"line", headers=[]
    )
    encoded = encode(client, record, record._replace(value=None))
    assert encoded.skipped == 1
    [event] = read(encoded)
    assert (event["event"], event["time"], event["source"]) == ("line", 5, "kafka:logs")
    assert event["fields"] == {"kafka_topic": "logs", "kafka_partition": 1, "kafka_offset": 2}


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5))
def test_an_event_id_is_the_same_each_time_and_differs_with_the_event(
    client: HecClient, texts: list[str]
) -> None:
    """A bundle that is tried again sends the same ids, and two events share one only if they are equal."""
    first = encode(client, *texts, event_id_field="event_id")
    again = encode(client, *texts, event_id_field="event_id")
    assert list(first.lines) == list(again.lines)
    ids = [json.loads(line)["fields"]["event_id"] for line in first.lines]
    kept = [text for text in texts if text.strip(" \t\r\n\v\f")]
    assert len(set(ids)) == len(set(kept))


def test_an_event_keeps_an_id_of_its_own(client: HecClient) -> None:
    """Who has an id for an event, such as its place in Kafka, is not overruled."""
    [event] = read(encode(client, Event("a", fields={"event_id": "mine"}), event_id_field="event_id"))
    assert event["fields"] == {"event_id": "mine"}
