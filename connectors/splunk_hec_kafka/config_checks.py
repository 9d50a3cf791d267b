"""The rules of the configuration that single types cannot say: combinations, names, templates.

Pure, and not for types and ranges of single keys (`config_tree` has those). Every problem names its key and
its fix; where a value came from is added by `config`.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from splunk_hec._envelope import check_fields
from splunk_hec.config import HecConfig
from splunk_hec.errors import ConfigError, InvalidEvent
from splunk_hec_kafka.config_tree import DESCRIBED, METADATA
from splunk_hec_kafka.kafka_properties import refused_in_consumer, refused_in_producer
from splunk_hec_kafka.templates import Template, parse_time_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from splunk_hec_kafka.config_tree import Hec, Kafka, Route, SinkConfig


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with one key, and how to mend it."""

    key: str
    text: str
    fix: str


def find_problems(config: SinkConfig, explicit: Iterable[str]) -> Iterator[Problem]:
    """Check what single types cannot: ranges that other keys decide, templates, names, combinations.

    Args:
        config: A tree whose values have the right types.
        explicit: Dotted keys that somebody set (a default never contradicts another key).

    Yields:
        One problem for each thing to mend.
    """
    yield from _hec_problems(config.hec)
    yield from _kafka_problems(config.kafka)
    for number, route in enumerate(config.route):
        yield from _route_problems(f"route.{number}", route, frozenset(explicit))
    yield from _registry_problems(config)
    yield from _dead_letter_problems(config)
    yield from _listen_problems(config.server.listen)


def _hec_problems(hec: Hec) -> Iterator[Problem]:
    """HecConfig's own checks, with stand-ins for what may still be empty."""
    stand_in = msgspec.structs.replace(
        hec, url=hec.url or "https://unset.invalid:8088", token=hec.token or "env:UNSET"
    )
    try:
        HecConfig(**msgspec.structs.asdict(stand_in))
    except ConfigError as error:
        name = str(error).split(maxsplit=1)[0]
        key = f"hec.{name}" if name in hec.__struct_fields__ else "hec"
        yield Problem(key, str(error), "see `hec-kafka-sink config table`")


def _kafka_problems(kafka: Kafka) -> Iterator[Problem]:
    if not kafka.bootstrap_servers.strip():
        yield Problem("kafka.bootstrap_servers", "must not be empty", "give host:port")
    for topic in kafka.topics:
        if not topic.strip():
            yield Problem("kafka.topics", "holds an empty name", "remove it")
        elif topic.startswith("^") and _compiled(topic) is None:
            yield Problem("kafka.topics", f"{topic!r} is no regular expression", "mend it")
    yield from _refused("kafka", refused_in_consumer(kafka.properties))


def _refused(section: str, refused: Mapping[str, str]) -> Iterator[Problem]:
    for name, hint in refused.items():
        yield Problem(f"{section}.properties.{name}", "would break the promise of delivery", hint)


def _route_problems(key: str, route: Route, explicit: frozenset[str]) -> Iterator[Problem]:
    texts: dict[str, Any] = {name: getattr(route, name) for name in METADATA}
    for name, value in route.fields.items():
        parts = value if isinstance(value, list) else [value]
        texts |= {f"fields.{name}": part for part in parts if isinstance(part, str)}
    for name, text in texts.items():
        try:
            Template(text)
        except ConfigError as error:
            yield Problem(f"{key}.{name}", str(error), "write a literal brace as {{ or }}")
    try:
        HecConfig(url="https://unset.invalid:8088", token=route.token or "env:UNSET")
    except ConfigError as error:
        yield Problem(f"{key}.token", str(error), "give env:NAME or file:PATH")
    try:
        check_fields(route.fields)
    except InvalidEvent as error:
        yield Problem(f"{key}.fields", error.text, "give text, numbers, booleans, or a list of them")
    try:
        parse_time_source(route.time)
    except ConfigError as error:
        yield Problem(f"{key}.time", str(error), "use record, header:NAME, field:a.b or none")
    if route.value == "raw":
        for name in ("fields", "provenance", "time"):
            if _asks_for(name, route) and any(one.startswith(f"{key}.{name}") for one in explicit):
                yield Problem(
                    f"{key}.{name}",
                    "is not possible with value = 'raw': the raw endpoint takes text alone",
                    "remove it, or use another value",
                )


def _registry_problems(config: SinkConfig) -> Iterator[Problem]:
    url = config.registry.url
    if "@" in url:
        fix = 'give "basic.auth.user.info" = "env:NAME" in [registry.properties]'
        yield Problem("registry.url", "holds a user or password", fix)
    for number, route in enumerate(config.route):
        if route.value in DESCRIBED and route.action == "send" and not url.strip():
            text = f"is empty, but route.{number} reads value = {route.value!r}"
            yield Problem("registry.url", text, "give the address of the schema registry")


def _asks_for(name: str, route: Route) -> bool:
    return route.time != "none" if name == "time" else bool(getattr(route, name))


def _dead_letter_problems(config: SinkConfig) -> Iterator[Problem]:
    letters = config.dead_letter
    yield from _refused("dead_letter", refused_in_producer(letters.properties))
    if letters.on_reject == "fail":
        return
    if not letters.topic.strip():
        yield Problem(
            "dead_letter.topic",
            "is empty, but rejected records need a place",
            "name an existing topic, or set dead_letter.on_reject = 'fail'",
        )
    elif "bootstrap.servers" not in letters.properties and _is_consumed(letters.topic, config.kafka):
        yield Problem(
            "dead_letter.topic",
            f"{letters.topic!r} is matched by kafka.topics: dead letters would be read again for ever",
            "use a name that kafka.topics does not match, or exclude it by the property topic.blacklist",
        )


def _is_consumed(topic: str, kafka: Kafka) -> bool:
    excluded = str(kafka.properties.get("topic.blacklist", "")).split(",")
    if any(one.strip() and _matches(one.strip(), topic) for one in excluded):
        return False
    return any(_matches(one, topic) for one in kafka.topics)


def _matches(pattern: str, topic: str) -> bool:
    """As librdkafka matches: `^…` is a regular expression that need not reach the end."""
    if not pattern.startswith("^"):
        return pattern == topic
    compiled = _compiled(pattern)
    return compiled is not None and compiled.match(topic) is not None


def _compiled(pattern: str) -> re.Pattern[str] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # POSIX classes such as [[:alpha:]]
        try:
            return re.compile(pattern)
        except re.error:
            return None


def _listen_problems(listen: str) -> Iterator[Problem]:
    if not listen:
        return
    try:
        port = urlsplit(f"//{listen}").port
    except ValueError:
        port = None
    if port is None or listen.startswith(":"):
        yield Problem("server.listen", f"{listen!r} is not HOST:PORT", "e.g. 127.0.0.1:9099, or empty")
