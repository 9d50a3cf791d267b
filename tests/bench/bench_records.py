"""Cost of encoding records: µs a record beyond reading the message's accessors.

Run: `python tests/bench/bench_records.py`. Uses the real log lines of ../shared/corpus where they exist
beside the checkout, else generated ones; all records are about 500 bytes.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from confluent_kafka import Message

from splunk_hec_kafka.config import Route
from splunk_hec_kafka.records import RecordEncoder
from splunk_hec_kafka.routes import RouteTable

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDS = 500
SIZE_BYTES = 500
CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"


def texts() -> list[str]:
    """About 500 bytes of log text for each record."""
    source = random.Random(1)
    lines = [
        line
        for file in sorted(CORPUS.glob("*.log"))
        for line in file.read_text(encoding="utf-8", errors="replace").split("\n")
        if line.strip()
    ] or [f"2026-01-01T00:00:00Z INFO request {number} took 12 ms path=/a/b?c=d" for number in range(1_000)]
    found: list[str] = []
    for _ in range(RECORDS):
        text = source.choice(lines)
        while len(text) < SIZE_BYTES:
            text += " " + source.choice(lines)
        found.append(text[:SIZE_BYTES].strip())
    return found


def chunk(values: list[str], partitions: int = 6) -> list[Message]:
    """Records as a consumer hands them out."""
    return [
        Message(
            topic="app-logs",
            partition=number * partitions // RECORDS,
            offset=1_000_000 + number,
            value=value.encode(),
            key=b"k",
            headers=[("team", b"payments")],
            timestamp=(1, 1_700_000_000_123 + number),
        )
        for number, value in enumerate(values)
    ]


def cost_us(call: Callable[[], object], repeats: int = 60, rounds: int = 7) -> float:
    """Best of several rounds, in µs a record."""
    best = float("inf")
    for _ in range(rounds):
        start = perf_counter()
        for _ in range(repeats):
            call()
        best = min(best, perf_counter() - start)
    return best / repeats / RECORDS * 1e6


def accessors(messages: list[Message]) -> list[tuple[object, ...]]:
    """What any encoder must read."""
    return [(m.value(), m.timestamp(), m.topic(), m.partition(), m.offset()) for m in messages]


def main() -> None:
    """Print the table."""
    plain = texts()
    text, documents = chunk(plain), chunk([json.dumps({"msg": value, "n": 1}) for value in plain])
    envelopes = chunk([json.dumps({"event": value, "host": "h"}) for value in plain])
    poisoned = chunk(plain)
    poisoned[17].set_value(b"\xff\xfe")
    floor = cost_us(lambda: accessors(text))
    cases = {
        "text": (Route(provenance=False), text),
        "text, provenance": (Route(), text),
        "text, provenance, metadata": (Route(index="main", sourcetype="app", host="h"), text),
        "text, provenance, fixed field": (Route(fields={"env": "prod"}), text),
        "text, provenance, one bad record": (Route(), poisoned),
        "text, header and key templates": (Route(index="{header:team}", fields={"key": "{key}"}), text),
        "json, provenance": (Route(value="json"), documents),
        "json, field template": (Route(value="json", host="{field:n}"), documents),
        "envelope, provenance": (Route(value="envelope"), envelopes),
        "raw": (Route(value="raw"), text),
    }
    print(f"{'accessors alone':<34} {floor:6.3f} us/record")
    for name, (route, messages) in cases.items():
        encoder = RecordEncoder(RouteTable([route]), event_max_bytes=5_000_000)
        total = cost_us(lambda e=encoder, m=messages: e.encode(m))
        print(f"{name:<34} {total:6.3f} us/record, {total - floor:6.3f} beyond the accessors")


if __name__ == "__main__":
    main()
