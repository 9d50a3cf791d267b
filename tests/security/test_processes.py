"""Someone who reads process lists: no process that we start has a token on its command line.

The environment may hold it where the user put it there: a token as `env:NAME` is inherited by the sink's own
processes, and only its user and root can read it. A token as `file:` is in neither.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kafka_tools import wait_for

from splunk_hec_emulator import Emulator
from splunk_hec_kafka.demo_processes import TOKEN as DEMO_TOKEN

if TYPE_CHECKING:
    from splunk_hec_kafka._mock_kafka import MockKafka

pytestmark = pytest.mark.e2e
SECRET = "5ecre7-70ken-0f-7he-pr0ce55"
COMMAND = [sys.executable, "-P", "-m", "splunk_hec_kafka"]
ENDS_WITHIN_S = 60


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            told = stat.read_text()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(told.rpartition(")")[2].split()[1])
    members = [pid]
    for one in members:
        members += [child for child, parent in parents.items() if parent == one]
    return members


def shown(pid: int, what: str) -> str:
    """What /proc shows of a process; empty if it has just ended."""
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes().decode(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def plain_environment(**more: str) -> dict[str, str]:
    """This process's environment without settings of a sink."""
    return {name: text for name, text in os.environ.items() if not name.startswith("HEC_SINK_")} | more


@pytest.mark.parametrize("kind", ["file", "env"])
def test_a_sink_and_its_processes_show_no_token(mock_kafka: MockKafka, tmp_path: Path, kind: str) -> None:
    """No command line of a supervisor and its processes has the token, no environment if it is in a file."""
    token = tmp_path / "token"
    token.write_text(SECRET)
    mock_kafka.create_topic("logs", 2)
    mock_kafka.create_topic("hec-kafka-sink.dead-letters", 1)
    with Emulator(ack_delay=0, tokens=[f"{SECRET}:ack"]) as hec:
        place = f"file:{token}" if kind == "file" else "env:SECURITY_TOKEN"
        options = [
            *("-b", mock_kafka.bootstrap, "-t", "logs", "-g", "g", "--hec-url", hec.url, "--processes", "2"),
            *("--set", f"hec.token={place}", "--set", "server.listen=127.0.0.1:0", "-v"),
            *("--set", "kafka.properties.session.timeout.ms=1500"),
            *("--set", "kafka.properties.heartbeat.interval.ms=100"),
        ]
        env = plain_environment(**({"SECURITY_TOKEN": SECRET} if kind == "env" else {}))
        with (tmp_path / "log").open("w") as log:
            sink = subprocess.Popen([*COMMAND, "run", *options], env=env, stdout=log, stderr=log)
        try:
            wait_for(
                lambda: (tmp_path / "log").read_text().count("assigned logs") >= 2, "both to be assigned", 60
            )
            members = family(sink.pid)
            assert len(members) >= 3
            lines = [shown(pid, "cmdline") for pid in members]
            assert all(place in line for line in lines)
            assert SECRET not in "".join(lines)
            if kind == "file":
                assert SECRET not in "".join(shown(pid, "environ") for pid in members)
        finally:
            sink.send_signal(signal.SIGTERM)
            sink.wait(ENDS_WITHIN_S)
    assert SECRET not in (tmp_path / "log").read_text()


def test_a_literal_token_on_the_command_line_is_refused() -> None:
    """Who puts the token itself on the command line is told to name its place, and nothing is started."""
    done = subprocess.run(
        [*COMMAND, "run", "--set", f"hec.token={SECRET}"],
        env=plain_environment(), capture_output=True, text=True, timeout=ENDS_WITHIN_S, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "give env:NAME or file:PATH" in done.stderr
    assert SECRET not in done.stderr + done.stdout


def test_the_demos_processes_show_not_even_the_test_token(tmp_path: Path) -> None:
    """Emulator and sink of the demo get their token in the environment, as one should with a real one."""
    log = tmp_path / "log"
    lines = tmp_path / "lines.txt"
    lines.write_text("one line\n" * 50)
    with log.open("w") as out:
        demo = subprocess.Popen(
            [*COMMAND, "demo", "--keep", str(lines)], env=plain_environment(), stdout=out, stderr=out
        )
    try:
        wait_for(
            lambda: "still running" in log.read_text() or demo.poll() is not None, "the demo to be over", 100
        )
        assert demo.poll() is None, log.read_text()
        members = family(demo.pid)
        shown_lines = [shown(pid, "cmdline") for pid in members]
        for module in ("splunk_hec_emulator", "_mock_kafka", "splunk_hec_kafka run"):
            assert any(module in line for line in shown_lines), shown_lines
        assert DEMO_TOKEN not in "".join(shown_lines)
        told = [shown(pid, "environ") for pid in members]
        assert any(DEMO_TOKEN in one for one in told)
        assert DEMO_TOKEN not in shown(demo.pid, "environ")
    finally:
        demo.terminate()  # SIGINT may be ignored from the start: a shell's background jobs inherit that
        demo.wait(ENDS_WITHIN_S)
    assert DEMO_TOKEN not in log.read_text()


def test_an_emulator_takes_its_tokens_from_the_environment() -> None:
    """Several tokens in HEC_EMULATOR_TOKEN are as good as several --token, and on no command line."""
    emulator = subprocess.Popen(
        [sys.executable, "-P", "-m", "splunk_hec_emulator", "--listen", "127.0.0.1:0"],
        env=plain_environment(HEC_EMULATOR_TOKEN=f"{SECRET}:ack other:index=main"),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert emulator.stdout is not None
        url = emulator.stdout.readline().split()[-1]
        assert SECRET not in shown(emulator.pid, "cmdline")
        from splunk_hec import HecClient, HecConfig

        for token, acks in ((SECRET, True), ("other", False)):
            hec = HecClient(HecConfig(url=url, token=token, ack="auto", threads=False))
            probe = hec.probe()
            hec.abort()
            assert (probe.token_ok, probe.acks) == (True, acks)
    finally:
        emulator.terminate()
        emulator.wait(ENDS_WITHIN_S)
        assert emulator.stdout is not None
        emulator.stdout.close()
