"""Dead letters: byte for byte the original, written for sure or reported as impossible, and their limits."""

from __future__ import annotations

import ctypes
import logging
import re
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import confluent_kafka
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from hypothesis import given
from hypothesis import strategies as st

from splunk_hec import Outcome, OutcomeKind
from splunk_hec.errors import ConfigError
from splunk_hec_kafka.config import load
from splunk_hec_kafka.dead_letter_record import OUR_HEADERS, TEXT_MAX_CHARS, dead_letter_record, replays
from splunk_hec_kafka.dead_letter_topic import TopicFinding, check_topic
from splunk_hec_kafka.dead_letters import DeadLetters, dead_letter_connection, producer_properties
from splunk_hec_kafka.headers import headers_of
from splunk_hec_kafka.records import Refusal
from splunk_hec_kafka.reject_limit import JUDGED_FROM, WINDOW, RejectLimit
from splunk_hec_kafka.templates import Record, Template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOPIC = "dead"
MS = 1_700_000_000_123
DEADLINE_S = 20.0
PRODUCE_API = 0
UNTOLD = "the broker did not tell the topic's settings"


def message(value: bytes | None = b"v", offset: int = 7, **parts: Any) -> Message:
    """A consumed record of topic `t`, partition 2."""
    given_parts = {"topic": "t", "partition": 2, "timestamp": (1, MS), **parts}
    return Message(value=value, offset=offset, **given_parts)


def refusal(of: Message, reason: str = "undecodable", text: str = "not UTF-8") -> Refusal:
    """The sink's own refusal of a record."""
    return Refusal(of, reason, text, "DECODE")


def outcome(**parts: Any) -> Outcome:
    """Splunk's refusal of a record."""
    given_parts = {
        "kind": OutcomeKind.REJECTED,
        "refs": None,
        "count": 1,
        "reason": "bad_index",
        "http_status": 400,
        "code": 7,
        "text": "Incorrect index",
        "attempts": 2,
        "url": "https://splunk:8088",
        "first_attempt_s": 1_700_000_001.5,
        **parts,
    }
    return Outcome(**given_parts)


