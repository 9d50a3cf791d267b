"""Payloads as lines: at a glance, a whole batch at once, and one by one; both must come to the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splunk_hec import _payloads
from splunk_hec._envelope import EnvelopeEncoder
from splunk_hec.config import HecConfig
from splunk_hec.errors import InvalidEvent
from splunk_hec.events import Envelope, Event

MAX_BYTES = 120
CONFIG = HecConfig(url="http://127.0.0.1:1", token="t" * 8, event_max_bytes=MAX_BYTES)
_encoder = EnvelopeEncoder(CONFIG)

GOOD = [
    '{"event":"a"}',
    '{"time":1700000000.5,"host":"h","event":"b\\n"}',
    '{"event":{"k":[1,{"x":"}"}]},"fields":{"f":"v"}}',
    '{"event":"ü"}',
    '{"event":1.5}',
    '{"event":"' + "x" * 100 + '"}',
]
PIECES = [
    *(
        '{"event":"a"}{"event":"b"}',
        '{"event":"a"} {"event":"b"}',
        '{"event":"c"',
        "}",
        '{"event":',
        '{"event":[',
    ),
    *(
        "]}",
        ",",
        '{"event":"}',
        '{"}',
        '{"x":{"y":1}',
        '{"event":[{"a":1}',
        '{"z":1}]}',
        "{}",
        "{",
        "{}}",
        "[]",
    ),
    *(' {"event":1}', '{"event":1} ', '{"event":1}\t', '{\n"event":1}', '{"event":"a\nb"}', '{"event":1}\r'),
    *(
        '{"event":1}\n',
        '\n{"event":1}',
        "",
        " ",
        "\n",
        "\u2003",
        "x",
        "\ud800",
        "\u2028",
        "a\rb",
        '{"event":1\r}',
        ',{"z":1}]}',
    ),
    *('{"event":""}', '{"event":" "}', '{"event":"\\u0020"}', '{"event":"\\t\\n"}', '{"event":"\u2003"}'),
    *('{"event":null}', '{"event":0}', '{"event":{}}', '{"event":[]}', '{"event":false}', '{"event":true}'),
    *('{"event":1,"time":1e9}', '{"event":1,"time":"17"}', '{"event":1,"time":-1}', '{"event":1,"time":1.}'),
    *('{"event":1,"time":null}', '{"event":1,"time":[1]}', '{"event":1,"time":99999999999999999999}'),
    *('{"event":1,"hosts":"h"}', '{"event":1,"event":2}', '{"event":1,"host":null}', '{"event":1,"host":5}'),
    *('{"event":1,"fields":{"a":{"b":1}}}', '{"event":1,"fields":{"a":[1]}}', '{"event":1,"fields":[]}'),
    *('{"event":1,"fields":{}}', '{"event":NaN}', '"text"', "1", "null", '{"event":"' + "y" * 200 + '"}'),
]
OTHERS: list[Any] = [b'{"event":"bytes"}', {"event": "mapping"}, 17, None]
ALL = [*GOOD, *PIECES, *OTHERS]
lists = st.lists(st.sampled_from(ALL), min_size=1, max_size=6) | st.lists(st.text(), min_size=1, max_size=4)


def encode_one(event: Event | Envelope) -> tuple[str, bytes]:
    """As `HecClient.encode` does."""
    return _encoder.encode_raw(event) if isinstance(event, Event) else ("", _encoder.encode(event))


def alone(payload: Any, *, is_raw: bool) -> bytes | str:
    """Its line, or why there is none."""
    try:
        return encode_one(Event(payload) if is_raw else Envelope(payload))[1]
    except InvalidEvent as error:
        return str(error)


def meaning(line: bytes) -> object:
    """An envelope whatever the order of its keys; of a key that is there twice the last counts."""
    return json.loads(line, parse_float=str)


def check(data: list[Any], *, is_raw: bool) -> None:
    """A batch is what its payloads are alone."""
    found = _payloads.encode(data, encode_one, is_raw=is_raw, max_bytes=MAX_BYTES)
    each = [(one, alone(one, is_raw=is_raw)) for one in data]
    lines = [line for _, line in each if isinstance(line, bytes)]
    told = bytes if is_raw else meaning  # an envelope that is written anew has its keys in another order
    assert list(map(told, found.lines)) == list(map(told, lines)), data
    assert is_raw or not any(end in line for line in found.lines for end in (b"\n", b"\r")), data
    refused = [(one, why) for one, why in each if isinstance(why, str)]
    assert [(one, str(error)) for one, error in found.refused] == refused
    accepted = [one for one, line in each if isinstance(line, bytes)]
    assert list(found.sent.payloads(found.lines)) == accepted
    assert len(found.sent) == len(found.lines)


@pytest.mark.parametrize("is_raw", [False, True])
def test_no_payload_is_changed_by_the_one_beside_it(is_raw: bool) -> None:
    """Every pair of all that was thought of, alone and before two envelopes in one payload."""
    for one in ALL:
        check([one], is_raw=is_raw)
        check([GOOD[0], one, GOOD[1]], is_raw=is_raw)
        for other in ALL:
            check([one, other], is_raw=is_raw)
            check([one, other, '{"event":1}{"event":2}'], is_raw=is_raw)


@pytest.mark.parametrize("is_raw", [False, True])
@settings(max_examples=300, deadline=None)
@given(data=lists)
def test_a_batch_at_a_glance_is_what_each_payload_is_alone(is_raw: bool, data: list[Any]) -> None:
    """No payload gains, loses or changes a line by those beside it, and each comes back as it was sent."""
    check(data, is_raw=is_raw)


def test_what_is_right_at_a_glance_stays_in_one_piece() -> None:
    """Good payloads are joined once, and never taken apart: that is what makes a batch cheap."""
    small = GOOD[:5]
    found = _payloads.encode(small, encode_one, is_raw=False, max_bytes=10_000)
    assert isinstance(found.lines, _payloads.Block)
    assert found.lines.body == "\n".join(small).encode()
