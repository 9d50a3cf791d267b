"""The sink's loop: consume, deliver, settle, commit; and an orderly end.

One thread owns it all: consumer, ledger, dead letters, outcomes. It never blocks in the client, so callbacks
of the group are always served in time. Not for decisions: those are the ledger's, the lanes', the limits'.

    starting → running ⇄ paused {budget, endpoint, dead_letters} → draining → ended (exit code)

Non-obvious: a stall of up to a second is met by not calling `consume`; only a longer one pauses the
partitions, because each pause throws the prefetch away (measured: 290,000 records with 50 stalls take 0.5 s
without pausing and 48 s with it).
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient

from splunk_hec_kafka.config import require
from splunk_hec_kafka.dead_letter_topic import check_topic
from splunk_hec_kafka.dead_letters import dead_letter_connection
from splunk_hec_kafka.delivery import Delivery
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.offsets import OffsetLedger
from splunk_hec_kafka.readying import await_hec, fix_of
from splunk_hec_kafka.server import Readiness, Reason
from splunk_hec_kafka.source import KafkaSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from splunk_hec_kafka.config import SinkConfig
    from splunk_hec_kafka.metrics import Metrics
    from splunk_hec_kafka.offsets import TopicPartition

log = logging.getLogger("splunk_hec_kafka")

CHUNK = 500
CONSUME_S = 0.1
PAUSE_AFTER_S = 1.0
RESUME_BELOW = 0.7
REVOKE_DRAIN_S = 20.0
REPORT_EVERY_S = 1.0
END_CHECK_S = 0.25


class Summary(msgspec.Struct, frozen=True):
    """What a run did; the JSON of interface: `-o json` prints it as it is."""

    records: int
    delivered: int
    dead_lettered: int
    skipped: int
    committed: bool
    resends: dict[str, int]
    records_per_s: float
    ack_latency_s: dict[str, float]
    seconds: float


class Sink:
    """One group member. `run` belongs to one thread; what is marked so may be called from any."""

    def __init__(
        self,
        config: SinkConfig,
        *,
        metrics: Metrics,
        until_end: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the sink; nothing connects before `run`.

        Raises:
            ConfigError: A key that is needed is missing, or a value is wrong.
        """
        require(config)
        self._config = config
        self._metrics = metrics
        self._until_end = until_end
        self._clock = clock
        self._ledger = OffsetLedger()
        self._delivery = Delivery(config, self._ledger, metrics)
        self._source = KafkaSource(
            config,
            self._ledger,
            on_revoke=self._drain_revoked,
            on_lost_range=self._lost_range,
            clock=clock,
        )
        self._ends: dict[TopicPartition, tuple[int, int]] = {}
        self._stops = 0
        self._is_closing = False
        self._started_at = clock()
        self._ended_at = 0.0
        self._turned_at = clock()
        self._is_connected = False
        self._is_halted = False
        self._told_stalls: set[str] = set()
        self._reported: set[TopicPartition] = set()
        self._stalls: dict[str, float] = {}
        self._is_all_committed = False
        self._next_commit = self._next_report = self._next_end_check = 0.0

    # -- any thread ------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End orderly: stop fetching, drain, commit. A second call ends at once. Safe in a signal handler."""
        self._stops += 1

    def turned_at(self) -> float:
        """Monotonic time of the loop's last turn."""
        return self._turned_at

    def readiness(self) -> Readiness:
        """Whether records flow, and if not, why."""
        reasons: list[Reason] = []
        wall, now = time.time(), self._clock()
        if not self._is_connected:
            reasons.append(Reason("starting", "not connected to Kafka yet", wall - (now - self._started_at)))
        for client in self._delivery.clients.values():
            reasons += [Reason(one.code, one.text, wall - one.for_s) for one in client.health().reasons]
        for name, since in list(self._stalls.items()):
            reasons.append(Reason(f"paused_{name}", _STALL_TEXTS[name], wall - (now - since)))
        return Readiness(not reasons, tuple(reasons))

    def summary(self) -> Summary:
        """What was done so far."""
        delivery = self._delivery
        seconds = max(1e-9, (self._ended_at or self._clock()) - self._started_at)
        p50, p99 = self._metrics.ack_latency()
        return Summary(
            records=delivery.consumed,
            delivered=delivery.delivered,
            dead_lettered=delivery.dead_lettered,
            skipped=delivery.skipped,
            committed=self._is_all_committed,
            resends=self._metrics.resends(),
            records_per_s=round(delivery.consumed / seconds, 1),
            ack_latency_s={"p50": round(p50, 3), "p99": round(p99, 3)},
            seconds=round(seconds, 3),
        )

    # -- the loop --------------------------------------------------------------------------------------

    def run(self) -> int:
        """Run to the end.

        Returns:
            The exit code; see `ExitCode`.

        Raises:
            SinkFailure: With its exit code: Kafka, Splunk or the dead letters failed for good. What was
                settled is committed before.
        """
        code = ExitCode.INTERNAL
        try:
            self._start()
            while not self._stops and not self._is_at_end():
                self.turn()
            code = self._finish(self._config.run.shutdown_s)
        except SinkFailure:
            self._commit_settled()
            raise
        finally:
            self._is_closing = True
            self._delivery.close()
            self._source.close()
            self._ended_at = self._clock()
        return code

    def turn(self) -> None:
        """One turn: settle, commit, then fetch as much as there is room for.

        Raises:
            SinkFailure: Something failed for good.
        """
        now = self._turned_at = self._clock()
        self._delivery.settle()
        if now >= self._next_commit:
            self._source.commit_soon(now)
            self._next_commit = now + self._config.kafka.commit_interval_s / 2
        if now >= self._next_report:
            self._check_clients()
            self._report(now)
            self._next_report = now + REPORT_EVERY_S
        stalls = self._stall_reasons()
        self._note_stalls(stalls, now)
        if not stalls:
            self._source.pause(is_paused=False)
            self._take(self._source.consume(CHUNK, CONSUME_S))
        elif now - min(self._stalls.values()) < PAUSE_AFTER_S:
            self._delivery.wait(CONSUME_S)
        else:
            self._source.pause(is_paused=True)
            self._take(self._source.consume(1, CONSUME_S))

    def _take(self, messages: list[Message]) -> None:
        if messages:
            for topic, count in Counter(map(Message.topic, messages)).items():
                self._metrics.consumed(topic or "", count)
            self._delivery.take(messages)

    def _stall_reasons(self) -> set[str]:
        """Why nothing may be fetched now; once paused, the budget must fall well below its limit."""
        reasons: set[str] = set()
        share = self._delivery.budget.used_share
        is_paused = "budget" in self._told_stalls
        if not self._delivery.submit() or share >= 1 or (is_paused and share > RESUME_BELOW):
            reasons.add("budget")
        if self._is_halted:
            reasons.add("endpoint")
        if self._delivery.is_dead_letter_queue_full:
            reasons.add("dead_letters")
        return reasons

    def _note_stalls(self, stalls: set[str], now: float) -> None:
        for reason in stalls - self._stalls.keys():
            self._stalls[reason] = now
        for reason in self._stalls.keys() - stalls:
            since = self._stalls.pop(reason)
            self._metrics.paused(reason, is_paused=False, seconds=now - since)
            if now - since >= PAUSE_AFTER_S:
                log.info("resumed after %.1f s (%s)", now - since, reason)
        for reason, since in self._stalls.items():
            if now - since >= PAUSE_AFTER_S and reason not in self._told_stalls:
                log.warning("paused: %s", _STALL_TEXTS[reason])
                self._metrics.paused(reason, is_paused=True)
        self._told_stalls = {reason for reason, since in self._stalls.items() if now - since >= PAUSE_AFTER_S}

    def _check_clients(self) -> None:
        """Look at the clients' health; a halt beyond the patience ends the sink, a fault of ours too."""
        healths = [client.health() for client in self._delivery.clients.values()]
        self._is_halted = any(health.halted for health in healths)
        self._metrics.halted(self._is_halted)
        for health in healths:
            for reason in health.reasons:
                if reason.code == "internal":
                    raise SinkFailure(ExitCode.INTERNAL, reason.text, "report it with the log above")
            if health.halted and health.halted_for_s >= self._config.hec.halt_patience_s:
                reason = health.reasons[0]
                raise SinkFailure(
                    ExitCode.HEC, f"Splunk refuses the deployment: {reason.text}", fix_of(reason.code)
                )

    def _report(self, now: float) -> None:
        metrics, budget = self._metrics, self._delivery.budget
        metrics.in_flight(budget.used_bytes, budget.used_events)
        oldest = self._ledger.oldest_opened_at()
        metrics.oldest_age(now - oldest if oldest is not None else 0.0)
        metrics.fenced(self._ledger.fenced)
        for at in self._reported - self._ledger.epochs.keys():
            metrics.forget(at.topic, at.partition)
        self._reported = set(self._ledger.epochs)
        for at, offset in self._source.committed.items():
            metrics.committed(at.topic, at.partition, offset)
        for at, records in self._source.lag().items():
            metrics.lag(at.topic, at.partition, records)

    # -- start and end ---------------------------------------------------------------------------------

    def _start(self) -> None:
        """Check what the promise stands on, before the group is joined.

        Raises:
            SinkFailure: No broker, a missing topic, an unusable dead-letter topic, a refused deployment.
        """
        self._source.connect(self._config.run.startup_timeout_s)
        self._is_connected = True
        if self._config.dead_letter.on_reject == "dead_letter":
            admin = AdminClient({**dead_letter_connection(self._config)})
            finding = check_topic(admin, self._config.dead_letter.topic, self._config.run.startup_timeout_s)
            if finding.problem is not None:
                raise SinkFailure(ExitCode.DEAD_LETTER_TOPIC, *finding.problem)
        await_hec(self._delivery.clients.values(), self._config.hec, lambda: bool(self._stops))
        if self._until_end:
            self._ends = self._source.end_offsets()
        self._source.subscribe()

    def _is_at_end(self) -> bool:
        """Whether all that was there at the start is settled and committed, by whichever member."""
        if not self._until_end or self._clock() < self._next_end_check:
            return False
        self._next_end_check = self._clock() + END_CHECK_S
        open_ends = {at: end for at, (low, end) in self._ends.items() if end > low}
        mine = self._ledger.committable()
        if any(mine.get(at, end) < end for at, end in open_ends.items()):
            return False
        if not self._source.commit_now():
            return False
        committed = self._source.group_committed(open_ends)
        return all(committed.get(at, -1) >= end for at, end in open_ends.items())

    def _finish(self, within_s: float) -> ExitCode:
        """Stop fetching, drain, commit.

        Raises:
            SinkFailure: A dead letter cannot be written, or there are too many.
        """
        deadline = self._clock() + within_s
        stops = self._stops
        self._source.pause(is_paused=True)
        while self._ledger.open_count() and self._clock() < deadline and self._stops <= max(1, stops):
            self._turned_at = self._clock()
            self._delivery.submit()
            self._delivery.seal()
            self._source.serve(CONSUME_S / 2)
            self._delivery.settle()
        is_committed = self._source.commit_now()
        self._is_all_committed = is_committed and not self._ledger.open_count()
        if self._is_all_committed:
            return ExitCode.OK
        log.error("ended with %d unsettled records; they will be read again", self._ledger.open_count())
        return ExitCode.UNSETTLED

    def _commit_settled(self) -> None:
        """After a failure: what is settled need not be read again."""
        if self._is_connected:
            self._source.commit_now()

    def _drain_revoked(self, going: list[TopicPartition]) -> None:
        """Partitions go: settle what can be settled soon, so that the new owner repeats little."""
        dropped = self._delivery.drop_waiting(going)
        if self._is_closing or self._is_halted:
            return
        deadline = self._clock() + min(REVOKE_DRAIN_S, self._source.max_poll_interval_s / 4)
        try:
            while self._ledger.open_count(going) > dropped and self._clock() < deadline:
                self._turned_at = self._clock()
                self._delivery.seal()
                self._delivery.settle()
                self._delivery.wait(CONSUME_S / 2)
        except SinkFailure as failure:  # raised from the loop, where it ends the sink
            self._source.failure = failure

    def _lost_range(self, at: TopicPartition, first: int, after: int) -> None:
        self._metrics.lost_range(at.topic, at.partition, after - first)


_STALL_TEXTS = {
    "budget": "Splunk takes less than Kafka gives; in_flight_max_bytes or in_flight_max_events is used up",
    "endpoint": "Splunk refuses the deployment; nothing is fetched until it heals",
    "dead_letters": "dead letters are not written as fast as records are rejected",
}
