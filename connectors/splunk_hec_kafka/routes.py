"""Which route a topic takes, and what that route does to its records, worked out once per topic.

Pure. Not for values (`records`). Guarantees: the first matching route wins; a topic that none matches gets
the defaults. Non-obvious: whatever the topic alone decides is a constant of the compiled route, so the hot
path looks at keys, headers or parsed values of a record only where a template names them.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from splunk_hec_kafka.config_tree import METADATA, Route
from splunk_hec_kafka.templates import Ref, Template, parse_time_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from splunk_hec_kafka.templates import Record


class CompiledRoute(msgspec.Struct, frozen=True):
    """A route for one topic.

    Attributes:
        topic: The topic.
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
    drops: bool
    value: Literal["text", "json", "envelope", "raw"]
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
        configured_indexes: Indexes that the configuration names literally. Splunk's refusal of one of these
            is a fault of the deployment; any other index came from a record.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = (*routes, Route())
        self._compiled: dict[str, CompiledRoute] = {}
        literals = (Template(route.index).constant for route in routes)
        self.configured_indexes = frozenset(index for index in literals if index)

    def for_topic(self, topic: str) -> CompiledRoute:
        """The compiled route of a topic."""
        found = self._compiled.get(topic)
        if found is None:
            found = self._compiled[topic] = _compile(self._first_match(topic), topic)
        return found

    def _first_match(self, topic: str) -> Route:
        return next(r for r in self._routes if any(fnmatchcase(topic, glob) for glob in r.topics))


def _compile(route: Route, topic: str) -> CompiledRoute:
    bound = {name: Template(getattr(route, name)).bind(topic) for name in METADATA}
    fields = {name: _bind_field(value, topic) for name, value in route.fields.items()}
    takes_event = route.value != "raw"
    return CompiledRoute(
        topic=topic,
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
