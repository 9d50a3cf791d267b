"""`python -m tests.simulation`: many seeds, one seed as a story, or the seeded bugs.

python -m tests.simulation --seeds 2000 [--first N]   every seed must pass; a failing one is made short
python -m tests.simulation --seed N --trace           what happens in one run, line by line
python -m tests.simulation --mutant NAME | --mutants  in how many seeds a seeded bug is caught
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections import Counter
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "core")]

from mutants import MUTANTS  # noqa: E402 -- the path must be there first
from sim_planting import planted  # noqa: E402 -- as above
from sim_run import MOST_SEEDS, Result, caught, listen, run, run_seed, shrink  # noqa: E402 -- as above
from sim_scenario import KINDS, draw  # noqa: E402 -- as above


def main() -> int:
    """Run what the command line asks for; 1 if anything was violated."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--mutant", choices=sorted(MUTANTS))
    parser.add_argument("--mutants", action="store_true")
    asked = parser.parse_args()
    listen()
    gc.disable()
    gc.freeze()
    if asked.mutant or asked.mutants:
        return hunt([asked.mutant] if asked.mutant else list(MUTANTS))
    if asked.seed is not None:
        return one_seed(asked.seed, is_traced=asked.trace)
    return many_seeds(asked.first, asked.seeds)


def hunt(names: list[str]) -> int:
    """Run each mutant until it is caught."""
    survivors: list[str] = []
    for name in names:
        with planted(MUTANTS[name]):
            found = caught(MOST_SEEDS)
        gc.collect()
        if found is None:
            survivors.append(name)
            print(f"| `{name}` | not caught | {MUTANTS[name].text} | |", flush=True)
        else:
            seeds, violation = found
            told = f"{violation.equation}: {violation.text[:60]}"
            print(f"| `{name}` | {seeds} | {MUTANTS[name].text} | {told} |", flush=True)
    print(f"{len(names) - len(survivors)} of {len(names)} caught within {MOST_SEEDS} seeds", *survivors)
    return 1 if survivors else 0


def one_seed(seed: int, *, is_traced: bool) -> int:
    """Run one seed, and tell its story if asked."""
    scenario = draw(seed)
    print(scenario._replace(records=[]))
    result = run(scenario, print if is_traced else None)
    for violation in result.violations:
        print(f"seed {seed}: {violation.equation}: {violation.text}")
    print(f"recovery {result.recovery_s:.1f} s, fired {dict(result.fired)}")
    return 1 if result.violations else 0


def many_seeds(first: int, count: int) -> int:
    """Run many seeds; say what failed, how short, and which faults struck."""
    fired: Counter[str] = Counter()
    results = failures = duplicates = inversions = 0
    slowest = (0.0, -1)
    started, started_cpu = time.perf_counter(), time.process_time()
    for seed in range(first, first + count):
        result = run_seed(seed)
        fired.update(result.fired.keys())
        results += len(result.fired)
        duplicates, inversions = duplicates + result.duplicates, inversions + result.inversions
        slowest = max(slowest, (result.recovery_s, seed))
        if result.violations:
            failures += 1
            _tell_failure(seed, result)
        if seed % 50 == 0:
            gc.collect()
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
    rates = f"{count / seconds:.0f} a second, {count / cpu_s:.0f} a second of CPU"
    print(f"{count} seeds in {seconds:.1f} s ({rates}), {failures} failed")
    print(f"kinds of faults that struck in a seed: {results / count:.1f}")
    print(f"duplicates, all explained: {duplicates}; order inversions: {inversions}")
    print(f"slowest recovery: {slowest[0]:.0f} virtual seconds (seed {slowest[1]})")
    print("seeds in which each fault struck:")
    kinds = sorted(fired.keys() | KINDS, key=lambda one: (-fired[one], one))
    print("  ".join(f"{kind} {fired[kind]}" for kind in kinds))
    missing = [kind for kind in KINDS if not fired[kind]]
    if missing:
        print("never struck:", *missing)
    return 1 if failures or missing else 0


def _tell_failure(seed: int, result: Result) -> None:
    wanted = result.violations[0]
    print(f"seed {seed}: {wanted.equation}: {wanted.text}")
    short = shrink(result.scenario, wanted.equation)
    print(f"  the shortest list of faults that does it, of {len(result.scenario.faults)}:")
    for fault in short.faults:
        print(f"    {fault.at:6.2f} s {fault.kind} (size {fault.size:.2f}, at {fault.point})", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
