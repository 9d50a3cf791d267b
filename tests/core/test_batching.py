"""Batches conserve what they stand for: envelopes, manifest and charge, however they are gathered and cut."""

from __future__ import annotations

from typing import Any

import pytest
from hec_lane import Owner, batch_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from splunk_hec._batching import Batch, BatchBuilder, Lines
from splunk_hec._block import Block
from splunk_hec._gzip import Fast

MAX_BYTES = 60
MAX_EVENTS = 5
CODEC = Fast()

lines = st.lists(
    st.binary(min_size=1, max_size=25).map(lambda line: line.replace(b"\n", b" ")), min_size=1, max_size=9
)
raw_lines = st.lists(st.binary(min_size=1, max_size=25), min_size=1, max_size=9)


class Numbers(tuple[int, ...]):
    """A manifest that is not a list: it knows how to join and to be cut, as the sink's does."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        """A slice is again a manifest."""
        return Numbers(super().__getitem__(index)) if isinstance(index, slice) else super().__getitem__(index)

    @classmethod
    def join(cls, parts: list[Numbers]) -> Numbers:
        """One of many."""
        return cls(number for part in parts for number in part)


def block_of(given_lines: list[bytes]) -> Block:
    """Lines as an encoder hands them over: in one piece."""
    return Block(b"\n".join(given_lines), len(given_lines))


class Building(RuleBasedStateMachine):
    """Envelopes go into a builder, are sealed, cut and packed; a plain list says what must come out."""

    is_raw = False
    manifest: type[list[int] | Numbers] = list

    def __init__(self) -> None:
        super().__init__()
        self.builder = BatchBuilder(
            Owner(), max_bytes=MAX_BYTES, max_events=MAX_EVENTS, query="q=1", raw=self.is_raw
        )
        self.open: list[bytes] = []
        self.sealed: list[Batch] = []
        self.expected: list[bytes] = []
        self.charge = 0
        self.numbers = 0

    @rule(given_lines=raw_lines, held_bytes=st.integers(0, 500), came_singly=st.booleans())
    def add(self, given_lines: list[bytes], held_bytes: int, came_singly: bool) -> None:
        """As the queue adds: as much as there is room for, sealing in between."""
        if not self.is_raw:
            given_lines = [line.replace(b"\n", b" ") for line in given_lines]
        refs = self.manifest(range(self.numbers, self.numbers + len(given_lines)))
        self.numbers += len(given_lines)
        block = Block.of(given_lines) if self.is_raw or came_singly else block_of(given_lines)
        at = 0
        while at < len(given_lines):
            room = self.builder.room(block[at:])
            if not room:
                assert len(self.builder)
                self.seal()
                continue
            part = given_lines[at : at + room]
            self.builder.add(block[at : at + room], refs[at : at + room], held_bytes, 7.0)
            self.charge += sum(len(line) + 1 for line in part) + held_bytes
            self.open += part
            at += room
            assert len(self.open) <= MAX_EVENTS
            assert sum(len(line) + 1 for line in self.open) <= MAX_BYTES or len(self.open) == 1

    @rule()
    def seal(self) -> None:
        """What is open becomes a batch; an empty builder becomes none."""
        batch = self.builder.seal(str(len(self.sealed)), 9.0)
        assert (batch is None) == (not self.open)
        if batch is not None:
            assert batch.query == "q=1"
            assert batch.sealed_at == 9.0
            self.sealed.append(batch)
            self.expected += self.open
            self.open = []

    @precondition(lambda self: any(not batch.is_settled for batch in self.sealed))
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        """A batch becomes its pieces, in place."""
        number = data.draw(st.integers(0, len(self.sealed) - 1))
        batch = self.sealed[number]
        at = data.draw(st.lists(st.integers(0, batch.count), max_size=2))
        batch.attempts, batch.is_plain = 3, data.draw(st.booleans())
        pieces = batch.cut(at, CODEC)
        assert batch.is_settled
        assert all(piece.id.startswith(f"{batch.id}.") for piece in pieces)
        assert all(piece.attempts == 3 and piece.is_plain == batch.is_plain for piece in pieces)
        assert all(piece.count for piece in pieces)
        self.sealed[number : number + 1] = pieces

    @precondition(lambda self: self.sealed)
    @rule(data=st.data())
    def pack(self, data: st.DataObject) -> None:
        """Compressing gives back of the charge what it saves, once."""
        batch = data.draw(st.sampled_from(self.sealed))
        wire = batch.wire(CODEC)
        assert (wire if batch.is_plain else CODEC.decompress(wire)) == batch.body(CODEC)
        saved = batch.take_saving()
        assert saved >= 0
        self.charge -= saved
        assert batch.take_saving() == 0

    @invariant()
    def nothing_is_lost_or_made_up(self) -> None:
        """All envelopes in their order, all refs in theirs, all of the charge."""
        envelopes = [line for batch in self.sealed for line in batch.envelopes(CODEC)]
        assert envelopes == self.expected
        assert len(self.builder) == len(self.open)
        refs = [ref for batch in self.sealed for ref in batch.manifest]  # type: ignore[attr-defined]
        assert refs == list(range(len(refs)))
        assert [batch.count for batch in self.sealed] == [len(batch.manifest) for batch in self.sealed]
        if not self.open:
            assert sum(batch.charge_bytes for batch in self.sealed) == self.charge

    def teardown(self) -> None:
        """Seal what is open: the charge must add up to the byte."""
        self.seal()
        self.nothing_is_lost_or_made_up()


class RawBuilding(Building):
    """Raw text may hold line ends inside an event."""

    is_raw = True


class RunsBuilding(Building):
    """Manifests that join themselves."""

    manifest = Numbers


TestBuilding = Building.TestCase
TestRawBuilding = RawBuilding.TestCase
TestRunsBuilding = RunsBuilding.TestCase


def builder(max_bytes: int = MAX_BYTES, max_events: int = MAX_EVENTS) -> BatchBuilder:
    """An empty one."""
    return BatchBuilder(Owner(), max_bytes=max_bytes, max_events=max_events)


def test_oversize_event_gets_a_batch_of_its_own() -> None:
    """One that is larger than a batch may be is taken alone, never refused for ever."""
    one = builder()
    lines_of_two = block_of([b"x" * 500, b"y"])
    assert one.room(lines_of_two) == 1
    one.add(lines_of_two[:1], [0], 0, 1.0)
    assert one.is_full
    assert one.room(lines_of_two[1:]) == 0


def test_full_is_said_by_size_or_by_count() -> None:
    """A builder that waits for nothing more is sealed at once."""
    by_count, by_size = builder(max_bytes=10_000), builder(max_events=100)
    by_count.add(block_of([b"x"] * MAX_EVENTS), list(range(MAX_EVENTS)), 0, 1.0)
    by_size.add(block_of([b"x" * (MAX_BYTES - 1)]), [0], 0, 1.0)
    assert by_count.is_full
    assert by_size.is_full
    assert not builder().is_full


@given(lines)
def test_room_is_what_fits(given_lines: list[bytes]) -> None:
    """As many as fit with their line ends, from the first; at least one into an empty builder."""
    room = builder().room(block_of(given_lines))
    sizes = [sum(len(line) + 1 for line in given_lines[:count]) for count in range(len(given_lines) + 1)]
    fitting = max(count for count in range(len(sizes)) if sizes[count] <= MAX_BYTES and count <= MAX_EVENTS)
    assert room == builder().room(Block.of(given_lines)) == max(1, fitting)


def test_lines_fill_a_batch_to_its_last_byte() -> None:
    """Three lines of nine bytes with their ends are thirty: all three fit, and a fourth does not."""
    four = block_of([b"x" * 9] * 4)
    assert builder(max_bytes=30).room(four) == 3
    assert builder(max_bytes=29).room(four) == 2
    assert builder(max_bytes=40).room(four) == 4


def test_linger_counts_from_the_first_event() -> None:
    """The age of an open batch is that of its oldest event, and starts anew after a seal."""
    one = builder()
    one.add(block_of([b"x"]), [0], 0, 10.0)
    one.add(block_of([b"y"]), [1], 0, 20.0)
    assert one.opened_at == 10.0
    one.seal("1", 21.0)
    one.add(block_of([b"z"]), [2], 0, 30.0)
    assert one.opened_at == 30.0


def test_lists_of_the_caller_are_not_touched() -> None:
    """A manifest given as a list is copied: what the caller does with it later changes nothing."""
    refs = [0]
    one = builder()
    one.add(block_of([b"x"]), refs, 0, 1.0)
    one.add(block_of([b"y"]), [1], 0, 1.0)
    refs.append(99)
    batch = one.seal("1", 1.0)
    assert batch is not None
    assert batch.manifest == [0, 1]


def test_charge_counts_lines_and_what_the_caller_holds() -> None:
    """Events cost their lines with their ends, and what the caller keeps of them."""
    one = builder()
    one.add(block_of([b"abc", b"de"]), [0, 1], 50, 1.0)
    one.add(Block.of([b"f"]), [2], 5, 1.0)
    batch = one.seal("1", 1.0)
    assert batch is not None
    assert (batch.id, batch.query) == ("1", "")
    assert batch.charge_bytes == (3 + 1 + 2 + 1 + 50) + (1 + 1 + 5)


def test_uncompressed_batch_gives_nothing_back() -> None:
    """Without a codec the body stays what it was charged for."""
    batch = batch_of("ab")
    assert batch.wire(None) == batch.body(None)
    assert batch.take_saving() == 0


def test_batch_without_any_body_is_an_error_of_ours() -> None:
    """Reading a packed batch without its codec is found, not guessed."""
    batch = batch_of("ab")
    batch.wire(CODEC)
    with pytest.raises(AssertionError, match="neither a body"):
        batch.body(None)


def test_pieces_carry_on_what_their_whole_has_been_through() -> None:
    """A piece belongs to the same stream and has the same age, tries and history; its ids show the cut."""
    owner = Owner()
    batch = Batch(
        "17", b"a\nb\nc", ["a", "b", "c"], owner=owner, charge_bytes=10, sealed_at=5.0, query="index=i"
    )
    assert (batch.attempts, batch.first_attempt_s, batch.moves) == (0, 0.0, 0)
    assert [batch.is_queued, batch.is_settled, batch.is_plain, batch.cause] == [False, False, False, None]
    batch.attempts, batch.first_attempt_s, batch.moves, batch.is_plain = 2, 1_700_000_000.5, 1, True
    pieces = batch.cut([1], None)
    assert batch.is_settled
    assert [(piece.id, piece.body(None), piece.manifest) for piece in pieces] == [
        ("17.0", b"a", ["a"]),
        ("17.1", b"b\nc", ["b", "c"]),
    ]
    for piece in pieces:
        assert (piece.owner, piece.sealed_at, piece.query) == (owner, 5.0, "index=i")
        assert (piece.attempts, piece.first_attempt_s, piece.moves) == (2, 1_700_000_000.5, 1)
        assert piece.is_plain
        assert [piece.is_settled, piece.is_queued, piece.live] == [False, False, []]
    assert sum(piece.charge_bytes for piece in pieces) == 10


def test_pieces_share_the_charge_by_their_events() -> None:
    """Each piece is charged for its share, and the last one takes what division leaves over."""
    batch = Batch("1", b"a\nb\nc\nd\ne", list("abcde"), owner=Owner(), charge_bytes=14, sealed_at=5.0)
    pieces = batch.cut([1, 3], None)
    assert [piece.charge_bytes for piece in pieces] == [2, 5, 7]
    assert {piece.query for piece in pieces} == {""}


def test_a_sealed_batch_belongs_to_the_stream_that_gathered_it() -> None:
    """Outcomes find their stream by the batch's owner."""
    owner = Owner()
    one = BatchBuilder(owner, max_bytes=MAX_BYTES, max_events=MAX_EVENTS)
    one.add(block_of([b"x"]), [0], 0, 1.0)
    batch = one.seal("1", 1.0)
    assert batch is not None
    assert batch.owner is owner


