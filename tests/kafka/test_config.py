"""The configuration: every default of the published interface, precedence, and errors people can act on."""

from __future__ import annotations

import pickle
import tomllib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from splunk_hec import HecConfig
from splunk_hec.errors import ConfigError
from splunk_hec_kafka.config import (
    REQUIRED_TO_READ,
    Hec,
    Route,
    SinkConfig,
    hec_config,
    load,
    require,
)
from splunk_hec_kafka.config_keys import KEYS, OPEN_TABLES
from splunk_hec_kafka.config_show import json_schema, markdown_table, show_json, show_toml
from splunk_hec_kafka.kafka_properties import connection_properties, resolved

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "5up3r-secret"
VARIABLE = "HEC_SINK_KAFKA__GROUP_ID"

# The block of defaults as the interface publishes it; lines marked `# example` are not defaults.
INTERFACE = r"""
[run]
shutdown_s = 20                           # below Kubernetes' and Docker's grace period
startup_timeout_s = 60
processes = 1
[hec]
url = "https://splunk.example:8088"       # example; one, or an array
token = "env:SPLUNK_HEC_TOKEN"            # example
ack = "required"                          # required | auto (probed at start) | off
lanes = 8                                 # in all, per process; at least one per url
batch_max_bytes = 1_000_000               # decoded
batch_max_events = 5_000
event_max_bytes = 5_000_000               # one encoded envelope; larger is too_large
linger_s = 0.5
gzip = "fast"                             # fast | small | off
in_flight_max_bytes = 268_435_456         # memory held: bodies as kept, originals; per process
in_flight_max_events = 2_000_000
request_deadline_s = 60
ack_deadline_s = 300
on_ack_timeout = "resend"                 # resend | unconfirmed
give_up_after_s = 0                       # 0 = never
halt_patience_s = 300                     # 0 = exit at once
verify = true
ca_file = ""
client_cert = ""
client_key = ""
proxy = ""                                # "" none | "env" | URL
[kafka]
bootstrap_servers = "localhost:9092"
topics = ["app-logs", "^audit\\..*"]      # example; names, or regular expressions that start with ^
group_id = "splunk-app-logs"              # example; required
start = "earliest"                        # without a committed offset: earliest | latest | fail
commit_interval_s = 2                     # 1 to 2
settled_runs_in_commits = false           # needs topic ids; what they tell is not sent again after a crash
[kafka.properties]                        # any librdkafka property
[[route]]                                 # first match wins; what no route matches gets the defaults below
topics = ["*"]                            # names or globs
action = "send"                           # send | drop (counted as skipped)
value = "text"                            # text | json | envelope | raw; with [registry]: avro | protobuf
invalid_utf8 = "reject"                   # reject | replace
index = ""
source = "kafka:{topic}"
sourcetype = ""
host = ""
token = ""                                # another token for this route
time = "record"                           # record | header:NAME | field:a.b | none
fields = {}                               # example: { team = "{header:team}", key = "{key}" }
provenance = true                         # indexed fields kafka_topic, kafka_partition, kafka_offset
[registry]                                # for the values avro, protobuf and json-schema
url = ""
[registry.properties]                     # any property of confluent-kafka's SchemaRegistryClient
[dead_letter]
topic = "hec-kafka-sink.dead-letters"     # must exist (never created silently) and must not be compacted
on_reject = "dead_letter"                 # dead_letter | fail
max_ratio = 0.5                           # over the last 10,000 settled, judged from 1,000 on
max_consecutive = 10_000
[dead_letter.properties]                  # librdkafka producer properties, e.g. for another cluster
[server]
listen = "127.0.0.1:9099"                 # "" = none; port 0 picks one and logs it
[log]
format = "auto"                           # auto = rich on a terminal, else JSON lines | json | text
level = "info"
"""
EXAMPLES = {("hec", "url"), ("hec", "token"), ("kafka", "topics"), ("kafka", "group_id")}


