"""The job graphs for Dataflow, made without an account: what would be sent to Google."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

DATAFLOW = [
    *("--runner=DataflowRunner", "--no_auth", "--dry_run=True", "--sdk_location=container", "--job_name=job"),
    *(
        "--project=project",
        "--region=region",
        "--temp_location=gs://bucket/t",
        "--staging_location=gs://bucket/s",
    ),
]
AUTO = "--batching=auto"
SINK = ["--hec_url=https://splunk.example:8088", "--dead_letters=gs://bucket/dead/x"]


@pytest.mark.parametrize(
    ("name", "more", "gathers"),
    [
        ("pubsub_to_splunk", ["--subscription=projects/project/subscriptions/logs", "--streaming"], False),
        (
            "pubsub_to_splunk",
            ["--subscription=projects/project/subscriptions/logs", "--streaming", AUTO],
            True,
        ),
        ("gcs_to_splunk", [f"--input={__file__}", "--watch_interval_s=60", "--streaming", AUTO], True),
        ("files_to_splunk", [f"--input={__file__}", AUTO], False),
        (
            "kafka_to_splunk",
            ["--kafka_bootstrap_servers=b:1", "--kafka_topics=t", "--kafka_group_id=g", "--streaming", AUTO],
            False,
        ),
        ("replay_dead_letters", [f"--input={__file__}"], False),
    ],
)
def test_the_graph_for_dataflow(
    script: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    more: list[str],
    *,
    gathers: bool,
) -> None:
    """Each pipeline is a valid job without the token in it; gathering is chosen, and never behind Kafka."""
    monkeypatch.setenv("GRAPH_TOKEN", "very-secret-token")
    options = PipelineOptions([*DATAFLOW, *SINK, "--hec_token=env:GRAPH_TOKEN", *more])
    pipeline = beam.Pipeline(options=options)
    script(name).build(pipeline, options)
    graph: Any = pipeline.run().job.proto_pipeline
    names = {one.unique_name for one in graph.components.transforms.values()}
    assert any("WriteToSplunkHEC/Deliver" in one for one in names)
    assert any("WriteDeadLetters/Write" in one for one in names)
    assert any("GroupIntoBatches" in one for one in names) is gathers
    assert b"very-secret-token" not in graph.SerializeToString()
