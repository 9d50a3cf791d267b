"""`config from-connect`: what comes out is ours, says the same, and holds no secret."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from splunk_hec.errors import ConfigError
from splunk_hec_kafka.config import Route, SinkConfig, load
from splunk_hec_kafka.connect_file import read_connect
from splunk_hec_kafka.connect_keys import (
    KEYS,
    OTHER_OVERRIDES,
    OVERRIDE,
    OVERRIDES,
    OVERRIDES_UNNEEDED,
    Note,
    markdown_table,
)
from splunk_hec_kafka.from_connect import converted

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "very-5ecret"
FULL = f"""
# a connector
name = logs-to-splunk
connector.class=com.splunk.kafka.connect.SplunkSinkConnector
tasks.max: 4
topics = app-logs, audit
splunk.hec.uri = https://a.example:8088,https://b.example:8088/services/collector
splunk.hec.token = {SECRET}
splunk.indexes = main,audit
splunk.sources = kafka
splunk.sourcetypes = app,audit:json
splunk.hec.ack.enabled = true
splunk.hec.event.timeout = 120
splunk.hec.max.batch.size = 1000
splunk.flush.window = 5
splunk.hec.threads = 12
splunk.hec.max.outstanding.events = 50000
splunk.hec.max.retries = -1
splunk.hec.socket.timeout = 30
splunk.hec.enable.compression = true
splunk.hec.json.event.enrichment = team=a{{b}},site=eu
splunk.hec.track.data = true
splunk.hec.use.record.timestamp = false
splunk.header.support = true
splunk.header.custom = trace
splunk.header.host = h
splunk.hec.ssl.validate.certs = false
splunk.hec.ssl.trust.store.path = /etc/ca.pem
splunk.hec.ssl.trust.store.password = {SECRET}
value.converter = org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable = false
errors.deadletterqueue.topic.name = dead
consumer.override.bootstrap.servers = k:9093
consumer.override.auto.offset.reset = latest
consumer.override.security.protocol = SASL_SSL
consumer.override.sasl.mechanism = PLAIN
consumer.override.fetch.max.wait.ms = 100
consumer.override.partition.assignment.strategy = \\
    org.apache.kafka.clients.consumer.CooperativeStickyAssignor
