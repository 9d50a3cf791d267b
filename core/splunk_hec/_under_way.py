"""A request whose reply is taken later: what a transport may offer beyond `send`.

Without threads a caller would sleep through each reply. One that brings batches faster than Splunk replies
need not: a POST is started, and its reply is taken when the next batch is there, so server and caller work at
the same time. For any other caller, what a call sent is answered when the call returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from splunk_hec import _protocol as protocol

if TYPE_CHECKING:
    from splunk_hec._protocol import Reply, Request, TransportError


QUICK_POSTS = 8
"""So many batches in a row must come quickly: a burst of a few ends with its replies taken."""
QUICK_SHARE = 3
"""Of the time that a reply takes: a caller that needs longer for a batch would win little."""


class Pace:
    """Whether batches come faster than the replies to them. Pure; owned by one worker.

    Attributes:
        is_quick: It is so, and has been for a while.
    """

    def __init__(self) -> None:
        self.is_quick = False
        self._started_at = 0.0
        self._reply_s = 0.0
        self._quick_posts = 0

    def note_start(self, now: float) -> None:
        """A POST is about to be sent; `now` in monotonic seconds."""
        is_quick = now - self._started_at < QUICK_SHARE * self._reply_s
        self._quick_posts = self._quick_posts + 1 if is_quick else 0
        self.is_quick = self._quick_posts >= QUICK_POSTS
        self._started_at = now

    def note_reply(self, now: float) -> None:
        """Its reply came now, and was waited for until then."""
        self._reply_s = now - self._started_at


class UnderWay(Protocol):
    """One request that was put on the wire, as far as that was possible."""

    def is_answered(self) -> bool:
        """Whether the reply, or a part of it, or a failure is there. Never blocks."""
        ...

    def reply(self) -> Reply | TransportError:
        """Wait for the reply. To be called once, before the transport is used for anything else.

        The request's deadline stands still between `start` and here: a caller that comes back late finds
        the reply that came in time.
        """
        ...


@runtime_checkable
class StartingTransport(protocol.Transport, Protocol):
    """A transport that need not wait for each reply; `send` is `start` and `reply` in one."""

    def start(self, request: Request) -> UnderWay:
        """Put a request on the wire; never raises for the network."""
        ...


class Answered:
    """A request whose end is known."""

    def __init__(self, reply: Reply | TransportError) -> None:
        self._reply = reply

    def is_answered(self) -> bool:
        """See `UnderWay.is_answered`."""
        return True

    def reply(self) -> Reply | TransportError:
        """See `UnderWay.reply`."""
        return self._reply
