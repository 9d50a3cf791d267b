"""Events become one line of HEC JSON each, or are refused at their call site with the reason."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from splunk_hec._envelope import (
    EnvelopeEncoder,
    check_envelope,
    check_fields,
    check_json_value,
    index_of,
    raw_index_of,
)
from splunk_hec._times import fixed_time
from splunk_hec.config import HecConfig
from splunk_hec.errors import InvalidEvent
from splunk_hec.events import Envelope, Event

KEYS = {"time", "host", "source", "sourcetype", "index", "fields", "event"}
CONFIG = HecConfig(url="http://test", token="t", gzip="off")
ENCODER = EnvelopeEncoder(CONFIG)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.characters()
surrogates = st.text(st.characters(categories=["Cs", "L"]), max_size=4)
json_values = st.recursive(
    scalars | surrogates,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
times = (
    st.none()
    | st.integers(-10, 2 * 10**20)
    | st.floats()
    | st.decimals()
    | st.text(max_size=12)
    | st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=-9))]))
)
events = st.builds(
    Event,
    st.one_of(json_values, st.binary(max_size=40)),
    time=times,
    host=st.none() | st.text(),
    source=st.none() | surrogates,
    sourcetype=st.none() | st.text(),
    index=st.none() | st.text(),
    fields=st.none() | st.dictionaries(st.text(max_size=5), json_values, max_size=3),
)
texts = st.one_of(
    json_values.map(json.dumps),
    st.dictionaries(st.sampled_from([*sorted(KEYS), "wat"]), json_values, max_size=4).map(json.dumps),
    st.dictionaries(st.sampled_from(sorted(KEYS)), json_values, max_size=4).map(
        lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    ),
)
envelopes = st.builds(Envelope, texts | texts.map(lambda text: text.encode("utf-8", "surrogatepass")))


def refuse_constant(name: str) -> None:
    """JSON has no NaN and no Infinity."""
    raise AssertionError(name)


def read(line: bytes) -> dict[str, Any]:
    """The line as a strict reader sees it."""
    document = json.loads(line.decode("utf-8"), parse_constant=refuse_constant, parse_float=Decimal)
    assert isinstance(document, dict)
    return document


def why_refused(event: Event | Envelope, encoder: EnvelopeEncoder = ENCODER) -> str:
    """The reason with which the event is refused."""
    with pytest.raises(InvalidEvent) as caught:
        encoder.encode(event)
    return caught.value.reason


def encoded_or_refused(event: Event | Envelope) -> bytes | None:
    """The line; None if the event is refused for one of the known reasons."""
    try:
        return ENCODER.encode(event)
    except InvalidEvent as error:
        reason = error.reason
    assert reason in {"invalid_event", "undecodable", "blank", "bad_time", "bad_fields"}
    return None


@given(events | envelopes)
@example(Envelope('{"event":"\\ud800"}'))
@example(Envelope('{"event":{"a":"\\ud800"}}'))
@example(Event({"a": [None, math.nan]}))
def test_what_is_not_refused_is_one_line_of_sound_json(event: Event | Envelope) -> None:
    """Whatever is submitted: one line, one object in UTF-8, HEC's keys only, flat fields, a plain time."""
    line = encoded_or_refused(event)
    if line is None:
        return
    assert b"\n" not in line
    assert b"\r" not in line
    document = read(line)
    assert set(document) <= KEYS
    assert document.get("event") not in (None, True, False, "") or document.get("event") == 0
    for value in document.get("fields", {}).values():
        assert all(
            not isinstance(item, dict | list) for item in (value if isinstance(value, list) else [value])
        )
    time = re.search(rb'^\{"time":([^,]+),', line)
    assert ("time" in document) == (time is not None)
    if time:
        assert re.fullmatch(rb"\d+(\.\d{1,6})?", time[1])


@given(st.text().filter(str.strip))
def test_text_arrives_as_it_was(text: str) -> None:
    """Text that can be written in UTF-8 comes back from JSON unchanged, as str and as bytes."""
    try:
        body = text.encode()
    except UnicodeEncodeError:
        assert why_refused(Event(text)) == "undecodable"
        return
    assert read(ENCODER.encode(Event(text)))["event"] == text
    assert ENCODER.encode(Event(body)) == ENCODER.encode(Event(text))


