"""What `WriteToSplunkHEC` promises, on every runner: an event is indexed, a dead letter, or fails its bundle.

The server is an emulator in the test's process. What was indexed is read from it, what a pipeline put out
from files, what was counted from the runner's own metrics.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import pytest
from apache_beam.coders import BytesCoder
from apache_beam.testing import test_stream
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from beam_tools import (
    TOKEN,
    FailOnce,
    Site,
    counted,
    log_files,
    repeats,
    resends,
)
from runners import Runner, on

from splunk_hec import Event

if TYPE_CHECKING:
    from splunk_hec_beam.write import Delivery

EVERY = ("fn_api", "bundle_based", "prism", "flink")
ONE_BUNDLE = {"fn_api": (), "prism": (), "flink": ("--parallelism=1",)}
"""Options under which all elements of a test are one bundle."""
WIDTH_S = 60
LIMIT_BYTES = 2_000

POISON: list[tuple[Any, str, int | None]] = [
    ("", "blank", None),
    (" \t", "blank", None),
    ("x" * LIMIT_BYTES, "too_large", None),
    (Event("for an index that the token may not use", index="secret"), "bad_index", 7),
    (Event("nested", fields={"a": {"b": 1}}), "bad_fields", None),  # type: ignore[dict-item]
    (b"invalid \xff\xfe UTF-8", "undecodable", None),
    (object, "invalid_event", None),
]
restricted = pytest.mark.hec_emulator(ack_delay=0.02, tokens=[f"{TOKEN}:ack:index=main,other"])
plain_server = pytest.mark.hec_emulator(ack_delay=0.02, tokens=[f"{TOKEN}:ack"])


def with_poison(good: int) -> tuple[list[Any], dict[Any, tuple[int, str, int | None]]]:
    """Elements with poison strewn among them; and of each poison where it is and how it must end."""
    elements: list[Any] = [f"event {number}" for number in range(good)]
    step = good // len(POISON)
    for at, (element, _, _) in enumerate(POISON):
        elements.insert((at + 1) * step, element)
    where = {elements.index(element): (element, reason, code) for element, reason, code in POISON}
    return elements, where


@restricted
@pytest.mark.parametrize("batching", ["bundle", "stateful"])
@on(*EVERY)
def test_every_event_is_indexed_once_or_is_the_dead_letter_it_should_be(
    runner: Runner, batching: str, site: Site
) -> None:
    """Good events are indexed once, with their time; only poison comes out, with reason, time and window."""
    elements, poison = with_poison(400)
    with beam.Pipeline(options=runner.options()) as pipeline:
        delivery = (
            pipeline
            | beam.Create(list(enumerate(elements)))
            | beam.MapTuple(lambda at, element: TimestampedValue(element, 1_000 + at))
            | beam.WindowInto(FixedWindows(WIDTH_S))
            # No timer is to fire meanwhile: what gathers, gathers until the end.
            | site.sink(index="main", event_max_bytes=LIMIT_BYTES, batching=batching)
        )
        site.collect(delivery)
    good = {element: 1_000 + at for at, element in enumerate(elements) if at not in poison}
    assert repeats(site.indexed(), good) == 0
    assert {event["event"]: float(event["time"]) for event in site.hec.events()} == good
    assert site.delivered() == len(good)
    assert {seen.window for seen in site.receipts()} <= {window_of(at) for at in good.values()}
    dead = {round(seen.time_s) - 1_000: seen for seen in site.dead()}
    assert len(site.dead()) == len(poison)
    assert {
        at: (seen.value["element"], seen.value["reason"], seen.value["code"]) for at, seen in dead.items()
    } == poison
    assert {at: seen.window for at, seen in dead.items()} == {at: window_of(1_000 + at) for at in poison}
    assert {seen.value["http_status"] for seen in dead.values() if seen.value["code"]} == {400}


def window_of(at_s: int) -> tuple[float, float]:
    """The fixed window of a time."""
    start = at_s // WIDTH_S * WIDTH_S
    return start, start + WIDTH_S


@plain_server
@on(*EVERY)
def test_the_counters_say_what_the_outputs_say(runner: Runner, site: Site) -> None:
    """Events, bytes, batches and ack latencies in the runner's metrics are those of the receipts."""
    with beam.Pipeline(options=runner.options()) as pipeline:
        elements = pipeline | beam.Create([*(f"event {number}" for number in range(450)), "", b"\xff"])
        site.collect(elements | site.sink())
    found = counted(pipeline.result)
    receipts = [seen.value for seen in site.receipts()]
    assert found["events_delivered"] == sum(receipt["events"] for receipt in receipts) == 450
    assert found["events_rejected"] == len(site.dead()) == 2
    assert found["batches_delivered"] == len(receipts) >= 5
    assert found["bytes_delivered"] == sum(receipt["bytes"] for receipt in receipts)
    latencies_ms = [round(receipt["ack_latency_s"] * 1_000) for receipt in receipts]
    count, total, least, most = found["ack_latency_ms"]
    assert (count, total) == (len(receipts), sum(latencies_ms))
    assert (least, most) == (min(latencies_ms), max(latencies_ms))
    assert resends(found) == {}


