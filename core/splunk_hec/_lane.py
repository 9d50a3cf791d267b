"""A lane: the life of batches over channels, on one endpoint. A state machine that does no I/O.

    action = lane.next(now)        Post | PollAcks | Probe | Wait(until) | Rest(until)
    lane.on_post / on_acks / on_probe(action, reply, now)
    effects = lane.take_effects()  what was settled, what goes back to the queue, what to count

The same code runs under a worker thread, inline on the caller's thread, and in simulations. It has no
lock: whoever calls it owns it.

    batch       given ─→ todo ─post→ awaiting an id's `true` ─→ settled
                          ↑ resend      │ expired, unknown, reset
                          └─────────────┘
    lane        posting, until a failure: backing off, until a deployment fault: halted (probing)

What a reply means is `_protocol`; what an id proves is `_channel`; how a batch is taken apart is
`_splits`. Here: what to do next, and when. Non-obvious: a batch that expired is posted again while its old
ids stay asked (acks slower than the deadline would otherwise resend for ever), so a batch with live ids
never leaves its lane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from splunk_hec import _protocol as protocol
from splunk_hec._actions import (
    NOTHING,
    Action,
    Effects,
    LaneHealth,
    LaneSettings,
    PollAcks,
    Post,
    Probe,
    Rest,
    Wait,
)
from splunk_hec._asking import EXPIRED_ASKED_S, Asking
from splunk_hec._channel import Attempt, Channel
from splunk_hec._channels import Channels
from splunk_hec._endpoint import Endpoint
from splunk_hec._retry import retry_after_s
from splunk_hec._splits import Splits
from splunk_hec._work import Work
from splunk_hec.events import OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from splunk_hec._batching import Batch, Codec

LEFT_AFTER_S = 30.0
"""How long an endpoint that others can stand in for is asked before its batches go there."""
MAX_UNUSED_IDS = 1024
"""Ids of a channel that are asked only to free the server's memory; while it is silent the oldest go."""

Reply = protocol.Reply | protocol.TransportError


