"""Lanes against modelled servers of every habit, with every fault, on a virtual clock."""

from __future__ import annotations

from random import Random

import pytest
from hec_model import World
from lane_run import Run

from splunk_hec.events import OutcomeKind


def run_seed(seed: int) -> tuple[Run, set[str], set[str]]:
    """One random world: faults for a while, then healed, then drained."""
    rng = Random(seed)
    world = World(seed, nodes=rng.choice([1, 1, 1, 2]))
    run = Run(world, ack_deadline_s=rng.choice([5.0, 20.0]), seed=seed)
    everything: set[str] = set()
    poison: set[str] = set()
    for number in range(rng.randrange(3, 25)):
        events = []
        bad_index = set()
        for position in range(rng.randrange(1, 9)):
            kind = rng.random()
            event = f"{'bad' if kind < 0.05 else 'e'}-{number}-{position}"
            if kind > 0.95:
                bad_index.add(event)
            if kind < 0.05 or kind > 0.95:
                poison.add(event)
            events.append(event)
        everything.update(events)
        run.offer(str(number), events, frozenset(bad_index))
    for _ in range(rng.randrange(200)):
        run.step()
    world.heal()
    for _ in range(20_000):
        if len(run.settled) and len(run.outcomes()) == len(everything):
            break
        run.step()
    world.now = max(world.now, run.now) + 1_000
    world.settle_disk()
    return run, everything, poison


@pytest.mark.parametrize("block", range(10))
def test_no_confirmation_is_false_and_nothing_is_lost_or_stuck(block: int) -> None:
    """Whatever habits and faults: each event settles once, delivered is durable, only poison is rejected."""
    for seed in range(block * 60, block * 60 + 60):
        run, everything, poison = run_seed(seed)
        outcomes = run.outcomes()
        missing = everything - set(outcomes)
        assert not missing, f"seed {seed}: stuck {sorted(missing)[:5]} {run.lane!r}"
        delivered = {event for event, kind in outcomes.items() if kind is OutcomeKind.DELIVERED}
        assert delivered <= set(run.world.indexed), (
            f"seed {seed}: false {sorted(delivered - set(run.world.indexed))[:5]}"
        )
        assert everything - delivered == poison, (
            f"seed {seed}: {sorted((everything - delivered) ^ poison)[:5]}"
        )
