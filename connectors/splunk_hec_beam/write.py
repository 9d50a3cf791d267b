"""`WriteToSplunkHEC`: the transform. Checks its arguments once, at construction, and wires.

Not for delivering (`deliver`, `bundle`). Guarantees: what construction accepts can be pickled without the
token in it; rejected events cannot vanish unless the caller chose so by `on_reject`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, Self

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from splunk_hec.config import HecConfig, is_reference
from splunk_hec.errors import ConfigError
from splunk_hec_beam.batching import Batching, GatherByKey, is_stateful
from splunk_hec_beam.deliver import DEAD_LETTERS, RECEIPTS, DeliverFn
from splunk_hec_beam.kafka_path import has_kafka_upstream, refuse_shuffle_after_kafka
from splunk_hec_beam.rows import Receipt, dead_letter_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from apache_beam.transforms.error_handling import ErrorHandler

log = logging.getLogger("splunk_hec_beam")

IN_FLIGHT_MAX_BYTES = 67_108_864
_FLINKS = ("FlinkRunner", "PortableRunner")
HALT_PATIENCE_S = 30.0
"""Shorter than the client's: a failed bundle is retried by the runner, which also shows the error."""
GATHER_MOST = 5_000


class Delivery(dict[str, beam.PCollection[Any]]):
    """What `WriteToSplunkHEC` puts out, by name; in Python also by attribute."""

    @property
    def receipts(self) -> beam.PCollection[Receipt]:
        """A row for each acknowledged batch."""
        return self[RECEIPTS]

    @property
    def dead_letters(self) -> beam.PCollection[Any]:
        """A row for each event that Splunk did not take; empty with `on_reject="fail"`."""
        return self[next(name for name in self if name != RECEIPTS)]


class WriteToSplunkHEC(beam.PTransform):
    """Delivers each element to Splunk's HTTP Event Collector before its bundle is committed.

    A bundle ends when every event in it is acknowledged by the indexer (with `ack="off"`: accepted) or is a
    dead letter. If that cannot be had within `bundle_deadline_s`, or Splunk refuses the deployment, it raises
    and the runner tries the bundle again: delivery is at least once.
    """

    def __init__(
        self,
        url: str | list[str] | tuple[str, ...],
        token: str,
        *,
        on_reject: Literal["dead_letter", "fail"] | None = None,
        index: str = "",
        source: str = "",
        sourcetype: str = "",
        host: str = "",
        fields: Mapping[str, Any] | None = None,
        time: Literal["timestamp", "none"] = "timestamp",
        to_event: Callable[[Any], Any] | None = None,
        event_id_field: str | None = None,
        batching: Batching = "bundle",
        bundle_deadline_s: float = 240,
        error_handling: Mapping[str, Any] | None = None,
        **hec: Any,
    ) -> None:
        """Check all settings; nothing is contacted.

        Args:
            url: `https://host:8088`, or several of them.
            token: `env:NAME`, `file:PATH`, or `gcp-secret:projects/P/secrets/S`, read on the worker. A
                literal is refused: it would be readable in the job graph.
            on_reject: What becomes of an event that Splunk will never take: `dead_letter` puts it out as a
                row of `dead_letters`, which somebody must consume; `fail` fails the bundle. There is no
                default (but `error_handling` and `with_error_handler` mean `dead_letter`).
            index: Metadata of events that name none.
            source: Likewise.
            sourcetype: Likewise.
            host: Likewise.
            fields: Indexed fields, flat; an event's own win.
            time: `timestamp`: an event without a time of its own gets its element's timestamp (those before
                1970 count as none); `none`: Splunk's time of receipt.
            to_event: Makes of an element what is sent: an Event, Envelope, text, bytes or mapping; None skips
                it. Without it elements are text, bytes, a mapping or row (indexed as JSON), a KafkaRecord or
                an Event.
            event_id_field: Add this indexed field with a hash of the whole envelope, the same in every retry
                of a bundle, so that a search can tell duplicates. An event that has such a field keeps it.
            batching: `bundle`; `stateful`, which gathers elements first, for runners with tiny bundles;
                `auto`.
            bundle_deadline_s: Longest wait for acknowledgements at the end of a bundle.
            error_handling: As Beam YAML gives it: `{"output": NAME}` renames `dead_letters`.
            **hec: Any other setting of `HecConfig` but `endpoint` and `threads`.

        Raises:
            ConfigError: A setting is missing, unknown or of the wrong form; the text says how to mend it.
        """
        super().__init__()
        self._dead_letters = _dead_letters_name(error_handling)
        self._on_reject = _on_reject(on_reject, has_handler=error_handling is not None)
        self._handler: ErrorHandler | None = None
        if not is_reference(token):
            raise ConfigError(
                "token must be a reference, env:NAME, file:PATH or gcp-secret:projects/P/secrets/S: "
                "the token itself would be readable in the job graph"
            )
        for name, value, allowed in (
            ("time", time, ("timestamp", "none")),
            ("batching", batching, ("bundle", "stateful", "auto")),
        ):
            if value not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
        if not bundle_deadline_s > 0:
            raise ConfigError(f"bundle_deadline_s must be greater than 0, not {bundle_deadline_s}")
        self._time = time
        self._to_event = to_event
        self._event_id_field = event_id_field
        self._batching: Batching = batching
        self._bundle_deadline_s = bundle_deadline_s
        metadata = {"index": index, "source": source, "sourcetype": sourcetype, "host": host}
        self._config = _config({"url": url, "token": token, "fields": dict(fields or {}), **metadata, **hec})

    def with_error_handler(self, error_handler: ErrorHandler | None) -> Self:
        """Hand dead letters to a Beam error handler; None takes the handler away."""
        if error_handler is not None and self._on_reject == "fail":
            raise ConfigError(
                'with_error_handler goes with on_reject="dead_letter": "fail" leaves no dead letters'
            )
        self._handler = error_handler
        if error_handler is not None:
            self._on_reject = "dead_letter"
        return self

    def expand(self, input_or_inputs: beam.PCollection[Any]) -> Delivery:
        """Wire; returns the outputs by name."""
        pcoll: Any = input_or_inputs
        if self._on_reject is None:
            raise ConfigError(
                'on_reject is required: "dead_letter" puts refused events out as rows of dead_letters, which '
                'somebody must consume; "fail" fails their bundle'
            )
        element_type = pcoll.element_type
        follows_kafka = has_kafka_upstream(pcoll)
        _warn_of_flink(pcoll.pipeline.options)
        if is_stateful(self._batching, pcoll, follows_kafka=follows_kafka):
            wait_s = self._config.linger_s
            pcoll = pcoll | GatherByKey(most=min(GATHER_MOST, self._config.batch_max_events), wait_s=wait_s)
        if follows_kafka:
            refuse_shuffle_after_kafka(pcoll)
        deliver = DeliverFn(
            self._config,
            to_event=self._to_event,
            takes_timestamps=self._time == "timestamp",
            event_id_field=self._event_id_field,
            bundle_deadline_s=self._bundle_deadline_s,
            fails_on_reject=self._on_reject == "fail",
        )
        outputs: Any = pcoll | "Deliver" >> beam.ParDo(deliver).with_output_types(
            Receipt, **{DEAD_LETTERS: dead_letter_type(element_type)}
        ).with_outputs(DEAD_LETTERS, main=RECEIPTS)
        if self._handler is not None:
            self._handler.add_error_pcollection(outputs[DEAD_LETTERS])
        return Delivery({RECEIPTS: outputs[RECEIPTS], self._dead_letters: outputs[DEAD_LETTERS]})

    def display_data(self) -> dict[str, Any]:
        """Settings for the runner's page: the token as its reference."""
        config = self._config.public()
        return {name: value for name, value in config.items() if isinstance(value, str | int | float)} | {
            "url": ", ".join(self._config.urls),
            "on_reject": self._on_reject or "",
            "batching": self._batching,
            "time": self._time,
            "bundle_deadline_s": self._bundle_deadline_s,
        }


