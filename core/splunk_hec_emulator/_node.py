"""One simulated indexer: its acknowledgement table and what it has accepted but not yet made durable.

A post of a token with acks reaches the disk point one ack delay after its reply, and a restart before that
loses it; without acks it is durable at once. Time is passed in: the server calls `advance` when something
is due and before every request.
"""

import heapq
import itertools
import math
import random
from enum import Enum

from splunk_hec_emulator._acks import Acks
from splunk_hec_emulator._store import Post
from splunk_hec_emulator.settings import Settings


class Fate(Enum):
    """What becomes of an accepted post."""

    INDEXED = "durable, and its ack comes true"
    UNTOLD = "durable, but its ack never comes true"
    LOST = "neither"


class Node:
    """One indexer. Touched by the server's loop only."""

    def __init__(self, number: int, settings: Settings) -> None:
        self.number = number
        self._delay = settings.ack_delay
        self._rng = random.Random(f"{settings.seed}/{number}")  # noqa: S311 - reproducible, not secret
        self.acks = Acks(settings, self._rng)
        self._waiting: list[tuple[float, int, Post]] = []
        self._order = itertools.count()
        self.lost_events = 0

    @property
    def next_due(self) -> float:
        """When the next post becomes durable; infinity if none waits."""
        return self._waiting[0][0] if self._waiting else math.inf

    @property
    def waiting_events(self) -> int:
        """How many events are accepted and not yet durable."""
        return sum(post.count for _, _, post in self._waiting)

    def accept(self, post: Post, now: float, *, has_ack: bool, fate: Fate) -> int | None:
        """Take a post; return its ack id where it has one."""
        delay_s = self._sample() if post.channel else 0.0
        due = now + (0.0 if math.isinf(delay_s) else delay_s)
        if has_ack and post.channel:
            is_told = fate is Fate.INDEXED and not math.isinf(delay_s)
            post.ack_id = self.acks.issue(post.channel, now, due if is_told else math.inf)
        if fate is Fate.LOST:
            self.lost_events += post.count
        else:
            heapq.heappush(self._waiting, (due, next(self._order), post))
        return post.ack_id

    def advance(self, now: float) -> list[Post]:
        """Return the posts that have reached the disk point, in that order."""
        durable: list[Post] = []
        while self._waiting and self._waiting[0][0] <= now:
            durable.append(heapq.heappop(self._waiting)[2])
        return durable

    def restart(self) -> None:
        """Lose what is not durable, and forget every channel."""
        self.lost_events += self.waiting_events
        self._waiting.clear()
        self.acks.restart()

    def _sample(self) -> float:
        low_s, high_s = self._delay.low_s, self._delay.high_s
        return low_s if low_s == high_s else self._rng.uniform(low_s, high_s)
