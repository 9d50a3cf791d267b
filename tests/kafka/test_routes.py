"""Routes and templates: which route a topic takes, and what its templates make of a record."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from splunk_hec.errors import ConfigError
from splunk_hec_kafka.config import Route
from splunk_hec_kafka.routes import RouteTable
from splunk_hec_kafka.templates import Record, Ref, Template, parse_time_source


def record(**parts: Any) -> Record:
    """A record of topic `t`, partition 3, offset 42."""
    given_parts = {"topic": "t", "partition": 3, "offset": 42, "value": b"v", **parts}
    return Record(Message(**given_parts))


class TestChoice:
    """Which route a topic takes."""

    def test_the_first_match_wins(self) -> None:
        """Order in the file decides, however exact a later match is."""
        table = RouteTable([Route(topics=("a*",), index="first"), Route(topics=("ab",), index="second")])
        assert table.for_topic("ab").metadata["index"] == "first"

    @pytest.mark.parametrize(
        ("glob", "topic", "matches"),
        [
            ("audit.*", "audit.eu", True),
            ("audit.*", "auditXeu", False),
            ("app-?", "app-1", True),
            ("app-[12]", "app-3", False),
            ("App", "app", False),
            ("app", "app-logs", False),
        ],
    )
    def test_globs_match_whole_names(self, glob: str, topic: str, *, matches: bool) -> None:
        """A dot is a dot, case counts, and a glob matches the whole name."""
        table = RouteTable([Route(topics=("other", glob), host="hit")])
        assert ("host" in table.for_topic(topic).metadata) is matches

    def test_what_no_route_matches_gets_the_defaults(self) -> None:
        """A topic without a route is sent as text, with its source and provenance."""
        found = RouteTable([Route(topics=("a",), action="drop")]).for_topic("b")
        assert (found.drops, found.value, found.metadata) == (False, "text", {"source": "kafka:b"})
        assert found.adds_provenance

    def test_a_topic_is_compiled_once(self) -> None:
        """The hot path finds the same compiled route again."""
        table = RouteTable([Route()])
        assert table.for_topic("a") is table.for_topic("a")
        assert table.for_topic("a") is not table.for_topic("b")

    def test_only_literal_indexes_are_configured(self) -> None:
        """A refused index that a template made is the record's fault, a literal one the deployment's."""
        routes = [Route(index="main"), Route(index="{topic}"), Route(index=""), Route(index="a{{b}}")]
        assert RouteTable(routes).configured_indexes == {"main", "a{b}"}


class TestCompiled:
    """What is known before the first record."""

    def test_topic_templates_are_constants(self) -> None:
        """What the topic alone decides costs nothing per record."""
        found = RouteTable([Route(index="{topic}", host="x", fields={"t": "{topic}", "n": 1})]).for_topic("t")
        assert found.is_constant
        assert found.metadata == {"index": "t", "source": "kafka:t", "host": "x"}
        assert found.fields == {"t": "t", "n": 1}

    @pytest.mark.parametrize(
        "route",
        [
            Route(index="{partition}"),
            Route(fields={"k": "{key}"}),
            Route(fields={"k": ["a", "{header:h}"]}),
            Route(time="header:t"),
        ],
    )
    def test_what_a_record_decides_is_not_constant(self, route: Route) -> None:
        """A route that looks into records says so."""
        assert not RouteTable([route]).for_topic("t").is_constant

    def test_metadata_a_template_cannot_fill_is_left_out(self) -> None:
        """An absent header leaves the whole key out, and so does an empty one; the rest stays."""
        found = RouteTable([Route(index="{header:i}", host="{header:h}", sourcetype="s")]).for_topic("t")
        seen = record(headers=[("h", b"")])
        assert found.metadata_of(seen) == {"source": "kafka:t", "sourcetype": "s"}

    def test_fields_of_a_record(self) -> None:
        """Provenance and fields are together; a list with an absent part is left out as a whole."""
        fields = {"k": "{key}", "l": ["x", "{header:h}"], "gone": ["x", "{header:none}"], "n": 5}
        found = RouteTable([Route(fields=fields)]).for_topic("t")
        assert found.fields_of(record(key=b"K", headers=[("h", b"H")])) == {
            "kafka_topic": "t",
            "kafka_partition": 3,
            "kafka_offset": 42,
            "n": 5,
            "k": "K",
            "l": ["x", "H"],
        }

    def test_a_raw_route_has_neither_fields_time_nor_provenance(self) -> None:
        """The raw endpoint carries metadata only, so a raw route asks a record for nothing else."""
        found = RouteTable([Route(value="raw")]).for_topic("t")
        assert (found.adds_provenance, found.time, found.fields) == (False, "none", {})


class TestTemplates:
    """What templates make of a record."""

    HEADERS = (("h", b"first"), ("h", b"last"), ("null", None), ("bad", b"\xff!"), ("a:b", b"colon"))
    VALUE = b'{"a":{"b":"x","n":1.5,"t":true,"z":null,"o":{"p":[1,2]}},"a.b":"flat"}'

    @pytest.mark.parametrize(
        ("template", "text"),
        [
            ("", ""),
            ("plain", "plain"),
            ("{topic}", "t"),
            ("{topic}-{partition}@{offset}", "t-3@42"),
            ("{key}", "K"),
            ("{header:h}", "last"),
            ("{header:a:b}", "colon"),
            ("{header:bad}", "\ufffd!"),
            ("{header:null}", None),
            ("x{header:absent}y", None),
            ("{field:a.b}", "x"),
            ("{field:a.n}", "1.5"),
            ("{field:a.t}", "true"),
            ("{field:a.z}", None),
            ("{field:a.o}", '{"p":[1,2]}'),
            ("{field:a.b.c}", None),
            ("{field:nope}", None),
            ("{{{topic}}}", "{t}"),
            ("{{topic}}", "{topic}"),
            ("}}{{", "}{"),
        ],
    )
    def test_rendering(self, template: str, text: str | None) -> None:
        """Each placeholder gives its thing; what is absent or null leaves the whole text out."""
        seen = record(key=b"K", headers=list(self.HEADERS), value=self.VALUE)
        assert Template(template).render(seen) == text
        assert Template(template).bind("t").render(seen) == text

    @pytest.mark.parametrize("value", [b"text", b"\xff", b"", None, b"[1]", b"[" * 100_000])
    def test_a_field_of_what_is_no_object_is_absent(self, value: bytes | None) -> None:
        """A value that is not a JSON object has no fields, and never raises."""
        assert Template("{field:a}").render(record(value=value)) is None

    def test_absent_key_and_headers(self) -> None:
        """A record without key or headers leaves out what names them."""
        assert Template("{key}").render(record()) is None
        assert Template("{header:h}").render(record()) is None
        assert Template("{key}").render(record(key=b"")) == ""

    @pytest.mark.parametrize(
        "template",
        [
            "{",
            "}",
            "a{b",
            "{topic",
            "topic}",
            "{}",
            "{foo}",
            "{topic:x}",
            "{header}",
            "{header:}",
            "{field:}",
        ],
    )
    def test_a_wrong_template_is_refused_when_it_is_read(self, template: str) -> None:
        """No template fails later than the configuration."""
        with pytest.raises(ConfigError, match="template"):
            Template(template)

    @given(st.text())
    def test_any_text_can_be_written_literally(self, text: str) -> None:
        """Doubling braces is enough to write every text."""
        assert Template(text.replace("{", "{{").replace("}", "}}")).constant == text

    @given(st.text(alphabet="{}:atopic"))
    def test_a_template_is_refused_or_renders(self, text: str) -> None:
        """Whatever is written, it is a ConfigError at the start or a text later, never a crash."""
        try:
            template = Template(text)
        except ConfigError:
            return
        template.render(record())


class TestTimeSource:
    """The places a time can come from."""

    def test_places(self) -> None:
        """The four forms of the route key `time`."""
        assert parse_time_source("record") == "record"
        assert parse_time_source("none") == "none"
        assert parse_time_source("header:ts") == Ref("header", "ts")
        assert parse_time_source("field:a.b") == Ref("field", "a.b")

    @pytest.mark.parametrize("text", ["", "header", "header:", "field:", "key:x", "now"])
    def test_any_other_is_refused(self, text: str) -> None:
        """A misspelt place for a time is no time."""
        with pytest.raises(ConfigError, match="not a place"):
            parse_time_source(text)
