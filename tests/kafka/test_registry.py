"""Values that a schema registry describes.

What they become is tested against confluent-kafka's own mock registry (`mock://`); outages and whole sinks
against a registry of the tests that speaks HTTP, since no real server can be had from the package registries.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient, SchemaRegistryError
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from kafka_tools import committed, produce, read_all, wait_for
from record_tools import message
from registry_tools import SchemaRegistry
from sink_tools import GROUP, LETTERS, RunningSink, SinkProcess, indexed, lines, run_to_end, sink_config

from splunk_hec.errors import ConfigError, InvalidEvent
from splunk_hec_emulator import Emulator
from splunk_hec_kafka._mock_kafka import MockKafka
from splunk_hec_kafka.config import Registry, Route
from splunk_hec_kafka.failures import ExitCode
from splunk_hec_kafka.offsets import TopicPartition
from splunk_hec_kafka.outside import Outside
from splunk_hec_kafka.records import RecordEncoder
from splunk_hec_kafka.registry import _Lookups, schema_reader
from splunk_hec_kafka.routes import RouteTable
from splunk_hec_kafka.undecoded import FIRST_GAP_S, Undecoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from confluent_kafka import Message

    from splunk_hec_kafka.config import SinkConfig
    from splunk_hec_kafka.encoded import Encoded

AVRO = json.dumps({
    "type": "record", "name": "Order", "fields": [
        {"name": "z", "type": "string"},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "blob", "type": "bytes"},
        {"name": "a", "type": ["null", "long"], "default": None},
    ],
})  # fmt: skip
ORDER = {
    "z": "é\n", "price": Decimal("12.50"), "day": dt.date(2024, 2, 29),
    "at": dt.datetime(2024, 2, 29, 1, 2, 3, 4000, tzinfo=dt.UTC), "blob": b"\x00\xff", "a": 2**60,
}  # fmt: skip
ORDER_JSON = (
    b'{"z":"\xc3\xa9\\n","price":12.50,"day":"2024-02-29","at":"2024-02-29T01:02:03.004000Z",'
    b'"blob":"AP8=","a":1152921504606846976}'
)
JSON_SCHEMA = json.dumps(
    {"title": "T", "type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}
)


def framed(serializer: Any, value: Any, topic: str = "t") -> bytes:
    """A value as a producer writes it."""
    data = serializer(value, SerializationContext(topic, MessageField.VALUE))
    assert isinstance(data, bytes)
    return data


def avro(client: Any) -> Callable[[dict[str, Any]], bytes]:
    """Writes orders."""
    serializer = AvroSerializer(client, AVRO)
    return lambda value: framed(serializer, value)


def order(number: int) -> dict[str, Any]:
    """One of many."""
    return ORDER | {"a": number}


def proto_class() -> Any:
    """A message with a time, a 64-bit number, bytes and a message inside, its second in the file."""
    file = descriptor_pb2.FileDescriptorProto(
        name="order.proto", package="shop", syntax="proto3", dependency=["google/protobuf/timestamp.proto"]
    )
    file.message_type.add(name="Other")
    made = file.message_type.add(name="Order")
    kinds = descriptor_pb2.FieldDescriptorProto
    for number, (name, kind) in enumerate(
        [("unit_name", kinds.TYPE_STRING), ("big", kinds.TYPE_INT64), ("blob", kinds.TYPE_BYTES)], 1
    ):
        made.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    made.field.add(
        name="at", number=4, type=kinds.TYPE_MESSAGE, type_name=".google.protobuf.Timestamp",
        label=kinds.LABEL_OPTIONAL,
    )  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order"))


class Mock:
    """confluent-kafka's mock registry, shared by serializers and the reader; counts its lookups."""

    def __init__(self) -> None:
        self.client = SchemaRegistryClient.new_client({"url": "mock://tests"})

    def encode(self, kind: Any, *values: bytes | None, **route: Any) -> Encoded:
        """A chunk by a route of this kind."""
        routes = RouteTable([Route(value=kind, provenance=False, source="", time="none", **route)])
        outside = Outside(registry=lambda _properties: self.client)
        schemas = schema_reader(Registry(url="mock://tests"), routes, outside)
        encoder = RecordEncoder(routes, event_max_bytes=100_000, schemas=schemas)
        return encoder.encode([message(value, at) for at, value in enumerate(values)])


@pytest.fixture
def mock() -> Mock:
    """An empty mock registry."""
    return Mock()


def only_line(encoded: Encoded) -> bytes:
    """The one line of one record."""
    ((line,),) = [list(send.lines) for send in encoded.sends]
    return line


