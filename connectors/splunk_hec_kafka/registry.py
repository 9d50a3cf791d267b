"""Values that a schema of a registry describes → JSON: Avro, Protobuf and JSON Schema.

Confluent's deserializers do the work; this module tells a bad record from a registry that is away. Needs the
extra `registry`, which is imported with the first route that names such a value. Owned by the loop's thread.
Guarantees: what a record holds is refused with `InvalidEvent`; whatever keeps the registry from answering
raises `RegistryAway`, so that no record is ever refused for it; each schema is asked for once.
Non-obvious: the registry is asked on the loop's thread, since without a schema its records cannot go on;
hence the short time-out, and no repetition here: the sink asks again, ever more seldom.
"""

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec
from confluent_kafka.serialization import MessageField, SerializationContext

from splunk_hec.errors import ConfigError, InvalidEvent
from splunk_hec_kafka.config_tree import DESCRIBED
from splunk_hec_kafka.headers import headers_of
from splunk_hec_kafka.kafka_properties import resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from confluent_kafka import Message

    from splunk_hec_kafka.config_tree import Registry
    from splunk_hec_kafka.outside import Outside
    from splunk_hec_kafka.routes import RouteTable

    Reader = Callable[[Message, bytes], bytes]

TIMEOUT_S = 5
UNKNOWN_S = 60.0
"""How long a schema that the registry does not know is not asked for again."""
_MOST_UNKNOWN = 10_000
_UNKNOWN_CODES = range(40400, 40500)
"""The registry's own codes for `not found`; another 404 comes from something that is no registry."""
_LARGEST_ID = 2**31 - 1
_NO_GUIDS = (404, "get_schema_by_guid")
"""Registries that know no GUIDs have no such address: then nothing is framed by one."""
_to_json = msgspec.json.Encoder(decimal_format="number").encode


class RegistryAway(Exception):  # noqa: N818 -- it is the registry's state, and no record's error
    """The registry does not answer, or refuses us: nothing is known about any record."""


class SchemaReader:
    """Decodes values; one registry client for each kind of them."""

    def __init__(self, config: Registry, kinds: Iterable[str], outside: Outside) -> None:
        """Make what decodes these kinds of values; no connection yet.

        Raises:
            ConfigError: The extra is not installed, a property is wrong, or a secret cannot be read.
        """
        self._readers = {kind: _reader(config, kind, outside) for kind in kinds}

    def decode(self, kind: str, message: Message) -> bytes:
        """The value of a record as JSON.

        Args:
            kind: `avro`, `protobuf` or `json-schema`, prepared before.
            message: A record whose value is not null.

        Raises:
            InvalidEvent: `undecodable`: the value is not what its schema says, or names no known schema.
            RegistryAway: The registry is needed and does not answer.
        """
        try:
            return self._readers[kind](message, message.value() or b"")
        except (InvalidEvent, RegistryAway):
            raise
        except Exception as error:  # noqa: BLE001 -- decoders raise what they please for what a record holds
            text = str(error).partition("\n")[0][:200]
            raise InvalidEvent("undecodable", f"no {kind} value: {text or type(error).__name__}") from None


def schema_reader(config: Registry, routes: RouteTable, outside: Outside) -> SchemaReader | None:
    """What decodes the values that need a registry; None if no route has such values.

    Raises:
        ConfigError: As for `SchemaReader`.
    """
    kinds = sorted(routes.values & DESCRIBED)
    return SchemaReader(config, kinds, outside) if kinds else None


def _reader(config: Registry, kind: str, outside: Outside) -> Reader:
    make = {"avro": _avro, "protobuf": _protobuf, "json-schema": _json_schema}[kind]
    try:
        return make(_Lookups(outside.registry(client_properties(config)), outside.clock))
    except ImportError as error:
        raise ConfigError(
            f"value = {kind!r} needs {error.name or 'more'}, which is not installed; "
            "install it with: pip install 'splunk-hec-sink[kafka,registry]'"
        ) from None
    except (ValueError, TypeError, OSError) as error:
        raise ConfigError(f"registry: {error}; see registry.url and registry.properties") from None


def client_properties(config: Registry) -> dict[str, Any]:
    """What the registry client is made with; secrets are looked up.

    Raises:
        ConfigError: A secret's variable or file is missing or empty.
    """
    texts = resolved({name: value for name, value in config.properties.items() if isinstance(value, str)})
    return {"timeout": TIMEOUT_S, "max.retries": 0} | config.properties | texts | {"url": config.url}


