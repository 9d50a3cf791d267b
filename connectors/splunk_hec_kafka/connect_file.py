r"""Reads a connector's configuration: Java properties, or the JSON of Connect's REST interface.

Pure. Non-obvious: a properties file joins lines that end in an odd number of backslashes, parts key and value
by `=`, `:` or white space, and escapes with `\t \n \r \f \uXXXX`; any other escaped character is itself.
"""

from __future__ import annotations

import json
import re
from typing import Any, cast

from splunk_hec.errors import ConfigError

_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ENTRY = re.compile(r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.|$)", re.DOTALL)


def read_connect(text: str) -> dict[str, str]:
    """The configuration as texts.

    Args:
        text: What the file holds.

    Returns:
        Key → value. JSON may be `{"name": …, "config": {…}}` or the inner object alone.

    Raises:
        ConfigError: It is neither, or holds no key of a connector.
    """
    found = _json(text) if text.lstrip().startswith("{") else _properties(text)
    known = ("splunk.", "topics")
    if not any(name.startswith(known) for name in found):
        raise ConfigError(
            "the file holds no key of Splunk Connect for Kafka; give its .properties file, or the JSON of "
            "GET /connectors/NAME"
        )
    return found


def _json(text: str) -> dict[str, str]:
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the file is not JSON: {error}; mend that place") from None
    outer = cast("dict[str, Any]", document)
    inner: Any = outer.get("config", outer)
    if not isinstance(inner, dict):
        raise ConfigError("the file's 'config' is no object; give the JSON of GET /connectors/NAME")
    given = {"name": outer["name"]} if "name" in outer else {}
    config = given | cast("dict[str, Any]", inner)
    return {name: _sound(_shown(value)) for name, value in config.items() if value is not None}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value)


def _properties(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    joined = ""
    for line in re.split(r"\r\n|\r|\n", text):
        part = line.lstrip(" \t\f")
        if not joined and (not part or part[0] in "#!"):
            continue
        backslashes = len(part) - len(part.rstrip("\\"))
        joined += part[:-1] if backslashes % 2 else part
        if not backslashes % 2:
            _add(found, joined)
            joined = ""
    if joined:
        _add(found, joined)
    return found


def _add(found: dict[str, str], line: str) -> None:
    entry = _ENTRY.fullmatch(line)
    if entry is not None and entry[1]:
        found[_sound(_unescaped(entry[1]))] = _sound(_unescaped(entry[2])).strip()


def _unescaped(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        escaped = found[1]
        return chr(int(escaped[1:], 16)) if len(escaped) == 5 else _ESCAPED.get(escaped, escaped)

    return _ESCAPE.sub(character, text)


def _sound(text: str) -> str:
    """Halves of a character that stand together are one; alone they are none."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
