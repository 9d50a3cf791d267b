"""What ids prove: each test is named after the false confirmation or the loss that its rule prevents."""

from __future__ import annotations

from hec_lane import batch_of
from hypothesis import given
from hypothesis import strategies as st

from splunk_hec._channel import Attempt, Channel, State
from splunk_hec._channels import IDLE_CHANNEL_S, MAX_DRAINING, MAX_RESETS, UNSTICKY_S, Channels

NOW = 1_000.0


def channel_with(*ack_ids: int) -> Channel:
    """A channel on which these ids were read and are asked."""
    channel = Channel("C", NOW)
    for ack_id in ack_ids:
        assert channel.note_reply(ack_id, NOW)
        channel.ask(Attempt(batch_of("a"), channel, ack_id, NOW, 60.0))
    return channel


def channels() -> Channels:
    """The channels of a lane; GUIDs are C0, C1 and so on."""
    numbers = iter(range(10_000))
    return Channels(lambda: f"C{next(numbers)}")


def opened(every: Channels, now: float = NOW) -> Channel:
    """The active channel, which may be opened now."""
    active = every.active(now)
    assert active is not None
    return active


@given(st.lists(st.none() | st.integers(0, 9), max_size=30))
def test_ids_are_believed_only_while_they_rise(ids: list[int | None]) -> None:
    """Rule 4: the first id at or below the last one shows another numbering, whatever came between."""
    channel = Channel("C", NOW)
    last = -1
    silent = 0
    for ack_id in ids:
        silent += ack_id is None
        rises = ack_id is None or ack_id > last
        assert channel.note_reply(ack_id, NOW) == rises
        if not rises:
            return
        last = last if ack_id is None else ack_id
    assert channel.silent_replies == silent


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(0, 6), st.integers(0, 5))
def test_no_id_that_a_restart_can_have_reissued_is_asked(steps: list[int], silent: int, first: int) -> None:
    """Rule 3: after an unknown POST ids up to first + 1 + r are ended; all, where others move the counter."""
    ids = [first + sum(steps[:count]) for count in range(len(steps))]
    channel = channel_with(*ids)
    for _ in range(silent):
        channel.note_reply(None, NOW)
    ended = channel.retire_after_unknown()
    assert channel.state is State.DRAINING
    is_ours = first <= 1 and all(step == 1 for step in steps[:-1])
    unsafe = {ack_id for ack_id in ids if ack_id <= first + 1 + silent or not is_ours}
    assert {attempt.ack_id for attempt in ended} == unsafe
    assert {attempt.ack_id for attempt in ended} | set(channel.asked) == set(ids)


def test_a_gap_that_a_refusal_explains_leaves_later_ids_safe() -> None:
    """Rule 3: a reply without an id may have used one up; ids behind it are still numbered by us alone."""
    channel = channel_with(0)
    channel.note_reply(None, NOW)
    for ack_id in (2, 3, 4):
        assert channel.note_reply(ack_id, NOW)
        channel.ask(Attempt(batch_of("a"), channel, ack_id, NOW, 60.0))
    assert [attempt.ack_id for attempt in channel.retire_after_unknown()] == [0, 2]
    assert list(channel.asked) == [3, 4]


def test_no_id_is_safe_where_numbering_starts_above_one() -> None:
    """Rule 3: a first id of 2 shows that others move the counter: a lost POST may have any of the ids."""
    channel = channel_with(2, 3, 4, 5, 6)
    assert [attempt.ack_id for attempt in channel.retire_after_unknown()] == [2, 3, 4, 5, 6]


def test_unknown_post_on_a_fresh_channel_ends_nothing() -> None:
    """Without an id read there, no id can be confirmed falsely."""
    channel = Channel("C", NOW)
    channel.note_reply(None, NOW)
    assert channel.retire_after_unknown() == []
    assert channel.state is State.DRAINING


def test_dead_channel_is_never_asked_again() -> None:
    """Rule 4: once its numbering fell back, none of its ids counts, and it never becomes alive again."""
    channel = channel_with(0, 1)
    assert [attempt.ack_id for attempt in channel.die()] == [0, 1]
    assert not channel.asked
    channel.retire()
    assert channel.state is State.GONE


def test_expiry_counts_from_the_reply() -> None:
    """The deadline runs from the reply with the id, and the id is asked from then on."""
    attempt = Attempt(batch_of("ab"), Channel("C0", NOW), 3, NOW, 60.0)
    assert attempt.deadline == NOW + 60
    assert attempt.next_ask == NOW
    assert not attempt.is_expired
    assert repr(attempt) == "<Attempt C0/3 of <Batch ab | 2 events 27 B | attempts 0>>"


def test_an_id_is_ended_as_often_as_one_likes() -> None:
    """What ends an id need not know whether another rule has ended it before."""
    channel = channel_with(0, 1)
    attempt = channel.asked[0]
    channel.end(attempt)
    channel.end(attempt)
    assert list(channel.asked) == [1]


def test_a_channel_shows_the_start_of_its_guid() -> None:
    """Eight digits find a GUID in a log; a line is not filled with more."""
    channel = Channel("0123456789abcdef", NOW)
    assert repr(channel) == "<Channel 01234567 active | ids None..None | asks 0>"
    assert repr(Attempt(None, channel, 3, NOW, 60.0)) == "<Attempt 01234567/3 of None>"


