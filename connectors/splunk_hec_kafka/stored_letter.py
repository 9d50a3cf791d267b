"""A dead letter as it stands in its topic: what it says, whether it is wanted, how it is shown.

Pure. Not for reading the topic (`dead_letter_reader`) nor for writing letters (`dead_letter_record`).
Guarantees: nothing a record holds can steer a terminal; a record that is no letter of ours is told apart.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime
from heapq import nlargest
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from splunk_hec.errors import one_line
from splunk_hec_kafka.dead_letter_record import OUR_HEADERS, replays
from splunk_hec_kafka.headers import Headers, headers_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from confluent_kafka import Message

REPLAY_OF = "hec.replay_of"
"""Header of a replayed record: the `name` of the letter it was made from. A later letter keeps it."""
VALUE_SHOWN = 1_000
_COLUMNS = ("LETTER", "WRITTEN", "REASON", "RECORD", "REPLAYS", "TEXT")
_ORIGIN = "__connect.errors."


def _digits(text: str, most: int) -> int | None:
    """The number that ASCII digits tell; None if there is anything else, or more than `most`."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(most))
    return int(text) if is_number and int(text) <= most else None


class Place(NamedTuple):
    """Where a letter stands in the dead-letter topic; people write it `PARTITION:OFFSET`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def of(cls, text: str) -> Place | None:
        """The place that a text names; None if it names none."""
        partition, _, offset = text.partition(":")
        number, at = _digits(partition, 2**31 - 1), _digits(offset, 2**63 - 2)
        return cls(number, at) if number is not None and at is not None else None


class StoredLetter(msgspec.Struct, frozen=True):
    """One dead letter.

    Attributes:
        place: Where it stands.
        written_ms: When it was written, since 1970.
        key: The original's.
        value: The original's.
        headers: The original's, in order.
        context: Our headers, as text.
        replays: How often the record was replayed before.
        replay_of: The `name` of the letter that was replayed to become this one.
    """

    place: Place
    written_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    context: dict[str, str]
    replays: int
    replay_of: str

    @property
    def name(self) -> str:
        """Tells it from every other letter, also of a topic of the same name that was made anew."""
        return f"{self.place}@{self.written_ms}"

    @property
    def reason(self) -> str:
        """Why the record is dead; empty if this is no letter of ours."""
        return self.context.get("hec.reason", "")

    @property
    def topic(self) -> str:
        """The topic of the original."""
        return self.context.get(f"{_ORIGIN}topic", "")

    @property
    def origin(self) -> tuple[str, int, int] | None:
        """Topic, partition and offset of the original; None if they are not told."""
        partition, offset = (self.context.get(f"{_ORIGIN}{name}", "") for name in ("partition", "offset"))
        number, at = _digits(partition, 2**31 - 1), _digits(offset, 2**63 - 2)
        return (self.topic, number, at) if self.topic and number is not None and at is not None else None

    @property
    def record_ms(self) -> int | None:
        """The original's timestamp in ms since 1970; None if it had none."""
        text = self.context.get("hec.record.timestamp", "")
        found = _digits(text.removeprefix("-"), 2**63 - 1)
        return -found if found is not None and text.startswith("-") else found


