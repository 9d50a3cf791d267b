"""When to try again: full-jitter backoff, and a pace that answers overload (AIMD).

Pure but for the injected random source; not for what to try. Guarantees: a wait is never
longer than 60 s (or what Retry-After asks, up to 5 min); waits of many lanes never synchronise, because
each is drawn uniformly from zero up.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

BASE_S = 0.5
CAP_S = 60.0
RETRY_AFTER_CAP_S = 300.0
"""A server, or a proxy in front of it, that asks for an hour is asked again sooner than that."""

_SLOWEST_S = 2.0
_FIRST_GAP_S = 0.02
_GAIN_PER_POST = 0.5


class Backoff:
    """Consecutive failures of one lane → how long to wait. Owned by the lane."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.failures = 0

    def fail(self, retry_after_s: float = 0.0) -> float:
        """One more failure; returns the seconds to wait.

        Args:
            retry_after_s: What the server asked for, 0.0 if nothing; the jitter is added on top of it.
        """
        ceiling = min(CAP_S, BASE_S * 2.0 ** min(self.failures, 10))
        self.failures += 1
        asked = min(retry_after_s, RETRY_AFTER_CAP_S)
        return asked + self._random.uniform(0, min(ceiling, 1.0) if asked else ceiling)

    def succeed(self) -> None:
        """The server took something: the next failure starts from the bottom."""
        self.failures = 0


class Pace:
    """The least gap between two POSTs: doubled when the server is busy, eased by each success."""

    def __init__(self) -> None:
        self.gap_s = 0.0

    def slow(self) -> None:
        """The server is overloaded, or says that it soon will be: halve the rate."""
        self.gap_s = min(_SLOWEST_S, max(_FIRST_GAP_S, self.gap_s * 2))

    def ease(self) -> None:
        """The server took a batch: raise the rate by a constant."""
        if self.gap_s:
            rate = 1 / self.gap_s + _GAIN_PER_POST
            self.gap_s = 1 / rate if 1 / rate > _FIRST_GAP_S / 2 else 0.0


class RateLimit:
    """So many in a burst, then so many a second. For fresh channels, which cost the server memory."""

    def __init__(self, *, burst: int, per_s: float) -> None:
        self._burst = float(burst)
        self._per_s = per_s
        self._tokens = float(burst)
        self._at = 0.0

    def due(self, now: float) -> float:
        """When the next one may go; `now` or earlier means at once."""
        self._refill(now)
        return now if self._tokens >= 1 else now + (1 - self._tokens) / self._per_s

    def take(self, now: float) -> None:
        """One goes."""
        self._refill(now)
        self._tokens -= 1

    def _refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_s)
        self._at = now


def retry_after_s(header: str, wall_s: float) -> float:
    """Seconds to wait by a Retry-After header (seconds or an HTTP date); 0.0 if it says nothing usable.

    Args:
        header: The header's value.
        wall_s: Seconds since 1970, now.
    """
    value = header.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        then = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.fromtimestamp(wall_s, UTC)).total_seconds())
