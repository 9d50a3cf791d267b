"""Dead letters in files of JSON lines, and back: `WriteDeadLetters`, `ReadDeadLetters`.

A line holds a dead letter whole: `element` (see `exact_json`), `event_bytes` (the HEC envelope as text,
empty if none could be made), `reason`, `http_status`, `code`, `text`, `attempts`, `timestamp` (of the
element, RFC 3339), `replays`.

Guarantees: a file is complete or not there, under a name nobody else uses; all dead letters of a bundle are
in one when the bundle is committed; nothing is grouped, windowed or shuffled, so none can be dropped as
late, and a source that commits with its bundle commits only what is written. A bundle that is tried again
writes them again.
Non-obvious: a dead letter of a replayed one is written as the original with its counter raised, never
nested.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import apache_beam as beam
from apache_beam import coders
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.io.textio import ReadAllFromText
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import TaggedOutput

from splunk_hec.errors import InvalidEvent
from splunk_hec.events import Envelope, Event
from splunk_hec_beam.elements import event_of
from splunk_hec_beam.exact_json import Unreadable, from_json, to_json
from splunk_hec_beam.log_lines import LogLine, event_of_line
from splunk_hec_beam.metrics import NAMESPACE
from splunk_hec_beam.pubsub_metadata import event_of_message

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import BinaryIO

    from apache_beam.utils.timestamp import Timestamp

MAX_REPLAYS = 2
"""An event that failed so often again is not sent once more: it would fail for ever."""
SUFFIX = ".jsonl"


class DeadLetter(NamedTuple):
    """One line of a file.

    Attributes:
        element: As it came into the transform that refused it first.
        event_bytes: Its HEC envelope; empty if none could be made.
        reason: The latest.
        http_status: Of the latest try.
        code: Likewise.
        text: Likewise.
        attempts: Likewise.
        timestamp: The element's, in RFC 3339; empty if it had none.
        replays: How often it was replayed, and refused again.
    """

    element: Any
    event_bytes: bytes
    reason: str
    http_status: int
    code: int | None
    text: str
    attempts: int
    timestamp: str
    replays: int

    @property
    def is_spent(self) -> bool:
        """Whether it was replayed as often as may be."""
        return self.replays >= MAX_REPLAYS


class WriteDeadLetters(beam.PTransform):
    """Writes rows of `dead_letters` to files `PREFIX-TIME-ID.jsonl`, one a bundle that has any."""

    def __init__(self, prefix: str) -> None:
        """Nothing is written yet.

        Args:
            prefix: Folder and start of the name; its scheme chooses the file system.
        """
        super().__init__()
        self._prefix = prefix

    def expand(self, input_or_inputs: beam.PCollection[Any]) -> beam.PCollection[Any]:
        """Write; puts out nothing."""
        return input_or_inputs | "Write" >> beam.ParDo(_WriteFn(self._prefix))


class ReadDeadLetters(beam.PTransform):
    """Reads such files: one `DeadLetter` a line."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Nothing is read yet.

        Args:
            patterns: Globs.
        """
        super().__init__()
        self._patterns = list(patterns)

    def expand(self, input_or_inputs: beam.Pipeline) -> beam.PCollection[DeadLetter]:
        """Read; a line that is no dead letter fails the job, since nobody else would tell of it."""
        return (
            input_or_inputs
            | "Patterns" >> beam.Create(self._patterns)
            | "Read" >> ReadAllFromText(with_filename=True, coder=coders.BytesCoder())
            | "Parse" >> beam.Map(_parse).with_output_types(Any)
        )


class _WriteFn(beam.DoFn):
    """A file a bundle: written under another name, and renamed when the bundle ends."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def setup(self) -> None:
        self._file: BinaryIO | None = None
        self._written = Metrics.counter(NAMESPACE, "dead_letters_written")

    def start_bundle(self) -> None:
        self._discard()  # a bundle that failed half-way left it; what it holds comes again

    def process(self, element: Any, timestamp: Any = beam.DoFn.TimestampParam) -> None:
        if self._file is None:
            self._open()
        assert self._file is not None
        self._file.write(line_of(element, timestamp) + b"\n")
        self._written.inc()

    def finish_bundle(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._file = None
        FileSystems.rename([self._part], [self._name])

    def teardown(self) -> None:
        self._discard()

    def _discard(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            FileSystems.delete([self._part])

    def _open(self) -> None:
        """The unfinished file's name does not start with the prefix, so that no glob of it matches."""
        folder, name = FileSystems.split(self._prefix)
        if "://" not in folder and folder and not FileSystems.exists(folder):
            FileSystems.mkdirs(folder)
        at = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:12]}"
        self._name = FileSystems.join(folder, f"{name}-{at}{SUFFIX}")
        self._part = FileSystems.join(folder, f".part-{name}-{at}")
        self._file = FileSystems.create(self._part, "application/octet-stream")


def line_of(row: Any, timestamp: Timestamp) -> bytes:
    """A row of `dead_letters`, or a `DeadLetter` as it is, as one line of ASCII JSON without its end."""
    letter = row if isinstance(row, DeadLetter) else _letter(row, timestamp)
    members = letter._asdict() | {
        "element": to_json(letter.element),
        "event_bytes": letter.event_bytes.decode(),
    }
    return json.dumps(members, allow_nan=False).encode()


def _letter(row: Any, timestamp: Timestamp) -> DeadLetter:
    replayed = row.element if isinstance(row.element, DeadLetter) else None
    return DeadLetter(
        element=replayed.element if replayed else row.element,
        event_bytes=row.event_bytes or (replayed.event_bytes if replayed else b""),
        reason=row.reason,
        http_status=row.http_status,
        code=row.code,
        text=row.text,
        attempts=row.attempts,
        timestamp=replayed.timestamp if replayed else _rfc3339(timestamp),
        replays=replayed.replays + 1 if replayed else 0,
    )


def _rfc3339(timestamp: Timestamp) -> str:
    try:
        return timestamp.to_rfc3339() if timestamp.micros >= 0 else ""
    except (OverflowError, ValueError):  # Beam's own "end of all"
        return ""


def _parse(pair: tuple[str, bytes]) -> DeadLetter:
    file, line = pair
    try:
        members = json.loads(line)
        own = {"element": from_json(members["element"]), "event_bytes": members["event_bytes"].encode()}
        return DeadLetter(**members | own)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{file} holds a line that is no dead letter: {type(error).__name__}: {error}"
        ) from None


def event_of_dead_letter(letter: DeadLetter) -> Event | Envelope | None:
    """What a replay sends: the envelope that was refused, else what can be made of the element now.

    Raises:
        InvalidEvent: Nothing can be made of it.
    """
    if letter.event_bytes:
        return Envelope(letter.event_bytes)
    element = letter.element
    if isinstance(element, Unreadable):
        raise InvalidEvent(
            "invalid_event", f"only the text of this {element.type} was kept: {element.text[:200]}"
        )
    if isinstance(element, LogLine):
        return event_of_line(element)
    if isinstance(element, PubsubMessage):
        return event_of_message(element)
    return event_of(element)


def spent_or_not(letter: DeadLetter) -> Iterable[Any]:
    """For a FlatMap: a letter that may be replayed; one that may not, to the output `spent`."""
    if letter.is_spent:
        Metrics.counter(NAMESPACE, "replays_refused").inc()
        return (TaggedOutput("spent", letter),)
    return (letter,)
