"""splunk-hec-ftf in a consumer loop, by its public calls alone; runs in a virtual environment of its own.

    python ftf.py BOOTSTRAP TOPIC GROUP HOST PORT TOKEN RECORDS acks|no-acks

Its documented way: `send_event` for each record, a flush for each chunk, then the commit. With
acknowledgements it sleeps while it waits for each batch.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from queue import Queue

import orjson
from confluent_kafka import Consumer, KafkaException

from splunk_hec import splunk_hec

CHUNK = 5_000


def main() -> None:
    """Deliver so many records, then end."""
    bootstrap, topic, group, host, port, token, total, acks = sys.argv[1:]
    quiet = logging.getLogger("ftf")
    quiet.setLevel(logging.ERROR)
    failed: Queue[object] = Queue()
    hec = splunk_hec(
        token=token,
        hec_server=host,
        hec_port=int(port),
        input_type="json",
        use_hec_tls=False,
        use_ack=acks == "acks",
        max_events_per_batch=CHUNK,
        backup_queue=failed,
        logger=quiet,
    )
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 5,
            "fetch.wait.max.ms": 50,
            "queued.max.messages.kbytes": 65_536,
        }
    )
    consumer.subscribe([topic])
    delivered = 0
    while delivered < int(total):
        messages = [one for one in consumer.consume(CHUNK, 0.5) if one.error() is None]
        for one in messages:
            value = one.value() or b""
            row = {
                "time": one.timestamp()[1] / 1000,
                "source": f"kafka:{one.topic()}",
                "event": value.decode(),
            }
            hec.send_event(orjson.dumps(row).decode())
        if messages:
            hec.force_flush_events()
            if not failed.empty():
                raise SystemExit(f"{failed.qsize()} failed")
            consumer.commit(asynchronous=True)
            delivered += len(messages)
    hec.stop_threads_and_processing()
    with contextlib.suppress(KafkaException):  # all is committed already
        consumer.commit(asynchronous=False)
    consumer.close()


if __name__ == "__main__":
    main()
