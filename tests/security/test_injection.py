"""Someone who can write to the topic: what they write is data, in index, logs, terminals and metrics."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from confluent_kafka import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest

from splunk_hec import InvalidEvent, Outcome, OutcomeKind
from splunk_hec._protocol import Reply, read
from splunk_hec.errors import one_line
from splunk_hec_emulator._envelope import Grammar
from splunk_hec_emulator._parse import parse, read_back
from splunk_hec_kafka import __main__ as cli
from splunk_hec_kafka import logs
from splunk_hec_kafka.config import Route
from splunk_hec_kafka.dead_letter_record import OUR_HEADERS, dead_letter_record
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.merged_pages import read_page
from splunk_hec_kafka.metrics import Metrics
from splunk_hec_kafka.preview import _print
from splunk_hec_kafka.records import RecordEncoder, Refusal
from splunk_hec_kafka.routes import RouteTable

if TYPE_CHECKING:
    from collections.abc import Iterator

EVIL = (
    "a\n2026-01-01T00:00:00.000Z ERROR splunk_hec_kafka: forged\r\n\x00\x07\x08\x1b[2J\x1b]0;title\x07\x9b31m"
    '\x7f\u2028\u2029\x85\u202e"},"index":"secret","event":"{header:x}\\'
)
"""Line ends of every kind, escape sequences, a change of direction, quotes and braces, as one text."""
parts = st.sampled_from(
    [*EVIL, *"{}[]:,", "\x1b[31m", '","index":"x', "\r\n", "{{", "}}", "%0a", "&index=x", "\ud800"]
)
evil_texts = st.lists(parts | st.characters(), max_size=12).map("".join)
evil_bytes = evil_texts.map(lambda text: text.encode(errors="surrogatepass")) | st.binary(max_size=12)
KEYS = {"time", "host", "source", "sourcetype", "index", "fields", "event"}
ROUTE = {
    "index": "fixed", "sourcetype": "{header:type}", "host": "{key}", "source": "{field:a}-{header:b}",
    "fields": {"team": "{header:team}", "all": ["{key}", "{field:a}"], "fixed": "yes"},
}  # fmt: skip


def record(value: bytes, key: bytes | None = None, headers: Any = None, topic: str = "t") -> Message:
    """One consumed record."""
    return Message(
        value=value,
        key=key,
        headers=headers,
        topic=topic,
        partition=0,
        offset=1,
        timestamp=(1, 1_700_000_000_000),
    )


@pytest.mark.parametrize("value", ["text", "json"])
@settings(max_examples=80, deadline=None)
@given(evil_bytes, evil_bytes, evil_bytes, evil_texts)
def test_keys_headers_and_fields_of_a_record_stay_values(
    value: str, key: bytes, header: bytes, team: bytes, text: str
) -> None:
    """Whatever a record holds, its envelope has HEC's keys once each, the route's index and its fields."""
    headers = [("type", header), ("b", header), ("team", team), ("index", b"secret"), ("host", b"forged")]
    body = json.dumps({"a": text, "index": "secret", "x": EVIL}).encode()
    route = Route(value=value, **ROUTE)
    encoded = RecordEncoder(RouteTable([route]), event_max_bytes=1_000_000).encode(
        [record(body, key, headers)]
    )
    lines = [line for send in encoded.sends for line in send.lines]
    for line in lines:
        pairs = json.loads(line, object_pairs_hook=list)
        assert len({name for name, _ in pairs}) == len(pairs)
        document = json.loads(line)
        assert set(document) <= KEYS
        assert document["index"] == "fixed"
        allowed = {"team", "all", "fixed", "kafka_topic", "kafka_partition", "kafka_offset"}
        assert set(document["fields"]) <= allowed
        assert document["fields"]["fixed"] == "yes"
        assert document["fields"]["kafka_topic"] == "t"
        told = parse(line, Grammar(indexes=frozenset({"fixed"})))
        assert (told.taken, told.code) == (1, 0)
        assert json.loads(bytes(read_back(told.body or line)[0].index)) == "fixed"
    assert len(lines) + len(encoded.refusals) == 1


@settings(max_examples=80, deadline=None)
@given(evil_bytes, evil_bytes)
def test_a_raw_route_cannot_be_talked_into_another_index(key: bytes, header: bytes) -> None:
    """What a record adds to the query of a raw request is escaped: it becomes no parameter of its own."""
    route = Route(value="raw", index="fixed", host="{key}", sourcetype="{header:type}")
    encoded = RecordEncoder(RouteTable([route]), event_max_bytes=1_000_000).encode(
        [record(b"x", key, [("type", header)])]
    )
    (send,) = encoded.sends
    assert re.fullmatch(r"[A-Za-z0-9_.~=&%+*-]*", send.query)
    asked = parse_qs(send.query, keep_blank_values=True)
    assert set(asked) <= {"index", "host", "source", "sourcetype"}
    assert asked["index"] == ["fixed"]


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(evil_texts, st.just(1), min_size=1, max_size=2), evil_texts)
def test_a_ready_envelope_brings_no_keys_but_hecs(more: dict[str, int], index: str) -> None:
    """An envelope with other keys is refused, with one visible line; a key twice is sent once."""
    twice = b'{"index":"a","event":1,"index":%b}' % json.dumps(index).encode()
    extra = json.dumps({"event": 1, **more}).encode()
    encoder = RecordEncoder(RouteTable([Route(value="envelope")]), event_max_bytes=1_000_000)
    encoded = encoder.encode([record(twice), record(extra)])
    for line in (line for send in encoded.sends for line in send.lines):
        names = [name for name, _ in json.loads(line, object_pairs_hook=list)]
        assert len(names) == len(set(names))
        assert set(names) <= KEYS
    assert all(refusal.text.isprintable() for refusal in encoded.refusals)


# ---- logs --------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


@pytest.fixture
def restored() -> Iterator[None]:
    """Gives logging back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in [one for one in root.handlers if one not in handlers]:
        root.removeHandler(handler)
    root.setLevel(level)
    for name in logs.OURS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)


