"""The rules of delivery, one by one: a lane with a clock that stands still, and replies given by hand.

Each test is named after the loss, the duplicate or the standstill that its rule prevents.
"""

from __future__ import annotations

import pytest
from hec_lane import (
    EMPTY_200,
    FORBIDDEN_PAGE,
    HTML_503,
    LOST,
    PROBED_WELL,
    Driver,
    NoJitter,
    Owner,
    batch_of,
    told,
)

from splunk_hec import _protocol as protocol
from splunk_hec._actions import PollAcks, Post, Probe, Rest, Settled, Wait
from splunk_hec._channels import IDLE_CHANNEL_S, MAX_DRAINING
from splunk_hec._endpoint import MAX_STRANGE
from splunk_hec._gzip import Fast
from splunk_hec._lane import MAX_UNUSED_IDS
from splunk_hec.events import OutcomeKind
from splunk_hec.testing import Reply, TransportError, accepted, refused

NOT_SENT = TransportError("connect", "connection refused", maybe_sent=False)


def bad(code: int, number: int | None = None, ack_id: int | None = None) -> Reply:
    """A 400 that blames one event."""
    return refused(400, code, "refused", number=number, ack_id=ack_id)


# -- batches are streams ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason"), [(6, "invalid_event"), (12, "invalid_event"), (13, "blank"), (15, "bad_fields")]
)
def test_no_event_behind_a_bad_one_is_lost_and_none_before_it_is_sent_twice(code: int, reason: str) -> None:
    """The prefix is delivered by the refusal's own ackId, the named event is rejected, the rest is resent."""
    lane = Driver()
    lane.give("abcde")
    lane.post(bad(code, 2, ack_id=0))
    lane.post(accepted(1), "de")
    lane.poll(told({0: True, 1: True}))
    assert lane.rejected == {"c": reason}
    assert lane.delivered == "abde"
    assert lane.resends == [("split", "de")]


def test_prefix_without_an_ack_id_is_not_taken_for_indexed() -> None:
    """Where a refusal names no id for what it took, that prefix is resent by itself, on a fresh channel."""
    lane = Driver()
    lane.give("abc")
    first = lane.post(bad(6, 2))
    again = lane.post(accepted(0), "ab")
    assert again.channel is not first.channel
    lane.poll(told({0: True}))
    assert lane.delivered == "ab"
    assert lane.rejected == {"c": "invalid_event"}
    assert lane.resends == [("split", "ab")]


def test_prefix_counts_as_delivered_without_acks() -> None:
    """With acks off, what stands before the named event is in."""
    lane = Driver(acks=False)
    lane.give("abc")
    lane.post(bad(6, 1))
    lane.post(accepted(), "c")
    assert lane.delivered == "ac"
    assert lane.rejected == {"b": "invalid_event"}
    assert [item.answer and item.answer.status for item in lane.settled] == [400, 400, 200]


def test_good_event_is_not_rejected_where_code_7_counts_from_1() -> None:
    """Splunk's code 7 names the event after the bad one: the bad one is sent alone and rejected alone."""
    lane = Driver()
    lane.give("aBc", index="nope")
    lane.post(bad(7, 2, ack_id=0))
    lane.post(bad(7, 1), "B")
    lane.post(accepted(1), "c")
    lane.poll(told({0: True, 1: True}))
    assert lane.rejected == {"B": "bad_index"}
    assert lane.delivered == "ac"
    assert lane.settled[0].bad_index == "nope"


def test_the_event_that_code_7_names_is_sent_alone_wherever_it_stands() -> None:
    """The number is counted from 1: what stands before is in, and only the named event is sent alone."""
    lane = Driver()
    lane.give("abcDe", index="nope")
    lane.post(bad(7, 4, ack_id=0))
    lane.post(bad(7, 1), "D")
    lane.post(accepted(1), "e")
    lane.confirm(0, 1)
    assert lane.rejected == {"D": "bad_index"}
    assert lane.delivered == "abce"
    assert lane.resends == [("split", "D"), ("split", "e")]


def test_bad_event_is_not_confirmed_where_code_7_counts_from_0() -> None:
    """Where the number is the event's own, the one before it is sent twice, and only the bad one rejected."""
    lane = Driver()
    lane.give("abCd", index="nope")
    lane.post(bad(7, 2, ack_id=0))  # a and b were taken
    lane.post(accepted(1), "b")  # named if counting starts at 1: sent alone, it proves good
    lane.post(bad(7, 0), "Cd")
    lane.post(accepted(2), "d")
    lane.poll(told({0: True, 1: True, 2: True}))
    assert lane.rejected == {"C": "bad_index"}
    assert lane.delivered == "abd"


def test_number_0_of_code_7_rejects_the_first_event() -> None:
    """Number 0 can only mean the first event, whatever the count starts from."""
    lane = Driver()
    lane.give("Abc", index="nope")
    lane.post(bad(7, 0))
    assert lane.rejected == {"A": "bad_index"}
    lane.post(accepted(0), "bc")


def test_first_event_of_a_refused_index_costs_no_channel() -> None:
    """Number 1 without an id: once the first event, alone, is refused as 1 again, no id can be hidden."""
    lane = Driver()
    lane.give("z", "Ab", index="nope")
    lane.post(accepted(0), "z")
    first = lane.post(bad(7, 1), "Ab")
    lane.post(bad(7, 1), "A")
    assert lane.post(accepted(1), "b").channel is first.channel
    assert lane.asked == {"C0": [0, 1]}
    lane.give("Cd", index="nope")
    lane.post(bad(7, 1), "Cd")
    lane.post(bad(7, 1), "C")
    assert lane.post(accepted(2), "d").channel is first.channel
    lane.confirm(0, 1, 2)
    assert lane.delivered == "bdz"
    assert lane.rejected == {"A": "bad_index", "C": "bad_index"}


def test_id_hidden_by_a_count_from_0_is_not_believed() -> None:
    """Number 1 that meant the second event took the first under an id we do not know: a lost reply."""
    lane = Driver()
    lane.give("z", "aB", index="nope")
    lane.post(accepted(0), "z")
    first = lane.post(bad(7, 1), "aB")  # a was taken, under id 1
    lane.post(accepted(2), "a")
    assert "z" in {events for cause, events in lane.resends if cause == "unknown_reply"}
    assert lane.post(accepted(0)).channel is not first.channel


@pytest.mark.parametrize("reply", [bad(6, 1), bad(7, 2)])
def test_refusal_that_hides_the_id_of_its_prefix_ends_its_channel(reply: Reply) -> None:
    """Only number 1 of code 7 may mean that nothing was taken; any other such refusal is a lost reply."""
    lane = Driver()
    lane.give("z", "abc", index="nope")
    first = lane.post(accepted(0), "z")
    lane.post(reply, "abc")
    assert ("unknown_reply", "z") in lane.resends
    lane.wait_for(Post)
    assert first.channel is not lane.lane.channels.active(lane.clock.now)


def test_refusal_of_one_event_hides_no_id() -> None:
    """Before a single event nothing can have been taken, whatever number it is refused with."""
    lane = Driver()
    lane.give("z", "x", "b")
    first = lane.post(accepted(0), "z")
    lane.post(bad(6, 1), "x")
    lane.post(refused(503, 9, number=1), "b")
    assert lane.post(accepted(1), "b").channel is first.channel
    assert lane.asked == {"C0": [0, 1]}


def test_channel_that_is_known_to_count_from_1_is_not_doubted() -> None:
    """Once number 1 was seen to mean the first event, it hides no id, whatever becomes of that event."""
    lane = Driver()
    owner = Owner()
    lane.give("z", "Ab", batch_of("Cd", owner=owner, index="nope"), "ef", index="nope")
    first = lane.post(accepted(0), "z")
    lane.post(bad(7, 1), "Ab")
    lane.post(bad(7, 1), "A")
    lane.post(accepted(1), "b")
    lane.post(bad(7, 1), "Cd")
    owner.is_aborted = True
    assert lane.post(accepted(2), "ef").channel is first.channel
    assert lane.asked == {"C0": [0, 1, 2]}


