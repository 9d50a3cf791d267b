"""`dlq replay`: which letters, at which rate, to where, and what became of them.

Not for the rules (`replay_rules`) nor for sending (`replay_to_topic`, `replay_to_splunk`).
Guarantees: letters stay in their topic; only those that were there at the start are read; Ctrl-C ends it
orderly, a second one at once. Non-obvious: the topic is read twice, since whether a letter is history is told
by a later one.
"""

from __future__ import annotations

import signal
import time
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self

import click
import msgspec

from splunk_hec.config import TokenSource
from splunk_hec.errors import one_line
from splunk_hec_kafka.cli_options import report
from splunk_hec_kafka.config_tree import token_keys
from splunk_hec_kafka.dead_letter_reader import DeadLetterReader
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.logs import setup
from splunk_hec_kafka.outside import THE_WORLD
from splunk_hec_kafka.progress import progress_bar
from splunk_hec_kafka.records import RecordEncoder
from splunk_hec_kafka.registry import schema_reader
from splunk_hec_kafka.replay_rules import LEFT_TEXTS, ReplayRules, restored
from splunk_hec_kafka.replay_to_splunk import ReplayToSplunk
from splunk_hec_kafka.replay_to_topic import ReplayToTopic
from splunk_hec_kafka.routes import RouteTable
from splunk_hec_kafka.stored_letter import Wanted, rfc3339
from splunk_hec_kafka.summary import summary_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from splunk_hec_kafka.config import Loaded, SinkConfig
    from splunk_hec_kafka.replay_rules import Left
    from splunk_hec_kafka.stored_letter import StoredLetter

To = Literal["topic", "splunk"]
_TURN_S = 0.1
_TOLD_EACH = 5
"""So many letters of a kind are told one by one; the summary counts all."""
_CODES: dict[Left, ExitCode] = {
    "spent": ExitCode.DEAD_LETTER_LIMIT,
    "no_topic": ExitCode.KAFKA,
    "too_old": ExitCode.KAFKA,
}


class Plan(msgspec.Struct, frozen=True):
    """What is asked for.

    Attributes:
        to: `topic` or `splunk`.
        wanted: Which letters.
        limit: At most so many, the oldest; None: all.
        rate: At most so many a second; None: as fast as it goes.
        is_dry: Only tell.
    """

    to: To
    wanted: Wanted
    limit: int | None
    rate: float | None
    is_dry: bool


class Destination(Protocol):
    """Where letters go."""

    @property
    def replayed(self) -> int:
        """Letters whose records arrived."""
        ...

    @property
    def refused_again(self) -> int:
        """Letters whose records are dead letters again."""
        ...

    @property
    def skipped(self) -> int:
        """Letters whose records a route drops."""
        ...

    @property
    def unsettled(self) -> int:
        """Letters that were taken and have no outcome yet."""
        ...

    def refusal(self, letter: StoredLetter, /) -> Left | None:
        """Why a letter cannot go there."""
        ...

    def take(self, letter: StoredLetter) -> None:
        """Send its record; may wait."""
        ...

    def serve(self, timeout_s: float) -> None:
        """Let outcomes come, for at most so long."""
        ...

    def is_settled(self) -> bool:
        """Send what waits; whether everything has its outcome."""
        ...

    def close(self) -> None:
        """Stop at once."""
        ...


class _Nowhere:
    """The destination of a dry run: counts, and finds what the sink itself would refuse again."""

    unsettled = 0

    def __init__(self, config: SinkConfig, topic: ReplayToTopic | None) -> None:
        self._topic = topic
        routes = RouteTable(config.route, config.hec.token)
        schemas = schema_reader(config.registry, routes, THE_WORLD)
        self._encoder = RecordEncoder(routes, event_max_bytes=config.hec.event_max_bytes, schemas=schemas)
        self.replayed = self.refused_again = self.skipped = 0

    def refusal(self, letter: StoredLetter) -> Left | None:
        return self._topic.refusal(letter) if self._topic else None

    def take(self, letter: StoredLetter) -> None:
        encoded = self._encoder.encode([restored(letter)])
        if encoded.fault:
            text = f"the schema registry does not answer: {encoded.fault}"
            raise SinkFailure(ExitCode.KAFKA, text, "mend it, or check the keys under registry")
        self.refused_again += len(encoded.refusals)
        self.skipped += len(encoded.skips)
        self.replayed += not (encoded.refusals or encoded.skips)

    def serve(self, timeout_s: float) -> None:
        THE_WORLD.sleep(timeout_s)

    def is_settled(self) -> bool:
        return True

    def close(self) -> None:
        if self._topic:
            self._topic.close()


class Stop:
    """Whether a signal asked for an end; the second one interrupts. A context manager."""

    def __init__(self) -> None:
        self.is_asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: object) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True


