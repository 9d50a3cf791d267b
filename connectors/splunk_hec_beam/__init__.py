"""Apache Beam to Splunk's HTTP Event Collector, acknowledged before a bundle is committed.

from splunk_hec_beam import WriteToSplunkHEC

result = lines | WriteToSplunkHEC(url="https://splunk.example:8088", token="env:SPLUNK_HEC_TOKEN",
                                  sourcetype="app", on_reject="dead_letter")
result.receipts, result.dead_letters
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from splunk_hec_beam.errors import BundleNotDelivered
    from splunk_hec_beam.kafka_read import ReadKafkaUntilDelivered
    from splunk_hec_beam.kafka_record import KafkaRecord
    from splunk_hec_beam.options import SplunkHecOptions
    from splunk_hec_beam.rows import Receipt
    from splunk_hec_beam.write import Delivery, WriteToSplunkHEC

_HOME_OF = {
    "BundleNotDelivered": "errors",
    "Delivery": "write",
    "KafkaRecord": "kafka_record",
    "ReadKafkaUntilDelivered": "kafka_read",
    "Receipt": "rows",
    "SplunkHecOptions": "options",
    "WriteToSplunkHEC": "write",
}
# Looked up on first use: the Kafka client is loaded by those who read from Kafka.

__all__ = [
    "BundleNotDelivered",
    "Delivery",
    "KafkaRecord",
    "ReadKafkaUntilDelivered",
    "Receipt",
    "SplunkHecOptions",
    "WriteToSplunkHEC",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
