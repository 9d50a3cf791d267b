"""Fixtures of the pipeline tier: the scripts as modules, and flags to run them against the emulator."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from splunk_hec_emulator import Emulator

PIPELINES = Path(__file__).parents[2] / "pipelines"


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """A pipeline as a module, by its name; loaded once, since Beam remembers its options class."""

    def load(name: str) -> ModuleType:
        full = f"pipelines_{name}"
        if full not in sys.modules:
            spec = importlib.util.spec_from_file_location(full, PIPELINES / f"{name}.py")
            assert spec is not None
            assert spec.loader is not None
            sys.modules[full] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[full])
        return sys.modules[full]

    return load


@pytest.fixture
def flags(
    hec_emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[str]]:
    """Flags for a run in this process: the emulator, its token, dead letters in `tmp_path/dead`."""
    monkeypatch.setenv("PIPELINE_TEST_TOKEN", hec_emulator.token)

    def make(*more: str, dead: str = "dead") -> list[str]:
        return [
            "--runner=FnApiRunner",
            f"--hec_url={hec_emulator.url}",
            "--hec_token=env:PIPELINE_TEST_TOKEN",
            f"--dead_letters={tmp_path}/{dead}/of",
            *more,
        ]

    return make


@pytest.fixture
def dead(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """The dead letters in the files of a folder, as they are written."""

    def read(folder: str = "dead") -> list[dict[str, Any]]:
        files = sorted((tmp_path / folder).iterdir()) if (tmp_path / folder).exists() else []
        assert all(file.suffix == ".jsonl" for file in files), files
        return [json.loads(line) for file in files for line in file.read_text("ascii").splitlines()]

    return read
