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
from typing import TYPE_CHECKING

import msgspec

from splunk_hec._budget import Budget, Portion
from splunk_hec._envelope import index_of
from splunk_hec.errors import Halted
from splunk_hec.events import Outcome, OutcomeKind
from splunk_hec_kafka.config import hec_config
from splunk_hec_kafka.config_tree import DESCRIBED
from splunk_hec_kafka.dead_letters import DeadLetters, Letter, held_by, producer_properties
from splunk_hec_kafka.encoded import Refusal
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.offsets import OffsetLedger, Run, consecutive, place
from splunk_hec_kafka.originals import Consumed, Records
from splunk_hec_kafka.outside import THE_WORLD, Outside
from splunk_hec_kafka.records import RecordEncoder
from splunk_hec_kafka.registry import schema_reader
from splunk_hec_kafka.reject_limit import RejectLimit
from splunk_hec_kafka.routes import Destination, RouteTable
from splunk_hec_kafka.undecoded import Undecoded
from splunk_hec_kafka.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from confluent_kafka import Message

    from splunk_hec._stream import Stream
    from splunk_hec.client import HecClient
    from splunk_hec_kafka.config import SinkConfig
    from splunk_hec_kafka.metrics import Metrics
    from splunk_hec_kafka.offsets import TopicPartition

log = logging.getLogger("splunk_hec_kafka")

_LEFT_OPEN = frozenset({"closed", "internal", "aborted"})
"""Gave up because we end, not because the record's own deadline is spent: it is read again."""


