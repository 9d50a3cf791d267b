"""What may lie between a Kafka read and a sink: seen while the pipeline is built, nothing is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apache_beam as beam
import pytest
from apache_beam.coders import BytesCoder
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.transforms.userstate import BagStateSpec

from splunk_hec.errors import ConfigError
from splunk_hec_beam.kafka_path import has_kafka_upstream, refuse_shuffle_after_kafka
from splunk_hec_beam.kafka_read import ReadKafkaUntilDelivered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


KEPT = beam.DoFn.StateParam(BagStateSpec("bag", BytesCoder()))


class Stateful(beam.DoFn):
    """Keeps something by key."""

    def process(self, element: Any, bag: Any = KEPT) -> Iterator[Any]:
        """Nothing of interest."""
        yield element


class Ranges(beam.RestrictionProvider):
    """Restrictions of a splittable DoFn."""

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        """Beam's own."""
        return OffsetRestrictionTracker(restriction)

    def initial_restriction(self, element: Any) -> OffsetRange:
        """One step."""
        return OffsetRange(0, 1)

    def restriction_size(self, element: Any, restriction: OffsetRange) -> int:
        """Likewise."""
        return 1


RESTRICTED = beam.DoFn.RestrictionParam(Ranges())


class Splittable(beam.DoFn):
    """Reads on from each element."""

    def process(self, element: Any, tracker: Any = RESTRICTED) -> Iterator[Any]:
        """Nothing of interest."""
        yield element


class Foreign(beam.PTransform):
    """A primitive of several inputs, such as one in another language: nothing is known of it."""

    def expand(self, input_or_inputs: Any) -> Any:
        """An output without parts."""
        return beam.pvalue.PCollection(input_or_inputs[0].pipeline, is_bounded=False)


class Wrapped(beam.PTransform):
    """A user's composite with a shuffle inside."""

    def expand(self, input_or_inputs: Any) -> Any:
        """Hide it."""
        return input_or_inputs | "Inner" >> beam.Reshuffle()


def keyed(element: Any) -> tuple[bytes, bytes]:
    """A key and a value."""
    return b"", bytes(element)


BY_KEY = beam.Map(keyed).with_output_types(tuple[bytes, bytes])
BARRIERS: dict[str, Callable[[Any], Any]] = {
    "Reshuffle": lambda it: it | beam.Reshuffle(),
    "GroupByKey": lambda it: it | BY_KEY | beam.GroupByKey(),
    "CombinePerKey": lambda it: it | BY_KEY | beam.CombinePerKey(sum),
    "CombineGlobally": lambda it: it | beam.CombineGlobally(sum).without_defaults(),
    "GroupIntoBatches": lambda it: it | BY_KEY | beam.GroupIntoBatches(5),
    "BatchElements": lambda it: it | beam.BatchElements(1, 5, max_batch_duration_secs=1),
    "ParDo(Stateful)": lambda it: it | BY_KEY | beam.ParDo(Stateful()),
    "ParDo(Splittable)": lambda it: it | beam.ParDo(Splittable()),
    "Wrapped/Inner": lambda it: it | Wrapped(),
    "Flatten": lambda it: (it, it.pipeline | beam.Create([1])) | beam.Flatten(),
}
PASSES: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda it: it,
    "Map": lambda it: it | beam.Map(keyed) | beam.Filter(bool) | beam.FlatMap(list),
    "WindowInto": lambda it: it | beam.WindowInto(beam.window.FixedWindows(60)),
    "BatchElements": lambda it: it | beam.BatchElements(1, 5),
    "one-of-one": lambda it: (it,) | beam.Flatten(),
    "side-input": lambda it: (
        it | beam.Map(lambda one, _: one, beam.pvalue.AsList(it.pipeline | beam.Create([1])))
    ),
    "output": lambda it: (it | beam.Map(keyed).with_outputs("other", main="main")).main,
}


@pytest.fixture
def pipeline() -> beam.Pipeline:
    """One that is never run."""
    return beam.Pipeline(runner="FnApiRunner")