def _config(values: dict[str, Any]) -> HecConfig:
    for name in ("endpoint", "threads"):
        if name in values:
            raise ConfigError(f"{name} cannot be set here: the transform decides it")
    if isinstance(values["url"], list):
        values["url"] = tuple(values["url"])
    own: dict[str, Any] = {"in_flight_max_bytes": IN_FLIGHT_MAX_BYTES, "halt_patience_s": HALT_PATIENCE_S}
    try:
        return HecConfig(**(own | values))
    except TypeError as error:  # an unknown keyword: msgspec names it
        raise ConfigError(f"WriteToSplunkHEC: {error}") from None


def _on_reject(on_reject: str | None, *, has_handler: bool) -> str | None:
    if on_reject not in (None, "dead_letter", "fail"):
        raise ConfigError(f'on_reject must be "dead_letter" or "fail", not {on_reject!r}')
    if not has_handler:
        return on_reject
    if on_reject == "fail":
        raise ConfigError('error_handling goes with on_reject="dead_letter": "fail" leaves no dead letters')
    return "dead_letter"


def _dead_letters_name(error_handling: Mapping[str, Any] | None) -> str:
    if error_handling is None:
        return DEAD_LETTERS
    name = error_handling.get("output")
    if not isinstance(name, str) or not name or name == RECEIPTS:
        raise ConfigError('error_handling needs the name of an output: {"output": "dead_letters"}')
    return name


def _warn_of_flink(options: PipelineOptions) -> None:
    """Without checkpoints Flink finalizes no bundle: nothing that a source read is ever committed.

    And a checkpoint in the middle of the first bundle was seen to stall a job for ever, without a word.
    """
    standard = options.view_as(StandardOptions)
    if not standard.streaming or (standard.runner or "").rpartition(".")[2] not in _FLINKS:
        return
    # Only Flink's job server knows these options, so they are among the unknown ones here.
    given = options.get_all_options(retain_unknown_options=True)
    interval = given.get("checkpointing_interval")
    if not interval or int(interval) <= 0:
        log.warning(
            "streaming on Flink without --checkpointing_interval: failed bundles are not retried and sources "
            "never commit; set it to some seconds, well above the time a bundle takes"
        )
    elif not given.get("finish_bundle_before_checkpointing"):
        log.warning(
            "streaming on Flink without --finish_bundle_before_checkpointing: a job whose first checkpoint "
            "comes before the end of its first bundle can stand still without an error; add that flag"
        )
