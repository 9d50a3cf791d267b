"""The offline checker of the chaos runs: given doctored logs, it finds each violation, and no other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from chaos import files
from chaos.__main__ import main
from chaos.bounds import check_crashes, check_pages
from chaos.causes import AGAIN_HERE, AGAIN_THERE, NO_CAUSE, NO_ROOM, Causes, Story
from chaos.checker import Check
from chaos.faults import KILLS, OTHERS
from chaos.files import GOOD, UNDECODABLE, Commit, Indexed, Letter, Produced, Provenance, Sample
from chaos.findings import Findings
from chaos.members import GROUP, IN_FLIGHT_EVENTS, MAIN, MAIN_INDEX
from chaos.nemesis import schedule
from chaos.observer import commit_in
from chaos.proxy import Messages
from chaos.report import figures
from chaos.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

START_MS = 1_700_000_000_000
RECORDS, POISON_AT = 10, 7
CHANNEL = "11111111-0000-4000-8000-000000000000"


def value_of(offset: int) -> bytes:
    """The value of a record."""
    return b"%d broken \xff" % offset if offset == POISON_AT else b"%d a line" % offset


class Logs:
    """The logs of a clean run of one partition: ten records, of which one is dead-lettered.

    The sink read and committed 0 to 5, was killed, and its next launch read on from 5. What a test changes
    before `check` is what went wrong.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.produced = [
            Produced(MAIN, 0, at, at, files.digest(value_of(at)), START_MS + at, GOOD)
            for at in range(RECORDS)
        ]
        self.produced[POISON_AT] = self.produced[POISON_AT]._replace(kind=UNDECODABLE)
        self.journal = [
            self.event(at, "a1" if at < 5 else "a2", 100 if at < 5 else 5_000)
            for at in range(RECORDS)
            if at != POISON_AT
        ]
        self.letters = [self.letter(POISON_AT)]
        self.commits = [Commit(START_MS + 1_000, MAIN, 0, 5), Commit(START_MS + 6_000, MAIN, 0, 10)]
        self.samples = [self.sample(500, 0), self.sample(1_500, 5), self.sample(7_000, 10)]
        self.wire: list[dict[str, Any]] = [{"told": 0, "on": CHANNEL}, {"asked": [0], "on": CHANNEL}]
        self.events: list[dict[str, Any]] = [
            {"t": START_MS, "what": "run", "seed": 1, "minutes": 1.0, "per_s": 10},
            {"t": START_MS, "what": "start", "launch": "a1", "member": "a", "protocol": "range"},
            {"t": START_MS + 1, "what": "fault", "fault": "kill", "number": 0},
            {"t": START_MS + 2_000, "what": "end", "launch": "a1", "how": "kill", "code": -9},
            {"t": START_MS + 2_001, "what": "mended", "fault": "kill", "number": 0},
            {"t": START_MS + 3_000, "what": "start", "launch": "a2", "member": "a", "protocol": "range"},
            {"t": START_MS + 6_500, "what": "end", "launch": "a2", "how": "stop", "code": 0},
            {"t": START_MS + 6_000, "what": "written", "unreported": 0},
            {"t": START_MS + 7_000, "what": "drained", "lag": 0, "seconds": 1.0},
            {"t": START_MS + 8_000, "what": "ended", "codes": {"a": 0}},
        ]
        self.sinks = {
            "a1": [f"assigned {MAIN}/0@start"],
            "a2": [f"assigned {MAIN}/0@5", "ending: 0 records to settle within 20 s", f"revoked {MAIN}/0@10"],
        }

    def event(self, at: int, launch: str = "a2", after_ms: int = 5_000, **other: Any) -> Indexed:
        """A line of the journal."""
        values: dict[str, Any] = {
            "index": MAIN_INDEX,
            "source": f"kafka:{MAIN}",
            "sourcetype": "chaos",
            "time": (START_MS + at) / 1000,
            "fields": Provenance(MAIN, 0, at, launch, str(at)),
            "event": value_of(at).decode(errors="replace"),
            "received": (START_MS + after_ms - 50) / 1000,
            "durable": (START_MS + after_ms) / 1000,
        }
        return Indexed(**values | other)

    def letter(self, at: int, **other: Any) -> Letter:
        """A dead letter."""
        values: dict[str, Any] = {
            "at_ms": START_MS + 5_500,
            "topic": MAIN,
            "partition": 0,
            "offset": at,
            "reason": UNDECODABLE,
            "key": files.key_of(at).decode(),
            "sha256": files.digest(value_of(at)),
            "headers": [("uid", str(at)), ("index", MAIN_INDEX)],
            "stamp_ms": START_MS + at,
        }
        return Letter(**values | other)

    @staticmethod
    def sample(after_ms: int, committed: int, **page: float) -> Sample:
        """What the observer saw."""
        at_ms = START_MS + after_ms
        return Sample(
            at_ms=at_ms,
            until_ms=at_ms + 5,
            committed={MAIN: {0: committed}} if committed else {},
            ends={MAIN: {0: RECORDS}},
            sinks={"a1": {"rss": 1e6, "age": 0.5, **page}},
        )

    def check(self) -> Check:
        """Write all of it down, and check it."""
        (self.folder / "hec-sticky").mkdir(parents=True)
        (self.folder / files.SINKS).mkdir()
        texts = {
            files.PRODUCED: "".join(one.line() for one in self.produced),
            files.COMMITS: "".join(one.line() for one in self.commits),
            files.LETTERS: lines(self.letters),
            files.SAMPLES: lines(self.samples),
            files.WIRE: lines(self.wire),
            files.EVENTS: lines(self.events),
            "hec-sticky/journal.jsonl": lines(self.journal),
        } | {
            f"{files.SINKS}/{launch}.log": "".join(json.dumps({"message": one}) + "\n" for one in messages)
            for launch, messages in self.sinks.items()
        }
        for name, text in texts.items():
            (self.folder / name).write_text(text, encoding="utf-8")
        check = Check(self.folder)
        check.run()
        return check


