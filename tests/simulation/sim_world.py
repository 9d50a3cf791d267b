"""One run: a clock, Kafka, Splunk, and processes that run real sinks; the observer's ledger of what is true.

Time moves only here: a request takes some, and when nobody has anything to do it jumps to the next moment at
which somebody has. Not for what goes wrong (`sim_nemesis`) nor for what is demanded (`sim_checker`).
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from functools import partial
from math import inf
from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
from sim_broker import Broker
from sim_disasters import BETWEEN_TURNS
from sim_life import HIDE_MAPS
from sim_nemesis import HANDLERS
from sim_process import Process, config_of
from sim_splunk import Splunk

from splunk_hec._protocol import Reply, Request, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sim_life import Life
    from sim_scenario import Fault, Scenario

    from splunk_hec.config import HecConfig
    from splunk_hec_kafka.sink import Sink

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
        clock: Monotonic seconds for the sinks.
        indexed: How often each record is durably indexed, in the order of the first time.
        resent: How often each record was announced to be sent again, by place.
        lost: Ranges (partition, first, after) that were reported as deleted before they were read.
        unseen: Below which offset the present reader of a partition cannot have seen what stands there.
        waiting: Faults that strike between two turns.
        owed: Records that are to be delivered once more, and how often they were before.
        fired: Which faults really struck.
        violations: What was broken; the first ends the run.
    """

    def __init__(self, scenario: Scenario, story: Callable[[str], None] | None = None) -> None:
        self.scenario = scenario
        self.story = story
        self.now = 1_000.0
        self.clock: Callable[[], float] = partial(attrgetter("now"), self)  # asked more often than all else
        self.started_at = self.now
        self.rng = Random(scenario.seed * 7 + 1)
        self.fired: Counter[str] = Counter()
        self.violations: list[Violation] = []
        self.resent: Counter[tuple[int, int]] = Counter()
        self.indexed: dict[str, int] = {}
        self.lost: list[tuple[int, int, int]] = []
        self.owed: dict[str, int] = {}
        self.unseen: dict[int, int] = {}
        self.waiting: list[Fault] = []
        self.is_healed = False
        self.actor: Any = None
        self.flights = 0
        self._channels: dict[str, str] = {}
        self._next_look = self._next_move = 0.0
        self._quiet = 0
        self.broker = Broker(self, scenario.protocol, Random(scenario.seed * 7 + 2))
        self.broker.group.most_text_bytes = scenario.most_text_bytes
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
        self.config = config_of(self)
        self.to_dismantle: list[tuple[Life, Sink]] = []
        self._hec_configs: dict[str, HecConfig] = {}
        self.processes = [Process(self, number) for number in range(scenario.members)]

    def without_threads(self, config: HecConfig) -> HecConfig:
        """A client's settings for a world without threads; checking them takes a while, so they are kept."""
        if config.endpoint not in self._hec_configs:
            self._hec_configs[config.endpoint] = msgspec.structs.replace(config, threads=False)
        return self._hec_configs[config.endpoint]

    def dismantle(self) -> None:
        """The run is over: let go of everything, at once."""
        for process in self.processes:
            process.leave_off()
        for life, sink in self.to_dismantle:
            life.dismantle()
            vars(sink).clear()
        for one in (*self.processes, self.broker, *self.splunks.values(), self):
            vars(one).clear()

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

    def pass_time(self, seconds: float) -> None:
        """So long passes; whatever is due by then happens."""
        if seconds > 0:
            self.now += seconds
        self.tick()

    def idle(self, timeout_s: float) -> None:
        """Somebody waits: go to the next moment at which anything is due."""
        self._quiet += 1
        now = self.now
        is_due, next_at = False, inf
        for moment in [self._next_move, self.broker.group.due(now), *[one.due() for one in self.processes]]:
            if moment <= now:
                is_due = True
            elif moment < next_at:
                next_at = moment
        # What is due already is somebody else's to do, once whoever waits here returns.
        longest = LONGEST_IDLE_S if self._quiet < 25 else LONGEST_QUIET_S
        longest = timeout_s if is_due else max(longest, timeout_s)
        self.pass_time(min(now + longest, next_at) - now)

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
        if now >= self._next_look and now >= self.broker.down_until:
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

    def between_turns(self) -> None:
        """Nobody is in the middle of anything: strike all of them."""
        waiting, self.waiting = self.waiting, []
        for fault in waiting:
            BETWEEN_TURNS[fault.kind](self, fault)

    def heal(self) -> None:
        """From now on nothing goes wrong; what is written is all there is."""
        self.tell("--- healed ---")
        self.is_healed = True
        self._faults.clear()
        self.waiting.clear()
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
        if cause not in OVERDUE_S or self.scenario.addresses > 1 or place in self.broker.ghosts:
            return  # it may be at once, or which record of two is meant cannot be told
        record = self.broker.logs[place[0]].records[place[1]]
        if record is None or self.broker.read[record.uid] > 1:
            return
        waited_s = self.now - self.actor.taken_at.get(place, 0.0)
        if waited_s < min(OVERDUE_S[cause], self.scenario.ack_deadline_s):
            self.violate("E7", f"{record.uid} is sent again ({cause}) after {waited_s:.1f} s already")

    def note_unspared(self, uid: str, place: tuple[int, int]) -> None:
        """A record is sent although the map that its partition was assigned with calls it settled."""
        if not any(self.fired[name] for name in HIDE_MAPS) and self.broker.places[uid] == place:
            self.violate("E7", f"{uid} is sent again, and the map of its commit told that it need not be")

    def is_resolved(self, partition: int, offset: int) -> bool:
        """Whether this offset needs nobody any more: indexed, dead-lettered, no record, or told as lost."""
        record = self.broker.logs[partition].records[offset]
        if record is None or record.value is None:
            return True
        uid = record.uid
        is_done = uid in self.indexed or uid in self.broker.letters
        if is_done and (uid not in self.owed or self.times(uid) > self.owed[uid]):
            return True
        return any(p == partition and first <= offset < after for p, first, after in self.lost)

    def unresolved(self, partition: int, offsets: Iterable[int]) -> list[int]:
        """Which of these somebody still needs."""
        records, indexed, owed = self.broker.logs[partition].records, self.indexed, self.owed
        return [
            at
            for at in offsets
            # Most are plainly indexed, and that is seen soonest.
            if not ((record := records[at]) is not None and record.uid in indexed and record.uid not in owed)
            and not self.is_resolved(partition, at)
        ]

    def times(self, uid: str) -> int:
        """How often it is indexed or dead-lettered."""
        return self.indexed.get(uid, 0) + len(self.broker.letters.get(uid, ()))

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
        if "is sent again" in record.msg:
            args: Any = record.args
            batch, cause, places = args
            self.world.tell("batch %s is sent again (%s)", batch, cause)
            for partition, first, last in _RUN.findall(places):
                for offset in range(int(first), int(last) + 1):
                    self.world.note_resend((int(partition), offset), cause)
