"""Every exception that a caller of this package can meet.

Failures on the delivery path are values (`Outcome`); exceptions are for the caller's own calls.

    HecError
    ├── ConfigError      (also ValueError)  a setting is wrong; raised while constructing
    ├── InvalidEvent     (also ValueError)  submit() refused the event; nothing was sent
    ├── BudgetExceeded   no room was freed in time; the event was not taken
    ├── Halted           Splunk refuses the deployment (token, channel, index) past the patience
    ├── ClosedError      the client or stream is closed, aborted, or was forked
    └── DeliveryFailed   close(): these outcomes failed and nobody had polled them
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from splunk_hec.events import Outcome


def one_line(text: str) -> str:
    r"""Text of somebody else's for a log line, a terminal or a header: one line, all of it visible.

    Args:
        text: Anything; line ends, escape sequences, changes of direction or lone surrogates included.

    Returns:
        The text with what cannot be printed written as in Python: `\n`, `\x1b`, `\u202e`.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class HecError(Exception):
    """The root: catch it to catch everything this package raises on purpose."""


class ConfigError(HecError, ValueError):
    """A setting is missing, unknown or out of range; the text names it and says how to mend it."""


class InvalidEvent(HecError, ValueError):  # noqa: N818 -- the public name says what it is, not that it is an error
    """This event can never be indexed as it is, so it was refused at its call site.

    Attributes:
        reason: One of the dead-letter reasons, e.g. `too_large`, `bad_time`, `blank`.
        position: Index of the event within `submit_many`, 0 for `submit`.
    """

    def __init__(self, reason: str, text: str, position: int = 0) -> None:
        self.text = one_line(text)  # it may quote the event, and ends in logs, headers and on terminals
        super().__init__(f"{reason}: {self.text}")
        self.reason = reason
        self.position = position


class BudgetExceeded(HecError):  # noqa: N818 -- a public name
    """The in-flight budget stayed full for the whole `timeout_s`.

    Attributes:
        accepted: How many events of the call were taken before that (always 0 for `submit`).
    """

    def __init__(self, text: str, accepted: int = 0) -> None:
        super().__init__(text)
        self.accepted = accepted


class Halted(HecError):  # noqa: N818 -- a public name
    """Every endpoint refuses the deployment, for longer than `halt_patience_s`; nothing was dropped.

    Attributes:
        reason: Short and stable, e.g. `invalid_token`, `acks_disabled`.
    """

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(f"{reason}: {text}" if text else reason)
        self.reason = reason


class ClosedError(HecError):
    """The client or stream takes nothing any more."""


class DeliveryFailed(HecError):  # noqa: N818 -- a public name
    """Events failed and the caller did not poll their outcomes.

    Attributes:
        outcomes: Every failed outcome that nobody polled.
    """

    def __init__(self, outcomes: list[Outcome]) -> None:
        events = sum(outcome.count for outcome in outcomes)
        kinds = ", ".join(sorted({f"{outcome.kind}/{outcome.reason}" for outcome in outcomes}))
        super().__init__(f"{events} events were not delivered ({kinds})")
        self.outcomes = outcomes
