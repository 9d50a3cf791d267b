"""The status pages: three, truthful, for whoever may connect, and gone after close."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import msgspec
import pytest
from kafka_tools import wait_for

from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.metrics import Metrics
from splunk_hec_kafka.server import Readiness, Reason, StatusServer

if TYPE_CHECKING:
    from collections.abc import Iterator

READY = Readiness(ready=True)
SINCE = 1_700_000_000.123


class Loop:
    """What the pages ask: set by a test, read by the server."""

    def __init__(self) -> None:
        self.is_alive = True
        self.readiness = READY
        self.metrics = Metrics()

    def server(self, listen: str = "127.0.0.1:0") -> StatusServer:
        """A server over this loop."""
        return StatusServer(listen, self.metrics, lambda: self.is_alive, lambda: self.readiness)


@pytest.fixture
def loop() -> Loop:
    """A healthy loop."""
    return Loop()


@pytest.fixture
def server(loop: Loop) -> Iterator[StatusServer]:
    """A started server over the loop."""
    server = loop.server()
    server.start()
    yield server
    server.close()


def ask(port: int, path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, str, str]:
    """Status, content type and body."""
    connection = HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type", ""), response.read().decode()
    finally:
        connection.close()


class TestPages:
    """What is served."""

    def test_metrics_are_the_registry_of_the_sink(self, server: StatusServer, loop: Loop) -> None:
        """The page shows what was counted up to this moment, in Prometheus' text format."""
        loop.metrics.consumed("t", 3)
        status, kind, body = ask(server.port, "/metrics")
        assert (status, kind.split(";")[0]) == (200, "text/plain")
        assert 'hec_sink_records_consumed_total{topic="t"} 3.0' in body
        loop.metrics.consumed("t", 1)
        assert 'hec_sink_records_consumed_total{topic="t"} 4.0' in ask(server.port, "/metrics")[2]

    def test_livez_follows_the_loop(self, server: StatusServer, loop: Loop) -> None:
        """200 while the loop turns, 503 while it stands still."""
        assert ask(server.port, "/livez")[0] == 200
        loop.is_alive = False
        assert ask(server.port, "/livez")[0] == 503
        loop.is_alive = True
        assert ask(server.port, "/livez?probe=1")[0] == 200

    def test_readyz_names_the_reasons_and_since_when(self, server: StatusServer, loop: Loop) -> None:
        """Ready is 200 without reasons; not ready is 503 with code, text and an RFC 3339 time."""
        status, kind, body = ask(server.port, "/readyz")
        assert (status, kind, json.loads(body)) == (200, "application/json", {"ready": True, "reasons": []})
        loop.readiness = Readiness(ready=False, reasons=(Reason("invalid_token", "Invalid token", SINCE),))
        status, _, body = ask(server.port, "/readyz")
        assert status == 503
        since = "2023-11-14T22:13:20.123Z"
        reason = {"code": "invalid_token", "text": "Invalid token", "since": since}
        assert json.loads(body) == {"ready": False, "reasons": [reason]}

    @pytest.mark.parametrize(
        "path", ["/", "/metrics/", "/metric", "/favicon.ico", "/livez/../metrics", "/%2e"]
    )
    def test_nothing_else_is_served(self, server: StatusServer, path: str) -> None:
        """Every other path is a 404 that names those there are."""
        status, _, body = ask(server.port, path)
        assert status == 404
        assert body == "here are /metrics /livez /readyz\n"

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
    @pytest.mark.parametrize("path", ["/metrics", "/readyz"])
    def test_pages_are_only_read(self, server: StatusServer, path: str, method: str) -> None:
        """No method but GET is taken."""
        assert ask(server.port, path, method)[0] == 405

    def test_requests_are_not_logged_at_info(
        self, server: StatusServer, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A probe every second leaves no line in the log, nor on standard error."""
        with caplog.at_level(logging.INFO):
            ask(server.port, "/livez")
        assert caplog.messages == []
        assert capsys.readouterr().err == ""


class TestLife:
    """Starting, sharing and ending."""

    def test_port_zero_picks_one_and_logs_it(self, loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
        """The log tells where the pages are."""
        server = loop.server()
        assert server.port == 0
        with caplog.at_level(logging.INFO):
            server.start()
        try:
            assert f"http://127.0.0.1:{server.port}:" in caplog.text
            assert ask(server.port, "/livez")[0] == 200
        finally:
            server.close()

    def test_ipv6_is_written_in_brackets(self, loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
        """Where this machine has an IPv6 loopback, it can be listened on."""
        server = loop.server("[::1]:0")
        with caplog.at_level(logging.INFO):
            try:
                server.start()
            except SinkFailure as failure:
                pytest.skip(f"no IPv6 loopback here: {failure}")
        try:
            assert ask(server.port, "/livez", host="::1")[0] == 200
            assert f"http://[::1]:{server.port}:" in caplog.text
        finally:
            server.close()

    def test_a_busy_port_is_one_line_and_exit_code_3(self, loop: Loop, server: StatusServer) -> None:
        """Two sinks on one port: the second says which setting, why, and what to do."""
        second = loop.server(f"127.0.0.1:{server.port}")
        with pytest.raises(SinkFailure) as caught:
            second.start()
        assert caught.value.exit_code is ExitCode.CONFIG
        said = rf"server\.listen = '127\.0\.0\.1:{server.port}': Address already in use \(fix: .*port 0.*\)"
        assert re.fullmatch(said, str(caught.value))
        second.close()

    @pytest.mark.parametrize("listen", ["127.0.0.1:99999", "192.0.2.1:0"])
    def test_an_address_that_cannot_be_used_is_told_like_that(self, loop: Loop, listen: str) -> None:
        """A port out of range and another machine's address end alike."""
        with pytest.raises(SinkFailure, match=r"^server\.listen = ") as caught:
            loop.server(listen).start()
        assert caught.value.exit_code is ExitCode.CONFIG

    def test_close_frees_the_port_and_may_be_repeated(self, loop: Loop) -> None:
        """After close nobody answers, and the port can be listened on again."""
        server = loop.server()
        server.start()
        port = server.port
        server.close()
        server.close()
        with pytest.raises(ConnectionRefusedError):
            ask(port, "/livez")
        again = loop.server(f"127.0.0.1:{port}")
        again.start()
        again.close()

    def test_a_silent_connection_blocks_nobody(
        self, server: StatusServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A client that connects and says nothing holds up neither other requests nor the end."""
        monkeypatch.setattr("splunk_hec_kafka.server._Request.timeout", None)
        with socket.create_connection(("127.0.0.1", server.port)):
            assert ask(server.port, "/livez")[0] == 200
            server.close()

    def test_a_broken_connection_leaves_no_traceback(
        self,
        server: StatusServer,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """A client that is silent too long is cut off with a line at debug, no more."""
        monkeypatch.setattr("splunk_hec_kafka.server._Request.timeout", 0.05)
        with caplog.at_level(logging.DEBUG), socket.create_connection(("127.0.0.1", server.port)) as silent:
            assert silent.recv(1) == b""
            wait_for(lambda: "TimeoutError" in caplog.text, "the line at debug")
        assert "Traceback" not in caplog.text + capsys.readouterr().err


def test_readiness_is_a_value() -> None:
    """Two of the same content are equal, and none can be changed."""
    assert Readiness(ready=True) == READY
    with pytest.raises(AttributeError):
        READY.ready = False  # type: ignore[misc]
    assert msgspec.structs.replace(READY, ready=False) != READY


def test_times_are_rfc_3339_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine's time zone, `since` is in UTC and says so."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        body = json.loads(Readiness(ready=False, reasons=(Reason("c", "t", SINCE),)).to_json())
    finally:
        monkeypatch.undo()
        time.tzset()
    assert body["reasons"][0]["since"] == "2023-11-14T22:13:20.123Z"
