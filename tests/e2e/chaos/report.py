"""The report of a check: a table for people, JSON for programs. Nothing here judges."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bounds import slopes
from .causes import NO_CAUSE
from .checker import Check, known_events
from .findings import EQUATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).parent


def figures(check: Check) -> dict[str, Any]:
    """What is published of a run."""
    tables, causes, findings = check.tables, check.causes, check.findings
    [run] = known_events(check, "run") or [{}]
    faults = Counter(event["fault"] for event in known_events(check, "fault"))
    ends = known_events(check, "end")
    duplicates, explained = tables.duplicates, causes.explained
    unexplained = explained[NO_CAUSE]
    drained = known_events(check, "drained")
    return {
        "seed": run.get("seed"),
        "minutes": run.get("minutes"),
        "commit": _commit(),
        "command": f"python -m tests.e2e.chaos --seed {run.get('seed')} --minutes {run.get('minutes')} "
        f"--per-s {run.get('per_s')}",
        "records": sum(tables.produced.values()),
        "records_by_kind": dict(tables.produced),
        "faults": faults.total(),
        "faults_by_kind": dict(sorted(faults.items())),
        "faults_skipped": len(known_events(check, "skipped")),
        "faults_not_to_be_had": run.get("missing", {}),
        "kill_9": sum(event["how"] == "kill" for event in ends),
        "sink_starts": len(known_events(check, "start")),
        "exit_codes": dict(Counter(str(event["code"]) for event in ends)),
        "protocols": sorted({event["protocol"] for event in known_events(check, "start")}),
        "broker_restarts": faults["broker-stop"] + faults["broker-kill"],
        "indexed": tables.indexed - duplicates,
        "dead_lettered": tables.letters,
        "lost": check.lost,
        "deleted_unread_and_reported": check.lost_reported,
        "early_commits": findings.counts["E4"],
        "commits_checked": len(check.commits),
        "samples_checked": len(check.samples),
        "stale_answers": check.stale_answers,
        "duplicates": duplicates,
        "duplicates_explained_percent": round(100 * (1 - unexplained / duplicates), 3)
        if duplicates
        else 100.0,
        "duplicates_by_cause": dict(explained.most_common()),
        "duplicates_after_one_end": _spread(causes.per_end.values()),
        "resends": dict(sum((story.resends for story in causes.stories.values()), Counter())),
        "order_inversions": tables.inversions,
        "ack_ids_told": check.acks_told,
        "ack_ids_asked": check.acks_asked,
        "max_unsettled_age_s": round(max((page.get("age", 0.0) for _, page in pages(check)), default=0.0), 1),
        "produce_to_durable_s": {"p50": tables.latency_s(0.5), "p99": tables.latency_s(0.99)},
        "recovery_s": _spread(recoveries(check)),
        "max_rss_mib": round(max((page.get("rss", 0.0) for _, page in pages(check)), default=0.0) / 2**20, 1),
        "rss_slope_mib_per_min": {launch: round(slope, 3) for launch, slope in slopes(check.pages)}
        or "not judged: no sink lived for ten minutes",
        "drain_s": drained[-1]["seconds"] if drained else None,
        "violations": {name: findings.counts[name] for name in EQUATIONS},
    }


def pages(check: Check) -> list[tuple[str, dict[str, float]]]:
    """What the sinks said of themselves."""
    return [item for sample in check.samples for item in sample.sinks.items()]


def recoveries(check: Check) -> list[float]:
    """Seconds from each `kill -9` until the member's next launch had an event received by Splunk."""
    found: list[float] = []
    first = check.tables.first_received
    for event in known_events(check, "end"):
        if event["how"] == "kill":
            member, number = event["launch"][0], int(event["launch"][1:])
            later = sorted(int(name[1:]) for name in first if name[0] == member and int(name[1:]) > number)
            if later:
                found.append((first[f"{member}{later[0]}"] - event["t"]) / 1000)
    return found


def text(found: dict[str, Any], check: Check) -> str:
    """The table for people."""
    lines: list[str] = []
    for name, value in found.items():
        if name != "violations":
            lines.append(f"{name.replace('_', ' '):<30}{_shown(value)}")
    lines.append("")
    for name, meaning in EQUATIONS.items():
        count = check.findings.counts[name]
        lines.append(f"{name:<5}{'ok' if not count else f'VIOLATED {count:,} times':<24}{meaning}")
        lines += [f"       {example}" for example in check.findings.examples[name]]
    return "\n".join(lines)


def _spread(values: Iterable[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {}
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.95)]
    return {"p50": round(at[0], 2), "p95": round(at[1], 2), "max": round(ordered[-1], 2)}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key} {_shown(one)}" for key, one in value.items()) or "none"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{value:,}"


def _commit() -> str:
    asked = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
