"""What the page shows while it is open, as server-sent events: one `hello`, then a `sample` a second.

A sample is made when a watcher asks for one and shared by all of them; while nobody watches, none is made.
Looking at very many channels takes long: samples are then made less often, so that they never cost more than
a twentieth of the loop's time.
"""

import asyncio
import heapq
import json
import math
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

from splunk_hec_emulator._browse import durable_rate
from splunk_hec_emulator._replies import CODES
from splunk_hec_emulator.faults import CATALOGUE

if TYPE_CHECKING:
    from splunk_hec_emulator._emulation import Emulation

_PERIOD_S = 1.0
_SHORTEST_S = 0.01  # clocks and sleeps need not agree to the microsecond
_HISTORY_S = 300
_MOST_CHANNELS = 200
_COST = 20  # the pause is so many times what the sample took


class Live:
    """The samples of one emulation. Touched by the server's loop only."""

    def __init__(self, emulation: "Emulation", clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._emulation = emulation
        self._clock = clock
        self._wall = wall
        self._sample = b""
        self._next_at = -math.inf

    async def stream(self) -> AsyncGenerator[bytes]:
        """Yield server-sent events for as long as somebody reads them."""
        yield _event("hello", await self._hello())
        while True:
            yield self._current()
            await asyncio.sleep(max(self._next_at - self._clock(), _SHORTEST_S))

    async def _hello(self) -> dict[str, Any]:
        settings = self._emulation.settings
        delay = settings.ack_delay
        now = self._wall()
        return {
            "profile": settings.profile,
            "nodes": settings.nodes,
            "balance": settings.balance,
            "ack_delay_s": None if delay.is_never else [delay.low_s, delay.high_s],
            "keeps_events": settings.keep_events,
            "now": round(now, 3),
            "history": await asyncio.to_thread(durable_rate, self._emulation.store.posts, now - _HISTORY_S),
            "codes": {code: text for code, (_, text) in CODES.items()},
            "faults": [
                {"name": name, "argument": argument, "on": sorted(kinds), "text": text}
                for name, (kinds, argument, text) in CATALOGUE.items()
            ],
        }

    def _current(self) -> bytes:
        begun = self._clock()
        if begun >= self._next_at:
            self._emulation.advance()
            self._sample = _event("sample", sample(self._emulation, begun, self._wall()))
            cost_s = self._clock() - begun
            self._next_at = begun + max(_PERIOD_S, _COST * cost_s)
        return self._sample


def sample(emulation: "Emulation", now: float, wall: float) -> dict[str, Any]:
    """Return what the page shows of an emulation.

    Args:
        emulation: the emulation; on its loop.
        now: monotonic seconds.
        wall: seconds since 1970.

    Returns:
        The counters of /emulator/stats, the rules in force, the tokens (never their values), the age in
        seconds of the oldest acknowledgement nobody has been told of (None: there is none), and the channels
        used last.
    """
    channels = [
        (channel.used_at, node.number, guid, channel)
        for node in emulation.nodes
        for guid, channel in node.acks.channels()
    ]
    oldest = [issued for *_, channel in channels if (issued := channel.oldest) is not None]
    latest = heapq.nlargest(_MOST_CHANNELS, channels, key=lambda entry: entry[0])
    return {
        "at": round(wall, 3),
        "stats": emulation.stats(),
        "oldest_ack_s": _age(min(oldest, default=None), now),
        "rules": emulation.faults.describe(),
        "tokens": [
            {
                "name": token.name,
                "ack": token.ack,
                "query": token.query,
                "indexes": token.indexes,
                "is_disabled": token.is_disabled,
            }
            for token in emulation.judge.tokens
        ],
        "channels": [
            {
                "node": number,
                "channel": guid,
                "next_id": channel.next_id,
                "pending": len(channel.due),
                "oldest_s": _age(channel.oldest, now),
                "idle_s": _age(used_at, now),
            }
            for used_at, number, guid, channel in latest
        ],
    }


def _age(then: float | None, now: float) -> float | None:
    return None if then is None else round(max(now - then, 0.0), 1)


def _event(name: str, document: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(document, separators=(',', ':'))}\n\n".encode()
