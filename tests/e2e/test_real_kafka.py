"""The broker that the other tests of this tier stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from confluent_kafka import KafkaError, Producer
from kafka_tools import DEADLINE_S, produce, read_all

if TYPE_CHECKING:
    from real_kafka import RealKafka

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_records_survive_a_restart_of_the_broker(real_kafka: RealKafka) -> None:
    """What was written is there after the broker was stopped and started again."""
    real_kafka.create_topic("restarts", 2)
    produce(real_kafka.bootstrap, "restarts", [b"a", b"b"])
    real_kafka.stop()
    real_kafka.start()
    assert sorted(message.value() or b"" for message in read_all(real_kafka.bootstrap, "restarts")) == [
        b"a",
        b"b",
    ]


def test_topics_are_not_created_silently(real_kafka: RealKafka) -> None:
    """Writing to a topic that does not exist fails: a missing dead-letter topic must not appear by itself."""
    failed: list[KafkaError] = []
    producer = Producer({"bootstrap.servers": real_kafka.bootstrap, "topic.metadata.propagation.max.ms": 100})
    producer.produce(
        "no-such-topic", b"a", on_delivery=lambda error, _: failed.append(error) if error else None
    )
    producer.flush(DEADLINE_S)
    assert [error.code() for error in failed] == [KafkaError.UNKNOWN_TOPIC_OR_PART]
    assert "no-such-topic" not in real_kafka.admin().list_topics(timeout=30).topics
