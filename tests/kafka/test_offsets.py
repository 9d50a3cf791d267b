"""The ledger against a naive model: sets of offsets, and nothing clever."""

from __future__ import annotations

import pytest
from confluent_kafka import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from splunk_hec_kafka.offsets import Chunk, OffsetLedger, Run, TopicPartition, consecutive, led, place, shown
from splunk_hec_kafka.settled_map import SettledRun

P, Q = TopicPartition("t", 0), TopicPartition("t", 1)
PARTITIONS = [P, Q, TopicPartition("u", 0)]


def record(at: TopicPartition, offset: int, leader_epoch: int | None = None) -> Message:
    """A record as consumed; without a leader epoch as the client hands out those of old formats."""
    told = -1 if leader_epoch is None else leader_epoch
    return Message(topic=at.topic, partition=at.partition, offset=offset, value=b"v", leader_epoch=told)


def records(at: TopicPartition, *offsets: int) -> list[Message]:
    """Several of one partition."""
    return [record(at, offset) for offset in offsets]


def opened(*offsets: int, start: int | None = 0) -> OffsetLedger:
    """A ledger with one partition and some open records."""
    ledger = OffsetLedger()
    ledger.assign({P: start})
    ledger.open(records(P, *offsets), 1.0)
    return ledger


def run(ledger: OffsetLedger, first: int, last: int) -> Run:
    """A run of the current assignment of P."""
    return Run(P, ledger.epochs[P], first, last)


class LedgerMachine(RuleBasedStateMachine):
    """Any order of assignments, chunks with gaps, settlements in pieces, ends, jumps and revocations."""

    KEEPS_LEADERS = False

    def __init__(self) -> None:
        super().__init__()
        self.ledger = OffsetLedger(keeps_leaders=self.KEEPS_LEADERS)
        self.leader_epochs: dict[TopicPartition, dict[int, int | None]] = {}
        self.seen: dict[TopicPartition, int | None] = {}
        self.open_: dict[TopicPartition, set[int]] = {}
        self.in_flight: list[Run] = []
        self.fenced = 0

    @rule(at=st.sampled_from(PARTITIONS), start=st.none() | st.integers(0, 50))
    def assign(self, at: TopicPartition, start: int | None) -> None:
        """A partition comes, perhaps again."""
        self.ledger.assign({at: start})
        self.seen[at], self.open_[at], self.leader_epochs[at] = start, set(), {}

    @rule(going=st.sets(st.sampled_from(PARTITIONS)))
    def revoke(self, going: set[TopicPartition]) -> None:
        """Partitions go."""
        self.ledger.revoke(going)
        for at in going:
            self.seen.pop(at, None)
            self.open_.pop(at, None)

    @precondition(lambda self: self.seen)
    @rule(
        data=st.data(),
        gaps=st.lists(st.integers(0, 3) | st.just(0), min_size=1, max_size=8),
        elections=st.sets(st.integers(0, 8), max_size=2),
    )
    def consume(self, data: st.DataObject, gaps: list[int], elections: set[int]) -> None:
        """Records of one or two partitions arrive, interleaved, with gaps; leaders change meanwhile."""
        chunk: list[Message] = []
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.seen)), min_size=1, max_size=2))
        for number, gap in enumerate(gaps):
            for at in chosen:
                offset = (self.seen[at] or 0) + gap
                leader_epoch = next(reversed(self.leader_epochs[at].values()), None)
                if number in elections:
                    leader_epoch = 0 if leader_epoch is None else leader_epoch + 1
                chunk.append(record(at, offset, leader_epoch))
                self.leader_epochs[at][offset] = leader_epoch
                self.seen[at] = offset + 1
                self.open_[at].add(offset)
        self.ledger.open(chunk, 1.0)
        epochs = self.ledger.epochs
        self.in_flight += [Run(at, epochs[at], first, last) for at, first, last in consecutive(chunk)]

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """A part of what is under way settles, in whatever order, also for an assignment that is over."""
        one = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
        first = data.draw(st.integers(one.first, one.last))
        last = data.draw(st.integers(first, one.last))
        rest = [(one.first, first - 1), (last + 1, one.last)]
        self.in_flight += [one._replace(first=low, last=high) for low, high in rest if low <= high]
        is_current = self.ledger.epochs.get(one.at) == one.epoch
        assert self.ledger.settle(one._replace(first=first, last=last)) is is_current
        if is_current:
            self.open_[one.at] -= set(range(first, last + 1))
        else:
            self.fenced += last - first + 1

    @rule(at=st.sampled_from(PARTITIONS), beyond=st.integers(-3, 5), is_jump=st.booleans())
    def reach_end(self, at: TopicPartition, beyond: int, is_jump: bool) -> None:
        """The end of a partition is told, or what comes next is gone."""
        offset = max(0, (self.seen.get(at) or 0) + beyond)
        (self.ledger.jump if is_jump else self.ledger.reached_end)(at, offset)
        if at in self.seen:
            seen = self.seen[at]
            self.seen[at] = offset if seen is None else max(seen, offset)

    @invariant()
    def committable_is_the_first_open_offset_else_the_next(self) -> None:
        """The promise: nothing open lies below what may be committed."""
        expected = {at: min(self.open_[at], default=self.seen[at]) for at in self.seen}
        known = {at: offset for at, offset in expected.items() if offset is not None}
        assert self.ledger.committable() == known
        assert self.ledger.committable([P]) == {at: one for at, one in known.items() if at == P}

    @invariant()
    def counts_agree(self) -> None:
        """What is open, fenced and next is counted right."""
        assert self.ledger.open_count() == sum(map(len, self.open_.values()))
        assert self.ledger.open_count([Q]) == len(self.open_.get(Q, ()))
        assert self.ledger.fenced == self.fenced
        assert self.ledger.positions() == {at: seen for at, seen in self.seen.items() if seen is not None}
        assert self.ledger.epochs.keys() == self.seen.keys()


