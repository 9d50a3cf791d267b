"""The tools that users test their own code with do what they say."""

from __future__ import annotations

import json

from hec_desk import Desk

from splunk_hec import Event, HecClient, HecConfig, OutcomeKind
from splunk_hec.testing import (
    ManualClock,
    Reply,
    Request,
    ScriptedTransport,
    TransportError,
    accepted,
    acks,
    refused,
)

REQUEST = Request("http://test", "/services/collector/event", {}, b"", "C", 60.0)


def test_replies_are_written_as_splunk_writes_them() -> None:
    """Compact JSON, the keys in Splunk's order, nothing that was not asked for."""
    assert accepted() == Reply(200, b'{"text":"Success","code":0}')
    assert accepted(3, code=24, text="near") == Reply(200, b'{"text":"near","code":24,"ackId":3}')
    assert refused(400, 6, "bad", number=1, ack_id=0) == Reply(
        400, b'{"text":"bad","code":6,"invalid-event-number":1,"ackId":0}'
    )
    assert acks({0: True, 5: False}) == Reply(200, b'{"acks":{"0":true,"5":false}}')


def test_script_is_followed_and_requests_are_kept() -> None:
    """Items are answered in order, callables see their request, and at the end nobody is there."""
    transport = ScriptedTransport([accepted(0), lambda request: Reply(200, request.channel.encode())])
    assert transport.send(REQUEST) == accepted(0)
    assert transport.send(REQUEST) == Reply(200, b"C")
    used_up = transport.send(REQUEST)
    assert isinstance(used_up, TransportError)
    assert not used_up.maybe_sent
    assert transport.requests == [REQUEST] * 3
    transport.forget("C")
    transport.close()
    assert (transport.forgotten, transport.is_closed) == (["C"], True)


def test_clock_stands_still() -> None:
    """Time passes only when told to."""
    clock = ManualClock(5.0)
    assert clock() == clock() == 5.0
    assert clock.advance(2.5) == 7.5 == clock()


def test_example_of_the_docstring_works() -> None:
    """A user's test needs no server, no thread and no sleep."""
    transport, clock = ScriptedTransport([accepted(0), acks({0: True})]), ManualClock()
    config = HecConfig(url="http://test", token="t", threads=False, linger_s=0, gzip="off")
    hec = HecClient(config, transport_factory=lambda: transport, clock=clock)
    hec.submit(Event("a line", ref=1))
    clock.advance(1)
    assert [outcome.kind for outcome in hec.poll()] == [OutcomeKind.DELIVERED]
    assert json.loads(transport.requests[0].body) == {"event": "a line"}


def test_cookies_of_a_channel_that_ended_are_dropped() -> None:
    """The transport is told of each channel that is gone, so that jars do not pile up."""
    desk = Desk(TransportError("reset", "reset", maybe_sent=True), accepted(0))
    desk.hec.submit(Event("a"))
    desk.later(5)
    first, second = (request.channel for request in desk.wire.requests)
    assert desk.wire.forgotten == [first]
    assert first != second
