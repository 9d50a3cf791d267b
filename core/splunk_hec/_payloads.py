"""What the drop-in was handed, as lines; and back again, for what was not delivered.

Pure. Not for what an envelope may hold (`_envelope`): this is its form for hundreds of payloads at once.
Guarantees: `encode` passes on exactly what `_envelope` would, or refuses it with the same words; `Sent` gives
back exactly what the caller sent.

Non-obvious: a payload of one line is its own line, so it need not be kept beside the body: it is read back
from there. Only the few that were written anew are kept as they came. A batch of such payloads, joined, is
its body: it is looked at in one piece, and never taken apart.
"""

from __future__ import annotations

from itertools import repeat
from operator import contains
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from splunk_hec._block import Block
from splunk_hec.errors import InvalidEvent
from splunk_hec.events import Envelope, Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_ALL_DIGITS_0 = bytes.maketrans(b"0123456789", b"0" * 10)
_TOO_MANY_DIGITS = b"0" * 12
"""Of a time: years later than 5138, or more than a microsecond's digits."""
_Scalar = str | int | float | bool | None


class _Row(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An envelope as nearly all of them are; what does not fit is looked at alone."""

    event: Annotated[str, Meta(min_length=1)] | dict[str, Raw] | list[Raw] | int | float
    host: str = ""
    source: str = ""
    sourcetype: str = ""
    index: str = ""
    fields: dict[str, _Scalar | list[_Scalar]] | UnsetType = UNSET


class _WholeRow(_Row, gc=False):
    """Its time is in whole seconds, which the decoder can check: later than 5138 are milliseconds."""

    time: Annotated[int, Meta(ge=1, lt=100_000_000_000)] = 0


class _TimedRow(_Row, gc=False):
    """Its time is looked at as text."""

    time: Raw = Raw(b"")


_to_whole_row = msgspec.json.Decoder(_WholeRow).decode
_to_timed_row = msgspec.json.Decoder(_TimedRow).decode


class Sent:
    """A manifest of payloads: those that their line does not give back are kept, by position."""

    def __init__(self, count: int, kept: dict[int, Any] | None = None) -> None:
        self._count = count
        self._kept = kept or {}

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: slice, /) -> Sent:
        start, stop, _ = index.indices(self._count)
        kept = {at - start: one for at, one in self._kept.items() if start <= at < stop}
        return Sent(max(0, stop - start), kept)

    @classmethod
    def join(cls, parts: Sequence[Sent]) -> Sent:
        """One manifest of many, as a batch asks for."""
        count, kept = 0, dict[int, Any]()
        for part in parts:
            kept |= {count + at: one for at, one in part._kept.items()}  # noqa: SLF001 -- its own class
            count += len(part)
        return cls(count, kept)

    def payloads(self, lines: Iterable[bytes]) -> Iterator[Any]:
        """What the caller sent. `lines`: of these events, as they were submitted."""
        kept = self._kept
        for at, line in enumerate(lines):
            yield kept[at] if at in kept else line.decode()


class Encoded(NamedTuple):
    """Payloads as lines: which could be encoded, and which can never be indexed."""

    lines: Sequence[bytes]
    sent: Sent
    refused: list[tuple[Any, InvalidEvent]]


def encode(
    payloads: list[Any],
    encode_one: Callable[[Event | Envelope], tuple[str, bytes]],
    *,
    is_raw: bool,
    max_bytes: int,
) -> Encoded:
    """Lines of payloads.

    Args:
        payloads: Lines of text, or ready envelopes; at least one.
        encode_one: `HecClient.encode`: for those that need a closer look.
        is_raw: They are lines for the raw endpoint.
        max_bytes: Largest event.

    Returns:
        The lines, in one piece if all payloads can be told to be right at a glance.
    """
    block = _quick(payloads, is_raw=is_raw)
    if block is not None and (block.size_bytes <= max_bytes or max(map(len, block)) <= max_bytes):
        return Encoded(block, Sent(len(block)), [])
    return _one_by_one(payloads, encode_one, is_raw=is_raw)


def _quick(payloads: list[Any], *, is_raw: bool) -> Block | None:
    """Each as it is, if all can be told to be right at a glance."""
    try:
        if any(map(contains, payloads, repeat("\n"))):
            return None
        are_right = _are_texts(payloads) if is_raw else _are_envelopes(payloads)
        body = "\n".join(payloads).encode()
    except (TypeError, UnicodeEncodeError, msgspec.DecodeError, RecursionError):
        return None
    return Block(body, len(payloads)) if are_right and b"\r" not in body else None


def _are_texts(payloads: list[str]) -> bool:
    return all(payloads) and not any(map(str.isspace, payloads))


def _are_envelopes(payloads: list[str]) -> bool:
    times = b""
    rows: Sequence[_Row]
    try:
        rows = list(map(_to_whole_row, payloads))
    except msgspec.ValidationError:  # most often a time with a fraction
        rows = timed = list(map(_to_timed_row, payloads))
        times = b",".join([row.time for row in timed]).translate(_ALL_DIGITS_0)
    events: list[Any] = [row.event for row in rows]
    try:
        has_blank = any(map(str.isspace, events))
    except TypeError:  # not all are texts
        has_blank = any([one.isspace() for one in events if one.__class__ is str])  # noqa: C419 -- half the time
    return not (has_blank or times.translate(None, b"0.,") or _TOO_MANY_DIGITS in times)


def _one_by_one(
    payloads: list[Any], encode_one: Callable[[Event | Envelope], tuple[str, bytes]], *, is_raw: bool
) -> Encoded:
    lines: list[bytes] = []
    kept: dict[int, Any] = {}
    refused: list[tuple[Any, InvalidEvent]] = []
    for payload in payloads:
        try:
            _, line = encode_one(Event(payload) if is_raw else Envelope(payload))
            if not isinstance(payload, str) or line != payload.encode():
                kept[len(lines)] = payload
        except InvalidEvent as error:
            refused.append((payload, error))
        else:
            lines.append(line)
    return Encoded(lines, Sent(len(lines), kept), refused)