def test_doubt_that_cannot_be_cleared_is_a_lost_reply() -> None:
    """If the event that would show it is gone (its stream was aborted), the channel is given up."""
    lane = Driver()
    owner = Owner()
    lane.give("z", batch_of("Ab", owner=owner, index="nope"), "cd")
    lane.post(accepted(0), "z")
    first = lane.post(bad(7, 1), "Ab")
    owner.is_aborted = True
    lane.post(accepted(0), "z")
    assert lane.resends[-1] == ("unknown_reply", "z")
    assert lane.post(accepted(1), "cd").channel is not first.channel


@pytest.mark.parametrize("reply", [bad(6), bad(6, 4), bad(6, 17), bad(5), bad(5, 1)])
def test_refusal_that_names_nobody_is_bisected(reply: Reply) -> None:
    """Without a usable number, halves are sent until the one at fault stands alone; only that is rejected."""
    lane = Driver(acks=False)
    lane.give("abxd")
    lane.post(reply)
    lane.post(accepted(), "ab")
    lane.post(reply, "xd")
    lane.post(reply, "x")
    lane.post(accepted(), "d")
    assert lane.rejected == {"x": "blank" if b'"code":5' in reply.body else "invalid_event"}
    assert lane.resends == [("split", events) for events in ("ab", "xd", "x", "d")]


def test_single_event_is_rejected_whatever_number_it_is_given() -> None:
    """An event sent alone is at fault by itself, also where the number is out of range."""
    lane = Driver()
    lane.give("x")
    lane.post(bad(6, 5))
    assert lane.rejected == {"x": "invalid_event"}


def test_raw_batch_is_never_split_by_a_number() -> None:
    """A raw request is one unit to Splunk, so a number in its refusal says nothing about our events."""
    lane = Driver(raw=True)
    lane.give("abcd")
    lane.post(bad(6, 1, ack_id=0))
    assert lane.todo == ["ab", "cd"]
    lane.post(refused(503, 9, number=1, ack_id=1), "ab")
    assert lane.todo == ["ab", "cd"]
    assert not lane.settled


def test_dense_poison_does_not_cost_the_square_of_the_batch() -> None:
    """With a bad event in every ten, a batch of 100 costs about two requests for each of them."""
    lane = Driver(acks=False)
    events = "".join(chr(0x4E00 + n) for n in range(100))
    poison = set(events[9::10])
    lane.give(batch_of(events))
    posts = sent = 0
    while lane.todo:
        post = lane.wait_for(Post)
        posts, sent = posts + 1, sent + post.batch.count
        found = [n for n, event in enumerate(post.batch.manifest) if event in poison]  # type: ignore[arg-type]
        reply = bad(6, found[0]) if found else accepted()
        lane.lane.on_post(post, reply, lane.clock.now, 0.0)
    lane.next()
    assert set(lane.rejected) == poison
    assert len(lane.delivered) == 90
    assert posts <= 25
    assert sent <= 400  # re-sending all that follows would be 100 + 90 + … = 550


def test_pieces_grow_again_after_a_rejection() -> None:
    """The limit after a rejection is four times the last accepted prefix, and grows with each success."""
    lane = Driver(acks=False)
    lane.give("abcdefghijklmnopqrstuvwxyz")
    lane.post(bad(6, 0))
    lane.post(accepted(), "bcde")
    lane.post(accepted(), "fghijklmnopqrstu")
    lane.post(accepted(), "vwxyz")


# -- overload and size -----------------------------------------------------------------------------------


def test_busy_rejects_nothing_and_keeps_its_channel() -> None:
    """A 503 in Splunk's JSON without a number took nothing: all is resent there, after a while."""
    lane = Driver()
    lane.give("abc")
    first = lane.post(refused(503, 9, "Server is busy"))
    assert isinstance(lane.next(), Wait)
    again = lane.post(accepted(0), "abc")
    assert again.channel is first.channel
    assert lane.resends == [("busy", "abc")]


@pytest.mark.parametrize("status", [429, 503])
def test_busy_with_a_number_does_not_send_its_prefix_twice(status: int) -> None:
    """Objects before the number were taken under the reply's id; the named one and the rest are resent."""
    lane = Driver()
    lane.give("abcd")
    lane.post(refused(status, 26, number=3, ack_id=0))
    lane.post(accepted(1), "d")
    lane.confirm(0, 1)
    assert lane.delivered == "abcd"
    assert lane.resends == [("busy", "d")]


def test_busy_with_a_number_and_no_id_does_not_confirm_its_prefix() -> None:
    """Without an id the prefix cannot be confirmed: it is resent, on a channel where no id can be hidden."""
    lane = Driver()
    lane.give("abcd")
    first = lane.post(refused(503, 9, number=2))
    second = lane.post(accepted(0), "ab")
    assert second.channel is not first.channel
    lane.post(accepted(1), "cd")


def test_busy_behind_the_first_of_two_events_is_a_prefix_as_well() -> None:
    """Number 1 of two: the first event is in under the reply's id; without one it may be in under any id."""
    lane = Driver()
    lane.give("ab", "cd")
    first = lane.post(refused(503, 9, number=1, ack_id=0), "ab")
    lane.post(accepted(1), "b")
    assert lane.resends == [("busy", "b")]
    lane.post(refused(503, 9, number=1), "cd")
    assert lane.post(accepted(0), "c").channel is not first.channel
    assert lane.post(accepted(1), "d")


@pytest.mark.parametrize("number", [0, 4, 9])
def test_busy_with_a_number_that_cuts_nothing_resends_all(number: int) -> None:
    """Number 0 and numbers beyond the batch leave no prefix to spare."""
    lane = Driver()
    lane.give("abcd")
    lane.post(refused(503, 9, number=number))
    lane.post(accepted(0), "abcd")


def test_retry_after_is_honoured() -> None:
    """A server that asks for ten seconds is left alone for ten seconds, and not for ever."""
    lane = Driver()
    lane.give("a")
    lane.post(Reply(503, b'{"text":"Server is busy","code":9}', retry_after="10"))
    action = lane.next()
    assert isinstance(action, Wait)
    assert lane.clock.now + 10 <= action.until <= lane.clock.now + 11


def test_retry_after_may_be_a_date() -> None:
    """A date is read by the clock on the wall, and waited for by the one that never jumps."""
    lane = Driver()
    lane.give("a")
    lane.post(Reply(503, b'{"text":"busy","code":9}', retry_after="Tue, 14 Nov 2023 22:13:30 GMT"))
    action = lane.next()
    assert isinstance(action, Wait)
    assert lane.clock.now + 10 <= action.until <= lane.clock.now + 11


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (refused(503, 9, "Server is busy"), "Server is busy"),
        (refused(503, 9), "HTTP 503"),
        (LOST, "the connection was reset"),
        (refused(403, 4, "Invalid token"), "Invalid token"),
    ],
)
def test_health_says_what_failed_last(reply: Reply | TransportError, failure: str) -> None:
    """Whoever looks why nothing moves finds the server's own words, or at least its status."""
    lane = Driver()
    lane.give("a")
    lane.post(reply)
    assert lane.lane.health().failure == failure
    assert lane.lane.health().halted_text in ("", failure)


def test_tries_are_counted_from_the_first_on() -> None:
    """A batch knows how often it was posted, and when for the first time."""
    lane = Driver()
    lane.give("a")
    for attempt in (1, 2, 3):
        post = lane.wait_for(Post)
        lane.lane.on_post(post, LOST, lane.clock.now, 1_700_000_000.0 + attempt)
        assert post.batch.attempts == attempt
        assert post.batch.first_attempt_s == 1_700_000_001.0


def test_413_halves_and_keeps_later_batches_small() -> None:
    """What is too large is halved, and what comes after it is not sent as large again."""
    lane = Driver()
    lane.give("abcd", "efgh")
    whole = lane.post(Reply(413, b"<html>too large</html>")).batch.size_bytes
    lane.post(accepted(0), "ab")
    lane.post(accepted(1), "cd")
    assert lane.post(accepted(2)).batch.size_bytes <= whole / 2


