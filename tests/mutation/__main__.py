"""Mutation testing of the pure modules with mutmut: `python -m tests.mutation [--again] [MODULE ...]`.

Run by hand. mutmut wants packages that stand side by side under `src`; this stages them so, one module at a
time, runs it and prints a row of a table for each. What survived stands in
`build/mutation/MODULE/survivors.diff`. With `--again` only what survived or timed out the last time is
tried, with the tests as they are now.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.mutation.modules import MODULES

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("core/splunk_hec", "core/splunk_hec_emulator", "connectors/splunk_hec_kafka")
TESTS = ("core", "kafka", "mutation")
PYTEST = (
    "--import-mode=importlib",
    "-p",
    "quick_hypothesis",
    "--hypothesis-profile=mutation",
    "-m",
    "not e2e",
)
# What a log line says is not what these tests are for.
NOT_MUTATED = (r"\b_?(log|LOG|logger)\.(debug|info|warning|error|exception)\(",)
SHOW = """
import sys
from mutmut.mutation.diff_apply import get_diff_for_mutant
for name in sys.argv[1:]:
    print('# ' + name, get_diff_for_mutant(name), sep='\\n')
"""
SURVIVED = {0: "passed", 5: "no test was run", 33: "no test reaches it", None: "was not run"}
TIMED_OUT = {24, -24, 36, 152, 255, -9}  # as mutmut counts them


class Row(NamedTuple):
    """What became of one module's mutants."""

    module: str
    mutants: int
    survivors: int
    timed_out: int
    took_s: float

    def __str__(self) -> str:
        """A row of the table."""
        killed = self.mutants - self.survivors
        return (
            f"| `{self.module}` | {self.mutants} | {killed} | {self.timed_out} | {self.survivors} |"
            f" {100 * killed / max(1, self.mutants):.0f} % | {self.took_s:.0f} |"
        )


def copy_into(place: Path) -> None:
    """The packages and the tests as they are now."""
    without = shutil.ignore_patterns("__pycache__")
    for package in PACKAGES:
        to = place / "src" / Path(package).name
        shutil.copytree(ROOT / package, to, ignore=without, dirs_exist_ok=True)
    for folder in TESTS:
        to = place / "tests" / folder
        shutil.copytree(ROOT / "tests" / folder, to, ignore=without, dirs_exist_ok=True)
    shutil.copy(ROOT / "tests" / "conftest.py", place / "tests")


def stage(module: str) -> Path:
    """A fresh folder in which mutmut finds what it expects."""
    place = ROOT / "build" / "mutation" / module
    shutil.rmtree(place, ignore_errors=True)
    copy_into(place)
    settings = {
        "source_paths": [f"src/{Path(package).name}" for package in PACKAGES],
        "only_mutate": [source_of(module)],
        "do_not_mutate_patterns": NOT_MUTATED,
        "pytest_add_cli_args": PYTEST,
        "pytest_add_cli_args_test_selection": [f"tests/{test}" for test in MODULES[module]],
        "timeout_constant": 1.0,  # seconds beyond what the tests need, and all of it twice
        "timeout_multiplier": 2.0,
        "use_git_change_detection": False,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    project = (ROOT / "pyproject.toml").read_text()
    (place / "pyproject.toml").write_text("\n".join([project, "[tool.mutmut]", *lines, ""]))
    return place


def source_of(module: str) -> str:
    """Where a module stands in the folder."""
    return f"src/{module.replace('.', '/')}.py"


def restage(module: str) -> tuple[Path, list[str]]:
    """The folder of the run before with everything as it is now, and what survived then or took too long."""
    place = ROOT / "build" / "mutation" / module
    copy_into(place)
    (place / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
    codes = results(place, module)
    slow = [name for name, code in codes.items() if code in TIMED_OUT]  # perhaps it was only the machine
    return place, survivors_of(codes) + slow


def results(place: Path, module: str) -> dict[str, int | None]:
    """Each mutant's exit code."""
    meta = json.loads((place / "mutants" / f"{source_of(module)}.meta").read_text())
    codes: dict[str, int | None] = meta["exit_code_by_key"]
    return codes


def survivors_of(codes: dict[str, int | None]) -> list[str]:
    """The names of those that no test noticed."""
    return [name for name, code in codes.items() if code in SURVIVED]


def run(module: str, *, is_again: bool) -> Row:
    """Try all mutants of one module, or again those that survived the last time."""
    place, names = restage(module) if is_again else (stage(module), [])
    begun = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(place / "tests" / "mutation")}
    if names or not is_again:
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names]
        with (place / "log").open("w") as log:
            done = subprocess.run(command, cwd=place, env=environment, stdout=log, stderr=log, check=False)
        if done.returncode:
            sys.exit(f"{module}: mutmut failed, see {place / 'log'}")
    took_s = time.monotonic() - begun
    codes = results(place, module)
    survivors = survivors_of(codes)
    with (place / "survivors.diff").open("w") as diffs:
        subprocess.run([sys.executable, "-c", SHOW, *survivors], cwd=place, stdout=diffs, check=True)
    timed_out = sum(code in TIMED_OUT for code in codes.values())
    return Row(module, len(codes), len(survivors), timed_out, took_s)


def main(chosen: list[str]) -> None:
    """Run the chosen modules, or all, as politely as the system allows."""
    os.nice(19)
    print("| module | mutants | killed | of these by time-out | survived | killed | s |", flush=True)
    print("|---|---|---|---|---|---|---|", flush=True)
    rows: list[Row] = []
    is_again = "--again" in chosen
    for module in [name for name in chosen if name != "--again"] or MODULES:
        rows.append(run(module, is_again=is_again))
        print(rows[-1], flush=True)
    mutants, survived = sum(row.mutants for row in rows), sum(row.survivors for row in rows)
    share = 100 * (mutants - survived) / max(1, mutants)
    print(f"\n{mutants} mutants, {survived} survived, {share:.1f} % killed")


if __name__ == "__main__":
    main(sys.argv[1:])
