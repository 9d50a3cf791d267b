"""What the queue and the call path owe to several callers at once, shown one step at a time."""

from __future__ import annotations

import threading

import pytest

from splunk_hec import Event, HecClient, HecConfig
from splunk_hec._batching import Batch, BatchBuilder
from splunk_hec._block import Block
from splunk_hec._queue import BatchQueue, Mailbox
from splunk_hec.errors import BudgetExceeded
from splunk_hec.testing import ManualClock, ScriptedTransport

BOUND_S = 30.0


def queue_of(clock: ManualClock) -> BatchQueue:
    """A queue of batches of three."""
    return BatchQueue(
        codec=None,
        clock=clock,
        new_builder=lambda box, query: BatchBuilder(box, max_bytes=1_000, max_events=3, query=query),
        linger_s=0.5,
    )


def test_an_aborted_stream_leaves_no_batch_in_the_queue() -> None:
    """While every lane is halted nobody takes batches: those of aborted streams must not fill the memory."""
    queue = queue_of(ManualClock())
    mine, other = Mailbox(), Mailbox()
    for box in (mine, other):
        assert queue.add(box, Block(b"a\nb\nc", 3), [1, 2, 3], 0, "")
    queue.abort(mine)
    batches = queue.drain()
    assert [batch.owner for batch in batches] == [other]


def test_what_comes_back_after_the_drain_is_refused() -> None:
    """A batch that is put back when the client has settled the queue for good stays with who has it."""
    queue, box = queue_of(ManualClock()), Mailbox()
    queue.add(box, Block(b"a\nb\nc", 3), [1, 2, 3], 0, "")
    queue.stop()
    (batch,) = queue.drain()
    assert not queue.put_back([batch])
    assert queue.drain() == []


def test_a_lane_that_leaves_hands_on_the_watch_over_open_batches() -> None:
    """The lane that was told of an open batch goes to poll: another wakes up and seals it when it is due."""
    clock = ManualClock()
    queue, box = queue_of(clock), Mailbox()
    taken: list[Batch | None] = []
    sleeper = threading.Thread(target=lambda: taken.append(queue.take(clock.now + 3_600)), daemon=True)
    sleeper.start()
    while not queue._work._waiters:  # type: ignore[attr-defined] # until it sleeps
        assert sleeper.is_alive()
    with queue._lock:  # an open batch of which the sleeper was not told
        box.builders[""] = BatchBuilder(box, max_bytes=1_000, max_events=3)
        box.builders[""].add(Block(b"a", 1), [1], 0, clock.now)
        queue._open[box] = None
    assert queue.take(clock.now) is None
    clock.advance(1)
    sleeper.join(BOUND_S)
    assert [batch.count for batch in taken if batch is not None] == [1]


def test_what_was_accepted_of_many_is_a_beginning() -> None:
    """`accepted` counts from the first event, also where raw events of several indexes alternate."""
    config = HecConfig(
        url="http://a:1", token="t", endpoint="raw", threads=False, in_flight_max_events=5, linger_s=60
    )
    client = HecClient(config, transport_factory=ScriptedTransport)
    events = [Event(f"e{number}", index=f"i{number % 2}", ref=number) for number in range(8)]
    with pytest.raises(BudgetExceeded) as refused:
        client.submit_many(events, timeout_s=0)
    client.abort()
    accepted = [ref for outcome in client.poll() for ref in outcome.refs]
    assert sorted(accepted) == list(range(refused.value.accepted))
    assert 0 < refused.value.accepted < 8
