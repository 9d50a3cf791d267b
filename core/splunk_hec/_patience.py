"""How long things take and how long we wait: the measured ack latency, and a halted deployment's clock.

Pure; owned by one lane. Not for failures of single requests (`_retry`).
"""

from __future__ import annotations

from collections import deque

FIRST_GUESS_S = 0.125
SHORTEST_GAP_S = 0.05
LONGEST_GAP_S = 10.0
"""Splunk's documentation suggests a poll about every ten seconds."""
EXPIRED_GAP_S = 15.0
LEAST_GRACE_S = 10.0
_FIRST_PROBE_S = 1.0
_LONGEST_PROBE_S = 30.0


class AckLatency:
    """From the reply with an id to its `true`, as seen here; decides when to ask."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=256)
        self._mean_s = FIRST_GUESS_S
        self.last_true_at = float("-inf")

    def note(self, latency_s: float, now: float) -> None:
        """One id was told true in time."""
        self._mean_s += (latency_s - self._mean_s) * (0.2 if self._recent else 1.0)
        self._recent.append(latency_s)
        self.last_true_at = now

    @property
    def first_ask_s(self) -> float:
        """Seconds after the reply at which an id is asked for the first time: a little before it is due."""
        return max(SHORTEST_GAP_S, 0.9 * self._mean_s)

    @property
    def pause_s(self) -> float:
        """Seconds between two polls: a quarter of the latency up to 1 s, a tenth from 2.5 s on.

        Half of it is added to the latency; and a question costs 0.6 ms of CPU beside a busy loop, so that 8
        lanes which ask four times a second take 2 % of a core.
        """
        brief_s = min(self._mean_s / 4, 0.25)
        return min(LONGEST_GAP_S, max(SHORTEST_GAP_S, brief_s, self._mean_s / 10))

    def gap_s(self, age_s: float, *, is_expired: bool) -> float:
        """Seconds to the next question for an id that is `age_s` old and was answered false.

        While it is due it goes along with every poll, since one id more costs nothing there; once it is
        late, ever more seldom.
        """
        longest = EXPIRED_GAP_S if is_expired else LONGEST_GAP_S
        return min(longest, max(self.pause_s, age_s / 8 if age_s >= 2 * self._mean_s else 0.0))

    @property
    def grace_s(self) -> float:
        """How long to wait once the answer that may have told `true` was lost: 10 s, 5 times the p99."""
        if not self._recent:
            return LEAST_GRACE_S
        ordered = sorted(self._recent)
        return max(LEAST_GRACE_S, 5 * ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))])


class Halted:
    """Since when and why a deployment is refused, and when to look again: 1 s, then doubling to 30 s."""

    def __init__(self, reason: str, text: str, now: float) -> None:
        self.reason = reason
        self.text = text
        self.since = now
        self._gap_s = _FIRST_PROBE_S
        self.next_probe = now + self._gap_s

    def again(self, reason: str, text: str, now: float) -> None:
        """Still refused, perhaps for another reason."""
        self.reason, self.text = reason, text
        self._gap_s = min(_LONGEST_PROBE_S, self._gap_s * 2)
        self.next_probe = now + self._gap_s
