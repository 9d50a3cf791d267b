"""What is durably indexed: kept compactly as it came, and shown as one JSON line an event.

A `Post` is what one request added. Its body stays as it arrived (compressed bodies stay compressed), and the
lines of /emulator/events and of the journal are made from it when somebody asks: a million events of 500
bytes cost what their bodies cost. The journal is written at the moment the events become durable, in one
unbuffered write per post: after `kill -9` it holds exactly what was indexed.
"""

import bisect
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from splunk_hec_emulator._coding import gunzip
from splunk_hec_emulator._envelope import Envelope
from splunk_hec_emulator._parse import read_back
from splunk_hec_emulator._time import epoch_us, stamp_us
from splunk_hec_emulator.settings import SettingsError


class JournalError(Exception):
    """The journal can no longer be written: what is indexed would not be known, so the emulator ends."""


class Post(msgspec.Struct, kw_only=True, gc=False):
    """The events one request added, and where they came from. Made by the judge, kept by the store."""

    request: int
    node: int
    channel: str | None
    ack_id: int | None
    body: bytes
    is_gzip: bool
    is_raw: bool
    count: int
    index: str
    host: str
    source: str
    sourcetype: str
    time: str
    received: float
    is_line_broken: bool = False  # raw: an event a line
    is_time_extracted: bool = False
    durable: float = 0.0
    first_seq: int = 0


class Line(msgspec.Struct):
    """One durable event, as /emulator/events and the journal show it."""

    seq: int
    request: int
    node: int
    channel: str | None
    ack_id: int | None
    index: Any
    host: Any
    source: Any
    sourcetype: Any
    time: float
    fields: Any
    event: Any
    received: float
    durable: float


_encode = msgspec.json.Encoder().encode
_EMPTY = msgspec.Raw(b"{}")
_NULL = msgspec.Raw(b"null")


def lines(post: Post) -> Iterator[bytes]:
    """Make the JSON lines of a post's events, in order, without line ends."""
    for seq, envelope in enumerate(envelopes(post), post.first_seq):
        yield _encode(line(seq, post, envelope))


def envelopes(post: Post) -> list[Envelope]:
    """Return a post's events in order, as they were sent."""
    body = gunzip(post.body) if post.is_gzip else post.body
    return _raw_events(post, body) if post.is_raw else read_back(body)


def raw_events(body: bytes, *, is_line_broken: bool) -> list[str]:
    """Cut a raw body into events: with default props, lines without timestamps are one event (measured)."""
    text = body.decode(errors="replace").replace("\r\n", "\n")
    parts = text.split("\n") if is_line_broken else [text.rstrip("\n")]
    return [part for part in parts if part.strip()]


def _raw_events(post: Post, body: bytes) -> list[Envelope]:
    texts = raw_events(body, is_line_broken=post.is_line_broken)
    return [Envelope(event=msgspec.Raw(_encode(text))) for text in texts]


def line(seq: int, post: Post, envelope: Envelope) -> Line:
    """Return an event with everything its envelope does not say, which its post does."""
    return Line(
        seq,
        post.request,
        post.node,
        post.channel,
        post.ack_id,
        _or(envelope.index, post.index),
        _or(envelope.host, post.host),
        _or(envelope.source, post.source),
        _or(envelope.sourcetype, post.sourcetype),
        _seconds(post, envelope),
        envelope.fields if bytes(envelope.fields) else _EMPTY,
        envelope.event if bytes(envelope.event) else _NULL,
        post.received,
        post.durable,
    )


def _or(value: msgspec.Raw, default: str) -> msgspec.Raw | str:
    return value if bytes(value) not in (b"", b'""') else default


def _seconds(post: Post, envelope: Envelope) -> float:
    """Return the event's `_time`: the envelope's, else the query's, else the text's, else that of receipt."""
    moment = epoch_us(bytes(envelope.time).decode().strip('"') or post.time)
    if moment is None and post.is_time_extracted:
        moment = stamp_us(bytes(envelope.event).decode(errors="replace"))
    return post.received if moment is None else moment / 1_000_000


class Store:
    """Every durable post in order, and the journal. Added to by the loop, readable from any thread."""

    def __init__(self, journal: str, *, keeps_events: bool) -> None:
        self._keeps_events = keeps_events
        self._posts: list[Post] = []
        self._journal = _open(journal) if journal else -1
        self.total = 0

    def add(self, post: Post, durable: float) -> None:
        """Take a post whose events have reached the disk point at this wall-clock time."""
        post.durable, post.first_seq = durable, self.total
        self.total += post.count
        if self._journal >= 0 and post.count:
            try:
                _write_all(self._journal, b"\n".join(lines(post)) + b"\n")
            except OSError as error:
                raise JournalError(f"cannot write the journal: {error.strerror}") from error
        if self._keeps_events and post.count:
            self._posts.append(post)

    def read(self, offset: int = 0, limit: int | None = None, containing: str = "") -> Iterator[bytes]:
        """Yield the lines of the durable events that contain a text, from the offset-th of them on."""
        posts = self._posts[:]  # what becomes durable from here on is not part of this answer
        needle = containing.encode()
        if not needle:
            at = max(bisect.bisect_right(posts, offset, key=lambda post: post.first_seq) - 1, 0)
            offset -= posts[at].first_seq if posts else 0
            posts = posts[at:]
        found = (text for post in posts for text in lines(post) if needle in text)
        stop = None if limit is None else offset + limit
        return itertools.islice(found, offset, stop)

    @property
    def posts(self) -> Sequence[Post]:
        """Every durable post that holds events, in order; it grows, and `clear` puts another in its place."""
        return self._posts

    def count(self, containing: str = "") -> int:
        """Count the events that `read` would yield without bounds."""
        if not containing:
            return self.total if self._keeps_events else 0
        return sum(1 for _ in self.read(containing=containing))

    def clear(self) -> None:
        """Forget all events; the journal stays as it is, and its numbers start again from 0."""
        self._posts, self.total = [], 0

    def close(self) -> None:
        """Close the journal."""
        if self._journal >= 0:
            os.close(self._journal)
            self._journal = -1


def _open(journal: str) -> int:
    try:
        return os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise SettingsError(f"--journal: cannot write {journal}: {error.strerror}") from None


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
