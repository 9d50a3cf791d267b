"""Values of records → what stands in their envelopes, as the route reads them.

Pure. Not for the other keys of an envelope (`records`). Guarantee: what is not as the route says is refused
with `InvalidEvent`; and it is known of each value whether its line gives it back byte for byte.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, cast

from confluent_kafka import Message
from msgspec import UNSET, Raw, UnsetType

from splunk_hec._envelope import BLANK, check_json_value
from splunk_hec.errors import InvalidEvent
from splunk_hec_kafka.originals import TAILS, tail_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from splunk_hec_kafka.routes import CompiledRoute

DEEP = 200
"""So many brackets in a JSON value may be nested deeper than a reader of its line can go."""
_SPACE = 0x20
_last = itemgetter(-1)


def read_all(
    route: CompiledRoute, messages: Sequence[Message]
) -> tuple[Sequence[str] | Sequence[Raw], dict[int, bytes], bytes]:
    """All values of a run at once; what to keep of them, and their tails, as in `Beside`.

    Raises:
        InvalidEvent, UnicodeDecodeError: Some value needs a closer look.
    """
    values = cast("list[bytes]", list(map(Message.value, messages)))
    if not all(values):
        raise InvalidEvent("blank", "a null or empty value")
    if route.value == "json":
        found = [_read_json(route, value) for value in values]
        pairs = enumerate(zip(found, values, strict=True))
        return found, {at: value for at, (event, value) in pairs if not is_kept_by(event, value)}, b""
    if b"\n" in bytes(map(_last, values)):
        return [_text(value.decode()) for value in values], {}, bytes(map(tail_of, values))
    texts = list(map(bytes.decode, values))
    if any(map(str.isspace, texts)):
        raise InvalidEvent("blank", "a value that may be blank")
    return texts, {}, b""


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
