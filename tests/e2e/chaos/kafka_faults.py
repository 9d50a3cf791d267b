"""Faults of Kafka: the broker goes or stands still, records are deleted unread, dead letters are refused.

Each function breaks something, waits, and mends it, however long the broker is away meanwhile.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, TypeVar

from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)
from e2e_tools import rest
from kafka_tools import end_offsets

from .members import DEAD, SHORT

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from confluent_kafka.admin import AdminClient

    from .world import World

Told = TypeVar("Told")
INSIST_S = 90.0
BURST, LEFT = 1_500, 300


def insist(world: World, what: Callable[[AdminClient], Told]) -> Told:
    """Ask something of a broker that may be away just now, with a client that lives until the answer."""
    admin = world.kafka.admin()
    until = time.monotonic() + INSIST_S
    while True:
        try:
            return what(admin)
        except Exception:  # whatever a client library raises
            if time.monotonic() > until:
                raise
            rest(0.5)


def broker_stop(world: World, _: random.Random, seconds: float) -> None:
    """An orderly stop and a new start."""
    world.kafka.stop()
    rest(seconds / 2)
    world.kafka.start()


def broker_kill(world: World, _: random.Random, seconds: float) -> None:
    """`kill -9` of the broker and a new start."""
    world.kafka.kill()
    rest(seconds / 2)
    world.kafka.start()


def broker_stall(world: World, _: random.Random, seconds: float) -> None:
    """SIGSTOP of the broker: connections stay, nothing answers."""
    world.kafka.signal(signal.SIGSTOP)
    rest(seconds)
    world.kafka.signal(signal.SIGCONT)


def retention(world: World, _: random.Random, __: float) -> None:
    """Records are deleted before anybody read them."""
    at = TopicPartition(SHORT, 0)
    for member in world.members:
        member.signal(signal.SIGSTOP)
    try:
        world.source.burst(BURST)
        end = insist(world, lambda _: end_offsets(world.kafka.bootstrap, SHORT)[0])
        world.note(what="deleted", topic=SHORT, partition=0, before=end - LEFT)
        at.offset = end - LEFT
        insist(world, lambda admin: admin.delete_records([at])[at].result(10))
    finally:
        for member in world.members:
            member.signal(signal.SIGCONT)


def letters_too_large(world: World, _: random.Random, seconds: float) -> None:
    """The topic takes no record of any size."""
    _limit(world, "20")
    rest(seconds)
    _limit(world, None)


def letters_deleted(world: World, _: random.Random, seconds: float) -> None:
    """The topic is deleted and made anew; nothing can be written to it once its last reader has read all."""
    _limit(world, "20")
    rest(3)
    world.observer.letters.finish()
    insist(world, lambda admin: admin.delete_topics([DEAD])[DEAD].result(10))
    rest(seconds)
    insist(world, lambda admin: DEAD in admin.list_topics(timeout=10).topics or world.create_dead_topic())
    _limit(world, None)  # the limit of the deleted topic was seen to come back when the broker restarts
    world.observer.letters.begin()


def letters_refused(world: World, _: random.Random, seconds: float) -> None:
    """Nobody may write to the topic."""
    topic = (ResourceType.TOPIC, DEAD, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*")
    rules = [
        AclBinding(*topic, AclOperation.ALL, AclPermissionType.ALLOW),
        AclBinding(*topic, AclOperation.WRITE, AclPermissionType.DENY),
    ]
    try:
        insist(world, lambda admin: [one.result(10) for one in admin.create_acls(rules).values()])
        rest(seconds)
    finally:
        which = (ResourceType.TOPIC, DEAD, ResourcePatternType.LITERAL, None, None)
        every = AclBindingFilter(*which, AclOperation.ANY, AclPermissionType.ANY)
        insist(world, lambda admin: [one.result(10) for one in admin.delete_acls([every]).values()])


def _limit(world: World, size: str | None) -> None:
    kind = AlterConfigOpType.DELETE if size is None else AlterConfigOpType.SET
    entry = ConfigEntry("max.message.bytes", size, incremental_operation=kind)
    wanted = ConfigResource(ResourceType.TOPIC, DEAD, incremental_configs=[entry])
    insist(world, lambda admin: admin.incremental_alter_configs([wanted])[wanted].result(10))
