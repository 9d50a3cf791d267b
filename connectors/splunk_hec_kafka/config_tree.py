"""The sink's configuration as a tree of frozen values.

Not for finding values (`config` merges file, environment and command line), for rules between keys
(`config_checks`), nor for showing them (`config_show`). Guarantee: no repr or pickle holds a literal token.
Non-obvious: `hec.url`, `hec.token`, `kafka.topics` and `kafka.group_id` may be empty here. Only the command
that needs them asks for them (`require`), so `config show` works on an empty configuration.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import asdict

from splunk_hec.config import REDACTED, HecConfig, hide_password, is_reference
from splunk_hec.errors import ConfigError
from splunk_hec.events import FieldValue
from splunk_hec_kafka.kafka_properties import Properties, is_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
DESCRIBED = frozenset({"avro", "protobuf", "json-schema"})
"""The values that need a schema registry."""
METADATA = ("index", "source", "sourcetype", "host")
HEC_TOKEN = "hec.token"  # noqa: S105 -- a key, not a token
"""Where the token of all routes stands that have none of their own."""
REQUIRED_TO_READ = ("kafka.topics", "kafka.group_id")
REQUIRED_TO_RUN = (*REQUIRED_TO_READ, "hec.url", HEC_TOKEN)


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration; its repr hides secrets."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={_hidden(name, value)!r}" for name, value in asdict(self).items())
        return f"{type(self).__name__}({shown})"


class Run(Section, frozen=True):
    """[run]: the process.

    Attributes:
        shutdown_s: Longest orderly end: drain, dead letters, commit; keep it below the grace period of
            Kubernetes and Docker.
        startup_timeout_s: How long to wait for a broker at start before the process ends (exit 4).
        processes: Processes that share the partitions, under one supervisor.
    """

    shutdown_s: Positive = 20
    startup_timeout_s: Positive = 60
    processes: Count = 1


class Hec(Section, frozen=True):
    """[hec]: the client. What each key means is written in `splunk_hec.HecConfig`."""

    url: str | tuple[str, ...] = ""
    token: str = ""
    ack: Literal["required", "auto", "off"] = "required"
    lanes: int = 8
    batch_max_bytes: int = 1_000_000
    batch_max_events: int = 5_000
    event_max_bytes: int = 5_000_000
    linger_s: float = 0.5
    gzip: Literal["fast", "small", "off"] = "fast"
    in_flight_max_bytes: int = 268_435_456
    in_flight_max_events: int = 2_000_000
    request_deadline_s: float = 60
    ack_deadline_s: float = 300
    on_ack_timeout: Literal["resend", "unconfirmed"] = "resend"
    give_up_after_s: float = 0
    halt_patience_s: float = 300
    verify: bool = True
    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""
    proxy: str = ""

    def __reduce__(self) -> Any:
        return _rebuild, (Hec, _picklable(self))


class Kafka(Section, frozen=True):
    """[kafka]: where records come from.

    Attributes:
        bootstrap_servers: Brokers, `host:port`, separated by commas.
        topics: Names, or regular expressions that start with `^`. Required.
        group_id: The consumer group. Required.
        start: Where a partition without a committed offset begins: `earliest`, `latest`, or `fail`.
        commit_interval_s: Longest time between two commits, 1 to 2.
        settled_runs_in_commits: Store beside each committed offset what is settled beyond it, so that less is
            sent again after a crash.
        properties: Any librdkafka property; those that would break the promise are refused by name.
    """

    bootstrap_servers: str = "localhost:9092"
    topics: tuple[str, ...] = ()
    group_id: str = ""
    start: Literal["earliest", "latest", "fail"] = "earliest"
    commit_interval_s: Annotated[float, Meta(ge=1, le=2)] = 2
    settled_runs_in_commits: bool = False
    properties: Properties = {}


class Route(Section, frozen=True):
    """[[route]]: what becomes of the records of some topics. The first match wins.

    Attributes:
        topics: Names or globs.
        action: `send`, or `drop` (counted as skipped).
        value: How a value is read: `text`; `json`, indexed as JSON; `envelope`, a ready HEC object whose
            keys win over the route's; `raw`, for the raw endpoint; with a schema registry `avro`, `protobuf`
            or `json-schema`, indexed as JSON.
        invalid_utf8: `reject` (a dead letter), or `replace` the bad bytes.
        index: Template; empty: the token's default index.
        source: Template.
        sourcetype: Template.
        host: Template.
        token: Another token for this route; empty: hec.token. While Splunk refuses it, only the partitions of
            its topics are paused.
        time: `record`, `header:NAME`, `field:a.b`, or `none`: Splunk's time of receipt.
        fields: Indexed fields; texts are templates.
        provenance: Add the indexed fields kafka_topic, kafka_partition and kafka_offset, by which loss
            and duplicates can be searched; costs one unique indexed term an event.
    """

    topics: Annotated[tuple[str, ...], Meta(min_length=1)] = ("*",)
    action: Literal["send", "drop"] = "send"
    value: Literal["text", "json", "envelope", "raw", "avro", "protobuf", "json-schema"] = "text"
    invalid_utf8: Literal["reject", "replace"] = "reject"
    index: str = ""
    source: str = "kafka:{topic}"
    sourcetype: str = ""
    host: str = ""
    token: str = ""
    time: str = "record"
    fields: dict[str, FieldValue] = {}
    provenance: bool = True

    def __reduce__(self) -> Any:
        return _rebuild, (Route, _picklable(self))


class Registry(Section, frozen=True):
    """[registry]: the schema registry, for the values `avro`, `protobuf` and `json-schema`.

    Attributes:
        url: `http://HOST:PORT` or `https://…`; several are separated by commas.
        properties: Any property of confluent-kafka's SchemaRegistryClient, as `basic.auth.user.info`,
            `ssl.ca.location`.
    """

    url: str = ""
    properties: Properties = {}


class DeadLetter(Section, frozen=True):
    """[dead_letter]: where records go that Splunk will never take.

    Attributes:
        topic: Must exist (it is never created silently) and must not be compacted.
        on_reject: `dead_letter`, or `fail`: stop with exit 6, nothing committed past the record.
        max_ratio: Of dead letters in the last 10,000 settled records, judged from 1,000 on; above it the
            sink stops (exit 6).
        max_consecutive: Longest run of dead letters; beyond it the sink stops (exit 6).
        properties: librdkafka producer properties; with `bootstrap.servers` the dead letters go to another
            cluster, and nothing of kafka.properties is used for it.
    """

    topic: str = "hec-kafka-sink.dead-letters"
    on_reject: Literal["dead_letter", "fail"] = "dead_letter"
    max_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.5
    max_consecutive: Count = 10_000
    properties: Properties = {}


class Server(Section, frozen=True):
    """[server]: /metrics, /livez and /readyz.

    Attributes:
        listen: `HOST:PORT`; empty: none; port 0 picks one and logs it.
    """

    listen: str = "127.0.0.1:9099"


class Log(Section, frozen=True):
    """[log]: standard error.

    Attributes:
        format: `auto` (rich on a terminal, else JSON lines), `json`, or `text`.
        level: Least level that is written.
    """

    format: Literal["auto", "json", "text"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class SinkConfig(Section, frozen=True):
    """The whole configuration. Immutable; read from any thread."""

    run: Run = Run()
    hec: Hec = Hec()
    kafka: Kafka = Kafka()
    route: tuple[Route, ...] = ()
    registry: Registry = Registry()
    dead_letter: DeadLetter = DeadLetter()
    server: Server = Server()
    log: Log = Log()


def token_keys(hec_token: str, routes: Sequence[Route]) -> dict[str, str]:
    """Every token that is configured, and the first key that holds it."""
    keys = {hec_token: HEC_TOKEN, "": HEC_TOKEN}
    for number, route in enumerate(routes):
        keys.setdefault(route.token, f"route.{number}.token")
    return keys


def hec_of(config: SinkConfig, token_key: str) -> Hec:
    """The `[hec]` section with the token that a key names.

    Args:
        config: The sink's configuration.
        token_key: `hec.token` or `route.N.token`.
    """
    if token_key == HEC_TOKEN:
        return config.hec
    return msgspec.structs.replace(config.hec, token=config.route[int(token_key.split(".")[1])].token)


def hec_config(
    config: SinkConfig, kind: Literal["event", "raw"], token_key: str = HEC_TOKEN, *, clients: int = 1
) -> HecConfig:
    """The client configuration for one endpoint kind and token.

    Args:
        config: The sink's configuration, with hec.url and hec.token set.
        kind: `event` or `raw`.
        token_key: Where the token stands: `hec.token` or `route.N.token`.
        clients: How many share `hec.lanes`; each has at least one for each url.

    Returns:
        The `[hec]` section; metadata comes from routes, so none is set.

    Raises:
        ConfigError: A value is out of range, or url or token are empty.
    """
    found = HecConfig(**asdict(hec_of(config, token_key)), endpoint=kind)
    lanes = max(len(found.urls), found.lanes // clients)
    return found if lanes == found.lanes else msgspec.structs.replace(found, lanes=lanes)


def require(config: SinkConfig, keys: Iterable[str] = REQUIRED_TO_RUN) -> None:
    """Demand the keys that a command cannot work without.

    Args:
        config: The sink's configuration.
        keys: Dotted keys, e.g. `REQUIRED_TO_READ` or `REQUIRED_TO_RUN`.

    Raises:
        ConfigError: Some are empty; one line for each, with the ways to give it.
    """
    flags = {"kafka.topics": "-t TOPIC, ", "kafka.group_id": "-g GROUP, ", "hec.url": "--hec-url URL, "}
    lines: list[str] = []
    for key in keys:
        section, name = key.split(".")
        if not getattr(getattr(config, section), name):
            variable = f"HEC_SINK_{section.upper()}__{name.upper()}"
            lines.append(f"{key}: not set; give {flags.get(key, '')}{variable}, or {key} in the file")
    if lines:
        raise ConfigError("\n".join(lines))


def attribute_docs(struct: type) -> dict[str, str]:
    """What each key of a section means: the `Attributes:` of its docstring, each joined to one line."""
    text = (inspect.getdoc(HecConfig if struct is Hec else struct) or "").partition("Attributes:\n")[2]
    found = re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", text, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", meaning) for name, meaning in found}


def hide(key: str, value: Any) -> Any:
    """`value` as it may be shown: literal tokens and passwords replaced.

    Args:
        key: Dotted key.
        value: Its value.

    Returns:
        The value, or the same with what is secret replaced.
    """
    name = key.rpartition("properties.")[2] if "properties." in key else key.rpartition(".")[2]
    return _hidden(name, value)


def _hidden(name: str, value: Any) -> Any:
    if name == "properties":
        return {key: _hidden(key, one) for key, one in value.items()}
    if name == "proxy":
        return hide_password(value)
    if (name == "token" or is_secret(name)) and value and not is_reference(str(value)):
        return REDACTED
    return value


def _picklable(section: Hec | Route) -> dict[str, Any]:
    if section.token and not is_reference(section.token):
        raise TypeError("a configuration with a literal token is not pickled; use env:NAME or file:PATH")
    return asdict(section)


def _rebuild(section: type[Hec | Route], values: dict[str, Any]) -> Hec | Route:
    return section(**values)
