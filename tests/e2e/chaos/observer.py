"""Outside clients that watch: commits and ends, `__consumer_offsets`, dead letters, the sinks' own pages.

Plain threads, each with clients of its own that join no group and change nothing; all they do is write to
`samples.jsonl`, `commits.tsv` and `letters.jsonl`. Not for judging.

Non-obvious: a sample holds the time before and after the question, since an answer is of some moment between.
"""

from __future__ import annotations

import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from e2e_tools import metrics

from .files import COMMITS, LETTERS, SAMPLES, Commit, Letter, Log, Sample, digest, now_ms
from .members import DEAD, GROUP, TOPICS, rss_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from confluent_kafka import Message

    from .members import Member

EVERY_S = 0.25
ENDS_EVERY = 4
ANSWER_S = 3.0
OFFSETS_TOPIC = "__consumer_offsets"
ALL = [TopicPartition(topic, number) for topic, count in TOPICS.items() for number in range(count)]
Offsets = dict[str, dict[int, int]]
SHOWN = {
    "age": "hec_sink_oldest_unsettled_age_seconds",
    "in_flight_bytes": "hec_sink_in_flight_bytes",
    "in_flight_events": "hec_sink_in_flight_events",
}


def outside_consumer(bootstrap: str, group: str = "observer") -> Consumer:
    """A consumer that is given its partitions and commits nothing."""
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
        }
    )


class Observer:
    """All of them; a context manager.

    Attributes:
        letters: The reader of the dead letters.
        last: The last sample that holds the ends too.
    """

    def __init__(self, bootstrap: str, folder: Path, members: list[Member]) -> None:
        self._bootstrap, self._folder, self._members = bootstrap, folder, members
        self._ended = threading.Event()
        self.letters = LetterReader(bootstrap, folder)
        self.last: Sample | None = None
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=work.__name__)
            for work in (self._sample_all, self._read_commits)
        ]

    def __enter__(self) -> Self:
        self.letters.begin()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self.letters.finish()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 -- a thread's error must reach the verdict
            self.failures.append(f"the observer failed: {error!r}")

    def _sample_all(self) -> None:
        consumer = outside_consumer(self._bootstrap, GROUP)
        with Log(self._folder / SAMPLES) as log:
            turn = 0
            while not self._ended.wait(EVERY_S):
                sample = self._sample(consumer, with_ends=turn % ENDS_EVERY == 0)
                log.add(sample)
                if sample.ends:
                    self.last = sample
                turn += 1
        consumer.close()

    def _sample(self, consumer: Consumer, *, with_ends: bool) -> Sample:
        sample = Sample(at_ms=now_ms(), until_ms=0)
        try:
            sample.committed = _committed(consumer)
            sample.until_ms = now_ms()
            if with_ends:
                sample.ends = _ends(consumer)
        except (KafkaException, TimeoutError) as error:
            sample.error = str(error)
        if with_ends:
            sample.sinks = {member.launch: self._page(member) for member in self._members if member.pid}
        sample.until_ms = sample.until_ms or now_ms()
        return sample

    def _page(self, member: Member) -> dict[str, float]:
        found: dict[str, float] = {"rss": float(rss_bytes(member.pid or 0))}
        with suppress(Exception):  # it may be killed in the middle of its answer
            page = metrics(member.port) if member.port else {}
            found |= {name: page[key, ""] for name, key in SHOWN.items() if (key, "") in page}
        return found

    def _read_commits(self) -> None:
        consumer = outside_consumer(self._bootstrap)
        while not self._ended.wait(EVERY_S):  # it is made when the first group is
            with suppress(KafkaException):
                topic = consumer.list_topics(timeout=ANSWER_S).topics.get(OFFSETS_TOPIC)
                if topic is not None and topic.partitions:
                    consumer.assign(
                        [
                            TopicPartition(OFFSETS_TOPIC, number, OFFSET_BEGINNING)
                            for number in topic.partitions
                        ]
                    )
                    break
        with Log(self._folder / COMMITS) as log:
            idle_since = time.monotonic()
            while not self._ended.is_set() or time.monotonic() - idle_since < 1.0:
                messages = consumer.consume(500, 0.2)
                if messages:
                    idle_since = time.monotonic()
                for message in messages:
                    if message.error() is None and (commit := commit_in(message)) is not None:
                        log.write(commit.line())
        consumer.close()


