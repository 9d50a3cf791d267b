"""The scenario table on the drop-in: what is indexed, and what comes back, in every combination."""

from __future__ import annotations

import json

import pytest
from program import HUGE_BYTES, payloads, play
from scenarios import GRID, Scenario, texts_of, world

COMES_BACK = {"server down", "wrong token"}
"""Scenarios in which every event comes back."""
IDS = [f"{one.name}-{kind}-{'acks' if acks else 'plain'}-{threads}" for one, kind, acks, threads in GRID]


@pytest.mark.parametrize(
    ("scenario", "kind", "has_acks", "threads"),
    [
        pytest.param(*one, marks=[pytest.mark.e2e] if one[3] else [], id=name)
        for one, name in zip(GRID, IDS, strict=True)
    ],
)
def test_every_event_is_indexed_or_comes_back(
    scenario: Scenario, kind: str, has_acks: bool, threads: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the server does, each event is indexed once or comes back exactly as it was sent."""
    name, sent = scenario.name, payloads(kind, scenario.name)
    with world(scenario, has_acks=has_acks) as (server, where):
        played = play(name, kind, {**where, **scenario.arguments, "max_threads": threads})
        indexed = texts_of(server.events())
        requests = server.stats()["requests"]
    all_back = name in COMES_BACK or (name == "ack never" and has_acks)
    is_refused = name == "one bad event" or (name == "huge event" and kind == "json")
    bad = [sent[2]] if is_refused else []
    assert played["backup"] == (sent if all_back else bad)
    wanted = [text_of(kind, one) for one in sent if one not in bad]
    if name == "ack never" and has_acks:
        assert set(indexed) == set(wanted), "they were indexed, though nobody said so"
    else:
        assert sorted(indexed) == ([] if all_back else sorted(wanted))
    if name == "wrong token":
        assert requests == 1, "a refused token is not tried again and again"
        assert capsys.readouterr().out.count("[error]") == 1
    if not sent:
        assert not requests


def text_of(kind: str, payload: str) -> str:
    """The event's text within a payload."""
    return payload if kind == "raw" else str(json.loads(payload)["event"])


def test_huge_is_larger_than_splunk_takes() -> None:
    """The huge event stands for what Splunk's default maxEventSize refuses."""
    assert HUGE_BYTES > 5 * 1024 * 1024
