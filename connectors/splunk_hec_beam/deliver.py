"""The DoFn of `WriteToSplunkHEC`: collects a bundle's elements, and emits how they ended.

Wiring only: what becomes of a bundle is `bundle`, of an element `elements`. One bundle at a time an instance;
a runner may use several instances in threads of one process. Guarantees: an empty bundle sends nothing; a
bundle is complete when `finish_bundle` returns, and the runner takes nothing of it when that raises.

Non-obvious: an element is kept as the `WindowedValue` it came in, asked for as one parameter: its timestamp
and windows are then looked at only where they matter, which costs a third of asking for both, and an element
in several windows is sent once. Outputs are tagged outside and windowed inside
(`TaggedOutput(tag, WindowedValue(…))`): the other way round they go to the main output without a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.windowed_value import WindowedValue

from splunk_hec_beam import clients
from splunk_hec_beam.bundle import Bundle
from splunk_hec_beam.elements import ElementEncoder
from splunk_hec_beam.metrics import BundleMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from splunk_hec.config import HecConfig

DEAD_LETTERS = "dead_letters"
RECEIPTS = "receipts"
CHUNK = 500
"""Elements that are encoded together; more gains nothing."""
CHUNK_BYTES = 1_000_000
_UNSIZED_BYTES = 4_096
"""What an element that is no text counts until it is encoded."""
_NOTHING: tuple[Any, ...] = ()


class DeliverFn(beam.DoFn):
    """One instance serves one bundle at a time."""

    def __init__(
        self,
        config: HecConfig,
        *,
        to_event: Callable[[Any], Any] | None,
        takes_timestamps: bool,
        event_id_field: str | None,
        bundle_deadline_s: float,
        fails_on_reject: bool,
    ) -> None:
        """See `WriteToSplunkHEC`; everything here is pickled with the graph, so the token is a reference."""
        self._config = config
        self._to_event = to_event
        self._takes_timestamps = takes_timestamps
        self._event_id_field = event_id_field
        self._bundle_deadline_s = bundle_deadline_s
        self._fails_on_reject = fails_on_reject

    def setup(self) -> None:
        """Join the process's client."""
        self._bundle: Bundle | None = None
        self._waiting: list[WindowedValue] = []
        self._waiting_bytes = 0
        self._lease = clients.lease(self._config)
        self._metrics = BundleMetrics(self._config.index)
        self._encoder = ElementEncoder(
            self._lease.client,
            to_event=self._to_event,
            takes_timestamps=self._takes_timestamps,
            event_id_field=self._event_id_field,
        )

    def start_bundle(self) -> None:
        """Forget a bundle that failed half-way: the runner brings it again."""
        self._drop()

    def process(
        self, element: Any, windowed: Any = beam.DoFn.WindowedValueParam
    ) -> Iterable[WindowedValue | TaggedOutput]:
        """Take one element; now and then emit what has ended meanwhile."""
        self._waiting.append(windowed)
        kind = type(element)
        self._waiting_bytes += len(element) if kind is str or kind is bytes else _UNSIZED_BYTES
        if len(self._waiting) < CHUNK and self._waiting_bytes < CHUNK_BYTES:
            return _NOTHING
        return self._outputs(self._submit())

    def finish_bundle(self) -> Any:
        """Complete the bundle."""
        if self._waiting:
            self._submit()
        bundle, self._bundle = self._bundle, None
        if bundle is None:
            return _NOTHING
        try:
            bundle.finish()
        except BaseException:
            bundle.abort()
            raise
        return self._outputs(bundle)

    def teardown(self) -> None:
        """Leave the client; not every runner says so after a failed bundle, so nothing depends on it."""
        self._drop()
        self._lease.release()

    def _submit(self) -> Bundle:
        if self._bundle is None:
            self._bundle = Bundle(
                self._lease,
                self._encoder,
                self._metrics,
                deadline_s=self._bundle_deadline_s,
                fails_on_reject=self._fails_on_reject,
            )
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        self._bundle.submit(waiting)
        return self._bundle

    def _drop(self) -> None:
        if self._bundle is not None:
            self._bundle.abort()
        self._bundle, self._waiting, self._waiting_bytes = None, [], 0

    def _outputs(self, bundle: Bundle) -> list[WindowedValue | TaggedOutput]:
        receipts, dead = bundle.take()
        outputs: list[WindowedValue | TaggedOutput] = [_in_place_of(at, row) for row, at in receipts]
        outputs += [TaggedOutput(DEAD_LETTERS, _in_place_of(at, row)) for row, at in dead]
        return outputs


def _in_place_of(source: WindowedValue, value: Any) -> WindowedValue:
    """A value in the window, and with the timestamp, of an element."""
    return WindowedValue(value, source.timestamp, source.windows)