def _committed(consumer: Consumer) -> Offsets:
    found: Offsets = {}
    for one in consumer.committed(ALL, ANSWER_S):
        if one.error is not None:
            raise KafkaException(one.error)
        if one.offset >= 0:
            found.setdefault(one.topic, {})[one.partition] = one.offset
    return found


def _ends(consumer: Consumer) -> Offsets:
    found: Offsets = {}
    for one in ALL:
        watermarks: Any = consumer.get_watermark_offsets(one, ANSWER_S)
        if watermarks is None:
            raise TimeoutError("the ends are not told")
        found.setdefault(one.topic, {})[one.partition] = watermarks[1]
    return found


def commit_in(message: Message) -> Commit | None:
    """The commit of our group that a record of `__consumer_offsets` is; None if it is something else."""
    key, value = message.key() or b"", message.value()
    if not value or len(key) < 4 or struct.unpack_from(">h", key)[0] not in (0, 1):
        return None
    group, at = _text(key, 2)
    topic, at = _text(key, at)
    if group != GROUP:
        return None
    (partition,) = struct.unpack_from(">i", key, at)
    (offset,) = struct.unpack_from(">q", value, 2)
    return Commit(message.timestamp()[1], topic, partition, offset)


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", data, at)
    return data[at + 2 : at + 2 + length].decode(), at + 2 + length


class LetterReader:
    """Reads the topic of dead letters as it grows. `finish` and `begin` around its deletion, one thread.

    Attributes:
        arrived: Set whenever a letter arrives; to be cleared by who waits for one.
    """

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self._bootstrap = bootstrap
        self._log = Log(folder / LETTERS)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.arrived = threading.Event()
        self.failures: list[str] = []

    def begin(self) -> None:
        """Read the topic from its beginning."""
        self._ended.clear()
        self._thread = threading.Thread(target=self._read, name="letters")
        self._thread.start()

    def finish(self) -> None:
        """Read what is there, then stop."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None

    def _read(self) -> None:
        consumer = outside_consumer(self._bootstrap)
        at = TopicPartition(DEAD, 0, OFFSET_BEGINNING)
        consumer.assign([at])
        seen, end = 0, -1
        while end < 0 or seen < end:
            for message in consumer.consume(200, 0.1):
                if message.error() is None:
                    seen = (message.offset() or 0) + 1
                    self._take(message)
            if self._ended.is_set() and end < 0:
                with suppress(KafkaException):
                    found: Any = consumer.get_watermark_offsets(at, ANSWER_S)
                    end = found[1] if found else -1
        consumer.close()

    def _take(self, message: Message) -> None:
        try:
            self._log.add(letter_in(message))
        except (KeyError, ValueError, AttributeError) as error:
            self.failures.append(f"a dead letter without its headers: {error!r}")
        self.arrived.set()


def letter_in(message: Message) -> Letter:
    """What a dead letter says."""
    headers = [(name, (value or b"").decode()) for name, value in message.headers() or []]
    own = dict(headers)
    original = [one for one in headers if not one[0].startswith(("hec.", "__connect."))]
    return Letter(
        at_ms=message.timestamp()[1],
        topic=own["__connect.errors.topic"],
        partition=int(own["__connect.errors.partition"]),
        offset=int(own["__connect.errors.offset"]),
        reason=own["hec.reason"],
        key=(message.key() or b"").decode(),
        sha256=digest(message.value() or b""),
        headers=original,
        stamp_ms=int(own["hec.record.timestamp"]),
    )
