"""The exact reader of event bodies: key by key and object by object, as Splunk's stream parser goes.

What is measured: objects before a bad one are taken, the rest is not read; an unknown top-level key ends
reading *without* an error, so that object and all after it are silently lost (hec-protocol 2.2 and 2.3).
Every value is kept as its JSON text, so that what is indexed is what was sent, digit for digit.
This reader is the judge; `_parse` may only take a short cut where both agree.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from types import UnionType
from typing import Any

import msgspec

from splunk_hec_emulator._time import is_plain_time

MAX_NESTING = 500
"""Deeper values are refused, as by any real parser at some depth. It is half of what the interpreter can
recurse, so that what was accepted can be read back from wherever somebody asks for it."""
NOTHING = msgspec.Raw()
_METADATA = ("host", "source", "sourcetype", "index")
_KEYS = frozenset({"event", "fields", "time", *_METADATA})
_white = re.compile(r"[ \t\n\r]*").match
_strings = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # up one, down one, as signed bytes
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class Envelope(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One envelope, each value as its JSON text; `NOTHING` where the key is absent or null."""

    event: msgspec.Raw = NOTHING
    time: msgspec.Raw = NOTHING
    host: msgspec.Raw = NOTHING
    source: msgspec.Raw = NOTHING
    sourcetype: msgspec.Raw = NOTHING
    index: msgspec.Raw = NOTHING
    fields: msgspec.Raw = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """What a body is held against: from the settings, but for the token's indexes and the query's."""

    indexes: frozenset[str] = frozenset()  # empty: any
    default_index_is_allowed: bool = True
    max_event_bytes: int = 5_242_880
    accepts_array_body: bool = True
    has_multi_metrics: bool = True
    true_event_is_accepted: bool = False
    duplicate_keys_are_refused: bool = False
    invalid_utf8_is_replaced: bool = False
    nan_is_accepted: bool = False
    existing_indexes: frozenset[str] = frozenset()  # empty: all names exist
    default_index: str = ""
    last_chance_index: str = ""


