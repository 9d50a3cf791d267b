"""`WriteToSplunkHEC` as it is constructed: its errors, outputs, what it shows and what it pickles."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import pytest
from apache_beam.metrics.metric import Lineage, MetricsFilter
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.display import DisplayData
from apache_beam.transforms.error_handling import CollectingErrorHandler
from apache_beam.typehints.row_type import RowTypeConstraint

import splunk_hec_beam
from splunk_hec import ConfigError
from splunk_hec_beam import Receipt, WriteToSplunkHEC

if TYPE_CHECKING:
    from splunk_hec_emulator import Emulator

SECRET = "5ecre7-70ken-0f-0ur5"
RUNNER = "FnApiRunner"


def write(**settings: Any) -> WriteToSplunkHEC:
    """The transform with the least it needs."""
    defaults = {"url": "http://127.0.0.1:1", "token": "env:WRITE_TOKEN", "on_reject": "dead_letter"}
    return WriteToSplunkHEC(**(defaults | settings))


def test_public_names_are_pinned() -> None:
    """Users import these names: none goes away by accident, none comes by accident."""
    names = [
        "BundleNotDelivered", "Delivery", "KafkaRecord", "ReadKafkaUntilDelivered", "Receipt",
        "SplunkHecOptions", "WriteToSplunkHEC",
    ]  # fmt: skip
    assert splunk_hec_beam.__all__ == names == dir(splunk_hec_beam)
    assert all(getattr(splunk_hec_beam, name).__name__ == name for name in names)
    with pytest.raises(AttributeError, match="has no attribute 'WriteToSplunk'"):
        splunk_hec_beam.WriteToSplunk  # noqa: B018 -- looking it up is the test


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"token": SECRET}, "token must be a reference, env:NAME, file:PATH or gcp-secret:"),
        ({"on_reject": "drop"}, 'on_reject must be "dead_letter" or "fail", not'),
        ({"time": "now"}, "time must be one of timestamp, none, not 'now'"),
        ({"batching": "large"}, "batching must be one of bundle, stateful, auto"),
        ({"bundle_deadline_s": 0}, "bundle_deadline_s must be greater than 0, not 0"),
        ({"url": "splunk:8088"}, "is not of the form https://host:8088"),
        ({"lanez": 3}, "WriteToSplunkHEC: .*lanez"),
        ({"lanes": "many"}, "HecConfig: .*lanes"),
        ({"endpoint": "raw"}, "endpoint cannot be set here"),
        ({"threads": False}, "threads cannot be set here"),
        ({"error_handling": {}}, "error_handling needs the name of an output"),
        (
            {"error_handling": {"output": "x"}, "on_reject": "fail"},
            'error_handling goes with on_reject="dead',
        ),
    ],
)
def test_what_is_wrong_is_said_at_construction(settings: dict[str, Any], says: str) -> None:
    """Each wrong setting is one line that names it, before anything runs, and never shows a token."""
    with pytest.raises(ConfigError, match=says) as error:
        write(**settings)
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)


def test_rejected_events_cannot_vanish_by_default() -> None:
    """Who says nothing of refused events is asked to choose."""
    pipeline = beam.Pipeline(runner=RUNNER)
    with pytest.raises(ConfigError, match="on_reject is required"):
        pipeline | beam.Create(["a"]) | write(on_reject=None)


def test_an_error_handler_gets_the_dead_letters(
    hec_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`with_error_handler` works as in Beam's own sinks, and chooses dead letters by itself."""
    monkeypatch.setenv("WRITE_TOKEN", hec_emulator.token)
    with beam.Pipeline(runner=RUNNER) as pipeline:
        handler = CollectingErrorHandler()
        (
            pipeline
            | beam.Create(["good", ""])
            | write(url=hec_emulator.url, on_reject=None).with_error_handler(handler)
        )
        handler.close()
        reasons = handler.output() | beam.Map(lambda row: (row.element, row.reason))
        assert_that(reasons, equal_to([("", "blank")]))
    assert [event["event"] for event in hec_emulator.events()] == ["good"]
    with pytest.raises(ConfigError, match="with_error_handler goes with"):
        write(on_reject="fail").with_error_handler(handler)
    assert write(on_reject="fail").with_error_handler(None) is not None


def test_outputs_have_names_and_schemas() -> None:
    """Receipts and dead letters are rows that other languages can read, the element's own type among them."""
    pipeline = beam.Pipeline(runner=RUNNER)
    made = pipeline | beam.Create(["a"]) | write()
    assert list(made) == ["receipts", "dead_letters"]
    assert made.receipts.element_type == Receipt
    row = made.dead_letters.element_type
    assert isinstance(row, RowTypeConstraint)
    assert [name for name, _ in row._fields] == [
        "element", "event_bytes", "reason", "http_status", "code", "text", "attempts",
    ]  # fmt: skip
    assert dict(row._fields)["element"] is str
    renamed = (
        pipeline
        | "again" >> beam.Create(["a"])
        | "named" >> write(on_reject=None, error_handling={"output": "bad"})
    )
    assert list(renamed) == ["receipts", "bad"]
    assert renamed.dead_letters is renamed["bad"]


