"""One bundle on its way to Splunk: submit while it is processed, complete it at its end, or abort it.

Not for emitting: what comes back are values for the DoFn. Owned by one DoFn instance, so by one thread at a
time. Guarantees: `finish` returns only when every event of the bundle has its outcome, and each is in exactly
one of receipts and dead letters; whatever else happens raises, and then the bundle has delivered nothing.

    open ─submit*→ open ─finish→ complete
      └────────────┴─── abort, or an exception → aborted: its stream is dropped, other bundles go on

Non-obvious: memory does not grow with the bundle. The client's budget bounds what is accepted and unsettled,
and outcomes are taken while elements still come.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from splunk_hec.errors import DeliveryFailed
from splunk_hec.events import Outcome, OutcomeKind
from splunk_hec_beam.errors import BundleNotDelivered
from splunk_hec_beam.rows import Receipt, dead_letter, receipt_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from apache_beam.utils.windowed_value import WindowedValue

    from splunk_hec_beam.clients import Lease
    from splunk_hec_beam.elements import ElementEncoder, Refusal
    from splunk_hec_beam.metrics import BundleMetrics

LOOK_S = 0.5
"""How long to wait before looking whether Splunk refuses the deployment."""
_OURS = ("closed", "internal", "aborted")
"""Reasons that say nothing about the event: the bundle must be tried again."""


class Ended(NamedTuple):
    """What may be emitted: receipts and dead letters, each with the element whose window and time it takes.

    A receipt takes those of the newest element of its batch.
    """

    receipts: list[tuple[Receipt, WindowedValue]]
    dead_letters: list[tuple[Any, WindowedValue]]


class Bundle:
    """One bundle's stream and its deadline."""

    def __init__(
        self,
        lease: Lease,
        encoder: ElementEncoder,
        metrics: BundleMetrics,
        *,
        deadline_s: float,
        fails_on_reject: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open a stream.

        Args:
            lease: The process's client.
            encoder: Makes lines of elements.
            metrics: Counts, in this thread.
            deadline_s: Longest wait for room in the budget, and for the end of all at the end.
            fails_on_reject: An event that Splunk does not take fails the bundle.
            clock: Monotonic seconds.
        """
        self._client = lease.client
        self._tally = lease.tally
        self._stream = lease.client.stream(keeps_lines=True)
        self._encoder = encoder
        self._metrics = metrics
        self._deadline_s = deadline_s
        self._fails_on_reject = fails_on_reject
        self._clock = clock
        self._ended = Ended([], [])
        self._url = ""

    def submit(self, sources: list[WindowedValue]) -> None:
        """Encode elements and hand them to the client; waits for room in its budget.

        Raises:
            BundleNotDelivered: There was no room for `deadline_s`.
            Halted: Splunk refuses the deployment.
            DeliveryFailed: An event was refused and that fails the bundle.
        """
        encoded = self._encoder.encode(sources)
        self._metrics.skipped(encoded.skipped)
        if encoded.refusals:
            self._refuse(encoded.refusals)
        lines, manifest, held_bytes = encoded.lines, encoded.manifest, encoded.held_bytes
        since = self._clock()
        while lines:
            accepted = self._stream.submit_lines(lines, manifest, held_bytes=held_bytes, timeout_s=LOOK_S)
            if accepted:
                since = self._clock()
                held_bytes -= held_bytes * accepted // len(lines)
                lines, manifest = lines[accepted:], manifest[accepted:]
            else:
                self._waited(LOOK_S)
                self._raise_if_late(since + self._deadline_s)
            self._take_outcomes()

    def finish(self) -> None:
        """Wait until all of it is settled.

        Raises:
            BundleNotDelivered: Not within `deadline_s`, or a fault of our own settled a part of it.
            Halted: Splunk refuses the deployment.
            DeliveryFailed: An event was refused and that fails the bundle.
        """
        deadline = self._clock() + self._deadline_s
        while self._stream.flush(max(0.0, min(LOOK_S, deadline - self._clock()))):
            self._client.raise_if_halted()
            self._waited(LOOK_S)
            self._raise_if_late(deadline)
            self._take_outcomes()
        self._take_outcomes()
        self._stream.abort()  # nothing is left in it
        if self._url:
            self._metrics.reached(self._url)
        self._metrics.resends(self._tally.take_resends())

    def abort(self) -> None:
        """Drop what is unsent, ignore what is pending."""
        self._stream.abort()

    def take(self) -> Ended:
        """What ended since the last call."""
        ended, self._ended = self._ended, Ended([], [])
        return ended

    def _take_outcomes(self) -> None:
        for outcome in self._stream.poll():
            if outcome.reason in _OURS:
                raise BundleNotDelivered(
                    f"{outcome.count} events were given up: {outcome.reason} {outcome.text}"
                )
            self._metrics.outcome(outcome)
            if outcome.kind is OutcomeKind.DELIVERED:
                self._url = outcome.url
                self._ended.receipts.append((receipt_of(outcome), outcome.refs.newest()))
            else:
                self._bury(outcome)

    def _bury(self, outcome: Outcome) -> None:
        if self._fails_on_reject:
            raise DeliveryFailed([outcome])
        for source, line in outcome.refs.each(outcome.lines):
            row = dead_letter(
                source.value,
                event_bytes=line,
                reason=outcome.reason,
                text=outcome.text,
                http_status=outcome.http_status,
                code=outcome.code,
                attempts=outcome.attempts,
            )
            self._ended.dead_letters.append((row, source))

    def _refuse(self, refusals: list[Refusal]) -> None:
        self._metrics.refused(len(refusals))
        if self._fails_on_reject:
            first = refusals[0]
            raise DeliveryFailed(
                [
                    Outcome(
                        kind=OutcomeKind.REJECTED,
                        refs=[one.source for one in refusals],
                        count=len(refusals),
                        reason=first.reason,
                        text=first.text,
                    )
                ]
            )
        for source, reason, text in refusals:
            row = dead_letter(source.value, event_bytes=b"", reason=reason, text=text)
            self._ended.dead_letters.append((row, source))

    def _waited(self, seconds: float) -> None:
        if not self._client.health().ready:
            self._metrics.throttled(seconds)

    def _raise_if_late(self, deadline: float) -> None:
        if self._clock() < deadline:
            return
        reasons = "; ".join(reason.text for reason in self._client.health().reasons)
        raise BundleNotDelivered(
            f"{self._stream.unsettled} events of this bundle are not settled within bundle_deadline_s = "
            f"{self._deadline_s:g} s ({reasons or 'acknowledgements are slow'}); the runner still has them"
        )
