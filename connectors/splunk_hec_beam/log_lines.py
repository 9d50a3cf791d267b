"""Lines of log files as elements: reading them, and the event each stands for.

Guarantee: a line is the bytes of the file without its line end, so that one that is no UTF-8 becomes a dead
letter instead of failing the file for ever; blank lines are skipped, and counted.
Non-obvious: Beam reads the annotations while it runs, so they must not be made text (`from __future__`).
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import apache_beam as beam
import msgspec
from apache_beam import coders
from apache_beam.io.textio import ReadAllFromText, ReadAllFromTextContinuously
from apache_beam.metrics.metric import Metrics
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Timestamp

from splunk_hec._envelope import check_json_value
from splunk_hec.events import Envelope, Event
from splunk_hec_beam.metrics import NAMESPACE


class LogLine(NamedTuple):
    """One line.

    Attributes:
        source: The file, as the file system names it.
        line: Without its line end.
        is_json: Whether it is to be one JSON value, and is indexed as such.
    """

    source: str
    line: bytes
    is_json: bool


coders.registry.register_coder(LogLine, coders.RowCoder)


class ReadLogLines(beam.PTransform):
    """The lines of all files that match; with `watch_s`, of those that appear later too."""

    def __init__(
        self,
        patterns: Sequence[str],
        *,
        is_json: bool = False,
        watch_s: float = 0,
        watch_until: Timestamp = MAX_TIMESTAMP,
    ) -> None:
        """Wire nothing yet.

        Args:
            patterns: Globs; their scheme chooses the file system. Compressed files are known by their suffix.
            is_json: Each line is one JSON value.
            watch_s: Seconds between two looks for new files; 0 reads what is there and ends. A file is read
                once, as it is when it is first seen.
            watch_until: When to stop looking.
        """
        super().__init__()
        self._patterns = list(patterns)
        self._is_json = is_json
        self._watch_s = watch_s
        self._watch_until = watch_until

    def expand(self, input_or_inputs: beam.Pipeline) -> beam.PCollection[LogLine]:
        """Read, and drop blank lines."""
        pipeline = input_or_inputs
        pairs = self._watch(pipeline) if self._watch_s else self._read(pipeline)
        lines = partial(lines_of, is_json=self._is_json)
        return pairs | "Lines" >> beam.FlatMap(lines).with_output_types(LogLine)

    def _read(self, pipeline: beam.Pipeline) -> beam.PCollection[tuple[str, bytes]]:
        return (
            pipeline
            | "Patterns" >> beam.Create(self._patterns)
            | "Read" >> ReadAllFromText(with_filename=True, coder=coders.BytesCoder())
        )

    def _watch(self, pipeline: beam.Pipeline) -> beam.PCollection[tuple[str, bytes]]:
        found = [
            pipeline
            | f"Watch{number}"
            >> ReadAllFromTextContinuously(
                pattern,
                interval=self._watch_s,
                start_timestamp=Timestamp.now(),
                stop_timestamp=self._watch_until,
                with_filename=True,
                coder=coders.BytesCoder(),
            )
            for number, pattern in enumerate(self._patterns)
        ]
        return found | "Together" >> beam.Flatten()


def lines_of(pair: tuple[str, bytes], *, is_json: bool) -> Iterable[LogLine]:
    """The element of one line that was read, none if it is blank.

    Args:
        pair: The file's name, and the line.
        is_json: See `LogLine`.
    """
    source, line = pair
    if line.isspace() or not line:
        Metrics.counter(NAMESPACE, "lines_blank").inc()
        return ()
    return (LogLine(source, line, is_json),)


def event_of_line(line: LogLine) -> Event | Envelope:
    """The event a line stands for: text, or JSON byte for byte; its source is the file.

    Raises:
        InvalidEvent: It is to be JSON and is not one JSON value.
    """
    if not line.is_json:
        return Event(line.line, source=line.source)
    return json_envelope(check_json_value(line.line), source=line.source)


def json_envelope(event: bytes, **metadata: object) -> Envelope:
    """An envelope around JSON text that is known to be valid, which stays as it is; None leaves a key out."""
    named = {name: value for name, value in metadata.items() if value is not None}
    body = msgspec.json.encode(named | {"event": msgspec.Raw(event)})
    return Envelope(body)
