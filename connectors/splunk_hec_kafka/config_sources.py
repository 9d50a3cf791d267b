"""Where values come from: file, environment, `--set` and flags, each read into leaves.

Not for types or rules. Non-obvious: everything is flattened to leaves before it is merged, so
`HEC_SINK_ROUTE__0__INDEX` changes one key of the file's first route and nothing else. A leaf from a single
word keeps its text, since `2024` may be a number or the name of a group.
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, cast

import msgspec

from splunk_hec.config import is_reference
from splunk_hec_kafka.config_keys import KEYS, OPEN_TABLES, TABLES, dotted, pattern_of, type_of
from splunk_hec_kafka.kafka_properties import is_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path as FilePath

    from splunk_hec_kafka.config_keys import Path

PREFIX = "HEC_SINK_"
_NOT_OURS = ("HEC_SINK_CONFIG", "HEC_SINK_SERVICE_", "HEC_SINK_PORT")
"""The variable that names the file, and what Kubernetes injects for a service called hec-sink."""
_PROPERTY_DEPTH = 3
"""kafka, properties, name."""


class Given(msgspec.Struct, frozen=True):
    """A value as a source gave it; `raw` is its text where it was read from a single word."""

    value: Any
    origin: str
    raw: str | None = None


Leaves = dict["Path", Given]


def from_file(path: FilePath | None, errors: list[str]) -> Leaves:
    """The leaves of a TOML file; what cannot be read is added to `errors`."""
    if path is None:
        return {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        errors.append(f"file {path}: cannot be read ({error.strerror}); give an existing file with --config")
    except UnicodeDecodeError:
        errors.append(f"file {path}: is not UTF-8; save it as UTF-8")
    except tomllib.TOMLDecodeError as error:
        errors.append(f"file {path}: is not TOML: {error}; mend that line")
    else:
        return {leaf: Given(value, f"file {path}") for leaf, value in _leaves(document)}
    return {}


def from_env(env: Mapping[str, str], errors: list[str]) -> Leaves:
    """The leaves of all `HEC_SINK_…` variables; unknown ones are added to `errors`."""
    found: Leaves = {}
    for name, text in sorted(env.items()):
        if not name.startswith(PREFIX) or name.startswith(_NOT_OURS):
            continue
        path = _variable_path(name)
        if _is_known(path):
            found |= _parsed(path, text, f"environment {name}")
        else:
            errors.append(f"environment {name}: unknown variable; did you mean {_nearest_variable(name)}?")
    return found


def from_sets(sets: Sequence[str], errors: list[str]) -> Leaves:
    """The leaves of `KEY=VALUE` texts; secrets and what is not of that form are added to `errors`."""
    found: Leaves = {}
    for text in sets:
        key, equals, value = text.partition("=")
        path = _key_path(key) if equals else ()
        if not path:
            errors.append(f"--set {key}: is not KEY=VALUE; write e.g. --set route.0.index=main")
        else:
            found |= _parsed(path, value, "--set")
    errors += [_secret_refused(leaf) for leaf, given in found.items() if is_literal_secret(leaf, given)]
    return found


def from_flags(flags: Mapping[str, Any], errors: list[str]) -> Leaves:
    """The leaves of flags (dotted key → value; None: not given); secrets are added to `errors`."""
    found = {
        tuple(key.split(".")): Given(value, "command line")
        for key, value in flags.items()
        if value is not None
    }
    errors += [_secret_refused(leaf) for leaf, given in found.items() if is_literal_secret(leaf, given)]
    return found


def is_literal_secret(path: Path, given: Given) -> bool:
    """Whether a secret itself is written here, instead of the place where it is."""
    value = str(given.value)
    if path == ("hec", "proxy"):
        return "@" in value
    secret = path == ("hec", "token") or pattern_of(path) == ("route", "*", "token")
    secret = secret or (path[1:2] == ("properties",) and is_secret(path[-1]))
    return secret and bool(value) and not is_reference(value)


def _secret_refused(path: Path) -> str:
    return (
        f"command line: {dotted(path)}: a secret there is visible to every user of this machine; "
        "give env:NAME or file:PATH"
    )


def _key_path(key: str) -> Path:
    """A `--set` key, which is a TOML key; empty if it is none."""
    try:
        leaves = list(_leaves(tomllib.loads(f"{key} = 0")))
    except tomllib.TOMLDecodeError:
        return ()
    return leaves[0][0] if len(leaves) == 1 else ()


def _variable_path(name: str) -> Path:
    path = tuple(name.removeprefix(PREFIX).lower().split("__"))
    if len(path) == _PROPERTY_DEPTH and path[1] == "properties":
        return (*path[:2], path[2].replace("_", "."))
    return path


def _nearest_variable(name: str) -> str:
    known = [PREFIX + "__".join(pattern).upper().replace("*", "0") for pattern in KEYS]
    return get_close_matches(name, known, n=1, cutoff=0.0)[0]


def _is_known(path: Path) -> bool:
    """Whether a variable may have this path: a key, or a whole table."""
    return type_of(path) is not None or pattern_of(path) in TABLES


def _parsed(path: Path, text: str, origin: str) -> Leaves:
    """VALUE is TOML, else a string; an inline table or array of tables becomes leaves of its own."""
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        document = {}
    value = document["value"] if len(document) == 1 else text
    leaves = dict(_leaves(value, path))
    if list(leaves) == [path]:
        return {path: Given(value, origin, text)}
    return {leaf: Given(one, origin) for leaf, one in leaves.items()}


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf below `value`, empty tables that mean something included.

    An array of routes is also a leaf `[]` (it replaces all routes of weaker sources), a route without keys
    and an unknown empty table are leaves `{}`.
    """
    pattern = pattern_of(path) if path else ()
    if pattern == ("route",) and isinstance(value, list):
        yield path, []
        for number, route in enumerate(cast("list[object]", value)):
            yield from _leaves(route, (*path, str(number)))
    elif pattern in OPEN_TABLES and isinstance(value, dict):
        yield from (((*path, name), one) for name, one in _free(cast("dict[str, Any]", value)))
    elif isinstance(value, dict) and pattern[:-1] not in OPEN_TABLES and (value or _may_be_empty(pattern)):
        for name, inner in cast("dict[str, Any]", value).items():
            yield from _leaves(inner, (*path, name))
    else:
        yield path, value


def _may_be_empty(pattern: Path) -> bool:
    return pattern in TABLES and pattern != ("route", "*")


def _free(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of an open table: `security.protocol`, written without quotes, is one name."""
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from _free(cast("dict[str, Any]", value), f"{prefix}{name}.")
        else:
            yield prefix + name, value
