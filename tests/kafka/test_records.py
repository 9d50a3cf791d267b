"""Records become lines for HEC, refusals or skips: each exactly once, by the same bytes whichever way."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_tools import (
    BAD,
    GOOD,
    LIMIT,
    MS,
    NO_UTF8,
    ROUTES,
    exacts,
    manifest_of,
    message,
    sent_by,
)

from splunk_hec import _envelope
from splunk_hec.errors import InvalidEvent
from splunk_hec_kafka.config import Route
from splunk_hec_kafka.offsets import place
from splunk_hec_kafka.records import Encoded, RecordEncoder, Refusal, Send, _Row
from splunk_hec_kafka.routes import RouteTable

if TYPE_CHECKING:
    from confluent_kafka import Message

HEC_KEYS = {"time", "host", "source", "sourcetype", "index", "fields", "event"}
CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"


def encode(route: Route, *values: bytes | None, event_max_bytes: int = LIMIT, **parts: Any) -> Encoded:
    """The values as records of one partition, encoded by one route."""
    messages = [message(value, offset, **parts) for offset, value in enumerate(values)]
    return RecordEncoder(RouteTable([route]), event_max_bytes=event_max_bytes).encode(messages)


def offsets(send: Send) -> list[int | None]:
    """The offsets of what is sent, in the order of the lines."""
    return [record.offset() for record, _ in manifest_of(send).each(send.lines)]


def line(route: Route, value: bytes, **parts: Any) -> dict[str, Any]:
    """The one envelope that a value becomes."""
    encoded = encode(route, value, **parts)
    assert not encoded.refusals, encoded.refusals
    (send,) = encoded.sends
    (one,) = send.lines
    return json.loads(one)


def reason(route: Route, value: bytes, **parts: Any) -> tuple[str, str]:
    """Reason and stage of the one refusal that a value becomes."""
    encoded = encode(route, value, **parts)
    assert not encoded.sends
    (refusal,) = encoded.refusals
    assert refusal.text
    return refusal.reason, refusal.stage


class TestText:
    """value = text."""

    def test_a_line_of_text(self) -> None:
        """Text becomes the event, with record time, source and provenance."""
        assert line(Route(), "grüße".encode()) == {
            "time": 1700000000.123,
            "source": "kafka:t",
            "fields": {"kafka_topic": "t", "kafka_partition": 3, "kafka_offset": 0},
            "event": "grüße",
        }

    @pytest.mark.parametrize(
        ("value", "event"),
        [
            (b"a\n", "a"),
            (b"a\r\n", "a"),
            (b"a\n\n", "a\n"),
            (b"a\n\r\n", "a\n"),
            (b"a\r", "a\r"),
            (b"a\r\r\n", "a\r"),
            (b" a\tb ", " a\tb "),
            (b"one\n  at two\n  at three\n", "one\n  at two\n  at three"),
            (b'\x00\x1f\\"', '\x00\x1f\\"'),
            ("\u2028\u3000".encode(), "\u2028\u3000"),
        ],
    )
    def test_one_line_end_is_removed_and_nothing_else(self, value: bytes, event: str) -> None:
        """Exactly one CR LF or LF at the end goes; all other bytes are indexed as they came."""
        assert line(Route(), value)["event"] == event

    @pytest.mark.parametrize("value", [b"", b" ", b"\n", b"\r\n", b" \t\v\f\r\n"])
    def test_blank_is_refused(self, value: bytes) -> None:
        """Splunk answers code 13 to a blank event, so it is never sent."""
        assert reason(Route(), value) == ("blank", "PUT")

    def test_invalid_utf8_is_refused_or_replaced(self) -> None:
        """The route decides what becomes of bytes that are not UTF-8."""
        assert reason(Route(), b"a\xff") == ("undecodable", "DECODE")
        assert line(Route(invalid_utf8="replace"), b"a\xff")["event"] == "a\ufffd"

    def test_one_bad_record_does_not_touch_its_neighbours(self) -> None:
        """A refusal or skip in a chunk leaves the other records in order and unchanged."""
        encoded = encode(Route(), b"a", b"\xff", b"b", None, b" ", b"c\n")
        (send,) = encoded.sends
        assert [json.loads(one)["event"] for one in send.lines] == ["a", "b", "c"]
        assert offsets(send) == [0, 2, 5]
        assert [(r.message.offset(), r.reason) for r in encoded.refusals] == [
            (1, "undecodable"),
            (4, "blank"),
        ]
        assert [(s.message.offset(), s.reason) for s in encoded.skips] == [(3, "tombstone")]

    def test_oversize_is_refused(self) -> None:
        """The limit holds for the encoded envelope, and the refusal says both sizes."""
        bare = Route(source="", time="none", provenance=False)
        fits = len(b'{"event":"aaaa"}')
        encoded = encode(bare, b"aaaa", b"aaaaa", b"bbbb", event_max_bytes=fits)
        assert list(encoded.sends[0].lines) == [b'{"event":"aaaa"}', b'{"event":"bbbb"}']
        assert [one.value() for one in sent_by(encoded)] == [b"aaaa", b"bbbb"]
        (refusal,) = encoded.refusals
        assert (refusal.message.offset(), refusal.reason, refusal.stage) == (1, "too_large", "PUT")
        assert f"{fits + 1} bytes" in refusal.text

    def test_a_control_character_counts_as_it_is_encoded(self) -> None:
        """A value that grows by escaping is measured after it."""
        bare = Route(source="", time="none", provenance=False)
        assert encode(bare, b"\x00" * 20, event_max_bytes=100).refusals[0].reason == "too_large"


class TestJson:
    """value = json."""

    ROUTE = Route(value="json", source="", time="none", provenance=False)

    @pytest.mark.parametrize(
        "value",
        [
            b'{"a":1.50,"b":[1e2,null,true]}',
            b"0",
            b"[]",
            b"{}",
            b'"text"',
            b' {"a" : 1} ',
            b"12345678901234567890123",
        ],
    )
    def test_bytes_are_untouched(self, value: bytes) -> None:
        """JSON is indexed as it was written: no number is rounded, no space moved."""
        (send,) = encode(self.ROUTE, value).sends
        assert list(send.lines) == [b'{"event":' + value + b"}"]

    def test_line_ends_between_tokens_become_spaces(self) -> None:
        """Pretty-printed JSON stays one line, so that a batch can be split at LF."""
        (send,) = encode(self.ROUTE, b'{\r\n "a":\n "x\\ny"}\n').sends
        assert list(send.lines) == [b'{"event":{   "a":  "x\\ny"} }']

    @pytest.mark.parametrize(
        ("value", "why"),
        [
            (b"{", "invalid_event"),
            (b"", "invalid_event"),
            (b"{} {}", "invalid_event"),
            (b"1],[2", "invalid_event"),
            (b'1,"index":"secret"', "invalid_event"),
            (b'1}\n{"event":2', "invalid_event"),
            (b"NaN", "invalid_event"),
            (b"[Infinity]", "invalid_event"),
            (b"null", "invalid_event"),
            (b" false ", "invalid_event"),
            (b"true", "invalid_event"),
            (b'" \\t"', "blank"),
            (b'"\xff"', "undecodable"),
        ],
    )
    def test_what_is_not_one_json_value_is_refused(self, value: bytes, why: str) -> None:
        """No value can break out of its envelope, and none that HEC refuses is sent."""
        assert reason(self.ROUTE, value)[0] == why

    def test_invalid_utf8_can_be_replaced(self) -> None:
        """`replace` holds inside JSON strings too."""
        route = msgspec.structs.replace(self.ROUTE, invalid_utf8="replace")
        assert line(route, b'"a\xff"')["event"] == "a\ufffd"

    def test_a_refused_value_leaves_its_neighbours(self) -> None:
        """A broken document costs itself alone."""
        encoded = encode(self.ROUTE, b"1", b"{", b"2")
        assert list(encoded.sends[0].lines) == [b'{"event":1}', b'{"event":2}']
        assert [r.message.offset() for r in encoded.refusals] == [1]


class TestEnvelope:
    """value = envelope."""

    ROUTE = Route(value="envelope", index="main", sourcetype="s", fields={"env": "prod", "team": "a"})

    def test_its_keys_win_and_the_route_fills_the_rest(self) -> None:
        """A ready envelope keeps what it says; absent keys come from the route, fields one by one."""
        value = b'{"event":{"a":1.0},"index":"own","time":1700000001,"fields":{"team":"b","n":[1,"x"]}}'
        assert line(self.ROUTE, value) == {
            "time": 1700000001,
            "source": "kafka:t",
            "sourcetype": "s",
            "index": "own",
            "fields": {
                "kafka_topic": "t",
                "kafka_partition": 3,
                "kafka_offset": 0,
                "env": "prod",
                "team": "b",
                "n": [1, "x"],
            },
            "event": {"a": 1.0},
        }

    def test_a_bare_envelope_gets_the_record_time(self) -> None:
        """Without a time of its own an envelope has the record's."""
        assert line(self.ROUTE, b'{"event":"x","host":null}')["time"] == 1700000000.123
        assert line(Route(value="envelope", time="none"), b'{"event":"x"}').get("time") is None

    def test_a_metric_has_no_event(self) -> None:
        """A measurement in fields is an envelope without event."""
        made = line(self.ROUTE, b'{"fields":{"metric_name:cpu":1}}')
        assert "event" not in made
        assert made["fields"]["metric_name:cpu"] == 1

    @pytest.mark.parametrize(
        ("value", "why"),
        [
            (b'{"event":"x","wat":1}', "invalid_event"),
            (b'{"host":"h"}', "invalid_event"),
            (b'["event"]', "invalid_event"),
            (b"text", "invalid_event"),
            (b'{"event":null}', "invalid_event"),
            (b'{"event":" "}', "blank"),
            (b'{"event":"x","time":"soon"}', "bad_time"),
            (b'{"event":"x","fields":{"a":{"b":1}}}', "bad_fields"),
            (b'{"event":"x","fields":[1]}', "invalid_event"),
            (b'{"event":"\xff"}', "undecodable"),
        ],
    )
    def test_what_hec_would_refuse_or_lose_is_refused(self, value: bytes, why: str) -> None:
        """An unknown key would make Splunk drop all that follows in silence; it never leaves the sink."""
        assert reason(self.ROUTE, value)[0] == why


