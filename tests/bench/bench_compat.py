"""`python -m tests.bench --compat`: the drop-in beside splunk-hec-ftf, one program, one counting server.

2,000,000 events of 500 bytes without acknowledgements, 200,000 with (told after 1 s), 1,000 a request, in the
caller's thread and with 4 threads, nothing compressed. With acknowledgements the library waits for each
request by itself: it is run with fewer events, and its times are scaled; the table says so. Needs no Kafka.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench_run import RIVALS, TOKEN, ftf_python
from bench_server import LightServer

EVENTS = {False: 2_000_000, True: 200_000}
RIVAL_EVENTS = {False: 2_000_000, True: 20_000}


class Took(NamedTuple):
    """What one run took, scaled to all events."""

    wall_s: float
    cpu_s: float


def compare(scale: float = 1.0, runs: int = 5) -> str:
    """Run all, ours and theirs in turns; the table in Markdown, of medians."""
    lines = [
        "| acks | threads | ours wall s | theirs wall s | times | ours CPU s | theirs CPU s | times |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for has_acks in (False, True):
        wanted = int(EVENTS[has_acks] * scale)
        of_rival = int(RIVAL_EVENTS[has_acks] * scale)
        scaled = "" if of_rival == wanted else f" (from {of_rival:,} events)"
        for threads in (0, 4):
            ours: list[Took] = []
            theirs: list[Took] = []
            for _ in range(runs):
                ours.append(_run(Path(sys.executable), has_acks, threads, wanted, wanted))
                theirs.append(_run(ftf_python(), has_acks, threads, of_rival, wanted))
            walls, cpus = [
                (_median(ours, name), _median(theirs, name), _times(ours, theirs, name))
                for name in ("wall_s", "cpu_s")
            ]
            lines.append(
                f"| {'1 s' if has_acks else 'no'} | {threads} | {walls[0]:.1f} | {walls[1]:.1f}{scaled}"
                f" | {walls[2]} | {cpus[0]:.2f} | {cpus[1]:.2f}{scaled} | {cpus[2]} |"
            )
            print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


def _median(runs: list[Took], name: str) -> float:
    return statistics.median(getattr(run, name) for run in runs)


def _times(ours: list[Took], theirs: list[Took], name: str) -> str:
    """How many times theirs is ours: the median of the pairs, and the least and the most of them."""
    each = sorted(getattr(b, name) / getattr(a, name) for a, b in zip(ours, theirs, strict=True))
    return f"{statistics.median(each):.1f} ({each[0]:.1f} to {each[-1]:.1f})"


def _run(python: Path, has_acks: bool, threads: int, events: int, wanted: int) -> Took:
    acks = "acks" if has_acks else "no-acks"
    delay_s = 1.0 if has_acks else None
    with tempfile.TemporaryDirectory(prefix="bench-") as name, LightServer(Path(name), delay_s) as server:
        order = ["127.0.0.1", str(server.port), TOKEN, str(events), acks, str(threads)]
        done = subprocess.run(
            [str(python), str(RIVALS / "drop_in.py"), *order], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        received = int(server.count()["events"])
    if received != events or found["backup"]:
        raise SystemExit(f"{python}: {received} of {events} events arrived, {found['backup']} came back")
    share = wanted / events
    return Took(found["wall_s"] * share, found["cpu_s"] * share)
