"""`ReadKafkaUntilDelivered`: records from Kafka, offsets committed with the bundle that delivered them.

Not for the reading itself (`kafka_source`). Guarantees: construction contacts nobody, and what it accepts
can be pickled without a secret in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import apache_beam as beam
from apache_beam.io.unbounded_source import ReadFromUnboundedSource

from splunk_hec.errors import ConfigError
from splunk_hec_beam.kafka_group import KafkaGroup
from splunk_hec_beam.kafka_plan import Plan, Start
from splunk_hec_beam.kafka_record import KafkaRecord
from splunk_hec_beam.kafka_source import KafkaSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class ReadKafkaUntilDelivered(beam.PTransform):
    """Reads topics; offsets are committed once their bundle is, and with it everything fused to the read.

    So delivery must be in the same bundle: a shuffle in between (GroupByKey, Reshuffle, state) or a Flatten
    of several collections ends the bundle before, and `WriteToSplunkHEC` refuses to be put behind one unless
    `allow_shuffle`. Delivery is at least once. The group must be this job's alone; nobody joins it. On
    Flink, offsets are committed only with `--checkpointing_interval`. Partitions that are added later are
    read when the job starts anew.

    Attributes:
        allow_shuffle: The user accepts that offsets are committed before delivery.
    """

    def __init__(
        self,
        bootstrap_servers: str | Iterable[str],
        topics: str | Iterable[str],
        group_id: str,
        *,
        start: Start = "earliest",
        properties: Mapping[str, object] | None = None,
        max_records_per_bundle: int = 10_000,
        max_read_time_s: float = 10.0,
        poll_interval_s: float = 1.0,
        until_end: bool = False,
        allow_shuffle: bool = False,
    ) -> None:
        """Check all settings; nothing is contacted.

        Args:
            bootstrap_servers: `host:port`, or several.
            topics: A name, or several.
            group_id: The group under which offsets are committed.
            start: Where a partition begins for which the group has no commit: `earliest`; `latest`, the end
                as it is when the read begins; `fail`.
            properties: librdkafka properties. Passwords and keys as `env:NAME` or `file:PATH`, read on the
                worker. Those that would break the promise are refused.
            max_records_per_bundle: Records after which a reader ends its bundle.
            max_read_time_s: Seconds after which it does.
            poll_interval_s: How long a partition without new records rests.
            until_end: Read up to the offsets that are the last when the read begins, then finish.
            allow_shuffle: Let a shuffle stand between the read and the delivery, which breaks the promise.

        Raises:
            ConfigError: A setting is missing or wrong; the text says how to mend it.
        """
        super().__init__()
        if start not in get_args(Start):
            raise ConfigError(f"start must be one of {', '.join(get_args(Start))}, not {start!r}")
        for name, value, is_fine in (
            ("max_records_per_bundle", max_records_per_bundle, max_records_per_bundle >= 1),
            ("max_read_time_s", max_read_time_s, max_read_time_s > 0),
            ("poll_interval_s", poll_interval_s, poll_interval_s >= 0),
        ):
            if not is_fine:
                raise ConfigError(f"{name} cannot be {value}")
        group = KafkaGroup.of(bootstrap_servers, group_id, properties)
        self.allow_shuffle = allow_shuffle
        self._plan = Plan(group, _names(topics), start, until_end)
        self._max_records_per_bundle = max_records_per_bundle
        self._max_read_time_s = max_read_time_s
        self._poll_interval_s = poll_interval_s

    def expand(self, input_or_inputs: Any) -> beam.PCollection[KafkaRecord]:
        """Wire."""
        read = ReadFromUnboundedSource(
            KafkaSource(self._plan),
            poll_interval=self._poll_interval_s,
            max_records_per_bundle=self._max_records_per_bundle,
            max_read_time_seconds=self._max_read_time_s,
        )
        records: beam.PCollection[KafkaRecord] = input_or_inputs | "Read" >> read
        records.element_type = KafkaRecord
        return records

    def display_data(self) -> dict[str, Any]:
        """Settings for the runner's page; secrets are not among them."""
        return {
            "bootstrap_servers": self._plan.group.bootstrap_servers,
            "topics": ", ".join(self._plan.topics),
            "group_id": self._plan.group.group_id,
            "start": self._plan.start,
            "until_end": self._plan.until_end,
            "allow_shuffle": self.allow_shuffle,
        }


def _names(topics: str | Iterable[str]) -> tuple[str, ...]:
    names = (topics,) if isinstance(topics, str) else tuple(dict.fromkeys(topics))
    if not names or not all(names):
        raise ConfigError("topics is empty; give a name, or several")
    for name in names:
        if name.startswith("^"):
            raise ConfigError(f"topics takes names, not expressions such as {name!r}")
    return names
