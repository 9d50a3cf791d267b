"""A model of HEC servers on a virtual clock, for driving lanes, clients and whole sinks without sockets.

Servers differ in every way that is unknown of the real one: where ack ids start, whether refusals and
probes use one up, whether a 400 names its prefix's id, what code 7 counts from. Faults are drawn at random.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import msgspec

from splunk_hec import _protocol as protocol
from splunk_hec._protocol import Reply, Request, TransportError

LOST = TransportError("reset", "the connection was reset", maybe_sent=True)


@dataclass
class Habits:
    """How a server behaves where Splunk's behaviour is unknown or varies."""

    first_id: int | None = 0  # None: random after each start
    continues_ids: bool = False
    is_global_counter: bool = False
    ack_id_on_prefix: bool = True
    refusal_takes_id: bool = False
    probe_takes_id: bool = False
    index_base: int = 1
    number_on_busy: bool = True
    tells_true_always: bool = False
    ack_delay_s: float = 1.0

    @staticmethod
    def draw(rng: Random) -> Habits:
        """Any mixture."""
        return Habits(
            first_id=rng.choice([0, 1, None]),
            continues_ids=rng.random() < 0.2,
            is_global_counter=rng.random() < 0.2,
            ack_id_on_prefix=rng.random() < 0.7,
            refusal_takes_id=rng.random() < 0.3,
            probe_takes_id=rng.random() < 0.3,
            index_base=rng.choice([0, 1, 1]),
            number_on_busy=rng.random() < 0.5,
            tells_true_always=rng.random() < 0.1,
            ack_delay_s=rng.choice([0.0, 0.2, 1.0, 5.0, 40.0]),
        )


@dataclass
class Faults:
    """Chances of what goes wrong, per request."""

    lost_before: float = 0.0
    lost_after: float = 0.0
    cut: float = 0.0
    busy: float = 0.0
    html503: float = 0.0
    restart: float = 0.0
    poll_lost: float = 0.0
    ack_error: float = 0.0
    data_lost: float = 0.0
    halt: float = 0.0

    @staticmethod
    def draw(rng: Random) -> Faults:
        """Some of them, none of them too often to make progress."""
        faults = Faults()
        for name in faults.__dataclass_fields__:
            if rng.random() < 0.35:
                setattr(faults, name, rng.choice([0.02, 0.1, 0.25]))
        return faults


class Line(msgspec.Struct):
    """What the model reads of an envelope."""

    event: str
    index: str = ""
    fields: dict[str, object] | None = None

    @property
    def code(self) -> int:
        """With what it is refused; 0 if it is not."""
        return 7 if self.index == "nope" else 6 if self.event.startswith("bad") else 0


_read_line = msgspec.json.Decoder(Line).decode
_read_ids = msgspec.json.Decoder(dict[str, list[int]]).decode
_write = msgspec.json.encode


@dataclass
class Node:
    """One server: its channels, and what is indexed but not yet durable (`fresh`)."""

    habits: Habits
    rng: Random
    channels: dict[str, int] = field(default_factory=dict)
    pending: dict[tuple[str, int], tuple[float, list[str]]] = field(default_factory=dict)
    fresh: dict[tuple[str, int], None] = field(default_factory=dict)
    counter: int = 0
    highest: int = 0

    def restart(self) -> None:
        """Forget channels and what is not on disk."""
        self.channels.clear()
        self.pending.clear()
        self.fresh.clear()
        self.counter = self._start()

    def _start(self) -> int:
        if self.habits.continues_ids:
            return self.highest + 1
        return self.rng.randrange(4) if self.habits.first_id is None else self.habits.first_id

    def take_id(self, channel: str) -> int:
        """The next id of the channel."""
        if self.habits.is_global_counter:
            self.counter += 1
            ack_id = self.counter
        else:
            ack_id = self.channels.get(channel, self._start())
            self.channels[channel] = ack_id + 1
        self.highest = max(self.highest, ack_id)
        return ack_id


