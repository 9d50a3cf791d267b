"""One program for splunk-hec-ftf and for the drop-in, by the calls that both have.

    python drop_in.py HOST PORT TOKEN EVENTS acks|no-acks THREADS

Prints JSON: wall and CPU seconds from the first call to the end of the last, and what was given back.
"""

from __future__ import annotations

import json
import logging
import queue
import sys
import time

from splunk_hec import splunk_hec

EVENT_BYTES = 500
PER_BATCH = 1_000


def main() -> None:
    """Send so many events, then stop."""
    host, port, token, events, acks, threads = sys.argv[1:]
    quiet = logging.getLogger("drop-in")
    quiet.setLevel(logging.CRITICAL)
    hec = splunk_hec(
        token=token,
        hec_server=host,
        hec_port=int(port),
        input_type="json",
        use_hec_tls=False,
        use_ack=acks == "acks",
        ack_interval=1,
        max_events_per_batch=PER_BATCH,
        max_threads=int(threads),
        logger=quiet,
    )
    hec.backup_queue = queue.Queue(0)
    texts = [_envelope(number) for number in range(PER_BATCH)]  # making them is not what is measured
    began, cpu_began = time.perf_counter(), time.process_time()
    left = int(events)
    while left:
        for text in texts[:left]:
            hec.send_event(text)
        left -= min(left, PER_BATCH)
    hec.stop_threads_and_processing()
    print(
        json.dumps(
            {
                "wall_s": time.perf_counter() - began,
                "cpu_s": time.process_time() - cpu_began,
                "backup": hec.backup_queue.qsize(),
            }
        )
    )


def _envelope(number: int) -> str:
    row = {"time": 1_700_000_000 + number, "source": "bench", "sourcetype": "bench", "event": ""}
    event = f"2026-01-01 00:00:00 host-{number} "
    row["event"] = event + "x" * (EVENT_BYTES - len(json.dumps(row)) - len(event))
    return json.dumps(row)


if __name__ == "__main__":
    main()
