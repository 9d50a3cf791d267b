"""The demo's audit: it must see every way in which a sink can be wrong, or its verdict is worth nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from kafka_tools import produce

from splunk_hec_kafka.demo_audit import (
    Indexed,
    Letter,
    Place,
    judge,
    read_committed,
    read_journal,
    read_letters,
)
from splunk_hec_kafka.demo_feed import INDEX, Record

if TYPE_CHECKING:
    from pathlib import Path

    from splunk_hec_kafka._mock_kafka import MockKafka

GOOD, BAD = Place("logs", 0, 0), Place("logs", 0, 1)
FED = {
    GOOD: Record("logs", b"k", b"hello", "indexed", "hello"),
    BAD: Record("logs", b"k", b"\xff", "undecodable"),
}
EVENT = Indexed(GOOD, "hello", INDEX)
LETTER = Letter(BAD, "undecodable", b"k", b"\xff")
COMMITTED = {("logs", 0): 2}


def test_all_in_its_place_is_perfect() -> None:
    """Every record where it should be and every offset committed: nothing to complain of."""
    audit = judge(FED, [EVENT], [LETTER], COMMITTED)
    assert audit.is_perfect
    assert (audit.delivered, audit.dead_lettered, audit.lost, audit.duplicates) == (1, 1, 0, 0)
    assert audit.committed
    assert audit.faults == []


def test_copies_are_counted_and_forgiven() -> None:
    """A duplicate, indexed or dead-lettered, is counted; it is no loss, so the audit is still perfect."""
    audit = judge(FED, [EVENT, EVENT], [LETTER, LETTER, LETTER], COMMITTED)
    assert audit.duplicates == 3
    assert audit.is_perfect


@pytest.mark.parametrize(
    ("events", "letters", "told"),
    [
        ([], [LETTER], "lost"),
        ([EVENT], [], "lost"),
        ([EVENT, Indexed(BAD, "?", INDEX)], [LETTER], "indexed instead of dead-lettered"),
        ([EVENT], [LETTER, Letter(GOOD, "blank", b"k", b"hello")], "instead of indexed"),
        ([EVENT], [Letter(BAD, "blank", b"k", b"\xff")], "as blank instead of undecodable"),
        ([EVENT], [Letter(BAD, "undecodable", None, b"\xff")], "byte for byte"),
        ([EVENT], [Letter(BAD, "undecodable", b"k", b"")], "byte for byte"),
        ([Indexed(GOOD, "hell", INDEX)], [LETTER], "altered"),
        ([Indexed(GOOD, "hello", "other")], [LETTER], "altered"),
        ([EVENT, Indexed(Place("logs", 9, 9), "x", INDEX)], [LETTER], "indexed, but was never fed"),
        ([EVENT], [LETTER, Letter(Place("logs", 9, 9), "blank", None, None)], "but was never fed"),
    ],
)
def test_every_wrong_is_seen(events: list[Indexed], letters: list[Letter], told: str) -> None:
    """Each way of losing, misplacing or altering a record ends in a line that says so."""
    audit = judge(FED, events, letters, COMMITTED)
    assert not audit.is_perfect
    assert any(told in fault for fault in audit.faults), audit.faults


@pytest.mark.parametrize("committed", [{}, {("logs", 0): 1}, {("logs", 0): 3}])
def test_every_offset_must_be_committed_exactly(committed: dict[tuple[str, int], int]) -> None:
    """No commit, one that is short, and one beyond the end are all wrong."""
    audit = judge(FED, [EVENT], [LETTER], committed)
    assert not audit.committed
    assert not audit.is_perfect


def test_both_indexed_and_dead_lettered_is_seen() -> None:
    """A record in two places is wrong even when one of them is right."""
    audit = judge(FED, [EVENT], [LETTER, Letter(GOOD, "indexed", b"k", b"hello")], COMMITTED)
    assert any("indexed and dead-lettered" in fault for fault in audit.faults)


def test_the_journal_is_read_line_by_line(tmp_path: Path) -> None:
    """An event is known by its provenance fields."""
    line = {
        "fields": {"kafka_topic": "logs", "kafka_partition": 0, "kafka_offset": 0},
        "event": "hello",
        "index": INDEX,
        "seq": 1,
    }
    journal = tmp_path / "journal"
    journal.write_text(json.dumps(line) + "\n")
    assert list(read_journal(journal)) == [EVENT]


def test_letters_and_commits_are_read_from_kafka(mock_kafka: MockKafka) -> None:
    """Dead letters are read with their headers, key and value; a group without commits has none."""
    mock_kafka.create_topic("letters", 2)
    headers = {
        "__connect.errors.topic": b"logs",
        "__connect.errors.partition": b"0",
        "__connect.errors.offset": b"1",
        "hec.reason": b"undecodable",
    }
    produce(mock_kafka.bootstrap, "letters", [b"\xff"], keys=[b"k"], headers=[list(headers.items())])
    assert read_letters(mock_kafka.bootstrap, "letters") == [LETTER]
    assert read_committed(mock_kafka.bootstrap, "group", [Place("letters", 0, 0)]) == {}
    assert read_committed(mock_kafka.bootstrap, "group", []) == {}
