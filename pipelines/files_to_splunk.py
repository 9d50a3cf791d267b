r"""Send the lines of files to Splunk, an event each, and end when all of them are acknowledged.

files_to_splunk.py --input='/var/log/app/*.log' --hec_url=https://splunk.example:8088 \
    --hec_token=env:SPLUNK_HEC_TOKEN --dead_letters=/var/spool/dead/app

Each event's source is its file. Blank lines are skipped and counted (metric lines_blank). Compressed files
are known by their suffix. Running it again sends everything again; --event_id_field lets a search tell the
duplicates.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from splunk_hec_beam.command_line import run
from splunk_hec_beam.log_lines import ReadLogLines, event_of_line
from splunk_hec_beam.options import InputOptions, LineOptions, SplunkHecOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from splunk_hec_beam import Delivery

OPTIONS = (InputOptions, LineOptions, SplunkHecOptions)


def build(pipeline: beam.Pipeline, options: PipelineOptions) -> Delivery:
    """Wire the pipeline.

    Raises:
        ConfigError: An option is missing or of the wrong form.
    """
    sink = options.view_as(SplunkHecOptions)
    sink.check()
    lines = pipeline | "ReadLogLines" >> ReadLogLines(
        options.view_as(InputOptions).patterns(), is_json=options.view_as(LineOptions).is_json
    )
    return sink.deliver(lines, event_of_line)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; the exit code."""
    return run(build, OPTIONS, argv, about=__doc__)


if __name__ == "__main__":
    sys.exit(main())