@given(st.integers(0, 10**11 - 1), st.integers(0, 999_999))
def test_seconds_keep_their_microseconds(seconds: int, micros: int) -> None:
    """A time in decimal seconds is written back digit for digit, without trailing zeros."""
    given_time = Decimal(seconds) + Decimal(micros) / 1_000_000
    shown = fixed_time(given_time)
    assert Decimal(shown) == given_time
    assert shown == fixed_time(str(given_time))
    assert not shown.endswith(".")
    assert "." not in shown or not shown.endswith("0")


@given(st.floats(0, 9.9e19))
def test_no_time_has_an_exponent(value: float) -> None:
    """Splunk answers code 15 to scientific notation, so none is ever written."""
    assert re.fullmatch(r"\d+(\.\d{1,6})?", fixed_time(value))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (1_700_000_000, "1700000000"),
        (1_700_000_000.5, "1700000000.5"),
        (1_700_000_000_123, "1700000000.123"),
        (1_700_000_000_123_456, "1700000000.123456"),
        (1_700_000_000_123_456_789, "1700000000.123456"),
        ("1700000000123", "1700000000.123"),
        (" 1.7e9 ", "1700000000"),
        (Decimal("1700000000.1234567"), "1700000000.123456"),
        (1e-7, "0"),
        ("2023-11-14T22:13:20Z", "1700000000"),
        ("2023-11-14T23:13:20.25+01:00", "1700000000.25"),
        (datetime(2023, 11, 14, 22, 13, 20, 5, tzinfo=UTC), "1700000000.000005"),
    ],
)
def test_times_are_read_by_magnitude(value: Any, shown: str) -> None:
    """Seconds, ms, µs and ns, as numbers or text, RFC 3339 and datetimes all become fixed-point seconds."""
    assert fixed_time(value) == shown


@pytest.mark.parametrize(
    "value",
    [
        -1, math.nan, math.inf, "nan", "1700000000,5", "yesterday", "", True, b"1", None, 10**21,
        "9" * 5_000, "2023-11-14T22:13:20", "1969-12-31T23:59:59Z", datetime(2023, 1, 1),  # noqa: DTZ001 -- refused for that
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_in_a_short_line(value: Any) -> None:
    """A time that Splunk would refuse, or guess, is refused here, and its text is not echoed at length."""
    with pytest.raises(InvalidEvent) as caught:
        fixed_time(value)
    assert caught.value.reason == "bad_time"
    assert len(str(caught.value)) < 150


def test_number_too_long_to_print_is_refused_as_a_time() -> None:
    """Python refuses to write an integer of more than 4,300 digits; the refusal is ours all the same."""
    assert why_refused(Event("a", time=10**5_000)) == "bad_time"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("", "blank"),
        (" \t\r\n", "blank"),
        (b"  ", "blank"),
        (b"\xff\xfe", "undecodable"),
        ("\ud800", "undecodable"),
        ({"a": "\ud800"}, "undecodable"),
        ({"\ud800": 1}, "undecodable"),
        (None, "invalid_event"),
        (True, "invalid_event"),
        (False, "invalid_event"),
        (math.nan, "invalid_event"),
        ([1, [math.inf]], "invalid_event"),
        ({"a": {"b": -math.inf}}, "invalid_event"),
        ({"a": object()}, "invalid_event"),
        ("x" * 5_000_000, "too_large"),
    ],
)
def test_payloads_that_cannot_be_indexed_are_refused(payload: Any, reason: str) -> None:
    """What Splunk would refuse, or what JSON would turn into something else, never leaves the call."""
    assert why_refused(Event(payload)) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"event":null}', "invalid_event"),
        ('{"event":true}', "invalid_event"),
        ('{"event": false }', "invalid_event"),
        ('{"event":""}', "blank"),
        ('{"event":" \\t\\u000b"}', "blank"),
        ('{"event":"a","wat":1}', "invalid_event"),
        ('{"time":1}', "invalid_event"),
        ("{}", "invalid_event"),
        ("[]", "invalid_event"),
        ('{"event":1}{"event":2}', "invalid_event"),
        ('{"event":NaN}', "invalid_event"),
        ('{"event":"a","index":5}', "invalid_event"),
        ('{"event":"a","fields":[1]}', "invalid_event"),
        ('{"event":"a","fields":{"a":{"b":1}}}', "bad_fields"),
        ('{"event":"a","fields":{"a":[[1]]}}', "bad_fields"),
        ('{"event":"a","fields":{"a":1}, "time":"soon"}', "bad_time"),
        ('{"event":"a","time":{"a":1}}', "bad_time"),
        ('{"event":"a","time":true}', "bad_time"),
        ('{"fields":{"a":1}}', "invalid_event"),
        (b'{"event":"\xff"}', "undecodable"),
        (b'\xef\xbb\xbf{"event":1}', "invalid_event"),
        ('{"event":' + "[" * 100_000 + "]" * 100_000 + "}", "invalid_event"),
        (17, "invalid_event"),
        ({"event": math.nan}, "invalid_event"),
        ({"event": "\ud800"}, "undecodable"),
    ],
)
def test_envelopes_that_splunk_would_refuse_or_lose_are_refused(text: Any, reason: str) -> None:
    """An unknown key makes Splunk answer 200 and lose this event and all after it; the rest it refuses."""
    assert why_refused(Envelope(text)) == reason


