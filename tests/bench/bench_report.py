"""The results as JSON, as a table for people, and as the Markdown of this folder's README."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import statistics
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import confluent_kafka
import msgspec
from bench_loads import is_real
from bench_run import GB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench_cases import Case
    from bench_run import Run

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
RESULTS = HERE / "results.json"
BLOCK = re.compile(r"(<!-- begin results[^\n]*-->\n).*?(<!-- end results -->)", re.DOTALL)
HEADINGS = (
    *("case", "records/s", "CPU s/GB", "with start", "wall s", "peak MB", "p50 s", "p99 s"),
    *("requests", "ratio", "limit", "cores: sink", "server", "broker"),
)
LEFT = (HEADINGS.index("case"), HEADINGS.index("limit"))


def machine() -> dict[str, Any]:
    """Where it was measured."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        "commit": _commit(),
        "lines": "real logs" if is_real() else "generated",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed


def row(case: Case, runs: Sequence[Run]) -> dict[str, Any]:
    """One case: its runs, and of each number the median, the least and the most."""
    fields = [name for name in runs[0].__struct_fields__ if name != "limit"]
    spread = {
        name: {
            "median": statistics.median(found := [float(getattr(one, name)) for one in runs]),
            "min": min(found),
            "max": max(found),
        }
        for name in fields
    }
    return {
        "name": case.name,
        "sink": case.sink,
        "records": case.load.records,
        "size": case.load.size,
        "value": case.load.value,
        "partitions": case.load.partitions,
        "ack_s": case.ack_s,
        "processes": case.processes,
        "tls": case.has_tls,
        "predicted_records_per_s": case.predicted or None,
        "limit": statistics.mode(one.limit for one in runs),
        "figures": spread,
        "runs": [msgspec.structs.asdict(one) for one in runs],
    }


def cells(one: dict[str, Any]) -> list[str]:
    """A case as a row of the table."""
    figures = one["figures"]

    def number(name: str, digits: int = 0) -> str:
        return f"{figures[name]['median']:,.{digits}f}"

    rate = number("records_per_s")
    if len(one["runs"]) > 1:
        least, most = figures["records_per_s"]["min"], figures["records_per_s"]["max"]
        rate += f" ({least / 1000:,.0f} to {most / 1000:,.0f} k)"
    return [
        one["name"],
        rate,
        number("flow_cpu_s_per_gb", 1),
        number("cpu_s_per_gb", 1),
        number("wall_s", 1),
        number("peak_mb"),
        number("p50_s", 2),
        number("p99_s", 2),
        f"{number('requests')} + {number('polls')}",
        number("compression", 1),
        one["limit"],
        number("sink_cores", 2),
        number("server_cores", 2),
        number("broker_cores", 2),
    ]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows with headings, columns aligned; the same text is Markdown."""
    widths = [max(len(row[at]) for row in [HEADINGS, *rows]) for at in range(len(HEADINGS))]

    def line(texts: Sequence[str]) -> str:
        padded = [
            text.ljust(width) if at in LEFT else text.rjust(width)
            for at, (text, width) in enumerate(zip(texts, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * (width + 2) if at in LEFT else "-" * (width + 1) + ":" for at, width in enumerate(widths)]
    return "\n".join([line(HEADINGS), f"|{'|'.join(rule)}|", *map(line, rows)])


def markdown(document: dict[str, Any]) -> str:
    """Everything that was measured, with where and how."""
    where = document["machine"]
    how = (
        f"`{document['command']}`, seed {document['seed']}, {document['runs']} runs of each case in turn "
        f"(median; in brackets the least and the most), {where['date']}, commit {where['commit']}: "
        f"{where['cpu']}, {where['cores']} cores, load {where['load_before']} before it began, Python "
        f"{where['python']}, librdkafka {where['librdkafka']}, {where['lines']}. Broker, server and sink "
        "share the machine."
    )
    parts = [
        how,
        table([cells(one) for one in document["cases"]]),
    ]
    parts += [f"Not measured: {one}." for one in document["skipped"]]
    parts += ["\n".join(f"- {line}" for line in other_lines(document))]
    return "\n\n".join(part for part in parts if part)


def other_lines(document: dict[str, Any]) -> list[str]:
    """What is no row of the table."""
    found: list[str] = []
    for one in document["cases"]:
        if predicted := one["predicted_records_per_s"]:
            measured = one["figures"]["whole_records_per_s"]["median"]
            seen_s = one["figures"]["p50_s"]["median"]
            seen = predicted * one["ack_s"] / seen_s
            found.append(
                f"{one['name']}: Little's law allows {predicted:,.0f} records/s (events in flight by ack "
                f"latency), and {seen:,.0f} by the {seen_s:.1f} s that it saw; measured {measured:,.0f} "
                "from the first record consumed to the last acknowledged."
            )
    if pairs := document["ack_cost"]:
        found.append(ack_cost_line(pairs))
    figures = document["figures"]
    if "startup_s" in figures:
        found.append(f"Start to first record, the group's join not counted: {figures['startup_s']:.2f} s.")
    if "help_s" in figures:
        found.append(f"`hec-kafka-sink run --help`: {figures['help_s'] * 1000:.0f} ms.")
    if "idle_cpu_s" in figures:
        found.append(f"An idle sink: {figures['idle_cpu_s']:.2f} CPU seconds in 10 s.")
    for kind, runs in document["beam"].items():
        rates = [one["events_per_s"] for one in runs]
        cpu_us = statistics.median(one["cpu_s"] for one in runs) / document["beam_events"] * 1e6
        found.append(
            f"Beam on FnApiRunner, {BEAM[kind]}: {statistics.median(rates):,.0f} events/s "
            f"({min(rates):,.0f} to {max(rates):,.0f}), {cpu_us:.1f} µs CPU an event."
        )
    return found


def ack_cost_line(pairs: Sequence[dict[str, float]]) -> str:
    """What acknowledgements cost, by runs side by side."""
    more = sorted(100 * one["more_cpu"] for one in pairs)
    polls = statistics.median(one["polls"] for one in pairs)
    return (
        f"With and without acknowledgements at the same time, {2 * len(pairs)} pairs: with them "
        f"{statistics.median(more):.1f} % more CPU ({more[0]:.1f} to {more[-1]:.1f} %), with {polls:,.0f} "
        "acknowledgement queries."
    )


BEAM = {
    "none": "the source alone",
    "post": "`BatchElements` and `requests.post`, no acks",
    "session": "the same with a session",
    "sink": "`WriteToSplunkHEC`, acknowledged after 1 s",
}


def gigabytes(one: dict[str, Any]) -> float:
    """Values of one run of a case, in GB."""
    return float(one["records"]) * float(one["size"]) / GB


def write_page(document: dict[str, Any]) -> None:
    """Put the results between the markers of the README, and the JSON beside it."""
    text = PAGE.read_text(encoding="utf-8")
    body = markdown(document)
    fresh, found = BLOCK.subn(lambda block: f"{block[1]}\n{body}\n\n{block[2]}", text)
    if found != 1:
        raise SystemExit(f"{PAGE.name} has no place for results")
    PAGE.write_text(fresh, encoding="utf-8")
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