class Lane:
    """One active channel, its draining ones, and their batches. Owned by one worker."""

    def __init__(
        self,
        settings: LaneSettings,
        *,
        random: Random,
        new_channel_id: Callable[[], str],
        codec: Codec | None = None,
    ) -> None:
        self.settings = settings
        self.acks = settings.acks
        self.channels = Channels(new_channel_id, settings.posts_per_channel)
        self.work = Work(self.channels)
        self.endpoint = Endpoint(settings.url, random)
        self.asking = Asking(self, random)
        self._splits = Splits(self, codec)
        self._suspect: Post | None = None
        self._must_probe = False

    def __repr__(self) -> str:
        asked = sum(len(channel.asked) for channel in self.channels)
        return f"<Lane {self.endpoint!r} | todo {len(self.work.todo)} | awaiting ack {asked}>"

    # -- what to do next ------------------------------------------------------------------------------

    def give(self, batch: Batch) -> None:
        """A batch from the queue: from now on it is this lane's to settle or surrender."""
        self.work.give(batch)

    def next(self, now: float) -> Action:
        """What to do now."""
        self.work.posting = None
        self._sweep(now)
        clearing = self._clear_doubt(now)
        if clearing is not None:
            return clearing
        poll_at = self.asking.due(now)
        if poll_at <= now:
            poll = self.asking.poll(now)
            if poll is not None:
                return poll
            poll_at = self.asking.due(now)
        halted = self.endpoint.halted
        wait_until = max(halted.next_probe if halted else 0.0, self.endpoint.not_before)
        if now < wait_until:
            return Wait(min(poll_at, wait_until))
        if self._suspect:
            return Probe(self._suspect.channel)
        if halted:
            return self._probe_halt(now, poll_at)
        if self.acks is None:
            return PollAcks(self.channels.apart(now), [0])
        if self._must_probe:
            return self._on_channel(now, poll_at, Probe)
        if self.acks and self.channels.are_full(is_confirming=self.asking.is_confirming):
            return Wait(poll_at)
        if not self.work.todo:
            return Rest(poll_at)
        return self._post(now, poll_at)

    def _clear_doubt(self, now: float) -> Action | None:
        """A reply may have hidden an id: post the event that shows it, and ask nothing there meanwhile."""
        doubted = self.channels.doubted
        if doubted is None:
            return None
        is_free = self.endpoint.halted is None and now >= self.endpoint.not_before
        if is_free and self.work.todo and self.work.todo[0].count == 1:
            return self._post(now, now)
        self.after_unknown(doubted)
        return None

    def _post(self, now: float, poll_at: float) -> Action:
        self._splits.shorten()
        batch = self.work.todo[0]
        action = self._on_channel(now, poll_at, lambda channel: Post(batch, channel))
        if isinstance(action, Post):
            self.work.take(batch)
            self.work.posting = batch
        return action

    def _on_channel(self, now: float, poll_at: float, make: Callable[[Channel], Post | Probe]) -> Action:
        """An action on the active channel, as soon as there may be one."""
        active = self.channels.active(now)
        return Wait(min(self.channels.due(now), poll_at)) if active is None else make(active)

    def _probe_halt(self, now: float, poll_at: float) -> Action:
        """Look whether the fault healed, by what was refused where an empty POST would not show it."""
        if self.endpoint.is_halted_for("bad_index") and self.work.todo:
            return self._post(now, poll_at)
        if self.endpoint.is_ack_fault:
            # On a GUID that is never posted to: asking for an id of ours could swallow its one `true`.
            return PollAcks(self.channels.apart(now), [0])
        return self._on_channel(now, poll_at, Probe)

    def _sweep(self, now: float) -> None:
        """Drop what nobody waits for any more: aborted streams' batches, those past give_up_after_s."""
        while self.work.todo and self.work.todo[0].owner.is_aborted:
            self.work.settle(self.work.todo[0], OutcomeKind.GAVE_UP, "aborted")
        oldest = self.settings.give_up_after_s
        if oldest and (self.work.todo or self.channels):
            for batch in [*self.work.todo, *self.work.waiting()]:
                if now - batch.sealed_at >= oldest and not batch.is_settled:
                    text = self.endpoint.failure or "the deadline is spent"
                    self.work.settle(batch, OutcomeKind.GAVE_UP, "gave_up", text=text)
        if self.settings.may_leave and self.endpoint.failing_since is not None:
            self._leave(now, self.endpoint.failing_since)

    def _leave(self, now: float, failing_since: float) -> None:
        """Hand over what another endpoint can take; what may still be confirmed here, only after 30 s."""
        if self.endpoint.is_halted_for("bad_index"):
            return
        if now - max(failing_since, self.asking.answered_at) >= LEFT_AFTER_S:
            for channel in list(self.channels):
                self.work.resend_attempts(channel.die(), "ack_timeout")
                self.channels.drop(channel, "left")
        self.work.surrender()
        self._must_probe = True

    # -- replies to POSTs of events -------------------------------------------------------------------

    def on_post(self, post: Post, reply: Reply, now: float, wall_s: float) -> None:
        """Take the reply to `Post`. `wall_s`: seconds since 1970, for Retry-After dates."""
        batch, channel = post.batch, post.channel
        answer = protocol.read(reply)
        batch.note_attempt(wall_s, answer.ack_id)
        if answer.ack_id is not None and self.acks is False and self.settings.acks is None:
            self._learn(acks=True)  # turned on since: from now on only they count
        if isinstance(reply, protocol.Reply) and not channel.note_reply(answer.ack_id, now) and self.acks:
            self._reset(channel, now)
            self.work.resend([batch], "channel_reset")
            return
        self.channels.note_start(channel)
        was_doubted, channel.is_doubted = channel.is_doubted, False
        self._act_on(post, reply, answer, now, wall_s)
        if was_doubted and channel.counts_indexes_from != 1:
            self.after_unknown(channel)

    def _act_on(self, post: Post, reply: Reply, answer: protocol.Answer, now: float, wall_s: float) -> None:
        batch, channel = post.batch, post.channel
        verdict = protocol.judge(reply, answer, needs_ack_id=bool(self.acks))
        match verdict:
            case protocol.Accepted():
                self._accepted(batch, channel, answer, verdict, now)
            case protocol.BadEvent():
                self.endpoint.answered()
                self._splits.bad_event(batch, channel, answer, now)
            case protocol.Busy():
                asked_s = retry_after_s(verdict.retry_after, wall_s)
                self.endpoint.busy(now, answer.text or f"HTTP {answer.status}", asked_s)
                self._splits.busy(batch, channel, answer, now)
            case protocol.TooLarge():
                self._splits.too_large(batch, channel, answer)
            case protocol.Halt():
                if answer.status == 200:  # accepted, under no id: it will be there twice
                    self.after_unknown(channel)
                    self.work.resend([batch], "unknown_reply")
                else:
                    if not answer.is_splunk:
                        self.after_unknown(channel)
                    self.work.requeue([batch])
                self.endpoint.halt(verdict.reason, now, answer.text)
            case protocol.Suspect():  # or Splunk's own refusal, cut in its headers: a prefix may be in
                self.after_unknown(channel)
                self.work.resend([batch], "unknown_reply")
                self._suspect = post
            case protocol.Unknown():
                self.after_unknown(channel)
                self.work.resend([batch], "unknown_reply")
                self.endpoint.unknown(now, verdict.why, is_strange=verdict.is_strange)
            case protocol.NotSent():
                self.work.requeue([batch])
                self.endpoint.fail(now, verdict.why)
            case _ as never:
                assert_never(never)

    def _accepted(
        self, batch: Batch, channel: Channel, answer: protocol.Answer, verdict: protocol.Accepted, now: float
    ) -> None:
        if self.endpoint.accepted(now, is_near_capacity=verdict.is_near_capacity):
            self._splits.go_carefully()
        self._splits.accepted(batch)
        self.accept(batch, channel, answer, now)
        if self.acks and self.channels.is_unsticky(now):
            self.channels.retire(channel, "not_sticky")

    def accept(self, batch: Batch, channel: Channel, answer: protocol.Answer, now: float) -> None:
        """These events were taken: wait for their id, or, with acks off, they are delivered."""
        if self.acks:
            assert answer.ack_id is not None
            attempt = Attempt(batch, channel, answer.ack_id, now, self.settings.ack_deadline_s)
            batch.live.append(attempt)
        else:
            self.work.settle(batch, OutcomeKind.DELIVERED, answer=answer)
            if answer.ack_id is None:
                return
            if len(channel.asked) >= MAX_UNUSED_IDS:
                del channel.asked[next(iter(channel.asked))]
            attempt = Attempt(None, channel, answer.ack_id, now, EXPIRED_ASKED_S)
        attempt.next_ask = now + self.asking.latency.first_ask_s
        channel.ask(attempt)

    def _reset(self, channel: Channel, now: float) -> None:
        """Rule 4: another server answers, or a restarted one. Nothing asked here can be believed any more."""
        self.work.resend_attempts(channel.die(), "channel_reset")
        self.channels.drop(channel, "channel_reset")
        if self.channels.note_reset(now):
            self.endpoint.notes.append(
                f"{self.settings.url}: ack ids fell back again and again: its balancer is not sticky, "
                "or it keeps restarting; one batch per channel from now on (fix: turn on cookie stickiness)"
            )

    def after_unknown(self, channel: Channel) -> None:
        """Rules 2 and 3: post on a fresh channel, and believe nothing that a restart may have re-issued."""
        unsafe = channel.retire_after_unknown(are_starts_alike=self.channels.are_starts_alike)
        self.channels.retire(channel, "unknown_reply")
        self.work.resend_attempts(unsafe, "unknown_reply")

    def on_probe(self, probe: Probe, reply: Reply, now: float) -> None:
        """Take the reply to `Probe`."""
        answer = protocol.read(reply)
        if isinstance(reply, protocol.Reply):
            if not probe.channel.note_reply(answer.ack_id, now) and self.acks:
                self._reset(probe.channel, now)
        elif reply.maybe_sent:
            self.after_unknown(probe.channel)
        verdict = protocol.judge_probe(reply)
        match verdict:
            case None:
                self._must_probe = False
                self._healed(now)
                # Others may stand before it by now, or it may have been settled or given away.
                if self._suspect is not None and self._suspect.batch in self.work.todo:
                    self._splits.refused(self.work.take(self._suspect.batch))
                self._suspect = None
            case protocol.Halt():
                self._suspect = None
                self.endpoint.halt(verdict.reason, now, answer.text)
            case _:
                self.endpoint.fail(now, getattr(verdict, "why", "") or answer.text)
                self.endpoint.still_halted(now)
        self.channels.tidy(probe.channel)

    def _healed(self, now: float) -> None:
        if self.endpoint.heal(now):
            self._splits.go_carefully()

    # -- acknowledgements -----------------------------------------------------------------------------

    def on_acks(self, poll: PollAcks, reply: Reply, now: float) -> None:
        """Take the reply to `PollAcks`."""
        if self.acks is None:
            acks = protocol.learn_acks(reply)
            if acks is not None:
                self._learn(acks=acks)
        halt = self.asking.on_acks(poll, reply, now)
        is_probe = self.endpoint.halted is not None and self.endpoint.is_ack_fault
        if self.asking.is_answered:
            if is_probe:
                self._healed(now)
            elif not self.endpoint.is_backing_off and not self.endpoint.halted:
                self.endpoint.answered()
        elif self.acks is False:
            pass  # nothing depends on an answer
        elif halt:
            self.endpoint.halt(halt.reason, now, "said in answer to an ack query", by_ack_query=True)
        else:
            self.endpoint.unanswered(now, is_blocking=self.acks is None)
        self.channels.tidy(poll.channel)

    def _learn(self, *, acks: bool) -> None:
        self.acks = acks
        state = "on" if acks else "off"
        self.endpoint.notes.append(f"{self.settings.url}: acknowledgements are {state} for this token")

    def health(self) -> LaneHealth:
        """How this lane sees its endpoint now."""
        asking = self.asking
        return self.endpoint.health(is_confirming=asking.is_confirming, silent_since=asking.silent_since)

    def take_effects(self) -> Effects:
        """What happened since the last call."""
        work, channels, endpoint = self.work, self.channels, self.endpoint
        taken = work.settled, work.surrendered, work.resends, channels.retired, channels.gone, endpoint.notes
        if not any(taken):
            return NOTHING
        work.settled, work.surrendered, work.resends = [], [], []
        channels.retired, channels.gone, endpoint.notes = [], [], []
        return Effects(*taken)
