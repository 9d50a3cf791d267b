r"""Send Pub/Sub messages to Splunk; with --batching=bundle a message stays in Pub/Sub until it is indexed.

pubsub_to_splunk.py --subscription=projects/P/subscriptions/S --hec_url=https://splunk.example:8088 \
    --hec_token=gcp-secret:projects/P/secrets/HEC --dead_letters=gs://bucket/dead/pubsub --streaming

The conventions of Dataflow's own Pub/Sub-to-Splunk template are kept: an object _metadata in a JSON message
holds time (RFC 3339), host, source, sourcetype, index, fields and event, and is taken out of it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from apache_beam.io import ReadFromPubSub
from apache_beam.io.gcp.pubsub import parse_subscription
from apache_beam.options.pipeline_options import PipelineOptions

from splunk_hec.errors import ConfigError
from splunk_hec_beam.command_line import run
from splunk_hec_beam.options import SplunkHecOptions, truth
from splunk_hec_beam.pubsub_metadata import reader

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    import apache_beam as beam

    from splunk_hec_beam import Delivery


class PubsubOptions(PipelineOptions):
    """What to read."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument_group("Pub/Sub").add_argument
        add(
            "--subscription",
            default="",
            metavar="NAME",
            help="projects/P/subscriptions/S; messages wait there while the job is down",
        )
        add(
            "--attributes_as_fields",
            type=truth,
            nargs="?",
            const=True,
            default=False,
            metavar="BOOL",
            help="index the attributes of a message as fields. Default: false",
        )

    @property
    def checked_subscription(self) -> str:
        """The subscription.

        Raises:
            ConfigError: There is none, or it is no full name.
        """
        if not self.subscription:
            raise ConfigError("--subscription is required, e.g. --subscription=projects/P/subscriptions/S")
        try:
            parse_subscription(self.subscription)
        except ValueError as error:
            raise ConfigError(f"--subscription must be projects/P/subscriptions/S: {error}") from None
        return str(self.subscription)


OPTIONS = (PubsubOptions, SplunkHecOptions)


def build(
    pipeline: beam.Pipeline, options: PipelineOptions, messages: beam.PCollection[Any] | None = None
) -> Delivery:
    """Wire the pipeline.

    Args:
        pipeline: Where.
        options: Whose views are `OPTIONS`.
        messages: To read from instead of the subscription.

    Raises:
        ConfigError: An option is missing or of the wrong form.
    """
    sink = options.view_as(SplunkHecOptions)
    sink.check()
    pubsub = options.view_as(PubsubOptions)
    if messages is None:
        read = ReadFromPubSub(subscription=pubsub.checked_subscription, with_attributes=True)
        messages = pipeline | "ReadFromPubSub" >> read
    return sink.deliver(messages, reader(attributes_as_fields=pubsub.attributes_as_fields))


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; the exit code."""
    return run(build, OPTIONS, argv, about=__doc__)


if __name__ == "__main__":
    sys.exit(main())
