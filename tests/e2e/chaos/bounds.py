"""What must stay bounded: memory, what is in flight, and what one crash repeats (E12, and E7 for crashes).

Guarantee: a bound that could not be judged is told as such in the figures, never as kept.

Non-obvious: what a crash may repeat is what was in flight, and what the launch had indexed since its last
commit, or behind what was unsettled then or at the end, for nothing behind that can be committed.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import TYPE_CHECKING

from .members import IN_FLIGHT_BYTES, IN_FLIGHT_EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .causes import Causes
    from .files import Commit, Sample
    from .findings import Findings
    from .tables import Tables

MIB = 2**20
RSS_MAX_BYTES = 240 * MIB
IN_FLIGHT_SLACK = 1.15
"""The last chunk taken and the dead letters on their way may stand above the limit."""
SLOPE_MAX_MIB = 1.0
SLOPE_AFTER_MS = 10 * 60_000
"""Below ten minutes the saw-tooth of batches coming and going is steeper than any leak worth finding."""
MOMENT_MS = 1_000
"""Journals, commits and pages are told with up to so much delay, or by the second."""

Pages = list[tuple[int, dict[str, float]]]


def pages_by_launch(samples: Iterable[Sample]) -> dict[str, Pages]:
    """What each launch said of itself, with the moment (ms), in order."""
    found: defaultdict[str, Pages] = defaultdict(list)
    for sample in samples:
        for launch, page in sample.sinks.items():
            found[launch].append((sample.until_ms, page))
    return dict(found)


def check_pages(pages: dict[str, Pages], findings: Findings) -> None:
    """Judge memory and what is in flight (E12)."""
    for launch, seen in pages.items():
        for _, page in seen:
            if page.get("rss", 0) > RSS_MAX_BYTES:
                findings.violate("E12", f"{launch} held {page['rss'] / MIB:.0f} MiB")
            if page.get("in_flight_events", 0) > IN_FLIGHT_EVENTS * IN_FLIGHT_SLACK:
                findings.violate("E12", f"{launch} had {page['in_flight_events']:.0f} events in flight")
            if page.get("in_flight_bytes", 0) > IN_FLIGHT_BYTES * IN_FLIGHT_SLACK:
                findings.violate("E12", f"{launch} had {page['in_flight_bytes']:.0f} B in flight")
    for launch, slope in slopes(pages):
        if slope >= SLOPE_MAX_MIB:
            findings.violate("E12", f"{launch} grew by {slope:.2f} MiB a minute")


def slopes(pages: dict[str, Pages]) -> Iterator[tuple[str, float]]:
    """The growth (MiB a minute) of each launch that lived long enough, over the last 80 % of its life."""
    for launch, seen in pages.items():
        first, last = seen[0][0], seen[-1][0]
        if last - first < SLOPE_AFTER_MS:
            continue
        settled = [(at / 60_000, page["rss"] / MIB) for at, page in seen if at >= first + (last - first) / 5]
        yield launch, statistics.linear_regression(*zip(*settled, strict=True)).slope


def check_crashes(
    causes: Causes, tables: Tables, commits: list[Commit], pages: dict[str, Pages], findings: Findings
) -> None:
    """Judge what each `kill -9` repeated (E7)."""
    for launch, (ended_ms, how) in causes.ends.items():
        if how != "kill":
            continue
        since_ms = _settled_in_vain_since(launch, ended_ms, causes, commits, pages.get(launch, []))
        taken = tables.indexed_by(launch, since_ms - MOMENT_MS, ended_ms + MOMENT_MS)
        repeated, may = causes.per_end[launch], int(IN_FLIGHT_EVENTS * IN_FLIGHT_SLACK) + taken
        if repeated > may:
            text = f"{repeated} records came again after {launch} was killed, {may} at most may"
            findings.violate("E7", text)


def _settled_in_vain_since(
    launch: str, ended_ms: int, causes: Causes, commits: list[Commit], pages: Pages
) -> int:
    """Since when nothing that was indexed is sure to be covered by a commit: what was unsettled then?"""
    held = causes.stories[launch].held
    committed_ms = max(
        (one.at_ms for one in commits if one.at_ms <= ended_ms and (one.topic, one.partition) in held),
        default=0,
    )
    since_ms = committed_ms
    for moment_ms in (committed_ms, ended_ms):
        before = [(at, page.get("age", 0.0)) for at, page in pages if at <= moment_ms]
        if before:
            at, age_s = before[-1]
            since_ms = min(since_ms, at - int(age_s * 1000))
    return since_ms
