"""Values that break parsers: depth, digits, surrogates, bad bytes. They are refused or pass; nothing breaks.

Depth is tried at every level around what the interpreter can recurse, since one thread's limit is not
another's: what one accepts, another must be able to read.
"""

from __future__ import annotations

import http.client
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Message
from hec_desk import Desk, accept_each
from hypothesis import example, given, settings
from hypothesis import strategies as st

from splunk_hec import Event, InvalidEvent
from splunk_hec._envelope import EnvelopeEncoder, check_envelope, check_json_value, index_of
from splunk_hec.config import HecConfig
from splunk_hec.events import Envelope
from splunk_hec.testing import refused
from splunk_hec_emulator import Emulator
from splunk_hec_emulator._envelope import MAX_NESTING, Grammar, nests_too_deep
from splunk_hec_emulator._parse import parse, read_back
from splunk_hec_kafka.config import Route
from splunk_hec_kafka.dead_letter_record import dead_letter_record
from splunk_hec_kafka.records import RecordEncoder
from splunk_hec_kafka.routes import RouteTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENCODER = EnvelopeEncoder(HecConfig(url="http://test", token="t"))
AROUND_THE_LIMIT = range(820, 1010)
"""Depths that some stacks of this interpreter can still recurse and others cannot."""
KEYS = {"time", "host", "source", "sourcetype", "index", "fields", "event"}
GRAMMAR = Grammar(max_event_bytes=1 << 30)
NESTS = [(b"[", b"]"), (b'{"a":', b"}"), (b" [\n", b"]")]
NUMBERS = [
    b"1e400", b"-1e400", b"1e-400", b"9" * 4299, b"9" * 4301, b"9" * 100_000, b"-" + b"9" * 5000,
    b"0." + b"1" * 100_000, b"1e999999999999999999", b"-0", b"-0.0e-0", b"1" + b"0" * 400 + b".5",
]  # fmt: skip
TEXTS = [
    b'"\\ud800"', b'"\\udfff\\ud800"', b'"\\ud83d\\ude00"', b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"',
    b'"\x00"', b'"\\u0000"', b'"\x1f"', b'"\x7f"', b'"\\', b'"', b'"\\x41"', b'"\\u12"', b"\xef\xbb\xbf1",
    b"\xff\xfe1\x00",
    '"\u202e\u2028\u0085"'.encode(), b'"' + b"\\n" * 50_000 + b'"',
]  # fmt: skip
OBJECTS = [
    b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b'{"":{"":{"":0}}}', b"{" + b'"k":1,' * 20_000 + b'"k":2}',
    b'{"\\ud800":1}', b'{"a":1,}', b"{", b"}", b"[", b"]", b"[1,]", b"{1:2}", b"1 2", b'1,"index":"x"', b"",
    b"NaN", b"Infinity", b"-Infinity", b"undefined", b"/**/1", b"'a'", b"{'a':1}", b"\x00", b"\xff" * 1000,
]  # fmt: skip
HOSTILE = [
    *NUMBERS, *TEXTS, *OBJECTS,
    *(start * depth + b"1" + end * depth for start, end in NESTS for depth in (499, 501, 5_000, 100_000)),
    b"[" * 100_000, b'{"a":' * 100_000, b'[{"a":' * 50_000,
]  # fmt: skip

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
).map(lambda value: json.dumps(value).encode())
pieces = st.sampled_from([
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u", b"d800", b"1", b"e", b"-", b".", b"null",
    b"true", b'"event"', b'"index"', b'"fields"', b'"time"', b" ", b"\n", b"\r", b"\x00", b"\xff",
    b"\xed\xa0\x80",
])  # fmt: skip
hostile = (
    st.sampled_from(HOSTILE) | values | st.lists(pieces, max_size=14).map(b"".join) | st.binary(max_size=40)
)
envelopes = st.lists(
    st.tuples(
        st.sampled_from([b"event", b"fields", b"time", b"host", b"index", b"ev\\u0065nt", b"x"]), hostile
    ),
    max_size=4,
).map(lambda pairs: b"{" + b",".join(b'"%b":%b' % pair for pair in pairs) + b"}")
bodies = hostile | envelopes | st.lists(envelopes, max_size=3).map(b"\n".join)

