"""The catalogue of keys: every leaf of `SinkConfig` with its type, default and meaning.

Not for values. Non-obvious: a *path* is a tuple of names (`("route", "0", "index")`); its *pattern* has `*`
for a route's number and for the free names of an open table (`("kafka", "properties", "*")`); a dotted key
is a path joined for people.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from splunk_hec.events import FieldValue
from splunk_hec_kafka.config_tree import Route, SinkConfig, attribute_docs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Path = tuple[str, ...]
OPEN_TABLES: dict[Path, Any] = {
    ("kafka", "properties"): str | int | float | bool,
    ("registry", "properties"): str | int | float | bool,
    ("dead_letter", "properties"): str | int | float | bool,
    ("route", "*", "fields"): FieldValue,
}
"""Tables whose keys the user names, and the type of their values."""


class Key(msgspec.Struct, frozen=True):
    """One leaf: its pattern, type, default and meaning."""

    pattern: Path
    type: Any
    default: Any
    meaning: str


def _walk(struct: type[msgspec.Struct], prefix: Path) -> Iterator[Key]:
    hints = get_type_hints(struct, include_extras=True)
    meanings = attribute_docs(struct)
    for field in msgspec.structs.fields(struct):
        path = (*prefix, field.name)
        if field.name == "route":
            yield from _walk(Route, (*path, "*"))
        elif isinstance(hints[field.name], type) and issubclass(hints[field.name], msgspec.Struct):
            yield from _walk(hints[field.name], path)
        else:
            default: Any = {} if field.default is msgspec.NODEFAULT else field.default
            yield Key(path, hints[field.name], default, meanings.get(field.name, ""))


KEYS: Mapping[Path, Key] = {key.pattern: key for key in _walk(SinkConfig, ())}
TABLES = frozenset([(name,) for name in SinkConfig.__struct_fields__] + [("route", "*"), *OPEN_TABLES, ()])
"""Every path that is a table (or, for `route`, an array of them) and not a key."""


def pattern_of(path: Path) -> Path:
    """`path` with a `*` for a route's number and for the free name in an open table."""
    if path[0] == "route" and len(path) > 1 and path[1].isdigit():
        path = ("route", "*", *path[2:])
    return (*path[:-1], "*") if path[:-1] in OPEN_TABLES else path


def type_of(path: Path) -> Any:
    """The type a value at `path` must have; None if there is no such key."""
    pattern = pattern_of(path)
    if pattern[:-1] in OPEN_TABLES:
        return OPEN_TABLES[pattern[:-1]]
    return KEYS[pattern].type if pattern in KEYS and pattern not in OPEN_TABLES else None


def takes_list(expected: Any) -> bool:
    """Whether a key of this type takes an array of names."""
    return any(get_origin(one) is tuple for one in (expected, *get_args(expected)))


def takes_text(expected: Any) -> bool:
    """Whether a key of this type takes a string."""
    return any(one is str or get_origin(one) is tuple for one in (expected, *get_args(expected)))


def choices(expected: Any) -> tuple[str, ...]:
    """The words a key of this type takes; empty if it is not a choice."""
    return get_args(expected) if get_origin(expected) is Literal else ()


def dotted(path: Path) -> str:
    """`path` as people write it."""
    return ".".join(path)


def nearest(path: Path) -> str:
    """The known key that looks most like `path`, dotted."""
    number = path[1] if pattern_of(path)[:2] == ("route", "*") else "0"
    known = [dotted(pattern).replace("*", number) for pattern in KEYS]
    in_section = [key for key in known if key.startswith(f"{path[0]}.")]
    return get_close_matches(dotted(path), in_section or known, n=1, cutoff=0.0)[0]