def lines(items: list[Any]) -> str:
    """JSON lines."""
    return "".join(msgspec.json.encode(item).decode() + "\n" for item in items)


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    """A clean run's."""
    return Logs(tmp_path / "run")


def test_a_clean_run_violates_nothing(logs: Logs) -> None:
    """The logs that all other tests spoil are good as they are, and all of them were looked at."""
    check = logs.check()
    assert check.findings.counts == {}
    found = figures(check)
    looked = {
        name: found[name] for name in ("records", "indexed", "dead_lettered", "lost", "kill_9", "faults")
    }
    assert looked == {"records": 10, "indexed": 9, "dead_lettered": 1, "lost": 0, "kill_9": 1, "faults": 1}
    assert (found["commits_checked"], found["samples_checked"], found["ack_ids_asked"]) == (2, 3, 1)


SPOILT: dict[str, tuple[str, Callable[[Logs], object]]] = {
    "a lost record": ("E1", lambda it: it.journal.pop(8)),
    "a lost dead letter": ("E1", lambda it: it.letters.clear()),
    "a record without a report": ("E1", lambda it: it.events[7].update(unreported=1)),
    "an empty journal": ("E1", lambda it: it.journal.clear()),
    "no commits at all": ("E1", lambda it: it.commits.clear()),
    "an invented event": ("E2", lambda it: it.journal.append(it.event(99))),
    "an invented event of another topic": (
        "E2",
        lambda it: it.journal.append(it.event(1, fields=Provenance("other", 0, 1, "a2", "1"))),
    ),
    "an invented dead letter": ("E2", lambda it: it.letters.append(it.letter(99))),
    "a poison record that is indexed": (
        "E2",
        lambda it: (it.letters.clear(), it.journal.append(it.event(POISON_AT))),
    ),
    "a dead letter that is also indexed": ("E3", lambda it: it.journal.append(it.event(POISON_AT))),
    "an indexed record with a dead letter": ("E3", lambda it: it.letters.append(it.letter(3))),
    "a commit before its record was durable": (
        "E4",
        lambda it: it.commits.__setitem__(1, Commit(START_MS + 4_000, MAIN, 0, 10)),
    ),
    "a commit before its dead letter was written": (
        "E4",
        lambda it: it.letters.__setitem__(0, it.letter(POISON_AT, at_ms=START_MS + 6_500)),
    ),
    "a commit that only a sample saw": ("E4", lambda it: it.samples.__setitem__(1, it.sample(1_500, 6))),
    "a commit past the end": ("E4", lambda it: it.commits.append(Commit(START_MS + 7_000, MAIN, 0, 11))),
    "a commit that went back": ("E5", lambda it: it.commits.append(Commit(START_MS + 7_000, MAIN, 0, 9))),
    "a sample that went back": ("E5", lambda it: it.samples.append(it.sample(8_000, 9))),
    "a lag that stays": ("E6", lambda it: it.samples.__setitem__(2, it.sample(7_000, 9))),
    "a drain that did not end": ("E6", lambda it: it.events[8].update(lag=3)),
    "a duplicate without a cause": ("E7", lambda it: it.journal.append(it.event(6))),
    "a duplicate from below the restart point": ("E7", lambda it: it.journal.append(it.event(3))),
    "a start where nothing was committed": (
        "E7",
        lambda it: it.sinks.update(a2=[f"assigned {MAIN}/0@4", f"revoked {MAIN}/0@10"]),
    ),
    "a wrong payload": ("E9", lambda it: it.journal.__setitem__(2, it.event(2, "a1", 100, event="2 a lime"))),
    "a payload that is no text": (
        "E9",
        lambda it: it.journal.__setitem__(2, it.event(2, "a1", 100, event={})),
    ),
    "a wrong time": ("E9", lambda it: it.journal.__setitem__(2, it.event(2, "a1", 100, time=1.0))),
    "a wrong index": ("E9", lambda it: it.journal.__setitem__(2, it.event(2, "a1", 100, index="main"))),
    "another record's number": (
        "E9",
        lambda it: it.journal.__setitem__(
            2, it.event(2, "a1", 100, fields=Provenance(MAIN, 0, 2, "a1", "3"))
        ),
    ),
    "an altered dead letter": (
        "E10",
        lambda it: it.letters.__setitem__(0, it.letter(POISON_AT, sha256=files.digest(b"other"))),
    ),
    "a dead letter with another key": (
        "E10",
        lambda it: it.letters.__setitem__(0, it.letter(POISON_AT, key="other")),
    ),
    "a dead letter without its headers": (
        "E10",
        lambda it: it.letters.__setitem__(0, it.letter(POISON_AT, headers=[])),
    ),
    "a dead letter with another time": (
        "E10",
        lambda it: it.letters.__setitem__(0, it.letter(POISON_AT, stamp_ms=0)),
    ),
    "a dead letter for another reason": (
        "E10",
        lambda it: it.letters.__setitem__(0, it.letter(POISON_AT, reason="blank")),
    ),
    "a good record that is dead-lettered": (
        "E10",
        lambda it: (it.journal.pop(3), it.letters.append(it.letter(3, reason="gave_up"))),
    ),
    "an id asked that was not told": ("E11", lambda it: it.wire.append({"asked": [0, 1], "on": CHANNEL})),
    "an id asked after a reset": (
        "E11",
        lambda it: it.wire.extend([{"told": 0, "on": CHANNEL}, {"asked": [0], "on": CHANNEL}]),
    ),
    "too much memory": ("E12", lambda it: it.samples.append(it.sample(8_000, 10, rss=1e9))),
    "too much in flight": ("E12", lambda it: it.samples.append(it.sample(8_000, 10, in_flight_events=1e5))),
    "too many bytes in flight": (
        "E12",
        lambda it: it.samples.append(it.sample(8_000, 10, in_flight_bytes=1e9)),
    ),
    "an end that is not orderly": ("E13", lambda it: it.events[9].update(codes={"a": 7})),
    "an orderly end with something left": (
        "E13",
        lambda it: it.commits.__setitem__(1, Commit(START_MS + 6_800, MAIN, 0, 10)),
    ),
    "an end that was never seen": ("E13", lambda it: it.events.pop(9)),
}