def test_what_follows_a_413_is_cut_by_its_bytes() -> None:
    """Later batches are cut to about half of what was too large, down to single events."""
    lane = Driver()
    lane.give("abcdefghij", "klmnopqrst")
    lane.post(refused(413, 6, "too large"))
    lane.post(accepted(0), "abcde")
    lane.post(accepted(1), "fghij")
    lane.post(accepted(2), "klmn")
    lane = Driver()
    lane.give("ab", "cd")
    lane.post(refused(413, 6, "too large"))
    lane.post(accepted(0), "a")
    lane.post(accepted(1), "b")
    lane.post(accepted(2), "c")


@pytest.mark.parametrize("is_splunk", [True, False])
def test_413_of_a_proxy_ends_its_channel(is_splunk: bool) -> None:
    """What is not Splunk's JSON may hide that the request was taken: its channel is not posted to again."""
    lane = Driver()
    lane.give("ab")
    first = lane.post(refused(413, 6, "too large") if is_splunk else Reply(413, b"<html>too large</html>"))
    assert (lane.post(accepted(0), "a").channel is first.channel) == is_splunk


def test_413_for_one_event_rejects_it_instead_of_looping() -> None:
    """An event too large by itself can never go through."""
    lane = Driver()
    lane.give("x")
    lane.post(refused(413, 6, "too large"))
    assert lane.rejected == {"x": "too_large"}
    answer = lane.settled[0].answer
    assert answer is not None
    assert answer.status == 413


def test_near_capacity_is_accepted_and_slows_down() -> None:
    """Code 24 means taken: nothing is resent, and the next POST waits a little."""
    lane = Driver()
    lane.give("ab", "cd")
    lane.post(accepted(0, code=24))
    assert isinstance(lane.next(), Wait)
    lane.post(accepted(1, code=0), "cd")
    assert not lane.resends


# -- 200 is proof only as JSON ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [EMPTY_200, Reply(200, b'{"text":"Succ'), Reply(200, b"<html>login</html>"), accepted(0, code=9)],
)
def test_200_that_proves_nothing_settles_nothing(reply: Reply) -> None:
    """A cut, empty or foreign 200 is unknown: the batch is resent on a fresh channel, with its cause."""
    lane = Driver(acks=False)
    lane.give("ab")
    first = lane.post(reply)
    assert not lane.settled
    second = lane.post(accepted(), "ab")
    assert second.channel is not first.channel
    assert lane.resends == [("unknown_reply", "ab")]


def test_endless_strange_200s_halt_instead_of_duplicating_for_ever() -> None:
    """A login page that answers 200 to everything halts the lane until a probe goes well."""
    lane = Driver()
    lane.give("ab", "cd")
    for _ in range(MAX_STRANGE):
        assert not lane.halted
        lane.post(EMPTY_200)
    assert lane.halted == "strange_replies"
    lane.probe(EMPTY_200)
    assert lane.halted == "strange_replies"
    lane.probe(PROBED_WELL)
    assert not lane.halted
    assert lane.post(accepted(0)).batch.count == 1


def test_strange_200s_between_other_failures_do_not_halt() -> None:
    """Only replies of 200 in a row show that no HEC is there."""
    lane = Driver()
    lane.give("a")
    for _ in range(2 * MAX_STRANGE):
        lane.post(EMPTY_200)
        lane.post(LOST)
    assert not lane.halted


def test_token_without_acks_halts_where_they_are_required() -> None:
    """A success without an id delivers nothing: the lane halts, and heals once ids can be asked."""
    lane = Driver()
    lane.give("ab")
    lane.post(accepted())
    assert lane.halted == "acks_disabled"
    assert lane.resends == [("unknown_reply", "ab")]  # it was taken, and will be there twice
    assert not lane.settled
    lane.poll(refused(400, 14, "ACK is disabled"))
    assert lane.halted == "acks_disabled"
    asked = lane.poll(told({}), [0])
    assert not lane.halted
    assert asked.channel.id in lane.gone  # asked on a GUID of its own, whose cookies are dropped
    lane.post(accepted(0), "a")
    lane.post(accepted(1), "b")


@pytest.mark.parametrize("code", [24, 25])
def test_near_capacity_without_an_id_is_unknown(code: int) -> None:
    """Taken, but under an id we do not know: resent, because nothing could ever confirm it."""
    lane = Driver()
    lane.give("ab")
    lane.post(accepted(code=code))
    assert lane.resends == [("unknown_reply", "ab")]
    assert not lane.halted


# -- halt and hold -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (refused(403, 4, "Invalid token"), "invalid_token"),
        (refused(401, 2), "token_required"),
        (refused(400, 10), "channel_missing"),
        (Reply(302, b""), "redirected"),
        (Reply(404, b"<html>"), "not_found"),
        (Reply(415, b"<html>"), "encoding_refused"),
    ],
)
def test_fault_of_the_deployment_rejects_nothing_and_heals(reply: Reply, reason: str) -> None:
    """The batch is held, a slow probe looks whether it healed, and one event is tried first."""
    lane = Driver()
    lane.give("abc")
    lane.post(reply)
    assert lane.halted == reason
    lane.probe(reply)
    assert lane.halted == reason
    lane.probe(PROBED_WELL)
    assert not lane.halted
    lane.post(accepted(0), "a")
    lane.post(accepted(1), "bc")
    assert not lane.settled
    assert [note.split(": ")[0] for note in lane.notes] == ["http://test halted", "http://test healed"]


def test_halt_that_returns_names_its_latest_reason_and_probes_ever_more_slowly() -> None:
    """A probe that is refused for another reason corrects the first, and probes spread out to 30 s."""
    lane = Driver()
    lane.give("a")
    lane.post(refused(403, 4))
    gaps = []
    for _ in range(7):
        before = lane.clock.now
        lane.probe(refused(403, 1))
        gaps.append(lane.clock.now - before)
    assert lane.halted == "token_disabled"
    assert gaps[0] == 1
    assert gaps[-1] == 30
    assert gaps == sorted(gaps)


def test_configured_index_that_is_refused_rejects_nothing() -> None:
    """An index written in the configuration is a fault of the deployment, probed with the event it hit."""
    lane = Driver(configured_indexes=frozenset({"main"}))
    lane.give("aBc", index="main")
    lane.post(bad(7, 2, ack_id=0))
    lane.post(bad(7, 1), "B")
    assert lane.halted == "bad_index"
    assert lane.lane.health().halted_text == "index 'main': refused"
    assert not lane.settled
    lane.poll(told({0: True}))
    lane.post(bad(7, 1), "B")
    assert lane.halted == "bad_index"
    lane.post(accepted(1), "B")
    assert not lane.halted
    lane.post(accepted(2), "c")
    assert not lane.rejected


def test_refused_default_index_of_the_token_rejects_nothing() -> None:
    """An event that names no index is not at fault when the token's own default is refused."""
    lane = Driver()
    lane.give("a")
    lane.post(bad(7, 1))
    assert lane.halted == "bad_index"
    assert "of the token" in lane.lane.health().halted_text
    assert not lane.settled


def test_configured_index_of_the_first_event_holds_the_whole_batch() -> None:
    """Number 0 names the first event: it is held for its index, and probed soon, with the rest behind it."""
    lane = Driver(configured_indexes=frozenset({"main"}))
    lane.give("Abc", index="main")
    lane.post(bad(7, 0))
    assert lane.halted == "bad_index"
    assert lane.lane.health().halted_since == lane.clock.now
    assert lane.todo == ["A", "bc"]


def test_raw_index_of_the_record_is_read_from_the_query() -> None:
    """On the raw endpoint the index stands in the query: refused, it rejects its event alone."""
    lane = Driver(raw=True)
    batch = batch_of("a")
    batch.query = "index=nope&host=h"
    lane.give(batch)
    lane.post(bad(7, 1))
    assert lane.rejected == {"a": "bad_index"}
    assert lane.settled[0].bad_index == "nope"


def test_acks_turned_off_midway_hold_what_waits_for_them() -> None:
    """Code 14 from /ack halts; what was accepted is neither delivered nor resent, and asked again."""
    lane = Driver()
    lane.give("ab")
    lane.post(accepted(0))
    lane.poll(refused(400, 14, "ACK is disabled"))
    assert lane.halted == "acks_disabled"
    assert not lane.settled
    while lane.halted:
        lane.poll(told({}))
    lane.poll(told({0: True}), [0])
    assert lane.delivered == "ab"
    assert not lane.resends


