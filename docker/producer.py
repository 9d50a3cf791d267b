"""Writes log lines to a topic: those of /logs, else of this container's own /var/log, else made-up ones.

Not for files that change: what is there at the start is sent, over and over. Blank lines are left out, and
bytes that are no UTF-8 are replaced, so that every record can be indexed. SIGTERM ends it in order, once the
broker has acknowledged what was written.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from itertools import cycle, islice
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

from splunk_hec_kafka.demo_feed import generated_lines, own_logs, read_files

LOGS = Path("/logs")
FLUSH_S = 60.0
_failed: list[KafkaError] = []


def lines() -> tuple[str, list[bytes]]:
    """Where the lines are from, and those that are not blank."""
    files = sorted(path for path in LOGS.rglob("*") if path.is_file() and os.access(path, os.R_OK))
    for origin, found in (
        (f"of {len(files)} files in {LOGS}", read_files(files)),
        ("of this container's /var/log", own_logs()),
        ("made up", generated_lines()),
    ):
        texts = (line.decode(errors="replace").strip() for _, line in found)
        if sound := [text.encode() for text in texts if text]:
            return origin, sound
    raise AssertionError("made-up lines are never blank")


def on_delivery(error: KafkaError | None, _message: Message) -> None:
    """Keep what the broker refused."""
    if error is not None:
        _failed.append(error)


def end(_number: int, _frame: object) -> None:
    """SIGTERM: the first process of a container has no default action for it."""
    raise KeyboardInterrupt


def main() -> int:
    """Write until all is written or a signal comes; 1 if the broker did not take everything."""
    signal.signal(signal.SIGTERM, end)
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--records", type=int, help="how many; without it: until stopped")
    options.add_argument("--rate", type=float, default=0, help="records/s; 0: as fast as possible")
    told = options.parse_args()
    topic, written, started = os.environ["TOPIC"], 0, time.monotonic()
    producer = Producer(
        {
            "bootstrap.servers": os.environ["BOOTSTRAP"],
            "enable.idempotence": True,
            "linger.ms": 20,
            "sticky.partitioning.linger.ms": 0,  # or a burst goes to one partition alone
        }
    )
    try:
        origin, found = lines()
        print(f"lines: {origin}", file=sys.stderr, flush=True)
        for line in islice(cycle(found), told.records):
            due = started + (written / told.rate if told.rate else 0)
            producer.poll(0)
            while (wait_s := due - time.monotonic()) > 0:  # a poll ends early when the broker answers
                producer.poll(wait_s)
            while True:
                try:
                    producer.produce(topic, line, on_delivery=on_delivery)
                    break
                except BufferError:
                    producer.poll(0.1)
            written += 1
    except KeyboardInterrupt:
        print("told to end", file=sys.stderr)
    unanswered = producer.flush(FLUSH_S)
    print(f"{written - len(_failed) - unanswered} records written to {topic}")
    for error in _failed[:1]:
        print(f"{len(_failed)} refused, the first: {error.str()}", file=sys.stderr)
    return 1 if _failed or unanswered else 0


if __name__ == "__main__":
    sys.exit(main())
