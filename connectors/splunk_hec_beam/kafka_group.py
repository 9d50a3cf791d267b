"""Which cluster, as which group, with which librdkafka properties: what every Kafka client here is made from.

Not for topics or positions. Guarantees: a group can be pickled and shown without a secret in it; whatever
properties are given, librdkafka commits, stores and resets no offset by itself.
Non-obvious: nothing here joins the group. Partitions are assigned by hand, since Beam decides who reads what;
the group is only the name under which offsets are kept.
"""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, cast

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from splunk_hec.config import TokenSource, is_reference
from splunk_hec.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

ANSWER_S = 10.0
"""How long one question to the broker may take (offsets, watermarks, metadata)."""

_OFFSETS = "offsets are committed when a bundle is, and never otherwise; remove it"
_JOINS_NOT = "the source joins no group, it assigns partitions by hand; remove it"
_POSITION = "the source resolves the position itself; use start="
_REFUSED = {
    "enable.auto.commit": _OFFSETS,
    "auto.commit.enable": _OFFSETS,
    "auto.commit.interval.ms": _OFFSETS,
    "enable.auto.offset.store": _OFFSETS,
    "offset.store.method": _OFFSETS,
    "offset.store.path": _OFFSETS,
    "offset.store.sync.interval.ms": _OFFSETS,
    "enable.partition.eof": "the source needs it on, to know where a partition ends; remove it",
    "auto.offset.reset": _POSITION,
    "group.id": "use group_id=",
    "group.protocol": _JOINS_NOT,
    "group.instance.id": _JOINS_NOT,
    "bootstrap.servers": "use bootstrap_servers=",
    "metadata.broker.list": "use bootstrap_servers=",
}
_SECRET = re.compile(r"password|passphrase|secret|key\.pem$|^ssl_key$|^sasl\.oauthbearer\.config$")
_MAY_REFER = re.compile(rf"{_SECRET.pattern}|^sasl\.username$")
_TUNING = {
    "client.id": "splunk-hec-beam",
    # librdkafka waits this long before it fetches on after a queue was full; a consumer that drains its
    # queue in bursts starves on the default of 1,000 (measured: half the throughput).
    "fetch.queue.backoff.ms": "5",
    "fetch.wait.max.ms": "50",
    "queued.max.messages.kbytes": "16384",  # a worker holds up to 20 readers, each with its prefetch
}
_PROMISE = {
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    "enable.partition.eof": "true",
    "auto.offset.reset": "error",
    "allow.auto.create.topics": "false",
}
librdkafka_log = logging.getLogger("splunk_hec_beam.librdkafka")


class KafkaGroup(msgspec.Struct, frozen=True, array_like=True):
    """A consumer group on a cluster. Immutable, hashable; secrets are references until a client is made.

    Attributes:
        bootstrap_servers: `host:port`, or several, separated by commas.
        group_id: Under which offsets are committed.
        properties: librdkafka properties, sorted by name.
    """

    bootstrap_servers: str
    group_id: str
    properties: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(
        cls,
        bootstrap_servers: str | Iterable[str],
        group_id: str,
        properties: Mapping[str, object] | None = None,
    ) -> Self:
        """Check what a user gave.

        Args:
            bootstrap_servers: One text, or several.
            group_id: Not empty.
            properties: librdkafka properties; secret ones as `env:NAME` or another reference.

        Raises:
            ConfigError: Something is missing, would break the promise, or is a secret in the open.
        """
        servers = bootstrap_servers if isinstance(bootstrap_servers, str) else ",".join(bootstrap_servers)
        for name, value in (("bootstrap_servers", servers), ("group_id", group_id)):
            if not value.strip():
                raise ConfigError(f"{name} is empty")
        given = sorted((properties or {}).items())
        return cls(servers, group_id, tuple((name, _checked(name, value)) for name, value in given))

    def consumer(self, more: Mapping[str, Any] | None = None) -> Consumer:
        """Make a client; it connects in the background.

        Args:
            more: Properties that apply where the user gave none.

        Raises:
            ConfigError: A secret cannot be found in this process, or librdkafka refuses a property.
        """
        own = {name: _resolved(name, value) for name, value in self.properties}
        who = {"bootstrap.servers": self.bootstrap_servers, "group.id": self.group_id}
        properties: dict[str, Any] = _TUNING | dict(more or {}) | own | who | _PROMISE
        try:
            return Consumer(properties, logger=librdkafka_log)
        except KafkaException as error:
            raise ConfigError(f"properties: {error.args[0].str()}") from None

    @contextmanager
    def asking(self) -> Generator[Consumer]:
        """A client for some questions, closed afterwards."""
        consumer = self.consumer()
        try:
            yield consumer
        finally:
            consumer.close()


def committed(consumer: Consumer, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """What the group has committed; partitions without a commit are left out.

    Raises:
        KafkaException: The broker does not say.
    """
    asked = [TopicPartition(topic, partition) for topic, partition in places]
    found: dict[tuple[str, int], int] = {}
    for one in consumer.committed(asked, timeout=ANSWER_S) if asked else []:
        if one.error is not None:
            raise KafkaException(one.error)
        if one.offset >= 0:
            found[one.topic, one.partition] = one.offset
    return found


def watermarks(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """The first offset that exists, and the next to be written.

    Raises:
        KafkaException: The broker does not say.
    """
    where = TopicPartition(topic, partition)
    found = cast("tuple[int, int] | None", consumer.get_watermark_offsets(where, timeout=ANSWER_S))
    if found is None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 -- librdkafka's code
    return found


def _checked(name: str, value: object) -> str:
    if name in _REFUSED:
        raise ConfigError(f"the property {name} is refused: {_REFUSED[name]}")
    if not isinstance(value, str | int | float):
        raise ConfigError(
            f"the property {name} must be text, a number or a boolean, not {type(value).__name__}"
        )
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if _SECRET.search(name) and not is_reference(text):
        raise ConfigError(
            f"the property {name} must be a reference, env:NAME or file:PATH: "
            "the secret itself would be readable in the job graph"
        )
    return text


def _resolved(name: str, value: str) -> str:
    if not (_MAY_REFER.search(name) and is_reference(value)):
        return value
    try:
        return TokenSource(value)()
    except ConfigError:
        raise ConfigError(f"the property {name} is read from {value}, which is missing or empty") from None