consumer.override.sasl.jaas.config = PlainLoginModule required username="me" password="{SECRET}";
consumer.override.ssl.truststore.location = /etc/kafka.pem
consumer.override.ssl.keystore.location = /etc/me.p12
consumer.override.ssl.keystore.password = {SECRET}
consumer.override.ssl.endpoint.identification.algorithm =
"""


def loaded(toml: str, tmp_path: Path) -> SinkConfig:
    """What our loader makes of it; no value of it deserves a warning."""
    file = tmp_path / "sink.toml"
    file.write_text(toml, encoding="utf-8")
    found = load(file, {})
    assert found.warnings == ()
    return found.config


def notes_of(text: str) -> dict[str, Note]:
    """The last note about each key."""
    return {note.key: note for note in converted(text)[1]}


def test_a_whole_configuration_keeps_its_meaning(tmp_path: Path) -> None:
    """Every key that we have an answer to arrives, under our names and types."""
    toml, notes = converted(FULL)
    config = loaded(toml, tmp_path)
    hec, kafka = config.hec, config.kafka
    assert hec.url == ("https://a.example:8088", "https://b.example:8088")
    assert (hec.token, hec.ack, hec.gzip, hec.verify) == ("env:SPLUNK_HEC_TOKEN", "required", "fast", False)
    assert (hec.ack_deadline_s, hec.batch_max_events, hec.linger_s, hec.lanes) == (120, 1000, 5, 12)
    assert (hec.in_flight_max_events, hec.request_deadline_s, hec.ca_file) == (50_000, 30, "/etc/ca.pem")
    assert (kafka.topics, kafka.group_id) == (("app-logs", "audit"), "connect-logs-to-splunk")
    assert (kafka.bootstrap_servers, kafka.start) == ("k:9093", "latest")
    assert kafka.properties == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "fetch.wait.max.ms": "100",
        "partition.assignment.strategy": "cooperative-sticky",
        "sasl.username": "me",
        "sasl.password": "env:KAFKA_SASL_PASSWORD",
        "ssl.ca.location": "/etc/kafka.pem",
        "ssl.keystore.location": "/etc/me.p12",
        "ssl.keystore.password": "env:KAFKA_SSL_KEYSTORE_PASSWORD",
        "ssl.endpoint.identification.algorithm": "none",
    }
    assert config.dead_letter.topic == "dead"
    fields = {"team": "a{{b}}", "site": "eu", "trace": "{header:trace}", "kafka_record_key": "{key}"}
    shared: dict[str, Any] = {"value": "json", "source": "kafka", "host": "{header:h}", "time": "none"}
    assert config.route == (
        Route(topics=("app-logs",), index="main", sourcetype="app", fields=fields, **shared),
        Route(topics=("audit",), index="audit", sourcetype="audit:json", fields=fields, **shared),
    )
    assert SECRET not in toml + repr(notes)


@pytest.mark.parametrize("form", ["properties", "post", "put"])
def test_json_and_properties_say_the_same(form: str) -> None:
    """The file of a standalone worker, and both shapes of the REST interface, come to one configuration."""
    given = {"name": "n", "topics": "a", "splunk.hec.uri": "http://h:8088", "tasks.max": "1"}
    texts = {
        "properties": "".join(f"{name}={value}\n" for name, value in given.items()),
        "post": json.dumps({"name": "n", "config": given | {"tasks.max": 1}, "tasks": []}),
        "put": json.dumps(given),
    }
    assert read_connect(texts[form]) == given


def test_properties_are_read_as_java_reads_them() -> None:
    """Continued lines, all three separators, comments, escapes, and characters beyond the first plane."""
    text = (
        "! no\n  # no\n\ntopics : a,\\\n   b\\u00e9\nsplunk.a\\ b c\\=d\nsplunk.c=\\t1\\\\\n"
        "splunk.d\r\nsplunk.e=\\ud83d\\ude00\\ud800\nsplunk.f=x\\"
    )
    assert read_connect(text) == {
        "topics": "a,bé",
        "splunk.a b": "c=d",
        "splunk.c": "1\\",
        "splunk.d": "",
        "splunk.e": "\U0001f600\ufffd",
        "splunk.f": "x",
    }


@pytest.mark.parametrize("text", ["", "a=b", "{", '{"config": 1}', "{}", "[1]"])
def test_what_is_no_connector_is_refused_in_one_line(text: str) -> None:
    """Neither an empty file, nor another's, nor broken JSON comes to a configuration."""
    with pytest.raises(ConfigError) as caught:
        converted(text)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_converted_is_named(tmp_path: Path) -> None:
    """Each key without an answer, and each that our loader refuses, is named with its reason."""
    text = """
        topics.regex = app-\\\\d+(?!x)
        splunk.hec.token = t
        splunk.hec.uri = nowhere
        splunk.hec.raw = true
        splunk.hec.raw.line.breaker = ###
        splunk.hec.json.event.enrichment = a=b
        splunk.hec.max.batch.size = 0
        splunk.hec.socket.timeout = soon
        splunk.hec.max.retries = 3
        splunk.indexes = a,b
        splunk.header.support = true
        splunk.sources = s
        splunk.hec.ssl.trust.store.path = /etc/store.jks
        transforms = mask
        consumer.override.ssl.truststore.location = /etc/store.jks
        consumer.override.sasl.jaas.config = Krb5LoginModule required;
        consumer.override.partition.assignment.strategy = mine.Own
        consumer.override.exotic = 1
        consumer.override.max.poll.records = 1
    """
    toml, _ = converted(text)
    notes = notes_of(text)
    config = loaded(toml, tmp_path)
    assert config.kafka.topics == ("^(app-[0-9]+(?!x))$",)
    assert config.route == (
        Route(value="raw", source="s", index="{header:splunk.header.index}",
              sourcetype="{header:splunk.header.sourcetype}", host="{header:splunk.header.host}"),
    )  # fmt: skip
    cannot = {name for name, note in notes.items() if note.kind == "cannot"}
    assert cannot == {
        *("name", "splunk.hec.uri", "splunk.hec.raw", "splunk.hec.raw.line.breaker", "splunk.indexes"),
        *("splunk.hec.max.batch.size", "splunk.hec.socket.timeout", "splunk.hec.max.retries", "transforms"),
        *("splunk.header.source", "splunk.hec.ssl.trust.store.path"),
        *(OVERRIDE + name for name in ("ssl.truststore.location", "sasl.jaas.config", "exotic")),
        OVERRIDE + "partition.assignment.strategy",
    }
    assert {name for name, note in notes.items() if note.kind == "look"} == {
        *("topics.regex", "splunk.hec.token", "splunk.hec.ack.enabled", "errors.deadletterqueue.topic.name"),
        OVERRIDE + "bootstrap.servers",
    }
    assert notes[OVERRIDE + "max.poll.records"].kind == "unneeded"