def test_retired_channel_is_kept_as_long_as_something_is_asked_there() -> None:
    """A draining channel stays until its last id ended; then its cookies are dropped."""
    every = channels()
    channel = opened(every)
    attempt = Attempt(batch_of("a"), channel, 0, NOW, 60.0)
    channel.ask(attempt)
    every.retire(channel, "ack_timeout")
    assert list(every) == [channel]
    assert opened(every) is not channel
    channel.end(attempt)
    every.tidy(channel)
    assert channel not in list(every)
    assert every.gone == [channel.id]
    assert every.retired == ["ack_timeout"]


def test_retiring_twice_counts_once() -> None:
    """The cause that ended a channel is told once."""
    every = channels()
    channel = opened(every)
    channel.ask(Attempt(batch_of("a"), channel, 0, NOW, 60.0))
    every.retire(channel, "ack_timeout")
    every.retire(channel, "unknown_reply")
    assert every.retired == ["ack_timeout"]


def test_channel_apart_is_never_posted_to() -> None:
    """A question of no concern to our ids goes on a GUID of its own, which leaves nothing behind."""
    every = channels()
    apart = every.apart(NOW)
    assert apart.id == "C0"
    assert apart.state is not State.ACTIVE
    assert opened(every) is not apart
    every.tidy(apart)
    assert every.gone == [apart.id]


def test_idle_channel_with_ids_asked_is_kept() -> None:
    """Polls keep a channel alive at the server: only one without anything asked is replaced."""
    every = channels()
    channel = opened(every)
    channel.ask(Attempt(batch_of("a"), channel, 0, NOW, 60.0))
    assert opened(every, NOW + IDLE_CHANNEL_S + 1) is channel
    channel.asked.clear()
    assert opened(every, NOW + IDLE_CHANNEL_S + 1) is not channel
    assert every.retired == ["idle"]


def test_fresh_channels_come_at_a_limited_rate() -> None:
    """After a burst of 16, ten fresh GUIDs a second are due; until then there is none to post on."""
    every = channels()
    for _ in range(100):
        active = every.active(NOW)
        if active is None:
            break
        every.retire(active, "unknown_reply")
    assert active is None
    assert len(every.retired) == 16
    assert every.due(NOW) == NOW + 0.1
    assert every.active(every.due(NOW) + 0.001) is not None


def test_expired_ids_do_not_hold_up_posting() -> None:
    """Rule 1: only draining channels with unexpired ids count towards the eight."""
    every = channels()
    attempts = []
    for _ in range(MAX_DRAINING):
        assert not every.are_full(is_confirming=True)
        channel = opened(every)
        attempts.append(Attempt(batch_of("a"), channel, 0, NOW, 60.0))
        channel.ask(attempts[-1])
        every.retire(channel, "unknown_reply")
    assert every.are_full(is_confirming=True)
    assert len(every.unexpired()) == MAX_DRAINING
    attempts[0].is_expired = True
    assert not every.are_full(is_confirming=True)
    assert len(every) == MAX_DRAINING


def test_three_resets_in_a_minute_mean_an_unsticky_balancer() -> None:
    """Rule 5: said once, in force for ten minutes, and resets further apart never add up."""
    every = channels()
    assert [every.note_reset(NOW + second) for second in (0, 1, 2, 3)] == [False, False, True, False]
    assert every.is_unsticky(NOW + 3 + UNSTICKY_S - 1)
    assert not every.is_unsticky(NOW + 3 + UNSTICKY_S)
    later = NOW + 5_000
    assert [every.note_reset(later + second) for second in (0, 30, 60)] == [False, False, True]
    later = NOW + 10_000
    assert not any(every.note_reset(later + 31 * number) for number in range(3 * MAX_RESETS))


def test_where_channels_start_at_different_ids_none_is_safe_after_an_unknown_reply() -> None:
    """Rule 3 where a server starts anywhere: after a restart the lost POST may have any of the ids."""
    known = Channels(lambda: "C")
    for first in (4, 9):
        channel = channel_with(first, first + 1)
        known.note_start(channel)
    assert not known.are_starts_alike
    channel = channel_with(0, 1, 2, 3, 4)
    ended = channel.retire_after_unknown(are_starts_alike=known.are_starts_alike)
    assert [attempt.ack_id for attempt in ended] == [0, 1, 2, 3, 4]


def test_a_start_that_a_refusal_may_have_moved_is_no_evidence() -> None:
    """A refusal that used up an id before the first one does not make a start at 0 look random."""
    known = Channels(lambda: "C")
    known.note_start(channel_with(0))
    moved = Channel("moved", NOW)
    moved.note_reply(None, NOW)
    moved.note_reply(1, NOW)
    known.note_start(moved)
    assert known.are_starts_alike


def test_a_rotated_channel_drains_and_a_doubted_one_stays() -> None:
    """After so many posts the next channel is used at once; what the old one holds is still asked."""
    numbers = iter(range(10_000))
    every = Channels(lambda: f"C{next(numbers)}", 2)
    for round_number in range(20):  # more than fresh channels after failures may be
        channel = opened(every)
        assert channel.id == f"C{round_number}"
        for ack_id in range(2):
            assert opened(every) is channel
            channel.note_reply(ack_id, NOW)
            channel.ask(Attempt(batch_of("a"), channel, ack_id, NOW, 60.0))
    assert len(every.unexpired()) == 20
    last = opened(every)
    last.note_reply(0, NOW)
    last.note_reply(1, NOW)
    last.is_doubted = True
    assert opened(every) is last, "the event that clears the doubt must go there"
