"""`kill -9` of the sink at random moments of a run: what is lost, what comes twice, what was committed early.

    python tests/bench/kill_run.py [--kills 20] [--records 400000] [--seed 1] [--in-flight-events 8000]

After each kill the server first indexes what it took; then it is known which records the next start repeats.
An observer compares commits with what is resolved several times a second.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "e2e"), str(TESTS / "kafka")]

from e2e_tools import (  # noqa: E402 -- beside the tests
    KillRun,
    Observer,
    SinkProcess,
    Splunk,
    fill,
    kill_moments,
    lag,
    log_lines,
    origins,
    places,
    settings,
)
from real_kafka import RealKafka  # noqa: E402 -- beside the tests

TOPIC, GROUP, PARTITIONS = "killed", "group-of-killed", 6


def main() -> None:
    """Print a line a kill, then the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--records", type=int, default=400_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--in-flight-events", type=int, default=8_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, RealKafka() as kafka:
        folder = Path(name)
        kafka.create_topic(TOPIC, PARTITIONS)
        kafka.create_topic(f"{TOPIC}.dead")
        values = log_lines(given.records)
        values[500::1_000] = [b"\xff poison"] * len(values[500::1_000])
        fill(kafka.bootstrap, TOPIC, values, PARTITIONS)
        with Splunk(folder, "--ack-delay", "0.5s..1.5s") as splunk:
            config = settings(
                kafka.bootstrap, [TOPIC], splunk.url, hec__in_flight_max_events=given.in_flight_events
            )
            run(kafka.bootstrap, SinkProcess(folder / "sink", config), splunk, given)


def run(bootstrap: str, sink: SinkProcess, splunk: Splunk, given: argparse.Namespace) -> None:
    """The kills, and what they cost."""
    started = time.monotonic()
    with sink, Observer(bootstrap, GROUP, TOPIC, f"{TOPIC}.dead", splunk.journal) as observer:
        kills = KillRun(bootstrap, TOPIC, GROUP, sink, splunk)
        for number, events in enumerate(kill_moments(given.seed, given.kills, given.records), 1):
            kills.kill_after(events)
            print(f"kill {number:>2} after {events:>6,}: {kills.repeated[-1]:>6,} indexed and not committed")
        while lag(bootstrap, GROUP, TOPIC):
            time.sleep(0.2)
        code = sink.terminate()
    indexed, letters, written = (
        splunk.indexed(),
        origins(bootstrap, f"{TOPIC}.dead"),
        places(bootstrap, TOPIC),
    )
    twice = indexed.total() - len(indexed)
    print(
        f"exit {code}  records {len(written):,}  lost {len(written - indexed.keys() - letters.keys()):,}  "
        f"indexed twice {twice:,} (known at the kills: {sum(kills.repeated):,}, "
        f"most at one: {max(kills.repeated, default=0):,})  "
        f"dead letters {letters.total():,} for {len(letters):,} records\n"
        f"early commits {len(observer.accusations)} in {observer.samples:,} samples  "
        f"{time.monotonic() - started:.0f} s"
    )
    for accusation in observer.accusations:
        print(accusation)


if __name__ == "__main__":
    main()
