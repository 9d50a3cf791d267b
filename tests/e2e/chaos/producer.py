"""The producer: real log lines with a number, about 1 % poison, and a line for every delivery report.

Not for knowing what becomes of them. It is idempotent and patient, so that a report that says `failed` is
the exception; such a record is written down with offset -1: the broker may have it.
"""

from __future__ import annotations

import random
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Self

from confluent_kafka import KafkaException, Producer
from e2e_tools import log_lines

from .files import BAD_INDEX, BLANK, GOOD, TOO_LARGE, UNDECODABLE, Log, Produced, digest, key_of, now_ms
from .members import EVENT_MAX_BYTES, MAIN, MAIN_INDEX, NO_INDEX, SHORT, SIDE, SIDE_INDEX, TOPICS

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

POISON = {UNDECODABLE: 0.0025, BLANK: 0.0025, TOO_LARGE: 0.001, BAD_INDEX: 0.004}
LINES = 20_000
VALUE_MAX_BYTES = 450
MOST_AT_ONCE = 2_000
LOOK_S = 0.02
FLUSH_S = 180.0


class Source:
    """Writes about `per_s` records a second on a thread, once started; a context manager.

    Attributes:
        written: How many were handed to the client library.
    """

    def __init__(self, bootstrap: str, log: Log, seed: int, per_s: int) -> None:
        self._log = log
        self._random = random.Random(f"{seed}/producer")
        self._per_s = per_s
        self._lines = [line[: VALUE_MAX_BYTES].decode(errors="ignore").strip().encode()
                       for line in log_lines(LINES)]  # fmt: skip
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 20,
                "delivery.timeout.ms": 600_000,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 0,
            }
        )
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write, name="producer")
        self.written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> int:
        """Write no more; returns how many records have no report yet."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        return self._producer.flush(FLUSH_S)

    def burst(self, count: int) -> None:
        """Write so many at once to the topic whose records are deleted early, and wait for the reports."""
        done = threading.Semaphore(0)
        for _ in range(count):
            self._produce(SHORT, done)
        deadline = time.monotonic() + FLUSH_S
        for _ in range(count):
            assert done.acquire(timeout=max(0.1, deadline - time.monotonic())), "no report in time"

    def _write(self) -> None:
        started, due = time.monotonic(), 0
        while not self._ended.wait(LOOK_S):
            wanted = int((time.monotonic() - started) * self._per_s)
            for _ in range(min(wanted - due, MOST_AT_ONCE)):
                self._produce(MAIN if self._random.random() < 0.7 else SIDE)
                due += 1
            self._producer.poll(0)

    def _produce(self, topic: str, done: threading.Semaphore | None = None) -> None:
        with self._lock:
            uid = self.written
            self.written += 1
            kind = self._kind(topic)
            value = self._value(uid, kind)
            partition = self._random.randrange(TOPICS[topic])
            stamp = now_ms()
        index = NO_INDEX if kind == BAD_INDEX else SIDE_INDEX if topic == SIDE else MAIN_INDEX
        entry = Produced(topic, partition, -1, uid, digest(value), stamp, kind)
        self._producer.produce(  # its queue is larger than what waits during the longest outage
            topic,
            value,
            key_of(uid),
            partition,
            partial(self._on_report, entry, done),
            timestamp=stamp,
            headers=[("uid", str(uid)), ("index", index)],
        )

    def _kind(self, topic: str) -> str:
        chance = self._random.random()
        for kind, share in POISON.items():
            if chance < share and (kind != BAD_INDEX or topic == SIDE):
                return kind
            chance -= share
        return GOOD

    def _value(self, uid: int, kind: str) -> bytes:
        line = b"%d %s" % (uid, self._lines[uid % len(self._lines)])
        if kind == UNDECODABLE:
            return line + b"\xff\xfe"
        if kind == BLANK:
            return b" \t "
        return line.ljust(EVENT_MAX_BYTES, b"x") if kind == TOO_LARGE else line

    def _on_report(
        self,
        entry: Produced,
        done: threading.Semaphore | None,
        error: KafkaError | KafkaException | None,
        message: Message,
    ) -> None:
        at = -1 if error is not None else message.offset()
        self._log.write(entry._replace(offset=-1 if at is None else at).line())
        if done is not None:
            done.release()
