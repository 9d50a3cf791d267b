"""The pipeline `files_to_splunk` on every runner, over all the real log lines there are."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import apache_beam as beam
import pytest
from beam_tools import TOKEN, log_files
from runners import Runner, on

if TYPE_CHECKING:
    from types import ModuleType

    from splunk_hec_emulator import Emulator

SCRIPT = Path(__file__).parents[2] / "pipelines" / "files_to_splunk.py"


def pipeline_script() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("files_to_splunk_on_runners", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.hec_emulator(ack_delay="0.1s", tokens=[f"{TOKEN}:ack"])
@on("fn_api", "bundle_based", "prism", "flink")
def test_of_all_log_lines_each_is_indexed_once_or_in_the_dead_letter_files(
    runner: Runner, hec_emulator: Emulator, token: str, tmp_path: Path
) -> None:
    """Of some 24,000 real lines none is missing and none is twice, acknowledgements on."""
    files = log_files(tmp_path)
    flags = [
        *(f"--input={files[0].parent}/*.log", f"--hec_url={hec_emulator.url}", f"--hec_token={token}"),
        f"--dead_letters={tmp_path}/dead/of",
    ]
    with beam.Pipeline(options=runner.options(*flags)) as pipeline:
        pipeline_script().build(pipeline, pipeline.options)

    lines = [line.removesuffix(b"\r") for file in files for line in file.read_bytes().split(b"\n")]
    expected = Counter(line for line in lines if line.strip())
    assert expected.total() > 20_000
    letters = [
        json.loads(line) for file in sorted(tmp_path.glob("dead/*")) for line in file.read_text().splitlines()
    ]
    dead = Counter(letter["reason"] for letter in letters)
    assert set(dead) <= {"undecodable", "blank"}
    indexed = Counter(event["event"].encode() for event in hec_emulator.events())
    assert indexed.total() + dead.total() == expected.total()
    assert not indexed - expected
    assert {event["source"] for event in hec_emulator.events()} == {str(file) for file in files}
