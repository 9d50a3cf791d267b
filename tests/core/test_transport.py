"""The transport over real sockets: each way a server, proxy or network can fail ends as a value, in time."""

from __future__ import annotations

import base64
import gzip
import logging
import socket
import ssl
import struct
import threading
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import trustme
import wire

from splunk_hec import _connections, _sockets, _transport
from splunk_hec._connections import SHORT_BYTES
from splunk_hec._faults import explain
from splunk_hec._protocol import Reply, Request, TransportError
from splunk_hec._transport import REPLY_BYTES, RequestsTransport
from splunk_hec.config import HecConfig
from splunk_hec.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(60)

TOKEN = "7b0c6a52-secret-token"
PASSWORD = "s3cr3t-password"
SHORT_S = 0.3
HUGE = b"x" * 50_000_000
TCPI_DATA_SEGS_IN = 152
"""Its place in Linux's struct tcp_info."""


@pytest.fixture
def serve() -> Iterator[Callable[..., wire.WireServer]]:
    """Start servers that end with the test."""
    with ExitStack() as stack:
        yield lambda *script, **kwargs: stack.enter_context(wire.WireServer(*script, **kwargs))


@pytest.fixture
def make() -> Iterator[Callable[..., RequestsTransport]]:
    """Make transports that are closed with the test."""
    with ExitStack() as stack:

        def make_one(url: str, **settings: Any) -> RequestsTransport:
            transport = RequestsTransport(HecConfig(url=url, token=TOKEN, **settings))
            stack.callback(transport.close)
            return transport

        yield make_one


@dataclass
class Trust:
    """A CA, its certificate in a file, and servers that have theirs from it."""

    ca: trustme.CA
    file: str

    def server(self, host: str = "127.0.0.1", **kwargs: Any) -> ssl.SSLContext:
        """The server side of TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(host, **kwargs).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """Whom the tests' clients trust."""
    made = Trust(trustme.CA(), str(tmp_path_factory.mktemp("ca") / "ca.pem"))
    made.ca.cert_pem.write_to_path(made.file)
    return made


def post(
    transport: RequestsTransport, url: str, body: bytes = b"{}", *, channel: str = "C", deadline_s: float = 20
) -> Reply | TransportError:
    """One request as the worker builds it."""
    headers = {"Authorization": f"Splunk {TOKEN}", "User-Agent": "splunk-hec-sink"}
    return transport.send(Request(url, "/services/collector/event", headers, body, channel, deadline_s))


def failure(result: Reply | TransportError, kind: str) -> TransportError:
    """The failure, checked for what holds of each: a line, without secrets."""
    assert isinstance(result, TransportError), result
    assert result.kind == kind, result
    assert result.text.isprintable()
    assert TOKEN not in repr(result)
    assert PASSWORD not in repr(result)
    return result


# -- the ordinary way --------------------------------------------------------------------------------------


def test_request_and_reply(serve: Any, make: Any) -> None:
    """Body, headers, path and query arrive as given; status, body and Retry-After come back as sent."""
    server = serve(wire.reply(503, b'{"text":"Server is busy","code":9}', "Retry-After: 7"))
    transport = make(server.url)
    headers = {"Authorization": f"Splunk {TOKEN}", "X-Splunk-Request-Channel": "C", "User-Agent": "sink"}
    path = "/services/collector/raw?index=main&source=a%20b"
    result = transport.send(Request(server.url, path, headers, b"\x00\xff" * 999, "C", 20))
    assert result == Reply(503, b'{"text":"Server is busy","code":9}', "7")
    (received,) = server.received
    assert (received.method, received.target, received.body) == ("POST", path, b"\x00\xff" * 999)
    assert received.headers["authorization"] == f"Splunk {TOKEN}"
    assert received.headers["user-agent"] == "sink"
    assert received.headers["accept-encoding"] == "identity"


def test_empty_body(serve: Any, make: Any) -> None:
    """The empty probe is sent with a length of 0, and an empty reply leaves the connection usable."""
    server = serve(wire.reply(200, b""))
    transport = make(server.url)
    assert post(transport, server.url, b"") == Reply(200, b"")
    assert post(transport, server.url, b"") == Reply(200, b"")
    assert server.received[0].headers["content-length"] == "0"
    assert server.connections == 1


def test_keep_alive(serve: Any, make: Any) -> None:
    """All requests of a lane share one connection."""
    server = serve(wire.reply())
    transport = make(server.url)
    for _ in range(5):
        assert post(transport, server.url) == Reply(200, wire.OK)
    assert server.connections == 1


