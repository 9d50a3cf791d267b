"""A stand-in for `confluent_kafka.Consumer`: the calls that the sink makes, on a virtual clock.

What it keeps of librdkafka: all callbacks come from within `consume`; a rebalance may come in the middle of
one call, with records gathered before it; a pause outlives an assignment; the end of a partition and an
offset out of range are events; a member that the group has dropped learns it from a commit or a heartbeat;
an asynchronous commit is on its way for a while, in order, and carries the generation of its sending; one
that the coordinator refuses for a moment is sent again, behind what was sent meanwhile (seen with 2.16).
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Position
from sim_broker import TOPIC, Cluster, Topic
from sim_disasters import begins_with_map
from sim_group import Flight
from sim_positions import Positions

if TYPE_CHECKING:
    from collections.abc import Callable

    from sim_group import Member, Offsets
    from sim_life import Life

FLIGHT_S = 0.02
RETRY_S = (0.3, 0.6, 0.9)
"""A commit that the coordinator refused for a moment is sent once more so much later, behind newer ones."""
SYNC_PATIENCE_S = 10.0
FENCED = frozenset(
    {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.STALE_MEMBER_EPOCH}
)


class SimulatedConsumer(Positions):
    """One consumer of one life of a process."""

    def __init__(self, life: Life, properties: dict[str, Any]) -> None:
        super().__init__(life.world.broker)
        self.life = life
        self.group = self.broker.group
        self.rng = self.broker.rng
        self._on_commit = properties["on_commit"]
        self._callbacks: dict[str, Callable[..., None]] = {}
        self._is_subscribed = False
        self._member: Member | None = None
        self._next_fetch = 0.0
        self._epoch = 0
        self.flights: list[Flight] = []
        self._reports: list[tuple[KafkaError | None, list[Position]]] = []
        self._is_told = False
        self.is_zombie = False

    # -- for the world -----------------------------------------------------------------------------------

    @property
    def is_beating(self) -> bool:
        """Whether its heartbeats reach the group."""
        life = self.life
        return not (self.is_zombie or life.is_over or life.world.now < life.process.frozen_until)

    def due(self) -> float:
        """When something of it happens by itself."""
        has_more = self._next_fetch and self._exhausted_at != self.broker.version
        soonest = self._next_fetch if has_more else inf
        return min([soonest, *[one.lands_at for one in self.flights]]) if self.flights else soonest

    def land(self, now: float) -> None:
        """Commits arrive, in the order in which they were sent."""
        while self.flights and self.flights[0].lands_at <= now and not self.broker.is_down:
            flight = self.flights.pop(0)
            if not flight.is_retry and self.broker.hits("commit_retried"):
                flight.is_retry, flight.lands_at = True, self.life.world.now + self.rng.choice(RETRY_S)
                self.flights.append(flight)
                self.group.rebalance(now)  # a coordinator that moves refuses for a moment, and all join again
                continue
            self.life.world.flights -= 1
            error = self._commit(flight.member, flight.epoch, flight.offsets)
            if not self.broker.hits("commit_silent"):
                self._reports.append((error, _positions(flight.offsets)))

    def _commit(self, member: Member | None, epoch: int, offsets: Offsets) -> KafkaError | None:
        if self.broker.hits("commit_refused"):
            return KafkaError(KafkaError.REQUEST_TIMED_OUT)
        code = self.group.commit(member, epoch, offsets)
        if code in FENCED and member is self._member and not self.group.is_in(member):
            self._is_told = True
        if code == KafkaError.OFFSET_METADATA_TOO_LARGE:
            self.life.note_refused_maps(offsets)
        if code:
            return KafkaError(code)
        self.life.check_kept(offsets)
        return KafkaError(KafkaError.REQUEST_TIMED_OUT) if self.broker.hits("commit_untold") else None

    # -- the library's calls -------------------------------------------------------------------------------

    def subscribe(self, _topics: list[str], **callbacks: Callable[..., None]) -> None:
        """Join, at the next `consume`."""
        self._callbacks, self._is_subscribed = callbacks, True

    def unsubscribe(self) -> None:
        """Leave, at the next `consume`."""
        self.life.step("leave")
        self._is_subscribed = False

    def close(self) -> None:
        """Nothing more is heard of it."""
        self._leave()

    def consume(self, count: int, timeout_s: float) -> list[Message]:
        """Callbacks and records; waits for the first."""
        self.life.step("consume")
        gathered = self._fetch(self.rng.randrange(count)) if count > 1 and self.rng.random() < 0.3 else []
        self._serve()
        gathered += self._fetch(count - len(gathered))
        if not gathered:
            self.life.world.idle(timeout_s)
            self._serve()
            gathered = self._fetch(count)
        return gathered

    def commit(self, *, offsets: list[Position], asynchronous: bool) -> list[Position] | None:
        """Commit; the asynchronous form is under way when it returns."""
        self.life.step("commit")
        wanted = {one.partition: (one.offset, one.metadata or "") for one in offsets}
        self.life.check_labels(wanted)
        if asynchronous:
            lands_at = self.life.world.now + FLIGHT_S
            self.flights.append(Flight(wanted, self._epoch, self._member, lands_at))
            self.life.world.flights += 1
            return None
        self.life.wait_for_broker(SYNC_PATIENCE_S)
        self.land(self.life.world.now + FLIGHT_S)  # they are on the same connection, before this one
        error = self._commit(self._member, self._epoch, wanted)
        self.life.step("committed")
        if error is not None:
            raise KafkaException(error)
        return _positions(wanted)

    def committed(self, partitions: list[Position], timeout: float) -> list[Position]:
        """What the group has committed."""
        self.life.ask(timeout)
        known, texts, asked = self.group.committed, self.group.texts, [one.partition for one in partitions]
        self.life.note_maps(asked)
        return [Position(TOPIC, at, known.get(at, OFFSET_INVALID), texts.get(at, "")) for at in asked]

    def get_watermark_offsets(
        self, position: Position, timeout: float = 1.0, *, cached: bool = False
    ) -> tuple[int, int]:
        """Low and end offset."""
        if not cached:
            self.life.ask(timeout)
        log = self.broker.logs[position.partition]
        return log.low, log.end

    def list_topics(self, _topic: str = "", timeout: float = 1.0) -> Any:
        """The topics, as far as the sink looks at them."""
        self.life.ask(timeout)
        partitions = dict.fromkeys(range(len(self.broker.logs)))
        return Cluster({TOPIC: Topic(partitions)}, self.broker.cluster_id)

    # -- inside ------------------------------------------------------------------------------------------

    def _fetch(self, count: int) -> list[Message]:
        found: list[Message] = []
        now = self.life.world.now
        if (
            self._exhausted_at == self.broker.version
            or now < self.broker.down_until
            or now < self._next_fetch
        ):
            return found
        most = min(count, (8, 25, 60)[int(self.rng.random() * 3)])  # quicker than `choice`
        partitions, read = list(self._positions), self.broker.read
        for partition in partitions[len(partitions) // 2 :] + partitions[: len(partitions) // 2]:
            if partition in self._paused or partition in self._broken:
                continue
            log, at = self.broker.logs[partition], self._positions[partition]
            end = len(log.records)
            if not log.low <= at <= end:
                self._broken.add(partition)
                self.life.give_up([partition])
                self.life.unmapped.add(partition)
                found.append(_event(partition, at, KafkaError._AUTO_OFFSET_RESET))
                continue
            before, records, epochs = at, log.records, log.leader_epochs
            while at < end and len(found) < most:
                record = records[at]
                if record is not None:
                    uid, key, value, headers, ms = record
                    read[uid] += 1
                    # By position (error, timestamp, latency, leader epoch): by name it takes thrice as long.
                    found.append(
                        Message(TOPIC, partition, at, key, value, [*headers], None, (1, ms), -1.0, epochs[at])
                    )
                at += 1
            self._positions[partition] = at
            if at > before:
                self._ends_told.discard(partition)
            if at == end and partition not in self._ends_told and len(found) < count:
                self._ends_told.add(partition)
                found.append(_event(partition, at, KafkaError._PARTITION_EOF))
        if found:
            self._next_fetch = now + self.life.world.scenario.fetch_gap_s
        elif count > 1:
            self._exhausted_at = self.broker.version
        return found

    def _serve(self) -> None:
        """Callbacks that are due."""
        world = self.life.world
        world.tick()
        reports, self._reports = self._reports, []
        for error, positions in reports:
            self._on_commit(error, positions)
        if self.broker.is_down:
            return
        if not self._is_subscribed:
            if self._member is not None:
                self.life.left_at = dict(self._positions)
                self._give_up("on_revoke", set(self._positions))
                self._leave()
            return
        if self._member is None:
            self._member = self.group.join(self, world.now)
        elif not self.group.is_in(self._member) and (self._is_told or not self.is_zombie):
            self._is_told = self.is_zombie = False
            self._give_up("on_lost", set(self._positions))
            self._epoch = 0
            self._member = self.group.join(self, world.now)
        if not self.is_zombie and self._member is not None:
            self._PROTOCOLS[self.group.protocol](self, self._member)

    def _leave(self) -> None:
        if self._member is not None:
            self.group.leave(self._member, self.life.world.now)
            self._member = None

    def _eager(self, member: Member) -> None:
        if self.group.is_preparing and not member.has_joined:
            self._give_up("on_revoke", set(self._positions))
            self.group.joined(member, set(), self.life.world.now)
        if not self.group.is_preparing and self._epoch != self.group.generation:
            self._epoch = self.group.generation
            self._take(set(member.target))

    def _cooperative(self, member: Member) -> None:
        if self.group.is_preparing and not member.has_joined:
            self.group.joined(member, set(self._positions), self.life.world.now)
        if self.group.is_preparing or self._epoch == self.group.generation:
            return
        self._epoch = self.group.generation
        owned = set(self._positions)
        going = owned - member.target
        coming = member.granted - owned
        self._give_up("on_revoke", going)
        if coming or self.rng.random() < 0.3:
            self._take(coming)
        if going:
            self.group.rebalance(self.life.world.now)

    def _reconcile(self, member: Member) -> None:
        going = set(self._positions) - member.target
        if going:
            self._give_up("on_revoke", going)
            member.owned -= going
            return  # the next heartbeat tells, and brings the new epoch
        self._epoch = member.epoch = self.group.generation
        coming = self.group.available(member)
        if coming:
            member.owned |= coming
            self._take(coming)

    _PROTOCOLS = {"range": _eager, "cooperative": _cooperative, "consumer": _reconcile}  # noqa: RUF012 -- a table

    def _give_up(self, name: str, going: set[int]) -> None:
        if not going:
            return
        self.life.world.tell("%s: %s %s", self.life.name, name, sorted(going))
        self._has_acted = False
        self.life.give_up(going)
        self._callbacks[name](self, [Position(TOPIC, partition) for partition in sorted(going)])
        if not self._has_acted:
            self._positions = {p: at for p, at in self._positions.items() if p not in going}

    def _take(self, coming: set[int]) -> None:
        self.life.world.tell("%s: assigned %s", self.life.name, sorted(coming))
        for partition in coming:
            self.life.world.unseen.pop(partition, None)
        self._has_acted = False
        positions = [Position(TOPIC, partition) for partition in sorted(coming)]
        self._callbacks["on_assign"](self, positions)
        if not self._has_acted:
            self._positions |= {p: self.broker.group.committed.get(p, 0) for p in coming}
        elif len({p in self._paused for p in self._positions}) > 1:
            self.life.world.violate("PAUSE", f"of {sorted(self._positions)} only {self._paused} are paused")
        if any(self.life.spared.get(partition) for partition in coming):
            begins_with_map(self.life.world)


def _positions(offsets: Offsets) -> list[Position]:
    return [Position(TOPIC, partition, offset, text) for partition, (offset, text) in offsets.items()]


def _event(partition: int, offset: int, code: int) -> Message:
    return Message(topic=TOPIC, partition=partition, offset=offset, error=KafkaError(code))