def file_with(tmp_path: Path, text: str) -> Path:
    """A configuration file."""
    path = tmp_path / "sink.toml"
    path.write_text(text, encoding="utf-8")
    return path


def errors_of(*args: Any, **kwargs: Any) -> list[str]:
    """The lines of the ConfigError that loading ends in."""
    with pytest.raises(ConfigError) as caught:
        load(*args, **kwargs)
    return str(caught.value).split("\n")


def published() -> dict[tuple[str, ...], Any]:
    """The block as pattern → value."""
    found: dict[tuple[str, ...], Any] = {}
    for section, keys in tomllib.loads(INTERFACE).items():
        prefix = (section,) if isinstance(keys, dict) else (section, "*")
        for name, value in (keys if isinstance(keys, dict) else keys[0]).items():
            found[(*prefix, name)] = value
    return found


class TestDefaults:
    """What holds when nobody says anything."""

    def test_every_published_default_is_the_default(self) -> None:
        """A key left out has the value that the interface publishes for it."""
        for pattern, value in published().items():
            if pattern in EXAMPLES:
                continue
            default = KEYS[pattern].default
            assert (list(default) if isinstance(default, tuple) else default) == value, pattern

    def test_no_key_exists_that_is_not_published(self) -> None:
        """The sink has exactly the published keys."""
        assert set(KEYS) == set(published())

    def test_the_published_block_is_a_valid_file_and_equals_the_defaults(self, tmp_path: Path) -> None:
        """Somebody who starts from the published block gets the defaults, and no complaint."""
        loaded = load(file_with(tmp_path, INTERFACE), {})
        bare = load(
            None,
            {},
            ["hec.url=['https://splunk.example:8088']", "hec.token=env:SPLUNK_HEC_TOKEN"],
            {"kafka.topics": ["app-logs", r"^audit\..*"], "kafka.group_id": "splunk-app-logs"},
        )
        assert loaded.warnings == ()
        assert loaded.config.route == (Route(),)
        assert msgspec.structs.replace(loaded.config, route=()) == bare.config

    def test_hec_section_is_the_clients_configuration(self) -> None:
        """`[hec]` has the keys and defaults of HecConfig, so that its documentation is true for both."""
        decided_by_routes = {"endpoint", "index", "source", "sourcetype", "host", "fields", "threads"}
        client = {field.name: field for field in msgspec.structs.fields(HecConfig)}
        section = {field.name: field for field in msgspec.structs.fields(Hec)}
        assert set(section) == set(client) - decided_by_routes
        for name in set(section) - {"url", "token"}:
            assert section[name].default == client[name].default, name
            assert section[name].type == client[name].type, name

    def test_nothing_given_is_a_configuration(self) -> None:
        """`config show` works before anything is configured."""
        loaded = load(None, {})
        assert loaded.config == SinkConfig()
        assert set(loaded.origins.values()) == {"default"}