def written(form: str, text: str, *, is_terminal: bool = False, fails: bool = False) -> str:
    """What standard error gets of a message with this text, and of an exception with it."""
    stream = Terminal() if is_terminal else io.StringIO()
    log = logging.getLogger("splunk_hec_kafka")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        patch.setenv("TERM", "xterm-256color")
        patch.setenv("COLUMNS", "100000")
        logs.setup(form, "debug", color=False)
        if fails:
            try:
                raise ValueError(text)  # noqa: TRY301 -- a traceback is wanted
            except ValueError:
                log.exception("topic %s failed", text)
        else:
            log.warning("topic %s is odd", text)
    return stream.getvalue()


@pytest.mark.usefixtures("restored")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(evil_texts | st.just(EVIL))
def test_a_record_cannot_forge_a_log_line_or_steer_a_terminal(text: str) -> None:
    """In each form a message is one line, and nothing in it but visible characters reaches the terminal."""
    for form, is_terminal in (("json", False), ("text", False), ("auto", True)):
        lines = written(form, text, is_terminal=is_terminal).rstrip(" \n").split("\n")
        assert len(lines) == 1, (form, lines)
        assert lines[0].isprintable(), (form, lines)
    assert json.loads(written("json", text))["message"] == f"topic {text} is odd"


@pytest.mark.usefixtures("restored")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(evil_texts | st.just(EVIL))
def test_a_traceback_cannot_forge_a_log_line(text: str) -> None:
    """As JSON it is within its line; as text its lines are indented: none of them looks like a record."""
    (line, end) = written("json", text, fails=True).split("\n")
    assert end == ""
    assert json.loads(line)["exception"].startswith("Traceback")
    first, *more, last = written("text", text, fails=True).split("\n")
    assert re.match(r"\d{4}-\d\d-\d\dT.*ERROR splunk_hec_kafka: topic ", first)
    assert last == ""
    assert more
    assert all(line.startswith("  ") and line.isprintable() for line in more)


