"""README's two commands, `.ci/run` that runs the second, and the shape of the top level."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = {"pyproject.toml", "README.md", "connectors", "core", "tests", "pipelines", "docker"}
ENVIRONMENT = "python3 -m venv .venv && .venv/bin/pip install "


def marked_line(name: str) -> str:
    """The only line of the block of README that follows the marker of this name."""
    block = re.compile(rf"^<!-- {name} -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    blocks = block.findall((ROOT / "README.md").read_text())
    assert len(blocks) == 1, f"README has {len(blocks)} blocks marked {name}"
    [line] = blocks[0].splitlines()
    return line


@pytest.mark.parametrize(
    ("name", "extra", "then"),
    [("demo", "kafka", ".venv/bin/hec-kafka-sink demo"), ("test", "dev", ".venv/bin/poe test")],
)
def test_readmes_two_commands_set_up_what_they_need(name: str, extra: str, then: str) -> None:
    """Each is one line that makes the environment, installs with its extra, and runs."""
    assert marked_line(name) == f"{ENVIRONMENT}-q -e '.[{extra}]' && {then}"


def test_ci_run_runs_readmes_line_and_then_all_other_tiers(tmp_path: Path) -> None:
    """`.ci/run`, executable, runs README's test line as it stands, then `poe ci`, from any folder."""
    (tmp_path / ".ci").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    copy = tmp_path / ".ci" / "run"
    copy.write_bytes((ROOT / ".ci" / "run").read_bytes())
    copy.chmod((ROOT / ".ci" / "run").stat().st_mode)
    page = (ROOT / "README.md").read_text()
    (tmp_path / "README.md").write_text(page.replace(marked_line("test"), "echo the line ran in $PWD"))
    poe = tmp_path / ".venv" / "bin" / "poe"
    poe.write_text('#!/bin/sh\necho "poe $*"\nexit 3\n')
    poe.chmod(0o755)
    done = subprocess.run(
        [copy], cwd=tmp_path / "elsewhere", capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == f"+ echo the line ran in $PWD\nthe line ran in {tmp_path}\npoe ci\n"
    assert done.returncode == 3


def test_ci_run_ends_where_readmes_line_fails(tmp_path: Path) -> None:
    """A failure of the quick tiers fails `.ci/run` before anything else runs."""
    (tmp_path / ".ci").mkdir()
    copy = tmp_path / ".ci" / "run"
    copy.write_bytes((ROOT / ".ci" / "run").read_bytes())
    copy.chmod(0o755)
    (tmp_path / "README.md").write_text("<!-- test -->\n```sh\nfalse && echo on\n```\n")
    done = subprocess.run([copy], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == "+ false && echo on\n"


def test_the_top_level_holds_seven_names_and_dotfiles() -> None:
    """Whoever opens the repository sees seven names; everything else lives below them."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    names = {path.split("/")[0] for path in listed.split("\0") if path}
    assert {name for name in names if not name.startswith(".")} <= TOP
