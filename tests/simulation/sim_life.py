"""One life of a process: everything that its sink is given instead of the world, until the life is over.

A kill ends a life in the middle of a step: the sink's objects may go on for the rest of their call, but
whatever they ask of the world from then on raises `Killed` and changes nothing. Not for when that happens
(`sim_nemesis`) nor for what follows (`sim_process`).
"""

from __future__ import annotations

from collections import Counter
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, cast

from confluent_kafka import KafkaError, KafkaException
from sim_consumer import SimulatedConsumer
from sim_producer import SimulatedAdmin, SimulatedProducer

from splunk_hec._crew import LOOK_AGAIN_S
from splunk_hec._protocol import ACK_PATH
from splunk_hec.client import HecClient
from splunk_hec_kafka.outside import Outside

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sim_group import Offsets
    from sim_process import Process

    from splunk_hec._protocol import Reply, Request, TransportError
    from splunk_hec.config import HecConfig
    from splunk_hec_kafka.offsets import OffsetLedger, TopicPartition


HIDE_MAPS = ("ids_untold", "broker_down", "made_anew_live", "text_too_large")
"""Faults after which a map may be of no use."""
MOST_REFUSED = 2
SAMPLE_S = 0.2
COMMITTED_WITHIN_S = 2.5
"""What could be committed so long ago is: two seconds, and a commit's flight."""
SYNC_S = 0.005
"""What a question to the broker takes."""


class Killed(BaseException):
    """The process is gone; not an Exception, so nothing of the sink catches it."""


class Tally:
    """What the sink counts, as far as a run needs it: not at all, by what takes anything quickest."""

    def lost_range(self, _topic: str, _partition: int, _records: int) -> None:
        """Counted by the world, which sees the range."""

    count = consumed = skipped = dead_letter = paused = committed = lag = staticmethod("".format)
    fenced = limit_used = oldest_age = in_flight = halted = forget = staticmethod("".format)


