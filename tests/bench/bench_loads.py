"""What the benchmark sends: records cut from real log lines, and topics that hold them.

Lines come from `../shared/corpus` where it stands beside the checkout, else they are generated. The seed
decides their order.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from confluent_kafka import Producer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from real_kafka import RealKafka

CORPUS = Path(__file__).resolve().parents[2].parent / "shared" / "corpus"
DISTINCT = 20_000
"""So many different records a load has at most; then they come again."""
RETENTION = {"retention.ms": "-1", "max.message.bytes": "2000000"}


class Load(NamedTuple):
    """The records of one topic.

    Attributes:
        records: How many.
        size: Bytes of each value.
        value: Text as it is, or a JSON object that holds it.
        partitions: Of the topic.
        poison_every: Each so many records one is not UTF-8; 0: none is.
    """

    records: int
    size: int = 512
    value: Literal["text", "json"] = "text"
    partitions: int = 6
    poison_every: int = 0

    @property
    def topic(self) -> str:
        """A name that says it all."""
        return f"bench-{self.records}x{self.size}-{self.value}-{self.partitions}p-{self.poison_every}"

    @property
    def poison(self) -> int:
        """How many can never be indexed."""
        return self.records // self.poison_every if self.poison_every else 0


def is_real() -> bool:
    """Whether real log lines are there."""
    return CORPUS.is_dir()


def lines(size: int) -> list[bytes]:
    """Texts of exactly `size` bytes: real log lines strung together, or generated ones."""
    logs = sorted(CORPUS.glob("*.log"))
    found = b" ".join(path.read_bytes().replace(b"\r\n", b" ") for path in logs)
    if not found:
        found = b" ".join(b"%06d generated, level=info path=/a/b/%d" % (n, n * 7) for n in range(90_000))
    return [found[at : at + size].strip().ljust(size, b".") for at in range(0, len(found) - size, size)]


def values(load: Load, seed: int) -> list[bytes]:
    """The different values of a load, in an order that the seed decides; each ASCII, of `size` bytes."""
    source = random.Random(seed)
    texts = [text for text in lines(load.size) if text.isascii() and text.strip()]
    source.shuffle(texts)
    del texts[DISTINCT:]
    return [as_json(text, load.size, source) for text in texts] if load.value == "json" else texts


def as_json(text: bytes, size: int, source: random.Random) -> bytes:
    """A log record as services write them, of exactly `size` bytes."""
    record = {
        "level": source.choice(["info", "info", "warn", "error"]),
        "ms": source.randrange(1000),
        "msg": text.decode(),
    }
    while len(document := json.dumps(record).encode()) > size and record["msg"]:
        record["msg"] = str(record["msg"])[: -max(1, (len(document) - size) // 2)]
    return document[:-1] + b" " * (size - len(document)) + b"}"


def records(load: Load, seed: int) -> Iterator[bytes]:
    """All records of a load."""
    known = values(load, seed)
    for number in range(load.records):
        is_poison = load.poison_every and number % load.poison_every == load.poison_every - 1
        yield b"\xff poison" if is_poison else known[number % len(known)]


def fill(kafka: RealKafka, load: Load, seed: int) -> None:
    """Make the topic and write the records, spread evenly."""
    kafka.create_topic(load.topic, load.partitions, RETENTION)
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap, "linger.ms": 50, "batch.size": 500_000, "acks": 1}
    )
    for number, value in enumerate(records(load, seed)):
        while True:
            try:
                producer.produce(load.topic, value, partition=number % load.partitions)
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush()
