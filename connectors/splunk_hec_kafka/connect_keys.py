"""The keys of Splunk Connect for Kafka and what becomes of each: the converter's table, and the page's.

Values only; `from_connect` does the converting. The names and defaults are those of version 2.2.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["converted", "unneeded", "cannot"]


OVERRIDE = "consumer.override."


class Note(NamedTuple):
    """What somebody should know: `cannot` be converted, `unneeded`, or `look` (converted, but differs)."""

    kind: Literal["cannot", "unneeded", "look"]
    key: str
    text: str


class ConnectKey(NamedTuple):
    """One key: its default there, whether it is converted, and what it becomes or why it does not."""

    default: str
    kind: Kind
    becomes: str


def _to(default: str, becomes: str) -> ConnectKey:
    return ConnectKey(default, "converted", becomes)


def _unneeded(default: str, why: str) -> ConnectKey:
    return ConnectKey(default, "unneeded", why)


def _cannot(default: str, why: str) -> ConnectKey:
    return ConnectKey(default, "cannot", why)


_TIMESTAMPS = (
    "times are not extracted by a pattern: route.time = 'field:a.b' or 'header:NAME' reads one, "
    "or 'none' leaves it to Splunk's props.conf"
)
_KERBEROS = "HEC behind Kerberos is not supported: let a proxy do it (hec.proxy)"
_STORE = "no Java key stores: hec.ca_file takes PEM (keytool -exportcert -rfc)"
_OWN_RETRIES = "records are tried again until Splunk takes them, with backoff"

KEYS: dict[str, ConnectKey] = {
    "name": _to("", "`kafka.group_id = connect-NAME`: Connect's own group, so that its offsets go on"),
    "topics": _to("", "`kafka.topics`"),
    "topics.regex": _to("", "`kafka.topics`: one expression `^(…)$`"),
    "splunk.hec.uri": _to("", "`hec.url`"),
    "splunk.hec.token": _to("", '`hec.token = "env:SPLUNK_HEC_TOKEN"`; the token itself is not written'),
    "splunk.indexes": _to("", "`route.index`, a route for each topic where they differ"),
    "splunk.sources": _to("", "`route.source`, likewise"),
    "splunk.sourcetypes": _to("", "`route.sourcetype`, likewise"),
    "splunk.hec.ack.enabled": _to("false", "`hec.ack`: required, or off"),
    "splunk.hec.ack.poll.interval": _unneeded("10", "acknowledgements are asked for as they are due"),
    "splunk.hec.ack.poll.threads": _unneeded("2", "each lane asks for its own acknowledgements"),
    "splunk.hec.event.timeout": _to("300", "`hec.ack_deadline_s`"),
    "splunk.hec.max.batch.size": _to("500", "`hec.batch_max_events`"),
    "splunk.flush.window": _to("30", "`hec.linger_s`"),
    "splunk.hec.threads": _to("1", "`hec.lanes`, if there are more than 8"),
    "splunk.hec.total.channels": _unneeded("2", "each lane makes its channels"),
    "splunk.hec.max.http.connection.per.channel": _unneeded("2", "each lane has a connection"),
    "splunk.hec.concurrent.queue.capacity": _unneeded("100", "memory is bounded by hec.in_flight_max_bytes"),
    "splunk.hec.max.outstanding.events": _to("1000000", "`hec.in_flight_max_events`"),
    "splunk.hec.max.retries": _to("-1", "-1: `hec.give_up_after_s = 0`; a number of retries cannot be told"),
    "splunk.hec.backoff.threshhold.seconds": _unneeded("60", "backoff follows what Splunk answers"),
    "splunk.hec.lb.poll.interval": _unneeded(
        "120", "endpoints that fail are left and come back by themselves"
    ),
    "splunk.hec.http.keepalive": _unneeded("true", "connections are always kept"),
    "splunk.hec.socket.timeout": _to("60", "`hec.request_deadline_s`, which bounds the whole request"),
    "splunk.hec.enable.compression": _to("false", "`hec.gzip`: fast, or off"),
    "splunk.hec.raw": _to("false", '`route.value = "raw"`'),
    "splunk.hec.raw.line.breaker": _cannot("", "a record is one line; break lines in Splunk's props.conf"),
    "splunk.hec.json.event.formatted": _to("false", '`route.value = "envelope"`'),
    "splunk.hec.json.event.enrichment": _to("", "`route.fields`"),
    "splunk.hec.track.data": _to("false", "`route.provenance`, and `kafka_record_key` in `route.fields`"),
    "splunk.hec.use.record.timestamp": _to("true", "`route.time`: record, or none"),
    "splunk.hec.auto.extract.timestamp": _cannot("", _TIMESTAMPS),
    "enable.timestamp.extraction": _cannot("false", _TIMESTAMPS),
    "timestamp.regex": _cannot("", _TIMESTAMPS),
    "timestamp.format": _cannot("", _TIMESTAMPS),
    "timestamp.timezone": _cannot("", _TIMESTAMPS),
    "splunk.header.support": _to("false", "whether the four below become templates"),
    "splunk.header.custom": _to("", "`route.fields`: `name = {header:name}`"),
    "splunk.header.index": _to("splunk.header.index", "`route.index = {header:NAME}` where none is written"),
    "splunk.header.source": _to("splunk.header.source", "`route.source`, likewise"),
    "splunk.header.sourcetype": _to("splunk.header.sourcetype", "`route.sourcetype`, likewise"),
    "splunk.header.host": _to("splunk.header.host", "`route.host`"),
    "splunk.hec.ssl.validate.certs": _to("true", "`hec.verify`"),
    "splunk.hec.ssl.trust.store.path": _to("", "`hec.ca_file` if it is PEM; a Java key store cannot be read"),
    "splunk.hec.ssl.trust.store.type": _to("JKS", "PEM is taken, see the path"),
    "splunk.hec.ssl.trust.store.password": _unneeded("", _STORE),
    "kerberos.user.principal": _cannot("", _KERBEROS),
    "kerberos.keytab.path": _cannot("", _KERBEROS),
    "splunk.validation.disable": _unneeded("false", "`hec-kafka-sink check` asks, and indexes nothing"),
    "connector.class": _unneeded("", "the sink is a process of its own"),
    "tasks.max": _unneeded("1", "one process does the work of many tasks; run.processes adds more"),
    "key.converter": _unneeded("", "keys stay bytes; a template shows them as text"),
    "header.converter": _unneeded("", "headers stay bytes; a template shows them as text"),
    "value.converter": _to(
        "", "`route.value`: text, or json for JsonConverter; other converters cannot be told"
    ),
    "value.converter.schemas.enable": _to(
        "true", "false; true cannot: schema and payload are not taken apart"
    ),
    "errors.tolerance": _unneeded("none", "a record that can never be indexed becomes a dead letter"),
    "errors.deadletterqueue.topic.name": _to("", "`dead_letter.topic`"),
    "errors.deadletterqueue.topic.replication.factor": _unneeded("3", "topics are never created silently"),
    "errors.deadletterqueue.context.headers.enable": _unneeded("false", "they are always written"),
    "errors.retry.timeout": _unneeded("0", _OWN_RETRIES),
    "errors.retry.delay.max.ms": _unneeded("60000", _OWN_RETRIES),
    "errors.log.enable": _unneeded("false", "every dead letter says why"),
    "errors.log.include.messages": _unneeded("false", "no log holds what a record says"),
}
"""Every key of the connector, and those of Connect that its configurations hold."""

_SAME = [
    "security.protocol",
    "sasl.mechanism",
    "ssl.endpoint.identification.algorithm",
    "fetch.min.bytes",
    "fetch.max.bytes",
    "max.partition.fetch.bytes",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "client.id",
    "client.rack",
    "group.instance.id",
    "isolation.level",
    "metadata.max.age.ms",
    "reconnect.backoff.ms",
    "reconnect.backoff.max.ms",
    "retry.backoff.ms",
    "connections.max.idle.ms",
    "check.crcs",
    "sasl.kerberos.service.name",
    "group.protocol",
]
OVERRIDES: dict[str, str] = {name: name for name in _SAME} | {
    "fetch.max.wait.ms": "fetch.wait.max.ms",
    "receive.buffer.bytes": "socket.receive.buffer.bytes",
    "send.buffer.bytes": "socket.send.buffer.bytes",
    "request.timeout.ms": "socket.timeout.ms",
    "ssl.cipher.suites": "ssl.cipher.suites",
}
"""`consumer.override.` + Java's name → librdkafka's, where the value stays as it is."""
OVERRIDES_UNNEEDED: dict[str, str] = {
    "max.poll.records": "the sink takes what there is room for",
    "enable.auto.commit": "the sink commits what is settled",
    "auto.commit.interval.ms": "see kafka.commit_interval_s",
    "key.deserializer": "keys stay bytes",
    "value.deserializer": "see route.value",
    "ssl.truststore.password": "PEM needs none",
    "ssl.truststore.type": "see ssl.truststore.location",
    "ssl.keystore.type": "see ssl.keystore.location",
}
ASSIGNORS = {
    "RangeAssignor": "range",
    "RoundRobinAssignor": "roundrobin",
    "CooperativeStickyAssignor": "cooperative-sticky",
}
OTHER_OVERRIDES: dict[str, str] = {
    "group.id": "`kafka.group_id`",
    "bootstrap.servers": "`kafka.bootstrap_servers`",
    "auto.offset.reset": "`kafka.start`: earliest, latest, or fail for none",
    "partition.assignment.strategy": "`partition.assignment.strategy`: " + ", ".join(ASSIGNORS.values()),
    "sasl.jaas.config": '`sasl.username`, and `sasl.password = "env:KAFKA_SASL_PASSWORD"`',
    "ssl.truststore.location": "`ssl.ca.location` if it is PEM",
    "ssl.keystore.location": "`ssl.keystore.location` if it is PKCS12; `ssl.certificate.location` if PEM",
    "ssl.keystore.password": '`ssl.keystore.password = "env:KAFKA_SSL_KEYSTORE_PASSWORD"`',
    "ssl.key.password": '`ssl.key.password = "env:KAFKA_SSL_KEY_PASSWORD"`',
}


def markdown_table() -> str:
    """Every key, its default and what becomes of it."""
    rows = ["| key | default | becomes |", "|---|---|---|"]
    words = {"converted": "", "unneeded": "not needed: ", "cannot": "**by hand:** "}
    rows += [
        f"| `{name}` | {f'`{key.default}`' if key.default else ''} | {words[key.kind]}{key.becomes} |"
        for name, key in KEYS.items()
    ]
    properties = {OVERRIDE + name: text for name, text in OTHER_OVERRIDES.items()}
    for name, ours in OVERRIDES.items():
        properties[OVERRIDE + name] = f"`{ours}`"
    for name, why in OVERRIDES_UNNEEDED.items():
        properties[OVERRIDE + name] = f"not needed: {why}"
    rows += [f"| `{name}` |  | {text} |" for name, text in properties.items()]
    return "\n".join(rows) + "\n"
