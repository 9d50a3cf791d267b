"""`python -m tests.e2e.chaos`: one run, its check, its report.

Ends with 0 if nothing was violated and every duplicate has a cause, with 1 otherwise, and with 2 if the
harness itself failed or cannot run here. The folder of the logs is printed and stays.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from real_kafka import why_impossible

from .checker import Check
from .faults import KILLS, OTHERS
from .plot import draw
from .report import figures, text
from .runner import run


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=3.0, help="how long faults go on")
    parser.add_argument("--per-s", type=int, default=1_750, help="records a second")
    parser.add_argument("--only", default="", metavar="FAULT,FAULT", help="these faults, and no others")
    parser.add_argument("--folder", type=Path, help="where the logs go; default: a new one")
    parser.add_argument("--check", type=Path, metavar="FOLDER", help="check the logs of an earlier run")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    given = parser.parse_args(arguments)
    if given.check:
        return check(given.check, given.output)
    if missing := why_impossible():
        print(f"chaos needs a real broker: {missing}", file=sys.stderr)
        return 2
    only = [name for name in given.only.split(",") if name]
    known = [fault.name for fault in KILLS + OTHERS]
    if unknown := sorted(set(only) - set(known)):
        parser.error(f"no such fault: {', '.join(unknown)}; there are {', '.join(known)}")
    folder = given.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"logs: {folder}", file=sys.stderr)
    failures = run(folder, given.seed, given.minutes, given.per_s, only)
    code = check(folder, given.output)
    for failure in failures:
        print(f"the harness failed: {failure}", file=sys.stderr)
    print(f"logs: {folder}", file=sys.stderr)
    return 2 if failures else code


def check(folder: Path, output: str) -> int:
    """Check a folder, write `report.json`, `report.txt` and `report.svg` into it, print the report."""
    one = Check(folder)
    one.run()
    found = figures(one)
    table, document = text(found, one), json.dumps(found, indent=1)
    (folder / "report.json").write_text(document + "\n", encoding="utf-8")
    (folder / "report.txt").write_text(table + "\n", encoding="utf-8")
    (folder / "report.svg").write_text(draw(one), encoding="utf-8")
    print(document if output == "json" else table)
    return 0 if one.findings.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
