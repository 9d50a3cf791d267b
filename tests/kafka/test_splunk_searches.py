"""`audit`: the searches look where the events are, and say what they show."""

from __future__ import annotations

import re
from typing import Any

import pytest

from splunk_hec.errors import ConfigError
from splunk_hec_kafka.config import Kafka, Route, SinkConfig
from splunk_hec_kafka.splunk_searches import searches, searches_text

PROVENANCE = "BY kafka_topic kafka_partition kafka_offset"


def spl(*topics: str, route: tuple[Route, ...] = (), **more: Any) -> list[str]:
    """The three searches."""
    config = SinkConfig(kafka=Kafka(topics=topics), route=route)
    return [one["spl"] for one in searches(config, "-1d", "now", **more)]


def test_each_search_counts_by_place_in_the_named_window() -> None:
    """All three group by topic, partition and offset, from the index alone, within the given times."""
    found = searches(SinkConfig(kafka=Kafka(topics=("logs",))), "-2h", "-1h")
    assert [one["name"] for one in found] == ["loss", "gaps", "duplicates"]
    for one in found:
        first = one["spl"].splitlines()[0]
        assert first.startswith("| tstats count ")
        assert PROVENANCE in first
        assert 'kafka_topic IN ("logs") earliest="-2h" latest="-1h"' in first
        assert one["shows"]
        assert one["reading"]
        assert all(line.startswith("| ") for line in one["spl"].splitlines())
    loss, gaps, duplicates = (one["spl"] for one in found)
    assert "missing=last-first+1-offsets" in loss
    assert "dc(kafka_offset) AS offsets, min(kafka_offset) AS first, max(kafka_offset) AS last" in loss
    assert loss.index("tonumber(kafka_offset)") < loss.index("min(kafka_offset)")
    assert "where kafka_offset > before + 1" in gaps
    assert "where copies > 1" in duplicates


def test_gaps_that_are_none_are_told() -> None:
    """Whoever sees a gap reads of transactions, compaction, retention and dead letters before the alarm."""
    reading = searches(SinkConfig(kafka=Kafka(topics=("logs",))), "-1d", "now")[0]["reading"]
    for word in ("Transactions", "Compacted", "Retention", "Dead letters", "Tombstones"):
        assert word in reading


@pytest.mark.parametrize(
    ("topics", "routes", "where"),
    [
        (("a",), (), 'index IN ("*")'),
        (("a",), (Route(index="main"),), 'index IN ("main")'),
        (("a", "b"), (Route(topics=("a",), index="x"), Route(index="y")), 'index IN ("x", "y")'),
        (("a",), (Route(index="{header:i}"),), 'index IN ("*")'),
        (("^a.*",), (Route(topics=("a1",), index="x"),), 'index IN ("*")'),
        (("^a.*",), (Route(topics=("a1",), index="x"), Route(index="y")), 'index IN ("x", "y")'),
        (("^a.*",), (Route(action="drop"), Route(index="y")), 'index IN ("*")'),
    ],
)
def test_indexes_are_those_of_the_routes(topics: Any, routes: Any, where: str) -> None:
    """A literal index is searched; where a record or the token decides, all are."""
    assert all(where in one for one in spl(*topics, route=routes))
    assert 'index IN ("mine")' in spl(*topics, route=routes, indexes=("mine",))[0]


def test_expressions_and_quotes_are_spl() -> None:
    """An expression is matched after the index was asked; a quote in a name does not end the string."""
    one = spl("logs", '^audit\\..*"')[0].splitlines()
    assert "kafka_topic=*" in one[0]
    assert one[1] == r'| where match(kafka_topic, "^audit\..*\"") OR in(kafka_topic, "logs")'


def test_what_says_no_place_cannot_be_searched() -> None:
    """A topic without provenance is named; if there is no other, that is an error with its fix."""
    raw = (Route(topics=("r",), value="raw"), Route())
    config = SinkConfig(kafka=Kafka(topics=("r", "a")), route=raw)
    found = searches(config, "-1d", "now")
    assert '("a")' in found[0]["spl"]
    assert "Not in here, since nothing says their place: r." in found[0]["reading"]
    for route in (Route(value="raw"), Route(provenance=False), Route(action="drop")):
        with pytest.raises(ConfigError, match="provenance"):
            spl("a", route=(route,))
    with pytest.raises(ConfigError, match=r"kafka\.topics"):
        spl()


def test_the_text_is_the_spl_with_headings() -> None:
    """What is not SPL begins with #, so that a search can be copied out of it."""
    found = searches(SinkConfig(kafka=Kafka(topics=("logs",))), "-1d", "now")
    lines = [line for line in searches_text(found).splitlines() if line]
    assert [line for line in lines if not line.startswith("#")] == "\n".join(
        one["spl"] for one in found
    ).splitlines()
    assert len([line for line in lines if re.match(r"# (loss|gaps|duplicates): ", line)]) == 3
