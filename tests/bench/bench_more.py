"""Figures that are no throughput: `--help`, an idle sink, and Beam beside what one writes by hand."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_run import TOKEN, configuration
from bench_server import LightServer
from bench_watch import cpu_seconds

if TYPE_CHECKING:
    from bench_cases import Case
    from real_kafka import RealKafka

HERE = Path(__file__).parent
HELP_RUNS = 7
READY_S = 30.0


def help_s(runs: int = HELP_RUNS) -> float:
    """Median wall time of `hec-kafka-sink run --help`, as a process."""
    took: list[float] = []
    command = [sys.executable, "-P", "-m", "splunk_hec_kafka", "run", "--help"]
    for _ in range(runs):
        before = time.monotonic()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        took.append(time.monotonic() - before)
    return statistics.median(took)


def idle_cpu_s(case: Case, kafka: RealKafka, group: str, watched_s: float) -> float:
    """CPU seconds in 10 s of a sink whose group has read everything; its own pages are not asked."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, LightServer(Path(name), case.ack_s) as server:
        folder = Path(name)
        file = folder / "sink.toml"
        file.write_text(configuration(case, kafka.bootstrap, group, server, 0), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "splunk_hec_kafka", "run", "-c", str(file)]
        with subprocess.Popen(
            command,
            env=os.environ | {"BENCH_TOKEN": TOKEN},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stderr is not None
                if not any("assigned" in line for line in process.stderr):
                    raise SystemExit("the idle sink ended before it had partitions")
                _rest(1.0)  # the first answers about lag
                before = cpu_seconds(process.pid)
                _rest(watched_s)
                used_s = cpu_seconds(process.pid) - before
            finally:
                process.terminate()
    return used_s / watched_s * 10.0


def beam(events: int, runs: int) -> dict[str, list[dict[str, float]]]:
    """`bench_beam.py`: runs of each kind of pipeline.

    Raises:
        SystemExit: It failed.
    """
    command = [sys.executable, str(HERE / "bench_beam.py"), "--events", str(events), "--runs", str(runs)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench_beam.py failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _rest(seconds: float) -> None:
    """Let time pass: here it is what is measured."""
    time.sleep(seconds)
