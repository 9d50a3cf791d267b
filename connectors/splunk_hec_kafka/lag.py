"""`lag`: how far the group is behind, partition by partition, as kafka-consumer-groups prints it.

Only reads; joins no group. A partition that one of the configured topics has is listed even without a commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from splunk_hec.errors import ConfigError
from splunk_hec_kafka.config import REQUIRED_TO_READ, require
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.source import ANSWER_S, consumer_properties, matches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from splunk_hec_kafka.config import SinkConfig

_COLUMNS = ("GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG")


class Row(msgspec.Struct, frozen=True):
    """One partition; `current` and `lag` are None without a commit."""

    group: str
    topic: str
    partition: int
    current: int | None
    end: int
    lag: int | None


def group_lag(config: SinkConfig) -> list[Row]:
    """Ask the broker.

    Raises:
        ConfigError: Topics or group are not set, or librdkafka does not take a property.
        SinkFailure: The broker does not answer (exit 4).
    """
    require(config, REQUIRED_TO_READ)
    try:
        consumer = Consumer(consumer_properties(config) | {"log_level": 0})
    except KafkaException as error:
        raise ConfigError(f"kafka.properties: {error.args[0].str()}") from None
    try:
        return _rows(consumer, config)
    except KafkaException as error:
        raise SinkFailure(
            ExitCode.KAFKA,
            f"no answer from Kafka at {config.kafka.bootstrap_servers}: {error.args[0].str()}",
            "check kafka.bootstrap_servers, the network, and security.protocol in kafka.properties",
        ) from None
    finally:
        consumer.close()


def _rows(consumer: Consumer, config: SinkConfig) -> list[Row]:
    topics = consumer.list_topics(timeout=config.run.startup_timeout_s).topics
    asked = [
        TopicPartition(name, partition)
        for name in sorted(topics)
        if matches(name, config.kafka.topics)
        for partition in sorted(topics[name].partitions)
    ]
    rows: list[Row] = []
    for one in consumer.committed(asked, timeout=ANSWER_S) if asked else []:
        if one.error is not None:
            raise KafkaException(one.error)
        at = TopicPartition(one.topic, one.partition)
        low_end = consumer.get_watermark_offsets(at, timeout=ANSWER_S)
        if low_end is None:  # pyright: ignore[reportUnnecessaryComparison] -- its stub forgets the time-out
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 -- librdkafka's code
        end = low_end[1]
        current = one.offset if one.offset >= 0 else None
        lag = None if current is None else max(0, end - current)
        rows.append(Row(config.kafka.group_id, one.topic, one.partition, current, end, lag))
    return rows


def lag_text(rows: Sequence[Row]) -> str:
    """Columns as kafka-consumer-groups prints them; `-` where there is no commit."""
    cells = [_COLUMNS, *(tuple(_shown(value) for value in msgspec.structs.astuple(row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def lag_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The same with the columns' names in small letters."""
    names = [column.lower().replace("-", "_") for column in _COLUMNS]
    return [dict(zip(names, msgspec.structs.astuple(row), strict=True)) for row in rows]


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
