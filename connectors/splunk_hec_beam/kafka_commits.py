"""Commits: one committer per process and group, and no offset of it ever goes back.

Beam finalizes a bundle on any thread, after its reader was closed, late, twice, or out of order. So nobody
commits with a reader's client; all go through here. Not for deciding what may be committed: a mark comes only
after its bundle succeeded.

Guarantees: `commit` never raises and never waits behind another; an offset lower than one that this process
committed, or than the group already had when it began, is ignored (a job that starts again from an older
checkpoint delivers again, and catches up). What could not be committed is tried again with the next mark.

Non-obvious: a position is (generation, offset), compared as such: only a log that began anew, told by its
generation, may take a group back. What does not change is committed again once an hour, or the broker
would drop the offsets of an idle partition after a week (`offsets.retention.minutes`), and the next start
would be from `start`. Two processes know nothing of each other: if Beam moves a partition and the old
worker is very late, its commit can be the older one until the next; that means duplicates after a crash,
never loss.
"""

from __future__ import annotations

import logging
import os
import time
from threading import Lock, Thread
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from splunk_hec.errors import ConfigError
from splunk_hec_beam.kafka_group import committed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from splunk_hec_beam.kafka_group import KafkaGroup

log = logging.getLogger("splunk_hec_beam")

Place = tuple[str, int]
Reached = tuple[int, int]
"""Generation, and the next offset to read."""

REPORT_S = 10.0
"""How long a commit waits for the broker's word. A synchronous one waits for minutes when a broker hangs."""
REFRESH_S = 3600.0
CLOSE_S = 2.0
_SERVE_S = 0.05
_NEVER = (-1, -1)


