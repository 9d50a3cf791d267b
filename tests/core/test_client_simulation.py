"""Whole clients against modelled servers with every kind of trouble, on a virtual clock."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
from client_model import ClientRun, complaints, run_seed

from splunk_hec.events import OutcomeKind

SEEDS = 250
"""Of about 15 ms each."""


@pytest.fixture(scope="module")
def runs() -> list[ClientRun]:
    """One client for each seed, driven to its end."""
    logging.getLogger("splunk_hec").setLevel(logging.CRITICAL)
    try:
        return [run_seed(seed) for seed in range(SEEDS)]
    finally:
        logging.getLogger("splunk_hec").setLevel(logging.NOTSET)


def test_whatever_happens_every_promise_is_kept(runs: list[ClientRun]) -> None:
    """Each event settles once, confirmed ones are durable, the budget comes back, duplicates were counted."""
    found = {seed: complaints(run) for seed, run in enumerate(runs)}
    assert not {seed: lines for seed, lines in found.items() if lines}


def test_the_worlds_are_as_bad_as_they_claim(runs: list[ClientRun]) -> None:
    """The seeds meet every fault, outcome and cause of a resend; else the test above proves little."""
    fired: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    causes: Counter[str] = Counter()
    for run in runs:
        for address in run.servers():
            fired.update(address.fired)
        outcomes.update(outcome.kind for outcome in run.outcomes.values())
        reasons.update(outcome.reason for outcome in run.outcomes.values())
        causes.update(cause for (name, cause), _ in run.counts.found.items() if name == "resends")
    assert set(outcomes) == set(OutcomeKind)
    assert set(causes) >= {"unknown_reply", "busy", "ack_timeout", "ack_reply_lost", "channel_reset", "split"}
    assert set(reasons) >= {"invalid_event", "bad_index", "too_large", "refused_by_proxy", "gave_up"}
    assert set(fired) >= {
        "lost_before",
        "lost_after",
        "cut",
        "busy",
        "html503",
        "restart",
        "poll_lost",
        "raised",
    }
    assert any(run.aborted for run in runs)
    assert sum(run.wires.left for run in runs) > 50, "replies that were taken later than they could have been"