def kafka(pipeline: beam.Pipeline, label: str = "Kafka", **more: Any) -> Any:
    """A read, in windows that Beam lets be grouped; nothing is contacted."""
    read = ReadKafkaUntilDelivered("nowhere:1", "logs", "g", **more)
    return pipeline | label >> read | f"{label}Windows" >> beam.WindowInto(beam.window.FixedWindows(60))


@pytest.mark.parametrize("name", BARRIERS)
def test_what_ends_the_bundle_is_refused(pipeline: beam.Pipeline, name: str) -> None:
    """By the name the user knows it by, with what to do; also when other steps follow."""
    found = BARRIERS[name](kafka(pipeline)) | "Later" >> beam.Map(str)
    assert has_kafka_upstream(found)
    with pytest.raises(ConfigError, match="allow_shuffle=True") as caught:
        refuse_shuffle_after_kafka(found)
    assert str(caught.value).startswith((f"'{name}", f'"{name}'))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", BARRIERS)
def test_a_shuffle_can_be_accepted(pipeline: beam.Pipeline, name: str) -> None:
    """With allow_shuffle=True the same is let through; it is still known to come from Kafka."""
    found = BARRIERS[name](kafka(pipeline, allow_shuffle=True))
    refuse_shuffle_after_kafka(found)
    assert has_kafka_upstream(found)


@pytest.mark.parametrize("name", PASSES)
def test_what_stays_in_the_bundle_is_let_through(pipeline: beam.Pipeline, name: str) -> None:
    """Nothing is refused that keeps the promise."""
    found = PASSES[name](kafka(pipeline))
    refuse_shuffle_after_kafka(found)
    assert has_kafka_upstream(found)


def test_a_pipeline_without_kafka_may_shuffle(pipeline: beam.Pipeline) -> None:
    """Other sources promise nothing of the kind."""
    found = pipeline | beam.Create([1]) | beam.Reshuffle()
    refuse_shuffle_after_kafka(found)
    assert not has_kafka_upstream(found)


def test_each_sink_is_judged_by_its_own_way(pipeline: beam.Pipeline) -> None:
    """A shuffle on the way to one sink does not concern another behind the same read."""
    read = kafka(pipeline)
    direct, shuffled = read | beam.Map(keyed), read | beam.Reshuffle()
    refuse_shuffle_after_kafka(direct)
    with pytest.raises(ConfigError, match="Reshuffle"):
        refuse_shuffle_after_kafka(shuffled)


def test_every_input_is_followed(pipeline: beam.Pipeline) -> None:
    """The one read that does not accept a shuffle is found among others, behind several steps."""
    accepts = kafka(pipeline, "A", allow_shuffle=True)
    refuses = kafka(pipeline, "B") | beam.Map(keyed)
    joined = ({"a": accepts | "KeyA" >> BY_KEY, "b": refuses | "KeyB" >> BY_KEY}) | beam.CoGroupByKey()
    with pytest.raises(ConfigError, match="CoGroupByKey"):
        refuse_shuffle_after_kafka(joined)


def test_a_read_reached_twice_is_judged_by_the_worse_way(pipeline: beam.Pipeline) -> None:
    """Directly and around a shuffle: the shuffle counts, in whatever order the ways are walked."""
    read = kafka(pipeline, allow_shuffle=False)
    direct, around = read | beam.Map(keyed), read | beam.Reshuffle()
    for number, ways in enumerate([(direct, around), (around, direct)]):
        with pytest.raises(ConfigError, match="Reshuffle"):
            refuse_shuffle_after_kafka(ways | f"Both{number}" >> Foreign())


def test_many_ways_are_walked_once(pipeline: beam.Pipeline) -> None:
    """A graph that splits and joins thirty times has a thousand million ways, and is looked at at once."""
    found = kafka(pipeline, allow_shuffle=True)
    for number in range(30):
        found = (found, found) | f"Join{number}" >> beam.Flatten()
    assert has_kafka_upstream(found)
    refuse_shuffle_after_kafka(found)