class BadObject(Exception):  # noqa: N818 - control flow inside this package, never seen outside
    """The object being read is refused with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class UnknownKey(Exception):  # noqa: N818 - control flow inside this package, never seen outside
    """The object being read has a key HEC does not know: reading ends here, silently."""


def _skip_number(_: str) -> int:
    """Stand in for a number: only its extent matters here, and int() refuses more than 4,300 digits."""
    return 0


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


_STRICT = json.JSONDecoder(parse_int=_skip_number, parse_float=_skip_number, parse_constant=_refuse_constant)
_LOOSE = json.JSONDecoder(parse_int=_skip_number, parse_float=_skip_number)


class Reader:
    """Reads the objects of one body in order; iterating raises BadObject or UnknownKey where it must end."""

    def __init__(self, body: bytes, grammar: Grammar) -> None:
        try:
            self._text = body.decode(errors="replace" if grammar.invalid_utf8_is_replaced else "strict")
        except UnicodeDecodeError as error:
            # NUL is legal nowhere in JSON: what stands before the bad byte is read, then it is refused.
            self._text = body[: error.start].decode() + "\0"
        self._grammar = grammar
        self._decoder = _LOOSE if grammar.nan_is_accepted else _STRICT
        self._at = 0

    def __iter__(self) -> Iterator[Envelope]:
        while self._peek():
            if self._peek() == "[" and self._grammar.accepts_array_body:
                yield from self._array()
            else:
                yield self._envelope()

    def _peek(self) -> str:
        """Skip white space and return the next character, or the empty text at the end."""
        self._at = end_of(_white(self._text, self._at))
        return self._text[self._at : self._at + 1]

    def _take(self, expected: str) -> bool:
        """Step over a character, if it is the next one."""
        is_there = self._peek() == expected
        self._at += is_there
        return is_there

    def _need(self, expected: str) -> None:
        if not self._take(expected):
            raise BadObject(6)

    def _value(self) -> tuple[Any, str]:
        """Read any JSON value; return it and its text."""
        self._peek()
        start = self._at
        try:
            value, self._at = self._decoder.raw_decode(self._text, start)
        except (ValueError, RecursionError):
            raise BadObject(6) from None
        text = self._text[start : self._at]
        if nests_too_deep(text.encode()):
            raise BadObject(6)
        return value, text

    def _array(self) -> Iterator[Envelope]:
        """Read a JSON array of envelopes, which 10.4.2 takes as a batch."""
        self._need("[")
        if self._take("]"):
            return
        yield self._envelope()
        while not self._take("]"):
            self._need(",")
            yield self._envelope()

    def _envelope(self) -> Envelope:
        found: dict[str, str] = {}
        self._need("{")
        if not self._take("}"):
            self._pair(found)
            while not self._take("}"):
                self._need(",")
                self._pair(found)
        return self._judged({key: text for key, text in found.items() if text != "null" or key == "event"})

    def _pair(self, found: dict[str, str]) -> None:
        if self._peek() != '"':
            raise BadObject(6)
        key, _ = self._value()
        self._need(":")
        if key not in _KEYS:
            raise UnknownKey
        if key in found and self._grammar.duplicate_keys_are_refused:
            raise BadObject(6)
        found[key] = self._value()[1]

    def _judged(self, found: dict[str, str]) -> Envelope:
        """Hold one well-formed object against HEC's rules, in an order that no probe has measured."""
        self._judge_event(found.get("event"), has_fields="fields" in found)
        self._judge_fields(found.get("fields"))
        if not is_plain_time(found.get("time", "").encode()):
            raise BadObject(15)
        if any(not found.get(key, '"').startswith('"') for key in _METADATA):
            raise BadObject(6)
        index = self._decoder.decode(found["index"]) if "index" in found else ""
        grammar = self._grammar
        if (
            not grammar.default_index_is_allowed
            if not index
            else grammar.indexes and index not in grammar.indexes
        ):
            raise BadObject(7)
        return Envelope(**{key: msgspec.Raw(text.encode()) for key, text in found.items()})

    def _judge_event(self, event: str | None, *, has_fields: bool) -> None:
        if event is None:
            if not has_fields:
                raise BadObject(12)
            return
        if event in ("null", "false") or (event == "true" and not self._grammar.true_event_is_accepted):
            raise BadObject(6)
        if event[0] == '"' and not self._decoder.decode(event).strip():
            raise BadObject(13)
        if len(event) > self._grammar.max_event_bytes or len(event.encode()) > self._grammar.max_event_bytes:
            raise BadObject(6)

    def _judge_fields(self, fields: str | None) -> None:
        """Fields must be an object (else 6) of scalars or flat lists of scalars (else 15)."""
        if fields is None:
            return
        if fields[0] != "{":
            raise BadObject(6)
        for value in self._decoder.decode(fields).values():
            members: list[Any] = value if _nests(value, list) else [value]
            if any(_nests(member, dict | list) for member in members):
                raise BadObject(15)


def nests_too_deep(text: bytes) -> bool:
    """Tell whether well-formed JSON goes deeper than `MAX_NESTING`."""
    if text.count(b"[") + text.count(b"{") <= MAX_NESTING:
        return False
    steps = _strings.sub(b"", text).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > MAX_NESTING


def _nests(value: object, kind: type | UnionType) -> bool:
    return isinstance(value, kind)


def end_of(match: re.Match[str] | None) -> int:
    """Return where a match ends that cannot fail."""
    assert match is not None
    return match.end()


def to_store(envelope: Envelope, grammar: Grammar) -> Envelope | None:
    """Return what is indexed of an accepted object, or None if it vanishes behind a 200 (2.3)."""
    if not bytes(envelope.event) and not _is_measurement(envelope, grammar):
        return None
    if grammar.existing_indexes:
        index = _LOOSE.decode(bytes(envelope.index).decode() or '""') or grammar.default_index
        if index not in grammar.existing_indexes:
            if not grammar.last_chance_index:
                return None
            envelope.index = msgspec.Raw(json.dumps(grammar.last_chance_index).encode())
    return envelope


def _is_measurement(envelope: Envelope, grammar: Grammar) -> bool:
    names: Any = _LOOSE.decode(bytes(envelope.fields).decode())
    if "metric_name" in names and "_value" in names:
        return True
    return grammar.has_multi_metrics and any(name.startswith("metric_name:") for name in names)
