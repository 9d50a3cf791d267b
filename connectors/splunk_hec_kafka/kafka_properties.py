"""librdkafka properties: which are refused and why, which are secret, which both clients share.

Not for values that librdkafka itself judges: an unknown property fails when its client is made.
Guarantee: nothing that passes here can commit an offset behind the sink's back, or report a dead letter as
written before all in-sync replicas have it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from splunk_hec.config import TokenSource, is_reference
from splunk_hec.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

Properties = dict[str, str | int | float | bool]

_OFFSETS = "the sink commits what is settled and nothing else; remove it (see kafka.commit_interval_s)"
_POSITION = "the sink resolves the position itself; use kafka.start"
_CONSUMER_REFUSED = {
    "enable.auto.commit": _OFFSETS,
    "auto.commit.enable": _OFFSETS,
    "auto.commit.interval.ms": _OFFSETS,
    "enable.auto.offset.store": _OFFSETS,
    "offset.store.method": _OFFSETS,
    "offset.store.path": _OFFSETS,
    "offset.store.sync.interval.ms": _OFFSETS,
    "enable.partition.eof": "the sink needs it on, to commit past transaction markers; remove it",
    "auto.offset.reset": _POSITION,
    "group.id": "use kafka.group_id",
    "bootstrap.servers": "use kafka.bootstrap_servers",
    "metadata.broker.list": "use kafka.bootstrap_servers",
}
_ALL_REPLICAS = "a dead letter counts as written when all in-sync replicas have it; remove it"
_ALL = ("all", "-1")
_PRODUCER_REFUSED = {
    "acks": (_ALL, _ALL_REPLICAS),
    "request.required.acks": (_ALL, _ALL_REPLICAS),
    "transactional.id": (
        (),
        "dead letters are not transactional: nothing would ever be committed; remove it",
    ),
    "delivery.report.only.error": (("false",), "success must be reported, or offsets never move; remove it"),
}
"""Property → (values that are harmless, hint)."""
_TIMEOUTS = ("delivery.timeout.ms", "message.timeout.ms")
_SECRET = re.compile(
    r"password|passphrase|secret|key\.pem$|^ssl_key$|^sasl\.oauthbearer\.config$|auth\.(user\.info|token)$"
)
_CONNECTION = re.compile(
    r"^(security\.|sasl\.|ssl[._]|enable\.s[as]|https\.|socket\.|broker\.|reconnect\.|retry\.backoff\.|metadata\."
    r"|api\.version|client\.(id|dns)|connections\.|plugin\.|debug$|log|topic\.metadata\.|message\.max\.bytes$)"
)
"""What belongs to the way to a cluster, not to consuming or producing. `enable.s[as]`: enable.ssl.…,
enable.sasl.… and enable.sparse.connections need no distinction."""


def refused_in_consumer(properties: Mapping[str, object]) -> dict[str, str]:
    """The properties of `[kafka.properties]` that would break the promise, each with its hint."""
    return {name: hint for name, hint in _CONSUMER_REFUSED.items() if name in properties}


def refused_in_producer(properties: Mapping[str, object]) -> dict[str, str]:
    """The properties of `[dead_letter.properties]` that would break the promise, each with its hint."""
    refused = {
        name: hint
        for name, (harmless, hint) in _PRODUCER_REFUSED.items()
        if name in properties and _text(properties[name]) not in harmless
    }
    for name in _TIMEOUTS:
        if name in properties and _text(properties[name]) == "0":
            refused[name] = "without a limit a lost dead letter would never be reported; give milliseconds"
    return refused


def is_secret(name: str) -> bool:
    """Whether the value of a property of Kafka or of a schema registry must never be shown."""
    return _SECRET.search(name) is not None


def connection_properties(properties: Mapping[str, object]) -> dict[str, str]:
    """The part of a consumer's properties that any client of the same cluster needs, e.g. TLS and SASL."""
    return {name: _text(value) for name, value in properties.items() if _CONNECTION.match(name)}


def resolved(properties: Mapping[str, object]) -> dict[str, str]:
    """Properties as librdkafka takes them: text, with `env:NAME` and `file:PATH` secrets looked up.

    Raises:
        ConfigError: A secret's variable or file is missing or empty.
    """
    found: dict[str, str] = {}
    for name, value in properties.items():
        text = _text(value)
        if is_secret(name) and is_reference(text):
            try:
                text = TokenSource(text)()
            except ConfigError:
                raise ConfigError(
                    f"the property {name} is read from {text}, which is missing or empty"
                ) from None
        found[name] = text
    return found


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
