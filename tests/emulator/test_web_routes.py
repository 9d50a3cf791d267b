"""What serves the page: its files and their policy, the live stream, tokens on demand, and who may ask."""

import asyncio
import itertools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import splunk_hec_emulator
from splunk_hec_emulator._emulation import Emulation
from splunk_hec_emulator._origin import is_safe_host
from splunk_hec_emulator.settings import Settings

if TYPE_CHECKING:
    from conftest import Serve, Site

PAGE = Path(splunk_hec_emulator.__file__).parent / "page"
ONE = b'{"event":"a"}'
PLAIN = "10000000-0000-0000-0000-000000000000"  # the tokens T and TA of the fixture
ACKING = "20000000-0000-0000-0000-000000000000"
CHANNEL = "c1c1c1c1-0000-4000-8000-000000000001"  # C1


def events(site: "Site", count: int) -> list[tuple[str, Any]]:
    """Read so many server-sent events of a stream of our own."""
    link = site.connect()
    try:
        link.request("GET", "/emulator/live", headers={"User-Agent": "test"})
        reply = link.getresponse()
        assert reply.getheader("Content-Type") == "text/event-stream; charset=UTF-8"
        found: list[tuple[str, Any]] = []
        while len(found) < count:
            name = reply.readline().decode().removeprefix("event: ").strip()
            found.append((name, json.loads(reply.readline().removeprefix(b"data: "))))
            assert reply.readline() == b"\n"
        return found
    finally:
        link.close()


def test_every_file_of_the_page_is_served_and_nothing_else(serve: "Serve") -> None:
    """What the page needs comes from the package, by its name; a path leads nowhere else."""
    site = serve()
    files = [str(path.relative_to(PAGE)) for path in PAGE.rglob("*") if path.suffix]
    assert "uplot/uPlot.esm.js" in files
    for name in files:
        assert site.ask("GET", f"/emulator/page/{name}").body == (PAGE / name).read_bytes()
    for wrong in (
        "",
        "nope.js",
        "uplot",
        "../settings.py",
        "%2e%2e/settings.py",
        "/etc/passwd",
        "uplot/LICENSE",
    ):
        assert site.ask("GET", f"/emulator/page/{wrong}").status == 404
    assert site.ask("POST", "/emulator/page/app.js").status == 405


def test_the_licence_of_what_is_vendored_stands_beside_it() -> None:
    """The chart library is MIT: its notice goes where its code goes."""
    assert "MIT License" in (PAGE / "uplot" / "LICENSE").read_text()


def test_the_page_may_run_and_load_nothing_but_its_own_files(serve: "Serve") -> None:
    """The policy has no inline script and no foreign source, and the page names none."""
    reply = serve().ask("GET", "/")
    assert reply.headers["Content-Type"] == "text/html; charset=UTF-8"
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    for path in PAGE.glob("*.*"):
        text = path.read_text()
        assert not re.search(r"(?:src|href|import|from|fetch\()[=\s(]*[\"']https?:", text), path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text), (
            path.name
        )
    html = (PAGE / "index.html").read_text()
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=", html)


def test_the_stream_begins_with_what_is_fixed_and_goes_on_with_samples(serve: "Serve") -> None:
    """A watcher learns settings and history once, then counters, rules, channels and the age of acks."""
    site = serve(
        ack_delay=3600, faults=["busy:1,count=1"], tokens=[f"{PLAIN}:name=p", f"{ACKING}:ack:name=a"]
    )
    site.post(ONE, "TA", "C1")
    site.post(ONE * 2, "TA", "C1")
    [(hello_name, hello), (name, sample)] = events(site, 2)
    assert (hello_name, name) == ("hello", "sample")
    assert hello["ack_delay_s"] == [3600, 3600]
    assert "busy" in {fault["name"] for fault in hello["faults"]}
    assert sample["stats"]["acks_pending"] == 2
    assert sample["oldest_ack_s"] >= 0
    assert sample["rules"] == [{"rule": "busy:1,count=1", "fired": 1}]
    [channel] = sample["channels"]
    assert (channel["channel"], channel["pending"], channel["next_id"]) == (CHANNEL.upper(), 2, 2)
    assert [token["name"] for token in sample["tokens"]] == ["p", "a"]


