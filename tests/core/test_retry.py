"""Waits after failures, the pace under overload, and the rate of fresh channels."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from splunk_hec._retry import BASE_S, CAP_S, RETRY_AFTER_CAP_S, Backoff, Pace, RateLimit


class Upper(Random):
    """Draws the upper bound."""

    def uniform(self, a: float, b: float) -> float:
        """The longest."""
        return max(a, b)


@given(st.integers(), st.integers(1, 40))
def test_backoff_is_drawn_from_zero_to_a_doubling_ceiling(seed: int, failures: int) -> None:
    """Waits of many lanes never fall into step: each is drawn from zero up to a ceiling of 60 s."""
    backoff, longest = Backoff(Random(seed)), Backoff(Upper())
    ceiling = BASE_S
    for _ in range(failures):
        assert 0 <= backoff.fail() <= ceiling
        assert longest.fail() == ceiling
        ceiling = min(CAP_S, ceiling * 2)


def test_backoff_starts_anew_after_a_success() -> None:
    """One success, and the next failure waits from the bottom again."""
    backoff = Backoff(Upper())
    for _ in range(9):
        backoff.fail()
    backoff.succeed()
    assert backoff.failures == 0
    assert backoff.fail() == BASE_S


def test_years_of_failures_do_not_overflow() -> None:
    """An endpoint that never comes back is still asked once a minute."""
    backoff = Backoff(Upper())
    backoff.failures = 100_000
    assert backoff.fail() == CAP_S


@given(st.floats(0.001, 1e9), st.integers(0, 30))
def test_retry_after_is_a_floor_with_a_cap(asked_s: float, failures: int) -> None:
    """What the server asks is waited at least, with at most 1 s of jitter, and never beyond five minutes."""
    backoff = Backoff(Random(1))
    backoff.failures = failures
    wait_s = backoff.fail(asked_s)
    floor = min(asked_s, RETRY_AFTER_CAP_S)
    assert floor <= wait_s <= floor + 1


def test_what_was_asked_is_spread_over_a_second() -> None:
    """Lanes that were told the same Retry-After come back spread over one second, not more."""
    backoff = Backoff(Upper())
    backoff.failures = 9
    assert backoff.fail(10.0) == 11.0


def test_pace_halves_and_recovers() -> None:
    """Each overload doubles the gap, each success eases it, and enough of them end it."""
    pace = Pace()
    assert pace.gap_s == 0
    pace.slow()
    first = pace.gap_s
    pace.slow()
    assert pace.gap_s == 2 * first
    for _ in range(20):
        pace.slow()
    assert pace.gap_s <= 2
    gaps = []
    while pace.gap_s:
        pace.ease()
        gaps.append(pace.gap_s)
    assert gaps == sorted(gaps, reverse=True)
    assert 10 < len(gaps) < 1_000
    assert first / 2 < gaps[-2] < first, "it ends where it is half of what one overload makes"


def test_ease_without_overload_changes_nothing() -> None:
    """A server that is well gets no gap."""
    pace = Pace()
    pace.ease()
    assert pace.gap_s == 0


@given(st.lists(st.floats(0, 5), max_size=60))
def test_rate_limit_allows_a_burst_then_a_rate(steps: list[float]) -> None:
    """Never more than the burst and what the rate has added since, and what is due may go at once."""
    limit = RateLimit(burst=4, per_s=2.0)
    start = now = 1_000.0
    for taken, step in enumerate(steps, 1):
        now += step
        due = limit.due(now)
        if due > now:
            now = due + 1e-6
            assert limit.due(now) <= now
        limit.take(now)
        assert taken <= 4 + (now - start) * 2.0 + 1e-6


def test_rate_limit_says_when_the_next_one_may_go() -> None:
    """The whole burst may go from the first moment on; then it is told exactly when there is room."""
    limit = RateLimit(burst=4, per_s=2.0)
    for _ in range(4):
        assert limit.due(0.0) <= 0.0
        limit.take(0.0)
    assert limit.due(0.0) == 0.5
    assert limit.due(0.25) == 0.5
    limit.take(0.5)
    assert limit.due(0.5) == 1.0
