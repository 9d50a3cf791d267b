"""`dlq` against a real broker: what only one of these tells, and keeps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from e2e_tools import TOKENS, Journal, SinkProcess, Splunk, settings
from kafka_tools import produce, read_all

if TYPE_CHECKING:
    from pathlib import Path

    from real_kafka import RealKafka

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

DAY_MS = 86_400_000


def dlq(folder: Path, *arguments: str) -> tuple[int, Any]:
    """Run a command with the sink's own configuration; exit code and result."""
    done = subprocess.run(
        [
            sys.executable,
            "-Im",
            "splunk_hec_kafka",
            "dlq",
            *arguments,
            "-c",
            str(folder / "sink.toml"),
            "-o",
            "json",
        ],
        env=os.environ | TOKENS,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def test_records_go_back_with_their_time_unless_their_topic_would_delete_them(
    real_kafka: RealKafka, tmp_path: Path
) -> None:
    """Old records return to a topic that keeps them, at their own time, and are indexed once.

    Where retention would delete them unread they are left alone, and go to Splunk directly.
    """
    real_kafka.create_topic("replayed", 2, {"retention.ms": "-1"})
    real_kafka.create_topic("replayed.short", 1, {"retention.ms": str(7 * DAY_MS)})
    real_kafka.create_topic("replayed.dead", 2)
    old_ms = int(time.time() * 1000) - 30 * DAY_MS
    headers: list[tuple[str, bytes | None]] = [("n", b"\x00\xff"), ("n", None)]
    for topic, partition in (("replayed", 1), ("replayed.short", 0)):
        produce(
            real_kafka.bootstrap, topic, [b"a text"], partition=partition, keys=[b"\xfe"], headers=[headers],
            timestamps=[old_ms],
        )  # fmt: skip
    folder = tmp_path / "sink"
    with Splunk(tmp_path, "--ack-delay", "0.2s") as splunk:
        topics = ["replayed", "replayed.short"]

        def config(value: str) -> dict[str, Any]:
            return settings(
                real_kafka.bootstrap, topics, splunk.url, route=[{"topics": ["*"], "value": value}]
            )

        with SinkProcess(folder, config("json"), "--until-end") as sink:
            assert sink.wait() == 0
        mended = SinkProcess(folder, config("text"), "--until-end")
        code, told = dlq(folder, "replay", "--to", "topic")
        assert (code, told["replayed"], told["left"]) == (4, 1, {"too_old": 1})
        again = read_all(real_kafka.bootstrap, "replayed")[-1]
        assert (again.partition(), again.key(), again.value()) == (1, b"\xfe", b"a text")
        assert again.timestamp()[1] == old_ms
        assert (again.headers() or [])[:2] == headers
        with mended as sink:
            assert sink.wait() == 0
        code, told = dlq(folder, "replay", "--to", "splunk", "--topic", "replayed.short")
        assert (code, told["replayed"]) == (0, 1)
        places = sorted(at for at, _ in Journal(splunk.journal).read())
        assert places == [("replayed", 1, 1), ("replayed.short", 0, 0)]
        assert dlq(folder, "ls")[1]["reasons"] == {"invalid_event": 2}
