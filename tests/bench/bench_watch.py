"""A process under measurement: what it used by `wait4`, and what its parts used over time, by sampling.

CPU of a tree is its processes' user and system time; memory of one process is its own high-water mark
(`VmHWM`: that of `wait4` also counts what the parent held when it started it), that of several the peak of
their summed PSS, so that pages they share count once.
"""

from __future__ import annotations

import http.client
import os
import re
import select
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
SAMPLE_S = 0.1
PROC = Path("/proc")
PAGES_OF_INTEREST = ("hec_sink_in_flight_bytes", "hec_sink_in_flight_events", "hec_sink_pause_seconds_total")


class Sample(NamedTuple):
    """CPU seconds so far of each part and of the machine, and the sink's own gauges, at a moment."""

    at: float
    cpu_s: dict[str, float]
    gauges: dict[str, float]


class Used(NamedTuple):
    """What a process and its children used, from start to end."""

    started_at: float
    ended_at: float
    cpu_s: float
    peak_mb: float
    samples: list[Sample]
    out: str
    errors: str
    code: int


def watch(
    command: Sequence[str],
    env: Mapping[str, str],
    parts: Mapping[str, int],
    *,
    folder: Path,
    page_port: int = 0,
    limit_s: float = 600,
) -> Used:
    """Run a command to its end.

    Args:
        command: What is measured.
        env: Its environment.
        parts: Other processes whose CPU is sampled meanwhile, by name.
        folder: Where its output goes.
        page_port: Where its `/metrics` are; 0: nowhere.
        limit_s: It is ended when it takes longer.
    """
    out, errors = folder / "out", folder / "errors"
    with out.open("w") as out_file, errors.open("w") as errors_file:
        started_at = time.monotonic()
        process = subprocess.Popen(command, env=dict(env), stdout=out_file, stderr=errors_file)
        try:
            samples, peak_kb = _sample_until_end(process, parts, page_port, started_at + limit_s)
        except BaseException:
            process.kill()
            process.wait()
            raise
        _, status, used = os.wait4(process.pid, 0)
        ended_at = time.monotonic()
    process.returncode = os.waitstatus_to_exitcode(status)
    return Used(
        started_at,
        ended_at,
        used.ru_utime + used.ru_stime,
        (peak_kb or used.ru_maxrss) / 1024,
        samples,
        out.read_text(encoding="utf-8"),
        errors.read_text(encoding="utf-8"),
        process.returncode,
    )


def _sample_until_end(
    process: subprocess.Popen[bytes], parts: Mapping[str, int], page_port: int, until: float
) -> tuple[list[Sample], int]:
    samples: list[Sample] = []
    peak_kb = 0
    ending = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(ending, select.POLLIN)
        while not poll.poll(SAMPLE_S * 1000):
            pids = tree(process.pid)
            cpu_s = {"sink": sum(map(cpu_seconds, pids)), "machine": machine_busy_s()}
            cpu_s |= {name: cpu_seconds(pid) for name, pid in parts.items()}
            is_second = len(samples) % 10 == 9
            gauges = read_gauges(page_port) if page_port and is_second else {}
            samples.append(Sample(time.monotonic(), cpu_s, gauges))
            peak_kb = max(peak_kb, memory_kb(pids))
            if time.monotonic() > until:
                process.terminate()
                until = float("inf")
    finally:
        os.close(ending)
    return samples, peak_kb


def tree(pid: int) -> list[int]:
    """A process and its children."""
    found = [pid]
    for one in found:
        try:
            text = (PROC / f"{one}/task/{one}/children").read_text()
        except OSError:
            continue
        found += map(int, text.split())
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time so far; 0 for a process that is gone."""
    try:
        text = (PROC / f"{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def machine_busy_s() -> float:
    """CPU seconds that all cores together were busy, whoever used them, the hypervisor too."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) * TICK_S


def memory_kb(pids: Sequence[int]) -> int:
    """High-water mark of one process, or summed PSS of several."""
    pattern, name = (r"VmHWM:\s+(\d+)", "status") if len(pids) == 1 else (r"\nPss:\s+(\d+)", "smaps_rollup")
    total = 0
    for pid in pids:
        try:
            found = re.search(pattern, (PROC / f"{pid}/{name}").read_text())
        except OSError:
            continue
        total += int(found[1]) if found else 0
    return total


def read_gauges(port: int) -> dict[str, float]:
    """What the sink's page says of its budget; empty while there is no page."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return {}
    finally:
        connection.close()
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name.partition("{")[0] in PAGES_OF_INTEREST and ("{" not in name or "budget" in name):
            found[name.partition("{")[0]] = found.get(name.partition("{")[0], 0.0) + float(value)
    return found


def share(samples: Sequence[Sample], part: str, start: float, end: float) -> float:
    """Cores that a part kept busy between two moments, as far as samples reach."""
    within = [one for one in samples if start - SAMPLE_S <= one.at <= end + SAMPLE_S]
    if len(within) < 2:
        return 0.0
    first, last = within[0], within[-1]
    return max(0.0, last.cpu_s[part] - first.cpu_s[part]) / (last.at - first.at)
