"""`run --print N`: the envelopes that the sink would send next, without HEC, without joining the group.

Nothing is committed and nobody's partitions move: the group's committed offsets are only read. What is
refused or skipped is told on standard error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from splunk_hec.errors import ConfigError
from splunk_hec_kafka.config import REQUIRED_TO_READ, require
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.outside import THE_WORLD
from splunk_hec_kafka.records import RecordEncoder
from splunk_hec_kafka.registry import schema_reader
from splunk_hec_kafka.routes import RouteTable
from splunk_hec_kafka.source import ANSWER_S, consumer_properties, matches

if TYPE_CHECKING:
    from confluent_kafka import Message

    from splunk_hec_kafka.config import SinkConfig
    from splunk_hec_kafka.originals import Consumed

_STARTS = {"earliest": OFFSET_BEGINNING, "latest": OFFSET_END, "fail": OFFSET_BEGINNING}


def print_envelopes(config: SinkConfig, count: int) -> int:
    """Print up to `count` envelopes, one a line, and end; fewer if there are no more records.

    Returns:
        The exit code.

    Raises:
        ConfigError: Topics or group are not set, or librdkafka does not take a property.
        SinkFailure: No broker answered.
    """
    require(config, REQUIRED_TO_READ)
    try:
        consumer = Consumer(consumer_properties(config) | {"log_level": 0})
    except KafkaException as error:
        raise ConfigError(f"kafka.properties: {error.args[0].str()}") from None
    routes = RouteTable(config.route, config.hec.token)
    schemas = schema_reader(config.registry, routes, THE_WORLD)
    encoder = RecordEncoder(routes, event_max_bytes=config.hec.event_max_bytes, schemas=schemas)
    try:
        unread = _assign(consumer, config)
        while unread and count > 0:
            records: list[Message] = []
            for message in consumer.consume(min(count, 500), 0.5):
                event = message.error()
                if event is None:
                    records.append(message)
                elif event.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 -- librdkafka names it so
                    unread.discard((message.topic(), message.partition()))
                else:
                    raise SinkFailure(ExitCode.KAFKA, f"kafka: {event.str()}", "see hec-kafka-sink check")
            count -= _print(encoder, records, count)
    except KafkaException as error:
        raise SinkFailure(
            ExitCode.KAFKA,
            f"no broker answered at {config.kafka.bootstrap_servers}: {error.args[0].str()}",
            "check kafka.bootstrap_servers, the network, and security.protocol in kafka.properties",
        ) from None
    finally:
        consumer.close()
    return ExitCode.OK


def _assign(consumer: Consumer, config: SinkConfig) -> set[tuple[str | None, int | None]]:
    """Read every matching partition from where the group would; returns them."""
    topics = consumer.list_topics(timeout=config.run.startup_timeout_s).topics
    found = [
        TopicPartition(name, partition)
        for name, topic in topics.items()
        if matches(name, config.kafka.topics)
        for partition in topic.partitions
    ]
    positions = consumer.committed(found, timeout=ANSWER_S) if found else []
    for position in positions:
        if position.offset < 0:
            position.offset = _STARTS[config.kafka.start]
    consumer.assign(positions)
    return {(one.topic, one.partition) for one in positions}


def _print(encoder: RecordEncoder, records: list[Message], count: int) -> int:
    encoded = encoder.encode(records)
    if encoded.fault:
        text = f"the schema registry does not answer: {encoded.fault}"
        raise SinkFailure(ExitCode.KAFKA, text, "check registry.url and registry.properties")
    for one in encoded.refusals:
        _note(one.message, f"would become a dead letter ({one.reason}: {one.text})")
    for skip in encoded.skips:
        _note(skip.message, f"would be skipped ({skip.reason})")
    lines = [line for send in encoded.sends for line in send.lines][:count]
    for line in lines:
        click.echo(line)
    return len(lines)


def _note(message: Consumed, text: str) -> None:
    click.echo(f"{message.topic()}/{message.partition()}@{message.offset()} {text}", err=True)
