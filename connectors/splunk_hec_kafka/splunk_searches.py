"""The searches that `audit` prints: what SPL shows of loss and duplicates by the provenance fields.

Pure; asks neither Kafka nor Splunk. Non-obvious: kafka_topic, kafka_partition and kafka_offset are indexed
fields, so `tstats` answers from the index alone, without reading events; their values are text there, hence
`tonumber` before offsets are compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from splunk_hec.errors import ConfigError
from splunk_hec_kafka.config import require
from splunk_hec_kafka.routes import RouteTable
from splunk_hec_kafka.templates import Template

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from splunk_hec_kafka.config import SinkConfig
    from splunk_hec_kafka.routes import CompiledRoute

_BY = "BY kafka_topic kafka_partition kafka_offset"
_NUMBERS = "| eval kafka_partition=tonumber(kafka_partition), kafka_offset=tonumber(kafka_offset)"
_WINDOW = (
    "The times are those of the events: a window cuts where their times do, not where offsets do. Look "
    "whether a gap at its edge is still one in a wider window."
)
_GAPS = (
    "Not every gap is a loss. Dead letters: 'hec-kafka-sink dlq ls -o json' names their offsets. "
    "Tombstones and dropped topics are never sent (hec_sink_records_skipped_total). Transactions: each "
    "commit or abort takes one offset of a partition, so gaps of exactly 1 at regular distances; the "
    "records of aborted ones are missing too. Compacted topics: gaps of any length, anywhere but near the "
    "end, and more of them later. Retention: one gap before the first offset that was still there "
    "(hec_sink_lost_records_total). What is left is to be looked into."
)


def searches(
    config: SinkConfig, earliest: str, latest: str, indexes: Sequence[str] = ()
) -> list[dict[str, str]]:
    """The searches, for the configured topics.

    Args:
        config: Topics and routes.
        earliest: Splunk's time modifier of the oldest events.
        latest: That of the newest.
        indexes: Where to search; empty: where the routes say, `*` where a record or the token decides.

    Returns:
        For each `name`, `shows`, `spl` and `reading`; what cannot be searched is in the last `reading`.

    Raises:
        ConfigError: No topic is configured, or no topic's events carry their place.
    """
    require(config, ("kafka.topics",))
    table = RouteTable(config.route)
    topics = [topic for topic in config.kafka.topics if _is_searchable(table, topic)]
    if not topics:
        raise ConfigError(
            "kafka.topics: no event carries its place in Kafka (value = 'raw', provenance = false, or "
            "dropped); set provenance = true on the route"
        )
    where = _where(topics, indexes or _indexes(config, table, topics), earliest, latest)
    first, more = where.partition("\n")[::2]
    narrowed = f"{more}\n" if more else ""
    missing = sorted(set(config.kafka.topics) - set(topics))
    unseen = f" Not in here, since nothing says their place: {', '.join(missing)}." if missing else ""
    return [
        {
            "name": "loss",
            "shows": "partitions with offsets that are not in the index, and copies",
            "spl": f"| tstats count WHERE {first} {_BY}\n{narrowed}{_NUMBERS}\n"
            "| stats sum(count) AS events, dc(kafka_offset) AS offsets, min(kafka_offset) AS first, "
            "max(kafka_offset) AS last BY kafka_topic, kafka_partition\n"
            "| eval missing=last-first+1-offsets, copies=events-offsets\n"
            "| sort 0 kafka_topic, kafka_partition",
            "reading": f"missing = 0: nothing between first and last is lost. {_GAPS} {_WINDOW}{unseen}",
        },
        {
            "name": "gaps",
            "shows": "each gap: the first and the last offset that are missing",
            "spl": f"| tstats count WHERE {first} {_BY}\n{narrowed}{_NUMBERS}\n"
            "| sort 0 kafka_topic, kafka_partition, kafka_offset\n"
            "| streamstats current=f window=1 global=f last(kafka_offset) AS before BY kafka_topic, "
            "kafka_partition\n"
            "| where kafka_offset > before + 1\n"
            "| eval first_missing=before+1, last_missing=kafka_offset-1, missing=kafka_offset-before-1\n"
            "| table kafka_topic, kafka_partition, first_missing, last_missing, missing",
            "reading": _GAPS,
        },
        {
            "name": "duplicates",
            "shows": "each record that is in the index more than once",
            "spl": f"| tstats count AS copies WHERE {first} {_BY}\n{narrowed}"
            "| where copies > 1\n"
            "| sort 0 - copies",
            "reading": "Delivery is at least once: a lost reply, a restart or a rebalance repeats a batch. "
            "hec_sink_resends_total counts why. To search without them, end a search of the events "
            "themselves with: | dedup kafka_topic kafka_partition kafka_offset",
        },
    ]


def searches_text(found: Sequence[dict[str, str]]) -> str:
    """The searches for people: a heading, the SPL, and how to read it."""
    return "\n\n".join(f"# {one['name']}: {one['shows']}\n{one['spl']}\n# {one['reading']}" for one in found)


def _is_searchable(table: RouteTable, topic: str) -> bool:
    """Whether events of this topic say their place; an expression is taken to match some that do."""
    route = table.for_topic(topic)
    return topic.startswith("^") or (route.adds_provenance and not route.drops)


def _indexes(config: SinkConfig, table: RouteTable, topics: Iterable[str]) -> list[str]:
    found: set[str] = set()
    for topic in topics:
        found |= _of_expression(config) if topic.startswith("^") else {_index(table.for_topic(topic))}
    return ["*"] if "*" in found or not found else sorted(found)


def _of_expression(config: SinkConfig) -> set[str]:
    """Any route may take what an expression matches, up to the one that takes all."""
    found: set[str] = set()
    for route in config.route:
        if route.action == "send" and route.provenance and route.value != "raw":
            found.add(Template(route.index).constant or "*")
        if "*" in route.topics:
            return found
    return found | {"*"}


def _index(route: CompiledRoute) -> str:
    return route.metadata.get("index", "*")


def _where(topics: Sequence[str], indexes: Sequence[str], earliest: str, latest: str) -> str:
    """The filter of `tstats`; expressions need a line of their own after it."""
    names = [topic for topic in topics if not topic.startswith("^")]
    expressions = [topic for topic in topics if topic.startswith("^")]
    chosen = f"kafka_topic IN ({_listed(names)})" if not expressions else "kafka_topic=*"
    where = f"index IN ({_listed(indexes)}) {chosen} earliest={_quoted(earliest)} latest={_quoted(latest)}"
    if not expressions:
        return where
    either = [f"match(kafka_topic, {_quoted(one)})" for one in expressions]
    either += [f"in(kafka_topic, {_listed(names)})"] if names else []
    return f"{where}\n| where {' OR '.join(either)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(_quoted, names))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'
