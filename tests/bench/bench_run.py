"""One run of one case: a sink process from start to end, and what it took.

Every run is a consumer group of its own, on a topic that other cases may share, against a server of its own.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from bench_curves import Curve, Span, span
from bench_limit import Signs, binding
from bench_server import LightServer
from bench_watch import Used, share, watch

if TYPE_CHECKING:
    from bench_cases import Case
    from real_kafka import RealKafka

HERE = Path(__file__).parent
RIVALS = HERE / "rivals"
FTF_PYTHON = RIVALS / "venv" / "bin" / "python"
FTF_NEEDS = ("splunk-hec-ftf==1.0.3", "confluent-kafka", "requests", "orjson")
LETTERS = "bench-dead-letters"
TOKEN = "bench-token"
BUDGET_BYTES, BUDGET_EVENTS = 268_435_456, 2_000_000
"""The sink's defaults."""
GB = 1_000_000_000


class Run(msgspec.Struct):
    """What one run took; the README's table says what each is."""

    records: int
    received: int
    records_per_s: float
    cpu_s_per_gb: float
    flow_cpu_s_per_gb: float
    wall_s: float
    peak_mb: float
    p50_s: float
    p99_s: float
    requests: int
    polls: int
    compression: float
    limit: str
    sink_cores: float
    server_cores: float
    broker_cores: float
    machine_share: float
    most_open: int
    startup_s: float
    join_s: float
    whole_records_per_s: float


class Unmeasurable(Exception):  # noqa: N818 -- said in the table, not a fault of the bench
    """This case cannot be run here; the text says why."""


def run(case: Case, kafka: RealKafka, group: str) -> Run:
    """Measure a case once.

    Raises:
        Unmeasurable: A rival cannot be installed.
        SystemExit: The sink failed, or records are missing at the server.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with LightServer(folder, case.ack_s, has_tls=case.has_tls) as server:
            page_port = free_port() if case.sink == "sink" else 0
            command = _command(case, kafka.bootstrap, group, server, folder=folder, page_port=page_port)
            used = watch(
                command,
                _environment(folder),
                {"server": server.pid, "broker": broker_pid(kafka)},
                folder=folder,
                page_port=page_port,
            )
            if used.code:
                raise SystemExit(f"{case.name}: the sink ended with {used.code}: {used.errors[-2000:]}")
            return _result(case, used, server.count(), server.take_curve(), folder)


def broker_pid(kafka: RealKafka) -> int:
    """The broker's process."""
    assert kafka._process is not None
    return kafka._process.pid


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


# ---- what is run ------------------------------------------------------------------------------------------


def _command(
    case: Case, bootstrap: str, group: str, server: LightServer, *, folder: Path, page_port: int
) -> list[str]:
    load = case.load
    if case.sink == "by_hand":
        script = [sys.executable, str(RIVALS / "by_hand.py"), bootstrap, load.topic, group]
        return [*script, server.url, TOKEN, str(load.records), *filter(None, [server.ca_file])]
    if case.sink == "ftf":
        acks = "no-acks" if case.ack_s is None else "acks"
        script = [str(ftf_python()), str(RIVALS / "ftf.py"), bootstrap, load.topic, group]
        return [*script, "127.0.0.1", str(server.port), TOKEN, str(load.records), acks]
    file = folder / "sink.toml"
    file.write_text(configuration(case, bootstrap, group, server, page_port), encoding="utf-8")
    return [*(sys.executable, "-P", "-m", "splunk_hec_kafka", "run", "-c", str(file)),
            *("--until-end", "-o", "json", "-q")]  # fmt: skip


def configuration(case: Case, bootstrap: str, group: str, server: LightServer, page_port: int) -> str:
    """The sink's configuration file for a case."""
    sections: dict[str, dict[str, Any]] = {
        "run": {"processes": case.processes},
        "hec": {"url": server.url, "token": "env:BENCH_TOKEN", "ca_file": server.ca_file},
        "kafka": {"bootstrap_servers": bootstrap, "topics": [case.load.topic], "group_id": group},
        "dead_letter": {"topic": LETTERS},
        "server": {"listen": f"127.0.0.1:{page_port}"},
    }
    for key, value in case.sets:
        section, _, name = key.partition(".")
        sections[section][name] = value
    lines: list[str] = []
    for section, keys in sections.items():
        lines += [f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in keys.items())]
    for number in range(case.routes):
        lines += ["[[route]]", f'topics = ["other-{number}.*"]', f'index = "index_{number}"']
    lines += ["[[route]]", 'topics = ["*"]', f'value = "{case.load.value}"']
    lines += [f"provenance = {json.dumps(case.has_provenance)}"]
    return "\n".join(lines) + "\n"


