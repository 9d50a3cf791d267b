"""The wheel, for the tests of what users install."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from foreign.registries import must

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the working tree as pip builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    must(sys.executable, "-Im", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT)
    [built] = folder.glob("*.whl")
    return built
