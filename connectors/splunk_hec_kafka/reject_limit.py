"""When rejections stop being accidents: the limits that stop the sink (exit 6) before a topic is shredded.

Pure; owned by the loop's thread. Counts settled records only: delivered ones and dead letters.
"""

from __future__ import annotations

from collections import deque

WINDOW = 10_000
"""The ratio is taken over this many settled records…"""
JUDGED_FROM = 1_000
"""…and not before this many, or the first bad record of a day would be a ratio of 1."""


class RejectLimit:
    """Tells when the share or the run length of dead letters is beyond what the configuration allows."""

    def __init__(self, max_ratio: float, max_consecutive: int) -> None:
        self._max_ratio = max_ratio
        self._max_consecutive = max_consecutive
        self._runs: deque[tuple[int, bool]] = deque()
        self._settled = 0
        self._rejected = 0
        self._consecutive = 0

    def settle(self, count: int, *, is_rejected: bool) -> None:
        """Count `count` records that ended in the same way, in the order of their outcomes."""
        if not count:
            return
        self._consecutive = self._consecutive + count if is_rejected else 0
        self._runs.append((count, is_rejected))
        self._settled += count
        self._rejected += count if is_rejected else 0
        while self._settled > WINDOW:
            self._forget(self._settled - WINDOW)

    @property
    def used(self) -> float:
        """How much of the nearer limit is used: 0 while nothing is rejected, above 1 when it is exceeded."""
        shares = [self._consecutive / self._max_consecutive] if self._max_consecutive else []
        if self._settled >= JUDGED_FROM and self._max_ratio:
            shares.append(self._rejected / (self._max_ratio * self._settled))
        return max(shares, default=0.0)

    @property
    def exceeded(self) -> str:
        """What is beyond which limit, for people; empty while all is within them."""
        if self._consecutive > self._max_consecutive:
            return (
                f"{self._consecutive} records in a row were rejected, "
                f"dead_letter.max_consecutive is {self._max_consecutive}"
            )
        if self._settled >= JUDGED_FROM and self._rejected > self._max_ratio * self._settled:
            return (
                f"{self._rejected} of the last {self._settled} settled records were rejected, "
                f"dead_letter.max_ratio is {self._max_ratio}"
            )
        return ""

    def _forget(self, count: int) -> None:
        """Drop up to `count` of the oldest records."""
        length, is_rejected = self._runs.popleft()
        dropped = min(length, count)
        if length > dropped:
            self._runs.appendleft((length - dropped, is_rejected))
        self._settled -= dropped
        self._rejected -= dropped if is_rejected else 0
