"""Shows the configuration: effective values with their origin, JSON Schema, Markdown table.

Not for loading or judging. Guarantee: no literal token or password is in any result.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec.structs import asdict

from splunk_hec_kafka.config_keys import KEYS, OPEN_TABLES, choices, dotted
from splunk_hec_kafka.config_tree import (
    DeadLetter,
    Hec,
    Kafka,
    Log,
    Registry,
    Route,
    Run,
    Server,
    SinkConfig,
    attribute_docs,
    hide,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from splunk_hec_kafka.config import Loaded
    from splunk_hec_kafka.config_keys import Key

_BARE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"


def show_toml(loaded: Loaded) -> str:
    """The effective configuration as TOML, the origin of each value in a comment, secrets hidden."""
    lines: list[str] = []
    for heading, prefix, table in _tables(loaded.config):
        lines += ["", heading]
        for name, value in table.items():
            key = f"{prefix}.{name}"
            text = f"{toml_key(name)} = {toml_value(hide(key, value))}"
            lines.append(f"{text:<56} # {loaded.origins.get(key, 'default')}")
    return "\n".join(lines[1:]) + "\n"


def show_json(loaded: Loaded) -> dict[str, dict[str, Any]]:
    """The effective configuration as dotted key → `{"value", "origin"}`, secrets hidden."""
    return {
        f"{prefix}.{name}": {
            "value": _plain(hide(f"{prefix}.{name}", value)),
            "origin": loaded.origins.get(f"{prefix}.{name}", "default"),
        }
        for _, prefix, table in _tables(loaded.config)
        for name, value in table.items()
    }


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the file, each key with its meaning."""
    schema = msgspec.json.schema(SinkConfig)
    for struct in (Run, Hec, Kafka, Registry, Route, DeadLetter, Server, Log):
        definition = schema["$defs"][struct.__name__]
        definition["description"] = (struct.__doc__ or "").partition("\n")[0]
        for key, meaning in attribute_docs(struct).items():
            if key in definition["properties"]:
                definition["properties"][key]["description"] = meaning
    schema["$defs"]["SinkConfig"]["description"] = "Configuration of hec-kafka-sink."
    return schema


def markdown_table() -> str:
    """Every key with its default and meaning, as a Markdown table."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for key in KEYS.values():
        name = dotted(key.pattern).replace("route.*", "route[]")
        rows.append(f"| `{name}` | {_default(key)} | {_meaning(key)} |")
    return "\n".join(rows) + "\n"


def _tables(config: SinkConfig) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Heading, dotted prefix and values of each table; open tables come after their section."""
    for name, section in asdict(config).items():
        if name == "route":
            for number, route in enumerate(config.route):
                yield from _table("[[route]]", f"route.{number}", "route.fields", asdict(route))
        else:
            yield from _table(f"[{name}]", name, f"{name}.properties", asdict(section))


def _table(
    heading: str, prefix: str, open_heading: str, values: dict[str, Any]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    open_name = open_heading.rpartition(".")[2]
    inner = values.pop(open_name, {})
    yield heading, prefix, values
    if inner:
        yield f"[{open_heading}]", f"{prefix}.{open_name}", inner


def _default(key: Key) -> str:
    if key.pattern in (("hec", "url"), ("hec", "token"), ("kafka", "topics"), ("kafka", "group_id")):
        return "required"
    return f"`{toml_value(key.default)}`" if key.pattern not in OPEN_TABLES else "empty"


def _meaning(key: Key) -> str:
    words = [word for word in choices(key.type) if f"`{word}`" not in key.meaning]
    listed = f" One of {', '.join(f'`{word}`' for word in words)}." if words else ""
    return key.meaning.replace("|", "\\|") + listed


def _plain(value: Any) -> Any:
    """A JSON value, whole numbers without a point."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return list(cast("tuple[object, ...]", value)) if isinstance(value, tuple) else value


def toml_key(name: str) -> str:
    """A key as TOML takes it, quoted if it must be."""
    return name if name and all(letter in _BARE for letter in name) else json.dumps(name)


def toml_value(value: Any) -> str:
    """A TOML value; JSON's strings, numbers and booleans are TOML's too."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(one) for one in cast('list[object]', value))}]"
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        return f"{{ {', '.join(f'{toml_key(name)} = {toml_value(one)}' for name, one in items)} }}"
    return json.dumps(_plain(value), ensure_ascii=False).replace("\x7f", "\\u007f")
