"""One reader: order, marks, ends, watermarks, and offsets that do not exist."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MAX_TIMESTAMP, MIN_TIMESTAMP, Timestamp
from confluent_kafka import KafkaError, KafkaException
from kafka_source_tools import (
    NOW_MS,
    NOW_S,
    ScriptedClient,
    end,
    event,
    places,
    read_to_end,
    record,
    records_of,
)
from kafka_tools import committed, produce

from splunk_hec_beam.kafka_commits import committer_of
from splunk_hec_beam.kafka_group import KafkaGroup
from splunk_hec_beam.kafka_mark import KafkaMark, KafkaMarkCoder, Share
from splunk_hec_beam.kafka_plan import Plan
from splunk_hec_beam.kafka_reader import SLACK_S, START_S, KafkaReader
from splunk_hec_beam.kafka_record import KafkaHeader, KafkaRecord
from splunk_hec_beam.kafka_source import KafkaSource
from splunk_hec_kafka._mock_kafka import MockKafka

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confluent_kafka import Message

NOBODY = KafkaGroup("nowhere:1", "reader")


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    """A broker with two partitions of logs."""
    with MockKafka({"logs": 2}) as broker:
        yield broker


def reader_of(client: ScriptedClient, *shares: Share, must_exist: bool = False) -> KafkaReader:
    """A reader of logs/0 from 0 (or of the given shares) over a script; each wait takes START_S / 4."""
    ticks = [0.0]

    def tick() -> None:
        ticks[0] += START_S / 4

    client.on_idle = tick
    consumer: Any = client
    return KafkaReader(
        NOBODY,
        consumer,
        shares or [Share("logs", 0, 0)],
        must_exist=must_exist,
        now=lambda: NOW_S,
        clock=lambda: ticks[0],
    )


def watermark_s(reader: KafkaReader) -> float:
    """Its watermark in seconds before now."""
    return NOW_S - reader.get_watermark().micros / 1e6


# -- records and marks ---------------------------------------------------------------------------------


def test_a_record_is_handed_out_as_it_is() -> None:
    """Key, value, headers and time are those of the record; what is absent is None."""
    headers = [("a", b"1"), ("a", None)]
    client = ScriptedClient([record(0, 5_123, key=b"k", headers=headers), record(1, value=None), end(2)])
    reader = reader_of(client)
    full, tombstone = records_of(reader)
    assert full == KafkaRecord(
        "logs", 0, 0, 5_123, b"k", b"v0", (KafkaHeader("a", b"1"), KafkaHeader("a", None))
    )
    assert tombstone == KafkaRecord("logs", 0, 1, NOW_MS, None, None, ())


def test_a_mark_covers_what_was_handed_out_and_no_more() -> None:
    """Records that wait in the reader are not in the mark, nor is an end of the partition behind them."""
    client = ScriptedClient([record(0), record(1), record(2), end(7)])
    reader = reader_of(client)
    offsets = []
    more = reader.start()
    while more:
        offsets.append(reader.get_checkpoint_mark().shares[0].offset)
        more = reader.advance()
    assert offsets == [1, 2, 3]
    assert reader.get_checkpoint_mark().shares[0].offset == 7


def test_a_mark_before_the_first_record_is_the_start() -> None:
    """A bundle without records commits where the reader begins."""
    reader = reader_of(ScriptedClient(), Share("logs", 0, 33))
    assert not reader.start()
    assert reader.get_checkpoint_mark() == KafkaMark(NOBODY, [Share("logs", 0, 33)])


def test_a_record_is_never_handed_out_twice() -> None:
    """What the client brings again after it was assigned anew is dropped."""
    reader = reader_of(ScriptedClient([record(0), record(1), record(0), record(1), record(2)], [end(3)]))
    assert places(records_of(reader)) == [(0, 0), (0, 1), (0, 2)]


def test_a_reader_built_from_a_mark_goes_on_strictly_after_it(kafka: MockKafka) -> None:
    """With a broker: a mark that went through its coder continues with the next record of each partition."""
    for partition in (0, 1):
        produce(kafka.bootstrap, "logs", [b"%d" % number for number in range(20)], partition=partition)
    source = KafkaSource(Plan(KafkaGroup.of(kafka.bootstrap, "g"), ("logs",), "earliest", True))
    first = source.create_reader(None, None)
    read = read_to_end(first, most=23)
    coder = source.get_checkpoint_mark_coder()
    resumed = source.create_reader(None, coder.decode(coder.encode(first.get_checkpoint_mark())))
    first.close()
    rest = read_to_end(resumed)
    resumed.close()
    assert sorted(places(read + rest)) == [(p, offset) for p in (0, 1) for offset in range(20)]
    for partition in (0, 1):
        mine = [offset for p, offset in places(read + rest) if p == partition]
        assert mine == sorted(mine)


def test_what_was_read_is_committed_after_a_drain(kafka: MockKafka) -> None:
    """A drain ends reading: the last bundle's mark commits what it handed out, not what was fetched."""
    produce(kafka.bootstrap, "logs", [b"x"] * 20, partition=0)
    plan = Plan(KafkaGroup.of(kafka.bootstrap, "g"), ("logs",), "earliest", True)
    (source, _) = KafkaSource(plan).split(20)
    reader = source.create_reader(None, None)
    read_to_end(reader, most=7)
    mark = reader.get_checkpoint_mark()
    reader.close()
    mark.finalize_checkpoint()
    assert committed(kafka.bootstrap, "g", "logs", [0, 1]) == {0: 7, 1: None}