class SimulatedTransport:
    """Serves the requests of one lane; each takes a while."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def send(self, request: Request) -> Reply | TransportError:
        """One request, and its reply."""
        life, world = self._life, self._life.world
        is_ask = request.path == ACK_PATH
        life.step("poll" if is_ask else "post")
        world.pass_time((0.003, 0.01, 0.01, 0.05)[int(life.process.rng.random() * 4)])
        reply = world.splunks[request.url].answer(request)
        if world.story is not None:
            world.story_of_request(life.name, request, reply)
        life.step("polled" if is_ask else "posted")
        world.wake()
        return reply

    def forget(self, channel: str) -> None:
        """No cookies here."""

    def close(self) -> None:
        """No connections here."""


class SimulatedClient(HecClient):
    """A client whose next moment of work is known to the world, and that leaves out turns without any."""

    _wake = _busy_at = _idle_until = 0.0
    _takes_none = False

    def __init__(self, config: HecConfig, **given: Any) -> None:
        super().__init__(config, **given)
        # Lanes that leave each other batches, or give old ones up, look at the clock in each turn. Any other
        # that left a batch where it was takes none before the moment that it named.
        self._looks_often = len(config.urls) > 1 or bool(config.give_up_after_s)

    def turn_while_busy(self, *, leaves_reply: bool = False) -> None:
        """Work, and remember when there will be more of it; here each reply is there at once."""
        now, linger, has_batches = self._clock(), self._linger(), bool(self.queue._sealed)
        if now < self._idle_until and not has_batches and now < linger:
            return  # a turn would find nothing to do; this only finds it sooner
        is_quiet = now < min(self._busy_at, linger) and (self._takes_none or not has_batches)
        if self._looks_often or not is_quiet:
            self._busy_at = self._crew.work()
            self._takes_none = bool(self.queue._sealed)
        look_again = now + LOOK_AGAIN_S
        self._idle_until = min(self._busy_at, look_again)
        self._wake = self._busy_at if self._busy_at < look_again else inf

    def due(self) -> float:
        """When there will be."""
        return min(self._linger(), self._wake)

    def _linger(self) -> float:
        linger = self.queue.next_linger() if self.queue._open else None
        return inf if linger is None else linger


class Life:
    """One life of a process: what the sink meets of the world, until it is over.

    Attributes:
        unmapped: Partitions whose position was gone: no map is kept of them until they come again.
        spared: By partition, offsets that need not be sent, as the map that it was first assigned with says.
        samples: Now and then, what the ledger calls settled beyond the committable offset.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.world = process.world
        self.name = process.name
        self.is_over = False
        self.until_end = False
        self.left_at: dict[int, int] = {}
        self.turns: list[tuple[float, dict[TopicPartition, int]]] = []
        self.spared: dict[int, set[int]] = {}
        self.met: set[int] = set()
        self.unmapped: set[int] = set()
        self.refused_maps: Counter[int] = Counter()
        self._next_sample = 0.0
        self.samples: list[tuple[float, dict[int, set[int]]]] = []
        self.taken_at: dict[tuple[int, int] | None, float] = {}
        self.consumers: list[SimulatedConsumer] = []
        self.producers: list[SimulatedProducer] = []
        self._busy: list[SimulatedConsumer | SimulatedProducer | SimulatedClient] = []

    def step(self, point: str) -> None:
        """The sink meets the world here.

        Raises:
            Killed: It is dead, or dies now.
        """
        if self.is_over:
            raise Killed
        if self.process.doomed == point:
            self.world.fire("kill")
            self.process.die()
            raise Killed

    def ask(self, timeout_s: float) -> None:
        """A question to the broker.

        Raises:
            KafkaException: It does not answer in time.
        """
        self.step("ask")
        self.wait_for_broker(timeout_s)

    def wait_for_broker(self, timeout_s: float) -> None:
        """Wait until it answers.

        Raises:
            KafkaException: It does not in time.
        """
        world, broker = self.world, self.world.broker
        world.pass_time(SYNC_S)
        if broker.is_down:
            world.pass_time(min(timeout_s, broker.down_until - world.now))
            if broker.is_down:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    def note_maps(self, partitions: Iterable[int]) -> None:
        """It is told commits: what a map that holds says of a partition it never had it need not send."""
        broker = self.world.broker
        for partition in partitions:
            if partition not in self.met and self.world.scenario.keeps_maps:
                self.met.add(partition)
                self.spared[partition] = broker.mapped(partition)

    def note_refused_maps(self, offsets: Offsets) -> None:
        """The broker refuses maps of its as too large: once or twice, and then it goes on without."""
        self.world.fire("text_too_large")
        for partition, (_, text) in offsets.items():
            self.refused_maps[partition] += len(text) >= self.world.scenario.most_text_bytes
            if self.refused_maps[partition] > MOST_REFUSED:
                self.world.violate("E6", f"a map of {partition} is refused again and again")

    def check_kept(self, partitions: Iterable[int]) -> None:
        """E7 with maps: what one told when its partition came, or settled long ago, the next one tells."""
        if not self.world.scenario.keeps_maps or any(self.world.fired[name] for name in HIDE_MAPS):
            return
        broker, long_ago = self.world.broker, self.world.now - COMMITTED_WITHIN_S
        old = [found for at, found in self.samples if at <= long_ago]
        for partition in set(partitions) - self.unmapped:
            known = self.spared.get(partition, set()) | (old[-1].get(partition, set()) if old else set())
            rest = {at for at in known if at >= broker.group.committed[partition]} - broker.mapped(partition)
            if rest:
                self.world.violate("E7", f"the map of {partition} does not tell of {sorted(rest)[:5]}")

    def give_up(self, partitions: Iterable[int]) -> None:
        """Partitions go: what is told of them from now on is not its business."""
        for partition in partitions:
            self.unmapped.discard(partition)
            self.spared.pop(partition, None)
            for _, found in self.samples:
                found.pop(partition, None)

    def check_labels(self, offsets: Offsets) -> None:
        """A map names every record that was read with the leader epoch that it was read under."""
        sink = self.process.sink
        if sink is None or not self.world.scenario.keeps_maps:
            return
        read = {at.partition: end for at, end in sink._ledger.positions().items()}
        for partition, (_, text) in offsets.items():
            wrong = self.world.broker.mislabelled(partition, text, read.get(partition, 0)) if text else []
            if wrong:
                self.world.violate(
                    "E7", f"the map of {partition} names another leader than that of {wrong[:5]}"
                )

    def sample(self, ledger: OffsetLedger) -> None:
        """Remember, now and then, what could be committed, and what the ledger calls settled beyond it."""
        now = self.world.now
        if now < self._next_sample:
            return
        self._next_sample = now + SAMPLE_S
        self.turns.append((now, ledger.committable()))
        if self.world.scenario.keeps_maps and (not self.samples or self.samples[-1][0] <= now - 1):
            found = {
                at.partition: {
                    offset for run in ledger.settled_runs(at) for offset in range(run.first, run.last + 1)
                }
                for at in ledger.epochs
            }
            self.samples.append((now, found))

    def outside(self) -> Outside:
        """What the sink is given instead of the world."""
        return Outside(
            consumer=cast("Any", self._consumer),
            producer=cast("Any", self._producer),
            admin=cast("Any", lambda _properties, **_logger: SimulatedAdmin(self)),
            hec=cast("Any", self._hec),
            clock=self.world.clock,
            sleep=self.world.pass_time,
            wait=lambda _budget, seconds: self.world.idle(seconds),
            run_within=lambda _seconds, what: (what(), True)[1],
        )

    def _consumer(self, properties: dict[str, Any], **_logger: object) -> SimulatedConsumer:
        self.consumers.append(SimulatedConsumer(self, properties))
        self._busy.append(self.consumers[-1])
        return self.consumers[-1]

    def _producer(self, _properties: dict[str, Any], **_logger: object) -> SimulatedProducer:
        self.producers.append(SimulatedProducer(self))
        self._busy.append(self.producers[-1])
        return self.producers[-1]

    def _hec(self, config: HecConfig, **given: Any) -> SimulatedClient:
        client = SimulatedClient(
            self.world.without_threads(config),
            transport_factory=lambda: SimulatedTransport(self),
            clock=self.world.clock,
            random=Random(self.process.rng.getrandbits(32)),
            **given,
        )
        self._busy.append(client)
        return client

    def dismantle(self) -> None:
        """The run is over: nothing of it holds anything any more, or a collector would have to find out."""
        for one in (*self._busy, self):
            vars(one).clear()

    def due(self) -> float:
        """When it has something to do by itself."""
        return min([one.due() for one in self._busy], default=self.world.now)
