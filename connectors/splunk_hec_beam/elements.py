"""Elements → lines for HEC, many at once where they are plain text.

Not for batching or sending. Guarantees: a bad element never raises, it becomes a refusal with its reason;
each element comes out exactly once, as a line, a refusal or a skip. Owned by one DoFn instance.

Non-obvious: a text and its Beam timestamp need no `Event` in between; only when something in a run of texts
looks wrong is it read element by element. Both ways say the same of an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import apache_beam as beam
import msgspec
from apache_beam.utils.timestamp import Timestamp

from splunk_hec._batching import REF_BYTES
from splunk_hec._envelope import EnvelopeEncoder
from splunk_hec.errors import InvalidEvent
from splunk_hec.events import Envelope, Event
from splunk_hec_beam.kafka_record import event_of as event_of_record
from splunk_hec_beam.kafka_record import is_kafka_record
from splunk_hec_beam.sources import HELD_BYTES, Held, Sources, Texts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from apache_beam.utils.windowed_value import WindowedValue

    from splunk_hec._block import Block
    from splunk_hec.client import HecClient

_FIRST_MICROS = 1_000_000
"""Below one second after 1970 a number may be written with an exponent, which HEC refuses."""
_END_MICROS = 10**17
"""From 0 up to here a timestamp stands for a time: Beam's minimum means "none", its maximum "the end"."""


class Refusal(NamedTuple):
    """An element that can never be indexed as it is."""

    source: WindowedValue
    reason: str
    text: str


class Encoded(NamedTuple):
    """What became of a run of elements; `lines[i]` is that of the manifest's element i.

    `held_bytes`: what the manifest keeps in memory.
    """

    lines: Sequence[bytes]
    manifest: Sources
    held_bytes: int
    refusals: list[Refusal]
    skipped: int


class ElementEncoder:
    """Encodes windowed elements with a client's defaults."""

    def __init__(
        self,
        client: HecClient,
        *,
        to_event: Callable[[Any], Any] | None,
        takes_timestamps: bool,
        event_id_field: str | None,
    ) -> None:
        """Make an encoder.

        Args:
            client: Its defaults, limits, and the indexes it knows to be refused.
            to_event: The user's own reading of an element; None: `event_of`.
            takes_timestamps: An event without a time of its own gets its element's timestamp.
            event_id_field: Indexed field that holds a stable id of the event; None adds none.
        """
        self._client = client
        self._encoder = EnvelopeEncoder(client.config)
        self._to_event = to_event or event_of
        self._takes_timestamps = takes_timestamps
        self._id_field = event_id_field
        self._is_plain = to_event is None and event_id_field is None

    def encode(self, sources: list[WindowedValue]) -> Encoded:
        """Encode a run of elements, in their order. Never raises for what an element holds."""
        if self._is_plain:
            values = [source.value for source in sources]
            kinds = set(map(type, values))
            if kinds in ({str}, {bytes}):
                is_bytes = kinds == {bytes}
                lines = self._texts(values, sources, is_bytes=is_bytes)
                if lines is not None:
                    manifest = Sources([Texts.of(sources, is_bytes=is_bytes)])
                    return Encoded(lines, manifest, HELD_BYTES * len(sources), [], 0)
        return self._one_by_one(sources)

    def _texts(self, values: list[Any], sources: list[WindowedValue], *, is_bytes: bool) -> Block | None:
        """The lines of texts; None if one of them needs a closer look."""
        if is_bytes:
            try:
                values = [value.decode() for value in values]
            except UnicodeDecodeError:
                return None
        if not self._takes_timestamps:
            return self._encoder.encode_texts(values)
        micros = [source.timestamp_micros for source in sources]
        if any(0 <= one < _FIRST_MICROS for one in micros):
            return None
        end, unset = _END_MICROS, msgspec.UNSET
        times = [one / 1e6 if 0 <= one < end else unset for one in micros]
        return self._encoder.encode_texts(values, times)

    def _one_by_one(self, sources: list[WindowedValue]) -> Encoded:
        lines: list[bytes] = []
        kept: list[WindowedValue] = []
        refusals: list[Refusal] = []
        skipped = 0
        for source in sources:
            try:
                event = self._event(source)
                if event is None:
                    skipped += 1
                    continue
                lines.append(self._line(event))
                kept.append(source)
            except InvalidEvent as error:
                refusals.append(Refusal(source, error.reason, error.text))
        held_bytes = sum(map(len, lines)) + REF_BYTES * len(lines)  # an element is about as large as its line
        return Encoded(lines, Sources([Held(kept)]), held_bytes, refusals, skipped)

    def _event(self, source: WindowedValue) -> Event | Envelope | None:
        event = self._read(source.value)
        if isinstance(event, Event) and event.time is None and self._takes_timestamps:
            micros = source.timestamp_micros
            if 0 <= micros < _END_MICROS:
                return msgspec.structs.replace(
                    event, time=Timestamp(micros=micros).to_utc_datetime(has_tz=True)
                )
        return event

    def _read(self, element: Any) -> Event | Envelope | None:
        if self._to_event is event_of:
            return event_of(element)
        try:
            found = self._to_event(element)
        except InvalidEvent:
            raise
        except Exception as error:  # noqa: BLE001 -- the user's own code: one bad element must not stop the pipeline
            raise InvalidEvent("invalid_event", f"to_event raised {type(error).__name__}: {error}") from None
        return event_of(found) if found is not None else None

    def _line(self, event: Event | Envelope) -> bytes:
        _, line = self._client.encode(event)
        if self._id_field is None:
            return line
        envelope = msgspec.json.decode(line)
        fields = envelope.setdefault("fields", {})
        if self._id_field in fields:
            return line
        fields[self._id_field] = blake2b(line, digest_size=16).hexdigest()
        return self._client.encode(Envelope(envelope))[1]


def event_of(element: Any) -> Event | Envelope | None:
    """What an element stands for where the user gave no `to_event`.

    Args:
        element: Text, a mapping or row (indexed as JSON), a Kafka record, or an event.

    Returns:
        The event; None for a Kafka record without a value.

    Raises:
        InvalidEvent: It is of another kind.
    """
    if isinstance(element, Event | Envelope):
        return element
    if isinstance(element, str | bytes):
        return Event(element)
    if is_kafka_record(element):
        return event_of_record(element)
    if isinstance(element, Mapping | beam.Row) or hasattr(element, "_asdict"):
        return Event(plain(element))
    raise InvalidEvent(
        "invalid_event", f"an element of type {type(element).__name__} is no event; give to_event="
    )


def plain(value: Any) -> Any:
    """A value with every row in it as a mapping and every Beam timestamp as RFC 3339 text."""
    if isinstance(value, beam.Row):
        return {name: plain(one) for name, one in value.as_dict().items()}
    if hasattr(value, "_asdict"):
        return {name: plain(one) for name, one in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value.to_rfc3339() if isinstance(value, Timestamp) else value