class TestRaw:
    """value = raw."""

    def test_lines_are_grouped_by_metadata(self) -> None:
        """The raw endpoint takes metadata in the query, so records that differ in it do not share one."""
        route = Route(value="raw", index="main", host="{header:h}")
        messages = [
            message(b"a\n", 0, headers=[("h", b"x y")]),
            message(b"b", 1),
            message(b"c", 2, headers=[("h", b"x y")]),
        ]
        encoded = RecordEncoder(RouteTable([route]), event_max_bytes=100).encode(messages)
        assert [(send.to.kind, send.query, list(send.lines)) for send in encoded.sends] == [
            ("raw", "host=x+y&index=main&source=kafka%3At", [b"a", b"c"]),
            ("raw", "index=main&source=kafka%3At", [b"b"]),
        ]
        assert list(map(offsets, encoded.sends)) == [[0, 2], [1]]

    def test_refusals_and_skips(self) -> None:
        """Blank, undecodable, oversize and null values are told apart as for events."""
        encoded = encode(Route(value="raw"), b" ", b"\xff", b"x" * 11, None, b"ok", event_max_bytes=10)
        assert [r.reason for r in encoded.refusals] == ["blank", "undecodable", "too_large"]
        assert [s.reason for s in encoded.skips] == ["tombstone"]
        assert list(encoded.sends[0].lines) == [b"ok"]

    def test_raw_and_events_are_sent_apart(self) -> None:
        """One chunk of several topics becomes sends of one topic, endpoint kind and query each."""
        routes = RouteTable(
            [Route(topics=("r",), value="raw", source=""), Route(topics=("d",), action="drop")]
        )
        topics = ["r", "t", "d", "t", "r", "u"]
        messages = [message(b"v%d" % n, n, topic=topic) for n, topic in enumerate(topics)]
        encoded = RecordEncoder(routes, event_max_bytes=1000).encode(messages)
        assert [(send.to.kind, offsets(send)) for send in encoded.sends] == [
            ("raw", [0, 4]),
            ("event", [1, 3]),
            ("event", [5]),
        ]
        assert [(s.message.offset(), s.reason) for s in encoded.skips] == [(2, "drop")]


