"""Loaded by every Python process that the benchmark measures: when it consumed how much, told when it ends.

The process itself knows nothing of it: `confluent_kafka.Consumer` is replaced by one that notes, a chunk at a
time, the monotonic clock, the number of records and how long they were waited for. All of it is
written to `$BENCH_NOTES/PID.json`.
"""

from __future__ import annotations

import os
from typing import Any


def _observe(folder: str) -> None:
    import atexit
    import json
    import time
    from pathlib import Path

    import confluent_kafka

    notes: dict[str, Any] = {"subscribed": 0.0, "assigned": 0.0, "chunks": []}
    chunks: list[tuple[float, int, float]] = notes["chunks"]
    clock = time.monotonic
    waited_s = 0.0

    class Consumer(confluent_kafka.Consumer):
        """The same, observed."""

        def subscribe(self, topics: list[str], **more: Any) -> None:
            """Note when the group is joined."""
            told = more.get("on_assign")

            def on_assign(consumer: Any, partitions: Any) -> None:
                notes["assigned"] = notes["assigned"] or clock()
                if told is not None:
                    told(consumer, partitions)

            notes["subscribed"] = notes["subscribed"] or clock()
            super().subscribe(topics, **{**more, "on_assign": on_assign})

        def consume(self, *limits: Any, **more: Any) -> list[confluent_kafka.Message]:
            """Note how many came, and how long they were waited for."""
            nonlocal waited_s
            before = clock()
            found = super().consume(*limits, **more)
            now = clock()
            waited_s += now - before
            count = len(found)
            if count and found[-1].error() is not None:  # ends of partitions
                count = sum(one.error() is None for one in found)
            if count:
                chunks.append((now, count, waited_s))
                waited_s = 0.0
            return found

    def write() -> None:
        if notes["subscribed"]:
            Path(folder, f"{os.getpid()}.json").write_text(json.dumps(notes), encoding="utf-8")

    confluent_kafka.Consumer = Consumer  # type: ignore[misc]
    atexit.register(write)


if os.environ.get("BENCH_NOTES"):
    _observe(os.environ["BENCH_NOTES"])
