"""From the body of a post to what is taken of it: a fast path for what is plain, else the exact reader.

The fast path decodes a whole body in one call and accepts only what it is sure about; at any surprise it
gives up and `_envelope.Reader` judges. It never refuses anything. A Hypothesis test holds the two together.
"""

import re
from dataclasses import dataclass

import msgspec

from splunk_hec_emulator._envelope import (
    MAX_NESTING,
    BadObject,
    Envelope,
    Grammar,
    Reader,
    UnknownKey,
    nests_too_deep,
    to_store,
)
from splunk_hec_emulator._time import is_plain_time


class _Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An envelope as nearly every client sends it; what does not fit here is no plain envelope."""

    event: msgspec.Raw
    time: msgspec.Raw = msgspec.Raw()
    host: str = ""
    source: str = ""
    sourcetype: str = ""
    index: str = ""
    fields: dict[str, str | int | float | bool | list[str | int | float | bool | None] | None] = {}


# An object, array or number; or a text whose first character is neither white space, an escape nor foreign.
_is_plain_event = re.compile(rb'[{\[0-9-]|"[!#-\[\]-~]').match
_decode_plain = msgspec.json.Decoder(_Plain).decode_lines
_decode_envelopes = msgspec.json.Decoder(Envelope).decode_lines
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Parsed:
    """What one body amounts to."""

    taken: int  # objects read and accepted, before the first bad one
    stored: int  # of these, those that are indexed
    body: bytes | None = None  # the stored envelopes, one a line; None: the body as it came
    code: int = 0  # of the refusal of object number `taken`; 0: none
    is_cut: bool = False  # reading ended at the limit that was asked for


def parse_fast(body: bytes, grammar: Grammar) -> int | None:
    """Count the envelopes of a body of nothing but plain ones, or return None."""
    if not grammar.default_index_is_allowed or not (body.isascii() or _is_utf8(body)):
        return None
    try:
        envelopes = _decode_plain(body)
    except (msgspec.MsgspecError, RecursionError):
        return None
    for envelope in envelopes:
        if not _is_plain_event(envelope.event) or not is_plain_time(envelope.time):
            return None
    has_depth = body.count(b"[") + body.count(b"{") > MAX_NESTING
    if has_depth and any(nests_too_deep(bytes(envelope.event)) for envelope in envelopes):
        return None
    if len(body) > grammar.max_event_bytes and _longest(envelopes) > grammar.max_event_bytes:
        return None
    if grammar.indexes and not ({envelope.index for envelope in envelopes} <= grammar.indexes | {""}):
        return None
    return len(envelopes)


def _longest(envelopes: list[_Plain]) -> int:
    return max((len(bytes(envelope.event)) for envelope in envelopes), default=0)


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def parse(body: bytes, grammar: Grammar, limit: int | None = None) -> Parsed:
    """Judge a body of the event endpoint.

    Args:
        body: the decoded body.
        grammar: what it is held against.
        limit: take no object with this number or a higher one (a queue that fills up in mid-stream).

    Returns:
        What is taken, and the code of the refusal if there is one: 5 where there was nothing to read.
    """
    is_ordinary = not (grammar.duplicate_keys_are_refused or grammar.existing_indexes)
    count = parse_fast(body, grammar) if is_ordinary else None
    if count and (limit is None or count <= limit):
        return Parsed(count, count)
    return parse_exact(body, grammar, limit)


def parse_exact(body: bytes, grammar: Grammar, limit: int | None = None) -> Parsed:
    """Judge a body as `parse` does, by the exact reader alone."""
    kept: list[Envelope] = []
    taken = code = 0
    is_cut = False
    try:
        for envelope in Reader(body, grammar):
            if taken == limit:
                is_cut = True
                break
            taken += 1
            if (stored := to_store(envelope, grammar)) is not None:
                kept.append(stored)
    except BadObject as bad:
        code = bad.code
    except UnknownKey:
        pass
    if taken == 0 and not code and not is_cut:
        code = 5
    return Parsed(taken, len(kept), _encoder.encode_lines(kept), code, is_cut)


def read_back(body: bytes) -> list[Envelope]:
    """Return the envelopes of a body that `parse` has accepted (what it stored, where it stored its own)."""
    try:
        return _decode_envelopes(body)
    except (msgspec.MsgspecError, RecursionError):
        return list(Reader(body, _READ_BACK))


_READ_BACK = Grammar(
    true_event_is_accepted=True, invalid_utf8_is_replaced=True, nan_is_accepted=True, max_event_bytes=1 << 62
)