class TestPrecedence:
    """Which source wins."""

    @pytest.mark.parametrize(
        ("sources", "value", "origin"),
        [
            (({}, [], {}), "file", "file {path}"),
            (({VARIABLE: "env"}, [], {}), "env", f"environment {VARIABLE}"),
            (({VARIABLE: "env"}, ["kafka.group_id=set"], {}), "set", "--set"),
            (
                ({VARIABLE: "env"}, ["kafka.group_id=set"], {"kafka.group_id": "flag"}),
                "flag",
                "command line",
            ),
            (({}, [], {"kafka.group_id": None}), "file", "file {path}"),
        ],
    )
    def test_the_stronger_source_wins(
        self, tmp_path: Path, sources: tuple[Any, ...], value: str, origin: str
    ) -> None:
        """Flags and --set beat the environment, which beats the file; the origin says which it was."""
        path = file_with(tmp_path, "[kafka]\ngroup_id = 'file'\n")
        loaded = load(path, *sources)
        assert loaded.config.kafka.group_id == value
        assert loaded.origins["kafka.group_id"] == origin.format(path=path)

    def test_one_key_of_a_route_is_changed_alone(self, tmp_path: Path) -> None:
        """`route.0.index` from outside leaves the file's other keys of that route in force."""
        path = file_with(tmp_path, "[[route]]\ntopics = ['a']\nhost = 'h'\n[[route]]\ntopics = ['b']\n")
        loaded = load(path, {"HEC_SINK_ROUTE__1__HOST": "e"}, ["route.0.index=x"])
        assert loaded.config.route == (
            Route(topics=("a",), host="h", index="x"),
            Route(topics=("b",), host="e"),
        )
        assert loaded.origins["route.0.index"] == "--set"
        assert loaded.origins["route.1.index"] == "default"

    def test_an_array_of_routes_replaces_all_routes(self, tmp_path: Path) -> None:
        """Routes given as a whole do not mix with weaker ones: their order decides what they mean."""
        path = file_with(tmp_path, "[[route]]\ntopics = ['a']\nhost = 'h'\n[[route]]\n")
        loaded = load(path, {"HEC_SINK_ROUTE": "[{topics=['c']}]"})
        assert loaded.config.route == (Route(topics=("c",)),)

    def test_an_empty_route_counts(self, tmp_path: Path) -> None:
        """`[[route]]` without keys is a catch-all at its place, not nothing."""
        path = file_with(tmp_path, "[[route]]\n[[route]]\ntopics = ['b']\n")
        assert load(path, {}).config.route == (Route(), Route(topics=("b",)))


class TestValues:
    """How words become values."""

    @pytest.mark.parametrize(
        ("text", "key", "value"),
        [
            ("kafka.group_id=2024", "group_id", "2024"),
            ("kafka.group_id=2024-01-01", "group_id", "2024-01-01"),
            ("kafka.group_id=true", "group_id", "true"),
            ("kafka.group_id='quoted'", "group_id", "quoted"),
            ("kafka.group_id=a=b", "group_id", "a=b"),
            ("kafka.group_id=a\nstart = 'latest'", "group_id", "a\nstart = 'latest'"),
            ("kafka.group_id='g'\nstart = 'latest'", "group_id", "'g'\nstart = 'latest'"),
            ("kafka.topics=a", "topics", ("a",)),
            ("kafka.topics=a, b", "topics", ("a", "b")),
            ("kafka.topics=^a{1,2}", "topics", ("^a{1,2}",)),
            ("kafka.topics=['a', 'b']", "topics", ("a", "b")),
            ("kafka.properties.debug=7", "properties", {"debug": 7}),
            ("kafka.commit_interval_s=1.5", "commit_interval_s", 1.5),
        ],
    )
    def test_words_are_read_as_the_key_needs(self, text: str, key: str, value: object) -> None:
        """VALUE is TOML where that fits the key, else the text itself."""
        assert getattr(load(None, {}, [text]).config.kafka, key) == value

    def test_no_server(self) -> None:
        """An empty address means that nothing listens."""
        assert load(None, {}, ["server.listen="]).config.server.listen == ""

    def test_several_urls(self) -> None:
        """hec.url from one word may name several endpoints."""
        loaded = load(None, {"HEC_SINK_HEC__URL": "https://a:8088,https://b:8088"})
        assert loaded.config.hec.url == ("https://a:8088", "https://b:8088")

    @pytest.mark.parametrize(
        "source",
        [
            {"env": {"HEC_SINK_KAFKA__PROPERTIES__SECURITY_PROTOCOL": "SSL"}},
            {"env": {"HEC_SINK_KAFKA__PROPERTIES": "{'security.protocol'='SSL'}"}},
            {"sets": ['kafka.properties."security.protocol"=SSL']},
            {"sets": ["kafka.properties.security.protocol=SSL"]},
        ],
    )
    def test_properties_can_be_addressed_everywhere(self, source: dict[str, Any]) -> None:
        """Librdkafka's dotted names work quoted, unquoted, and with `_` in variables."""
        loaded = load(None, source.get("env", {}), source.get("sets", ()))
        assert loaded.config.kafka.properties == {"security.protocol": "SSL"}

    def test_properties_in_a_file_need_no_quotes(self, tmp_path: Path) -> None:
        """TOML reads `a.b = 1` as nested tables; here it is the property `a.b`."""
        path = file_with(tmp_path, "[kafka.properties]\nsecurity.protocol = 'SSL'\ndebug = 'cgrp'\n")
        assert load(path, {}).config.kafka.properties == {"security.protocol": "SSL", "debug": "cgrp"}

    def test_kubernetes_service_variables_are_not_ours(self) -> None:
        """A Kubernetes service named hec-sink injects variables that must not stop the sink."""
        env = {
            "HEC_SINK_SERVICE_HOST": "10.0.0.1",
            "HEC_SINK_SERVICE_PORT_METRICS": "9099",
            "HEC_SINK_PORT": "tcp://10.0.0.1:9099",
            "HEC_SINK_PORT_9099_TCP_ADDR": "10.0.0.1",
            "HEC_SINK_CONFIG": "/etc/sink.toml",
            "OTHER": "x",
        }
        assert load(None, env).config == SinkConfig()


