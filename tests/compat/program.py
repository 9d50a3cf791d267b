"""One scenario, played by the calls that splunk-hec-ftf and the drop-in have in common.

    python program.py JSON

Runs in either environment: imports nothing but the standard library and `splunk_hec`. Prints JSON: what ended
in the backup queue, and wall seconds.
"""

from __future__ import annotations

import json
import logging
import queue
import sys
import time
from typing import Any

from splunk_hec import splunk_hec

HUGE_BYTES = 6_000_000
EVENTS = 6


def payloads(kind: str, name: str) -> list[str]:
    """What is sent: six events, one of them bad where the scenario says so."""
    texts = [_payload(kind, f"event {number}") for number in range(EVENTS)]
    if name == "one bad event":
        texts[2] = "   " if kind == "raw" else json.dumps({"event": "refused", "index": "forbidden"})
    if name == "huge event":
        texts[2] = _payload(kind, "x" * HUGE_BYTES)
    return [] if name == "empty input" else texts


def _payload(kind: str, text: str) -> str:
    return text if kind == "raw" else json.dumps({"event": text, "source": "scenario"})


def play(name: str, kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Send, flush, stop; what came back."""
    began = time.monotonic()
    backup: queue.Queue[str] = queue.Queue(0)
    hec = splunk_hec(input_type=kind, use_hec_tls=False, **arguments)
    hec.backup_queue = backup
    if kind == "raw":
        hec.set_request_params({"index": "main", "sourcetype": "scenario"})
    texts = payloads(kind, name)
    for number, text in enumerate(texts):
        hec.send_event(text)
        if name == "flush twice" and number == 2:
            hec.force_flush_events()
            hec.force_flush_events()
        if name == "use after stop" and number == 2:
            hec.stop_threads_and_processing()
    hec.force_flush_events()
    hec.stop_threads_and_processing()
    returned: list[str] = []
    while not backup.empty():
        returned.append(backup.get_nowait())
    return {"backup": returned, "wall_s": time.monotonic() - began}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    quiet = logging.getLogger("scenario")
    quiet.setLevel(logging.CRITICAL)
    given["arguments"]["logger"] = quiet
    print(json.dumps(play(given["name"], given["kind"], given["arguments"])))