def test_packing_gives_back_what_it_saves() -> None:
    """The charge falls from the body's size to the packed one's; a piece has had its saving already."""
    batch = batch_of("a" * 50)
    charged = batch.charge_bytes
    packed = batch.wire(CODEC)
    assert batch.take_saving() == batch.size_bytes - len(packed)
    assert batch.take_saving() == 0
    assert batch.charge_bytes == charged - (batch.size_bytes - len(packed))
    assert batch.wire(CODEC) is packed
    for piece in batch.cut([25], CODEC):
        piece.wire(CODEC)
        assert piece.take_saving() == 0


def test_lines_of_a_failed_batch_are_unpacked_when_they_are_looked_at() -> None:
    """An outcome that keeps lines gives the envelopes back, from the packed body too, more than once."""
    batch = batch_of("ab")
    envelopes = batch.envelopes(None)
    batch.wire(CODEC)
    kept = Lines(batch, CODEC)
    assert list(kept) == list(kept) == envelopes


def test_a_packed_batch_can_still_be_sent_plain() -> None:
    """If something on the way minds the compressed form, the plain one is made from it again."""
    batch = batch_of("ab")
    body = batch.body(None)
    assert batch.wire(CODEC) != body
    batch.is_plain = True
    assert batch.wire(CODEC) == body
