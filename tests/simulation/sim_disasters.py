"""Disasters after which a committed offset, or an offset at all, does not mean any more what it meant.

An unclean election, a topic made anew, a failover to a mirrored cluster, a group that is set back. Those that
end all processes strike between two turns (`World.between_turns`). Not for when (`sim_nemesis`). Each takes
care that nothing is lost by itself: what Kafka threw away is `retired`, and what stands below a commit is
resolved. So whatever is missing afterwards a sink has skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim_broker import NOW_MS, Record
from sim_scenario import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sim_broker import Log
    from sim_world import World


def _all_die(world: World) -> None:
    """All processes are killed, and nothing of theirs is on its way any more."""
    for process in world.processes:
        process.end()
    for member in list(world.broker.group.members.values()):
        world.broker.group.leave(member, world.now)
    world.settle_disks()


def _floor(world: World, partition: int) -> int:
    """Below it everything is done with."""
    return max(world.broker.group.committed.get(partition, 0), world.broker.logs[partition].low)


def _retire(world: World, partition: int, records: Iterable[Record | None], first: int) -> int:
    """Nobody can read these any more; returns how many they are."""
    gone = [(offset, record) for offset, record in enumerate(records, first) if record is not None]
    for offset, record in gone:
        world.broker.retired.add(record.uid)
        world.broker.ghosts[partition, offset] = record
    return len(gone)


def _write(world: World, partition: int, count: int) -> None:
    """Producers write on."""
    for _ in range(count):
        uid = f"e-again-{len(world.broker.places)}"
        world.broker.produce(partition, Record(uid, None, uid.encode(), [], NOW_MS))


def _election(world: World, fault: Fault) -> None:
    """A power cut; a leader that did not have all is elected, and offsets are written again in its epoch."""
    _all_die(world)
    for partition, log in enumerate(world.broker.logs):
        floor = _floor(world, partition)
        cut = floor + int(fault.size * (log.end - floor))
        count = _retire(world, partition, log.records[cut:], cut)
        del log.records[cut:], log.leader_epochs[cut:]
        log.leader_epoch += 1
        _write(world, partition, count)
    world.broker.version += 1
    world.fire(fault.kind)


def _made_anew(world: World, fault: Fault) -> None:
    """The topic is deleted and created, and at once so long that whoever reads it goes on in the new one."""
    broker = world.broker
    consumers = [one for process in world.processes if process.life for one in process.life.consumers]
    for process in world.processes:
        process.forget_the_dead()  # or a late commit of theirs would pass over what nobody has read
    for partition, log in enumerate(broker.logs):
        floor = _floor(world, partition)
        position = max([floor, *(one.position(partition) for one in consumers)])
        count = max(_retire(world, partition, log.records, 0), position - floor + 3)
        _replace(log, [None] * floor)
        _write(world, partition, count)
        world.unseen[partition] = position
    for process in world.processes:
        if process.life is not None:
            process.life.spared.clear()
    broker.topic_id = f"topic-{broker.version}"
    broker.version += 1
    world.fire(fault.kind)


def _failover(world: World, fault: Fault) -> None:
    """The group goes on in a mirrored cluster: offsets beyond its commits differ, the texts are copied."""
    _all_die(world)
    broker, resent = world.broker, dict(world.resent)
    world.resent.clear()
    for partition, log in enumerate(broker.logs):
        committed = broker.group.committed.get(partition, 0)
        begin = max(committed, log.low)
        _retire(world, partition, log.records[committed:begin], committed)
        beyond = [record for record in log.records[begin:] if record is not None]
        _replace(log, log.records[:committed])
        log.low = min(log.low, committed)
        if fault.size > 0.1 and beyond:
            _write(world, partition, 1)
        for record in beyond:
            moved = resent.pop(broker.places[record.uid], 0)
            broker.produce(partition, record)
            world.resent[broker.places[record.uid]] += moved
    world.resent.update(resent)
    world.lost = [(p, first, min(after, broker.group.committed.get(p, 0))) for p, first, after in world.lost]
    broker.cluster_id = f"cluster-{broker.version}"
    if fault.size > 0.7:
        broker.topic_id = f"topic-{broker.version}"
    broker.version += 1
    world.fire(fault.kind)


def _replace(log: Log, records: list[Record | None]) -> None:
    log.records = records
    log.leader_epoch = 0
    log.leader_epochs = [0] * len(records)


def _rewind(world: World, fault: Fault) -> None:
    """An operator sets the group back, with a tool that keeps the text; everything is wanted once more."""
    broker = world.broker
    _all_die(world)
    committed = broker.group.committed
    able = [p for p, log in enumerate(broker.logs) if committed.get(p, 0) > log.low]
    if not able:
        return
    partition = max(able, key=lambda p: (bool(broker.group.texts.get(p)), world.rng.random()))
    log, committed = broker.logs[partition], broker.group.committed[partition]
    broker.group.committed[partition] = offset = log.low + int(fault.size * (committed - log.low))
    for record in log.records[offset:]:
        if record is not None:
            world.owed[record.uid] = world.times(record.uid)
    world.fire(fault.kind)


def _made_anew_at_night(world: World, fault: Fault) -> None:
    """The same while nobody reads."""
    _all_die(world)
    _made_anew(world, fault)


def _made_anew_live(world: World, fault: Fault) -> None:
    """The same at once, or as soon as somebody has begun to read with a map."""
    if any(world.broker.group.texts.values()):
        _all_die(world)
        world.broker.armed["made_anew_live"] = 1
    else:
        _made_anew(world, fault)


def begins_with_map(world: World) -> None:
    """Somebody begins to read a partition with a map."""
    if world.broker.armed.pop("made_anew_live", 0):
        _made_anew(world, Fault("made_anew_live", 0.0, 0.0, ""))


BETWEEN_TURNS: dict[str, Callable[[World, Fault], None]] = {
    "election": _election, "made_anew": _made_anew_at_night, "made_anew_live": _made_anew_live,
    "failover": _failover, "rewind": _rewind,
}  # fmt: skip


def strike(world: World, fault: Fault) -> None:
    """Do it now if nobody dies of it, else between two turns."""
    if fault.kind == "made_anew_live" and fault.size < 0.4:
        _made_anew(world, fault)
    else:
        world.waiting.append(fault)
