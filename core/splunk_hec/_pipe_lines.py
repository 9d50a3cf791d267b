"""Cuts a stream of bytes into lines, with bounded memory whatever the stream holds. Pure.

Guarantees: a line is handed on whole or not at all; one that is longer than the limit is counted once,
however long, and never held.
"""

from __future__ import annotations


class LineCutter:
    """One stream. Feed it what was read.

    Attributes:
        too_long: Lines that were longer than the limit and not handed on.
    """

    def __init__(self, max_bytes: int) -> None:
        self.too_long = 0
        self._max_bytes = max_bytes
        self._part = bytearray()
        self._is_skipping = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that end in this chunk, without their line ends (LF or CR LF)."""
        *ends, rest = chunk.split(b"\n")
        lines: list[bytes] = []
        for end in ends:
            line = self._finish(end)
            if line is not None:
                lines.append(line)
        self._gather(rest)
        return lines

    def rest(self) -> list[bytes]:
        """At the end of the stream: the last line, if it has no line end of its own."""
        line = self._finish(b"") if self._part or self._is_skipping else None
        return [] if line is None else [line]

    def _finish(self, end: bytes) -> bytes | None:
        self._gather(end)
        line, is_skipped = bytes(self._part), self._is_skipping
        self._part.clear()
        self._is_skipping = False
        if not is_skipped:
            line = line.removesuffix(b"\r")
            is_skipped = len(line) > self._max_bytes
            self.too_long += is_skipped
        return None if is_skipped else line

    def _gather(self, piece: bytes) -> None:
        if self._is_skipping:
            return
        self._part += piece
        if len(self._part) > self._max_bytes + 1:  # one more: the last byte may be the CR of a line end
            self._part.clear()
            self._is_skipping = True
            self.too_long += 1
