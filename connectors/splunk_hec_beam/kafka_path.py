"""What lies between a Kafka read and a sink: nothing that would commit offsets before delivery.

Looks at the pipeline while it is built; nothing is run. Not for side inputs: what they hold is looked up, not
delivered, and they leave the bundle whole.

Non-obvious: a runner commits a bundle when all that is fused to its source is done. What cannot be fused
begins a bundle of its own, and the offsets are committed while its elements still wait: a grouping, state, a
splittable DoFn, and, less known, a Flatten of several collections (seen on FnApiRunner and Prism).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.runners.common import DoFnSignature
from apache_beam.transforms.userstate import is_stateful_dofn

from splunk_hec.errors import ConfigError
from splunk_hec_beam.kafka_read import ReadKafkaUntilDelivered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from apache_beam.pipeline import AppliedPTransform

_FLATTEN = "read all topics with one ReadKafkaUntilDelivered, or put a sink behind each"
_SHUFFLE = "remove it"


def has_kafka_upstream(pcoll: PCollection[Any]) -> bool:
    """Whether anything in this collection was read by `ReadKafkaUntilDelivered`."""
    return any(True for _ in _reads(pcoll))


def refuse_shuffle_after_kafka(pcoll: PCollection[Any]) -> None:
    """Check the way from every Kafka read to this collection, the input of a sink.

    Raises:
        ConfigError: Something on it ends the bundle, and the read does not say `allow_shuffle=True`.
    """
    for read, barrier in _reads(pcoll):
        if barrier is not None and not read.allow_shuffle:
            hint = _FLATTEN if isinstance(barrier.transform, beam.Flatten) else _SHUFFLE
            raise ConfigError(
                f"{_name(barrier)!r} lies between ReadKafkaUntilDelivered and the sink and ends the bundle: "
                f"offsets would be committed before delivery: {hint}, or accept it with allow_shuffle=True"
            )


def _reads(pcoll: PCollection[Any]) -> Iterator[tuple[ReadKafkaUntilDelivered, AppliedPTransform | None]]:
    """The Kafka reads above, each with a transform that ends the bundle below it, if there is one.

    A read that is reached with and without one comes twice.
    """
    waiting: list[tuple[PCollection[Any], AppliedPTransform | None]] = [(pcoll, None)]
    seen: set[tuple[int, bool]] = set()
    while waiting:
        at, barrier = waiting.pop()
        node: AppliedPTransform | None = at.producer
        if node is None or (id(node), barrier is not None) in seen:
            continue
        seen.add((id(node), barrier is not None))
        read = _read_of(node)
        if read is not None:  # not further: the read's own parts are none of the user's
            yield read, barrier
            continue
        below = barrier or (node if _ends_bundle(node) else None)
        waiting += [(one, below) for one in node.inputs if isinstance(one, PCollection)]


def _read_of(node: AppliedPTransform) -> ReadKafkaUntilDelivered | None:
    above: AppliedPTransform | None = node
    while above is not None:
        if isinstance(above.transform, ReadKafkaUntilDelivered):
            return above.transform
        above = above.parent
    return None


def _ends_bundle(node: AppliedPTransform) -> bool:
    transform = node.transform
    if isinstance(transform, beam.ParDo):
        return is_stateful_dofn(transform.fn) or DoFnSignature(transform.fn).is_splittable_dofn()
    return isinstance(transform, beam.GroupByKey) or (
        isinstance(transform, beam.Flatten) and len(node.inputs) > 1
    )


def _name(node: AppliedPTransform) -> str:
    """A transform as the user knows it: the outermost one around it that is Beam's own."""
    while node.parent is not None and type(node.parent.transform).__module__.startswith("apache_beam."):
        node = node.parent
    return node.full_label
