"""What callers and workers share: open builders, sealed batches, outcomes, a stop flag. One lock.

Not for budgets (they have a lock of their own; never both at once) and not for decisions about replies.
Guarantees: no method calls foreign code or does I/O while the lock is held; outcomes are handed over in
`poll` on the caller's thread, so no callback of a user ever runs on ours.

Non-obvious: linger needs an owner, and the caller may never come back. So a resting lane waits for the
oldest open builder too, and seals it when it is due.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from operator import attrgetter
from threading import Condition, Lock
from typing import TYPE_CHECKING, Any

from splunk_hec._batching import Batch, BatchBuilder, Lines
from splunk_hec.events import Manifest, Outcome, OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from splunk_hec._actions import Settled
    from splunk_hec._batching import Codec
    from splunk_hec._block import Block

BAD_INDEX_REMEMBERED_S = 300.0
_when_opened = attrgetter("opened_at")


class Mailbox:
    """One stream's side of the queue: its open builders, what is unsettled, its outcomes.

    Guarded by the queue's lock. `is_aborted` is read without it: it only ever turns True.
    """

    def __init__(self, *, keeps_lines: bool = False, tells_delivered: bool = True) -> None:
        self.keeps_lines = keeps_lines
        self.tells_delivered = tells_delivered
        self.builders: dict[str, BatchBuilder] = {}
        self.outcomes: list[Outcome] = []
        self.unsettled = 0
        self.charge_bytes = 0
        self.is_aborted = False


class BatchQueue:
    """Between streams and lanes. Any thread."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        new_builder: Callable[[Mailbox, str], BatchBuilder],
        linger_s: float,
        codec: Codec | None,
    ) -> None:
        self._clock = clock
        self._new_builder = new_builder
        self._linger_s = linger_s
        self._codec = codec
        self._lock = Lock()
        self._work = Condition(self._lock)
        self._news = Condition(self._lock)
        self._stop = Condition(self._lock)
        self._sealed: deque[Batch] = deque()
        self._open: dict[Mailbox, None] = {}
        self._ids = itertools.count(1)
        self._bad_indexes: dict[str, float] = {}
        self._orphans: deque[Mailbox] = deque()
        self._is_drained = False
        self.is_stopping = False

    def __repr__(self) -> str:
        return (
            f"<BatchQueue sealed {len(self._sealed)} | open {len(self._open)} | stopping {self.is_stopping}>"
        )

    # -- callers -------------------------------------------------------------------------------------

    def add(self, box: Mailbox, block: Block, manifest: Manifest, held_bytes: int, query: str) -> bool:
        """Take events whose budget was acquired; False if the stream or client was ended meanwhile."""
        with self._lock:
            if box.is_aborted or self.is_stopping:
                return False
            box.unsettled += len(block)
            box.charge_bytes += block.size_bytes + held_bytes
            builder = box.builders.get(query)
            if builder is None:
                builder = box.builders[query] = self._new_builder(box, query)
            at, total, rest = 0, len(block), block
            while at < total:
                room = builder.room(rest)
                if not room:
                    self._seal(builder)
                    continue
                end = at + room
                held = held_bytes * end // total - held_bytes * at // total
                refs = manifest if room == total else manifest[at:end]
                builder.add(rest[:room], refs, held, self._clock())
                rest, at = rest[room:], end
                if builder.is_full:
                    self._seal(builder)
            if not any(map(len, box.builders.values())):
                self._open.pop(box, None)
            elif box not in self._open:
                self._open[box] = None
                self._work.notify()
        return True

    def seal(self, box: Mailbox | None = None) -> None:
        """Seal what is open: of one stream, or of all (a caller that waits for the budget needs that)."""
        with self._lock:
            for one in [box] if box is not None else list(self._open):
                self._seal_box(one)

    def poll(self, box: Mailbox, timeout_s: float) -> list[Outcome]:
        """The outcomes since the last call; waits for the first one at most `timeout_s`."""
        if not box.outcomes and timeout_s <= 0:
            return []  # as almost always: no need to wait for the lock
        with self._lock:
            if not box.outcomes and timeout_s > 0:
                self._news.wait_for(lambda: bool(box.outcomes), timeout_s)
            outcomes, box.outcomes = box.outcomes, []
            return outcomes

    def take_failures(self, box: Mailbox) -> list[Outcome]:
        """The failures since the last call or `poll`; what was delivered stays to be polled."""
        if not box.outcomes:
            return []  # as in `poll`
        with self._lock:
            failures = [one for one in box.outcomes if one.kind is not OutcomeKind.DELIVERED]
            box.outcomes = [one for one in box.outcomes if one.kind is OutcomeKind.DELIVERED]
            return failures

    def wait_settled(self, box: Mailbox, timeout_s: float) -> int:
        """Wait until all of the stream is settled; returns how many events are not."""
        with self._lock:
            self._news.wait_for(lambda: not box.unsettled, max(0.0, timeout_s))
            return box.unsettled

    def abort(self, box: Mailbox) -> tuple[int, int]:
        """Forget the stream's events; returns the bytes and events of the budget that it held."""
        with self._lock:
            held = (0, 0) if box.is_aborted else (box.charge_bytes, box.unsettled)
            box.is_aborted = True
            box.builders.clear()
            self._open.pop(box, None)
            self._sealed = deque(batch for batch in self._sealed if batch.owner is not box)
            box.unsettled = box.charge_bytes = 0
            self._news.notify_all()
            return held

    @property
    def orphan(self) -> Callable[[Mailbox], None]:
        """For the finalizer of a stream: lay its box down here, to be reaped.

        A collection may strike at any allocation, also while its thread holds our lock: so no lock is taken,
        and nothing that holds the stream or its client is referred to.
        """
        return self._orphans.append

    def reap(self) -> tuple[int, int]:
        """Abort the streams that were collected; returns the bytes and events of the budget they held."""
        size_bytes = events = 0
        while self._orphans:
            try:
                box = self._orphans.popleft()
            except IndexError:  # another thread was quicker
                break
            held_bytes, held_events = self.abort(box)
            size_bytes, events = size_bytes + held_bytes, events + held_events
        return size_bytes, events

    @property
    def refused_indexes(self) -> frozenset[str]:
        """All indexes that are refused before sending, now."""
        if not self._bad_indexes:  # as almost always: no need to wait for the lock
            return frozenset()
        now = self._clock()
        with self._lock:
            return frozenset(index for index, until in self._bad_indexes.items() if now < until)

    # -- workers -------------------------------------------------------------------------------------

    @property
    def has_sealed(self) -> bool:
        """Whether a batch waits for a lane; a look without the lock."""
        return bool(self._sealed)

    def take(self, until: float) -> Batch | None:
        """A sealed batch, or one whose linger is over; None once it is `until`, or stopping."""
        with self._lock:
            while not self.is_stopping:
                now = self._clock()
                self._seal_lingering(now)
                if self._sealed or now >= until:
                    if self._open:
                        self._work.notify()  # it may have been this lane that watched over them
                    return self._sealed.popleft() if self._sealed else None
                opened = min(map(_opened_at, self._open), default=until)
                self._work.wait(max(0.0, min(until, opened + self._linger_s) - now))
            return None

    def overdue(self, sealed_before: float) -> list[Batch]:
        """The batches sealed before that, which no lane can take: they are given up."""
        with self._lock:
            self._seal_lingering(self._clock())
            found = [batch for batch in self._sealed if batch.sealed_at <= sealed_before]
            for batch in found:
                self._sealed.remove(batch)
            return found

    def sleep(self, until: float) -> None:
        """Wait until then, or until the client stops."""
        with self._lock:
            self._stop.wait_for(lambda: self.is_stopping, max(0.0, until - self._clock()))

    def put_back(self, batches: list[Batch]) -> bool:
        """A lane cannot deliver these: some other should, before anything newer. False: it is too late."""
        with self._lock:
            if self._is_drained:
                return False
            self._sealed.extendleft(reversed(batches))
            self._work.notify(len(batches))
            return True

    def settle(self, settled: list[Settled], url: str) -> tuple[int, int]:
        """Hand outcomes to their streams; returns the bytes and events of the budget to release."""
        freed_bytes = freed_events = 0
        with self._lock:
            for item in settled:
                box = item.batch.owner
                assert isinstance(box, Mailbox)
                if box.is_aborted:
                    continue
                box.unsettled -= item.batch.count
                box.charge_bytes -= item.batch.charge_bytes
                freed_bytes += item.batch.charge_bytes
                freed_events += item.batch.count
                if item.bad_index:
                    self._remember_bad_index(item.bad_index)
                is_asked_for = box.tells_delivered and _has_refs(item.batch.manifest)
                if item.kind is not OutcomeKind.DELIVERED or is_asked_for:
                    box.outcomes.append(outcome_of(item, url, self._codec))
            self._news.notify_all()
        return freed_bytes, freed_events

    def give_back(self, batch: Batch, size_bytes: int) -> int:
        """Packing saved so much of the batch's charge; returns what of it is to be released."""
        with self._lock:
            box = batch.owner
            assert isinstance(box, Mailbox)
            if box.is_aborted:
                return 0
            box.charge_bytes -= size_bytes
            return size_bytes

    def stop(self) -> None:
        """Workers end after the request they are in."""
        with self._lock:
            self.is_stopping = True
            self._work.notify_all()
            self._news.notify_all()
            self._stop.notify_all()

    def drain(self) -> list[Batch]:
        """All sealed and open batches; for the client that settles them at the end."""
        with self._lock:
            self._is_drained = True
            for box in list(self._open):
                self._seal_box(box)
            batches = list(self._sealed)
            self._sealed.clear()
            return batches

    def next_linger(self) -> float | None:
        """When the oldest open builder is due; None if nothing is open."""
        with self._lock:
            opened = min(map(_opened_at, self._open), default=None)
            return None if opened is None else opened + self._linger_s

    def seal_lingering(self) -> None:
        """Seal what is older than linger; for a client without threads, whose lanes may all be waiting."""
        with self._lock:
            self._seal_lingering(self._clock())

    # -- with the lock held ----------------------------------------------------------------------------

    def _remember_bad_index(self, index: str) -> None:
        now = self._clock()
        self._bad_indexes = {name: until for name, until in self._bad_indexes.items() if now < until}
        self._bad_indexes[index] = now + BAD_INDEX_REMEMBERED_S

    def _seal(self, builder: BatchBuilder) -> None:
        batch = builder.seal(str(next(self._ids)), self._clock())
        if batch is not None:
            self._sealed.append(batch)
            self._work.notify()

    def _seal_box(self, box: Mailbox) -> None:
        for builder in box.builders.values():
            self._seal(builder)
        if box.builders and "" not in box.builders:
            box.builders.clear()  # raw: one builder for each metadata ever seen would only grow
        self._open.pop(box, None)

    def _seal_lingering(self, now: float) -> None:
        for box in [box for box in self._open if now - _opened_at(box) >= self._linger_s]:
            self._seal_box(box)


def _opened_at(box: Mailbox) -> float:
    return min(map(_when_opened, box.builders.values()), default=math.inf)


def outcome_of(item: Settled, url: str, codec: Codec | None) -> Outcome:
    """What the caller gets to see of a settled batch."""
    batch, answer = item.batch, item.answer
    box = batch.owner
    assert isinstance(box, Mailbox)
    keeps_lines = box.keeps_lines and item.kind is not OutcomeKind.DELIVERED
    return Outcome(
        kind=item.kind,
        refs=batch.manifest,
        count=batch.count,
        reason=item.reason,
        http_status=answer.status if answer else 0,
        code=answer.code if answer else None,
        text=item.text or (answer.text if answer else ""),
        attempts=batch.attempts,
        url=url,
        first_attempt_s=batch.first_attempt_s,
        ack_latency_s=item.ack_latency_s,
        size_bytes=batch.size_bytes,
        lines=Lines(batch, codec) if keeps_lines else (),
    )


def _has_refs(manifest: Any) -> bool:
    """False only for a list of refs that are all None: nobody could tell whose outcome it is."""
    return not isinstance(manifest, list) or any(ref is not None for ref in manifest)  # pyright: ignore[reportUnknownVariableType] -- refs are the caller's own
