"""Rows 104 to 126 of the conformance vectors: codings, HTTP limits and the raw endpoint."""

import gzip
import zlib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Serve

E = "/services/collector/event"
R = "/services/collector/raw"
T = "10000000-0000-0000-0000-000000000000"
OK = b'{"text":"Success","code":0}'
NO_DATA = b'{"text":"No data","code":5}'
ONE = b'{"event":"a"}'
BAD_GZIP = (
    b'<!doctype html><html><head><meta http-equiv="content-type" content="text/html; charset=UTF-8">'
    b"<title>400 Unparsable gzip header in request data</title></head><body>"
    b"<h1>Unparsable gzip header in request data</h1><p>HTTP Request was malformed.</p></body></html>\r\n"
)
UNSUPPORTED = (
    b'<!doctype html><html><head><meta http-equiv="content-type" content="text/html; charset=UTF-8">'
    b"<title>415 Unsupported Media Type</title></head><body><h1>Unsupported Media Type</h1>"
    b"<p>The requested URL does not support the media type sent.</p></body></html>\r\n"
)

CODINGS = [
    ("104", E, "gzip", gzip.compress(ONE), 200, OK),
    ("104", E, "GZIP", gzip.compress(ONE) + gzip.compress(ONE), 200, OK),
    ("105", R, "gzip", gzip.compress(b"line\n"), 200, OK),
    ("106", E, "gzip", b"not a gzip stream", 400, BAD_GZIP),
    ("107", E, "br", ONE, 415, UNSUPPORTED),
    ("108", E, "deflate", zlib.compress(ONE), 415, UNSUPPORTED),
    ("113", E, "gzip", gzip.compress(ONE)[:12], 400, BAD_GZIP),
    ("114", E, "gzip", gzip.compress(b""), 400, NO_DATA),
    ("identity", E, "identity", ONE, 200, OK),
]


@pytest.mark.parametrize(
    ("path", "coding", "body", "status", "expected"),
    [pytest.param(*row[1:], id=f"{row[0]}-{row[2]}") for row in CODINGS],
)
def test_codings_are_answered_as_recorded(
    serve: "Serve", *, path: str, coding: str, body: bytes, status: int, expected: bytes
) -> None:
    """Gzip is unpacked; what is not gzip and what is another coding gets Splunk's own HTML page."""
    reply = serve().post(body, path=path, headers={"Content-Encoding": coding})
    assert (reply.status, reply.body) == (status, expected)
    assert ("text/html" in reply.headers["Content-Type"]) == expected.startswith(b"<")


@pytest.mark.parametrize(
    ("options", "body", "expected"),
    [
        pytest.param({"truncated_gzip": "prefix"}, gzip.compress(ONE)[:-8], OK, id="113"),
        pytest.param({"empty_gzip_is_html": True}, gzip.compress(b""), BAD_GZIP, id="114"),
    ],
)
def test_odd_gzip_can_be_tried_the_other_way(
    serve: "Serve", *, options: dict[str, Any], body: bytes, expected: bytes
) -> None:
    """What happens to a cut or an empty gzip body is a setting (rows 113, 114)."""
    site = serve(**options)
    assert site.post(body, headers={"Content-Encoding": "gzip"}).body == expected
    assert site.indexed() == (["a"] if expected == OK else [])


def test_a_declared_length_over_the_limit_is_refused_without_waiting(serve: "Serve") -> None:
    """413 comes on the headers alone; the body is never sent here (row 109)."""
    site = serve()
    with site.raw_socket() as link:
        head = f"POST {E} HTTP/1.1\r\nHost: x\r\nUser-Agent: t\r\nAuthorization: Splunk {T}\r\n"
        link.sendall(f"{head}Content-Length: 999999999\r\n\r\n".encode())
        reply = link.makefile("rb").read()
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert b"<!doctype html>" in reply
    assert b"999999999" in reply
    assert b"838860800" in reply


def test_the_limit_is_exact(serve: "Serve") -> None:
    """A body of exactly the limit passes, one byte more is 413 (row 110)."""
    site = serve(max_content_length=1_000_000)
    body = b'{"event":"' + b"x" * 999_988 + b'"}'
    assert len(body) == 1_000_000
    assert site.post(body).status == 200
    assert site.post(body + b" ").status == 413
    assert site.post(gzip.compress(body + b" "), headers={"Content-Encoding": "gzip"}).status == 413


def test_a_chunked_body_over_the_limit_is_refused(serve: "Serve") -> None:
    """Without a declared length the limit holds for what really comes."""
    site = serve(max_content_length=1_000)
    with site.raw_socket() as link:
        head = f"POST {E} HTTP/1.1\r\nHost: x\r\nUser-Agent: t\r\nAuthorization: Splunk {T}\r\n"
        link.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n7d0\r\n".encode() + b"x" * 2_000)
        assert link.makefile("rb").read().startswith(b"HTTP/1.1 413 ")


def test_a_gzip_bomb_costs_its_cap_and_no_more(serve: "Serve") -> None:
    """What unfolds beyond the decoded cap is refused (413) instead of being held."""
    site = serve(max_decoded_bytes=1_000_000)
    reply = site.post(gzip.compress(b" " * 50_000_000), headers={"Content-Encoding": "gzip"})
    assert reply.status == 413