class TestRecord:
    """What a dead letter looks like."""

    @pytest.mark.parametrize("key", [None, b"", b"\x00\xff"])
    @pytest.mark.parametrize("value", [b"", b"\xff\xfe\n"])
    def test_key_and_value_are_the_originals(self, key: bytes | None, value: bytes) -> None:
        """No byte of key or value changes, and null stays null."""
        original = message(value, key=key)
        made_key, made_value, _ = dead_letter_record(original, refusal(original))
        assert (made_key, made_value) == (key, value)

    def test_foreign_headers_stay_in_order_and_ours_are_replaced(self) -> None:
        """Repeated, null and binary headers survive; those of an earlier life as a dead letter do not."""
        foreign = [("a", b"1"), ("b", None), ("a", b"\xff"), ("", b"x"), ("hec.other", b"y")]
        old = [("hec.reason", b"blank"), ("__connect.errors.topic", b"elsewhere"), ("hec.url", b"old")]
        original = message(headers=[old[0], *foreign, *old[1:]])
        headers = dead_letter_record(original, refusal(original))[2]
        assert headers[: len(foreign)] == foreign
        names = [name for name, _ in headers[len(foreign) :]]
        assert len(names) == len(set(names))
        assert set(names) <= OUR_HEADERS
        assert dict(headers)["hec.reason"] == b"undecodable"
        assert "hec.url" not in names

    def test_a_refusal_of_the_sink_is_told(self) -> None:
        """Where the record was, why it is dead, and that nothing was sent."""
        original = message()
        headers = dict(dead_letter_record(original, refusal(original))[2])
        version = headers.pop("hec.sink_version")
        assert version is not None
        assert version[0:1].isdigit()
        assert headers == {
            "__connect.errors.topic": b"t",
            "__connect.errors.partition": b"2",
            "__connect.errors.offset": b"7",
            "__connect.errors.connector.name": b"hec-kafka-sink",
            "__connect.errors.stage": b"DECODE",
            "__connect.errors.exception.class.name": b"splunk_hec.InvalidEvent",
            "__connect.errors.exception.message": b"undecodable: not UTF-8",
            "hec.record.timestamp": b"1700000000123",
            "hec.record.timestamp_type": b"CreateTime",
            "hec.reason": b"undecodable",
            "hec.text": b"not UTF-8",
            "hec.http_status": b"0",
            "hec.attempts": b"0",
            "hec.replays": b"0",
        }

    def test_a_refusal_of_splunk_is_told(self) -> None:
        """Splunk's status, code and text, the tries, the first of them, and the endpoint."""
        headers = dict(dead_letter_record(message(timestamp=(2, MS)), outcome())[2])
        assert headers["__connect.errors.stage"] == b"PUT"
        assert headers["hec.record.timestamp_type"] == b"LogAppendTime"
        told = {
            name: headers[f"hec.{name}"] for name in ("reason", "http_status", "code", "text", "attempts")
        }
        assert told == {
            "reason": b"bad_index",
            "http_status": b"400",
            "code": b"7",
            "text": b"Incorrect index",
            "attempts": b"2",
        }
        assert headers["hec.first_attempt"] == b"2023-11-14T22:13:21.500Z"
        assert headers["hec.url"] == b"https://splunk:8088"

    def test_what_is_not_known_is_left_out(self) -> None:
        """No timestamp, code, try or endpoint is invented."""
        unknown = outcome(code=None, url="", first_attempt_s=0.0, http_status=0)
        headers = dict(dead_letter_record(message(timestamp=(0, -1)), unknown)[2])
        for name in ("record.timestamp", "record.timestamp_type", "code", "first_attempt", "url"):
            assert f"hec.{name}" not in headers
        assert headers["hec.http_status"] == b"0"

    @pytest.mark.parametrize(
        ("headers", "count"),
        [
            (None, 0),
            ([("hec.replays", b"2")], 2),
            ([("hec.replays", b"1"), ("hec.replays", b"3")], 3),
            ([("hec.replays", b"many")], 0),
            ([("hec.replays", b"-1")], 0),
            ([("hec.replays", b"\xff")], 0),
            ([("hec.replays", None)], 0),
            ([("hec.replays", b"9" * 5000)], 0),
        ],
    )
    def test_the_replay_counter_is_carried(self, headers: Any, count: int) -> None:
        """A replayed record that dies again keeps its count, so that a loop can be stopped."""
        original = message(headers=headers)
        assert replays(original) == count
        assert dict(dead_letter_record(original, refusal(original))[2])["hec.replays"] == b"%d" % count

    @pytest.mark.parametrize("text", ["x" * 100_000, "\ud800"])
    def test_no_text_makes_a_letter_impossible(self, text: str) -> None:
        """A proxy's long page or broken text is cut or replaced, not fatal."""
        made = dict(dead_letter_record(message(), outcome(text=text))[2])["hec.text"]
        assert isinstance(made, bytes)
        assert 0 < len(made) <= TEXT_MAX_CHARS

    @given(
        st.none() | st.binary(max_size=20),
        st.binary(max_size=20),
        st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=8)), max_size=5),
        st.text(max_size=20),
    )
    def test_any_record_has_a_dead_letter(
        self, key: bytes | None, value: bytes, headers: list[tuple[str, bytes | None]], text: str
    ) -> None:
        """Whatever a record holds, its letter keeps all of it."""
        original = message(value, key=key, headers=headers)
        made = dead_letter_record(original, refusal(original, text=text))
        assert made[:2] == (key, value)
        assert [one for one in made[2] if one[0] not in OUR_HEADERS] == [
            one for one in headers if one[0] not in OUR_HEADERS
        ]


