"""Asking for acknowledgements: which ids to ask when, what an answer proves, when to stop waiting.

Pure; belongs to one lane.

    asked ──true──→ settled
      │ false after the deadline
      ↓
    expired ──true──→ settled as well: its batch was sent again, and whichever copy is told first counts

Only a `false` that was *read* after the deadline expires an id. No answer, no expiry: a stopped process,
a frozen function or an outage of /ack must not resend everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from splunk_hec import _protocol as protocol
from splunk_hec._actions import PollAcks
from splunk_hec._patience import AckLatency
from splunk_hec._retry import Backoff
from splunk_hec.events import OutcomeKind

if TYPE_CHECKING:
    from random import Random

    from splunk_hec._channel import Attempt
    from splunk_hec._lane import Lane
    from splunk_hec.observe import Cause

MAX_IDS_PER_POLL = 64
"""A lost reply to a poll puts its ids in doubt: that many batches at most."""
EXPIRED_ASKED_S = 1800.0
"""How long an expired id stays asked: acks slower than the deadline would otherwise resend for ever."""
LONGEST_POLL_BACKOFF_S = 30.0
_FAR_S = 3600.0


class Asking:
    """The polls of one lane.

    Attributes:
        latency: Of this lane's acknowledgements.
        answered_at: Monotonic seconds of the last well-formed answer.
        is_confirming: False once nothing was confirmed for a whole deadline.
        silent_since: Monotonic seconds from which on it takes events and confirms none; only while not
            `is_confirming`.
    """

    def __init__(self, lane: Lane, random: Random) -> None:
        self._lane = lane
        self.latency = AckLatency()
        self.answered_at = 0.0
        self.is_confirming = True
        self.silent_since = 0.0
        self._failures = Backoff(random)
        self._not_before = 0.0

    def due(self, now: float) -> float:
        """When the next poll is due; far away if nothing is asked."""
        asks = [attempt.next_ask for channel in self._lane.channels for attempt in channel.asked.values()]
        return max(min(asks), self._not_before) if asks else now + _FAR_S

    def poll(self, now: float) -> PollAcks | None:
        """The channel whose turn it is, with those of its ids that are due or will be in a moment."""
        asking = [channel for channel in self._lane.channels if channel.asked]
        channel = min(asking, key=lambda one: min(attempt.next_ask for attempt in one.asked.values()))
        for attempt in list(channel.asked.values()):
            if attempt.batch is not None and attempt.batch.owner.is_aborted and not attempt.batch.is_settled:
                self._lane.work.settle(attempt.batch, OutcomeKind.GAVE_UP, "aborted")
        soon = now + self.latency.pause_s
        attempts = [attempt for attempt in channel.asked.values() if attempt.next_ask <= soon]
        attempts.sort(key=lambda attempt: attempt.next_ask)
        ids = [attempt.ack_id for attempt in attempts[:MAX_IDS_PER_POLL]]
        return PollAcks(channel, ids) if ids else None

    def on_acks(
        self, poll: PollAcks, reply: protocol.Reply | protocol.TransportError, now: float
    ) -> protocol.Halt | None:
        """Take the reply; returns the fault of the deployment that it shows, if it does."""
        poll.channel.used_at = now
        answer = protocol.judge_acks(reply, frozenset(poll.ids))
        asked = [poll.channel.asked[ack_id] for ack_id in poll.ids if ack_id in poll.channel.asked]
        match answer:
            case protocol.Acks():
                self._failures.succeed()
                self.answered_at = now
                # A full poll leaves others unasked: many small batches, for which pauses would be too long.
                self._not_before = now + (self.latency.pause_s if len(poll.ids) < MAX_IDS_PER_POLL else 0.0)
                self._told(asked, answer.true_ids, now)
                return None
            case protocol.AcksLost():
                for attempt in asked:
                    attempt.is_reply_lost = True
                    attempt.deadline = min(attempt.deadline, now + self.latency.grace_s)
                self._not_before = now + min(LONGEST_POLL_BACKOFF_S, self._failures.fail())
                return None
            case protocol.AcksRefused():
                self._not_before = now + min(LONGEST_POLL_BACKOFF_S, self._failures.fail())
                return answer.halt

    @property
    def is_answered(self) -> bool:
        """Whether the last poll, if there was one, got a well-formed answer."""
        return not self._failures.failures

    def _told(self, asked: list[Attempt], true_ids: frozenset[int], now: float) -> None:
        for attempt in asked:
            if attempt.ack_id in true_ids:
                self._confirmed(attempt, now)
        for attempt in asked:
            # Settling a batch ends its other ids, so some of those asked may not be asked any more.
            if attempt.ack_id not in true_ids and attempt.channel.asked.get(attempt.ack_id) is attempt:
                self._not_yet(attempt, now)

    def _confirmed(self, attempt: Attempt, now: float) -> None:
        latency_s = now - attempt.accepted_at
        self.latency.note(latency_s, now)
        self.is_confirming = True
        if attempt.batch is None:
            _end(attempt)
        elif not attempt.batch.is_settled:
            self._lane.work.settle(attempt.batch, OutcomeKind.DELIVERED, ack_latency_s=latency_s)

    def _not_yet(self, attempt: Attempt, now: float) -> None:
        attempt.next_ask = now + self.latency.gap_s(now - attempt.accepted_at, is_expired=attempt.is_expired)
        if attempt.is_expired:
            if now - attempt.expired_at >= EXPIRED_ASKED_S:
                _end(attempt)
        elif now >= attempt.deadline:
            self._expire(attempt, now)

    def _expire(self, attempt: Attempt, now: float) -> None:
        batch = attempt.batch
        if batch is None:
            _end(attempt)
            return
        attempt.is_expired, attempt.expired_at = True, now
        if self.latency.last_true_at < attempt.accepted_at and not attempt.is_reply_lost:
            self.silent_since = attempt.accepted_at if self.is_confirming else self.silent_since
            self.is_confirming = False
        if not self._lane.settings.resend_on_ack_timeout:
            text = "no acknowledgement in time"
            self._lane.work.settle(batch, OutcomeKind.UNCONFIRMED, "unconfirmed", text=text)
            return
        self._lane.channels.retire(attempt.channel, "ack_timeout")
        if not batch.is_queued and all(other.is_expired for other in batch.live):
            cause: Cause = "ack_reply_lost" if attempt.is_reply_lost else "ack_timeout"
            self._lane.work.resend([batch], cause)


def _end(attempt: Attempt) -> None:
    """Stop asking for one id."""
    attempt.channel.end(attempt)
    if attempt.batch is not None:
        attempt.batch.live.remove(attempt)
