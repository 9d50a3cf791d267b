"""The page's table: newest first, a page at a time, and a search that ends in time and misses nothing."""

import gzip
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from splunk_hec_emulator._browse import Found, browse, durable_rate
from splunk_hec_emulator._store import Post, Store

if TYPE_CHECKING:
    from conftest import Serve


def add(store: Store, *events: Any, durable: float = 1.0, **more: Any) -> None:
    """Put a post of these envelopes into a store."""
    body = "\n".join(json.dumps(event) for event in events).encode()
    known = {"node": 0, "channel": None, "ack_id": None, "is_gzip": False, "is_raw": False, "request": 1}
    said = {"index": "main", "host": "h1", "source": "s1", "sourcetype": "t1", "time": "", "received": 1.0}
    store.add(Post(**{**known, **said, "body": body, "count": len(events), **more}), durable)


def numbered(*sizes: int) -> Store:
    """Return a store with posts of these sizes, whose events are numbered through."""
    store, numbers = Store("", keeps_events=True), itertools.count()
    for size in sizes:
        add(store, *({"event": f"event {next(numbers)}."} for _ in range(size)))
    return store


def every(store: Store, limit: int, text: str = "") -> list[int]:
    """Follow `older` to the end; return the sequence numbers found."""
    found: list[int] = []
    before = None
    while True:
        page = browse(store.posts, before, limit, text)
        assert len(page.rows) <= limit
        found += [row.seq for row in page.rows]
        if page.older is None:
            return found
        before = page.older


@pytest.mark.parametrize("limit", [1, 3, 7, 500])
def test_pages_hold_every_event_once_newest_first(limit: int) -> None:
    """Whatever the sizes of posts and pages, following `older` meets each event once, in falling order."""
    assert every(numbered(3, 1, 5, 2), limit) == list(range(10, -1, -1))


def test_a_page_may_start_anywhere() -> None:
    """`before` is exclusive, may lie in the middle of a post, and beyond the end means the newest."""
    posts = numbered(4, 4).posts
    assert [row.seq for row in browse(posts, 6, 3).rows] == [5, 4, 3]
    assert [row.seq for row in browse(posts, 99, 1).rows] == [7]
    assert browse(posts, 0, 5) == Found(8, [], None)
    assert browse([], None, 5) == Found(0, [], None)


def test_a_search_finds_what_the_event_or_its_metadata_hold() -> None:
    """Text is found in events, fields and metadata, both sent and by default, and nowhere else."""
    store = Store("", keeps_events=True)
    add(store, {"event": "red"}, {"event": {"colour": "green"}}, {"event": "x", "fields": {"team": "blue"}})
    add(store, {"event": "y", "host": "web-1"}, {"event": "z"}, host="db-1", channel="C-1")
    assert every(store, 9, "red") == [0]
    assert every(store, 9, "green") == [1]
    assert every(store, 9, "blue") == [2]
    assert every(store, 9, "web-1") == [3]
    assert every(store, 9, "db-1") == [4]
    assert every(store, 9, "C-1") == [4, 3]
    assert every(store, 9, "colour") == [1]
    assert every(store, 9, '"host"') == []


@pytest.mark.parametrize("ensure_ascii", [True, False])
@pytest.mark.parametrize("is_gzip", [True, False])
def test_a_search_takes_text_as_people_type_it(ensure_ascii: bool, is_gzip: bool) -> None:
    """Quotes, line ends and letters beyond ASCII are found, however JSON or gzip have dressed them."""
    body = json.dumps({"event": 'says "grüße"\nend'}, ensure_ascii=ensure_ascii).encode()
    store = Store("", keeps_events=True)
    add(store, {}, body=gzip.compress(body) if is_gzip else body, is_gzip=is_gzip)
    for text in ('"grüße"', "says", "\nend"):
        assert every(store, 5, text) == [0], text


def test_raw_text_is_found_too() -> None:
    """A raw body is searched as the text it is."""
    store = Store("", keeps_events=True)
    add(store, {}, body=b'say "hello"', is_raw=True)
    assert every(store, 5, 'say "hello"') == [0]


def test_a_search_that_runs_out_of_time_says_where_to_go_on() -> None:
    """A long search ends early with what it has and a place to go on from, so that no answer takes long."""
    ticks = itertools.count(step=0.2)
    page = browse(numbered(*[10] * 50).posts, None, 5, "event 7.", lambda: float(next(ticks)))
    assert page.rows == []
    assert page.older is not None
    assert 0 < page.older < 500
    assert every(numbered(*[10] * 50), 5, "event 7.") == [7]


def test_rows_are_short_whatever_was_sent() -> None:
    """An event or host of megabytes comes cut, with its true size; a string comes as its text."""
    store = Store("", keeps_events=True)
    add(store, {"event": "a\n" * 1_000_000, "host": "h" * 1_000_000}, {"event": {"k": "v" * 1_000_000}})
    [second, first] = browse(store.posts, None, 9).rows
    assert first.event.startswith("a\na\n")
    assert second.event.startswith('{"k": "vvv')
    assert max(len(first.event), len(second.event), len(first.host)) <= 400
    assert second.event_bytes == 1_000_009


def test_the_rate_counts_durable_events_by_second() -> None:
    """The chart's beginning is what became durable in each second, and nothing older than asked for."""
    store = Store("", keeps_events=True)
    for durable in (10.0, 99.9, 101.2, 101.9, 103.0):
        add(store, {"event": 1}, {"event": 2}, durable=durable)
    assert durable_rate(store.posts, 99.0) == [(99, 2), (101, 4), (103, 2)]


def test_the_table_is_served_in_pages(serve: "Serve") -> None:
    """GET /emulator/rows pages and searches, and refuses what is no number or too much."""
    site = serve()
    site.post("".join(json.dumps({"event": f"n{n}"}) for n in range(60)))
    page = site.ask("GET", "/emulator/rows").json
    assert (page["total"], len(page["rows"]), page["older"]) == (60, 50, 10)
    assert page["rows"][0]["event"] == "n59"
    assert [row["event"] for row in site.ask("GET", "/emulator/rows?q=n7&limit=1").json["rows"]] == ["n7"]
    assert [row["seq"] for row in site.ask("GET", "/emulator/rows?before=2").json["rows"]] == [1, 0]
    for wrong in ("before=x", "limit=0", "limit=501", "limit=-1"):
        assert site.ask("GET", f"/emulator/rows?{wrong}").status == 400


def test_text_that_no_string_can_hold_is_shown_as_it_came(serve: "Serve") -> None:
    """Half of a surrogate pair, which JSON can write and UTF-8 cannot, hides neither its row nor others."""
    site = serve()
    site.post(r'{"event":"before"}{"event":"half \ud800"}{"event":"after"}')
    rows = site.ask("GET", "/emulator/rows").json["rows"]
    assert [row["event"] for row in rows] == ["after", r'"half \ud800"', "before"]
