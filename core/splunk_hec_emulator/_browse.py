"""The page's table of events: newest first, a page at a time, and a search that never takes long.

Whether a post can hold a text is asked of its whole body at once; only posts that can are taken apart. A
search that has used up its time says from where to go on, so that a million events cost many short answers
and never one long one. Nothing here is kept between two calls.
"""

import bisect
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from splunk_hec_emulator._coding import gunzip
from splunk_hec_emulator._store import Line, Post, envelopes, line

MAX_ROWS = 500
_SEARCH_S = 0.3
_PREVIEW_CHARS = 400
_SHORT_CHARS = 120  # of a host or source: one of five megabytes must not fill the page


class Row(msgspec.Struct):
    """One event as the table shows it: its metadata, and the beginning of its text."""

    seq: int
    request: int
    node: int
    channel: str | None
    ack_id: int | None
    index: str
    host: str
    source: str
    sourcetype: str
    time: float
    received: float
    durable: float
    event: str
    event_bytes: int


class Found(msgspec.Struct):
    """A page of rows, and the `before` with which the next older ones are found; None at the end."""

    total: int
    rows: list[Row]
    older: int | None


def browse(
    posts: Sequence[Post],
    before: int | None,
    limit: int,
    containing: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> Found:
    """Find the newest events before one of them.

    Args:
        posts: all durable posts in order; it may grow meanwhile.
        before: a sequence number; only events with a lower one are found. None: from the newest.
        limit: how many rows at most, 1 to MAX_ROWS.
        containing: text that the event, its fields or one of its metadata must contain, as typed or as JSON
            escapes it; empty: every event.
        clock: monotonic seconds.

    Returns:
        The rows, newest first. Fewer than `limit` with `older` set: the time was used up, go on from there.
    """
    total = posts[-1].first_seq + posts[-1].count if posts else 0
    end = total if before is None else min(before, total)
    search = _Search(containing)
    until = clock() + _SEARCH_S
    rows: list[Row] = []
    at = bisect.bisect_left(posts, end, key=lambda post: post.first_seq) - 1
    while at >= 0 and len(rows) < limit:
        post = posts[at]
        end = _take(post, end, limit, search, rows) if search.may_hold(post) else post.first_seq
        at -= end <= post.first_seq
        if clock() >= until:
            break
    return Found(total, rows, end if end > 0 else None)


def durable_rate(posts: Sequence[Post], since: float) -> list[tuple[int, int]]:
    """Count what became durable in each second since a wall-clock time, as (second, events) in order."""
    counts: dict[int, int] = {}
    for post in reversed(posts):
        if post.durable < since:
            break
        second = int(post.durable)
        counts[second] = counts.get(second, 0) + post.count
    return sorted(counts.items())


class _Search:
    """One text, and what is already known of metadata that came with many posts."""

    def __init__(self, text: str) -> None:
        forms = [text, json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]]
        self._needles = list(dict.fromkeys(form.encode("utf-8", "replace") for form in forms if form))
        self._known: dict[tuple[Any, ...], bool] = {}

    def may_hold(self, post: Post) -> bool:
        """Tell whether any of a post's events can be a match, without taking its body apart."""
        if not self._needles:
            return True
        body = gunzip(post.body) if post.is_gzip else post.body
        for needle in self._needles:  # no generator: posts of one event are many
            if needle in body:
                return True
        metadata = _metadata(post)
        known = self._known.get(metadata)
        if known is None:
            known = self._known[metadata] = self._is_in(metadata)
        return known

    def holds(self, shown: Line) -> bool:
        """Tell whether an event is a match."""
        return not self._needles or self._is_in((shown.event, shown.fields, *_metadata(shown)))

    def _is_in(self, places: tuple[Any, ...]) -> bool:
        return any(needle in _bytes(place) for needle in self._needles for place in places)


def _take(post: Post, end: int, limit: int, search: _Search, rows: list[Row]) -> int:
    """Add a post's rows below `end`; return the lowest sequence number that was looked at."""
    found = envelopes(post)
    for place in range(min(end - post.first_seq, len(found)) - 1, -1, -1):
        shown = line(post.first_seq + place, post, found[place])
        if search.holds(shown):
            rows.append(_row(shown))
            if len(rows) == limit:
                return post.first_seq + place
    return post.first_seq


def _metadata(of: Post | Line) -> tuple[Any, ...]:
    return of.index, of.host, of.source, of.sourcetype, of.channel or ""


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _row(shown: Line) -> Row:
    event = bytes(shown.event)
    return Row(
        shown.seq,
        shown.request,
        shown.node,
        shown.channel,
        shown.ack_id,
        _text(shown.index, _SHORT_CHARS),
        _text(shown.host, _SHORT_CHARS),
        _text(shown.source, _SHORT_CHARS),
        _text(shown.sourcetype, _SHORT_CHARS),
        shown.time,
        shown.received,
        shown.durable,
        _text(shown.event, _PREVIEW_CHARS),
        len(event),
    )


def _text(value: Any, chars: int) -> str:
    """Return the beginning of a value: a JSON string's text, any other value's JSON."""
    if isinstance(value, str):
        return value[:chars]
    raw = bytes(value)
    if raw[:1] == b'"':
        try:
            return msgspec.json.decode(raw, type=str)[:chars]
        except msgspec.MsgspecError:  # what a setting lets in, such as bytes that are no UTF-8
            pass
    return raw[: chars * 4].decode(errors="replace")[:chars]
