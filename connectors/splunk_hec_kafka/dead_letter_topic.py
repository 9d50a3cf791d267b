"""Looks at the dead-letter topic before anything depends on it; used at start and by `check`.

Not for writing to it. Guarantee: looking never creates a topic (all topics are listed, since asking for one
by name may create it). A broker that does not answer about settings is a warning, not a failure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from confluent_kafka import KafkaException

# Public names that the package re-exports without saying so to type checkers.
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    ConfigResource,  # pyright: ignore[reportPrivateImportUsage]
    ResourceType,  # pyright: ignore[reportPrivateImportUsage]
)

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

_DAY_MS = 86_400_000
_SETTINGS_TIMEOUT_S = 10.0
"""Brokers answer this in milliseconds or, where they may not, never; a start must not wait for the latter."""
_UNTOLD = "the broker did not tell the topic's settings"


class TopicFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a topic.

    Attributes:
        topic: Its name.
        exists: None if no broker told.
        cleanup_policy: e.g. `delete` or `compact,delete`; None if the broker did not tell.
        retention_ms: -1 = for ever; None if the broker did not tell.
        max_message_bytes: Largest record batch; None if the broker did not tell.
        warning: Why something is not known; empty if all is.
    """

    topic: str
    exists: bool | None
    cleanup_policy: str | None = None
    retention_ms: int | None = None
    max_message_bytes: int | None = None
    warning: str = ""

    @property
    def is_compacted(self) -> bool:
        """Whether records of a key replace each other: dead letters would vanish."""
        return "compact" in (self.cleanup_policy or "")

    @property
    def problem(self) -> tuple[str, str] | None:
        """What forbids its use, and the fix; None if nothing is known to."""
        if self.exists is False:
            return (
                f"the dead-letter topic {self.topic} does not exist",
                "create it (kafka-topics --create), or name another one in dead_letter.topic",
            )
        if self.is_compacted:
            return (
                f"the dead-letter topic {self.topic} is compacted ({self.cleanup_policy}): letters vanish",
                "set cleanup.policy=delete on it, or name another topic in dead_letter.topic",
            )
        return None

    @property
    def retention(self) -> str:
        """Its retention for people, e.g. `7 days`."""
        if self.retention_ms is None:
            return "unknown"
        return "for ever" if self.retention_ms < 0 else f"{self.retention_ms / _DAY_MS:g} days"


def check_topic(admin: AdminClient, topic: str, timeout_s: float) -> TopicFinding:
    """Look at a topic.

    Args:
        admin: A client of its cluster.
        topic: Its name.
        timeout_s: Longest time for the list of topics; their settings are waited for at most 10 s.

    Returns:
        What was found; never raises for what the cluster answers or does not.
    """
    try:
        cluster = admin.list_topics(timeout=timeout_s)
    except KafkaException as error:
        return TopicFinding(topic=topic, exists=None, warning=f"no broker told its topics: {_shown(error)}")
    found = cluster.topics.get(topic)
    if found is None or (found.error is not None and not found.partitions):
        return TopicFinding(topic=topic, exists=False)
    if cluster.controller_id not in cluster.brokers:
        return TopicFinding(topic=topic, exists=True, warning=f"{_UNTOLD}: the cluster names no controller")
    resource = ConfigResource(ResourceType.TOPIC, topic)
    untyped: Any = admin
    wait_s = min(timeout_s, _SETTINGS_TIMEOUT_S)
    try:
        answer = untyped.describe_configs([resource], request_timeout=wait_s)[resource]
        settings: dict[str, str] = {name: entry.value for name, entry in answer.result(wait_s + 1).items()}
    except (KafkaException, TimeoutError) as error:
        return TopicFinding(topic=topic, exists=True, warning=f"{_UNTOLD}: {_shown(error)}")
    return TopicFinding(
        topic=topic,
        exists=True,
        cleanup_policy=settings.get("cleanup.policy"),
        retention_ms=_number(settings.get("retention.ms")),
        max_message_bytes=_number(settings.get("max.message.bytes")),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None else None


def _shown(error: Exception) -> str:
    return error.args[0].str() if isinstance(error, KafkaException) else "no answer in time"