FAULTS = [
    ("busy,count=3", "busy", False),
    ("throttle:0,count=2", "busy", False),
    ("reset-before,count=3", "unknown_reply", True),
    ("reset-after,count=3", "unknown_reply", True),
    ("lose-after-200,count=2", "ack_timeout", True),
]


@plain_server
@pytest.mark.parametrize(("fault", "cause", "may_repeat"), FAULTS)
@on(*EVERY)
def test_what_goes_wrong_on_the_way_is_sent_again_and_counted(
    runner: Runner,
    fault: str,
    cause: str,
    may_repeat: bool,
    site: Site,
) -> None:
    """Whatever fails on the way, all is indexed, and repeated only where a resend was counted."""
    site.hec.set_faults(fault)
    events = [f"event {number}" for number in range(1_200)]
    with beam.Pipeline(options=runner.options()) as pipeline:
        delivery = pipeline | beam.Create(events) | site.sink(ack_deadline_s=1)
        site.collect(delivery)
    found = counted(pipeline.result)
    again = resends(found)
    assert again.get(cause, 0) >= 1
    repeated = repeats(site.indexed(), events)
    assert repeated <= 100 * sum(count for why, count in again.items() if why != "busy")
    assert may_repeat or repeated == 0
    assert site.delivered() == found["events_delivered"] == len(events)
    assert site.dead() == []


@pytest.mark.hec_emulator(ack_delay=0, tokens=[f"{TOKEN}:ack"])
@pytest.mark.e2e
@on(*EVERY)
def test_a_lost_ack_reply_costs_a_resend_and_no_event(runner: Runner, site: Site) -> None:
    """An ack in a reply that never came is not believed: the batch is sent again, which is counted."""
    site.hec.set_faults("ack-lost,count=1")
    events = [f"event {number}" for number in range(1_200)]
    with beam.Pipeline(options=runner.options()) as pipeline:
        site.collect(pipeline | beam.Create(events) | site.sink())
    again = resends(counted(pipeline.result))
    assert set(again) == {"ack_reply_lost"}
    assert 0 < repeats(site.indexed(), events) <= 100 * again["ack_reply_lost"]
    assert site.delivered() == len(events)


@pytest.mark.hec_emulator(ack_delay="0s..0.1s", tokens=[f"{TOKEN}:ack"], seed=7)
@pytest.mark.e2e
@on(*EVERY)
def test_a_bad_day_loses_nothing(runner: Runner, site: Site) -> None:
    """With faults of many kinds, some of them at once, all is indexed; what is repeated was counted."""
    kinds = ("busy", "error500", "error500:taken", "reset-before", "reset-after", "cut-body", "html503")
    site.hec.set_faults(*(f"{kind},p=0.2,count=2" for kind in kinds))
    events = [f"event {number}" for number in range(2_000)]
    with beam.Pipeline(options=runner.options()) as pipeline:
        site.collect(pipeline | beam.Create(events) | site.sink())
    again = resends(counted(pipeline.result))
    assert sum(again.values()) >= sum(rule["fired"] for rule in site.hec.faults) > 0
    assert repeats(site.indexed(), events) <= 100 * sum(
        count for why, count in again.items() if why != "busy"
    )
    assert site.delivered() == len(events)
    assert site.dead() == []


