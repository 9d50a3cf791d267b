"""librdkafka properties of the sink's consumer, and what follows from them.

Pure. Not for judging a user's properties (`kafka_properties`). Guarantee: whatever is configured, librdkafka
commits and stores no offset by itself, and never moves a position by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from splunk_hec_kafka.kafka_properties import connection_properties, resolved

if TYPE_CHECKING:
    from collections.abc import Mapping

    from splunk_hec_kafka.config import SinkConfig

_TUNING = {
    # librdkafka waits this long before it fetches on after a queue was full; a consumer that drains its
    # queue in bursts starves on the default of 1,000 (measured: half the throughput).
    "fetch.queue.backoff.ms": "5",
    "fetch.wait.max.ms": "50",
    "queued.max.messages.kbytes": "65536",
}
_PROMISE = {
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    "enable.partition.eof": "true",
    "auto.offset.reset": "error",
}


def consumer_properties(config: SinkConfig) -> dict[str, Any]:
    """Librdkafka properties of the consumer.

    Raises:
        ConfigError: A secret's variable or file is missing.
    """
    own = resolved(config.kafka.properties)
    group = {"bootstrap.servers": config.kafka.bootstrap_servers, "group.id": config.kafka.group_id}
    return {"client.id": "hec-kafka-sink"} | _TUNING | own | group | _PROMISE


def admin_properties(config: SinkConfig) -> dict[str, Any]:
    """Librdkafka properties of a client that asks about the consumer's cluster.

    Raises:
        ConfigError: A secret's variable or file is missing.
    """
    own = resolved(connection_properties(config.kafka.properties))
    return {"client.id": "hec-kafka-sink"} | own | {"bootstrap.servers": config.kafka.bootstrap_servers}


def is_incremental(properties: Mapping[str, Any]) -> bool:
    """Whether a rebalance hands out only what changes; librdkafka refuses to mix both kinds."""
    strategy = str(properties.get("partition.assignment.strategy", "")).lower()
    return "cooperative" in strategy or str(properties.get("group.protocol", "")).lower() == "consumer"


def max_poll_interval_s(properties: Mapping[str, Any]) -> float:
    """How long a callback may last before the group goes on without this member."""
    return float(properties.get("max.poll.interval.ms", 300_000)) / 1000
