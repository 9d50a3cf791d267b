"""The exceptions: one root, texts for people, and what each carries."""

from __future__ import annotations

import inspect

import pytest

from splunk_hec import Outcome, OutcomeKind, errors
from splunk_hec.errors import (
    BudgetExceeded,
    ClosedError,
    ConfigError,
    DeliveryFailed,
    Halted,
    HecError,
    InvalidEvent,
)


def test_one_root_catches_everything() -> None:
    """`except HecError` is enough; what is wrong with a value is a ValueError as well."""
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, Exception)]
    assert set(classes) == {
        BudgetExceeded, ClosedError, ConfigError, DeliveryFailed, Halted, HecError, InvalidEvent,
    }  # fmt: skip
    assert all(issubclass(one, HecError) for one in classes)
    assert issubclass(ConfigError, ValueError)
    assert issubclass(InvalidEvent, ValueError)


def test_tree_in_the_docstring_is_the_tree() -> None:
    """The module's docstring draws every class there is."""
    assert errors.__doc__ is not None
    for name, one in inspect.getmembers(errors, inspect.isclass):
        if issubclass(one, HecError):
            assert name in errors.__doc__
            assert one.__doc__


def test_failed_delivery_counts_events_and_names_reasons() -> None:
    """One line says how many events failed and why; the outcomes are there for the rest."""
    outcomes = [
        Outcome(kind=OutcomeKind.REJECTED, refs=[1, 2], count=2, reason="blank"),
        Outcome(kind=OutcomeKind.GAVE_UP, refs=[3], count=1, reason="closed"),
        Outcome(kind=OutcomeKind.REJECTED, refs=[4], count=1, reason="blank"),
    ]
    error = DeliveryFailed(outcomes)
    assert str(error) == "4 events were not delivered (gave_up/closed, rejected/blank)"
    assert error.outcomes == outcomes


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Halted("invalid_token"), "invalid_token"),
        (Halted("invalid_token", "http://a: Invalid token"), "invalid_token: http://a: Invalid token"),
        (InvalidEvent("blank", "the event is empty", 3), "blank: the event is empty"),
        (BudgetExceeded("full", 2), "full"),
    ],
)
def test_texts_are_one_line(error: HecError, text: str) -> None:
    """What went wrong and where, without a traceback to read."""
    assert str(error) == text
    assert "\n" not in text


def test_errors_carry_what_a_program_needs() -> None:
    """Reason, position and count are attributes, not text to parse."""
    assert Halted("invalid_token", "x").reason == "invalid_token"
    invalid = InvalidEvent("blank", "the event is empty", 3)
    assert (invalid.reason, invalid.text, invalid.position) == ("blank", "the event is empty", 3)
    assert BudgetExceeded("full").accepted == 0
