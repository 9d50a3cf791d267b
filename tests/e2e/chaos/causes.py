"""Why a record was sent again: what the sinks' own logs and the starts and ends of processes say.

Three kinds of cause. A launch *resent* a batch, and its log says which offsets and why. It was *assigned* a
partition from an offset on, below what another launch had read: the restart point must be a committed one
(or the beginning, where there was none). Or its log had no room. Not for counting copies (`tables`).

Non-obvious: a cause explains one copy. A launch may index an offset as often as its assignments cover it,
plus once for each resend that covers it; whatever is beyond has no cause.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from .files import SINKS, Place

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .findings import Findings
    from .tables import Partition, Tables

FAR = 2**62
NO_CAUSE = "no cause"
NO_ROOM = "its log had no room"
NOT_REPEATING = ("assigned", "busy")
"""What was refused as busy was not taken: to send it again repeats nothing, so it is no cause of a copy."""
AGAIN_HERE = "read again by the same sink after a rebalance"
AGAIN_THERE = "read again by another sink after a rebalance"
_assigned = re.compile(r"^assigned (.*)$").match
_gone = re.compile(r"^(revoked|lost) ([^:]*)").match
_resent = re.compile(r"^batch \S+ \(\d+ events[^)]*\) is sent again: (\w+) (.*)$").match
_deleted = re.compile(r"^(\S+)/(\d+): offsets (\d+) to (\d+) were deleted before they were read").match
_place = re.compile(r"(\S+)/(\d+)@(start|\d+)(?:-(\d+))?").findall


class Span(NamedTuple):
    """Offsets `first`…`last`, and a cause: `assigned`, or that of a resend."""

    first: int
    last: int
    cause: str


class Copy(NamedTuple):
    """One indexed copy of a record: by whom, and when (0: the first, at whatever time)."""

    launch: str
    at_ms: int


class Story:
    """What the log of one launch tells.

    Attributes:
        spans: Assignments and resends, by partition.
        starts: Where each assignment began; None where there was no commit.
        deleted: What it reported as deleted unread.
        held: The partitions that it had when it ended; its last `revoked` may give them up.
        given_up: Those that it gave up in an orderly end, and how far it had read them.
        has_full_disk: What it wrote is not all there.
    """

    def __init__(self, *, has_full_disk: bool = False) -> None:
        self.spans: defaultdict[Place, list[Span]] = defaultdict(list)
        self.starts: list[tuple[Place, int | None]] = []
        self.deleted: list[tuple[Place, int, int]] = []
        self.has_full_disk = has_full_disk
        self.resends: Counter[str] = Counter()
        self.held: set[Place] = set()
        self.given_up: dict[Place, int] = {}
        self._reading: dict[Place, int] = {}
        self._coverage: dict[Place, _Coverage] = {}

    def read(self, messages: Iterable[str]) -> None:
        """The messages of a log, in order."""
        is_ending = False
        for text in messages:
            if (found := _resent(text)) is not None:
                self.resends[found[1]] += 1
                for topic, partition, first, last in _place(found[2]):
                    self.spans[topic, int(partition)].append(Span(int(first), int(last), found[1]))
            elif (found := _assigned(text)) is not None:
                self.held.clear()
                for topic, partition, at, _ in _place(found[1]):
                    self._begin((topic, int(partition)), at)
            elif (found := _gone(text)) is not None:
                for topic, partition, at, _ in _place(found[2]):
                    place, position = (topic, int(partition)), 0 if at == "start" else int(at)
                    self._end(place, position)
                    if found[1] == "revoked":
                        self.held.add(place)
                        if is_ending:
                            self.given_up[place] = position
            elif (found := _deleted(text)) is not None:
                self.deleted.append(((found[1], int(found[2])), int(found[3]), int(found[4])))
            is_ending = is_ending or text.startswith("ending: ")
        self.held.update(self._reading)
        for place in list(self._reading):
            self._end(place, FAR)

    def covering(self, place: Place, offset: int) -> tuple[str, ...]:
        """The causes of all spans that cover an offset."""
        if place not in self._coverage:
            self._coverage[place] = _Coverage(self.spans.get(place, []))
        return self._coverage[place].at(offset)

    def _begin(self, place: Place, at: str) -> None:
        if place in self._reading:
            self._end(place, FAR)
        self.starts.append((place, None if at == "start" else int(at)))
        self._reading[place] = 0 if at == "start" else int(at)

    def _end(self, place: Place, position: int) -> None:
        first = self._reading.pop(place, None)
        if first is not None and position > first:
            self.spans[place].append(Span(first, position - 1, "assigned"))


class _Coverage:
    """Many spans of one partition, asked offset by offset."""

    def __init__(self, spans: list[Span]) -> None:
        self._edges = sorted({edge for span in spans for edge in (span.first, span.last + 1)})
        self._causes: list[tuple[str, ...]] = [() for _ in self._edges]
        for span in spans:
            start, end = self._index(span.first), self._index(span.last + 1)
            for at in range(start, end):
                self._causes[at] = (*self._causes[at], span.cause)

    def at(self, offset: int) -> tuple[str, ...]:
        index = bisect_right(self._edges, offset) - 1
        return self._causes[index] if index >= 0 else ()

    def _index(self, edge: int) -> int:
        return bisect_right(self._edges, edge) - 1


class Causes:
    """The stories of all launches, and how each ended.

    Attributes:
        explained: Duplicates by cause.
        per_end: Duplicates read again after each launch that ended, for the bound of a crash.
        ends: When each launch ended (ms), and how.
    """

    def __init__(self, stories: dict[str, Story], ends: dict[str, tuple[int, str]]) -> None:
        self.stories = stories
        self.explained: Counter[str] = Counter()
        self.per_end: Counter[str] = Counter()
        self.ends = ends

    @classmethod
    def read(cls, folder: Path, events: list[dict[str, Any]]) -> Causes:
        """From the sinks' logs and the nemesis' log."""
        stories: dict[str, Story] = {}
        for event in events:
            if event["what"] == "start":
                story = stories[event["launch"]] = Story(has_full_disk=event.get("has_full_disk", False))
                story.read(_messages(folder / SINKS / f"{event['launch']}.log"))
        ends = {event["launch"]: (event["t"], event["how"]) for event in events if event["what"] == "end"}
        return cls(stories, ends)

    def check_starts(self, committed: dict[Place, set[int]], findings: Findings) -> None:
        """Nobody starts to read at an offset that was never committed."""
        for launch, story in self.stories.items():
            for place, at in story.starts:
                if at is not None and at not in committed.get(place, set()):
                    text = f"{launch} began {place[0]}/{place[1]} at {at}, which was never committed"
                    findings.violate("E7", text)

    def explain(self, tables: Tables, findings: Findings) -> None:
        """Find the cause of every copy beyond the first."""
        names = {number: name for name, number in tables.launches.items()}
        for place, partition in tables.partitions.items():
            by_offset: defaultdict[int, list[Copy]] = defaultdict(list)
            extras = zip(partition.extras, partition.extra_launches, partition.extra_moments, strict=True)
            for offset, launch, at_ms in extras:
                by_offset[offset].append(Copy(names[launch], at_ms))
            for offset, copies in by_offset.items():
                first = Copy(names[partition.owner[offset]], 0)
                self._explain_one(place, offset, [first, *copies], findings)

    def _explain_one(self, place: Place, offset: int, copies: list[Copy], findings: Findings) -> None:
        previous = ""
        by_launch: defaultdict[str, list[Copy]] = defaultdict(list)
        for copy in copies:
            by_launch[copy.launch].append(copy)
        for launch, own in by_launch.items():
            story = self.stories.get(launch, Story())
            without_cause = NO_ROOM if story.has_full_disk else NO_CAUSE
            causes = story.covering(place, offset)
            assigned = causes.count("assigned")
            found: list[str] = []
            if previous:
                found.append(self._read_again(previous, place, own[0].at_ms) if assigned else without_cause)
            more = [one for one in causes if one not in NOT_REPEATING] + [AGAIN_HERE] * max(0, assigned - 1)
            more.sort(key="split".__eq__)  # last, since a split seldom repeats what was taken
            found += (more + [without_cause] * len(own))[: len(own) - 1]
            self.explained.update(found)
            if (without := found.count(NO_CAUSE)) > 0:
                where = f"{place[0]}/{place[1]}@{offset}"
                text = f"{where}: {len(own)} copies by {launch}, known: {causes}; all: {copies}"
                findings.violate("E7", text, without)
            previous = launch

    def _read_again(self, previous: str, place: Place, at_ms: int) -> str:
        """The partition left the launch before either by that launch's end or by a rebalance."""
        ended_ms, how = self.ends.get(previous, (FAR, ""))
        is_end = ended_ms <= at_ms and place in self.stories[previous].held
        self.per_end[previous] += is_end
        return f"read again after {_END_NAMES[how]}" if is_end else AGAIN_THERE


_END_NAMES = {"kill": "kill -9", "stop": "an orderly end", "exit": "an end of its own"}


def reported_lost(stories: dict[str, Story], place: Place, partition: Partition) -> bytearray:
    """Which offsets the sinks reported as deleted before they were read: a 1 for each."""
    found = bytearray(len(partition))
    for story in stories.values():
        for where, first, last in story.deleted:
            if where == place:
                end = min(last + 1, len(found))
                found[first:end] = b"\x01" * max(0, end - first)
    return found


def _messages(path: Path) -> Iterable[str]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.startswith(b"{") and line.endswith(b"}\n"):
                try:
                    yield str(json.loads(line)["message"])
                except (ValueError, KeyError):
                    continue