def test_envelope_passes_its_event_byte_for_byte() -> None:
    """Numbers and escapes inside a ready envelope are not rewritten; line ends become spaces."""
    line = ENCODER.encode(
        Envelope('{"index":"i",\r\n"event":{"n":1.10,\n"s":"\\u00e9\\n"} , "time":" 17.50"}')
    )
    assert line == b'{"time":17.5,"index":"i","event":{"n":1.10, "s":"\\u00e9\\n"}}'
    assert check_envelope(line) == line


def test_null_keys_of_an_envelope_count_as_absent() -> None:
    """`"host": null` and `"time": null` take the default instead of being sent."""
    encoder = EnvelopeEncoder(HecConfig(url="http://test", token="t", host="h"))
    line = encoder.encode(Envelope({"event": "a", "host": None, "time": None, "fields": None, "index": None}))
    assert line == b'{"host":"h","event":"a"}'


def test_defaults_fill_what_an_event_leaves_out() -> None:
    """Defaults stand where the event is silent, its own metadata wins, and fields merge key by key."""
    encoder = EnvelopeEncoder(
        HecConfig(
            url="http://test",
            token="t",
            index="i",
            source="s",
            sourcetype="st",
            host="h",
            fields={"env": "prod", "team": "a"},
        )
    )
    assert read(encoder.encode(Event("x"))) == {
        "index": "i", "source": "s", "sourcetype": "st", "host": "h", "event": "x",
        "fields": {"env": "prod", "team": "a"},
    }  # fmt: skip
    own = read(encoder.encode(Event("x", index="other", fields={"team": "b", "n": [1, 2]})))
    assert own["index"] == "other"
    assert own["fields"] == {"env": "prod", "team": "b", "n": [1, 2]}
    assert read(encoder.encode(Envelope('{"event":1,"host":"mine"}')))["host"] == "mine"


def test_metrics_events_need_no_payload() -> None:
    """Fields with a metric name make an event of their own; without one, None is refused."""
    line = ENCODER.encode(Event(None, fields={"metric_name:cpu.user": 42.1, "region": "eu"}))
    assert read(line)["event"] == "metric"
    assert ENCODER.encode(Envelope('{"fields":{"metric_name":"cpu","_value":1}}'))
    assert why_refused(Event(None, fields={"region": "eu"})) == "invalid_event"


@pytest.mark.parametrize(
    "fields", [{"a": {"b": 1}}, {"a": [{"b": 1}]}, {"a": math.nan}, {1: "a"}, {"a": b"x"}]
)
def test_fields_that_are_not_flat_are_refused_by_name(fields: Any) -> None:
    """Splunk answers code 15 to nested fields and has no NaN; the field at fault is named."""
    with pytest.raises(InvalidEvent, match=r"bad_fields: the field.*(a|1)"):
        check_fields(fields)


def test_metadata_must_be_text() -> None:
    """A number where Splunk wants a name is refused, not turned into text."""
    assert why_refused(Event("a", host=5)) == "invalid_event"  # type: ignore[arg-type]


def test_default_fields_are_checked_once() -> None:
    """A client whose default fields JSON cannot express cannot be made."""
    with pytest.raises(InvalidEvent):
        EnvelopeEncoder(HecConfig(url="http://test", token="t", fields={"a": math.nan}))


