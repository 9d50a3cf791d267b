"""Sends one request at a time over HTTP and brings back the reply, or the failure as a value.

With `_connections` the only module that imports requests and urllib3. Not for what a reply means
(`_protocol`), nor for trying again: one `send` puts a body on the wire at most once.

Guarantees: `send` ends at the request's deadline, to a hundredth of it (`_sockets`; only resolving a name is
not bounded) and raises nothing for the network; replies are read to 1 MiB at most; redirects are returned,
never followed; no thread is started; nothing is taken from the environment unless `proxy` says so (a ~/.netrc
entry would replace our Authorization header).

Non-obvious: a reply is read by http.client, without urllib3's response around it, which would take as long
again; so it is here that a reply shorter than announced is noticed. http.client reports a reply that is cut
inside its headers as a 200 with an empty body. It is handed on as such: the judge knows that a 200 without
HEC's JSON proves nothing.
"""

from __future__ import annotations

import functools
import http.client
import logging
from contextlib import closing
from typing import TYPE_CHECKING, Any

from requests import cookies
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import HTTPError
from urllib3.util import wait_for_read

from splunk_hec._connections import Adapter, contexts_of
from splunk_hec._faults import explain, too_long
from splunk_hec._gzip import open_reply
from splunk_hec._protocol import Reply, Request, TransportError
from splunk_hec._sockets import Flight
from splunk_hec._under_way import Answered
from splunk_hec.config import hide_password
from splunk_hec.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.cookiejar import CookieJar

    from splunk_hec._connections import DeadlineConnection, Way
    from splunk_hec._under_way import UnderWay
    from splunk_hec.config import HecConfig

log = logging.getLogger("splunk_hec")

# requests' own, which its type stubs leave untyped.
_untyped: Any = cookies
_cookies_for: Callable[[CookieJar, Any], str | None] = _untyped.get_cookie_header

REPLY_BYTES = 1024 * 1024
"""No reply of HEC comes near it; a page that does is some other server's."""

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
        self._under_way: DeadlineConnection | None = None
        contexts = contexts_of(config, self._flight, self._proxies.values())
        self._adapter = Adapter(config, self._flight, contexts)
        self._of_channels: dict[str, Adapter] | None = {} if has_connection_per_channel else None
        if warns and not config.verify:
            _warn_unverified(config.urls)

    def __repr__(self) -> str:
        return f"<RequestsTransport {' '.join(self._proxies)} | {len(self._jars)} cookie jars>"

    def send(self, request: Request) -> Reply | TransportError:
        """See `Transport.send`. `request.url` is one of the config's."""
        return self.start(request).reply()

    def start(self, request: Request) -> UnderWay:
        """See `StartingTransport.start`."""
        self._flight.start(request.deadline_s)
        headers = request.headers
        jar = self._jars.get(request.channel)
        try:
            way = self._adapter_of(request.channel).way(
                request.url + request.path, self._proxies[request.url]
            )
            if jar is not None and (found := _cookies_for(jar, way.prepared)):
                headers = headers | {"Cookie": found}
            connection = way.post(headers, request.body, request.deadline_s)
        except _FAILURES as error:
            return Answered(self._failure(request, error))
        self._flight.pause()
        self._under_way = connection
        return _Sent(self, request, way, connection)

    def finish(self, request: Request, way: Way, connection: DeadlineConnection) -> Reply | TransportError:
        """Read the reply to what was started."""
        self._under_way = None
        self._flight.resume()
        try:
            with closing(connection.getresponse()) as response:
                if "Set-Cookie" in response.headers:
                    jar = self._jars.setdefault(request.channel, cookies.RequestsCookieJar())
                    jar.extract_cookies(
                        _untyped.MockResponse(response.headers), _untyped.MockRequest(way.prepared)
                    )
                reply = _read(response)
        except _TooLong:
            connection.close()
            return too_long(request.url, REPLY_BYTES)
        except _FAILURES as error:
            connection.close()
            return self._failure(request, error)
        way.take_back(connection)
        return reply

    def _failure(self, request: Request, error: Exception) -> TransportError:
        return explain(
            error,
            self._flight.stage,
            url=request.url,
            proxy=hide_password(self._proxies[request.url]),
            deadline_s=request.deadline_s,
        )

    def forget(self, channel: str) -> None:
        """See `Transport.forget`."""
        self._jars.pop(channel, None)
        if self._of_channels and (adapter := self._of_channels.pop(channel, None)):
            adapter.close()

    def close(self) -> None:
        """See `Transport.close`."""
        if self._under_way is not None:
            self._under_way.close()
        for adapter in (self._adapter, *(self._of_channels or {}).values()):
            adapter.close()

    def _adapter_of(self, channel: str) -> Adapter:
        if self._of_channels is None:
            return self._adapter
        if channel not in self._of_channels:
            self._of_channels[channel] = self._adapter.twin()
        return self._of_channels[channel]


class _Sent:
    """A request that was sent; its reply is still to be read."""

    def __init__(
        self, transport: RequestsTransport, request: Request, way: Way, connection: DeadlineConnection
    ) -> None:
        self._finish = functools.partial(transport.finish, request, way, connection)
        self._connection = connection

    def is_answered(self) -> bool:
        """See `UnderWay.is_answered`."""
        sock = self._connection.sock
        return sock is None or wait_for_read(sock, timeout=0)

    def reply(self) -> Reply | TransportError:
        """See `UnderWay.reply`."""
        return self._finish()


def _read(response: http.client.HTTPResponse) -> Reply:
    content = response.read(REPLY_BYTES + 1)
    if len(content) > REPLY_BYTES:
        raise _TooLong
    if response.length:  # less than was announced
        raise http.client.IncompleteRead(content, response.length)
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


@functools.cache
def _warn_unverified(urls: tuple[str, ...]) -> None:
    """Once a process, not once a lane or request."""
    log.warning(
        "TLS certificates of %s are not verified: anyone between can read the token; set verify = true",
        " ".join(urls),
    )