class Strict:
    """A registry as its address allows: ids are 32 bit, GUIDs are unknown; `asked` holds all questions."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def get_schema(self, schema_id: int, *more: Any) -> Any:
        """None has an id that is known here."""
        return self._lacks(404 if schema_id > 2**31 - 1 else 40403, schema_id, *more)

    def get_schema_by_guid(self, guid: str, *more: Any) -> Any:
        """There is no such address."""
        return self._lacks(404, guid, *more)

    def get_version(self, subject: str, version: int, *_more: Any) -> Any:
        """Every subject has one version."""
        return "a schema" if version == 1 else self._lacks(40402, subject, version)

    def _lacks(self, code: int, *question: object) -> Any:
        self.asked.append(question)
        raise SchemaRegistryError(404, code, "not found")


def test_what_no_registry_can_know_is_the_records_fault_and_no_outage() -> None:
    """A value that only looks framed, by a number above 32 bits or a GUID, must not hold its topic."""
    strict = Strict()
    lookups = _Lookups(strict, lambda: 0.0)
    for ask, what in ((lookups.get_schema, 2**31), (lookups.get_schema_by_guid, "0-1-2")):
        with pytest.raises(InvalidEvent) as caught:
            ask(what)
        assert caught.value.reason == "undecodable"
    assert strict.asked == [("0-1-2",)]


def test_a_version_that_is_unknown_hides_no_other() -> None:
    """What the registry lacks is remembered by subject and version."""
    lookups = _Lookups(Strict(), lambda: 0.0)
    with pytest.raises(InvalidEvent):
        lookups.get_version("orders", 9, True)
    assert lookups.get_version("orders", 1, True) == "a schema"


class TestForms:
    """What values become, with confluent-kafka's own mock registry."""

    def test_avro_is_indexed_as_json_with_the_schema_s_order(self, mock: Mock) -> None:
        """Keys as in the schema; decimals exact, dates and times ISO 8601, bytes base64, longs whole."""
        line = only_line(mock.encode("avro", avro(mock.client)(ORDER)))
        assert line == b'{"event":' + ORDER_JSON + b"}"

    def test_protobuf_is_indexed_in_its_own_json_form(self, mock: Mock) -> None:
        """No compiled class is needed, and the message may be any of its file's."""
        made = proto_class()(unit_name="u", big=2**60, blob=b"\x00")
        made.at.FromSeconds(1)
        serializer = ProtobufSerializer(type(made), mock.client, {"use.deprecated.format": False})
        line = only_line(mock.encode("protobuf", framed(serializer, made)))
        assert line == (
            b'{"event":{"unit_name":"u","big":"1152921504606846976","blob":"AA==",'
            b'"at":"1970-01-01T00:00:01Z"}}'
        )

    def test_json_schema_values_are_taken_as_they_are_written(self, mock: Mock) -> None:
        """Checked against the schema; no number is written anew."""
        frame = framed(JSONSerializer(JSON_SCHEMA, mock.client), {"n": 1})[:5]
        line = only_line(mock.encode("json-schema", frame + b'{"n": 1.10, "big": 123456789012345678901234}'))
        assert line == b'{"event":{"n": 1.10, "big": 123456789012345678901234}}'

    def test_templates_and_times_see_the_decoded_value(self, mock: Mock) -> None:
        """A route may take index and fields from what the schema describes."""
        line = only_line(mock.encode("avro", avro(mock.client)(ORDER), index="{field:day}"))
        assert json.loads(line)["index"] == "2024-02-29"

    @pytest.mark.parametrize("kind", ["avro", "protobuf", "json-schema"])
    def test_what_is_not_as_its_schema_says_is_undecodable(self, mock: Mock, kind: str) -> None:
        """Wrong magic byte, cut frame, empty, unknown schema, cut or foreign value: refused one by one."""
        made = proto_class()
        good = {
            "avro": lambda: avro(mock.client)(ORDER),
            "json-schema": lambda: framed(JSONSerializer(JSON_SCHEMA, mock.client), {"n": 1}),
            "protobuf": lambda: framed(
                ProtobufSerializer(made, mock.client, {"use.deprecated.format": False}),
                made(unit_name="u"),
            ),
        }[kind]()
        bad = [b"\x07" + good[1:], good[:3], b"", b"\x00\x00\x00\xff\xff" + good[5:], good[:-1], b"text"]
        encoded = mock.encode(kind, *bad, good, None)
        assert [(one.reason, one.stage) for one in encoded.refusals] == [("undecodable", "DECODE")] * len(bad)
        assert [one.message.value() for one in encoded.refusals] == bad
        assert "does not know" in encoded.refusals[3].text
        assert len(encoded.sends[0].lines) == 1
        assert [one.reason for one in encoded.skips] == ["tombstone"]
        assert not encoded.undecoded

    def test_originals_come_back_byte_for_byte(self, mock: Mock) -> None:
        """A dead letter holds the framed bytes, not the JSON."""
        values = [avro(mock.client)(order(number)) for number in range(3)]
        (send,) = mock.encode("avro", *values).sends
        assert [one.value() for one in send.originals.each(0, 3, send.lines)] == values


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    """Topics with and without schemas."""
    with MockKafka({"orders": 1, "logs": 1, LETTERS: 1}) as broker:
        yield broker