@plain_server
@on("bundle_based")
def test_a_bundle_that_was_not_acknowledged_is_brought_again(runner: Runner, site: Site) -> None:
    """After a bundle's deadline it comes again: nothing is lost, what was acknowledged of it comes twice."""
    site.hec.set_faults("lose-after-200,count=1")
    events = [f"event {number}" for number in range(300)]
    with beam.Pipeline(options=runner.options()) as pipeline:
        delivery = pipeline | beam.Create(events) | site.sink(bundle_deadline_s=1)
        site.collect(delivery)
    assert repeats(site.indexed(), events) == 200
    assert site.delivered() == len(events)
    assert site.dead() == []


@plain_server
@on("fn_api", "prism", "flink")
def test_a_bundle_that_was_not_acknowledged_fails_the_job(runner: Runner, site: Site) -> None:
    """Where a bundle does not come again the job fails, says why, and puts out nothing of the bundle."""
    site.hec.set_faults("lose-after-200,count=1")
    events = ["", *(f"event {number}" for number in range(300))]
    pipeline = beam.Pipeline(options=runner.options(*ONE_BUNDLE[runner.name]))
    delivery = pipeline | beam.Create(events) | site.sink(bundle_deadline_s=1)
    site.collect_committed(delivery)
    with pytest.raises(Exception, match="events of this bundle are not settled"):
        pipeline.run().wait_until_finish()
    assert site.receipts() == site.dead() == []


@plain_server
@pytest.mark.parametrize("place", ["upstream", "downstream"])
@on("bundle_based")
def test_a_neighbour_that_raises_once_loses_nothing(runner: Runner, place: str, site: Site) -> None:
    """When another step raises and its bundle comes again, every event is indexed, and once."""
    events = [f"event {number}" for number in range(1_000)]
    with beam.Pipeline(options=runner.options()) as pipeline:
        site.collect(beside_one_that_raises(pipeline, events, place, site))
    assert (site.folder / "raised").exists()
    assert repeats(site.indexed(), events) == 0
    assert site.delivered() == len(events)
    assert [seen.value["reason"] for seen in site.dead()] == ["blank"]


def beside_one_that_raises(pipeline: beam.Pipeline, events: list[str], place: str, site: Site) -> Delivery:
    """The sink, and before or behind it a step that raises once; one more event is blank."""
    elements: Any = pipeline | beam.Create(["", *events])
    if place == "upstream":
        elements = elements | "FailOnce" >> beam.ParDo(FailOnce("event 900", site.folder / "raised"))
    delivery: Delivery = elements | site.sink()
    if place == "downstream":
        reasons = delivery.dead_letters | "Reason" >> beam.Map(lambda row: row.reason)
        _ = reasons | "FailOnce" >> beam.ParDo(FailOnce("blank", site.folder / "raised"))
    return delivery


@plain_server
@pytest.mark.parametrize("place", ["upstream", "downstream"])
@on("fn_api", "prism", "flink")
def test_a_neighbour_that_raises_fails_the_job_and_nothing_is_put_out(
    runner: Runner, place: str, site: Site
) -> None:
    """No receipt and no dead letter of a bundle that another step failed is ever committed."""
    events = [f"event {number}" for number in range(1_000)]
    pipeline = beam.Pipeline(options=runner.options(*ONE_BUNDLE[runner.name]))
    delivery = beside_one_that_raises(pipeline, events, place, site)
    site.collect_committed(delivery)
    with pytest.raises(Exception, match="raised on purpose, once"):
        pipeline.run().wait_until_finish()
    assert site.receipts() == site.dead() == []


