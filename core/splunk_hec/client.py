"""`HecClient` and its streams: the package's front door.

Threads: any thread may call any method; outcomes are handed over by `poll` on the caller's. With
`threads=False` no thread is ever started and all work, HTTP included, happens inside the calls; one that
brings batches faster than Splunk replies has the reply to each taken with the next, or by `poll` or `flush`.
Guarantees: every accepted event ends in exactly one outcome; what the budget bounds is bounded whatever
Splunk does. Not for Kafka, Beam or files: those stand on `Stream.submit_lines`.

Non-obvious: the budget is released when events are settled, not when they are polled, and a `submit` that
has to wait seals all open batches first: otherwise it could wait for its own half-full batch.
"""

from __future__ import annotations

import os
import threading
import time
from random import Random
from typing import TYPE_CHECKING, Self

from splunk_hec._batching import BatchBuilder
from splunk_hec._budget import Budget
from splunk_hec._crew import LOOK_AGAIN_S, Crew
from splunk_hec._envelope import EnvelopeEncoder, index_of, raw_index_of
from splunk_hec._gzip import codec_for
from splunk_hec._health import Health, assess
from splunk_hec._probe import Probe, probe
from splunk_hec._queue import BatchQueue, Mailbox
from splunk_hec._stream import Stream
from splunk_hec._worker import Wire
from splunk_hec.config import HecConfig, TokenSource
from splunk_hec.errors import ClosedError, DeliveryFailed, Halted, InvalidEvent
from splunk_hec.observe import Observer, Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from splunk_hec._protocol import Transport
    from splunk_hec.events import Envelope, Event, Outcome

_SLICE_SHARE = 8
"""A large submission acquires the budget in slices of this share of it."""


