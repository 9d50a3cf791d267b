"""What went wrong on the wire, in words for people: what, where, how to fix.

Not for what to do about it: that is `_protocol.judge`. Guarantees: a text is one line, and is put together
from error *types*, system and OpenSSL messages; the text of a library's exception is never taken over,
because it may quote a header (and so the token) or a proxy's password.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import TYPE_CHECKING, Literal

from splunk_hec._protocol import TransportError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from splunk_hec._sockets import Stage

Kind = Literal["dns", "connect", "tls", "timeout", "reset", "cut", "too_long", "other"]
"""dns, connect, tls: no connection. timeout: the deadline passed. reset: the connection broke. cut: the reply
ended early. too_long: over 1 MiB. other: not HTTP, or a request that cannot be built."""

_CERTIFICATE_HINTS = {
    9: "it is not valid yet: check the clocks",
    10: "it has expired: renew it on the server",
    18: "it is self-signed: set ca_file to that certificate",
    19: "its CA is not among the trusted ones: set ca_file to that CA",
    20: "its CA is not among the trusted ones: set ca_file to that CA",
    21: "its CA is not among the trusted ones: set ca_file to that CA",
    62: "it is for another host: use a host name that it contains in url",
    64: "it is for another host: use a host name that it contains in url",
}
"""OpenSSL's X509_V_ERR_ numbers."""

_OUR_CERTIFICATE = "it refused our client certificate: check client_cert"
_NO_TLS = "it does not speak TLS there: use http:// or another port"
_REASON_HINTS = {
    "CERTIFICATE_REQUIRED": "it wants a client certificate: set client_cert and client_key",
    "HANDSHAKE_FAILURE": "no cipher in common, or it wants a client certificate: set client_cert",
    "PROTOCOL_VERSION": "it offers no TLS 1.2 or newer: upgrade it",
    "ALERT_UNKNOWN_CA": _OUR_CERTIFICATE,
    "ALERT_CERTIFICATE_": _OUR_CERTIFICATE,
    "_CERTIFICATE": _OUR_CERTIFICATE,
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
}
"""Parts of OpenSSL's reason codes; the first match counts."""


def explain(error: BaseException, stage: Stage, *, url: str, proxy: str, deadline_s: float) -> TransportError:
    """The failure as a value.

    Args:
        error: As caught; wrappers of requests and urllib3 are opened.
        stage: How far the request got; only `sent` may have left.
        url: Where it was to go.
        proxy: The proxy it took, without password; empty = none.
        deadline_s: The request's total.
    """
    kind, text = _describe(_root(error), stage, url, proxy, deadline_s)
    return TransportError(kind, _one_line(text), maybe_sent=stage == "sent")


def tls_fault(error: ssl.SSLError) -> tuple[str, str]:
    """What OpenSSL said of a handshake, and what to do about it: for whoever shakes hands by themselves."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message, _CERTIFICATE_HINTS.get(error.verify_code, "check it, and ca_file")
    reason = error.reason or type(error).__name__
    hint = next((hint for part, hint in _REASON_HINTS.items() if part in reason), "is it an https port?")
    return reason.lower().replace("_", " "), hint


def too_long(url: str, max_bytes: int) -> TransportError:
    """The reply went on and on."""
    text = f"{url} answered with more than {max_bytes} bytes: that is no HEC; check the port in url"
    return TransportError("too_long", text, maybe_sent=True)


def _describe(root: BaseException, stage: Stage, url: str, proxy: str, deadline_s: float) -> tuple[Kind, str]:
    peer, setting = (f"the proxy {proxy}", "proxy") if proxy else (url, "url")
    way = f"{url} through {peer}" if proxy else url
    why = _why(root)
    if isinstance(root, TimeoutError):
        return "timeout", _timed_out(stage, way, peer, deadline_s)
    if isinstance(root, socket.gaierror):
        return "dns", f"cannot resolve the host of {peer}: {why}; check {setting} and the name server"
    if isinstance(root, http.client.IncompleteRead):
        return "cut", f"{url} ended its reply early; if it repeats, look at the balancer or proxy before it"
    if isinstance(root, ssl.SSLError) and not (stage == "sent" and isinstance(root, ssl.SSLEOFError)):
        return "tls", _tls(root, way)
    if not isinstance(root, OSError):
        if isinstance(root, http.client.HTTPException):
            return "other", f"{url} did not answer in HTTP: check scheme and port in url"
        return _unbuilt(root)
    match stage:
        case "resolving" | "connecting":
            return "connect", f"cannot connect to {peer}: {why}; check host, port and firewalls ({setting})"
        case "tunnelling":
            # The only text taken over: http.client's, of the proxy's status line.
            return "connect", f"{peer} opened no tunnel: {root}; check its user, password and rules (proxy)"
        case "handshaking":
            return "tls", f"{way} broke off the TLS handshake: {why}; is it an https port?"
        case "sent":
            return "reset", f"the connection to {way} broke: {why}; if it repeats, look at what is between"
        case "idle":
            return _unbuilt(root)


def _unbuilt(root: BaseException) -> tuple[Kind, str]:
    name = type(root).__name__
    return "other", f"the request cannot be sent ({name}): is there a line break in the token, url or proxy?"


def _timed_out(stage: Stage, way: str, peer: str, deadline_s: float) -> str:
    match stage:
        case "resolving" | "connecting":
            return f"no connection to {peer} in time; check host, port and firewalls"
        case "tunnelling":
            return f"{peer} opened no tunnel in time; check where it may connect to"
        case "handshaking":
            return f"the TLS handshake with {way} did not end in time; is it an https port?"
        case "sent" | "idle":
            return (
                f"no complete reply from {way} within {deadline_s:g} s; is Splunk overloaded? Else raise"
                " request_deadline_s"
            )


def _tls(error: ssl.SSLError, way: str) -> str:
    what, hint = tls_fault(error)
    is_certificate = isinstance(error, ssl.SSLCertVerificationError)
    said = f"the certificate of {way} is not accepted" if is_certificate else f"no TLS with {way}"
    return f"{said}: {what}; {hint}"


def _why(root: BaseException) -> str:
    if isinstance(root, http.client.RemoteDisconnected):
        return "closed without a reply"
    strerror = root.strerror if isinstance(root, OSError) else None
    return strerror or type(root).__name__


def _root(error: BaseException) -> BaseException:
    """The exception inside the wrappers; they carry it as `reason`, in `args` or as their cause."""
    while (inner := next(_inner(error), None)) is not None:
        error = inner
    return error


def _inner(error: BaseException) -> Iterator[BaseException]:
    candidates = (getattr(error, "reason", None), *error.args, error.__cause__)
    return (one for one in candidates if isinstance(one, BaseException))


def _one_line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:400]