@pytest.fixture
def hec() -> Iterator[Emulator]:
    """An emulator whose acks come after a moment."""
    with Emulator(ack_delay="0.1s") as emulator:
        yield emulator


@pytest.fixture
def registry() -> Iterator[SchemaRegistry]:
    """An empty registry."""
    with SchemaRegistry() as server:
        yield server


def config_of(kafka: MockKafka, hec: Emulator, registry: SchemaRegistry) -> SinkConfig:
    """Orders are Avro, logs are text."""
    config = sink_config(kafka, hec, "orders", "logs", route=[Route(topics=("orders",), value="avro")])
    return msgspec.structs.replace(config, registry=Registry(url=registry.url))


def orders(registry: SchemaRegistry, count: int) -> list[bytes]:
    """Framed orders, their schema registered over HTTP."""
    write = avro(SchemaRegistryClient({"url": registry.url}))
    return [write(order(number)) for number in range(count)]


def commits(kafka: MockKafka, topic: str) -> int:
    """The group's committed offset."""
    return committed(kafka.bootstrap, GROUP, topic, [0])[0] or 0


def test_orders_are_indexed_and_bad_ones_dead_lettered_as_they_were(
    kafka: MockKafka, hec: Emulator, registry: SchemaRegistry
) -> None:
    """Over HTTP: each schema is asked for once, known or not; a bad record is kept byte for byte."""
    good = orders(registry, 40)
    bad = [b"garbage", *[b"\x00\x00\x00\x00\x63" + good[0][5:]] * 3]
    produce(kafka.bootstrap, "orders", good[:20] + bad + good[20:], partition=0)
    registry.asked.clear()
    code, running = run_to_end(config_of(kafka, hec, registry))
    assert (code, running.sink.summary().dead_lettered) == (ExitCode.OK, 4)
    assert sorted(event["event"]["a"] for event in hec.events()) == list(range(40))
    letters = read_all(kafka.bootstrap, LETTERS)
    assert [letter.value() for letter in letters] == bad
    given = [dict(letter.headers() or []) for letter in letters]
    assert {(one["hec.reason"], one["__connect.errors.stage"]) for one in given} == {
        (b"undecodable", b"DECODE")
    }
    assert registry.asked == {"/schemas/ids/1": 1, "/schemas/ids/99": 1}


@pytest.mark.parametrize(
    "status", [503, *(pytest.param(one, marks=pytest.mark.e2e) for one in (500, 401, 404))]
)
def test_a_registry_that_does_not_answer_is_an_outage_and_no_fault_of_records(
    kafka: MockKafka, hec: Emulator, registry: SchemaRegistry, status: int
) -> None:
    """Its topics wait and nothing is dead-lettered; others go on; once it answers all is indexed in order."""
    made = orders(registry, 60)
    produce(kafka.bootstrap, "orders", made[:30], partition=0)
    registry.status = status
    if status == 404:  # not a registry's own code: a wrong address
        registry.found = lambda _path: (404, {"error_code": 404, "message": "HTTP 404 Not Found"})  # type: ignore[method-assign]
    with RunningSink(config_of(kafka, hec, registry)) as running:
        wait_for(lambda: "paused_registry" in codes(running), "the pause")
        assert registry.url in next(
            one.text for one in running.sink.readiness().reasons if one.code == "registry"
        )
        produce(kafka.bootstrap, "logs", lines(20), partition=0)
        wait_for(lambda: commits(kafka, "logs") == 20, "the other topic")
        assert commits(kafka, "orders") == 0
        produce(kafka.bootstrap, "orders", made[30:], partition=0)
        registry.status = 0
        registry.__dict__.pop("found", None)
        wait_for(lambda: commits(kafka, "orders") == 60, "the orders", deadline_s=60)
        wait_for(lambda: running.sink.readiness().ready, "readiness")
        assert running.metrics.total("paused", reason="registry") == 0
        assert running.stopped() == ExitCode.OK
    assert not read_all(kafka.bootstrap, LETTERS)
    assert indexed(hec) == Counter(
        {("orders", 0, n): 1 for n in range(60)} | {("logs", 0, n): 1 for n in range(20)}
    )


