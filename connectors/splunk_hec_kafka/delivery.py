"""What becomes of consumed records: to Splunk, to the dead letters, or skipped; and back to the ledger.

Owned by the loop's thread; never blocks but in `wait`. Guarantee: every record that
`take` was given is settled in the ledger exactly when it is indexed, dead-lettered (its delivery reported) or
skipped, and by nothing else.

Non-obvious: a rejected record whose partition was revoked meanwhile writes no dead letter: its new owner
reads it again and will write one.
"""

from __future__ import annotations

import logging
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import msgspec

from splunk_hec._batching import REF_BYTES
from splunk_hec._block import Block
from splunk_hec._budget import Budget
from splunk_hec._envelope import index_of
from splunk_hec.errors import Halted
from splunk_hec.events import Outcome, OutcomeKind
from splunk_hec_kafka.config import hec_config
from splunk_hec_kafka.dead_letters import DeadLetters, producer_properties
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.headers import headers_of
from splunk_hec_kafka.offsets import OffsetLedger, Run, consecutive, place
from splunk_hec_kafka.originals import Consumed, Records
from splunk_hec_kafka.outside import THE_WORLD, Outside
from splunk_hec_kafka.records import RecordEncoder, Refusal
from splunk_hec_kafka.reject_limit import RejectLimit
from splunk_hec_kafka.routes import RouteTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from confluent_kafka import Message

    from splunk_hec._stream import Stream
    from splunk_hec.client import HecClient
    from splunk_hec_kafka.config import SinkConfig
    from splunk_hec_kafka.metrics import Metrics
    from splunk_hec_kafka.offsets import TopicPartition

log = logging.getLogger("splunk_hec_kafka")

Kind = Literal["event", "raw"]
_LEFT_OPEN = frozenset({"closed", "internal", "aborted"})
"""Gave up because we end, not because the record's own deadline is spent: it is read again."""


class Letter(msgspec.Struct):
    """A record on its way to the dead letters, and what it holds of the budget meanwhile."""

    record: Consumed
    run: Run
    cause: Refusal | Outcome
    charge_bytes: int


class _Waiting(msgspec.Struct):
    """Lines that no client has yet, and the records they are of."""

    kind: Kind
    query: str
    lines: Block
    records: Records
    held_bytes: int

    def part(self, start: int, stop: int) -> _Waiting:
        held_bytes = self.held_bytes * stop // len(self.lines) - self.held_bytes * start // len(self.lines)
        return _Waiting(self.kind, self.query, self.lines[start:stop], self.records[start:stop], held_bytes)


