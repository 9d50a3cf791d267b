"""Whole processes for tests: the sink, a HEC server, an outside observer; and what became of every record.

Nothing here looks into the sink: what was indexed is read from the server's journal, what was committed and
dead-lettered from Kafka by clients of their own. Processes are ended by their id.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
from confluent_kafka import KafkaError, Producer
from kafka_tools import committed, end_offsets, read_all, wait_for
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"
START_S = 30.0
END_S = 60.0
Place = tuple[str, int, int]


class _Fields(msgspec.Struct):
    kafka_topic: str
    kafka_partition: int
    kafka_offset: int


class _Indexed(msgspec.Struct):
    fields: _Fields
    event: Any


_read_indexed = msgspec.json.Decoder(_Indexed).decode


def log_lines(count: int) -> list[bytes]:
    """So many log lines without blank ones: real ones beside the checkout if there, else generated."""
    found = [
        line
        for file in sorted(CORPUS.glob("*.log"))
        for line in file.read_bytes().decode(errors="replace").encode().split(b"\r\n")
        if line.strip()
    ] or [b"2026-01-01T00:00:%02dZ INFO request %06d took 12 ms" % (n % 60, n) for n in range(20_000)]
    return [found[number % len(found)] for number in range(count)]


def fill(bootstrap: str, topic: str, values: Sequence[bytes], partitions: int) -> None:
    """Write many records, round robin over the partitions, and wait until all are stored."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "compression.type": "lz4"})
    for number, value in enumerate(values):
        while True:
            with suppress(BufferError):
                producer.produce(topic, value, partition=number % partitions)
                break
            producer.poll(0.1)
    assert producer.flush(END_S) == 0


