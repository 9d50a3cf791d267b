"""What the drop-in was handed, as lines; and back again, for what was not delivered.

Pure. Not for what an envelope may hold (`_envelope`): this is its form for hundreds of payloads at once.
Guarantees: `encode` passes on exactly what `_envelope` would, or refuses it with the same words; `Sent` gives
back exactly what the caller sent.

Non-obvious: a payload of one line is its own line, so it need not be kept beside the body: it is read back
from there. Only the few that were written anew are kept as they came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Raw

from splunk_hec._envelope import check_fields
from splunk_hec.errors import InvalidEvent
from splunk_hec.events import Envelope, Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_DIGITS = b".0123456789"


class _Row(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An envelope as nearly all of them are; what does not fit is looked at alone."""

    event: str | dict[str, Raw] | list[Raw] | int | float
    time: Raw = Raw(b"")
    host: str | None = None
    source: str | None = None
    sourcetype: str | None = None
    index: str | None = None
    fields: dict[str, Any] | None = None


_to_row = msgspec.json.Decoder(_Row).decode


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
        The lines. They are left in pieces: a second copy of a batch costs more than joining it once.
    """
    lines = _quick(payloads, is_raw=is_raw)
    if lines is not None and max(map(len, lines)) <= max_bytes:
        return Encoded(lines, Sent(len(lines)), [])
    return _one_by_one(payloads, encode_one, is_raw=is_raw)


def _quick(payloads: list[Any], *, is_raw: bool) -> list[bytes] | None:
    """Each as it is, if all can be told to be right at a glance."""
    try:
        if not all(payloads) or any(["\n" in one or "\r" in one for one in payloads]):  # noqa: C419 -- half the time
            return None
        if any(map(str.isspace, payloads)) if is_raw else not _are_envelopes(payloads):
            return None
        return list(map(str.encode, payloads))
    except (TypeError, UnicodeEncodeError):
        return None


def _are_envelopes(payloads: list[str]) -> bool:
    try:
        rows = list(map(_to_row, payloads))
        for row in [row for row in rows if row.fields]:
            check_fields(row.fields or {})
    except (msgspec.DecodeError, InvalidEvent, RecursionError):
        return False
    events = [row.event for row in rows]
    texts: list[Any] = [one for one in events if one.__class__ is str]
    if not all(events) or any(map(str.isspace, texts)):
        return False
    return not b"".join([row.time for row in rows]).translate(None, _DIGITS)


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
