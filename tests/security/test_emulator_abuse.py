"""Someone who can reach the emulator: bombs, slow clients and floods of headers cost their own connection."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import select
import socket
import tracemalloc
import zlib
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka_tools import wait_for

from splunk_hec_emulator import Emulator
from splunk_hec_emulator import _coding as coding
from splunk_hec_emulator._coding import CodingError, gunzip

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE_S = 30
EVENT = "/services/collector/event"
MB = 1_000_000
LIMIT = 2 * MB


class Site:
    """An emulator with small limits, and connections to it."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.address = ("127.0.0.1", int(emulator.url.rpartition(":")[2]))
        self.opened = ExitStack()

    def connect(self) -> socket.socket:
        """A connection that ends with the test."""
        return self.opened.enter_context(socket.create_connection(self.address, DEADLINE_S))

    def head(self, *headers: str, path: str = EVENT, method: str = "POST") -> bytes:
        """The head of a request that would be authorized."""
        lines = [f"{method} {path} HTTP/1.1", "Host: h", "User-Agent: u"]
        return "\r\n".join(
            [*lines, f"Authorization: Splunk {self.emulator.plain_token}", *headers, "", ""]
        ).encode()

    def answer(self, data: bytes) -> bytes:
        """The first line of what comes back; empty if the connection just ends."""
        sock = self.connect()
        try:
            sock.sendall(data)
            return sock.recv(4096).partition(b"\r\n")[0]
        except (ConnectionResetError, BrokenPipeError):
            return b""

    def post(self, body: bytes, *headers: str) -> bytes:
        """The first line of the answer to a post."""
        return self.answer(self.head(f"Content-Length: {len(body)}", *headers) + body)

    def serves(self) -> bool:
        """Whether an ordinary client is served now."""
        return self.post(b'{"event":"still here"}') == b"HTTP/1.1 200 OK"


@pytest.fixture
def site() -> Iterator[Site]:
    """An emulator that takes 2 MB bodies, and 4 MB of bodies at a time."""
    with Emulator(
        ack_delay=0, max_content_length=LIMIT, max_decoded_bytes=LIMIT, max_buffered_bytes=2 * LIMIT
    ) as emulator:
        one = Site(emulator)
        with one.opened:
            yield one


def bomb(size: int, layers: int = 1) -> bytes:
    """Zeros, packed so many times."""
    body = b"\0" * size
    for _ in range(layers):
        body = gzip.compress(body, 9)
    return body


def peak_of(call: object) -> int:
    """The most memory that a call held at one time."""
    assert callable(call)
    tracemalloc.start()
    try:
        call()
    except CodingError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


def test_a_gzip_bomb_costs_its_limit_and_no_more() -> None:
    """100 MB in 100 kB are refused as too large, and never was much more than the limit in memory."""
    packed = bomb(100 * MB)
    assert len(packed) < 110_000
    with pytest.raises(CodingError) as caught:
        gunzip(packed, LIMIT)
    assert caught.value.is_too_large
    assert peak_of(lambda: gunzip(packed, LIMIT)) < 4 * LIMIT


