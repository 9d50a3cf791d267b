"""Who may read the emulator's own pages, and who may turn its switches. Pure: headers in, a verdict out.

A browser runs the scripts of whatever page a developer happens to look at. Such a page can send requests to
an emulator on their machine (cross-site requests, told by a foreign Origin), and can read the answers if its
own name is made to resolve to that machine (DNS rebinding, told by the Host it then has to send).
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".svc", ".test")  # public DNS has none of them


def is_safe_host(headers: Mapping[str, str], listen: str) -> bool:
    """Tell whether the Host is a name that no stranger can make resolve to this server.

    Args:
        headers: the request's, with names in lower case.
        listen: ``HOST:PORT`` as the emulator was told to listen; that name is trusted.

    Returns:
        True for an address, a name without dots, a name of a private zone, the name listened on, and a
        request without Host (no browser sends one).
    """
    host = headers.get("host")
    if host is None:
        return True
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    own = listen.rpartition(":")[0].strip("[]").lower()
    is_private = "." not in name or name.endswith(_PRIVATE_SUFFIXES)
    return bool(name) and (is_private or name == own or _is_address(name))


def is_own_origin(headers: Mapping[str, str]) -> bool:
    """Tell whether a call comes from our own page, or from no page at all.

    Args:
        headers: the request's, with names in lower case; their Host is one that `is_safe_host` accepts.
    """
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc == headers.get("host")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
