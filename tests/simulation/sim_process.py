"""A process that runs a real sink: started, turned, frozen, killed, ended, started again.

Not for what its sink meets of the world (`sim_life`) nor for what strikes it (`sim_nemesis`). Guarantees:
whatever a sink raises is looked at; an exit code needs a fault that makes it right.
"""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any, cast

from sim_life import COMMITTED_WITHIN_S, Killed, Life, Tally

from splunk_hec_kafka.config import DeadLetter, Hec, Kafka, Route, SinkConfig
from splunk_hec_kafka.config import Run as RunSection
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Generator

    from sim_consumer import SimulatedConsumer
    from sim_world import World

    from splunk_hec_kafka.metrics import Metrics
    from splunk_hec_kafka.offsets import TopicPartition

PROTOCOLS: dict[str, dict[str, str | int | float | bool]] = {
    "range": {"partition.assignment.strategy": "range"},
    "cooperative": {"partition.assignment.strategy": "cooperative-sticky"},
    "consumer": {"group.protocol": "consumer"},
}
RESTART_S = 1.0
HINDER_COMMITS = (
    "broker_down", "commit_refused", "commit_untold", "commit_silent", "commit_retried", "zombie", "freeze",
    "rebalance", "member", "leave", "new_partition", "retention", "text_too_large",
)  # fmt: skip
"""Faults after which a crash may repeat more."""
MAY_END = {
    ExitCode.HEC: ("halt", "index_gone", "cut", "no_ack_id", "ack_error", "acks_refused"),
    ExitCode.KAFKA: ("broker_down",),
    ExitCode.DEAD_LETTER_TOPIC: ("letter_refused",),
    ExitCode.INTERNAL: ("lane_fault",),
}
"""Which exit code needs which fault to be right."""


