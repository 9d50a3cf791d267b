"""A stand-in for `confluent_kafka.Producer` (dead letters) and `AdminClient`, on a virtual clock.

What it keeps of librdkafka: `produce` only queues; reports come from within `poll`; a report may say that
time was up although the record was written; what was sent by a process that is killed may arrive.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from sim_broker import LETTERS, NOW_MS, Cluster, Topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from sim_broker import Headers
    from sim_life import Life

WRITE_S = 0.02
LATE_S = 4.0
QUEUE = 12
"""Small, so that it is full at times without any fault."""


class _Queued(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    report: Callable[..., None]
    at: float


class SimulatedProducer:
    """One producer of one process."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.broker = life.world.broker
        self._queue: list[_Queued] = []

    def produce(
        self,
        _topic: str,
        *,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        on_delivery: Callable[..., None],
        timestamp: int = NOW_MS,
    ) -> None:
        """Queue a record."""
        self.life.step("produce")
        if len(self._queue) >= QUEUE or self.broker.hits("letter_queue_full"):
            raise BufferError
        if self.broker.hits("letter_raises"):
            raise KafkaException(KafkaError(KafkaError._FAIL))
        wait_s = LATE_S if self.broker.hits("letter_late") else WRITE_S
        at = self.life.world.now + wait_s
        self._queue.append(_Queued(key, value, headers, timestamp, on_delivery, at))

    def poll(self, _timeout_s: float) -> int:
        """Serve the reports that are due."""
        if not self._queue:
            return 0
        self.life.step("letters")
        now = self.life.world.now
        due = [one for one in self._queue if one.at <= now] if not self.broker.is_down else []
        for one in due:
            self._queue.remove(one)
            error = self._fault()
            if error is None or error.code() == KafkaError.REQUEST_TIMED_OUT:
                self._write(one)
            one.report(error, None)
        return len(due)

    def _fault(self) -> KafkaError | None:
        if self.broker.hits("letter_lost"):
            return KafkaError(KafkaError._MSG_TIMED_OUT)
        if self.broker.hits("letter_untold"):
            return KafkaError(KafkaError.REQUEST_TIMED_OUT)
        if self.broker.hits("letter_refused"):
            return KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
        return None

    def purge(self) -> None:
        """Forget what is queued."""
        self._queue.clear()

    def due(self) -> float:
        """When the next report comes."""
        return min([one.at for one in self._queue]) if self._queue else inf

    def land(self) -> None:
        """The process was killed: some of what it had sent arrives all the same."""
        for one in self._queue:
            if self.broker.rng.random() < 0.5:
                self._write(one)
        self._queue.clear()

    def _write(self, one: _Queued) -> None:
        self.broker.write_letter(one.key, one.value, one.headers, one.timestamp_ms)


class Described(NamedTuple):
    """What a cluster or a topic is called by nobody else."""

    cluster_id: str = ""
    topic_id: str = ""


class Answer(NamedTuple):
    """An answer that is there already, or will not come."""

    found: Described | None

    def result(self, _timeout_s: float) -> Described:
        """What was asked for."""
        if self.found is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return self.found


class SimulatedAdmin:
    """Looks at topics."""

    def __init__(self, life: Life) -> None:
        self.life = life

    def list_topics(self, timeout: float) -> Cluster:
        """The dead-letter topic is there."""
        return Cluster({LETTERS: Topic({0: None})})

    def describe_cluster(self, *, request_timeout: float) -> Answer:
        """The id of the cluster."""
        return self._answer(request_timeout, Described(cluster_id=self.life.world.broker.cluster_id))

    def describe_topics(self, topics: TopicCollection, *, request_timeout: float) -> dict[str, Answer]:
        """The id of the topic that is read."""
        described = Described(topic_id=self.life.world.broker.topic_id)
        return dict.fromkeys(topics.topic_names, self._answer(request_timeout, described))

    def _answer(self, timeout_s: float, found: Described) -> Answer:
        try:
            self.life.ask(timeout_s)
        except KafkaException:
            return Answer(None)
        if self.life.world.broker.hits("ids_untold"):
            self.life.world.pass_time(timeout_s)
            return Answer(None)
        return Answer(found)
