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


def test_the_readme_example_runs_as_it_stands(tmp_path: Path) -> None:
    """README's Python example delivers what it reads, when url and file are the reader's own."""
    code = re.search(r"<!-- example -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code is not None
    log = tmp_path / "some.log"
    log.write_text("first line\n\nsecond line\n")
    script = (
        "from splunk_hec_emulator import Emulator\n"
        "import os\n"
        "with Emulator(ack_delay='0.1s') as emulator:\n"
        "    os.environ['SPLUNK_HEC_TOKEN'] = emulator.token\n"
        f"    exec({code[1]!r}.replace('https://splunk.example:8088', emulator.url)"
        f".replace('/var/log/dpkg.log', {str(log)!r}))\n"
        "    assert unsettled == 0\n"
        "    assert len(emulator.events()) == 2, emulator.events()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "delivered" in done.stdout