def codes(running: RunningSink) -> list[str]:
    """Why the sink is not ready."""
    return [reason.code for reason in running.sink.readiness().reasons]


@pytest.mark.e2e
def test_nothing_is_lost_when_the_registry_is_away_and_the_process_is_killed(
    kafka: MockKafka, hec: Emulator
) -> None:
    """With no registry at all, then a kill, then a registry: every order is indexed, none dead-lettered."""
    with SchemaRegistry() as registry:
        produce(kafka.bootstrap, "orders", orders(registry, 50), partition=0)
        schemas = registry.schemas
        config = config_of(kafka, hec, registry)
    produce(kafka.bootstrap, "logs", lines(5), partition=0)
    process = SinkProcess(config)
    try:
        wait_for(lambda: commits(kafka, "logs") == 5, "the other topic")
        assert commits(kafka, "orders") == 0
    finally:
        process.kill()
    with SchemaRegistry() as registry:
        registry.schemas = schemas
        code, _ = run_to_end(config_of(kafka, hec, registry))
    assert code == ExitCode.OK
    assert indexed(hec).keys() == {("orders", 0, n) for n in range(50)} | {("logs", 0, n) for n in range(5)}
    assert not read_all(kafka.bootstrap, LETTERS)


@pytest.mark.parametrize("missing", ["fastavro", "cachetools"])
def test_without_the_extra_one_line_says_what_to_install(missing: str) -> None:
    """A route that needs a schema registry, and no libraries for it: exit 3, one line, no traceback."""
    script = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from splunk_hec_kafka.__main__ import main; sys.exit(main())"
    )
    sets = (
        "kafka.topics=t", "kafka.group_id=g", "hec.url=http://127.0.0.1:1", "hec.token=env:T",
        "route.0.value=avro", "registry.url=http://127.0.0.1:1",
    )  # fmt: skip
    options = [part for one in sets for part in ("--set", one)]
    done = subprocess.run(
        [sys.executable, "-c", script, "check", "--offline", *options],
        env={"T": "x"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == ExitCode.CONFIG
    assert "pip install 'splunk-hec-sink[kafka,registry]'" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_wrong_property_is_told_by_its_name(kafka: MockKafka, hec: Emulator) -> None:
    """A property that the registry's client does not know ends the start with one line, secrets unseen."""
    config = sink_config(kafka, hec, "orders", route=[Route(value="avro")])
    properties = {"no.such": "1", "basic.auth.user.info": "user:5up3r-secret"}
    config = msgspec.structs.replace(config, registry=Registry(url="http://r", properties=properties))
    assert "5up3r" not in repr(config)
    with pytest.raises(ConfigError, match=r"registry: .*no\.such") as caught:
        RunningSink(config)
    assert "5up3r" not in str(caught.value)


def test_records_that_wait_keep_their_order_and_the_epochs_they_were_consumed_under() -> None:
    """A retry takes them as they came; what a partition that went had waiting is left to its new owner."""
    now = 0.0
    waiting = Undecoded(lambda: now)
    one, two = TopicPartition("t", 3), TopicPartition("t", 4)
    records = [message(b"", at, partition=3 + at % 2) for at in range(4)]
    waiting.put(records[:2], {one: 1, two: 1})
    waiting.away("refused")
    waiting.put(records[2:], {one: 2, two: 1})
    seen: list[tuple[int, int | None]] = []
    faults = ["still refused"]

    def decode(messages: Sequence[Message], epochs: dict[TopicPartition, int]) -> str:
        if faults:
            waiting.put(messages, epochs)
            return faults.pop()
        seen.extend((epochs[one], record.offset()) for record in messages)
        return ""

    waiting.decode_due(decode)
    assert faults
    assert not seen, "asked before its time"
    now = FIRST_GAP_S
    waiting.decode_due(decode)
    assert (waiting.fault, waiting.since, seen) == ("still refused", 0.0, [])
    now += FIRST_GAP_S
    waiting.decode_due(decode)
    assert not seen, "asked at the same pace"
    assert waiting.drop([two]) == 2
    now += FIRST_GAP_S
    waiting.decode_due(decode)
    assert (waiting.fault, seen) == ("", [(1, 0), (2, 2)])
