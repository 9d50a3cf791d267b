"""Drives one lane by hand: a clock that stands still, replies given by the test, effects gathered."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, TypeVar

from splunk_hec._actions import LaneSettings, PollAcks, Post, Probe, Rest, Settled, Wait
from splunk_hec._batching import Batch
from splunk_hec._lane import Lane
from splunk_hec.events import OutcomeKind
from splunk_hec.testing import ManualClock, Reply, TransportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from splunk_hec._actions import Action
    from splunk_hec._batching import Codec

LOST = TransportError("reset", "the connection was reset", maybe_sent=True)
HTML_503 = Reply(503, b"<html>busy</html>")
EMPTY_200 = Reply(200, b"")
FORBIDDEN_PAGE = Reply(403, b"<html>this looks like an attack</html>")
PROBED_WELL = Reply(400, b'{"text":"No data","code":5}')

_A = TypeVar("_A", Post, PollAcks, Probe)


class Owner:
    """A stream, as far as a lane knows one."""

    def __init__(self) -> None:
        self.is_aborted = False


class LongestJitter(Random):
    """Draws the upper bound: a wait that was drawn is over exactly when the longest one is."""

    def uniform(self, a: float, b: float) -> float:
        """The longest."""
        return max(a, b)


class NoJitter(Random):
    """Draws zero: nothing is waited for but what must be."""

    def uniform(self, a: float, b: float) -> float:
        """The shortest."""
        return min(a, b)


def envelope(event: str, index: str = "") -> bytes:
    """One event as its line."""
    return f'{{"index":"{index}","event":"{event}"}}'.encode() if index else f'{{"event":"{event}"}}'.encode()


def batch_of(
    events: str, *, batch_id: str = "", owner: Owner | None = None, now: float = 1_000.0, index: str = ""
) -> Batch:
    """A batch of one-letter events; a capital letter asks for the index `index`."""
    lines = [envelope(event, index if event.isupper() else "") for event in events]
    body = b"\n".join(lines)
    return Batch(
        batch_id or events,
        body,
        list(events),
        owner=owner or Owner(),
        charge_bytes=len(body),
        sealed_at=now,
    )


class Driver:
    """A lane and everything that came out of it. Every test has its own."""

    def __init__(
        self, *, codec: Codec | None = None, jitter: Random | None = None, **settings: object
    ) -> None:
        self.clock = ManualClock()
        self.codec = codec
        numbers = iter(range(10_000))
        given = {"url": "http://test", "ack_deadline_s": 60.0, **settings}
        self.lane = Lane(
            LaneSettings(**given),  # type: ignore[arg-type]
            random=jitter or LongestJitter(),
            new_channel_id=lambda: f"C{next(numbers)}",
            codec=codec,
        )
        self.settled: list[Settled] = []
        self.resends: list[tuple[str, str]] = []
        self.retired: list[str] = []
        self.gone: list[str] = []
        self.notes: list[str] = []
        self.surrendered: list[Batch] = []
        self.waiting: Action | None = None

    def give(self, *batches: str | Batch, index: str = "") -> None:
        """Batches from the queue: one-letter events."""
        for batch in batches:
            self.lane.give(
                batch if isinstance(batch, Batch) else batch_of(batch, now=self.clock.now, index=index)
            )

    def next(self) -> Action:
        """What the lane wants to do now."""
        action = self.lane.next(self.clock.now)
        self._gather()
        return action

    def wait_for(self, kind: type[_A]) -> _A:
        """Let time pass until the lane does something, which must be of this kind."""
        action = self.wait_for_any()
        assert isinstance(action, kind), action
        return action

    def wait_for_any(self) -> Post | PollAcks | Probe:
        """Let time pass until the lane does something."""
        while True:
            action = self.next()
            if not isinstance(action, Wait | Rest):
                return action
            assert action.until > self.clock.now, "it would turn for ever"
            assert action.until < self.clock.now + 3_000, "nothing happens"
            self.clock.now = action.until

    def idles(self) -> bool:
        """Whether the lane has nothing to do now."""
        return isinstance(self.next(), Wait | Rest)

    def post(self, reply: Reply | TransportError, events: str | None = None) -> Post:
        """Answer the next POST, of these events if they are named; until then, acks are false."""
        post = self._skip_polls(Post)
        if events is not None:
            assert "".join(post.batch.manifest) == events  # type: ignore[arg-type]
        self.lane.on_post(post, reply, self.clock.now, 1_700_000_000.0)
        self._gather()
        return post

    def poll(self, reply: Reply | TransportError, ids: list[int] | None = None) -> PollAcks:
        """Answer the next action, which must be an ack query, for these ids if they are given."""
        poll = self.wait_for(PollAcks)
        if ids is not None:
            assert sorted(poll.ids) == sorted(ids)
        self.lane.on_acks(poll, reply, self.clock.now)
        self._gather()
        return poll

    def probe(self, reply: Reply | TransportError) -> Probe:
        """Answer the next probe; until then, acks are false."""
        probe = self._skip_polls(Probe)
        self.lane.on_probe(probe, reply, self.clock.now)
        self._gather()
        return probe

    def _skip_polls(self, kind: type[_A]) -> _A:
        while isinstance(action := self.wait_for_any(), PollAcks):
            self.lane.on_acks(action, told({}), self.clock.now)
        assert isinstance(action, kind), action
        return action

    def poll_false_until(self, end: float) -> None:
        """Answer every ack query with false until then; nothing else may happen before."""
        while True:
            action = self.next()
            if isinstance(action, Wait | Rest):
                self.clock.now = min(end, action.until)
                if action.until > end:
                    return
            else:
                assert isinstance(action, PollAcks), action
                self.lane.on_acks(action, told({}), self.clock.now)
                self._gather()

    def confirm(self, *ids: int) -> None:
        """Answer ack queries with true for these ids, until none of them is asked."""
        while any(ack_id in asked for asked in self.asked.values() for ack_id in ids):
            self.poll(told(dict.fromkeys(ids, True)))

    def expire(self) -> float:
        """Answer ack queries with false until one more batch is resent; returns the seconds it took."""
        started, before = self.clock.now, len(self.resends)
        while len(self.resends) == before:
            self.poll(told({}))
        return self.clock.now - started

    @property
    def outcomes(self) -> dict[str, OutcomeKind]:
        """How each event ended; an event that ends twice fails the test."""
        found: dict[str, OutcomeKind] = {}
        for item in self.settled:
            for event in item.batch.manifest:  # type: ignore[attr-defined]
                assert event not in found, f"{event} was settled twice"
                found[event] = item.kind
        return found

    def named(self, kind: OutcomeKind) -> str:
        """The events that ended so, in the order of the alphabet."""
        return "".join(sorted(event for event, how in self.outcomes.items() if how is kind))

    @property
    def delivered(self) -> str:
        """The events that were delivered."""
        return self.named(OutcomeKind.DELIVERED)

    @property
    def rejected(self) -> dict[str, str]:
        """The events that were rejected, and why."""
        rejected = [item for item in self.settled if item.kind is OutcomeKind.REJECTED]
        return {event: item.reason for item in rejected for event in item.batch.manifest}  # type: ignore[attr-defined]

    @property
    def halted(self) -> str:
        """Why the lane is halted; empty if it is not."""
        return self.lane.health().halted

    @property
    def todo(self) -> list[str]:
        """The batches that are to be posted, in order."""
        return ["".join(batch.manifest) for batch in self.lane.work.todo]  # type: ignore[arg-type]

    @property
    def asked(self) -> dict[str, list[int]]:
        """Which ids are asked on which channel."""
        return {channel.id: sorted(channel.asked) for channel in self.lane.channels if channel.asked}

    def _gather(self) -> None:
        effects = self.lane.take_effects()
        self.settled += effects.settled
        self.resends += [(cause, "".join(batch.manifest)) for cause, batch in effects.resends]  # type: ignore[arg-type]
        self.retired += effects.retired
        self.gone += effects.gone
        self.notes += effects.notes
        self.surrendered += effects.surrendered


def told(ids: Mapping[int, bool]) -> Reply:
    """The answer to an ack query; unlike Splunk's it need not name every id that was asked."""
    pairs = ",".join(f'"{ack_id}":{"true" if value else "false"}' for ack_id, value in ids.items())
    return Reply(200, f'{{"acks":{{{pairs}}}}}'.encode())