ROUTES = [
    Route(),
    Route(invalid_utf8="replace", host="{field:a}", time="field:a", fields={"x": "{field:event}"}),
    Route(value="json"),
    Route(
        value="json", invalid_utf8="replace", index="{field:a}", sourcetype="{field:event}", time="field:time"
    ),
    Route(value="envelope"),
    Route(
        value="envelope", invalid_utf8="replace", host="{field:event}", fields={"x": ["{field:fields}", "y"]}
    ),
    Route(value="raw", host="{field:a}", source="{field:event}"),
]


def record(value: bytes, headers: Any = None) -> Message:
    """A record of topic `t`."""
    return Message(
        value=value, topic="t", partition=0, offset=7, timestamp=(1, 1_700_000_000_000), headers=headers
    )


def top_keys(line: bytes) -> list[str]:
    """The keys of a line's one object, each as often as it stands there."""
    pairs = json.loads(line.decode("utf-8"), object_pairs_hook=list, parse_int=str, parse_float=str)
    return [key for key, _ in pairs]


@settings(max_examples=200, deadline=None)
@given(bodies)
@example(b"[" * 100_000)
def test_no_record_stops_the_sink(value: bytes) -> None:
    """Whatever a value holds, each kind of route makes a line of it, or a refusal that fits a dead letter."""
    for route in ROUTES:
        encoded = RecordEncoder(RouteTable([route]), event_max_bytes=10_000_000).encode([record(value)])
        lines = [line for send in encoded.sends for line in send.lines]
        assert len(lines) + len(encoded.refusals) == 1
        for refusal in encoded.refusals:
            assert refusal.text.isprintable()
            assert len(refusal.text) < 2_000
            assert dead_letter_record(refusal.message, refusal)[1] == value
        for line in lines:
            assert b"\n" not in line or route.value == "raw"
            if route.value != "raw" and not nests_too_deep(line):
                keys = top_keys(line)
                assert set(keys) <= KEYS
                assert len(set(keys)) == len(keys)


@settings(max_examples=200, deadline=None)
@given(bodies, st.booleans())
def test_no_event_stops_a_caller(value: bytes, is_envelope: bool) -> None:
    """Bytes, text and ready envelopes are encoded or refused with InvalidEvent, which fits on a line."""
    payloads: list[Any] = [value, value.decode(errors="surrogateescape")]
    for payload in payloads:
        line, why = b"", ""
        try:
            line = ENCODER.encode(Envelope(payload) if is_envelope else Event(payload))
            index_of(line)
        except InvalidEvent as error:
            why = str(error)
        assert bool(line) is not bool(why)
        assert b"\n" not in line
        assert why.isprintable()


@settings(max_examples=200, deadline=None)
@given(hostile)
def test_a_json_value_stays_inside_its_place(value: bytes) -> None:
    """A value that is taken as it is cannot end the envelope early and add keys to it."""
    try:
        taken = check_json_value(value)
    except InvalidEvent:
        return
    if not nests_too_deep(taken):
        assert top_keys(b'{"index":"mine","event":' + taken + b"}") == ["index", "event"]


def deep(depth: int, start: bytes = b"[", end: bytes = b"]") -> bytes:
    """So many levels."""
    return start * depth + end * depth


def test_the_same_depth_is_readable_from_any_stack() -> None:
    """An index can be read from each line that some stack could encode, from one that is nearly used up."""
    for depth in AROUND_THE_LIMIT:
        try:
            line = check_envelope(b'{"fields":{"a":1},"index":"i","event":' + deep(depth) + b"}")
            bare = check_envelope(b'{"event":' + deep(depth) + b"}")
        except InvalidEvent:
            continue
        assert from_deeper(100, lambda line=line: index_of(line)) == "i"
        assert from_deeper(100, lambda bare=bare: index_of(bare)) is None


def from_deeper(frames: int, call: Callable[[], Any]) -> Any:
    """Call with so many frames more on the stack."""
    return from_deeper(frames - 1, call) if frames else call()