def test_the_runners_page_shows_settings_without_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Display data name where events go, and the token's place instead of the token."""
    monkeypatch.setenv("WRITE_TOKEN", SECRET)
    items = {
        item.key: item.value
        for item in DisplayData.create_from(write(index="main", proxy="http://u:pw@p:1")).items
    }
    assert items["url"] == "http://127.0.0.1:1"
    assert (items["index"], items["token"], items["on_reject"]) == ("main", "env:WRITE_TOKEN", "dead_letter")
    assert SECRET not in str(items)
    assert "pw" not in str(items)


def test_the_token_is_in_no_pickle_and_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the pickled transform nor the pipeline that is handed to a runner holds the token."""
    monkeypatch.setenv("WRITE_TOKEN", SECRET)
    assert SECRET.encode() not in pickle.dumps(write())
    pipeline = beam.Pipeline(runner=RUNNER)
    pipeline | beam.Create(["a"]) | write()
    graph = pipeline.to_runner_api().SerializeToString()
    assert b"WRITE_TOKEN" in graph
    assert SECRET.encode() not in graph


@pytest.mark.parametrize(
    ("flags", "warns"),
    [
        (["--runner=FlinkRunner", "--streaming"], "--checkpointing_interval"),
        (["--runner=PortableRunner", "--streaming"], "--checkpointing_interval"),
        (
            ["--runner=FlinkRunner", "--streaming", "--checkpointing_interval=3000"],
            "--finish_bundle_before_checkpointing",
        ),
        (
            [
                *("--runner=FlinkRunner", "--streaming", "--checkpointing_interval=3000"),
                "--finish_bundle_before_checkpointing",
            ],
            "",
        ),
        (["--runner=FlinkRunner"], ""),
        (["--runner=FnApiRunner", "--streaming"], ""),
    ],
)
def test_streaming_on_flink_without_checkpoints_is_warned_of(
    caplog: pytest.LogCaptureFixture, flags: list[str], warns: str
) -> None:
    """What a Flink job needs to retry and to commit is said at construction where it is missing."""
    pipeline = beam.Pipeline(runner=RUNNER, options=PipelineOptions(flags))  # nothing of it is run
    with caplog.at_level(logging.WARNING, "splunk_hec_beam"):
        pipeline | beam.Create(["a"]) | write()
    assert bool(caplog.text) is bool(warns)
    assert warns in caplog.text


@pytest.mark.parametrize(
    ("batching", "flags", "gathers"),
    [
        ("bundle", ["--runner=DataflowRunner", "--streaming"], False),
        ("stateful", ["--runner=FnApiRunner"], True),
        ("auto", ["--runner=DataflowRunner", "--streaming"], True),
        ("auto", ["--runner=DataflowRunner"], False),
        ("auto", ["--runner=FnApiRunner", "--streaming"], False),
    ],
)
def test_elements_are_gathered_only_where_bundles_are_tiny(
    batching: str, flags: list[str], *, gathers: bool
) -> None:
    """`auto` gathers by key on Dataflow streaming alone; the other two do as they say."""
    pipeline = beam.Pipeline(runner=RUNNER, options=PipelineOptions(flags))  # nothing of it is run
    pipeline | beam.Create(["a"]) | write(batching=batching)
    names = [step.unique_name for step in pipeline.to_runner_api().components.transforms.values()]
    assert any("GatherByKey" in name for name in names) is gathers


@pytest.mark.parametrize("given", [[], ["--experiments=prism_disable_sdf_split"]], ids=["unset", "set"])
@pytest.mark.parametrize(("batching", "times"), [("bundle", 0), ("stateful", 1)])
def test_a_graph_that_gathers_asks_prism_not_to_split(batching: str, times: int, given: list[str]) -> None:
    """Prism loses the state of a key whose bundle it splits, so gathering turns its splitting off, once."""
    pipeline = beam.Pipeline(runner=RUNNER, options=PipelineOptions(given))
    pipeline | beam.Create(["a"]) | write(batching=batching)
    experiments = pipeline.options.view_as(DebugOptions).experiments or []
    assert experiments.count("prism_disable_sdf_split") == (times or len(given))


def test_lineage_names_where_events_went(hec_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner's lineage shows the endpoint and the index, once events were delivered there."""
    monkeypatch.setenv("WRITE_TOKEN", hec_emulator.token)
    pipeline = beam.Pipeline(runner=RUNNER)
    _ = pipeline | beam.Create(["a"]) | write(url=hec_emulator.url, index="main")
    result = pipeline.run()
    result.wait_until_finish()
    host = hec_emulator.url.removeprefix("http://")
    assert Lineage.query(result.metrics(), Lineage.SINK) == {f"splunk:{host}.main"}


def test_waiting_for_a_busy_splunk_is_told_as_throttling(
    hec_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a runner which scales by load does not add workers to an overloaded indexer."""
    monkeypatch.setenv("WRITE_TOKEN", hec_emulator.token)
    hec_emulator.set_faults("busy,for_s=3")
    pipeline = beam.Pipeline(runner=RUNNER)
    _ = pipeline | beam.Create(["a"]) | write(url=hec_emulator.url)
    result = pipeline.run()
    result.wait_until_finish()
    query = MetricsFilter().with_name("cumulativeThrottlingSeconds")
    [throttled] = result.metrics().query(query)["counters"]
    assert throttled.committed >= 1
    assert [event["event"] for event in hec_emulator.events()] == ["a"]
