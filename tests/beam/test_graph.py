"""What leaves the process that builds a pipeline: everything a worker needs, and no token."""

from __future__ import annotations

import base64
import bz2
import pickle
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from beam_tools import TOKEN

from splunk_hec_beam.write import WriteToSplunkHEC

if TYPE_CHECKING:
    from pathlib import Path

DATAFLOW = (
    *(
        "--runner=DataflowRunner",
        "--no_auth",
        "--dry_run=True",
        "--sdk_location=container",
        "--project=a-project",
    ),
    *(
        "--region=a-region",
        "--job_name=a-job",
        "--temp_location=gs://bucket/t",
        "--staging_location=gs://bucket/s",
    ),
)


@pytest.fixture(params=["env", "file"])
def reference(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A reference to `TOKEN`, which this process could read."""
    file = tmp_path / "secret"
    file.write_text(TOKEN, encoding="utf-8")
    monkeypatch.setenv("GRAPH_HEC_TOKEN", TOKEN)
    return "env:GRAPH_HEC_TOKEN" if request.param == "env" else f"file:{file}"


def wired(options: PipelineOptions, token: str, **more: Any) -> beam.Pipeline:
    """A pipeline with the sink, and consumers of its outputs."""
    pipeline = beam.Pipeline(options=options)
    sink = WriteToSplunkHEC("https://splunk.example:8088", token, on_reject="dead_letter", **more)
    delivery = pipeline | beam.Create(["event"]) | sink
    _ = delivery.receipts | "Receipts" >> beam.Map(print)
    _ = delivery.dead_letters | "Dead" >> beam.Map(print)
    return pipeline


def unpacked(proto: Any) -> bytes:
    """All of a pipeline's proto as bytes, its pickled functions as before their compression."""
    found = [proto.SerializeToString()]
    for transform in proto.components.transforms.values():
        if transform.spec.urn == "beam:transform:pardo:v1":
            function = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload).do_fn.payload
            found.append(bz2.decompress(base64.b64decode(function)))
    return b"\0".join(found)


def test_the_token_is_in_no_pickle_of_the_transform(reference: str) -> None:
    """A transform is pickled with the place of its token, never the token; it comes back able to work."""
    sink = WriteToSplunkHEC("https://splunk.example:8088", reference, on_reject="fail")
    pickled = pickle.dumps(sink)
    assert TOKEN.encode() not in pickled
    assert reference.encode() in pickled
    assert pickle.loads(pickled).display_data() == sink.display_data()


@pytest.mark.parametrize("batching", ["bundle", "stateful"])
def test_the_token_is_not_in_the_graph(reference: str, batching: str) -> None:
    """The portable graph that every runner gets holds the place of the token, never the token."""
    pipeline = wired(PipelineOptions(["--runner=FnApiRunner"]), reference, batching=batching)
    graph = unpacked(pipeline.to_runner_api())
    assert TOKEN.encode() not in graph
    assert reference.encode() in graph


@pytest.mark.parametrize("streaming", [False, True])
def test_the_token_is_not_in_a_dataflow_job(reference: str, streaming: bool) -> None:
    """What Dataflow is sent, graph and job description, holds the place of the token, never the token."""
    flags = (*DATAFLOW, "--streaming") if streaming else DATAFLOW
    job = wired(PipelineOptions(flags), reference).run().job
    graph = unpacked(job.proto_pipeline)
    assert TOKEN.encode() not in graph
    assert reference.encode() in graph
    assert TOKEN not in job.json()


@pytest.mark.parametrize(
    ("flags", "gathers"),
    [(("--streaming",), True), ((), False)],
    ids=["streaming", "batch"],
)
def test_auto_gathers_on_dataflow_streaming_only(flags: tuple[str, ...], gathers: bool) -> None:
    """`batching="auto"` gathers where bundles are tiny: on Dataflow when streaming, not in batch."""
    job = wired(PipelineOptions((*DATAFLOW, *flags)), "env:GRAPH_HEC_TOKEN", batching="auto").run().job
    names = [transform.unique_name for transform in job.proto_pipeline.components.transforms.values()]
    assert any("GatherByKey" in name for name in names) is gathers
    assert any("DeliverFn" in name for name in names)


@pytest.mark.parametrize("flags", [(), ("--streaming",)], ids=["batch", "streaming"])
def test_auto_does_not_gather_elsewhere(flags: tuple[str, ...]) -> None:
    """`batching="auto"` leaves bundles as they are on any other runner."""
    graph = wired(PipelineOptions(["--runner=FnApiRunner", *flags]), "env:GRAPH_HEC_TOKEN", batching="auto")
    names = [transform.unique_name for transform in graph.to_runner_api().components.transforms.values()]
    assert not any("GatherByKey" in name for name in names)