@pytest.mark.parametrize(
    ("converter", "value", "kind"),
    [
        ("org.apache.kafka.connect.storage.StringConverter", "text", None),
        ("org.apache.kafka.connect.converters.ByteArrayConverter", "text", None),
        ("io.confluent.connect.avro.AvroConverter", "text", "cannot"),
        ("", "text", "look"),
    ],
)
def test_converters_become_values(converter: str, value: str, kind: str | None, tmp_path: Path) -> None:
    """What reads a value there decides how it is read here; what has no answer is named."""
    text = f"topics=a\nvalue.converter={converter}\n"
    assert loaded(converted(text)[0], tmp_path).route[0].value == value
    note = notes_of(text).get("value.converter")
    assert (note.kind if note else None) == kind


# ---- for every configuration ---------------------------------------------------------------------------

NAMES = [*KEYS, *(OVERRIDE + name for name in (*OVERRIDES, *OVERRIDES_UNNEEDED, *OTHER_OVERRIDES))]
values = st.one_of(
    st.sampled_from(
        ["true", "false", "-1", "0", "7", "8", "a,b", "http://h:1", "/x.pem", "PEM", "^x", "{y}"]
    ),
    st.integers().map(str),
    st.text(max_size=12),
)
configurations = st.dictionaries(
    st.sampled_from(NAMES) | st.text(min_size=1, max_size=6), values, max_size=12
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(given_keys=configurations, is_json=st.booleans())
@example(given_keys={"splunk.indexes": "\x7f"}, is_json=False)
def test_whatever_is_given_our_loader_takes_what_comes_out(
    tmp_path: Path, given_keys: dict[str, str], is_json: bool
) -> None:
    """No configuration comes to a file that we refuse, and no key of it is passed over in silence."""
    given_keys = {"topics": "logs"} | given_keys
    if is_json:
        text = json.dumps(given_keys)
    else:
        text = "".join(f"{_escaped(name)}={_escaped(value)}\n" for name, value in given_keys.items())
    toml, notes = converted(text)
    loaded(toml, tmp_path)
    noted = {note.key for note in notes}
    for name in read_connect(text):
        kind = KEYS[name].kind if name in KEYS else "converted" if name.startswith(OVERRIDE) else "cannot"
        assert kind == "converted" or name in noted or not name.isprintable()


def _escaped(text: str) -> str:
    r"""Every UTF-16 unit as \uXXXX: right in any properties file."""
    units = text.encode("utf-16-be")
    return "".join(f"\\u{units[at] * 256 + units[at + 1]:04x}" for at in range(0, len(units), 2))


SAMPLES = {
    "name": "n",
    "topics": "a,b",
    "splunk.hec.uri": "http://h:8088",
    "splunk.hec.threads": "9",
    "splunk.hec.max.retries": "-1",
    "splunk.hec.json.event.enrichment": "a=b",
    "value.converter": "x.JsonConverter",
    "splunk.hec.ssl.trust.store.path": "/x.pem",
    "splunk.header.custom": "x",
}
NEEDS = {
    "splunk.header.custom": {"splunk.header.support": "true"},
    "value.converter.schemas.enable": {"value.converter": "x.JsonConverter"},
    "splunk.hec.ssl.trust.store.type": {"splunk.hec.ssl.trust.store.path": "/x"},
    **{f"splunk.header.{name}": {"splunk.header.support": "true"} for name in ("index", "source", "host")},
    "splunk.header.sourcetype": {"splunk.header.support": "true"},
}
SWITCHES = {
    *("splunk.hec.ack.enabled", "splunk.hec.enable.compression", "splunk.hec.raw", "splunk.hec.track.data"),
    *("splunk.hec.json.event.formatted", "splunk.header.support"),
}
OFF = {"splunk.hec.use.record.timestamp", "splunk.hec.ssl.validate.certs", "value.converter.schemas.enable"}


@pytest.mark.parametrize("key", [name for name, one in KEYS.items() if one.kind == "converted"])
def test_a_key_that_the_page_calls_converted_is(key: str) -> None:
    """Each such key changes the result, or what is said about it; so the page's table is true."""
    base = {"topics": "a", **NEEDS.get(key, {})} if key != "topics.regex" else {"splunk.x": ""}
    sample = "true" if key in SWITCHES else "false" if key in OFF else SAMPLES.get(key, "7")
    if key == "splunk.hec.ssl.trust.store.type":
        sample = "PEM"
    without, with_it = converted(json.dumps(base)), converted(json.dumps(base | {key: sample}))
    assert tomllib.loads(without[0]) != tomllib.loads(with_it[0]) or without[1] != with_it[1]
    assert f"| `{key}` |" in markdown_table()
