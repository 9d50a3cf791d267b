"""How a batch is taken apart when Splunk's reply blames a part of it. Pure; belongs to one lane.

A batch is a stream: with a bad object at N, objects 0..N-1 are indexed, N is refused, the rest is not
read. So the prefix must not be sent again (if its id can be asked), the bad one must not be sent again,
and the rest must be sent.

    400 with a usable number    prefix awaits its id, or is resent | bad one rejected | rest resent
    400 without one, code 5     halves
    503, 429 with a number      prefix as above | rest resent, nothing rejected
    413                         halves; what is too large alone is rejected
    refused by a proxy          uncompressed once, then halves; alone: rejected

Non-obvious: code 7 counts from 1 on real Splunk and from 0 elsewhere, and a balancer may stand before both.
So its number, unless it is 0, is a hint: the event it names when counted from 1 is sent alone, which shows
whether it was meant, and whether the 1 that it may have been called stood for the first event (nothing was
taken before it) or the second (something was, under an id that we may not know: until that is clear, the
channel is doubted). Under either count everything before that event is in. The price is one small request
for a refused index, or one duplicate where counting starts at 0; trusting a base learnt from an earlier
reply was tried and confirmed a refused event (simulation, two servers behind one address).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from splunk_hec import _protocol as protocol
from splunk_hec._envelope import index_of, raw_index_of
from splunk_hec.events import OutcomeKind

if TYPE_CHECKING:
    from splunk_hec._batching import Batch, Codec
    from splunk_hec._channel import Channel
    from splunk_hec._lane import Lane

GROWTH = 4
"""After a rejection the next piece is at most so many times the last accepted prefix: with a bad event in
every ten, re-sending everything behind it each time would cost the square of the batch."""
_UNLIMITED = 1_000_000
_REFUSED = "a proxy or firewall before Splunk refuses this event and lets others through"


class Splits:
    """What this lane has learnt about sizes and numbers, and the cutting that follows from it."""

    def __init__(self, lane: Lane, codec: Codec | None) -> None:
        self._lane = lane
        self._work = lane.work
        self._codec = codec
        self._most_events: int | None = None
        self._most_bytes: int | None = None

    def go_carefully(self) -> None:
        """The deployment was at fault until now: try it with one event."""
        self._most_events = 1

    def accepted(self, batch: Batch) -> None:
        """A piece went through: the next may be larger."""
        if self._most_events is not None:
            self._most_events = max(self._most_events, batch.count) * GROWTH
            if self._most_events > _UNLIMITED:
                self._most_events = None

    def shorten(self) -> None:
        """Cut the first batch of the lane to what is allowed now."""
        batch = self._work.todo[0]
        if batch.live or batch.count == 1:
            return  # taken whole before, and its ids are still asked: a cut would end them
        most = self._most_events or batch.count
        if self._most_bytes and batch.size_bytes > self._most_bytes:
            most = min(most, max(1, batch.count * self._most_bytes // batch.size_bytes))
        if most < batch.count:
            self._work.take(batch)
            self._work.requeue(self._cut(batch, [most]))

    def bad_event(self, batch: Batch, channel: Channel, answer: protocol.Answer, now: float) -> None:
        """A 400 that blames one event."""
        is_index = answer.code == protocol.INCORRECT_INDEX
        if batch.count == 1 and is_index and answer.number is not None:
            channel.counts_indexes_from = answer.number
        elif batch.count > 1 and answer.ack_id is None and answer.number != 0:
            if is_index and answer.number == 1 and not self._lane.settings.raw:
                channel.is_doubted = channel.counts_indexes_from != 1
            else:
                self._lane.after_unknown(channel)  # a prefix may be in, under an id that we do not know
        position = self._position(batch, answer)
        if batch.count == 1:
            self._reject(batch, answer, now)
        elif position is None:
            self._halve(batch)
        else:
            self._cut_out(batch, channel, answer, position, now)

    def busy(self, batch: Batch, channel: Channel, answer: protocol.Answer, now: float) -> None:
        """A 503 or 429: nothing is rejected; with a number, what stands before it was taken."""
        taken = answer.number or 0
        if batch.count > 1 and answer.ack_id is None and taken:
            self._lane.after_unknown(channel)
        if self._lane.settings.raw or not 0 < taken < batch.count:
            self._work.resend([batch], "busy")
            return
        prefix, rest = self._cut(batch, [taken])
        self._work.resend([rest], "busy")
        self._prefix(prefix, channel, answer, now)

    def too_large(self, batch: Batch, channel: Channel, answer: protocol.Answer) -> None:
        """A 413."""
        if not answer.is_splunk:
            self._lane.after_unknown(channel)
        if batch.count == 1:
            self._work.settle(batch, OutcomeKind.REJECTED, "too_large", answer=answer)
            return
        self._most_bytes = max(1, batch.size_bytes // 2)
        self._halve(batch)

    def refused(self, batch: Batch) -> None:
        """Something on the way refuses this batch and lets an empty request through."""
        if not batch.is_plain and self._codec is not None:
            batch.is_plain = True  # perhaps it only minds what it cannot read
            self._work.requeue([batch])
        elif batch.count == 1:
            self._work.settle(batch, OutcomeKind.REJECTED, "refused_by_proxy", text=_REFUSED)
        else:
            self._halve(batch)

    def _position(self, batch: Batch, answer: protocol.Answer) -> tuple[int, int] | None:
        """Which envelopes [start, end) are at fault or must be sent alone; None: the number says nothing."""
        number = answer.number
        if self._lane.settings.raw or number is None or answer.code == protocol.NO_DATA:
            return None
        if answer.code == protocol.INCORRECT_INDEX and number:
            number -= 1
        return (number, number + 1) if 0 <= number < batch.count else None

    def _cut_out(
        self, batch: Batch, channel: Channel, answer: protocol.Answer, at: tuple[int, int], now: float
    ) -> None:
        start, end = at
        pieces = self._cut(batch, [start, end])
        prefix = pieces.pop(0) if start else None
        named, rest = pieces[0], pieces[1:]
        self._most_events = max(1, start) * GROWTH
        if answer.code == protocol.INCORRECT_INDEX and answer.number:
            self._work.resend([named, *rest], "split")
        else:
            self._work.resend(rest, "split")
            self._reject(named, answer, now)
        if prefix is not None:
            self._prefix(prefix, channel, answer, now)

    def _prefix(self, prefix: Batch, channel: Channel, answer: protocol.Answer, now: float) -> None:
        """What Splunk took before it stopped reading."""
        if answer.ack_id is not None or not self._lane.acks:
            self._lane.accept(prefix, channel, answer, now)
        else:
            self._work.resend([prefix], "split")

    def _reject(self, batch: Batch, answer: protocol.Answer, now: float) -> None:
        """One event is at fault: reject it, unless what it was refused for stands in the configuration."""
        assert answer.code is not None
        reason = protocol.EVENT_REASONS[answer.code]
        index = ""
        if answer.code == protocol.INCORRECT_INDEX:
            index = self._index(batch)
            if not index or index in self._lane.settings.configured_indexes:
                self._work.requeue([batch])
                self._lane.endpoint.halt(
                    "bad_index", now, f"index {index or 'of the token'!r}: {answer.text}"
                )
                return
        self._work.settle(batch, OutcomeKind.REJECTED, reason, answer=answer, bad_index=index)

    def _index(self, batch: Batch) -> str:
        if self._lane.settings.raw:
            return raw_index_of(batch.query)
        return index_of(batch.body(self._codec)) or ""

    def _halve(self, batch: Batch) -> None:
        self._work.resend(self._cut(batch, [batch.count // 2]), "split")

    def _cut(self, batch: Batch, at: list[int]) -> list[Batch]:
        self._work.end_attempts(batch)
        return batch.cut(at, self._codec)
