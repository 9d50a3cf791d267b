"""`load`: one configuration out of file, environment and command line, with the origin of every value.

The front of the configuration: everything that other modules need of it is named here. Guarantees: a loaded
configuration is consistent; every mistake found is reported, one line each, with where it came from and how
to mend it; no line shows a secret.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import msgspec

from splunk_hec.errors import ConfigError
from splunk_hec_kafka.config_checks import Problem, find_problems
from splunk_hec_kafka.config_keys import (
    KEYS,
    OPEN_TABLES,
    TABLES,
    choices,
    dotted,
    nearest,
    pattern_of,
    takes_list,
    takes_text,
    type_of,
)
from splunk_hec_kafka.config_sources import (
    from_env,
    from_file,
    from_flags,
    from_sets,
    is_literal_secret,
)
from splunk_hec_kafka.config_tree import (
    METADATA,
    REQUIRED_TO_READ,
    REQUIRED_TO_RUN,
    DeadLetter,
    Hec,
    Kafka,
    Log,
    Registry,
    Route,
    Run,
    Server,
    SinkConfig,
    hec_config,
    require,
    token_keys,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path as FilePath

    from splunk_hec_kafka.config_keys import Path
    from splunk_hec_kafka.config_sources import Given, Leaves

__all__ = [
    "METADATA",
    "REQUIRED_TO_READ",
    "REQUIRED_TO_RUN",
    "DeadLetter",
    "Hec",
    "Kafka",
    "Loaded",
    "Log",
    "Registry",
    "Route",
    "Run",
    "Server",
    "SinkConfig",
    "hec_config",
    "load",
    "require",
    "token_keys",
]


class Loaded(msgspec.Struct, frozen=True):
    """A configuration, where each of its values came from, and what deserves a warning.

    Attributes:
        config: The configuration.
        origins: Dotted key → `default`, `file PATH`, `environment NAME`, `--set` or `command line`.
        warnings: One line each.
    """

    config: SinkConfig
    origins: dict[str, str]
    warnings: tuple[str, ...] = ()


def load(
    path: FilePath | None,
    env: Mapping[str, str],
    sets: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Loaded:
    """Merge all sources and check the result.

    Args:
        path: The TOML file, if there is one.
        env: Environment variables; those that start with `HEC_SINK_` count.
        sets: `KEY=VALUE` texts of `--set`.
        flags: Dotted key → value of command line flags; None means not given.

    Returns:
        The configuration with origins and warnings.

    Raises:
        ConfigError: One line for each mistake.
    """
    errors: list[str] = []
    merged: Leaves = {}
    for layer in (
        from_file(path, errors),
        from_env(env, errors),
        from_sets(sets, errors),
        from_flags(flags or {}, errors),
    ):
        if ("route",) in layer:
            merged = {path: given for path, given in merged.items() if path[0] != "route"}
        merged |= layer
    tree, explicit = _checked_tree(merged, errors)
    _raise_if(errors)
    config = msgspec.convert(tree, SinkConfig)
    _raise_if([_line(_origin(one.key, explicit), one) for one in find_problems(config, explicit)])
    return Loaded(config, _origins(config, explicit), tuple(_warnings(merged)))


def _raise_if(errors: list[str]) -> None:
    if errors:
        raise ConfigError("\n".join(dict.fromkeys(errors)))


def _line(origin: str, problem: Problem) -> str:
    where = "" if origin == "default" else f"{origin}: "
    return f"{where}{problem.key}: {problem.text}; {problem.fix}"


def _checked_tree(merged: Leaves, errors: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Every leaf with its right type, nested as SinkConfig nests, and the origin of each."""
    tree: dict[str, Any] = {}
    routes: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    for path, given in merged.items():
        if given.value in ([], {}) and pattern_of(path) in TABLES:
            routes |= {path[1]: {}} if len(path) > 1 and path[1] not in routes else {}
            continue
        value = _refusal(path) or _converted(path, given)
        if isinstance(value, Problem):
            errors.append(_line(given.origin, value))
        else:
            origins[dotted(path)] = given.origin
            top, names = (routes.setdefault(path[1], {}), path[2:]) if path[0] == "route" else (tree, path)
            for name in names[:-1]:
                top = top.setdefault(name, {})
            top[names[-1]] = value
    missing = [number for number in map(str, range(len(routes))) if number not in routes]
    if missing and not errors:
        errors.append(f"route.{missing[0]}: is missing below a higher number; number routes from 0")
    tree["route"] = [routes[number] for number in sorted(routes, key=int)]
    return tree, origins


def _refusal(path: Path) -> Problem | None:
    """What a path may not be, whatever its value."""
    pattern, key = pattern_of(path), dotted(path)
    if type_of(path) is not None:
        return None
    if path[0] == "route" and (len(path) == 1 or pattern[1] != "*"):
        return Problem(key, "routes are an array of tables", "write [[route]], or route.0.index for one key")
    if pattern in TABLES:
        return Problem(key, "is a table", f"write [{key}] and its keys below it")
    return Problem(key, "unknown key", f"did you mean {nearest(path)}?")


def _converted(path: Path, given: Given) -> Any:
    """The value with its right type, or the problem with it."""
    expected = type_of(path)
    candidates: list[object] = [given.value]
    if given.raw is not None and takes_text(expected) and not isinstance(given.value, list | dict):
        candidates.append(given.raw)
    errors: list[str] = []
    for value in candidates:
        try:
            return msgspec.convert(
                _names(value) if isinstance(value, str) and takes_list(expected) else value, expected
            )
        except msgspec.ValidationError as error:
            errors.append(str(error))
    return _mistyped(path, given, errors[0])


def _mistyped(path: Path, given: Given, text: str) -> Problem:
    shown = "" if is_literal_secret(path, given) else f"{given.value!r} is not possible: "
    words = choices(type_of(path))
    if words:
        near = get_close_matches(str(given.value), words, n=1, cutoff=0.0)[0]
        return Problem(dotted(path), f"{shown}one of {', '.join(words)}", f"did you mean {near}?")
    key = KEYS.get(pattern_of(path)) or KEYS.get(pattern_of(path)[:-1])
    meaning = key.meaning if key else ""
    return Problem(dotted(path), f"{shown}{text[0].lower()}{text[1:]}", f"it means: {meaning}")


def _names(text: str) -> list[str]:
    """`a,b` as two names; a regular expression may hold commas of its own."""
    return [text] if text.startswith("^") else [one.strip() for one in text.split(",") if one.strip()]


def _warnings(merged: Leaves) -> Iterator[str]:
    for path, given in merged.items():
        if given.origin.startswith("file ") and is_literal_secret(path, given):
            yield f"{given.origin}: {dotted(path)}: holds the secret itself; use env:NAME or file:PATH"


def _origin(key: str, explicit: Mapping[str, str]) -> str:
    below = (origin for other, origin in explicit.items() if other.startswith(f"{key}."))
    return explicit.get(key) or next(below, "default")


def _origins(config: SinkConfig, explicit: Mapping[str, str]) -> dict[str, str]:
    """The origin of every key that is in force, defaults included."""
    origins: dict[str, str] = {}
    for pattern in KEYS:
        numbers = range(len(config.route)) if pattern[0] == "route" else (0,)
        keys = [dotted(pattern).replace("*", str(number)) for number in numbers if pattern not in OPEN_TABLES]
        origins |= {key: explicit.get(key, "default") for key in keys}
    return origins | dict(explicit)
