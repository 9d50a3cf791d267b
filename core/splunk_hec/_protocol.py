"""x."""

from __future__ import annotations
from typing import Protocol
import msgspec


class Request(msgspec.Struct, frozen=True):
    """One HTTP request, ready to go. `channel` also names the cookie jar that goes with it."""

    url: str
    path: str
    headers: dict[str, str]
    body: bytes
    channel: str
    deadline_s: float

    def __repr__(self) -> str:
        return f"<Request POST {self.url}{self.path} {len(self.body)} B channel {self.channel[:8]}>"


class Reply(msgspec.Struct, frozen=True):
    """What came back, read to the end (1 MiB at most). `retry_after` is the header as sent, or ''."""

    status: int
    body: bytes
    retry_after: str = ""


class TransportError(msgspec.Struct, frozen=True):
    """No usable reply. `maybe_sent` is False only if no byte of the request can have left."""

    kind: str
    text: str
    maybe_sent: bool


class Transport(Protocol):
    """Sends requests, one at a time, for one lane. Not thread-safe: its worker owns it."""

    def send(self, request: Request) -> Reply | TransportError:
        """Send and wait, at most `request.deadline_s` seconds in all; never raises for the network."""
        ...

    def forget(self, channel: str) -> None:
        """The channel is gone: drop its cookies."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...
