"""What the benchmark makes of what it measured: delays between curves, the limit that binds, exact loads."""

from __future__ import annotations

import pytest
from bench_cases import cases, quick
from bench_curves import distances, most_open, quantile, span
from bench_limit import NAMES, Signs, binding
from bench_loads import Load, records, values
from bench_pairs import pair_of
from bench_report import ack_cost_line
from micro_report import comparison

CALM = Signs(sink_cores=0.5, server_cores=0.1, machine_share=0.5, waiting_share=0.1)


def test_the_kth_consumed_waits_for_the_kth_acknowledged() -> None:
    """Chunks and batches of different sizes: each part of a chunk gets the time of its batch."""
    consumed, done = [(0.0, 3), (1.0, 3)], [(2.0, 2), (4.0, 4)]
    assert distances(consumed, done) == [(2.0, 2), (4.0, 1), (3.0, 3)]
    found = span(consumed, done)
    assert found is not None
    assert (found.p50_s, found.p99_s, found.most_open) == (3.0, 4.0, 6)
    assert (found.first_consumed, found.last_consumed, found.first_done, found.last_done) == (0, 1, 2, 4)


def test_what_was_never_acknowledged_has_no_delay() -> None:
    """Curves of different heights, and empty ones."""
    assert distances([(0.0, 5)], [(1.0, 2)]) == [(1.0, 2)]
    assert distances([(0.0, 2)], [(1.0, 5)]) == [(1.0, 2)]
    assert span([], [(1.0, 1)]) is None
    assert quantile([], 0.5) == 0.0
    assert most_open([(0.0, 2), (3.0, 2)], [(1.0, 2), (4.0, 2)]) == 2


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        (CALM._replace(budget_shares=(0.5, 0.96, 0.99), sink_cores=1.0), "budget"),
        (CALM._replace(paused_share=0.3), "budget"),
        (CALM._replace(paused_share=0.3, unsent_share=0.7), "lanes"),
        (CALM._replace(sink_cores=0.9, server_cores=0.9, machine_share=1.0), "CPU"),
        (CALM._replace(server_cores=0.9, machine_share=1.0), "server"),
        (CALM._replace(machine_share=0.95, waiting_share=0.5), "machine"),
        (CALM._replace(waiting_share=0.5), "broker"),
        (CALM, "replies"),
    ],
)
def test_the_first_rule_that_holds_names_the_limit(signs: Signs, expected: str) -> None:
    """The rules of the README, in their order."""
    assert binding(signs) == expected
    assert expected in NAMES


@pytest.mark.parametrize("value", ["text", "json"])
def test_a_load_is_exact_and_the_same_each_time(value: str) -> None:
    """Every value has its size, in an order that the seed decides; poison comes as often as asked for."""
    load = Load(2_000, 200, value, poison_every=100)  # type: ignore[arg-type] # one of both
    good = [one for one in records(load, 1) if one != b"\xff poison"]
    assert len(good) == load.records - load.poison == 1_980
    assert {len(one) for one in good} == {200}
    assert values(load, 1) == values(load, 1) != values(load, 2)


def test_cases_have_names_of_their_own() -> None:
    """A name stands for one case; the headline has both rivals, with acks and without."""
    for found in (cases(1.0), quick(1_000)):
        assert len({case.name for case in found}) == len(found)
    headline = [case for case in cases(1.0) if case.is_headline]
    assert {case.sink for case in headline} == {"sink", "by_hand", "ftf"}
    assert {case.ack_s for case in headline if case.sink == "sink"} == {None, 0.2, 1.0, 10.0}


def test_a_comparison_names_what_differs_and_fails_nothing() -> None:
    """Slower, faster, the same, new and gone pieces, each in a row."""
    landed = {"machine": {"commit": "c"}, "us_per_record": {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}}
    rows = comparison({"a": 1.5, "b": 0.5, "c": 1.01, "e": 1.0}, landed).splitlines()
    assert [row.split() for row in rows[1:6]] == [
        ["a", "1.000", "1.500", "1.50", "slower"],
        ["b", "1.000", "0.500", "0.50", "faster"],
        ["c", "1.000", "1.010", "1.01"],
        ["e", "-", "1.000", "-"],
        ["d", "1.000", "gone", "-"],
    ]


def test_what_acknowledgements_cost_is_told_with_its_spread() -> None:
    """Both orders of each pair count, the middle is named, and the least and the most beside it."""
    pairs = [
        {"more_cpu": 0.08, "polls": 400.0},
        {"more_cpu": 0.034, "polls": 440},
        {"more_cpu": 0.039, "polls": 500},
    ]
    told = ack_cost_line(pairs)
    assert "6 pairs: with them 3.9 % more CPU (3.4 to 8.0 %), with 440 acknowledgement queries" in told


def test_a_pair_is_both_cases_or_none() -> None:
    """Only where both are measured, in whatever order, are they run side by side: the one with acks first."""
    chosen = [case for case in cases(1.0) if case.name in ("acks off", "acks after 1 s")]
    assert [case.name for case in pair_of(chosen[::-1])] == ["acks after 1 s", "acks off"]
    assert pair_of(chosen[:1]) == pair_of(quick(2_000)) == []
