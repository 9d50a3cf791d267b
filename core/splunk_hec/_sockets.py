"""Sockets that know the deadline of the request they carry, so no thread has to watch over them.

A time-out of requests or urllib3 bounds one call of the operating system, so a reply that drips a byte at
a time, or a peer that reads a byte at a time, holds a thread for hours. These sockets set their time-out to
what is left of the request's total before each call, unless it is that already to a hundredth of the total.
Guarantees: connecting, a proxy's CONNECT, the TLS handshake, sending and reading together end at the
deadline, or a hundredth of it later.

Not bounded: resolving a name (`getaddrinfo` takes no time-out; the resolver's own applies).

Non-obvious: within one `sendall` of a plain socket, and within one write or read of a TLS socket, CPython
itself counts the time-out as a total, so setting it once before the call is enough. Setting one is a call of
the operating system, for which the thread gives the GIL away and then has to wait for it; so it is not set
again where that changes nothing, neither by us nor by urllib3.
"""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, Literal, cast

from splunk_hec.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import ReadableBuffer, WriteableBuffer

    from splunk_hec.config import HecConfig

CONNECT_S = 10.0
"""Longest wait for one address: a dead host must not eat the time of the next one."""

Stage = Literal["idle", "resolving", "connecting", "handshaking", "tunnelling", "sent"]
"""How far a request got. Before `sent`, no byte of it can have left; what leaves while tunnelling is
CONNECT, which is the proxy's."""


class Flight:
    """The one request that is under way: its deadline and its stage. Owned by a transport, one thread."""

    def __init__(self) -> None:
        self.stage: Stage = "idle"
        self._due = self._slack_s = self._rest_s = 0.0

    def start(self, deadline_s: float) -> None:
        """A new request, which ends `deadline_s` seconds from now."""
        self.stage = "idle"
        self._due = time.monotonic() + deadline_s
        self._slack_s = deadline_s / 100

    def pause(self) -> None:
        """The request was sent, and its reply will be looked for later: no time passes until then."""
        self._rest_s = self._due - time.monotonic()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._due = time.monotonic() + self._rest_s

    def left_s(self) -> float:
        """Seconds left, above zero.

        Raises:
            TimeoutError: None.
        """
        left = self._due - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request's deadline is over")
        return left

    def arm(self, sock: socket.socket) -> None:
        """Let the next call on `sock` end at the deadline.

        Raises:
            TimeoutError: No time is left.
        """
        left = self.left_s()
        set_s = sock.gettimeout()
        if set_s is None or abs(set_s - left) > self._slack_s:
            sock.settimeout(left)


class DeadlineSocket(socket.socket):
    """A TCP socket whose every call ends at its flight's deadline."""

    flight: Flight

    def settimeout(self, value: float | None, /) -> None:
        """As socket.settimeout."""
        if value != self.gettimeout():
            super().settimeout(value)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """As socket.recv."""
        self.flight.arm(self)
        return super().recv(bufsize, flags)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """As socket.recv_into; http.client reads through it."""
        self.flight.arm(self)
        return super().recv_into(buffer, nbytes, flags)

    def send(self, data: ReadableBuffer, flags: int = 0, /) -> int:
        """As socket.send."""
        self.flight.arm(self)
        return super().send(data, flags)

    def sendall(self, data: ReadableBuffer, flags: int = 0, /) -> None:
        """As socket.sendall."""
        self.flight.arm(self)
        super().sendall(data, flags)

    def send_together(self, parts: Sequence[bytes]) -> None:
        """As `sendall` of all parts joined, without joining them; most often one call."""
        self.flight.arm(self)
        sent = self.sendmsg(parts)
        for part in parts:
            if sent < len(part):
                self.sendall(memoryview(part)[sent:])
            sent = max(0, sent - len(part))


class TlsContext(ssl.SSLContext):
    """A context whose sockets know the flight, from the handshake on."""

    flight: Flight


class DeadlineTlsSocket(ssl.SSLSocket):
    """A TLS socket whose every call ends at its flight's deadline. `sendall` is a loop over `send`."""

    def settimeout(self, value: float | None, /) -> None:
        """As ssl.SSLSocket.settimeout."""
        if value != self.gettimeout():
            super().settimeout(value)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """As ssl.SSLSocket.recv."""
        self._arm()
        return super().recv(buflen, flags)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        """As ssl.SSLSocket.recv_into; http.client reads through it."""
        self._arm()
        return super().recv_into(buffer, nbytes, flags)

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """As ssl.SSLSocket.send."""
        self._arm()
        return super().send(data, flags)

    def do_handshake(self, block: bool = False) -> None:
        """As ssl.SSLSocket.do_handshake."""
        cast("TlsContext", self.context).flight.stage = "handshaking"
        self._arm()
        super().do_handshake(block)

    def _arm(self) -> None:
        cast("TlsContext", self.context).flight.arm(self)


def open_socket(host: str, port: int, flight: Flight) -> DeadlineSocket:
    """Connect to the first address of `host` that answers; all of them share the flight's deadline.

    Raises:
        OSError: What the last address failed with; socket.gaierror: there is no address.
    """
    flight.stage = "resolving"
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    flight.stage = "connecting"
    failure = OSError("no address")
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        patience_s = min(CONNECT_S, flight.left_s() / (len(addresses) - tried))
        sock = DeadlineSocket(family, kind, protocol)
        sock.flight = flight
        try:
            # Where headers and body are two writes, the body would wait for a delayed ACK without this.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(patience_s)
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def tls_context(config: HecConfig, flight: Flight, bundle: str, *, is_for_proxy: bool = False) -> TlsContext:
    """What we trust, and who we say we are.

    Args:
        config: verify, ca_file, client_cert and client_key are read.
        flight: Handed to each socket.
        bundle: File of the CAs that are trusted where `ca_file` is empty.
        is_for_proxy: A proxy is not shown the client certificate.

    Raises:
        ConfigError: A file cannot be read or used.
    """
    context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
    context.flight = flight
    context.sslsocket_class = DeadlineTlsSocket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not config.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        try:
            context.load_verify_locations(config.ca_file or bundle)
        except OSError as error:
            place = f"ca_file {config.ca_file!r}" if config.ca_file else f"the CA bundle {bundle!r}"
            raise ConfigError(
                f"{place} is no readable PEM file ({_why(error)}); give a file of CAs"
            ) from None
    if config.client_cert and not is_for_proxy:
        _show_certificate(context, config)
    return context


def _show_certificate(context: ssl.SSLContext, config: HecConfig) -> None:
    context.post_handshake_auth = True  # TLS 1.3 servers may ask for it only once they know the path
    key = config.client_key or None
    try:
        # With any password given, OpenSSL never asks for one on the terminal.
        context.load_cert_chain(config.client_cert, key, password="")
    except OSError as error:
        files = f"client_cert {config.client_cert!r}" + (f" with client_key {key!r}" if key else "")
        raise ConfigError(
            f"{files} cannot be used ({_why(error)}); both must be PEM, belong together, and the key must"
            " not be encrypted"
        ) from None


def _why(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or type(error).__name__
