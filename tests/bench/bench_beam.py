"""`WriteToSplunkHEC` on FnApiRunner, beside what a careful user writes by hand: events/s, CPU, memory.

    python tests/bench/bench_beam.py [--events 200000] [--size 500] [--ack-delay 1] [--runs 3]

All send to the same counting HEC server, in one run, each in a process of its own: the sink with
acknowledgements; and without, `BatchElements(1000)` with `requests.post` and with a `requests.Session`. The
figures include the source and the runner. Lines are cut from real logs where `../shared/corpus` stands beside
the checkout, else generated.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING

import apache_beam as beam
import requests
from bench_loads import lines
from bench_server import count, counting_server

from splunk_hec_beam import WriteToSplunkHEC

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def events(size: int, number: int) -> Iterator[str]:
    """So many texts of this size."""
    return islice(cycle([line.decode(errors="replace") for line in lines(size)]), number)


class PostFn(beam.DoFn):
    """What a user writes: a list of events, a check of the status; a careful one keeps a session."""

    def __init__(self, url: str, *, keeps_session: bool) -> None:
        self._url = url
        self._keeps_session = keeps_session

    def setup(self) -> None:
        """One session an instance, or a connection for each batch."""
        self._post = requests.Session().post if self._keeps_session else requests.post

    def process(self, batch: list[str]) -> Iterable[str]:
        """Post a batch; the server's 200 is believed."""
        body = "\n".join(json.dumps({"event": text, "sourcetype": "app"}) for text in batch)
        reply = self._post(
            f"{self._url}/services/collector/event", data=body, headers={"Authorization": "Splunk t"}
        )
        reply.raise_for_status()
        return []


def run(kind: str, url: str, number: int, size: int) -> dict[str, float]:
    """One pipeline in this process."""
    os.environ["BENCH_TOKEN"] = "t"
    start, before = time.monotonic(), time.process_time()
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        texts = pipeline | beam.Create([size]) | beam.FlatMap(events, number).with_output_types(str)
        if kind == "sink":
            texts | WriteToSplunkHEC(url=url, token="env:BENCH_TOKEN", sourcetype="app", on_reject="fail")
        elif kind in ("post", "session"):
            texts | beam.BatchElements(1000, 1000) | beam.ParDo(PostFn(url, keeps_session=kind == "session"))
        else:
            texts | beam.Map(len)
    seconds = time.monotonic() - start
    return {
        "events_per_s": number / seconds,
        "cpu_s": time.process_time() - before,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Print a row a run and the ratio of the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--ack-delay", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="a JSON document instead of rows")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(run(*options.one, options.events, options.size)))
        return
    say = partial(print, file=sys.stderr if options.json else sys.stdout, flush=True)
    say(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    found: dict[str, list[dict[str, float]]] = {"none": [], "post": [], "session": [], "sink": []}
    with counting_server(options.ack_delay) as port:
        for number in range(options.runs):
            for kind, rows in found.items():
                before = count(port)["events"]
                command = [
                    sys.executable,
                    __file__,
                    "--events",
                    str(options.events),
                    "--size",
                    str(options.size),
                ]
                command += ["--one", kind, f"http://127.0.0.1:{port}"]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                one = json.loads(done.stdout.splitlines()[-1])
                arrived = count(port)["events"] - before
                assert arrived == (0 if kind == "none" else options.events), arrived
                rows.append(one)
                say(
                    f"{number} {kind:<7} {one['events_per_s']:>9,.0f} events/s  "
                    f"{one['cpu_s'] / options.events * 1e6:6.2f} us CPU/event  {one['peak_rss_mb']:5.0f} MB"
                )
    if options.json:
        print(json.dumps(found))
        return
    medians = {kind: statistics.median(one["events_per_s"] for one in rows) for kind, rows in found.items()}
    ratios = [f"{medians['sink'] / medians[kind]:.2f} x {kind}" for kind in ("post", "session")]
    say(f"median {medians['sink']:,.0f} events/s, {', '.join(ratios)}")


if __name__ == "__main__":
    main()
