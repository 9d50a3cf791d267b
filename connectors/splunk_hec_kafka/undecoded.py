"""Records that wait for a schema registry, in their order, and when it is asked again.

Owned by the loop's thread; `fault` and `since` may be read from any. Not for decoding (`registry`).
Guarantee: the records of a topic leave in the order they came, under the epochs they were consumed under.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from splunk_hec_kafka.offsets import place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from confluent_kafka import Message

    from splunk_hec_kafka.offsets import TopicPartition

    Batch = tuple[Sequence[Message], dict[TopicPartition, int]]

FIRST_GAP_S = 1.0
LONGEST_GAP_S = 10.0


class Undecoded:
    """What waits.

    Attributes:
        fault: Why the registry is away; empty while it is not.
        since: Monotonic time of that.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._batches: deque[Batch] = deque()
        self._gap_s = FIRST_GAP_S
        self._next_at = 0.0
        self.fault = ""
        self.since = 0.0

    def away(self, fault: str) -> None:
        """The registry did not answer just now: ask later, ever more seldom."""
        now = self._clock()
        self.since = self.since if self.fault else now
        self.fault = fault
        self._next_at = now + self._gap_s
        self._gap_s = min(LONGEST_GAP_S, self._gap_s * 2)

    def put(self, messages: Sequence[Message], epochs: dict[TopicPartition, int]) -> None:
        """These wait, behind all that do."""
        if messages:
            self._batches.append((messages, epochs))

    def decode_due(self, decode: Callable[[Sequence[Message], dict[TopicPartition, int]], str]) -> None:
        """If it is time, decode all, until the registry turns out to be away still.

        Args:
            decode: Decodes records, puts those aside that cannot be decoded yet, and returns the fault.
        """
        if not self.fault or self._clock() < self._next_at:
            return
        batches, self._batches = self._batches, deque()
        while batches:
            fault = decode(*batches.popleft())
            if fault:
                self._batches += batches
                self.away(fault)
                return
        self.fault, self._gap_s = "", FIRST_GAP_S

    def drop(self, going: Iterable[TopicPartition]) -> int:
        """Forget the records of partitions that go; returns how many."""
        gone = set(going)
        dropped = 0
        batches, self._batches = self._batches, deque()
        for messages, epochs in batches:
            stay = [one for one in messages if place(one)[0] not in gone]
            dropped += len(messages) - len(stay)
            self.put(stay, epochs)
        return dropped
