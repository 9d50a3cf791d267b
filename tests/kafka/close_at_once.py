"""`python close_at_once.py ROUNDS`: group members that leave while their first assignment is on its way."""

from __future__ import annotations

import sys
import time

from splunk_hec_kafka._mock_kafka import MockKafka
from splunk_hec_kafka.config import Hec, Kafka, SinkConfig
from splunk_hec_kafka.offsets import OffsetLedger
from splunk_hec_kafka.source import KafkaSource

WIDEST_S = 0.25
"""By then a member of the mock cluster has its assignment."""


def main(rounds: int) -> None:
    """Each member waits a little longer than the one before, so that some meet the moment."""
    with MockKafka({"logs": 3}) as kafka:
        for number in range(rounds):
            config = SinkConfig(
                hec=Hec(url="http://127.0.0.1:1", token="t"),
                kafka=Kafka(bootstrap_servers=kafka.bootstrap, topics=("logs",), group_id=f"group-{number}"),
            )
            source = KafkaSource(
                config, OffsetLedger(), on_revoke=lambda *_: None, on_lost_range=lambda *_: None
            )
            source.subscribe()
            time.sleep(number * WIDEST_S / rounds)  # the moment is looked for, not waited for
            source.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
