"""How far a reader came: shares, the mark that holds them, and its bytes.

Pure but for `finalize_checkpoint`, which hands the mark to the process's committer. Guarantee: the same mark
has the same bytes, in any process (Beam finds a parked reader by them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from apache_beam import coders
from apache_beam.io.unbounded_source import CheckpointMark

from splunk_hec_beam.kafka_commits import committer_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from splunk_hec_beam.kafka_group import KafkaGroup

_FORMAT = 1
"""The first thing in a mark's bytes: an updated job must refuse marks that it would read wrongly."""


class Share(msgspec.Struct, frozen=True, array_like=True, order=True):
    """One partition's part in a read.

    Attributes:
        topic: The topic.
        partition: The partition.
        offset: The next to read; None: where the group has committed, else where `start` says.
        end: The first not to read any more; None: there is none.
        generation: How often the partition's log was found to be another one (the topic was made anew, or its
            log truncated), so that its offsets began again.
    """

    topic: str
    partition: int
    offset: int | None = None
    end: int | None = None
    generation: int = 0

    @property
    def place(self) -> tuple[str, int]:
        """Topic and partition."""
        return self.topic, self.partition


class KafkaMark(CheckpointMark):
    """Where a reader stood at the end of a bundle. Immutable; each share has an offset."""

    def __init__(self, group: KafkaGroup, shares: Iterable[Share]) -> None:
        self.group = group
        self.shares = tuple(sorted(shares, key=lambda share: share.place))

    def finalize_checkpoint(self) -> None:
        """Commit. Called once the runner has the bundle; on any thread, late, or twice. Never raises."""
        reached = {one.place: (one.generation, one.offset) for one in self.shares if one.offset is not None}
        committer_of(self.group).commit(reached)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KafkaMark) and (self.group, self.shares) == (other.group, other.shares)

    def __hash__(self) -> int:
        return hash((self.group, self.shares))

    def __repr__(self) -> str:
        return f"<KafkaMark {' '.join(f'{one.topic}/{one.partition}@{one.offset}' for one in self.shares)}>"


class KafkaMarkCoder(coders.Coder):
    """A mark as bytes: its shares; the group is the source's, and comes back with it."""

    def __init__(self, group: KafkaGroup) -> None:
        self._group = group

    def encode(self, value: KafkaMark) -> bytes:
        """The bytes of a mark."""
        return msgspec.msgpack.encode((_FORMAT, value.shares))

    def decode(self, encoded: bytes) -> KafkaMark:
        """The mark of these bytes.

        Raises:
            ValueError: They are of a format that this version does not know.
        """
        form, shares = msgspec.msgpack.decode(encoded, type=tuple[int, msgspec.Raw])
        if form != _FORMAT:
            raise ValueError(f"a Kafka checkpoint of format {form} was written by another version")
        return KafkaMark(self._group, msgspec.msgpack.decode(shares, type=tuple[Share, ...]))

    def is_deterministic(self) -> bool:
        """They are."""
        return True