def run_replay(loaded: Loaded, plan: Plan, *, output: str, is_quiet: bool, use_color: bool) -> int:
    """Replay, and sum up.

    Args:
        loaded: The configuration.
        plan: Which letters, to where.
        output: `text` or `json`.
        is_quiet: No progress.
        use_color: Whether a terminal may be coloured.

    Returns:
        0 if every letter that was meant was sent and has its outcome; 6 if one was replayed twice before;
        4 if the topic of one is gone, or would delete it; 7 if it was stopped before all had their outcome.

    Raises:
        ConfigError: A needed key is missing, or a value is wrong.
        SinkFailure: Kafka or Splunk failed for good.
    """
    config = loaded.config
    tokens = token_keys(config.hec.token, config.route) if plan.to == "splunk" else {}
    secrets = [TokenSource(token)() for token in tokens if token]
    setup(config.log.format, config.log.level, use_color, secrets)
    left: Counter[Left] = Counter()
    rules, written = ReplayRules(), array("q")
    with ExitStack() as stack:
        stop = stack.enter_context(Stop())
        reader = stack.enter_context(DeadLetterReader(config))
        for letter in reader.each():
            rules.note(letter)
            if plan.wanted.takes(letter):
                written.append(letter.written_ms)
        total, before_ms = cut(written, plan.limit)
        letters = (
            letter for letter in reader.each() if plan.wanted.takes(letter) and letter.written_ms < before_ms
        )
        destination = _destination(config, plan, stop)
        stack.callback(destination.close)
        advance = stack.enter_context(
            progress_bar("replay", total, is_wanted=not is_quiet, use_color=use_color)
        )
        failure: SinkFailure | None = None
        is_whole = False
        try:
            is_whole = _send(letters, destination, left, stop, _Way(rules, plan.rate, advance))
            _drain(destination, stop, config.run.shutdown_s)
        except SinkFailure as caught:  # what went before it is told all the same
            failure = caught
        is_whole = is_whole and failure is None and not destination.unsettled
        document: dict[str, Any] = {
            "to": plan.to,
            "dry_run": plan.is_dry,
            "matched": total,
            "replayed": destination.replayed,
            "refused_again": destination.refused_again,
            "skipped": destination.skipped,
            "unsettled": destination.unsettled,
            "left": dict(left),
            "next_since": rfc3339(before_ms) if is_whole and total and not plan.is_dry else None,
        }
    report(
        output, document, summary_text({key: "-" if one is None else one for key, one in document.items()})
    )
    if failure is not None:
        raise failure
    if not is_whole:
        return ExitCode.UNSETTLED
    return next((code for kind, code in _CODES.items() if left[kind]), ExitCode.OK)


class _Way(NamedTuple):
    """How letters are sent: by which rules, at which rate, and who is told of each."""

    rules: ReplayRules
    rate: float | None
    advance: Callable[[int], None]


def _send(
    letters: Iterable[StoredLetter], destination: Destination, left: Counter[Left], stop: Stop, way: _Way
) -> bool:
    """Send the letters, or say why not; False if a signal ended it before the last."""
    pace = Pace(way.rate, THE_WORLD.clock)
    for letter in letters:
        why = way.rules.judge(letter) or destination.refusal(letter)
        if why is not None:
            left[why] += 1
            _tell(letter, why, left[why])
        else:
            while not stop.is_asked and (wait_s := pace.wait_s()) > 0:
                destination.serve(min(wait_s, _TURN_S))
            if stop.is_asked:
                return False
            destination.take(letter)
        way.advance(1)
    return True


def _drain(destination: Destination, stop: Stop, shutdown_s: float) -> None:
    """Wait until everything has its outcome; after a signal only for so long."""
    end_by: float | None = None
    while not destination.is_settled():
        destination.serve(_TURN_S)
        if stop.is_asked:
            end_by = end_by or time.monotonic() + shutdown_s
            if time.monotonic() >= end_by:
                return


def _destination(config: SinkConfig, plan: Plan, stop: Stop) -> Destination:
    if plan.is_dry:
        return _Nowhere(config, ReplayToTopic(config) if plan.to == "topic" else None)
    if plan.to == "topic":
        return ReplayToTopic(config)
    return ReplayToSplunk(config, lambda: stop.is_asked, plan.rate)


def cut(written: array[int], limit: int | None) -> tuple[int, int]:
    """How many letters are taken, and before which time those were written; in ms.

    Letters of one millisecond stay together, so that the next run can begin where this one ended.

    Args:
        written: When each letter that is meant was written.
        limit: At most so many, the oldest; None: all.

    Raises:
        UsageError: So few can never be taken.
    """
    if not written:
        return 0, 0
    if limit is None or len(written) <= limit:
        return len(written), max(written) + 1
    ordered = sorted(written)
    before_ms = ordered[limit]
    count = bisect_left(ordered, before_ms)
    if not count:
        many = bisect_right(ordered, before_ms)
        raise click.UsageError(f"{many} letters were written in one millisecond; give --limit {many} or more")
    return count, before_ms


def _tell(letter: StoredLetter, why: Left, count: int) -> None:
    """Why a letter is left alone; of each kind the first few are told, and none that is only history."""
    if why != "superseded" and count <= _TOLD_EACH:
        origin = letter.origin or ("?", "?", "?")
        of = one_line(f"{origin[0]}/{origin[1]}@{origin[2]}, {letter.reason or 'no reason'}")
        click.echo(f"hec-kafka-sink: letter {letter.place} ({of}) {LEFT_TEXTS[why]}", err=True)


class Pace:
    """When the next letter may go."""

    def __init__(self, rate: float | None, clock: Callable[[], float]) -> None:
        self._gap_s = 0.0 if rate is None else 1 / rate
        self._clock = clock
        self._due = clock()

    def wait_s(self) -> float:
        """How long until then; not above 0 means now, and that it goes."""
        now = self._clock()
        left_s = self._due - now
        if left_s <= 0:
            self._due = max(self._due, now - 1) + self._gap_s
        return left_s
