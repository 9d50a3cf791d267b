"""Runs scenarios: trouble for a while, then none, until everything is settled and committed; then the checks.

One seed is one run, to the last jitter. Not for drawing scenarios (`sim_scenario`) or for judging
(`sim_checker`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from sim_checker import check_end, inversions, watch_commits
from sim_scenario import Scenario, draw
from sim_world import ResendLog, World

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from sim_process import Process
    from sim_world import Violation

HEALED_WITHIN_S = 900.0
"""E6: how long after the last fault everything must be committed, in virtual time."""
MOST_ROUNDS = 6_000
MOST_SEEDS = 200
"""Within so many seeds a mutant must be caught."""

_log = ResendLog()


class Result(NamedTuple):
    """What became of a scenario."""

    scenario: Scenario
    violations: tuple[Violation, ...]
    fired: Counter[str]
    recovery_s: float
    duplicates: int
    inversions: int
    reads: int


def listen() -> None:
    """Let the sinks' log lines reach the observer, and nobody else."""
    for name in ("splunk_hec", "splunk_hec_kafka"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_log], False
        logger.setLevel(logging.DEBUG if name == "splunk_hec" else logging.WARNING)
    # Where a line was logged, and by which thread, nobody asks here.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def run(scenario: Scenario, story: Callable[[str], None] | None = None) -> Result:
    """Run a scenario to its end."""
    world = World(scenario, story)
    _log.world = world
    watch_commits(world)
    try:
        _trouble(world)
        world.heal()
        healed_at = world.now
        if not world.violations:
            _drain(world, healed_at)
        recovery_s = world.now - healed_at
        if not world.violations:
            check_end(world)
        if not world.violations:
            _end(world)
    finally:
        _log.world = None
    result = Result(
        scenario,
        tuple(world.violations),
        world.fired,
        recovery_s,
        sum(world.indexed.values()) - len(world.indexed),
        inversions(world),
        sum(world.broker.read.values()),
    )
    world.dismantle()
    return result


def run_seed(seed: int, story: Callable[[str], None] | None = None) -> Result:
    """Run the scenario of a seed."""
    return run(draw(seed), story)


def _round(world: World) -> None:
    if world.waiting:
        world.between_turns()
    for process in list(world.processes):
        process.turn()
    if not any(one.life is not None and not one.is_frozen for one in world.processes):
        world.idle(0.1)


def _trouble(world: World) -> None:
    until = world.started_at + world.scenario.active_s
    while world.now < until and not world.violations:
        _round(world)


def _drain(world: World, healed_at: float) -> None:
    if not any(one.is_wanted and not one.is_leaving for one in world.processes):
        world.processes[0].is_wanted, world.processes[0].is_leaving = True, False
    for _ in range(MOST_ROUNDS):
        _round(world)
        if world.violations or world.now - healed_at > HEALED_WITHIN_S:
            break
        if world.scenario.ends_by_itself:
            if not any(one.is_wanted for one in world.processes):
                return
        elif not world.lag() and all(_is_quiet(one) for one in world.processes):
            return
    if world.scenario.ends_by_itself:
        world.violate("E6", "STUCK: a sink that was to run to the end does not end")


def _is_quiet(process: Process) -> bool:
    sink = process.sink
    return sink is None or not (sink._delivery.budget.used_events or sink._ledger.open_count())


def _end(world: World) -> None:
    """E13: everything was done, so an orderly end must say so."""
    for process in world.processes:
        process.is_leaving = True
        process.stop()
    for _ in range(200):
        if not any(one.life is not None for one in world.processes):
            break
        _round(world)
    if world.lag():
        world.violate("E13", "after the end something is not committed")


def caught(seeds: int) -> tuple[int, Violation] | None:
    """After how many seeds something is violated, and what; None if nothing is."""
    for seed in range(seeds):
        violations = run_seed(seed).violations
        if violations:
            return seed + 1, violations[0]
    return None


def shrink(scenario: Scenario, equation: str) -> Scenario:
    """The scenario with as few of its faults as still break this equation."""
    faults = list(scenario.faults)
    is_shorter = True
    while is_shorter:
        is_shorter = False
        for number in range(len(faults)):
            fewer = scenario._replace(faults=tuple(faults[:number] + faults[number + 1 :]))
            if any(one.equation == equation for one in run(fewer).violations):
                faults, is_shorter = list(fewer.faults), True
                break
    return scenario._replace(faults=tuple(faults))
