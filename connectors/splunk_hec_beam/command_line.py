"""The command line of a pipeline: `--help`, one-line errors, running it.

Not for the options themselves (`options`). Guarantee: wrong usage is one line on stderr and exit code 2,
and nothing was started.
Non-obvious: an unknown flag is the runner's, and is left to it, unless it is so near to one of ours that it
can only be a slip: it would be dropped without a word.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from splunk_hec.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger("splunk_hec_beam")

_NEAR = 0.8
_SLIP = "--hec_"
"""No runner has flags that start so."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def run(
    build: Callable[[beam.Pipeline, PipelineOptions], Any],
    options: Sequence[type[PipelineOptions]],
    argv: Sequence[str] | None = None,
    *,
    about: str | None = None,
) -> int:
    """Read the command line, build the pipeline, run it to its end.

    Args:
        build: Wires the pipeline.
        options: The classes of its own options.
        argv: Without the program's name; None: this process's.
        about: What `--help` says first.

    Returns:
        The exit code: 0, or 2 for wrong usage. A job that fails raises what its runner raises.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = parser_of(options, about)
    try:
        chosen = read(parser, arguments)
        pipeline = beam.Pipeline(options=chosen)
        build(pipeline, chosen)
    except ConfigError as error:
        sys.stderr.write(f"{parser.prog}: {error}; --help tells all options\n")
        return 2
    pipeline.run().wait_until_finish()
    return 0


def parser_of(options: Sequence[type[PipelineOptions]], about: str | None = None) -> argparse.ArgumentParser:
    """The parser that knows a pipeline's own options."""
    parser = _Parser(
        usage="%(prog)s [options] [options of the runner]",
        description=inspect.cleandoc(about or ""),
        epilog="Options of Beam and of the runner (--runner, --streaming, ...) may be given beside these.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    target: Any = parser  # Beam's own parser is one of argparse's
    for one in options:
        one._add_argparse_args(target)  # noqa: SLF001 -- Beam's own protocol for this
    return parser


def read(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> PipelineOptions:
    """The options of a command line.

    Args:
        parser: Knows a pipeline's own flags.
        arguments: Flags, ours with `_` or `-` between words.

    Raises:
        ConfigError: One of ours has a wrong value, or is misspelt.
    """
    ours = [flag for flag in parser._option_string_actions if flag.startswith("--")]  # noqa: SLF001 -- no other way
    spelt = [_spelt(one, ours) for one in arguments]
    _, others = parser.parse_known_args(spelt)
    known = PipelineOptions([]).get_all_options()
    for other in others:
        flag = other.partition("=")[0]
        if flag.startswith("--") and flag[2:] not in known:
            _refuse_slip(flag, ours)
    return PipelineOptions(spelt)


def _spelt(argument: str, ours: Sequence[str]) -> str:
    flag, equals, value = argument.partition("=")
    ours_too = "--" + flag[2:].replace("-", "_")
    return f"{ours_too}{equals}{value}" if flag.startswith("--") and ours_too in ours else argument


def _refuse_slip(flag: str, ours: Sequence[str]) -> None:
    near = get_close_matches(
        flag.replace("-", "_"), ours, n=1, cutoff=0.0 if flag.startswith(_SLIP) else _NEAR
    )
    if near:
        raise ConfigError(f"unknown option {flag}; did you mean {near[0]}?")