def _environment(folder: Path) -> dict[str, str]:
    """This process's environment without settings of a sink, and with the observer."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("HEC_SINK_", "SPLUNK_"))}
    observed = {"PYTHONPATH": str(HERE / "observed"), "BENCH_NOTES": str(folder)}
    return kept | observed | {"BENCH_TOKEN": TOKEN}


def ftf_python() -> Path:
    """The interpreter of the rival's own environment, which is made when it is first asked for.

    Raises:
        Unmeasurable: The package index does not give it.
    """
    if not FTF_PYTHON.exists():
        venv = FTF_PYTHON.parents[1]
        steps = (
            [sys.executable, "-m", "venv", "--clear", str(venv)],
            [str(venv / "bin" / "pip"), "install", "-q", *FTF_NEEDS],
        )
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, check=False)
            if done.returncode:
                FTF_PYTHON.unlink(missing_ok=True)
                raise Unmeasurable(f"splunk-hec-ftf cannot be installed: {done.stderr.strip()[-200:]}")
    return FTF_PYTHON


# ---- what it took -----------------------------------------------------------------------------------------


def _result(case: Case, used: Used, counted: dict[str, float], done: Curve, folder: Path) -> Run:
    notes = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    chunks = [(at, number) for one in notes for at, number, _ in one["chunks"]]
    found = span(chunks, done)
    wanted = case.load.records - case.load.poison
    received = int(counted["events"])
    if found is None or received < wanted:
        raise SystemExit(f"{case.name}: {received} of {wanted} records arrived")
    flow_s = max(1e-3, found.last_done - found.first_consumed)
    fill_s = min(case.ack_s or 0.0, flow_s * 0.9)
    began = min(one["subscribed"] for one in notes)
    joined = min(one["assigned"] or one["subscribed"] for one in notes)
    size_gb = case.load.records * case.load.size / GB
    cores = {
        part: share(used.samples, part, found.first_consumed, found.last_consumed)
        for part in ("sink", "server", "broker", "machine")
    }
    return Run(
        records=case.load.records,
        received=received,
        records_per_s=case.load.records / (flow_s - fill_s),
        whole_records_per_s=case.load.records / flow_s,
        cpu_s_per_gb=used.cpu_s / size_gb,
        flow_cpu_s_per_gb=max(0.0, used.cpu_s - _cpu_before(used, found.first_consumed)) / size_gb,
        wall_s=used.ended_at - used.started_at,
        peak_mb=used.peak_mb,
        p50_s=found.p50_s,
        p99_s=found.p99_s,
        requests=int(counted["requests"]),
        polls=int(counted["polls"]),
        compression=counted["bytes"] / counted["wire_bytes"],
        limit=_limit(case, used, notes=notes, found=found, counted=counted, cores=cores),
        sink_cores=cores["sink"],
        server_cores=cores["server"],
        broker_cores=cores["broker"],
        machine_share=_machine_share(cores),
        most_open=found.most_open,
        startup_s=found.first_consumed - used.started_at,
        join_s=joined - began,
    )


def _cpu_before(used: Used, first_consumed: float) -> float:
    """CPU seconds of the sink until it began to consume: imports, the group, the first look at Splunk."""
    before = [one.cpu_s["sink"] for one in used.samples if one.at <= first_consumed]
    return before[-1] if before else 0.0


def _machine_share(cores: dict[str, float]) -> float:
    return cores["machine"] / (os.cpu_count() or 1)


def _limit(
    case: Case,
    used: Used,
    *,
    notes: list[dict[str, Any]],
    found: Span,
    counted: dict[str, float],
    cores: dict[str, float],
) -> str:
    flow_s = max(1e-3, found.last_consumed - found.first_consumed)
    processes = max(1, len(notes))
    sets = dict(case.sets)
    most_bytes = float(str(sets.get("hec.in_flight_max_bytes", BUDGET_BYTES))) * case.processes
    most_events = float(str(sets.get("hec.in_flight_max_events", BUDGET_EVENTS))) * case.processes
    within = [
        one.gauges
        for one in used.samples
        if one.gauges and found.first_consumed <= one.at <= found.last_consumed
    ]
    budget_shares = tuple(
        max(
            gauges.get("hec_sink_in_flight_bytes", 0.0) / most_bytes,
            gauges.get("hec_sink_in_flight_events", 0.0) / most_events,
        )
        for gauges in within
    )
    paused_s = max((gauges.get("hec_sink_pause_seconds_total", 0.0) for gauges in within), default=0.0)
    # What the server had and did not tell, by Little's law; the rest of what was open was still to be sent.
    told_per_s = counted["events"] / max(1e-3, found.last_done - found.first_done)
    with_server = min(found.most_open, told_per_s * (case.ack_s or 0.0))
    signs = Signs(
        sink_cores=cores["sink"] / processes,
        server_cores=cores["server"],
        machine_share=_machine_share(cores),
        waiting_share=sum(chunk[2] for one in notes for chunk in one["chunks"][1:]) / processes / flow_s,
        budget_shares=budget_shares,
        paused_share=paused_s / processes / flow_s,
        unsent_share=1 - with_server / max(1, found.most_open),
    )
    return binding(signs)
