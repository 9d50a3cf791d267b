"""`config from-connect`: a configuration of Splunk Connect for Kafka as one of ours.

Pure. Guarantees: what comes out is accepted by our loader; every key that is not in it has a note that says
why; no secret is in either. Non-obvious: each value is shown to the loader before it is written, so that one
it refuses becomes a note.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

from splunk_hec.errors import ConfigError, one_line
from splunk_hec_kafka.config import load
from splunk_hec_kafka.config_show import toml_key, toml_value
from splunk_hec_kafka.connect_file import read_connect
from splunk_hec_kafka.connect_keys import KEYS, OVERRIDE, Note
from splunk_hec_kafka.connect_overrides import converted_overrides

TOKEN = "env:SPLUNK_HEC_TOKEN"  # noqa: S105 -- where it is, not what it is
_METADATA = {"index": "splunk.indexes", "source": "splunk.sources", "sourcetype": "splunk.sourcetypes"}
_SECONDS = {
    "splunk.hec.event.timeout": ("hec", "ack_deadline_s"),
    "splunk.hec.max.batch.size": ("hec", "batch_max_events"),
    "splunk.flush.window": ("hec", "linger_s"),
    "splunk.hec.max.outstanding.events": ("hec", "in_flight_max_events"),
    "splunk.hec.socket.timeout": ("hec", "request_deadline_s"),
}
"""Whole numbers that stay as they are."""
_LANES = 8
_STARTS = {"earliest": "earliest", "latest": "latest", "none": "fail"}
_JAVA_ONLY = re.compile(r"\\[dDwWsSbBpP]|\(\?|[*+?]\?")


def converted(text: str) -> tuple[str, list[Note]]:
    """Convert a file.

    Args:
        text: What it holds: properties, or JSON.

    Returns:
        The TOML, and what is to be known about it.

    Raises:
        ConfigError: It is no configuration of a connector.
    """
    conversion = _Conversion(read_connect(text))
    conversion.convert()
    return conversion.toml(), conversion.notes


class _Written(NamedTuple):
    value: Any
    origin: str


class _Conversion:
    """One file on its way."""

    def __init__(self, given: dict[str, str]) -> None:
        self._given = given
        self._tables: dict[str, dict[str, _Written]] = {}
        self._routes: list[dict[str, _Written]] = []
        self.notes: list[Note] = []

    def convert(self) -> None:
        self._hec()
        self._kafka()
        self._overrides()
        self._make_routes()
        topic = "errors.deadletterqueue.topic.name"
        if self._given.get(topic):
            self._put("dead_letter", "topic", self._given[topic], topic)
        else:
            self._note("look", topic, "not set: create the topic of dead_letter.topic, or name another")
        for key in self._given:
            known = KEYS.get(key)
            if known is not None and known.kind != "converted":
                self._note(known.kind, key, known.becomes)
            elif known is None and not key.startswith(OVERRIDE):
                self._note(
                    "cannot", key, "not a key of this connector, or of a transform: do it before Kafka"
                )

    def toml(self) -> str:
        lines = ["# Converted from Splunk Connect for Kafka by: hec-kafka-sink config from-connect"]
        for name, table in self._tables.items():
            lines += ["", f"[{name}]", *map(_line, table.items())]
        for route in self._routes:
            lines += ["", "[[route]]", *map(_line, route.items())]
        return "\n".join(lines) + "\n"

    # -- sections --------------------------------------------------------------------------------------

    def _hec(self) -> None:
        if uris := self._listed("splunk.hec.uri"):
            self._put(
                "hec", "url", [re.sub(r"/services/collector.*", "", one) for one in uris], "splunk.hec.uri"
            )
        if "splunk.hec.token" in self._given:
            self._put("hec", "token", TOKEN, "splunk.hec.token")
            self._note(
                "look",
                "splunk.hec.token",
                f"the token is not written; set it in {TOKEN.removeprefix('env:')}",
            )
        acks = "splunk.hec.ack.enabled"
        self._put("hec", "ack", "required" if self._flag(acks, default=False) else "off", acks)
        if not self._flag(acks, default=False):
            self._note("look", acks, "without acknowledgements an event may be lost after Splunk took it")
        for key, (table, name) in _SECONDS.items():
            if (number := self._number(key)) is not None:
                self._put(table, name, number, key)
        lanes = self._number("splunk.hec.threads")
        if lanes is not None and lanes > _LANES:
            self._put("hec", "lanes", lanes, "splunk.hec.threads")
        if (retries := self._number("splunk.hec.max.retries")) is not None:
            if retries < 0:
                self._put("hec", "give_up_after_s", 0, "splunk.hec.max.retries")
            else:
                self._note(
                    "cannot",
                    "splunk.hec.max.retries",
                    "there is no number of retries; see hec.give_up_after_s",
                )
        gzip, verify = "splunk.hec.enable.compression", "splunk.hec.ssl.validate.certs"
        self._put("hec", "gzip", "fast" if self._flag(gzip, default=False) else "off", gzip)
        self._put("hec", "verify", self._flag(verify, default=True), verify)
        path, kind = "splunk.hec.ssl.trust.store.path", "splunk.hec.ssl.trust.store.type"
        if self._given.get(path):
            if self._given.get(kind, "").upper() == "PEM" or self._given[path].endswith((".pem", ".crt")):
                self._put("hec", "ca_file", self._given[path], path)
            else:
                self._note(
                    "cannot", path, "a Java key store: export its certificates as PEM, and set hec.ca_file"
                )

    def _kafka(self) -> None:
        topics, expression = self._listed("topics"), self._given.get("topics.regex", "")
        if topics:
            self._put("kafka", "topics", topics, "topics")
        elif expression:
            ours = f"^({expression.replace(chr(92) + 'd', '[0-9]')})$"
            self._put("kafka", "topics", [ours], "topics.regex")
            if _JAVA_ONLY.search(ours):
                self._note("look", "topics.regex", "librdkafka takes POSIX expressions; see what 'lag' lists")
        group, name = f"{OVERRIDE}group.id", self._given.get("name", "")
        if self._given.get(group):
            self._put("kafka", "group_id", self._given[group], group)
        elif name:
            self._put("kafka", "group_id", f"connect-{name}", "name")
            self._note("look", "name", "Connect's own group: stop the connector before the sink starts")
        else:
            self._note("cannot", "name", "the file has none; set kafka.group_id (Connect's is connect-NAME)")
        servers = f"{OVERRIDE}bootstrap.servers"
        if self._given.get(servers):
            self._put("kafka", "bootstrap_servers", self._given[servers], servers)
        else:
            self._note(
                "look",
                servers,
                "the worker has it: set kafka.bootstrap_servers, and its security.* properties",
            )
        start = f"{OVERRIDE}auto.offset.reset"
        if start in self._given:
            self._put("kafka", "start", _STARTS.get(self._given[start].lower(), self._given[start]), start)

    def _overrides(self) -> None:
        own = {
            key.removeprefix(OVERRIDE): text for key, text in self._given.items() if key.startswith(OVERRIDE)
        }
        for one in converted_overrides(own):
            if isinstance(one, Note):
                self.notes.append(one)
            else:
                self._put("kafka.properties", one.name, one.value, one.key)

    # -- routes ----------------------------------------------------------------------------------------

    def _make_routes(self) -> None:
        topics = self._listed("topics")
        columns: dict[str, list[str]] = {}
        for name, key in _METADATA.items():
            values = self._listed(key)
            if len(values) in (0, 1, len(topics)):
                columns[name] = values
            else:
                self._note(
                    "cannot", key, f"{len(values)} values for {len(topics)} topics: write the routes by hand"
                )
        if all(len(set(values)) < 2 for values in columns.values()):
            self._routes.append(
                self._route(["*"], {name: values[0] for name, values in columns.items() if values})
            )
            return
        for at, topic in enumerate(topics):
            row = {name: values[at if len(values) > 1 else 0] for name, values in columns.items() if values}
            self._routes.append(self._route([topic], row))

    def _route(self, topics: list[str], metadata: dict[str, str]) -> dict[str, _Written]:
        route: dict[str, _Written] = {}
        is_first = not self._routes

        def put(name: str, value: Any, key: str) -> None:
            if self._is_possible(f"route.0.{name}", value, key if is_first else ""):
                route[name] = _Written(value, key)

        put("topics", topics, "topics")
        value, key = self._value(tells=is_first)
        put("value", value, key)
        has_headers = self._flag("splunk.header.support", default=False)
        for name in ("index", "source", "sourcetype", "host"):
            key, header = _METADATA.get(name, ""), f"splunk.header.{name}"
            named = self._given.get(header) or header
            if name in metadata:
                put(name, _literal(metadata[name]), key)
                if has_headers and is_first:
                    self._note(
                        "cannot", header, f"a header or else {key}: there is no 'or else'; {key} was taken"
                    )
            elif has_headers:
                put(name, f"{{header:{named}}}", header)
            elif name == "source":
                put(name, "", "")  # as before: the token decides
        if value == "raw":
            if is_first and self._fields(has_headers=has_headers):
                self._note("cannot", "splunk.hec.raw", "the raw endpoint takes no indexed fields")
            return route
        use, track = "splunk.hec.use.record.timestamp", "splunk.hec.track.data"
        put("time", "record" if self._flag(use, default=True) else "none", use)
        if track in self._given:
            put("provenance", self._flag(track, default=False), track)
        fields = self._fields(has_headers=has_headers)
        if fields:
            put(
                "fields",
                fields,
                "splunk.hec.json.event.enrichment, splunk.header.custom, splunk.hec.track.data",
            )
        return route

    def _fields(self, *, has_headers: bool) -> dict[str, str]:
        found: dict[str, str] = {}
        for pair in self._listed("splunk.hec.json.event.enrichment"):
            name, _, text = pair.partition("=")
            if name.strip():
                found[name.strip()] = _literal(text.strip())
        if has_headers:
            found |= {name: f"{{header:{name}}}" for name in self._listed("splunk.header.custom")}
        if self._flag("splunk.hec.track.data", default=False):
            found["kafka_record_key"] = "{key}"
        return found

    def _value(self, *, tells: bool) -> tuple[str, str]:
        """How values are read, and the key that says so."""
        if self._flag("splunk.hec.raw", default=False):
            return "raw", "splunk.hec.raw"
        if self._flag("splunk.hec.json.event.formatted", default=False):
            return "envelope", "splunk.hec.json.event.formatted"
        key, schemas = "value.converter", "value.converter.schemas.enable"
        converter = self._given.get(key, "").rpartition(".")[2]
        if converter == "JsonConverter":
            if tells and self._flag(schemas, default=True):
                self._note(
                    "cannot", schemas, "true: payload and schema are not taken apart; the whole is indexed"
                )
            return "json", key
        if tells and converter not in ("StringConverter", "ByteArrayConverter"):
            why = "the worker's is not known" if not converter else f"{one_line(converter)} is not converted"
            self._note("look" if not converter else "cannot", key, f"{why}: text is taken; see route.value")
        return "text", key

    # -- values ----------------------------------------------------------------------------------------

    def _put(self, table: str, name: str, value: Any, key: str) -> None:
        if self._is_possible(f"{table}.{toml_key(name)}", value, key):
            self._tables.setdefault(table, {})[name] = _Written(value, key)

    def _is_possible(self, key: str, value: Any, origin: str) -> bool:
        """Whether our loader takes a value; if not, that is noted under the key it came from."""
        try:
            load(None, {}, [f"{key}={toml_value(value)}"])
        except ConfigError as error:
            if origin:
                self._note("cannot", origin, f"not possible as {key}: {one_line(str(error).splitlines()[0])}")
            return False
        return True

    def _note(self, kind: Literal["cannot", "unneeded", "look"], key: str, text: str) -> None:
        self.notes.append(Note(kind, one_line(key), text))

    def _listed(self, key: str) -> list[str]:
        return [one.strip() for one in self._given.get(key, "").split(",") if one.strip()]

    def _flag(self, key: str, *, default: bool) -> bool:
        text = self._given.get(key, "").strip().lower()
        return default if text not in ("true", "false") else text == "true"

    def _number(self, key: str) -> int | None:
        text = self._given.get(key, "")
        if re.fullmatch(r"-?[0-9]{1,12}", text):
            return int(text)
        if key in self._given:
            self._note("cannot", key, "is no whole number")
        return None


def _literal(text: str) -> str:
    """A template that says just this."""
    return text.replace("{", "{{").replace("}", "}}")


def _line(item: tuple[str, _Written]) -> str:
    name, (value, origin) = item
    return f"{toml_key(name)} = {toml_value(value)}" + (f"  # {one_line(origin)}" if origin else "")
