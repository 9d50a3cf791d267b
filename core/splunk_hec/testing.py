"""For tests of code that uses this package: a transport that follows a script, and a clock that stands still.

    transport = ScriptedTransport([accepted(0), acks({0: True})])
    config = HecConfig(url="http://test", token="t", threads=False)
    hec = HecClient(config, transport_factory=lambda: transport)

Not for speed and not a server: `splunk_hec_emulator` is one. Public: these names are kept as the others are.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from splunk_hec._protocol import Reply, Request, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "ManualClock", "Reply", "Request", "ScriptedTransport", "TransportError", "accepted", "acks", "refused",
]  # fmt: skip

Answer = Reply | TransportError


def accepted(ack_id: int | None = None, code: int = 0, text: str = "Success") -> Reply:
    """A 200 as Splunk gives it; with an ackId unless it is None."""
    return refused(200, code, text, ack_id=ack_id)


def refused(
    status: int, code: int, text: str = "", *, number: int | None = None, ack_id: int | None = None
) -> Reply:
    """Any reply in Splunk's JSON. `number` is the invalid-event-number, as Splunk counts."""
    body: dict[str, object] = {"text": text, "code": code}
    if number is not None:
        body["invalid-event-number"] = number
    if ack_id is not None:
        body["ackId"] = ack_id
    return Reply(status, msgspec.json.encode(body))


def acks(told: Mapping[int, bool]) -> Reply:
    """The answer to an ack query."""
    return Reply(200, msgspec.json.encode({"acks": {str(ack_id): value for ack_id, value in told.items()}}))


class ScriptedTransport:
    """Answers each request with the next item of a script; a callable item is given the request.

    Attributes:
        requests: Every request that was sent, in order.
        forgotten: Channels whose cookies were dropped.
        is_closed: `close` was called.
    """

    def __init__(self, script: Iterable[Answer | Callable[[Request], Answer]] = ()) -> None:
        self.script = deque(script)
        self.requests: list[Request] = []
        self.forgotten: list[str] = []
        self.is_closed = False

    def send(self, request: Request) -> Answer:
        """Answer from the script; when it is used up, as an endpoint that cannot be reached."""
        self.requests.append(request)
        if not self.script:
            return TransportError("connect", "the script is used up", maybe_sent=False)
        answer = self.script.popleft()
        return answer(request) if callable(answer) else answer

    def forget(self, channel: str) -> None:
        """Take note."""
        self.forgotten.append(channel)

    def close(self) -> None:
        """Take note."""
        self.is_closed = True


class ManualClock:
    """Monotonic seconds that pass only when told to."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time it stands at."""
        return self.now

    def advance(self, seconds: float) -> float:
        """Let time pass; returns the new time."""
        self.now += seconds
        return self.now