def test_the_bytes_of_a_mark_are_always_the_same() -> None:
    """They do not depend on the order of shares, and bytes of another format are refused."""
    shares = [Share("logs", 1, 5, None, 2), Share("logs", 0, 7, 9), Share("a", 3, 1)]
    coder = KafkaMarkCoder(NOBODY)
    one, other = KafkaMark(NOBODY, shares), KafkaMark(NOBODY, reversed(shares))
    assert coder.encode(one) == coder.encode(other)
    assert coder.is_deterministic()
    assert coder.decode(coder.encode(one)) == one
    assert hash(one) == hash(other)
    assert repr(one) == "<KafkaMark a/3@1 logs/0@7 logs/1@5>"
    with pytest.raises(ValueError, match="format 2"):
        coder.decode(b"\x92\x02\x90")


def test_closing_twice_is_closing_once() -> None:
    """The client is closed once, and the committer told once that a reader went."""
    client = ScriptedClient()
    reader = reader_of(client)
    before = committer_of(NOBODY)._readers
    reader.close()
    reader.close()
    assert client.closed == 1
    assert committer_of(NOBODY)._readers == before - 1


# -- waiting -------------------------------------------------------------------------------------------


def test_the_start_waits_for_the_first_record() -> None:
    """A runner that builds a reader for each bundle gets records, though a new client has none at once."""
    reader = reader_of(ScriptedClient([], [], [], [], [record(0)]))
    assert reader.start()
    assert reader.get_current().offset == 0


def test_the_start_does_not_wait_for_ever() -> None:
    """Without a word from the broker it gives the bundle back after `START_S`."""
    client = ScriptedClient()
    assert not reader_of(client).start()
    assert len(client.waits) == 4


def test_nothing_is_waited_for_at_the_end_of_a_partition() -> None:
    """Once the broker said that there is no more, start and advance return at once."""
    client = ScriptedClient([end(0)])
    reader = reader_of(client)
    assert not reader.start()
    client.waits.clear()
    assert not reader.advance()
    assert client.waits == []


def test_a_reader_that_is_behind_waits_a_moment() -> None:
    """Between two fetches of a backlog the bundle goes on: it is not given back at the first empty look."""
    client = ScriptedClient([record(0)], [], [record(1)], [end(2)])
    assert places(records_of(reader_of(client))) == [(0, 0), (0, 1)]
    assert len(client.waits) == 1


def test_new_records_put_a_reader_behind_again() -> None:
    """An end counts until more comes: then there may be still more, which is worth a moment."""
    client = ScriptedClient([end(0)])
    reader = reader_of(client)
    assert not reader.start()
    client.turns += [[record(0)], [], [record(1)]]
    assert reader.advance()
    assert reader.advance()
    assert reader.get_current().offset == 1


# -- ends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "turn",
    [
        [record(8), record(9), end(10)],
        [record(7), end(10)],  # markers of transactions, or gaps of compaction, up to the end
        [record(7), end(12)],  # the same, further on
        [record(9), record(10), record(11), end(12)],  # written after the read began
        [record(7), record(12), end(13)],  # the end itself is compacted away
    ],
    ids=["records", "gap", "long-gap", "more", "gap-and-more"],
)
def test_a_fixed_end_is_reached_whatever_lies_there(turn: list[Message]) -> None:
    """Read below it, nothing from it on; then the reader is finished and the mark is the end."""
    client = ScriptedClient(turn)
    reader = reader_of(client, Share("logs", 0, 7, 10))
    assert [offset for _, offset in places(records_of(reader))] == [
        one.offset() for one in turn if one.error() is None and one.offset() < 10
    ]
    assert reader.get_watermark() == MAX_TIMESTAMP
    assert reader.get_checkpoint_mark().shares == (Share("logs", 0, 10, 10),)
    assert client.unassigned == [0]
    assert not reader.advance()


