"""Rows 44 to 103 of the conformance vectors: batches, partial acceptance, values, times and metadata."""

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Serve

OK = '{"text":"Success","code":0}'
NO_DATA = '{"text":"No data","code":5}'
TEXTS = {
    6: "Invalid data format",
    7: "Incorrect index",
    12: "Event field is required",
    13: "Event field cannot be blank",
    15: "Error in handling indexed fields",
}
A, C = '{"event":"a"}', '{"event":"c"}'
BIG = "x" * 6_000_000


def bad(code: int, number: int) -> str:
    """Return the body of a refusal."""
    return f'{{"text":"{TEXTS[code]}","code":{code},"invalid-event-number":{number}}}'


ROWS: list[tuple[str, str, str, list[Any]]] = [
    ("44", "", NO_DATA, []),
    ("45", " \n\t ", NO_DATA, []),
    ("46", '{"event":"a"}{"event":"b"}', OK, ["a", "b"]),
    ("47", '{"event":"a"}\n{"event":"b"}', OK, ["a", "b"]),
    ("47", '{"event":"a"}  {"event":"b"} \r\n', OK, ["a", "b"]),
    ("48", '[{"event":"a"},{"event":"b"}]', OK, ["a", "b"]),
    ("49", '{"event":"a"},{"event":"b"}', bad(6, 1), ["a"]),
    ("50", "{not json", bad(6, 0), []),
    ("51", '{"event":"unterminated"', bad(6, 0), []),
    ("52", '{"event":"ok"}xyz', bad(6, 1), ["ok"]),
    ("53", f'{A}{{"event":oops}}{C}', bad(6, 1), ["a"]),
    ("53", '{"event":"ok"}{"event":"ok"}bad', bad(6, 2), ["ok", "ok"]),
    ("54", f'{{"event":}}{A}', bad(6, 0), []),
    ("55", f'{A}{{"event":""}}{C}', bad(13, 1), ["a"]),
    ("56", f'{A}{{"time":1}}{C}', bad(12, 1), ["a"]),
    ("57", f'{A}{{"event":"b","fields":{{"n":{{"x":1}}}}}}{C}', bad(15, 1), ["a"]),
    ("58", f'{A}{{"event":"b","index":"nope"}}{C}', bad(7, 2), ["a"]),
    ("59", '{"event":"b","index":"nope"}', bad(7, 1), []),
    ("60", f'{A}{{"fields":{{"x":1}}}}{C}', OK, ["a", "c"]),
    ("61", f'{A}{{"event":"b","wat":1}}{C}', OK, ["a"]),
    ("62", '{"event":"a","wat":1}', NO_DATA, []),
    ("63", '{"event":""}{not json', bad(13, 0), []),
    ("64", '{"sourcetype":"x"}', bad(12, 0), []),
    ("64", '{"host":"x"}', bad(12, 0), []),
    ("65", "{}", bad(12, 0), []),
    ("66", '"just a string"', bad(6, 0), []),
    ("66", "5", bad(6, 0), []),
    ("67", f'{A}{{"event":""}}{A}{{"event":""}}{C}', bad(13, 1), ["a"]),
    ("67", f'{A}{{"event":""}}{C}', bad(13, 1), ["a"]),
    ("68", '{"event":"b","index":"Bad.Index"}', bad(7, 1), []),
    ("70", json.dumps({"event": BIG}), bad(6, 0), []),
    ("71", A * 75 + json.dumps({"event": BIG}), bad(6, 75), ["a"] * 75),
    ("72", json.dumps({"event": "x" * 2_000_000}), OK, ["x" * 2_000_000]),
    ("73", '{"event":""}', bad(13, 0), []),
    ("74", '{"event":" "}', bad(13, 0), []),
    ("75", '{"event":null}', bad(6, 0), []),
    ("76", '{"event":false}', bad(6, 0), []),
    ("77", '{"event":true}', bad(6, 0), []),
    ("78", '{"event":0}', OK, [0]),
    ("79", '{"event":{}}', OK, [{}]),
    ("79", '{"event":[]}', OK, [[]]),
    ("80", '{"event":{"a":{"b":[1,null,true]}}}', OK, [{"a": {"b": [1, None, True]}}]),
    ("81", '{"event":"a","fields":{"alpha":"a","n":1,"flag":true,"none":null}}', OK, ["a"]),
    ("82", '{"event":"a","fields":{"roles":["admin","ops"]}}', OK, ["a"]),
    ("83", '{"event":"a","fields":{"r":["A",[1]]}}', bad(15, 0), []),
    ("84", '{"event":"a","fields":{"nested":{"x":1}}}', bad(15, 0), []),
    ("85", '{"event":"a","fields":["not","object"]}', bad(6, 0), []),
    ("89", '{"event":"a","time":1.75e9}', bad(15, 0), []),
    ("90", '{"event":"a","time":"abc"}', bad(15, 0), []),
    ("91", '{"event":"a","time":"1700000000,5"}', bad(15, 0), []),
    ("103", '{"event":NaN}', bad(6, 0), []),
    ("103", '{"event":1,"event":2}', OK, [2]),
    ("103", '{"event":"a","fields":{"x":1' + "0" * 400 + "}}", OK, ["a"]),
]


