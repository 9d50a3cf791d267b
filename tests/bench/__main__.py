"""`python -m tests.bench`: the sink, and what one would use instead, from a real broker to a counting server.

python -m tests.bench                 the headline: about 10 minutes
python -m tests.bench --all           every workload: about 40 minutes
python -m tests.bench --quick         that everything works, in less than a minute; its figures mean nothing
python -m tests.bench --only TLS      cases whose names hold one of these texts
python -m tests.bench --compat        the drop-in beside splunk-hec-ftf, about 8 minutes, no broker needed
python -m tests.bench --write         the headline, into README.md and results.json of this folder

Each run is a process of its own; the runs of different cases take turns, so that a slow minute hits all
alike. The table goes to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "e2e")]

from bench_cases import Case, cases, quick  # noqa: E402 -- the path must be there first
from bench_compat import compare  # noqa: E402 -- as above
from bench_loads import fill  # noqa: E402 -- as above
from bench_more import beam, help_s, idle_cpu_s  # noqa: E402 -- as above
from bench_pairs import ack_cost, pair_of  # noqa: E402 -- as above
from bench_report import cells, machine, markdown, row, table, write_page  # noqa: E402 -- as above
from bench_run import LETTERS, Run, Unmeasurable, run  # noqa: E402 -- as above
from real_kafka import RealKafka, why_impossible  # noqa: E402 -- as above

if TYPE_CHECKING:
    from collections.abc import Sequence

BEAM_EVENTS = 200_000
QUICK_RECORDS = 20_000
IDLE_S = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    given = _options(arguments)
    if given.compat:
        print(compare(given.scale, given.runs))
        return 0
    if missing := why_impossible():
        print(f"the benchmark needs a real broker: {missing}", file=sys.stderr)
        return 2
    chosen = quick(QUICK_RECORDS) if given.quick else _chosen(given)
    if not chosen:
        print(f"no case is called so: {', '.join(given.only)}", file=sys.stderr)
        return 2
    if given.list:
        print("\n".join(case.name for case in chosen))
        return 0
    document = _measure(chosen, given)
    if given.write:
        write_page(document)
    if given.json:
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(document) if given.output == "json" else markdown(document))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--all", action="store_true", help="the whole grid too")
    parser.add_argument("--quick", action="store_true", help="a few tiny cases")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="may be repeated")
    parser.add_argument("--compat", action="store_true", help="the drop-in beside splunk-hec-ftf")
    parser.add_argument("--list", action="store_true", help="name the cases, measure nothing")
    parser.add_argument("--runs", type=int, default=3, help="of each case (default 3; 1 with --quick)")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of records")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-beam", action="store_true", help="leave Beam out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the JSON there too")
    parser.add_argument("--write", action="store_true", help="put the results into this folder's README")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    given = parser.parse_args(arguments)
    given.command = shlex.join(["python -m tests.bench", *(sys.argv[1:] if arguments is None else arguments)])
    given.command = given.command.replace("'python -m tests.bench'", "python -m tests.bench")
    given.runs = 1 if given.quick else given.runs
    return given


def _chosen(given: argparse.Namespace) -> list[Case]:
    found = [case for case in cases(given.scale) if case.is_headline or given.all]
    return [case for case in found if not given.only or any(text in case.name for text in given.only)]


def _measure(chosen: list[Case], given: argparse.Namespace) -> dict[str, Any]:
    where = machine()
    runs: dict[str, list[Run]] = {}
    skipped: dict[str, str] = {}
    figures: dict[str, float] = {}
    pairs: list[dict[str, float]] = []
    with RealKafka() as kafka:
        kafka.create_topic(LETTERS)
        for load in dict.fromkeys(case.load for case in chosen):
            _say(f"writing {load.records:,} records of {load.size} B to {load.topic}")
            fill(kafka, load, given.seed)
        for number in range(given.runs):
            for at, case in enumerate(chosen):
                if case.name in skipped or (number and case.is_slow):
                    continue
                try:
                    one = run(case, kafka, f"bench-{at}-{number}")
                except Unmeasurable as why:
                    skipped[case.name] = str(why)
                    _say(f"NOT MEASURED: {case.name}: {why}")
                    continue
                runs.setdefault(case.name, []).append(one)
                _say(f"{number + 1}/{given.runs} {_shown(case, one)}")
        if pair := pair_of(chosen):
            pairs = [ack_cost(pair, kafka, number) for number in range(given.runs)]
            _say(f"with and without acks at the same time: {pairs}")
        first = chosen[0]
        if first.sink == "sink" and not given.only:
            idle_s = 2.0 if given.quick else IDLE_S
            figures["idle_cpu_s"] = idle_cpu_s(first, kafka, "bench-0-0", idle_s)
            figures["startup_s"] = statistics.median(
                one.startup_s - one.join_s for one in runs.get(first.name, [])
            )
            figures["help_s"] = help_s()
    has_beam = not (given.quick or given.only or given.no_beam)
    return {
        "command": given.command,
        "seed": given.seed,
        "runs": given.runs,
        "machine": where,
        "cases": [row(case, runs[case.name]) for case in chosen if case.name in runs],
        "skipped": [f"{name}: {why}" for name, why in skipped.items()],
        "figures": figures,
        "ack_cost": pairs,
        "beam": beam(BEAM_EVENTS, given.runs) if has_beam else {},
        "beam_events": BEAM_EVENTS,
    }


def _shown(case: Case, one: Run) -> str:
    return table([cells(row(case, [one]))]).splitlines()[-1]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