def test_a_finished_partition_does_not_finish_the_others() -> None:
    """The watermark is MAX only when every partition is at its end."""
    client = ScriptedClient([record(0), end(1)], [record(0, partition=1), end(1, partition=1)])
    reader = reader_of(client, Share("logs", 0, 0, 1), Share("logs", 1, 0, 1))
    assert reader.start()
    assert reader.get_watermark() < MAX_TIMESTAMP
    assert reader.advance()
    assert reader.get_current().partition == 1
    assert reader.get_watermark() < MAX_TIMESTAMP
    assert not reader.advance()
    assert reader.get_watermark() == MAX_TIMESTAMP


def test_partitions_without_anything_to_read_end_at_once() -> None:
    """An empty partition, and one that is committed up to the end, are not even assigned."""
    client = ScriptedClient()
    reader = reader_of(client, Share("logs", 0, 0, 0), Share("logs", 1, 9, 8))
    assert not reader.start()
    assert reader.get_watermark() == MAX_TIMESTAMP
    assert client.assigned == []
    assert [share.offset for share in reader.get_checkpoint_mark().shares] == [0, 9]


# -- times ---------------------------------------------------------------------------------------------


def test_the_watermark_follows_the_records() -> None:
    """It is the newest time handed out less the slack, and an older record does not take it back."""
    client = ScriptedClient(
        [record(0, NOW_MS - 60_000)], [record(1, NOW_MS - 90_000)], [record(2, NOW_MS - 50_000)]
    )
    reader = reader_of(client)
    assert reader.start()
    assert reader.get_watermark() == MIN_TIMESTAMP
    assert reader.advance()
    assert watermark_s(reader) == 60 + SLACK_S
    assert reader.advance()
    assert watermark_s(reader) == 60 + SLACK_S
    assert not reader.advance()
    assert watermark_s(reader) == 50 + SLACK_S


def test_a_quiet_partition_does_not_hold_windows_open() -> None:
    """At the end of a partition the watermark goes with the time of day."""
    client = ScriptedClient([record(0, NOW_MS - 60_000), end(1)])
    reader = reader_of(client)
    assert len(records_of(reader)) == 1
    assert watermark_s(reader) == SLACK_S
    client.turns.append([record(1, NOW_MS - 50_000)])
    assert reader.advance()
    assert not reader.advance()
    assert watermark_s(reader) == SLACK_S  # a late record does not take it back


def test_the_slowest_partition_holds_the_watermark() -> None:
    """One that is behind counts with its own records, however far the others are."""
    client = ScriptedClient([record(0, NOW_MS), end(1), record(0, NOW_MS - 500_000, partition=1)])
    reader = reader_of(client, Share("logs", 0, 0), Share("logs", 1, 0))
    assert len(records_of(reader)) == 2
    assert watermark_s(reader) == 500 + SLACK_S


def test_the_newest_record_of_a_partition_counts() -> None:
    """One that is older than its predecessor does not hold the watermark when the other partition goes on."""
    client = ScriptedClient(
        [record(0, NOW_MS - 100_000), record(1, NOW_MS - 900_000), record(0, NOW_MS - 800_000, partition=1)],
        [record(1, NOW_MS - 200_000, partition=1)],
    )
    reader = reader_of(client, Share("logs", 0, 0), Share("logs", 1, 0))
    assert len(records_of(reader)) == 4
    assert watermark_s(reader) == 200 + SLACK_S


def test_a_record_from_the_future_does_not_move_the_watermark_there() -> None:
    """Everything else would be late; the watermark never passes the time of day."""
    reader = reader_of(ScriptedClient([record(0, NOW_MS + 10**9)]))
    assert len(records_of(reader)) == 1
    assert watermark_s(reader) == SLACK_S


@pytest.mark.parametrize("ms", [-(2**62), 2**62])
def test_a_time_that_beam_cannot_hold_is_cut(ms: int) -> None:
    """A record with an absurd time must not stop the pipeline: its element is at the nearest time it can."""
    reader = reader_of(ScriptedClient([record(0, ms)]))
    assert reader.start()
    assert MIN_TIMESTAMP <= reader.get_current_timestamp() <= GlobalWindow().max_timestamp()
    assert reader.get_current().timestamp_ms == ms