@pytest.mark.parametrize(
    ("body", "expected", "indexed"),
    [pytest.param(*row[1:], id=f"{row[0]}-{row[1][:30]}") for row in ROWS],
)
def test_a_body_gets_the_recorded_reply_and_leaves_what_is_searchable(
    serve: "Serve", body: str, expected: str, indexed: list[Any]
) -> None:
    """Each body is answered byte for byte as recorded; exactly the objects before the bad one are kept."""
    site = serve()
    reply = site.post(body)
    assert reply.body.decode() == expected
    assert reply.status == (200 if expected == OK else 400)
    assert site.indexed() == indexed


def test_a_large_gzip_body_is_taken(serve: "Serve") -> None:
    """Two million bytes in one event pass, compressed as well (row 72)."""
    site = serve()
    body = gzip.compress(json.dumps({"event": "x" * 2_000_000}).encode())
    assert site.post(body, headers={"Content-Encoding": "gzip"}).body.decode() == OK
    assert site.indexed() == ["x" * 2_000_000]


@pytest.mark.parametrize(
    ("time", "stored"),
    [
        ("1700000000", 1700000000.0),
        ('"1700000000.123456789"', 1700000000.123456),
        ("1700000000.123456789", 1700000000.123456),
        ("1700000000123", 1700000000.123),
        ("1700000000123456789", 1700000000.123456),
        ('"1700000000123"', 1700000000.123),
    ],
)
def test_times_are_read_by_magnitude_to_the_microsecond(serve: "Serve", time: str, stored: float) -> None:
    """Seconds, milliseconds and nanoseconds are told apart by digits and cut to microseconds (rows 86-88)."""
    site = serve()
    assert site.post(f'{{"event":"a","time":{time}}}').body.decode() == OK
    assert [event["time"] for event in site.emulator.events()] == [stored]


def test_an_event_without_a_time_gets_that_of_its_receipt(serve: "Serve") -> None:
    """`_time` is the time of receipt where nothing names one (row 92)."""
    site = serve()
    site.post(A)
    (event,) = site.emulator.events()
    assert event["time"] == event["received"]


def test_metadata_does_not_carry_over_to_later_objects(serve: "Serve") -> None:
    """Objects 2 and 3 get the token's defaults, not the metadata of object 1 (row 93)."""
    site = serve()
    site.post('{"event":"a","host":"h","source":"s","sourcetype":"t","index":"main"}' + A + C)
    found = [(e["host"], e["source"], e["sourcetype"], e["index"]) for e in site.emulator.events()]
    host = "{}:{}".format(*site.address)
    rest = (host, "http:plain", "httpevent", "main")
    assert found == [("h", "s", "t", "main"), rest, rest]


def test_the_query_gives_defaults_and_the_envelope_wins(serve: "Serve") -> None:
    """Query metadata holds for every object of a request that does not say otherwise (rows 94, 95, 98)."""
    site = serve()
    path = "/services/collector/event?index=main&sourcetype=x&host=h&source=s&time=1700000000&foo=bar"
    assert site.post(A + '{"event":"b","sourcetype":"y","time":5}', path=path).body.decode() == OK
    found = [(e["host"], e["source"], e["sourcetype"], e["index"], e["time"]) for e in site.emulator.events()]
    assert found == [("h", "s", "x", "main", 1700000000.0), ("h", "s", "y", "main", 5.0)]


def test_a_refused_default_index_refuses_the_first_object_without_its_own(serve: "Serve") -> None:
    """`?index=` is held against the token's list like an envelope's index."""
    reply = serve().post('{"event":"a","index":"main"}' + C, path="/services/collector/event?index=nope")
    assert reply.body.decode() == bad(7, 2)


@pytest.mark.parametrize(
    ("query", "stored"),
    [
        ("?auto_extract_timestamp=true", 1700000000.5),
        ("?auto_extract_timestamp=true&time=1", 1.0),
    ],
)
def test_a_timestamp_is_taken_from_the_text_on_request(serve: "Serve", query: str, stored: float) -> None:
    """`auto_extract_timestamp` reads the text's time; `time=` in the URL turns that off (rows 96, 97)."""
    site = serve()
    site.post('{"event":"2023-11-14T22:13:20.500Z it broke"}', path="/services/collector/event" + query)
    assert [event["time"] for event in site.emulator.events()] == [stored]