class TestErrors:
    """What a mistake looks like."""

    @pytest.mark.parametrize(
        ("sets", "parts"),
        [
            ("kafka.grup_id=x", ("--set", "kafka.grup_id", "unknown key", "kafka.group_id")),
            ("kafak.group_id=x", ("kafak.group_id", "kafka.group_id")),
            ("route.3.indx=x", ("route.3.indx", "route.3.index")),
            ("hec.ack=requird", ("hec.ack", "'requird'", "required, auto, off", "mean required")),
            ("hec.verify=no", ("hec.verify", "'no'", "bool")),
            ("hec.lanes=0", ("--set", "hec.lanes", "greater than 0")),
            ("hec.url=splunk:8088", ("--set", "hec", "https://host:8088")),
            ("kafka.commit_interval_s=5", ("kafka.commit_interval_s", "5", "1 to 2")),
            ("dead_letter.max_ratio=2", ("dead_letter.max_ratio", "2")),
            ("run.processes=0", ("run.processes", "0")),
            ("kafka.topics=['^(']", ("kafka.topics", "'^('", "regular expression")),
            ("kafka.topics=['']", ("kafka.topics", "empty")),
            ("kafka.bootstrap_servers=", ("kafka.bootstrap_servers", "host:port")),
            ("server.listen=9099", ("server.listen", "'9099'", "127.0.0.1:9099")),
            ("server.listen=:9099", ("server.listen", "':9099'")),
            ("server.listen=a:b", ("server.listen", "'a:b'")),
            ("dead_letter.topic=", ("dead_letter.topic", "is empty", "on_reject")),
            ("run=5", ("run", "table", "[run]")),
            ("route=5", ("route", "[[route]]")),
            ("route.index=x", ("route.index", "[[route]]")),
            ("route.1.index=x", ("route.0", "number routes from 0")),
            ("route.0.topics=[]", ("route.0.topics",)),
            ("route.0.index={topic", ("route.0.index", "brace", "{{")),
            ("route.0.fields.a={x}", ("route.0.fields.a", "{x}", "{header:NAME}")),
            ("route.0.fields.a=nan", ("route.0.fields", "JSON")),
            ("route.0.fields.a=[['x']]", ("route.0.fields.a",)),
            ("route.0.time=header", ("route.0.time", "header:NAME")),
            ("kafka.properties={a=[1]}", ("kafka.properties.a",)),
            ("novalue", ("--set novalue", "KEY=VALUE")),
            ("a b=1", ("--set a b", "KEY=VALUE")),
            ("=1", ("KEY=VALUE",)),
        ],
    )
    def test_an_error_says_where_what_and_how_to_mend(self, sets: str, parts: tuple[str, ...]) -> None:
        """Each mistake is one line that names its source, its key, what is wrong, and the fix."""
        lines = errors_of(None, {}, [sets])
        assert len(lines) == 1
        assert all(part in lines[0] for part in parts), lines

    @pytest.mark.parametrize(
        ("variable", "near"),
        [
            ("HEC_SINK_HEC_TOKEN", "HEC_SINK_HEC__TOKEN"),
            ("HEC_SINK_KAFKA__TOPIC", "HEC_SINK_KAFKA__TOPICS"),
            ("HEC_SINK_LOG_LEVEL", "HEC_SINK_LOG__LEVEL"),
        ],
    )
    def test_an_unknown_variable_names_the_nearest(self, variable: str, near: str) -> None:
        """A misspelt variable is an error, not silence, and says what was probably meant."""
        (line,) = errors_of(None, {variable: SECRET})
        assert variable in line
        assert near in line
        assert SECRET not in line

    def test_all_mistakes_are_told_at_once(self, tmp_path: Path) -> None:
        """One run shows every mistake of every source."""
        path = file_with(tmp_path, "[hec]\nackk = 1\n[log]\nlevel = 'loud'\n")
        lines = errors_of(path, {"HEC_SINK_FOO": "1"}, ["kafka.x=1"])
        assert len(lines) == 4
        assert sum(line.startswith(f"file {path}: ") for line in lines) == 2

    @pytest.mark.parametrize(
        ("content", "part"),
        [(b"[hec\n", "TOML"), (b"a = '\xff'\n", "UTF-8"), (None, "existing file")],
    )
    def test_an_unreadable_file_is_one_line(self, tmp_path: Path, content: bytes | None, part: str) -> None:
        """A file that is missing, broken or not UTF-8 is named with what is wrong."""
        path = tmp_path / "sink.toml"
        if content is not None:
            path.write_bytes(content)
        (line,) = errors_of(path, {})
        assert str(path) in line
        assert part in line

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("[[route]]\nvalue = 'avro'\n", "registry.url: is empty, but route.0 reads value = 'avro'"),
            (f"[registry]\nurl = 'http://u:{SECRET}@r'\n", "registry.url: holds a user or password"),
        ],
    )
    def test_a_registry_has_an_address_without_secrets(self, tmp_path: Path, text: str, part: str) -> None:
        """Values that need a schema registry name one; a password in its address would be shown."""
        (line,) = errors_of(file_with(tmp_path, text), {})
        assert part in line
        assert SECRET not in line

    def test_the_dead_letter_topic_may_not_be_consumed(self) -> None:
        """Dead letters that the sink itself reads would circle for ever."""
        for topics in ("hec-kafka-sink.dead-letters", "^hec-.*", "^.*letters"):
            (line,) = errors_of(None, {}, [f"kafka.topics={topics}"])
            assert "dead_letter.topic" in line
        fine = (
            ["kafka.topics=^hec-.*", "dead_letter.on_reject=fail"],
            ["kafka.topics=^hec-.*", "kafka.properties.topic.blacklist=^hec-kafka-sink"],
            ["kafka.topics=^hec-.*", "dead_letter.properties.bootstrap.servers=other:9092"],
            ["kafka.topics=^letters"],
        )
        for sets in fine:
            load(None, {}, sets)

    def test_a_raw_route_takes_no_fields(self) -> None:
        """What the raw endpoint cannot carry is refused where it was asked for, and only there."""
        raw = "route.0.value=raw"
        for sets in ("route.0.fields.a=b", "route.0.provenance=true", "route.0.time=header:t"):
            (line,) = errors_of(None, {}, [raw, sets])
            assert "raw" in line
        load(None, {}, [raw])
        load(None, {}, [raw, "route.0.provenance=false", "route.0.time=none"])

    def test_a_posix_class_in_a_topic_pattern_is_no_mistake(self) -> None:
        """Librdkafka takes POSIX expressions; Python's doubts about them are not the user's."""
        assert load(None, {}, ["kafka.topics=^[[:alpha:]]+x"]).config.kafka.topics

    def test_require_names_every_missing_key_and_the_ways_to_give_it(self) -> None:
        """A command that lacks keys says all of them, with flag, variable and file key."""
        with pytest.raises(ConfigError) as caught:
            require(SinkConfig())
        text = str(caught.value)
        assert len(text.split("\n")) == 4
        for part in ("-t TOPIC", "-g GROUP", "--hec-url", "HEC_SINK_HEC__TOKEN", "hec.token in the file"):
            assert part in text
        loaded = load(None, {}, ["kafka.topics=a", "kafka.group_id=g"])
        require(loaded.config, REQUIRED_TO_READ)