class HecClient:
    """One token, one kind of endpoint, any number of urls; itself one default stream.

    Use it as a context manager: leaving flushes and raises `DeliveryFailed` for failures nobody polled;
    leaving by an exception aborts.
    """

    def __init__(
        self,
        config: HecConfig,
        *,
        observer: Observer | None = None,
        budget: Budget | None = None,
        configured_indexes: Collection[str] = (),
        posts_per_channel: int = 0,
        transport_factory: Callable[[], Transport] | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        """Make a client; the first submit starts its threads.

        Args:
            config: All settings.
            observer: Receives counts; see `observe.CATALOGUE`.
            budget: Shared with other clients; None makes one from the config.
            configured_indexes: Indexes written in a configuration: if Splunk refuses one of these, the
                deployment is at fault and everything is held; any other rejects its event.
            posts_per_channel: After so many POSTs a lane uses a fresh channel; 0 = only for a cause. What
                waits for acknowledgement on the old one is still asked there.
            transport_factory: Makes one transport a lane; None uses requests.
            clock: Monotonic seconds.
            random: Where jitter and channel ids come from; None: the system's entropy.

        Raises:
            ConfigError: A setting is wrong, or the token's reference leads nowhere.
        """
        self.config = config
        token = TokenSource(config.token)
        token()
        limits = config.in_flight_max_bytes, config.in_flight_max_events
        self.budget = Budget(*limits) if budget is None else budget
        codec = codec_for(config.gzip)
        self.queue = BatchQueue(
            clock=clock, new_builder=self._new_builder, linger_s=config.linger_s, codec=codec
        )
        self._encoder = EnvelopeEncoder(config)
        self._wire = Wire(config, token, codec)
        self._transport_factory = transport_factory or (lambda: _over_requests(config))
        if transport_factory is None:
            _over_requests(config).close()  # a certificate file that cannot be read fails here, not in a lane
        self._clock = clock
        self._pid = os.getpid()
        self._crew = Crew(
            config,
            self._wire,
            self._transport_factory,
            configured_indexes=frozenset({*configured_indexes, config.index} - {""}),
            posts_per_channel=posts_per_channel,
            queue=self.queue,
            budget=self.budget,
            observer=Silent() if observer is None else observer,
            clock=clock,
            random=Random() if random is None else random,  # noqa: S311 -- jitter and names, not secrets
        )
        self._is_closed = False
        self._default = Stream(self)
        _expect_bodies(config.batch_max_bytes)

    def __repr__(self) -> str:
        return f"<HecClient {' '.join(self.config.urls)} | {self.budget!r} | {self.queue!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    # -- the default stream --------------------------------------------------------------------------

    def stream(self, *, keeps_lines: bool = False, tells_delivered: bool = True) -> Stream:
        """A further, independent stream on the same lanes.

        Args:
            keeps_lines: Failed outcomes bring their envelopes along (`Outcome.lines`), so that the caller
                need not hold what can be read from them; they stay in memory until polled, beside the budget.
            tells_delivered: False: only failures become outcomes; what was delivered is only counted.
        """
        self.check_usable()
        return Stream(self, keeps_lines=keeps_lines, tells_delivered=tells_delivered)

    def submit(self, event: Event | Envelope, timeout_s: float | None = None) -> None:
        """See `Stream.submit`."""
        self._default.submit(event, timeout_s)

    def submit_many(self, events: Iterable[Event | Envelope], timeout_s: float | None = None) -> None:
        """See `Stream.submit_many`."""
        self._default.submit_many(events, timeout_s)

    def poll(self, timeout_s: float = 0) -> list[Outcome]:
        """See `Stream.poll`."""
        return self._default.poll(timeout_s)

    def flush(self, timeout_s: float) -> int:
        """See `Stream.flush`."""
        return self._default.flush(timeout_s)

    def close(self, timeout_s: float = 30) -> None:
        """Flush, stop the threads, settle what is left as gave_up; `poll` still hands out what was delivered.

        Raises:
            DeliveryFailed: With every failed outcome that nobody polled.
        """
        if self._is_closed:
            return
        self.flush(timeout_s)
        self._is_closed = True
        self._crew.stop()
        failures = self._default.take_failures()
        if failures:
            raise DeliveryFailed(failures)

    def abort(self) -> None:
        """Stop now; everything unsettled is settled as gave_up (`poll` still hands it out)."""
        if not self._is_closed and not self._is_foreign:
            self._is_closed = True
            self._crew.stop()

    def probe(self) -> Probe:
        """Ask each endpoint, without indexing anything, whether it would take our events.

        Returns:
            What the first endpoint that has a fault says, else the first's good news.
        """
        transport = self._transport_factory()
        try:
            probes = [probe(url, self._wire, transport) for url in self.config.urls]
        finally:
            transport.close()
        return next((one for one in probes if not one.token_ok), probes[0])

    def health(self) -> Health:
        """How the client stands with its endpoints; any thread, never blocks."""
        return assess(self.config.urls, self._crew.health(), self._crew.fault, self._clock())

    # -- for streams and connectors --------------------------------------------------------------------

    @property
    def has_halted(self) -> bool:
        """Whether an endpoint refuses us: a cheap look before `health`."""
        return self._crew.has_halted

    def encode(self, event: Event | Envelope) -> tuple[str, bytes]:
        """Query and line of one event.

        Raises:
            InvalidEvent: With the reason; also for an index that was refused a moment ago.
        """
        is_raw = self.config.endpoint == "raw"
        query, line = self._encoder.encode_raw(event) if is_raw else ("", self._encoder.encode(event))
        refused = self.queue.refused_indexes
        if refused:
            index = raw_index_of(query) if is_raw else index_of(line)
            if index in refused:
                raise InvalidEvent("bad_index", f"Splunk refused the index {index!r} less than 5 minutes ago")
        return query, line

    def slice_of(self, charge: int, count: int) -> int:
        """How many of `count` events that cost `charge` to acquire at once, so as not to overshoot."""
        small_bytes = self.config.in_flight_max_bytes // _SLICE_SHARE
        small_events = max(1, self.config.in_flight_max_events // _SLICE_SHARE)
        most = count if charge <= small_bytes else max(1, count * small_bytes // charge)
        return min(most, small_events) if count > small_events else most

    def acquire(self, charge: int, count: int, timeout_s: float | None) -> bool:
        """Room in the budget for events; False if there was none in time."""
        self.check_usable()
        if self.has_halted:
            self.raise_if_halted()
        if self.budget.try_acquire(charge, count):
            return True
        deadline = None if timeout_s is None else self._clock() + timeout_s
        self.queue.seal()
        while True:
            self.raise_if_halted()
            left_s = LOOK_AGAIN_S if deadline is None else min(LOOK_AGAIN_S, deadline - self._clock())
            if left_s <= 0:
                return False
            if self.config.threads:
                self.budget.wait(left_s)
            else:
                self.turn_until(lambda: self.budget.has_room(charge, count), left_s)
            self.budget.release(*self.queue.reap())
            self.check_usable()
            if self.budget.try_acquire(charge, count):
                return True

    def raise_if_halted(self) -> None:
        """Whoever waits for outcomes calls this now and then: a refused deployment settles nothing.

        Raises:
            Halted: Splunk has refused the deployment for longer than the patience.
        """
        health = self.health()
        if health.halted and health.halted_for_s >= self.config.halt_patience_s:
            reason = next(one for one in health.reasons if one.code != "internal")
            raise Halted(reason.code, reason.text)

    def check_usable(self) -> None:
        """Start the lanes if they are not; refuse what can no longer work.

        Raises:
            ClosedError: Closed, or this process was forked from the one that made the client.
        """
        if self._is_closed:
            raise ClosedError("the client is closed")
        self.check_process()
        if not self._crew.workers:
            self._crew.start()

    def check_process(self) -> None:
        """Refuse to work in a forked child: its copies of events, locks and sockets are the parent's.

        Raises:
            ClosedError: This process was forked from the one that made the client.
        """
        if self._is_foreign:
            raise ClosedError("the client was made before a fork; make one in each process")

    @property
    def _is_foreign(self) -> bool:
        return os.getpid() != self._pid

    def abort_box(self, box: Mailbox) -> None:
        """A stream ended: forget its events."""
        if not self._is_foreign:
            self.budget.release(*self.queue.abort(box))

    def turn_while_busy(self, *, leaves_reply: bool = False) -> None:
        """Without threads: do what can be done now. `leaves_reply`: see `Worker.turn`."""
        if not self.config.threads:
            self._crew.work(leaves_reply=leaves_reply)

    def turn_until(self, is_done: Callable[[], bool], timeout_s: float) -> None:
        """Without threads: work until `is_done`, or the time is up."""
        if self.config.threads or timeout_s <= 0:
            return
        deadline = self._clock() + timeout_s
        patience = time.monotonic() + timeout_s  # an injected clock may stand still
        while not (is_done() or self._is_closed) and time.monotonic() < patience:
            wake = self._crew.turn(deadline)
            now = self._clock()
            if now >= deadline:
                return
            if not is_done():
                linger = self.queue.next_linger()
                until = min(deadline, wake, linger if linger is not None else deadline)
                threading.Event().wait(max(0.0, until - now))

    def _new_builder(self, box: Mailbox, query: str) -> BatchBuilder:
        return BatchBuilder(
            box,
            max_bytes=self.config.batch_max_bytes,
            max_events=self.config.batch_max_events,
            query=query,
            raw=self.config.endpoint == "raw",
        )


def _over_requests(config: HecConfig) -> Transport:
    # Imported when the first lane starts: requests takes longer to import than all the rest together.
    from splunk_hec._transport import RequestsTransport  # noqa: PLC0415

    return RequestsTransport(config)


def _expect_bodies(size_bytes: int) -> None:
    """Let the C library keep the memory of a batch for the next one.

    glibc gives what is freed back to the system as soon as it is twice as much as the largest block that was
    mapped and freed before; then each batch pages its memory in anew, which took as long as encoding it. This
    block is mapped, never touched, and freed. (mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD.)
    """
    bytes(min(4 * size_bytes, 16 * 1024 * 1024))
