"""`check`: asks Kafka and Splunk whether the sink would work, and prints one line for each check.

Only the asking; what an answer means is in `check_rules`. Guarantees: nothing is indexed without
--probe-event, no topic is created, no group is joined. A check that stands on a failed one is skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from splunk_hec.config import TokenSource
from splunk_hec.errors import ConfigError
from splunk_hec_kafka.check_hec import check_hec
from splunk_hec_kafka.check_rules import (
    KAFKA_NAMES,
    NAMES,
    Finding,
    exit_code,
    judge_group,
    judge_letter_size,
    judge_letter_topic,
    judge_topics,
    line,
    no_brokers,
    skipped,
)
from splunk_hec_kafka.cli_options import report
from splunk_hec_kafka.config import require, token_keys
from splunk_hec_kafka.dead_letter_topic import check_topic
from splunk_hec_kafka.dead_letters import dead_letter_connection
from splunk_hec_kafka.failures import ExitCode
from splunk_hec_kafka.kafka_properties import connection_properties, resolved
from splunk_hec_kafka.outside import THE_WORLD
from splunk_hec_kafka.registry import schema_reader
from splunk_hec_kafka.routes import RouteTable
from splunk_hec_kafka.source import consumer_properties, matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from splunk_hec_kafka.config import Loaded, SinkConfig

_COLORS = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "bright_black"}
ASK_S = 10.0
"""How long one question may take; whoever checks does not want to wait for a patience."""


def run_checks(
    load: Callable[[], Loaded],
    *,
    offline: bool,
    probe_event: bool,
    output: str,
    use_color: bool = False,
) -> int:
    """Check, and print the findings as they come (JSON: at the end).

    Args:
        load: Gives the configuration, or raises ConfigError.
        offline: Check the configuration alone.
        probe_event: Index one event for each index that a route names, else one in the default index.
        output: `text` or `json`.
        use_color: Whether a terminal may be coloured.

    Returns:
        The first failure's code.
    """
    findings: list[Finding] = []
    for finding in _findings(load, offline=offline, probe_event=probe_event):
        findings.append(finding)
        if output == "text":
            shown, color = line(finding), _COLORS[finding.status] if use_color else None
            status = len(finding.status)
            click.echo(click.style(shown[:status], fg=color) + shown[status:] if color else shown)
    if output == "json":
        keys = ("name", "status", "text", "fix")
        report(output, [{key: getattr(one, key) for key in keys} for one in findings], "")
    return exit_code(findings)


def _findings(load: Callable[[], Loaded], *, offline: bool, probe_event: bool) -> Iterator[Finding]:
    try:
        loaded = load()
        config = loaded.config
        require(config)
        consumer_properties(config)
        dead_letter_connection(config)
        schema_reader(config.registry, RouteTable(config.route), THE_WORLD)
        for token in filter(None, token_keys(config.hec.token, config.route)):
            TokenSource(token)()
    except ConfigError as error:
        text = " | ".join(str(error).splitlines())
        yield Finding("config", "fail", text, "see hec-kafka-sink config table", ExitCode.CONFIG)
        yield from skipped(NAMES[1:], "the configuration is invalid")
        return
    if loaded.warnings:
        yield Finding("config", "warn", " | ".join(loaded.warnings))
    else:
        yield Finding("config", "ok", "complete and consistent")
    if offline:
        yield from skipped(NAMES[1:], "offline")
        return
    yield from _kafka(config)
    yield from check_hec(config, probe_event=probe_event)


# ---- Kafka -------------------------------------------------------------------------------------------


def _kafka(config: SinkConfig) -> Iterator[Finding]:
    told: list[str] = []

    def note(error: Any) -> None:
        told.append(error.str())

    try:
        consumer = Consumer(consumer_properties(config) | {"error_cb": note, "log_level": 0})
    except KafkaException as error:
        text = f"kafka.properties: {error.args[0].str()}"
        yield Finding("kafka.brokers", "fail", text, "correct kafka.properties", ExitCode.CONFIG)
        yield from skipped(KAFKA_NAMES[1:], "there is no client")
        return
    try:
        try:
            cluster = consumer.list_topics(timeout=ASK_S)
        except KafkaException as error:
            consumer.poll(0)  # serves error_cb: what it heard tells more than the time-out
            yield no_brokers(config.kafka.bootstrap_servers, told[0] if told else error.args[0].str())
            yield from skipped(KAFKA_NAMES[1:], "no broker answered")
            return
        yield Finding("kafka.brokers", "ok", f"{len(cluster.brokers)} at {config.kafka.bootstrap_servers}")
        good = {name: len(one.partitions) for name, one in cluster.topics.items() if one.error is None}
        bad = {name: one.error.str() for name, one in cluster.topics.items() if one.error is not None}
        topics = judge_topics(config, good, bad)
        yield topics
        chosen = [name for name in good if matches(name, config.kafka.topics)]
        if topics.status == "fail":
            yield from skipped(("kafka.group",), "a topic is missing")
        else:
            yield _group(
                consumer, config, [(name, number) for name in chosen for number in range(good[name])]
            )
    finally:
        consumer.close()
    yield from _dead_letters(config, chosen)


def _group(consumer: Consumer, config: SinkConfig, partitions: list[tuple[str, int]]) -> Finding:
    asked = [TopicPartition(topic, number) for topic, number in partitions]
    try:
        answers = consumer.committed(asked, timeout=ASK_S) if asked else []
        refused = [one.error for one in answers if one.error is not None]
    except KafkaException as error:
        answers, refused = [], [error.args[0]]
    if refused:
        fix = f"grant READ on the group {config.kafka.group_id}, and check the broker"
        return Finding("kafka.group", "fail", refused[0].str(), fix, ExitCode.KAFKA)
    return judge_group(config, [one.offset if one.offset >= 0 else None for one in answers])


def _dead_letters(config: SinkConfig, sources: list[str]) -> Iterator[Finding]:
    if config.dead_letter.on_reject == "fail":
        yield from skipped(("dead_letter.topic", "dead_letter.size"), "dead_letter.on_reject is 'fail'")
        return
    found = check_topic(_admin(dead_letter_connection(config)), config.dead_letter.topic, ASK_S)
    finding = judge_letter_topic(found)
    yield finding
    if finding.status == "fail":
        yield from skipped(("dead_letter.size",), "there is no usable topic")
        return
    servers = {"bootstrap.servers": config.kafka.bootstrap_servers}
    admin = _admin(resolved(servers | connection_properties(config.kafka.properties)))
    yield judge_letter_size(found, [check_topic(admin, name, ASK_S) for name in sources])


def _admin(properties: dict[str, str]) -> AdminClient:
    return AdminClient({**properties, "log_level": 0})