class TestLedger(LedgerMachine.TestCase):
    """Whatever happens in whatever order, the ledger allows what the naive model allows."""

    settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


class LeaderMachine(LedgerMachine):
    """The same with leader epochs kept."""

    KEEPS_LEADERS = True

    @invariant()
    def settled_runs_are_what_is_settled_beyond_the_first_open_offset(self) -> None:
        """Each settled record whose leader epoch is known stands in a run of it; nothing open or unread."""
        for at, open_ in self.open_.items():
            first, seen = min(open_, default=None), self.seen[at]
            told: dict[int, int] = {}
            last = -1
            for run in self.ledger.settled_runs(at):
                assert last < run.first <= run.last
                told |= dict.fromkeys(range(run.first, run.last + 1), run.leader_epoch)
                last = run.last
            assert not told.keys() & open_
            assert all(first is not None and first < offset < (seen or 0) for offset in told)
            read = {
                offset: leader_epoch
                for offset, leader_epoch in self.leader_epochs[at].items()
                if leader_epoch is not None and first is not None and offset > first and offset not in open_
            }
            assert {offset: told.get(offset) for offset in read} == read
            # A gap belongs to the leader of the record before it.
            for offset in told.keys() - self.leader_epochs[at].keys():
                before = max(one for one in self.leader_epochs[at] if one < offset)
                assert told[offset] == self.leader_epochs[at][before]


class TestLeaders(LeaderMachine.TestCase):
    """Whatever happens in whatever order, what is called settled is, and was read under that leader."""

    settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_without_leaders_nothing_is_told_to_be_settled_beyond() -> None:
    """A ledger that does not keep leader epochs has no runs to tell of; nor has an unknown partition."""
    ledger = opened()
    ledger.open([record(P, 0, leader_epoch=3), record(P, 1, leader_epoch=3)], 1.0)
    ledger.settle(run(ledger, 1, 1))
    assert ledger.settled_runs(P) == ledger.settled_runs(Q) == []
    assert (ledger.next_offset(P), ledger.next_offset(Q)) == (2, None)


