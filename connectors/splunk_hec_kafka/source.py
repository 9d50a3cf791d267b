"""The Kafka side of the sink: one consumer, its assignments, its positions, its pauses.

Owned by the loop's thread; librdkafka calls back on it, from within `consume` and `close`. Not for what
becomes of records, nor for what is committed (`commits`). Guarantees: a record is handed out only while its
partition is assigned, and once an assignment; a partition without a commit starts where `kafka.start` says
and nowhere else; an offset that does not exist any more is reported, never skipped in silence.

Non-obvious: pausing is dear, since it throws the prefetch away and each resume costs about a second; not
calling `consume` for a moment is free. And a rebalance may happen in the middle of one `consume`: what that
call had gathered before belongs to the assignment that is over, and nobody can tell it from what came after.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Position

from splunk_hec.errors import ConfigError
from splunk_hec_kafka.chatter import librdkafka_log
from splunk_hec_kafka.commit_maps import commit_maps
from splunk_hec_kafka.commits import Commits, positions_of
from splunk_hec_kafka.consumer_settings import consumer_properties, is_incremental, max_poll_interval_s
from splunk_hec_kafka.enquiries import ANSWER_S, Enquiries, matches, needing, unanswered
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.offsets import Chunk, OffsetLedger, TopicPartition, place, shown
from splunk_hec_kafka.outside import THE_WORLD, Outside

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Consumer

    from splunk_hec_kafka.config import SinkConfig

log = logging.getLogger("splunk_hec_kafka")

__all__ = ["ANSWER_S", "KafkaSource", "consumer_properties", "matches"]

CLOSE_S = 2.0
_SERVE_S = 0.05
_UNAUTHORIZED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


class KafkaSource:
    """One group member.

    Attributes:
        commits: What was committed, and what is under way.
        enquiries: What else there is to know of the topics.
        has_left_some: Partitions went and another member reads a part of them again.
        failure: Why the sink must end, found where nothing can be raised (a callback).
    """

    def __init__(
        self,
        config: SinkConfig,
        ledger: OffsetLedger,
        *,
        on_revoke: Callable[[list[TopicPartition], bool], None],
        on_lost_range: Callable[[TopicPartition, int, int], None],
        outside: Outside = THE_WORLD,
    ) -> None:
        """Make the consumer; it does not join its group before `subscribe`.

        Args:
            config: The sink's configuration.
            ledger: Where records are opened, and partitions come and go.
            on_revoke: Asked to settle what it can before partitions go; True: they are lost already, and
                nothing can be committed any more.
            on_lost_range: Told which offsets (first, and the one after the last) nobody can read any more.
            outside: Makes the consumer; the clock.

        Raises:
            ConfigError: librdkafka does not know a property, or not such a value.
        """
        self._config, self._patience_s = config.kafka, config.run.startup_timeout_s
        self._ledger = ledger
        self._on_revoke = on_revoke
        self._on_lost_range = on_lost_range
        self._outside, self._clock = outside, outside.clock
        self._gone_meanwhile: set[TopicPartition] = set()
        self._is_paused = self._is_closing = self.has_left_some = False
        self._held: frozenset[str] = frozenset()
        self.failure: SinkFailure | None = None
        properties = consumer_properties(config)
        self.max_poll_interval_s = max_poll_interval_s(properties)
        self._is_incremental = is_incremental(properties)
        try:
            self._consumer = outside.consumer(
                properties | {"on_commit": self._on_commit, "error_cb": self._on_error}, logger=librdkafka_log
            )
        except KafkaException as error:
            raise ConfigError(f"kafka.properties: {error.args[0].str()}") from None
        maps = commit_maps(config, ledger, self._consumer, outside)
        self.commits = Commits(ledger, outside, maps)
        self.enquiries = Enquiries(self._consumer, self._config, outside.clock)

    def subscribe(self) -> None:
        """Join the group."""
        self._consumer.subscribe(
            list(self._config.topics),
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )

    def close(self) -> None:
        """Leave the group, within `CLOSE_S`; no commit happens here.

        It leaves before it closes: librdkafka (2.16) never answers a call that gives partitions up from
        within its own close, and that call holds the interpreter's lock. An assignment that was on its way
        and is served by nobody would be given up just there, so callbacks are served at least once. And it
        closes on a thread that dies with the process, since without a broker librdkafka waits for a commit
        under way as long as the session.
        """
        self._is_closing = True
        leave_by = self._clock() + CLOSE_S
        self._consumer.unsubscribe()
        self._consumer.consume(1, _SERVE_S)  # as in `serve`; a failure is known already
        while self._consumer.assignment() and self._clock() < leave_by:
            self._consumer.consume(1, _SERVE_S)
        if not self._consumer.assignment() and self._outside.run_within(CLOSE_S, self._consumer.close):
            return
        log.warning("no broker takes this member's leave; the group notices when its session ends")

    def consume(self, count: int, timeout_s: float) -> list[Message]:
        """Records that arrived, opened in the ledger; serves callbacks, and deals with events itself.

        Raises:
            SinkFailure: Kafka failed for good. What had arrived is neither opened nor committed.
        """
        gathered = self._gather(count, timeout_s)
        gone = self._gone_meanwhile
        messages = [one for one in gathered if place(one)[0] not in gone] if gone else gathered
        has_events = any(map(Message.error, messages))
        records = Chunk([one for one in messages if one.error() is None] if has_events else messages)
        self._ledger.open(records, self._clock())
        if len(messages) < len(gathered):
            self._read_again(gone)
        if has_events:
            epochs = self._ledger.epochs
            for message in messages:
                error = message.error()
                if error is not None:
                    self._on_event(message, error)
            if self._ledger.epochs is not epochs:  # a topic was made anew: these are of the old one
                now = self._ledger.epochs
                records = Chunk(one for one in records if now[place(one)[0]] == epochs[place(one)[0]])
        if self.failure:
            raise self.failure
        return records

    def serve(self, timeout_s: float) -> None:
        """Serve callbacks only, once nothing is taken any more.

        A record that slips through is dropped unopened, so nothing past it is committed; and no end of a
        partition is noted either, since it could lie past such a record.

        Raises:
            SinkFailure: Kafka failed for good.
        """
        self._gather(1, timeout_s)

    def _gather(self, count: int, timeout_s: float) -> list[Message]:
        self._gone_meanwhile.clear()
        with needing("next records"):
            messages = self._consumer.consume(count, timeout_s)
        if self.failure:
            raise self.failure
        return messages

    def _read_again(self, gone: set[TopicPartition]) -> None:
        """Read partitions that went and came back in one call from their start: both were mixed."""
        back = {at: OFFSET_BEGINNING for at in sorted(gone) if at in self._ledger.epochs}
        self._read_from(back | self._ledger.committable(back))

    def _read_from(self, wanted: dict[TopicPartition, int]) -> None:
        """Move to these positions by assigning anew: seek refuses a partition that is not being fetched."""
        if not wanted:
            return
        with needing("records from another offset"):
            if self._is_incremental:
                self._consumer.incremental_unassign(positions_of(wanted))
                self._consumer.incremental_assign(positions_of(wanted))
            else:
                known = self._ledger.positions()
                wanted = {at: known.get(at, OFFSET_BEGINNING) for at in self._ledger.epochs} | wanted
                self._consumer.assign(positions_of(wanted))
            self._apply_pause(positions_of(wanted))

    def pause(self, *, is_paused: bool, held: frozenset[str] = frozenset()) -> None:
        """Stop or go on fetching, for all assigned partitions; those of `held` topics stand still anyway."""
        if (is_paused, held) == (self._is_paused, self._held):
            return
        self._is_paused, self._held = is_paused, held
        with needing("a pause"):
            self._apply_pause(self._consumer.assignment())

    def _apply_pause(self, partitions: list[Position]) -> None:
        # Said of every partition each time: one that was paused, revoked and assigned again stays paused.
        still = [one for one in partitions if self._is_paused or one.topic in self._held]
        if still:
            self._consumer.pause(still)
        if len(still) < len(partitions):
            self._consumer.resume([one for one in partitions if one not in still])

    def _on_event(self, message: Message, error: KafkaError) -> None:
        at, offset = place(message)
        code = error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 -- librdkafka's own codes are named so
            self._ledger.reached_end(at, offset)
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001 -- as above
            if at in self._ledger.epochs:
                self._out_of_range(at)
        else:
            self._on_error(error)

    def _out_of_range(self, at: TopicPartition) -> None:
        """The position does not exist any more: say what is lost, and go on with what is left.

        Raises:
            SinkFailure: The broker does not say what is left (exit 4).
        """
        position = self._ledger.positions().get(at)
        with needing(f"offsets of {at.topic}/{at.partition}"):
            low, high = self.enquiries.watermarks(at)
        if position is not None and position < low:
            log.error("%s/%d: offsets %d to %d were deleted before they were read (retention): %d are lost",
                      at.topic, at.partition, position, low - 1, low - position)  # fmt: skip
            self._on_lost_range(at, position, low)
        elif position is not None:
            log.error("%s/%d: offset %d does not exist in %d…%d (recreated or truncated?); reading from %d",
                      at.topic, at.partition, position, low, high, low)  # fmt: skip
        if self._config.start == "fail":
            self.failure = SinkFailure(
                ExitCode.KAFKA,
                f"offset {position} of {at.topic}/{at.partition} is out of range, the log is {low}…{high}",
                "reset the group's offsets, or set kafka.start",
            )
            return
        self.commits.distrust(at)
        if position is not None and position >= low:
            self._ledger.assign({at: low})  # what is under way belongs to a log that is no more: fence it
        self._ledger.jump(at, low)
        self._read_from({at: low})

    # -- assignments ---------------------------------------------------------------------------------

    def _assigned(self, consumer: Consumer, partitions: list[Position]) -> None:
        if self._is_closing:  # no question is answered any more; the client assigns and revokes by itself
            return
        try:
            starts = self._starts_in_time(partitions)
        except SinkFailure as failure:
            self.failure = failure
            return
        for position in partitions:
            position.offset = starts[TopicPartition(position.topic, position.partition)]
        if self._is_incremental:
            consumer.incremental_assign(partitions)
        else:
            consumer.assign(partitions)
        self._ledger.assign({at: start if start >= 0 else None for at, start in starts.items()})
        self._apply_pause(partitions)
        log.info("assigned %s", shown(starts, self._ledger.positions()))

    def _starts_in_time(self, partitions: list[Position]) -> dict[TopicPartition, int]:
        """Where reading begins; asked again while the broker does not answer (it may be restarting).

        Raises:
            SinkFailure: It did not answer in time, or there is no commit and `start` is `fail` (exit 4).
        """
        deadline = self._clock() + min(self._patience_s, self.max_poll_interval_s / 2)
        while True:
            try:
                found = self.enquiries.starts(partitions)
                break
            except KafkaException as error:
                if self._clock() >= deadline:
                    raise unanswered("committed offsets", error) from None
                log.warning("the committed offsets are not known yet: %s", error.args[0].str())
        self.commits.learn(found)
        self.commits.pin(self._consumer, {at: start for at, start in found.fresh.items() if start >= 0})
        return found.known | found.fresh

    def _revoked(self, consumer: Consumer, partitions: list[Position]) -> None:
        going = [TopicPartition(position.topic, position.partition) for position in partitions]
        log.info("revoked %s", shown(going, self._ledger.positions()))
        if not self._is_closing:
            since = self._clock()
            self._on_revoke(going, False)
            self.commits.carry_out(consumer, going, since)
        self._gone(consumer, partitions, going)

    def _lost(self, consumer: Consumer, partitions: list[Position]) -> None:
        going = [TopicPartition(position.topic, position.partition) for position in partitions]
        which = shown(going, self._ledger.positions())
        log.warning("lost %s: the group went on without this member; nothing is committed", which)
        if not self._is_closing:
            self._on_revoke(going, True)
        self._gone(consumer, partitions, going)

    def _gone(self, consumer: Consumer, partitions: list[Position], going: list[TopicPartition]) -> None:
        if self._ledger.open_count(going) or not self.commits.are_up_to_date(going):
            self.has_left_some = True
        self._ledger.revoke(going)
        self.commits.forget(going)
        self._gone_meanwhile.update(going)
        if self._is_incremental:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()

    # -- commits -------------------------------------------------------------------------------------

    def commit_soon(self) -> None:
        """Commit what the ledger allows, in the background."""
        self.commits.begin(self._consumer, self._clock())

    def commit_by(self, deadline: float) -> bool:
        """Commit what the ledger allows and wait for the broker's word until then; nothing is taken any more.

        Returns:
            Whether all of it is committed.
        """
        while not self.commits.are_up_to_date() or self.commits.owe_a_map():
            if self._clock() >= deadline:
                break
            self.commit_soon()
            self._consumer.consume(1, _SERVE_S)  # as in `serve`; a failure is known already
        return self.commits.are_up_to_date()

    def _on_commit(self, error: KafkaError | None, partitions: list[Position]) -> None:
        self.commits.on_report(error, partitions)
        for one in (error, *(position.error for position in partitions)):
            if one is not None and one.code() in _UNAUTHORIZED:
                self._on_error(one)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in _UNAUTHORIZED:
            text, fix = "Kafka refuses this consumer", "grant READ on topics and group"
        elif error.fatal():
            text, fix = "Kafka failed for good", "restart the sink"
        else:
            librdkafka_log.warning("kafka: %s", error.str())
            return
        self.failure = SinkFailure(ExitCode.KAFKA, f"{text}: {error.str()}", fix)