DIMENSIONS = ",".join(f'"d{n}":"v"' for n in range(1_000))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            '{"event":"metric","fields":{"region":"eu","metric_name:cpu.user":42.1,"metric_name:x":3}}',
            id="99",
        ),
        pytest.param('{"event":"metric","fields":{"metric_name":"cpu.user","_value":42.1}}', id="100"),
        pytest.param('{"fields":{"metric_name:cpu":"42"}}', id="101"),
        pytest.param('{"fields":{"metric_name":"cpu","_value":"1"}}', id="101-single"),
        pytest.param('{"event":"metric","fields":{"metric_name:x":1,' + DIMENSIONS + "}}", id="102"),
    ],
)
def test_metrics_are_stored(serve: "Serve", body: str) -> None:
    """Metric objects are taken, with or without an `event` (rows 99 to 102)."""
    site = serve()
    assert site.post(body).body.decode() == OK
    (event,) = site.emulator.events()
    assert event["fields"] == json.loads(body)["fields"]


def test_a_token_for_any_index_takes_a_missing_one_silently(serve: "Serve") -> None:
    """An index that does not exist is answered 200 and the event goes nowhere, or to lastChance (row 69)."""
    body = A + '{"event":"b","index":"does_not_exist"}'
    lossy = serve(indexes=["main"])
    assert lossy.post(body, "TO").body.decode() == OK
    assert lossy.indexed() == ["a"]
    saving = serve(indexes=["main", "saved"], last_chance_index="saved")
    assert saving.post(body, "TO").body.decode() == OK
    assert [(e["event"], e["index"]) for e in saving.emulator.events()] == [("a", "main"), ("b", "saved")]


def test_null_metadata_counts_as_absent(serve: "Serve") -> None:
    """Clients that spell out every key with null get the defaults (no one has measured it)."""
    site = serve()
    body = '{"event":"a","host":null,"source":null,"index":null,"time":null,"fields":null}'
    assert site.post(body).body.decode() == OK
    (event,) = site.emulator.events()
    assert (event["index"], event["source"], event["fields"]) == ("main", "http:plain", {})
    assert site.post('{"event":"a","host":5}').body.decode() == bad(6, 0)


def test_what_is_indexed_is_what_was_sent_digit_for_digit(serve: "Serve") -> None:
    """Numbers are not passed through a float, and the key order of an event stays."""
    site = serve()
    site.post('{"event":{"z":1.10,"a":12345678901234567890123}}')
    assert b'"event":{"z":1.10,"a":12345678901234567890123}' in site.ask("GET", "/emulator/events").body


UNKNOWNS: list[tuple[str, dict[str, Any], bytes, str, list[Any]]] = [
    ("48", {"profile": "legacy-7"}, b'[{"event":"a"}]', bad(6, 0), []),
    ("48", {"accepts_array_body": False}, b'[{"event":"a"}]', bad(6, 0), []),
    (
        "57",
        {"profile": "legacy-7"},
        b'{"event":"a"}{"event":"b","time":"x"}',
        '{"text":"Error in handling indexed fields","code":15}',
        ["a"],
    ),
    ("58", {"incorrect_index_base": 0}, b'{"event":"a"}{"event":"b","index":"n"}', bad(7, 1), ["a"]),
    ("77", {"true_event_is_accepted": True}, b'{"event":true}', OK, [True]),
    ("101", {"profile": "legacy-7"}, b'{"event":"a"}{"fields":{"metric_name:cpu":1}}', OK, ["a"]),
    ("103", {"duplicate_keys": "refuse"}, b'{"event":"a"}{"event":1,"event":2}', bad(6, 1), ["a"]),
    ("103", {"nan_is_accepted": True}, b'{"event":"a","fields":{"x":NaN}}', OK, ["a"]),
    ("103", {}, b'{"event":"a"}{"event":"\xff"}', bad(6, 1), ["a"]),
    ("103", {}, b'{"event":"a"}\xff{"event":"b"}', bad(6, 1), ["a"]),
    ("103", {"invalid_utf8": "replace"}, b'{"event":"a"}{"event":"\xff"}', OK, ["a", "�"]),
]


@pytest.mark.parametrize(
    ("options", "body", "expected", "indexed"),
    [pytest.param(*row[1:], id=f"{row[0]}-{row[1]}") for row in UNKNOWNS],
)
def test_an_unknown_can_be_tried_the_other_way(
    serve: "Serve", *, options: dict[str, Any], body: bytes, expected: str, indexed: list[Any]
) -> None:
    """What releases differ in, and what nobody has measured about bodies, is a profile or a setting."""
    site = serve(**options)
    assert site.post(body).body.decode() == expected
    assert site.indexed() == indexed
