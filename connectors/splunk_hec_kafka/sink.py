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
import math
import time
from typing import TYPE_CHECKING

from splunk_hec_kafka.chatter import librdkafka_log
from splunk_hec_kafka.config import require
from splunk_hec_kafka.dead_letter_topic import check_topic
from splunk_hec_kafka.dead_letters import dead_letter_connection
from splunk_hec_kafka.delivery import Delivery
from splunk_hec_kafka.failings import Failings
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.offsets import OffsetLedger
from splunk_hec_kafka.outside import THE_WORLD, Outside
from splunk_hec_kafka.readying import await_hec, end_if_halted
from splunk_hec_kafka.records import by_topic
from splunk_hec_kafka.server import Readiness, Reason
from splunk_hec_kafka.source import KafkaSource
from splunk_hec_kafka.stalls import Stalls
from splunk_hec_kafka.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confluent_kafka import Message

    from splunk_hec_kafka.config import SinkConfig
    from splunk_hec_kafka.metrics import Metrics
    from splunk_hec_kafka.offsets import TopicPartition

log = logging.getLogger("splunk_hec_kafka")

CHUNK = 500
CONSUME_S = 0.1
RESUME_BELOW = 0.7
REVOKE_DRAIN_S = 20.0
REPORT_EVERY_S = 1.0
END_CHECK_S = 0.25
COMMIT_S = 1.0
"""What an orderly end keeps of its time for the last commit."""