class TestProperties:
    """What librdkafka properties may not do."""

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("enable.auto.commit", "kafka.commit_interval_s"),
            ("auto.commit.enable", "kafka.commit_interval_s"),
            ("auto.commit.interval.ms", "kafka.commit_interval_s"),
            ("enable.auto.offset.store", "kafka.commit_interval_s"),
            ("offset.store.method", "kafka.commit_interval_s"),
            ("enable.partition.eof", "remove it"),
            ("auto.offset.reset", "kafka.start"),
            ("group.id", "kafka.group_id"),
            ("bootstrap.servers", "kafka.bootstrap_servers"),
            ("metadata.broker.list", "kafka.bootstrap_servers"),
        ],
    )
    def test_a_property_that_breaks_the_promise_is_refused_by_name(self, name: str, hint: str) -> None:
        """No librdkafka property can make offsets move before records are settled."""
        (line,) = errors_of(None, {}, [f'kafka.properties."{name}"=x'])
        assert name in line
        assert hint in line

    @pytest.mark.parametrize(
        "text",
        [
            "acks=1",
            "acks=0",
            "request.required.acks=1",
            "transactional.id=t",
            "delivery.report.only.error=true",
            "delivery.timeout.ms=0",
            "message.timeout.ms=0",
        ],
    )
    def test_a_dead_letter_is_written_safely_or_not_at_all(self, text: str) -> None:
        """No property can make a dead letter count as written too early, or never be reported."""
        (line,) = errors_of(None, {}, [f"dead_letter.properties.{text}"])
        assert text.partition("=")[0] in line

    @pytest.mark.parametrize(
        "text",
        [
            "kafka.properties.group.instance.id=a",
            "kafka.properties.message.max.bytes=2000000",
            "kafka.properties.isolation.level=read_uncommitted",
            "kafka.properties.partition.assignment.strategy=cooperative-sticky",
            "dead_letter.properties.acks=all",
            "dead_letter.properties.acks=-1",
            "dead_letter.properties.delivery.timeout.ms=1000",
            "dead_letter.properties.delivery.report.only.error=false",
        ],
    )
    def test_harmless_properties_pass(self, text: str) -> None:
        """Everything else of librdkafka is the user's to choose."""
        load(None, {}, [text])

    def test_only_what_leads_to_the_cluster_is_shared(self) -> None:
        """Other clients of the cluster get its TLS and SASL, not the consumer's tuning."""
        given = {
            "security.protocol": "SSL",
            "ssl.ca.location": "x",
            "fetch.min.bytes": 1,
            "session.timeout.ms": 1,
        }
        assert connection_properties(given) == {"security.protocol": "SSL", "ssl.ca.location": "x"}

    def test_secret_properties_are_looked_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A password may be a reference, resolved when a client is made; booleans are librdkafka's."""
        monkeypatch.setenv("KAFKA_PASSWORD", SECRET)
        given = {"sasl.password": "env:KAFKA_PASSWORD", "enable.ssl.certificate.verification": False}
        assert resolved(given) == {
            "sasl.password": SECRET,
            "enable.ssl.certificate.verification": "false",
        }
        monkeypatch.delenv("KAFKA_PASSWORD")
        with pytest.raises(ConfigError, match=r"sasl\.password.*env:KAFKA_PASSWORD"):
            resolved(given)


