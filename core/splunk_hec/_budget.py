"""The budget: what was accepted and is not settled, in bytes and events. Shared by any threads.

Guarded by its own lock; no other lock is taken while it is held, nor it while another is. One item larger
than the whole budget is let in when nothing else is held: otherwise it could never be sent.
"""

from __future__ import annotations

from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Budget:
    """May be shared between clients (one process, several tokens)."""

    def __init__(self, max_bytes: int, max_events: int) -> None:
        self.max_bytes = max_bytes
        self.max_events = max_events
        self.changed = Condition()
        self._bytes = 0
        self._events = 0

    def __repr__(self) -> str:
        return f"<Budget {self._bytes}/{self.max_bytes} B {self._events}/{self.max_events} events>"

    @property
    def used_bytes(self) -> int:
        """Held now."""
        return self._bytes

    @property
    def used_events(self) -> int:
        """Held now."""
        return self._events

    @property
    def used_share(self) -> float:
        """The fuller of the two, as a share of its limit; above 1 only while one oversize item is held."""
        return max(self._bytes / self.max_bytes, self._events / self.max_events)

    def share_without(self, others: Iterable[Budget]) -> float:
        """`used_share`, less what others hold of it."""
        rest = list(others)
        size_bytes = self._bytes - sum(one.used_bytes for one in rest)
        events = self._events - sum(one.used_events for one in rest)
        return max(size_bytes / self.max_bytes, events / self.max_events)

    def try_acquire(self, size_bytes: int, events: int) -> bool:
        """Take it if there is room; never waits."""
        with self.changed:
            if not self.has_room(size_bytes, events):
                return False
            self.account(size_bytes, events)
            return True

    def has_room(self, size_bytes: int, events: int) -> bool:
        """Whether `try_acquire` would take it now."""
        fits = self._bytes + size_bytes <= self.max_bytes and self._events + events <= self.max_events
        return fits or not self._events

    def force(self, size_bytes: int, events: int) -> None:
        """Take it whether or not there is room: for what is held already and must be accounted for."""
        with self.changed:
            self.account(size_bytes, events)

    def wait(self, timeout_s: float) -> None:
        """Wait until something is released, at most `timeout_s`."""
        with self.changed:
            self.changed.wait(timeout_s)

    def release(self, size_bytes: int, events: int) -> None:
        """Give back. What was never acquired must not be released: the counts would lie."""
        if not size_bytes and not events:
            return  # wake nobody for nothing
        with self.changed:
            self.account(-size_bytes, -events)
            if self._bytes < 0 or self._events < 0:
                raise AssertionError(f"more was released than acquired: {self!r}")
            self.changed.notify_all()

    def wake(self) -> None:
        """Let waiters look again (a client was closed or halted)."""
        with self.changed:
            self.changed.notify_all()

    def account(self, size_bytes: int, events: int) -> None:
        """Note that so much more (or less) is held; the lock is held."""
        self._bytes += size_bytes
        self._events += events


class Portion(Budget):
    """One client's view of a budget that several share: it holds no more than it leaves free to the others.

    So whatever a client holds that settles nothing any more, each of the others finds room. Guarded by the
    lock of the whole. An item that is larger than what is left is let in when this client holds nothing.
    """

    def __init__(self, whole: Budget) -> None:
        """Hold nothing yet of `whole`."""
        super().__init__(whole.max_bytes, whole.max_events)
        self._whole = whole
        self.changed = whole.changed

    @property
    def used_share(self) -> float:
        """What it holds, as a share of what is free; from 1 on it takes no more."""
        whole = self._whole
        free_bytes = max(1, whole.max_bytes - whole.used_bytes)
        free_events = max(1, whole.max_events - whole.used_events)
        return max(self._bytes / free_bytes, self._events / free_events)

    def has_room(self, size_bytes: int, events: int) -> bool:
        """Whether `try_acquire` would take it now."""
        whole = self._whole
        free_bytes = whole.max_bytes - whole.used_bytes - size_bytes
        free_events = whole.max_events - whole.used_events - events
        fits = self._bytes + size_bytes <= free_bytes and self._events + events <= free_events
        return fits or not self._events

    def account(self, size_bytes: int, events: int) -> None:
        """As above, in the whole as well."""
        super().account(size_bytes, events)
        self._whole.account(size_bytes, events)
