"""Tools, environments and packages from the registries, for tests of what users install.

Everything goes into folders of the test's own. A tool that is missing skips loudly, and fails when CI is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE_S = 300
ENVIRONMENT = {
    **{
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "COV_", "COVERAGE_"))
    },
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def require(*tools: str) -> None:
    """Go on only if these programs are there."""
    missing = " and ".join(tool for tool in tools if shutil.which(tool) is None)
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI must test with foreign HEC clients: {missing} not found")
    if missing:
        pytest.skip(f"NOT TESTED WITH THIS FOREIGN HEC CLIENT: {missing} not found")


def run(
    *command: str | Path, folder: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in an environment that knows nothing of this test run."""
    return subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        cwd=folder,
        env=ENVIRONMENT | environment,
    )


def must(*command: str | Path, folder: Path | None = None, **environment: str) -> str:
    """Run a command that has to succeed; what it said on stdout."""
    done = run(*command, folder=folder, **environment)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def fresh_venv(folder: Path, *packages: str | Path) -> Path:
    """Make a virtual environment with these packages from PyPI (or files); its folder of programs."""
    must(sys.executable, "-m", "venv", folder)
    must(folder / "bin" / "python", "-Im", "pip", "install", "-q", *packages)
    return folder / "bin"
