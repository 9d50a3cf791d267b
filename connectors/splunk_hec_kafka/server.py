"""The sink's own pages: `/metrics`, `/livez`, `/readyz`, and nothing else.

For Prometheus and for an orchestrator's probes; loopback unless configured otherwise. It shows, it takes
nothing: only GET, and no token on any page. Whoever opens connections and says nothing cannot use up the
process's files, which Kafka and Splunk need: beyond `MAX_CONNECTIONS` the oldest is cut.

Non-obvious: what the pages ask the sink is asked on this server's threads, so the callables must be safe to
call from any thread.
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
from contextlib import suppress
from http import HTTPStatus
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import msgspec
from prometheus_client import make_wsgi_app  # pyright: ignore[reportUnknownVariableType] # a bare Callable

from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.logs import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from prometheus_client.registry import Collector

log = logging.getLogger("splunk_hec_kafka")

PATHS = ("/metrics", "/livez", "/readyz")
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
READ_TIMEOUT_S = 10  # a connection that says nothing holds a thread no longer
MAX_CONNECTIONS = 64
STOP_CHECK_S = 0.05  # how long `close` may wait for the accepting thread


class Registered(Protocol):
    """Has metrics to show: `Metrics`, or the merged ones of several processes."""

    @property
    def registry(self) -> Collector:
        """What is collected for a page."""
        ...


class Reason(msgspec.Struct, frozen=True):
    """Why records do not flow: a short stable code, a text for people, and since when (s since 1970)."""

    code: str
    text: str
    since: float


class Readiness(msgspec.Struct, frozen=True):
    """Whether records flow; not ready has at least one reason."""

    ready: bool
    reasons: tuple[Reason, ...] = ()

    def to_json(self) -> bytes:
        """The body of `/readyz`; times as RFC 3339, in UTC."""
        reasons = [
            {"code": reason.code, "text": reason.text, "since": rfc3339(reason.since)}
            for reason in self.reasons
        ]
        return msgspec.json.encode({"ready": self.ready, "reasons": reasons}) + b"\n"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a scraper that reads slowly cannot hold up the end of the process
    block_on_close = False
    request_queue_size = 2 * MAX_CONNECTIONS  # of 5, the default, a flood leaves no place for a probe

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._open: dict[socket.socket | None, None] = {}  # in the order they were opened
        self._guard = threading.Lock()  # of _open
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve it on a thread of its own; a probe is served whoever else holds connections."""
        with self._guard:
            self._open[request] = None
            oldest = next(iter(self._open)) if len(self._open) > MAX_CONNECTIONS else None
            self._open.pop(oldest, None)
        if oldest is not None:
            with suppress(OSError):  # its own thread, which then finds the end, closes it
                oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """It is served, or was cut."""
        with self._guard:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def server_bind(self) -> None:
        """Bind without asking a name server for this host's name, as the default does: it may hang."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 -- inherited
        """Log what broke a connection; the default prints a traceback to standard error."""
        log.debug("status page for %s failed: %r", client_address, sys.exc_info()[1])


class _Request(WSGIRequestHandler):
    timeout = READ_TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name is inherited
        """Leave probes and scrapes out of the log, but at debug."""
        log.debug("status page: " + format, *args)  # noqa: G003 -- the format comes from the base class


class StatusServer:
    """Serves the pages on threads of its own, from `start` to `close`. Both are called by one thread.

    Args:
        listen: `host:port`; port 0 picks one, which is logged. IPv6 hosts in brackets.
        metrics: what `/metrics` shows.
        is_alive: whether the loop turns; answers `/livez`. Called on any thread.
        readiness: whether records flow; answers `/readyz`. Called on any thread.
    """

    def __init__(
        self,
        listen: str,
        metrics: Registered,
        is_alive: Callable[[], bool],
        readiness: Callable[[], Readiness],
    ) -> None:
        self._listen = listen
        exposition = cast("WSGIApplication", make_wsgi_app(metrics.registry))
        self._app = status_pages(exposition, is_alive, readiness)
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on; 0 while it does not."""
        return self._server.server_port if self._server else 0

    def start(self) -> None:
        """Listen and serve.

        Raises:
            SinkFailure: exit code 3: the address is malformed or cannot be listened on.
        """
        try:
            where = urlsplit(f"//{self._listen}")
            host, port = where.hostname or "", where.port or 0
            server = make_server(host, port, self._app, server_class=_Server, handler_class=_Request)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SinkFailure(
                ExitCode.CONFIG,
                f"server.listen = {self._listen!r}: {reason}",
                "name a free HOST:PORT of this machine; port 0 picks one, an empty value serves no pages",
            ) from error
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, args=(STOP_CHECK_S,), name="status-pages", daemon=True
        )
        self._thread.start()
        shown = f"[{host}]" if ":" in host else host
        log.info("metrics and health on http://%s:%d: /metrics /livez /readyz", shown, self.port)

    def close(self) -> None:
        """Stop listening; idempotent."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = self._thread = None


def status_pages(
    metrics: WSGIApplication, is_alive: Callable[[], bool], readiness: Callable[[], Readiness]
) -> WSGIApplication:
    """The application: three pages, 404 for every other path, 405 for every method but GET."""

    def pages(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def answer(status: HTTPStatus, kind: str, body: bytes, *more: tuple[str, str]) -> list[bytes]:
            headers = [("Content-Type", kind), ("Content-Length", str(len(body))), *more]
            start_response(f"{status.value} {status.phrase}", headers)
            return [body]

        path = environ.get("PATH_INFO")
        if path not in PATHS:
            return answer(HTTPStatus.NOT_FOUND, TEXT, f"here are {' '.join(PATHS)}\n".encode())
        if environ["REQUEST_METHOD"] != "GET":
            return answer(HTTPStatus.METHOD_NOT_ALLOWED, TEXT, b"GET only\n", ("Allow", "GET"))
        if path == "/metrics":
            return metrics(environ, start_response)
        if path == "/livez":
            if is_alive():
                return answer(HTTPStatus.OK, TEXT, b"ok\n")
            return answer(HTTPStatus.SERVICE_UNAVAILABLE, TEXT, b"the loop stands still\n")
        now = readiness()
        return answer(HTTPStatus.OK if now.ready else HTTPStatus.SERVICE_UNAVAILABLE, JSON, now.to_json())

    return pages
