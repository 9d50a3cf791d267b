"""`check`: asks Kafka and Splunk whether the sink would work, and prints one line for each check.

Only the asking; what an answer means is in `check_rules`. Guarantees: nothing is indexed without
--probe-event, no topic is created, no group is joined. A check that stands on a failed one is skipped.
"""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import certifi
import click
import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from splunk_hec import Event, HecClient
from splunk_hec.config import TokenSource
from splunk_hec.errors import ConfigError
from splunk_hec_kafka.check_rules import (
    NAMES,
    Finding,
    curl_connect,
    exit_code,
    hec_failure,
    judge_certificate,
    judge_group,
    judge_letter_size,
    judge_letter_topic,
    judge_outcome,
    judge_probe,
    judge_topics,
    line,
    no_brokers,
    skipped,
)
from splunk_hec_kafka.cli_options import report
from splunk_hec_kafka.config import hec_config, require
from splunk_hec_kafka.dead_letter_topic import check_topic
from splunk_hec_kafka.dead_letters import dead_letter_connection
from splunk_hec_kafka.failures import ExitCode
from splunk_hec_kafka.kafka_properties import connection_properties, resolved
from splunk_hec_kafka.routes import RouteTable
from splunk_hec_kafka.source import consumer_properties, matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from splunk_hec.config import HecConfig
    from splunk_hec_kafka.config import Loaded, SinkConfig

ASK_S = 10.0
"""How long one question may take; whoever checks does not want to wait for a patience."""
CONFIRM_S = 60.0
"""How long the acknowledgement of the probe event may take."""
_KAFKA = NAMES[1:6]
_SPLUNK = NAMES[6:]


def run_checks(load: Callable[[], Loaded], *, offline: bool, probe_event: bool, output: str) -> int:
    """Check, and print the findings as they come (JSON: at the end).

    Args:
        load: Gives the configuration, or raises ConfigError.
        offline: Check the configuration alone.
        probe_event: Index one event for each index that a route names, else one in the default index.
        output: `text` or `json`.

    Returns:
        The first failure's code.
    """
    findings: list[Finding] = []
    for finding in _findings(load, offline=offline, probe_event=probe_event):
        findings.append(finding)
        if output == "text":
            click.echo(line(finding))
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
        TokenSource(config.hec.token)()
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
    yield from _splunk(config, probe_event=probe_event)


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
        yield from skipped(_KAFKA[1:], "there is no client")
        return
    try:
        try:
            cluster = consumer.list_topics(timeout=ASK_S)
        except KafkaException as error:
            consumer.poll(0)  # serves error_cb: what it heard tells more than the time-out
            yield no_brokers(config.kafka.bootstrap_servers, told[0] if told else error.args[0].str())
            yield from skipped(_KAFKA[1:], "no broker answered")
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


# ---- Splunk ------------------------------------------------------------------------------------------


def _splunk(config: SinkConfig, *, probe_event: bool) -> Iterator[Finding]:
    hec = hec_config(config, "event")
    if hec.proxy:
        yield from skipped(("hec.dns", "hec.tls"), "the proxy resolves names and makes connections")
    else:
        names = _dns(config, hec)
        yield names
        if names.status == "fail":
            yield from skipped(_SPLUNK[1:], "the name does not resolve")
            return
        tls = _tls(config, hec)
        yield tls
        if tls.status == "fail":
            yield from skipped(_SPLUNK[2:], "there is no connection")
            return
    client = HecClient(hec)
    try:
        probe = client.probe()
    except ConfigError as error:
        yield Finding("hec.token", "fail", str(error), "see hec-kafka-sink config table", ExitCode.CONFIG)
        yield from skipped(_SPLUNK[3:], "there is no client")
        return
    finally:
        client.abort()
    findings = judge_probe(probe, config.hec)
    yield from findings
    if any(one.status == "fail" for one in findings):
        yield from skipped(("hec.index",), "Splunk refuses the deployment")
    elif probe_event:
        yield _index(config)
    else:
        yield from skipped(("hec.index",), "only an event shows it; --probe-event indexes one")


def _dns(config: SinkConfig, hec: HecConfig) -> Finding:
    found: list[str] = []
    for url in hec.urls:
        host = urlsplit(url).hostname or ""
        try:
            addresses = {str(one[4][0]) for one in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
        except OSError as error:
            fix = "correct hec.url, or the name server"
            return hec_failure("hec.dns", f"{host}: {error.strerror}", fix, curl_connect(config.hec, url))
        found.append(f"{host} is {', '.join(sorted(addresses))}")
    return Finding("hec.dns", "ok", "; ".join(found))


def _tls(config: SinkConfig, hec: HecConfig) -> Finding:
    findings = [_connect(config, url) for url in hec.urls]
    worst = [one for status in ("fail", "warn") for one in findings if one.status == status]
    return worst[0] if worst else findings[0]


def _connect(config: SinkConfig, url: str) -> Finding:
    """Connect, and shake hands where the url says https."""
    parts, hec = urlsplit(url), config.hec
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), ASK_S) as plain:
            if parts.scheme == "http":
                text = f"{url}: not encrypted: the token can be read on its way"
                return Finding("hec.tls", "warn", text, "turn on SSL for HEC and use https")
            with _tls_context(config).wrap_socket(plain, server_hostname=parts.hostname) as secure:
                certificate = secure.getpeercert() or {}
                version = secure.version() or "TLS"
    except ssl.SSLCertVerificationError as error:
        text = f"{url}: {error.verify_message}"
        fix = "set hec.ca_file to the CA that signed the certificate, or hec.url to the name it was made for"
        return hec_failure("hec.tls", text, fix, curl_connect(hec, url))
    except OSError as error:
        text = f"{url}: {getattr(error, 'reason', None) or error.strerror or error}"
        fix = "check that HEC listens there, with SSL if the url says https"
        return hec_failure("hec.tls", text, fix, curl_connect(hec, url))
    ends = certificate.get("notAfter")
    left_s = ssl.cert_time_to_seconds(str(ends)) - time.time() if ends else None
    return judge_certificate(url, version, left_s, hec)


def _tls_context(config: SinkConfig) -> ssl.SSLContext:
    hec = config.hec
    context = ssl.create_default_context(cafile=hec.ca_file or certifi.where())
    if not hec.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if hec.client_cert:
        context.load_cert_chain(hec.client_cert, hec.client_key or None, password="")
    return context


def _index(config: SinkConfig) -> Finding:
    """Index one event for each index that a route names; the first that fails is the finding."""
    indexes = sorted(RouteTable(config.route).configured_indexes) or [""]
    findings = [_index_one(config, index) for index in indexes]
    failed = [one for one in findings if one.status == "fail"]
    good = Finding("hec.index", "ok", "; ".join(one.text for one in findings))
    return failed[0] if failed else good


def _index_one(config: SinkConfig, index: str) -> Finding:
    hec = msgspec.structs.replace(hec_config(config, "event"), lanes=1, linger_s=0)
    client = HecClient(hec, configured_indexes=[index] if index else [])
    try:
        client.submit(Event("hec-kafka-sink check", index=index or None, source="hec-kafka-sink", ref=0))
        deadline = time.monotonic() + CONFIRM_S
        while time.monotonic() < deadline:
            outcomes = client.poll(0.2)
            health = client.health()
            if outcomes or health.halted:
                halt = (health.reasons[0].code, health.reasons[0].text) if health.halted else None
                return judge_outcome(outcomes[0] if outcomes else None, halt, index, config.hec)
        return judge_outcome(None, None, index, config.hec)
    finally:
        client.abort()
