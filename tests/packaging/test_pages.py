"""The pages say what is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from generated import ROOT, TABLES, fresh

PAGES = sorted(path for path in ROOT.rglob("*.md") if not set(path.parts) & {".venv", "node_modules", ".git"})


@pytest.mark.parametrize(("page", "name"), TABLES, ids=[name for _, name in TABLES])
def test_generated_tables_are_fresh(page: str, name: str) -> None:
    """The tables in the pages are those that the code would write (`poe docs` writes them)."""
    text, wanted = fresh(page, name)
    assert text == wanted


@pytest.mark.parametrize("page", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page leads to a file of the project."""
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_test_that_a_page_names_exists() -> None:
    """A promise names the test that proves it, and that file is there."""
    for page in PAGES:
        for name in re.findall(r"`(tests/[\w/]+\.py)`", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def example(name: str) -> str:
    """The code of README's example that is marked so."""
    page = (ROOT / "README.md").read_text()
    found = re.search(rf"<!-- {name} -->\n```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return found[1]


def run_example(name: str, url: str, log: Path, check: str) -> str:
    """Run an example against an emulator, with the reader's own file; returns what it printed."""
    script = (
        "from splunk_hec_emulator import Emulator\n"
        "import os\n"
        "with Emulator(ack_delay='0.1s') as emulator:\n"
        "    os.environ['SPLUNK_HEC_TOKEN'] = emulator.token\n"
        f"    exec({example(name)!r}.replace({url!r}, emulator.url)"
        f".replace('/var/log/dpkg.log', {str(log)!r}))\n"
        f"    {check}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_example_runs_as_it_stands(tmp_path: Path) -> None:
    """README's Python example delivers what it reads, when url and file are the reader's own."""
    log = tmp_path / "some.log"
    log.write_text("first line\n\nsecond line\n")
    check = "assert unsettled == 0 and len(emulator.events()) == 2, emulator.events()"
    assert "delivered" in run_example("example", "https://splunk.example:8088", log, check)


def test_the_readme_pipeline_runs_as_it_stands(tmp_path: Path) -> None:
    """README's Beam pipeline, of ten lines, delivers a file to an emulator and prints its dead letter."""
    log = tmp_path / "some.log"
    log.write_text("first line\n\nsecond line\n")
    assert len([line for line in example("beam example").splitlines() if line]) <= 10
    check = "assert [one['event'] for one in emulator.events()] == ['first line', 'second line']"
    said = run_example("beam example", "http://127.0.0.1:8088", log, check)
    assert "reason='blank'" in said
