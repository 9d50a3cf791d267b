"""The offline checker: reads the logs of a run, and nothing else, and says which equations they break.

Numbers are those of the project's list (`findings.EQUATIONS`). E8 (order) is counted, not judged. Guarantee:
a log that is missing or empty is a violation, never a pass.

Non-obvious: commit safety is judged at *every* commit, from `__consumer_offsets`, and at every sample; what
is resolved by a moment is a running maximum over the offsets, so that neither costs more than one pass. A
broker that was killed tells, in its first answers, offsets that its log has long gone beyond (seen with Kafka
4.4): one sample that fell back, when the next has not, is counted as such a stale answer.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from . import files
from .bounds import check_crashes, check_pages, pages_by_launch
from .causes import Causes, reported_lost
from .files import GOOD, KINDS, Place
from .findings import Findings
from .tables import ABSENT, Partition, Tables

if TYPE_CHECKING:
    from pathlib import Path

NEVER = 2**62
SEEN = "seen committed"


class Check:
    """One check of one folder; `run` does it all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.findings = Findings()
        self.tables = Tables()
        self.events = files.events(folder)
        self.causes = Causes.read(folder, self.events)
        self.samples = list(files.samples(folder))
        self.commits = list(files.commits(folder))
        self.pages = pages_by_launch(self.samples)

    def run(self) -> Findings:
        """Check every equation."""
        self.tables.read(self.folder, self.findings)
        if not self.tables.partitions or not self.tables.indexed or not self.commits:
            self.findings.violate("E1", "a log is empty: nothing can be said")
        self._check_records()
        self._check_commits()
        self._check_end()
        self.causes.check_starts(self._committed_values(), self.findings)
        self.causes.explain(self.tables, self.findings)
        self._check_orderly_ends()
        self._check_acks()
        check_pages(self.pages, self.findings)
        check_crashes(self.causes, self.tables, self.commits, self.pages, self.findings)
        return self.findings

    # -- records ---------------------------------------------------------------------------------------

    def _check_records(self) -> None:
        self.lost = self.lost_reported = 0
        for place, partition in self.tables.partitions.items():
            reported = reported_lost(self.causes.stories, place, partition)
            deleted_before = self._deleted_before(place)
            for offset in range(len(partition)):
                if partition.kind[offset] != ABSENT:
                    self._check_record(place, partition, offset, reported, deleted_before)

    def _check_record(
        self, place: Place, partition: Partition, offset: int, reported: bytearray, deleted_before: int
    ) -> None:
        kind = KINDS[partition.kind[offset] - 1]
        is_indexed, has_letter = partition.owner[offset] > 0, partition.letters[offset] > 0
        where = f"{place[0]}/{place[1]}@{offset}"
        if is_indexed and has_letter:
            self.findings.violate("E3", f"{where} ({kind}) is indexed and dead-lettered")
        elif not is_indexed and not has_letter:
            if offset < deleted_before and reported[offset]:
                self.lost_reported += 1
                return
            self.lost += 1
            why = "deleted unread, which no sink reported" if offset < deleted_before else "lost"
            self.findings.violate("E1", f"{where} ({kind}) is {why}")
        elif is_indexed and kind != GOOD:
            self.findings.violate("E2", f"{where} is indexed, a dead letter ({kind}) was due")

    def _deleted_before(self, place: Place) -> int:
        return max(
            (
                event["before"]
                for event in self.events
                if event["what"] == "deleted" and (event["topic"], event["partition"]) == place
            ),
            default=0,
        )

    # -- commits ---------------------------------------------------------------------------------------

    def _check_commits(self) -> None:
        by_place: defaultdict[Place, list[tuple[int, int]]] = defaultdict(list)
        self.stale_answers = 0
        for commit in self.commits:
            by_place[commit.topic, commit.partition].append((commit.at_ms, commit.offset))
        sampled = self._sampled()
        for place, partition in self.tables.partitions.items():
            resolved_by = self._resolved_by(place, partition)
            for what, found in (("committed", by_place[place]), (SEEN, sampled[place])):
                self._check_offsets(place, what, found, resolved_by)

    def _check_offsets(
        self, place: Place, what: str, found: list[tuple[int, int]], resolved_by: array[int]
    ) -> None:
        before = 0
        for number, (at_ms, offset) in enumerate(found):
            if offset < before:
                if what == SEEN and found[number + 1 : number + 2] and found[number + 1][1] >= before:
                    self.stale_answers += 1
                    continue
                text = f"{place[0]}/{place[1]}: {offset} {what} at {at_ms}, after {before}"
                self.findings.violate("E5", text)
            before = offset
            if offset >= len(resolved_by):
                self.findings.violate("E4", f"{place[0]}/{place[1]}: {offset} {what}, which does not exist")
            elif resolved_by[offset] > at_ms + 1:
                late = "never" if resolved_by[offset] == NEVER else f"not before {resolved_by[offset]}"
                text = (
                    f"{place[0]}/{place[1]}: {offset} {what} at {at_ms}; what is below it is resolved {late}"
                )
                self.findings.violate("E4", text)

    def _resolved_by(self, place: Place, partition: Partition) -> array[int]:
        """By offset: when everything below it was resolved. As long as the partition, and one more."""
        deleted_before = self._deleted_before(place)
        last = max((at for at in range(len(partition)) if partition.kind[at] != ABSENT), default=-1)
        moments = array("q", [0]) + partition.resolved[: last + 1]
        for offset in range(last + 1):
            if not moments[offset + 1] and partition.kind[offset] != ABSENT and offset >= deleted_before:
                moments[offset + 1] = NEVER
        return array("q", accumulate(moments, max))

    def _sampled(self) -> defaultdict[Place, list[tuple[int, int]]]:
        found: defaultdict[Place, list[tuple[int, int]]] = defaultdict(list)
        for sample in self.samples:
            for topic, offsets in sample.committed.items():
                for partition, offset in offsets.items():
                    found[topic, partition].append((sample.until_ms, offset))
        return found

    def _committed_values(self) -> dict[Place, set[int]]:
        found: defaultdict[Place, set[int]] = defaultdict(set)
        for commit in self.commits:
            found[commit.topic, commit.partition].add(commit.offset)
        return found

    # -- the end, acks ---------------------------------------------------------------------------

    def _check_end(self) -> None:
        said = {event["what"]: event for event in self.events}
        drained, ended = said.get("drained"), said.get("ended")
        last = next((sample for sample in reversed(self.samples) if sample.ends and not sample.error), None)
        lag = last.lag if last is not None else None
        if drained is None or drained["lag"] != 0 or lag != 0:
            self.findings.violate("E6", f"STUCK: the lag is {lag}; {drained}")
        for member, code in (ended or {"codes": {"?": None}})["codes"].items():
            if code != 0:
                self.findings.violate("E13", f"{member} ended with {code} although nothing was left to do")
            elif lag != 0:
                self.findings.violate("E13", f"{member} ended with 0, and the lag is {lag}")
        if (said.get("written") or {"unreported": 1})["unreported"]:
            self.findings.violate("E1", "the producer has records without a report")

    def _check_orderly_ends(self) -> None:
        """Whoever ended with 0 had committed all that it had read of the partitions it still had."""
        latest: dict[Place, int] = {}
        ends = [event for event in self.events if event["what"] == "end" and event["code"] == 0]
        commits = iter(self.commits)
        commit = next(commits, None)
        for end in sorted(ends, key=lambda event: event["t"]):
            while commit is not None and commit.at_ms <= end["t"]:
                latest[commit.topic, commit.partition] = commit.offset
                commit = next(commits, None)
            for place, position in self.causes.stories[end["launch"]].given_up.items():
                if position > latest.get(place, 0):
                    text = f"{end['launch']} ended with 0 at {position} of {place[0]}/{place[1]}, "
                    self.findings.violate("E13", f"{text}where {latest.get(place)} was committed")

    def _check_acks(self) -> None:
        told: defaultdict[str, set[int]] = defaultdict(set)
        highest: dict[str, int] = {}
        gone: set[str] = set()
        self.acks_told = self.acks_asked = 0
        for line in files.wire(self.folder):
            channel = line["on"]
            if "told" in line:
                self.acks_told += 1
                if line["told"] <= highest.get(channel, -1):
                    gone.add(channel)
                highest[channel] = max(line["told"], highest.get(channel, -1))
                told[channel].add(line["told"])
                continue
            self.acks_asked += len(line["asked"])
            if channel in gone:
                self.findings.violate("E11", f"{channel} is asked {line['asked']} after its ids fell back")
            elif channel in told and (strange := set(line["asked"]) - told[channel]):
                self.findings.violate("E11", f"{channel} is asked {sorted(strange)}, which it did not tell")


def known_events(check: Check, what: str) -> list[dict[str, Any]]:
    """The nemesis' lines of one kind."""
    return [event for event in check.events if event["what"] == what]
