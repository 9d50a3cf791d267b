"""One run: a clock, Kafka, Splunk, and processes that run real sinks; the observer's ledger of what is true.

Time moves only here: a request takes some, and when nobody has anything to do it jumps to the next moment at
which somebody has. Not for what goes wrong (`sim_nemesis`) nor for what is demanded (`sim_checker`).
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
from sim_broker import Broker
from sim_nemesis import HANDLERS
from sim_process import Process
from sim_splunk import Splunk

from splunk_hec._protocol import Reply, Request, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sim_scenario import Fault, Scenario

LONGEST_IDLE_S = 2.0
LONGEST_QUIET_S = 5.0
LOOK_S = 0.05
"""How often the group's coordinator looks for the silent and the late."""
OVERDUE_S = {"ack_timeout": 1e9, "ack_reply_lost": 10.0}
"""Causes that need so long a wait since the batch was taken, or the deadline if that is shorter."""
_EVENT = re.compile(r'"event":"([^"]*)"')
_RUN = re.compile(r"/(\d+)@(\d+)-(\d+)")


class Violation(msgspec.Struct, frozen=True):
    """What was broken, and how."""

    equation: str
    text: str


class World:
    """Everything of one run.

    Attributes:
        now: Virtual seconds.
        indexed: How often each record is durably indexed, in the order of the first time.
        resent: How often each record was announced to be sent again, by place.
        lost: Ranges (partition, first, after) that were reported as deleted before they were read.
        fired: Which faults really struck.
        violations: What was broken; the first ends the run.
    """

    def __init__(self, scenario: Scenario, story: Callable[[str], None] | None = None) -> None:
        self.scenario = scenario
        self.story = story
        self.now = 1_000.0
        self.started_at = self.now
        self.rng = Random(scenario.seed * 7 + 1)
        self.fired: Counter[str] = Counter()
        self.violations: list[Violation] = []
        self.resent: Counter[tuple[int, int]] = Counter()
        self.indexed: dict[str, int] = {}
        self.lost: list[tuple[int, int, int]] = []
        self.is_healed = False
        self.actor: Any = None
        self.flights = 0
        self._channels: dict[str, str] = {}
        self._next_look = self._next_move = 0.0
        self._quiet = 0
        self.broker = Broker(self, scenario.protocol, Random(scenario.seed * 7 + 2))
        nodes = scenario.nodes // scenario.addresses
        self.splunks = {
            f"http://s{number}": Splunk(self, scenario.seed * 7 + 3 + number, nodes=nodes)
            for number in range(scenario.addresses)
        }
        # With an id for each prefix, and numbers that count from 1, a split repeats nothing that was taken.
        self.may_split_repeat = any(
            node.habits.index_base == 0 or not node.habits.ack_id_on_prefix
            for splunk in self.splunks.values()
            for node in splunk.nodes
        )
        self._faults: list[Fault] = list(reversed(scenario.faults))
        self._records = list(reversed(scenario.records))
        self.processes = [Process(self, number) for number in range(scenario.members)]

    # -- what is told ------------------------------------------------------------------------------------

    def tell(self, text: str, *args: object) -> None:
        """A line of the story, if anybody listens."""
        if self.story is not None:
            self.story(f"{self.now - self.started_at:9.3f}  {text % args}")

    def story_of_request(self, who: str, request: Request, reply: Reply | TransportError) -> None:
        """A request and what came back, as a line of the story."""
        body = request.body.decode()
        events = _EVENT.findall(body)
        what = f"posts {events[0]}…{events[-1]} ({len(events)})" if events else f"asks {body or 'nothing'}"
        came = reply.text if isinstance(reply, TransportError) else f"{reply.status} {reply.body.decode()}"
        channel = self._channels.setdefault(request.channel, f"c{len(self._channels)}")
        self.tell("%s %s on %s: %s", who, what, channel, came)

    def fire(self, name: str) -> None:
        """A fault has really struck."""
        self.fired[name] += 1
        self.tell("! %s", name)

    def violate(self, equation: str, text: str) -> None:
        """Something that must never be, is."""
        self.violations.append(Violation(equation, text))
        self.tell("VIOLATED %s: %s", equation, text)

    # -- time --------------------------------------------------------------------------------------------

    def clock(self) -> float:
        """Monotonic seconds for the sinks."""
        return self.now

    def pass_time(self, seconds: float) -> None:
        """So long passes; whatever is due by then happens."""
        self.now += max(0.0, seconds)
        self.tick()

    def idle(self, timeout_s: float) -> None:
        """Somebody waits: go to the next moment at which anything is due."""
        self._quiet += 1
        now = self.now
        moments = [self._next_move, self.broker.group.due(now), *(one.due() for one in self.processes)]
        # What is due already is somebody else's to do, once whoever waits here returns.
        longest = LONGEST_IDLE_S if self._quiet < 25 else LONGEST_QUIET_S
        longest = timeout_s if min(moments) <= now else max(longest, timeout_s)
        self.pass_time(min([now + longest, *(moment for moment in moments if moment > now)]) - now)

    def wake(self) -> None:
        """Something moved: wait in small steps again."""
        self._quiet = 0

    def tick(self) -> None:
        """Do what is due: produce records, strike, land commits, look after the group."""
        now = self.now
        if now >= self._next_move:
            self._move(now - self.started_at)
        if self.flights:
            for process in self.processes:
                process.land(now)
        if now >= self._next_look and not self.broker.is_down:
            self._next_look = now + LOOK_S
            self.broker.group.tick(now)

    def _move(self, since: float) -> None:
        while self._records and self._records[-1][0] <= since:
            _, partition, record = self._records.pop()
            self.broker.produce(partition, record)
        while self._faults and self._faults[-1].at <= since:
            fault = self._faults.pop()
            if not self.is_healed:
                self.tell("* %s (%.2f, at %s)", fault.kind, fault.size, fault.point)
                HANDLERS[fault.kind](self, fault)
        moments = [*(one.at for one in self._faults[-1:]), *(at for at, _, _ in self._records[-1:])]
        self._next_move = self.started_at + min(moments, default=1e9)

    def heal(self) -> None:
        """From now on nothing goes wrong; what is written is all there is."""
        self.tell("--- healed ---")
        self.is_healed = True
        self._faults.clear()
        self._next_move = 0.0
        self.broker.armed.clear()
        self.broker.down_until = 0.0
        for splunk in self.splunks.values():
            splunk.heal()
        for process in self.processes:
            process.thaw()
            if self.scenario.ends_by_itself:
                process.until_end = True
                process.stop()

    # -- what is true ------------------------------------------------------------------------------------

    def settle_disks(self) -> None:
        """What is old enough is durable now."""
        for splunk in self.splunks.values():
            splunk.now = max(splunk.now, self.now)
            splunk.settle_disk()

    def note_resend(self, place: tuple[int, int], cause: str) -> None:
        """A record is announced to be sent again; the cause must be one that can be."""
        if cause != "split" or self.may_split_repeat:
            self.resent[place] += 1
        record = self.broker.logs[place[0]].records[place[1]]
        if record is None or self.scenario.addresses > 1 or self.broker.read[record.uid] > 1:
            return
        waited_s = self.now - self.actor.taken_at.get(place, 0.0)
        if waited_s < min(OVERDUE_S.get(cause, 0.0), self.scenario.ack_deadline_s):
            self.violate("E7", f"{record.uid} is sent again ({cause}) after {waited_s:.1f} s already")

    def is_resolved(self, partition: int, offset: int) -> bool:
        """Whether this offset needs nobody any more: indexed, dead-lettered, no record, or told as lost."""
        record = self.broker.logs[partition].records[offset]
        if record is None or record.value is None:
            return True
        if record.uid in self.indexed or record.uid in self.broker.letters:
            return True
        return any(p == partition and first <= offset < after for p, first, after in self.lost)

    def lag(self) -> int:
        """What is written and not committed."""
        committed = self.broker.group.committed
        return sum(log.end - committed.get(p, 0) for p, log in enumerate(self.broker.logs))


class ResendLog(logging.Handler):
    """Reads the debug lines that name what is sent again, as an operator would."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Count the places of one batch."""
        if self.world is None:
            return
        if record.levelno > logging.DEBUG:
            if self.world.story is not None:
                self.world.tell("log: %s", record.getMessage())
            return
        args: Any = record.args
        if len(args) == 4:
            self.world.tell("batch %s is sent again (%s)", args[0], args[2])
            for partition, first, last in _RUN.findall(args[3]):
                for offset in range(int(first), int(last) + 1):
                    self.world.note_resend((int(partition), offset), args[2])
