"""Holds what is in the topic against what the emulator has indexed, and against the committed offsets.

Not for the sink's own counters: each witness is asked by a client of its own. Run by test-rig.sh inside the
image, with the seconds it may wait and the least number of records that must be there. Ends with 0 only if
every record that was in the topic at the start is indexed, as it was written, and committed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from urllib.request import urlopen

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from splunk_hec_kafka.demo_audit import Place, read_committed

BOOTSTRAP, TOPIC = os.environ["BOOTSTRAP"], os.environ["TOPIC"]
GROUP = "hec-kafka-sink"
EVENTS = "http://splunk:8088/emulator/events?offset={}&limit=5000"
ASK_S = 30.0
SHOWN = 5


def written() -> dict[Place, str]:
    """What is in the topic now."""
    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "audit", "enable.auto.commit": False})
    found: dict[Place, str] = {}
    partitions = consumer.list_topics(TOPIC, timeout=ASK_S).topics[TOPIC].partitions
    ends = {one: consumer.get_watermark_offsets(TopicPartition(TOPIC, one))[1] for one in partitions}
    consumer.assign([TopicPartition(TOPIC, one, OFFSET_BEGINNING) for one in partitions])
    deadline = time.monotonic() + ASK_S
    while len(found) < sum(ends.values()):
        if time.monotonic() > deadline:
            raise SystemExit(f"only {len(found)} of {sum(ends.values())} records could be read")
        for message in consumer.consume(1000, 0.2):  # waits for a full thousand, so not for long
            if message.error():
                raise SystemExit(f"the topic cannot be read: {message.error()}")
            if message.offset() < ends[message.partition()]:
                found[Place(TOPIC, message.partition(), message.offset())] = message.value().decode()
    consumer.close()
    return found


class Index:
    """What the emulator has indexed, read on from where the last look ended."""

    def __init__(self) -> None:
        self.copies: Counter[Place] = Counter()
        self.altered: list[Place] = []
        self._read = 0

    def look(self, records: dict[Place, str]) -> None:
        """Read what came since."""
        while True:
            with urlopen(EVENTS.format(self._read), timeout=ASK_S) as answer:  # noqa: S310 -- http, as written above
                lines = answer.read().splitlines()
            for line in lines:
                event = json.loads(line)
                fields = event["fields"]
                place = Place(fields["kafka_topic"], fields["kafka_partition"], fields["kafka_offset"])
                self.copies[place] += 1
                if records.get(place, event["event"]) != event["event"]:
                    self.altered.append(place)
            self._read += len(lines)
            if not lines:
                return


def main(patience_s: float, least: int) -> int:
    """Look until all is as it should be or the time is up."""
    records, index, deadline = written(), Index(), time.monotonic() + patience_s
    ends = Counter(place.partition for place in records)
    while True:
        index.look(records)
        lost = [place for place in records if place not in index.copies]
        committed = read_committed(BOOTSTRAP, GROUP, records)
        behind = [one for one, end in ends.items() if committed.get((TOPIC, one), 0) < end]
        if (not lost and not behind) or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    twice = sum(index.copies[place] - 1 for place in records if place in index.copies)
    print(
        f"{len(records):,} records, {len(records) - len(lost):,} indexed, {len(lost):,} lost, "
        f"{len(index.altered):,} altered, {twice:,} copies beyond the first, "
        f"{len(behind)} partitions not committed to their end"
    )
    for place in [*lost, *index.altered][:SHOWN]:
        print(f"{place.topic}/{place.partition}@{place.offset} is {'lost' if place in lost else 'altered'}")
    if len(records) < least:
        print(f"at least {least:,} records were due")
    return int(bool(lost or index.altered or behind) or len(records) < least)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2])))