class Committer:
    """Any thread. `_lock` guards all state; the client belongs to the one thread that `_is_busy` stands for.

    It lives as long as the process, since it must remember; its client only as long as readers or a commit
    need it, and no thread of ours runs in between.
    """

    def __init__(self, group: KafkaGroup, clock: Callable[[], float] = time.monotonic) -> None:
        self._group = group
        self._clock = clock
        self._lock = Lock()
        self._wanted: dict[Place, Reached] = {}
        self._known: dict[Place, Reached] = {}  # confirmed by the broker
        self._known_at: dict[Place, float] = {}
        self._awaited: dict[Place, Reached] = {}  # the busy thread's
        self._is_busy = False
        self._readers = 0
        self._consumer: Consumer | None = None

    def __repr__(self) -> str:
        return f"<Committer {self._group.group_id} | {len(self._known)} partitions | readers {self._readers}>"

    def hold(self) -> None:
        """A reader has begun: commits will come, keep the client."""
        with self._lock:
            self._readers += 1

    def release(self) -> None:
        """A reader was closed; without any, the client goes. Later commits make their own."""
        with self._lock:
            self._readers -= 1
            unused = self._unused()
        _close(unused)

    def learn(self, offsets: Mapping[Place, int]) -> None:
        """A reader starts from what the group has committed: forget what this process believed.

        Only so can somebody set a group back between two jobs of one process.
        """
        with self._lock:
            for place, offset in offsets.items():
                self._wanted[place] = (0, offset)
                self._note(place, (0, offset))

    def commit(self, reached: Mapping[Place, Reached]) -> None:
        """Commit what is higher than before. Blocks at most some `REPORT_S`; never raises.

        A thread that finds another at it leaves its offsets to that one and returns.
        """
        with self._lock:
            for place, it in reached.items():
                self._wanted[place] = max(it, self._wanted.get(place, _NEVER))
            if self._is_busy:
                return
            self._is_busy = True
        try:
            is_well = True
            while due := self._next_due(is_well=is_well):
                is_well = self._carry_out(due)
        except BaseException:  # an interrupt must not leave a committer that waits for nobody
            self._is_busy = False
            raise

    def _next_due(self, *, is_well: bool) -> dict[Place, Reached]:
        """What to commit now; nothing: this thread is done, and somebody else may be busy."""
        with self._lock:
            due = self._due() if is_well else {}
            if due:
                return due
            self._is_busy = False
            unused = self._unused()
        _close(unused)
        return {}

    def _due(self) -> dict[Place, Reached]:
        old = self._clock() - REFRESH_S
        return {
            place: it
            for place, it in self._wanted.items()
            if it > self._known.get(place, _NEVER) or self._known_at[place] <= old
        }

    def _carry_out(self, due: dict[Place, Reached]) -> bool:
        """Whether the broker confirmed all of it."""
        try:
            consumer = self._client()
            self._ask(consumer, due)
            return self._commit(consumer, {at: it for at, it in due.items() if it >= self._known[at]})
        except KafkaException as error:
            log.warning("commit failed: %s; it is tried again with the next bundle", error.args[0].str())
        except ConfigError as error:
            log.warning("commit failed: %s", error)
        except Exception:  # a bundle is delivered: whatever is wrong here must not fail it
            log.exception("commit failed by a fault of our own; it is tried again with the next bundle")
        return False

    def _client(self) -> Consumer:
        if self._consumer is None:
            own = {"client.id": "splunk-hec-beam-commits", "on_commit": self._on_report}
            self._consumer = self._group.consumer(own)
        return self._consumer

    def _ask(self, consumer: Consumer, due: Mapping[Place, Reached]) -> None:
        """Learn what the group has, before the first commit of a partition and before an hourly one."""
        old = self._clock() - REFRESH_S
        unsure = [place for place in due if self._known_at.get(place, old) <= old]
        found = committed(consumer, unsure)
        with self._lock:
            for place in unsure:
                generation, _ = self._known.get(place, (0, -1))
                self._note(place, (generation, found.get(place, -1)))

    def _commit(self, consumer: Consumer, due: Mapping[Place, Reached]) -> bool:
        if not due:
            return True
        self._awaited = dict(due)
        offsets = [TopicPartition(*place, offset) for place, (_, offset) in due.items()]
        consumer.commit(offsets=offsets, asynchronous=True)
        deadline = self._clock() + REPORT_S
        while self._awaited and self._clock() < deadline:
            consumer.poll(_SERVE_S)
        if self._awaited:
            log.warning(
                "commit failed: no answer in %.0f s; it is tried again with the next bundle", REPORT_S
            )
        with self._lock:
            return all(self._known[place] == it for place, it in due.items())

    def _on_report(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """A commit has ended. Called by librdkafka from within `poll`."""
        for one in partitions:
            place = (one.topic, one.partition)
            if self._awaited.get(place, _NEVER)[1] != one.offset:
                continue  # of an earlier commit, given up
            it = self._awaited.pop(place)
            failure = error or one.error
            if failure is None:
                with self._lock:
                    self._note(place, it)
            else:
                _tell(self._group.group_id, place, failure)

    def _unused(self) -> Consumer | None:
        """The client, taken away, if nobody needs it. The caller holds the lock and closes it afterwards."""
        if self._readers > 0 or self._is_busy:
            return None
        unused, self._consumer = self._consumer, None
        return unused

    def _note(self, place: Place, it: Reached) -> None:
        self._known[place] = it
        self._known_at[place] = self._clock()


_committers: dict[KafkaGroup, Committer] = {}
os.register_at_fork(after_in_child=_committers.clear)  # a forked child cannot use its parent's clients


def committer_of(group: KafkaGroup) -> Committer:
    """The process's committer for a group; nothing is contacted."""
    return _committers.setdefault(group, Committer(group))  # atomic: the first one stays


def _tell(group_id: str, place: Place, failure: KafkaError) -> None:
    hint = ""
    if failure.code() in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION):
        hint = f" (do consumers that join it use the group {group_id!r} as well? it must be this job's alone)"
    log.warning("commit of %s/%d failed: %s%s", *place, failure.str(), hint)


def _close(consumer: Consumer | None) -> None:
    """Close a client: on a thread that dies with the process, since a commit under way may hold it up."""
    if consumer is not None:
        closing = Thread(target=consumer.close, name="commits-close", daemon=True)
        closing.start()
        closing.join(CLOSE_S)