class TestSecrets:
    """Where secrets are never seen."""

    LITERALS = (
        f"hec.token={SECRET}",
        f"route.0.token={SECRET}",
        f'kafka.properties."sasl.password"={SECRET}',
        f"dead_letter.properties.ssl.key.password={SECRET}",
        f"kafka.properties={{'ssl.key.pem'='{SECRET}'}}",
        f'registry.properties."basic.auth.user.info"=u:{SECRET}',
        f"hec.proxy=http://user:{SECRET}@proxy:3128",
    )

    @pytest.mark.parametrize("text", LITERALS)
    def test_a_secret_on_the_command_line_is_refused_without_being_shown(self, text: str) -> None:
        """Every user of a machine can read command lines; the refusal itself must not repeat the secret."""
        lines = errors_of(None, {}, [text])
        assert any("env:NAME or file:PATH" in line for line in lines)
        assert SECRET not in "\n".join(lines)

    def test_a_secret_in_a_flag_is_refused_too(self) -> None:
        """Whatever flag a command adds, a literal token does not pass it."""
        lines = errors_of(None, {}, (), {"hec.token": SECRET})
        assert "env:NAME" in lines[0]
        assert SECRET not in lines[0]

    def test_references_pass_everywhere(self) -> None:
        """`env:` and `file:` are what the refusals ask for."""
        sets = ["hec.token=file:/run/token", 'kafka.properties."sasl.password"=env:P']
        assert load(None, {}, sets).config.hec.token == "file:/run/token"

    def test_a_literal_in_the_file_is_warned_about(self, tmp_path: Path) -> None:
        """The file may hold a secret, but not silently, and the warning does not repeat it."""
        path = file_with(
            tmp_path,
            f"[hec]\ntoken = '{SECRET}'\n[kafka.properties]\n'sasl.password' = '{SECRET}'\n"
            f"[[route]]\ntoken = '{SECRET}'\n",
        )
        loaded = load(path, {"HEC_SINK_DEAD_LETTER__PROPERTIES__SASL_PASSWORD": SECRET})
        assert [line.split(": ")[1] for line in loaded.warnings] == [
            "hec.token",
            "kafka.properties.sasl.password",
            "route.0.token",
        ]
        assert SECRET not in "".join(loaded.warnings)

    def test_nothing_shows_a_secret(self, tmp_path: Path) -> None:
        """repr, show and errors of a configuration with literal secrets hide every one of them."""
        path = file_with(
            tmp_path,
            f"[hec]\ntoken = '{SECRET}'\nproxy = 'http://u:{SECRET}@p:1'\n"
            f"[kafka.properties]\n'sasl.password' = '{SECRET}'\n"
            f"[dead_letter.properties]\n'ssl.key.password' = '{SECRET}'\n",
        )
        loaded = load(path, {})
        for shown in (repr(loaded), str(loaded.config), show_toml(loaded), str(show_json(loaded))):
            assert SECRET not in shown
            assert "***" in shown

    def test_a_literal_token_is_not_pickled(self) -> None:
        """A configuration crosses processes by reference or not at all."""
        safe = load(None, {}, ["hec.token=env:T"]).config
        assert pickle.loads(pickle.dumps(safe)) == safe
        with pytest.raises(TypeError, match="literal token"):
            pickle.dumps(SinkConfig(hec=Hec(token=SECRET)))
        with pytest.raises(TypeError, match="literal token"):
            pickle.dumps(SinkConfig(route=(Route(token=SECRET),)))
        assert SECRET not in repr(SinkConfig(route=(Route(token=SECRET),)))

    def test_a_wrong_secret_type_is_told_without_the_value(self, tmp_path: Path) -> None:
        """A password written as a number fails by type, and the number stays unseen."""
        (line,) = errors_of(file_with(tmp_path, "[hec]\ntoken = 1234567\n"), {})
        assert "hec.token" in line
        assert "1234567" not in line


