"""Second clients for tests: what is in a topic and what a group committed, asked from outside the sink.

Plain calls, each with a client of its own that is gone afterwards; nothing here joins a group.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

DEADLINE_S = 20.0
Told = TypeVar("Told")
Headers = list[tuple[str, bytes | None]]


def wait_for(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait until the condition holds; fail, saying what was awaited, when it does not in time."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"waited {deadline_s} s in vain for {what}"
        time.sleep(0.01)


def produce(
    bootstrap: str,
    topic: str,
    values: Iterable[bytes | None],
    *,
    partition: int | None = None,
    keys: Sequence[bytes | None] = (),
    headers: Sequence[Headers] = (),
    timestamps: Sequence[int] = (),
) -> None:
    """Write records and wait until all are stored.

    `keys`, `headers` and `timestamps` (ms) belong to the values by position, and may be shorter. Without a
    partition the key decides, or chance.
    """
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1})
    failures: list[KafkaError] = []

    def report(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    for at, value in enumerate(values):
        more: dict[str, object] = {} if partition is None else {"partition": partition}
        for name, given in (("key", keys), ("headers", headers), ("timestamp", timestamps)):
            if at < len(given):
                more[name] = given[at]
        producer.produce(topic, value, on_delivery=report, **more)
        producer.poll(0)
    assert producer.flush(DEADLINE_S) == 0, f"records for {topic} were not stored in time"
    assert not failures, failures


def partitions_of(bootstrap: str, topic: str) -> list[int]:
    """The partition numbers of a topic."""
    return _asking(bootstrap, lambda it: sorted(it.list_topics(topic, DEADLINE_S).topics[topic].partitions))


def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    """The next offset to be written, by partition."""
    numbers = partitions_of(bootstrap, topic)

    def ask(consumer: Consumer) -> dict[int, int]:
        return {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), DEADLINE_S)[1]
            for number in numbers
        }

    return _asking(bootstrap, ask)


def read_all(bootstrap: str, topic: str) -> list[Message]:
    """Every record in the topic now: by partition, then offset."""
    numbers = partitions_of(bootstrap, topic)

    def read(consumer: Consumer) -> list[Message]:
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in numbers])
        found: list[Message] = []
        unread = set(numbers)
        end = time.monotonic() + DEADLINE_S
        while unread:
            assert time.monotonic() < end, f"{topic}: partitions {unread} not read in time"
            for one in consumer.consume(500, 0.1):
                error = one.error()
                if error is None:
                    found.append(one)
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    unread.discard(one.partition())
        return sorted(found, key=lambda one: (one.partition(), one.offset()))

    return _asking(bootstrap, read)


def committed(bootstrap: str, group: str, topic: str, partitions: Iterable[int]) -> dict[int, int | None]:
    """The group's committed offset by partition; None where there is no commit."""
    asked = [TopicPartition(topic, number) for number in partitions]
    told = _asking(bootstrap, lambda it: it.committed(asked, DEADLINE_S), group)
    for one in told:
        assert one.error is None, one.error
    return {one.partition: one.offset if one.offset >= 0 else None for one in told}


def _asking(bootstrap: str, ask: Callable[[Consumer], Told], group: str = "tests") -> Told:
    """What `ask` learns with a consumer of its own, closed afterwards."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
            "allow.auto.create.topics": False,
            "auto.offset.reset": "error",
        }
    )
    try:
        return ask(consumer)
    finally:
        consumer.close()
