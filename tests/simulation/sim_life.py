"""One life of a process: everything that its sink is given instead of the world, until the life is over.

A kill ends a life in the middle of a step: the sink's objects may go on for the rest of their call, but
whatever they ask of the world from then on raises `Killed` and changes nothing. Not for when that happens
(`sim_nemesis`) nor for what follows (`sim_process`).
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, cast

import msgspec
from sim_consumer import SimulatedConsumer
from sim_producer import SimulatedAdmin, SimulatedProducer

from splunk_hec._crew import LOOK_AGAIN_S
from splunk_hec._protocol import ACK_PATH
from splunk_hec.client import HecClient
from splunk_hec_kafka.outside import Outside

if TYPE_CHECKING:
    from sim_process import Process

    from splunk_hec._protocol import Reply, Request, TransportError
    from splunk_hec.config import HecConfig
    from splunk_hec_kafka.offsets import TopicPartition


class Killed(BaseException):
    """The process is gone; not an Exception, so nothing of the sink catches it."""


class Tally:
    """What the sink counts, as far as a run needs it; quicker to make than a registry."""

    def lost_range(self, _topic: str, _partition: int, _records: int) -> None:
        """Counted by the world, which sees the range."""

    def _ignore(self, *_args: object, **_labels: object) -> None:
        pass

    count = consumed = skipped = dead_letter = paused = committed = lag = _ignore
    fenced = oldest_age = in_flight = halted = forget = _ignore


class SimulatedTransport:
    """Serves the requests of one lane; each takes a while."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def send(self, request: Request) -> Reply | TransportError:
        """One request, and its reply."""
        life, world = self._life, self._life.world
        is_ask = request.path == ACK_PATH
        life.step("poll" if is_ask else "post")
        world.pass_time(life.process.rng.choice((0.003, 0.01, 0.01, 0.05)))
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
    """A client whose next moment of work is known to the world."""

    _wake = _idle_until = 0.0

    def turn_while_busy(self) -> None:
        """Work, and remember when there will be more of it."""
        now = self._clock()
        if now < self._idle_until and not self.queue._sealed:
            linger = self.queue.next_linger()
            if linger is None or now < linger:
                return  # a turn would find nothing to do; this only finds it sooner
        self._idle_until = wake = self._crew.turn()
        self._wake = wake if wake < now + LOOK_AGAIN_S else now + 3600

    def due(self) -> float:
        """When there will be."""
        linger = self.queue.next_linger()
        return self._wake if linger is None else min(linger, self._wake)


class Life:
    """One life of a process: what the sink meets of the world, until it is over."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.world = process.world
        self.name = process.name
        self.is_over = False
        self.until_end = False
        self.left_at: dict[int, int] = {}
        self.turns: list[tuple[float, dict[TopicPartition, int]]] = []
        self.taken_at: dict[tuple[int, int] | None, float] = {}
        self.consumers: list[SimulatedConsumer] = []
        self.producers: list[SimulatedProducer] = []
        self.clients: list[SimulatedClient] = []

    @property
    def is_beating(self) -> bool:
        """Whether its threads run."""
        return not self.is_over and not self.process.is_frozen

    def step(self, point: str) -> None:
        """The sink meets the world here.

        Raises:
            Killed: It is dead, or dies now.
        """
        if self.process.doomed == point and not self.is_over:
            self.world.fire("kill")
            self.process.die()
        if self.is_over:
            raise Killed

    def outside(self) -> Outside:
        """What the sink is given instead of the world."""
        return Outside(
            consumer=cast("Any", self._consumer),
            producer=cast("Any", self._producer),
            admin=cast("Any", lambda _properties, **_logger: SimulatedAdmin()),
            hec=cast("Any", self._hec),
            clock=self.world.clock,
            sleep=self.world.pass_time,
            wait=lambda _budget, seconds: self.world.idle(seconds),
            run_within=lambda _seconds, what: (what(), True)[1],
        )

    def _consumer(self, properties: dict[str, Any], **_logger: object) -> SimulatedConsumer:
        self.consumers.append(SimulatedConsumer(self, properties))
        return self.consumers[-1]

    def _producer(self, _properties: dict[str, Any], **_logger: object) -> SimulatedProducer:
        self.producers.append(SimulatedProducer(self))
        return self.producers[-1]

    def _hec(self, config: HecConfig, **given: Any) -> SimulatedClient:
        client = SimulatedClient(
            msgspec.structs.replace(config, threads=False),
            transport_factory=lambda: SimulatedTransport(self),
            clock=self.world.clock,
            random=Random(self.process.rng.getrandbits(32)),
            **given,
        )
        self.clients.append(client)
        return client

    def due(self) -> float:
        """When it has something to do by itself."""
        moments = [client.due() for client in self.clients]
        moments += [consumer.due() for consumer in self.consumers]
        moments += [producer.due() for producer in self.producers]
        return min(moments, default=self.world.now)
