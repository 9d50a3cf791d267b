"""A stream: one caller's events and outcomes on a client whose lanes are shared.

Threads: any thread may call; outcomes are handed over by `poll` on the caller's. Not for lanes or health:
those are the client's. Non-obvious: a large submission acquires the budget in slices, because one piece
larger than the budget is let in when nothing else is held.
"""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any

from splunk_hec._batching import REF_BYTES
from splunk_hec._block import Block
from splunk_hec._queue import Mailbox
from splunk_hec.errors import BudgetExceeded, ClosedError, DeliveryFailed, Halted, InvalidEvent
from splunk_hec.events import Envelope, Event, Manifest, Outcome, OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from splunk_hec.client import HecClient


class Stream:
    """One caller's events and outcomes on a shared client. Made by `HecClient.stream()`.

    A stream that is garbage-collected aborts itself: its budget must not be lost with it.
    """

    def __init__(self, client: HecClient, *, keeps_lines: bool = False, tells_delivered: bool = True) -> None:
        self._client = client
        self._box = Mailbox(keeps_lines=keeps_lines, tells_delivered=tells_delivered)
        self._is_closed = False
        self._finalizer = weakref.finalize(self, client.queue.orphan, self._box)
        self._finalizer.atexit = False  # an exit handler may still flush; what runs at exit is no collection

    def __repr__(self) -> str:
        return f"<Stream unsettled {self._box.unsettled} | outcomes {len(self._box.outcomes)}>"

    def submit(self, event: Event | Envelope, timeout_s: float | None = None) -> None:
        """Accept one event for delivery.

        Args:
            event: What to index.
            timeout_s: How long to wait for room in the budget; None = as long as it takes, 0 = not at all.

        Raises:
            InvalidEvent: It can never be indexed as it is; nothing was accepted.
            BudgetExceeded: There was no room in time; nothing was accepted.
            Halted: Splunk has refused the deployment for longer than the patience.
            ClosedError: The stream or client is closed.
        """
        query, line = self._client.encode(event)
        if not self.submit_lines([line], [event.ref], held_bytes=REF_BYTES, query=query, timeout_s=timeout_s):
            raise BudgetExceeded(
                "the in-flight budget stayed full; poll less rarely, or raise in_flight_max_*"
            )

    def submit_many(self, events: Iterable[Event | Envelope], timeout_s: float | None = None) -> None:
        """Accept many events; cheaper than one by one.

        Raises:
            InvalidEvent: One can never be indexed (`position` says which); none was accepted.
            BudgetExceeded: There was room for the first `accepted` only.
            Halted: As for `submit`.
            ClosedError: As for `submit`.
        """
        runs: list[tuple[str, list[bytes], list[Any]]] = []  # not by query: `accepted` counts from the first
        for position, event in enumerate(events):
            try:
                query, line = self._client.encode(event)
            except InvalidEvent as error:
                raise InvalidEvent(error.reason, error.text, position) from None
            if not runs or runs[-1][0] != query:
                runs.append((query, [], []))
            runs[-1][1].append(line)
            runs[-1][2].append(event.ref)
        taken, total = 0, sum(len(lines) for _, lines, _ in runs)
        for query, lines, refs in runs:
            try:
                held = REF_BYTES * len(lines)
                accepted = self.submit_lines(lines, refs, held_bytes=held, query=query, timeout_s=timeout_s)
            except Halted:
                if not taken:
                    raise
                accepted = 0
            taken += accepted
            if accepted < len(lines):
                raise BudgetExceeded(f"there was room for {taken} of {total} events", taken)

    def submit_lines(
        self,
        lines: Sequence[bytes],
        manifest: Manifest,
        *,
        held_bytes: int = 0,
        query: str = "",
        timeout_s: float | None = None,
    ) -> int:
        """Accept encoded envelopes: the bulk form for connectors.

        Args:
            lines: Envelopes, one line each, without line end, as `EnvelopeEncoder` makes them. A `Block` of
                them is not taken apart.
            manifest: As long as `lines`; comes back, whole or in slices, in `Outcome.refs`.
            held_bytes: What the caller keeps in memory for these events until they are settled, the manifest
                included.
            query: URL query of the raw endpoint; empty for the event endpoint.
            timeout_s: As for `submit`.

        Returns:
            How many were accepted, from the first on.

        Raises:
            Halted: As for `submit`.
            ClosedError: As for `submit`.
        """
        client, total = self._client, len(lines)
        if self._is_closed:
            raise ClosedError("the stream is closed")
        block = Block.of(lines)
        charge = block.size_bytes + held_bytes
        step = client.slice_of(charge, total)
        if step >= total:
            if not client.acquire(charge, total, timeout_s):
                return 0
            self._add(block, manifest, held_bytes, query)
            return total
        taken = 0
        while taken < total:
            end = min(total, taken + step)
            part, held = block[taken:end], held_bytes * end // total - held_bytes * taken // total
            try:
                has_room = client.acquire(part.size_bytes + held, len(part), timeout_s)
            except Halted:
                if not taken:
                    raise
                has_room = False  # what was taken must be told; the next call will raise
            if not has_room:
                break
            self._add(part, manifest[taken:end], held, query)
            taken = end
        return taken

    def poll(self, timeout_s: float = 0) -> list[Outcome]:
        """Take the outcomes since the last call.

        Args:
            timeout_s: How long to wait for the first; 0 never blocks (but with `threads=False` does what
                is due).
        """
        self._client.check_process()
        self._client.turn_while_busy()
        if timeout_s > 0:
            self._client.turn_until(lambda: bool(self._box.outcomes), timeout_s)
        return self._client.queue.poll(self._box, timeout_s if self._client.config.threads else 0)

    def flush(self, timeout_s: float) -> int:
        """Send what is open and wait until all submitted so far is settled.

        Args:
            timeout_s: How long to wait; 0 only has it sent.

        Returns:
            How many events are still unsettled when the time is up; 0 is success. Outcomes wait in `poll`.
        """
        self._client.check_process()
        deadline = time.monotonic() + timeout_s
        self._client.queue.seal(self._box)
        if timeout_s <= 0:
            self._client.turn_while_busy(leaves_reply=True)
        self._client.turn_until(lambda: not self._box.unsettled, timeout_s)
        return self._client.queue.wait_settled(self._box, deadline - time.monotonic())

    def close(self, timeout_s: float = 30) -> None:
        """Flush, then take no more.

        Raises:
            DeliveryFailed: Events failed, or are unsettled when the time is up, and were not polled.
        """
        if self._is_closed:
            return
        unsettled = self.flush(timeout_s)
        self._is_closed = True
        failures = self.take_failures()
        self._end()
        if unsettled:
            failures.append(Outcome(kind=OutcomeKind.GAVE_UP, refs=[], count=unsettled, reason="closed"))
        if failures:
            raise DeliveryFailed(failures)

    def take_failures(self) -> list[Outcome]:
        """The failed outcomes that nobody polled; delivered ones stay for `poll`."""
        return self._client.queue.take_failures(self._box)

    def abort(self) -> None:
        """Drop what is unsent, ignore what is pending, give its budget back. No outcomes follow."""
        self._is_closed = True
        self._end()

    @property
    def unsettled(self) -> int:
        """Events accepted and not settled."""
        return self._box.unsettled

    def _end(self) -> None:
        self._finalizer.detach()
        self._client.abort_box(self._box)

    def _add(self, block: Block, manifest: Manifest, held: int, query: str) -> None:
        if not self._client.queue.add(self._box, block, manifest, held, query):
            self._client.budget.release(block.size_bytes + held, len(block))
            raise ClosedError("the stream or its client was ended meanwhile")
        self._client.turn_while_busy(leaves_reply=True)
