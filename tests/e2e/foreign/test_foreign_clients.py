"""Clients that others wrote, unmodified from their registries, find in the emulator the HEC they know.

So the emulator is not proved by our own client alone: a misreading that both share would show here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from foreign.registries import must, run

if TYPE_CHECKING:
    from splunk_hec_emulator import Emulator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
COUNT = 20
METADATA = ("index", "host", "source", "sourcetype")


def indexed(emulator: Emulator) -> list[dict[str, Any]]:
    """What the emulator indexed, in the order of the events' own times."""
    return sorted(emulator.events(), key=lambda one: float(one["time"]))


def metadata(events: list[dict[str, Any]]) -> set[tuple[str, ...]]:
    """The different combinations of index, host, source and sourcetype."""
    return {tuple(one[name] for name in METADATA) for one in events}


def test_splunk_handler_is_served(splunk_handler: list[str], hec_emulator: Emulator) -> None:
    """A body of objects with nothing between them, as splunk-handler sends it, is indexed whole, once."""
    before = time.time()
    said = must(*splunk_handler, hec_emulator.url, hec_emulator.plain_token, str(COUNT))
    events = indexed(hec_emulator)
    assert said == ""  # it prints its failures
    assert [one["event"] for one in events] == [
        f'WARNING line {number}: "quoted", tab\t, ünïcödé ✓' for number in range(COUNT)
    ]
    assert metadata(events) == {("main", "web-1", "shop", "app:log")}
    assert before <= events[0]["time"] <= events[-1]["time"] <= time.time()


def test_splunk_hec_handler_is_served(splunk_hec_handler: list[str], hec_emulator: Emulator) -> None:
    """One object a request on a connection of its own, as splunk-hec-handler sends it, is indexed once."""
    must(*splunk_hec_handler, hec_emulator.url, hec_emulator.plain_token, str(COUNT))
    events = indexed(hec_emulator)
    assert [(one["time"], one["event"]["number"]) for one in events] == [
        (1_700_000_000 + number, number) for number in range(COUNT)
    ]
    assert metadata(events) == {("main", "web-2", "shop", "_json")}
    assert all(one["fields"] == {"color": "yellow"} for one in events)


def test_a_client_without_channels_is_refused_where_acks_are_on(
    splunk_hec_handler: list[str], hec_emulator: Emulator
) -> None:
    """A client that knows no channels gets 400 for a token with acknowledgements, and nothing is indexed."""
    done = run(*splunk_hec_handler, hec_emulator.url, hec_emulator.token, str(COUNT))
    assert "400 Client Error" in done.stderr
    assert hec_emulator.events() == []
    assert hec_emulator.stats()["replies"] == {"400/10": 1}


def test_splunk_logging_is_served(splunk_logging: list[str], hec_emulator: Emulator) -> None:
    """Times as text and a form's content type, as Splunk's Node client sends them, are indexed once."""
    said = must(*splunk_logging, hec_emulator.url, hec_emulator.plain_token, str(COUNT))
    events = indexed(hec_emulator)
    assert said == ""  # it prints its failures
    assert [(one["time"], one["event"]) for one in events] == [
        (1_700_000_000.25 + number, {"message": {"number": number}, "severity": "warn"})
        for number in range(COUNT)
    ]
    assert metadata(events) == {("main", "web-3", "shop", "node")}
    assert hec_emulator.stats()["requests"] == 3  # 8, 8 and 4


def test_beam_splunk_io_is_served(splunk_io: list[str], hec_emulator: Emulator) -> None:
    """Gzip and indexed fields, as Beam's Java SplunkIO sends them, are indexed once."""
    must(*splunk_io, hec_emulator.url, hec_emulator.plain_token, str(COUNT))
    events = indexed(hec_emulator)
    assert [(one["time"], one["event"]) for one in events] == [
        (1_700_000_000.25 + number, f"line {number}") for number in range(COUNT)
    ]
    assert metadata(events) == {("main", "web-4", "shop", "beam")}
    assert all(one["fields"] == {"color": "green"} for one in events)
    stats = hec_emulator.stats()
    assert stats["bytes_received"] < stats["bytes_decoded"]