class Wanted(msgspec.Struct, frozen=True):
    """Which letters are meant; an empty filter takes all.

    Attributes:
        reasons: Any of these reasons.
        topics: Any of these original topics.
        since_ms: Written at this time or later.
        until_ms: Written before this time.
        places: Any of these letters.
    """

    reasons: Collection[str] = ()
    topics: Collection[str] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    places: Collection[Place] = ()

    def takes(self, letter: StoredLetter) -> bool:
        """Whether a letter is meant."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.topics or letter.topic in self.topics)
            and (self.since_ms is None or letter.written_ms >= self.since_ms)
            and (self.until_ms is None or letter.written_ms < self.until_ms)
            and (not self.places or letter.place in self.places)
        )


def stored_letter(message: Message) -> StoredLetter:
    """Read one record of the dead-letter topic; never raises for what it holds."""
    headers = headers_of(message)
    context = {name: _text(value) for name, value in headers if name in OUR_HEADERS}
    last = dict(headers).get(REPLAY_OF)
    return StoredLetter(
        place=Place(message.partition() or 0, message.offset() or 0),
        written_ms=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=[(name, value) for name, value in headers if name not in OUR_HEADERS and name != REPLAY_OF],
        context=context,
        replays=replays(message),
        replay_of=_text(last),
    )


def newest_of(letters: Iterable[StoredLetter], limit: int) -> tuple[list[StoredLetter], dict[str, int]]:
    """The newest letters, the newest last, and how many of all there are of each reason, the most first."""
    reasons: Counter[str] = Counter()

    def counted() -> Iterator[StoredLetter]:
        for letter in letters:
            reasons[letter.reason or "no letter of ours"] += 1
            yield letter

    newest = nlargest(limit, counted(), key=lambda letter: (letter.written_ms, letter.place))
    return newest[::-1], dict(reasons.most_common())


def rfc3339(ms: int | None) -> str | None:
    """Milliseconds since 1970 as people read them; None if there are none, or no calendar has them."""
    if ms is None:
        return None
    try:
        found = datetime.fromtimestamp(ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# ---- shown -------------------------------------------------------------------------------------------


def letter_json(letter: StoredLetter, *, is_whole: bool) -> dict[str, Any]:
    """A letter as JSON; bytes that are no UTF-8 become `{"$bytes": base64}`.

    Args:
        letter: Which.
        is_whole: With key, value and headers.
    """
    origin = letter.origin or (letter.topic or None, None, None)
    number = {"hec.http_status", "hec.code", "hec.attempts"}
    told = {name.removeprefix("hec."): text for name, text in letter.context.items()}
    shown: dict[str, Any] = {
        "letter": str(letter.place),
        "written": rfc3339(letter.written_ms),
        "reason": letter.reason or None,
        "text": told.get("text"),
        "topic": origin[0],
        "partition": origin[1],
        "offset": origin[2],
        "record_time": rfc3339(letter.record_ms),
        "replays": letter.replays,
        "replay_of": letter.replay_of.partition("@")[0] or None,
    }
    for name in ("http_status", "code", "attempts", "first_attempt", "url", "sink_version"):
        text = told.get(name)
        found = _digits(text or "", 2**63 - 1) if f"hec.{name}" in number else None
        shown[name] = text if found is None else found
    if is_whole:
        shown["key"], shown["value"] = _plain(letter.key), _plain(letter.value)
        shown["headers"] = [[name, _plain(value)] for name, value in letter.headers]
    return shown


def letters_text(letters: Sequence[StoredLetter]) -> list[str]:
    """A heading and a row for each letter, columns aligned."""
    cells = [_COLUMNS, *(_row(letter) for letter in letters)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]


def letter_text(letter: StoredLetter) -> str:
    """Everything about one letter, for people."""
    told = letter.context.get
    kind = told("hec.record.timestamp_type", "no time")
    reply = f"HTTP {told('hec.http_status', '-')}, code {told('hec.code', '-')}"
    reply += f", attempts {told('hec.attempts', '-')}, first {told('hec.first_attempt', '-')}"
    size, before = len(letter.value or b""), letter.replay_of.partition("@")[0]
    cut = f" … ({size} bytes)" if size > VALUE_SHOWN else ""
    lines = {
        "letter": f"{letter.place}, written {rfc3339(letter.written_ms)}",
        "record": f"{_record(letter)}, {rfc3339(letter.record_ms) or '-'} ({kind})",
        "reason": f"{letter.reason or '-'}: {told('hec.text', '-')}",
        "reply": f"{reply}, {told('hec.url', '-')}",
        "replays": f"{letter.replays}" + (f", of letter {before}" if before else ""),
        "key": _shown(letter.key),
        "value": _shown((letter.value or b"")[:VALUE_SHOWN]) + cut if letter.value is not None else "null",
    }
    rows = [*lines.items(), *(("header", f"{name} = {_shown(value)}") for name, value in letter.headers)]
    return "\n".join(f"{name:<8} {one_line(text)}" for name, text in rows)


def _row(letter: StoredLetter) -> tuple[str, ...]:
    text = one_line(letter.context.get("hec.text", ""))
    written = rfc3339(letter.written_ms) or "-"
    short = text if len(text) <= 60 else f"{text[:59]}…"
    reason = one_line(letter.reason) or "-"
    return str(letter.place), written, reason, one_line(_record(letter)), str(letter.replays), short


def _record(letter: StoredLetter) -> str:
    origin = letter.origin
    return f"{origin[0]}/{origin[1]}@{origin[2]}" if origin else "-"


def _text(value: str | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def _plain(value: str | bytes | None) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"$bytes": base64.b64encode(value).decode()}


def _shown(value: str | bytes | None) -> str:
    """Text as it is, anything else with escapes."""
    if value is None:
        return "null"
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