def test_probe_for_acks_swallows_no_acknowledgement() -> None:
    """While halted for acks, only a GUID that is never posted to is asked whether they are back."""
    lane = Driver()
    lane.give("ab", "c")
    posted = lane.post(accepted(0))
    lane.post(accepted())
    assert lane.halted == "acks_disabled"
    asked = []
    while lane.halted:
        poll = lane.wait_for(PollAcks)
        asked.append(poll.channel)
        reply = HTML_503 if poll.channel is posted.channel else told({0: False})
        lane.lane.on_acks(poll, reply, lane.clock.now)
    assert asked[-1] is not posted.channel
    assert asked[-1].id not in lane.asked


@pytest.mark.parametrize("status", [400, 403, 429])
def test_ack_query_refused_by_the_deployment_resolves_nothing(status: int) -> None:
    """A refusal of the query is no answer: nothing is delivered, nothing resent, and the id stays asked."""
    lane = Driver()
    lane.give("ab")
    lane.post(accepted(0))
    lane.poll(refused(status, 26 if status == 429 else 6))
    assert not lane.settled
    assert not lane.resends
    assert lane.asked == {"C0": [0]}


def test_ack_queries_that_fail_hold_up_no_post() -> None:
    """An outage of /ack is told and delays nothing; one good answer ends it."""
    lane = Driver()
    lane.give("a", "b")
    lane.post(accepted(0))
    lane.clock.advance(1)
    lane.poll(LOST)
    assert lane.lane.health().failure == "ack queries are not answered"
    assert isinstance(lane.next(), Post)
    lane.lane.work.todo.clear()
    lane.poll(told({}))
    assert lane.lane.health().failure == ""


def test_unknown_ack_mode_holds_up_everything() -> None:
    """Before it is known whether the token has acknowledgements, failing queries back off like POSTs."""
    lane = Driver(acks=None)
    lane.give("a")
    lane.poll(HTML_503, [0])
    assert isinstance(lane.next(), Wait)


def test_answered_ack_query_does_not_end_the_back_off_of_posts() -> None:
    """That /ack answers says nothing about POSTs: the next one still waits, and health still tells why."""
    lane = Driver()
    lane.give("a", "b")
    lane.post(accepted(0))
    for _ in range(3):
        lane.post(NOT_SENT)
    lane.poll(told({}))
    assert lane.lane.health().failure == "connection refused"
    assert lane.lane.endpoint.is_backing_off


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (refused(403, 1, "Token disabled"), "Token disabled"),
        (LOST, "the connection was reset"),
        (refused(503, 9, "Server is busy"), "Server is busy"),
        (refused(400, 6, "odd"), "an empty request was answered with 400 odd"),
    ],
)
def test_health_says_what_a_probe_was_told(reply: Reply | TransportError, text: str) -> None:
    """What the latest probe met stands in health: another refusal, or what failed."""
    lane = Driver()
    lane.give("a")
    lane.post(refused(403, 4, "Invalid token"))
    lane.probe(reply)
    health = lane.lane.health()
    assert text == (health.halted_text if health.halted == "token_disabled" else health.failure)


def test_halt_that_an_ack_query_showed_says_so() -> None:
    """Whoever reads why it halted learns that POSTs may look well."""
    lane = Driver()
    lane.give("a")
    lane.post(accepted(0))
    lane.poll(refused(403, 4))
    assert lane.lane.health().halted_text == "said in answer to an ack query"


def test_unreadable_ack_mode_asks_again_before_the_first_post() -> None:
    """With ack=auto nothing is posted until the token's mode is known."""
    lane = Driver(acks=None)
    lane.give("a")
    lane.poll(HTML_503, [0])
    lane.poll(NOT_SENT, [0])
    lane.poll(refused(403, 4), [0])
    assert lane.halted == "invalid_token"
    lane.poll(told({0: False}), [0])
    assert not lane.halted
    assert lane.notes[-2:] == [
        "http://test: acknowledgements are on for this token",
        "http://test healed: invalid_token",
    ]
    lane.post(accepted(7), "a")
    lane.poll(told({7: True}))
    assert lane.delivered == "a"


def test_auto_without_acks_delivers_on_acceptance_and_is_well() -> None:
    """Code 14 is an answer, not a failure: the lane is healthy and acceptance is delivery."""
    lane = Driver(acks=None)
    lane.give("a")
    lane.poll(refused(400, 14, "ACK is disabled"), [0])
    assert lane.lane.health().failure == ""
    lane.post(accepted(), "a")
    assert lane.delivered == "a"
    assert lane.notes == ["http://test: acknowledgements are off for this token"]


def test_with_acks_off_ids_are_fetched_so_that_the_server_does_not_fill_up() -> None:
    """On a token with acks the ids are polled and dropped; a refusal of that changes nothing."""
    lane = Driver(acks=False)
    lane.give("a")
    lane.post(accepted(0))
    assert lane.delivered == "a"
    lane.poll(refused(400, 14), [0])
    assert not lane.halted
    assert lane.lane.health().failure == ""
    lane.poll(told({0: True}), [0])
    assert lane.asked == {}


def test_ids_that_nobody_needs_are_bounded() -> None:
    """With acks off and a silent /ack, the oldest ids are forgotten: they only free the server's memory."""
    lane = Driver(acks=False)
    for ack_id in range(MAX_UNUSED_IDS + 2):
        lane.give("a")
        lane.lane.on_post(_post_of(lane), accepted(ack_id), lane.clock.now, 0.0)
    assert lane.asked == {"C0": list(range(2, MAX_UNUSED_IDS + 2))}


def test_lost_reply_with_acks_off_resends_itself_only() -> None:
    """What was delivered on acceptance is not sent again because its id is not asked any more."""
    lane = Driver(acks=False)
    lane.give("a", "b")
    lane.post(accepted(0), "a")
    lane.post(LOST, "b")
    assert lane.asked == {}
    assert lane.resends == [("unknown_reply", "b")]
    lane.post(accepted(0), "b")
    assert lane.delivered == "ab"


def test_ids_nobody_needs_are_not_asked_for_ever() -> None:
    """With acks off, an id that never comes true is dropped in the end."""
    lane = Driver(acks=False)
    lane.give("a")
    lane.post(accepted(0))
    lane.poll_false_until(lane.clock.now + 1_900)
    assert lane.asked == {}
    assert not lane.resends


def test_acks_that_are_turned_on_count_from_then_on() -> None:
    """A token found without acks that starts to give ids is believed: nothing is lost by waiting for them."""
    lane = Driver(acks=None)
    lane.give("a")
    lane.poll(refused(400, 14), [0])
    lane.post(accepted(), "a")
    assert lane.delivered == "a"
    lane.give("b")
    lane.post(accepted(0), "b")
    assert lane.delivered == "a"
    lane.confirm(0)
    assert lane.delivered == "ab"


# -- refused by something that is not Splunk ---------------------------------------------------------------


def test_proxy_that_minds_one_event_costs_that_event_only() -> None:
    """Refused by a page, let through when empty: sent uncompressed, then in halves; alone, it is rejected."""
    lane = Driver(codec=Fast())
    lane.give("abxd")
    first = lane.post(FORBIDDEN_PAGE)
    assert lane.probe(PROBED_WELL).channel is first.channel
    plain = lane.post(FORBIDDEN_PAGE, "abxd")
    assert plain.batch.is_plain
    lane.probe(PROBED_WELL)
    lane.post(accepted(0), "ab")
    lane.post(FORBIDDEN_PAGE, "xd")
    lane.probe(PROBED_WELL)
    lane.post(FORBIDDEN_PAGE, "x")
    lane.probe(PROBED_WELL)
    lane.post(accepted(0), "d")
    assert lane.rejected == {"x": "refused_by_proxy"}
    assert "proxy or firewall" in lane.settled[0].text


