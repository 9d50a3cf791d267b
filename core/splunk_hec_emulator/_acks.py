"""Indexer acknowledgement as one indexer keeps it in memory: channels, their counters and what is open.

Measured: ids count per channel from 0, one for each accepted request; `true` is told once and then deleted;
an unknown id or channel is `false`. Nothing here survives a restart, which is the trap for clients: an old id
may come true for a new request (hec-protocol 3.2). Time is passed in; nothing waits.
"""

import math
import random
from collections.abc import ItemsView
from dataclasses import dataclass, field

from splunk_hec_emulator.settings import Settings

_RANDOM_SPAN = 1 << 31
_NOT_OPEN = (math.inf, math.inf)
_SWEEP_EVERY = 1_024  # channels: clients that use a new one for each post must not fill the memory
_NEAR = 0.9  # of a limit: from here on 200 comes with code 25 (the real trigger is not known)


def _no_ids() -> dict[int, tuple[float, float]]:
    return {}


@dataclass(slots=True)
class Channel:
    """One channel: when each open id comes true (infinity: never) and was issued; when it was last used."""

    next_id: int
    used_at: float
    due: dict[int, tuple[float, float]] = field(default_factory=_no_ids)

    @property
    def oldest(self) -> float | None:
        """When the oldest open id was issued; None if none is open."""
        return next(iter(self.due.values()))[1] if self.due else None


class Acks:
    """The acknowledgement table of one node. Touched by the server's loop only."""

    def __init__(self, settings: Settings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._start = settings.ack_ids_start
        self._channels: dict[str, Channel] = {}
        self._counters: dict[str, int] = {}  # of channels before the restart, where numbering goes on
        self._shared_next: int | None = None  # where one counter serves all channels
        self.open = 0

    def __len__(self) -> int:
        return len(self._channels)

    def channels(self) -> ItemsView[str, Channel]:
        """Return the channels by their ids."""
        return self._channels.items()

    def capacity_code(self, guid: str, now: float) -> int:
        """Return 0, 25 (near) or 27 (at) by the limits on channels and open ids."""
        settings = self._settings
        channel = self._live(guid, now)
        pressure = max(
            self.open / max(settings.max_pending_acks, 1),
            len(channel.due if channel else ()) / max(settings.max_pending_acks_per_channel, 1),
            0 if channel else len(self._channels) / max(settings.max_channels, 1),
        )
        return 27 if pressure >= 1 else 25 if pressure >= _NEAR else 0

    def issue(self, guid: str, now: float, due: float) -> int:
        """Give the channel's next id to a request whose ack comes true at `due`."""
        channel = self._channel(guid, now)
        ack_id = self.burn(guid, now)
        channel.due[ack_id] = due, now
        self.open += 1
        return ack_id

    def burn(self, guid: str, now: float) -> int:
        """Use up an id that no one will ever be told about."""
        channel = self._channel(guid, now)
        if self._settings.ack_counter == "node":
            ack_id = self._first(guid) if self._shared_next is None else self._shared_next
            self._shared_next = ack_id + 1
        else:
            ack_id = channel.next_id
        channel.next_id = ack_id + 1
        return ack_id

    def poll(self, guid: str, now: float, ids: list[int]) -> dict[int, bool]:
        """Tell which ids are true. What is told true is forgotten, so that the next poll says false."""
        channel = self._live(guid, now)
        if channel is None:
            return dict.fromkeys(ids, False)
        channel.used_at = now
        return {ack_id: self._tell(channel, ack_id, now) for ack_id in dict.fromkeys(ids)}

    def restart(self) -> None:
        """Forget every channel, as splunkd does when it ends."""
        if self._settings.ack_ids_after_restart == "continued":
            self._counters.update({guid: channel.next_id for guid, channel in self._channels.items()})
        else:
            self._start = self._settings.ack_ids_after_restart
            self._shared_next = None
        self._channels.clear()
        self.open = 0

    def _tell(self, channel: Channel, ack_id: int, now: float) -> bool:
        due, _ = channel.due.get(ack_id, _NOT_OPEN)
        if due > now or self._settings.ack_true == "never":
            return False
        if self._settings.ack_true == "once":
            del channel.due[ack_id]
            self.open -= 1
        return True

    def _live(self, guid: str, now: float) -> Channel | None:
        """Return the channel, unless it is unknown or was idle for so long that it is dropped here."""
        channel = self._channels.get(guid)
        is_idle = channel is not None and now - channel.used_at > self._settings.max_idle_time_s
        if channel is not None and is_idle and self._settings.ack_idle_cleanup:
            self.open -= len(self._channels.pop(guid).due)
            return None
        return channel

    def _channel(self, guid: str, now: float) -> Channel:
        """Return the channel, made on first use."""
        channel = self._live(guid, now)
        if channel is None:
            if len(self._channels) % _SWEEP_EVERY == _SWEEP_EVERY - 1:
                for idle in list(self._channels):
                    self._live(idle, now)
            channel = self._channels[guid] = Channel(self._first(guid), now)
        channel.used_at = now
        return channel

    def _first(self, guid: str) -> int:
        if guid in self._counters:
            return self._counters.pop(guid)
        match self._start:
            case "one":
                return 1
            case "random":
                return self._rng.randrange(_RANDOM_SPAN)
            case _:
                return 0