class Sink:
    """One group member. `run` belongs to one thread; what is marked so may be called from any."""

    def __init__(
        self,
        config: SinkConfig,
        *,
        metrics: Metrics,
        until_end: bool = False,
        outside: Outside = THE_WORLD,
    ) -> None:
        """Make the sink; nothing connects before `run`.

        Raises:
            ConfigError: A key that is needed is missing, or a value is wrong.
        """
        require(config)
        self._config = config
        self._metrics = metrics
        self._until_end = until_end
        self._outside = outside
        self._clock = outside.clock
        self._ledger = OffsetLedger(keeps_leaders=config.kafka.settled_runs_in_commits)
        self._delivery = Delivery(config, self._ledger, metrics, outside)
        self._source = KafkaSource(
            config,
            self._ledger,
            on_revoke=self._drain_revoked,
            on_lost_range=self._lost_range,
            outside=outside,
        )
        self._ends: dict[TopicPartition, tuple[int, int]] = {}
        self._stops = 0
        self._end_by = math.inf
        self._started_at = self._turned_at = outside.clock()
        self._exit_code = ExitCode.INTERNAL
        self._starting: tuple[str, str] | None = ("starting", "not connected to Kafka yet")
        self._stalls = Stalls(metrics)
        self._failings = Failings()
        self._reported: set[TopicPartition] = set()
        self._is_all_committed = self._has_reached_end = False
        self._ended_at = self._next_commit = self._next_report = self._next_end_check = 0.0

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
        if self._starting is not None:
            reasons.append(Reason(*self._starting, wall - (now - self._started_at)))
        for to, client in self._delivery.clients.items():
            label = self._delivery.routes.label(to)
            told = client.health().reasons
            reasons += [Reason(one.code, label + one.text, wall - one.for_s) for one in told]
        undecoded = self._delivery.undecoded
        if undecoded.fault:
            text = f"the schema registry at {self._config.registry.url} does not answer: {undecoded.fault}"
            reasons.append(Reason("registry", text, wall - (now - undecoded.since)))
        for name, text, for_s in self._stalls.lasting(now):
            reasons.append(Reason(f"paused_{name}", text, wall - for_s))
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
        for _ in self.steps():
            pass
        return self._exit_code

    def steps(self) -> Iterator[None]:
        """What `run` does, for whoever has something to do between its turns."""
        try:
            self._start()
            while not self._stops and not self._is_at_end():
                yield
                self.turn()
            self._exit_code = self._finish()
        except SinkFailure:  # what is settled need not be read again
            self._source.commit_by(self._clock() + COMMIT_S)
            raise
        finally:
            try:
                self._delivery.close()
            finally:
                self._source.close()
                self._ended_at = self._clock()

    def turn(self) -> None:
        """One turn: settle, commit, then fetch as much as there is room for.

        Raises:
            SinkFailure: Something failed for good.
        """
        now = self._turned_at = self._clock()
        self._delivery.settle()
        if now >= self._next_commit:
            self._source.commit_soon()
            self._next_commit = now + self._config.kafka.commit_interval_s / 2
        if now >= self._next_report:
            self._check_clients()
            self._report(now)
            self._next_report = now + REPORT_EVERY_S
        reasons = self._stall_reasons()
        self._stalls.note(reasons | self._delivery.hold_reasons(), now)
        if not reasons:
            self._source.pause(is_paused=False, held=self._held_topics())
            self._take(self._source.consume(CHUNK, CONSUME_S))
        elif not self._stalls.are_long(reasons, now):
            self._delivery.wait(CONSUME_S)
        else:
            self._source.pause(is_paused=True)
            self._take(self._source.consume(1, CONSUME_S))

    def _take(self, messages: list[Message]) -> None:
        if messages:
            for topic, group in by_topic(messages).items():
                self._metrics.consumed(topic, len(group))
            if (maps := self._source.commits.maps) is not None:
                messages, settled = maps.split(messages)
                self._delivery.skip_settled(settled)
            self._delivery.take(messages)

    def _held_topics(self) -> frozenset[str]:
        """The topics of this member whose records have to wait, whatever the others do."""
        if not self._delivery.hold_reasons():
            return frozenset()
        return frozenset(at.topic for at in self._ledger.epochs if self._delivery.holds(at.topic))

    def _stall_reasons(self) -> set[str]:
        """Why nothing at all may be fetched now; once paused, the budget must fall well below its limit."""
        delivery = self._delivery
        reasons = {"dead_letters"} if delivery.is_dead_letter_queue_full else set[str]()
        is_held = self._stalls.is_told("budget") and delivery.used_share > RESUME_BELOW
        refused = (delivery.clients[to].budget for to in delivery.held)
        if not delivery.submit() or delivery.budget.share_without(refused) >= 1 or is_held:
            reasons.add("budget")
        return reasons

    def _check_clients(self) -> None:
        """Look at the clients' health; a halt beyond the patience ends the sink, a fault of ours too."""
        healths = {to: client.health() for to, client in self._delivery.clients.items()}
        self._failings.note(reason for health in healths.values() for reason in health.reasons)
        self._delivery.held = frozenset(to for to, health in healths.items() if health.halted)
        self._metrics.halted(bool(self._delivery.held))
        for reason in (reason for health in healths.values() for reason in health.reasons):
            if reason.code == "internal":
                raise SinkFailure(ExitCode.INTERNAL, reason.text, "report it with the log above")
        end_if_halted(self._delivery, healths, self._config.hec)

    def _report(self, now: float) -> None:
        metrics, budget = self._metrics, self._delivery.budget
        metrics.in_flight(budget.used_bytes, budget.used_events)
        oldest = self._ledger.oldest_opened_at()
        metrics.oldest_age(now - oldest if oldest is not None else 0.0)
        metrics.fenced(self._ledger.fenced)
        metrics.limit_used(self._delivery.limit.used)
        for at in self._reported - self._ledger.epochs.keys():
            metrics.forget(at.topic, at.partition)
        self._reported = set(self._ledger.epochs)
        for at, offset in self._source.commits.committed.items():
            metrics.committed(at.topic, at.partition, offset)
        for at, records in self._source.enquiries.lag(self._ledger.committable()).items():
            metrics.lag(at.topic, at.partition, records)

    # -- start and end ---------------------------------------------------------------------------------

    def _start(self) -> None:
        """Check what the promise stands on, before the group is joined.

        Raises:
            SinkFailure: No broker, a missing topic, an unusable dead-letter topic, a refused deployment.
        """
        self._source.enquiries.connect(self._config.run.startup_timeout_s, self._is_stopping)
        if not self._is_stopping() and self._config.dead_letter.on_reject == "dead_letter":
            admin = self._outside.admin({**dead_letter_connection(self._config)}, logger=librdkafka_log)
            finding = check_topic(admin, self._config.dead_letter.topic, self._config.run.startup_timeout_s)
            if finding.problem is not None:
                raise SinkFailure(ExitCode.DEAD_LETTER_TOPIC, *finding.problem)
        self._starting = ("starting", "Splunk was not asked yet")
        await_hec(self._delivery, self._config.hec, self._is_stopping, self._is_refused, self._outside)
        if self._until_end:
            self._ends = self._source.enquiries.end_offsets()
        if not self._is_stopping():
            self._source.subscribe()
            self._starting = None

    def _is_stopping(self) -> bool:
        self._turned_at = self._clock()
        return bool(self._stops)

    def _is_refused(self, reason: str, text: str) -> None:
        self._starting = (reason, text)

    def _is_at_end(self) -> bool:
        """Whether all that was there at the start is settled and committed, by whichever member."""
        if not self._until_end or self._clock() < self._next_end_check:
            return False
        self._next_end_check = self._clock() + END_CHECK_S
        open_ends = {at: end for at, (_, end) in self._ends.items() if end}  # deleted unread is told, too
        mine = self._ledger.committable()
        if any(mine.get(at, end) < end for at, end in open_ends.items()):
            return False
        known = self._source.commits.committed
        if any(known.get(at, -1) < end for at, end in open_ends.items() if at in mine):
            self._source.commit_soon()
            return False
        committed = self._source.enquiries.group_committed(open_ends)
        self._has_reached_end = all(committed.get(at, -1) >= end for at, end in open_ends.items())
        return self._has_reached_end

    def _finish(self) -> ExitCode:
        """Stop fetching, drain, commit, all within `run.shutdown_s`; at once after a second `stop`.

        Raises:
            SinkFailure: A dead letter cannot be written, or there are too many.
        """
        within_s = self._config.run.shutdown_s
        self._end_by = self._clock() + within_s
        drain_by = self._end_by - min(COMMIT_S, within_s / 4)
        log.info("ending: %d records to settle within %g s", self._ledger.open_count(), within_s)
        self._source.has_left_some = False
        self._source.pause(is_paused=True)
        while self._ledger.open_count() and self._clock() < drain_by and self._stops < 2:
            self._turned_at = self._clock()
            self._delivery.submit()
            self._delivery.seal()
            self._source.serve(CONSUME_S / 2)
            self._delivery.settle()
        least = self._clock() + COMMIT_S / 4
        is_committed = self._source.commit_by(least if self._stops > 1 else max(least, self._end_by))
        unsettled = self._ledger.open_count()
        self._is_all_committed = is_committed and not unsettled and not self._source.has_left_some
        if self._is_all_committed or self._has_reached_end:
            return ExitCode.OK
        log.error("ended with %d unsettled records; what is not committed will be read again", unsettled)
        return ExitCode.UNSETTLED

    def _drain_revoked(self, going: list[TopicPartition], is_lost: bool) -> None:
        """Partitions go: settle what can be settled soon, so that the new owner repeats little."""
        held = [at for at in going if self._delivery.holds(at.topic)]
        self._delivery.drop_waiting(held)
        going = [at for at in going if at not in held]
        dropped = self._delivery.drop_waiting(going)
        if is_lost:
            return
        drain_s = min(REVOKE_DRAIN_S, self._source.max_poll_interval_s / 4)
        deadline = min(self._clock() + drain_s, self._end_by)
        try:
            while self._ledger.open_count(going) > dropped and self._clock() < deadline and self._stops < 2:
                self._turned_at = self._clock()
                self._delivery.seal()
                self._delivery.settle()
                self._delivery.wait(CONSUME_S / 2)
        except SinkFailure as failure:  # raised from the loop, where it ends the sink
            self._source.failure = failure

    def _lost_range(self, at: TopicPartition, first: int, after: int) -> None:
        self._metrics.lost_range(at.topic, at.partition, after - first)
