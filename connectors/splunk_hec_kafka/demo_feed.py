"""What `demo` feeds: lines of logs, poison among them, and what must become of each record.

Not for Kafka. Guarantee: `fate` is judged here, from the line alone, by rules of its own; it shares nothing
with the sink's encoder, or the audit would prove nothing.
"""

from __future__ import annotations

import json
import random
from itertools import count, cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

LINES_TOPIC = "demo-lines"
ENVELOPES_TOPIC = "demo-envelopes"
INDEX = "main"
EVENT_MAX_BYTES = 65_536
"""`hec.event_max_bytes` of the demo: small, so that many oversize records fit in the embedded Kafka."""
INDEXED = "indexed"
_OVERSIZE_BYTES = EVENT_MAX_BYTES + 1024
_PIECE_CHARS = 4_000
"""Longer lines are fed in pieces: JSON may write a character in 6 bytes, and a piece must stay far below
EVENT_MAX_BYTES, so that nothing but poison is oversize."""
_PIECE_BYTES = 8_000
_POISON_EVERY = 100
_POISON_MAX = 400
_ENVELOPE_EVERY = 10
_OWN_MAX_LINES = 20_000
_OWN_FILE_MAX_BYTES = 1_000_000
_GENERATED_LINES = 10_000
_BLANK = b" \t\r\n\v\f"


class Record(msgspec.Struct, frozen=True):
    """One record to feed.

    Attributes:
        topic: Where to.
        key: Its key: where the line came from.
        value: Its value.
        fate: `indexed`, or the reason of the dead letter that it must become.
        text: The event that must be indexed; empty for poison.
    """

    topic: str
    key: bytes
    value: bytes
    fate: str
    text: str = ""


def plan(lines: Iterable[tuple[str, bytes]]) -> Iterator[Record]:
    """Records for all lines, and 1 % poison of every kind among them (at least one of each).

    Args:
        lines: Name of the origin and line, without line end.

    Yields:
        Lines as they are; every tenth as a ready envelope.
    """
    poison = _poison()
    number = 0
    for number, (origin, line) in enumerate(_pieces(lines), 1):
        yield _record(origin, line, is_envelope=number % _ENVELOPE_EVERY == 0)
        if number % _POISON_EVERY == 0 and number <= _POISON_EVERY * _POISON_MAX:
            yield next(poison)
    yield from islice(poison, max(0, len(_KINDS) - number // _POISON_EVERY))


def read_files(files: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """Every line of the files."""
    for file in files:
        with file.open("rb") as lines:
            yield from ((file.name, line.removesuffix(b"\n")) for line in lines)


def own_logs(folder: Path = Path("/var/log")) -> list[tuple[str, bytes]]:
    """Lines of this machine's readable text logs, bounded in number; empty if there are none."""
    found: list[tuple[str, bytes]] = []
    for file in sorted([*folder.glob("**/*.log"), *(folder / name for name in ("syslog", "messages"))]):
        try:
            with file.open("rb") as log:
                head = log.read(_OWN_FILE_MAX_BYTES)
        except OSError:
            continue
        if b"\0" not in head:
            found += [(file.name, line) for line in head.split(b"\n")[:-1]]
    return found[:_OWN_MAX_LINES]


def generated_lines() -> Iterator[tuple[str, bytes]]:
    """Lines like those of a web server, for a machine without logs; always the same."""
    chance = random.Random(1)  # noqa: S311 -- repeatable, not secret
    for number in range(_GENERATED_LINES):
        address = ".".join(str(chance.randrange(1, 255)) for _ in range(4))
        path = chance.choice(("/", "/login", "/api/orders", "/static/app.js", "/über-uns"))
        status, size = chance.choice((200, 200, 200, 304, 404, 500)), chance.randrange(200, 20_000)
        yield "generated", f'{address} - - "GET {path}?n={number} HTTP/1.1" {status} {size}'.encode()


def fate(value: bytes) -> str:
    """What becomes of a line as it is: `indexed`, or the reason of its dead letter."""
    if not value.strip(_BLANK):
        return "blank"
    try:
        value.decode()
    except UnicodeDecodeError:
        return "undecodable"
    return INDEXED


def _pieces(lines: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    for origin, line in lines:
        try:
            text = line.decode()
        except UnicodeDecodeError:
            for at in range(0, len(line), _PIECE_BYTES):
                yield origin, line[at : at + _PIECE_BYTES]
            continue
        for at in range(0, max(1, len(text)), _PIECE_CHARS):
            piece = text[at : at + _PIECE_CHARS]
            # White space beyond ASCII alone is for Splunk to judge: nothing to hold a demo against.
            if piece.isascii() or not piece.isspace():
                yield origin, piece.encode()


def _record(origin: str, line: bytes, *, is_envelope: bool) -> Record:
    expected = fate(line)
    text = line.decode() if expected == INDEXED else ""
    if is_envelope and text:
        value = json.dumps({"event": text, "source": origin, "index": INDEX}, ensure_ascii=False).encode()
        return Record(ENVELOPES_TOPIC, origin.encode(), value, expected, text)
    return Record(LINES_TOPIC, origin.encode(), line, expected, text)


def _invalid_utf8(number: int) -> Record:
    return Record(LINES_TOPIC, b"poison", b"no UTF-8: \xff\xfe %d" % number, "undecodable")


def _empty(_number: int) -> Record:
    return Record(LINES_TOPIC, b"poison", b"", "blank")


def _oversize(number: int) -> Record:
    return Record(LINES_TOPIC, b"poison", b"%d " % number + b"x" * _OVERSIZE_BYTES, "too_large")


def _refused_index(number: int) -> Record:
    """Splunk itself refuses it; a new index each time, since the sink remembers refused ones."""
    value = b'{"event": "nobody may write here", "index": "no_such_index_%d"}' % number
    return Record(ENVELOPES_TOPIC, b"poison", value, "bad_index")


def _nested_fields(number: int) -> Record:
    value = b'{"event": "fields must be flat", "fields": {"a": {"b": %d}}}' % number
    return Record(ENVELOPES_TOPIC, b"poison", value, "bad_fields")


_KINDS: tuple[Callable[[int], Record], ...] = (
    _invalid_utf8,
    _empty,
    _oversize,
    _refused_index,
    _nested_fields,
)


def _poison() -> Iterator[Record]:
    return (kind(number) for kind, number in zip(cycle(_KINDS), count(), strict=False))
