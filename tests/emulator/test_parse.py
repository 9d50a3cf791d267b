"""The reader of bodies: both paths agree, hostile bodies are bounded, and what was read can be read back."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splunk_hec_emulator._envelope import Grammar
from splunk_hec_emulator._parse import parse, parse_exact, parse_fast, read_back

GRAMMAR = Grammar(indexes=frozenset({"main", "other"}), max_event_bytes=200)
CODES = {0, 5, 6, 7, 12, 13, 15}

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
times = st.sampled_from(
    [0, 1.5, "1700000000", "1.", 1e22, "x", "", None, True, -1, 1700000000123456789, 10**25]
)
envelopes = st.fixed_dictionaries(
    {"event": values},
    optional={
        "time": times,
        "host": st.text(max_size=5) | st.none() | st.just(5),
        "index": st.sampled_from(["main", "other", "nope", "", None]),
        "sourcetype": st.text(max_size=5),
        "fields": st.dictionaries(st.text(max_size=4), values, max_size=3) | values,
        "wat": scalars,
    },
) | st.dictionaries(
    st.sampled_from(["event", "fields", "time", "source", "metric_name:x"]), values, max_size=3
)
spelled = st.builds(
    lambda value, is_ascii, gaps: json.dumps(value, ensure_ascii=is_ascii, separators=gaps).encode(
        errors="replace"
    ),
    envelopes,
    st.booleans(),
    st.sampled_from([(",", ":"), (" ,\t", " :\r\n")]),
)
between = st.sampled_from([b"", b"\n", b" ", b"\r\n\n", b",", b"\x00", b"\xff", b"[", b"]", b"\xef\xbb\xbf"])
streams = st.lists(st.tuples(spelled, st.sampled_from([b"", b"\n"]) | between), max_size=6).map(
    lambda pairs: b"".join(piece for pair in pairs for piece in pair)
)
tokens = st.sampled_from(
    [
        b'{"event":',
        b'"a"',
        b"}",
        b"{",
        b"[",
        b"]",
        b",",
        b'"',
        b"\\",
        b'"fields":',
        b"1",
        b"e",
        b"-",
        b"null",
        b":",
    ]
)
noise = st.binary(max_size=60) | st.lists(tokens, max_size=12).map(b"".join)
plain = st.fixed_dictionaries(
    {
        "event": st.text(min_size=1, max_size=8)
        | st.integers()
        | st.dictionaries(st.text(max_size=3), scalars, max_size=2)
    },
    optional={
        "time": st.sampled_from([0, 1.5, "1700000000", 1700000000123456789]),
        "host": st.text(max_size=5),
        "index": st.sampled_from(["main", "other"]),
        "fields": st.dictionaries(
            st.text(max_size=3), st.text(max_size=3) | st.lists(st.integers(), max_size=2)
        ),
    },
).map(lambda value: json.dumps(value).encode())
ordinary = st.tuples(st.lists(plain, min_size=1, max_size=5), st.sampled_from([b"", b"\n", b" \r\n"])).map(
    lambda pair: pair[1].join(pair[0])
)
dented = st.tuples(ordinary, st.integers(0, 200), st.integers(0, 2), st.binary(max_size=2)).map(
    lambda dent: dent[0][: dent[1]] + dent[3] + dent[0][dent[1] + dent[2] :]
)
bodies = ordinary | dented | streams | noise | st.tuples(streams, noise).map(b"".join)


@settings(max_examples=600, deadline=None)
@given(bodies)
def test_the_fast_path_never_disagrees_with_the_exact_reader(body: bytes) -> None:
    """What the fast path accepts, the exact reader accepts whole, with the same envelopes to the byte."""
    count = parse_fast(body, GRAMMAR)
    if count:
        exact = parse_exact(body, GRAMMAR)
        assert (exact.taken, exact.stored, exact.code) == (count, count, 0)
        assert texts(body) == texts(exact.body or b"")


@settings(max_examples=600, deadline=None)
@given(bodies, st.none() | st.integers(0, 4))
def test_any_body_ends_in_a_judgement_that_can_be_read_back(body: bytes, limit: int | None) -> None:
    """No body crashes the reader: a known code, a prefix within the limit, and it reads back whole."""
    parsed = parse(body, GRAMMAR, limit)
    assert parsed.code in CODES
    assert 0 <= parsed.stored <= parsed.taken
    assert limit is None or parsed.taken <= limit
    assert not (parsed.is_cut and parsed.code)
    stored = read_back(body if parsed.body is None else parsed.body)
    assert len(stored) == parsed.stored


@settings(max_examples=300, deadline=None)
@given(st.lists(envelopes.map(lambda value: json.dumps(value).encode()), min_size=1, max_size=5), noise)
def test_the_prefix_does_not_depend_on_what_follows(good: list[bytes], tail: bytes) -> None:
    """Objects are judged in stream order: what follows cannot change the judgement of those before it."""
    alone = parse_exact(b"\n".join(good), GRAMMAR)
    longer = parse_exact(b"\n".join(good) + b"\n" + tail, GRAMMAR)
    if alone.code in (0, 5) and alone.taken < len(good):
        assert (longer.taken, longer.code) == (alone.taken, alone.code)  # an unknown key ended both
    elif alone.code:
        assert (longer.taken, longer.code, longer.body) == (alone.taken, alone.code, alone.body)
    else:
        assert longer.taken >= alone.taken


def texts(body: bytes) -> list[list[bytes]]:
    """Return the JSON text of every value of every envelope."""
    return [[bytes(getattr(one, key)) for key in one.__struct_fields__] for one in read_back(body)]


PLAIN = [
    b'{"event":"a"}\n{"event":"b","time":1700000000.5,"host":"h","index":"main","fields":{"a":1,"b":["x",2]}}',
    b'{"event":"a"}{"event":{"x":[1]}}',
    b'{"event":-1.5e3}\r\n{"event":[]}\n',
    '{"event":"aä","host":"ü"}'.encode(),
]


@pytest.mark.parametrize("body", PLAIN)
def test_what_clients_send_takes_the_fast_path(body: bytes) -> None:
    """Ordinary bodies do not fall back to the exact reader: benchmarks depend on it."""
    assert parse_fast(body, GRAMMAR) == body.count(b'"event"')


SURPRISES = [
    b'{"event":" a"}',
    b'{"event":"\\u0020"}',
    b'{"event":"\xe2\x80\x83"}',
    b'{"event":"a","time":1e3}',
    b'{"event":"a","time":null}',
    b'{"event":"a","host":null}',
    b'{"event":"a","index":"nope"}',
    b'{"event":"a","fields":{"x":[[1]]}}',
    b'{"event":"a","wat":1}',
    b'{"fields":{"x":1}}',
    b'{"event":true}',
    b'{"event":"\xff"}',
    b'{"event":"' + b"x" * 300 + b'"}',
    b'{"event":"\\ud800"}',
    b"[" + b'{"event":1}' + b"]",
]


@pytest.mark.parametrize("body", SURPRISES)
def test_a_surprise_is_left_to_the_exact_reader(body: bytes) -> None:
    """The fast path gives up on whatever it is not sure about, and never refuses by itself."""
    assert parse_fast(body, GRAMMAR) is None
    assert parse(body, GRAMMAR) == parse_exact(body, GRAMMAR)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[" * 1_000_000, 6),
        (b'{"event":' + b"[" * 1_000_000, 6),
        (b'{"event":' + b'{"a":' * 500_000, 6),
        (b'{"event":' + b"9" * 1_000_000 + b"}", 6),
        (b'{"event":1,"fields":{"a":' + b"9" * 100_000 + b"}}", 0),
        (b'{"event":1,"time":' + b"9" * 100_000 + b"}", 15),
        (b"\x00" * 1_000_000, 6),
        (b'{"event":"' + b"\\u0000" * 20 + b'"}', 0),
        (b'{"event":"' + b"\\ud800" * 20 + b'"}', 0),
        (b'{"event":"a","host":"\\udfff"}', 0),
        (b'{"' + b"k" * 1_000_000 + b'":1}', 5),
        (b" " * 1_000_000, 5),
    ],
)
def test_hostile_bodies_are_judged_like_others(body: bytes, code: int) -> None:
    """Depth, digits, odd escapes and long keys neither crash the reader nor slip through."""
    assert parse(body, GRAMMAR).code == code


def test_a_lone_surrogate_is_read_back_as_it_was_sent() -> None:
    """JSON text that stricter decoders refuse is kept to the byte."""
    (envelope,) = read_back(parse(b'{"event":"\\ud800","host":"\\udfff"}', GRAMMAR).body or b"")
    assert (bytes(envelope.event), bytes(envelope.host)) == (b'"\\ud800"', b'"\\udfff"')


def test_nested_arrays_are_no_batches() -> None:
    """An array holds envelopes only; after it the stream goes on."""
    assert parse(b'[[{"event":1}]]', GRAMMAR).code == 6
    assert parse(b'[{"event":1} {"event":2}]', GRAMMAR).taken == 1
    assert parse(b'[]{"event":1}[{"event":2}]', GRAMMAR).taken == 2
    assert parse(b"[]", GRAMMAR).code == 5
    assert parse(b'[{"event":1},]', GRAMMAR).taken == 1
