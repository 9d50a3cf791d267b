r"""Send dead letters again, once what was wrong is mended.

replay_dead_letters.py --input='/var/spool/dead/app-*.jsonl' --hec_url=https://splunk.example:8088 \
    --hec_token=env:SPLUNK_HEC_TOKEN --dead_letters=/var/spool/dead-again/app

The envelope is sent as it was refused; where there is none, the element is read anew. What is refused again
is written to --dead_letters with its counter raised; what was replayed twice already is not sent but written
there as it is. The files that were read are left alone: delete them when this has ended with 0.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import apache_beam as beam

from splunk_hec.errors import ConfigError
from splunk_hec_beam.command_line import run
from splunk_hec_beam.dead_letter_files import (
    ReadDeadLetters,
    WriteDeadLetters,
    event_of_dead_letter,
    spent_or_not,
)
from splunk_hec_beam.options import InputOptions, SplunkHecOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from apache_beam.options.pipeline_options import PipelineOptions

    from splunk_hec_beam import Delivery

OPTIONS = (InputOptions, SplunkHecOptions)


def build(pipeline: beam.Pipeline, options: PipelineOptions) -> Delivery:
    """Wire the pipeline.

    Raises:
        ConfigError: An option is missing or of the wrong form.
    """
    sink = options.view_as(SplunkHecOptions)
    sink.check()
    if not sink.dead_letters:
        raise ConfigError("--dead_letters is required here: what is refused again must be written somewhere")
    letters = (
        pipeline
        | "ReadDeadLetters" >> ReadDeadLetters(options.view_as(InputOptions).patterns())
        | "SpentOrNot" >> beam.FlatMap(spent_or_not).with_outputs("spent", main="fresh")
    )
    _ = letters.spent | "KeepSpent" >> WriteDeadLetters(sink.dead_letters)
    return sink.deliver(letters.fresh, event_of_dead_letter)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; the exit code."""
    return run(build, OPTIONS, argv, about=__doc__)


if __name__ == "__main__":
    sys.exit(main())
