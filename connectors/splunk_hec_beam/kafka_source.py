"""The source as Beam sees it: split into sub-sources, each read by one reader.

Not for asking Kafka (`kafka_plan`) or reading (`kafka_reader`). Guarantees: constructing and pickling contact
nobody and hold no secret; a pickle has the same bytes in every process, or Beam would not find a parked
reader again and connect anew for each bundle.
Non-obvious: Beam splits once, before anything is read, into 20 at most; with more partitions a sub-source
has several. Partitions that are added to a topic later are read when the job starts anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from apache_beam import coders
from apache_beam.io.unbounded_source import UnboundedSource

from splunk_hec_beam.kafka_mark import KafkaMark, KafkaMarkCoder, Share
from splunk_hec_beam.kafka_plan import Plan
from splunk_hec_beam.kafka_reader import KafkaReader
from splunk_hec_beam.kafka_record import KafkaRecord

if TYPE_CHECKING:
    from apache_beam.io.unbounded_source import CheckpointMark


class KafkaSource(UnboundedSource):
    """Immutable.

    Args:
        plan: What to read.
        shares: The part of it that this sub-source reads; empty: not split yet.
    """

    def __init__(self, plan: Plan, shares: tuple[Share, ...] = ()) -> None:
        self.plan = plan
        self.shares = shares

    def split(self, desired_num_splits: int, options: Any = None) -> list[KafkaSource]:  # noqa: ARG002 -- Beam's
        """Sub-sources of about equally many partitions.

        Raises:
            ConfigError: A topic does not exist, or `start` is `fail` and a partition has no commit. (Beam
                logs it and asks the whole source for a reader, which fails the bundle with the same.)
            KafkaException: The broker does not answer; likewise.
        """
        shares = self.shares or self.plan.shares()
        count = max(1, min(desired_num_splits, len(shares)))
        return [KafkaSource(self.plan, shares[first::count]) for first in range(count)]

    def create_reader(self, options: Any, checkpoint_mark: CheckpointMark | None) -> KafkaReader:  # noqa: ARG002
        """A reader that goes on strictly after the mark, or begins.

        Raises:
            ConfigError: As in `split`, or a secret cannot be found in this process.
            KafkaException: The broker does not answer.
        """
        consumer = self.plan.group.consumer()
        try:
            if isinstance(checkpoint_mark, KafkaMark):
                shares = checkpoint_mark.shares
            else:
                shares = self.plan.started(consumer, self.shares or self.plan.shares())
            return KafkaReader(self.plan.group, consumer, shares, must_exist=self.plan.start == "fail")
        except BaseException:
            consumer.close()
            raise

    def get_checkpoint_mark_coder(self) -> coders.Coder:
        """Of marks; the group they commit to is this source's."""
        return KafkaMarkCoder(self.plan.group)

    def default_output_coder(self) -> coders.Coder:
        """Of records: rows with a portable schema."""
        return coders.registry.get_coder(KafkaRecord)

    def __reduce__(self) -> Any:
        return _rebuilt, (msgspec.msgpack.encode((self.plan, self.shares)),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KafkaSource) and (self.plan, self.shares) == (other.plan, other.shares)

    def __hash__(self) -> int:
        return hash((self.plan, self.shares))

    def __repr__(self) -> str:
        part = " ".join(f"{share.topic}/{share.partition}" for share in self.shares)
        return f"<KafkaSource {self.plan.group.group_id} | {part or ' '.join(self.plan.topics)}>"


def _rebuilt(encoded: bytes) -> KafkaSource:
    plan, shares = msgspec.msgpack.decode(encoded, type=tuple[Plan, tuple[Share, ...]])
    return KafkaSource(plan, shares)