def test_a_record_without_a_time_has_that_of_its_reading() -> None:
    """The element needs one; the record itself says that it has none."""
    reader = reader_of(ScriptedClient([record(0, None), record(1, 1_500)]))
    assert reader.start()
    assert reader.get_current_timestamp() == Timestamp(NOW_S)
    assert reader.get_current().timestamp_ms is None
    assert reader.advance()
    assert reader.get_current_timestamp() == Timestamp(1.5)


# -- offsets that do not exist -------------------------------------------------------------------------


@pytest.mark.parametrize("code", [KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE])
def test_records_deleted_before_they_were_read_are_told(code: int, caplog: pytest.LogCaptureFixture) -> None:
    """Retention was faster: an ERROR with the range, then on with what is left, in the same generation."""
    client = ScriptedClient([event(code)], [record(8), end(9)], logs={("logs", 0): (8, 9)})
    reader = reader_of(client, Share("logs", 0, 5))
    assert places(records_of(reader)) == [(0, 8)]
    (told,) = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert "offsets 5 to 7 were deleted" in told
    assert "3 are lost" in told
    assert client.assigned == [(0, 5), (0, 8)]
    assert reader.get_checkpoint_mark().shares == (Share("logs", 0, 9),)


def test_a_log_that_was_made_anew_is_read_from_its_beginning(caplog: pytest.LogCaptureFixture) -> None:
    """An offset behind the end means another log: its marks are of the next generation, and so committed."""
    client = ScriptedClient(
        [event(KafkaError._AUTO_OFFSET_RESET)], [record(0), end(1)], logs={("logs", 0): (0, 1)}
    )
    reader = reader_of(client, Share("logs", 0, 500))
    assert places(records_of(reader)) == [(0, 0)]
    assert "offset 500 does not exist in 0…1" in caplog.text
    assert reader.get_checkpoint_mark().shares == (Share("logs", 0, 1, None, 1),)


def test_an_offset_that_exists_after_all_is_read_again(caplog: pytest.LogCaptureFixture) -> None:
    """A new leader may have said so before it knew its log: nothing is skipped and nothing called lost."""
    client = ScriptedClient([event(KafkaError._AUTO_OFFSET_RESET)], [record(5)], logs={("logs", 0): (0, 6)})
    reader = reader_of(client, Share("logs", 0, 5))
    assert places(records_of(reader)) == [(0, 5)]
    assert client.assigned == [(0, 5), (0, 5)]
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


def test_a_missing_offset_fails_where_that_is_wanted() -> None:
    """With start = fail the bundle fails; with a fixed end it does when the log is another one."""
    for share, log, must_exist in (
        (Share("logs", 0, 5), (8, 9), True),
        (Share("logs", 0, 500, 600), (0, 1), False),
    ):
        client = ScriptedClient([event(KafkaError._AUTO_OFFSET_RESET)], logs={("logs", 0): log})
        with pytest.raises(KafkaException):
            reader_of(client, share, must_exist=must_exist).start()


def test_a_fixed_end_that_is_deleted_is_reached() -> None:
    """Retention took all up to the end and more: the reader is finished, not stuck."""
    client = ScriptedClient([event(KafkaError._AUTO_OFFSET_RESET)], logs={("logs", 0): (20, 30)})
    reader = reader_of(client, Share("logs", 0, 5, 10))
    assert not reader.start()
    assert reader.get_watermark() == MAX_TIMESTAMP
    assert client.assigned == [(0, 5)]


def test_a_broker_that_does_not_say_what_exists_fails_the_bundle() -> None:
    """Nothing is guessed: the runner tries again from the last mark."""
    with pytest.raises(KafkaException):
        reader_of(ScriptedClient([event(KafkaError._AUTO_OFFSET_RESET)])).start()


@pytest.mark.parametrize("code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART])
def test_what_no_waiting_mends_fails_the_bundle(code: int) -> None:
    """A topic that is gone or forbidden shows in the runner, not as a pipeline that reads nothing."""
    reader = reader_of(ScriptedClient([record(0), event(code)]))
    assert reader.start()
    with pytest.raises(KafkaException):
        reader.advance()


def test_other_errors_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The client goes on by itself, and so does the reader."""
    reader = reader_of(ScriptedClient([event(KafkaError._TRANSPORT), record(0)]))
    assert reader.start()
    assert "kafka: " in caplog.text