@pytest.mark.parametrize("what", SPOILT)
def test_what_is_wrong_is_found(logs: Logs, what: str) -> None:
    """Each doctored log violates its equation, and the command says so with its exit code."""
    equation, doctor = SPOILT[what]
    doctor(logs)
    check = logs.check()
    assert check.findings.counts[equation] > 0
    assert check.findings.examples[equation]


@pytest.mark.parametrize(
    "what", ["a lost record", "an invented event", "a wrong payload", "a commit that went back"]
)
def test_nothing_else_is_accused(logs: Logs, what: str) -> None:
    """One fault breaks one equation (a lost record was committed too, so it breaks commit safety with it)."""
    equation, doctor = SPOILT[what]
    doctor(logs)
    assert set(logs.check().findings.counts) == ({"E1", "E4"} if equation == "E1" else {equation})


# -- duplicates and their causes ---------------------------------------------------------------------------


def test_what_is_read_again_after_a_kill_is_explained_by_the_restart_point(logs: Logs) -> None:
    """Indexed by the launch that was killed, not committed, and so indexed again by the next."""
    logs.journal.insert(5, logs.event(5, "a1", 1_800))
    check = logs.check()
    assert check.findings.counts == {}
    assert check.causes.explained == {"read again after kill -9": 1}
    assert check.causes.per_end == {"a1": 1}


