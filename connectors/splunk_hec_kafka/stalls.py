"""Why nothing is fetched just now, and since when; told to metrics and log once it lasts.

Not for what follows from it (`sink` decides to wait or to pause). Written by the loop's thread; `lasting` may
be called from any.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from splunk_hec_kafka.metrics import Metrics

log = logging.getLogger("splunk_hec_kafka")

PAUSE_AFTER_S = 1.0
"""A stall up to this long is waited out; a longer one pauses the partitions, and is worth telling."""
TEXTS = {
    "budget": "Splunk takes less than Kafka gives; in_flight_max_bytes or in_flight_max_events is used up",
    "endpoint": "Splunk refuses the deployment; what is for it is not fetched until it heals",
    "registry": "the schema registry does not answer; the topics that need it are not fetched until it does",
    "dead_letters": "dead letters are not written as fast as records are rejected",
}


class Stalls:
    """The reasons that hold now."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def is_told(self, reason: str) -> bool:
        """Whether it has lasted so long that it was told."""
        return reason in self._told

    def note(self, reasons: AbstractSet[str], now: float) -> None:
        """These hold now; others are over."""
        for reason in self._since.keys() - reasons:
            stalled_s = now - self._since.pop(reason)
            self._metrics.paused(reason, is_paused=False, seconds=stalled_s)
            if reason in self._told:
                self._told.discard(reason)
                log.info("resumed after %.1f s (%s)", stalled_s, reason)
        for reason in reasons:
            since = self._since.setdefault(reason, now)
            if now - since >= PAUSE_AFTER_S and reason not in self._told:
                self._told.add(reason)
                log.warning("paused: %s", TEXTS[reason])
                self._metrics.paused(reason, is_paused=True)

    def are_long(self, reasons: AbstractSet[str], now: float) -> bool:
        """Whether one of these has lasted so long that all partitions are to be paused."""
        return any(now - self._since[reason] >= PAUSE_AFTER_S for reason in reasons)

    def lasting(self, now: float) -> list[tuple[str, str, float]]:
        """Reason, text and age in seconds of those that are worth telling. Any thread."""
        known = list(self._since.items())
        return [(name, TEXTS[name], now - since) for name, since in known if now - since >= PAUSE_AFTER_S]
