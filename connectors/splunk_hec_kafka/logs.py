"""Where log lines go and how they look: standard error; JSON lines, plain text, or rich on a terminal.

Not for results, which go to standard output. Guarantee: no line holds a value of the given secrets, message,
traceback and foreign libraries included. That is the last line of defence, not the first: nothing here
logs a token on purpose. Nor can what somebody wrote into a topic forge a line or steer a terminal: a message
is one line without control characters, and the lines of a traceback are indented.

Non-obvious: the formatter hides secrets, not a logging filter, for a filter sees no traceback.
"""

from __future__ import annotations

import json
import logging
import sys
from copy import copy
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.logging import RichHandler

from splunk_hec.config import REDACTED
from splunk_hec.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Collection

OURS = ("splunk_hec", "splunk_hec_kafka")
SECRET_MIN_CHARS = 4  # shorter ones would blank half of every line and protect nothing
TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def setup(
    format: Literal["auto", "json", "text"],  # noqa: A002 -- the name of the key, log.format
    level: str,
    color: bool = True,
    secrets: Collection[str] = (),
) -> None:
    """Send all logging of this process to standard error; calling it again replaces what it did before.

    Args:
        format: `auto`: rich on a terminal, else JSON lines.
        level: the least level of this project's loggers; other libraries are heard from warning on.
        color: whether a terminal may be coloured.
        secrets: values that no line may show; the collection is read for every line, so it may grow.
    """
    handler = _handler(format, color=color, secrets=secrets)
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one.formatter, _Redacting)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
    logging.captureWarnings(capture=True)


def _handler(form: str, *, color: bool, secrets: Collection[str]) -> logging.Handler:
    """The handler for a form, with its formatter."""
    if form == "auto" and sys.stderr.isatty():
        console = Console(stderr=True, color_system="auto" if color else None)
        handler: logging.Handler = RichHandler(console=console, show_path=False, log_time_format="%X")
        handler.setFormatter(_Redacting("%(message)s", secrets))
        return handler
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacting(TEXT_FORMAT, secrets) if form == "text" else _JsonLines("", secrets))
    return handler


class _Redacting(logging.Formatter):
    """Formats a record, traceback included, without the secrets. Any thread."""

    def __init__(self, form: str, secrets: Collection[str]) -> None:
        super().__init__(form or None)
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        ours = copy(record)
        ours.exc_text = None  # what another handler's formatter left there is neither safe nor indented
        return super().format(ours)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- inherited
        """Only after the secrets are hidden: escaping might change one."""
        return one_line(self.redact(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802 -- inherited
        """Indented: no line of it can pass for a line of the log."""
        return _indented(self.redact(super().formatException(ei)))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 -- inherited
        """As a traceback."""
        return _indented(self.redact(stack_info))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """RFC 3339 in UTC, whatever the machine's time zone."""
        return rfc3339(record.created)

    def redact(self, text: str) -> str:
        """The text without the secrets; longer ones first, as one may be part of another."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            if len(secret) >= SECRET_MIN_CHARS:
                text = text.replace(secret, REDACTED)
        return text


class _JsonLines(_Redacting):
    """One JSON object a line. Secrets are hidden before encoding, which might escape a part of one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.redact(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = self.redact(logging.Formatter.formatException(self, record.exc_info))
        return json.dumps(line)


def _indented(lines: str) -> str:
    return "\n".join(f"  {one_line(line)}" for line in lines.split("\n"))


def rfc3339(seconds: float) -> str:
    """A time since 1970 as `2023-11-14T22:13:20.123Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
