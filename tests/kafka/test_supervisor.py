"""The supervisor: who is started again, who ends all, and that nothing is left behind."""

from __future__ import annotations

import queue
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from kafka_tools import DEADLINE_S, wait_for

from splunk_hec_kafka import supervisor as module
from splunk_hec_kafka.config import Run, Server, SinkConfig
from splunk_hec_kafka.failures import ExitCode
from splunk_hec_kafka.supervisor import Supervisor, Worker, merged_summary, worker_command

if TYPE_CHECKING:
    from pathlib import Path

TELL = """
import json, os, signal, sys, time
fd = int(sys.argv[sys.argv.index("--report-to") + 1])
def tell(document):
    os.write(fd, json.dumps(document).encode() + b"\\n")
def starts(folder):
    os.makedirs(folder, exist_ok=True)
    open(os.path.join(folder, str(os.getpid())), "w").close()
    return len(os.listdir(folder))
"""
WAIT = "signal.signal(signal.SIGTERM, lambda *_: sys.exit({code}))\ntell({{'port': 1}})\nsys.stdin.read()"
SUMMARY = {
    "records": 10,
    "delivered": 9,
    "dead_lettered": 1,
    "skipped": 0,
    "committed": True,
    "resends": {"busy": 2},
    "records_per_s": 5.0,
    "ack_latency_s": {"p50": 1.0, "p99": 2.0},
    "seconds": 2.0,
}


@pytest.fixture(autouse=True)
def short_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits a second for a restart here."""
    monkeypatch.setattr(module, "FIRST_GAP_S", 0.01)


def supervisor(
    script: str, *, processes: int = 2, until_end: bool = False, shutdown_s: float = 20
) -> Supervisor:
    """A supervisor of processes that run a script instead of the sink."""
    config = SinkConfig(run=Run(processes=processes, shutdown_s=shutdown_s))
    return Supervisor(config, [sys.executable, "-c", TELL + script], until_end=until_end)


def in_background(one: Supervisor) -> tuple[threading.Thread, list[int]]:
    """Run it on a thread; the list holds its exit code at the end."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(one.run()), daemon=True)
    thread.start()
    wait_for(lambda: all(worker.pages.port for worker in one.workers), "all processes to be started")
    return thread, codes


def test_until_end_all_zeros_are_zero() -> None:
    """With --until-end each process that ends with 0 is done, and all summaries are handed out."""
    one = supervisor(f"tell({{'port': 1}})\ntell({{'summary': {SUMMARY!r}}})", until_end=True)
    assert one.run() == ExitCode.OK
    assert one.summaries == [SUMMARY, SUMMARY]


@pytest.mark.parametrize("code", sorted(module.CONFIGURATION_CODES))
def test_a_configuration_class_code_ends_all_with_it(code: int) -> None:
    """A restart would not help: the others are ended orderly, and the code is that of the first."""
    one = supervisor(WAIT.format(code=0))
    one.workers[1] = Worker(1, [sys.executable, "-c", TELL + f"sys.exit({int(code)})"])
    assert one.run() == code
    assert [worker.code for worker in one.workers] == [0, code]


