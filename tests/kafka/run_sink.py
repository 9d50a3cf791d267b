"""One sink as a process: the configuration as JSON on standard input, its end by signal or SIGKILL."""

from __future__ import annotations

import signal
import sys

import msgspec

from splunk_hec_kafka.config import SinkConfig
from splunk_hec_kafka.failures import SinkFailure
from splunk_hec_kafka.metrics import Metrics
from splunk_hec_kafka.sink import Sink


def main() -> int:
    """Run the sink; returns its exit code."""
    config = msgspec.json.decode(sys.stdin.buffer.read(), type=SinkConfig)
    sink = Sink(config, metrics=Metrics())
    signal.signal(signal.SIGTERM, lambda *_: sink.stop())
    try:
        return sink.run()
    except SinkFailure as failure:
        sys.stderr.write(f"{failure}\n")
        return int(failure.exit_code)


if __name__ == "__main__":
    sys.exit(main())