class World:
    """Nodes behind one address. `indexed` counts what became durable, per event."""

    def __init__(
        self, seed: int, *, nodes: int = 1, habits: Habits | None = None, faults: Faults | None = None
    ) -> None:
        self.rng = Random(seed)
        self.nodes = [Node(habits or Habits.draw(self.rng), self.rng) for _ in range(nodes)]
        for node in self.nodes:
            node.restart()
        self.is_sticky = nodes == 1 or self.rng.random() < 0.5
        self.homes: dict[str, Node] = {}
        self.faults = faults if faults is not None else Faults.draw(self.rng)
        self.indexed: dict[str, int] = {}
        self.fired: dict[str, int] = {}
        self.now = 0.0
        self.is_halting = False

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        self.faults = Faults()
        self.is_halting = False

    def _hits(self, name: str) -> bool:
        if self.rng.random() < getattr(self.faults, name):
            self.fired[name] = self.fired.get(name, 0) + 1
            return True
        return False

    def settle_disk(self) -> None:
        """What is old enough is durable now."""
        for node in self.nodes:
            for key in [key for key in node.fresh if node.pending[key][0] <= self.now]:
                at, events = node.pending[key]
                for event in events:
                    self.indexed[event] = self.indexed.get(event, 0) + 1
                node.pending[key] = (at, [])
                del node.fresh[key]

    def serve(self, request: Request, now: float) -> Reply | TransportError:
        """Answer one request at virtual time `now`."""
        self.now = max(self.now, now)
        self.settle_disk()
        node = self.homes.setdefault(request.channel, self.rng.choice(self.nodes))
        if not self.is_sticky:
            node = self.rng.choice(self.nodes)
        if self._hits("restart"):
            node.restart()
        if self._hits("lost_before"):
            return LOST
        if request.path == protocol.ACK_PATH:
            return self._acks(node, request)
        reply = self._post(node, request)
        if self._hits("lost_after"):
            return LOST
        if self._hits("cut"):
            return Reply(200, self.rng.choice([b"", b'{"text":"Succ', b"<html>login</html>"]))
        return reply

    def _acks(self, node: Node, request: Request) -> Reply | TransportError:
        if self._hits("ack_error"):
            return self.rng.choice(
                [Reply(404, b"<html>"), Reply(400, b'{"text":"x","code":6}'), Reply(502, b"")]
            )
        told = {}
        for ack_id in _read_ids(request.body)["acks"]:
            key = (request.channel, ack_id)
            at, events = node.pending.get(key, (float("inf"), []))
            told[str(ack_id)] = at <= self.now and not events
            if told[str(ack_id)] and not node.habits.tells_true_always:
                del node.pending[key]
        if self._hits("poll_lost"):
            lost: list[Reply | TransportError] = [LOST, Reply(200, b""), Reply(200, b'{"acks":{')]
            return self.rng.choice(lost)
        return Reply(200, _write({"acks": told}))

    def _post(self, node: Node, request: Request) -> Reply:
        habits = node.habits
        if self._hits("halt"):
            self.is_halting = True
        if self.is_halting:
            if self.rng.random() < 0.3:
                self.is_halting = False
            return Reply(403, b'{"text":"Invalid token","code":4}')
        if not request.body:
            if habits.probe_takes_id:
                node.take_id(request.channel)
            return Reply(400, b'{"text":"No data","code":5}')
        lines = [_read_line(line) for line in request.body.split(b"\n")]
        if self._hits("html503"):
            if self.rng.random() < 0.5:
                self._parse(node, request.channel, lines)
            return Reply(503, b"<html>busy</html>")
        if self._hits("busy"):
            return self._busy(node, request.channel, lines)
        return self._parse(node, request.channel, lines)

    def _take(self, node: Node, channel: str, lines: list[Line]) -> int:
        events = [line.event for line in lines]
        ack_id = node.take_id(channel)
        at = self.now + node.habits.ack_delay_s * self.rng.uniform(0.5, 1.5)
        if not self._hits("data_lost"):
            node.pending[channel, ack_id] = (at, events)
            node.fresh[channel, ack_id] = None
        return ack_id

    def _busy(self, node: Node, channel: str, lines: list[Line]) -> Reply:
        body: dict[str, object] = {"text": "Server is busy", "code": 9}
        if node.habits.number_on_busy and len(lines) > 1:
            taken = self.rng.randrange(self._good_prefix(lines) + 1)
            body["invalid-event-number"] = taken
            if taken:
                ack_id = self._take(node, channel, lines[:taken])
                if node.habits.ack_id_on_prefix:
                    body["ackId"] = ack_id
        return Reply(503, _write(body))

    def _good_prefix(self, lines: list[Line]) -> int:
        return next((number for number, line in enumerate(lines) if line.code), len(lines) - 1)

    def _parse(self, node: Node, channel: str, lines: list[Line]) -> Reply:
        habits = node.habits
        for number, line in enumerate(lines):
            if not (code := line.code):
                continue
            shown = number + (habits.index_base if code == 7 else 0)
            body: dict[str, object] = {"text": "refused", "code": code, "invalid-event-number": shown}
            if number:
                ack_id = self._take(node, channel, lines[:number])
                if habits.ack_id_on_prefix:
                    body["ackId"] = ack_id
            elif habits.refusal_takes_id:
                node.take_id(channel)
            return Reply(400, _write(body))
        ack_id = self._take(node, channel, lines)
        return Reply(200, _write({"text": "Success", "code": 0, "ackId": ack_id}))
