"""Connections of urllib3 whose sockets know the request's deadline, in pools that requests' adapter finds.

Not for requests and replies (`_transport`). Guarantees: one connection a pool; nothing of a pool's own
retries, redirects or time-outs is in use. Owned by one transport, its thread only.
"""

from __future__ import annotations

import errno
import http.client
from typing import TYPE_CHECKING, Any, cast

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError
from urllib3.util import Retry

from splunk_hec._sockets import DeadlineSocket, Flight, TlsContext, open_socket, tls_context

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from urllib3.connectionpool import HTTPConnectionPool

    from splunk_hec.config import HecConfig

SHORT_BYTES = 32_768
"""Up to here headers and body are one TLS record; a longer body is not copied for that."""

MAX_WAYS = 256
"""Metadata of the raw endpoint stands in the address, and may take any number of values."""

_HUNG_UP = (errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE)
"""What a system says to a write after the peer hung up; the last one is macOS's."""


class Way:
    """The way to one address: its pool, and what a request to it must say.

    Attributes:
        prepared: The request as cookie jars want to see it.
    """

    def __init__(self, pool: HTTPConnectionPool, target: str, prepared: requests.PreparedRequest) -> None:
        """`target`: what stands in the request line."""
        self.prepared = prepared
        self._pool = pool
        self._target = target
        self._tunnels = pool.proxy is not None and target.startswith("/")  # a proxy that forwards gets all
        self._headers: Mapping[str, str] = {} if self._tunnels else pool.proxy_headers

    def post(self, headers: Mapping[str, str], body: bytes, deadline_s: float) -> DeadlineConnection:
        """Send a POST; what is returned is the connection that its reply will come on.

        A connection that the server closed while it was idle is replaced. As in urllib3, whose `urlopen` this
        is without its retries: a server may answer and hang up before it has read all, so a connection that
        breaks while we send may still hold the reply.

        Raises:
            OSError, HTTPError, HTTPException, ValueError: It could not be sent, or not be seen to be.
        """
        connection: Any = self._pool._get_conn()  # noqa: SLF001 -- of one pool, which asks for no other way in
        connection.timeout = deadline_s  # the sockets know better; this one is for what they do not see
        try:
            if connection.is_closed and self._tunnels:
                self._pool._prepare_proxy(connection)  # noqa: SLF001 -- as above
            elif connection.is_closed:
                connection.connect()
            try:
                connection.request(
                    "POST", self._target, body, {**headers, **self._headers},
                    preload_content=False, decode_content=False,
                )  # fmt: skip
            except OSError as error:
                if error.errno not in _HUNG_UP:
                    raise
        except BaseException:
            connection.close()
            raise
        return cast("DeadlineConnection", connection)

    def take_back(self, connection: Any) -> None:
        """The reply was read: the connection serves the next request."""
        self._pool._put_conn(connection)  # noqa: SLF001 -- as above


class Adapter(HTTPAdapter):
    """Pools whose connections know the flight and our TLS context, one connection a host."""

    def __init__(
        self,
        config: HecConfig,
        flight: Flight,
        contexts: tuple[TlsContext | None, TlsContext | None],
    ) -> None:
        """`contexts`: towards the endpoint, towards the proxy."""
        self._config = config
        self._flight = flight
        self._requires = "CERT_REQUIRED" if config.verify else "CERT_NONE"
        self._context, self._proxy_context = contexts
        self._ways: dict[str, Way] = {}
        super().__init__(pool_connections=len(config.urls), pool_maxsize=1, max_retries=Retry(False))

    def way(self, url: str, proxy: str) -> Way:
        """Where a POST to `url` goes; a url has one proxy, so it is looked for once."""
        if url not in self._ways:
            if len(self._ways) >= MAX_WAYS:
                self._ways.clear()
            prepared = requests.Request("POST", url).prepare()
            proxies = {"http": proxy, "https": proxy} if proxy else None
            pool = self.get_connection_with_tls_context(prepared, verify=True, proxies=proxies)
            self._ways[url] = Way(pool, self.request_url(prepared, proxies), prepared)
        return self._ways[url]

    def close(self) -> None:
        """The pools are of no use any more."""
        self._ways.clear()
        super().close()

    def twin(self) -> Adapter:
        """The same with connections of its own."""
        return Adapter(self._config, self._flight, (self._context, self._proxy_context))

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._context, "cert_reqs": self._requires}

    def proxy_manager_for(self, proxy: Any, **proxy_kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, proxy_ssl_context=self._proxy_context, **proxy_kwargs)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        pool = cast("HTTPConnectionPool", super().get_connection_with_tls_context(*args, **kwargs))
        connection: Any = _HttpsConnection if pool.scheme == "https" else DeadlineConnection
        pool.ConnectionCls = connection
        pool.conn_kw["flight"] = self._flight
        return pool


class DeadlineConnection(HTTPConnection):
    """Opens sockets that know the flight, notes when a first byte leaves, sends headers and body together.

    They are two writes otherwise: two packets, and twice as often a wait for the GIL.
    """

    def __init__(self, *args: Any, flight: Flight, **kwargs: Any) -> None:
        self.flight = flight
        self._gathered: list[bytes] | None = None
        super().__init__(*args, **kwargs)

    def _new_conn(self) -> DeadlineSocket:
        return _open(self, self.flight)

    def connect(self) -> None:
        super().connect()
        self.flight.stage = "idle"

    def request(self, *args: Any, **kwargs: Any) -> None:
        gathered: list[bytes] = []
        self._gathered = gathered
        try:
            super().request(*args, **kwargs)
        finally:
            self._gathered = None
        self._set_off()
        sock: Any = self.sock
        if isinstance(sock, DeadlineSocket):
            sock.send_together(gathered)
        else:
            for part in [b"".join(gathered)] if sum(map(len, gathered)) <= SHORT_BYTES else gathered:
                sock.sendall(part)

    def getresponse(self) -> Any:
        return http.client.HTTPConnection.getresponse(self)

    def send(self, data: Any) -> None:
        if self._gathered is not None:
            self._gathered.append(data)
            return
        self._set_off()
        super().send(data)

    def _set_off(self) -> None:
        self.flight.stage = "sent" if self.flight.stage in ("idle", "sent") else "tunnelling"


class _HttpsConnection(DeadlineConnection, HTTPSConnection):
    """The same over TLS."""


def _open(connection: HTTPConnection, flight: Flight) -> DeadlineSocket:
    try:
        return open_socket(connection._dns_host, connection.port, flight)  # noqa: SLF001 -- as its own _new_conn
    except OSError as error:
        # As itself, a reset while connecting would be taken for one while sending, after which urllib3
        # looks for an early reply on a socket that does not exist.
        raise NewConnectionError(connection, type(error).__name__) from error


def contexts_of(
    config: HecConfig, flight: Flight, proxies: Iterable[str]
) -> tuple[TlsContext | None, TlsContext | None]:
    """TLS towards the endpoint and towards the proxy, where it is needed: reading CAs takes 15 ms."""
    for_proxy = for_endpoint = None
    if _has_https(proxies):
        for_proxy = tls_context(config, flight, DEFAULT_CA_BUNDLE_PATH, is_for_proxy=True)
    if _has_https(config.urls):
        for_endpoint = tls_context(config, flight, DEFAULT_CA_BUNDLE_PATH)
    return for_endpoint or for_proxy, for_proxy  # older urllib3 take the first towards a forwarding proxy


def _has_https(urls: Iterable[str]) -> bool:
    return any(url.lower().startswith("https:") for url in urls)