def test_what_another_sink_reads_again_while_the_first_lives_is_a_rebalance(logs: Logs) -> None:
    """The cause is told by how and when the one before ended."""
    logs.events[3]["t"] = START_MS + 9_000
    logs.journal.insert(5, logs.event(5, "a1", 1_800))
    assert logs.check().causes.explained == {AGAIN_THERE: 1}


def test_a_resend_explains_one_copy_of_what_it_covers(logs: Logs) -> None:
    """The log says which offsets were sent again, and why; a third copy, or a neighbour, has no cause."""
    logs.sinks["a2"].append(
        f"batch 7 (3 events, attempt 1, ackId none) is sent again: unknown_reply {MAIN}/0@5-6, {MAIN}/0@8-8"
    )
    logs.journal += [logs.event(5), logs.event(8), logs.event(8), logs.event(9)]
    check = logs.check()
    assert check.causes.explained == {"unknown_reply": 2, NO_CAUSE: 2}
    assert check.findings.counts == {"E7": 2}
    assert figures(check)["duplicates_explained_percent"] == 50.0


def test_what_was_refused_as_busy_explains_nothing(logs: Logs) -> None:
    """A busy server took nothing: a second copy after that would be a fault of ours."""
    logs.sinks["a2"].append(f"batch 7 (3 events, attempt 1, ackId none) is sent again: busy {MAIN}/0@5-9")
    logs.journal.append(logs.event(6))
    assert logs.check().findings.counts == {"E7": 1}


def test_a_resend_explains_nothing_of_another_launch(logs: Logs) -> None:
    """Causes belong to the process that wrote them."""
    logs.sinks["a1"].append(
        f"batch 7 (3 events, attempt 1, ackId none) is sent again: unknown_reply {MAIN}/0@5-9"
    )
    logs.journal.append(logs.event(6))
    assert logs.check().findings.counts == {"E7": 1}


def test_a_partition_that_comes_back_is_read_again(logs: Logs) -> None:
    """Two assignments of one launch explain two copies, but only of what both of them covered."""
    both = [f"assigned {MAIN}/0@5, other/1@start", f"assigned {MAIN}/0@5"]
    logs.sinks["a2"] = [both[0], f"revoked {MAIN}/0@7", both[1], f"lost {MAIN}/0@10: so"]
    logs.journal += [logs.event(6), logs.event(9)]
    check = logs.check()
    assert check.causes.explained == {AGAIN_HERE: 1, NO_CAUSE: 1}


def test_a_log_without_room_is_named_as_such(logs: Logs) -> None:
    """What cannot be known because the disk was full is told apart from what is known, and from nothing."""
    logs.events[5]["has_full_disk"] = True
    logs.journal.append(logs.event(6))
    check = logs.check()
    assert check.findings.counts == {}
    assert check.causes.explained == {NO_ROOM: 1}


