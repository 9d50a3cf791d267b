"""`python -m tests.bench --quick`: the benchmark itself works, and its table and JSON have their shape."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from real_kafka import why_impossible

ROOT = Path(__file__).parents[2]
FIGURES = {
    *("records", "received", "records_per_s", "whole_records_per_s", "cpu_s_per_gb", "flow_cpu_s_per_gb"),
    *(
        "wall_s",
        "peak_mb",
        "p50_s",
        "p99_s",
        "requests",
        "polls",
        "compression",
        "sink_cores",
        "server_cores",
    ),
    *("broker_cores", "machine_share", "most_open", "startup_s", "join_s"),
}


@pytest.mark.e2e
def test_a_quick_run_has_every_figure(tmp_path: Path) -> None:
    """Tiny numbers through sink and rival, plain and TLS, one process and two: a row each, none missing."""
    missing = why_impossible()
    if missing and not os.environ.get("CI"):
        pytest.skip(f"NOT TESTED: {missing}")
    file = tmp_path / "bench.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick", "--json", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(file.read_text(encoding="utf-8"))
    assert {"command", "seed", "runs", "machine", "cases", "skipped", "figures", "beam"} <= told.keys()
    assert {"cpu", "cores", "python", "librdkafka", "commit", "lines"} <= told["machine"].keys()
    assert len(told["cases"]) == 5
    for case in told["cases"]:
        assert set(case["figures"]) == FIGURES
        assert all(one["median"] >= 0 for one in case["figures"].values())
        assert case["figures"]["cpu_s_per_gb"]["median"] > 0
        assert case["figures"]["peak_mb"]["median"] > 10
        assert case["limit"]
    assert {"help_s", "idle_cpu_s", "startup_s"} == set(told["figures"])
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 6
    assert len({line.count("|") for line in rows}) == 1
    assert all(case["name"] in done.stdout for case in told["cases"])
