"""Consumed records of every kind, and what they are, as values that can be compared.

For tests of what becomes of records (`test_records`, `test_originals`, `test_delivery`). Nothing here encodes
or decodes anything of ours: `exact` looks only at what a record itself says.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import Message
from hypothesis import strategies as st

from splunk_hec_kafka.config import Route
from splunk_hec_kafka.offsets import TopicPartition
from splunk_hec_kafka.originals import Records

if TYPE_CHECKING:
    from collections.abc import Iterable

    from splunk_hec_kafka.originals import Consumed
    from splunk_hec_kafka.records import Encoded, Send

MS = 1_700_000_000_123
LIMIT = 5_000_000


def message(value: bytes | None, offset: int = 0, **parts: Any) -> Message:
    """A record of topic `t`, partition 3."""
    given_parts = {"topic": "t", "partition": 3, "timestamp": (1, MS), **parts}
    return Message(value=value, offset=offset, **given_parts)


class Exact(NamedTuple):
    """All that a record is."""

    topic: str | None
    partition: int | None
    offset: int | None
    timestamp: tuple[int, int]
    key: bytes | str | None
    headers: list[tuple[str, str | bytes | None]]
    value: bytes | str | None


def exact(record: Consumed) -> Exact:
    """A record as it was consumed. Without headers is the same as with none: Kafka knows no difference."""
    return Exact(
        record.topic(),
        record.partition(),
        record.offset(),
        record.timestamp(),
        record.key(),
        record.headers() or [],
        record.value(),
    )


def exacts(records: Iterable[Consumed]) -> list[Exact]:
    """Several."""
    return [exact(record) for record in records]


def at_of(record: Consumed) -> TopicPartition:
    """The partition of a record."""
    return TopicPartition(record.topic() or "", record.partition() or 0)


def epochs_of(messages: Iterable[Message]) -> dict[TopicPartition, int]:
    """An assignment epoch for each partition, another for each."""
    return {at: number for number, at in enumerate(dict.fromkeys(map(at_of, messages)), 7)}


def manifest_of(send: Send) -> Records:
    """The manifest of what is sent, all of it in epoch 1."""
    epochs: defaultdict[TopicPartition, int] = defaultdict(lambda: 1)
    return Records.of(send.originals, epochs)


def sent_by(encoded: Encoded) -> list[Consumed]:
    """The records of all lines, put together again, in the order of the lines."""
    return [record for send in encoded.sends for record, _ in manifest_of(send).each(send.lines)]


# ---- values --------------------------------------------------------------------------------------------

_GAPS = st.sampled_from([b""] * 4 + [b" ", b"\n", b"\r\n", b"\t", b" \n  "])
_NUMBERS = [
    b"0", b"-0", b"1.50", b"1e400", b"-1E+2", b"1e-400", b"12345678901234567890123",
    b"0.10000000000000000000001",
]  # fmt: skip
_STRINGS = [
    b'""', b'"\\u0041\\u2028"', b'"\\ud83d\\ude00"', b'"\\ud800"', b'"\\/"', b'"a\\nb"',
    '"\u2028\u0085ü"'.encode(), b'"\x7f"', b'"\\u0000"',
]  # fmt: skip
_TOKENS = [*_NUMBERS, *_STRINGS, b"true", b"false", b"null"]
_NAMES = st.sampled_from(
    [b'"event"', b'"time"', b'"fields"', b'"index"', b'"a"', b'"a"', b'"\\u0061"', b'""']
)
_texts_as_json = st.builds(
    lambda text, is_ascii: json.dumps(text, ensure_ascii=is_ascii).encode(errors="replace"),
    st.text(max_size=8),
    st.booleans(),
)


def _array(items: list[tuple[bytes, bytes]], inside: bytes) -> bytes:
    return b"[" + inside + b",".join(gap + item + gap for item, gap in items) + b"]"


def _object(members: list[tuple[bytes, bytes, bytes]], inside: bytes) -> bytes:
    return b"{" + inside + b",".join(gap + name + b":" + gap + item for name, item, gap in members) + b"}"


_inner_json = st.recursive(
    st.sampled_from(_TOKENS) | _texts_as_json,
    lambda items: (
        st.builds(_array, st.lists(st.tuples(items, _GAPS), max_size=3), _GAPS)
        | st.builds(_object, st.lists(st.tuples(_NAMES, items, _GAPS), max_size=3), _GAPS)
    ),
    max_leaves=6,
)
_deep = st.builds(
    lambda depth, pair, gap: pair[0] * depth + gap + b"1" + pair[1] * depth,
    st.sampled_from([1, 99, 100, 101, 199, 200, 201, 300, 400]),
    st.sampled_from([(b"[", b"]"), (b'{"event":', b"}"), (b'[{"a":', b"}]")]),
    _GAPS,
)
_tops = st.builds(_object, st.lists(st.tuples(_NAMES, _inner_json, _GAPS), min_size=1, max_size=4), _GAPS)
JSON = st.builds(
    lambda before, value, after: before + value + after,
    _GAPS,
    _tops
    | _deep
    | st.builds(_array, st.lists(st.tuples(_inner_json, _GAPS), max_size=4), _GAPS)
    | st.sampled_from(_NUMBERS)
    | st.sampled_from([b'"a"', b'"\\u0041\\u2028\\n"', b'"' + b"x" * 300 + b'\\ud800"']),
    _GAPS,
)
"""JSON texts that HEC takes, spelt in every way that a number, a string or white space can be spelt."""
ENVELOPES = st.builds(
    lambda before, members, event, after: (
        before + b"{" + b",".join([*members, b'"event":' + event]) + after + b"}" + after
    ),
    _GAPS,
    st.lists(
        st.sampled_from(
            [
                b'"time":1.50',
                b'"host":"\\u0068"',
                b'"index": null',
                b'"fields":{"a":[1,"x"]}',
                b'"source":"s"',
            ]
        ),
        max_size=3,
        unique=True,
    ),
    _tops | _deep | st.sampled_from(_NUMBERS),
    _GAPS,
)
"""Ready envelopes."""
TEXTS = st.builds(
    lambda text, end: (text + end).encode(),
    st.text(min_size=1, max_size=30).filter(lambda text: bool(text.strip()))
    | st.sampled_from(
        ["a", " a ", "\x00\x1f\x7f", "a\nb\r\nc", "\u2028\u3000x", '{"event":"x"}', "\\u0041", "\ufeffb"]
    ),
    st.sampled_from([""] * 4 + ["\n", "\r\n", "\r", "\n\n", "\r\n\n"]),
)
"""Text that is not blank; some of it with a line end of which one is taken away."""
NO_UTF8 = st.builds(
    lambda text, bad, end: b'"' + text + bad + b'"' + end,
    st.sampled_from([b"", b"a", b'{"a":1}']),
    st.sampled_from([b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xe2\x28"]),
    st.sampled_from([b"", b"\n", b" "]),
)
BAD = st.sampled_from(
    [None, b"", b" ", b"\n", b"\r\n", b"{", b"\xff", b"null", b'{"event":"x","wat":1}', b"1 2"]
)
"""Values that most routes refuse, each for another reason."""
GOOD = {"text": TEXTS, "json": JSON, "envelope": ENVELOPES, "raw": TEXTS | JSON}
"""Values that a route of a kind can send."""

ROUTES = st.builds(
    Route,
    value=st.sampled_from(["text", "json", "envelope", "raw"]),
    invalid_utf8=st.sampled_from(["reject", "replace"]),
    index=st.sampled_from(["", "main", "{header:h}", "{key}"]),
    source=st.sampled_from(["", "kafka:{topic}", "{field:a}"]),
    time=st.sampled_from(["record", "none", "header:h", "field:a"]),
    fields=st.sampled_from([{}, {"env": "prod"}, {"k": "{key}", "n": 1.5}]),
    provenance=st.booleans(),
)
PLAIN_ROUTES = st.builds(
    Route,
    value=st.sampled_from(["text", "json", "raw"]),
    invalid_utf8=st.sampled_from(["reject", "replace"]),
    source=st.sampled_from(["", "kafka:{topic}"]),
    time=st.sampled_from(["record", "none"]),
    fields=st.sampled_from([{}, {"event": '"', "n": 1.5}]),
    provenance=st.booleans(),
)
"""Routes whose records are encoded by the run."""
_keys = st.none() | st.binary(max_size=4)
_headers = st.none() | st.lists(
    st.tuples(st.sampled_from(["h", "h", "x", ""]), st.none() | st.binary(max_size=12)), max_size=3
)
_kinds = st.integers(0, 2)
_times = st.sampled_from([-1, 0, MS, 2**45, 2**63 - 1]) | st.integers(0, 2**45)
_dated = st.integers(0, 2**50 + 1)


@st.composite
def chunks(draw: st.DrawFn, route: Route, most: int = 40) -> list[Message]:
    """A chunk as consumed: several topics and partitions, with gaps; most of its values suit the route."""
    values = draw(st.lists(GOOD[route.value], min_size=1, max_size=most))
    others = BAD | NO_UTF8
    for value in draw(st.lists(others, max_size=3)) if draw(st.booleans()) else []:
        values.insert(draw(st.integers(0, len(values))), value)
    is_bare = draw(st.booleans())
    stamps = st.tuples(_kinds, _times)
    if draw(st.booleans()):  # as a topic has them
        stamps = st.tuples(st.just(draw(_kinds)), _dated)
    places = st.sampled_from([("t", 0)] * 6 + [("t", 1), ("u", 0), ("u", 9)])
    offsets: dict[tuple[str, int], int] = {}
    found: list[Message] = []
    for value in values:
        topic, partition = draw(places)
        offset = offsets.get((topic, partition), 0) + draw(st.sampled_from([0] * 6 + [1, 2**40]))
        offsets[topic, partition] = offset + 1
        key, headers = (None, None) if is_bare else (draw(_keys), draw(_headers))
        found.append(
            Message(
                topic=topic,
                partition=partition,
                offset=offset,
                timestamp=draw(stamps),
                key=key,
                headers=headers,
                value=value,
            )
        )
    return found


@st.composite
def routed(draw: st.DrawFn, routes: st.SearchStrategy[Route] = ROUTES) -> tuple[Route, list[Message]]:
    """A route and a chunk for it."""
    route = draw(routes)
    return route, draw(chunks(route))