def test_packed_batch_is_cut_like_any_other() -> None:
    """Once it was posted only its compressed form is held: pieces and the index are read from that."""
    lane = Driver(codec=Fast())
    batch = batch_of("aB", index="nope")
    batch.wire(lane.codec)
    lane.give(batch)
    post = lane.post(bad(7, 2, ack_id=0), "aB")
    assert post.batch is batch
    named = lane.wait_for(Post)
    named.batch.wire(lane.codec)
    lane.lane.on_post(named, bad(7, 1), lane.clock.now, 0.0)
    lane.next()
    assert lane.settled[0].bad_index == "nope"


def test_refusal_without_a_body_may_be_splunks_own_cut_short() -> None:
    """A 400 cut in its headers looks like a proxy's, and may have taken a prefix: the resend is counted."""
    lane = Driver()
    lane.give("abxd")
    lane.post(Reply(400, b""))
    assert lane.resends == [("unknown_reply", "abxd")]
    lane.probe(PROBED_WELL)
    lane.post(accepted(0), "ab")
    lane.post(bad(6, 0), "xd")
    assert lane.rejected == {"x": "invalid_event"}


def test_proxy_that_minds_everybody_halts_and_rejects_nothing() -> None:
    """Where the empty probe is refused as well, the deployment is at fault."""
    lane = Driver()
    lane.give("ab")
    lane.post(FORBIDDEN_PAGE)
    lane.probe(FORBIDDEN_PAGE)
    assert lane.halted == "refused_with_403"
    assert not lane.settled
    lane.probe(PROBED_WELL)
    lane.post(accepted(0), "a")


def test_probe_that_is_lost_leaves_the_suspicion() -> None:
    """Without an answer to the probe, nobody is blamed yet."""
    lane = Driver()
    lane.give("x")
    lane.post(FORBIDDEN_PAGE)
    lane.probe(LOST)
    assert not lane.settled
    lane.probe(PROBED_WELL)
    assert lane.rejected == {"x": "refused_by_proxy"}


def test_innocent_batch_is_not_rejected_in_place_of_the_refused_one() -> None:
    """If others come to stand before it while the proxy is probed, the refused one is still blamed."""
    lane = Driver(ack_deadline_s=5.0)
    for ack_id, event in enumerate("abcdi"):
        lane.give(event)
        lane.post(accepted(ack_id), event)
    lane.confirm(0, 1, 2, 3)
    lane.give("x")
    lane.post(FORBIDDEN_PAGE, "x")
    lane.probe(LOST)
    while ("ack_timeout", "i") not in lane.resends:
        action = lane.wait_for_any()
        if isinstance(action, PollAcks):
            lane.lane.on_acks(action, told({}), lane.clock.now)
        else:
            assert isinstance(action, Probe)
            lane.lane.on_probe(action, NOT_SENT, lane.clock.now)
    assert lane.todo == ["i", "x"]  # i expired and is to be sent again first
    lane.probe(PROBED_WELL)
    assert lane.rejected == {"x": "refused_by_proxy"}
    lane.post(accepted(0), "i")


# -- acknowledgements --------------------------------------------------------------------------------------


def test_batch_is_delivered_by_its_own_true_only() -> None:
    """A true for an id delivers what was posted under it, and no other."""
    lane = Driver()
    lane.give("ab", "cd")
    lane.post(accepted(0))
    lane.post(accepted(1))
    lane.poll(told({0: False, 1: True}), [0, 1])
    assert lane.delivered == "cd"
    lane.poll(told({0: True}), [0])
    assert lane.delivered == "abcd"


def test_a_batch_gets_one_outcome() -> None:
    """A second outcome would count events twice: it is a fault of ours, and does not pass in silence."""
    lane = Driver()
    batch = batch_of("a")
    lane.give(batch)
    lane.lane.work.settle(batch, OutcomeKind.DELIVERED)
    assert batch.is_settled
    assert lane.lane.work.settled == [Settled(batch, OutcomeKind.DELIVERED)]
    with pytest.raises(AssertionError):
        lane.lane.work.settle(batch, OutcomeKind.DELIVERED)


def test_an_outcome_says_what_decided_it() -> None:
    """With a delivery comes the latency of its acknowledgement, with a rejection the reply itself."""
    lane = Driver()
    lane.give("ab", "x")
    lane.post(accepted(0), "ab")
    lane.post(bad(6, 0), "x")
    lane.clock.advance(3)
    lane.poll(told({0: True}), [0])
    rejection, delivery = lane.settled
    assert rejection.answer is not None
    assert (rejection.answer.status, rejection.answer.code) == (400, 6)
    assert rejection.bad_index == ""
    assert delivery.ack_latency_s >= 3


def test_a_batch_that_is_sent_again_knows_why() -> None:
    """The cause of the latest resend stays with the batch, for whoever looks for a duplicate."""
    lane = Driver()
    lane.give("a")
    batch = lane.post(refused(503, 9)).batch
    assert batch.cause == "busy"
    lane.post(LOST)
    assert batch.cause == "unknown_reply"


def test_true_for_an_id_that_was_not_asked_is_not_believed() -> None:
    """An answer that names other ids settles nothing by them."""
    lane = Driver()
    lane.give("ab")
    lane.post(accepted(3))
    lane.poll(told({0: True, 1: True, 4: True}), [3])
    assert not lane.settled


@pytest.mark.parametrize("body", [b'{"acks":{"0":"true"}}', b'{"acks":{"0":1}}', b'{"acks":{"0":null}}'])
def test_only_a_literal_true_is_true(body: bytes) -> None:
    """Text, 1 and null are not an acknowledgement."""
    lane = Driver()
    lane.give("a")
    lane.post(accepted(0))
    lane.poll(Reply(200, body))
    assert not lane.settled


def test_lost_reply_is_not_inferred_from_a_gap_in_the_ids() -> None:
    """A gap shows that a lost request was taken, at least in part: it is resent all the same."""
    lane = Driver()
    lane.give("z")
    lane.post(accepted(0), "z")
    lane.confirm(0)
    lane.give("ab", "cd")
    first = lane.post(LOST, "ab")
    second = lane.post(accepted(0), "ab")
    lane.post(accepted(5), "cd")
    assert first.channel.id not in lane.asked
    assert lane.asked == {second.channel.id: [0, 5]}
    lane.confirm(0, 5)
    assert lane.delivered == "abcdz"
    assert lane.resends == [("unknown_reply", "ab")]


def test_deadline_resends_on_a_fresh_channel() -> None:
    """A false that is read after the deadline sends the batch again, with its cause, elsewhere."""
    lane = Driver(ack_deadline_s=20.0)
    lane.give("ab")
    first = lane.post(accepted(0))
    assert lane.expire() > 20
    second = lane.post(accepted(0), "ab")
    assert second.channel is not first.channel
    assert lane.resends == [("ack_timeout", "ab")]
    assert lane.retired == ["ack_timeout"]


def test_slow_acks_do_not_resend_for_ever() -> None:
    """An expired id stays asked, and its true settles the batch although it was sent again."""
    lane = Driver(ack_deadline_s=20.0)
    lane.give("ab")
    lane.post(accepted(0))
    lane.expire()
    second = lane.post(accepted(0), "ab")
    old = lane.wait_for(PollAcks)
    while old.channel is second.channel:
        lane.lane.on_acks(old, told({}), lane.clock.now)
        old = lane.wait_for(PollAcks)
    lane.lane.on_acks(old, told({0: True}), lane.clock.now)
    lane.next()
    assert lane.delivered == "ab"
    assert lane.asked == {}
    assert len(lane.resends) == 1


def test_expired_id_is_given_up_after_half_an_hour() -> None:
    """Asking has an end: the id is dropped, and the batch lives on with its later attempt."""
    lane = Driver(ack_deadline_s=20.0)
    lane.give("ab")
    lane.post(accepted(0))
    lane.expire()
    lane.post(refused(403, 4))  # halted: the copy waits to be posted
    end = lane.clock.now + 2_000
    while lane.clock.now < end:
        action = lane.next()
        if isinstance(action, Probe):
            lane.lane.on_probe(action, refused(403, 4), lane.clock.now)
        elif isinstance(action, PollAcks):
            lane.lane.on_acks(action, told({}), lane.clock.now)
        else:
            assert isinstance(action, Wait)
            lane.clock.now = action.until
    assert lane.asked == {}
    assert lane.todo == ["ab"]


