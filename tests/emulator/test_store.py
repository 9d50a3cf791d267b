"""What is kept: /emulator/events, the journal, and how much memory it costs."""

import gzip
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from splunk_hec_emulator._store import Post, Store

if TYPE_CHECKING:
    from conftest import Serve, Site

KEYS = [
    "seq",
    "request",
    "node",
    "channel",
    "ack_id",
    "index",
    "host",
    "source",
    "sourcetype",
    "time",
    "fields",
    "event",
    "received",
    "durable",
]


def a_post(body: bytes, count: int, **changes: Any) -> Post:
    """Make a post of the event endpoint."""
    given: dict[str, Any] = {
        "request": 1,
        "node": 0,
        "channel": None,
        "ack_id": None,
        "body": body,
        "is_gzip": False,
        "is_raw": False,
        "count": count,
        "index": "main",
        "host": "h",
        "source": "s",
        "sourcetype": "t",
        "time": "",
        "received": 5.0,
    }
    return Post(**{**given, **changes})


@pytest.fixture
def store() -> Iterator[Store]:
    """A store of 7 events in three posts: one plain, one compressed, one raw."""
    kept = Store("", keeps_events=True)
    kept.add(a_post(b'{"event":0}\n{"event":"one"}\n{"event":2}', 3), 6.0)
    kept.add(a_post(gzip.compress(b'{"event":3}{"event":"one more"}{"event":5}'), 3, is_gzip=True), 7.0)
    kept.add(a_post(b"six", 1, is_raw=True), 8.0)
    yield kept
    kept.close()


@pytest.mark.parametrize(
    ("offset", "limit", "containing", "seqs"),
    [
        (0, None, "", [0, 1, 2, 3, 4, 5, 6]),
        (2, 3, "", [2, 3, 4]),
        (3, None, "", [3, 4, 5, 6]),
        (6, 9, "", [6]),
        (7, None, "", []),
        (99, None, "", []),
        (0, 0, "", []),
        (0, None, "one", [1, 4]),
        (1, 1, "one", [4]),
        (0, None, '"durable":7.0', [3, 4, 5]),
        (0, None, "absent", []),
    ],
)
def test_any_window_of_events_can_be_read(
    store: Store, offset: int, limit: int | None, containing: str, seqs: list[int]
) -> None:
    """offset, limit and a substring cut the same sequence everywhere, across posts."""
    found = [json.loads(line) for line in store.read(offset, limit, containing)]
    assert [line["seq"] for line in found] == seqs
    assert store.count(containing) >= len(seqs)


def test_a_line_has_the_documented_keys_in_order(store: Store) -> None:
    """The keys of a line are the interface's."""
    line = json.loads(next(store.read()))
    assert list(line) == KEYS
    assert [line[key] for key in KEYS[5:]] == ["main", "h", "s", "t", 5.0, {}, 0, 5.0, 6.0]


def test_a_counting_store_keeps_nothing() -> None:
    """With keep_events off, events are numbered and forgotten."""
    store = Store("", keeps_events=False)
    store.add(a_post(b'{"event":0}', 1), 6.0)
    assert (store.total, store.count(), list(store.read())) == (1, 0, [])


def test_a_million_events_cost_what_their_bodies_cost() -> None:
    """Events are kept as they came: 100,000 of 500 bytes take no more than a tenth on top of their bodies."""
    body = b"\n".join(b'{"event":"%0480d"}' % number for number in range(1_000))
    store = Store("", keeps_events=True)
    tracemalloc.start()
    try:
        for _ in range(100):
            store.add(a_post(bytes(bytearray(body)), 1_000), 6.0)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert store.total == 100_000
    assert size < 110 * len(body)


def test_the_journal_has_the_lines_of_the_page(serve: "Serve", tmp_path: Path) -> None:
    """Journal and /emulator/events show the same bytes for the same events, once they are durable."""
    journal = tmp_path / "journal"
    site = serve(journal=journal, ack_delay=3600)
    site.post(b'{"event":"a","fields":{"x":[1,"y"]}}{"event":{"deep":[null]}}')
    site.post(b"raw \xff text", path="/services/collector/raw")
    assert journal.read_bytes() == site.ask("GET", "/emulator/events").body
    assert len(journal.read_bytes().splitlines()) == 3
    site.post(b'{"event":"waiting"}', "TA", "C1")
    assert b"waiting" not in journal.read_bytes()
    assert b"waiting" not in site.ask("GET", "/emulator/events").body


def test_the_journal_is_only_added_to(serve: "Serve", tmp_path: Path) -> None:
    """A second emulator, and a reset, go on where the file ends; nobody else may read it."""
    journal = tmp_path / "journal"
    for number in range(2):
        site = serve(journal=journal)
        site.post(b'{"event":%d}' % number)
        site.emulator.reset()
        site.emulator.stop()
    assert [json.loads(line)["event"] for line in journal.read_text().splitlines()] == [0, 1]
    assert journal.stat().st_mode & 0o777 == 0o600


def rows(site: "Site", query: str = "") -> tuple[int, list[Any]]:
    """Read the page of events: the total it tells, and the event values."""
    reply = site.ask("GET", f"/emulator/events{query}")
    assert reply.headers["Content-Type"] == "application/x-ndjson; charset=UTF-8"
    return int(reply.headers["X-Total-Count"]), [
        json.loads(line)["event"] for line in reply.body.splitlines()
    ]


def test_the_page_of_events_is_cut_and_counted(serve: "Serve") -> None:
    """offset, limit and q work over HTTP, and X-Total-Count tells how many there are in all."""
    site = serve()
    site.post(b"".join(b'{"event":"n%d"}' % number for number in range(1_200)))
    total, everything = rows(site)
    assert (total, len(everything), everything[1_199]) == (1_200, 1_200, "n1199")
    assert rows(site, "?offset=1198") == (1_200, ["n1198", "n1199"])
    assert rows(site, "?offset=3&limit=2") == (1_200, ["n3", "n4"])
    assert rows(site, "?q=n119&limit=1") == (11, ["n119"])
    for wrong in ("?offset=-1", "?limit=x", "?limit=-5"):
        assert site.ask("GET", f"/emulator/events{wrong}").status == 400


def test_events_reach_a_client_of_http_1_0(serve: "Serve") -> None:
    """Without chunked transfer the page comes whole, with its length."""
    site = serve()
    site.post(b'{"event":"a"}')
    with site.raw_socket() as link:
        link.sendall(b"GET /emulator/events HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = link.makefile("rb").read().partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body)["event"] == "a"
