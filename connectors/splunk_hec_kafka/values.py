"""Values of records → what stands in their envelopes, as the route reads them.

Pure. Not for the other keys of an envelope (`records`). Guarantee: what is not as the route says is refused
with `InvalidEvent`; and it is known of each value whether its line gives it back byte for byte.
"""

from __future__ import annotations

from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, cast

from msgspec import UNSET, Raw, UnsetType

from splunk_hec._envelope import BLANK, check_json_value
from splunk_hec.errors import InvalidEvent
from splunk_hec_kafka.originals import TAILS, tail_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from splunk_hec_kafka.routes import CompiledRoute

DEEP = 200
"""So many brackets in a JSON value may be nested deeper than a reader of its line can go."""
_SPACE = 0x20
_UNREADABLE = (InvalidEvent, UnicodeDecodeError)
_last = itemgetter(-1)
_is_space = cast("Callable[[str | Raw], bool]", str.isspace)


class Read(NamedTuple):
    """Values as they stand in their envelopes.

    Attributes:
        events: One for each value; that of a refused one means nothing.
        kept: By position, the values that cannot be read back from their lines byte for byte.
        tails: For each, its place in `TAILS`; empty if all are the first.
        refused: By position, reason and text. Not the errors: by their tracebacks they would hold the run,
            in a cycle.
    """

    events: list[str | Raw]
    kept: dict[int, bytes]
    tails: bytes
    refused: dict[int, tuple[str, str]]


def read_all(route: CompiledRoute, values: Sequence[bytes]) -> Read:
    """All values of a run, text or JSON: as fast for the good ones, whatever is wrong with others."""
    if route.value == "json":
        events, _, refused = _read_each(route, values, lambda value: _read_json(route, value))
        pairs = enumerate(zip(events, values, strict=True))
        kept = {at: value for at, (event, value) in pairs if not is_kept_by(event, value)}
        return Read(events, kept, b"", refused)
    has_tails = not all(values) or b"\n" in bytes(map(_last, values))
    strict = _strict_text if has_tails else bytes.decode
    events, odd, refused = _read_each(route, values, strict)
    tails = bytes(map(tail_of, values)) if has_tails else b""
    kept = {at: values[at] for at in odd if not is_kept_by(events[at], values[at], tails[at] if tails else 0)}
    return Read(events, kept, tails if any(tails) else b"", refused)


def _read_each(
    route: CompiledRoute, values: Sequence[bytes], quick: Callable[[bytes], str | Raw]
) -> tuple[list[str | Raw], list[int], dict[int, tuple[str, str]]]:
    """All events; where `quick` could not be used; what is refused."""
    events: list[str | Raw] = []
    odd: list[int] = []
    refused: dict[int, tuple[str, str]] = {}

    def look(at: int) -> str | Raw:
        odd.append(at)
        try:
            return read(route, values[at])
        except InvalidEvent as error:
            refused[at] = error.reason, error.text
            return ""

    while len(events) < len(values):
        try:
            events.extend(map(quick, islice(values, len(events), None)))
        except _UNREADABLE:  # the one after those that were read
            events.append(look(len(events)))
    if quick is bytes.decode and any(map(_is_space, events)):
        for at in [at for at, event in enumerate(events) if _is_space(event)]:
            events[at] = look(at)
    return events, odd, refused


def is_kept_by(event: str | Raw | UnsetType, value: bytes, tail: int = 0) -> bool:
    """Whether the value can be read back from its line byte for byte, but for its tail."""
    if event is UNSET:
        return False
    if isinstance(event, str):
        return event.encode() + TAILS[tail] == value
    # A reader leaves out the white space around JSON, and must not meet its own limit of nesting.
    return (
        bytes(event) == value
        and value[0] > _SPACE
        and value[-1] > _SPACE
        and value.count(b"[") + value.count(b"{") <= DEEP
    )


def read(route: CompiledRoute, value: bytes) -> str | Raw:
    """One value, text or JSON.

    Raises:
        InvalidEvent: It cannot be indexed as it is.
    """
    return read_text(route, value) if route.value == "text" else _read_json(route, value)


def _read_json(route: CompiledRoute, value: bytes) -> Raw:
    return Raw(check_json_value(valid(route, value)))


def read_text(route: CompiledRoute, value: bytes) -> str:
    """Text without one trailing line end.

    Raises:
        InvalidEvent: It is not UTF-8, or blank.
    """
    try:
        text = value.decode(errors="replace" if route.replaces_invalid else "strict")
    except UnicodeDecodeError as error:
        raise InvalidEvent("undecodable", f"not UTF-8: {error.reason} at byte {error.start}") from None
    return _text(text)


def _strict_text(value: bytes) -> str:
    return _text(value.decode())


def _text(text: str) -> str:
    """The text without one trailing line end.

    Raises:
        InvalidEvent: Nothing is left.
    """
    text = text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
    if not text.strip(BLANK):
        raise InvalidEvent("blank", "the value is empty or white space only")
    return text


def valid(route: CompiledRoute, value: bytes) -> bytes:
    """The value with invalid UTF-8 replaced, where the route wants that."""
    return value.decode(errors="replace").encode() if route.replaces_invalid else value