class TestHecConfig:
    """The way to the client."""

    def test_the_section_becomes_the_clients_configuration(self) -> None:
        """Each `[hec]` key reaches the client, and the route decides the endpoint."""
        sets = ["hec.url=https://a:1", "hec.token=env:T", "hec.linger_s=0.1", "hec.ack=off"]
        made = hec_config(load(None, {}, sets).config, "raw")
        assert (made.url, made.token, made.linger_s, made.ack, made.endpoint) == (
            ("https://a:1",),
            "env:T",
            0.1,
            "off",
            "raw",
        )

    def test_without_url_there_is_no_client(self) -> None:
        """An empty url fails when a client is wanted, not before."""
        with pytest.raises(ConfigError, match=r"token|url"):
            hec_config(SinkConfig(), "event")


class TestShow:
    """What `config show|schema|table` print."""

    def loaded(self, tmp_path: Path) -> Any:
        """Something of every source."""
        path = file_with(
            tmp_path,
            "[hec]\nurl = ['https://a:1']\n[[route]]\ntopics = ['a']\n"
            "[route.fields]\n'x y' = '{key}'\nn = [1, 'b']\n[[route]]\n",
        )
        return load(
            path, {"HEC_SINK_LOG__LEVEL": "debug"}, ["kafka.properties.debug=all", "run.shutdown_s=30"]
        )

    def test_shown_toml_is_a_configuration_file(self, tmp_path: Path) -> None:
        """What `config show` prints can be saved and loaded, and means the same."""
        loaded = self.loaded(tmp_path)
        again = load(file_with(tmp_path, show_toml(loaded)), {})
        assert again.config == loaded.config

    def test_each_value_has_its_origin(self, tmp_path: Path) -> None:
        """`config show` says where every value comes from."""
        loaded = self.loaded(tmp_path)
        shown = show_json(loaded)
        assert shown["log.level"] == {"value": "debug", "origin": "environment HEC_SINK_LOG__LEVEL"}
        assert shown["kafka.properties.debug"] == {"value": "all", "origin": "--set"}
        assert shown["route.0.topics"] == {"value": ["a"], "origin": f"file {tmp_path / 'sink.toml'}"}
        assert shown["route.1.topics"] == {"value": ["*"], "origin": "default"}
        assert 'level = "debug"' in show_toml(loaded)
        assert "shutdown_s = 30 " in show_toml(loaded)
        assert "# environment HEC_SINK_LOG__LEVEL" in show_toml(loaded)

    def test_the_schema_describes_every_key(self) -> None:
        """An editor that reads the schema knows each key and its meaning."""
        definitions = json_schema()["$defs"]
        described = 0
        for name in ("Run", "Hec", "Kafka", "Route", "Registry", "DeadLetter", "Server", "Log"):
            for key, definition in definitions[name]["properties"].items():
                assert definition["description"], (name, key)
                described += 1
        assert described == len(KEYS)

    def test_the_table_has_a_row_for_every_key(self) -> None:
        """The documentation's table is complete, and no row lacks its meaning."""
        rows = markdown_table().splitlines()
        assert len(rows) == len(KEYS) + 2
        assert all(row.count(" | ") >= 2 and not row.endswith("|  |") for row in rows[2:])
        assert '| `route[].source` | `"kafka:{topic}"` |' in markdown_table()
        assert all(key.meaning for key in KEYS.values())
        assert set(OPEN_TABLES) <= set(KEYS)
