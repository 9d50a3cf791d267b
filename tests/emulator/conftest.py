"""What the emulator's tests share: servers made on demand, and a client of nothing but http.client."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from splunk_hec_emulator import Emulator

PLAIN = "10000000-0000-0000-0000-000000000000"
ACKING = "20000000-0000-0000-0000-000000000000"
TOKENS = {
    "T": f"{PLAIN}:index=main:name=plain",
    "TA": f"{ACKING}:ack:index=main:name=acking",
    "TO": "30000000-0000-0000-0000-000000000000:name=open",
    "TD": "40000000-0000-0000-0000-000000000000:disabled:name=disabled",
    "TQ": "50000000-0000-0000-0000-000000000000:query:name=query",
}
CHANNELS = {
    "C1": "c1c1c1c1-0000-4000-8000-000000000001",
    "C2": "c2c2c2c2-0000-4000-8000-000000000002",
}


@dataclass(frozen=True)
class Answer:
    """One reply as it came over the wire."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    version: int = 11

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Site:
    """A running emulator and the ways to talk to it."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        parts = urlsplit(emulator.url)
        self.address = (parts.hostname or "", parts.port or 0)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str = b"",
        headers: Mapping[str, str] | None = None,
        connection: http.client.HTTPConnection | None = None,
    ) -> Answer:
        """Send one request as it stands (plus a User-Agent) and read the whole reply."""
        link = connection or self.connect()
        try:
            data = body.encode() if isinstance(body, str) else body
            link.request(method, path, data, {"User-Agent": "test", **(headers or {})})
            reply = link.getresponse()
            return Answer(reply.status, reply.read(), dict(reply.getheaders()), reply.version)
        finally:
            if connection is None:
                link.close()

    def connect(self) -> http.client.HTTPConnection:
        """Open a keep-alive connection; the caller closes it."""
        return http.client.HTTPConnection(*self.address, timeout=30)

    def post(
        self,
        body: bytes | str,
        token: str = "T",
        channel: str = "",
        path: str = "/services/collector/event",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Post with a token and channel by their names in the reference (T, TA, …; C1, C2 or a literal)."""
        value = TOKENS.get(token, token).partition(":")[0]
        sent = {"Authorization": f"Splunk {value}", **(headers or {})}
        if channel:
            sent["X-Splunk-Request-Channel"] = CHANNELS.get(channel, channel)
        return self.ask("POST", path, body, sent)

    def poll(self, *ids: int, channel: str = "C1", token: str = "TA") -> Any:
        """Ask for acks; return what each id was told."""
        body = json.dumps({"acks": list(ids)})
        reply = self.post(body, token, channel, "/services/collector/ack")
        assert reply.status == 200, reply
        return {int(key): value for key, value in reply.json["acks"].items()}

    def raw_socket(self) -> socket.socket:
        """Open a bare connection; the caller closes it."""
        return socket.create_connection(self.address, timeout=30)

    def indexed(self) -> list[Any]:
        """Return the event values that are durable, in order."""
        return [event["event"] for event in self.emulator.events()]


Serve = Callable[..., Site]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start emulators on free ports; acks come true at once unless told otherwise."""
    with ExitStack() as stack:

        def start(**options: Any) -> Site:
            given = {"ack_delay": 0, "tokens": list(TOKENS.values()), **options}
            return Site(stack.enter_context(Emulator(**given)))

        yield start
