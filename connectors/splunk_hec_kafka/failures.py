"""How the process ends: the exit codes, and the failure that carries one.

Not for events Splunk refuses (those are outcomes), nor for a fault of our own, which shows its traceback.
The codes are an interface: scripts and orchestrators act on them, so a number never changes its meaning.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process says when it ends. A member's docstring is its meaning."""

    OK = 0
    """Everything asked for was done; with `run`, everything read was settled and committed."""
    INTERNAL = 1
    """A fault of our own; the message says which. Nothing unsettled was committed."""
    USAGE = 2
    """The command line is wrong."""
    CONFIG = 3
    """The configuration is invalid, or cannot be put to use on this machine (a port in use)."""
    KAFKA = 4
    """Kafka failed for good: no broker in time, no permission, no such topic, offset out of range."""
    HEC = 5
    """Splunk refused the deployment (token, channel, index, acks missing) for longer than the patience."""
    DEAD_LETTER_LIMIT = 6
    """Too many records were refused, or one was and `on_reject` is `fail`."""
    UNSETTLED = 7
    """Ended with unsettled records; they are not committed and will be read again."""
    DEAD_LETTER_TOPIC = 8
    """The dead-letter topic is missing at start, unfit, or failed for good."""


class SinkFailure(Exception):  # noqa: N818 -- the name is the word the design uses: what ends the process
    """The process must end; raised on the call path and turned into one line and an exit code by the command.

    Args:
        exit_code: with what the process ends.
        text: what failed, and where; one line.
        fix: what the reader can do about it; one line.
    """

    def __init__(self, exit_code: ExitCode, text: str, fix: str) -> None:
        super().__init__(exit_code, text, fix)
        self.exit_code = exit_code
        self.text = text
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.text} (fix: {self.fix})"