def test_a_bomb_of_many_members_is_added_up() -> None:
    """Members that each stay within the limit do not get past it together."""
    with pytest.raises(CodingError) as caught:
        gunzip(bomb(LIMIT // 2) * 3, LIMIT)
    assert caught.value.is_too_large


def test_tiny_members_are_not_copied_again_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of empty members cost time in proportion to the body, not to its square."""
    handed = 0
    make = coding._fast.decompressobj

    class Counted:
        def __init__(self, bits: int) -> None:
            self._real = make(bits)

        def decompress(self, data: bytes, max_length: int = 0) -> bytes:
            nonlocal handed
            handed += len(data)
            return bytes(self._real.decompress(data, max_length))

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

    monkeypatch.setattr(
        coding, "_fast", type("Fast", (), {"decompressobj": Counted, "error": coding._fast.error})
    )
    member = gzip.compress(b"")
    assert gunzip(member * 5_000, LIMIT) == b""
    assert handed < 500 * 5_000 * len(member)  # handed over whole each time, it would be 2,500 times the body


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.binary(max_size=300) | st.integers(0, 30_000).map(lambda n: b"ab" * n), max_size=4),
    st.integers(0, 9),
    st.none() | st.integers(1, 60),
)
def test_unpacking_in_pieces_is_unpacking(texts: list[bytes], level: int, cut: int | None) -> None:
    """Piece by piece the content of all members comes out; a cut one is refused, or its start is taken."""
    packed = b"".join(gzip.compress(text, level) for text in texts)
    assert gunzip(packed) == b"".join(texts)
    if cut is not None and 0 < cut < len(gzip.compress(texts[-1], level) if texts else b""):
        with pytest.raises(CodingError):
            gunzip(packed[:-cut])
        assert b"".join(texts).startswith(gunzip(packed[:-cut], takes_prefix=True))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 120), st.binary(max_size=4))
def test_broken_gzip_is_an_error_of_ours(text: bytes, at: int, dent: bytes) -> None:
    """Whatever stands where gzip should is unpacked within the limit or refused: nothing else is raised."""
    packed = gzip.compress(text)
    for body in (
        packed[:at] + dent + packed[at + len(dent) :],
        dent + packed,
        packed + dent,
        zlib.compress(text),
    ):
        with contextlib.suppress(CodingError):
            assert len(gunzip(body, 1_000)) <= 1_000


@pytest.mark.parametrize("layers", [1, 2])
def test_a_bomb_is_a_413_or_noise_and_others_are_served(site: Site, layers: int) -> None:
    """Over the wire a bomb is refused; one within a bomb is never unpacked twice."""
    status = site.post(bomb(50 * MB, layers), "Content-Encoding: gzip")
    assert status.split()[1] in (b"413", b"400")
    assert site.serves()


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: 99999999999"],
        ["Content-Length: " + "9" * 20],
        ["Content-Length: " + "9" * 5_000],
        ["Content-Length: -1"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 1_0"],
        ["Transfer-Encoding: chunked, chunked"],
        ["Transfer-Encoding: gzip"],
        ["Content-Encoding: " + "gzip, " * 1_000],
    ],
)
def test_lengths_and_codings_that_lie_are_refused(site: Site, headers: list[str]) -> None:
    """Lengths beyond the limit, lengths that are none and unknown codings are refused before a body comes."""
    more = (
        [] if any("Length" in header or "Transfer" in header for header in headers) else ["Content-Length: 0"]
    )
    status = site.answer(site.head(*headers, *more))
    assert status.split()[1] in (b"400", b"413", b"415", b"501")
    assert site.serves()


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 100_000,
        b"POST / HTTP/1.1\r\nX: " + b"a" * (4 * MB),
        b"POST /" + b"a" * (4 * MB),
        b"\0" * (4 * MB),
        b"\r\n" * MB,
    ],
    ids=["many", "long", "target", "zeros", "lines"],
)
def test_a_flood_of_headers_ends_its_connection(site: Site, data: bytes) -> None:
    """Headers without end are cut off with a 4xx or a closed connection, and cost nobody else anything."""
    assert site.answer(data)[9:10] in (b"", b"4")
    assert site.serves()


def test_a_body_byte_by_byte_costs_what_it_weighs(site: Site) -> None:
    """100 kB in chunks of two bytes are held as 100 kB, not as 50,000 objects."""
    body = b'{"event":"' + b"a" * (MB // 10) + b'"}'
    chunks = (
        b"".join(b"2\r\n%b\r\n" % body[at : at + 2].ljust(2) for at in range(0, len(body), 2)) + b"0\r\n\r\n"
    )
    tracemalloc.start()
    try:
        status = site.answer(site.head("Transfer-Encoding: chunked") + chunks)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert status == b"HTTP/1.1 200 OK"
    assert peak < 1.6 * MB  # half as much is needed; in objects of their own they were two megabytes more


def test_clients_that_never_finish_hold_up_nobody(site: Site) -> None:
    """Connections that stop within a line, a head or a body: others are served, and the end comes."""
    starts = [
        b"",
        b"PO",
        site.head()[:-2],
        site.head("Content-Length: 1000"),
        site.head("Content-Length: 1000") + b"x" * 99,
    ]
    for number in range(200):
        site.connect().sendall(starts[number % len(starts)])
        if number % 50 == 0:
            assert site.serves()
    assert site.serves()
    site.emulator.stop()


def test_bodies_that_pile_up_are_refused_before_they_fill_the_memory(site: Site) -> None:
    """Half-sent bodies together hit the limit of all bodies: one is told to wait, and room comes back."""
    held = []
    for _ in range(3):
        sock = site.connect()
        sock.sendall(site.head(f"Content-Length: {LIMIT}") + b"x" * (LIMIT - 1))
        held.append(sock)
    (refused, *_), _, _ = select.select(held, [], [], DEADLINE_S)
    assert refused.recv(4096).startswith(b"HTTP/1.1 503 ")
    for sock in held:
        sock.close()
    wait_for(lambda: site.emulator._server._buffered.total == 0, "the room to come back")
    assert site.serves()


def test_whoever_leaves_in_the_middle_leaves_no_traceback(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that is refused and already gone is no news: asyncio hears of no unhandled exception."""

    def gone(_: object) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(asyncio.StreamWriter, "write_eof", gone)  # as when a reset came a moment before
    for data in (
        b"nonsense\r\n\r\n",
        site.head("Content-Length: 99999999999"),
        site.head("Content-Length: x"),
    ):
        assert site.answer(data)[9:10] == b"4"
    assert site.serves()
    assert [one.getMessage() for one in caplog.records if one.name == "asyncio"] == []