class _Lookups:
    """The registry client as deserializers see it; what it cannot answer is told apart here."""

    def __init__(self, client: Any, clock: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self._unknown: dict[tuple[object, ...], float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_schema(self, schema_id: int, *more: Any, **named: Any) -> Any:
        return self._ask("get_schema", schema_id, *more, **named)

    def get_schema_by_guid(self, guid: str, *more: Any, **named: Any) -> Any:
        return self._ask("get_schema_by_guid", guid, *more, **named)

    def get_version(self, subject: str, *more: Any, **named: Any) -> Any:
        return self._ask("get_version", subject, *more, **named)

    def _ask(self, question: str, what: object, *more: Any, **named: Any) -> Any:
        key = question, what, *more
        if isinstance(what, int) and what > _LARGEST_ID:
            raise InvalidEvent("undecodable", f"no schema has the id {what}: the value is not framed")
        until = self._unknown.get(key)
        if until is None or until <= self._clock():
            try:
                return getattr(self._client, question)(what, *more, **named)
            except Exception as error:  # noqa: BLE001 -- of several HTTP libraries, by version
                code = getattr(error, "error_code", None)
                if code not in _UNKNOWN_CODES and (code, question) != _NO_GUIDS:
                    # Of libraries that are not ours: a line, without the request.
                    text = str(error).partition("\n")[0][:200] or type(error).__name__
                    raise RegistryAway(text) from None
            if len(self._unknown) >= _MOST_UNKNOWN:
                self._unknown.clear()
            self._unknown[key] = self._clock() + UNKNOWN_S
        raise InvalidEvent("undecodable", f"the registry does not know its schema, {what}")


def _no_subject(_context: Any, _record_name: str | None, *_more: Any) -> None:
    """Schemas are asked for by id alone: a lookup by subject would ask again, and run a contract's rules."""


_CONF: dict[str, Any] = {"subject.name.strategy": _no_subject}


def _library(name: str) -> Any:
    """A module of the extra."""
    return import_module(name)


def _context(message: Message) -> Any:
    return SerializationContext(message.topic() or "", MessageField.VALUE, headers_of(message))


def _avro(lookups: Any) -> Reader:
    deserialize = _library("confluent_kafka.schema_registry.avro").AvroDeserializer(lookups, conf=_CONF)
    return lambda message, value: _to_json(deserialize(value, _context(message)))


def _json_schema(lookups: Any) -> Reader:
    """The value is checked, and taken as it is written."""
    make = _library("confluent_kafka.schema_registry.json_schema").JSONDeserializer
    payloads: list[bytes] = []

    def decode(payload: bytes) -> Any:
        payloads[:] = [payload]
        return json.loads(payload)

    deserialize = make(None, schema_registry_client=lookups, conf=_CONF, json_decode=decode)

    def read(message: Message, value: bytes) -> bytes:
        deserialize(value, _context(message))
        return payloads.pop()

    return read


def _protobuf(lookups: Any) -> Reader:
    """The library's deserializer wants a compiled class; here it is made from the registry's descriptor."""
    framing = _library("confluent_kafka.schema_registry")
    schema_id_of = _library("confluent_kafka.schema_registry.serde").SchemaId
    class_for = _library("google.protobuf.message_factory").GetMessageClass
    to_dict = _library("google.protobuf.json_format").MessageToDict
    empty = _library("google.protobuf.empty_pb2").Empty
    library = _library("confluent_kafka.schema_registry.protobuf").ProtobufDeserializer(empty, {}, lookups)
    known: dict[tuple[object, tuple[int, ...]], tuple[Any, Any]] = {}

    def class_of(schema_id: Any) -> tuple[Any, Any]:
        """The message class of a schema, and the pool that it is from."""
        indexes = tuple(schema_id.message_indexes or (0,))
        key = schema_id.id or schema_id.guid, indexes
        if key not in known:  # private, but the library's own way from an id to a descriptor
            raw = library._get_writer_schema(schema_id, None, "serialized")  # noqa: SLF001
            file, pool = library._get_parsed_schema(raw)  # noqa: SLF001
            found = pool.FindFileByName(file.name)
            descriptor = library._get_message_desc(pool, found, list(indexes))  # noqa: SLF001
            known[key] = class_for(descriptor), pool
        return known[key]

    def read(message: Message, value: bytes) -> bytes:
        schema_id = schema_id_of("PROTOBUF")
        payload = framing.dual_schema_id_deserializer(value, _context(message), schema_id)
        made, pool = class_of(schema_id)
        found = to_dict(
            made.FromString(payload.read()), preserving_proto_field_name=True, descriptor_pool=pool
        )
        return _to_json(found)

    return read
