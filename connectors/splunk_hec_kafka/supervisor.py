"""`--processes N`: N sink processes in one group, started again when they die, ended together.

Not for deciding what a sink does. Each process is the same command with `--processes 1`, its pages on a free
port of 127.0.0.1, and a pipe on which it tells that port and its summary.

    started → running → ended ─ 0 and --until-end → done
                              ─ 2, 3, 4, 5, 6, 8  → all are ended, with that code: a restart would not help
                              ─ anything else     → started again after 1, 2, 4 … 30 s

Non-obvious: a process that ends with 0 unasked, without --until-end, was stopped by somebody else: it is
started again too. Signals go to every process; whoever is late after `shutdown_s` is killed. Standard
input of a process is a pipe that closes when the supervisor dies, however it dies: it ends then.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from splunk_hec_kafka.failures import ExitCode
from splunk_hec_kafka.merged_pages import MergedPages, ProcessPages
from splunk_hec_kafka.server import StatusServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from splunk_hec_kafka.config import SinkConfig

log = logging.getLogger("splunk_hec_kafka")

FIRST_GAP_S = 1.0
LONGEST_GAP_S = 30.0
STEADY_S = 60.0
"""A process that ran for so long starts its gaps anew."""
GRACE_S = 5.0
"""What a process may take beyond `shutdown_s` before it is killed."""
_TURN_S = 0.2
CONFIGURATION_CODES = frozenset(
    {
        ExitCode.USAGE,
        ExitCode.CONFIG,
        ExitCode.KAFKA,
        ExitCode.HEC,
        ExitCode.DEAD_LETTER_LIMIT,
        ExitCode.DEAD_LETTER_TOPIC,
    }
)
"""A restart changes nothing about these."""


def supervise(config: SinkConfig, *, until_end: bool) -> tuple[int, list[dict[str, Any]]]:
    """Run the processes until they end.

    Args:
        config: `run.processes`, `run.shutdown_s` and `server.listen` are read; each process reads all again.
        until_end: A process that ends with 0 is done.

    Returns:
        The exit code, and the summary of each process that ended orderly.

    Raises:
        SinkFailure: The status pages cannot be served.
    """
    supervisor = Supervisor(config, worker_command(config), until_end=until_end)

    def stop(_number: int, _frame: object) -> None:
        supervisor.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    pages = MergedPages([worker.pages for worker in supervisor.workers])
    server = StatusServer(config.server.listen, pages, pages.is_alive, pages.readiness)
    if config.server.listen:
        server.start()
    try:
        return supervisor.run(), supervisor.summaries
    finally:
        supervisor.kill()
        server.close()


def worker_command(config: SinkConfig) -> list[str]:
    """This process's own command line, for one process and a free port."""
    listen = "127.0.0.1:0" if config.server.listen else ""
    ours = ["--processes", "1", "--set", f"server.listen={listen}"]
    return [sys.executable, "-P", "-m", "splunk_hec_kafka", *sys.argv[1:], *ours]


