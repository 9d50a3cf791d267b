"""`poe micro`: the hot pieces, compared with the figures that landed last; never fails on figures.

    python tests/bench/micro_report.py            print the comparison
    python tests/bench/micro_report.py --write    these figures are those that landed

Figures are the best of many rounds, in µs a record. Those that landed stand in micro.json with the machine
they were measured on; another machine shows in every row alike.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_report import machine

HERE = Path(__file__).parent
LANDED = HERE / "micro.json"
ROUNDS = ("--benchmark-max-time=0.3", "--benchmark-min-time=0.01", "--benchmark-quiet")
NOTED = 1.15
"""A row that differs by more is marked; single runs on a shared machine differ by that much."""


def measure() -> dict[str, float]:
    """Run the benchmarks: µs a record, by name."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "figures.json"
        command = [sys.executable, "-m", "pytest", "--import-mode=importlib", "-q", "-o", "addopts="]
        done = subprocess.run(
            [*command, *ROUNDS, f"--benchmark-json={file}", str(HERE / "test_micro.py")],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"the benchmarks do not run:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
        found = json.loads(file.read_text(encoding="utf-8"))["benchmarks"]
    return {
        one["extra_info"]["name"]: round(one["stats"]["min"] / one["extra_info"]["records"] * 1e6, 4)
        for one in found
    }


def comparison(now: dict[str, float], landed: dict[str, Any]) -> str:
    """A row for each piece: what landed, what is, and the ratio."""
    where = landed.get("machine", {})
    before = landed.get("us_per_record", {})
    rows = [f"{'us a record':<34}{'landed':>9}{'now':>9}{'ratio':>7}"]
    for name in [*now, *(name for name in before if name not in now)]:
        old, new = before.get(name), now.get(name)
        ratio = new / old if old and new else None
        mark = "" if ratio is None or 1 / NOTED < ratio < NOTED else " slower" if ratio > 1 else " faster"
        shown = (
            f"{old:.3f}" if old else "-",
            f"{new:.3f}" if new else "gone",
            f"{ratio:.2f}" if ratio else "-",
        )
        rows.append(f"{name:<34}{shown[0]:>9}{shown[1]:>9}{shown[2]:>7}{mark}")
    rows.append(
        f"landed: {where.get('commit', 'never')}, {where.get('cpu', '')}, {where.get('cores', '')} cores"
    )
    return "\n".join(rows)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    landed = json.loads(LANDED.read_text(encoding="utf-8")) if LANDED.exists() else {}
    now = measure()
    print(comparison(now, landed))
    if given.write:
        document = {"machine": machine(), "us_per_record": now}
        LANDED.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
