"""Faults of the sinks: they die at chosen moments, freeze, move, live in a false time, have a full disk.

Not for what Kafka or Splunk do to them. Each function breaks something, waits, and mends it.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from e2e_tools import rest

from .members import MAX_POLL_S, PROTOCOLS

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from .members import Member
    from .world import World

MOMENT_S = 15.0
SPREAD_S = 3.0


def _one_that_runs(world: World, chance: random.Random) -> Member:
    until = time.monotonic() + MOMENT_S
    while not (running := [member for member in world.members if member.pid]):
        if time.monotonic() > until:
            return world.members[0]
        rest(0.1)
    return chance.choice(running)


def kill(world: World, chance: random.Random, _: float) -> None:
    """`kill -9` at any moment."""
    rest(chance.uniform(0, SPREAD_S))
    _one_that_runs(world, chance).kill()


def kill_posting(world: World, chance: random.Random, _: float) -> None:
    """`kill -9` while a POST has left and its reply has not come."""
    _kill_at("posting", _one_that_runs(world, chance))


def kill_accepted(world: World, chance: random.Random, _: float) -> None:
    """`kill -9` between 200 and the acknowledgement."""
    _kill_at("accepted", _one_that_runs(world, chance))


def _kill_at(moment: str, member: Member) -> None:
    member.proxy.moment(moment).wait(MOMENT_S)
    member.kill()


def kill_after_letter(world: World, chance: random.Random, _: float) -> None:
    """`kill -9` between a dead letter and the commit of its offset: of all, since one of them wrote it."""
    world.observer.letters.arrived.clear()
    world.observer.letters.arrived.wait(MOMENT_S)
    for member in world.members:
        member.kill()


def freeze(world: World, chance: random.Random, _: float) -> None:
    """SIGSTOP for longer than the session and the poll interval."""
    member = _one_that_runs(world, chance)
    member.signal(signal.SIGSTOP)
    rest(MAX_POLL_S + chance.uniform(1, 4))
    member.signal(signal.SIGCONT)


def leave_and_join(world: World, chance: random.Random, seconds: float) -> None:
    """The second member leaves and comes back, twice."""
    member = world.members[1]
    for _ in range(2):
        member.is_wanted = False
        member.stop() if chance.random() < 0.7 else member.kill()
        rest(seconds)
        member.is_wanted = True
        rest(seconds)


def other_protocol(world: World, chance: random.Random, _: float) -> None:
    """All members go, and come back with another group protocol."""
    for member in world.members:
        member.is_wanted = False
    for member in world.members:
        member.stop()
    rest(7)  # the session of one that was killed
    world.protocol = chance.choice([name for name in PROTOCOLS if name != world.protocol])
    for member in world.members:
        member.is_wanted = True


def jump_clock(world: World, chance: random.Random, seconds: float) -> None:
    """The wall clock jumps forward, then back."""
    world.set_clock(chance.choice([-30, 600, 3_000, 3_700]))
    rest(seconds * 2)
    world.set_clock(0)


def full_disk(world: World, chance: random.Random, seconds: float) -> None:
    """No room for the log, which is all that a sink writes."""
    member = world.members[0]
    with world.tiny_disk(str(chance.randrange(10**6))) as folder:
        member.is_wanted = False
        member.stop()
        member.start(world.how_to_start(log_folder=folder))
        member.is_wanted = True
        rest(4)
        _fill(folder)
        rest(seconds)
        member.is_wanted = False
        member.stop()
    member.is_wanted = True


def _fill(folder: Path) -> None:
    with (folder / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            return
