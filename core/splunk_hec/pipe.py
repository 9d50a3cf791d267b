"""`python -m splunk_hec.pipe`: each line of standard input becomes an event.

Not for files that must be read exactly once: what was read and not confirmed when the process is killed is
with nobody. Guarantees: memory is bounded by the client's budget; SIGTERM and SIGINT end it within the
drain deadline; exit code 0 means that every line was confirmed; with `--spill` every line that was not, and
was not too long, is in that file.

Non-obvious: while Splunk takes nothing and the budget is full, nothing is read: the pipe fills, and whoever
writes into it waits. Nothing heavy is imported before the arguments are read.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLE = """\
every other setting of HecConfig is read from the environment, SPLUNK_HEC_ and its name in capitals, e.g.
SPLUNK_HEC_CA_FILE, SPLUNK_HEC_VERIFY, SPLUNK_HEC_EVENT_MAX_BYTES, SPLUNK_HEC_IN_FLIGHT_MAX_BYTES.

exit codes: 0 every line is confirmed, 2 wrong usage, 3 wrong setting, 5 Splunk refuses the deployment,
7 some lines are not confirmed, 1 a fault of our own.

example: tail -F app.log | python -m splunk_hec.pipe --url https://splunk.example:8088 --sourcetype app"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run to the end of standard input; returns the exit code.

    Args:
        arguments: None: those of the process.
    """
    asked = _parser().parse_args(arguments)
    token = asked.token or os.environ.get("SPLUNK_HEC_TOKEN", "")
    if asked.token and not asked.token.startswith(("env:", "file:", "gcp-secret:")):
        return _say(
            "--token takes env:NAME or file:PATH, never the token itself: everyone can read a process list", 2
        )
    if not asked.url and not os.environ.get("SPLUNK_HEC_URL"):
        return _say("--url is missing, e.g. --url https://splunk.example:8088", 2)
    if not token:
        return _say("--token is missing, e.g. --token env:NAME, or set SPLUNK_HEC_TOKEN", 2)
    from splunk_hec._pipe_run import PipeRun  # noqa: PLC0415 -- --help does not wait for it
    from splunk_hec.config import HecConfig  # noqa: PLC0415
    from splunk_hec.errors import ConfigError  # noqa: PLC0415

    given = {name: getattr(asked, name) for name in ("index", "source", "sourcetype", "host", "ack")}
    overrides = {name: value for name, value in given.items() if value is not None}
    if asked.url:
        overrides["url"] = tuple(asked.url)
    try:
        run = PipeRun(HecConfig.from_env(**overrides, token=token), asked.spill, asked.drain_s, say)
    except ConfigError as error:
        return _say(str(error), 3)
    except OSError as error:
        return _say(f"--spill {asked.spill}: {error.strerror}; name a file that can be written", 3)
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, run.on_signal) for number in signals]
    code = run.to_end(0)
    if arguments is None:  # a signal that comes now must not change the exit code
        before = [signal.SIG_IGN, signal.SIG_IGN]
    for number, handler in zip(signals, before, strict=True):
        signal.signal(number, handler)
    return _say(run.summary(), code)


def say(text: str) -> None:
    """A line on stderr; whether anybody still reads it must not matter."""
    with suppress(OSError):
        os.write(2, f"splunk_hec.pipe: {text}\n".encode("utf-8", "backslashreplace"))


def _say(text: str, code: int) -> int:
    say(text)
    return code


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ValueError
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m splunk_hec.pipe",
        description="Send each line of standard input to Splunk's HTTP Event Collector.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--url", action="append", metavar="URL", help="https://host:8088; may be given several times")
    add("--token", metavar="REFERENCE", help="env:NAME or file:PATH; default: env:SPLUNK_HEC_TOKEN")
    add("--sourcetype", help="metadata of all events; default: the token's")
    add("--source", help="metadata of all events; default: the token's")
    add("--index", help="metadata of all events; default: the token's")
    add("--host", help="metadata of all events; default: the token's")
    add(
        "--ack",
        choices=("required", "auto", "off"),
        help="what confirmed means: required (the default) is indexed; auto asks the token; off is accepted",
    )
    add("--spill", metavar="FILE", help="append the lines that are not confirmed to this file")
    add(
        "--drain-s",
        type=_seconds,
        default=20.0,
        metavar="SECONDS",
        help="after the last line, SIGTERM or"
        " SIGINT: longest time for what is on its way (default: 20); a second signal ends at once",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
