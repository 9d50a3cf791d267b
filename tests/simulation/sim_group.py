"""A consumer group's coordinator on a virtual clock: membership, rebalances by three protocols, commits.

Not for records (`sim_broker`) nor for what a member does with its callbacks (`sim_consumer`).
What it keeps of the real one: a commit is fenced by member and generation (KIP-848: by member epoch), and not
by ownership; while members are asked to join again the old generation may still commit; a member that is
silent for a session, or does not join in time, is out, and learns so only when it asks.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from sim_consumer import SimulatedConsumer

SESSION_S = 6.0
REJOIN_S = 45.0
"""How long the group waits for its members to join again."""
JOIN_S = (0.0, 0.3, 0.6)
"""How long it takes until all are told that all have joined; until then the old generation may commit."""


Offsets = dict[int, tuple[int, str]]
"""By partition: an offset, and the text that is committed beside it."""


class Member:
    """What the coordinator knows of one member.

    Attributes:
        epoch: Its generation; commits must carry it.
        target: What it is to have.
        granted: What it may take now; the rest of `target` is still another member's.
        owned: What it has, as it last said.
        has_joined: It answered the call to join again.
        expires_at: End of its session.
    """

    def __init__(self, consumer: SimulatedConsumer, name: str, now: float) -> None:
        self.consumer = consumer
        self.name = name
        self.epoch = 0
        self.target: set[int] = set()
        self.granted: set[int] = set()
        self.owned: set[int] = set()
        self.has_joined = False
        self.expires_at = now + SESSION_S


class Flight:
    """An asynchronous commit on its way."""

    def __init__(self, offsets: Offsets, epoch: int, member: Member | None, lands_at: float) -> None:
        self.offsets = offsets
        self.epoch = epoch
        self.member = member
        self.lands_at = lands_at
        self.is_retry = False


class Group:
    """One group. `protocol`: `range` (eager), `cooperative`, or `consumer` (KIP-848).

    Attributes:
        committed: The committed offsets.
        texts: What was committed beside them.
        most_text_bytes: The broker's offset.metadata.max.bytes.
    """

    def __init__(
        self, protocol: str, rng: Random, partitions: int, on_commit: Callable[[int, int, int], None]
    ) -> None:
        self.protocol = protocol
        self.rng = rng
        self.partitions = partitions
        self.members: dict[str, Member] = {}
        self.generation = 0
        self.is_preparing = False
        self.prepare_by = 0.0
        self._complete_at: float | None = None
        self.committed: dict[int, int] = {}
        self.texts: dict[int, str] = {}
        self.most_text_bytes = 4096
        self.rebalances = 0
        self._on_commit = on_commit
        self._names = 0

    # -- membership ------------------------------------------------------------------------------------

    def join(self, consumer: SimulatedConsumer, now: float) -> Member:
        """A new member."""
        self._names += 1
        member = Member(consumer, f"m{self._names}", now)
        self.members[member.name] = member
        self.rebalance(now)
        member.has_joined = True
        self._complete(now)
        return member

    def leave(self, member: Member, now: float) -> None:
        """A member goes, or is put out."""
        if self.members.pop(member.name, None) is not None:
            self.rebalance(now)
            self._complete(now)

    def is_in(self, member: Member | None) -> bool:
        """Whether the group still counts it."""
        return member is not None and self.members.get(member.name) is member

    def tick(self, now: float) -> None:
        """Put out the silent and the late."""
        for member in list(self.members.values()):
            if member.consumer.is_beating:
                member.expires_at = now + SESSION_S
            elif now >= member.expires_at:
                self.leave(member, now)
        if self.is_preparing:
            for member in [one for one in self.members.values() if not one.has_joined]:
                if now >= self.prepare_by:
                    self.leave(member, now)
            self._complete(now)

    def due(self, now: float) -> float:
        """When something may happen by itself."""
        next_at = inf
        for member in self.members.values():
            if not member.consumer.is_beating:
                next_at = min(next_at, member.expires_at)
            elif self.is_preparing and not member.has_joined:
                return now  # the next heartbeat asks them to
        if self.is_preparing:
            next_at = min(next_at, self.prepare_by if self._complete_at is None else self._complete_at)
        return next_at

    # -- rebalances ------------------------------------------------------------------------------------

    def rebalance(self, now: float) -> None:
        """Assign anew: ask all to join again, or (KIP-848) give each a new target."""
        self.rebalances += 1
        if self.protocol == "consumer":
            self.generation += 1
            self._aim()
            return
        if not self.is_preparing:
            self.is_preparing, self.prepare_by = True, now + REJOIN_S
        self._complete_at = None
        for member in self.members.values():
            member.has_joined = False

    def joined(self, member: Member, owned: set[int], now: float) -> None:
        """A member joins again."""
        member.has_joined, member.owned = True, owned
        self._complete(now)

    def _complete(self, now: float) -> None:
        if not self.is_preparing or not all(one.has_joined for one in self.members.values()):
            return
        if self._complete_at is None:
            self._complete_at = now + self.rng.choice(JOIN_S)
        if now < self._complete_at:
            return
        self.is_preparing, self._complete_at = False, None
        self.generation += 1
        self._aim()
        for member in self.members.values():
            held = {p for other in self.members.values() if other is not member for p in other.owned}
            member.granted = member.target - held if self.protocol == "cooperative" else member.target

    def _aim(self) -> None:
        """Give every member its share; those who have something keep it as far as that is fair."""
        members = list(self.members.values())
        if not members:
            return
        everything = list(range(self.partitions))
        if self.protocol == "range":
            if self.rng.random() < 0.5:
                self.rng.shuffle(members)
            for number, member in enumerate(members):
                member.target = set(everything[number :: len(members)])
            return
        fair = -(-len(everything) // len(members))
        is_stirred = self.rng.random() < 0.4
        free = set(everything)
        for member in members:
            kept = [] if is_stirred else sorted(member.owned & free)[:fair]
            member.target = set(kept)
            free -= member.target
        self.rng.shuffle(members)
        for partition in sorted(free):
            min(members, key=lambda one: len(one.target)).target.add(partition)

    def available(self, member: Member) -> set[int]:
        """KIP-848: what of its target a member may take now."""
        held = {p for other in self.members.values() if other is not member for p in other.owned}
        return member.target - member.owned - held

    # -- commits ---------------------------------------------------------------------------------------

    def commit(self, member: Member | None, epoch: int, offsets: Offsets) -> int:
        """Take a commit; returns the error code, 0 if it is taken.

        A member is refused whole; of a text that is too large, its partition alone.
        """
        if member is None or not self.is_in(member):
            return int(KafkaError.UNKNOWN_MEMBER_ID)
        if self.protocol == "consumer":
            if epoch != member.epoch:
                return int(KafkaError.STALE_MEMBER_EPOCH)
        elif epoch != self.generation:
            return int(KafkaError.ILLEGAL_GENERATION)
        code = 0
        for partition, (offset, text) in offsets.items():
            if len(text) >= self.most_text_bytes:
                code = int(KafkaError.OFFSET_METADATA_TOO_LARGE)
                continue
            before = self.committed.get(partition, 0)
            self.committed[partition], self.texts[partition] = offset, text
            self._on_commit(partition, before, offset)
        return code
