"""The oldest versions that pyproject.toml allows work: all of them at once, in an environment of their own.

Not for the newest ones: every other test runs on those.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from foreign.registries import fresh_venv, must, run

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = ("emulator", "kafka")
TESTED_WITH = ("hypothesis", "pytest", "pytest-timeout", "pytest-xdist", "trustme")
SUITES = (
    "tests/core",
    "tests/emulator/test_process.py",
    "tests/emulator/test_wire.py",
    "tests/kafka/test_config.py",
    "tests/kafka/test_dead_letters.py",
    "tests/kafka/test_metrics.py",
    "tests/kafka/test_mock_kafka.py",
    "tests/kafka/test_records.py",
)
SLOW = (
    "*_simulation.py",
    "*_machine.py",
    "*_threads.py",
)  # our own decisions: no library's version changes them
LINES = [f"line {number} of a log" for number in range(300)]


def requirements() -> list[str]:
    """What a plain install and the extras need, without what names this project itself."""
    named = [
        *PROJECT["dependencies"],
        *(one for extra in EXTRAS for one in PROJECT["optional-dependencies"][extra]),
    ]
    return [one for one in named if not one.startswith(PROJECT["name"])]


def floor(requirement: str) -> tuple[str, str, str]:
    """Name, oldest version and marker of a requirement."""
    found = re.fullmatch(r"([\w.-]+)>=([\d.]+)\s*(;.*)?", requirement)
    assert found, f"{requirement} has no floor, or a ceiling"
    return found[1], found[2], found[3] or ""


@pytest.fixture(scope="module")
def oldest(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and each dependency at its floor."""
    pinned = ["{}=={}{}".format(*floor(one)) for one in requirements()]
    programs = fresh_venv(tmp_path_factory.mktemp("oldest"), *pinned, *TESTED_WITH)
    must(programs / "python", "-Im", "pip", "install", "-q", "--no-deps", wheel)
    return programs


@pytest.mark.parametrize("requirement", requirements())
def test_every_dependency_has_a_floor_and_no_ceiling(requirement: str) -> None:
    """A dependency names the oldest version that works, and never forbids a newer one."""
    assert floor(requirement)


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_the_floors_fit_together(oldest: Path) -> None:
    """The wheel finds all it requires at the floors, and none of them is too old for another."""
    assert "No broken requirements" in must(oldest / "python", "-Im", "pip", "check")


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_the_suites_pass_with_the_oldest_versions(oldest: Path, tmp_path: Path) -> None:
    """Client, emulator and sink do the same with the oldest versions, and without a warning."""
    options = ("-q", "-n", "3", "-m", "not e2e", "-p", "no:cacheprovider", "--import-mode=importlib")
    left_out = [f"--ignore-glob={name}" for name in SLOW]
    done = run(
        *(oldest / "python", "-IBm", "pytest", *options, f"--basetemp={tmp_path / 'pytest'}"),
        *(*left_out, *SUITES),
        folder=ROOT,
        HYPOTHESIS_STORAGE_DIRECTORY=str(tmp_path / "hypothesis"),
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_the_whole_way_works_with_the_oldest_versions(oldest: Path, tmp_path: Path) -> None:
    """Records go from Kafka through the sink into the emulator, audited, on the oldest versions."""
    log = tmp_path / "some.log"
    log.write_text("".join(f"{line}\n" for line in LINES))
    must(oldest / "hec-kafka-sink", "demo", log)  # exit 0 only if every record is where it belongs