class Delivery:
    """Clients, dead letters and what waits between them.

    Attributes:
        routes: Where each topic leads.
        budget: What all clients and dead letters hold.
        clients: One for each destination.
        held: Destinations that are refused: what is for them waits, and keeps nothing else from going on.
        undecoded: What waits for the schema registry, likewise.
    """

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
        self.routes = routes = RouteTable(config.route, config.hec.token)
        self.budget = Budget(config.hec.in_flight_max_bytes, config.hec.in_flight_max_events)
        self.clients: dict[Destination, HecClient] = {}
        self.held: frozenset[Destination] = frozenset()
        for to in routes.destinations:
            self.clients[to] = outside.hec(
                hec_config(config, to.kind, to.token_key, clients=len(routes.destinations)),
                observer=metrics,
                budget=self.budget if len(routes.destinations) == 1 else Portion(self.budget),
                configured_indexes=routes.configured_indexes,
            )
        self._streams: dict[Destination, Stream] = {
            to: client.stream(keeps_lines=True) for to, client in self.clients.items()
        }
        schemas = schema_reader(config.registry, routes, outside)
        self._encoder = RecordEncoder(routes, event_max_bytes=config.hec.event_max_bytes, schemas=schemas)
        self.undecoded = Undecoded(outside.clock)
        self._waiting: dict[Destination, deque[Waiting]] = {to: deque() for to in self.clients}
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
        if self.undecoded.fault:
            self.undecoded.put([one for one in messages if self._is_described(one)], epochs)
            messages = [one for one in messages if not self._is_described(one)]
        fault = self._encode(messages, epochs)
        if fault:
            log.warning("the schema registry does not answer: %s", fault)
            self.undecoded.away(fault)
        self._raise_refusal()
        self.submit()

    def _is_described(self, message: Message) -> bool:
        return self.routes.for_topic(message.topic() or "").value in DESCRIBED

    def _encode(self, messages: Sequence[Message], epochs: dict[TopicPartition, int]) -> str:
        """Sort them by what becomes of them; returns why the schema registry is away, if it is."""
        encoded = self._encoder.encode(messages)
        for send in encoded.sends:
            records = Records.of(send.originals, epochs)
            one = Waiting(send.to, send.query, send.lines, records, send.originals.held_bytes)
            self._waiting[send.to] += self._without_refused_indexes(one)
        if encoded.skips:
            self._skip([skip.message for skip in encoded.skips], epochs)
            for reason in {skip.reason for skip in encoded.skips}:
                self._metrics.skipped(reason, sum(skip.reason == reason for skip in encoded.skips))
        for refusal in encoded.refusals:
            self._reject(refusal.message, epochs, refusal)
        self.undecoded.put(encoded.undecoded, epochs)
        return encoded.fault

    def skip_settled(self, messages: list[Message]) -> None:
        """Records were consumed that an earlier assignment settled: they are done without being sent."""
        self.consumed += len(messages)
        self._skip(messages, self._ledger.epochs)
        self._metrics.skipped("settled", len(messages))

    def submit(self) -> bool:
        """Hand waiting records to the clients, as the budget allows; True if none wait that could go."""
        self.undecoded.decode_due(self._encode)
        is_done = True
        for to, waiting in self._waiting.items():
            if waiting and to not in self.held:
                is_done = self._submit(waiting, self._streams[to]) and is_done
        return is_done

    def _submit(self, waiting: deque[Waiting], stream: Stream) -> bool:
        while waiting:
            one = waiting[0]
            try:
                taken = stream.submit_lines(
                    one.lines, one.records, held_bytes=one.held_bytes, query=one.query, timeout_s=0
                )
            except Halted:
                return False
            if taken < len(one.lines):
                waiting[0] = one.part(taken, len(one.lines))
                return False
            waiting.popleft()
        return True

    @property
    def used_share(self) -> float:
        """How full the budget is for those that can go on."""
        shares = (client.budget.used_share for to, client in self.clients.items() if to not in self.held)
        return max(shares, default=0.0)

    def holds(self, topic: str) -> bool:
        """Whether the records of a topic have to wait, whatever else goes on."""
        route = self.routes.for_topic(topic)
        return route.destination in self.held or (bool(self.undecoded.fault) and route.value in DESCRIBED)

    def hold_reasons(self) -> set[str]:
        """Why some topics have to wait."""
        found = {"endpoint"} if self.held else set[str]()
        return found | {"registry"} if self.undecoded.fault else found

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
        charge = held_by(record)
        self.budget.force(charge, 1)
        self._letters.append(Letter(record, run, cause, charge))

    def _raise_refusal(self) -> None:
        if self._refusal is not None:  # after all that came with it was settled, and can be committed
            raise self._refusal

    def _skip(self, messages: Sequence[Message], epochs: dict[TopicPartition, int]) -> None:
        for at, first, last in consecutive(messages):
            self._ledger.settle(Run(at, epochs[at], first, last))
            self.skipped += last - first + 1

    def _without_refused_indexes(self, one: Waiting) -> list[Waiting]:
        """Splunk refused an index a moment ago: do not send what asks for it again."""
        refused = self.clients[one.to].queue.refused_indexes if one.to.kind == "event" else frozenset[str]()
        if not refused:
            return [one]
        indexes = list(map(index_of, one.lines))
        for part in one.only([index in refused for index in indexes]):
            for line, (record, run) in zip(part.lines, part.records.each(part.lines), strict=True):
                text = f"Splunk refused the index {index_of(line)!r} less than 5 minutes ago"
                self._bury(record, run, Refusal(record, "bad_index", text, "PUT"))
        return one.only([index not in refused for index in indexes])

    # -- partitions that go, and the end -----------------------------------------------------------------

    def drop_waiting(self, partitions: Iterable[TopicPartition]) -> int:
        """Leave the records of these that no client has yet to the next owner; returns how many."""
        going = set(partitions)
        dropped = self.undecoded.drop(going)
        for to, waiting in self._waiting.items():
            self._waiting[to] = deque()
            for one in waiting:
                runs = one.records.runs()
                stays = [run.at not in going for run in runs for _ in range(run.first, run.last + 1)]
                dropped += stays.count(False)
                self._waiting[to] += one.only(stays)
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
