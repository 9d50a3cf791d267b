"""What a Kafka record is as an element, and which event it stands for."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from apache_beam import coders
from apache_beam.portability.api import schema_pb2

from splunk_hec_beam.kafka_record import KafkaHeader, KafkaRecord, event_of, is_kafka_record

FULL = KafkaRecord("logs", 1, 2, 3, b"k", b"v", [KafkaHeader("a", None), KafkaHeader("a", b"\xff")])


@pytest.mark.parametrize("record", [FULL, KafkaRecord("t", 0, 2**40, None, None, None, [])])
def test_a_record_survives_its_coder(record: KafkaRecord) -> None:
    """Every field comes back, absent ones as None, headers in order with their repeats."""
    coder = coders.registry.get_coder(KafkaRecord)
    found = coder.decode(coder.encode(record))
    assert found == record
    assert type(found) is KafkaRecord


def test_every_field_has_a_portable_type() -> None:
    """No field is opaque Python: SDKs in other languages read the rows too."""
    schema = coders.registry.get_coder(KafkaRecord).schema
    kinds = {field.name: field.type.WhichOneof("type_info") for field in schema.fields}
    assert kinds == dict.fromkeys(KafkaRecord._fields, "atomic_type") | {"headers": "array_type"}
    nullable = {field.name for field in schema.fields if field.type.nullable}
    assert nullable == {"timestamp_ms", "key", "value"}
    header = schema.fields[-1].type.array_type.element_type.row_type.schema
    assert [field.type.atomic_type for field in header.fields] == [schema_pb2.STRING, schema_pb2.BYTES]


def test_the_event_of_a_record_has_its_origin_and_time() -> None:
    """The value as it is, the record's time in seconds, where it came from as source and indexed fields."""
    event = event_of(KafkaRecord("logs", 4, 77, 1_700_000_000_123, b"k", b"line", []))
    assert event is not None
    assert (event.payload, event.time, event.source) == (b"line", 1_700_000_000.123, "kafka:logs")
    assert event.fields == {"kafka_topic": "logs", "kafka_partition": 4, "kafka_offset": 77}


def test_a_tombstone_is_no_event() -> None:
    """A record without a value has nothing to index."""
    assert event_of(FULL._replace(value=None)) is None


@pytest.mark.parametrize("ms", [None, -1, 10**14])
def test_a_time_that_is_none_is_left_out(ms: int | None) -> None:
    """No time, one before 1970, and one that Splunk reads in another unit: left out."""
    event = event_of(FULL._replace(timestamp_ms=ms))
    assert event is not None
    assert event.time is None


def test_a_record_is_known_by_its_fields() -> None:
    """A row that another process decoded is of a made-up type with the same fields; it is one too."""
    made_up = NamedTuple("BeamSchema_x", [(name, object) for name in KafkaRecord._fields])
    assert is_kafka_record(made_up(*FULL))
    assert is_kafka_record(FULL)
    assert not is_kafka_record(tuple(FULL))
    assert not is_kafka_record("text")
