"""`run --until-end` from a real broker to a counting HEC server: records/s, CPU, memory.

    python tests/bench/bench_sink.py [--records 500000] [--size 500] [--partitions 6] [--ack-delay 1]

Broker, server and sink share the machine. Each run is a process and a consumer group of its own. Lines are
cut from real logs where `../shared/corpus` stands beside the checkout, else generated.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from confluent_kafka import Producer
from real_kafka import RealKafka

if TYPE_CHECKING:
    from collections.abc import Iterator

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"


def lines(size: int) -> list[bytes]:
    """Texts of exactly `size` bytes: real log lines strung together, or generated ones."""
    logs = sorted(CORPUS.glob("*.log"))
    found = b" ".join(path.read_bytes().replace(b"\r\n", b" ") for path in logs)
    if not found:
        found = b" ".join(b"%06d generated, level=info path=/a/b/%d" % (n, n * 7) for n in range(90_000))
    return [found[at : at + size].strip().ljust(size, b".") for at in range(0, len(found) - size, size)]


def fill(bootstrap: str, topic: str, records: int, size: int, partitions: int) -> None:
    """Produce the load."""
    texts = lines(size)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "batch.size": 500_000})
    for number in range(records):
        while True:
            try:
                producer.produce(topic, texts[number % len(texts)], partition=number % partitions)
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush()


@contextlib.contextmanager
def counting_server(ack_delay_s: float) -> Iterator[int]:
    """A light HEC server in a process of its own."""
    script = Path(__file__).parent / "light_hec.py"
    process = subprocess.Popen(
        [sys.executable, str(script), "--ack-delay", str(ack_delay_s)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def count(port: int) -> dict[str, float]:
    """What the server has counted."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/count", headers={"User-Agent": "bench"})
    found = json.loads(connection.getresponse().read())
    connection.close()
    return found


def one_run(bootstrap: str, topic: str, port: int, group: str, extra: list[str]) -> dict[str, float]:
    """One sink process, start to end."""
    before = count(port)
    sets = ["dead_letter.on_reject=fail", 'dead_letter.topic=""', 'server.listen=""', *extra]
    command = [
        sys.executable, "-m", "splunk_hec_kafka", "run", "-b", bootstrap, "-t", topic, "-g", group,
        "--hec-url", f"http://127.0.0.1:{port}", "--until-end", "-o", "json",
    ]  # fmt: skip
    for one in sets:
        command += ["--set", one]
    environment = os.environ | {"HEC_SINK_HEC__TOKEN": "env:BENCH_TOKEN", "BENCH_TOKEN": "t"}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment)
        assert process.stdout is not None
        out = process.stdout.read()
        process.stdout.close()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"the sink ended with {process.returncode}: {errors.read().decode()[-2000:]}")
    summary = json.loads(out)
    after = count(port)
    summary["server_events"] = after["events"] - before["events"]
    summary["server_cpu_s"] = after["cpu_s"] - before["cpu_s"]
    summary["cpu_s"] = used.ru_utime + used.ru_stime
    summary["peak_rss_mb"] = used.ru_maxrss / 1024
    return summary


def main() -> None:
    """Print a row a run and the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=500_000)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--ack-delay", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    given = parser.parse_args()
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, Python {platform.python_version()}")
    rows = []
    with RealKafka() as kafka, counting_server(given.ack_delay) as port:
        kafka.create_topic("bench", given.partitions)
        fill(kafka.bootstrap, "bench", given.records, given.size, given.partitions)
        for number in range(given.runs):
            row = one_run(kafka.bootstrap, "bench", port, f"bench-{number}", given.sets)
            rows.append(row)
            per_cpu = row["records"] / row["cpu_s"]
            print(
                f"run {number}: {row['records_per_s']:>9,.0f} records/s  {per_cpu:>9,.0f} per CPU second  "
                f"peak {row['peak_rss_mb']:.0f} MB  ack p50 {row['ack_latency_s']['p50']:.2f} s  "
                f"server {row['server_cpu_s']:.1f} CPU s, received {row['server_events']:,.0f}"
            )
    rates, shares = [row["records_per_s"] for row in rows], [row["records"] / row["cpu_s"] for row in rows]
    print(
        f"median: {statistics.median(rates):,.0f} records/s, {statistics.median(shares):,.0f} per CPU second"
    )


if __name__ == "__main__":
    main()
