"""The batches of one lane that are to be posted, and the ends that batches come to. Pure; owned by its lane.

Guarantees: a batch is settled once; one that is settled waits nowhere and is asked for nowhere; one that is
sent again is counted with its cause.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from splunk_hec._actions import Settled

if TYPE_CHECKING:
    from splunk_hec import _protocol as protocol
    from splunk_hec._batching import Batch
    from splunk_hec._channel import Attempt
    from splunk_hec._channels import Channels
    from splunk_hec.events import OutcomeKind
    from splunk_hec.observe import Cause


class Work:
    """What a lane has to do.

    Attributes:
        todo: To be posted, in this order.
        posting: The batch of the POST that is under way, or was until the lane is asked what is next.
        settled: Outcomes since the lane last took them.
        resends: What was sent again and why, likewise.
        surrendered: What another endpoint should take, likewise.
    """

    def __init__(self, channels: Channels) -> None:
        self.todo: deque[Batch] = deque()
        self.posting: Batch | None = None
        self.settled: list[Settled] = []
        self.resends: list[tuple[Cause, Batch]] = []
        self.surrendered: list[Batch] = []
        self._channels = channels

    def give(self, batch: Batch) -> None:
        """A batch from the queue."""
        batch.is_queued = True
        self.todo.append(batch)

    def take(self, batch: Batch) -> Batch:
        """It does not wait here any more."""
        if batch.is_queued:
            self.todo.remove(batch)
            batch.is_queued = False
        return batch

    def surrender(self) -> None:
        """Give away what has no id asked here: another endpoint can take it."""
        for batch in [batch for batch in self.todo if not batch.live]:
            self.surrendered.append(self.take(batch))

    def settle(
        self,
        batch: Batch,
        kind: OutcomeKind,
        reason: str = "",
        *,
        answer: protocol.Answer | None = None,
        text: str = "",
        ack_latency_s: float = 0.0,
        bad_index: str = "",
    ) -> None:
        """Give a batch its outcome, once; its ids are not asked any more."""
        assert not batch.is_settled, batch
        batch.is_settled = True
        self.take(batch)
        self.end_attempts(batch)
        self.settled.append(Settled(batch, kind, reason, answer, text, ack_latency_s, bad_index))

    def end_attempts(self, batch: Batch) -> None:
        """Stop asking for this batch."""
        for attempt in batch.live:
            attempt.channel.end(attempt)
            self._channels.tidy(attempt.channel)
        batch.live.clear()

    def resend(self, batches: list[Batch], cause: Cause) -> None:
        """To be posted again, before anything newer."""
        for batch in batches:
            self.resends.append((cause, batch))
            batch.cause = cause
        self.requeue(batches)

    def requeue(self, batches: list[Batch]) -> None:
        """To be posted next, in this order; not counted: nothing of them was taken."""
        for batch in batches:
            batch.is_queued = True
        self.todo.extendleft(reversed(batches))

    def evacuate(self) -> list[Batch]:
        """All unsettled batches, for a successor; this lane must not be used any more."""
        posting = [self.posting] if self.posting and not self.posting.is_settled else []
        batches = list(dict.fromkeys([*posting, *self.todo, *self.waiting()]))
        for batch in batches:
            batch.live.clear()
            batch.is_queued = False
        self.posting = None
        self.todo.clear()
        for channel in self._channels:
            channel.asked.clear()
        return batches

    def resend_attempts(self, attempts: list[Attempt], cause: Cause) -> None:
        """Ids that must not be believed any more: resend what no other id can still confirm in time."""
        batches: list[Batch] = []
        for attempt in attempts:
            batch = attempt.batch
            if batch is None or batch.is_settled:
                continue
            batch.live.remove(attempt)
            if not batch.is_queued and all(other.is_expired for other in batch.live) and batch not in batches:
                batches.append(batch)
        self.resend(batches, cause)

    def waiting(self) -> list[Batch]:
        """The batches whose ids are asked; one may occur twice."""
        return [a.batch for channel in self._channels for a in channel.asked.values() if a.batch]
