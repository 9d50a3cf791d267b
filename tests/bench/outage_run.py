"""Splunk down in mid-run, at full input: records lost, rebalances, memory, and how long catching up takes.

    python tests/bench/outage_run.py [--down 60] [--busy 30] [--per-s 20000] [--in-flight-mb 64]

The server is killed (connections refused), started again on the same port, and answers 503 at first. All that
it had taken and not yet indexed is gone: the sink sends it again once `--ack-deadline` (300 s) is over.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "e2e"), str(TESTS / "kafka")]

from e2e_tools import Feed, SinkProcess, Splunk, free_port, lag, metrics, places, rest, settings  # noqa: E402 -- beside the tests
from real_kafka import RealKafka  # noqa: E402 -- beside the tests

TOPIC, GROUP, PARTITIONS = "outage", "group-of-outage", 6
WORK_S = 10.0
GIVE_UP_S = 900.0


def main() -> None:
    """Print a line a few seconds, then the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--down", type=float, default=60)
    parser.add_argument("--busy", type=float, default=30)
    parser.add_argument("--per-s", type=int, default=20_000)
    parser.add_argument("--in-flight-mb", type=int, default=64)
    parser.add_argument("--ack-deadline", type=float, default=300)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, RealKafka() as kafka:
        folder = Path(name)
        kafka.create_topic(TOPIC, PARTITIONS)
        kafka.create_topic(f"{TOPIC}.dead")
        port = free_port()
        with Splunk(folder, "--ack-delay", "1s") as splunk:
            config = settings(
                kafka.bootstrap,
                [TOPIC],
                splunk.url,
                hec__in_flight_max_bytes=given.in_flight_mb * 2**20,
                hec__ack_deadline_s=given.ack_deadline,
                server__listen=f"127.0.0.1:{port}",
            ) | {'kafka.properties."max.poll.interval.ms"': "10000"}
            with SinkProcess(folder / "sink", config) as sink:
                run(kafka.bootstrap, sink, splunk, port, given)


def run(bootstrap: str, sink: SinkProcess, splunk: Splunk, port: int, given: argparse.Namespace) -> None:
    """The outage, and what it cost."""
    with Feed(bootstrap, TOPIC, PARTITIONS, given.per_s) as feed:
        rest(WORK_S)
        print(f"before      written {feed.written:>9,}  {told(port)}")
        splunk.kill()
        rest(given.down)
        print(f"down        written {feed.written:>9,}  {told(port)}")
        splunk.start("--fault", f"busy,for_s={given.busy}")
        rest(given.busy)
        print(f"busy        written {feed.written:>9,}  {told(port)}")
    healed = time.monotonic()
    while lag(bootstrap, GROUP, TOPIC) and time.monotonic() - healed < GIVE_UP_S:
        rest(5)
        print(
            f"{time.monotonic() - healed:4.0f} s after  lag {lag(bootstrap, GROUP, TOPIC):>9,}  {told(port)}"
        )
    took_s = time.monotonic() - healed
    peak_mb = sink.peak_rss_bytes() / 2**20
    code = sink.terminate()
    indexed, written = splunk.indexed(), places(bootstrap, TOPIC)
    print(
        f"exit {code}  records {len(written):,}  lost {len(written - indexed.keys()):,}  "
        f"twice {indexed.total() - len(indexed):,}  peak {peak_mb:.0f} MB of {200 + 2 * given.in_flight_mb}  "
        f"assignments {len(sink.logged('assigned '))}  caught up {took_s:.0f} s after the last record"
    )
    with contextlib.suppress(LookupError):
        print(f"resends {sink.summary()['resends']}")


def told(port: int) -> str:
    """A few of the sink's own figures."""
    wanted = (
        "hec_sink_in_flight_bytes",
        "hec_sink_in_flight_events",
        "hec_sink_oldest_unsettled_age_seconds",
    )
    found = metrics(port)
    return "  ".join(f"{name[9:]} {found.get((name, ''), 0):,.0f}" for name in wanted)


if __name__ == "__main__":
    main()
