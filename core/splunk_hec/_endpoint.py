"""How a lane stands with its endpoint: well, failing (backing off), or halted (probing slowly).

Pure; owned by one lane. Not for batches or channels. A failure may be anybody's; a halt is a fault of the
deployment (token, channel, path, index): nothing is rejected for it, everything waits until a probe shows
that it healed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from splunk_hec._actions import LaneHealth
from splunk_hec._patience import Halted
from splunk_hec._retry import Backoff, Pace

if TYPE_CHECKING:
    from random import Random

MAX_STRANGE = 8
"""Replies of 200 that prove nothing, in a row, until it must be said that this is no HEC."""


class Endpoint:
    """One lane's view of its url.

    Attributes:
        halted: Why and since when the deployment is refused; None if it is not.
        failing_since: Monotonic seconds of the first failure since the last success; None if all is well.
        failure: What failed last, for people.
        not_before: Monotonic seconds before which nothing is posted.
        notes: Lines for the log, taken by the lane.
        is_ack_fault: The halt concerns acknowledgements, so only an ack query shows whether it healed.
    """

    def __init__(self, url: str, random: Random) -> None:
        self.url = url
        self.halted: Halted | None = None
        self.failing_since: float | None = None
        self.failure = ""
        self.not_before = 0.0
        self.notes: list[str] = []
        self.is_ack_fault = False
        self._unproven: Halted | None = None
        self._backoff = Backoff(random)
        self._pace = Pace()
        self._strange = 0

    def __repr__(self) -> str:
        return f"{self.url} | {f'halted {self.halted.reason}' if self.halted else self.failure or 'ok'}"

    @property
    def is_backing_off(self) -> bool:
        """Whether the last POST failed."""
        return self._backoff.failures > 0

    def is_halted_for(self, reason: str) -> bool:
        """Whether this is why it is halted."""
        return self.halted is not None and self.halted.reason == reason

    def answered(self) -> None:
        """It judged a request of ours: it is alive."""
        self._backoff.succeed()
        self.failing_since, self.failure = None, ""

    def accepted(self, now: float, *, is_near_capacity: bool) -> bool:
        """It took events. Returns whether that ended a halt."""
        self.answered()
        self._strange = 0
        was_halted = self.heal(now)
        self._unproven = None
        if is_near_capacity:
            self._pace.slow()
        else:
            self._pace.ease()
        if self._pace.gap_s:
            self.not_before = now + self._pace.gap_s
        return was_halted

    def fail(self, now: float, why: str, retry_after_s: float = 0.0) -> None:
        """A request failed: back off."""
        self.doubt(now, why)
        self.not_before = now + self._backoff.fail(retry_after_s)

    def busy(self, now: float, why: str, retry_after_s: float) -> None:
        """It is overloaded: back off, and go slower afterwards."""
        self.fail(now, why, retry_after_s)
        self._pace.slow()

    def doubt(self, now: float, why: str) -> None:
        """Something is wrong with it, though POSTs need not wait for that."""
        self.failing_since = now if self.failing_since is None else self.failing_since
        self.failure = why

    def unknown(self, now: float, why: str, *, is_strange: bool) -> None:
        """Nobody knows what became of a request.

        `is_strange`: it was a 200 that proves nothing; again and again, that is a proxy or login page.
        """
        self.fail(now, why)
        self._strange = self._strange + 1 if is_strange else 0
        if self._strange >= MAX_STRANGE:
            self.halt("strange_replies", now, why)

    def halt(self, reason: str, now: float, text: str, *, by_ack_query: bool = False) -> None:
        """The deployment is at fault: hold everything, probe slowly, say so once."""
        self.is_ack_fault = by_ack_query or reason == "acks_disabled"
        if self.halted is not None:
            self.halted.again(reason, text, now)
            return
        if self._unproven is not None and self._unproven.reason == reason:
            # A probe went well, and the next request was refused again: it is the same halt, or no patience
            # would ever end.
            self.halted = self._unproven
            self.halted.again(reason, text, now)
        else:
            self.halted = Halted(reason, text, now)
        self.doubt(now, text or reason)
        self.notes.append(f"{self.url} halted: {reason} ({text})")

    def still_halted(self, now: float) -> None:
        """A probe that says nothing new: look again later."""
        if self.halted is not None:
            self.halted.again(self.halted.reason, self.halted.text, now)

    def heal(self, now: float) -> bool:
        """A probe or POST went well. Returns whether that ended a halt."""
        was_halted = self.halted is not None
        if self.halted is not None:
            self.notes.append(f"{self.url} healed: {self.halted.reason}")
            self._unproven, self.halted = self.halted, None
        self.not_before = now
        self.failing_since, self.failure = None, ""
        return was_halted

    def unanswered(self, now: float, *, is_blocking: bool) -> None:
        """Ack queries fail. `is_blocking`: nothing can be posted before one is answered."""
        why = "ack queries are not answered"
        if is_blocking:
            self.fail(now, why)
        else:
            self.doubt(now, why)
        if self.is_ack_fault:
            self.still_halted(now)

    def health(self, *, is_confirming: bool, silent_since: float = 0.0) -> LaneHealth:
        """A value for other threads."""
        halted = self.halted
        return LaneHealth(
            halted=halted.reason if halted else "",
            halted_text=halted.text if halted else "",
            halted_since=halted.since if halted else 0.0,
            failure=self.failure,
            failing_since=self.failing_since or 0.0,
            is_confirming=is_confirming,
            silent_since=silent_since,
        )
