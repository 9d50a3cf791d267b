"""Everything the emulator is, without a socket: nodes, store, faults, judge and counters.

One owner (the server's loop) calls it; time comes from an injected clock. The server asks which node and
which fault a request meets, reads the body, and then asks for the answer.
"""

import itertools
import time
from collections.abc import Callable
from typing import Any

from splunk_hec_emulator._intake import Moment
from splunk_hec_emulator._judge import Judge, preliminary
from splunk_hec_emulator._live import Live
from splunk_hec_emulator._node import Node
from splunk_hec_emulator._replies import Reply
from splunk_hec_emulator._request import Request
from splunk_hec_emulator._store import Store
from splunk_hec_emulator.faults import Faults, Rule
from splunk_hec_emulator.settings import Settings

Clock = Callable[[], float]


class Emulation:
    """The simulated deployment. Touched by the server's loop only, but for reading the store."""

    def __init__(self, settings: Settings, clock: Clock = time.monotonic, wall: Clock = time.time) -> None:
        self.settings = settings
        self._clock = clock
        self._wall = wall
        self.nodes = [Node(number, settings) for number in range(settings.nodes)]
        self.faults = Faults(settings.faults, settings.seed, clock())
        self.store = Store(settings.journal, keeps_events=settings.keep_events)
        self.judge = Judge(settings, clock())
        self.live = Live(self, clock, wall)
        self._next_node = itertools.count()
        self._next_request = itertools.count(1)

    # -- balancing ---------------------------------------------------------------------------------------

    def place(self, cookie: str) -> tuple[Node, str]:
        """Choose the node of a request.

        Args:
            cookie: the node's number by the cookie the client sent, or the empty text.

        Returns:
            The node, and the cookie to set (empty if none is).
        """
        if self.settings.nodes == 1:
            return self.nodes[0], ""
        if self.settings.balance == "sticky":
            if cookie and int(cookie) < len(self.nodes):
                return self.nodes[int(cookie)], ""
            node = self._turn()
            return node, str(node.number)
        return self._turn(), ""

    def _turn(self) -> Node:
        return self.nodes[next(self._next_node) % len(self.nodes)]

    # -- serving -----------------------------------------------------------------------------------------

    def meet(self, method: str, kind: str, node: Node) -> Moment:
        """Open a request's moment at a node: what is due becomes durable, and the faults strike."""
        self.advance()
        now = self._clock()
        rules: list[Rule] = []
        if preliminary(method, kind):
            pass  # neither a wrong method nor OPTIONS uses up a rule's count
        elif kind == "health":
            rules = list(self.faults.strikes(kind, node.number, now))
        elif rule := self.faults.strike(kind, node.number, now):
            rules = [rule]
        if rules and rules[0].name == "restart":
            self.restart(node.number)
        return Moment(node, now, rules[0] if rules else None, frozenset(rule.name for rule in rules))

    async def answer(self, request: Request, moment: Moment, kind: str) -> Reply:
        """Answer a request whose body is read; what it made durable is in the store when this returns."""
        request.number = next(self._next_request)
        request.received = round(self._wall(), 6)
        self.advance()
        reply = await self.judge.answer(request, moment._replace(now=self._clock()), kind)
        self.advance()
        return reply

    def advance(self) -> None:
        """Move everything that is due to the store."""
        now = self._clock()
        for node in self.nodes:
            for post in node.advance(now):
                self.store.add(post, round(self._wall(), 6))

    @property
    def wait_s(self) -> float:
        """How long until something becomes durable; infinity if nothing waits."""
        return min(node.next_due for node in self.nodes) - self._clock()

    # -- switches ----------------------------------------------------------------------------------------

    def restart(self, number: int) -> None:
        """Restart one node: its channels and what is not yet durable are gone."""
        self.advance()
        self.nodes[number].restart()

    def set_faults(self, rules: Any) -> None:
        """Replace the fault rules; SettingsError leaves the old ones."""
        self.faults.set(rules, self._clock())

    def set_tokens(self, tokens: Any) -> None:
        """Replace the tokens; ``after`` counts from now."""
        self.judge.set_tokens(Settings.of(tokens=tokens).tokens, self._clock())

    def reset(self) -> None:
        """Forget events, channels and counters; tokens and fault rules stay (the rules count from 0)."""
        self.nodes = [Node(number, self.settings) for number in range(self.settings.nodes)]
        self.faults.fired.clear()
        self.set_faults(self.faults.describe())
        self.store.clear()
        self.judge.clear()

    def stats(self) -> dict[str, Any]:
        """Return the counters of /emulator/stats."""
        counts = self.judge.counts
        return {
            "requests": counts.requests,
            "replies": dict(counts.replies),
            "events_indexed": self.store.total,
            "events_refused": counts.events_refused,
            "acks_issued": counts.acks_issued,
            "acks_told": counts.acks_told,
            "acks_pending": sum(node.acks.open for node in self.nodes),
            "channels": sum(len(node.acks) for node in self.nodes),
            "faults": dict(self.faults.fired),
            "events_accepted": counts.events_accepted,
            "events_waiting": sum(node.waiting_events for node in self.nodes),
            "events_lost": sum(node.lost_events for node in self.nodes),
            "bytes_received": counts.bytes_received,
            "bytes_decoded": counts.bytes_decoded,
        }
