"""One reader: a Kafka client with partitions assigned by hand, and how far it came in each.

Owned by one bundle at a time; Beam parks it between bundles. Not for commits: marks do that, when their
bundle is committed. Guarantees: the records of a partition come in order, each once; a mark covers exactly
what was handed out; an offset that does not exist any more is reported, never skipped in silence.

Watermark: the time of the newest record handed out less `SLACK_S` (producers are not in step), or, where the
end of a partition is reached, the time of day less that, so that windows close on a quiet topic. Never
ahead of the time of day: one record from the future would make everything else late. While no broker
answers, a quiet partition is taken for quiet.

Non-obvious: `consume(n, t)` waits until it has n records or t is over, so it is asked for what is there
already (0 s); only where the end of a partition is known to be further on is one record waited for,
`WAIT_S` at most. Without that wait, a bundle would end, and the poll interval pass, each time Beam is
faster than the network.
"""

from __future__ import annotations

import logging
import time
from itertools import starmap
from typing import TYPE_CHECKING, Any, cast

from apache_beam.io.unbounded_source import UnboundedReader
from apache_beam.metrics.metric import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MAX_TIMESTAMP, MIN_TIMESTAMP, Timestamp
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from splunk_hec_beam.kafka_commits import committer_of
from splunk_hec_beam.kafka_group import watermarks
from splunk_hec_beam.kafka_mark import KafkaMark, Share
from splunk_hec_beam.kafka_record import KafkaHeader, KafkaRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from confluent_kafka import Consumer

    from splunk_hec_beam.kafka_group import KafkaGroup

log = logging.getLogger("splunk_hec_beam")

CHUNK = 500
"""Records taken from librdkafka in one call; more gain nothing."""
WAIT_S = 0.1
START_S = 5.0
"""How long `start` waits for a first record, or for word that there is none. A runner that rebuilds its
readers for each bundle would otherwise never see one."""
SLACK_S = 10.0
NAMESPACE = "splunk_hec"
_FIRST_MS = MIN_TIMESTAMP.micros // 1000
_LAST_MS = GlobalWindow().max_timestamp().micros // 1000
"""Beam has no later time for an element; a record may claim one."""
_FOR_GOOD = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 -- librdkafka's own codes are named so
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 -- as above
)
"""What no waiting mends; the bundle fails, so that the runner shows it."""
_ELSEWHERE = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001 -- as above


class _Progress:
    """How far one partition was read. `next` and `generation` as in `Share`."""

    __slots__ = ("end", "generation", "is_at_end", "latest_ms", "next", "partition", "topic")

    def __init__(self, share: Share) -> None:
        assert share.offset is not None
        self.topic, self.partition = share.topic, share.partition
        self.next, self.end, self.generation = share.offset, share.end, share.generation
        self.latest_ms = _FIRST_MS
        self.is_at_end = False

    @property
    def is_finished(self) -> bool:
        return self.end is not None and self.next >= self.end

    def at(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition, self.next)

    def share(self) -> Share:
        return Share(self.topic, self.partition, self.next, self.end, self.generation)