def test_stopped_process_does_not_resend_everything() -> None:
    """However much time passes, only a false that was read after the deadline expires an id (SIGSTOP)."""
    lane = Driver()
    lane.give("ab")
    lane.post(accepted(0))
    lane.clock.advance(100_000)
    lane.poll(told({0: True}), [0])
    assert lane.delivered == "ab"
    assert not lane.resends


def test_outage_of_ack_does_not_resend_everything() -> None:
    """While /ack answers with errors nothing expires; the first answer may still be true."""
    lane = Driver()
    lane.give("ab")
    lane.post(accepted(0))
    started = lane.clock.now
    while lane.clock.now < started + 600:
        lane.poll(refused(503, 9))
    assert not lane.resends
    assert lane.lane.health().failure
    lane.poll(told({0: True}))
    assert lane.delivered == "ab"


@pytest.mark.parametrize("reply", [LOST, EMPTY_200, Reply(200, b'{"acks":'), Reply(502, b"")])
def test_lost_poll_reply_waits_a_grace_and_not_the_whole_deadline(
    reply: Reply | TransportError,
) -> None:
    """Its one true may be gone: the id gets ten seconds, then the batch is resent with that cause."""
    lane = Driver(ack_deadline_s=300.0)
    lane.give("ab")
    lane.post(accepted(0))
    lane.poll(reply, [0])
    lost_at = lane.clock.now
    lane.expire()
    assert 10 <= lane.clock.now - lost_at <= 20
    assert lane.resends == [("ack_reply_lost", "ab")]
    assert lane.lane.health().is_confirming  # that says nothing about the server


def test_lost_poll_reply_does_not_prolong_the_deadline() -> None:
    """Polls that are lost again and again do not keep an id from expiring."""
    lane = Driver(ack_deadline_s=300.0)
    lane.give("ab")
    lane.post(accepted(0))
    lane.poll(LOST, [0])
    first = lane.clock.now
    while lane.clock.now < first + 60:
        lane.poll(LOST, [0])
    lane.poll(told({0: False}), [0])
    assert lane.resends == [("ack_reply_lost", "ab")]


@pytest.mark.parametrize(("apart_s", "asked_first"), [(0.049, [0, 1]), (0.051, [0])])
def test_ids_that_are_due_in_a_moment_share_a_poll(apart_s: float, asked_first: list[int]) -> None:
    """One request asks for what is due and nearly due; what was just posted is not asked too early."""
    lane = Driver()
    lane.give("a", "b")
    lane.post(accepted(0))
    lane.clock.advance(apart_s)
    lane.post(accepted(1))
    assert lane.wait_for(PollAcks).ids == asked_first


def test_the_longer_an_id_is_waited_for_the_less_often_it_is_asked() -> None:
    """An eighth of its age, up to 10 s; an expired one, for which nobody waits, 15 s, for half an hour."""
    lane = Driver(ack_deadline_s=5_000.0)
    lane.give("a", "b")
    for ack_id in (0, 1):
        lane.post(accepted(ack_id))
    first, second = next(iter(lane.lane.channels)).asked.values()
    poll = PollAcks(first.channel, [0, 1])
    for pause_s, first_gap_s, second_gap_s in ((16, 2, 2), (284, 10, 10), (0, 15, 10), (1_799, 15, 10)):
        lane.clock.advance(pause_s)
        lane.lane.on_acks(poll, told({}), lane.clock.now)
        assert first.next_ask == lane.clock.now + first_gap_s
        assert second.next_ask == lane.clock.now + second_gap_s
        first.deadline = 1_200.0  # passed by the second question
        assert lane.asked == {"C0": [0, 1]}
    lane.clock.advance(1)
    lane.lane.on_acks(poll, told({}), lane.clock.now)
    assert lane.asked == {"C0": [1]}


def test_poll_names_at_most_64_ids() -> None:
    """One lost reply to a poll puts 64 batches in doubt, not all of them."""
    lane = Driver()
    for _ in range(100):
        lane.give("a")
        lane.lane.on_post(_post_of(lane), accepted(len(lane.asked.get("C0", []))), lane.clock.now, 0.0)
    assert len(lane.asked["C0"]) == 100
    assert len(lane.wait_for(PollAcks).ids) == 64


def test_polls_come_one_after_the_other_only_while_there_are_too_many_ids() -> None:
    """Ids that fill a poll are asked at once, poll by poll; fewer wait for each other, however many posts."""
    lane = Driver()
    for _ in range(100):
        lane.give("a")
        lane.lane.on_post(_post_of(lane), accepted(len(lane.asked.get("C0", []))), lane.clock.now, 0.0)
    full = lane.poll(told(dict.fromkeys(range(64), True)))
    asked_at = lane.clock.now
    rest = lane.poll(told(dict.fromkeys(range(64, 100), True)))
    assert (len(full.ids), len(rest.ids), lane.clock.now) == (64, 36, asked_at)
    for number in range(100, 103):
        lane.give("a")
        lane.lane.on_post(_post_of(lane), accepted(number), lane.clock.now, 0.0)
        lane.clock.now += lane.lane.asking.latency.pause_s / 10
    together = lane.poll(told(dict.fromkeys(range(100, 103), True)))
    assert sorted(together.ids) == [100, 101, 102]
    assert lane.clock.now >= asked_at + lane.lane.asking.latency.pause_s


def _post_of(lane: Driver) -> Post:
    action = lane.lane.next(lane.clock.now)
    assert isinstance(action, Post)
    return action


def test_endpoint_that_confirms_nothing_gets_one_batch_at_a_time() -> None:
    """After a whole deadline without a true, no other batch is posted while one waits; a true ends that."""
    lane = Driver(ack_deadline_s=20.0)
    lane.give("a")
    lane.post(accepted(0))
    lane.expire()
    assert not lane.lane.health().is_confirming
    lane.give("b")
    lane.post(accepted(0), "a")
    lane.poll_false_until(lane.clock.now + 5)
    assert lane.todo == ["b"]
    lane.poll(told({0: True}))
    assert lane.lane.health().is_confirming
    lane.post(accepted(1), "b")


def test_unconfirmed_instead_of_resent_where_a_duplicate_is_worse() -> None:
    """With on_ack_timeout=unconfirmed the deadline is an outcome of its own, and nothing is sent twice."""
    lane = Driver(ack_deadline_s=20.0, resend_on_ack_timeout=False)
    lane.give("ab")
    lane.post(accepted(0))
    lane.poll_false_until(lane.clock.now + 40)
    assert lane.named(OutcomeKind.UNCONFIRMED) == "ab"
    assert (lane.settled[0].reason, lane.settled[0].text) == ("unconfirmed", "no acknowledgement in time")
    assert not lane.resends
    assert lane.asked == {}


def test_split_does_not_confirm_a_piece_by_the_id_of_the_whole() -> None:
    """Cutting a batch ends the asking for its earlier ids: their true would say too much about a piece."""
    lane = Driver(ack_deadline_s=20.0)
    lane.give("abc")
    lane.post(accepted(0))
    lane.expire()
    assert lane.asked == {"C0": [0]}
    lane.post(bad(6, 1, ack_id=0), "abc")
    assert "C0" not in lane.asked
    lane.confirm(0)
    assert lane.delivered == "a"
    lane.post(accepted(1), "c")
    lane.confirm(1)
    assert lane.delivered == "ac"


def test_batch_with_an_asked_id_is_not_cut_only_to_be_careful() -> None:
    """After a halt pieces are small, but a batch that may still be confirmed whole stays whole."""
    lane = Driver(ack_deadline_s=20.0)
    lane.give("abc")
    lane.post(accepted(0))
    lane.expire()
    lane.post(refused(403, 4))
    while lane.halted:
        action = lane.wait_for_any()
        if isinstance(action, Probe):
            lane.lane.on_probe(action, PROBED_WELL, lane.clock.now)
        else:
            assert isinstance(action, PollAcks)
            lane.lane.on_acks(action, told({}), lane.clock.now)
    lane.post(accepted(0), "abc")