@settings(max_examples=80)
@given(st.text(max_size=20) | evil_texts)
def test_foreign_text_is_shown_whole_and_visible(text: str) -> None:
    """`one_line` changes no printable text, hides nothing of any other, and always fits into UTF-8."""
    shown = one_line(text)
    assert shown.isprintable()
    shown.encode()
    assert (shown == text) is text.isprintable()


# ---- where texts about a record end ------------------------------------------------------------------


def test_an_unknown_key_of_an_envelope_is_quoted_harmlessly(capsys: pytest.CaptureFixture[str]) -> None:
    """A refusal that quotes a record's key is one visible line in dead letter, `--print` and last words."""
    encoder = RecordEncoder(RouteTable([Route(value="envelope")]), event_max_bytes=1_000_000)
    hostile = record(json.dumps({"event": 1, EVIL: 1}).encode())
    (refusal,) = encoder.encode([hostile]).refusals
    assert "unknown field" in refusal.text
    letter = dict(dead_letter_record(hostile, refusal)[2])
    for name in ("hec.text", "__connect.errors.exception.message"):
        told = letter[name]
        assert isinstance(told, bytes)
        assert told.decode().isprintable()
    _print(encoder, [hostile], 5)
    (line, end) = capsys.readouterr().err.split("\n")
    assert (line.isprintable(), end) == (True, "")
    failure = SinkFailure(ExitCode.DEAD_LETTER_LIMIT, f"t/0@1 was refused: {refusal.text}", "mend it")
    cli._code_of(failure)
    cli._code_of(ValueError(EVIL))
    told = capsys.readouterr().err.split("\n")
    assert len(told) == 3
    assert all(line.isprintable() for line in told)


def test_an_exception_text_of_ours_is_one_visible_line() -> None:
    """Who logs an InvalidEvent of ours logs one line, whatever the event held."""
    error = InvalidEvent("invalid_event", EVIL)
    assert str(error).isprintable()
    assert error.text.isprintable()


def test_what_a_server_answers_is_one_visible_line() -> None:
    """The text of a reply, which ends in logs, health pages and dead letters, is visible and bounded."""
    answer = read(Reply(400, json.dumps({"text": EVIL * 50, "code": 6}).encode()))
    assert answer.text.isprintable()
    assert len(answer.text) <= 2_000
    letter = dead_letter_record(
        record(b"v"),
        Outcome(kind=OutcomeKind.REJECTED, refs=None, count=1, reason="invalid_event", text=answer.text),
    )
    assert all(b"\n" not in (value or b"") for name, value in letter[2] if name in OUR_HEADERS)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(OUR_HEADERS)) | st.text(max_size=6), st.binary(max_size=8)),
        max_size=8,
    )
)
def test_a_record_cannot_forge_its_own_dead_letter(headers: list[tuple[str, bytes]]) -> None:
    """Of headers with our names only ours are in a letter: origin and reason are never the writer's word."""
    hostile = record(b"v", headers=headers)
    made = dead_letter_record(hostile, Refusal(hostile, "undecodable", "not UTF-8", "DECODE"))[2]
    ours = [(name, value) for name, value in made if name in OUR_HEADERS]
    assert len({name for name, _ in ours}) == len(ours)
    told = dict(ours)
    assert (told["__connect.errors.topic"], told["__connect.errors.offset"]) == (b"t", b"1")
    assert told["hec.reason"] == b"undecodable"
    assert "hec.url" not in told
    assert "hec.code" not in told


@settings(max_examples=40, deadline=None)
@given(evil_texts.filter(lambda text: "\ud800" not in text))
def test_a_topic_name_stays_within_its_label(topic: str) -> None:
    """Whatever a topic is called, the metrics page has one series with that very label, and no line more."""
    metrics = Metrics()
    plain = generate_latest(metrics.registry).decode().count("\n")
    metrics.consumed(topic, 3)
    page = generate_latest(metrics.registry).decode()
    assert page.count("\n") == plain + 1
    family, values = read_page(page)["hec_sink_records_consumed"]
    assert family.type == "counter"
    assert values == {("hec_sink_records_consumed_total", (("topic", topic),)): 3.0}
