"""How long records took, from two curves: how many were consumed by when, and how many acknowledged by when.

The k-th record consumed waits for the k-th acknowledgement: the distance between the curves. Records leave
nearly in the order in which they came, so the distribution is that of the records' own times, and its mean is
exactly theirs. Both curves come from outside the sink, so every sink is measured alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

Curve = list[tuple[float, int]]
"""(when, how many) in the order of time."""


class Span(NamedTuple):
    """From the first record consumed to the last acknowledged, and how long records took meanwhile.

    Attributes:
        first_consumed, last_consumed: Monotonic seconds.
        first_done, last_done: The same, of acknowledgements.
        p50_s, p99_s: From consumed to acknowledged.
        most_open: Most records that were consumed and not acknowledged at once.
    """

    first_consumed: float
    last_consumed: float
    first_done: float
    last_done: float
    p50_s: float
    p99_s: float
    most_open: int


def span(consumed: Curve, done: Curve) -> Span | None:
    """What the curves tell; None if nothing was consumed or acknowledged."""
    consumed, done = sorted(consumed), sorted(done)
    if not consumed or not done:
        return None
    waits = distances(consumed, done)
    return Span(
        consumed[0][0],
        consumed[-1][0],
        done[0][0],
        done[-1][0],
        quantile(waits, 0.5),
        quantile(waits, 0.99),
        most_open(consumed, done),
    )


def distances(consumed: Sequence[tuple[float, int]], done: Sequence[tuple[float, int]]) -> Curve:
    """(seconds, records): how long so many records took, in the order in which they were consumed."""
    waits: Curve = []
    at = 0
    left = done[0][1]
    for when, count in consumed:
        rest = count
        while rest and at < len(done):
            taken = min(rest, left)
            if taken:
                waits.append((max(0.0, done[at][0] - when), taken))
            rest -= taken
            left -= taken
            if not left:
                at += 1
                left = done[at][1] if at < len(done) else 0
    return waits


def quantile(waits: Curve, share: float) -> float:
    """The time that this share of the records did not exceed; 0 for none."""
    ordered = sorted(waits)
    wanted = share * sum(count for _, count in ordered)
    seen = 0
    for seconds, count in ordered:
        seen += count
        if seen >= wanted:
            return seconds
    return 0.0


def most_open(consumed: Curve, done: Curve) -> int:
    """The largest number of records between both curves."""
    steps = sorted([(at, count) for at, count in consumed] + [(at, -count) for at, count in done])
    most = level = 0
    for _, change in steps:
        level += change
        most = max(most, level)
    return most
