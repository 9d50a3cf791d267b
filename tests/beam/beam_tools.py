"""What tests of the Beam connector need on any runner: collected outputs, metrics, faults, log lines.

DoFns are here, not in tests: workers in other processes import them by name. What a pipeline put out is
written to a file, which works in every process.
"""

from __future__ import annotations

import os
import pickle
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import apache_beam as beam
from apache_beam.metrics.cells import DistributionResult
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.transforms.window import GlobalWindow

from splunk_hec_beam.write import WriteToSplunkHEC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from splunk_hec_beam.write import Delivery
    from splunk_hec_emulator import Emulator

TOKEN = "0f0f0f0f-1111-2222-3333-444444444444"
CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"


class Seen(NamedTuple):
    """An element that a pipeline put out.

    Attributes:
        value: It; a row as a mapping.
        time_s: Its timestamp.
        window: Start and end of its window in seconds; None for the global one.
    """

    value: Any
    time_s: float
    window: tuple[float, float] | None


class Collect(beam.DoFn):
    """Writes what comes to a file; pass-through otherwise. Read it with `collected`."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def process(
        self, element: Any, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        """Write one element."""
        value = element.as_dict() if isinstance(element, beam.Row) else element
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            value = value._asdict()
        ends = None if isinstance(window, GlobalWindow) else (float(window.start), float(window.end))
        one = pickle.dumps(Seen(value, timestamp.micros / 1e6, ends))
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, one)
        finally:
            os.close(file)
        yield element


def collected(path: Path) -> list[Seen]:
    """What `Collect` wrote there."""
    found = []
    if path.exists():
        with path.open("rb") as file:
            while file.peek(1):
                found.append(pickle.load(file))
    return found


class Text(beam.DoFn):
    """The text of a Kafka record."""

    def process(self, element: Any) -> Iterator[str]:
        """Decode a value."""
        yield element.value.decode()


class FailOnce(beam.DoFn):
    """Raises at one element, the first time it comes; a file remembers, whatever the process."""

    def __init__(self, at: Any, marker: Path) -> None:
        self._at, self._marker = at, str(marker)

    def process(self, element: Any) -> Iterator[Any]:
        """Pass an element on, or raise."""
        if element == self._at:
            try:
                os.close(os.open(self._marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                raise RuntimeError("raised on purpose, once")
        yield element


def counted(result: Any, namespace: str = "splunk_hec") -> dict[str, Any]:
    """Metrics of a finished pipeline by name, over all copies of its steps: a number or a `Spread`."""
    found = result.metrics().query(MetricsFilter().with_namespace(namespace))
    totals: dict[str, Any] = {}
    for metric in (*found["counters"], *found["distributions"]):
        value = metric.attempted if metric.committed is None else metric.committed
        name = metric.key.metric.name
        if isinstance(value, DistributionResult):
            value = Spread(value.count, value.sum, value.min, value.max)
        totals[name] = totals[name] + value if name in totals else value
    return totals


class Spread(NamedTuple):
    """A distribution; `+` joins two."""

    count: int
    sum: int
    min: int
    max: int

    def __add__(self, other: Spread) -> Spread:  # type: ignore[override]
        return Spread(
            self.count + other.count, self.sum + other.sum, min(self.min, other.min), max(self.max, other.max)
        )


def resends(metrics: Mapping[str, Any]) -> dict[str, int]:
    """Batches that were sent again, by cause."""
    return {
        name.removeprefix("resends_"): count for name, count in metrics.items() if name.startswith("resends_")
    }


class _Group(beam.PTransform):
    """All elements, after all of them came; on Flink a Reshuffle passes them on before."""

    def expand(self, input_or_inputs: beam.PCollection[Any]) -> beam.PCollection[Any]:
        """Group by one key and take apart."""
        keyed = input_or_inputs | beam.WithKeys(0)
        return keyed | beam.GroupByKey() | beam.Values() | beam.FlatMap(list)


class Site(NamedTuple):
    """A HEC server, a reference to its token, and a folder for what pipelines put out.

    Attributes:
        hec: The server.
        token: The reference; it resolves in any process of this machine.
        folder: Empty at first.
    """

    hec: Emulator
    token: str
    folder: Path

    def sink(self, **settings: Any) -> WriteToSplunkHEC:
        """The transform, set to be quick and to make small batches."""
        quick: dict[str, Any] = {
            "linger_s": 0.05,
            "batch_max_events": 100,
            "lanes": 2,
            "on_reject": "dead_letter",
        }
        return WriteToSplunkHEC(self.hec.url, self.token, **(quick | settings))

    def collect(self, delivery: Delivery) -> None:
        """Write both outputs to files as they come, those of failed bundles too."""
        _ = delivery.receipts | "CollectReceipts" >> beam.ParDo(Collect(self.folder / "receipts"))
        _ = delivery.dead_letters | "CollectDead" >> beam.ParDo(Collect(self.folder / "dead"))

    def collect_committed(self, delivery: Delivery) -> None:
        """Write what was committed: a grouping stands between, which waits for the end of all bundles."""
        receipts, dead = (output | f"Group{at}" >> _Group() for at, output in enumerate(delivery.values()))
        _ = receipts | "CollectReceipts" >> beam.ParDo(Collect(self.folder / "receipts"))
        _ = dead | "CollectDead" >> beam.ParDo(Collect(self.folder / "dead"))

    def receipts(self) -> list[Seen]:
        """The receipts that were put out."""
        return collected(self.folder / "receipts")

    def dead(self) -> list[Seen]:
        """The dead letters that were put out."""
        return collected(self.folder / "dead")

    def delivered(self) -> int:
        """Events in the receipts."""
        return sum(seen.value["events"] for seen in self.receipts())

    def indexed(self) -> Counter[Any]:
        """How often each event is indexed."""
        return Counter(event["event"] for event in self.hec.events())


def log_files(folder: Path) -> list[Path]:
    """Files of about 24,000 log lines: real ones beside the checkout if there, else generated."""
    found = sorted(CORPUS.glob("*.log"))
    if found:
        return found
    file = folder / "generated.log"
    lines = [f"2026-01-01T00:00:{n % 60:02}Z INFO request {n:06} took {n % 90} ms" for n in range(24_000)]
    file.write_text("".join(f"{line}\r\n" for line in lines), encoding="utf-8")
    return [file]


def repeats(indexed_events: Mapping[Any, int], expected: Iterable[Any]) -> int:
    """How many events were indexed more often than they were handed over; fails if one is missing, or new."""
    wanted = Counter(iter(expected))
    missing = {one: count for one, count in wanted.items() if indexed_events.get(one, 0) < count}
    assert not missing, f"{len(missing)} events are not indexed, such as {next(iter(missing))!r}"
    unknown = set(indexed_events) - set(wanted)
    assert not unknown, f"indexed but never handed over: {sorted(map(str, unknown))[:3]}"
    return sum(indexed_events.values()) - sum(wanted.values())


def until(condition: Callable[[], object], what: Callable[[], str], deadline_s: float = 60) -> None:
    """Wait until the condition holds; fail, saying how things stand, when it does not in time."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"waited {deadline_s} s in vain: {what()}"
        time.sleep(0.05)