@plain_server
@on(*EVERY)
def test_a_pipeline_without_events_sends_nothing(runner: Runner, site: Site) -> None:
    """A bundle without elements makes no request at all, not even to look whether Splunk is there."""
    with beam.Pipeline(options=runner.options()) as pipeline:
        elements = pipeline | beam.Create(range(100)) | beam.Filter(lambda number: number < 0)
        delivery = elements | site.sink()
        _ = delivery.receipts | "Use" >> beam.Map(print)
    assert site.hec.stats()["requests"] == 0


@plain_server
@on("fn_api", "prism", "flink")
def test_the_empty_bundles_after_gathering_send_nothing(runner: Runner, site: Site) -> None:
    """Gathering by key ends many bundles without elements; posts are as many as batches, no more."""
    events = [f"event {number}" for number in range(500)]
    with beam.Pipeline(options=runner.options()) as pipeline:
        delivery = pipeline | beam.Create(events) | site.sink(batching="stateful")
        site.collect(delivery)
    assert repeats(site.indexed(), events) == 0
    replies = site.hec.stats()["replies"]
    assert replies["200/0"] == len(site.receipts())
    assert set(replies) == {"200/0", "200/"}


def stream_of_small_bundles(groups: int, size: int) -> tuple[test_stream.TestStream, list[str]]:
    """A stream of groups of so many events and a blank one, each group a minute later."""
    stream, events = test_stream.TestStream(), []
    for group in range(groups):
        at = 1_200 + WIDTH_S * group
        texts = [f"group {group} event {number}" for number in range(size)]
        stream.advance_watermark_to(at)
        stream.add_elements([TimestampedValue(text, at + 1) for text in (*texts, "")])
        events += texts
    stream.advance_watermark_to_infinity()
    return stream, events


@plain_server
@pytest.mark.parametrize("batching", ["bundle", "stateful"])
@on("bundle_based", "prism")
def test_a_stream_of_small_bundles_keeps_times_and_windows(runner: Runner, batching: str, site: Site) -> None:
    """In small bundles too, events, receipts and dead letters have their own times and windows."""
    stream, events = stream_of_small_bundles(groups=8, size=5)
    with beam.Pipeline(options=runner.options("--streaming")) as pipeline:
        delivery = pipeline | stream | beam.WindowInto(FixedWindows(WIDTH_S)) | site.sink(batching=batching)
        site.collect(delivery)
    windows = [window_of(1_200 + WIDTH_S * group) for group in range(8)]
    assert repeats(site.indexed(), events) == 0
    assert {event["event"]: float(event["time"]) for event in site.hec.events()} == {
        f"group {group} event {number}": 1_201 + WIDTH_S * group for group in range(8) for number in range(5)
    }
    dead = site.dead()
    assert sorted((seen.window, seen.time_s) for seen in dead) == [(one, one[0] + 1) for one in windows]
    events_by_window: Counter[Any] = Counter()
    for seen in site.receipts():
        events_by_window[seen.window] += seen.value["events"]
    assert sum(events_by_window.values()) == len(events)
    assert set(events_by_window) <= set(windows)


@plain_server
@on(*EVERY)
def test_real_log_lines_are_all_accounted_for(runner: Runner, site: Site) -> None:
    """Of some 24,000 log lines each is indexed as often as it is in the files, or is a dead letter."""
    files = log_files(site.folder)
    with beam.Pipeline(options=runner.options()) as pipeline:
        lines = [
            pipeline | file.stem >> beam.io.ReadFromText(str(file), coder=BytesCoder()) for file in files
        ]
        delivery = lines | beam.Flatten() | site.sink(batch_max_events=5_000)
        site.collect(delivery)
    whole = [line.removesuffix(b"\r") for file in files for line in file.read_bytes().split(b"\n")]
    expected = [line for line in whole if line.strip()]
    assert len(expected) > 20_000
    dead = [seen.value["element"] for seen in site.dead()]
    good = Counter(expected) - Counter(dead)
    assert repeats(site.indexed(), [line.decode() for line in good.elements()]) == 0
    assert site.delivered() + sum(1 for line in dead if line.strip()) == len(expected)
    if runner.name in ("fn_api", "prism"):  # the others lose counts of a step that is fused into several
        assert counted(pipeline.result)["events_delivered"] == site.delivered()
