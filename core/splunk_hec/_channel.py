"""A channel: one GUID under which a server numbers our requests, and what those numbers prove.

    ACTIVE    posted to and polled
    DRAINING  polled only; never posted to again
    GONE      neither: none of its ids is ever asked again

Not for what becomes of the batches: every method that ends ids returns their attempts, and the lane
decides. Why the rules are as they are: an id counts only on the server that issued it. A restarted
server, or another one behind the balancer, numbers from its start again and would tell an *old* id true
for a *new* request: a false confirmation, that is, silent loss. Each rule below closes one way there
(model-checked; `core/DESIGN.md`, "Channels").
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from splunk_hec._batching import Batch


class State(Enum):
    """Where a channel is in its life; only forward."""

    ACTIVE = "active"
    DRAINING = "draining"
    GONE = "gone"


class Attempt:
    """One accepted POST that waits for its acknowledgement. Owned by its channel's lane.

    Attributes:
        batch: What was posted; None if only the server's memory is to be freed (acks off).
        channel: Where the id counts, and nowhere else.
        ack_id: As read from the reply.
        accepted_at: Monotonic seconds of that reply.
        deadline: Monotonic seconds; a `false` read after it expires the attempt.
        next_ask: Monotonic seconds of its next turn in a poll.
        is_expired: Its batch was sent again, or may be; the id stays asked.
        is_reply_lost: A poll that asked it was lost, and its one `true` may be gone.
    """

    __slots__ = (
        "accepted_at", "ack_id", "batch", "channel", "deadline", "expired_at", "is_expired",
        "is_reply_lost", "next_ask",
    )  # fmt: skip

    def __init__(
        self, batch: Batch | None, channel: Channel, ack_id: int, now: float, deadline_s: float
    ) -> None:
        self.batch = batch
        self.channel = channel
        self.ack_id = ack_id
        self.accepted_at = now
        self.deadline = now + deadline_s
        self.next_ask = now
        self.is_expired = False
        self.expired_at = 0.0
        self.is_reply_lost = False

    def __repr__(self) -> str:
        return f"<Attempt {self.channel.id[:8]}/{self.ack_id} of {self.batch}>"


class Channel:
    """One GUID. Owned by one lane: one thread."""

    def __init__(self, channel_id: str, now: float) -> None:
        self.id = channel_id
        self.state = State.ACTIVE
        self.first: int | None = None
        self.last: int | None = None
        self.posts = 0
        self.silent_replies = 0
        self._silent_at_first = 0
        self.is_numbered_by_us = True
        self.asked: dict[int, Attempt] = {}
        self.used_at = now
        self.counts_indexes_from: int | None = None
        self.is_doubted = False

    def __repr__(self) -> str:
        ids = f"ids {self.first}..{self.last} | asks {len(self.asked)}"
        return f"<Channel {self.id[:8]} {self.state.value} | {ids}>"

    def note_reply(self, ack_id: int | None, now: float) -> bool:
        """Take note of any reply to a POST, before it is judged. False: the numbering was reset.

        Rule 4: an id at or below the last one means a restarted server or another one, also when no event
        stands behind it. The first id may be anything (Splunk starts at 0, others at 1).
        """
        self.used_at = now
        self.posts += 1
        if ack_id is None:
            self.silent_replies += 1
            return True
        if self.last is not None and ack_id <= self.last:
            return False
        expected = 1 if self.last is None else self.last + 1
        self.is_numbered_by_us &= ack_id <= expected + self.silent_replies
        if self.first is None:
            self.first, self._silent_at_first = ack_id, self.silent_replies
        self.last = ack_id
        return True

    def ask(self, attempt: Attempt) -> None:
        """From now on this id is asked."""
        self.asked[attempt.ack_id] = attempt

    def end(self, attempt: Attempt) -> None:
        """This id is not asked any more."""
        self.asked.pop(attempt.ack_id, None)

    def retire(self) -> None:
        """No more POSTs here."""
        if self.state is State.ACTIVE:
            self.state = State.DRAINING

    @property
    def start(self) -> int | None:
        """The id at which the server began to number here; None if a refusal may have used one up before."""
        return self.first if self._silent_at_first == 0 else None

    def retire_after_unknown(self, *, are_starts_alike: bool = True) -> list[Attempt]:
        """Rules 2 and 3: a POST whose outcome nobody knows was the last one here.

        If the server restarted in between, that POST may have been given the first id again, and each
        reply that brought no id may have used up one more: ids up to first + 1 + r are not safe to ask. If
        others than our requests have moved the numbers here (a counter for all channels, a random start),
        that POST may have been given any of them: then no id is safe. Nor is it where channels were seen to
        start at different ids (`are_starts_alike` is False): a restart may then start anywhere.

        Returns:
            The attempts that must not be asked again; they are already removed.
        """
        self.retire()
        if self.first is None:
            return []
        is_bounded = self.is_numbered_by_us and are_starts_alike
        unsafe = self.first + 1 + self.silent_replies
        ended = [ack_id for ack_id in sorted(self.asked) if ack_id <= unsafe or not is_bounded]
        return [self.asked.pop(ack_id) for ack_id in ended]

    def die(self) -> list[Attempt]:
        """Rule 4: never ask again. Returns all attempts; they are already removed."""
        self.state = State.GONE
        ended = list(self.asked.values())
        self.asked.clear()
        return ended
