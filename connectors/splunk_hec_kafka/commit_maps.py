"""Settled maps in commits: what is settled beyond the committed offset is not sent again after a crash.

Owned by the loop's thread. Not for how a map is written (`settled_map`), nor for asking (`identities`), nor
for what a skipped record leads to (`delivery`). Off unless `kafka.settled_runs_in_commits` is on. Guarantees:

    a record is skipped only if the map was committed for the same cluster, topic id, partition and offset as
    its partition was assigned with; if it stands in one of its runs, under that run's leader epoch; and if
    the topic still has that id after the record was read
    what is not known for sure is sent again, as without maps; and no delivery is held up for longer than one
    unanswered question (`LOOK_S`) an assignment

Non-obvious: a map carries the id that its topic had *before* reading began, and that is enough for writing
it. If the topic is made anew while it is read, records of the new one get into a map of the old one's id;
that map will never be used, since ids do not come back. *Using* one needs the second question, after reading:
the topic may have been made anew since its partition was assigned.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from splunk_hec_kafka.chatter import librdkafka_log
from splunk_hec_kafka.consumer_settings import admin_properties
from splunk_hec_kafka.identities import Identities
from splunk_hec_kafka.offsets import OffsetLedger, TopicPartition, led
from splunk_hec_kafka.settled_map import MOST_BYTES, SettledMap, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from confluent_kafka import Consumer, Message
    from confluent_kafka import TopicPartition as Position

    from splunk_hec_kafka.config import SinkConfig
    from splunk_hec_kafka.identities import Identity
    from splunk_hec_kafka.outside import Outside

log = logging.getLogger("splunk_hec_kafka")

MOST_BYTES_A_COMMIT = 262_144
"""All maps of one commit: a broker refuses it whole if it exceeds a batch of its offsets topic (1 MB)."""


class Split(NamedTuple):
    """Consumed records: those to deliver, and those that were settled before."""

    rest: list[Message]
    settled: list[Message]


class CommitMaps:
    """The maps of one group member."""

    def __init__(self, ledger: OffsetLedger, identities: Identities) -> None:
        self._ledger = ledger
        self._asked = identities
        self._identities: dict[TopicPartition, Identity] = {}
        self._given: dict[TopicPartition, SettledMap] = {}
        self._too_large: set[TopicPartition] = set()

    # -- what an assignment brings -----------------------------------------------------------------------

    def begin(self, starts: Mapping[TopicPartition, int], texts: Mapping[TopicPartition, str]) -> None:
        """Partitions come; to be called before anything of them is fetched.

        Args:
            starts: Where each begins; the committed offset, if there is one.
            texts: What was committed beside it.
        """
        topics = {at.topic for at in starts}
        identities = self._asked.before_reading(topics)
        if topics - identities.keys():
            log.warning("the ids of the cluster and of %s cannot be told: what is assigned now does without "
                        "settled maps", ", ".join(sorted(topics - identities.keys())))  # fmt: skip
        for at, start in starts.items():
            self.drop(at)
            identity = identities.get(at.topic)
            if identity is not None:
                self._identities[at] = identity
            given = decode(texts.get(at))
            if given is None:
                continue
            why = self._why_not(at, start, given)
            if why:
                log.info("%s/%d: the settled map of its commit is not used: %s", *at, why)
            else:
                self._given[at] = given
                log.info("%s/%d@%d: %d offsets up to %d are settled already, by the map of its commit",
                         *at, start, given.offsets, given.last)  # fmt: skip

    def _why_not(self, at: TopicPartition, start: int, given: SettledMap) -> str:
        identity = self._identities.get(at)
        if identity is None:
            return "the ids of cluster and topic cannot be told"
        if given.cluster != identity.cluster:
            return f"it is of the cluster {given.cluster}, this is {identity.cluster}"
        if given.topic_id != identity.topic_id:
            return f"it is of the topic id {given.topic_id}, this is {identity.topic_id}"
        if given.partition != at.partition:
            return f"it is of partition {given.partition}"
        if given.base != start:
            return f"it belongs to the offset {given.base}"
        return ""

    def drop(self, at: TopicPartition) -> None:
        """What was known of a partition may not be so any more: its map is neither used nor written."""
        self._identities.pop(at, None)
        self._given.pop(at, None)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions went."""
        for at in partitions:
            self.drop(at)

    # -- what is read ------------------------------------------------------------------------------------

    def split(self, messages: list[Message]) -> Split:
        """Consumed records, open in the ledger: which of them were settled before, for sure."""
        if not self._given:
            return Split(messages, [])
        found: list[tuple[TopicPartition, int, int]] = []
        index = 0
        for at, first, last, leader_epoch in led(messages):
            given = self._given.get(at)
            if given is not None:
                found += [
                    (at, index + low - first, index + high - first + 1)
                    for low, high in given.within(first, last, leader_epoch)
                ]
            index += last - first + 1
        if found:
            self._confirm({at for at, _, _ in found})
        split = self._divided(messages, found)
        self._drop_passed()
        return split

    def _confirm(self, partitions: set[TopicPartition]) -> None:
        """Keep the maps of those whose topic is still the one that it was before reading."""
        now = self._asked.now({at.topic for at in partitions})
        for at in sorted(partitions):
            if at.topic not in now:
                del self._given[at]
                log.warning("%s/%d: the topic's id cannot be told: the map of its commit is not used",
                            *at)  # fmt: skip
            elif now[at.topic] != self._identities[at]:
                self.drop(at)
                log.warning("%s/%d: the topic was made anew: the map of its commit is not used", *at)

    def _divided(self, messages: list[Message], found: Iterable[tuple[TopicPartition, int, int]]) -> Split:
        rest: list[Message] = []
        settled: list[Message] = []
        index = 0
        for at, start, stop in found:
            if at in self._given:
                rest += messages[index:start]
                settled += messages[start:stop]
                index = stop
        rest += messages[index:]
        return Split(rest, settled)

    def _drop_passed(self) -> None:
        """A map whose last offset was read has told all."""
        passed = [at for at, one in self._given.items() if (self._ledger.next_offset(at) or 0) > one.last]
        for at in passed:
            del self._given[at]

    # -- what is committed -------------------------------------------------------------------------------

    def texts(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
        """The maps that go with these committed offsets; empty where there is nothing to tell."""
        room = min(MOST_BYTES, MOST_BYTES_A_COMMIT // max(1, len(offsets)))
        return {at: self._text(at, offset, room) for at, offset in offsets.items()}

    def _text(self, at: TopicPartition, base: int, room: int) -> str:
        identity = self._identities.get(at)
        if identity is None or at in self._too_large:
            return ""
        runs = self._ledger.settled_runs(at)
        given = self._given.get(at)
        if given is not None:  # what was not read again yet is as settled as before
            rest = given.beyond(max(base, self._ledger.next_offset(at) or 0))
            if runs and rest and runs[-1].last + 1 == rest[0].first and runs[-1][2] == rest[0].leader_epoch:
                rest[0] = rest[0]._replace(first=runs.pop().first)
            runs += rest
        return encode(SettledMap(*identity, at.partition, base, tuple(runs)), room)

    def refuse(self, positions: Sequence[Position]) -> bool:
        """The broker refused a commit, for its maps as it seems: go on without them.

        It does not tell which: those that are at least half as long as the longest.

        Args:
            positions: As they were committed.

        Returns:
            Whether there were any.
        """
        lengths = {TopicPartition(one.topic, one.partition): len(one.metadata or "") for one in positions}
        longest = max(lengths.values(), default=0)
        refused = {at for at, length in lengths.items() if longest and 2 * length >= longest}
        for at in sorted(refused - self._too_large):
            log.warning("%s/%d: the broker refuses a settled map of %d bytes (offset.metadata.max.bytes?): "
                        "it does without", *at, lengths[at])  # fmt: skip
        self._too_large |= refused
        return bool(refused)


def commit_maps(
    config: SinkConfig, ledger: OffsetLedger, consumer: Consumer, outside: Outside
) -> CommitMaps | None:
    """The maps of a group member; None if the configuration does without.

    Raises:
        ConfigError: A secret's variable or file is missing.
    """
    if not config.kafka.settled_runs_in_commits:
        return None
    admin = outside.admin(admin_properties(config), logger=librdkafka_log)
    return CommitMaps(ledger, Identities(consumer, admin, outside.clock))