@pytest.mark.parametrize("ending", ["sys.exit(1)", "sys.exit(7)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_whoever_dies_is_started_again(ending: str, tmp_path: Path) -> None:
    """A fault, unsettled records or a kill: the place is held by a new process until the job is done."""
    one = supervisor(f"if starts({str(tmp_path)!r}) < 3: {ending}", processes=1, until_end=True)
    assert one.run() == ExitCode.OK
    assert len(list(tmp_path.iterdir())) == 3


def test_zero_unasked_is_started_again(tmp_path: Path) -> None:
    """Without --until-end a process that ends with 0 was stopped by somebody else: it comes back."""
    one = supervisor(f"if starts({str(tmp_path)!r}) < 2: sys.exit(0)\n{WAIT.format(code=0)}", processes=1)
    thread, codes = in_background(one)
    one.stop()
    thread.join(DEADLINE_S)
    assert codes == [ExitCode.OK]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(("code", "ends_with"), [(0, 0), (7, 7)])
def test_stop_ends_all_orderly(code: int, ends_with: int) -> None:
    """One signal reaches every process; whoever leaves records unsettled decides the exit code."""
    one = supervisor(WAIT.format(code=code))
    thread, codes = in_background(one)
    one.stop()
    thread.join(DEADLINE_S)
    assert codes == [ends_with]


def test_a_second_stop_is_passed_on() -> None:
    """The second signal reaches the processes as their second too: they end at once."""
    script = """
seen = []
def on(*_):
    seen.append(1)
    if len(seen) == 2:
        sys.exit(7)
signal.signal(signal.SIGTERM, on)
tell({'port': 1})
while True:
    time.sleep(0.05)
"""
    one = supervisor(script)
    thread, codes = in_background(one)
    one.stop()
    one.stop()
    thread.join(DEADLINE_S)
    assert codes == [ExitCode.UNSETTLED]


def test_whoever_is_late_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ignores the signal is killed after shutdown_s and a grace: unsettled, exit 7."""
    monkeypatch.setattr(module, "GRACE_S", 0.0)
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntell({'port': 1})\nsys.stdin.read()"
    one = supervisor(ignore, processes=1, shutdown_s=0.1)
    thread, codes = in_background(one)
    one.stop()
    thread.join(DEADLINE_S)
    assert codes == [ExitCode.UNSETTLED]
    assert one.workers[0].code == -signal.SIGKILL


def test_gaps_double_up_to_thirty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """1, 2, 4 … 30 s between starts; after a minute of steady running it begins anew."""
    monkeypatch.setattr(module, "FIRST_GAP_S", 1.0)
    told: queue.SimpleQueue[tuple[Worker, Any]] = queue.SimpleQueue()
    worker = Worker(0, [sys.executable, "-c", "pass"])
    gaps: list[float] = []
    for ran_s in (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 61.0):
        worker.start(100.0, told)
        told.get(timeout=DEADLINE_S)
        worker.ended(100.0 + ran_s)
        gaps.append((worker.due or 0.0) - 100.0 - ran_s)
    assert gaps == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 1.0]


def test_kill_leaves_nobody_behind() -> None:
    """When the supervisor fails itself, its processes are killed."""
    one = supervisor(WAIT.format(code=0), processes=1)
    told: queue.SimpleQueue[tuple[Worker, Any]] = queue.SimpleQueue()
    one.workers[0].start(0.0, told)
    one.kill()
    while told.get(timeout=DEADLINE_S)[1] is not None:
        pass
    assert one.workers[0].ended(0.0) == -signal.SIGKILL


def test_a_process_is_the_same_command_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process gets the same arguments, one process, and pages of its own where any are wanted."""
    monkeypatch.setattr(sys, "argv", ["hec-kafka-sink", "run", "--processes", "4", "-t", "logs"])
    command = worker_command(SinkConfig())
    ours = ["--processes", "1", "--set", "server.listen=127.0.0.1:0"]
    assert command[-9:] == ["run", "--processes", "4", "-t", "logs", *ours]
    assert worker_command(SinkConfig(server=Server(listen="")))[-1] == "server.listen="


def test_summaries_are_added_up() -> None:
    """Counts and speed are sums; of latencies and time the largest; committed only if all are."""
    slow = SUMMARY | {"committed": False, "seconds": 3.0, "ack_latency_s": {"p50": 0.5, "p99": 9.0}}
    merged = merged_summary([SUMMARY, slow])
    assert merged["records"] == 20
    assert merged["records_per_s"] == 10.0
    assert merged["resends"] == {"busy": 4}
    assert merged["ack_latency_s"] == {"p50": 1.0, "p99": 9.0}
    assert merged["seconds"] == 3.0
    assert merged["committed"] is False
    assert list(merged) == list(SUMMARY)
    assert merged_summary([])["committed"] is False


def test_its_death_is_seen_by_its_processes() -> None:
    """Standard input of a process is a pipe whose other end the supervisor holds: it closes with it."""
    told: queue.SimpleQueue[tuple[Worker, Any]] = queue.SimpleQueue()
    worker = Worker(0, [sys.executable, "-c", TELL + "tell({'port': 1})\nsys.stdin.read()\nsys.exit(3)"])
    worker.start(0.0, told)
    assert told.get(timeout=DEADLINE_S)[1] == {"port": 1}
    assert worker._process
    assert worker._process.stdin
    worker._process.stdin.close()
    assert told.get(timeout=DEADLINE_S)[1] is None
    assert worker.ended(0.0) == 3
