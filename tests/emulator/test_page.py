"""core/EMULATOR.md: its session and examples work as printed, and its tables are those of the code."""

import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from splunk_hec_emulator import Settings
from splunk_hec_emulator.faults import CATALOGUE

PAGE = Path(__file__).parents[2] / "core" / "EMULATOR.md"
OWN_SECTIONS = {
    "listen",
    "tokens",
    "profile",
    "ack_delay",
    "nodes",
    "balance",
    "faults",
    "journal",
    "tls",
    "seed",
    "keep_events",
}


def block(language: str, number: int = 0) -> str:
    """Return a code block of the page."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)[number]


def fault_table() -> str:
    """Return the table of faults as the page should show it."""
    lines = ["| fault | strikes, unless `on` says otherwise | does |", "|---|---|---|"]
    for name, (kinds, argument, text) in CATALOGUE.items():
        shown = (
            f"{name}[:{argument[1:]}"
            if argument.startswith("[")
            else f"{name}:{argument}"
            if argument
            else name
        )
        lines.append(f"| `{shown}` | {', '.join(sorted(kinds))} | {text} |")
    return "\n".join(lines)


def test_the_table_of_faults_is_that_of_the_code() -> None:
    """The page shows every fault with the code's own words; on failure, paste what is expected."""
    shown = re.search(r"<!-- faults:[^\n]*-->\n(.*?)\n?<!-- /faults -->", PAGE.read_text(), re.DOTALL)
    assert shown
    assert shown[1].strip() == fault_table()


def test_the_table_of_settings_has_every_setting_and_its_default() -> None:
    """No setting is missing from the page, none is invented, and the defaults are the code's."""
    shown = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", PAGE.read_text(), re.MULTILINE))
    expected = {
        item.name: str(getattr(Settings.of(), item.name))
        for item in fields(Settings)
        if item.name not in OWN_SECTIONS
    }
    assert shown == expected


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here")
def test_the_session_goes_as_printed(tmp_path: Path) -> None:
    """Each command of the session prints what the page says (on a free port)."""
    commands: list[str] = []
    expected: list[str] = []
    for line in block("console").splitlines()[2:]:
        if line.startswith("$ "):
            expected.append("")
            commands.append(line[2:])
        else:
            expected[-1] += line + "\n"
    first = [sys.executable, "-Im", "splunk_hec_emulator", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(first, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            url = server.stdout.readline().removeprefix("listening on ").strip()
            script = "".join(
                f"{command}; printf '\\n==\\n'\n" for command in commands if "kill" not in command
            )
            script = script.replace("http://127.0.0.1:8088", url)
            done = subprocess.run(
                ["sh", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60
            )
        finally:
            server.kill()
            server.communicate()
    printed = [part.strip() for part in done.stdout.split("\n==\n")]
    assert [part for part in printed if part] == [part.strip() for part in expected if part]


@pytest.mark.parametrize("number", [0, 1])
def test_the_python_examples_run(number: int, tmp_path: Path) -> None:
    """The examples of the page are code that runs."""
    example = tmp_path / "test_example.py"
    example.write_text(block("python", number))
    runner = ["-Im", "pytest", "-q", "-p", "no:cacheprovider"] if number else ["-I"]
    done = subprocess.run(
        [sys.executable, *runner, str(example)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
