"""The equations of a run, checked on what outsiders see: Splunk's disks, Kafka's topics, the wire, the logs.

E4 and E5 are checked at every commit that the broker takes, the others at the end. The sink's own word counts
for two things only: which ranges it reported as lost, and which batches it says it sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from splunk_hec_kafka.dead_letter_record import OUR_HEADERS

if TYPE_CHECKING:
    from sim_world import World

MAY_BE_GOOD = frozenset({b"gave_up", b"unconfirmed"})
"""Reasons for which a good record may be dead-lettered, if the configuration allows it."""


def watch_commits(world: World) -> None:
    """Check every commit when the broker takes it."""

    def on_commit(partition: int, before: int, offset: int) -> None:
        world.tell("committed %d: %d → %d", partition, before, offset)
        if offset != before:
            world.wake()
        if offset < before:
            world.violate("E5", f"the commit of {partition} goes back from {before} to {offset}")
        world.settle_disks()
        end = world.broker.logs[partition].end
        if offset > end:
            world.violate("E4", f"{offset} is committed in {partition}, which ends at {end}")
        unresolved = world.unresolved(partition, range(before, min(offset, end)))
        if unresolved and partition in world.unseen:
            unresolved = _without_unseen(world, partition, unresolved)
        if unresolved:
            world.violate("E4", f"{offset} is committed in {partition}, unresolved: {unresolved[:5]}")

        if world.broker.group.texts[partition]:
            _check_map(world, partition)

    world.broker.on_commit = on_commit


def _without_unseen(world: World, partition: int, offsets: list[int]) -> list[int]:
    """Nobody can tell a reader that its topic was made anew: what it passes over then it does not lose."""
    seen = [at for at in offsets if at >= world.unseen[partition]]
    for at in set(offsets) - set(seen):
        record = world.broker.logs[partition].records[at]
        world.broker.retired |= {record.uid} if record is not None else set()
    return seen


def _check_map(world: World, partition: int) -> None:
    """E4 for what a map says: whatever it calls settled is resolved."""
    claimed = world.broker.mapped(partition)
    unresolved = world.unresolved(partition, sorted(claimed))
    if unresolved:
        world.violate("E4", f"the map of {partition} calls settled what is not: {unresolved[:5]}")


def check_end(world: World) -> None:
    """What must hold once everything is healed and drained."""
    world.settle_disks()
    if world.lag():
        committed = dict(sorted(world.broker.group.committed.items()))
        ends = [log.end for log in world.broker.logs]
        world.violate("E6", f"STUCK: committed {committed} of {ends}")
    indexed, letters = world.indexed, world.broker.letters
    retired = world.broker.retired
    for uid, (partition, offset) in world.broker.places.items():
        is_plain = uid[0] == "e" and indexed.get(uid) == 1 and uid not in letters and not world.owed
        if not is_plain and len(world.violations) < 5 and uid not in retired:
            _check_record(world, uid, partition, offset)
    known = world.broker.places.keys()
    invented = world.indexed.keys() - known
    if invented:
        world.violate("E2", f"indexed, but never produced: {sorted(invented)[:3]}")
    if world.broker.letters.keys() - known:
        world.violate("E2", "dead letters of records that never were")
    for process in world.processes:
        budget = process.sink._delivery.budget if process.sink is not None else None
        if budget is not None and not world.lag() and (budget.used_events or budget.used_bytes):
            world.violate("BUDGET", f"all is settled, and {budget!r} is held")


def _check_record(world: World, uid: str, partition: int, offset: int) -> None:
    record = world.broker.logs[partition].records[offset]
    assert record is not None
    times, letters = world.indexed.get(uid, 0), world.broker.letters.get(uid, [])
    if not world.is_resolved(partition, offset):
        world.violate("E1", f"{uid} at {partition}/{offset} is lost")
    is_good = uid.startswith("e-")
    for letter in letters:
        named = dict(letter.headers)
        if is_good and named.get("hec.reason") not in MAY_BE_GOOD:
            world.violate("E3", f"{uid} is good, and is a dead letter: {named.get('hec.reason')!r}")
        own = [header for header in letter.headers if header[0] not in OUR_HEADERS]
        if (letter.key, letter.value, own) != (record.key, record.value, record.headers):
            world.violate("E10", f"the dead letter of {uid} is not what was consumed")
    if times and not is_good:
        world.violate("E3", f"{uid} is indexed, and should have been refused")
    explained = world.broker.read[uid] - 1 + world.resent[partition, offset]
    if times - 1 > explained:
        world.violate("E7", f"{uid} is indexed {times} times, and {explained} repetitions are explained")


def inversions(world: World) -> int:
    """E8: how often a record of a partition was first indexed after a later one of it."""
    last: dict[int, int] = {}
    found = 0
    places = world.broker.places
    for uid in world.indexed:
        partition, offset = places[uid]
        if offset < last.get(partition, -1):
            found += 1
        else:
            last[partition] = offset
    return found