# -- channels ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [LOST, HTML_503, EMPTY_200, refused(500, 8), Reply(502, b""), Reply(504, b""), Reply(408, b"")],
)
def test_unknown_post_is_never_followed_on_its_channel(reply: Reply | TransportError) -> None:
    """Rule 2: a restarted server may have given that POST an id we hold; the next goes to a fresh GUID."""
    lane = Driver()
    lane.give("ab")
    first = lane.post(reply)
    second = lane.post(accepted(0), "ab")
    assert second.channel is not first.channel
    assert lane.resends == [("unknown_reply", "ab")]
    assert lane.retired == ["unknown_reply"]


def test_refused_connection_spares_its_channel() -> None:
    """No byte left, so no id can be hidden: same channel, not counted as a resend."""
    lane = Driver()
    lane.give("ab")
    first = lane.post(NOT_SENT)
    second = lane.post(accepted(0), "ab")
    assert second.channel is first.channel
    assert not lane.resends


def test_ids_a_restart_may_have_reissued_are_not_asked_after_an_unknown_post() -> None:
    """Rule 3: ids up to first + 1 + r are dropped and resent; the others stay asked."""
    lane = Driver()
    lane.give("a", "b", "c", "d")
    lane.post(accepted(0), "a")
    lane.post(accepted(1), "b")
    lane.post(accepted(2), "c")
    lane.post(LOST, "d")
    assert lane.asked == {"C0": [2]}
    assert lane.resends == [("unknown_reply", "a"), ("unknown_reply", "b"), ("unknown_reply", "d")]


def test_replies_without_an_id_widen_what_is_not_asked() -> None:
    """Rule 3: each reply that brought no id, probes included, may have used one up."""
    lane = Driver()
    lane.give("a", "b", "c", "x", "d")
    lane.post(accepted(0), "a")
    lane.post(accepted(1), "b")
    lane.post(accepted(2), "c")
    lane.post(bad(6, 0), "x")
    lane.post(LOST, "d")
    assert lane.asked == {}
    assert {events for _, events in lane.resends} == {"a", "b", "c", "d"}


def test_expired_ids_are_dropped_by_an_unknown_post_too() -> None:
    """Rule 3 holds for expired ids as well: their late true could be another request's."""
    lane = Driver(ack_deadline_s=20.0)
    lane.give("a", "b")
    lane.post(accepted(0), "a")
    lane.post(accepted(1), "b")
    lane.clock.advance(19)
    lane.poll(told({1: True}))
    lane.expire()  # of a; C0 drains
    assert lane.asked == {"C0": [0]}
    lane.post(accepted(0), "a")
    lane.give("c")
    lane.post(LOST, "c")
    assert lane.asked == {"C0": [0]}  # the unknown POST went to C1: ids of C0 are as safe as before


@pytest.mark.parametrize("ack_id", [2, 1, 0])
def test_id_that_falls_back_makes_its_channel_unbelievable(ack_id: int) -> None:
    """Rule 4: a restarted or another server answers; nothing asked there is believed, all of it is resent."""
    lane = Driver()
    lane.give("a", "b", "c")
    lane.post(accepted(1), "a")
    lane.post(accepted(2), "b")
    lane.post(accepted(ack_id), "c")
    assert lane.asked == {}
    assert sorted(lane.resends) == [("channel_reset", "a"), ("channel_reset", "b"), ("channel_reset", "c")]
    assert lane.gone == ["C0"]
    assert lane.retired == ["channel_reset"]


def test_unused_id_is_compared_as_well() -> None:
    """Rule 4: an id on a refusal behind which no event stands still shows that the numbering fell back."""
    lane = Driver()
    lane.give("a", "xb")
    lane.post(accepted(1), "a")
    lane.post(bad(6, 0, ack_id=0), "xb")
    assert lane.gone == ["C0"]
    assert not lane.settled
    assert sorted(lane.resends) == [("channel_reset", "a"), ("channel_reset", "xb")]


def test_id_on_a_probe_is_compared_as_well() -> None:
    """Rule 4 holds for probes: a probe answered with an old id shows another server."""
    lane = Driver()
    lane.give("a", "b")
    lane.post(accepted(1), "a")
    lane.post(refused(403, 4), "b")
    lane.probe(refused(400, 5, ack_id=1))
    assert "C0" in lane.gone
    assert lane.resends == [("channel_reset", "a")]


def test_good_probe_spares_the_channel() -> None:
    """A probe whose answer brings no id proves nothing against what is asked there."""
    lane = Driver()
    lane.give("a", "b")
    first = lane.post(accepted(0), "a")
    lane.post(refused(403, 4), "b")
    lane.probe(refused(403, 4))
    lane.probe(PROBED_WELL)
    assert lane.post(accepted(1), "b").channel is first.channel
    assert lane.asked == {"C0": [0, 1]}
    assert not lane.resends


def test_resets_that_probes_show_count_as_well() -> None:
    """Rule 5 holds for probes: three answers with old ids in a minute, and the balancer is not sticky."""
    lane = Driver()
    lane.give("a", "b")
    for _ in range(3):
        lane.post(accepted(5), "a")
        lane.post(refused(403, 4), "b")
        lane.probe(refused(400, 5, ack_id=5))
    assert lane.resends == [("channel_reset", "a")] * 3
    assert len([note for note in lane.notes if "not sticky" in note]) == 1


def test_first_id_may_be_anything() -> None:
    """Splunk starts at 0, others at 1 or elsewhere; gaps are taken as they come."""
    lane = Driver()
    lane.give("a", "b")
    lane.post(accepted(41), "a")
    lane.post(accepted(57), "b")
    lane.poll(told({41: True, 57: True}))
    assert lane.delivered == "ab"


def test_draining_channels_are_never_evicted() -> None:
    """Rule 1: with 8 that hold unexpired ids the lane stops posting and polls; none is dropped."""
    lane = Driver(ack_deadline_s=10_000.0)
    lane.give("z", *(chr(ord("a") + n) for n in range(MAX_DRAINING + 1)))
    for number in range(MAX_DRAINING):
        # A long row of ids first, so that the unknown POST leaves the last of them asked.
        for ack_id in (0, 1, 2):
            lane.give("_")
            _until_accepted(lane, ack_id)
        assert lane.todo, number
        lane.post(LOST)
    channels = list(lane.asked)
    assert len(channels) == MAX_DRAINING
    lane.poll_false_until(lane.clock.now + 60)
    assert list(lane.asked) == channels
    lane.poll(told({2: True}))
    lane.wait_for(Post)


def _until_accepted(lane: Driver, ack_id: int) -> None:
    while True:
        action = lane.wait_for_any()
        if isinstance(action, Post):
            lane.lane.on_post(action, accepted(ack_id), lane.clock.now, 0.0)
            return
        assert isinstance(action, PollAcks)
        lane.lane.on_acks(action, told({}), lane.clock.now)


def test_balancer_that_is_not_sticky_gets_one_batch_per_channel() -> None:
    """Rule 5: after three resets in a minute each channel carries one batch, so that no id can fall back."""
    lane = Driver()
    lane.give("a", "b", "c")
    for _ in range(3):
        lane.post(accepted(5))
        lane.post(accepted(5))
    assert len([note for note in lane.notes if "not sticky" in note]) == 1
    first = lane.post(accepted(0))
    second = lane.post(accepted(0))
    third = lane.post(accepted(0))
    assert len({first.channel, second.channel, third.channel}) == 3
    assert "not_sticky" in lane.retired


def test_single_restart_does_not_count_as_unsticky() -> None:
    """Rule 5: resets far apart are restarts; channels go on carrying many batches."""
    lane = Driver()
    for _ in range(4):
        lane.give("a", "b")
        lane.post(accepted(5))
        lane.post(accepted(5))
        lane.post(accepted(0))
        lane.post(accepted(1))
        lane.clock.advance(40)
        lane.poll(told({0: True, 1: True}))
    assert not lane.notes


def test_fresh_channels_are_rate_limited() -> None:
    """A server that loses every reply is not given a new GUID as fast as the loop turns."""
    lane = Driver(jitter=NoJitter())
    lane.give("a")
    started = lane.clock.now
    for _ in range(100):
        lane.post(LOST)
    assert lane.clock.now - started > 5


