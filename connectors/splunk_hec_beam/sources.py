"""The manifest of a bundle's batches: which element each envelope came from, its timestamp and its windows.

Pure values. Not for elements that were never sent. Guarantee: however a manifest is cut, each element is in
exactly one piece, and what `each` gives back equals what came in.

Non-obvious: a text is not kept. Its envelope holds it, and once that is compressed a bundle in flight costs a
quarter of what it would with its originals, so four times as much can await acknowledgement within the same
budget. Elements of other kinds cannot be rebuilt exactly from JSON and are kept.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class _Event(msgspec.Struct):
    event: str


_read_event = msgspec.json.Decoder(_Event).decode

HELD_BYTES = 16
"""What one text costs beside its envelope: its timestamp, and its share of the rest."""


class Held(NamedTuple):
    """Elements that are kept as they came."""

    sources: list[WindowedValue]

    def __len__(self) -> int:
        return len(self.sources)

    def part(self, start: int, stop: int) -> Held:
        """Some of them."""
        return Held(self.sources[start:stop])

    def each(self, lines: Iterable[bytes]) -> Iterator[tuple[WindowedValue, bytes]]:
        """Each with its envelope."""
        return zip(self.sources, lines, strict=True)

    def newest(self) -> tuple[int, Any]:
        """Timestamp in microseconds, and windows, of the newest."""
        newest = max(self.sources, key=_micros)
        return newest.timestamp_micros, newest.windows


class Texts:
    """Texts, which their envelopes hold. `windows`: one entry for all, or one for each."""

    __slots__ = ("_is_bytes", "micros", "windows")

    def __init__(self, micros: array[int], windows: list[Any], *, is_bytes: bool) -> None:
        self.micros = micros
        self.windows = windows
        self._is_bytes = is_bytes

    @classmethod
    def of(cls, sources: list[WindowedValue], *, is_bytes: bool) -> Texts:
        """Note what the envelopes do not hold."""
        windows = [source.windows for source in sources]
        if windows.count(windows[0]) == len(windows):
            windows = windows[:1]
        return cls(array("q", [source.timestamp_micros for source in sources]), windows, is_bytes=is_bytes)

    def __len__(self) -> int:
        return len(self.micros)

    def part(self, start: int, stop: int) -> Texts:
        """Some of them."""
        windows = self.windows if len(self.windows) == 1 else self.windows[start:stop]
        return Texts(self.micros[start:stop], windows, is_bytes=self._is_bytes)

    def each(self, lines: Iterable[bytes]) -> Iterator[tuple[WindowedValue, bytes]]:
        """Each, read from its envelope, with it."""
        for at, (micros, line) in enumerate(zip(self.micros, lines, strict=True)):
            text = _read_event(line).event
            yield (
                WindowedValue(
                    text.encode() if self._is_bytes else text, Timestamp(micros=micros), self._windows_of(at)
                ),
                line,
            )

    def newest(self) -> tuple[int, Any]:
        """Timestamp in microseconds, and windows, of the newest."""
        newest = max(self.micros)
        return newest, self._windows_of(self.micros.index(newest))

    def _windows_of(self, at: int) -> Any:
        return self.windows[0 if len(self.windows) == 1 else at]


class Sources:
    """The manifest. Immutable."""

    __slots__ = ("_count", "parts")

    def __init__(self, parts: list[Held | Texts]) -> None:
        self.parts = parts
        self._count = sum(map(len, parts))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: slice) -> Sources:
        start, stop, _ = index.indices(self._count)
        parts: list[Held | Texts] = []
        at = 0
        for part in self.parts:
            size = len(part)
            low, high = max(0, start - at), min(size, stop - at)
            if low < high:
                parts.append(part if high - low == size else part.part(low, high))
            at += size
        return Sources(parts)

    @classmethod
    def join(cls, manifests: list[Sources]) -> Sources:
        """One manifest of those that a batch was gathered from."""
        return cls([part for manifest in manifests for part in manifest.parts])

    def each(self, lines: Iterable[bytes]) -> Iterator[tuple[WindowedValue, bytes]]:
        """Every element as it came, with the envelope that was sent for it.

        Args:
            lines: The envelopes, in order.
        """
        unread = iter(lines)
        for part in self.parts:
            yield from part.each([next(unread) for _ in range(len(part))])

    def newest(self) -> WindowedValue:
        """No element, but the timestamp and windows of the newest one."""
        micros, windows = max((part.newest() for part in self.parts), key=_first)
        return WindowedValue(None, Timestamp(micros=micros), windows)


def _micros(source: WindowedValue) -> int:
    return source.timestamp_micros


def _first(pair: tuple[int, Any]) -> int:
    return pair[0]