class Delivery:
    """Clients, dead letters and what waits between them."""

    def __init__(
        self, config: SinkConfig, ledger: OffsetLedger, metrics: Metrics, outside: Outside = THE_WORLD
    ) -> None:
        """Make the clients; no thread starts and nothing is sent before the first record.

        Raises:
            ConfigError: A setting is wrong, or a secret's reference leads nowhere.
        """
        self._config = config
        self._ledger = ledger
        self._metrics = metrics
        self._wait = outside.wait
        self._trace = outside.trace
        routes = RouteTable(config.route)
        kinds = _kinds(config)
        self.budget = Budget(config.hec.in_flight_max_bytes, config.hec.in_flight_max_events)
        self.clients: dict[Kind, HecClient] = {}
        for kind in kinds:
            hec = hec_config(config, kind)
            lanes = max(len(hec.urls), hec.lanes // len(kinds))
            self.clients[kind] = outside.hec(
                hec if hec.lanes == lanes else msgspec.structs.replace(hec, lanes=lanes),
                observer=metrics,
                budget=self.budget,
                configured_indexes=routes.configured_indexes,
            )
        self._streams: dict[Kind, Stream] = {
            kind: client.stream(keeps_lines=True) for kind, client in self.clients.items()
        }
        self._encoder = RecordEncoder(routes, event_max_bytes=config.hec.event_max_bytes)
        self._waiting: deque[_Waiting] = deque()
        self._letters: deque[Letter] = deque()
        # By the identity of the record: an offset may be on its way twice, under two assignments.
        self._written: dict[int, Letter] = {}
        self.limit = RejectLimit(config.dead_letter.max_ratio, config.dead_letter.max_consecutive)
        self._refusal: SinkFailure | None = None
        self._dead_letters: DeadLetters | None = None
        if config.dead_letter.on_reject == "dead_letter":
            self._dead_letters = DeadLetters(
                config.dead_letter.topic, producer_properties(config), producer=outside.producer
            )
        self.delivered = self.dead_lettered = self.skipped = self.consumed = 0
        self.is_dead_letter_queue_full = False

    # -- in --------------------------------------------------------------------------------------------

    def take(self, messages: list[Message]) -> None:
        """Records were consumed and are open in the ledger: begin their delivery.

        Raises:
            SinkFailure: Records were refused where the configuration forbids it (exit 6).
        """
        self.consumed += len(messages)
        epochs = self._ledger.epochs
        encoded = self._encoder.encode(messages)
        for send in encoded.sends:
            records = Records.of(send.originals, epochs)
            one = _Waiting(send.kind, send.query, send.lines, records, send.originals.held_bytes)
            self._waiting += self._without_refused_indexes(one)
        if encoded.skips:
            self._skip([skip.message for skip in encoded.skips], epochs)
            for reason in {skip.reason for skip in encoded.skips}:
                self._metrics.skipped(reason, sum(skip.reason == reason for skip in encoded.skips))
        for refusal in encoded.refusals:
            self._reject(refusal.message, epochs, refusal)
        self._raise_refusal()
        self.submit()

    def skip_settled(self, messages: list[Message]) -> None:
        """Records were consumed that an earlier assignment settled: they are done without being sent."""
        self.consumed += len(messages)
        self._skip(messages, self._ledger.epochs)
        self._metrics.skipped("settled", len(messages))

    def submit(self) -> bool:
        """Hand waiting records to the clients, as the budget allows; True if none wait any more."""
        while self._waiting:
            one = self._waiting[0]
            stream = self._streams[one.kind]
            try:
                taken = stream.submit_lines(
                    one.lines, one.records, held_bytes=one.held_bytes, query=one.query, timeout_s=0
                )
            except Halted:
                return False
            if taken < len(one.lines):
                self._waiting[0] = one.part(taken, len(one.lines))
                return False
            self._waiting.popleft()
        return True

    # -- out -------------------------------------------------------------------------------------------

    def settle(self) -> int:
        """Take outcomes and dead-letter reports; returns how many records settled.

        Raises:
            SinkFailure: Too many rejections (exit 6), or dead letters that can never be written (exit 8).
        """
        settled = 0
        for stream in self._streams.values():
            for outcome in stream.poll():
                if self._trace is not None:
                    self._trace(outcome)
                settled += self._settle(outcome)
        settled += self._settle_letters()
        self._raise_refusal()
        if self.limit.exceeded:
            raise SinkFailure(
                ExitCode.DEAD_LETTER_LIMIT,
                self.limit.exceeded,
                "look at hec.reason of the dead letters; raise the limit only if they are right",
            )
        return settled

    def _settle(self, outcome: Outcome) -> int:
        records: Records = outcome.refs
        match outcome.kind:
            case OutcomeKind.DELIVERED:
                delivered = sum(
                    run.last - run.first + 1 for run in records.runs() if self._ledger.settle(run)
                )
                self.limit.settle(delivered, is_rejected=False)
                self.delivered += delivered
                return delivered
            case OutcomeKind.GAVE_UP if outcome.reason in _LEFT_OPEN:
                return 0
            case _:
                # A letter must not keep the whole batch alive.
                cause = msgspec.structs.replace(outcome, refs=None, lines=())
                for record, run in records.each(outcome.lines):
                    self._bury(record, run, cause)
                return 0

    def _settle_letters(self) -> int:
        letters = self._dead_letters
        if letters is None:
            return 0
        self.is_dead_letter_queue_full = not self._write_letters(letters)
        settled, refused = 0, None
        for record, error in letters.serve():
            letter = self._written.pop(id(record))
            self.budget.release(letter.charge_bytes, 1)
            if error is not None:
                refused = error
            elif self._ledger.settle(letter.run):
                settled += 1
                self.dead_lettered += 1
                self._metrics.dead_letter(letter.cause.reason)
        if refused is not None:  # only now: what was reported beside it is settled, and can be committed
            raise SinkFailure(
                ExitCode.DEAD_LETTER_TOPIC,
                f"a dead letter cannot be written to {self._config.dead_letter.topic}: {refused.str()}",
                "check the topic's max.message.bytes and the user's WRITE permission",
            )
        return settled

    def _write_letters(self, letters: DeadLetters) -> bool:
        """Hand waiting letters to the producer; False if its queue is full."""
        while self._letters:
            letter = self._letters[0]
            if not letters.produce(letter.record, letter.cause):
                return False
            self._written[id(letter.record)] = letter
            self._letters.popleft()
        return True

    def _reject(self, record: Consumed, epochs: dict[TopicPartition, int], cause: Refusal) -> None:
        at, offset = place(record)
        self._bury(record, Run(at, epochs[at], offset, offset), cause)

    def _bury(self, record: Consumed, run: Run, cause: Refusal | Outcome) -> None:
        if not self._ledger.is_current(run):
            self._ledger.settle(run)  # counts it as fenced
            return
        if self._dead_letters is None:
            self._refusal = self._refusal or SinkFailure(
                ExitCode.DEAD_LETTER_LIMIT,
                f"{run.at.topic}/{run.at.partition}@{run.first} was refused: {cause.reason}, {cause.text}",
                "correct the record or its route, or set dead_letter.on_reject = 'dead_letter'",
            )
            return
        self.limit.settle(1, is_rejected=True)
        charge = _held(record)
        self.budget.force(charge, 1)
        self._letters.append(Letter(record, run, cause, charge))

    def _raise_refusal(self) -> None:
        if self._refusal is not None:  # after all that came with it was settled, and can be committed
            raise self._refusal

    def _skip(self, messages: Sequence[Message], epochs: dict[TopicPartition, int]) -> None:
        for at, first, last in consecutive(messages):
            self._ledger.settle(Run(at, epochs[at], first, last))
            self.skipped += last - first + 1

    def _without_refused_indexes(self, one: _Waiting) -> list[_Waiting]:
        """Splunk refused an index a moment ago: do not send what asks for it again."""
        refused = self.clients[one.kind].queue.refused_indexes if one.kind == "event" else frozenset[str]()
        if not refused:
            return [one]
        indexes = list(map(index_of, one.lines))
        for part in _only(one, [index in refused for index in indexes]):
            for line, (record, run) in zip(part.lines, part.records.each(part.lines), strict=True):
                text = f"Splunk refused the index {index_of(line)!r} less than 5 minutes ago"
                self._bury(record, run, Refusal(record, "bad_index", text, "PUT"))
        return _only(one, [index not in refused for index in indexes])

    # -- partitions that go, and the end -----------------------------------------------------------------

    def drop_waiting(self, partitions: Iterable[TopicPartition]) -> int:
        """Leave the records of these that no client has yet to the next owner; returns how many."""
        going = set(partitions)
        dropped = 0
        waiting, self._waiting = self._waiting, deque()
        for one in waiting:
            stays = [
                run.at not in going for run in one.records.runs() for _ in range(run.first, run.last + 1)
            ]
            dropped += stays.count(False)
            self._waiting += _only(one, stays)
        letters, self._letters = self._letters, deque()
        for letter in letters:
            if letter.run.at in going:
                self.budget.release(letter.charge_bytes, 1)
                dropped += 1
            else:
                self._letters.append(letter)
        return dropped

    def wait(self, timeout_s: float) -> None:
        """Wait until something settles, at most so long."""
        self._wait(self.budget, timeout_s)

    def seal(self) -> None:
        """Let nothing wait for its batch to fill."""
        for client in self.clients.values():
            client.queue.seal()

    def close(self) -> None:
        """Stop at once: what is unsettled stays open in the ledger, uncommitted."""
        for stream in self._streams.values():
            stream.abort()
        for client in self.clients.values():
            client.abort()
        if self._dead_letters is not None:
            self._dead_letters.close()


def _kinds(config: SinkConfig) -> list[Kind]:
    """The endpoint kinds that the routes can lead to; what no route matches goes to `event`."""
    sends = [route for route in config.route if route.action == "send"]
    has_raw = any(route.value == "raw" for route in sends)
    only_raw = has_raw and any("*" in route.topics and route.value == "raw" for route in config.route[:1])
    return ["raw"] if only_raw else ["event", "raw"] if has_raw else ["event"]


def _only(one: _Waiting, stays: list[bool]) -> list[_Waiting]:
    """What stays of it, in pieces."""
    edges = [0, *(at for at in range(1, len(stays)) if stays[at] is not stays[at - 1]), len(stays)]
    return [one.part(start, stop) for start, stop in pairwise(edges) if stays[start]]


def _held(record: Consumed) -> int:
    """What keeping the original costs."""
    size = len(record.value() or b"") + len(record.key() or b"")
    return REF_BYTES + size + sum(len(name) + len(value or b"") for name, value in headers_of(record))
