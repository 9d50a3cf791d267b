"""What a run consists of: the broker, the HEC servers, the proxies, the members, and how to get at them.

Not for what goes wrong (`faults`). One HEC server keeps clients on their node by cookie, the other sends each
request to the next of its two nodes, whose ack ids collide.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from e2e_tools import Splunk
from real_kafka import RealKafka

from .files import EVENTS, PRODUCED, WIRE, Log
from .members import (
    DEAD,
    MAIN_INDEX,
    PROTOCOLS,
    SIDE_INDEX,
    TOPICS,
    Keeper,
    Member,
    Start,
)
from .observer import Observer
from .producer import Source
from .proxy import Proxies, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

BROKER = {
    # KIP-848's time-outs are the broker's.
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.session.timeout.ms": "6000",
    "group.consumer.heartbeat.interval.ms": "1500",
    "group.consumer.min.heartbeat.interval.ms": "1500",
    # For refusals by access list; who is not named in one may do anything.
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
ACK_DELAY = "0.2s..0.8s"
INDEXES = f"{MAIN_INDEX},{SIDE_INDEX}"


class HecServer(Splunk):
    """One HEC server with two nodes, whose token and fault rules can be changed. Any thread."""

    def __init__(self, folder: Path, name: str, balance: str, seed: int) -> None:
        own = folder / f"hec-{name}"
        own.mkdir()
        super().__init__(own, index=INDEXES)
        self.name = name
        self.port = self._port
        self._more = ["--nodes", "2", "--balance", balance, "--ack-delay", ACK_DELAY, "--seed", str(seed)]
        self._rules: dict[str, str] = {}
        self._guard = threading.RLock()

    def start(self, *more: str) -> None:
        """Start it with the rules in force."""
        with self._guard:
            rules = [word for rule in self._rules.values() for word in ("--fault", rule)]
            super().start(*self._more, *rules, *more)

    def restart_with(self, token: str) -> None:
        """`kill -9`, and a new start with other words after the token, e.g. `:ack:disabled`."""
        with self._guard:
            self.kill()
            self._options = ["--token", f"{self.TOKEN}{token}"]
            self.start()

    @contextmanager
    def rule(self, rule: str) -> Iterator[None]:
        """A fault rule beside the others."""
        name = f"{threading.get_ident()}/{rule}"
        self._set(name, rule)
        try:
            yield
        finally:
            self._set(name, None)

    def post(self, path: str) -> None:
        """A call to one of its own pages; one that does not come through does not matter."""
        self._call("POST", path, b"")

    def suspend(self, *, is_on: bool) -> None:
        """SIGSTOP or SIGCONT."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP if is_on else signal.SIGCONT)

    def terminate(self) -> None:
        """An orderly end."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
        self.kill()

    def _set(self, name: str, rule: str | None) -> None:
        with self._guard:
            self._rules = {key: value for key, value in self._rules.items() if key != name}
            if rule is not None:
                self._rules[name] = rule
            self._call("PUT", "/emulator/faults", json.dumps(list(self._rules.values())).encode())

    def _call(self, method: str, path: str, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with suppress(OSError, http.client.HTTPException):
            connection.request(method, path, body)
            connection.getresponse().read()
        connection.close()


class World:
    """All of it, running; a context manager.

    Attributes:
        missing: What cannot be had here, by fault, and why.
    """

    def __init__(self, folder: Path, seed: int, per_s: int) -> None:
        self.folder, self.seed = folder, seed
        self.missing: dict[str, str] = {}
        self.clock_file = folder / "clock"
        self.library = _faketime()
        self.protocol = random.Random(f"{seed}/protocol").choice(list(PROTOCOLS))
        self.set_clock(0)
        if not self.library:
            self.missing["clock"] = "libfaketime is not installed (apt-get install faketime)"
        if os.geteuid() or shutil.which("mount") is None:
            self.missing["full-disk"] = "a tmpfs can be mounted by root alone"
        self._per_s = per_s
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        stack, folder = self._stack, self.folder
        with ExitStack() as starting:
            starting.push(stack)
            self.log = stack.enter_context(Log(folder / EVENTS))
            wire = stack.enter_context(Log(folder / WIRE))
            self.kafka = stack.enter_context(RealKafka(BROKER))
            for topic, partitions in TOPICS.items():
                self.kafka.create_topic(topic, partitions, {"retention.ms": "-1"})
            self.create_dead_topic()
            self.sticky = HecServer(folder, "sticky", "sticky", self.seed)
            self.astray = HecServer(folder, "astray", "round-robin", self.seed + 1)
            for server in self.servers:
                stack.enter_context(server)
            ways = [self.sticky.port], [self.astray.port]
            proxies = [Proxy(f"{self.seed}/{name}", wire, *ways) for name in "ab"]
            self.proxies = stack.enter_context(Proxies(proxies))
            bootstrap = self.kafka.bootstrap
            self.members = [
                Member(name, folder, bootstrap, proxy, self.log)
                for name, proxy in zip("ab", proxies, strict=True)
            ]
            self.observer = stack.enter_context(Observer(bootstrap, folder, self.members))
            produced = stack.enter_context(Log(folder / PRODUCED))
            self.source = stack.enter_context(Source(bootstrap, produced, self.seed, self._per_s))
            stack.enter_context(Keeper(self.members, self.seed, self.how_to_start))
            starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def servers(self) -> list[HecServer]:
        """Both HEC servers."""
        return [self.sticky, self.astray]

    def create_dead_topic(self) -> None:
        """The topic of dead letters; the broker stamps them, since the sinks' clocks may be false."""
        self.kafka.create_topic(DEAD, 1, {"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"})

    def how_to_start(self, chance: float = 1.0, *, log_folder: Path | None = None) -> Start:
        """For the next launch of a member: every other one gets a clock that can be false."""
        if chance < 0.5 and self.library:
            return Start(self.protocol, self.clock_file, self.library, log_folder)
        return Start(self.protocol, log_folder=log_folder)

    def set_clock(self, offset_s: int) -> None:
        """Jump the wall clock of the launches that have a false one."""
        self.clock_file.write_text(f"{offset_s:+d}\n", encoding="ascii")

    @contextmanager
    def tiny_disk(self, name: str) -> Iterator[Path]:
        """A folder with room for 256 KiB; what it held is kept in the run's folder."""
        folder = self.folder / f"tiny-{name}"
        folder.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "chaos", str(folder)], check=True)
        try:
            yield folder
        finally:
            for file in folder.iterdir():
                shutil.copy(file, self.folder / "sinks")
            subprocess.run(["umount", "-l", str(folder)], check=True)

    def note(self, **values: Any) -> None:
        """A line of events.jsonl."""
        self.log.note(**values)


def _faketime() -> str:
    usual = (*Path("/usr/lib").glob("*/faketime"), Path("/usr/lib/faketime"), Path("/usr/local/lib/faketime"))
    libraries = [folder / "libfaketimeMT.so.1" for folder in usual]
    return next((str(one) for one in libraries if one.exists()), "")
