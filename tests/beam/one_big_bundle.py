"""A process that puts a million events through one bundle, and says how much memory it held at most.

`python one_big_bundle.py text|mapping [URL TOKEN]`; without them the same pipeline has no sink. Prints bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apache_beam as beam

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = 1_000_000


def texts(count: int) -> Iterator[str]:
    """Log lines of about 300 bytes, made one by one."""
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0" * 3
    for n in range(count):
        yield f"2026-01-01T00:00:00Z INFO request {n:012} was served in {n % 997:03} ms to {agent}"


def mappings(count: int) -> Iterator[dict[str, Any]]:
    """The same as structured events."""
    for text in texts(count):
        yield {"level": "INFO", "message": text}


def main(kind: str, url: str = "", token: str = "") -> None:
    """Run the pipeline."""
    make = {"text": texts, "mapping": mappings}[kind]
    with beam.Pipeline("FnApiRunner") as pipeline:
        events = pipeline | beam.Create([EVENTS]) | beam.FlatMap(make)
        if url:
            from splunk_hec_beam.write import WriteToSplunkHEC

            delivery = events | WriteToSplunkHEC(url, token, on_reject="dead_letter")
            _ = delivery.receipts | beam.Map(lambda receipt: receipt.events)
            _ = delivery.dead_letters | "Dead" >> beam.Map(lambda row: row.reason)
        else:
            _ = events | beam.Map(len)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(int(status.split("VmHWM:")[1].split()[0]) * 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])
