"""Options that commands share, and what they make of them: a loaded configuration, results, log settings.

Not for what commands do. Non-obvious: nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from splunk_hec_kafka.config import Loaded

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_Command = TypeVar("_Command", bound="Callable[..., Any]")
_FLAGS = {
    "bootstrap": "kafka.bootstrap_servers",
    "topic": "kafka.topics",
    "group": "kafka.group_id",
    "hec_url": "hec.url",
    "token": "hec.token",
    "processes": "run.processes",
}


def common(command: _Command) -> _Command:
    """Options of every command."""
    for option in reversed(
        (
            click.option("-v", "--verbose", is_flag=True, help="Log more: level debug."),
            click.option("-q", "--quiet", is_flag=True, help="Log warnings and errors only; no progress."),
            click.option(
                "--no-color", is_flag=True, help="No colours; NO_COLOR in the environment does the same."
            ),
            click.option("--debug", is_flag=True, help="Show tracebacks."),
            click.version_option(
                None, "--version", package_name="splunk-hec-sink", prog_name="hec-kafka-sink"
            ),
        )
    ):
        command = option(command)
    return command


def reporting(command: _Command) -> _Command:
    """The option of commands that report a result."""
    choice = click.Choice(["text", "json"])
    return click.option("-o", "output", type=choice, default="text", help="Result on stdout: text or JSON.")(
        command
    )


_config = click.option(
    *("-c", "--config"),
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="HEC_SINK_CONFIG",
    help="TOML file; also HEC_SINK_CONFIG.",
)
_sets = click.option(
    *("--set", "sets"),
    multiple=True,
    metavar="KEY=VALUE",
    help="Any key, e.g. --set route.0.index=main; may be repeated.",
)


def configured(command: _Command) -> _Command:
    """Options of commands that read the configuration."""
    for option in reversed(
        (
            _config,
            click.option("-b", "--bootstrap", metavar="BROKERS", help="kafka.bootstrap_servers"),
            click.option(
                "-t", "--topic", multiple=True, metavar="TOPIC", help="kafka.topics; may be repeated."
            ),
            click.option("-g", "--group", metavar="GROUP", help="kafka.group_id"),
            click.option("--hec-url", multiple=True, metavar="URL", help="hec.url; may be repeated."),
            _sets,
        )
    ):
        command = option(command)
    return command


def configured_for_splunk(command: _Command) -> _Command:
    """Options of commands that read the configuration of Splunk alone."""
    for option in reversed(
        (
            _config,
            click.option(
                *("--url", "--hec-url", "hec_url"),
                multiple=True,
                metavar="URL",
                help="hec.url; may be repeated.",
            ),
            click.option("--token", metavar="env:NAME", help="hec.token, as env:NAME or file:PATH."),
            _sets,
        )
    ):
        command = option(command)
    return command


def configured_for_letters(command: _Command) -> _Command:
    """Options of commands that read the dead-letter topic; `--topic` is theirs to give another meaning."""
    for option in reversed(
        (
            _config,
            click.option("-b", "--bootstrap", metavar="BROKERS", help="kafka.bootstrap_servers"),
            click.option("--hec-url", multiple=True, metavar="URL", help="hec.url; may be repeated."),
            click.option("--token", metavar="env:NAME", help="hec.token, as env:NAME or file:PATH."),
            _sets,
        )
    ):
        command = option(command)
    return command


def uses_color(given: dict[str, Any]) -> bool:
    """Whether colours are wanted; whether they are possible is the terminal's business."""
    return not given["no_color"] and not os.environ.get("NO_COLOR")


def load_config(given: dict[str, Any]) -> Loaded:
    """The configuration out of the options of `configured` (and `--processes`), -v and -q.

    Raises:
        ConfigError: One line for each mistake.
    """
    from splunk_hec_kafka.config import load  # noqa: PLC0415 -- --help answers at once

    flags = {key: _value(given.get(name)) for name, key in _FLAGS.items()}
    flags["log.level"] = level_of(given)
    return load(given["config"], os.environ, given["sets"], flags)


def level_of(given: dict[str, Any]) -> str | None:
    """The level of -v or -q; None if neither was given."""
    if given["quiet"]:
        return "warning"
    return "debug" if given["verbose"] else None


def report(output: str, document: Any, text: str) -> None:
    """Print a result on stdout: one JSON document, or text."""
    click.echo(json.dumps(document, ensure_ascii=False) if output == "json" else text.rstrip("\n"))


def _value(given: str | int | Sequence[str] | None) -> Any:
    """A flag as `load` takes it; a repeated one that was not given is None."""
    return (list(given) or None) if isinstance(given, tuple) else given
