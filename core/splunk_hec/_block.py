"""`Block`: envelopes that were encoded in one call, and stay in one piece as long as nobody looks inside.

Pure and immutable. Not for what a batch is (`_batching`). Guarantees: it acts as the sequence of its lines;
its slices are blocks.

Non-obvious: one call of the JSON encoder writes hundreds of lines. Taking them apart and joining them again
costs 0.3 µs a line, as much as encoding them; so a batch that is full takes what fits as one piece and leaves
the rest as another (`fitting`), and lines are looked at one by one only where something is wrong with them.
Pieces are stretches of what the encoder wrote, not copies: the batch's body is the first one made of it. So
the rest of a block holds all that was written, until the batch that it went into is sealed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from collections.abc import Iterator


class Block(Sequence[bytes]):
    """Some lines. `size_bytes`: what they take in a body, each with its line end."""

    __slots__ = ("_count", "_edge", "_end", "_lines", "_start", "_written", "size_bytes")

    def __init__(self, written: bytes, count: int, start: int = 0, end: int | None = None) -> None:
        """Take over what an encoder wrote.

        Args:
            written: From `start` to `end` it is `count` lines, joined by LF; no line holds another LF.
            count: At least 1.
            start: Where the first line begins.
            end: Where the last one ends; None: with all.
        """
        self._written: bytes | None = written
        self._start = start
        self._end = len(written) if end is None else end
        self._lines: Sequence[bytes] | None = None
        self._edge = (0, -1)  # so many lines end there, as far as `fitting` has measured
        self._count = count
        self.size_bytes = self._end - start + 1

    @classmethod
    def of(cls, lines: Sequence[bytes]) -> Block:
        """Single lines as a block; they may hold LF. A block stays what it is."""
        return lines if isinstance(lines, Block) else _Gathered(lines)

    def __repr__(self) -> str:
        return f"<Block of {self._count} lines, {self.size_bytes} B>"

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.lines)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Block: ...
    def __getitem__(self, index: int | slice) -> bytes | Block:
        if isinstance(index, int):
            return self.lines[index]
        chosen = range(*index.indices(self._count))
        if chosen == range(self._count):
            return self
        lines, end = self._edge
        if self._written is not None and 0 < lines < self._count:
            if chosen == range(lines):
                return Block(self._written, lines, self._start, end)
            if chosen == range(lines, self._count):
                return Block(self._written, self._count - lines, end + 1, self._end)
        return Block.of(self.lines[index] if chosen else ())

    def fitting(self, free_bytes: int) -> int:
        """How many lines, from the first, fit into so many bytes, each with its line end."""
        if self.size_bytes <= free_bytes:
            return self._count
        assert self._written is not None
        end = self._written.rfind(b"\n", self._start, self._start + max(0, free_bytes))
        self._edge = (self._written.count(b"\n", self._start, end + 1), end)
        return self._edge[0]

    @property
    def lines(self) -> Sequence[bytes]:
        """The lines, taken apart."""
        if self._lines is None:
            self._lines = bytes(self.body).split(b"\n")
        return self._lines

    @property
    def body(self) -> bytes | memoryview:
        """The lines in one piece, joined by LF."""
        if self._written is None:
            return b"\n".join(self.lines)
        if (self._start, self._end) == (0, len(self._written)):
            return self._written
        return memoryview(self._written)[self._start : self._end]


class _Gathered(Block):
    """Lines that came one by one."""

    __slots__ = ()

    def __init__(self, lines: Sequence[bytes]) -> None:
        self._written = None
        self._start = self._end = 0
        self._edge = (0, -1)
        self._lines = tuple(lines)  # the caller may go on with a list of its own
        self._count = len(lines)
        self.size_bytes = sum(map(len, lines)) + self._count

    def fitting(self, free_bytes: int) -> int:
        ends = accumulate(len(line) + 1 for line in self.lines)
        return bisect_right(list(ends), free_bytes)
