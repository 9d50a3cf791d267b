"""Callers without Python of their own: Beam YAML by the provider file, others by expansion service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apache_beam as beam
import pytest
from apache_beam.transforms.external import ExternalTransform, ImplicitSchemaPayloadBuilder
from e2e_tools import free_port, log_lines

from splunk_hec import Event, InvalidEvent
from splunk_hec_beam.yaml_sink import event_of_row, write_to_splunk_hec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from splunk_hec_emulator import Emulator

    Dead = Callable[..., list[dict[str, Any]]]

YAML = Path(__file__).parents[2] / "pipelines" / "yaml"


def test_a_row_is_an_event_with_its_metadata_and_fields() -> None:
    """With `event_field` no column of a row is lost: it is the event, metadata, or an indexed field."""
    row = beam.Row(line="x", host="h", index="i", team="a", size=3, empty=None)
    event = event_of_row(row, event_field="line")
    assert event == Event("x", host="h", index="i", fields={"team": "a", "size": 3})


@pytest.mark.parametrize("row", [beam.Row(a=1), {"line": None}, "text"])
def test_a_row_without_its_event_is_refused(row: object) -> None:
    """A row whose event field is missing or null is an invalid event, not a blank or a JSON one."""
    with pytest.raises(InvalidEvent, match="invalid_event"):
        event_of_row(row, event_field="line")


def test_rows_serve_as_settings() -> None:
    """Where Python has mappings other SDKs send rows, and lists for tuples: both mean the same."""
    rows = write_to_splunk_hec(
        ["http://a:1"], "env:T", error_handling=beam.Row(output="bad"), fields=beam.Row(team="x")
    )
    mappings = write_to_splunk_hec(
        ["http://a:1"], "env:T", error_handling={"output": "bad"}, fields={"team": "x"}
    )
    assert vars(rows) == vars(mappings)


@pytest.mark.e2e
@pytest.mark.filterwarnings("default")
def test_the_yaml_example_runs(
    hec_emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dead: Dead
) -> None:
    """The example file, run by Beam's own command, delivers every line and writes rejected rows to files."""
    monkeypatch.setenv("PIPELINE_TEST_TOKEN", hec_emulator.token)
    lines = [line.decode() for line in log_lines(500)]
    (tmp_path / "a.log").write_text("\n".join([*lines, "  "]), "utf-8")
    variables = {
        "input": f"{tmp_path}/*.log",
        "url": hec_emulator.url,
        "token": "env:PIPELINE_TEST_TOKEN",
        "rejected": f"{tmp_path}/dead/of",
    }
    ended = subprocess.run(
        [
            *(sys.executable, "-Im", "apache_beam.yaml.main", "--runner=FnApiRunner"),
            f"--yaml_pipeline_file={YAML / 'logs_to_splunk.yaml'}",
            f"--jinja_variables={json.dumps(variables)}",
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert Counter(one["event"] for one in hec_emulator.events()) == Counter(lines)
    assert {one["sourcetype"] for one in hec_emulator.events()} == {"app"}
    assert [one["element"] for one in dead()] == [{"$row": {"line": "  "}}]


@pytest.fixture
def expansion_service(hec_emulator: Emulator) -> Iterator[str]:
    """Beam's expansion service with our transforms, as a process that also runs them; its address."""
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-Im", "apache_beam.runners.portability.expansion_service_main"),
            *("--fully_qualified_name_glob", "splunk_hec_beam.*", "-p", str(port), "--serve_loopback_worker"),
        ],
        env=os.environ | {"PIPELINE_TEST_TOKEN": hec_emulator.token},
        stderr=subprocess.DEVNULL,
    )
    try:
        with ExternalTransform.service(f"localhost:{port}") as service:
            service.ready(60)
        yield f"localhost:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("constructor", "more", "outputs"),
    [
        ("splunk_hec_beam.WriteToSplunkHEC", {"on_reject": "dead_letter"}, {"receipts", "dead_letters"}),
        (
            "splunk_hec_beam.yaml_sink.write_to_splunk_hec",
            {"error_handling": {"output": "rejected"}, "fields": {"team": "a"}},
            {"receipts", "rejected"},
        ),
    ],
)
def test_the_expansion_service_serves_other_languages(
    expansion_service: str,
    hec_emulator: Emulator,
    tmp_path: Path,
    *,
    constructor: str,
    more: dict[str, Any],
    outputs: set[str],
) -> None:
    """Called by name with plain values, it delivers, and its outputs are rows with schemas."""
    values = {"url": [hec_emulator.url], "token": "env:PIPELINE_TEST_TOKEN", **more}
    payload = ImplicitSchemaPayloadBuilder({"constructor": constructor, "kwargs": values}).payload()
    lines = [line.decode() for line in log_lines(300)]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        result = (
            pipeline
            | beam.Create([*lines, " "]).with_output_types(str)
            | ExternalTransform("beam:transforms:python:fully_qualified_named", payload, expansion_service)
        )
        assert set(result) == outputs
        for name in outputs:
            texts = result[name] | f"Text{name}" >> beam.Map(
                lambda row: json.dumps(row._asdict(), default=repr)
            )
            _ = texts | f"Write{name}" >> beam.io.WriteToText(f"{tmp_path}/{name}", num_shards=1)
    (rejected,) = outputs - {"receipts"}
    written = {
        name: [
            json.loads(line)
            for file in tmp_path.glob(f"{name}-*")
            for line in file.read_text("utf-8").splitlines()
        ]
        for name in outputs
    }
    assert [(one["element"], one["reason"]) for one in written[rejected]] == [(" ", "blank")]
    assert sum(one["events"] for one in written["receipts"]) == len(lines)
    assert Counter(one["event"] for one in hec_emulator.events()) == Counter(lines)
