"""Batching in front of the sink, for runners whose bundles are tiny.

A bundle waits for its acknowledgements once, so its size decides the rate: 400 events a bundle and 1 s of
latency are 400 events/s. `stateful` gathers elements by key first (GroupIntoBatches with sharded keys; about
18 µs an element); where bundles are large that gains nothing.

Non-obvious: Prism (2.77) loses the state of a key whose bundle it splits. It takes the key for free while the
first half is still running, the second half starts from the same old state, and whichever ends last wins: the
other's elements are gone, and the job is DONE (`splitBundle` in prism's engine/elementmanager.go). A machine
that is slow for 0.2 s is enough. So a graph that gathers asks Prism not to split; other runners ignore that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import apache_beam as beam
from apache_beam.options.pipeline_options import DebugOptions, StandardOptions
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

Batching = Literal["bundle", "stateful", "auto"]
MIN_WAIT_S = 1.0
NO_SPLITS_ON_PRISM = "prism_disable_sdf_split"


class GatherByKey(beam.PTransform):
    """Elements in larger bundles, their timestamps kept; their windows are kept by the grouping."""

    def __init__(self, *, most: int, wait_s: float) -> None:
        """Gather.

        Args:
            most: Elements at which a batch is complete.
            wait_s: Longest time an element waits for that.
        """
        super().__init__()
        self._most = most
        self._wait_s = max(MIN_WAIT_S, wait_s)

    def expand(self, input_or_inputs: beam.PCollection[Any]) -> beam.PCollection[Any]:
        """Key, gather, take apart; the pipeline's options are told that Prism must not split."""
        options = input_or_inputs.pipeline.options.view_as(DebugOptions)
        if not options.lookup_experiment(NO_SPLITS_ON_PRISM):
            options.add_experiment(NO_SPLITS_ON_PRISM)
        return (
            input_or_inputs
            | "Key" >> beam.ParDo(_Key()).with_output_types(tuple[bytes, tuple[Any, Timestamp]])
            | "Gather" >> beam.GroupIntoBatches.WithShardedKey(self._most, self._wait_s)
            | "TakeApart" >> beam.FlatMap(_take_apart).with_output_types(Any)
        )


class _Key(beam.DoFn):
    """One key for all, which the grouping spreads over shards; it loses timestamps, so they go along."""

    def process(
        self, element: Any, timestamp: Any = beam.DoFn.TimestampParam
    ) -> Iterable[tuple[bytes, tuple[Any, Timestamp]]]:
        yield b"", (element, timestamp)


def _take_apart(batch: tuple[Any, Iterable[tuple[Any, Timestamp]]]) -> Iterable[TimestampedValue[Any]]:
    return [TimestampedValue(element, timestamp) for element, timestamp in batch[1]]


def is_stateful(batching: Batching, pcoll: beam.PCollection[Any], *, follows_kafka: bool) -> bool:
    """Whether to gather by key.

    `auto` does on Dataflow streaming, whose bundles hold 1 to 100 elements; never behind a Kafka source that
    commits offsets with its bundle, since the grouping would end that bundle before delivery.
    """
    if batching != "auto":
        return batching == "stateful"
    options = pcoll.pipeline.options.view_as(StandardOptions)
    is_dataflow = "Dataflow" in (options.runner or "")
    return bool(is_dataflow and options.streaming and not follows_kafka)