class TestLimit:
    """When rejections stop the sink."""

    def test_a_first_bad_record_is_no_ratio(self) -> None:
        """The ratio is not judged before enough records settled."""
        limit = RejectLimit(0.5, 10_000)
        limit.settle(JUDGED_FROM - 1, is_rejected=True)
        assert not limit.exceeded
        limit.settle(1, is_rejected=True)
        assert "dead_letter.max_ratio" in limit.exceeded

    def test_the_ratio_itself_is_allowed(self) -> None:
        """`max_ratio` is the largest ratio that is fine."""
        limit = RejectLimit(0.5, 10_000)
        limit.settle(1_000, is_rejected=False)
        limit.settle(1_000, is_rejected=True)
        assert not limit.exceeded
        limit.settle(1, is_rejected=True)
        assert "1001 of the last 2001" in limit.exceeded

    def test_the_window_moves_record_by_record(self) -> None:
        """The ratio is that of exactly the last 10,000 settled records."""
        limit = RejectLimit(0.5, 10_000)
        limit.settle(WINDOW // 2 + 1, is_rejected=True)
        limit.settle(WINDOW // 2 - 1, is_rejected=False)
        assert limit.exceeded
        limit.settle(1, is_rejected=False)
        assert not limit.exceeded

    def test_what_the_window_has_passed_is_forgotten_once(self) -> None:
        """A long run leaves the window piece by piece, and what follows it is judged by itself."""
        limit = RejectLimit(0.5, 10**9)
        limit.settle(WINDOW, is_rejected=True)
        for _ in range(4):
            limit.settle(WINDOW // 2, is_rejected=False)
        assert not limit.exceeded
        limit.settle(WINDOW // 2 + 1, is_rejected=True)
        assert "5001 of the last 10000" in limit.exceeded

    def test_what_is_used_tells_the_nearer_limit(self) -> None:
        """An alert sees a limit come near before it is reached: by the run, or by the ratio once judged."""
        limit = RejectLimit(0.5, 10)
        limit.settle(4, is_rejected=True)
        assert limit.used == 0.4
        limit.settle(JUDGED_FROM - 4, is_rejected=False)
        assert limit.used == 4 / (0.5 * JUDGED_FROM)
        assert RejectLimit(0, 0).used == 0

    def test_a_run_of_rejections_is_limited(self) -> None:
        """A delivered record ends a run; only a longer run than allowed stops the sink."""
        limit = RejectLimit(1.0, 3)
        for count, is_rejected in ((3, True), (1, False), (2, True), (1, True)):
            limit.settle(count, is_rejected=is_rejected)
            assert not limit.exceeded
        limit.settle(1, is_rejected=True)
        assert "dead_letter.max_consecutive" in limit.exceeded

    @given(
        st.lists(st.tuples(st.integers(0, 4_000), st.booleans()), max_size=30),
        st.sampled_from([0.0, 0.3, 1.0]),
    )
    def test_only_the_last_settled_count(self, runs: list[tuple[int, bool]], max_ratio: float) -> None:
        """Bulk counting gives the ratio that a list of the last 10,000 records gives."""
        limit = RejectLimit(max_ratio, 10**9)
        settled: list[bool] = []
        for count, is_rejected in runs:
            limit.settle(count, is_rejected=is_rejected)
            settled = (settled + [is_rejected] * count)[-WINDOW:]
        beyond = len(settled) >= JUDGED_FROM and sum(settled) > max_ratio * len(settled)
        assert bool(limit.exceeded) is beyond


class TestProperties:
    """The producer's librdkafka properties."""

    def test_dead_letters_are_safe_by_default(self) -> None:
        """All in-sync replicas, idempotent, with room for headers, on the cluster that is consumed."""
        sets = ["kafka.bootstrap_servers=a:1", "kafka.properties.security.protocol=SSL"]
        made = producer_properties(load(None, {}, [*sets, "kafka.properties.fetch.min.bytes=1"]).config)
        assert made["acks"] == "all"
        assert made["enable.idempotence"] == "true"
        assert int(made["message.max.bytes"]) > 2_000_000
        assert (made["bootstrap.servers"], made["security.protocol"]) == ("a:1", "SSL")
        assert "fetch.min.bytes" not in made

    def test_own_properties_win_but_for_acks(self) -> None:
        """[dead_letter.properties] may tune what does not weaken the promise."""
        sets = ["dead_letter.properties.linger.ms=50", "dead_letter.properties.message.timeout.ms=1000"]
        made = producer_properties(load(None, {}, sets).config)
        assert (made["linger.ms"], made["message.timeout.ms"], made["acks"]) == ("50", "1000", "all")
        assert "delivery.timeout.ms" not in made

    def test_another_cluster_gets_no_credentials_of_this_one(self) -> None:
        """A password for the consumed cluster is never offered to the one of the dead letters."""
        env = {"HEC_SINK_KAFKA__PROPERTIES__SASL_PASSWORD": "hush"}
        sets = ["dead_letter.properties.bootstrap.servers=other:1", "dead_letter.properties.linger.ms=5"]
        config = load(None, env, sets).config
        assert dead_letter_connection(config) == {"bootstrap.servers": "other:1"}
        assert "sasl.password" not in producer_properties(config)
        assert dead_letter_connection(load(None, env).config)["sasl.password"] == "hush"

    def test_an_unknown_property_is_a_configuration_error(self) -> None:
        """What librdkafka does not know is named, not a traceback."""
        with pytest.raises(ConfigError, match=r"no\.such\.thing"):
            DeadLetters(TOPIC, {"no.such.thing": "1"})


class _Memory(ctypes.Structure):
    _fields_ = (("start", ctypes.c_char_p), ("size", ctypes.c_size_t))


class _Value(ctypes.Union):
    _fields_ = (
        ("text", ctypes.c_char_p),
        ("memory", _Memory),
        ("pointer", ctypes.c_void_p),
        ("room", ctypes.c_char * 64),
    )


class _Part(ctypes.Structure):
    """librdkafka's rd_kafka_vu_t."""

    _fields_ = (("kind", ctypes.c_int), ("value", _Value))


class Mock:
    """librdkafka's mock cluster, with its faults in reach."""

    def __init__(self) -> None:
        wheel = Path(confluent_kafka.__file__).parents[1]
        (path,) = wheel.glob("confluent_kafka.libs/librdkafka*.so*")
        self._lib = ctypes.CDLL(str(path))
        error = ctypes.create_string_buffer(512)
        conf = self.call("rd_kafka_conf_new", ctypes.c_void_p)
        self._host = self.call("rd_kafka_new", ctypes.c_void_p, 0, ctypes.c_void_p(conf), error, 512)
        self.cluster = ctypes.c_void_p(
            self.call("rd_kafka_mock_cluster_new", ctypes.c_void_p, ctypes.c_void_p(self._host), 1)
        )
        servers = self.call("rd_kafka_mock_cluster_bootstraps", ctypes.c_char_p, self.cluster)
        self.servers = servers.decode()
        self.call("rd_kafka_mock_topic_create", ctypes.c_int, self.cluster, TOPIC.encode(), 1, 1)

    def call(self, name: str, result: Any, *args: Any) -> Any:
        """Call one of librdkafka's C functions."""
        function = getattr(self._lib, name)
        function.restype = result
        return function(*args)

    def refuse_produce(self, *codes: int) -> None:
        """Answer the next Produce requests with these error codes."""
        array = (ctypes.c_int * len(codes))(*codes)
        self.call(
            "rd_kafka_mock_push_request_errors_array",
            None,
            self.cluster,
            ctypes.c_int16(PRODUCE_API),
            ctypes.c_size_t(len(codes)),
            array,
        )

    def set_up(self, *, up: bool) -> None:
        """Stop or start the broker."""
        name = "rd_kafka_mock_broker_set_up" if up else "rd_kafka_mock_broker_set_down"
        self.call(name, ctypes.c_int, self.cluster, 1)

    def close(self) -> None:
        """End the cluster."""
        self.call("rd_kafka_mock_cluster_destroy", None, self.cluster)
        self.call("rd_kafka_destroy", None, ctypes.c_void_p(self._host))

    def produce_with_header_name(self, name: bytes) -> None:
        """Write a record as a client does that puts any bytes into header names."""
        headers = ctypes.c_void_p(self.call("rd_kafka_headers_new", ctypes.c_void_p, ctypes.c_size_t(1)))
        size = ctypes.c_ssize_t(len(name))
        self.call("rd_kafka_header_add", ctypes.c_int, headers, name, size, b"v", ctypes.c_ssize_t(1))
        parts = (_Part * 3)()
        parts[0].kind, parts[0].value.text = 1, TOPIC.encode()
        parts[1].kind, parts[1].value.memory = 4, _Memory(b"value", 5)
        parts[2].kind, parts[2].value.pointer = 10, headers
        conf = ctypes.c_void_p(self.call("rd_kafka_conf_new", ctypes.c_void_p))
        error = ctypes.create_string_buffer(512)
        servers = self.servers.encode()
        self.call("rd_kafka_conf_set", ctypes.c_int, conf, b"bootstrap.servers", servers, error, 512)
        producer = ctypes.c_void_p(self.call("rd_kafka_new", ctypes.c_void_p, 0, conf, error, 512))
        self.call("rd_kafka_produceva", ctypes.c_void_p, producer, parts, ctypes.c_size_t(3))
        self.call("rd_kafka_flush", ctypes.c_int, producer, int(DEADLINE_S * 1000))
        self.call("rd_kafka_destroy", None, producer)

    def read(self, count: int) -> list[Message]:
        """The first records of the dead-letter topic, by a fresh consumer."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "reader"})
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        found: list[Message] = []
        until = time.monotonic() + DEADLINE_S
        while len(found) < count and time.monotonic() < until:
            found += [one for one in consumer.consume(count, 0.2) if one.error() is None]
        consumer.close()
        return found


@pytest.fixture
def mock() -> Iterator[Mock]:
    """A cluster of one broker with the dead-letter topic, one partition."""
    cluster = Mock()
    yield cluster
    cluster.close()


@pytest.fixture
def letters(mock: Mock) -> Iterator[Callable[..., DeadLetters]]:
    """Makes producers for the mock cluster; closes them all."""
    made: list[DeadLetters] = []

    def make(**properties: str) -> DeadLetters:
        base = {"bootstrap.servers": mock.servers, "enable.idempotence": "true", "acks": "all"}
        own = {name.replace("_", "."): value for name, value in properties.items()}
        made.append(DeadLetters(TOPIC, base | own))
        return made[-1]

    yield make
    for one in made:
        one.close()


def reports(of: DeadLetters, count: int) -> list[tuple[Message, KafkaError | None]]:
    """Serve until that many reports came."""
    found: list[tuple[Message, KafkaError | None]] = []
    until = time.monotonic() + DEADLINE_S
    while len(found) < count and time.monotonic() < until:
        of.flush(0.05)
        found += of.serve()
    return found


class TestWriting:
    """The producer, against a broker."""

    def test_letters_arrive_byte_for_byte_at_the_time_of_writing(
        self, mock: Mock, letters: Callable[..., DeadLetters]
    ) -> None:
        """What another client reads is the original, null and empty told apart, and its time is now."""
        originals = [
            message(b"\xff\x00", 1, key=None, headers=[("a", b"1"), ("a", None)], timestamp=(1, 1_000)),
            message(b"", 2, key=b""),
            message(b"v", 3, key=b"k", timestamp=(1, 4_102_444_800_000)),
        ]
        before = int(time.time() * 1000)
        producer = letters()
        for one in originals:
            assert producer.produce(one, refusal(one))
        assert producer.outstanding == len(originals)
        assert producer.flush(DEADLINE_S) == 0
        assert [(one.offset(), error) for one, error in producer.serve()] == [(1, None), (2, None), (3, None)]
        assert producer.outstanding == 0
        written = mock.read(3)
        for one, original in zip(written, originals, strict=True):
            assert (one.key(), one.value()) == (original.key(), original.value())
            assert before <= one.timestamp()[1] <= time.time() * 1000
        assert (written[0].headers() or [])[:2] == [("a", b"1"), ("a", None)]
        assert dict(written[0].headers() or [])["hec.record.timestamp"] == b"1000"

    def test_the_log_tells_what_was_written(
        self, mock: Mock, letters: Callable[..., DeadLetters], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A line for many, with counts by reason; at debug one for each, with its place; never a value."""
        caplog.set_level(logging.DEBUG, "splunk_hec_kafka")
        producer = letters()
        for offset in (5, 6, 7):
            one = message(b"private", offset)
            producer.produce(one, refusal(one))
        assert [error for _, error in reports(producer, 3)] == [None] * 3
        producer.close()
        line = re.compile(rf"dead letters were written to {TOPIC}: (\d+) undecodable")
        told = map(line.fullmatch, caplog.messages)
        assert sum(int(one[1]) for one in told if one) == 3
        each = [one for one in caplog.messages if "is a dead letter: " in one]
        assert [one.split(" ")[0] for one in each] == ["t/2@5", "t/2@6", "t/2@7"]
        assert "private" not in caplog.text

    def test_a_record_near_the_size_limit_has_room_for_its_headers(
        self, mock: Mock, letters: Callable[..., DeadLetters]
    ) -> None:
        """999,900 bytes plus context headers are more than librdkafka's default allows, and are written."""
        big = message(b"x" * 999_900)
        producer = letters(**{"message.max.bytes": "1000000000"})
        producer.produce(big, refusal(big, text="y" * 2_000))
        assert [error for _, error in reports(producer, 1)] == [None]

    def test_what_the_client_refuses_is_reported_as_impossible(
        self, mock: Mock, letters: Callable[..., DeadLetters]
    ) -> None:
        """A letter that produce() itself refuses comes back as a report, never as an exception."""
        big = message(b"x" * 2_000)
        producer = letters(**{"message.max.bytes": "1000"})
        assert producer.produce(big, refusal(big))
        ((one, error),) = producer.serve()
        assert one is big
        assert error is not None
        assert error.code() == KafkaError.MSG_SIZE_TOO_LARGE

    @pytest.mark.parametrize("code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.MSG_SIZE_TOO_LARGE])
    def test_a_fault_that_time_does_not_heal_is_handed_out(
        self, mock: Mock, letters: Callable[..., DeadLetters], code: int
    ) -> None:
        """Missing rights and oversize end the wait at once, so that the sink can stop with its reason."""
        mock.refuse_produce(code)
        producer = letters()
        producer.produce(message(), outcome())
        ((_, error),) = reports(producer, 1)
        assert error is not None
        assert error.code() == code

    def test_a_passing_fault_is_retried(self, mock: Mock, letters: Callable[..., DeadLetters]) -> None:
        """A broker's storage errors cost time, not the letter."""
        mock.refuse_produce(*[KafkaError.KAFKA_STORAGE_ERROR] * 3)
        producer = letters()
        producer.produce(message(b"late"), outcome())
        assert [error for _, error in reports(producer, 1)] == [None]
        assert [one.value() for one in mock.read(1)] == [b"late"]

    def test_a_letter_outlives_its_timeout(
        self, mock: Mock, letters: Callable[..., DeadLetters], caplog: pytest.LogCaptureFixture
    ) -> None:
        """While the broker is down a letter is written again and again; it is reported once, as written."""
        producer = letters(**{"delivery.timeout.ms": "300", "linger.ms": "0"})
        mock.set_up(up=False)
        producer.produce(message(b"again"), outcome())
        until = time.monotonic() + DEADLINE_S
        while "written again" not in caplog.text and time.monotonic() < until:
            producer.flush(0.05)
            assert producer.serve() == []
        assert "written again" in caplog.text
        assert producer.outstanding == 1
        mock.set_up(up=True)
        assert [error for _, error in reports(producer, 1)] == [None]
        assert producer.outstanding == 0
        assert [one.value() for one in mock.read(1)] == [b"again"]

    def test_a_full_queue_takes_nothing_and_loses_nothing(
        self, mock: Mock, letters: Callable[..., DeadLetters]
    ) -> None:
        """produce() says no instead of blocking; the same record is taken once there is room."""
        producer = letters(**{"queue.buffering.max.messages": "1", "linger.ms": "0"})
        mock.set_up(up=False)
        first, second = message(b"1", 1), message(b"2", 2)
        assert producer.produce(first, outcome())
        assert not producer.produce(second, outcome())
        assert producer.outstanding == 1
        mock.set_up(up=True)
        assert [one.offset() for one, _ in reports(producer, 1)] == [1]
        assert producer.produce(second, outcome())
        assert [one.offset() for one, _ in reports(producer, 1)] == [2]

    def test_flush_tells_what_is_left_in_time(
        self, mock: Mock, letters: Callable[..., DeadLetters], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A shutdown with the broker down ends in time, knows what is not safe, and speaks of no new try."""
        producer = letters()
        mock.set_up(up=False)
        producer.produce(message(), outcome())
        assert producer.flush(0.1) == 1
        assert producer.serve() == []
        producer.close()
        assert producer.serve() == []
        assert "written again" not in caplog.text

    def test_reports_arrive_on_the_loops_thread(
        self, mock: Mock, letters: Callable[..., DeadLetters]
    ) -> None:
        """No callback runs on a thread of librdkafka, so the ledger needs no lock."""
        seen: list[int] = []
        producer = letters()
        real = producer._on_report
        producer._on_report = lambda *args: (seen.append(threading.get_ident()), real(*args))[1]
        producer.produce(message(), outcome())
        reports(producer, 1)
        assert seen == [threading.get_ident()]

    def test_a_header_name_that_is_no_text_stops_nothing(
        self, mock: Mock, letters: Callable[..., DeadLetters], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A record whose header name is not UTF-8 is read, rendered and dead-lettered; the loss is logged."""
        for _ in range(100):  # until the interpreter has chosen its quick way for this call
            assert headers_of(message()) == []
        mock.produce_with_header_name(b"\xff\xfe")
        (poison,) = mock.read(1)
        assert Template("{header:team}").render(Record(poison)) is None
        producer = letters()
        assert producer.produce(poison, refusal(poison))
        assert [error for _, error in reports(producer, 1)] == [None]
        assert mock.read(2)[1].value() == b"value"
        assert caplog.text.count("not UTF-8") == 1


class TestTopic:
    """What is known of the dead-letter topic before it is needed."""

    def test_a_missing_topic_is_found_missing_and_not_created(self, mock: Mock) -> None:
        """Looking twice finds it missing twice, on a broker that creates topics when asked for one."""
        admin = AdminClient({"bootstrap.servers": mock.servers})
        for _ in range(2):
            finding = check_topic(admin, "absent", 5.0)
            assert finding.exists is False
            assert finding.problem is not None
            assert "does not exist" in finding.problem[0]

    def test_a_broker_that_tells_no_settings_is_a_warning(self, mock: Mock) -> None:
        """Without DescribeConfigs the topic is used, and the doubt is told."""
        finding = check_topic(AdminClient({"bootstrap.servers": mock.servers}), TOPIC, 5.0)
        assert (finding.exists, finding.problem, finding.retention) == (True, None, "unknown")
        assert "did not tell" in finding.warning

    def test_no_broker_is_no_finding(self) -> None:
        """An unreachable cluster says nothing about the topic."""
        admin = AdminClient({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
        finding = check_topic(admin, TOPIC, 0.2)
        assert (finding.exists, finding.problem) == (None, None)
        assert finding.warning

    @pytest.mark.parametrize("policy", ["compact", "compact,delete"])
    def test_a_compacted_topic_is_refused(self, policy: str) -> None:
        """Compaction would drop letters, so the finding is a problem with its fix."""
        problem = TopicFinding(topic="d", exists=True, cleanup_policy=policy).problem
        assert problem is not None
        assert policy in problem[0]
        assert "cleanup.policy=delete" in problem[1]

    @pytest.mark.parametrize(
        ("retention_ms", "text"),
        [(-1, "for ever"), (604_800_000, "7 days"), (43_200_000, "0.5 days"), (None, "unknown")],
    )
    def test_retention_for_people(self, retention_ms: int | None, text: str) -> None:
        """How long letters stay is said in days."""
        assert TopicFinding(topic="d", exists=True, retention_ms=retention_ms).retention == text

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (
                {"cleanup.policy": "delete", "retention.ms": "1000", "max.message.bytes": "1048588"},
                {"cleanup_policy": "delete", "retention_ms": 1000, "max_message_bytes": 1_048_588},
            ),
            (
                KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)),
                {"warning": f"{UNTOLD}: Broker: Topic authorization failed"},
            ),
            (TimeoutError(), {"warning": f"{UNTOLD}: no answer in time"}),
        ],
    )
    def test_the_answer_about_settings_is_read(self, answer: Any, expected: dict[str, Any]) -> None:
        """Policy, retention and size limit come from the topic's settings; a refusal is a warning."""
        finding = check_topic(ToldCluster(answer), TOPIC, 5.0)  # type: ignore[arg-type]
        assert finding == TopicFinding(topic=TOPIC, exists=True, **expected)
        assert finding.problem is None


class ToldCluster:
    """Answers DescribeConfigs, which the mock cluster does not know, as an AdminClient hands it out."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def list_topics(self, timeout: float) -> Any:
        """One topic on one broker, which is the controller."""
        topic = SimpleNamespace(error=None, partitions={0: None})
        return SimpleNamespace(topics={TOPIC: topic}, brokers={1: None}, controller_id=1)

    def describe_configs(self, resources: list[Any], request_timeout: float) -> dict[Any, Any]:
        """A future for each resource."""
        future: Future[Any] = Future()
        if isinstance(self._answer, Exception):
            future.set_exception(self._answer)
        else:
            entries = {name: SimpleNamespace(value=value) for name, value in self._answer.items()}
            future.set_result(entries)
        return dict.fromkeys(resources, future)