def test_runs_are_cut_where_the_leader_changes() -> None:
    """Consecutive records are one run as long as one leader wrote them; -1 where the client does not tell."""
    chunk = [record(P, offset, leader) for offset, leader in enumerate([None, 0, 0, 2, 2, 3])]
    chunk += [record(Q, 6, 3), record(Q, 8, 3)]
    assert list(led(chunk)) == [
        (P, 0, 0, -1), (P, 1, 2, 0), (P, 3, 4, 2), (P, 5, 5, 3), (Q, 6, 6, 3), (Q, 8, 8, 3),
    ]  # fmt: skip
    assert list(led([])) == []


def test_what_is_settled_beyond_an_open_record_is_told_by_leader() -> None:
    """Runs leave out what is open, what was read under an unknown leader, and what is not read yet."""
    ledger = OffsetLedger(keeps_leaders=True)
    ledger.assign({P: 0})
    ledger.open([record(P, offset, leader) for offset, leader in enumerate([0, 0, 0, 1, 1, None])], 1.0)
    ledger.open([record(P, 9, 2), record(P, 10, 2)], 1.0)
    for first, last in ((1, 5), (9, 9)):
        ledger.settle(run(ledger, first, last))
    assert ledger.settled_runs(P) == [SettledRun(1, 2, 0), SettledRun(3, 4, 1), SettledRun(9, 9, 2)]
    ledger.settle(run(ledger, 10, 10))
    ledger.reached_end(P, 12)
    assert ledger.settled_runs(P)[-1] == SettledRun(9, 11, 2)
    ledger.settle(run(ledger, 0, 0))
    assert ledger.settled_runs(P) == []
    assert ledger.committable() == {P: 12}


def test_offsets_that_were_never_seen_count_as_settled() -> None:
    """Compaction and transaction markers leave gaps, which must not hold the commit back."""
    ledger = opened(3, 7)
    assert ledger.committable() == {P: 3}
    ledger.settle(run(ledger, 3, 3))
    assert ledger.committable() == {P: 7}
    ledger.settle(run(ledger, 7, 7))
    ledger.reached_end(P, 9)
    assert ledger.committable() == {P: 9}


def test_a_partition_without_a_position_has_nothing_to_commit() -> None:
    """Before anything is known of a partition no offset is made up for it."""
    ledger = opened(start=None)
    assert ledger.committable() == ledger.positions() == {}
    ledger.reached_end(P, 0)
    assert ledger.committable() == {P: 0}


def test_a_late_settlement_is_fenced_after_the_partition_came_back() -> None:
    """An acknowledgement of an earlier assignment settles nothing in the current one."""
    ledger = opened(0, 1)
    late = run(ledger, 0, 1)
    assert ledger.is_current(late)
    ledger.revoke([P])
    assert not ledger.settle(late)
    ledger.assign({P: 0})
    ledger.open(records(P, 0, 1), 1.0)
    assert not ledger.is_current(late)
    assert not ledger.settle(late)
    assert ledger.fenced == 4
    assert ledger.committable() == {P: 0}


@pytest.mark.parametrize(("first", "last"), [(4, 4), (0, 0), (2, 3), (5, 7), (3, 3)])
def test_settling_what_is_not_open_is_a_fault(first: int, last: int) -> None:
    """Settling twice, or what was never read, is a fault of ours and must not pass in silence."""
    ledger = opened(1, 2, 5)
    ledger.settle(run(ledger, 2, 2))
    with pytest.raises(AssertionError, match="open"):
        ledger.settle(run(ledger, first, last))


def test_reading_an_offset_twice_is_a_fault() -> None:
    """A record below the position would be counted twice: the sink must end, not guess."""
    ledger = opened(5)
    with pytest.raises(AssertionError, match="seen before"):
        ledger.open(records(P, 5), 1.0)