@pytest.mark.parametrize("size", [0, 300, SHORT_BYTES // 2])
def test_a_short_request_leaves_in_one_piece(serve: Any, make: Any, size: int) -> None:
    """A poll is one packet, headers and body."""
    segments: list[int] = []

    def count(exchange: wire.Exchange) -> None:
        exchange.read()
        info = exchange.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
        segments.extend(struct.unpack_from("=I", info, TCPI_DATA_SEGS_IN))
        exchange.send(wire.http(200, wire.OK))

    server = serve(count)
    assert post(make(server.url), server.url, b"x" * size) == Reply(200, wire.OK)
    assert server.received[0].body == b"x" * size
    assert segments == [1]


@pytest.mark.parametrize("has_tls", [False, True])
def test_a_body_larger_than_all_buffers_arrives_whole(
    serve: Any, make: Any, trust: Trust, has_tls: bool
) -> None:
    """What the system takes in parts arrives in order, each byte once."""
    body = b"".join(number.to_bytes(8, "big") for number in range(2_000_000))
    server = serve(wire.reply(), tls=trust.server() if has_tls else None)
    assert post(make(server.url, ca_file=trust.file), server.url, body) == Reply(200, wire.OK)
    assert server.received[0].body == body


def test_idle_connection_closed(serve: Any, make: Any) -> None:
    """A connection that the server closed while it was idle is replaced, and nothing is sent twice."""
    server = serve(wire.verbatim(wire.http(200, wire.OK), closes=True), wire.reply())
    transport = make(server.url)
    assert post(transport, server.url) == Reply(200, wire.OK)
    (idle,) = (pool.pool.queue[-1] for pool in _pools(transport))
    assert _eventually(lambda: not idle.is_connected)
    assert post(transport, server.url) == Reply(200, wire.OK)
    assert len(server.received) == 2


def test_no_threads(serve: Any, make: Any, trust: Trust) -> None:
    """A transport starts no thread, not even to watch the deadline."""
    server = serve(wire.reply(), wire.never_answer(), tls=trust.server())
    transport = make(server.url, ca_file=trust.file)
    started: list[str] = []
    run = threading.Thread.start
    ours = threading.current_thread()

    def note(thread: threading.Thread) -> None:
        if threading.current_thread() is ours:
            started.append(thread.name)
        run(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", note)
        assert post(transport, server.url) == Reply(200, wire.OK)
        failure(post(transport, server.url, deadline_s=SHORT_S), "timeout")
    assert started == []


def test_compressed_reply(serve: Any, make: Any) -> None:
    """A reply that something between compressed is opened, and one that only says so is returned as is."""
    packed = gzip.compress(wire.OK)
    coding = "Content-Encoding: gzip"
    server = serve(wire.reply(200, packed, coding), wire.reply(200, b"plain", coding))
    transport = make(server.url)
    assert post(transport, server.url) == Reply(200, wire.OK)
    assert post(transport, server.url) == Reply(200, b"plain")


@pytest.mark.parametrize(
    "answer",
    [
        wire.http(200, b"x" * (2 * REPLY_BYTES)),
        wire.http(200, b"x" * (2 * REPLY_BYTES), "Content-Type: text/html").replace(b"Content-Length", b"X"),
        wire.http(200, gzip.compress(b"x" * (2 * REPLY_BYTES)), "Content-Encoding: gzip"),
        wire.http(302, b"x" * (2 * REPLY_BYTES), "Location: /elsewhere"),
    ],
)
def test_long_reply(serve: Any, make: Any, answer: bytes) -> None:
    """A reply over 1 MiB is not read on: it is unknown, and its connection is not used again."""
    server = serve(wire.verbatim(answer, closes=b"X: " in answer), wire.reply())
    transport = make(server.url)
    assert failure(post(transport, server.url), "too_long").maybe_sent
    assert post(transport, server.url) == Reply(200, wire.OK)
    assert server.connections == 2


def test_longest_reply(serve: Any, make: Any) -> None:
    """A reply of exactly 1 MiB is returned."""
    server = serve(wire.reply(200, b"x" * REPLY_BYTES))
    assert post(make(server.url), server.url) == Reply(200, b"x" * REPLY_BYTES)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect(serve: Any, make: Any, status: int) -> None:
    """A redirect is a reply like others: following it would show the token to another server."""
    elsewhere = serve(wire.reply())
    server = serve(wire.reply(status, b"moved", f"Location: {elsewhere.url}/services/collector/event"))
    assert post(make(server.url), server.url) == Reply(status, b"moved")
    assert elsewhere.received == []


def test_html(serve: Any, make: Any) -> None:
    """A 200 that is a page is handed on as it is: judging is not the transport's."""
    server = serve(wire.reply(200, b"<html>log in</html>", "Content-Type: text/html"))
    assert post(make(server.url), server.url) == Reply(200, b"<html>log in</html>")


# -- cookies and environment -------------------------------------------------------------------------------


def test_cookies_by_channel(serve: Any, make: Any) -> None:
    """Each channel has cookies of its own, a new one none, and a forgotten one starts anew."""
    server = serve(
        wire.reply(200, wire.OK, "Set-Cookie: node=one"),
        wire.reply(200, wire.OK, "Set-Cookie: node=two"),
        wire.reply(),
    )
    transport = make(server.url)
    for channel in ("A", "B", "A", "B"):
        post(transport, server.url, channel=channel)
    transport.forget("A")
    transport.forget("never used")
    for channel in ("A", "B"):
        post(transport, server.url, channel=channel)
    cookies = [received.headers.get("cookie") for received in server.received]
    assert cookies == [None, None, "node=one", "node=two", None, "node=two"]
    assert "1 cookie jars" in repr(transport)


def test_netrc(serve: Any, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ~/.netrc entry for the host does not replace our Authorization header."""
    for name in (".netrc", "netrc"):
        (tmp_path / name).write_text("default login someone password else\n")
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server = serve(wire.reply())
    post(make(server.url), server.url)
    assert server.received[0].headers["authorization"] == f"Splunk {TOKEN}"


def test_environment_ca(serve: Any, make: Any, trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CA named by the environment is not trusted: only the configuration says whom we trust."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, trust.file)
    server = serve(wire.reply(), tls=trust.server())
    failure(post(make(server.url), server.url), "tls")


def test_any_number_of_addresses_is_kept_in_bounded_memory(
    serve: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metadata of the raw endpoint may make every address a new one: few of them are remembered."""
    monkeypatch.setattr(_connections, "MAX_WAYS", 3)
    server = serve(wire.reply())
    transport = make(server.url)
    for number in range(10):
        path = f"/services/collector/raw?source={number}"
        assert isinstance(
            transport.send(Request(server.url, path, {"User-Agent": "x"}, b"{}", "C", 20)), Reply
        )
        assert len(transport._adapter._ways) <= 3


def test_environment_proxy(serve: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxy is used if and only if `proxy` says so, and NO_PROXY is honoured then."""
    proxy, server = serve(wire.reply(200, b"by the proxy")), serve(wire.reply())
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy.url.removeprefix("http://"))
    assert post(make(server.url), server.url) == Reply(200, wire.OK)
    assert post(make(server.url, proxy="env"), server.url) == Reply(200, b"by the proxy")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert post(make(server.url, proxy="env"), server.url) == Reply(200, wire.OK)


def test_environment_proxy_of_another_kind(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SOCKS proxy in the environment, whose sockets would not know the deadline, is refused at once."""
    monkeypatch.setenv("http_proxy", f"socks5://me:{PASSWORD}@127.0.0.1:1080")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(ConfigError, match="environment's proxy") as caught:
        make("http://127.0.0.1:8088", proxy="env")
    assert PASSWORD not in str(caught.value)


# -- proxies -----------------------------------------------------------------------------------------------


def _with_password(url: str) -> str:
    return url.replace("://", f"://me:{PASSWORD}@")


@pytest.mark.parametrize("proxy_speaks_tls", [False, True])
def test_proxy_for_http(serve: Any, make: Any, trust: Trust, proxy_speaks_tls: bool) -> None:
    """Plain HTTP goes to the proxy with the whole URL and the proxy's own authorization beside ours."""
    proxy = serve(wire.reply(), tls=trust.server() if proxy_speaks_tls else None)
    transport = make("http://splunk.invalid:8088", proxy=_with_password(proxy.url), ca_file=trust.file)
    assert post(transport, "http://splunk.invalid:8088") == Reply(200, wire.OK)
    (received,) = proxy.received
    assert received.target == "http://splunk.invalid:8088/services/collector/event"
    basic = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert received.headers["proxy-authorization"] == f"Basic {basic}"
    assert received.headers["authorization"] == f"Splunk {TOKEN}"
    assert PASSWORD not in repr(transport)


@pytest.mark.parametrize("proxy_speaks_tls", [False, True])
def test_proxy_for_https(serve: Any, make: Any, trust: Trust, proxy_speaks_tls: bool) -> None:
    """HTTPS goes through a tunnel, and the proxy sees nothing of our headers."""
    server = serve(wire.reply(), tls=trust.server())
    proxy = serve(wire.tunnel(), tls=trust.server() if proxy_speaks_tls else None)
    transport = make(server.url, ca_file=trust.file, proxy=_with_password(proxy.url))
    assert post(transport, server.url, b"x" * 300_000) == Reply(200, wire.OK)
    assert post(transport, server.url) == Reply(200, wire.OK)
    (connect,) = proxy.received
    assert connect.target == server.url.removeprefix("https://")
    assert "authorization" not in connect.headers
    assert len(server.received[0].body) == 300_000
    assert server.connections == proxy.connections == 1


def test_proxy_refuses(serve: Any, make: Any) -> None:
    """A proxy that refuses the tunnel kept the request from leaving, and says why."""
    proxy = serve(wire.verbatim(b"HTTP/1.1 407 Who are you\r\n\r\n", closes=True))
    transport = make("https://127.0.0.1:8088", proxy=_with_password(proxy.url))
    refused = failure(post(transport, "https://127.0.0.1:8088"), "connect")
    assert not refused.maybe_sent
    assert "407 Who are you" in refused.text
    assert "***" in refused.text


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_absent(make: Any, scheme: str) -> None:
    """A proxy that is not there is named, not the server behind it."""
    proxy = f"http://127.0.0.1:{wire.unused_port()}"
    transport = make(f"{scheme}://127.0.0.1:8088", proxy=_with_password(proxy))
    refused = failure(post(transport, f"{scheme}://127.0.0.1:8088"), "connect")
    assert not refused.maybe_sent
    assert "the proxy" in refused.text


def test_proxy_hangs(serve: Any, make: Any) -> None:
    """A proxy that never answers CONNECT ends at the deadline, with nothing sent."""
    proxy = serve(wire.never_answer())
    transport = make("https://127.0.0.1:8088", proxy=proxy.url)
    late = failure(post(transport, "https://127.0.0.1:8088", deadline_s=SHORT_S), "timeout")
    assert not late.maybe_sent
    assert "tunnel" in late.text


def test_proxy_drips(serve: Any, make: Any) -> None:
    """A proxy that drips its answer to CONNECT ends at the deadline."""
    proxy = serve(wire.drip(b"HTTP/1.1 200 OK\r\n", b"X-Slow: yes\r\n" * 50))
    transport = make("https://127.0.0.1:8088", proxy=proxy.url)
    late = failure(post(transport, "https://127.0.0.1:8088", deadline_s=SHORT_S), "timeout")
    assert not late.maybe_sent


def test_silent_server_behind_tls_proxy(serve: Any, make: Any, trust: Trust) -> None:
    """The deadline also holds for TLS within TLS, in the inner handshake and while waiting."""
    proxy = serve(wire.tunnel(), tls=trust.server())
    mute = serve(wire.never_read())
    transport = make(f"https://127.0.0.1:{mute.port}", ca_file=trust.file, proxy=proxy.url)
    late = post(transport, f"https://127.0.0.1:{mute.port}", deadline_s=SHORT_S)
    assert not failure(late, "timeout").maybe_sent
    server = serve(wire.never_answer(), tls=trust.server())
    transport = make(server.url, ca_file=trust.file, proxy=proxy.url)
    assert failure(post(transport, server.url, deadline_s=SHORT_S), "timeout").maybe_sent


# -- the total deadline ------------------------------------------------------------------------------------

HEAD, JSON = wire.http(200, wire.OK * 20).split(b"\r\n\r\n")


@pytest.mark.parametrize("over_tls", [False, True])
@pytest.mark.parametrize(
    "behaviour",
    [
        wire.drip(b"", b"HTTP/1.1 200 " + b"O" * 200),
        wire.drip(b"HTTP/1.1 200 OK\r\n", b"X-Slow: yes\r\n" * 50),
        wire.drip(HEAD + b"\r\n\r\n", JSON),
        wire.drip(b"HTTP/1.1 200 OK\r\n\r\n", JSON),
        wire.drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 50),
        wire.never_answer(),
    ],
    ids=["status", "headers", "body", "endless body", "chunks", "silence"],
)
def test_slow_reply(serve: Any, make: Any, trust: Trust, behaviour: wire.Behaviour, over_tls: bool) -> None:
    """However slowly a reply drips, the request ends at its deadline, as unknown."""
    server = serve(behaviour, tls=trust.server() if over_tls else None)
    transport = make(server.url, ca_file=trust.file)
    assert failure(post(transport, server.url, deadline_s=SHORT_S), "timeout").maybe_sent


@pytest.mark.parametrize("over_tls", [False, True])
def test_never_reading_server(serve: Any, make: Any, trust: Trust, over_tls: bool) -> None:
    """A body that nobody reads ends at the deadline, as unknown."""
    server = serve(wire.never_read(), tls=trust.server() if over_tls else None)
    transport = make(server.url, ca_file=trust.file)
    assert failure(post(transport, server.url, HUGE, deadline_s=SHORT_S), "timeout").maybe_sent


def test_hanging_handshake(serve: Any, make: Any, trust: Trust) -> None:
    """A peer that accepts and never shakes hands ends at the deadline, with nothing sent."""
    server = serve(wire.never_read())
    url = f"https://127.0.0.1:{server.port}"
    late = failure(post(make(url, ca_file=trust.file), url, deadline_s=SHORT_S), "timeout")
    assert not late.maybe_sent
    assert "handshake" in late.text


def test_deadline_of_each_request(serve: Any, make: Any) -> None:
    """A reused connection obeys the deadline of the new request, not that of the one that opened it."""
    server = serve(wire.reply(), wire.never_answer(), wire.reply())
    transport = make(server.url)
    assert post(transport, server.url, deadline_s=20) == Reply(200, wire.OK)
    failure(post(transport, server.url, deadline_s=SHORT_S), "timeout")
    assert post(transport, server.url, deadline_s=20) == Reply(200, wire.OK)


def test_spent_deadline(serve: Any, make: Any) -> None:
    """A deadline that is over before the connection stands sends nothing."""
    server = serve(wire.reply())
    assert not failure(post(make(server.url), server.url, deadline_s=1e-9), "timeout").maybe_sent
    assert server.received == []


@pytest.mark.parametrize(
    "call",
    [
        lambda sock: sock.recv(1),
        lambda sock: sock.recv_into(bytearray(1)),
        lambda sock: sock.send(HUGE) and sock.send(HUGE),
        lambda sock: sock.sendall(HUGE),
    ],
    ids=["recv", "recv_into", "send", "sendall"],
)
@pytest.mark.parametrize("deadline_s", [1e-9, SHORT_S])
def test_socket_calls(call: Callable[[_sockets.DeadlineSocket], object], deadline_s: float) -> None:
    """Every call that can block ends at the deadline, be it over already or not."""
    near, far = socket.socketpair()
    with far, _sockets.DeadlineSocket(fileno=near.detach()) as sock:
        sock.flight = _sockets.Flight()
        sock.flight.start(deadline_s)
        with pytest.raises(TimeoutError):
            call(sock)


@pytest.mark.parametrize(("set_s", "armed_s"), [(None, 1e4), (9850, 1e4), (10150, 1e4), (9950, 9950)])
def test_a_time_out_is_set_where_it_changes_something(set_s: float | None, armed_s: float) -> None:
    """A time-out within a hundredth of the deadline stays as it is; any other becomes what is left."""
    with _sockets.DeadlineSocket() as sock:
        flight = _sockets.Flight()
        flight.start(1e4)
        sock.settimeout(set_s)
        flight.arm(sock)
        found = sock.gettimeout()
        assert found == pytest.approx(armed_s, abs=40)
        assert (found == set_s) == (armed_s == set_s)


@pytest.mark.parametrize(
    "call",
    [lambda sock: sock.recv(1), lambda sock: sock.recv_into(bytearray(1)), lambda sock: sock.sendall(HUGE)],
    ids=["recv", "recv_into", "sendall"],
)
def test_tls_socket_calls(
    serve: Any, trust: Trust, call: Callable[[_sockets.DeadlineSocket], object]
) -> None:
    """The same holds over TLS, whatever time-out was set before."""
    server = serve(wire.never_read(), tls=trust.server())
    flight, context = _flight_over_tls(trust)
    plain = _sockets.open_socket("127.0.0.1", server.port, flight)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as sock:
        sock.settimeout(None)
        flight.start(SHORT_S)
        with pytest.raises(TimeoutError):
            call(sock)


def test_handshake_call(trust: Trust) -> None:
    """The handshake ends at the deadline, whatever time-out was set before."""
    near, far = socket.socketpair()
    flight, context = _flight_over_tls(trust)
    flight.start(SHORT_S)
    with far, pytest.raises(TimeoutError):
        context.wrap_socket(near, server_hostname="127.0.0.1")


def _flight_over_tls(trust: Trust) -> tuple[_sockets.Flight, _sockets.TlsContext]:
    flight = _sockets.Flight()
    flight.start(20)
    config = HecConfig(url="https://127.0.0.1:1", token=TOKEN)
    return flight, _sockets.tls_context(config, flight, trust.file)


def test_second_address(serve: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that refuses gives way to the host's next one."""
    server = serve(wire.reply())
    resolve = socket.getaddrinfo

    def two_addresses(host: str, port: int, **kwargs: Any) -> Any:
        return resolve("127.0.0.1", wire.unused_port(), **kwargs) + resolve("127.0.0.1", port, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    assert post(make(server.url), server.url) == Reply(200, wire.OK)


@pytest.mark.parametrize(("deadline_s", "longest_s"), [(3, 1), (3000, _sockets.CONNECT_S)])
def test_patience_with_an_address(
    make: Any, monkeypatch: pytest.MonkeyPatch, deadline_s: float, longest_s: float
) -> None:
    """No address is waited for longer than its share of the deadline, nor longer than CONNECT_S."""
    waits: list[float | None] = []

    def fail(sock: socket.socket, _: object) -> None:
        waits.append(sock.gettimeout())
        raise TimeoutError

    resolve = socket.getaddrinfo
    monkeypatch.setattr(_sockets.DeadlineSocket, "connect", fail)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: resolve(*args, **kwargs) * 3)
    failure(post(make("http://127.0.0.1:1"), "http://127.0.0.1:1", deadline_s=deadline_s), "timeout")
    assert len(waits) == 3
    assert waits[0] is not None
    assert waits[0] <= longest_s


def test_addresses_share_the_deadline(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses that swallow every packet share the one deadline, however many they are."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with ExitStack() as stack:
            # A full backlog: Linux then drops further SYNs, as a firewall would.
            for _ in range(2):
                sock = stack.enter_context(socket.socket())
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", port))
            resolve = socket.getaddrinfo
            monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: resolve(*args, **kwargs) * 3)
            url = f"http://127.0.0.1:{port}"
            late = failure(post(make(url), url, deadline_s=SHORT_S), "timeout")
    assert not late.maybe_sent
    assert "no connection" in late.text


# -- broken connections ------------------------------------------------------------------------------------


@pytest.mark.parametrize("over_tls", [False, True])
@pytest.mark.parametrize(
    "behaviour",
    [wire.reset_before_body(), wire.reset_after_body(), wire.close_after_body()],
    ids=["RST before", "RST after", "FIN after"],
)
def test_broken_connection(
    serve: Any, make: Any, trust: Trust, behaviour: wire.Behaviour, over_tls: bool
) -> None:
    """A connection that breaks once we sent something is unknown, and sent once."""
    server = serve(behaviour, tls=trust.server() if over_tls else None)
    transport = make(server.url, ca_file=trust.file)
    assert failure(post(transport, server.url, HUGE[:1_000_000]), "reset").maybe_sent
    assert server.connections == 1


def test_reset_on_a_reused_connection(serve: Any, make: Any) -> None:
    """An RST on a connection that worked before is unknown too: nothing is repeated behind our back."""
    server = serve(wire.reply(), wire.reset_after_body(), wire.reply())
    transport = make(server.url)
    post(transport, server.url, b"one")
    assert failure(post(transport, server.url, b"two"), "reset").maybe_sent
    assert post(transport, server.url, b"three") == Reply(200, wire.OK)
    assert [received.body for received in server.received] == [b"one", b"two", b"three"]


def test_cut_in_status(serve: Any, make: Any) -> None:
    """A reply cut inside its status is unknown."""
    server = serve(wire.verbatim(b"HTTP/1.1 2", closes=True))
    assert failure(post(make(server.url), server.url), "other").maybe_sent


def test_cut_in_headers(serve: Any, make: Any) -> None:
    """http.client takes a reply cut in its headers for an empty 200; it is passed on as that."""
    server = serve(wire.verbatim(b"HTTP/1.1 200 OK\r\nContent-Ty", closes=True))
    assert post(make(server.url), server.url) == Reply(200, b"")


@pytest.mark.parametrize("over_tls", [False, True])
@pytest.mark.parametrize(
    "answer",
    [
        wire.http(200, wire.OK, "Content-Length: 999"),
        wire.http(200, b"8\r\nhalf", "Transfer-Encoding: chunked"),
        wire.http(200, b"", "Content-Length: 27"),
    ],
    ids=["length", "chunk", "nothing of it"],
)
def test_cut_body(serve: Any, make: Any, trust: Trust, answer: bytes, over_tls: bool) -> None:
    """A body shorter than announced is never taken for a reply."""
    server = serve(wire.verbatim(answer, closes=True), tls=trust.server() if over_tls else None)
    assert failure(post(make(server.url, ca_file=trust.file), server.url), "cut").maybe_sent


def test_cut_body_of_unknown_length(serve: Any, make: Any) -> None:
    """Without a length nobody can see a cut: half a JSON comes through, for the judge to find unreadable."""
    server = serve(wire.verbatim(b'HTTP/1.1 200 OK\r\n\r\n{"text":"Succ', closes=True))
    assert post(make(server.url), server.url) == Reply(200, b'{"text":"Succ')


def test_early_413(serve: Any, make: Any) -> None:
    """A 413 that comes before the body is read, followed by an RST, is still read as a 413."""
    server = serve(wire.early_reply(wire.http(413, b"<html>too large</html>")))
    assert post(make(server.url), server.url, HUGE) == Reply(413, b"<html>too large</html>")


def test_not_http(serve: Any, make: Any) -> None:
    """A peer that speaks something else is unknown, and the text says where to look."""
    server = serve(wire.verbatim(b"220 mail.example ESMTP\r\n", closes=True))
    assert "did not answer in HTTP" in failure(post(make(server.url), server.url), "other").text


# -- no connection -----------------------------------------------------------------------------------------


def test_refused(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port where nobody listens is tried once; nothing was sent, and the text names host and port."""
    url = f"http://127.0.0.1:{wire.unused_port()}"
    tries: list[object] = []
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kw: tries.append(args) or resolve(*args, **kw))
    refused = failure(post(make(url), url), "connect")
    assert len(tries) == 1
    assert not refused.maybe_sent
    assert url in refused.text


def test_reset_while_connecting(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reset in the middle of connecting is not taken for one in the middle of a request."""

    def reset(*_: object) -> None:
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(_sockets.DeadlineSocket, "connect", reset)
    refused = failure(post(make("http://127.0.0.1:1"), "http://127.0.0.1:1"), "connect")
    assert not refused.maybe_sent


@pytest.mark.parametrize("proxy", ["", "http://proxy.invalid:3128"])
def test_unknown_host(make: Any, proxy: str) -> None:
    """A name that does not resolve, ours or the proxy's: nothing was sent."""
    unknown = failure(
        post(make("http://splunk.invalid:8088", proxy=proxy), "http://splunk.invalid:8088"), "dns"
    )
    assert not unknown.maybe_sent
    assert ("proxy" if proxy else "url") in unknown.text


def test_impossible_header(make: Any) -> None:
    """A token that is no header value fails without being shown."""
    transport = make("http://127.0.0.1:1")
    for token in (f"Splunk {TOKEN}\n{TOKEN}", f"Splunk {TOKEN} \u20ac"):
        request = Request("http://127.0.0.1:1", "/", {"Authorization": token}, b"{}", "C", 5)
        assert transport.send(request).maybe_sent is False


def test_impossible_header_on_a_connection(serve: Any, make: Any) -> None:
    """A header that only the wire finds impossible fails without a byte sent, and without being shown."""
    server = serve(wire.reply())
    transport = make(server.url)
    request = Request(server.url, "/", {"Authorization": f"{TOKEN} \u20ac"}, b"{}", "C", 5)
    for sent in (0, 1):
        assert not failure(transport.send(request), "other").maybe_sent
        assert len(server.received) == sent
        post(transport, server.url)


# -- TLS ---------------------------------------------------------------------------------------------------


def test_trusted(serve: Any, make: Any, trust: Trust) -> None:
    """A certificate of the configured CA is accepted, and the connection is kept."""
    server = serve(wire.reply(), tls=trust.server())
    transport = make(server.url, ca_file=trust.file)
    assert post(transport, server.url) == Reply(200, wire.OK)
    assert post(transport, server.url, HUGE[:3_000_000]) == Reply(200, wire.OK)
    assert server.connections == 1


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"host": "other.example"}, "another host"),
        ({"host": "10.9.8.7"}, "another host"),
        (
            {
                "not_before": datetime.now(UTC) - timedelta(days=9),
                "not_after": datetime.now(UTC) - timedelta(days=1),
            },
            "expired",
        ),
        (
            {
                "not_before": datetime.now(UTC) + timedelta(days=1),
                "not_after": datetime.now(UTC) + timedelta(days=9),
            },
            "not valid yet",
        ),
    ],
    ids=["other name", "other address", "expired", "not yet"],
)
def test_bad_certificate(serve: Any, make: Any, trust: Trust, names: dict[str, Any], expected: str) -> None:
    """A certificate that does not hold is refused before anything is sent, each with its own hint."""
    server = serve(wire.reply(), tls=trust.server(**names))
    refused = failure(post(make(server.url, ca_file=trust.file), server.url), "tls")
    assert not refused.maybe_sent
    assert expected in refused.text
    assert server.received == []


def test_only_the_given_ca(serve: Any, make: Any, trust: Trust, tmp_path: Path) -> None:
    """With a ca_file only that CA counts, without one only the public ones."""
    stranger = trustme.CA()
    stranger.cert_pem.write_to_path(str(tmp_path / "stranger.pem"))
    server = serve(wire.reply(), tls=trust.server())
    for settings in ({"ca_file": str(tmp_path / "stranger.pem")}, {}):
        refused = failure(post(make(server.url, **settings), server.url), "tls")
        assert "set ca_file" in refused.text
        assert not refused.maybe_sent
    adapter: Any = make(server.url, ca_file=trust.file)._adapter
    assert post(make(server.url, ca_file=trust.file), server.url) == Reply(200, wire.OK)
    assert adapter._context.cert_store_stats()["x509"] == 1


def test_self_signed(serve: Any, make: Any, trust: Trust, tmp_path: Path) -> None:
    """A certificate that vouches for itself is told apart from one of an unknown CA."""
    own = tmp_path / "own.pem"
    own.write_bytes(trust.ca.cert_pem.bytes() + trust.ca.private_key_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    server = serve(wire.reply(), tls=context)
    assert "self-signed" in failure(post(make(server.url), server.url), "tls").text


def test_client_certificate(serve: Any, make: Any, trust: Trust, tmp_path: Path) -> None:
    """A server that asks for a client certificate gets it; without one the text says what to set."""
    context = trust.server()
    context.verify_mode = ssl.CERT_REQUIRED
    trust.ca.configure_trust(context)
    ours = trust.ca.issue_cert("client.example")
    ours.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    ours.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    ours.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    server = serve(wire.reply(), tls=context)
    both = {"client_cert": str(tmp_path / "both.pem")}
    apart = {"client_cert": str(tmp_path / "cert.pem"), "client_key": str(tmp_path / "key.pem")}
    for settings in (both, apart):
        transport = make(server.url, ca_file=trust.file, **settings)
        assert post(transport, server.url) == Reply(200, wire.OK)
    assert "client_cert" in failure(post(make(server.url, ca_file=trust.file), server.url), "tls").text


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "set client_cert"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "no cipher in common"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "no TLS 1.2"),
        ("UNSUPPORTED_PROTOCOL", "https port"),
        ("TLSV1_ALERT_UNKNOWN_CA", "refused our client certificate"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "refused our client certificate"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", "refused our client certificate"),
        ("WRONG_VERSION_NUMBER", "http://"),
    ],
)
def test_hints(reason: str, hint: str) -> None:
    """Each way in which TLS fails comes with what to do about it."""
    error = ssl.SSLError(1, "[SSL] text of OpenSSL")
    error.reason = reason
    explained = explain(error, "handshaking", url="https://splunk.example", proxy="", deadline_s=1)
    assert hint in failure(explained, "tls").text


def test_client_certificate_and_proxy(serve: Any, make: Any, trust: Trust, tmp_path: Path) -> None:
    """A proxy, even one that asks, is not shown the client certificate: it is for the server."""
    context = trust.server()
    context.verify_mode = ssl.CERT_REQUIRED
    trust.ca.configure_trust(context)
    trust.ca.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(
        str(tmp_path / "both.pem")
    )
    proxy = serve(wire.tunnel(), tls=context)
    url = f"https://127.0.0.1:{wire.unused_port()}"
    transport = make(url, ca_file=trust.file, client_cert=str(tmp_path / "both.pem"), proxy=proxy.url)
    assert not failure(post(transport, url), "tls").maybe_sent
    assert proxy.received == []


def test_plain_server_on_https(serve: Any, make: Any, trust: Trust) -> None:
    """TLS towards a port that speaks plain HTTP is explained as that."""

    def answer_at_once(exchange: wire.Exchange) -> None:
        exchange.send(wire.http(400, b"what?"))
        exchange.close()

    server = serve(answer_at_once)
    url = f"https://127.0.0.1:{server.port}"
    refused = failure(post(make(url, ca_file=trust.file), url), "tls")
    assert not refused.maybe_sent
    assert "http://" in refused.text


def test_handshake_broken_off(serve: Any, make: Any, trust: Trust) -> None:
    """A peer that resets the handshake has got nothing of the request."""
    server = serve(wire.reset_before_body())
    url = f"https://127.0.0.1:{server.port}"
    assert not failure(post(make(url, ca_file=trust.file), url), "tls").maybe_sent


def test_unverified(serve: Any, make: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Setting verify = false takes any certificate and says so once, however many requests there are."""
    _transport._warn_unverified.cache_clear()
    server = serve(wire.reply(), tls=Trust(trustme.CA(), "").server("other.example"))
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            transport = make(server.url, verify=False)
            for _ in range(2):
                assert post(transport, server.url) == Reply(200, wire.OK)
    assert [record.name for record in caplog.records] == ["splunk_hec"]
    assert "not verified" in caplog.text


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file '/nowhere/ca.pem'"),
        ({"client_cert": "/nowhere/cert.pem"}, "client_cert '/nowhere/cert.pem'"),
        ({"client_cert": "/nowhere/cert.pem", "client_key": "/nowhere/key.pem"}, "client_key"),
    ],
)
def test_missing_files(make: Any, settings: dict[str, str], named: str) -> None:
    """A certificate file that is not there is found when the client is made, and named."""
    with pytest.raises(ConfigError, match=named):
        make("https://127.0.0.1:8088", **settings)


def test_useless_files(make: Any, trust: Trust, tmp_path: Path) -> None:
    """A file that holds no certificate, or a key that is encrypted, is an error and never a question."""
    (tmp_path / "empty.pem").write_text("nothing\n")
    with pytest.raises(ConfigError, match="ca_file"):
        make("https://127.0.0.1:8088", ca_file=str(tmp_path / "empty.pem"))
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    ours = trust.ca.issue_cert("client.example")
    key = serialization.load_pem_private_key(ours.private_key_pem.bytes(), None)
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSWORD.encode()),
        )
    )
    ours.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    with pytest.raises(ConfigError, match="not be encrypted"):
        make(
            "https://127.0.0.1:8088",
            client_cert=str(tmp_path / "cert.pem"),
            client_key=str(tmp_path / "key.pem"),
        )


def test_no_secret_in_logs(serve: Any, make: Any, caplog: pytest.LogCaptureFixture) -> None:
    """At the chattiest level no log line, of ours or of the libraries, shows token or password."""
    proxy = serve(wire.reply(), wire.reset_after_body(), wire.drip(b"", b"HTTP/1.1 200" * 9))
    transport = make("http://splunk.invalid:8088", proxy=_with_password(proxy.url))
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            post(transport, "http://splunk.invalid:8088", deadline_s=SHORT_S)
    assert caplog.records
    assert TOKEN not in caplog.text
    assert PASSWORD not in caplog.text


def _pools(transport: RequestsTransport) -> list[Any]:
    adapter: Any = transport._adapter
    manager = adapter.poolmanager
    return [manager.pools[key] for key in manager.pools.keys()]  # noqa: SIM118 -- it cannot be iterated


def _eventually(holds: Callable[[], bool]) -> bool:
    waiting = threading.Event()
    return any(holds() or waiting.wait(0.01) for _ in range(3000))
