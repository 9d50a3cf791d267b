"""Which route a topic takes, and what that route does to its records, worked out once per topic.

Pure. Not for values (`records`). Guarantees: the first matching route wins; a topic that none matches gets
the defaults. Non-obvious: whatever the topic alone decides is a constant of the compiled route, so the hot
path looks at keys, headers or parsed values of a record only where a template names them.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import msgspec

from splunk_hec_kafka.config_tree import HEC_TOKEN, METADATA, Route, token_keys
from splunk_hec_kafka.templates import Ref, Template, parse_time_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from splunk_hec_kafka.templates import Record


Kind = Literal["event", "raw"]


class Destination(NamedTuple):
    """Where lines go: each has a client of its own.

    Attributes:
        kind: The endpoint kind.
        token_key: Where the token stands: `hec.token`, or `route.N.token` of the first route that names it.
            Never the token itself.
    """

    kind: Kind
    token_key: str


class CompiledRoute(msgspec.Struct, frozen=True):
    """A route for one topic.

    Attributes:
        topic: The topic.
        destination: Where its records go.
        drops: Records are skipped and counted.
        value: How a value is read.
        replaces_invalid: Invalid UTF-8 is replaced instead of refused.
        metadata: What index, source, sourcetype and host are for every record; only those not empty.
        templates: The same where it depends on the record.
        time: Where the time comes from.
        fields: Indexed fields that are the same for every record.
        field_templates: Indexed fields that depend on the record.
        adds_provenance: Topic, partition and offset are indexed fields too.
    """

    topic: str
    destination: Destination
    drops: bool
    value: Literal["text", "json", "envelope", "raw", "avro", "protobuf", "json-schema"]
    replaces_invalid: bool
    metadata: dict[str, str]
    templates: dict[str, Template]
    time: Ref | Literal["record", "none"]
    fields: dict[str, Any]
    field_templates: dict[str, list[Any]]
    adds_provenance: bool

    @property
    def is_constant(self) -> bool:
        """Whether records differ in nothing but value, record time and provenance."""
        return not (self.templates or self.field_templates or isinstance(self.time, Ref))

    def metadata_of(self, record: Record) -> dict[str, str]:
        """Metadata for one record; what a template cannot fill, or fills with nothing, is left out."""
        found = dict(self.metadata)
        for name, template in self.templates.items():
            text = template.render(record)
            if text:
                found[name] = text
        return found

    def fields_of(self, record: Record) -> dict[str, Any]:
        """Indexed fields for one record, provenance included."""
        message = record.message
        found: dict[str, Any] = {}
        if self.adds_provenance:
            found["kafka_topic"] = self.topic
            found["kafka_partition"] = message.partition()
            found["kafka_offset"] = message.offset()
        found |= self.fields
        for name, parts in self.field_templates.items():
            texts = [part.render(record) if isinstance(part, Template) else part for part in parts]
            if None not in texts:
                found[name] = texts if len(texts) > 1 else texts[0]
        return found


class RouteTable:
    """All routes; compiles one per topic, on first sight. Owned by the loop's thread.

    Attributes:
        destinations: All that records may be sent to.
        values: How values are read, of all routes that send.
        configured_indexes: Indexes that the configuration names literally. Splunk's refusal of one of these
            is a fault of the deployment; any other index came from a record.
    """

    def __init__(self, routes: Sequence[Route], shared: str = "") -> None:
        """Know `routes`; one whose token is `shared` has the clients of those without a token."""
        self._routes = (*routes, Route())
        keys = token_keys(shared, routes)
        self._destinations = [
            Destination("raw" if route.value == "raw" else "event", keys[route.token])
            for route in self._routes
        ]
        self.destinations = tuple(dict.fromkeys(self._reachable()))
        self.values = frozenset(route.value for route in self._routes if route.action == "send")
        self._compiled: dict[str, CompiledRoute] = {}
        self.configured_indexes = frozenset(index for _, index in self.named_indexes())

    def for_topic(self, topic: str) -> CompiledRoute:
        """The compiled route of a topic."""
        found = self._compiled.get(topic)
        if found is None:
            pairs = zip(self._routes, self._destinations, strict=True)
            route, to = next(pair for pair in pairs if any(fnmatchcase(topic, one) for one in pair[0].topics))
            found = self._compiled[topic] = _compile(route, topic, to)
        return found

    def named_indexes(self) -> list[tuple[str, str]]:
        """Key of the token and index, for every index that a route names literally."""
        pairs = zip(self._routes, self._destinations, strict=True)
        found = {(to.token_key, Template(route.index).constant) for route, to in pairs}
        return sorted((key, index) for key, index in found if index)

    def label(self, destination: Destination) -> str:
        """How messages begin that are about a destination: its routes' topics; empty if all share a token."""
        if len({one.token_key for one in self.destinations}) == 1:
            return ""
        if destination.token_key == HEC_TOKEN:
            return "routes with hec.token: "
        pairs = zip(self._routes, self._destinations, strict=True)
        globs = [glob for route, to in pairs if to == destination for glob in route.topics]
        return f"route {', '.join(globs)} ({destination.token_key}): "

    def _reachable(self) -> Iterator[Destination]:
        """Where any topic may lead: nothing behind a route that takes every topic is reached."""
        for route, destination in zip(self._routes, self._destinations, strict=True):
            if route.action == "send":
                yield destination
            if "*" in route.topics:
                return


def _compile(route: Route, topic: str, destination: Destination) -> CompiledRoute:
    bound = {name: Template(getattr(route, name)).bind(topic) for name in METADATA}
    fields = {name: _bind_field(value, topic) for name, value in route.fields.items()}
    takes_event = route.value != "raw"
    return CompiledRoute(
        topic=topic,
        destination=destination,
        drops=route.action == "drop",
        value=route.value,
        replaces_invalid=route.invalid_utf8 == "replace",
        metadata={name: t.constant for name, t in bound.items() if t.constant},
        templates={name: t for name, t in bound.items() if t.constant is None},
        time=parse_time_source(route.time) if takes_event else "none",
        fields={name: value for name, value in fields.items() if not _is_dynamic(value)},
        field_templates={name: value for name, value in fields.items() if _is_dynamic(value)},
        adds_provenance=route.provenance and takes_event,
    )


def _bind_field(value: Any, topic: str) -> Any:
    """A constant, or the list of templates and constants that make the field."""
    if isinstance(value, list):
        return [_bind_part(part, topic) for part in cast("list[object]", value)]
    part = _bind_part(value, topic)
    return [part] if isinstance(part, Template) else part


def _bind_part(part: Any, topic: str) -> Any:
    if not isinstance(part, str):
        return part
    template = Template(part).bind(topic)
    return template if template.constant is None else template.constant


def _is_dynamic(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(part, Template) for part in cast("list[object]", value))
