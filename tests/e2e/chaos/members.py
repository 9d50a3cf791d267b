"""Sink processes: members of one group, each restarted whenever it ends, as an orchestrator would.

A member is a place in the group; a *launch* (`a7`: the seventh of member a) is one process with a log of its
own, and its name is an indexed field of all that it sends, so that a journal tells who sent what.
Guarantees: every start and end is in `events.jsonl` with its cause; nothing is left behind.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from e2e_tools import TOKENS, free_port, settings, toml

from .files import SINKS

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from .files import Log
    from .proxy import Proxy

COMMAND = (sys.executable, "-Im", "splunk_hec_kafka")
GROUP = "chaos"
MAIN, SIDE, SHORT, DEAD = "chaos.main", "chaos.side", "chaos.short", "chaos.dead"
TOPICS = {MAIN: 6, SIDE: 2, SHORT: 1}
MAIN_INDEX, SIDE_INDEX, NO_INDEX = "alpha", "beta", "nowhere"
EVENT_MAX_BYTES = 20_000
IN_FLIGHT_EVENTS, IN_FLIGHT_BYTES = 6_000, 16 * 2**20
PROTOCOLS: dict[str, dict[str, str]] = {
    "range": {"partition.assignment.strategy": "range", "session.timeout.ms": "6000"},
    "cooperative": {"partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": "6000"},
    "consumer": {"group.protocol": "consumer"},
}
MAX_POLL_S = 10.0
AGAIN_S = (0.2, 2.0)
LOOK_S = 0.1
STOP_S = 60.0


class Start(NamedTuple):
    """How a launch is made. `fake_clock`: libfaketime's file; `log_folder`: where its log is to stand."""

    protocol: str
    fake_clock: Path | None = None
    library: str = ""
    log_folder: Path | None = None


def sink_settings(bootstrap: str, url: str, launch: str, port: int, protocol: str) -> dict[str, Any]:
    """The configuration of one launch: small budgets, short deadlines, the log at its most talkative."""
    provenance = {"launch": launch, "uid": "{header:uid}"}
    base = settings(
        bootstrap,
        [MAIN, SIDE, SHORT],
        url,
        kafka__group_id=GROUP,
        hec__lanes=6,
        hec__linger_s=0.2,
        hec__batch_max_events=400,
        hec__event_max_bytes=EVENT_MAX_BYTES,
        hec__in_flight_max_events=IN_FLIGHT_EVENTS,
        hec__in_flight_max_bytes=IN_FLIGHT_BYTES,
        hec__request_deadline_s=6,
        hec__ack_deadline_s=12,
        hec__halt_patience_s=15,
        dead_letter__topic=DEAD,
        server__listen=f"127.0.0.1:{port}",
        log__level="debug",
        route=[
            _route(SIDE, "{header:index}", provenance),
            _route("*", MAIN_INDEX, provenance),
        ],
    )
    del base['kafka.properties."session.timeout.ms"']  # with KIP-848 it is the broker's
    wanted = {"max.poll.interval.ms": str(int(MAX_POLL_S * 1000)), **PROTOCOLS[protocol]}
    return base | {f'kafka.properties."{name}"': value for name, value in wanted.items()}


def _route(topic: str, index: str, fields: dict[str, str]) -> dict[str, Any]:
    named = {f"fields.{name}": value for name, value in fields.items()}
    return {"topics": [topic], "index": index, "sourcetype": "chaos", **named}


class Member:
    """One place in the group. Any thread; `guard` is held while its process is started or ended.

    Attributes:
        is_wanted: It is restarted when it ends.
        port: Of the metrics page of the launch that runs.
        launch: The name of the launch that runs, or ran last.
    """

    def __init__(self, name: str, folder: Path, bootstrap: str, proxy: Proxy, log: Log) -> None:
        self.name = name
        self.proxy = proxy
        self.launch = ""
        self.port = 0
        self.is_wanted = False
        self.guard = threading.RLock()
        self._folder = folder / SINKS
        self._folder.mkdir(exist_ok=True)
        self._bootstrap, self._log = bootstrap, log
        self._number = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._ends_by = "exit"

    @property
    def pid(self) -> int | None:
        """Of the process that runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self, how: Start) -> None:
        """Start a launch; nothing if one runs."""
        with self.guard:
            if self._process is not None:
                return
            self._number += 1
            self.launch, self.port = f"{self.name}{self._number}", free_port()
            values = sink_settings(self._bootstrap, self.proxy.url, self.launch, self.port, how.protocol)
            config = self._folder / f"{self.launch}.toml"
            config.write_text(toml(values), encoding="utf-8")
            path = (how.log_folder or self._folder) / f"{self.launch}.log"
            with path.open("wb") as err, (self._folder / f"{self.launch}.out").open("wb") as out:
                self._process = subprocess.Popen(
                    [*COMMAND, "run", "-c", str(config), "-o", "json"],
                    stdout=out,
                    stderr=err,
                    env=_environment(how),
                    start_new_session=True,
                )
            self._log.note(
                what="start",
                launch=self.launch,
                member=self.name,
                protocol=how.protocol,
                has_fake_clock=how.fake_clock is not None,
                has_full_disk=how.log_folder is not None,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        with self.guard:
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(number)

    def kill(self) -> bool:
        """`kill -9`; False if there was nothing to kill."""
        with self.guard:
            if self._process is None or self._process.poll() is not None:
                return False
            self._process.kill()
            self._process.wait()
            self._note_end("kill")
            return True

    def stop(self, within_s: float = STOP_S) -> int | None:
        """SIGTERM, and its exit code; killed when it takes too long (None, as when there was nothing)."""
        with self.guard:
            process = self._process
            if process is None or process.poll() is not None:
                return None
            self._ends_by = "stop"
            process.terminate()
        try:
            code = process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._log.note(what="stuck", launch=self.launch)
            self.kill()
            return None
        self.look()
        return code

    def look(self) -> None:
        """Note its end, if it ended."""
        with self.guard:
            if self._process is not None and self._process.poll() is not None:
                self._note_end(self._ends_by)

    def _note_end(self, how: str) -> None:
        assert self._process is not None
        self._log.note(what="end", launch=self.launch, how=how, code=self._process.returncode)
        self._process = None
        self._ends_by = "exit"


class Keeper:
    """Restarts members that ended though they are wanted; a context manager that leaves none behind."""

    def __init__(self, members: list[Member], seed: int, how: Callable[[float], Start]) -> None:
        """Watch `members`; `how` makes the next start of a random number."""
        self._members, self._how = members, how
        self._random = random.Random(f"{seed}/keeper")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keeper")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for member in self._members:
            member.is_wanted = False
            member.kill()

    def _keep(self) -> None:
        due: dict[str, float] = {}
        turn = 0
        while not self._ended.wait(LOOK_S):
            turn += 1
            for member in self._members:
                member.look()
                if not member.is_wanted or member.pid is not None:
                    due.pop(member.name, None)
                elif turn >= due.setdefault(member.name, turn + int(self._random.uniform(*AGAIN_S) / LOOK_S)):
                    member.start(self._how(self._random.random()))


def _environment(how: Start) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("HEC_SINK_")} | TOKENS
    if how.fake_clock is None:
        return own
    return own | {
        "LD_PRELOAD": how.library,
        "FAKETIME_TIMESTAMP_FILE": str(how.fake_clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def rss_bytes(pid: int) -> int:
    """The memory that a process holds; 0 if it is gone."""
    with suppress(OSError, IndexError, ValueError):
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) * 1024
    return 0