class TestTime:
    """The route key `time`."""

    @pytest.mark.parametrize("ms", [0, 1, 10, 1_000, MS, 9_999_999_999_999, 2**53, 2**63 - 1])
    def test_record_time_is_fixed_point_seconds(self, ms: int) -> None:
        """HEC refuses scientific notation; no record time is written that way."""
        (send,) = encode(Route(provenance=False), b"x", timestamp=(1, ms)).sends
        time = send.lines[0].split(b",")[0].removeprefix(b'{"time":')
        assert b"e" not in time.lower()
        assert float(time) == ms / 1000

    @pytest.mark.parametrize("timestamp", [(0, 0), (0, -1), (1, -1)])
    def test_a_record_without_time_has_none(self, timestamp: tuple[int, int]) -> None:
        """Where Kafka knows no time, Splunk takes the time of receipt; the epoch would be a lie."""
        assert "time" not in line(Route(), b"x", timestamp=timestamp)
        assert "time" not in line(Route(index="{partition}"), b"x", timestamp=timestamp)

    @pytest.mark.parametrize(
        ("text", "time"),
        [
            (b"1700000000", 1700000000),
            (b"1700000000.5", 1700000000.5),
            (b"1700000000123", 1700000000.123),
            (b"1700000000123456", 1700000000.123456),
            (b"1700000000123456789", 1700000000.123456),
            (b"1.7e9", 1700000000),
            (b"2023-11-14T22:13:20.5Z", 1700000000.5),
            (b"2023-11-14T23:13:20+01:00", 1700000000),
        ],
    )
    def test_time_from_a_header(self, text: bytes, time: float) -> None:
        """Seconds, ms, µs, ns by magnitude, or RFC 3339."""
        assert line(Route(time="header:ts"), b"x", headers=[("ts", text)])["time"] == time

    def test_an_absent_or_null_header_means_the_record_time(self) -> None:
        """A missing header is no mistake of the record."""
        assert line(Route(time="header:ts"), b"x")["time"] == 1700000000.123
        assert line(Route(time="header:ts"), b"x", headers=[("ts", None)])["time"] == 1700000000.123

    @pytest.mark.parametrize(
        "text", [b"", b"soon", b"-1", b"1,5", b"\xff", b"9" * 40, b"nan", b"1" * 100_000]
    )
    def test_an_unparseable_time_is_refused(self, text: bytes) -> None:
        """A time that nobody can read is never guessed."""
        assert reason(Route(time="header:ts"), b"x", headers=[("ts", text)]) == ("bad_time", "PUT")

    def test_time_from_a_field(self) -> None:
        """A field of a JSON value gives the time; one that is no time is refused."""
        route = Route(value="json", time="field:a.t")
        assert line(route, b'{"a":{"t":1700000000123}}')["time"] == 1700000000.123
        assert line(route, b'{"a":{"t":"2023-11-14T22:13:20Z"}}')["time"] == 1700000000
        assert line(route, b'{"a":5}')["time"] == 1700000000.123
        assert reason(route, b'{"a":{"t":true}}') == ("bad_time", "PUT")
        assert reason(route, b'{"a":{"t":{}}}') == ("bad_time", "PUT")

    def test_no_time(self) -> None:
        """`none` leaves the time to Splunk."""
        assert "time" not in line(Route(time="none"), b"x")


