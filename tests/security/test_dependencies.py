"""What is installed beside us: no known hole, and a bill of materials that names all of it.

pip-audit asks services that are not reachable everywhere, and without `--strict` it then says that nothing
was found. So floors and installed versions are also held against `advisories.toml`, which needs nobody.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ADVISORIES: list[dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("advisories.toml").read_text(encoding="utf-8")
)["advisory"]
OURS = PROJECT["name"]
RUNTIME_EXTRAS = ("emulator", "kafka", "beam", "gcp")


def canonical(name: str) -> str:
    """A package's name as all its spellings are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for, itself apart."""
    optional = PROJECT["optional-dependencies"]
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in optional[extra])]
    return [one for one in map(Requirement, texts) if canonical(one.name) != OURS]


def installed_closure() -> dict[str, str]:
    """Every package that our runtime dependencies bring with them here, and its version."""
    found: dict[str, str] = {}
    waiting = [(canonical(one.name), frozenset(one.extras)) for one in declared(*RUNTIME_EXTRAS)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found[name] = version(name)
            wanted = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:
            continue
        waiting += [
            (canonical(one.name), frozenset(one.extras))
            for one in wanted
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras))
        ]
    return found


def floor(requirement: Requirement) -> Version:
    """The oldest version that a requirement allows."""
    return max(Version(one.version) for one in requirement.specifier if one.operator in (">=", "=="))


@pytest.mark.parametrize("advisory", ADVISORIES, ids=lambda one: one["id"])
def test_nothing_installed_has_a_known_hole(advisory: dict[str, str]) -> None:
    """Each package here that an advisory names is at least as new as its fix."""
    try:
        here = Version(version(advisory["package"]))
    except PackageNotFoundError:
        pytest.skip(f"{advisory['package']} is not installed")
    assert here >= Version(advisory["fixed"]), f"{advisory['package']} {here}: {advisory['what']}"


@pytest.mark.parametrize("requirement", declared(*RUNTIME_EXTRAS, "dev"), ids=lambda one: one.name)
def test_no_floor_allows_a_known_hole(requirement: Requirement) -> None:
    """The oldest versions we allow are hit by no known advisory, or it is said why that is harmless."""
    for advisory in ADVISORIES:
        if advisory["package"] == canonical(requirement.name) and "harmless_because" not in advisory:
            assert floor(requirement) >= Version(advisory["fixed"]), (
                f"raise {requirement} to {advisory['fixed']}"
            )


def test_every_advisory_is_whole() -> None:
    """Each entry has an id, a package in its canonical spelling, the version that mends it and what it is."""
    for one in ADVISORIES:
        assert set(one) <= {"id", "package", "fixed", "what", "harmless_because"}
        assert re.fullmatch(r"CVE-\d{4}-\d{4,}|GHSA(-[a-z0-9]{4}){3}|PYSEC-\d{4}-\d+", one["id"]), one
        assert Version(one["fixed"])
        assert one["package"] == canonical(one["package"])
    assert len({one["id"] for one in ADVISORIES}) == len(ADVISORIES)


def test_every_dependency_has_a_floor() -> None:
    """Nothing is asked for in any version whatever: a floor is what keeps old holes out."""
    for one in declared(*RUNTIME_EXTRAS, "dev"):
        assert floor(one), one


# ---- the bill of materials -----------------------------------------------------------------------------


def sbom_command() -> list[str]:
    """What `poe sbom` runs, writing to standard output."""
    task = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["poe"]["tasks"].get(
        "sbom"
    )
    if task is None:
        pytest.skip("there is no task sbom")
    words = task["cmd"].split()
    words[words.index("-o") + 1] = "-"
    return [str(Path(sys.executable).with_name(words[0])), *words[1:]]


def test_the_bill_of_materials_names_every_runtime_dependency() -> None:
    """`poe sbom` lists all that is installed for us with its version, and what we name with its licence."""
    command = sbom_command()
    if not Path(command[0]).exists():
        if os.environ.get("CI"):
            pytest.fail(f"{command[0]} is missing")
        pytest.skip("cyclonedx-bom is not installed")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=True)
    bill = json.loads(done.stdout)
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == OURS
    assert bill["metadata"]["component"]["version"] == PROJECT["version"]
    parts = {canonical(one["name"]): one for one in bill["components"]}
    closure = installed_closure()
    assert len(closure) > 10
    assert {name: parts[name]["version"] for name in closure} == closure
    for one in declared(*RUNTIME_EXTRAS):
        if canonical(one.name) in closure:
            assert parts[canonical(one.name)]["licenses"], one.name
            assert parts[canonical(one.name)]["purl"].startswith("pkg:pypi/")
