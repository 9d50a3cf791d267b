"""What a lane must bear for hours: halts that come back, refused ack queries, silent servers."""

from __future__ import annotations

import pytest
from hec_lane import EMPTY_200, LOST, PROBED_WELL, Driver

from splunk_hec._actions import PollAcks
from splunk_hec._lane import MAX_UNUSED_IDS
from splunk_hec.testing import Reply, accepted, refused

NOT_FOUND = Reply(404, b"<html>no such page</html>")
ACKS_OFF = refused(400, 14, "ACK is disabled")


def test_a_halt_that_probes_do_not_see_keeps_its_age() -> None:
    """Probes go well and each POST is refused again: it is one halt, and tries get rarer."""
    lane = Driver()
    lane.give("a")
    started, gaps = lane.clock.now, []
    for _ in range(6):
        before = lane.clock.now
        lane.post(refused(403, 4))
        gaps.append(lane.clock.now - before)
        assert lane.lane.health().halted_since == started
        lane.probe(PROBED_WELL)
    assert gaps == sorted(gaps)
    assert lane.clock.now - started > 30


def test_an_accepted_batch_ends_a_halt_for_good() -> None:
    """After a success the same refusal is a new halt: the patience starts again."""
    lane = Driver()
    lane.give("a", "b")
    lane.post(refused(403, 4))
    lane.probe(PROBED_WELL)
    lane.post(accepted(0), "a")
    lane.post(refused(403, 4), "b")
    assert lane.lane.health().halted_since == lane.clock.now


def test_refused_ack_queries_are_probed_by_ack_queries() -> None:
    """An /ack that is not there holds everything until it is: an empty POST says nothing of it."""
    lane = Driver(acks=None)
    lane.give("a")
    for _ in range(5):
        lane.poll(NOT_FOUND, [0])
        assert lane.halted == "not_found"
    assert isinstance(lane.wait_for_any(), PollAcks)
    lane.poll(Reply(200, b'{"acks":{"0":false}}'), [0])
    assert not lane.halted
    lane.post(accepted(0), "a")


def test_a_token_that_turns_acks_on_is_believed_from_then_on() -> None:
    """With `auto`, an ackId where there was none means that acceptance is no longer delivery."""
    lane = Driver(acks=None)
    lane.give("a", "b")
    lane.poll(ACKS_OFF, [0])
    lane.post(accepted(), "a")
    assert lane.delivered == "a"
    lane.post(accepted(0), "b")
    assert lane.delivered == "a"
    lane.confirm(0)
    assert lane.delivered == "ab"


def test_a_token_without_acks_costs_its_events_a_counted_resend() -> None:
    """Accepted under no id where one was due: it is sent again later, and that is counted."""
    lane = Driver()
    lane.give("a")
    lane.post(accepted())
    assert lane.halted == "acks_disabled"
    assert lane.resends == [("unknown_reply", "a")]


@pytest.mark.parametrize("reply", [NOT_FOUND, EMPTY_200, ACKS_OFF])
def test_unused_ids_do_not_pile_up(reply: Reply) -> None:
    """With acks off and /ack out of order for ever, what is remembered of each channel stays bounded."""
    lane = Driver(acks=False)
    for number in range(MAX_UNUSED_IDS + 100):
        lane.give("a")
        while isinstance(action := lane.wait_for_any(), PollAcks):
            lane.lane.on_acks(action, reply, lane.clock.now)
        lane.lane.on_post(action, accepted(number), lane.clock.now, 0.0)  # type: ignore[arg-type]
        lane.clock.advance(0.01)
    assert sum(len(channel.asked) for channel in lane.lane.channels) <= MAX_UNUSED_IDS


def test_a_counter_that_others_move_too_proves_nothing_after_an_unknown_reply() -> None:
    """One counter for all channels: after a restart a lost POST may have any id of ours, so none is asked."""
    lane = Driver()
    lane.give("a", "b", "c", "d")
    lane.post(accepted(1), "a")
    lane.post(accepted(5), "b")
    lane.post(accepted(9), "c")
    lane.post(LOST, "d")
    assert not any(lane.asked.values())
    assert sorted(batch for cause, batch in lane.resends if cause == "unknown_reply") == ["a", "b", "c", "d"]