class TestTemplatesInRecords:
    """Routes that look into records."""

    def test_metadata_and_fields_from_the_record(self) -> None:
        """Headers, key and fields fill metadata and indexed fields, each record for itself."""
        route = Route(
            value="json", index="{header:i}", host="{field:h}", fields={"key": "{key}"}, provenance=False
        )
        messages = [
            message(b'{"h":"one"}', 0, headers=[("i", b"idx")], key=b"k"),
            message(b'{"h":null}', 1),
        ]
        encoded = RecordEncoder(RouteTable([route]), event_max_bytes=1000).encode(messages)
        first, second = [json.loads(one) for one in encoded.sends[0].lines]
        assert (first["index"], first["host"], first["fields"]) == ("idx", "one", {"key": "k"})
        assert not {"index", "host", "fields"} & set(second)

    def test_keys_are_hecs_in_hecs_order(self) -> None:
        """The rows of the hot path have exactly the keys of the client's own encoder, in its order."""
        assert _Row.__struct_fields__ == _envelope._Line.__struct_fields__
        assert set(_Row.__struct_fields__) == HEC_KEYS


VALUES = st.one_of(
    st.none(),
    st.binary(max_size=30),
    st.text(max_size=30).map(str.encode),
    st.sampled_from(
        [b"a", b"a\n", b"\r\n", b" ", b'{"a":1}', b'{"event":"x","a":1}', b'{"event":"x"}', b'"\\n"']
    ),
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), st.lists, max_leaves=4).map(
        lambda value: json.dumps(value).encode()
    ),
    st.dictionaries(
        st.sampled_from([*HEC_KEYS, "wat", "a"]), st.text(max_size=3) | st.integers(), max_size=3
    ).map(lambda value: json.dumps(value, indent=1).encode()),
)
MESSAGES = st.builds(
    message,
    VALUES,
    st.integers(0, 2**40),
    topic=st.sampled_from(["t", "u"]),
    key=st.none() | st.binary(max_size=4),
    headers=st.none() | st.lists(st.tuples(st.just("h"), st.none() | st.binary(max_size=12)), max_size=2),
    timestamp=st.tuples(st.integers(0, 2), st.integers(-1, 2**45)),
)
CHUNKS = st.lists(MESSAGES, max_size=8, unique_by=place)