class Splunk:
    """A HEC server with a journal, as a process; `stop` and `start` keep port, token and journal.

    Attributes:
        url: Its address.
        journal: The file that holds exactly what was indexed.
    """

    TOKEN = "11111111-2222-3333-4444-555555555555"
    PLAIN_TOKEN = "66666666-7777-8888-9999-000000000000"

    def __init__(self, folder: Path, *options: str, index: str = "") -> None:
        self.journal = folder / "journal.jsonl"
        allowed = f":index={index}" if index else ""
        self._options = [
            *("--token", f"{self.TOKEN}:ack{allowed}", "--token", f"{self.PLAIN_TOKEN}{allowed}"),
            *options,
        ]
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self._port = one.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, *more: str) -> None:
        """Start it, with further options for this time, and wait until it listens."""
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-Im", "splunk_hec_emulator", "--listen", f"127.0.0.1:{self._port}"),
                *("--journal", str(self.journal), "--count-only", *self._options, *more),
            ],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert "listening" in self._process.stdout.readline()

    def kill(self) -> None:
        """End it at once: connections break, and whoever connects is refused."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def stats(self) -> dict[str, Any]:
        """Its counters."""
        status, body = get(self._port, "/emulator/stats")
        assert status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found

    def indexed(self) -> Counter[Place]:
        """How often each record is indexed."""
        return Counter(place for place, _ in Journal(self.journal).read())


class Journal:
    """Reads a journal as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def read(self) -> Iterator[tuple[Place, Any]]:
        """Places and events of the whole lines that came since the last call."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._at)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            one = _read_indexed(line)
            at = one.fields
            yield (at.kafka_topic, at.kafka_partition, at.kafka_offset), one.event


def get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a page on this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=END_S)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


class SinkProcess:
    """`hec-kafka-sink run` as a process; a context manager that never leaves it behind.

    Args:
        folder: For its configuration, output and log.
        settings: Keys of the configuration by their dotted names, over those of `settings`.
        options: Further options of the command.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "sink.toml"
        self._config.write_text(toml(settings), encoding="utf-8")
        self._out, self._err = folder / "out", folder / "err"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._number = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if error is not None:
            error.add_note(f"the sink's log ends with:\n{self.stderr()[-4000:]}")

    def start(self) -> None:
        """Start it, or start it again."""
        self._number += 1
        with self._out.open("ab") as out, self._err.open("ab") as err:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-Im", "splunk_hec_kafka", "run", "-c", str(self._config)),
                    *("-o", "json", *self._options),
                ],
                stdout=out,
                stderr=err,
                env=_clean_environment() | TOKENS,
                start_new_session=True,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process."""
        assert self._process is not None
        return self._process

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process (not to its children)."""
        self.process.send_signal(number)

    def wait(self, within_s: float = END_S) -> int:
        """Wait for its end; returns the exit code."""
        return self.process.wait(within_s)

    def wait_until(self, condition: Callable[[], object], what: str, within_s: float = END_S) -> None:
        """Wait until the condition holds; fail at once when the process ends before."""

        def is_so() -> bool:
            assert self.process.poll() is None, f"the sink ended with {self.process.poll()} before {what}"
            return bool(condition())

        wait_for(is_so, what, within_s)

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def stderr(self) -> str:
        """All it wrote to standard error."""
        return self._err.read_text(encoding="utf-8") if self._err.exists() else ""

    def logs(self) -> list[dict[str, str]]:
        """Its log lines."""
        return [json.loads(line) for line in self.stderr().splitlines() if line.startswith("{")]

    def logged(self, text: str) -> list[dict[str, str]]:
        """The log lines whose message holds the text."""
        return [line for line in self.logs() if text in line["message"]]

    def said(self) -> list[str]:
        """What it said at its end: the lines on standard error that are not log lines."""
        return [line for line in self.stderr().splitlines() if not line.startswith("{")]

    def summary(self) -> dict[str, Any]:
        """The summary of its last run."""
        found: dict[str, Any] = json.loads(self._out.read_text(encoding="utf-8").splitlines()[-1])
        return found

    def peak_rss_bytes(self) -> int:
        """The most memory it held since it was started."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HEC_SINK_")}


def settings(bootstrap: str, topics: Sequence[str], splunk_url: str, **more: Any) -> dict[str, Any]:
    """A configuration for tests; keywords are dotted names with `__` for the dot, and win."""
    base = {
        "kafka.bootstrap_servers": bootstrap,
        "kafka.topics": list(topics),
        "kafka.group_id": f"group-of-{topics[0]}",
        "kafka.commit_interval_s": 1,
        'kafka.properties."session.timeout.ms"': "6000",
        "hec.url": splunk_url,
        "hec.token": "env:TEST_HEC_TOKEN",
        "hec.halt_patience_s": 0,
        "hec.linger_s": 0.1,
        "dead_letter.topic": f"{topics[0]}.dead",
        "server.listen": "",
        "log.format": "json",
    }
    return base | {name.replace("__", "."): value for name, value in more.items()}


def toml(values: Mapping[str, Any]) -> str:
    """TOML of dotted keys; the key `route` holds a list of tables. JSON's scalars and lists are TOML's."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if key != "route"]
    for route in values.get("route", []):
        lines += ["[[route]]", *(f"{key} = {json.dumps(value)}" for key, value in route.items())]
    return "\n".join(lines) + "\n"


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def metrics(port: int) -> dict[tuple[str, str], float]:
    """Samples of the sink's `/metrics` by name and labels (`a=1,b=2`); empty if it is not up."""
    try:
        _, body = get(port, "/metrics")
    except OSError:
        return {}
    return {
        (sample.name, ",".join(f"{name}={of}" for name, of in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def places(bootstrap: str, topic: str) -> set[Place]:
    """Every record of a topic that nothing was deleted from."""
    ends = end_offsets(bootstrap, topic)
    return {(topic, partition, offset) for partition, end in ends.items() for offset in range(end)}


def lag(bootstrap: str, group: str, topic: str) -> int:
    """What the group has not committed, by a client of its own."""
    ends = end_offsets(bootstrap, topic)
    done = committed(bootstrap, group, topic, ends)
    return sum(end - (done[partition] or 0) for partition, end in ends.items())


def origins(bootstrap: str, dead_topic: str) -> Counter[Place]:
    """Which records the dead letters in a topic stand for."""
    found: Counter[Place] = Counter()
    for letter in read_all(bootstrap, dead_topic):
        headers = dict(letter.headers() or [])
        topic, partition, offset = (
            (headers[f"__connect.errors.{name}"] or b"").decode() for name in ("topic", "partition", "offset")
        )
        found[topic, int(partition), int(offset)] += 1
    return found


class Observer:
    """Watches from outside, on a thread of its own: is anything committed that is not resolved?

    A sample reads the commits first and then what is indexed and dead-lettered, so that an honest sink is
    never accused.

    Attributes:
        samples: How many were taken.
        accusations: What was wrong in them.
    """

    def __init__(self, bootstrap: str, group: str, topic: str, dead_topic: str, journal: Path) -> None:
        self._bootstrap, self._group, self._topic, self._dead = bootstrap, group, topic, dead_topic
        self._journal = Journal(journal)
        self._resolved: dict[int, set[int]] = {
            partition: set() for partition in end_offsets(bootstrap, topic)
        }
        self._seen = dict.fromkeys(self._resolved, 0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="observer")
        self.samples = 0
        self.accusations: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        try:
            while not self._ended.wait(0.2):
                self._sample()
            self._sample()
        except Exception as error:  # noqa: BLE001 -- a thread's error must reach the test
            self.accusations.append(f"the observer failed: {error!r}")

    def _sample(self) -> None:
        done = committed(self._bootstrap, self._group, self._topic, self._resolved)
        for (_, partition, offset), _ in self._journal.read():
            self._resolved[partition].add(offset)
        for _, partition, offset in origins(self._bootstrap, self._dead):
            self._resolved[partition].add(offset)
        for partition, offset in done.items():
            missing = [
                at for at in range(self._seen[partition], offset or 0) if at not in self._resolved[partition]
            ]
            if missing:
                self.accusations.append(
                    f"partition {partition}: {offset} is committed, {missing[:5]} is open"
                )
            self._seen[partition] = max(self._seen[partition], offset or 0)
        self.samples += 1


class Feed:
    """Writes log lines round robin on a thread until it is left; about `per_s` records a second."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, per_s: int) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 10})
        self._topic, self._partitions, self._per_turn = topic, partitions, max(1, per_s // 50)
        self._lines = log_lines(10_000)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write, name="feed")
        self._failures: list[KafkaError] = []
        self.written = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        assert self._producer.flush(END_S) == 0
        assert not self._failures

    def _write(self) -> None:
        while not self._ended.wait(0.02):  # the pace of the input
            for _ in range(self._per_turn):
                value = self._lines[self.written % len(self._lines)]
                self._producer.produce(
                    self._topic,
                    value,
                    partition=self.written % self._partitions,
                    on_delivery=lambda error, _: self._failures.append(error) if error else None,
                )
                self.written += 1
            self._producer.poll(0)


TOKENS = {
    "TEST_HEC_TOKEN": Splunk.TOKEN,
    "TEST_PLAIN_TOKEN": Splunk.PLAIN_TOKEN,
    "TEST_WRONG_TOKEN": "00000000-dead-0000-0000-000000000000",
}


class KillRun:
    """Ends by `kill -9` in the middle of a run, each followed by a new start.

    Attributes:
        repeated: By kill: how many records were indexed but not committed, so that they are indexed again.
    """

    def __init__(self, bootstrap: str, topic: str, group: str, sink: SinkProcess, splunk: Splunk) -> None:
        self._bootstrap, self._topic, self._group = bootstrap, topic, group
        self._sink, self._splunk = sink, splunk
        self._journal = Journal(splunk.journal)
        self._indexed: set[Place] = set()
        self.repeated: list[int] = []

    def kill_after(self, events: int) -> None:
        """Kill the sink once it brought so many events, and start it again.

        Between the two the server indexes all that it took: so it is known which records come twice.
        """
        before = self._splunk.stats()["events_indexed"]
        self._sink.wait_until(
            lambda: self._splunk.stats()["events_indexed"] >= before + events, f"{events} events came", 120
        )
        self._sink.kill()
        wait_for(lambda: self._splunk.stats()["events_waiting"] == 0, "the server to index what it took", 60)
        done = committed(self._bootstrap, self._group, self._topic, end_offsets(self._bootstrap, self._topic))
        self.repeated.append(sum(offset >= (done[partition] or 0) for _, partition, offset in self._read()))
        self._sink.start()

    def _read(self) -> set[Place]:
        self._indexed.update(place for place, _ in self._journal.read())
        return self._indexed


def kill_moments(seed: int, kills: int, records: int) -> list[int]:
    """After how many events to kill, each time: random, and in all fewer than there are records."""
    source = random.Random(seed)
    return [int(source.uniform(0.01, 1.8) * records / 2 / kills) for _ in range(kills)]


def rest(seconds: float) -> None:
    """Let an outage last; not for waiting until something has happened."""
    threading.Event().wait(seconds)