class Worker:
    """One place for a process, and whoever holds it. Owned by the supervisor's thread.

    Attributes:
        pages: Its pages.
        due: Monotonic time of the next start; None while it runs, or when it is done.
        code: How it ended last; None while it runs.
    """

    def __init__(self, number: int, command: Sequence[str]) -> None:
        self.number = number
        self.pages = ProcessPages(number)
        self.due: float | None = 0.0
        self.code: int | None = None
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._gap_s = FIRST_GAP_S

    def start(self, now: float, told: queue.SimpleQueue[tuple[Worker, Any]]) -> None:
        """Start a process; what it tells, and None at its end, is put into `told`."""
        reading, writing = os.pipe()
        try:
            command = [*self._command, "--report-to", str(writing)]
            self._process = subprocess.Popen(  # noqa: S603 -- our own command
                command, stdin=subprocess.PIPE, pass_fds=(writing,), start_new_session=True
            )
        finally:
            os.close(writing)
        self._started_at, self.due, self.code = now, None, None
        name = f"process-{self.number}"
        threading.Thread(target=_listen, args=(self, reading, told), name=name, daemon=True).start()

    def ended(self, now: float) -> int:
        """Its pipe is closed: take its exit code, and say when it would be started again."""
        assert self._process is not None
        code = self._process.wait()
        # A signal that came before its handler did: it had not begun.
        self.code = ExitCode.OK if code == -signal.SIGTERM and not self.pages.port else code
        if self._process.stdin:
            self._process.stdin.close()
        if now - self._started_at >= STEADY_S:
            self._gap_s = FIRST_GAP_S
        self.due = now + self._gap_s
        self._gap_s = min(self._gap_s * 2, LONGEST_GAP_S)
        return self.code

    def signal(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self._process is not None and self.code is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    @property
    def runs(self) -> bool:
        """Whether a process holds this place."""
        return self._process is not None and self.code is None


class Supervisor:
    """Runs the workers on one thread. `stop` may be called in a signal handler.

    Attributes:
        workers: All places.
        summaries: Of processes that ended orderly.
    """

    def __init__(self, config: SinkConfig, command: Sequence[str], *, until_end: bool) -> None:
        self.workers = [Worker(number, command) for number in range(config.run.processes)]
        self.summaries: list[dict[str, Any]] = []
        self._shutdown_s = config.run.shutdown_s
        self._until_end = until_end
        self._told: queue.SimpleQueue[tuple[Worker, Any]] = queue.SimpleQueue()
        self._stops = 0
        self._signal_at = 0.0
        self._kill_at = float("inf")
        self._code: int | None = None

    def stop(self) -> None:
        """End all processes orderly; a second call ends them at once."""
        self._stops += 1

    def run(self) -> int:
        """Run until all processes have ended for good.

        Returns:
            The exit code.
        """
        while True:
            now = time.monotonic()
            self._forward_stops(now)
            for worker in self.workers:
                if not self._stops and worker.due is not None and worker.due <= now:
                    worker.start(now, self._told)
            if not any(
                worker.runs or (worker.due is not None and not self._stops) for worker in self.workers
            ):
                return self._code if self._code is not None else _end_code(self.workers)
            with suppress(queue.Empty):
                worker, told = self._told.get(timeout=_TURN_S)
                self._take(worker, told)

    def kill(self) -> None:
        """End what still runs, at once."""
        for worker in self.workers:
            worker.signal(signal.SIGKILL)

    def _take(self, worker: Worker, told: Any) -> None:
        """A process told its port or its summary, or ended (None)."""
        if told is None:
            self._on_end(worker, worker.ended(time.monotonic()))
        elif "port" in told:
            worker.pages.started(told["port"])
        else:
            self.summaries.append(told["summary"])

    def _on_end(self, worker: Worker, code: int) -> None:
        is_done = code == ExitCode.OK and self._until_end
        if is_done:
            worker.due = None
        worker.pages.ended("is done" if is_done else f"ended with {code} and is started again")
        if is_done or self._stops:
            return
        if code in CONFIGURATION_CODES:
            log.error(
                "process %d ended with %d: all are ended, a restart would not help", worker.number, code
            )
            self._code = code
            self.stop()
        else:
            gap_s = (worker.due or 0.0) - time.monotonic()
            log.error("process %d ended with %d; it is started again in %.0f s", worker.number, code, gap_s)

    def _forward_stops(self, now: float) -> None:
        is_first = self._stops > 0 and self._kill_at == float("inf")
        if is_first:
            self._kill_at = now + self._shutdown_s + GRACE_S
        # Two signals in a row may arrive as one: the second is repeated until the processes are gone.
        if is_first or (self._stops > 1 and now >= self._signal_at):
            self._signal_at = now + _TURN_S
            for worker in self.workers:
                worker.signal(signal.SIGTERM)
        if now >= self._kill_at:
            self._kill_at = now + GRACE_S
            log.error("a process did not end within %.0f s; it is killed", self._shutdown_s + GRACE_S)
            self.kill()


def merged_summary(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One summary of several processes: added up; of latencies and time the largest."""
    resends: dict[str, int] = {}
    for one in summaries:
        for cause, times in one["resends"].items():
            resends[cause] = resends.get(cause, 0) + times
    counts = ("records", "delivered", "dead_lettered", "skipped")
    added: dict[str, Any] = {name: sum(one[name] for one in summaries) for name in counts}
    latency = {
        share: max((one["ack_latency_s"][share] for one in summaries), default=0.0)
        for share in ("p50", "p99")
    }
    return added | {
        "committed": bool(summaries) and all(one["committed"] for one in summaries),
        "resends": resends,
        "records_per_s": round(sum(one["records_per_s"] for one in summaries), 1),
        "ack_latency_s": latency,
        "seconds": max((one["seconds"] for one in summaries), default=0.0),
    }


def _listen(worker: Worker, reading: int, told: queue.SimpleQueue[tuple[Worker, Any]]) -> None:
    """On a thread of its own, until the process closes its end."""
    with os.fdopen(reading, encoding="utf-8") as lines:
        for line in lines:
            told.put((worker, json.loads(line)))
    told.put((worker, None))


def _end_code(workers: Sequence[Worker]) -> int:
    """0 if all ended with 0; a process that a signal ended left records unsettled."""
    codes = [worker.code for worker in workers if worker.code]
    return next((ExitCode.UNSETTLED if code < 0 else code for code in codes), ExitCode.OK)
