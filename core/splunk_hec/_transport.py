"""Sends one request at a time over HTTP and brings back the reply, or the failure as a value.

The only module that imports requests and urllib3. Not for what a reply means (`_protocol`), nor for trying
again: one `send` puts a body on the wire at most once.

Guarantees: `send` ends at the request's deadline, to a hundredth of it (`_sockets`; only resolving a name is
not bounded) and raises nothing for the network; replies are read to 1 MiB at most; redirects are returned,
never followed; no thread is started; nothing is taken from the environment unless `proxy` says so (a ~/.netrc
entry would replace our Authorization header).

Non-obvious: http.client reports a reply that is cut inside its headers as a 200 with an empty body. It is
handed on as such: the judge knows that a 200 without HEC's JSON proves nothing.
"""

from __future__ import annotations

import functools
import http.client
import logging
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import requests
from requests import cookies
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.util import Retry

from splunk_hec._faults import explain, too_long
from splunk_hec._gzip import open_reply
from splunk_hec._protocol import Reply, Request, TransportError
from splunk_hec._sockets import DeadlineSocket, Flight, TlsContext, open_socket, tls_context
from splunk_hec.config import hide_password
from splunk_hec.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from http.cookiejar import CookieJar

    from urllib3 import BaseHTTPResponse
    from urllib3.connectionpool import HTTPConnectionPool

    from splunk_hec.config import HecConfig

log = logging.getLogger("splunk_hec")

# requests' own, which its type stubs leave untyped.
_untyped: Any = cookies
_cookies_for: Callable[[CookieJar, Any], str | None] = _untyped.get_cookie_header
_keep_cookies: Callable[[CookieJar, Any, Any], None] = _untyped.extract_cookies_to_jar

REPLY_BYTES = 1024 * 1024
"""No reply of HEC comes near it; a page that does is some other server's."""

SHORT_BYTES = 32_768
"""Up to here headers and body leave in one write; a longer body is not copied for that."""

MAX_WAYS = 256
"""Metadata of the raw endpoint stands in the address, and may take any number of values."""

_FAILURES = (OSError, HTTPError, http.client.HTTPException, ValueError)
"""OSError: sockets, TLS and all of requests; ValueError: headers and hosts that cannot be put in bytes."""


class _TooLong(Exception):  # noqa: N818 -- never leaves this module
    """The reply is over REPLY_BYTES."""


class RequestsTransport:
    """An adapter of requests, a cookie jar for each channel. Owned by one lane's worker, its thread only.

    The adapter finds the pool of connections, TLS and proxy included, once an address; a request goes to that
    pool. A session's merging of settings, and its response around urllib3's, cost more than sending.
    """

    def __init__(
        self, config: HecConfig, *, has_connection_per_channel: bool = False, warns: bool = True
    ) -> None:
        """Open nothing yet.

        Args:
            config: url, verify, ca_file, client_cert, client_key and proxy are read.
            has_connection_per_channel: A fresh channel connects anew, so that a balancer can choose again.
            warns: Say, once a process, that certificates are not verified.

        Raises:
            ConfigError: A certificate file or the environment's proxy cannot be used.
        """
        self._flight = Flight()
        self._proxies = {url: _proxy_for(config.proxy, url) for url in config.urls}
        self._jars: dict[str, cookies.RequestsCookieJar] = {}
        contexts = _contexts(config, self._flight, self._proxies.values())
        self._adapter = _Adapter(config, self._flight, contexts)
        self._of_channels: dict[str, _Adapter] | None = {} if has_connection_per_channel else None
        if warns and not config.verify:
            _warn_unverified(config.urls)

    def __repr__(self) -> str:
        return f"<RequestsTransport {' '.join(self._proxies)} | {len(self._jars)} cookie jars>"

    def send(self, request: Request) -> Reply | TransportError:
        """See `Transport.send`. `request.url` is one of the config's."""
        self._flight.start(request.deadline_s)
        proxy = self._proxies[request.url]
        jar = self._jars.get(request.channel)
        try:
            adapter = self._adapter_of(request.channel)
            pool, target, prepared = adapter.way(request.url + request.path, proxy)
            headers = request.headers
            if jar is not None and (found := _cookies_for(jar, prepared)):
                headers = headers | {"Cookie": found}
            response = pool.urlopen(
                "POST",
                target,
                body=request.body,
                headers=headers,
                timeout=request.deadline_s,  # the sockets know better; this one is for what they do not see
                retries=adapter.max_retries,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
            )
            if "Set-Cookie" in response.headers:
                jar = self._jars.setdefault(request.channel, cookies.RequestsCookieJar())
                _keep_cookies(jar, prepared, response)
            with closing(response):
                return _read(response)
        except _TooLong:
            return too_long(request.url, REPLY_BYTES)
        except _FAILURES as error:
            return explain(
                error,
                self._flight.stage,
                url=request.url,
                proxy=hide_password(proxy),
                deadline_s=request.deadline_s,
            )

    def forget(self, channel: str) -> None:
        """See `Transport.forget`."""
        self._jars.pop(channel, None)
        if self._of_channels and (adapter := self._of_channels.pop(channel, None)):
            adapter.close()

    def close(self) -> None:
        """See `Transport.close`."""
        for adapter in (self._adapter, *(self._of_channels or {}).values()):
            adapter.close()

    def _adapter_of(self, channel: str) -> _Adapter:
        if self._of_channels is None:
            return self._adapter
        if channel not in self._of_channels:
            self._of_channels[channel] = self._adapter.twin()
        return self._of_channels[channel]


