"""Replies that are taken later, for a caller without threads who brings batches faster than they come."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import pytest
import wire

from splunk_hec import Event, HecClient, HecConfig
from splunk_hec._transport import RequestsTransport
from splunk_hec._under_way import QUICK_POSTS, QUICK_SHARE, Pace
from splunk_hec.events import OutcomeKind
from splunk_hec.testing import ManualClock, Reply, Request, TransportError, accepted, refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from splunk_hec.events import Outcome

REPLY_S = 0.1
LOST = TransportError("reset", "reset", maybe_sent=True)


class SlowTransport:
    """Its replies take a while, which the clock shows to whoever waits for them."""

    def __init__(self, clock: ManualClock, answers: Iterable[Reply | TransportError] = ()) -> None:
        self.clock = clock
        self.answers = deque(answers)
        self.sent: list[bytes] = []
        self.is_answered_now = False
        self.waiting: list[SlowRequest] = []
        self.is_closed = False
        self.fault: Exception | None = None

    def start(self, request: Request) -> SlowRequest:
        """Take note of it."""
        assert not self.waiting, "one request at a time"
        self.sent.append(request.body)
        self.waiting.append(SlowRequest(self, self.clock.now + REPLY_S))
        return self.waiting[0]

    def send(self, request: Request) -> Reply | TransportError:
        """Start and wait."""
        return self.start(request).reply()

    def forget(self, channel: str) -> None:
        """No cookies."""

    def close(self) -> None:
        """Take note."""
        self.is_closed = True


class SlowRequest:
    """One of its requests."""

    def __init__(self, transport: SlowTransport, answered_at: float) -> None:
        self.transport = transport
        self.answered_at = answered_at

    def is_answered(self) -> bool:
        """As the clock says."""
        return self.transport.clock.now >= self.answered_at

    def reply(self) -> Reply | TransportError:
        """Wait until it is there."""
        transport = self.transport
        transport.waiting.remove(self)
        transport.clock.now = max(transport.clock.now, self.answered_at)
        if transport.fault is not None:
            fault, transport.fault = transport.fault, None
            raise fault
        return transport.answers.popleft() if transport.answers else accepted()


def quick_client(*answers: Reply | TransportError, max_events: int = 1) -> tuple[HecClient, SlowTransport]:
    """A client whose caller was quick for long enough, with batches of so many events."""
    clock = ManualClock()
    transport = SlowTransport(clock, [accepted()] * QUICK_POSTS + list(answers))
    config = HecConfig(
        url="http://test", token="t", ack="off", threads=False, gzip="off", batch_max_events=max_events
    )
    hec = HecClient(config, transport_factory=lambda: transport, clock=clock)
    for _ in range(QUICK_POSTS):
        hec.submit_many([Event("a")] * max_events)
        assert not transport.waiting
    hec.submit_many([Event("b", ref=1)] * max_events)
    assert transport.waiting
    return hec, transport


def test_a_caller_that_takes_its_time_has_each_reply_when_the_call_returns() -> None:
    """Nothing is left open between two calls unless batches come quicker than replies."""
    clock = ManualClock()
    transport = SlowTransport(clock)
    config = HecConfig(url="http://test", token="t", ack="off", threads=False, gzip="off", batch_max_events=1)
    hec = HecClient(config, transport_factory=lambda: transport, clock=clock)
    for number in range(3 * QUICK_POSTS):
        hec.submit(Event("a", ref=number))
        assert [outcome.refs for outcome in hec.poll()] == [[number]]
        clock.advance(QUICK_SHARE * REPLY_S)


def test_the_reply_of_a_quick_caller_is_taken_when_the_next_batch_is_there() -> None:
    """One request at a time, in order, and each batch settles with the one after it."""
    hec, transport = quick_client()
    hec.submit(Event("c", ref=2))
    assert transport.waiting
    assert hec.budget.used_events == 1
    assert [body.count(b"event") for body in transport.sent] == [1] * (QUICK_POSTS + 2)


def test_a_reply_that_is_there_is_taken_though_no_batch_is() -> None:
    """An event that fills no batch is enough to look."""
    hec, transport = quick_client(max_events=2)
    hec.submit(Event("c"))
    assert transport.waiting
    transport.clock.advance(REPLY_S)
    hec.stream().submit(Event("d"))
    assert not transport.waiting
    assert hec.budget.used_events == 2


def test_poll_waits_for_a_reply_that_was_left() -> None:
    """Whoever asks for outcomes has those of all that was sent, as ever."""
    hec, transport = quick_client()
    assert [outcome.refs for outcome in hec.poll()] == [[1]]
    assert not transport.waiting


def test_flush_waits_for_a_reply_that_was_left() -> None:
    """Whoever flushes has everything settled, as ever."""
    hec, transport = quick_client()
    assert hec.flush(10) == 0
    [outcome] = hec.poll()
    assert (outcome.kind, outcome.refs) == (OutcomeKind.DELIVERED, [1])
    assert not transport.waiting


@pytest.mark.parametrize(
    ("answer", "posts"), [(refused(400, 6, "Invalid data format", number=0), 1), (LOST, 2)]
)
def test_what_a_late_reply_says_counts_as_ever(answer: Reply | TransportError, posts: int) -> None:
    """A refusal is an outcome and a lost reply a resend, whenever they are read."""
    hec, transport = quick_client(answer)
    before = len(transport.sent)
    outcomes: list[Outcome] = []
    for _ in range(60):  # seconds, of which a resend takes some
        transport.clock.advance(1)
        outcomes += hec.poll()
    [outcome] = outcomes
    expected = OutcomeKind.REJECTED if posts == 1 else OutcomeKind.DELIVERED
    assert (outcome.kind, outcome.refs, outcome.attempts) == (expected, [1], posts)
    assert len(transport.sent) == before + posts - 1


def test_an_end_before_the_reply_was_taken_loses_no_event() -> None:
    """A batch whose reply nobody took has its outcome when the client is aborted, and its room back."""
    hec, transport = quick_client()
    hec.abort()
    [outcome] = hec.poll()
    assert (outcome.kind, outcome.refs, outcome.reason) == (OutcomeKind.GAVE_UP, [1], "closed")
    assert hec.budget.used_events == 0
    assert transport.is_closed


def test_a_fault_of_ours_while_a_reply_is_taken_late_loses_no_event() -> None:
    """The batch moves to a fresh lane and is sent again, as one whose reply was waited for."""
    hec, transport = quick_client()
    transport.fault = RuntimeError("a fault of our own")
    assert hec.flush(30) == 0
    [outcome] = hec.poll()
    assert (outcome.kind, outcome.refs) == (OutcomeKind.DELIVERED, [1])
    assert transport.fault is None
    assert len(transport.sent) == QUICK_POSTS + 2


def test_a_slow_batch_ends_the_haste() -> None:
    """A caller that slows down has its replies again when its calls return."""
    hec, transport = quick_client()
    transport.clock.advance(10)
    hec.submit(Event("c", ref=2))
    assert not transport.waiting
    assert [outcome.refs for outcome in hec.poll()] == [[1], [2]]


def test_pace_looks_at_the_last_batches_only() -> None:
    """Quick means so many in a row, each within a few times what the reply took."""
    pace = Pace()
    now = 1_000.0
    pace.note_start(now)
    for _ in range(3):
        pace.note_reply(now + 1)
        for number in range(QUICK_POSTS):
            assert not pace.is_quick, number
            now += QUICK_SHARE - 0.1
            pace.note_start(now)
        assert pace.is_quick
        now += QUICK_SHARE
        pace.note_start(now)
        assert not pace.is_quick


# -- over real sockets -------------------------------------------------------------------------------------


def request(url: str, deadline_s: float = 20) -> Request:
    """A POST."""
    return Request(url, "/services/collector/event", {"Authorization": "Splunk t"}, b"{}", "C", deadline_s)


def test_a_reply_that_came_in_time_is_taken_after_the_deadline() -> None:
    """The deadline bounds what we wait, not how long the caller does something else."""
    with wire.WireServer(wire.reply()) as server:
        transport = RequestsTransport(HecConfig(url=server.url, token="t"))
        under_way = transport.start(request(server.url, deadline_s=0.2))
        transport._flight._due = 0.0  # so late is it
        assert under_way.reply() == Reply(200, wire.OK)
        assert transport.send(request(server.url)) == Reply(200, wire.OK)
        assert server.connections == 1
        transport.close()


def test_a_reply_that_does_not_come_ends_at_the_deadline() -> None:
    """What was left of the deadline when the request was sent is all that is waited."""
    with wire.WireServer(wire.never_answer()) as server:
        transport = RequestsTransport(HecConfig(url=server.url, token="t"))
        under_way = transport.start(request(server.url, deadline_s=0.2))
        assert not under_way.is_answered()
        reply = under_way.reply()
        assert isinstance(reply, TransportError)
        assert (reply.kind, reply.maybe_sent) == ("timeout", True)
        transport.close()


def test_a_transport_that_closes_closes_what_is_under_way() -> None:
    """No connection is left open by a client that ends before it took a reply."""
    with wire.WireServer(wire.never_answer()) as server:
        transport = RequestsTransport(HecConfig(url=server.url, token="t"))
        transport.start(request(server.url))
        connection = transport._under_way
        assert connection is not None
        transport.close()
        assert connection.sock is None


def test_what_cannot_be_sent_is_answered_at_once() -> None:
    """A host that refuses connections is a failure under way, not an exception."""
    url = f"http://127.0.0.1:{wire.unused_port()}"
    transport = RequestsTransport(HecConfig(url=url, token="t"))
    under_way = transport.start(request(url))
    assert under_way.is_answered()
    reply = under_way.reply()
    assert isinstance(reply, TransportError)
    assert (reply.kind, reply.maybe_sent) == ("connect", False)
    transport.close()
