"""`KafkaRecord`: one record as `ReadKafkaUntilDelivered` emits it, a row that every SDK can read.

Not for reading from Kafka; imports no Kafka client. Guarantee: key, value and header values are the bytes of
the record, untouched.
Non-obvious: Beam reads the annotations while it runs, so they must not be made text (`from __future__`).
"""

from collections.abc import Sequence
from typing import NamedTuple, Optional

from apache_beam import coders

from splunk_hec.events import Event

_FIRST_MS, _END_MS = 0, 10**14
"""Record times that Splunk can take as seconds: from 1970, and below what is read as milliseconds."""


class KafkaHeader(NamedTuple):
    """One header of a record; the same key may come several times."""

    key: str
    value: Optional[bytes]  # noqa: UP045 -- a Beam schema knows no `X | None`


class KafkaRecord(NamedTuple):
    """One record.

    Attributes:
        topic: Where it was read.
        partition: Its partition.
        offset: Its offset in the partition.
        timestamp_ms: Its time (as its producer or, with log-append time, the broker set it) in milliseconds
            since 1970; None if it has none.
        key: None if it has none.
        value: None: a tombstone.
        headers: In the order of the record.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: Optional[int]  # noqa: UP045 -- as above
    key: Optional[bytes]  # noqa: UP045 -- as above
    value: Optional[bytes]  # noqa: UP045 -- as above
    headers: Sequence[KafkaHeader]


coders.registry.register_coder(KafkaHeader, coders.RowCoder)
coders.registry.register_coder(KafkaRecord, coders.RowCoder)


def is_kafka_record(element: object) -> bool:
    """Whether an element is a `KafkaRecord`, or a row that was one before it went to another process.

    A schema's id is made by chance in each process, so a row decoded elsewhere is of a type that Beam makes
    up.
    """
    return isinstance(element, tuple) and getattr(element, "_fields", ()) == KafkaRecord._fields


def event_of(record: KafkaRecord) -> Event | None:
    """The event a record stands for: its value as text, with its origin.

    Args:
        record: Whose value is text in UTF-8 (anything else is refused where the event is encoded).

    Returns:
        An event with the record's time, source `kafka:TOPIC` and the indexed fields kafka_topic,
        kafka_partition and kafka_offset; None for a tombstone.
    """
    if record.value is None:
        return None
    ms = record.timestamp_ms
    return Event(
        record.value,
        time=ms / 1000 if ms is not None and _FIRST_MS <= ms < _END_MS else None,
        source=f"kafka:{record.topic}",
        fields={
            "kafka_topic": record.topic,
            "kafka_partition": record.partition,
            "kafka_offset": record.offset,
        },
    )
