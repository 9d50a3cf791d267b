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
EXTRAS = ("beam", "emulator", "kafka")
TESTED_WITH = ("hypothesis", "pytest", "pytest-timeout", "pytest-xdist", "trustme")
SUITES = (  # what meets a library; our own decisions are the same on every version
    "tests/beam/test_bundle.py",
    "tests/beam/test_elements.py",
    "tests/beam/test_kafka_record.py",
    "tests/beam/test_write.py",
    "tests/core/test_batching.py",
    "tests/core/test_client.py",
    "tests/core/test_envelope.py",
    "tests/core/test_gzip.py",
    "tests/core/test_protocol.py",
    "tests/core/test_transport.py",
    "tests/emulator/test_process.py",
    "tests/emulator/test_wire.py",
    "tests/kafka/test_config.py",
    "tests/kafka/test_dead_letters.py",
    "tests/kafka/test_metrics.py",
    "tests/kafka/test_mock_kafka.py",
    "tests/kafka/test_records.py",
)
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


@pytest.mark.parametrize("requirement", requirements())
def test_every_dependency_has_a_floor_and_no_ceiling(requirement: str) -> None:
    """A dependency names the oldest version that works, and never forbids a newer one."""
    assert floor(requirement)


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_the_oldest_versions_work(wheel: Path, tmp_path: Path) -> None:
    """With every dependency at its floor all fits, the suites pass without a warning, and records arrive."""
    pinned = ["{}=={}{}".format(*floor(one)) for one in requirements()]
    oldest = fresh_venv(tmp_path / "oldest", *pinned, *TESTED_WITH)
    must(oldest / "python", "-Im", "pip", "install", "-q", "--no-deps", wheel)
    must(oldest / "python", "-Im", "pip", "check")

    options = ("-q", "-n", "3", "-m", "not e2e", "-p", "no:cacheprovider", "--import-mode=importlib")
    done = run(
        *(oldest / "python", "-IBm", "pytest", *options, f"--basetemp={tmp_path / 'pytest'}"),
        *SUITES,
        folder=ROOT,
        HYPOTHESIS_STORAGE_DIRECTORY=str(tmp_path / "hypothesis"),
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr

    log = tmp_path / "some.log"
    log.write_text("".join(f"{line}\n" for line in LINES))
    must(oldest / "hec-kafka-sink", "demo", log)  # exit 0 only if every record is where it belongs
