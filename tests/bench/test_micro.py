"""The hot pieces of the sink, each alone: what a record costs. Run by `poe micro`; no time is asserted.

Each call handles `extra_info["records"]` records (or batches), so that figures compare whatever the chunk.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from bench_records import chunk, texts

from splunk_hec._actions import LaneSettings, PollAcks, Post
from splunk_hec._batching import Batch, BatchBuilder
from splunk_hec._gzip import codec_for
from splunk_hec._lane import Lane
from splunk_hec._protocol import Reply
from splunk_hec_kafka.config import Route
from splunk_hec_kafka.offsets import OffsetLedger, TopicPartition
from splunk_hec_kafka.originals import Records
from splunk_hec_kafka.records import RecordEncoder
from splunk_hec_kafka.routes import RouteTable

if TYPE_CHECKING:
    from confluent_kafka import Message

    from splunk_hec_kafka.records import Send

RECORDS = 500
PLAIN = texts()
BATCHES = 50


class Owner:
    """Whose events a batch holds."""

    is_aborted = False


def values(kind: str) -> list[Message]:
    """Records that a route of this kind takes."""
    match kind:
        case "json":
            return chunk([json.dumps({"msg": value, "n": 1}) for value in PLAIN])
        case "envelope":
            return chunk([json.dumps({"event": value, "host": "h"}) for value in PLAIN])
        case _:
            return chunk(PLAIN)


ROUTES = {
    "text": ("text", Route(provenance=False)),
    "text, provenance": ("text", Route()),
    "text, templates": ("text", Route(index="{header:team}", fields={"key": "{key}"})),
    "json, provenance": ("json", Route(value="json")),
    "envelope, provenance": ("envelope", Route(value="envelope")),
    "raw": ("text", Route(value="raw")),
}


@pytest.mark.parametrize("name", ROUTES)
def test_encoder(benchmark: Any, name: str) -> None:
    """Records to lines, by value mode."""
    kind, route = ROUTES[name]
    messages = values(kind)
    encoder = RecordEncoder(RouteTable([route]), event_max_bytes=5_000_000)
    benchmark.extra_info.update(name=f"encoder: {name}", records=RECORDS)
    encoded = benchmark(encoder.encode, messages)
    assert sum(len(send.lines) for send in encoded.sends) == RECORDS


def sent(messages: list[Message]) -> Send:
    """What they are encoded to."""
    encoder = RecordEncoder(RouteTable([Route(provenance=False)]), event_max_bytes=5_000_000)
    return encoder.encode(messages).sends[0]


def test_batcher(benchmark: Any) -> None:
    """Blocks of lines into a builder, and a sealed batch out of it."""
    epochs = {TopicPartition("app-logs", number): 1 for number in range(6)}
    sends = [sent(values("text")) for _ in range(3)]

    def build() -> Batch | None:
        builder = BatchBuilder(Owner(), max_bytes=1_000_000, max_events=5_000)
        for send in sends:
            assert builder.room(send.lines) == RECORDS
            builder.add(send.lines, Records.of(send.originals, epochs), 8_000, 1.0)
        return builder.seal("1", 2.0)

    benchmark.extra_info.update(name="batcher", records=3 * RECORDS)
    batch = benchmark(build)
    assert batch.count == 3 * RECORDS


def test_ledger(benchmark: Any) -> None:
    """A chunk is opened, its runs are settled, and what may be committed is asked."""
    messages = values("text")
    starts = {TopicPartition("app-logs", number): None for number in range(6)}
    originals = sent(messages).originals

    def once() -> dict[TopicPartition, int]:
        ledger = OffsetLedger()
        ledger.assign(starts)
        ledger.open(messages, 1.0)
        for run in Records.of(originals, ledger.epochs).runs():
            ledger.settle(run)
        return ledger.committable()

    benchmark.extra_info.update(name="ledger", records=RECORDS)
    assert len(benchmark(once)) == 6


@pytest.mark.parametrize("name", ["fast", "small"])
def test_gzip(benchmark: Any, name: str) -> None:
    """A body of 500 envelopes is compressed."""
    body = sent(values("text")).lines.body
    codec = codec_for(name)
    assert codec is not None
    benchmark.extra_info.update(name=f"gzip: {name}", records=RECORDS)
    assert codec.decompress(benchmark(codec.compress, body)) == body


def test_lane_step(benchmark: Any) -> None:
    """A lane posts a batch, takes its ackId, asks for it and settles; per batch."""
    body = b'{"event":"x"}'
    replies = [Reply(200, b'{"text":"Success","code":0,"ackId":%d}' % number) for number in range(BATCHES)]
    told = Reply(200, json.dumps({"acks": {str(number): True for number in range(BATCHES)}}).encode())

    def once() -> int:
        source = random.Random(1)
        lane = Lane(LaneSettings(url="http://test"), random=source, new_channel_id=lambda: "C")
        for number in range(BATCHES):
            lane.give(
                Batch(str(number), body, [number], owner=Owner(), charge_bytes=len(body), sealed_at=0.0)
            )
        now, posted, settled = 0.0, 0, 0
        while settled < BATCHES:
            action = lane.next(now)
            match action:
                case Post():
                    lane.on_post(action, replies[posted], now, now)
                    posted += 1
                case PollAcks():
                    lane.on_acks(action, told, now)
                case _:
                    now += 0.25
            settled += len(lane.take_effects().settled)
        return settled

    benchmark.extra_info.update(name="lane step (a batch)", records=BATCHES)
    assert benchmark(once) == BATCHES
