r"""Send Kafka records to Splunk; an offset is committed once its record is indexed, or is a dead letter.

kafka_to_splunk.py --kafka_bootstrap_servers=broker:9092 --kafka_topics=app-logs \
    --kafka_group_id=splunk-app-logs --hec_url=https://splunk.example:8088 \
    --hec_token=env:SPLUNK_HEC_TOKEN --dead_letters=/var/spool/dead/app

No Java is needed. On Flink give --checkpointing_interval: without checkpoints nothing is ever committed.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec
from apache_beam.options.pipeline_options import PipelineOptions

from splunk_hec.errors import ConfigError
from splunk_hec_beam import ReadKafkaUntilDelivered
from splunk_hec_beam.command_line import run
from splunk_hec_beam.options import SplunkHecOptions, truth

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    import apache_beam as beam

    from splunk_hec_beam import Delivery


class KafkaOptions(PipelineOptions):
    """What to read."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument_group("Kafka").add_argument
        add("--kafka_bootstrap_servers", default="", metavar="HOST:PORT", help="brokers, separated by commas")
        add("--kafka_topics", default="", metavar="NAMES", help="topics, separated by commas")
        add("--kafka_group_id", default="", metavar="NAME", help="consumer group whose offsets are committed")
        add(
            "--kafka_start",
            default="earliest",
            metavar="WHERE",
            help="where to start without a committed offset: earliest, latest or fail. Default: earliest",
        )
        add(
            "--until_end",
            type=truth,
            nargs="?",
            const=True,
            default=False,
            metavar="BOOL",
            help="read what is there now, and end. Default: false",
        )
        add(
            "--kafka_properties",
            default="",
            metavar="JSON",
            help='properties of librdkafka, e.g. {"security.protocol": "SSL"}',
        )

    def required(self, name: str, example: str) -> str:
        """The value of a flag.

        Args:
            name: The flag.
            example: For who did not give it.

        Raises:
            ConfigError: It is not given.
        """
        value = str(getattr(self, name))
        if not value:
            raise ConfigError(f"--{name} is required, e.g. --{name}={example}")
        return value

    @property
    def properties(self) -> dict[str, str]:
        """Librdkafka's.

        Raises:
            ConfigError: They are no JSON object of scalars.
        """
        try:
            return msgspec.json.decode(self.kafka_properties or "{}", type=dict[str, str], strict=False)
        except msgspec.DecodeError as error:
            raise ConfigError(f"--kafka_properties must be a JSON object: {error}") from None


OPTIONS = (KafkaOptions, SplunkHecOptions)


def build(pipeline: beam.Pipeline, options: PipelineOptions) -> Delivery:
    """Wire the pipeline.

    Raises:
        ConfigError: An option is missing or of the wrong form.
    """
    sink = options.view_as(SplunkHecOptions)
    sink.check()
    kafka = options.view_as(KafkaOptions)
    records = pipeline | "ReadKafka" >> ReadKafkaUntilDelivered(
        kafka.required("kafka_bootstrap_servers", "broker:9092"),
        [topic.strip() for topic in kafka.required("kafka_topics", "app-logs").split(",")],
        kafka.required("kafka_group_id", "splunk-app-logs"),
        start=kafka.kafka_start,
        properties=kafka.properties,
        until_end=kafka.until_end,
    )
    return sink.deliver(records)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; the exit code."""
    return run(build, OPTIONS, argv, about=__doc__)


if __name__ == "__main__":
    sys.exit(main())
