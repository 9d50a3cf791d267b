"""The budget: what was accepted and is not settled, in bytes and events. Shared by any threads.

Guarded by its own lock; no other lock is taken while it is held, nor it while another is. One item larger
than the whole budget is let in when nothing else is held: otherwise it could never be sent.
"""

from __future__ import annotations

from threading import Condition


class Budget:
    """May be shared between clients (one process, several tokens)."""

    def __init__(self, max_bytes: int, max_events: int) -> None:
        self._max_bytes = max_bytes
        self._max_events = max_events
        self._changed = Condition()
        self._bytes = 0
        self._events = 0

    def __repr__(self) -> str:
        return f"<Budget {self._bytes}/{self._max_bytes} B {self._events}/{self._max_events} events>"

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
        return max(self._bytes / self._max_bytes, self._events / self._max_events)

    def try_acquire(self, size_bytes: int, events: int) -> bool:
        """Take it if there is room; never waits."""
        with self._changed:
            if not self.has_room(size_bytes, events):
                return False
            self._bytes += size_bytes
            self._events += events
            return True

    def has_room(self, size_bytes: int, events: int) -> bool:
        """Whether `try_acquire` would take it now."""
        fits = self._bytes + size_bytes <= self._max_bytes and self._events + events <= self._max_events
        return fits or not self._events

    def force(self, size_bytes: int, events: int) -> None:
        """Take it whether or not there is room: for what is held already and must be accounted for."""
        with self._changed:
            self._bytes += size_bytes
            self._events += events

    def wait(self, timeout_s: float) -> None:
        """Wait until something is released, at most `timeout_s`."""
        with self._changed:
            self._changed.wait(timeout_s)

    def release(self, size_bytes: int, events: int) -> None:
        """Give back. What was never acquired must not be released: the counts would lie."""
        if not size_bytes and not events:
            return  # wake nobody for nothing
        with self._changed:
            self._bytes -= size_bytes
            self._events -= events
            if self._bytes < 0 or self._events < 0:
                raise AssertionError(f"more was released than acquired: {self!r}")
            self._changed.notify_all()

    def wake(self) -> None:
        """Let waiters look again (a client was closed or halted)."""
        with self._changed:
            self._changed.notify_all()
