r"""Send the lines of objects in a bucket to Splunk: those that are there, or new ones too as they appear.

gcs_to_splunk.py --input='gs://bucket/logs/**.log' --hec_url=https://splunk.example:8088 \
    --hec_token=gcp-secret:projects/P/secrets/S --dead_letters=gs://bucket/dead/app \
    --watch_interval_s=60 --streaming

The scheme chooses the file system: the same runs on local files, S3 and Azure. With --watch_interval_s each
object is read once, as it is when first seen: write objects whole. A new job (not one that was updated or
restored) reads everything again.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Timestamp

from splunk_hec.errors import ConfigError
from splunk_hec_beam.command_line import run
from splunk_hec_beam.log_lines import ReadLogLines, event_of_line
from splunk_hec_beam.options import InputOptions, LineOptions, SplunkHecOptions

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    import apache_beam as beam

    from splunk_hec_beam import Delivery


class WatchOptions(PipelineOptions):
    """Whether to wait for new objects."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument_group("Watching").add_argument
        add(
            "--watch_interval_s",
            type=float,
            default=0.0,
            metavar="SECONDS",
            help="look for new objects so often, until the job is ended; 0 reads what is there. Default: 0",
        )
        add(
            "--watch_for_s",
            type=float,
            default=0.0,
            metavar="SECONDS",
            help="with --watch_interval_s: stop looking after so long; 0: never. Default: 0",
        )


OPTIONS = (InputOptions, LineOptions, WatchOptions, SplunkHecOptions)


def build(pipeline: beam.Pipeline, options: PipelineOptions) -> Delivery:
    """Wire the pipeline.

    Raises:
        ConfigError: An option is missing or of the wrong form.
    """
    sink = options.view_as(SplunkHecOptions)
    sink.check()
    watch = options.view_as(WatchOptions)
    if watch.watch_interval_s < 0 or watch.watch_for_s < 0:
        raise ConfigError("--watch_interval_s and --watch_for_s must be 0 or more")
    lines = pipeline | "ReadLogLines" >> ReadLogLines(
        options.view_as(InputOptions).patterns(may_be_empty=watch.watch_interval_s > 0),
        is_json=options.view_as(LineOptions).is_json,
        watch_s=watch.watch_interval_s,
        watch_until=Timestamp.now() + watch.watch_for_s if watch.watch_for_s else MAX_TIMESTAMP,
    )
    return sink.deliver(lines, event_of_line)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; the exit code."""
    return run(build, OPTIONS, argv, about=__doc__)


if __name__ == "__main__":
    sys.exit(main())
