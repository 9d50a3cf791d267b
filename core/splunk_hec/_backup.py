"""Where the drop-in's failed events go: to the caller's queue, or, until there is one, into memory.

Not for why they failed. Guarantees: what is kept never exceeds the ceiling; what could not be put anywhere is
counted, never dropped in silence. Not thread-safe: its owner locks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class Backup:
    """Failed payloads. `queue`: the caller's, or None."""

    def __init__(self, queue: Any) -> None:
        self.queue = queue
        self._kept: list[tuple[Any, bool]] = []
        self._bytes = 0

    def __len__(self) -> int:
        """How many are kept for want of a queue."""
        return len(self._kept)

    def put(self, payloads: Iterable[Any], ceiling_bytes: int, *, may_retry: bool) -> int:
        """Give events back.

        Args:
            payloads: Exactly what the caller sent.
            ceiling_bytes: What may be kept in all, where there is no queue.
            may_retry: Splunk did not refuse them: they may be sent again.

        Returns:
            How many found no place: the queue is full, or the ceiling is reached.
        """
        lost = 0
        for payload in payloads:
            if self.queue is not None:
                try:
                    self.queue.put_nowait(payload)
                except Exception:  # noqa: BLE001 -- full, or whatever a queue of the caller's raises
                    lost += 1
            elif self._bytes + len(payload) <= ceiling_bytes:
                self._kept.append((payload, may_retry))
                self._bytes += len(payload)
            else:
                lost += 1
        return lost

    def take(self, *, only_retryable: bool) -> list[tuple[Any, bool]]:
        """What was kept, and whether it may be sent again; it is kept no more."""
        taken = [one for one in self._kept if one[1] or not only_retryable]
        self._kept = [one for one in self._kept if only_retryable and not one[1]]
        self._bytes = sum(len(payload) for payload, _ in self._kept)
        return taken