def test_the_age_is_that_of_the_oldest_ack_nobody_was_told_of() -> None:
    """Told acks no longer count; the oldest that is left does, in seconds since it was issued."""
    now = [100.0]
    emulation = Emulation(Settings.of(ack_delay=0), clock=lambda: now[0])
    acks = emulation.nodes[0].acks
    for moment in (100.0, 103.0, 107.0):
        acks.issue("C", moment, moment)
    acks.poll("C", 108.0, [0])
    now[0] = 110.0
    sample = _samples(emulation, 1)[0]
    assert sample["oldest_ack_s"] == 7.0
    assert sample["channels"][0]["oldest_s"] == 7.0
    acks.poll("C", 110.0, [1, 2])
    now[0] = 120.0
    assert _samples(emulation, 1)[0]["oldest_ack_s"] is None


def _samples(emulation: Emulation, watchers: int) -> list[Any]:
    """Return what each of some watchers is shown first."""

    async def first() -> bytes:
        stream = emulation.live.stream()
        try:
            await anext(stream)
            return await anext(stream)
        finally:
            await stream.aclose()

    async def all_of_them() -> list[bytes]:
        return [await first() for _ in range(watchers)]

    return [json.loads(text.split(b"data: ")[1]) for text in asyncio.run(all_of_them())]


def test_watchers_share_a_sample_and_nobody_watching_costs_none() -> None:
    """Ten watchers within a second cost one look at the emulation; without a watcher nobody looks."""
    looks = itertools.count()

    class Counted(Emulation):
        def stats(self) -> dict[str, Any]:
            next(looks)
            return super().stats()

    emulation = Counted(Settings.of(), clock=lambda: 5.0)
    emulation.advance()
    _samples(emulation, 10)
    assert next(looks) == 1


def test_a_stream_that_cannot_be_told_in_pieces_is_refused(serve: "Serve") -> None:
    """A client that is answered with HTTP/1.0 is told so instead of waiting for ever."""
    site = serve()
    with site.raw_socket() as link:
        link.sendall(b"GET /emulator/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert link.recv(65_536).startswith(b"HTTP/1.0 400 ")
    assert site.ask("HEAD", "/emulator/live").status == 200


def test_a_tokens_value_comes_by_a_deliberate_call_only(serve: "Serve") -> None:
    """Only POST shows a value, one at a time, never stored; no other answer holds one."""
    site = serve()
    reply = site.ask("POST", "/emulator/tokens/reveal?number=1", headers={"Origin": site.emulator.url})
    assert reply.json == {"value": ACKING}
    assert reply.headers["Cache-Control"] == "no-store"
    assert site.ask("GET", "/emulator/tokens/reveal?number=1").status == 405
    for wrong in ("", "?number=", "?number=-1", "?number=5", "?number=x"):
        assert site.ask("POST", f"/emulator/tokens/reveal{wrong}").status == 400
    shown = (
        json.dumps(events(site, 2))
        + str(site.ask("GET", "/").body)
        + str(site.ask("GET", "/emulator/stats").body)
    )
    assert PLAIN not in shown
    assert ACKING not in shown


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_foreign_page_is_shown_no_token(serve: "Serve", origin: str) -> None:
    """A token is guarded like the switches: a request that another site's page sends gets 403."""
    reply = serve().ask("POST", "/emulator/tokens/reveal?number=0", headers={"Origin": origin})
    assert reply.status == 403
    assert PLAIN.encode() not in reply.body


@pytest.mark.parametrize(
    "path", ["/", "/emulator/events", "/emulator/live", "/emulator/rows", "/emulator/stats"]
)
def test_a_name_that_was_rebound_to_us_reads_nothing(serve: "Serve", path: str) -> None:
    """A page whose own name resolves to this machine sends that name as Host, and is refused."""
    site = serve()
    assert site.ask("GET", path, headers={"Host": f"evil.example:{site.address[1]}"}).status == 403


def test_splunks_own_routes_ask_for_no_name(serve: "Serve") -> None:
    """Clients reach the collector under any name, as they reach Splunk."""
    assert serve().post(ONE, headers={"Host": "splunk.example.com"}).status == 200


@pytest.mark.parametrize(
    ("host", "is_safe"),
    [
        ("127.0.0.1:8088", True),
        ("[::1]:8088", True),
        ("localhost", True),
        ("LOCALHOST:8088", True),
        ("splunk:8088", True),
        ("splunk.default.svc.cluster.local:8088", True),
        ("splunk.default.svc:8088", True),
        ("hec.corp.example:8088", True),
        (None, True),
        ("evil.example:8088", False),
        ("127.0.0.1.nip.example", False),
        ("hec.corp.example.evil.example", False),
        ("[", False),
        ("", False),
    ],
)
def test_only_names_that_no_stranger_can_own_are_safe(host: str | None, is_safe: bool) -> None:
    """Addresses, names without dots, private zones and the name listened on are ours, others anyone's."""
    assert is_safe_host({} if host is None else {"host": host}, "hec.corp.example:8088") is is_safe
