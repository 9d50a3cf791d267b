"""HEC servers behind one address, for whole sinks: the model of `hec_model` with faults that strike on order.

Adds what concerns an address (refused connections, proxies, limits, a balancer that forgets its cookies) and
an outside observer of the wire, who knows every reply that reached the client and checks what it may not do:
ask an id that no reply on that channel told; ask on a channel whose numbering was reset; post on a channel
after a request of unknown outcome; ask an id there that a restart may have re-issued.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
from hec_model import LOST, Faults, World

from splunk_hec import _protocol as protocol
from splunk_hec._protocol import Reply, Request, TransportError

if TYPE_CHECKING:
    from hec_model import Line, Node
    from sim_world import World as Universe

REFUSED = TransportError("connect", "connection refused", maybe_sent=False)
HTML_403 = Reply(403, b"<html>blocked</html>")
_read = msgspec.json.Decoder(dict[str, object]).decode
_read_ids = msgspec.json.Decoder(dict[str, list[int]]).decode


class Wire:
    """What the client was told on one channel."""

    __slots__ = ("first", "is_reset", "is_unknown", "last", "silent", "silent_at_unknown", "told")

    def __init__(self) -> None:
        self.told: set[int] = set()
        self.first = -1
        self.last = -1
        self.silent = 0
        self.is_reset = False
        self.is_unknown = False
        self.silent_at_unknown = 0

    def note_unknown(self) -> None:
        """Nobody knows what became of a request."""
        if not self.is_unknown:
            self.is_unknown, self.silent_at_unknown = True, self.silent


class Splunk(World):
    """One address. `armed`: how many of the next requests a fault strikes; `until`: windows of others."""

    def __init__(self, universe: Universe, seed: int, *, nodes: int) -> None:
        super().__init__(seed, nodes=nodes, faults=Faults())
        self.universe = universe
        self.indexed = universe.indexed
        self.armed: Counter[str] = Counter()
        self.until: dict[str, float] = {}
        self.wires: dict[str, Wire] = {}
        self.is_sticky = nodes == 1 or universe.scenario.is_sticky
        first_id = self.rng.randrange(4)
        for node in self.nodes:
            node.habits.ack_delay_s = universe.scenario.ack_delay_s
            # Anything, but the same after each restart, and for all that one channel may meet: rule 3 of
            # channels stands on that (a known limit).
            if node.habits.first_id is None or nodes > 1:
                node.habits.first_id = first_id
            node.habits.continues_ids &= nodes == 1
            node.restart()

    def _hits(self, name: str) -> bool:
        if self.armed.get(name, 0) <= 0:  # a Counter makes its zeros slowly
            return False
        self.armed[name] -= 1
        self.universe.fire(name)
        return True

    def _is_in(self, name: str) -> bool:
        if self.universe.now >= self.until.get(name, 0.0):
            return False
        self.universe.fire(name)
        return True

    def settle_disk(self) -> None:
        """What is old enough is durable now."""
        for node in self.nodes:
            if node.fresh:
                super().settle_disk()
                return

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        super().heal()
        self.armed.clear()
        self.until.clear()

    def answer(self, request: Request) -> Reply | TransportError:
        """One request, watched."""
        is_ask = request.path == protocol.ACK_PATH
        wire = self.wires.setdefault(request.channel, Wire())
        if is_ask:
            self._watch_ask(request, wire)
        elif request.body and wire.is_unknown:
            self.universe.violate("E11", "a batch is posted on a channel after a request of unknown outcome")
        reply = self._answer(request, is_ask=is_ask)
        if not is_ask:
            self._note(wire, request, reply)
        return reply

    def _answer(self, request: Request, *, is_ask: bool) -> Reply | TransportError:
        if self._is_in("down"):
            return REFUSED
        if request.body and not is_ask and self._hits("lane_fault"):
            raise RuntimeError("a fault of our own")
        if is_ask:
            if self._is_in("acks_refused"):
                return self.rng.choice([Reply(404, b"<html>"), Reply(503, b"<html>")])
        elif request.body:
            refused = self._refuse(request)
            if refused is not None:
                return refused
        if self._hits("hang"):
            if self.rng.random() < 0.5:
                self.serve(request, self.universe.now)
            self.universe.pass_time(request.deadline_s)
            return TransportError("timeout", "no reply in time", maybe_sent=True)
        reply = self.serve(request, self.universe.now)
        if not is_ask and isinstance(reply, Reply) and reply.status == 200 and b'"code":0' in reply.body:
            if self._hits("near_capacity"):
                return Reply(200, reply.body.replace(b'"code":0', b'"code":24'))
            if self._hits("no_ack_id"):
                return Reply(200, b'{"text":"Success","code":0}')
        return reply

    def _refuse(self, request: Request) -> Reply | None:
        """What stands before the indexer refuses."""
        if self._is_in("index_gone"):
            base = self.nodes[0].habits.index_base
            return Reply(400, b'{"text":"Incorrect index","code":7,"invalid-event-number":%d}' % base)
        if len(request.body) > 1_500 and self._hits("too_large"):
            return Reply(413, b"<html>too large</html>")
        if b"attack-" in request.body:
            self.universe.fire("proxy")
            return HTML_403
        if self._hits("throttle"):
            return Reply(429, b'{"text":"Too many requests","code":9}', self.rng.choice(["1", "5", ""]))
        return None

    def _acks(self, node: Node, request: Request) -> Reply | TransportError:
        if self._is_in("acks_slow"):
            return Reply(200, b'{"acks":{}}')
        return super()._acks(node, request)

    def _take(self, node: Node, channel: str, lines: list[Line]) -> int:
        places, life, now = self.universe.broker.places, self.universe.actor, self.universe.now
        taken_at, spared = life.taken_at, life.spared
        for line in lines:
            fields = line.fields or {}
            place = places.get(line.event)
            taken_at[place] = now
            if spared and place is not None and place[1] in spared.get(place[0], ()):
                self.universe.note_unspared(line.event, place)
            if place != (fields.get("kafka_partition"), fields.get("kafka_offset")):
                self.universe.violate("E2", f"{line.event} says that it stands at {fields}")
        return super()._take(node, channel, lines)

    def rehome(self) -> None:
        """The balancer forgets where each channel was."""
        self.homes.clear()

    # -- the observer of the wire --------------------------------------------------------------------------

    def _watch_ask(self, request: Request, wire: Wire) -> None:
        ids = _read_ids(request.body)["acks"]
        if not wire.told and ids == [0]:
            return  # asking on a fresh channel whether there are acknowledgements
        if wire.is_reset:
            self.universe.violate("E11", f"ids {ids} are asked on a channel whose numbering was reset")
        untold = [ack_id for ack_id in ids if ack_id not in wire.told]
        if untold:
            self.universe.violate("E11", f"ids {untold} are asked on a channel where nobody was told them")
        unsafe = wire.first + 1 + wire.silent_at_unknown
        if wire.is_unknown and any(ack_id <= unsafe for ack_id in ids):
            self.universe.violate(
                "E11", f"ids {ids} up to {unsafe} are asked after a request of unknown outcome"
            )

    def _note(self, wire: Wire, request: Request, reply: Reply | TransportError) -> None:
        if not isinstance(reply, Reply):
            if reply.maybe_sent:
                wire.note_unknown()
            return
        ack_id = None
        is_splunk = reply.body.startswith(b'{"text"') and reply.body.endswith(b"}")
        if is_splunk:
            ack_id = _read(reply.body).get("ackId")
        if not isinstance(ack_id, int):
            wire.silent += 1
        elif ack_id <= wire.last:
            wire.is_reset = True
        else:
            wire.first = ack_id if wire.first < 0 else wire.first
            wire.last = ack_id
            wire.told.add(ack_id)
        if not is_splunk and request.body and reply.status in (200, 503):
            wire.note_unknown()


__all__ = ["LOST", "Splunk", "Wire"]
