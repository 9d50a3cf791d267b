"""`python -m tests.compat`: the scenario table, splunk-hec-ftf beside the drop-in.

The library is installed into an environment of its own (`rival/venv`), made when it is first asked for. Each
run is a process, ended after 20 seconds, against an emulator of its own; what it had not told by then counts
as lost. About three minutes. `--only TEXT` takes the scenarios whose names hold it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "bench")]

from scenarios import GRID, Outcome, Scenario, outcome, texts_of, world  # noqa: E402 -- the path must be there first

RIVAL = _HERE / "rival" / "venv"
NEEDS = ("splunk-hec-ftf==1.0.3", "requests")
LIMIT_S = 20.0
AT_ONCE = 8
RIVAL_ARGUMENTS = {"ack_interval": 1, "max_ack_attempts": 2}
"""Short enough to end within the limit; for the scenarios whose deadlines we leave at their defaults."""


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.compat", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT")
    given = parser.parse_args()
    pythons = {"ftf": _rival(), "ours": Path(sys.executable)}
    cases = [case for case in GRID if given.only in case[0].name]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = {
            who: list(pool.map(lambda case, python=python, who=who: _run(python, who, case), cases))
            for who, python in pythons.items()
        }
    head = "indexed lost dup backup requests wall"
    print(f"{'scenario':15} {'kind':4} acks threads | {'ftf: ' + head:44} | ours: {head}")
    for (scenario, kind, acks, threads), theirs, ours in zip(cases, runs["ftf"], runs["ours"], strict=True):
        first = f"{scenario.name:15} {kind:4} {'on' if acks else 'off':4} {threads:7}"
        print(f"{first} | {_shown(theirs):44} | {_shown(ours)}")
    return 0


def _run(python: Path, who: str, case: tuple[Scenario, str, bool, int]) -> Outcome:
    scenario, kind, has_acks, threads = case
    with world(scenario, has_acks=has_acks) as (server, where):
        arguments: dict[str, Any] = {**where, **scenario.arguments, "max_threads": threads}
        if who == "ftf":
            arguments |= RIVAL_ARGUMENTS
        order = json.dumps({"name": scenario.name, "kind": kind, "arguments": arguments})
        played = {"backup": [], "wall_s": LIMIT_S}
        try:
            done = subprocess.run(
                [str(python), "-P", str(_HERE / "program.py"), order],
                capture_output=True, text=True, timeout=LIMIT_S, check=False,
            )  # fmt: skip
            if done.returncode == 0:
                played = json.loads(done.stdout.splitlines()[-1])
            else:
                played["wall_s"] = -1.0  # it raised
        except subprocess.TimeoutExpired:
            pass
        requests = server.stats()["requests"]
        return outcome(_sent(kind, scenario.name), texts_of(server.events()), played, requests)


def _sent(kind: str, name: str) -> list[str]:
    """The texts of what the program sends."""
    listing = f"import program, json; print(json.dumps(program.payloads({kind!r}, {name!r})))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(_HERE)!r}); {listing}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    texts = json.loads(done.stdout)
    return [text if kind == "raw" else json.loads(text)["event"] for text in texts]


def _shown(one: Outcome) -> str:
    wall = "raised" if one.wall_s < 0 else ">20 s" if one.wall_s >= LIMIT_S else f"{one.wall_s:.1f} s"
    return f"{one.indexed:7} {one.lost:4} {one.duplicated:3} {one.backup:6} {one.requests:8} {wall:>7}"


def _rival() -> Path:
    """The interpreter of the library's own environment."""
    python = RIVAL / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(RIVAL)], check=True)
        subprocess.run([str(RIVAL / "bin" / "pip"), "install", "-q", *NEEDS], check=True)
    return python


if __name__ == "__main__":
    sys.exit(main())
