"""A lane and a modelled world, driven by Hypothesis: any order of events, faults and pauses, then a drain.

The simulation beside this draws whole runs at random; here a failing run shrinks to its shortest story.
"""

from __future__ import annotations

from random import Random

from hec_model import Faults, Habits, World
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from lane_run import Run

from splunk_hec.events import OutcomeKind

FAULTS = sorted(Faults.__dataclass_fields__)


class LaneMachine(RuleBasedStateMachine):
    """What must hold at every moment, and that everything ends once the world is well."""

    @initialize(
        seed=st.integers(0, 2**32), nodes=st.sampled_from([1, 1, 2]), deadline_s=st.sampled_from([5.0, 20.0])
    )
    def start(self, seed: int, nodes: int, deadline_s: float) -> None:
        """Any server habits."""
        self.world = World(seed, nodes=nodes, habits=Habits.draw(Random(seed)), faults=Faults())
        self.run_ = Run(self.world, ack_deadline_s=deadline_s, seed=seed)
        self.everything: set[str] = set()
        self.poison: set[str] = set()
        self.batches = 0

    @rule(kinds=st.lists(st.sampled_from(["good", "good", "good", "bad", "index"]), min_size=1, max_size=6))
    def offer(self, kinds: list[str]) -> None:
        """One more batch."""
        self.batches += 1
        events = [f"{'bad' if kind == 'bad' else 'e'}-{self.batches}-{at}" for at, kind in enumerate(kinds)]
        self.poison |= {event for event, kind in zip(events, kinds, strict=True) if kind != "good"}
        self.everything |= set(events)
        bad_index = {event for event, kind in zip(events, kinds, strict=True) if kind == "index"}
        self.run_.offer(str(self.batches), events, frozenset(bad_index))

    @rule(steps=st.integers(1, 12))
    def go_on(self, steps: int) -> None:
        """Let the lane work."""
        for _ in range(steps):
            self.run_.step()

    @rule(name=st.sampled_from(FAULTS))
    def strike(self, name: str) -> None:
        """The next request meets this fault."""
        self.world.faults = Faults(**{name: 1.0})
        served = self.run_.requests
        for _ in range(50):
            if self.run_.requests > served:
                break
            self.run_.step()
        self.world.faults = Faults()

    @rule(node=st.integers(0, 1))
    def restart(self, node: int) -> None:
        """A server forgets its channels and what is not on disk."""
        self.world.nodes[node % len(self.world.nodes)].restart()

    @rule(seconds=st.sampled_from([1.0, 30.0, 700.0, 4_000.0]))
    def sleep(self, seconds: float) -> None:
        """The process stops for a while."""
        self.run_.now += seconds

    @precondition(lambda self: self.batches)
    @rule()
    def drain(self) -> None:
        """Once nothing goes wrong any more, every event ends, and only poison is not delivered."""
        self.world.heal()
        for _ in range(5_000):
            if len(self.run_.outcomes()) == len(self.everything):
                break
            self.run_.step()
        outcomes = self.run_.outcomes()
        assert not self.everything - set(outcomes), f"stuck: {self.run_.lane!r}"
        assert {event for event, kind in outcomes.items() if kind is OutcomeKind.DELIVERED} == (
            self.everything - self.poison
        )

    @invariant()
    def delivered_is_on_disk(self) -> None:
        """Safety: nothing is confirmed that is not durable, nothing is rejected that is good."""
        if not hasattr(self, "world"):
            return
        for event, kind in self.run_.outcomes().items():
            if kind is OutcomeKind.DELIVERED:
                assert event in self.world.indexed, f"{event} was confirmed falsely"
            else:
                assert kind is OutcomeKind.REJECTED
                assert event in self.poison, f"{event} was rejected and is good"

    def teardown(self) -> None:
        """Liveness: whatever happened, it drains."""
        if hasattr(self, "world"):
            self.drain()


TestLaneMachine = LaneMachine.TestCase
TestLaneMachine.settings = settings(
    max_examples=250, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