def test_events_up_to_the_limit_are_taken() -> None:
    """The limit counts the encoded envelope; a byte more is too large."""
    text = "x" * (100 - len('{"event":""}'))
    encoder = EnvelopeEncoder(HecConfig(url="http://test", token="t", event_max_bytes=100))
    assert len(encoder.encode(Event(text))) == 100
    assert why_refused(Event(text + "x"), encoder) == "too_large"


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_json_values_are_one_line_or_refused(raw: bytes) -> None:
    """What passes as an event's JSON is one value on one line that means the same; nothing else passes."""
    try:
        line = check_json_value(raw)
    except InvalidEvent:
        return
    assert b"\n" not in line
    assert b"\r" not in line
    assert read(b'{"event":' + line + b"}") == read(b'{"event":' + raw + b"}")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\xff", "undecodable"),
        (b"", "invalid_event"),
        (b"null", "invalid_event"),
        (b'" "', "blank"),
        (b"1 2", "invalid_event"),
    ],
)
def test_json_values_that_hec_does_not_take_are_refused(raw: bytes, reason: str) -> None:
    """The reason says whether it is not UTF-8, blank, or not one JSON value."""
    with pytest.raises(InvalidEvent) as caught:
        check_json_value(raw)
    assert caught.value.reason == reason


def test_raw_metadata_goes_into_the_query() -> None:
    """The raw endpoint takes metadata per request: defaults and own values, escaped, always in one order."""
    encoder = EnvelopeEncoder(HecConfig(url="http://test", token="t", endpoint="raw", source="s", host="h"))
    query, body = encoder.encode_raw(Event("a line\n", sourcetype="x y", host="mine"))
    assert query == "host=mine&source=s&sourcetype=x+y"
    assert body == b"a line\n"
    assert encoder.encode_raw(Event(b"\xff\x00")) == ("host=h&source=s", b"\xff\x00")
    assert raw_index_of(encoder.encode_raw(Event("a", index="i&j"))[0]) == "i&j"
    assert raw_index_of(query) == ""


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (Event({"a": 1}), "invalid_event"),
        (Envelope('{"event":1}'), "invalid_event"),
        (Event("a", fields={"a": 1}), "bad_fields"),
        (Event("a", time=1), "bad_fields"),
        (Event(" \n"), "blank"),
        (Event(b""), "blank"),
        (Event("\ud800"), "undecodable"),
        (Event("x" * 5_000_001), "too_large"),
    ],
)
def test_raw_refuses_what_it_cannot_carry(event: Event | Envelope, reason: str) -> None:
    """Objects, fields and times have no place on the raw endpoint; blank and oversize neither."""
    with pytest.raises(InvalidEvent) as caught:
        ENCODER.encode_raw(event)
    assert caught.value.reason == reason


def test_index_is_read_from_an_encoded_line() -> None:
    """What an envelope asks for is known from its bytes alone."""
    assert index_of(ENCODER.encode(Event("a", index="i"))) == "i"
    assert index_of(ENCODER.encode(Event("a"))) is None


micros_of_texts = st.integers(1_000_000, 2**33 * 10**6)  # later a double does not hold them
some_texts = st.lists(st.tuples(st.text(min_size=1), st.none() | micros_of_texts), min_size=1, max_size=6)


@given(some_texts)
@example([("a", 1_729_987_200_123_456), ("b\n\u2028", None)])
def test_many_texts_are_encoded_as_each_alone(texts: list[tuple[str, int | None]]) -> None:
    """The bulk form says the same as one by one, or that one of them needs a closer look."""
    encoder = EnvelopeEncoder(HecConfig(url="http://test", token="t", index="main", fields={"team": "x"}))
    lines = encoder.encode_texts(
        [text for text, _ in texts], [UNSET if micros is None else micros / 1e6 for _, micros in texts]
    )
    if lines is None:
        assert any(text.isspace() for text, _ in texts)
        return
    alone = [
        encoder.encode(Event(text, time=None if micros is None else Decimal(micros).scaleb(-6)))
        for text, micros in texts
    ]
    assert [list(json.loads(line, parse_float=Decimal).items()) for line in lines] == [
        list(json.loads(line, parse_float=Decimal).items()) for line in alone
    ]
    assert not any(re.search(rb'"time":[^,]*[eE]', line) for line in lines)


@pytest.mark.parametrize("odd", ["", " \t", "\ud800", "x" * 200])
def test_a_text_that_may_be_refused_is_left_to_a_closer_look(odd: str) -> None:
    """A blank, undecodable or oversize text among good ones is never encoded in bulk."""
    encoder = EnvelopeEncoder(HecConfig(url="http://test", token="t", event_max_bytes=100))
    assert list(encoder.encode_texts(["good"]) or ()) == [b'{"event":"good"}']
    assert encoder.encode_texts(["good", odd]) is None
