"""Pipelines as whole processes: the command line as users run it, and watching for files until the end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from e2e_tools import log_lines
from kafka_tools import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from splunk_hec_emulator import Emulator

pytestmark = pytest.mark.e2e
PIPELINES = Path(__file__).parents[2] / "pipelines"


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A pipeline as a process, to its end."""
    command = [sys.executable, "-I", str(PIPELINES / f"{name}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("name", sorted(file.stem for file in PIPELINES.glob("*.py")))
def test_help_and_wrong_usage_of_the_process(name: str) -> None:
    """`--help` works in a fresh process; without arguments there is one line on stderr, and code 2."""
    told = run(name, "--help")
    assert (told.returncode, told.stderr) == (0, "")
    assert f"usage: {name}.py" in told.stdout
    assert "--hec_url" in told.stdout
    refused = run(name)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"{name}.py: --hec_url is required")
    assert refused.stderr.count("\n") == 1


def test_a_process_sends_files(
    flags: Callable[..., list[str]], dead: Callable[..., list[object]], hec_emulator: Emulator, tmp_path: Path
) -> None:
    """Run as a script, its classes in `__main__`, a pipeline delivers every line and ends with 0."""
    lines = log_lines(1_000)
    (tmp_path / "a.log").write_bytes(b"\n".join([*lines, b"\xff"]))
    ended = run("files_to_splunk", *flags(f"--input={tmp_path}/a.log"))
    assert ended.returncode == 0, ended.stderr
    assert Counter(one["event"] for one in hec_emulator.events()) == Counter(line.decode() for line in lines)
    assert len(dead()) == 1


def test_a_refused_token_fails_the_process(flags: Callable[..., list[str]], tmp_path: Path) -> None:
    """A job whose token Splunk refuses does not end with 0, and says why."""
    (tmp_path / "a.log").write_bytes(b"x\n")
    (tmp_path / "token").write_text("00000000-dead-0000-0000-000000000000", "ascii")
    more = (f"--hec_token=file:{tmp_path}/token", '--hec_settings={"halt_patience_s": 0}')
    ended = run("files_to_splunk", *flags(f"--input={tmp_path}/a.log", *more))
    assert ended.returncode not in (0, 2)
    assert "invalid_token" in ended.stderr


def test_new_files_are_sent_while_it_watches(
    flags: Callable[..., list[str]], hec_emulator: Emulator, tmp_path: Path
) -> None:
    """With a watch interval, files that appear after the start are sent too, each once."""
    (tmp_path / "a.log").write_bytes(b"first\n")
    arguments = flags(f"--input={tmp_path}/*.log", "--watch_interval_s=0.2", "--streaming")
    command = [sys.executable, "-I", str(PIPELINES / "gcs_to_splunk.py"), *arguments]
    with (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(command, stderr=err, env=dict(os.environ))
    try:

        def indexed(count: int) -> bool:
            assert process.poll() is None, (tmp_path / "err").read_text("utf-8")
            return len(hec_emulator.events()) >= count

        wait_for(lambda: indexed(1), "the file that was there", 60)
        (tmp_path / "part").write_bytes(b"second\nthird\n")
        (tmp_path / "part").rename(tmp_path / "b.log")
        wait_for(lambda: indexed(3), "the file that came", 60)
    finally:
        process.kill()
        process.wait()
    assert Counter(one["event"] for one in hec_emulator.events()) == Counter(["first", "second", "third"])
