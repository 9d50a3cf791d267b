"""Runs one lane against a modelled world on a virtual clock: the I/O shell of a test."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from hec_lane import Owner

from splunk_hec import _protocol as protocol
from splunk_hec._actions import LaneSettings, PollAcks, Post, Probe, Rest, Wait
from splunk_hec._batching import Batch
from splunk_hec._lane import Lane

if TYPE_CHECKING:
    from hec_model import World

    from splunk_hec._actions import Settled
    from splunk_hec.events import OutcomeKind


class Run:
    """One lane, one world, one virtual clock; the I/O shell of a test."""

    def __init__(self, world: World, *, ack_deadline_s: float = 20.0, seed: int = 0) -> None:
        self.world = world
        self.now = 1_000.0
        self.owner = Owner()
        self.queue: list[Batch] = []
        self.settled: list[Settled] = []
        self.requests = 0
        numbers = iter(range(10**9))
        settings = LaneSettings(ack_deadline_s=ack_deadline_s, configured_indexes=frozenset({"main"}))
        self.lane = Lane(settings, random=Random(seed), new_channel_id=lambda: f"C{next(numbers)}")

    def offer(self, batch_id: str, events: list[str], bad_index: frozenset[str] = frozenset()) -> None:
        """A batch for the lane's queue; those in `bad_index` ask for an index that does not exist."""
        lines = [
            f'{{"index":"nope","event":"{event}"}}' if event in bad_index else f'{{"event":"{event}"}}'
            for event in events
        ]
        body = "\n".join(lines).encode()
        self.queue.append(
            Batch(batch_id, body, events, owner=self.owner, charge_bytes=len(body), sealed_at=self.now)
        )

    def step(self) -> None:
        """One action of the lane, carried out on the virtual clock."""
        action = self.lane.next(self.now)
        match action:
            case Wait(until) | Rest(until) if isinstance(action, Wait) or not self.queue:
                self.now = max(self.now + 0.001, min(until, self.now + 30.0))
            case Rest():
                self.lane.give(self.queue.pop(0))
            case Post(batch, channel):
                reply = self._send(protocol.EVENT_PATH, batch.wire(None), channel.id)
                self.lane.on_post(action, reply, self.now, self.now)
            case PollAcks(channel, ids):
                self.lane.on_acks(
                    action, self._send(protocol.ACK_PATH, protocol.ack_query(ids), channel.id), self.now
                )
            case Probe(channel):
                self.lane.on_probe(action, self._send(protocol.EVENT_PATH, b"", channel.id), self.now)
        effects = self.lane.take_effects()
        self.settled += effects.settled
        self.queue[:0] = effects.surrendered

    def _send(self, path: str, body: bytes, channel: str) -> protocol.Reply | protocol.TransportError:
        self.now += 0.01
        self.requests += 1
        return self.world.serve(protocol.Request("", path, {}, body, channel, 60.0), self.now)

    def outcomes(self) -> dict[str, OutcomeKind]:
        """How each event ended; one that ends twice fails the run."""
        found: dict[str, OutcomeKind] = {}
        for item in self.settled:
            for event in item.batch.manifest:  # type: ignore[attr-defined]
                assert event not in found, f"{event} was settled twice"
                found[event] = item.kind
        return found
