"""Where a read begins and ends: the partitions of its topics, asked once, on the worker.

Not for reading. Guarantees: asking creates no topic and is bounded in time; `latest` means the end as it was
when a partition was first met, pinned by a commit at once, so that a second start cannot find a later one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from splunk_hec.errors import ConfigError
from splunk_hec_beam.kafka_commits import committer_of
from splunk_hec_beam.kafka_group import ANSWER_S, KafkaGroup, committed, watermarks
from splunk_hec_beam.kafka_mark import Share

if TYPE_CHECKING:
    from collections.abc import Iterable

    from confluent_kafka import Consumer

Start = Literal["earliest", "latest", "fail"]


class Plan(msgspec.Struct, frozen=True, array_like=True):
    """What to read. Immutable; holds no secret.

    Attributes:
        group: The cluster and the group.
        topics: Names.
        start: Where a partition begins for which the group has no commit.
        until_end: End at the offsets that are the last when the read begins.
    """

    group: KafkaGroup
    topics: tuple[str, ...]
    start: Start = "earliest"
    until_end: bool = False

    def shares(self) -> tuple[Share, ...]:
        """Every partition there is now.

        Raises:
            ConfigError: A topic does not exist, or `start` is `fail` and a partition has no commit.
            KafkaException: The broker does not answer.
        """
        with self.group.asking() as consumer:
            places = _places(consumer, self.topics)
            held = committed(consumer, places)
            pinned = self._pinned(consumer, places, held)
            ends = {at: watermarks(consumer, *at)[1] for at in places} if self.until_end else {}
        committer_of(self.group).commit({at: (0, offset) for at, offset in pinned.items()})
        return tuple(Share(*at, pinned.get(at), ends.get(at)) for at in places)

    def started(self, consumer: Consumer, shares: Iterable[Share]) -> tuple[Share, ...]:
        """Shares with their first offset: the group's commit, else the pinned one, else the first there is.

        Raises:
            ConfigError: There is no commit and `start` is `fail`.
            KafkaException: The broker does not answer.
        """
        shares = tuple(shares)
        held = committed(consumer, [share.place for share in shares])
        self._refuse_missing([share.place for share in shares], held)
        committer_of(self.group).learn(held)
        return tuple(
            msgspec.structs.replace(share, offset=_first(consumer, share, held.get(share.place)))
            for share in shares
        )

    def _pinned(
        self, consumer: Consumer, places: list[tuple[str, int]], held: dict[tuple[str, int], int]
    ) -> dict[tuple[str, int], int]:
        """With `latest`, the ends of partitions that are met for the first time.

        One without a commit in a topic where others have one appeared later: it is read from its beginning.
        """
        self._refuse_missing(places, held)
        if self.start != "latest":
            return {}
        known = {topic for topic, _ in held}
        return {at: watermarks(consumer, *at)[1] for at in places if at[0] not in known}

    def _refuse_missing(self, places: list[tuple[str, int]], held: dict[tuple[str, int], int]) -> None:
        missing = next((at for at in places if at not in held), None)
        if self.start == "fail" and missing is not None:
            raise ConfigError(
                f"{missing[0]}/{missing[1]} has no committed offset and start is 'fail'; "
                "commit one with kafka-consumer-groups --reset-offsets, or set start"
            )


def _places(consumer: Consumer, topics: tuple[str, ...]) -> list[tuple[str, int]]:
    # All topics are listed: to ask for one by its name may create it.
    found = consumer.list_topics(timeout=ANSWER_S).topics
    for name in topics:
        if name not in found or not found[name].partitions:
            raise ConfigError(
                f"the topic {name!r} does not exist, or this user may not describe it; "
                "create it, or correct topics"
            )
    return [(name, partition) for name in topics for partition in sorted(found[name].partitions)]


def _first(consumer: Consumer, share: Share, held: int | None) -> int:
    if held is not None:
        return held
    return watermarks(consumer, *share.place)[0] if share.offset is None else share.offset
