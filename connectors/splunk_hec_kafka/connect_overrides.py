"""`consumer.override.*` of a connector as librdkafka properties.

Pure. Guarantee: no secret comes out; what holds one is read from an environment variable that a note names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from splunk_hec.errors import one_line
from splunk_hec_kafka.connect_keys import (
    ASSIGNORS,
    OTHER_OVERRIDES,
    OVERRIDE,
    OVERRIDES,
    OVERRIDES_UNNEEDED,
    Note,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PEM = (".pem", ".crt")
_PKCS12 = (".p12", ".pfx")
_OF_KAFKA = ("group.id", "bootstrap.servers", "auto.offset.reset")
"""These become keys of [kafka], not properties."""


class Property(NamedTuple):
    """A librdkafka property, and the key it came from."""

    name: str
    value: str
    key: str


def converted_overrides(own: Mapping[str, str]) -> Iterator[Property | Note]:
    """Convert them.

    Args:
        own: Java's name, without `consumer.override.`, and value of each.

    Yields:
        Properties, and what is to be known about the rest.
    """
    for name, text in own.items():
        key = one_line(OVERRIDE + name)
        if name in OVERRIDES:
            is_empty = name == "ssl.endpoint.identification.algorithm" and not text
            yield Property(OVERRIDES[name], "none" if is_empty else text, key)
        elif name in OVERRIDES_UNNEEDED:
            yield Note("unneeded", key, OVERRIDES_UNNEEDED[name])
        elif name not in OTHER_OVERRIDES:
            yield Note("cannot", key, "no librdkafka property that this is known to be")
        elif name not in _OF_KAFKA:
            yield from _special(name, text, own, key)


def _special(name: str, text: str, own: Mapping[str, str], key: str) -> Iterator[Property | Note]:
    match name:
        case "sasl.jaas.config":
            user = re.search(r'username\s*=\s*"([^"]*)"', text)
            if user is None:
                yield Note("cannot", key, "only user name and password are taken; see librdkafka's sasl.*")
            else:
                yield Property("sasl.username", user[1], key)
                yield from _secret("sasl.password", key)
        case "partition.assignment.strategy":
            classes = [one.strip().rpartition(".")[2] for one in text.split(",")]
            if all(one in ASSIGNORS for one in classes):
                yield Property(name, ",".join(ASSIGNORS[one] for one in classes), key)
            else:
                yield Note("cannot", key, f"librdkafka has {', '.join(ASSIGNORS.values())}")
        case "ssl.keystore.password" | "ssl.key.password":
            yield from _secret(name, key)
        case _:
            yield from _store(name, text, own.get(name.replace("location", "type"), "").upper(), key)


def _secret(name: str, key: str) -> Iterator[Property | Note]:
    variable = f"KAFKA_{name.upper().replace('.', '_')}"
    yield Property(name, f"env:{variable}", key)
    yield Note("look", key, f"the secret is not written; set it in {variable}")


def _store(name: str, path: str, kind: str, key: str) -> Iterator[Property | Note]:
    is_trust = name == "ssl.truststore.location"
    if kind == "PEM" or (not kind and path.endswith(_PEM)):
        for own in ("ssl.ca.location",) if is_trust else ("ssl.certificate.location", "ssl.key.location"):
            yield Property(own, path, key)
    elif not is_trust and (kind == "PKCS12" or (not kind and path.endswith(_PKCS12))):
        yield Property("ssl.keystore.location", path, key)
    else:
        fix = "PEM, and set ssl.ca.location" if is_trust else "PKCS12, and set ssl.keystore.location"
        yield Note("cannot", key, f"a Java key store: export it as {fix}")
