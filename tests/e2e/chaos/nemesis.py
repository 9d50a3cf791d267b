"""When what goes wrong: a schedule made from a seed, and the threads that carry it out.

Two streams, so that kills never wait for their turn: a `kill -9` about every half minute, some other fault
about every ten seconds. Kinds are drawn from a shuffled bag, so that none is left out by chance for long.
Faults overlap, unless they need the same thing; then the later one waits, and is skipped when that takes
too long. Guarantees: one seed, one schedule (when it is carried out depends on the machine); every fault that
was begun is mended before `run` returns; a fault that cannot be had here is told and skipped.
"""

from __future__ import annotations

import random
import threading
import time
import traceback
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from .faults import KILLS, OTHERS, Fault, Locks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from .world import World

KILL_GAP_S, OTHER_GAP_S = (18.0, 40.0), (5.0, 13.0)
LASTS_S = (4.0, 10.0)
FIRST_S = 8.0
PATIENCE_S = 25.0
MENDED_S = 240.0


class Planned(NamedTuple):
    """A fault, and when it is due (seconds after the start)."""

    at_s: float
    fault: Fault
    seed: int


def schedule(
    seed: int, seconds: float, missing: Collection[str] = (), only: Collection[str] = ()
) -> list[Planned]:
    """What goes wrong in a run of this seed and length, in order.

    Args:
        seed: Decides it all.
        seconds: How long faults begin.
        missing: What cannot be had here.
        only: Names of the faults that are wanted; all, if none is named.
    """
    chance = random.Random(f"{seed}/nemesis")
    plan: list[Planned] = []
    for kinds, gap_s in ((KILLS, KILL_GAP_S), (OTHERS, OTHER_GAP_S)):
        wanted = [one for one in kinds if one.needs not in missing and (not only or one.name in only)]
        bag = _bag(wanted, chance)
        at_s = FIRST_S
        while wanted and at_s < seconds:
            plan.append(Planned(at_s, next(bag), chance.getrandbits(32)))
            at_s += chance.uniform(*gap_s)
    return sorted(plan, key=lambda one: one.at_s)


def _bag(kinds: list[Fault], chance: random.Random) -> Iterator[Fault]:
    while True:
        chance.shuffle(kinds)
        yield from kinds


class Nemesis:
    """Carries out a schedule on a world.

    Attributes:
        failures: Faults that failed themselves: the run says nothing then.
    """

    def __init__(self, world: World, plan: list[Planned]) -> None:
        self._world, self._plan = world, plan
        self._locks = Locks()
        self._threads: list[threading.Thread] = []
        self.failures: list[str] = []

    def run(self) -> None:
        """All of it; returns when everything is mended."""
        started = time.monotonic()
        pause = threading.Event()
        for number, planned in enumerate(self._plan):
            pause.wait(max(0.0, started + planned.at_s - time.monotonic()))
            thread = threading.Thread(target=self._carry_out, args=(number, planned), daemon=True)
            self._threads.append(thread)
            thread.start()
        until = time.monotonic() + MENDED_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                self.failures.append("a fault was not mended in time")

    def _carry_out(self, number: int, planned: Planned) -> None:
        fault, chance = planned.fault, random.Random(planned.seed)
        with ExitStack() as held:
            for name in sorted(fault.resources):
                lock = self._locks.of(name)
                if not lock.acquire(timeout=PATIENCE_S):
                    self._world.note(what="skipped", fault=fault.name, number=number, why=f"{name} is in use")
                    return
                held.callback(lock.release)
            self._world.note(what="fault", fault=fault.name, number=number)
            try:
                fault.run(self._world, chance, chance.uniform(*LASTS_S))
            except Exception:  # noqa: BLE001 -- a thread's error must reach the verdict
                self.failures.append(f"{fault.name}:\n{traceback.format_exc()}")
            self._world.note(what="mended", fault=fault.name, number=number)
