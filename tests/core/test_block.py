"""A block acts as the list of its lines, whether it was ever taken apart or not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from splunk_hec._block import Block

line = st.binary(max_size=12)
one_line = line.map(lambda text: text.replace(b"\n", b"\r"))
edges = st.none() | st.integers(-8, 8)
slices = st.builds(slice, edges, edges, st.sampled_from([None, 1, 1, 2, -1]))
Pair = tuple[Block, list[bytes]]


class Blocks(RuleBasedStateMachine):
    """Blocks are made, cut, looked into and made of each other; a plain list says what each must be."""

    pairs = Bundle("pairs")

    @initialize(target=pairs, lines=st.lists(one_line, min_size=1, max_size=6))
    def begin(self, lines: list[bytes]) -> Pair:
        """There is always one."""
        return Block(b"\n".join(lines), len(lines)), lines

    @rule(target=pairs, lines=st.lists(one_line, min_size=1, max_size=6), beside=st.tuples(line, line))
    def encoded(self, lines: list[bytes], beside: tuple[bytes, bytes]) -> Pair:
        """An encoder wrote lines in one piece, and perhaps more before and behind them."""
        before, behind = beside
        written = before + b"\n".join(lines)
        return Block(written + behind, len(lines), len(before), len(written)), lines

    @rule(target=pairs, lines=st.lists(line, max_size=6))
    def gathered(self, lines: list[bytes]) -> Pair:
        """Lines came one by one, perhaps none, perhaps with LF inside."""
        return Block.of(lines), list(lines)

    @rule(target=pairs, pair=pairs)
    def taken_as_it_is(self, pair: Pair) -> Pair:
        """A block of a block is the block."""
        block, lines = pair
        assert Block.of(block) is block
        return block, lines

    @rule(target=pairs, pair=pairs, index=slices)
    def cut(self, pair: Pair, index: slice) -> Pair:
        """A slice is a block of the lines that a list would give."""
        block, lines = pair
        part = block[index]
        assert isinstance(part, Block)
        return part, lines[index]

    @rule(target=pairs, pair=pairs, free=st.integers(-2, 90), is_rest=st.booleans())
    def filled(self, pair: Pair, free: int, is_rest: bool) -> Pair:
        """As many lines fit as a count of their bytes says, and both what fits and the rest are right."""
        block, lines = pair
        fits = sum(sum(len(one) + 1 for one in lines[: end + 1]) <= free for end in range(len(lines)))
        assert block.fitting(free) == fits
        return (block[fits:], lines[fits:]) if is_rest else (block[:fits], lines[:fits])

    @rule(pair=pairs)
    def whole(self, pair: Pair) -> None:
        """A slice of all of it is the block itself: nothing is taken apart or copied."""
        block, lines = pair
        assert block[:] is block
        assert block[0 : len(lines)] is block
        assert block[: len(lines) + 3] is block

    @rule(pair=pairs)
    def sizes(self, pair: Pair) -> None:
        """Its size is that of all lines with their ends, and its count theirs."""
        block, lines = pair
        assert (len(block), bool(block)) == (len(lines), bool(lines))
        assert block.size_bytes == sum(len(one) + 1 for one in lines)

    @rule(pair=pairs)
    def body(self, pair: Pair) -> None:
        """In one piece it is its lines joined by LF."""
        block, lines = pair
        assert block.body == b"\n".join(lines)

    @rule(pair=pairs, data=st.data())
    def single_lines(self, pair: Pair, data: st.DataObject) -> None:
        """Each line stands where a list would hold it, and nothing stands outside."""
        block, lines = pair
        for index in (len(lines), -len(lines) - 1):
            with pytest.raises(IndexError):
                block[index]
        if lines:
            index = data.draw(st.integers(-len(lines), len(lines) - 1))
            assert block[index] == lines[index]
            assert lines[index] in block
            assert block.index(lines[index]) == lines.index(lines[index])

    @rule(pair=consumes(pairs))
    def all_lines(self, pair: Pair) -> None:
        """Iterated, once or again or backwards, it is the list."""
        block, lines = pair
        assert list(block) == list(block) == list(block.lines) == lines
        assert list(reversed(block)) == lines[::-1]
        assert block.body == b"\n".join(lines)
        assert f"{len(lines)} lines" in repr(block)


TestBlocks = Blocks.TestCase
TestBlocks.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def test_a_stretch_of_a_stretch_is_where_it_should_be() -> None:
    """What fits of the rest of a block, and the rest of that, are its own lines and no others."""
    rest = Block(b"one\ntwo\nthree\n", 3, end=13)
    for free, line in ((4, b"one"), (6, b"two")):
        assert rest.fitting(free) == 1
        part, rest = rest[:1], rest[1:]
        assert (part.body, list(part), part.size_bytes) == (line, [line], len(line) + 1)
    assert (rest.body, list(rest), rest.size_bytes) == (b"three", [b"three"], 6)


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=6), st.data())
def test_pieces_add_up(lines: list[bytes], data: st.DataObject) -> None:
    """Cut in two anywhere, sizes and lines of both add up to the whole."""
    at = data.draw(st.integers(0, len(lines)))
    given_lines = [text.replace(b"\n", b" ") for text in lines]
    for block, expected in (
        (Block.of(lines), lines),
        (Block(b"\n".join(given_lines), len(lines)), given_lines),
    ):
        first, second = block[:at], block[at:]
        assert first.size_bytes + second.size_bytes == block.size_bytes
        assert [*first, *second] == expected


def test_lines_that_hold_line_ends_stay_single() -> None:
    """Raw events may hold LF: such lines are never cut there, whole or in slices."""
    lines = [b"a\nb", b"\n", b"c\n"]
    block = Block.of(lines)
    assert list(block) == lines
    assert list(block[1:]) == lines[1:]
    assert block.size_bytes == 4 + 2 + 3
    assert block.body == b"a\nb\n\n\nc\n"


def test_one_empty_line_is_a_line() -> None:
    """A block of one empty line is not an empty block."""
    block: Any = Block(b"", 1)
    assert (list(block), len(block), block.size_bytes, bool(block)) == ([b""], 1, 1, True)
    assert (list(block[1:]), block[1:].size_bytes, bool(block[1:])) == ([], 0, False)


def test_a_block_does_not_follow_the_list_it_was_made_of() -> None:
    """What was submitted stays what it was, whatever the caller does with the list afterwards."""
    lines = [b"one", b"two"]
    block = Block.of(lines)
    lines.clear()
    assert (list(block), block.body) == ([b"one", b"two"], b"one\ntwo")


def test_an_empty_slice_of_a_block_is_empty() -> None:
    """What is left of a block that was taken whole holds no line."""
    assert list(Block(b"one\ntwo", 2)[2:]) == []
