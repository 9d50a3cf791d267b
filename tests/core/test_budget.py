"""What is accepted and not settled never exceeds the budget, and all of it comes back."""

from __future__ import annotations

import threading

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from splunk_hec._budget import Budget, Portion

MAX_BYTES = 100
MAX_EVENTS = 10


class BudgetMachine(RuleBasedStateMachine):
    """A budget beside a plain list of what is held."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(MAX_BYTES, MAX_EVENTS)
        self.held: list[tuple[int, int]] = []
        self.forced = False

    @rule(size_bytes=st.integers(0, 160), events=st.integers(1, 14))
    def acquire(self, size_bytes: int, events: int) -> None:
        """Taken exactly if it fits, or if nothing else is held."""
        had_room = self.budget.has_room(size_bytes, events)
        taken = self.budget.try_acquire(size_bytes, events)
        fits = self.bytes + size_bytes <= MAX_BYTES and self.events + events <= MAX_EVENTS
        assert taken == had_room == (fits or not self.held)
        if taken:
            self.held.append((size_bytes, events))

    @rule(size_bytes=st.integers(0, 160))
    def force(self, size_bytes: int) -> None:
        """What is held already is accounted for whether it fits or not."""
        self.budget.force(size_bytes, 1)
        self.held.append((size_bytes, 1))
        self.forced = True

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """Give one of them back."""
        self.budget.release(*self.held.pop(data.draw(st.integers(0, len(self.held) - 1))))

    @property
    def bytes(self) -> int:
        """Held by the model."""
        return sum(size for size, _ in self.held)

    @property
    def events(self) -> int:
        """Held by the model."""
        return sum(count for _, count in self.held)

    @invariant()
    def counts_are_exact(self) -> None:
        """Used is what is held, no more and no less."""
        assert (self.budget.used_bytes, self.budget.used_events) == (self.bytes, self.events)
        share = max(self.bytes / MAX_BYTES, self.events / MAX_EVENTS)
        assert self.budget.used_share == share
        assert share <= 1 or len(self.held) == 1 or self.forced

    def teardown(self) -> None:
        """All of it comes back."""
        for size_bytes, events in self.held:
            self.budget.release(size_bytes, events)
        assert (self.budget.used_bytes, self.budget.used_events) == (0, 0)


TestBudget = BudgetMachine.TestCase


def test_oversize_event_can_be_sent_at_all() -> None:
    """One piece larger than the whole budget is let in alone; otherwise it could never be sent."""
    budget = Budget(100, 10)
    assert budget.try_acquire(1_000, 1)
    assert not budget.try_acquire(1, 1)
    budget.release(1_000, 1)
    assert budget.try_acquire(1, 1)
    assert not budget.try_acquire(1_000, 1)


def test_a_budget_can_be_filled_to_the_last_byte() -> None:
    """What is allowed may be used: only a byte or an event more is refused."""
    budget = Budget(100, 10)
    assert budget.try_acquire(60, 1)
    assert not budget.has_room(41, 1)
    assert budget.try_acquire(40, 1)
    assert budget.used_share == 1.0


def test_bytes_alone_can_be_given_back() -> None:
    """A body that was packed gives back what that saved, while its events stay."""
    budget = Budget(100, 10)
    budget.force(100, 2)
    budget.release(60, 0)
    assert (budget.used_bytes, budget.used_events) == (40, 2)
    budget.release(0, 1)
    assert (budget.used_bytes, budget.used_events) == (40, 1)


@pytest.mark.parametrize("stuck", [1, 2, 5])
def test_those_that_settle_nothing_leave_room_to_another(stuck: int) -> None:
    """However much clients hold that are stuck, another finds its part of the budget, again and again."""
    whole = Budget(1_000_000, 1_000_000)
    for hog in [Portion(whole) for _ in range(stuck)]:
        while hog.try_acquire(1000, 10):
            assert whole.used_share <= 1
        assert hog.used_share > 0.95
    left = 1_000_000 - whole.used_bytes
    assert left >= 1_000_000 // 2**stuck - 1000 * stuck
    one, held = Portion(whole), 0
    while one.try_acquire(1000, 10):
        held += 1000
    assert held >= left // 2 - 1000
    one.release(held, held // 100)
    assert (one.used_bytes, one.used_events, 1_000_000 - whole.used_bytes) == (0, 0, left)
    assert one.try_acquire(1000, 10)


def test_what_others_hold_can_be_left_out_of_the_share() -> None:
    """Whoever is refused may fill the budget: for the others it is as full as what they hold themselves."""
    whole = Budget(100, 10)
    stuck, well = Portion(whole), Portion(whole)
    stuck.force(100, 1)
    well.force(20, 2)
    assert whole.used_share == 1.2
    assert whole.share_without([stuck]) == 0.2
    assert whole.share_without([stuck, well]) == 0


def test_a_portion_that_holds_nothing_takes_one_item_whatever_the_others_hold() -> None:
    """A record larger than what is left could never be sent otherwise."""
    whole = Budget(100, 10)
    hog, one = Portion(whole), Portion(whole)
    assert hog.try_acquire(50, 1)
    assert one.try_acquire(60, 1)
    assert not one.try_acquire(1, 1)
    assert whole.used_bytes == 110


def test_release_wakes_whoever_waits() -> None:
    """A caller that waits for room goes on as soon as something is settled."""
    budget = Budget(100, 10)
    budget.force(100, 1)
    got = threading.Event()
    waiting = threading.Event()

    def wait_for_room() -> None:
        waiting.set()
        while not budget.try_acquire(50, 1):
            budget.wait(10)
        got.set()

    thread = threading.Thread(target=wait_for_room)
    thread.start()
    assert waiting.wait(10)
    budget.release(100, 1)
    assert got.wait(10)
    thread.join(10)
    budget.wake()
    assert repr(budget) == "<Budget 50/100 B 1/10 events>"


def test_giving_back_too_much_is_an_error_of_ours() -> None:
    """Counts that lie are found where they start to lie."""
    budget = Budget(100, 10)
    budget.force(1, 1)
    with pytest.raises(AssertionError, match="more was released"):
        budget.release(2, 1)