def test_the_oldest_open_record_tells_its_age() -> None:
    """The time of the oldest open record is kept while parts of its chunk settle."""
    ledger = opened(0, 1, 2)
    ledger.open(records(P, 3), 9.0)
    assert ledger.oldest_opened_at() == 1.0
    ledger.settle(run(ledger, 1, 1))
    assert ledger.oldest_opened_at() == 1.0
    ledger.settle(run(ledger, 0, 0))
    ledger.settle(run(ledger, 2, 2))
    assert ledger.oldest_opened_at() == 9.0
    ledger.settle(run(ledger, 3, 3))
    assert ledger.oldest_opened_at() is None
    assert repr(ledger) == "<OffsetLedger t/0 4+0>"


def test_the_age_of_records_is_kept_beside_their_leaders() -> None:
    """A ledger that keeps leader epochs tells the oldest open record as any other does, in its repr too."""
    ledger = OffsetLedger(keeps_leaders=True)
    ledger.assign({P: 0, Q: None})
    ledger.open([record(P, 0, 1)], 5.0)
    ledger.open([record(P, 1, 2)], 6.0)
    assert ledger.oldest_opened_at() == 5.0
    assert repr(ledger) == "<OffsetLedger t/0 0+2, t/1 None+0>"


def test_a_run_ends_at_a_gap_and_at_another_partition() -> None:
    """A run holds strictly consecutive offsets of one partition, so that it can be settled as a range."""
    mixed = records(P, 0, 1, 3) + records(Q, 4) + records(P, 4)
    assert consecutive(mixed) == [(P, 0, 1), (P, 3, 3), (Q, 4, 4), (P, 4, 4)]
    assert consecutive([]) == []


def naive_runs(messages: list[Message]) -> list[tuple[TopicPartition, int, int]]:
    """Runs, found one record after the other."""
    found: list[tuple[TopicPartition, int, int]] = []
    for at, offset in map(place, messages):
        if found and found[-1][0] == at and found[-1][2] + 1 == offset:
            found[-1] = (at, found[-1][1], offset)
        else:
            found.append((at, offset, offset))
    return found


stretches = st.tuples(st.sampled_from(PARTITIONS), st.integers(0, 40), st.integers(0, 70))


@settings(max_examples=300, deadline=None)
@given(st.lists(stretches, max_size=8), st.lists(st.tuples(st.integers(0, 300), stretches), max_size=3))
def test_runs_are_those_that_a_look_at_each_record_finds(
    stretched: list[tuple[TopicPartition, int, int]],
    strewn: list[tuple[int, tuple[TopicPartition, int, int]]],
) -> None:
    """Long runs, short ones, gaps, repeats and steps back, of several topics: leaping over them finds all."""
    messages = [
        record(at, offset) for at, first, count in stretched for offset in range(first, first + count)
    ]
    for position, (at, offset, _) in strewn:
        messages.insert(position, record(at, offset))
    assert consecutive(messages) == naive_runs(messages)


def test_a_chunk_knows_its_runs_and_its_parts_know_their_own() -> None:
    """Runs are looked for once in what was consumed together; a part of it is looked at anew."""
    chunk = Chunk([record(P, 0), record(P, 1), record(Q, 7), record(P, 2)])
    assert consecutive(chunk) == consecutive(list(chunk)) == [(P, 0, 1), (Q, 7, 7), (P, 2, 2)]
    assert consecutive(chunk) is chunk.runs
    assert consecutive(chunk[1:3]) == [(P, 1, 1), (Q, 7, 7)]


def test_records_with_empty_values_make_a_run() -> None:
    """A Message with an empty value is falsy, and is a record all the same."""
    empty = [Message(topic="t", partition=0, offset=offset, value=b"") for offset in (0, 1)]
    assert not empty[0]
    assert consecutive(empty) == [(P, 0, 1)]


def test_partitions_are_shown_with_their_positions() -> None:
    """The next offset to read, where it is known."""
    assert shown([P, Q], {P: 5}) == "t/0@5, t/1@start"
    assert shown([], {P: 5}) == "no partitions"
