"""Elements in files of dead letters: exact, and readable by a replay."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import apache_beam as beam
import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.utils.timestamp import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from splunk_hec import Envelope, Event
from splunk_hec_beam import KafkaRecord
from splunk_hec_beam.exact_json import Unreadable, from_json, to_json
from splunk_hec_beam.kafka_record import KafkaHeader
from splunk_hec_beam.log_lines import LogLine

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())  # lone surrogates among them
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.datetimes(timezones=st.just(UTC)).map(lambda when: when.replace(fold=0))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.sampled_from(["$bytes", "$event", "a", ""]) | st.text(), inner)
        | st.dictionaries(st.integers(), inner)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_values_come_back_equal_and_of_the_same_kind(value: object) -> None:
    """Whatever JSON can or cannot hold, what is read from a file is what was written."""
    read = from_json(json.loads(json.dumps(to_json(value), allow_nan=False)))
    assert read == value
    assert repr(read) == repr(value)


@pytest.mark.parametrize(
    "element",
    [
        Event(b"\xff", time=1.5, host="h", fields={"a": [1, "x"]}),
        Event({"a": b"\x00"}, index="i"),
        Envelope(b'{"event": "x"}'),
        Envelope({"event": {"a": 1}}),
        KafkaRecord("t", 3, 10**12, None, b"\xfe", None, [KafkaHeader("k", b"\x00"), KafkaHeader("k", None)]),
        LogLine("/var/log/a.log", b"\xffx", True),
        PubsubMessage(b"\xff", {"a": "b"}, "id", datetime(2026, 1, 2, tzinfo=UTC), "key"),
        PubsubMessage(None, {"a": "b"}),
        Timestamp(micros=1_700_000_000_123_456),
        Decimal("1.10"),
        beam.Row(a=1, b=beam.Row(c=b"\x00")),
    ],
    ids=lambda element: type(element).__name__,
)
def test_elements_of_the_pipelines_come_back(element: object) -> None:
    """Events, records, lines, messages and rows are read back as what they were, bytes included."""
    read = from_json(json.loads(json.dumps(to_json(element), allow_nan=False)))
    assert type(read) is type(element)
    assert read == element
    if isinstance(element, PubsubMessage):
        assert vars(read) == vars(element)


def test_what_is_of_no_known_kind_keeps_its_text() -> None:
    """Nothing is pickled: of a foreign object a text for people remains, and is read as that."""
    read = from_json(json.loads(json.dumps(to_json(1j))))
    assert read == Unreadable("complex", "1j")


@pytest.mark.parametrize("written", [{"$nothing": 1}, {"$bytes": "AA==", "more": 1}])
def test_what_nobody_wrote_is_refused(written: dict[str, object]) -> None:
    """An object that starts with `$` and is none of ours is an error, not a mapping."""
    with pytest.raises(ValueError, match="no kind of value"):
        from_json(written)
