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

from collections import deque
from typing import TYPE_CHECKING

from splunk_hec import _protocol as protocol
from splunk_hec._actions import (
    Action,
    Effects,
    LaneHealth,
    LaneSettings,
    PollAcks,
    Post,
    Probe,
    Rest,
    Settled,
    Wait,
)
from splunk_hec._asking import EXPIRED_ASKED_S, Asking, holds_unexpired
from splunk_hec._channel import Attempt, Channel, State
from splunk_hec._patience import Halted
from splunk_hec._retry import Backoff, Pace, RateLimit
from splunk_hec._splits import Splits
from splunk_hec.events import OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from splunk_hec._batching import Batch, Codec
    from splunk_hec.observe import Cause

MAX_DRAINING = 8
"""Draining channels with unexpired ids at which a lane only polls. It never evicts one: evicting resends
what the channel still confirms, and with a server that is merely slow that never ends."""
IDLE_CHANNEL_S = 300.0
"""Splunk forgets a channel unused for 600 s (`maxIdleTime`); a new one is cheaper than a false `false`."""
RESETS_WINDOW_S = 60.0
MAX_RESETS = 3
UNSTICKY_S = 600.0
LEFT_AFTER_S = 30.0
MAX_STRANGE = 8
"""Replies of 200 that prove nothing, in a row, until it must be said that this is no HEC."""

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
        self.effects = Effects()
        self.todo: deque[Batch] = deque()
        self.channels: list[Channel] = []
        self.halted: Halted | None = None
        self.failing_since: float | None = None
        self.failure = ""
        self.posting: Batch | None = None
        self._active: Channel | None = None
        self._new_channel_id = new_channel_id
        self._fresh = RateLimit(burst=16, per_s=10.0)
        self._backoff = Backoff(random)
        self._pace = Pace()
        self.asking = Asking(self, random)
        self._splits = Splits(self, codec)
        self._not_before = 0.0
        self._suspect: Channel | None = None
        self._must_probe = False
        self._strange = 0
        self._resets: deque[float] = deque(maxlen=MAX_RESETS)
        self._unsticky_until = 0.0

    def __repr__(self) -> str:
        asked = sum(len(channel.asked) for channel in self.channels)
        state = f"halted {self.halted.reason}" if self.halted else self.failure or "ok"
        return f"<Lane {self.settings.url} | {state} | todo {len(self.todo)} | awaiting ack {asked}>"

    # -- what to do next ------------------------------------------------------------------------------

    def give(self, batch: Batch) -> None:
        """A batch from the queue: from now on it is this lane's to settle or surrender."""
        self._enqueue([batch], front=False)

    def next(self, now: float) -> Action:
        """What to do now."""
        self._sweep(now)
        poll_at = self.asking.due(now)
        if poll_at <= now:
            poll = self.asking.poll(now)
            if poll is not None:
                return poll
            poll_at = self.asking.due(now)
        if self.halted and now < self.halted.next_probe:
            return Wait(min(poll_at, self.halted.next_probe))
        if now < self._not_before:
            return Wait(min(poll_at, self._not_before))
        if self._suspect:
            return Probe(self._suspect)
        if self.acks is None and not self.halted:
            return PollAcks(Channel(self._new_channel_id(), now), [0])
        if self.halted:
            return self._probe_halt(now, poll_at)
        if self._must_probe:
            return self._on_channel(now, poll_at, Probe)
        if self._is_full():
            return Wait(poll_at)
        if not self.todo:
            return Rest(poll_at)
        return self._post(now, poll_at)

    def _post(self, now: float, poll_at: float) -> Action:
        self._splits.shorten()
        batch = self.todo[0]
        action = self._on_channel(now, poll_at, lambda channel: Post(batch, channel))
        if isinstance(action, Post):
            self.drop_from_todo(batch)
            self.posting = batch
        return action

    def _on_channel(self, now: float, poll_at: float, make: Callable[[Channel], Post | Probe]) -> Action:
        """An action on the active channel; opens one if need be, as fast as fresh ones are allowed."""
        active = self._active
        if active and now - active.used_at > IDLE_CHANNEL_S and not active.asked:
            self._retire(active, "idle")
            active = None
        if active is None or active.state is not State.ACTIVE:
            due = self._fresh.due(now)
            if due > now:
                return Wait(min(due, poll_at))
            self._fresh.take(now)
            active = self._active = Channel(self._new_channel_id(), now)
            self.channels.append(active)
        return make(active)

    def _probe_halt(self, now: float, poll_at: float) -> Action:
        """Look whether the fault healed, by what was refused where an empty POST would not show it."""
        assert self.halted is not None
        if self.halted.reason == "bad_index" and self.todo:
            return self._post(now, poll_at)
        if self.halted.reason == "acks_disabled":
            # On a GUID that is never posted to: asking for an id of ours could swallow its one `true`.
            return PollAcks(Channel(self._new_channel_id(), now), [0])
        return self._on_channel(now, poll_at, Probe)

    def _is_full(self) -> bool:
        """Whether posting more now would only add to what already waits for acknowledgement."""
        if not self.acks:
            return False
        unexpired = [channel for channel in self.channels if holds_unexpired(channel)]
        if not self.asking.is_confirming and unexpired:
            return True
        return sum(channel.state is State.DRAINING for channel in unexpired) >= MAX_DRAINING

    def _sweep(self, now: float) -> None:
        """Drop what nobody waits for any more: aborted streams' batches, those past give_up_after_s."""
        while self.todo and self.todo[0].owner.is_aborted:
            self.settle(self.todo[0], OutcomeKind.GAVE_UP, "aborted")
        oldest = self.settings.give_up_after_s
        if oldest and (self.todo or self.channels):
            waiting = [a.batch for channel in self.channels for a in channel.asked.values() if a.batch]
            for batch in [*self.todo, *waiting]:
                if now - batch.sealed_at >= oldest and not batch.is_settled:
                    self.settle(
                        batch, OutcomeKind.GAVE_UP, "gave_up", text=self.failure or "the deadline is spent"
                    )
        if self.settings.may_leave and self.failing_since is not None:
            self._leave(now)

    def _leave(self, now: float) -> None:
        """Hand over what another endpoint can take; what may still be confirmed here, only after 30 s."""
        assert self.failing_since is not None
        if self.halted and self.halted.reason == "bad_index":
            return
        if now - max(self.failing_since, self.asking.answered_at) >= LEFT_AFTER_S:
            for channel in list(self.channels):
                self._resend(channel.die(), "ack_timeout")
                self._drop(channel)
        for batch in [batch for batch in self.todo if not batch.live]:
            self.drop_from_todo(batch)
            self.effects.surrendered.append(batch)
        self._must_probe = True

    # -- replies to POSTs of events -------------------------------------------------------------------

    def on_post(self, post: Post, reply: Reply, now: float, wall_s: float) -> None:
        """Take the reply to `Post`. `wall_s`: seconds since 1970, for Retry-After dates."""
        batch, channel = post.batch, post.channel
        self.posting = None
        batch.attempts += 1
        batch.first_attempt_s = batch.first_attempt_s or wall_s
        answer = protocol.read(reply)
        if isinstance(reply, protocol.Reply) and not channel.note_reply(answer.ack_id, now) and self.acks:
            self._reset(channel, batch, now)
            return
        verdict = protocol.judge(reply, answer, needs_ack_id=bool(self.acks))
        match verdict:
            case protocol.Accepted():
                self._accepted(batch, channel, answer, verdict, now)
            case protocol.BadEvent():
                self._ok(now, accepted=False)
                self._splits.bad_event(batch, channel, answer, now)
            case protocol.Busy():
                self._fail(
                    now,
                    answer.text or f"HTTP {answer.status}",
                    protocol.retry_after_s(verdict.retry_after, wall_s),
                )
                self._pace.slow()
                self._splits.busy(batch, channel, answer, now)
            case protocol.TooLarge():
                self._splits.too_large(batch, channel, answer)
            case protocol.Halt():
                if not answer.is_splunk:
                    self.after_unknown(channel)
                self._enqueue([batch])
                self.halt(verdict.reason, now, answer.text)
            case protocol.Suspect():
                self.after_unknown(channel)
                self._enqueue([batch])
                self._suspect = channel
            case protocol.Unknown():
                self._unknown(batch, channel, verdict, now)
            case protocol.NotSent():
                self._enqueue([batch])
                self._fail(now, verdict.why)

    def _accepted(
        self, batch: Batch, channel: Channel, answer: protocol.Answer, verdict: protocol.Accepted, now: float
    ) -> None:
        self._ok(now)
        self._splits.accepted(batch)
        if verdict.is_near_capacity:
            self._pace.slow()
        else:
            self._pace.ease()
        if self._pace.gap_s:
            self._not_before = now + self._pace.gap_s
        self.accept(batch, channel, answer, now)
        if self.acks and now < self._unsticky_until:
            self._retire(channel, "not_sticky")

    def accept(self, batch: Batch, channel: Channel, answer: protocol.Answer, now: float) -> None:
        """These events were taken: wait for their id, or, with acks off, they are delivered."""
        if self.acks:
            assert answer.ack_id is not None
            attempt = Attempt(batch, channel, answer.ack_id, now, self.settings.ack_deadline_s)
            batch.live.append(attempt)
        else:
            self.settle(batch, OutcomeKind.DELIVERED, answer=answer)
            if answer.ack_id is None:
                return
            attempt = Attempt(None, channel, answer.ack_id, now, EXPIRED_ASKED_S)
        attempt.next_ask = now + self.asking.latency.first_ask_s
        channel.ask(attempt)

    def _unknown(self, batch: Batch, channel: Channel, verdict: protocol.Unknown, now: float) -> None:
        self.after_unknown(channel)
        self.resend([batch], "unknown_reply")
        self._fail(now, verdict.why)
        self._strange = self._strange + 1 if verdict.is_strange else 0
        if self._strange >= MAX_STRANGE:
            self.halt("strange_replies", now, verdict.why)

    def _reset(self, channel: Channel, batch: Batch, now: float) -> None:
        """Rule 4: another server answers, or a restarted one. Nothing asked here can be believed any more."""
        self._resend([*channel.die()], "channel_reset")
        self.resend([batch], "channel_reset")
        self._drop(channel, "channel_reset")
        self._resets.append(now)
        if len(self._resets) == MAX_RESETS and now - self._resets[0] <= RESETS_WINDOW_S:
            if now >= self._unsticky_until:
                self.effects.notes.append(
                    f"{self.settings.url}: ack ids fell back {MAX_RESETS} times in {RESETS_WINDOW_S:.0f} s: "
                    "the balancer before it is not sticky, or it keeps restarting; one batch per channel "
                    "from now on (fix: turn on cookie stickiness at the balancer)"
                )
            self._unsticky_until = now + UNSTICKY_S

    def after_unknown(self, channel: Channel) -> None:
        """Rules 2 and 3: post on a fresh channel, and believe nothing that a restart may have re-issued."""
        unsafe = channel.retire_after_unknown()
        self._retire(channel, "unknown_reply")
        self._resend(unsafe, "unknown_reply")

    def halt(self, reason: str, now: float, text: str) -> None:
        """A fault of the deployment: hold everything, probe slowly, say so."""
        if self.halted is None:
            self.halted = Halted(reason, text, now)
            self.failing_since = self.failing_since if self.failing_since is not None else now
            self.effects.notes.append(f"{self.settings.url} halted: {reason} ({text})")
        else:
            self.halted.again(reason, text, now)

    # -- replies to probes ----------------------------------------------------------------------------

    def on_probe(self, probe: Probe, reply: Reply, now: float) -> None:
        """Take the reply to `Probe`."""
        answer = protocol.read(reply)
        if isinstance(reply, protocol.Reply):
            if not probe.channel.note_reply(answer.ack_id, now) and self.acks:
                self._resend(probe.channel.die(), "channel_reset")
                self._drop(probe.channel, "channel_reset")
        elif reply.maybe_sent:
            self.after_unknown(probe.channel)
        suspected, self._suspect = self._suspect, None
        verdict = protocol.judge_probe(reply)
        match verdict:
            case None:
                self._must_probe = False
                self._healed(now)
                if suspected and self.todo:
                    self._splits.refused(
                        self.drop_from_todo(self.todo[0]),
                        protocol.Answer(0, text="refused by a proxy or firewall"),
                    )
            case protocol.Halt():
                self.halt(verdict.reason, now, answer.text)
            case _:
                self._suspect = suspected
                self._fail(now, getattr(verdict, "why", "") or answer.text)
                if self.halted:
                    self.halted.again(self.halted.reason, self.halted.text, now)

    # -- acknowledgements -----------------------------------------------------------------------------

    def on_acks(self, poll: PollAcks, reply: Reply, now: float) -> None:
        """Take the reply to `PollAcks`."""
        if self.acks is None:
            self.acks = protocol.learn_acks(reply)
            if self.acks is not None:
                state = "on" if self.acks else "off"
                self.effects.notes.append(f"{self.settings.url}: acknowledgements are {state} for this token")
        halt = self.asking.on_acks(poll, reply, now)
        probed = self.halted if self.halted and self.halted.reason == "acks_disabled" else None
        if self.asking.is_answered:
            if probed:
                self._healed(now)
            elif not self._backoff.failures and not self.halted:
                self._ok(now, accepted=False)
        elif halt and self.acks is not False:
            self.halt(halt.reason, now, "said in answer to an ack query")
        else:
            self.failing_since = self.failing_since if self.failing_since is not None else now
            self.failure = "ack queries are not answered"
            if self.acks is None:
                self._fail(now, self.failure)
            if probed:
                probed.again(probed.reason, probed.text, now)
        self._tidy(poll.channel)

    def expired(self, batch: Batch, attempt: Attempt) -> None:
        """No acknowledgement in time: send again on a fresh channel, while the old id stays asked."""
        if not self.settings.resend_on_ack_timeout:
            self.settle(batch, OutcomeKind.UNCONFIRMED, "unconfirmed", text="no acknowledgement in time")
            return
        self._retire(attempt.channel, "ack_timeout")
        if not batch.is_queued and all(other.is_expired for other in batch.live):
            self.resend([batch], "ack_reply_lost" if attempt.is_reply_lost else "ack_timeout")

    def end(self, attempt: Attempt) -> None:
        """Stop asking for one id."""
        attempt.channel.end(attempt)
        if attempt.batch is not None:
            attempt.batch.live.remove(attempt)

    # -- batches ----------------------------------------------------------------------------------------

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
        self.drop_from_todo(batch)
        self.end_attempts(batch)
        self.effects.settled.append(Settled(batch, kind, reason, answer, text, ack_latency_s, bad_index))

    def end_attempts(self, batch: Batch) -> None:
        """Stop asking for this batch."""
        for attempt in batch.live:
            attempt.channel.end(attempt)
            self._tidy(attempt.channel)
        batch.live.clear()

    def resend(self, batches: list[Batch], cause: Cause) -> None:
        """To be posted again, before anything newer."""
        for batch in batches:
            self.effects.resends.append((cause, batch))
            batch.cause = cause
        self._enqueue(batches)

    def requeue(self, batches: list[Batch]) -> None:
        """To be posted next, in this order; not counted: nothing of them was taken."""
        self._enqueue(batches)

    def evacuate(self) -> list[Batch]:
        """All unsettled batches, for a successor; this lane must not be used any more."""
        waiting = [a.batch for channel in self.channels for a in channel.asked.values() if a.batch]
        posting = [self.posting] if self.posting and not self.posting.is_settled else []
        batches = list(dict.fromkeys([*posting, *self.todo, *waiting]))
        for batch in batches:
            batch.live.clear()
            batch.is_queued = False
        return batches

    def _enqueue(self, batches: list[Batch], *, front: bool = True) -> None:
        for batch in batches:
            batch.is_queued = True
        if front:
            self.todo.extendleft(reversed(batches))
        else:
            self.todo.extend(batches)

    def drop_from_todo(self, batch: Batch) -> Batch:
        """It does not wait here any more."""
        if batch.is_queued:
            self.todo.remove(batch)
            batch.is_queued = False
        return batch

    def _resend(self, attempts: list[Attempt], cause: Cause) -> None:
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

    # -- channels and health ------------------------------------------------------------------------------

    def _retire(self, channel: Channel, cause: str) -> None:
        if self._active is channel:
            self._active = None
            self.effects.retired.append(cause)
        channel.retire()
        self._tidy(channel)

    def _tidy(self, channel: Channel) -> None:
        if channel.state is not State.ACTIVE and not channel.asked:
            self._drop(channel)

    def _drop(self, channel: Channel, cause: str = "") -> None:
        if self._active is channel:
            self._active = None
            self.effects.retired.append(cause or "left")
        channel.die()
        if channel in self.channels:
            self.channels.remove(channel)
            self.effects.gone.append(channel.id)

    def _ok(self, now: float, *, accepted: bool = True) -> None:
        self._backoff.succeed()
        self.failing_since, self.failure = None, ""
        if accepted:
            self._strange = 0
            if self.halted:
                self._healed(now)

    def _healed(self, now: float) -> None:
        if self.halted:
            self.effects.notes.append(f"{self.settings.url} healed: {self.halted.reason}")
            self._splits.go_carefully()
            self.halted = None
        self._not_before = now
        self.failing_since, self.failure = None, ""

    def _fail(self, now: float, why: str, retry_after_s: float = 0.0) -> None:
        self.failing_since = self.failing_since if self.failing_since is not None else now
        self.failure = why
        self._not_before = now + self._backoff.fail(retry_after_s)

    def health(self) -> LaneHealth:
        """How this lane sees its endpoint now."""
        halted = self.halted
        return LaneHealth(
            halted=halted.reason if halted else "",
            halted_text=halted.text if halted else "",
            halted_since=halted.since if halted else 0.0,
            failure=self.failure,
            failing_since=self.failing_since or 0.0,
            is_confirming=self.asking.is_confirming,
        )

    def take_effects(self) -> Effects:
        """What happened since the last call."""
        effects, self.effects = self.effects, Effects()
        return effects
