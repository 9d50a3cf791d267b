"""The command `run`: one sink in this process, with its pages, signals, progress and summary.

Not for the loop (`sink`) nor for several processes (`supervisor`). Guarantees: the first SIGTERM or SIGINT
ends the sink orderly, the second at once; an orderly end prints the summary; a process whose supervisor was
killed ends orderly too.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
import time
from contextlib import ExitStack
from threading import Thread
from typing import TYPE_CHECKING, Any

import msgspec

from splunk_hec.config import TokenSource
from splunk_hec_kafka.cli_options import report
from splunk_hec_kafka.config import require, token_keys
from splunk_hec_kafka.logs import setup
from splunk_hec_kafka.metrics import Metrics
from splunk_hec_kafka.outside import THE_WORLD
from splunk_hec_kafka.progress import live_line, sink_line
from splunk_hec_kafka.server import StatusServer
from splunk_hec_kafka.sink import Sink
from splunk_hec_kafka.summary import summary_text
from splunk_hec_kafka.supervisor import merged_summary, supervise
from splunk_hec_kafka.telemetry import CLOSE_S, telemetry

if TYPE_CHECKING:
    from splunk_hec_kafka.config import Loaded

log = logging.getLogger("splunk_hec_kafka")

LIVE_S = 90.0
"""A turn takes a tenth of a second; the longest wait in it, for a broker's answer to a commit, a minute."""


def run_sink(
    loaded: Loaded,
    *,
    until_end: bool,
    report_to: int | None,
    output: str,
    use_color: bool,
    is_quiet: bool,
) -> int:
    """Run the sink until it ends.

    Args:
        loaded: The configuration.
        until_end: End when all that is there at the start is delivered and committed.
        report_to: A supervisor's file descriptor, which gets port and summary as JSON lines.
        output: `text` or `json`: how the summary is printed.
        use_color: Whether a terminal may be coloured.
        is_quiet: No progress.

    Returns:
        The exit code.

    Raises:
        ConfigError: A needed key is missing, or a value is wrong.
        SinkFailure: Something failed for good.
    """
    config = loaded.config
    require(config)
    tokens = [TokenSource(token)() for token in token_keys(config.hec.token, config.route) if token]
    setup(config.log.format, config.log.level, use_color, tokens)
    if config.run.processes > 1:
        code, summaries = supervise(config, until_end=until_end)
        _report(output, merged_summary(summaries))
        return code
    for warning in loaded.warnings:
        log.warning("%s", warning)
    metrics = Metrics()
    told = telemetry(metrics, os.environ)
    outside = THE_WORLD if told is None else THE_WORLD._replace(trace=told.batch)
    sink = Sink(config, metrics=metrics, until_end=until_end, outside=outside)
    _stop_on_signals(sink)
    if report_to is not None:
        Thread(target=_stop_without_supervisor, args=(sink,), name="supervisor-watch", daemon=True).start()
    _calm_collector()
    is_watched = report_to is None and not is_quiet
    with ExitStack() as stack:
        if told is not None:
            stack.callback(told.close, CLOSE_S)
        port = 0
        if config.server.listen:
            server = StatusServer(
                config.server.listen,
                metrics,
                is_alive=lambda: time.monotonic() - sink.turned_at() < LIVE_S,
                readiness=sink.readiness,
            )
            stack.callback(server.close)
            server.start()
            port = server.port
        tell(report_to, {"port": port})
        stack.enter_context(live_line(lambda: sink_line(metrics), is_wanted=is_watched, use_color=use_color))
        code = sink.run()
    summary = msgspec.structs.asdict(sink.summary())
    if report_to is None:
        _report(output, summary)
    tell(report_to, {"summary": summary})
    return code


def _calm_collector() -> None:
    """Records make no cycles, and what is there by now stays: the collector need not look so often.

    With the interpreter's own thresholds it took a tenth of all CPU time, most of it over records in flight.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _stop_on_signals(sink: Sink) -> None:
    def stop(_number: int, _frame: object) -> None:
        sink.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _stop_without_supervisor(sink: Sink) -> None:
    """Wait for the end of standard input, a pipe that the supervisor holds open while it lives."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    log.error("the supervisor is gone; this process ends orderly")
    sink.stop()


def _report(output: str, summary: dict[str, Any]) -> None:
    report(output, summary, summary_text(summary))


def tell(report_to: int | None, document: dict[str, Any]) -> None:
    """One JSON line for the supervisor, if there is one and it still listens."""
    if report_to is not None:
        try:
            os.write(report_to, json.dumps(document).encode() + b"\n")
        except OSError as error:
            log.warning("the supervisor does not listen: %s", error.strerror)
