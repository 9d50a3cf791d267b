"""How the lane paces its questions: for acknowledgements, and whether a halt healed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splunk_hec._patience import (
    EXPIRED_GAP_S,
    LEAST_GRACE_S,
    LONGEST_GAP_S,
    SHORTEST_GAP_S,
    AckLatency,
    Halted,
)


def test_first_question_comes_a_little_before_the_answer_is_due() -> None:
    """The first poll follows what was measured, so that acks are learnt soon and few polls are wasted."""
    latency = AckLatency()
    assert latency.first_ask_s < 0.2
    for _ in range(50):
        latency.note(2.0, now=1.0)
    assert 1.5 < latency.first_ask_s < 2.0
    latency.note(0.0, now=2.0)
    assert latency.first_ask_s > 1.0


def test_the_first_latency_replaces_the_guess() -> None:
    """What was measured once is believed at once; later ones move the mean by a fifth."""
    latency = AckLatency()
    latency.note(10.0, now=0.0)
    assert latency.first_ask_s == pytest.approx(9.0)
    latency.note(20.0, now=0.0)
    assert latency.first_ask_s == pytest.approx(0.9 * 12)


def test_gaps_follow_the_age_and_the_usual_latency() -> None:
    """While an id is due it goes along with every poll; at twice the usual latency, ever more seldom."""
    latency = AckLatency()
    latency.note(20.0, now=0.0)
    assert latency.gap_s(0.0, is_expired=False) == latency.gap_s(39.0, is_expired=False) == latency.pause_s
    assert latency.pause_s == 2.0
    assert latency.gap_s(40.0, is_expired=False) == 5.0
    assert latency.gap_s(64.0, is_expired=False) == 8.0
    assert latency.gap_s(800.0, is_expired=False) == LONGEST_GAP_S
    assert latency.gap_s(800.0, is_expired=True) == EXPIRED_GAP_S


@given(st.lists(st.floats(0, 1_000), max_size=40), st.floats(0, 10_000), st.booleans())
def test_gaps_between_questions_are_bounded(latencies: list[float], age_s: float, is_expired: bool) -> None:
    """Nobody is asked more often than every 50 ms, nor less often than every 10 s (expired: 15 s)."""
    latency = AckLatency()
    for one in latencies:
        latency.note(one, now=0.0)
    longest = EXPIRED_GAP_S if is_expired else LONGEST_GAP_S
    assert SHORTEST_GAP_S <= latency.gap_s(age_s, is_expired=is_expired) <= longest
    assert latency.first_ask_s >= SHORTEST_GAP_S


def test_old_questions_are_asked_ever_more_seldom() -> None:
    """The gap grows with the age of the id."""
    latency = AckLatency()
    gaps = [latency.gap_s(age_s, is_expired=False) for age_s in (0, 1, 8, 40, 400)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == LONGEST_GAP_S


def test_grace_follows_the_slowest_acks() -> None:
    """Ids whose answer was lost wait ten seconds, or five times the 99th percentile if that is longer."""
    latency = AckLatency()
    assert latency.grace_s == LEAST_GRACE_S
    for _ in range(200):
        latency.note(1.0, now=0.0)
    assert latency.grace_s == LEAST_GRACE_S
    for _ in range(5):
        latency.note(30.0, now=0.0)
    assert latency.grace_s == 150.0
    for _ in range(256):
        latency.note(1.0, now=0.0)
    assert latency.grace_s == LEAST_GRACE_S, "only the latest 256 count"


def test_last_true_is_remembered() -> None:
    """Whether anything was confirmed since a batch was accepted can be told."""
    latency = AckLatency()
    assert latency.last_true_at < 0
    latency.note(1.0, now=7.0)
    assert latency.last_true_at == 7.0


def test_halt_keeps_its_beginning_and_its_latest_reason() -> None:
    """The patience counts from the first refusal, whatever the refusals say later."""
    halted = Halted("invalid_token", "Invalid token", 100.0)
    assert (halted.reason, halted.text) == ("invalid_token", "Invalid token")
    assert halted.next_probe == 101.0
    gaps = []
    now = 101.0
    for _ in range(7):
        halted.again("token_disabled", "Token disabled", now)
        gaps.append(halted.next_probe - now)
        now = halted.next_probe
    assert (halted.reason, halted.text, halted.since) == ("token_disabled", "Token disabled", 100.0)
    assert gaps == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


@given(st.lists(st.floats(0, 1_000), max_size=40))
def test_polls_leave_a_pause_that_adds_little_to_the_latency(latencies: list[float]) -> None:
    """A lane asks at most twenty times a second, with a quarter of the latency or less between polls."""
    latency = AckLatency()
    for one in latencies:
        latency.note(one, now=0.0)
    assert SHORTEST_GAP_S <= latency.pause_s <= LONGEST_GAP_S
    latency_s = latency.first_ask_s / 0.9
    assert latency.gap_s(latency_s, is_expired=False) <= max(SHORTEST_GAP_S, latency_s / 3.99)
    assert latency.pause_s <= max(0.25, latency_s / 9.99)