# -- what may be missing -----------------------------------------------------------------------------------


def deleted(logs: Logs, *, is_reported: bool) -> None:
    """Offsets 0 to 2 were deleted before they were read."""
    del logs.journal[:3]
    logs.events.append({"t": START_MS, "what": "deleted", "topic": MAIN, "partition": 0, "before": 3})
    if is_reported:
        text = f"{MAIN}/0: offsets 0 to 2 were deleted before they were read (retention): 3 are lost"
        logs.sinks["a1"].append(text)


def test_what_was_deleted_unread_must_be_reported(logs: Logs) -> None:
    """A range that nobody could read is no loss of the sink's if it said so."""
    deleted(logs, is_reported=True)
    check = logs.check()
    assert check.findings.counts == {}
    assert figures(check)["deleted_unread_and_reported"] == 3


def test_what_was_deleted_in_silence_is_lost(logs: Logs) -> None:
    """Without the report it is a loss."""
    deleted(logs, is_reported=False)
    assert logs.check().findings.counts == {"E1": 3}


def test_a_record_of_unknown_fate_may_be_there(logs: Logs) -> None:
    """What the producer could not confirm is no invention when it turns up."""
    logs.produced.append(Produced(MAIN, 0, -1, 99, files.digest(b"x"), START_MS, GOOD))
    logs.journal.append(logs.event(99))
    assert logs.check().findings.counts == {}


# -- the command, and what the logs are made from ----------------------------------------------------------


