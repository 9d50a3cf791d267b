"""Which cluster this is, and which topic stands behind a name; asked for the settled maps of commits alone.

Owned by the loop's thread. Guarantees: no question takes longer than `LOOK_S`, nothing is raised, and what
cannot be told for sure is not told; the sink does without.

Non-obvious: a consumer does not notice that its topic was made anew while it reads. If the new one is long
enough already it goes on in the middle of it, without an error, under the same leader epoch (seen with
Kafka 4.4). Only the topic's id tells them apart, which never comes back once it is gone, and which no record
carries. So whoever asks *before* reading begins, and hears the same id *after* it has read, knows whose
records these are.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import KafkaException, TopicCollection

from splunk_hec_kafka.enquiries import LOOK_S

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from confluent_kafka import Consumer
    from confluent_kafka.admin import AdminClient

log = logging.getLogger("splunk_hec_kafka")

_NO_ID = "A" * 22
"""The id of all zeros, as brokers without topic ids tell it."""


class Identity(NamedTuple):
    """What a topic's name stands for: the ids of its cluster and of itself."""

    cluster: str
    topic_id: str


class Identities:
    """Asks with an administrative client of its own, which answers in a millisecond or two.

    The consumer's own connections wait for records meanwhile; it is asked once an assignment.
    """

    def __init__(self, consumer: Consumer, admin: AdminClient, clock: Callable[[], float]) -> None:
        self._consumer = consumer
        self._admin: Any = admin  # half of its calls have no types
        self._clock = clock

    def before_reading(self, topics: Collection[str]) -> dict[str, Identity]:
        """What these names stand for, where the consumer reads; those that cannot be told are left out.

        The consumer is asked too, since two clients can be led to two clusters while one takes over from
        the other.
        """
        found = self.now(topics)
        if not found:
            return {}
        try:
            cluster = self._consumer.list_topics(next(iter(found)), timeout=LOOK_S).cluster_id
        except KafkaException as error:
            log.debug("the consumer's cluster cannot be told: %r", error)
            return {}
        return {topic: one for topic, one in found.items() if one.cluster == cluster}

    def now(self, topics: Collection[str]) -> dict[str, Identity]:
        """What these names stand for now; those that cannot be told are left out."""
        by = self._clock() + LOOK_S
        asked = TopicCollection(list(topics))
        try:
            cluster = self._admin.describe_cluster(request_timeout=LOOK_S)
            answers = self._admin.describe_topics(asked, request_timeout=LOOK_S)
            cluster_id = cluster.result(LOOK_S).cluster_id
        except (KafkaException, TimeoutError) as error:
            log.debug("the cluster's id cannot be told: %r", error)
            return {}
        found: dict[str, Identity] = {}
        for topic, answer in answers.items():
            try:
                topic_id = str(answer.result(max(0.0, by - self._clock())).topic_id)
            except (KafkaException, TimeoutError) as error:
                log.debug("the id of %s cannot be told: %r", topic, error)
                continue
            if cluster_id and topic_id != _NO_ID:
                found[topic] = Identity(cluster_id, topic_id)
        return found
