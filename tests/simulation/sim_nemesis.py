"""What each fault does to a world. One function a kind; `sim_scenario.KINDS` says how often it is drawn.

Not for when: a fault is handed in when it is due. A fault that finds nothing to strike counts as not fired.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim_disasters import BETWEEN_TURNS, strike
from sim_process import Process
from sim_scenario import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sim_scenario import Fault
    from sim_splunk import Splunk
    from sim_world import World


def _splunk(world: World) -> Splunk:
    return world.rng.choice(list(world.splunks.values()))


def _process(world: World) -> Process | None:
    alive = [one for one in world.processes if one.life is not None and not one.is_frozen]
    return world.rng.choice(alive) if alive else None


def _requests(world: World, fault: Fault) -> None:
    few = 4 if fault.kind == "busy" else 1
    _splunk(world).armed[fault.kind] += few + int(fault.size * 3)


def _window(world: World, fault: Fault) -> None:
    if fault.kind == "index_gone" and not world.scenario.has_main_index:
        return
    _splunk(world).until[fault.kind] = world.now + 1 + fault.size * 12


def _rehome(world: World, fault: Fault) -> None:
    for splunk in world.splunks.values():
        splunk.rehome()
    world.fire(fault.kind)


def _kill(world: World, fault: Fault) -> None:
    process = _process(world)
    if process is not None:
        process.doomed = fault.point


def _stop(world: World, fault: Fault) -> None:
    process = _process(world)
    if process is not None:
        process.stop()
        world.fire(fault.kind)
        if fault.size > 0.7:  # its last commit is refused
            world.broker.armed["commit_refused"] += 1


def _freeze(world: World, fault: Fault) -> None:
    process = _process(world)
    if process is not None:
        process.frozen_until = world.now + fault.size * 25
        world.fire(fault.kind)


def _zombie(world: World, fault: Fault) -> None:
    process = _process(world)
    consumers = process.life.consumers if process is not None and process.life is not None else []
    # A member without partitions commits nothing, so it could not notice.
    if consumers and consumers[-1].assignment() and not world.broker.group.is_preparing:
        consumers[-1].is_zombie = True
        world.fire(fault.kind)


def _member(world: World, fault: Fault) -> None:
    idle = [one for one in world.processes if not one.is_wanted]
    if idle:
        idle[0].is_wanted = True
        idle[0].starts_at = world.now
    elif len(world.processes) < 3:
        world.processes.append(Process(world, len(world.processes)))
    else:
        return
    world.fire(fault.kind)


def _leave(world: World, fault: Fault) -> None:
    if sum(one.is_wanted for one in world.processes) < 2:
        return
    process = _process(world)
    if process is not None:
        process.stop()
        process.is_leaving = True
        world.fire(fault.kind)


def _rebalance(world: World, fault: Fault) -> None:
    if world.broker.group.members:
        world.broker.group.rebalance(world.now)
        world.fire(fault.kind)


def _armed(world: World, fault: Fault) -> None:
    few = 4 if fault.kind == "commit_retried" else 1
    world.broker.armed[fault.kind] += few + int(fault.size * 3)


def _broker_down(world: World, fault: Fault) -> None:
    world.broker.down_until = world.now + 1 + fault.size * 14
    world.fire(fault.kind)


def _retention(world: World, fault: Fault) -> None:
    partition = world.rng.randrange(len(world.broker.logs))
    log, committed = world.broker.logs[partition], world.broker.group.committed.get(partition)
    if committed is not None and committed < log.end:
        world.broker.expire(partition, committed + 1 + int(fault.size * 30))
        world.fire(fault.kind)


def _new_partition(world: World, fault: Fault) -> None:
    if len(world.broker.logs) < 4 and world.broker.group.members:
        world.broker.add_partition()
        world.fire(fault.kind)


_OTHERS: dict[str, Callable[[World, Fault], None]] = {
    "rehome": _rehome, "down": _window, "acks_refused": _window, "acks_slow": _window, "index_gone": _window,
    "kill": _kill, "stop": _stop, "freeze": _freeze, "zombie": _zombie, "member": _member, "leave": _leave,
    "rebalance": _rebalance, "commit_refused": _armed, "commit_untold": _armed, "commit_silent": _armed,
    "commit_retried": _armed,
    "broker_down": _broker_down, "retention": _retention, "new_partition": _new_partition,
    "ids_untold": _armed, **dict.fromkeys(BETWEEN_TURNS, strike),
}  # fmt: skip
HANDLERS = {kind: _OTHERS.get(kind, _armed if kind.startswith("letter_") else _requests) for kind in KINDS}
