"""The channels of one lane: one active, some draining; opened with care, retired, dropped.

Pure; owned by its lane. Not for what ids prove (`_channel`) nor for batches.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from splunk_hec._channel import Channel, State
from splunk_hec._retry import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_DRAINING = 8
"""Draining channels with unexpired ids at which a lane only polls. It never evicts one: evicting resends
what the channel still confirms, and with a server that is merely slow that never ends."""
IDLE_CHANNEL_S = 300.0
"""Splunk forgets a channel unused for 600 s (`maxIdleTime`); a new one is cheaper than a false `false`."""
RESETS_WINDOW_S = 60.0
MAX_RESETS = 3
UNSTICKY_S = 600.0
"""How long to keep to one batch per channel: with that, resets no longer show whether it is still needed."""


class Channels:
    """All channels of a lane that are not gone.

    Attributes:
        retired: Causes of channels no longer posted to, since the lane last took them.
        gone: Ids of channels no longer used at all, likewise.
    """

    def __init__(self, new_channel_id: Callable[[], str], most_posts: int = 0) -> None:
        """Open none yet. `most_posts`: after so many replies a channel only drains; 0 = it stays."""
        self.retired: list[str] = []
        self.gone: list[str] = []
        self._starts: set[int] = set()
        self._new_channel_id = new_channel_id
        self._most_posts = most_posts
        self._all: list[Channel] = []
        self._active: Channel | None = None
        self._fresh = RateLimit(burst=16, per_s=10.0)
        self._resets: deque[float] = deque(maxlen=MAX_RESETS)
        self._unsticky_until = 0.0

    def __iter__(self) -> Iterator[Channel]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def apart(self, now: float) -> Channel:
        """A GUID that is never posted to, for asking what concerns no id of ours."""
        channel = Channel(self._new_channel_id(), now)
        channel.retire()
        return channel

    def active(self, now: float) -> Channel | None:
        """The channel to post on; opens one if need be. None: not before `due`."""
        active = self._active
        if active is not None and now - active.used_at > IDLE_CHANNEL_S and not active.asked:
            self.retire(active, "idle")
        elif active is not None and self._is_spent(active):
            self.retire(active, "rotated")
            self._open(now)  # as planned, not for a failure: those alone must not come in floods
        if self._active is None:
            if self._fresh.due(now) > now:
                return None
            self._fresh.take(now)
            self._open(now)
        return self._active

    def _is_spent(self, channel: Channel) -> bool:
        return 0 < self._most_posts <= channel.posts and not channel.is_doubted

    def _open(self, now: float) -> None:
        self._active = Channel(self._new_channel_id(), now)
        self._all.append(self._active)

    @property
    def doubted(self) -> Channel | None:
        """The active channel, if a reply on it may have hidden an id."""
        return self._active if self._active is not None and self._active.is_doubted else None

    def due(self, now: float) -> float:
        """When a fresh channel may be opened; at once, if it is `now` or earlier."""
        return self._fresh.due(now)

    def retire(self, channel: Channel, cause: str) -> None:
        """No more POSTs on it."""
        if self._active is channel:
            self._active = None
            self.retired.append(cause)
        channel.retire()
        self.tidy(channel)

    def tidy(self, channel: Channel) -> None:
        """Drop it if nothing is asked or posted there any more."""
        if channel.state is not State.ACTIVE and not channel.asked:
            self.drop(channel, "")

    def drop(self, channel: Channel, cause: str) -> None:
        """It is gone. Its attempts must have been taken care of."""
        if self._active is channel:
            self._active = None
            self.retired.append(cause)
        channel.die()
        if channel in self._all:
            self._all.remove(channel)
        self.gone.append(channel.id)  # again if it was asked once more: that gave it cookies again

    def note_start(self, channel: Channel) -> None:
        """Remember at which id this server begins to number a channel."""
        if channel.start is not None:
            self._starts.add(channel.start)

    @property
    def are_starts_alike(self) -> bool:
        """Whether all channels so far began at the same id."""
        return len(self._starts) <= 1

    def note_reset(self, now: float) -> bool:
        """Ids fell back once more. True: so often that one batch per channel is the rule from now on."""
        self._resets.append(now)
        is_often = len(self._resets) == MAX_RESETS and now - self._resets[0] <= RESETS_WINDOW_S
        is_news = is_often and not self.is_unsticky(now)
        if is_often:
            self._unsticky_until = now + UNSTICKY_S
        return is_news

    def is_unsticky(self, now: float) -> bool:
        """Whether the balancer is known not to be sticky: a channel must carry one batch only."""
        return now < self._unsticky_until

    def unexpired(self) -> list[Channel]:
        """Those on which an acknowledgement can still come in time."""
        return [
            channel
            for channel in self._all
            if any(not attempt.is_expired for attempt in channel.asked.values())
        ]

    def are_full(self, *, is_confirming: bool) -> bool:
        """Whether posting more now would only add to what already waits for acknowledgement.

        Args:
            is_confirming: The endpoint confirmed something within the last deadline; else one at a time.
        """
        if is_confirming and len(self._all) < MAX_DRAINING:
            return False
        unexpired = self.unexpired()
        if unexpired and not is_confirming:
            return True
        return sum(channel.state is State.DRAINING for channel in unexpired) >= MAX_DRAINING