def test_idle_channel_is_replaced_before_splunk_forgets_it() -> None:
    """Splunk drops a channel after 600 idle seconds; a new GUID is used in time."""
    lane = Driver()
    lane.give("a")
    first = lane.post(accepted(0))
    lane.poll(told({0: True}))
    lane.clock.advance(IDLE_CHANNEL_S + 1)
    lane.give("b")
    assert lane.post(accepted(0)).channel is not first.channel
    assert lane.retired == ["idle"]


# -- several endpoints, ends -------------------------------------------------------------------------------


def test_failing_endpoint_hands_its_batches_to_the_others() -> None:
    """What was not taken goes back at once, and events come here again only after a good probe."""
    lane = Driver(may_leave=True)
    lane.give("ab")
    lane.post(NOT_SENT)
    lane.next()
    assert [batch.manifest for batch in lane.surrendered] == [["a", "b"]]
    lane.probe(NOT_SENT)
    lane.probe(PROBED_WELL)
    assert isinstance(lane.next(), Rest)
    lane.give("c")
    lane.post(accepted(0), "c")


def test_endpoint_left_for_good_is_polled_for_half_a_minute() -> None:
    """What it may still confirm stays there for 30 s, then goes elsewhere."""
    lane = Driver(may_leave=True)
    lane.give("a", "b")
    lane.post(accepted(0))
    lane.post(NOT_SENT)
    left = lane.clock.now
    while not lane.resends:
        action = lane.wait_for_any()
        if isinstance(action, PollAcks):
            lane.lane.on_acks(action, NOT_SENT, lane.clock.now)
        else:
            assert isinstance(action, Probe)
            lane.lane.on_probe(action, NOT_SENT, lane.clock.now)
    assert lane.clock.now - left >= 30
    assert lane.resends == [("ack_timeout", "a")]
    lane.next()
    assert [batch.manifest for batch in lane.surrendered] == [["b"], ["a"]]
    assert lane.asked == {}
    assert set(lane.retired) == {"left"}
    assert "C0" in lane.gone


def test_refused_configured_index_stays_where_it_is() -> None:
    """Every other endpoint would refuse that index as well: the event is held, not passed around."""
    lane = Driver(may_leave=True, configured_indexes=frozenset({"main"}))
    lane.give("A", index="main")
    lane.post(bad(7, 1))
    lane.clock.advance(100)
    lane.post(bad(7, 1), "A")
    assert not lane.surrendered


def test_batch_with_an_asked_id_never_leaves_its_lane() -> None:
    """An id counts only where it was issued: such a batch is not handed over while it may be confirmed."""
    lane = Driver(may_leave=True, ack_deadline_s=20.0)
    lane.give("a")
    lane.post(accepted(0))
    lane.expire()
    lane.give("b")
    lane.post(NOT_SENT, "a")
    lane.next()
    assert [batch.manifest for batch in lane.surrendered] == [["b"]]
    assert lane.todo == ["a"]


def test_batch_that_waits_to_be_sent_again_leaves_only_once() -> None:
    """An endpoint left for good ends the old id of a batch that waits to be posted: it is not doubled."""
    lane = Driver(may_leave=True, ack_deadline_s=20.0)
    lane.give("a")
    lane.post(accepted(0))
    lane.expire()
    lane.post(NOT_SENT, "a")
    while lane.asked:
        action = lane.wait_for_any()
        if isinstance(action, PollAcks):
            lane.lane.on_acks(action, NOT_SENT, lane.clock.now)
        else:
            assert isinstance(action, Probe)
            lane.lane.on_probe(action, NOT_SENT, lane.clock.now)
        lane.next()
    assert [batch.manifest for batch in lane.surrendered] == [["a"]]
    assert lane.todo == []
    assert lane.resends == [("ack_timeout", "a")]


def test_give_up_after_settles_what_waits_and_what_is_asked() -> None:
    """The age bound holds for batches not yet posted and for those without an acknowledgement."""
    lane = Driver(give_up_after_s=100.0)
    lane.give("a", "b")
    lane.post(accepted(0))
    lane.post(NOT_SENT)
    lane.clock.advance(101)
    lane.next()
    assert lane.named(OutcomeKind.GAVE_UP) == "ab"
    assert {item.reason for item in lane.settled} == {"gave_up"}
    assert lane.settled[0].text == "connection refused"
    assert lane.asked == {}


def test_give_up_after_holds_before_the_first_post() -> None:
    """What waits only for the token's ack mode has an age as well, though there is no channel yet."""
    lane = Driver(acks=None, give_up_after_s=100.0)
    lane.give("a")
    lane.clock.advance(101)
    lane.next()
    assert lane.named(OutcomeKind.GAVE_UP) == "a"
    assert lane.settled[0].text == "the deadline is spent"


@pytest.mark.parametrize(
    ("settings", "reply"),
    [
        ({}, None),
        ({}, refused(403, 4)),
        ({"may_leave": True}, NOT_SENT),
        ({"configured_indexes": frozenset({"main"})}, bad(7, 1)),
    ],
)
def test_nothing_goes_out_before_a_fresh_channel_is_due(
    settings: dict[str, object], reply: Reply | TransportError | None
) -> None:
    """Where too many channels were used up, a probe waits for the next one like an event."""
    lane = Driver(**settings)
    lane.give("A", index="main")
    if reply is not None:
        lane.post(reply)
        lane.clock.advance(1)
    channels = lane.lane.channels
    while (active := channels.active(lane.clock.now)) is not None:
        channels.retire(active, "unknown_reply")
    action = lane.next()
    assert isinstance(action, Wait)
    assert action.until == channels.due(lane.clock.now) > lane.clock.now
    assert isinstance(lane.wait_for_any(), Post | Probe)


def test_aborted_stream_is_not_posted_and_not_asked() -> None:
    """What an aborted stream left is dropped wherever it waits; other streams' batches go on."""
    lane = Driver()
    owner = Owner()
    lane.give(batch_of("a", owner=owner), batch_of("b", owner=owner), "c")
    lane.post(accepted(0), "a")
    owner.is_aborted = True
    lane.post(accepted(1), "c")
    lane.poll(told({1: True}), [1])
    assert lane.named(OutcomeKind.GAVE_UP) == "ab"
    assert {item.reason for item in lane.settled if item.kind is OutcomeKind.GAVE_UP} == {"aborted"}
    assert lane.delivered == "c"


def test_poll_of_aborted_ids_alone_is_not_sent() -> None:
    """With nobody left to ask for, the lane rests."""
    lane = Driver()
    owner = Owner()
    lane.give(batch_of("a", owner=owner))
    lane.post(accepted(0))
    owner.is_aborted = True
    lane.clock.advance(1)
    action = lane.next()
    assert isinstance(action, Rest)
    assert action.until > lane.clock.now
    assert lane.asked == {}


def test_evacuated_lane_leaves_no_batch_behind() -> None:
    """Whatever a lane was at, its successor gets each unsettled batch once."""
    lane = Driver()
    lane.give("ab", "cd", "ef")
    lane.post(accepted(0), "ab")
    lane.wait_for(Post)  # cd is on its way
    batches = lane.lane.work.evacuate()
    assert sorted("".join(batch.manifest) for batch in batches) == ["ab", "cd", "ef"]  # type: ignore[arg-type]
    assert not any(batch.live or batch.is_queued for batch in batches)


def test_lane_shows_itself_in_one_line() -> None:
    """Its repr tells how it stands, for whoever debugs it."""
    lane = Driver()
    lane.give("ab", "c")
    lane.post(accepted(0))
    lane.post(refused(403, 4))
    assert repr(lane.lane) == "<Lane http://test | halted invalid_token | todo 1 | awaiting ack 1>"
    assert repr(next(iter(lane.lane.channels))) == "<Channel C0 active | ids 0..0 | asks 1>"


def test_every_reply_is_judged_by_the_same_table() -> None:
    """The lane asks `_protocol` and nobody else: a code it does not know as accepted is not delivered."""
    lane = Driver(acks=False)
    lane.give("a")
    assert 17 not in protocol.ACCEPTED_CODES
    lane.post(accepted(code=17))
    assert not lane.settled