def by_place(encoded: Encoded) -> dict[Any, tuple[str, bytes]]:
    """The lines by the records that they were made of, with their query."""
    return {
        place(record): (send.query, text)
        for send in encoded.sends
        for (record, _), text in zip(manifest_of(send).each(send.lines), send.lines, strict=True)
    }


def told(refusal: Refusal) -> tuple[Any, ...]:
    """A refusal, to be compared."""
    return refusal.message.offset(), refusal.reason, refusal.text, refusal.stage


class TestAlways:
    """What holds for every record and route."""

    @settings(max_examples=400, deadline=None)
    @given(ROUTES, CHUNKS, st.sampled_from([40, LIMIT]))
    def test_every_record_comes_out_once_and_every_line_is_hecs(
        self, route: Route, messages: list[Message], limit: int
    ) -> None:
        """Nothing raises, nothing is lost or doubled, and no line is more than one HEC object."""
        encoded = RecordEncoder(RouteTable([route]), event_max_bytes=limit).encode(messages)
        out = sent_by(encoded)
        out += [refusal.message for refusal in encoded.refusals] + [skip.message for skip in encoded.skips]
        assert sorted(exacts(out), key=repr) == sorted(exacts(messages), key=repr)
        for send in encoded.sends:
            assert len(send.lines) == len(send.originals)
            for one in send.lines:
                assert len(one) <= limit
                if send.to.kind == "event":
                    assert b"\n" not in one
                    assert b"\r" not in one
                    made = json.loads(one)
                    assert set(made) <= HEC_KEYS
                    assert made.get("event", None) is not None or "fields" in made

    @settings(max_examples=400, deadline=None)
    @given(ROUTES, CHUNKS)
    def test_a_record_alone_makes_the_same_bytes_as_in_a_chunk(
        self, route: Route, messages: list[Message]
    ) -> None:
        """The fast way over a run and the careful way record by record write the same lines."""
        encoder = RecordEncoder(RouteTable([route]), event_max_bytes=LIMIT)
        whole = by_place(encoder.encode(messages))
        # Records that are left out change nothing for the others.
        spoilt = [*messages, message(None, 0, topic="t"), message(None, 0, topic="u")]
        assert by_place(encoder.encode(spoilt)) == whole
        alone = [by_place(encoder.encode([one])) for one in messages]
        assert {at: made for one in alone for at, made in one.items()} == whole

    def test_order_within_a_partition_is_kept(self) -> None:
        """However topics and partitions are mixed, each partition's records keep their order."""
        messages = [
            message(b"x", offset, topic=f"t{offset % 3}", partition=offset % 2) for offset in range(100)
        ]
        encoded = RecordEncoder(RouteTable([]), event_max_bytes=1000).encode(messages)
        sent = list(map(place, sent_by(encoded)))
        assert len(sent) == len(messages)
        for one in {at for at, _ in sent}:
            found = [offset for at, offset in sent if at == one]
            assert found == sorted(found)

    def test_nothing_in_nothing_out(self) -> None:
        """An empty chunk is no send."""
        encoded = encode(Route())
        assert (encoded.sends, encoded.refusals, encoded.skips) == ([], [], [])

    @settings(max_examples=150, deadline=None)
    @given(st.data(), st.sampled_from(["text", "json"]), st.sampled_from([150, LIMIT]))
    def test_a_chunk_with_bad_records_is_encoded_as_each_of_them_alone(
        self, data: st.DataObject, kind: Any, limit: int
    ) -> None:
        """What is wrong with some records of a chunk changes no line, refusal or order of others."""
        route = Route(value=kind, source="", invalid_utf8=data.draw(st.sampled_from(["reject", "replace"])))
        good = data.draw(st.lists(GOOD[kind], min_size=1, max_size=5))
        values: list[bytes | None] = [good[n % len(good)] for n in range(data.draw(st.integers(1, 150)))]
        bad = data.draw(st.lists(BAD | NO_UTF8 | st.just(b'"' + b"x" * 200 + b'"'), min_size=1, max_size=6))
        for value in bad:
            values.insert(data.draw(st.integers(0, len(values))), value)
        encoded = encode(route, *values, event_max_bytes=limit)
        encoder = RecordEncoder(RouteTable([route]), event_max_bytes=limit)
        alone = [encoder.encode([message(value, offset)]) for offset, value in enumerate(values)]
        assert [text for send in encoded.sends for text in send.lines] == [
            text for one in alone for send in one.sends for text in send.lines
        ]
        assert exacts(sent_by(encoded)) == [found for one in alone for found in exacts(sent_by(one))]
        refused = [one for alone_one in alone for one in alone_one.refusals]
        for is_size in (False, True):  # what is too large is found when the others of its piece are encoded
            assert [told(one) for one in encoded.refusals if (one.reason == "too_large") is is_size] == [
                told(one) for one in refused if (one.reason == "too_large") is is_size
            ]
        assert [(skip.message.offset(), skip.reason) for skip in encoded.skips] == [
            (skip.message.offset(), skip.reason) for one in alone for skip in one.skips
        ]

    @pytest.mark.parametrize("at", [0, 1, 255, 256, 300, 511])
    def test_one_bad_record_of_many_leaves_the_others_in_one_piece(self, at: int) -> None:
        """All but the bad record of a chunk are still sent together."""
        values = [b"v%d" % number for number in range(512)]
        values[at] = b"\xff"
        encoded = encode(Route(), *values)
        assert [r.message.offset() for r in encoded.refusals] == [at]
        (send,) = encoded.sends
        assert offsets(send) == [o for o in range(512) if o != at]

    @pytest.mark.parametrize("kind", ["text", "json", "envelope", "raw"])
    def test_refused_records_leave_nothing_to_the_collector(self, kind: Any) -> None:
        """No cycle keeps the records of a chunk with a bad one alive: at this rate that costs a tenth."""
        values = [b'{"event":"a"}', b"\xff", b" ", b"", b'{"event":"b"}']
        messages = [message(value, offset) for offset, value in enumerate(values)]
        encoder = RecordEncoder(RouteTable([Route(value=kind)]), event_max_bytes=LIMIT)
        gc.disable()
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            assert encoder.encode(messages).refusals
            gc.collect()
            assert [one for one in gc.garbage if isinstance(one, InvalidEvent)] == []
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    def test_real_log_lines_survive(self) -> None:
        """Every line of real logs that is not blank arrives as it was written."""
        files = sorted(CORPUS.glob("*.log"))
        lines = [one for file in files for one in file.read_bytes().split(b"\n") if one.strip()] or [
            b"a",
            b"b",
        ]
        encoded = encode(Route(invalid_utf8="replace"), *lines)
        (send,) = encoded.sends
        assert [json.loads(one)["event"] for one in send.lines] == [
            one.decode(errors="replace") for one in lines
        ]
