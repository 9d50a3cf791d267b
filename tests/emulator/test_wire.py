"""Connections: clients that are slow, rude or many, and bytes that are not HTTP."""

import contextlib
import logging
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splunk_hec_emulator import Emulator

if TYPE_CHECKING:
    from conftest import Serve

T = "10000000-0000-0000-0000-000000000000"
HEAD = (
    f"POST /services/collector HTTP/1.1\r\nHost: x\r\nUser-Agent: t\r\nAuthorization: Splunk {T}\r\n".encode()
)
ONE = b'{"event":"a"}'
WHOLE = HEAD + b"Content-Length: 13\r\n\r\n" + ONE
OK = b'{"text":"Success","code":0}'


def exchange(address: tuple[str, int], data: bytes) -> bytes:
    """Send bytes, close our side, and return all that comes back until the server closes."""
    with socket.create_connection(address, timeout=30) as link:
        with contextlib.suppress(ConnectionError):
            link.sendall(data)
            link.shutdown(socket.SHUT_WR)
            return link.makefile("rb").read()
        return b""


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"POST /services/collector HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /services/collector HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nxx\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_not_http_gets_a_page_and_the_door(serve: "Serve", data: bytes, status: int) -> None:
    """Malformed requests are answered in HTML and the connection is closed; the server goes on."""
    site = serve()
    reply = exchange(site.address, data)
    assert reply.startswith(b"HTTP/1.1 %d " % status)
    assert b"Connection: close" in reply
    assert site.post(ONE).body == OK


def test_requests_may_be_pipelined(serve: "Serve") -> None:
    """Two requests in one packet get two replies, in order."""
    site = serve()
    reply = exchange(site.address, WHOLE + WHOLE.replace(b'"a"', b'"b"'))
    assert reply.count(OK) == 2
    assert site.indexed() == ["a", "b"]


