"""The whole sink in simulated worlds: nothing is lost, invented, repeated without a cause, or stuck."""

from __future__ import annotations

import gc
import logging
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hec_model import Line
from mutants import FROM_THE_BOOK, MUTANTS
from sim_planting import Missing, Mutant, of, planted
from sim_run import MOST_SEEDS, caught, listen, run, run_seed, shrink
from sim_scenario import KINDS, draw

from splunk_hec_kafka import offsets

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK_SEEDS = 300
BLOCKS, BLOCK = 12, 250
"""What continuous integration runs: 3,000 seeds, in parts that can run side by side."""


@pytest.fixture(autouse=True)
def observer() -> Iterator[None]:
    """The sinks' log lines go to the observer alone, and the loggers are as before afterwards."""
    loggers = [logging.getLogger(name) for name in ("splunk_hec", "splunk_hec_kafka")]
    before = [(one, one.handlers, one.propagate, one.level) for one in loggers]
    listen()
    yield
    for logger, handlers, propagate, level in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
    gc.collect()


def violations(seeds: range) -> dict[int, str]:
    """What went wrong, by seed."""
    results = {seed: run_seed(seed).violations for seed in seeds}
    return {seed: f"{found[0].equation}: {found[0].text}" for seed, found in results.items() if found}


def test_every_promise_holds_and_every_fault_strikes() -> None:
    """Whatever goes wrong in whatever order: all equations hold, and no kind of fault is left out."""
    struck: Counter[str] = Counter()
    kinds = 0
    for seed in range(QUICK_SEEDS):
        result = run_seed(seed)
        assert not result.violations, (seed, result.violations[0])
        assert len(result.scenario.records) >= 200
        struck.update(result.fired.keys())
        kinds += len(result.fired)
    assert not KINDS.keys() - struck.keys()
    assert kinds / QUICK_SEEDS >= 3


@pytest.mark.e2e
@pytest.mark.parametrize("block", range(BLOCKS))
def test_thousands_of_seeds(block: int) -> None:
    """The same for many more seeds."""
    first = QUICK_SEEDS + block * BLOCK
    assert not violations(range(first, first + BLOCK))


@pytest.mark.parametrize("name", sorted(FROM_THE_BOOK)[::3])
def test_bugs_of_other_sinks_are_caught_quickly(name: str) -> None:
    """A checker that catches nothing proves nothing: some of the worst bugs are found at once."""
    with planted(MUTANTS[name]):
        assert caught(MOST_SEEDS), MUTANTS[name].text


@pytest.mark.e2e
@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_every_seeded_bug_is_caught(name: str) -> None:
    """Each way in which data was lost, repeated in silence or stuck is found within 200 seeds."""
    with planted(MUTANTS[name]):
        assert caught(MOST_SEEDS), MUTANTS[name].text


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_every_seeded_bug_can_be_planted(name: str) -> None:
    """What a mutant changes is in the code, and is as it was afterwards."""
    targets = {(edit.owner, edit.name): vars(edit.owner)[edit.name] for edit in MUTANTS[name].edits}
    with planted(MUTANTS[name]):
        assert all(vars(owner)[target] is not was for (owner, target), was in targets.items())
    assert all(vars(owner)[target] is was for (owner, target), was in targets.items())


@pytest.mark.parametrize(("target", "old"), [("settle", "this text is nowhere"), ("no_such_method", "x")])
def test_a_mutant_without_a_target_fails(target: str, old: str) -> None:
    """A mutant whose target is gone is an error, not a mutant that passes."""
    gone: Mutant = of("nothing", (offsets.OffsetLedger, target, old, "pass"))
    with pytest.raises(Missing), planted(gone):
        pytest.fail("it was planted")


def test_one_seed_is_one_run() -> None:
    """A seed tells the same story each time, line by line."""
    stories: list[list[str]] = [[], []]
    for story in stories:
        run_seed(7, story.append)
    assert stories[0] == stories[1]
    assert len(stories[0]) > 20


def test_a_failing_scenario_is_made_short() -> None:
    """Faults that a failure does not need are taken out of its scenario."""
    with planted(MUTANTS["commit_past_open"]):
        short = shrink(draw(0), "E4")
        assert not short.faults
        assert run(short).violations[0].equation == "E4"


def test_the_model_refuses_what_the_scenarios_call_poison() -> None:
    """The words by which scenarios make poison are those that the model of a server refuses."""
    assert [Line("e-1").code, Line("bad-1").code, Line("e-1", index="nope").code] == [0, 6, 7]
