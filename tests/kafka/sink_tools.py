"""Running sinks for tests, in this process or another, and an observer who believes neither.

A sink's own counters prove nothing here: what is indexed is read from the emulator, what is dead-lettered and
committed with clients of their own.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition
from kafka_tools import produce, read_all

from splunk_hec_kafka.config import DeadLetter, Hec, Kafka, Route, Run, SinkConfig
from splunk_hec_kafka.failures import SinkFailure
from splunk_hec_kafka.metrics import Metrics
from splunk_hec_kafka.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from splunk_hec_emulator import Emulator
    from splunk_hec_kafka._mock_kafka import MockKafka

GROUP = "sink"
LETTERS = "letters"
QUIET = {"log_level": 0}
RUNNER = Path(__file__).with_name("run_sink.py")
Offset = tuple[str, int, int]
"""Topic, partition, offset of one record."""
PROTOCOLS: dict[str, dict[str, Any]] = {
    "range": {"partition.assignment.strategy": "range"},
    "cooperative": {"partition.assignment.strategy": "cooperative-sticky"},
    "consumer": {"group.protocol": "consumer"},
}
_CLASSIC = {"session.timeout.ms": 1500, "heartbeat.interval.ms": 100}
"""The mock cluster lets the next member in only when the session of the one that left is over."""


def sink_config(
    kafka: MockKafka,
    hec: Emulator,
    *topics: str,
    route: Sequence[Route] = (),
    properties: dict[str, Any] | None = None,
    **keys: Any,
) -> SinkConfig:
    """A configuration that is quick in tests; `hec_lanes=1` sets `hec.lanes`, and so on for each section."""
    own = properties or {}
    classic = {} if own.get("group.protocol") == "consumer" else _CLASSIC
    sections: dict[str, dict[str, Any]] = {
        "run": {"shutdown_s": 10, "startup_timeout_s": 10},
        "hec": {"url": hec.url, "token": hec.token, "lanes": 2, "linger_s": 0.02},
        "kafka": {
            "bootstrap_servers": kafka.bootstrap,
            "topics": topics or ("logs",),
            "group_id": GROUP,
            "commit_interval_s": 1,
            "properties": QUIET | classic | {"fetch.wait.max.ms": 10} | own,
        },
        "letter": {"topic": LETTERS, "properties": {"linger.ms": 1}},
    }
    for key, value in keys.items():
        section, _, name = key.partition("_")
        sections[section][name] = value
    return SinkConfig(
        run=Run(**sections["run"]),
        hec=Hec(**sections["hec"]),
        kafka=Kafka(**sections["kafka"]),
        dead_letter=DeadLetter(**sections["letter"]),
        route=tuple(route),
    )


class RunningSink:
    """A sink on a thread of its own; leaving the context stops it, at once if it does not end."""

    def __init__(self, config: SinkConfig, *, until_end: bool = False) -> None:
        self.metrics = Metrics()
        self.sink = Sink(config, metrics=self.metrics, until_end=until_end)
        self.code: int | None = None
        self.failure: SinkFailure | None = None
        self.fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sink", daemon=True)

    def _run(self) -> None:
        try:
            self.code = self.sink.run()
        except SinkFailure as failure:
            self.failure, self.code = failure, int(failure.exit_code)
        except BaseException as fault:  # noqa: BLE001 -- shown by the test that waits
            self.fault = fault

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.sink.stop()
        self._thread.join(2)
        self.sink.stop()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the sink does not end"

    @property
    def is_ended(self) -> bool:
        """Whether `run` has returned or raised."""
        return not self._thread.is_alive()

    def ended(self, within_s: float = 30) -> int:
        """Wait for the end; returns the exit code."""
        self._thread.join(within_s)
        assert not self._thread.is_alive(), f"the sink did not end within {within_s} s"
        if self.fault is not None:
            raise self.fault
        assert self.code is not None
        return self.code

    def stopped(self) -> int:
        """Stop it orderly; returns the exit code."""
        self.sink.stop()
        return self.ended()


def run_to_end(config: SinkConfig) -> tuple[int, RunningSink]:
    """Run a sink until all that is there is settled and committed; returns the exit code and the sink."""
    with RunningSink(config, until_end=True) as running:
        return running.ended(), running


class SinkProcess:
    """A sink as a process of its own, to be killed."""

    def __init__(self, config: SinkConfig) -> None:
        self._process = subprocess.Popen([sys.executable, "-P", str(RUNNER)], stdin=subprocess.PIPE)
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(config))
        self._process.stdin.close()

    def kill(self) -> None:
        """End it without a word (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def stopped(self, within_s: float = 30) -> int:
        """Stop it orderly (SIGTERM); returns the exit code."""
        self._process.terminate()
        return self._process.wait(within_s)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None


def lines(count: int, *, start: int = 0, padding: int = 0) -> list[bytes]:
    """Distinct good records."""
    return [b"line %06d" % number + b"." * padding for number in range(start, start + count)]


def feed(kafka: MockKafka, topic: str, partitions: int, count: int, *, padding: int = 0) -> set[Offset]:
    """Write `count` lines to each partition of an empty topic; returns their places."""
    for partition in range(partitions):
        texts = lines(count, start=partition * count, padding=padding)
        produce(kafka.bootstrap, topic, texts, partition=partition)
    return {(topic, partition, offset) for partition in range(partitions) for offset in range(count)}


def indexed(hec: Emulator) -> Counter[Offset]:
    """Which records are durably indexed, and how often, by their provenance fields."""
    return Counter(_origin(event["fields"]) for event in hec.events())


def _origin(fields: dict[str, Any]) -> Offset:
    return fields["kafka_topic"], int(fields["kafka_partition"]), int(fields["kafka_offset"])


def dead_lettered(kafka: MockKafka) -> Counter[Offset]:
    """Which records are in the dead-letter topic, and how often."""
    found: Counter[Offset] = Counter()
    for letter in read_all(kafka.bootstrap, LETTERS):
        given = dict(letter.headers() or [])
        names = ("__connect.errors.partition", "__connect.errors.offset")
        partition, offset = (int(given[name] or b"") for name in names)
        found[(given["__connect.errors.topic"] or b"").decode(), partition, offset] += 1
    return found


class Observer:
    """Samples the group's commits on a thread of its own and checks each against what is resolved.

    A second client, in no group. `check` raises what it found.
    """

    def __init__(self, kafka: MockKafka, hec: Emulator, topic: str, partitions: int) -> None:
        self._kafka, self._hec, self._topic = kafka, hec, topic
        self._asked = [TopicPartition(topic, number) for number in range(partitions)]
        self._consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": GROUP} | QUIET)
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self.samples = 0
        self.committed: dict[int, int] = {}
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wanted.set()
        self._thread.join(30)
        self._sample()
        self._consumer.close()

    def _run(self) -> None:
        while not self._wanted.wait(0.02):
            self._sample()

    def _sample(self) -> None:
        try:
            told = self._consumer.committed(self._asked, timeout=5)
        except KafkaException:
            return
        resolved = set(indexed(self._hec)) | set(dead_lettered(self._kafka))
        for one in told:
            if one.error is not None or one.offset < 0:
                continue
            self.samples += 1
            before = self.committed.get(one.partition, 0)
            if one.offset < before:
                self.errors.append(f"partition {one.partition}: committed {before}, then {one.offset}")
            self.committed[one.partition] = one.offset
            missing = [o for o in range(one.offset) if (self._topic, one.partition, o) not in resolved]
            if missing:
                self.errors.append(f"partition {one.partition}: {one.offset} committed, open: {missing[:5]}")

    def check(self) -> None:
        """Whatever was committed at any sample was resolved, and commits never went back."""
        assert self.samples, "nothing was observed"
        assert not self.errors, self.errors[:5]