def test_a_client_may_ask_before_it_sends(serve: "Serve") -> None:
    """Expect: 100-continue is answered before the body; with too long a body, by 413 at once."""
    site = serve(max_content_length=1_000)
    with site.raw_socket() as link:
        link.sendall(HEAD + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 13\r\n\r\n")
        assert link.recv(25).startswith(b"HTTP/1.1 100 ")
        link.sendall(ONE)
        assert link.makefile("rb").read().endswith(OK)
    with site.raw_socket() as link:
        link.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
        assert link.recv(12) == b"HTTP/1.1 413"


@pytest.mark.parametrize("cut", [1, 30, len(WHOLE) - 13, len(WHOLE) - 1])
def test_a_request_that_ends_early_is_dropped(serve: "Serve", cut: int) -> None:
    """A client that goes in mid-request gets no reply, and nothing of it is taken."""
    site = serve()
    assert exchange(site.address, WHOLE[:cut]) == b""
    assert site.indexed() == []
    assert site.post(ONE).body == OK


def test_a_request_may_come_byte_by_byte(serve: "Serve") -> None:
    """Packets of one byte make the same request."""
    site = serve()
    with site.raw_socket() as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in WHOLE:
            link.sendall(bytes([byte]))
        link.shutdown(socket.SHUT_WR)
        assert link.makefile("rb").read().endswith(OK)


def test_a_client_that_never_reads_holds_up_nobody(serve: "Serve") -> None:
    """Replies to a client that does not read wait for it; others are served, and the end is orderly."""
    site = serve()
    site.post(b'{"event":"' + b"x" * 100_000 + b'"}' * 1)
    for _ in range(8):
        site.post(b'{"event":"' + b"x" * 1_000_000 + b'"}')
    with site.raw_socket() as link:
        link.sendall(b"GET /emulator/events HTTP/1.1\r\nHost: x\r\nUser-Agent: t\r\n\r\n")
        assert link.recv(12) == b"HTTP/1.1 200"
        assert site.post(ONE).body == OK
        site.emulator.stop()


def test_an_unread_reply_does_not_keep_the_server_from_its_end(serve: "Serve") -> None:
    """A finished exchange whose bytes nobody takes is dropped when the server stops."""
    site = serve()
    for _ in range(8):
        site.post(b'{"event":"' + b"x" * 1_000_000 + b'"}')
    with site.raw_socket() as link:
        link.sendall(b"GET /emulator/events HTTP/1.1\r\nHost: x\r\n\r\n")  # HTTP/1.0: one write, then close
        assert link.recv(12) == b"HTTP/1.0 200"
        site.emulator.stop()


def test_many_slow_clients_hold_up_nobody(serve: "Serve") -> None:
    """Two hundred connections that never finish their request do not keep one that does from its reply."""
    site = serve()
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(site.raw_socket()).sendall(WHOLE[:-5])
        assert site.post(ONE).body == OK


def test_bodies_in_progress_have_a_bound_in_all(serve: "Serve") -> None:
    """Beyond the memory for bodies being received, a request is refused as busy instead of being held."""
    site = serve(max_buffered_bytes=150_000)
    with site.raw_socket() as first, site.raw_socket() as second:
        first.sendall(HEAD + b"Content-Length: 100001\r\n\r\n" + b" " * 100_000)
        second.sendall(HEAD + b"Content-Length: 100001\r\n\r\n" + b" " * 100_000)
        site.emulator.wait_for(lambda: site.emulator.stats()["replies"] == {"503/9": 1})
    assert site.post(ONE).body == OK


def test_head_has_the_headers_of_get_and_no_body(serve: "Serve") -> None:
    """HEAD on health tells the length of what GET would return, and the connection goes on."""
    site = serve()
    head = b"HEAD /services/collector/health HTTP/1.1\r\nHost: x\r\nUser-Agent: t\r\n\r\n"
    reply = exchange(site.address, head + WHOLE)
    assert reply.count(b"HTTP/1.1 200 OK") == 2
    assert b"Content-Length: 35\r\n" in reply
    assert b"healthy" not in reply


def test_refusals_are_logged_as_splunkd_does_without_the_token(
    serve: "Serve", caplog: pytest.LogCaptureFixture
) -> None:
    """The log line admins search for names token, channel, reply and prefix, never the token's value."""
    site = serve()
    with caplog.at_level(logging.INFO, "splunk_hec_emulator"):
        site.post(ONE + b'{"event":"secret payload"', "TA", "C1")
        site.post(ONE, "99999999-dead-beef-0000-000000000000")
    first, second = (record.getMessage() for record in caplog.records)
    assert first == (
        "Failed processing http input, token name=acking, channel=C1C1C1C1-0000-4000-8000-000000000001, "
        'source_IP=127.0.0.1, reply=6, events_processed=1, http_input_body_size=38, parsing_err="body"'
    )
    assert "token name=n/a" in second
    for secret in ("20000000", "99999999", "secret payload"):
        assert secret not in caplog.text


requests = st.builds(
    lambda method, path, query, headers, body: b"".join(
        [
            method,
            b" ",
            path,
            query,
            b" HTTP/1.1\r\nHost: x\r\n",
            *headers,
            b"Content-Length: %d\r\n\r\n" % len(body),
            body,
        ]
    ),
    st.sampled_from([b"POST", b"GET", b"PUT", b"HEAD", b"OPTIONS", b"BREW"]),
    st.sampled_from(
        [
            b"/services/collector" + rest
            for rest in (b"", b"/event", b"/raw", b"/ack", b"/health", b"/mint", b"/s2s")
        ]
        + [b"/emulator/stats", b"/emulator/events", b"/emulator/faults", b"/emulator/restart", b"/"]
    ),
    st.sampled_from(
        [
            b"",
            b"?channel=x",
            b"?token=x",
            b"?index=nope",
            b"?time=x",
            b"?offset=x&limit=-1",
            b"?q=%ff",
            b"?&&=",
        ]
    ),
    st.lists(
        st.sampled_from(
            [
                b"User-Agent: t\r\n",
                b"Authorization: Splunk " + T.encode() + b"\r\n",
                b"Authorization: Splunk 20000000-0000-0000-0000-000000000000\r\n",
                b"X-Splunk-Request-Channel: c1c1c1c1-0000-4000-8000-000000000001\r\n",
                b"Authorization: Basic \xff\r\n",
                b"Authorization: Basic eDp4\r\n",
                b"Content-Encoding: gzip\r\n",
                b"Cookie: hec_emulator_node=;\xe9\r\n",
                b"Origin: \xff\r\n",
            ]
        ),
        max_size=5,
    ),
    st.sampled_from([b"", ONE, b'{"acks":[0]}', b"[]", b'["busy:x"]', b"\xff", b"{", b"\x1f\x8b\x08"])
    | st.binary(max_size=20),
)


def test_no_request_is_an_internal_error() -> None:
    """Whatever is asked, the answer is one that Splunk or our pages give: never a 500, never silence."""
    tokens = [f"{T}:index=main", "20000000-0000-0000-0000-000000000000:ack"]
    with Emulator(ack_delay=0, tokens=tokens, nodes=2) as emulator:
        host, port = emulator.url.removeprefix("http://").split(":")

        @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
        @given(requests | st.binary(min_size=1, max_size=80))
        def ask(data: bytes) -> None:
            reply = exchange((host, int(port)), data)
            assert reply[9:12] in (
                b"",
                b"200",
                b"400",
                b"401",
                b"403",
                b"404",
                b"405",
                b"415",
                b"431",
                b"501",
            )
            if b"HTTP/1.1\r\nHost" in data:
                assert reply.startswith(b"HTTP/1.")

        ask()
        assert not any(reply.startswith("500") for reply in emulator.stats()["replies"])