class Process:
    """One process, and its successors.

    Attributes:
        life: The present one; None while it is down, until `starts_at`.
        is_wanted: Somebody starts it again when it has ended.
        is_leaving: Nobody does after this life.
        doomed: At which step it is killed next; empty = not.
        until_end: It ends by itself when everything is done.
    """

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.name = f"p{number}"
        self.rng = Random(world.scenario.seed * 7 + 5 + number)
        self.life: Life | None = None
        self.sink: Sink | None = None
        self.is_wanted = True
        self.is_leaving = False
        self.until_end = False
        self.doomed = ""
        self.frozen_until = 0.0
        self.starts_at = world.now
        self.flying: list[SimulatedConsumer] = []
        self.exit_code: int | None = None
        self._steps: Any = _no_steps()

    @property
    def is_frozen(self) -> bool:
        """Whether it is stopped for a while (SIGSTOP): it does nothing, and its session may end."""
        return self.world.now < self.frozen_until

    def thaw(self) -> None:
        """Go on, if it was stopped, and live."""
        self.frozen_until, self.doomed = 0.0, ""

    def due(self) -> float:
        """When it has something to do by itself."""
        now = self.world.now
        if self.life is None:
            return self.starts_at if self.is_wanted else now + 3600
        return self.frozen_until if now < self.frozen_until else self.life.due()

    def turn(self) -> None:
        """Start it if it is time, or let it do one turn."""
        if self.is_frozen or not self.is_wanted or (self.life is None and self.world.now < self.starts_at):
            return
        if self.life is None:
            self._start()
        assert self.life is not None
        steps, self.world.actor = self._steps, self.life
        try:
            self.life.step("turn")
            if self.sink is not None:
                self.life.sample(self.sink._ledger)
            next(steps)
        except StopIteration:
            assert self.sink is not None
            self._ended(self.sink._exit_code)
        except SinkFailure as failure:
            self._failed(failure)
        except Killed:
            with suppress(Killed):  # what it still asks of the world on its way out
                steps.close()
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is what the run has found
            self.world.violate("CRASH", f"{type(error).__name__}: {error}")
            self.die()

    def die(self) -> None:
        """Killed: nothing is flushed; what was sent may arrive."""
        self.world.tell("%s is killed", self.name)
        life = self.life
        self._drop()
        if life is not None and not any(self.world.fired[name] for name in HINDER_COMMITS):
            self._check_commits(life)

    def end(self) -> None:
        """Killed between two turns, with what it sent; a power cut."""
        if self.life is not None:
            self.die()
            self.leave_off()
        self.forget_the_dead()

    def forget_the_dead(self) -> None:
        """What they had sent never arrives."""
        self.world.flights -= sum(len(consumer.flights) for consumer in self.flying)
        self.flying.clear()

    def leave_off(self) -> None:
        """Between two turns: its sink gets no other."""
        if self.life is not None:
            self.life.is_over = True
        with suppress(Killed):
            self._steps.close()

    def _check_commits(self, life: Life) -> None:
        """E7: a crash repeats what was in flight and what settled since the last commit, not more."""
        early = [one for one in life.turns if one[0] <= self.world.now - COMMITTED_WITHIN_S]
        if not early or len(self.world.processes) > 1:  # a rebalance holds commits up, and explains more
            return
        chances = [at for at, _ in life.turns if early[-1][0] + 1.3 <= at <= self.world.now - 0.3]
        if len(chances) < 2:  # a call may take seconds here, and then nothing could be committed in between
            return
        assigned = life.turns[-1][1].keys()
        for at, offset in early[-1][1].items():
            held = self.world.broker.group.committed.get(at.partition, 0)
            if held < offset and at in assigned:
                text = (
                    f"{offset} could be committed in {at.partition} for long when it was killed, {held} was"
                )
                self.world.violate("E7", text)

    def stop(self) -> None:
        """Ask it to end orderly."""
        if self.sink is not None:
            self.sink.stop()

    def _start(self) -> None:
        world = self.world
        world.tell("%s starts", self.name)
        self.doomed, self.exit_code = "", None
        self.life = Life(self)
        self.life.until_end = self.until_end
        tally = cast("Metrics", Tally())
        config, outside = world.config, self.life.outside()
        self.sink = Sink(config, metrics=tally, until_end=self.until_end, outside=outside)
        world.to_dismantle.append((self.life, self.sink))
        source = self.sink._source
        told = source._on_lost_range

        def on_lost_range(at: TopicPartition, first: int, after: int) -> None:
            world.lost.append((at.partition, first, after))
            told(at, first, after)

        source._on_lost_range = on_lost_range
        self._steps = self.sink.steps()

    def _drop(self) -> None:
        life = self.life
        if life is not None:
            life.is_over = True
            for producer in life.producers:
                producer.land()
            self.world.flights -= sum(len(consumer.flights) for consumer in self.flying[:-1])
            self.flying = [*self.flying[-1:], *life.consumers]
        self.life = self.sink = None
        self.starts_at = self.world.now + RESTART_S
        if self.is_leaving:
            self.is_wanted = self.is_leaving = False

    def land(self, now: float) -> None:
        """Commits arrive, those of the dead too."""
        for consumer in self.flying:
            consumer.land(now)
        if self.life is not None:
            for consumer in self.life.consumers:
                consumer.land(now)

    def _ended(self, code: int) -> None:
        self.world.tell("%s ended with %d", self.name, code)
        self.exit_code = code
        if code == ExitCode.OK and self.life is not None:
            for partition, read_to in self.life.left_at.items():
                committed = self.world.broker.group.committed.get(partition, 0)
                if any(self.world.broker.logs[partition].records[committed:read_to]):
                    text = (
                        f"{self.name} ended with 0; {partition} was read to {read_to}, committed {committed}"
                    )
                    self.world.violate("E13", text)
        if self.life is not None and self.life.until_end:
            self.is_leaving = True
            if code:
                self.world.violate("E13", f"{self.name} was to run to the end, and ended with {code}")
        self._drop()

    def _failed(self, failure: SinkFailure) -> None:
        self.world.tell("%s failed: %s", self.name, failure)
        causes = MAY_END.get(failure.exit_code, ())
        if not any(self.world.fired[cause] for cause in causes):
            self.world.violate("EXIT", f"{self.name} ended with {failure.exit_code!r}: {failure.text}")
        self._drop()


def _no_steps() -> Generator[None]:
    yield from ()


def config_of(world: World) -> SinkConfig:
    """The configuration of all sinks of a run."""
    scenario = world.scenario
    index = "{header:index}" if scenario.has_index_routes else "main" if scenario.has_main_index else ""
    return SinkConfig(
        run=RunSection(shutdown_s=5, startup_timeout_s=30),
        hec=Hec(url=tuple(world.splunks), token="t", gzip="off", **scenario.settings),  # type: ignore[arg-type]
        kafka=Kafka(
            bootstrap_servers="none", topics=("logs",), group_id="g", commit_interval_s=2,
            settled_runs_in_commits=scenario.keeps_maps, properties=PROTOCOLS[scenario.protocol],
        ),
        dead_letter=DeadLetter(topic="letters", max_ratio=1.0),
        route=(Route(topics=("*",), index=index),),
    )  # fmt: skip
