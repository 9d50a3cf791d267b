"""The sink's own pages as somebody hostile meets them: three pages, on loopback, and no way past them."""

from __future__ import annotations

import errno
import http.client
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from kafka_tools import wait_for

from splunk_hec_kafka import server as module
from splunk_hec_kafka.config import load
from splunk_hec_kafka.metrics import Metrics
from splunk_hec_kafka.server import PATHS, Readiness, StatusServer

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE_S = 20


@pytest.fixture
def pages() -> Iterator[StatusServer]:
    """A server on a free port."""
    server = StatusServer("127.0.0.1:0", Metrics(), lambda: True, lambda: Readiness(ready=True))
    server.start()
    yield server
    server.close()


def ask(port: int, method: str = "GET", path: str = "/livez") -> tuple[int, bytes]:
    """Status and body of an ordinary request."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        link.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        link.endheaders()
        reply = link.getresponse()
        return reply.status, reply.read()
    finally:
        link.close()


def send(port: int, data: bytes) -> bytes:
    """What comes back for these bytes, until the server closes."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as sock:
        got = b""
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while more := sock.recv(65536):
                got += more
        except OSError as error:  # it had enough, and did not read the rest
            if error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
                raise
        return got


def test_by_default_only_this_machine_can_ask() -> None:
    """Without a word in the configuration the pages are on the loopback address, and on no other."""
    host, _, _ = load(None, {}).config.server.listen.rpartition(":")
    assert host == "127.0.0.1"
    server = StatusServer(f"{host}:0", Metrics(), lambda: True, lambda: Readiness(ready=True))
    server.start()
    try:
        assert server._server is not None
        assert server._server.socket.getsockname()[0] == "127.0.0.1"
        with pytest.raises(
            ConnectionRefusedError
        ):  # every 127.x.y.z is this machine; only .0.0.1 is listened on
            socket.create_connection(("127.0.0.2", server.port), DEADLINE_S)
    finally:
        server.close()


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd", "/metrics/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd",
        "/metrics%00", "/metrics;x", "/METRICS", "/metrics/x", "file:///etc/passwd",
        "http://127.0.0.1/metrics", "*",
        "/readyz\\..\\metrics", "/livez%2f..%2fmetrics", "/" + "a" * 60_000,
        "/emulator/stats", "/debug/pprof", "/-/quit",
    ],
)  # fmt: skip
def test_no_other_path_is_anything(pages: StatusServer, path: str) -> None:
    """No traversal, encoding, case or absolute form leads to a file, or to one of the three pages."""
    assert ask(pages.port, "GET", path) == (404, f"here are {' '.join(PATHS)}\n".encode())


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "get", "GETS"]
)
def test_no_method_does_anything_but_get(pages: StatusServer, method: str) -> None:
    """Every other method, invented ones included, is refused; TRACE echoes nothing."""
    status, body = ask(pages.port, method, "/metrics")
    assert (status, body) == (405, b"GET only\n")


LINE_BYTES = 65_537
"""All that the server reads of a line; more would turn its close into a reset, and the reply be lost."""


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ((b"GET /" + b"a" * 70_000)[:LINE_BYTES], b"414"),
        ((b"GET " * 30_000)[:LINE_BYTES], b"414"),
        (b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"431"),
        (b"GET /livez HTTP/1.1\r\n" + (b"X: " + b"a" * 70_000)[:LINE_BYTES], b"431"),
        (b"GET /livez HTTP/9.9\r\n\r\n", b"505"),
        (b"GET /livez HTTP/x\r\n\r\n", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (b"GET /livez extra HTTP/1.1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 300 + b"\r\n\r\n", b""),
        (b"\x00" * LINE_BYTES, b"414"),
        (b"", b""),
        (b"GET /livez HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\nx", b"200"),
    ],
)
def test_what_is_no_request_is_refused_and_the_next_one_served(
    pages: StatusServer, data: bytes, status: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Huge lines, too many headers, TLS and noise end in a refusal or a closed connection, quietly."""
    got = send(pages.port, data)
    assert status in got[:200]
    assert len(got) < 5_000
    assert ask(pages.port) == (200, b"ok\n")
    assert capsys.readouterr().err == ""


def test_request_lines_cannot_forge_a_log_line(pages: StatusServer, caplog: pytest.LogCaptureFixture) -> None:
    """At debug a request line is quoted; our formatter makes what is invisible in it visible."""
    from splunk_hec_kafka.logs import _Redacting

    with caplog.at_level("DEBUG"):
        send(pages.port, b"GET /\x1b[2J\x07\rERROR HTTP/1.1\r\n\r\n")
        wait_for(lambda: any("ERROR" in one.getMessage() for one in caplog.records), "the line at debug")
    shown = [_Redacting("%(message)s", ()).format(one) for one in caplog.records]
    assert all(line.isprintable() for line in shown)


def test_silent_connections_use_up_no_files(pages: StatusServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many connect and say nothing, or half a request, few stay open, and a probe is answered."""
    monkeypatch.setattr(module._Request, "timeout", None)  # nobody is saved by the time-out here
    silent: list[socket.socket] = []
    try:
        for number in range(3 * module.MAX_CONNECTIONS):
            silent.append(socket.create_connection(("127.0.0.1", pages.port), DEADLINE_S))
            silent[-1].sendall(b"GET /livez HTTP/1.1\r\nX-Slow: " if number % 2 else b"")
        assert ask(pages.port) == (200, b"ok\n")
        threads = [one for one in threading.enumerate() if "process_request_thread" in one.name]
        wait_for(
            lambda: sum(one.is_alive() for one in threads) <= module.MAX_CONNECTIONS,
            "the oldest ones to be cut",
        )
        assert len(pages._server._open) <= module.MAX_CONNECTIONS  # type: ignore[union-attr]
        assert silent[0].recv(1) == b""
    finally:
        for sock in silent:
            sock.close()


def test_the_pages_stop_while_somebody_holds_them(pages: StatusServer) -> None:
    """The end of the sink does not wait for those who connected."""
    with socket.create_connection(("127.0.0.1", pages.port), DEADLINE_S):
        pages.close()
        assert pages.port == 0
