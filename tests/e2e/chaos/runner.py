"""One run: start, break, heal, drain, stop. Returns when all logs are whole.

Not for judging what they say (`checker`); only what could not be carried out is told here.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from e2e_tools import rest

from .nemesis import Nemesis, schedule
from .world import World

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

DRAIN_S, DRAIN_S_PER_MINUTE = 300.0, 20.0
TELL_S = 15.0
END_S = 90.0
WARM_S = 60.0


def run(folder: Path, seed: int, minutes: float, per_s: int, only: Collection[str] = ()) -> list[str]:
    """Make the logs of one run.

    Args:
        folder: Where they go; empty.
        seed: Of schedule, payloads and chances.
        minutes: How long faults go on.
        per_s: Records a second.
        only: Names of the faults that are wanted; all, if none is named.

    Returns:
        What failed in the harness itself; empty if the logs can be judged.
    """
    with World(folder, seed, per_s) as world:
        plan = schedule(seed, minutes * 60, world.missing, only)
        for fault, why in world.missing.items():
            _tell(f"SKIPPED FAULT: {fault}: {why}")
        world.note(what="run", seed=seed, minutes=minutes, per_s=per_s, missing=world.missing)
        for member in world.members:
            member.is_wanted = True
        world.source.start()
        _wait_for_work(world)
        nemesis = Nemesis(world, plan)
        _tell(f"{len(plan)} faults in {minutes:g} minutes")
        nemesis.run()
        world.note(what="healed")
        unreported = world.source.stop()
        world.note(what="written", unreported=unreported)
        _drain(world, DRAIN_S + minutes * DRAIN_S_PER_MINUTE)
        for member in world.members:
            member.is_wanted = False
        codes = {member.name: member.stop(END_S) for member in world.members}
        world.note(what="ended", codes=codes)
        rest(1)  # the observer's last look
        for server in world.servers:
            server.terminate()
        watchers = world.observer.failures + world.observer.letters.failures
        return nemesis.failures + watchers


def _wait_for_work(world: World) -> None:
    until = time.monotonic() + WARM_S
    while not (world.observer.last and world.observer.last.committed):
        assert time.monotonic() < until, "nothing was committed before the first fault"
        rest(0.2)


def _drain(world: World, within_s: float) -> None:
    """Wait for lag 0, as long as that is bearable; the checker sees whether it came."""
    started = time.monotonic()
    told = 0.0
    while (lag := _lag(world)) != 0 and time.monotonic() - started < within_s:
        if time.monotonic() - told >= TELL_S:
            told = time.monotonic()
            _tell(f"healed {told - started:3.0f} s ago, lag {lag if lag is not None else 'unknown'}")
        rest(0.5)
    world.note(what="drained", lag=lag, seconds=round(time.monotonic() - started, 1))


def _lag(world: World) -> int | None:
    last = world.observer.last
    return None if last is None or last.error else last.lag


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