class _Way(NamedTuple):
    """To one address: its pool, what stands in the request line, and the request for cookie jars."""

    pool: HTTPConnectionPool
    target: str
    prepared: requests.PreparedRequest


class _Adapter(HTTPAdapter):
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
        self._ways: dict[str, _Way] = {}
        super().__init__(pool_connections=len(config.urls), pool_maxsize=1, max_retries=Retry(False))

    def way(self, url: str, proxy: str) -> _Way:
        """Where a POST to `url` goes; a url has one proxy, so it is looked for once."""
        if url not in self._ways:
            if len(self._ways) >= MAX_WAYS:
                self._ways.clear()
            prepared = requests.Request("POST", url).prepare()
            proxies = {"http": proxy, "https": proxy} if proxy else None
            pool = self.get_connection_with_tls_context(prepared, verify=True, proxies=proxies)
            self._ways[url] = _Way(pool, self.request_url(prepared, proxies), prepared)
        return self._ways[url]

    def close(self) -> None:
        """The pools are of no use any more."""
        self._ways.clear()
        super().close()

    def twin(self) -> _Adapter:
        """The same with connections of its own."""
        return _Adapter(self._config, self._flight, (self._context, self._proxy_context))

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._context, "cert_reqs": self._requires}

    def proxy_manager_for(self, proxy: Any, **proxy_kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, proxy_ssl_context=self._proxy_context, **proxy_kwargs)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        pool = cast("HTTPConnectionPool", super().get_connection_with_tls_context(*args, **kwargs))
        connection: Any = _HttpsConnection if pool.scheme == "https" else _HttpConnection
        pool.ConnectionCls = connection
        pool.conn_kw["flight"] = self._flight
        return pool


class _HttpConnection(HTTPConnection):
    """Opens sockets that know the flight, notes when a first byte leaves, sends short requests in one piece.

    Headers and body are two writes otherwise: two packets, and twice as often a wait for the GIL.
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
        for part in [b"".join(gathered)] if sum(map(len, gathered)) <= SHORT_BYTES else gathered:
            self.send(part)

    def send(self, data: Any) -> None:
        if self._gathered is not None:
            self._gathered.append(data)
            return
        if self.sock is None:
            self.connect()
        self.flight.stage = "sent" if self.flight.stage in ("idle", "sent") else "tunnelling"
        super().send(data)


class _HttpsConnection(_HttpConnection, HTTPSConnection):
    """The same over TLS."""

    def connect(self) -> None:
        super().connect()
        self.is_verified = True  # read for a warning only; ours was given when the transport was made


def _open(connection: HTTPConnection, flight: Flight) -> DeadlineSocket:
    try:
        return open_socket(connection._dns_host, connection.port, flight)  # noqa: SLF001 -- as its own _new_conn
    except OSError as error:
        # As itself, a reset while connecting would be taken for one while sending, after which urllib3
        # looks for an early reply on a socket that does not exist.
        raise NewConnectionError(connection, type(error).__name__) from error


def _read(response: BaseHTTPResponse) -> Reply:
    body = bytearray()
    # The last read, an empty one, is where urllib3 compares the length with what was announced.
    while chunk := response.read(REPLY_BYTES + 1 - len(body), decode_content=False):
        body += chunk
        if len(body) > REPLY_BYTES:
            raise _TooLong
    content = bytes(body)
    if response.headers.get("Content-Encoding", "").lower() in ("gzip", "x-gzip"):
        content = _opened(content)
    return Reply(response.status, content, response.headers.get("Retry-After", ""))


def _opened(packed: bytes) -> bytes:
    """We ask for plain replies, but what is between may compress all the same."""
    try:
        content = open_reply(packed, REPLY_BYTES)
    except ValueError:
        return packed  # not what it says it is: no JSON, so it proves nothing
    if len(content) > REPLY_BYTES:
        raise _TooLong
    return content


def _proxy_for(setting: str, url: str) -> str:
    if setting != "env":
        return setting
    proxy = select_proxy(url, get_environ_proxies(url)) or ""
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    if proxy and not proxy.lower().startswith(("http://", "https://")):
        raise ConfigError(
            f"the environment's proxy {hide_password(proxy)!r} is not of the form http://host:3128; mend it,"
            " or set proxy"
        )
    return proxy


def _contexts(
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


@functools.cache
def _warn_unverified(urls: tuple[str, ...]) -> None:
    """Once a process, not once a lane or request."""
    log.warning(
        "TLS certificates of %s are not verified: anyone between can read the token; set verify = true",
        " ".join(urls),
    )
