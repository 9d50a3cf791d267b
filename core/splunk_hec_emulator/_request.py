"""A request as the judge sees it, and which of Splunk's routes it is for. Knows nothing of sockets."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from splunk_hec_emulator.settings import Token

_ROUTES = {
    "": "event",
    "/event": "event",
    "/event/1.0": "event",
    "/raw": "raw",
    "/raw/1.0": "raw",
    "/ack": "ack",
    "/health": "health",
    "/health/1.0": "health",
    "/mint": "mint",
    "/mint/1.0": "mint",
    "/s2s": "s2s",
}
_PREFIX = "/services/collector"
_MAX_QUERY_FIELDS = 1_000

is_guid = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}").fullmatch


@dataclass(slots=True)
class Request:
    """One HTTP request; header names are lower case, of repeated query keys the last wins."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    peer: str = ""
    number: int = 0
    received: float = 0.0
    token: Token | None = None  # these two are noted once they are known to be good
    guid: str = ""

    def kind(self, *, trailing_slash_is_route: bool = False) -> str:
        """Return the route's name, or the empty text for a path HEC does not have."""
        path = self.path.removesuffix("/") if trailing_slash_is_route else self.path
        return _ROUTES.get(path.removeprefix(_PREFIX), "") if path.startswith(_PREFIX) else ""

    def channel(self, *, query_wins: bool) -> str:
        """Return the channel as the request names it, by header or query; empty if it names none."""
        header = self.headers.get("x-splunk-request-channel", "")
        query = self.query.get("channel", "")
        return (query or header) if query_wins else (header or query)


def parse_target(target: str) -> tuple[str, dict[str, str]]:
    """Split a request target into its path and its query; a query that cannot be read counts as none."""
    path, _, query = target.partition("?")
    try:
        return path, dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS))
    except ValueError:
        return path, {}
