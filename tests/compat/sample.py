"""The calls of the library's documented sample, in its order: run as it stands, for both kinds of input.

python sample.py PORT TOKEN raw|json THREADS acks|no-acks EVENTS
"""

from __future__ import annotations

import json
import queue
import sys
import time

from splunk_hec import splunk_hec

port, token, input_type, threads, acks, events = sys.argv[1:]
splhec = splunk_hec(
    token=token,
    hec_server="127.0.0.1",
    hec_port=port,
    input_type=input_type,
    use_hec_tls=False,
    use_ack=acks == "acks",
    hec_tls_verify=False,
    ack_interval=5,
    max_ack_attempts=5,
    max_content_length=50000000,
    max_events_per_batch=30,
    context_id="sample",
    rotate_session_after=10,
    debug_enabled=False,
    max_threads=int(threads),
    disable_tls_validation_warnings=True,
)
splhec.backup_queue = queue.Queue(0)
if "raw" in input_type:
    splhec.set_request_params({"index": "main", "sourcetype": "hec:sample", "source": "hec:test:events"})
for number in range(int(events)):
    if "json" in input_type:
        payload = json.dumps(
            {
                "event": f'{{"message": "JSON test Message {number}.", "foo": "bar"}}',
                "time": int(time.time()),
                "source": "hec:test:events",
                "index": "main",
                "sourcetype": "hec:sample",
            }
        )
    else:
        payload = f"{time.strftime('%Y-%m-%d %H:%M:%S')} -0000 RAW Test Message {number}."
    splhec.send_event(payload)
splhec.stop_threads_and_processing()
if splhec.backup_queue.empty():
    print("Queue is empty, everything worked!")
else:
    raise RuntimeError("Failures detected. Implement backup routine here.")
