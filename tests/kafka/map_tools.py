"""A consumer and an AdminClient as far as they are asked for ids; they answer what a test says."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import KafkaError, KafkaException

from splunk_hec_kafka.enquiries import LOOK_S
from splunk_hec_kafka.identities import Identity

if TYPE_CHECKING:
    from confluent_kafka import TopicCollection

HERE = Identity("cluster-1", "wNQE3PnqT5udagIYsHExqA")
TIMED_OUT = KafkaException(KafkaError(KafkaError._TIMED_OUT))


class Described(NamedTuple):
    """What Kafka tells of a cluster or a topic."""

    cluster_id: str | None = None
    topic_id: str = ""


class Ids:
    """A consumer and an AdminClient as far as ids are asked of them; both answer what the test says."""

    def __init__(self) -> None:
        self.cluster: str | None = HERE.cluster
        self.consumers_cluster: str | None = HERE.cluster
        self.topics = {"logs": HERE.topic_id}
        self.failure: Exception | None = None
        self.asked = 0

    def list_topics(self, _topic: str, timeout: float) -> Described:
        """The cluster as the consumer is connected to it."""
        assert timeout == LOOK_S
        if self.consumers_cluster is None:
            raise TIMED_OUT
        return Described(self.consumers_cluster)

    def describe_cluster(self, request_timeout: float) -> Future[Described]:
        """The cluster as the AdminClient is connected to it."""
        assert request_timeout == LOOK_S
        self.asked += 1
        return self._future(Described(self.cluster))

    def describe_topics(
        self, topics: TopicCollection, request_timeout: float
    ) -> dict[str, Future[Described]]:
        """Each topic, or that there is none of this name."""
        assert request_timeout == LOOK_S
        return {
            name: self._future(Described(None, self.topics[name]) if name in self.topics else None)
            for name in topics.topic_names
        }

    def _future(self, found: Described | None) -> Future[Described]:
        future: Future[Described] = Future()
        if self.failure is not None:
            future.set_exception(self.failure)
        elif found is not None:
            future.set_result(found)
        else:
            future.set_exception(KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)))
        return future