def test_a_declared_body_is_waited_for(serve: "Serve") -> None:
    """No reply comes before the body is whole, and the late rest is still served (rows 111, 112)."""
    site = serve()
    with site.raw_socket() as link:
        head = f"POST {E} HTTP/1.1\r\nHost: x\r\nUser-Agent: t\r\nAuthorization: Splunk {T}\r\n"
        link.sendall(f"{head}Connection: close\r\nContent-Length: 13\r\n\r\n".encode() + ONE[:5])
        assert site.post(b'{"event":"b"}').status == 200  # others are served meanwhile
        link.setblocking(False)
        with pytest.raises(BlockingIOError):
            link.recv(1)
        link.setblocking(True)
        link.sendall(ONE[5:])
        assert link.makefile("rb").read().endswith(OK)
    assert site.indexed() == ["b", "a"]


def test_a_chunked_body_is_taken(serve: "Serve") -> None:
    """Chunked transfer works (row 115)."""
    site = serve()
    connection = site.connect()
    try:
        sent = {"Authorization": f"Splunk {T}", "User-Agent": "t"}
        connection.request("POST", E, iter([b'{"event":', b'"a"}']), sent, encode_chunked=True)
        assert connection.getresponse().read() == OK
    finally:
        connection.close()


def test_a_client_without_a_user_agent_gets_http_1_0(serve: "Serve") -> None:
    """Without a User-Agent the reply is HTTP/1.0 and the connection closes (row 116)."""
    site = serve()
    with site.raw_socket() as link:
        head = f"POST {E} HTTP/1.1\r\nHost: x\r\nAuthorization: Splunk {T}\r\nContent-Length: 13\r\n\r\n"
        link.sendall(head.encode() + ONE)
        reply = link.makefile("rb").read()
    assert reply.startswith(b"HTTP/1.0 200 OK\r\n")
    assert reply.endswith(OK)


def test_a_connection_serves_many_requests(serve: "Serve") -> None:
    """Connections are kept alive."""
    site = serve()
    connection = site.connect()
    try:
        for _ in range(3):
            sent = {"Authorization": f"Splunk {T}"}
            assert site.ask("POST", E, ONE, sent, connection).body == OK
    finally:
        connection.close()
    assert site.indexed() == ["a"] * 3


RAW = [
    ("117", R, b"one\ntwo\n", OK, ["one\ntwo"]),
    ("119", R, b"", NO_DATA, []),
    ("119", R, b"\n\r\n", NO_DATA, []),
    ("119", R, b" \t \n", NO_DATA, []),
    ("120", R, b"final-without-newline", OK, ["final-without-newline"]),
    ("121", R, b"a\xffb\n", OK, ["a�b"]),
    ("122", R, b"one\ntwo\nthree\n", OK, ["one\ntwo\nthree"]),
    ("123", R, b"one\r\ntwo\r\nthree\r\n", OK, ["one\ntwo\nthree"]),
    ("124", R + "?index=nope", b"x", b'{"text":"Incorrect index","code":7,"invalid-event-number":1}', []),
]


@pytest.mark.parametrize(
    ("path", "body", "expected", "indexed"),
    [pytest.param(*row[1:], id=f"{row[0]}-{row[2]!r}") for row in RAW],
)
def test_raw_bodies_are_answered_as_recorded(
    serve: "Serve", *, path: str, body: bytes, expected: bytes, indexed: list[str]
) -> None:
    """The raw endpoint needs no channel without acks, and takes lines without timestamps as one event."""
    site = serve()
    assert site.post(body, path=path).body == expected
    assert site.indexed() == indexed


def test_raw_metadata_comes_from_the_query(serve: "Serve") -> None:
    """sourcetype, host, source, index and time of a raw post are query parameters (row 118)."""
    site = serve()
    query = "?channel=c1c1c1c1-0000-4000-8000-000000000001&sourcetype=x&host=h&source=s&time=1700000000"
    assert site.post(b"line", path=f"{R}/1.0{query}").body == OK
    (event,) = site.emulator.events()
    found = [event[key] for key in ("sourcetype", "host", "source", "index", "time", "fields")]
    assert found == ["x", "h", "s", "main", 1700000000.0, {}]


def test_raw_with_acks_needs_a_channel(serve: "Serve") -> None:
    """On a token with acks the raw endpoint wants a channel and answers with an ackId (rows 125, 126)."""
    site = serve()
    assert site.post(b"x", "TA", path=R).body == b'{"text":"Data channel is missing","code":10}'
    assert site.post(b"x", "TA", "C1", path=R).body == b'{"text":"Success","code":0,"ackId":0}'
    assert serve(profile="cloud-10.5").post(b"x", "TA", path=R).json["code"] == 28


def test_raw_lines_can_be_events_of_their_own(serve: "Serve") -> None:
    """A sourcetype that breaks at line ends is a setting, as no client can know it."""
    site = serve(raw_line_breaking=True)
    assert site.post(b"one\r\n\ntwo\n", path=R).body == OK
    assert site.indexed() == ["one", "two"]