def test_the_command_says_what_the_check_found(logs: Logs, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 on a violation; table, JSON and picture are in the folder."""
    logs.journal.pop(8)
    logs.check()
    assert main(["--check", str(logs.folder)]) == 1
    assert "E1   VIOLATED 1 times" in capsys.readouterr().out
    assert json.loads((logs.folder / "report.json").read_text())["lost"] == 1
    assert "</svg>" in (logs.folder / "report.svg").read_text()


def test_the_command_passes_a_clean_run(logs: Logs, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0, and the same as JSON."""
    logs.check()
    assert main(["--check", str(logs.folder), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["duplicates"] == 0


def test_a_commit_is_read_from_the_brokers_own_topic() -> None:
    """Key: version, group, topic, partition; value: version, offset; of other groups and kinds nothing."""

    class Record:
        def __init__(self, key: bytes, value: bytes | None) -> None:
            self.key, self.value = lambda: key, lambda: value

        def timestamp(self) -> tuple[int, int]:
            return 1, 77

    group = GROUP.encode()
    key = b"\0\1\0%c%s\0\1t\0\0\0\5" % (len(group), group)
    value = b"\0\3" + (1234).to_bytes(8, "big") + b"rest"
    read: Any = commit_in
    assert read(Record(key, value)) == Commit(77, "t", 5, 1234)
    assert read(Record(key, None)) is None
    assert read(Record(b"\0\2" + key[2:], value)) is None
    assert read(Record(b"\0\1\0\5other\0\1t\0\0\0\5", value)) is None


def test_http_is_overheard_however_it_is_cut() -> None:
    """Whole messages come out, whatever pieces the bytes come in."""
    one = b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
    two = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n"
    messages, found = Messages(), []
    for at in range(len(one + two)):
        found += messages.feed((one + two)[at : at + 1])
    assert found == [(one[:-7], b"abc"), (two[:-4], b"")]
    assert Messages().feed(one + two) == found


# -- the schedule ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_long_schedule_is_dense_and_leaves_no_fault_out(seed: int) -> None:
    """Half an hour has at least 150 faults, 40 of them kills, and each kind; the same seed, the same plan."""
    plan = schedule(seed, 1_800)
    kills = [one for one in plan if one.fault in KILLS]
    assert len(plan) >= 150
    assert len(kills) >= 40
    assert {one.fault.name for one in plan} == {fault.name for fault in KILLS + OTHERS}
    assert plan == schedule(seed, 1_800) != schedule(seed + 1, 1_800)


def test_what_cannot_be_had_or_is_not_wanted_is_not_planned() -> None:
    """A missing tool takes its fault away, and a choice all others."""
    assert "clock" not in {one.fault.name for one in schedule(1, 1_800, missing={"clock": "no libfaketime"})}
    assert {one.fault.name for one in schedule(1, 300, only=["kill", "busy"])} == {"kill", "busy"}


def test_an_unknown_fault_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With the names of those that there are."""
    with pytest.raises(SystemExit) as ended:
        main(["--only", "kill,flood"])
    assert ended.value.code == 2
    assert "no such fault: flood; there are kill, " in capsys.readouterr().err


def crash(
    repeated: int, *, taken_ms: int, committed_ms: int, age_s: float, age_then_s: float = 0
) -> Findings:
    """A sink is killed 60 s after its start; 10,000 records of it were indexed in one second before."""
    story = Story()
    story.held.add((MAIN, 0))
    causes = Causes({"a1": story}, {"a1": (START_MS + 60_000, "kill")})
    causes.per_end["a1"] = repeated
    tables = Tables()
    tables.launches["a1"] = 1
    tables.taken_by_s[1, (START_MS + taken_ms) // 1000] = 10_000
    pages = {"a1": [(START_MS + committed_ms, {"age": age_then_s}), (START_MS + 59_000, {"age": age_s})]}
    findings = Findings()
    check_crashes(causes, tables, [Commit(START_MS + committed_ms, MAIN, 0, 7)], pages, findings)
    return findings


def test_a_crash_may_repeat_what_was_in_flight_and_what_no_commit_could_cover() -> None:
    """What was taken since the last commit, or behind a record that would not settle, may come again."""
    most = int(IN_FLIGHT_EVENTS * 1.15)
    assert crash(most, taken_ms=30_000, committed_ms=58_000, age_s=1).is_clean
    assert crash(most + 10_000, taken_ms=59_000, committed_ms=58_000, age_s=1).is_clean
    assert crash(most + 10_000, taken_ms=30_000, committed_ms=58_000, age_s=29).is_clean
    assert crash(most + 10_000, taken_ms=20_000, committed_ms=30_000, age_s=0, age_then_s=10).is_clean


def test_a_crash_that_repeats_what_a_commit_should_have_covered_violates_the_bound() -> None:
    """Records taken long before the last commit, with nothing old before them, must not come again."""
    most = int(IN_FLIGHT_EVENTS * 1.15)
    assert crash(most + 1, taken_ms=30_000, committed_ms=58_000, age_s=1).counts == {"E7": 1}
    assert crash(most + 10_001, taken_ms=59_000, committed_ms=58_000, age_s=1).counts == {"E7": 1}


def test_one_stale_answer_of_a_broker_is_counted_and_is_no_step_back(logs: Logs) -> None:
    """A sample that fell back while the next one did not is the broker's; two in a row are a violation."""
    logs.samples[2:] = [logs.sample(6_500, 10), logs.sample(6_600, 5), logs.sample(7_000, 10)]
    check = logs.check()
    assert (check.findings.counts, check.stale_answers) == ({}, 1)


def test_two_samples_that_fell_back_are_a_step_back(logs: Logs) -> None:
    """What stays lower was committed lower, whatever the log of commits says."""
    logs.samples[2:] = [
        logs.sample(at, committed) for at, committed in ((6_500, 10), (6_600, 5), (6_700, 5), (7_000, 10))
    ]
    assert logs.check().findings.counts["E5"] >= 1


@pytest.mark.parametrize(("per_minute", "wanted"), [(0.9, {}), (1.1, {"E12": 1})])
def test_memory_that_grows_by_more_than_a_mebibyte_a_minute_violates_the_bound(
    per_minute: float, wanted: dict[str, int]
) -> None:
    """A life below ten minutes is not judged, nor its first fifth, in which caches fill."""
    seen: list[tuple[int, dict[str, float]]] = [
        (minute * 60_000, {"rss": (60 + max(0, minute - 4) * per_minute) * 2**20}) for minute in range(21)
    ]
    findings = Findings()
    check_pages({"a1": seen, "a2": [(at, {"rss": at * 100.0}) for at in range(0, 590_000, 1000)]}, findings)
    assert findings.counts == wanted
