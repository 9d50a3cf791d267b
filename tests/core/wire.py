"""An HTTP server of plain sockets and threads that misbehaves on request.

    with WireServer(reply(200, b"{}"), reset_after_body()) as server:
        ...  # the first request gets a reply, the second a reset; later ones get what the last one got
        server.received[0].headers["authorization"]

A behaviour is a function of an `Exchange`; those below are the pathologies that HTTP clients meet.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

OK = b'{"text":"Success","code":0}'
DRIP_S = 0.05
PATIENCE_S = 30
"""How long a server waits for anything before it gives up: a guard, nothing is timed by it."""


@dataclass
class Received:
    """One request as it arrived; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    connection: int
    body: bytes = b""


@dataclass
class Exchange:
    """One request on one connection, in the hands of a behaviour."""

    sock: socket.socket
    server: WireServer
    connection: int
    start: bytes
    is_open: bool = True
    request: Received = field(init=False)

    def read_head(self) -> Received:
        """Read up to the empty line, and note the request."""
        head, rest = self.start, b""
        while b"\r\n\r\n" not in head:
            head += self._recv()
        head, _, rest = head.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.request = Received(method, target, headers, self.connection, rest)
        self.server.received.append(self.request)
        return self.request

    def read(self) -> Received:
        """Read the whole request."""
        request = self.read_head()
        body = bytearray(request.body)
        while len(body) < int(request.headers.get("content-length", "0")):
            body += self._recv()
        request.body = bytes(body)
        return request

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    def drip(self, data: bytes) -> None:
        """Send a byte each `DRIP_S`, until the client or the server leaves."""
        for at in range(len(data)):
            if self.server.stopping.wait(DRIP_S):
                return
            self.sock.sendall(data[at : at + 1])

    def hold(self) -> None:
        """Do nothing until the server stops."""
        self.server.stopping.wait(PATIENCE_S)
        self.is_open = False

    def close(self) -> None:
        """End the stream in the ordinary way."""
        self.is_open = False

    def reset(self) -> None:
        """Send a real RST: closing with a linger time of zero."""
        self.is_open = False
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # SSLSocket.close would do, but an RST must not be preceded by anything of TLS.
        socket.socket.close(self.sock)

    def _recv(self) -> bytes:
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("the client left")
        return data


Behaviour = Callable[[Exchange], None]


def reply(status: int = 200, body: bytes = OK, *headers: str) -> Behaviour:
    """An honest reply."""
    return verbatim(http(status, body, *headers))


def http(status: int, body: bytes, *headers: str) -> bytes:
    """The bytes of a reply; without a Content-Length among the headers, the right one is added."""
    lines = [f"HTTP/1.1 {status} Because", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def verbatim(data: bytes, *, closes: bool = False) -> Behaviour:
    """Exactly these bytes once the request is read; `closes`: then the end of the stream."""

    def behave(exchange: Exchange) -> None:
        exchange.read()
        exchange.send(data)
        if closes:
            exchange.close()

    return behave


def drip(prefix: bytes, data: bytes) -> Behaviour:
    """`prefix` at once, `data` byte by byte."""

    def behave(exchange: Exchange) -> None:
        exchange.read()
        exchange.send(prefix)
        exchange.drip(data)
        exchange.close()

    return behave


def reset_before_body() -> Behaviour:
    """RST as soon as the first bytes arrive."""
    return Exchange.reset


def reset_after_body() -> Behaviour:
    """RST once the whole request is read."""

    def behave(exchange: Exchange) -> None:
        exchange.read()
        exchange.reset()

    return behave


def close_after_body() -> Behaviour:
    """The end of the stream where a reply should be."""
    return verbatim(b"", closes=True)


def never_answer() -> Behaviour:
    """Read all, say nothing."""

    def behave(exchange: Exchange) -> None:
        exchange.read()
        exchange.hold()

    return behave


def never_read() -> Behaviour:
    """Take the first bytes, then read no more and say nothing."""
    return Exchange.hold


def early_reply(data: bytes) -> Behaviour:
    """Answer after the head, and close with the body unread: the kernel sends an RST."""

    def behave(exchange: Exchange) -> None:
        exchange.read_head()
        exchange.send(data)
        exchange.close()

    return behave


def tunnel() -> Behaviour:
    """Be a proxy: open what CONNECT names, then carry bytes both ways."""

    def behave(exchange: Exchange) -> None:
        host, _, port = exchange.read_head().target.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as far:
            exchange.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _carry(exchange, exchange.sock, far)
        exchange.close()

    return behave


def _carry(exchange: Exchange, near: socket.socket, far: socket.socket) -> None:
    while not exchange.server.stopping.is_set():
        waiting = isinstance(near, ssl.SSLSocket) and near.pending() > 0
        ready = [near] if waiting else select.select([near, far], [], [], DRIP_S)[0]
        for source in ready:
            data = source.recv(65536)
            if not data:
                return
            (far if source is near else near).sendall(data)


class WireServer:
    """Listens on 127.0.0.1; one thread accepts, one serves each connection; `stop` joins them all."""

    def __init__(self, *script: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self.stopping = threading.Event()
        self._script = list(script)
        self._tls = tls
        self._guard = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Wake and end every thread."""
        self.stopping.set()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            pass  # wakes accept
        with self._guard:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self.stopping.is_set():
                sock.close()
                return
            sock.settimeout(PATIENCE_S)
            self.connections += 1
            self._start(self._serve, sock, self.connections)

    def _serve(self, sock: socket.socket, connection: int) -> None:
        with contextlib.suppress(OSError):  # a client that leaves, or that a behaviour threw out
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            self._track(sock)
            if isinstance(sock, ssl.SSLSocket):
                _shake_hands(sock)
            is_open = True
            while is_open and (start := sock.recv(1024)):
                exchange = Exchange(sock, self, connection, start)
                self._next_behaviour()(exchange)
                is_open = exchange.is_open
        with self._guard:
            self._open.discard(sock)
        sock.close()

    def _track(self, sock: socket.socket) -> None:
        with self._guard:
            self._open.add(sock)
            if self.stopping.is_set():
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _next_behaviour(self) -> Behaviour:
        with self._guard:
            return self._script.pop(0) if len(self._script) > 1 else self._script[0]


def _shake_hands(sock: ssl.SSLSocket) -> None:
    try:
        sock.do_handshake()
    except ssl.SSLError:
        # Closing with the client's bytes unread would send an RST, which may overtake the alert.
        socket.socket.shutdown(sock, socket.SHUT_WR)
        raw = socket.socket(fileno=sock.detach())
        raw.settimeout(PATIENCE_S)
        with raw:
            while raw.recv(65536):
                pass
        raise


def unused_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