@pytest.mark.parametrize("depth", [880, 960, 985, 988, 990, 992, 995])
def test_a_deep_event_with_a_refused_index_breaks_no_lane(depth: int) -> None:
    """An event at the edge of what can be recursed is rejected like any other: no lane fails over it."""
    told: list[tuple[str, str]] = []

    def run() -> None:  # on a thread of its own: the stack is short here, and longer inside a lane
        desk = Desk(*[refused(400, 7, "Incorrect index", number=1)] * 2, accept_each)
        try:
            desk.hec.submit(Envelope(b'{"index":"x","event":' + deep(depth) + b"}", ref=1))
        except InvalidEvent as error:
            told.append(("refused", error.reason))
            return
        for _ in range(30):
            desk.later(10)
        told.extend((outcome.kind.value, outcome.reason) for outcome in desk.hec.poll())
        desk.hec.abort()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert told in ([("rejected", "bad_index")], [("refused", "invalid_event")])


def test_the_emulator_can_read_back_whatever_depth_it_accepted() -> None:
    """What the parser accepts is readable where the stack is longer, else the journal ends the server."""
    accepted = 0
    for depth in [*range(MAX_NESTING - 2, MAX_NESTING + 3), *AROUND_THE_LIMIT]:
        for start, end in NESTS:
            body = b'{"event":' + start * depth + b"1" + end * depth + b',"host":null}'
            parsed = parse(body, GRAMMAR)
            if parsed.code == 0:
                accepted += 1
                assert len(from_deeper(200, lambda p=parsed, b=body: read_back(p.body or b))) == 1
    assert accepted > 8


class Hec:
    """A running emulator with a journal, asked over HTTP."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self._link = http.client.HTTPConnection("127.0.0.1", int(emulator.url.rpartition(":")[2]), timeout=60)

    def ask(self, method: str, path: str, body: bytes = b"", *, acks: bool = False) -> tuple[int, bytes]:
        """Status and body of one answer."""
        token = self.emulator.token if acks else self.emulator.plain_token
        headers = {
            "User-Agent": "test", "Authorization": f"Splunk {token}",
            "X-Splunk-Request-Channel": "4f1b2c3d-0000-4000-8000-000000000001",
        }  # fmt: skip
        self._link.request(method, path, body, headers)
        reply = self._link.getresponse()
        return reply.status, reply.read()

    def close(self) -> None:
        """Leave."""
        self._link.close()


@pytest.fixture(scope="module")
def hec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hec]:
    """One emulator for the whole file: it must outlive everything that is sent to it."""
    journal = tmp_path_factory.mktemp("journal") / "events"
    with Emulator(ack_delay=0, journal=journal) as emulator:
        one = Hec(emulator)
        yield one
        one.close()


@settings(max_examples=100, deadline=None)
@given(bodies)
@example(b'{"event":' + deep(100_000) + b"}")
@example(b'{"event":' + deep(985) + b',"host":null}')
@example(b'{"event":"a"}' + b'{"event":' + deep(990) + b"}")
def test_no_body_makes_the_emulator_answer_500(hec: Hec, body: bytes) -> None:
    """Each route answers any body with a status of HEC's own, and what became of it can be read."""
    answers = [
        hec.ask("POST", "/services/collector/event", body),
        hec.ask("POST", "/services/collector/raw", body),
        hec.ask("POST", "/services/collector/ack", body, acks=True),
        hec.ask("PUT", "/emulator/faults", body if not body.strip().startswith(b"[]") else b"x"),
    ]
    assert {status for status, _ in answers} <= {200, 400}
    hec.ask("PUT", "/emulator/faults", b"[]")
    assert hec.ask("GET", "/emulator/events?limit=1&q=nowhere")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/emulator/events?offset=" + "9" * 18, "/emulator/events?offset=" + "9" * 5000,
        "/emulator/events?limit=" + "9" * 30, "/emulator/events?offset=-1", "/emulator/events?offset=%D9%A1",
        "/emulator/restart?node=0000000001", "/emulator/restart?node=" + "0" * 5000,
        "/emulator/restart?node=-1", "/emulator/restart?node=%D9%A1",
    ],
)  # fmt: skip
def test_a_hostile_number_in_a_query_is_a_400(hec: Hec, path: str) -> None:
    """Numbers that int() or islice() cannot take are refused, instead of costing the connection."""
    method = "POST" if "restart" in path else "GET"
    assert hec.ask(method, path)[0] == 400
    assert hec.ask("GET", "/emulator/stats")[0] == 200
