"""The demo's audit: what was fed, held against what others say became of it.

Not for counting while the sink runs. Guarantee: nothing here asks the sink; the witnesses are the HEC
server's journal, the dead-letter topic and the committed offsets, each read with a client of its own.
Non-obvious: a record is known by topic, partition and offset, which the sink indexes with every event
(`route.provenance`) and writes into every dead letter.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from splunk_hec_kafka.demo_feed import INDEX, INDEXED, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from confluent_kafka import Message

_READ_S = 60.0
_GROUP = "demo-audit"


class Place(NamedTuple):
    """Where a record stands in Kafka."""

    topic: str
    partition: int
    offset: int


class Indexed(NamedTuple):
    """An event as the HEC server's journal shows it."""

    place: Place
    event: Any
    index: Any


class Letter(NamedTuple):
    """A dead letter as it stands in its topic."""

    place: Place
    reason: str
    key: bytes | None
    value: bytes | None


class Audit(msgspec.Struct, frozen=True):
    """What the witnesses say.

    Attributes:
        delivered: Records that are indexed.
        dead_lettered: Records that are in the dead-letter topic.
        lost: Records that are in neither.
        duplicates: Copies beyond the first, indexed or dead-lettered.
        committed: Every offset is committed, and none beyond the end.
        faults: A line for each record that is not where, or not what, it should be.
    """

    delivered: int
    dead_lettered: int
    lost: int
    duplicates: int
    committed: bool
    faults: list[str]

    @property
    def is_perfect(self) -> bool:
        """Whether every record is where it should be, and every offset committed."""
        return not self.lost and not self.faults and self.committed


def judge(
    fed: Mapping[Place, Record],
    events: Iterable[Indexed],
    letters: Iterable[Letter],
    committed: Mapping[tuple[str, int], int],
) -> Audit:
    """Hold the witnesses against what was fed. Pure."""
    faults: list[str] = []
    indexed: Counter[Place] = Counter()
    for event in events:
        indexed[event.place] += 1
        faults += _event_faults(fed.get(event.place), event)
    dead: Counter[Place] = Counter()
    for letter in letters:
        dead[letter.place] += 1
        faults += _letter_faults(fed.get(letter.place), letter)
    faults += [f"{_shown(place)} is indexed and dead-lettered" for place in indexed.keys() & dead.keys()]
    lost = [place for place in fed if place not in indexed and place not in dead]
    faults += [f"{_shown(place)} is lost ({fed[place].fate} was due)" for place in lost]
    ends = _ends(fed)
    wrong = {at: committed.get(at) for at, end in ends.items() if committed.get(at) != end}
    faults += [f"{at[0]}/{at[1]} is committed at {got}, not at {ends[at]}" for at, got in wrong.items()]
    return Audit(
        delivered=len(indexed),
        dead_lettered=len(dead),
        lost=len(lost),
        duplicates=indexed.total() - len(indexed) + dead.total() - len(dead),
        committed=not wrong,
        faults=faults,
    )


def _event_faults(record: Record | None, event: Indexed) -> list[str]:
    if record is None:
        return [f"{_shown(event.place)} is indexed, but was never fed"]
    if record.fate != INDEXED:
        return [f"{_shown(event.place)} is indexed instead of dead-lettered as {record.fate}"]
    if event.event != record.text or event.index != INDEX:
        return [f"{_shown(event.place)} was altered on its way"]
    return []


def _letter_faults(record: Record | None, letter: Letter) -> list[str]:
    if record is None:
        return [f"{_shown(letter.place)} is dead-lettered, but was never fed"]
    if record.fate != letter.reason:
        return [f"{_shown(letter.place)} is dead-lettered as {letter.reason} instead of {record.fate}"]
    if (letter.key, letter.value) != (record.key, record.value):
        return [f"{_shown(letter.place)}: its dead letter is not the original, byte for byte"]
    return []


def _ends(fed: Iterable[Place]) -> dict[tuple[str, int], int]:
    ends: dict[tuple[str, int], int] = {}
    for topic, partition, offset in fed:
        ends[topic, partition] = max(ends.get((topic, partition), 0), offset + 1)
    return ends


def _shown(place: Place) -> str:
    return f"{place.topic}/{place.partition}@{place.offset}"


# ---- witnesses ---------------------------------------------------------------------------------------


def read_journal(file: Path) -> Iterable[Indexed]:
    """The events of a HEC emulator's journal."""
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    with file.open("rb") as lines:
        for line in lines:
            event = decode(line)
            fields = cast("dict[str, Any]", event["fields"])
            place = Place(fields["kafka_topic"], fields["kafka_partition"], fields["kafka_offset"])
            yield Indexed(place, event["event"], event["index"])


def read_letters(bootstrap: str, topic: str) -> list[Letter]:
    """All dead letters that are in the topic now.

    Raises:
        KafkaException: Kafka does not answer.
    """
    consumer = _consumer(bootstrap, _GROUP)
    found: list[Letter] = []
    try:
        partitions = consumer.list_topics(topic, timeout=_READ_S).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        unread = set(partitions)
        while unread:
            for message in consumer.consume(500, 1.0):
                error = message.error()
                if error is None:
                    found.append(_letter(message))
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 -- librdkafka names it so
                    unread.discard(message.partition() or 0)
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()
    return found


def read_committed(bootstrap: str, group: str, places: Iterable[Place]) -> dict[tuple[str, int], int]:
    """What the group has committed, where it has.

    Raises:
        KafkaException: Kafka does not answer.
    """
    consumer = _consumer(bootstrap, group)
    try:
        asked = [TopicPartition(topic, partition) for topic, partition in _ends(places)]
        answer = consumer.committed(asked, timeout=_READ_S) if asked else []
        return {(one.topic, one.partition): one.offset for one in answer if one.offset >= 0}
    finally:
        consumer.close()


def _consumer(bootstrap: str, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
        }
    )


def _letter(message: Message) -> Letter:
    headers = cast("list[tuple[str, bytes]]", message.headers() or [])
    told = {name: value.decode() for name, value in headers}
    origin = "__connect.errors."
    place = Place(told[f"{origin}topic"], int(told[f"{origin}partition"]), int(told[f"{origin}offset"]))
    return Letter(place, told["hec.reason"], message.key(), message.value())