class KafkaReader(UnboundedReader):
    """See the module. Its client reads; it neither commits nor joins the group.

    Args:
        group: The cluster and the group.
        consumer: A client of that group; the reader closes it.
        shares: What to read; each has an offset.
        must_exist: An offset that does not exist any more fails the bundle instead of being reported.
        now: Seconds since 1970.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        group: KafkaGroup,
        consumer: Consumer,
        shares: Iterable[Share],
        *,
        must_exist: bool = False,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._group = group
        self._consumer = consumer
        self._must_exist = must_exist
        self._now = now
        self._clock = clock
        self._progress = {share.place: _Progress(share) for share in shares}
        self._live = {place: one for place, one in self._progress.items() if not one.is_finished}
        self._chunk: Iterator[Message] = iter(())
        self._record: KafkaRecord | None = None
        self._record_ms = self._timestamp_ms = 0
        self._timestamp = Timestamp(0)
        self._is_closed = False
        self._watermark = MIN_TIMESTAMP
        if self._live:
            consumer.incremental_assign([one.at() for one in self._live.values()])
        committer_of(group).hold()

    # -- what Beam asks ------------------------------------------------------------------------------

    def start(self) -> bool:
        """Go to the first record; waits for it, or for word that there is none now, `START_S` at most."""
        wait_until = self._clock() + START_S
        while not self.advance():
            if not self._is_behind() or self._clock() >= wait_until:
                return False
        return True

    def advance(self) -> bool:
        """Go to the next record.

        Returns:
            Whether there is one now.

        Raises:
            KafkaException: Kafka failed for good; the reader is of no more use.
        """
        while True:
            for message in self._chunk:
                error = message.error()
                if error is not None:
                    self._on_event(message, error)
                elif self._take(message):
                    return True
            if not self._fetch():
                return False

    def get_current(self) -> KafkaRecord:
        """The record that `start` or `advance` went to."""
        assert self._record is not None
        return self._record

    def get_current_timestamp(self) -> Timestamp:
        """Its time; one without has the time of its reading."""
        ms = self._record_ms
        if (
            ms != self._timestamp_ms
        ):  # neighbours often share it, and making one costs as much as all the rest
            self._timestamp_ms = ms
            self._timestamp = Timestamp(micros=min(max(ms, _FIRST_MS), _LAST_MS) * 1000)
        return self._timestamp

    def get_watermark(self) -> Timestamp:
        """See the module; MAX_TIMESTAMP once every partition is read to its fixed end."""
        return self._watermark

    def get_checkpoint_mark(self) -> KafkaMark:
        """How far it came. Called at the end of a bundle, whose backlog is told here."""
        for one in self._live.values():
            known = cast(
                "tuple[int, int] | None", self._consumer.get_watermark_offsets(one.at(), cached=True)
            )
            if known is not None and known[1] >= 0:
                backlog = Metrics.gauge(NAMESPACE, f"kafka_backlog_records_{one.topic}-{one.partition}")
                backlog.set(max(0, known[1] - one.next))
        return KafkaMark(self._group, [one.share() for one in self._progress.values()])

    def close(self) -> None:
        """End the client; idempotent. What was fetched and not handed out is in no mark: it is read again."""
        if not self._is_closed:
            self._is_closed = True
            self._consumer.close()
            committer_of(self._group).release()

    # -- records -------------------------------------------------------------------------------------

    def _take(self, message: Message) -> bool:
        """Make a record the current one; False if it is behind the fixed end, or was read before."""
        topic: Any = message.topic()  # typed as optional; a record has all three
        partition: Any = message.partition()
        offset: Any = message.offset()
        one = self._live.get((topic, partition))
        if one is None or offset < one.next:
            return False
        if one.end is not None and offset >= one.end:
            self._reached(one, one.end)
            return False
        kind, ms = message.timestamp()
        headers = message.headers()
        one.next = offset + 1
        if not kind:
            ms = int(self._now() * 1000)
        one.latest_ms = max(one.latest_ms, ms)
        self._record_ms = ms
        self._record = KafkaRecord(
            topic,
            partition,
            offset,
            ms if kind else None,
            message.key(),
            message.value(),
            tuple(starmap(KafkaHeader, headers)) if headers else (),
        )
        return True

    def _fetch(self) -> bool:
        """Take what is there; called once nothing is left of what was taken before."""
        messages: list[Message] = []
        if self._live:
            messages = self._consumer.consume(CHUNK, 0)
            if not messages and self._is_behind():
                messages = self._consumer.consume(1, WAIT_S)
        self._chunk = iter(messages)
        self._move_watermark()
        for message in messages:
            one = self._progress_of(message)
            if one is not None:
                one.is_at_end = False
        return bool(messages)

    def _is_behind(self) -> bool:
        return not all(one.is_at_end for one in self._live.values())

    def _move_watermark(self) -> None:
        if not self._live:
            self._watermark = MAX_TIMESTAMP
            return
        now_ms = int(self._now() * 1000)
        low_ms = min(now_ms if one.is_at_end else min(one.latest_ms, now_ms) for one in self._live.values())
        low = Timestamp(micros=max(low_ms - int(SLACK_S * 1000), _FIRST_MS) * 1000)
        self._watermark = max(self._watermark, low)

    def _progress_of(self, message: Message) -> _Progress | None:
        return self._live.get(cast("tuple[str, int]", (message.topic(), message.partition())))

    # -- events --------------------------------------------------------------------------------------

    def _on_event(self, message: Message, error: KafkaError) -> None:
        code = error.code()
        one = self._progress_of(message)
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 -- as above
            if one is not None:
                one.is_at_end = True
                # Behind the last record there may be markers of transactions, or gaps of compaction.
                self._reached(one, max(one.next, cast("int", message.offset())))
        elif code in _ELSEWHERE and one is not None:
            self._out_of_range(one, error)
        elif error.fatal() or code in _FOR_GOOD:
            raise KafkaException(error)
        else:
            log.warning("kafka: %s", error.str())

    def _reached(self, one: _Progress, offset: int) -> None:
        one.next = offset if one.end is None else min(offset, one.end)
        if one.is_finished:
            del self._live[one.topic, one.partition]
            self._consumer.incremental_unassign([one.at()])

    def _out_of_range(self, one: _Progress, error: KafkaError) -> None:
        """The next offset does not exist: say what is lost, and go on with what is left.

        Raises:
            KafkaException: That is not wanted (`must_exist`), or the fixed end is gone as well.
        """
        low, high = watermarks(self._consumer, one.topic, one.partition)
        is_another_log = one.next > high
        if one.next < low:
            log.error(
                "%s/%d: offsets %d to %d were deleted before they were read (retention): %d are lost",
                one.topic, one.partition, one.next, low - 1, low - one.next,
            )  # fmt: skip
            Metrics.counter(NAMESPACE, "kafka_lost_records").inc(low - one.next)
        elif is_another_log:
            log.error(
                "%s/%d: offset %d does not exist in %d…%d (made anew or truncated?); reading from %d",
                one.topic, one.partition, one.next, low, high, low,
            )  # fmt: skip
        if self._must_exist or (is_another_log and one.end is not None):
            raise KafkaException(error)
        if is_another_log:
            one.generation += 1
        if one.next < low or is_another_log:
            one.next = low
        self._consumer.incremental_unassign([one.at()])
        if one.is_finished:
            del self._live[one.topic, one.partition]
        else:
            self._consumer.incremental_assign([one.at()])
