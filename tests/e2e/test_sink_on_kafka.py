"""`hec-kafka-sink run` against a real broker: what arrives, what is refused, what is told."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from e2e_tools import (
    END_S,
    TOKENS,
    Feed,
    Journal,
    SinkProcess,
    Splunk,
    fill,
    free_port,
    get,
    lag,
    log_lines,
    metrics,
    origins,
    places,
    settings,
)
from kafka_tools import committed, end_offsets, read_all, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from real_kafka import RealKafka

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DAY_MS = 86_400_000
KEEP = {"retention.ms": "-1", "message.timestamp.after.max.ms": str(2 * DAY_MS)}
Headers = list[tuple[str, bytes | None]]


@pytest.fixture
def splunk(tmp_path: Path) -> Iterator[Splunk]:
    """A HEC server with acknowledgements after 0.2 s; its token may write to `main` alone."""
    with Splunk(tmp_path, "--ack-delay", "0.2s", index="main") as server:
        yield server


class Record(NamedTuple):
    """A record to be written; `reason` is that of its dead letter, empty for a good one."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: Headers
    timestamp: int
    reason: str


POISON: list[tuple[str, bytes, Headers, str]] = [
    ("texts", b"caf\xe9 \xff\xfe", [("n", b"1"), ("n", b"2"), ("null", None)], "undecodable"),
    ("envelopes", b'{"event":"x","fields":{"a":{"b":1}}}', [("bytes", b"\xff\x00")], "bad_fields"),
    ("texts", b" \t ", [], "blank"),
    ("texts", b"a line for another index", [("index", b"secret")], "bad_index"),
    ("envelopes", b'{"event":"x","index":"secret"}', [], "bad_index"),
    ("texts", b"x" * 9_000, [("hec.reason", b"was here before")], "too_large"),
    ("envelopes", b'{"event":"x","colour":"red"}', [], "invalid_event"),
    ("envelopes", b"not json", [], "invalid_event"),
]


def mixed_records(count: int, now_ms: int) -> Iterator[Record]:
    """Log lines on two topics of three partitions; each thousandth is poison, old, future or now."""
    for number, line in enumerate(log_lines(count)):
        topic = ("texts", "envelopes")[number // 3 % 2]
        place, key = number % 3, b"%d" % number
        if number % 1_000 == 500:
            topic, value, headers, reason = POISON[number // 1_000 % len(POISON)]
            when = now_ms + (-30 * DAY_MS, DAY_MS, 0)[number // 1_000 % 3]
            yield Record(topic, place, key if number % 2_000 < 1_000 else None, value, headers, when, reason)
        else:
            value = line if topic == "texts" else json.dumps({"event": line.decode()}).encode()
            yield Record(topic, place, key, value, [("index", b"main")], now_ms, "")


def write(bootstrap: str, records: list[Record]) -> dict[tuple[str, int, int], Record]:
    """Write records; returns each by where it was stored."""
    stored: dict[tuple[str, int, int], Record] = {}
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20})

    def note(record: Record) -> Callable[[Any, Any], None]:
        def report(error: Any, message: Any) -> None:
            assert error is None, error
            stored[message.topic(), message.partition(), message.offset()] = record

        return report

    for record in records:
        topic, partition, key, value, headers, timestamp, _ = record
        producer.produce(
            topic, value, key, partition, note(record), timestamp=timestamp, headers=list(headers)
        )
        producer.poll(0)
    assert producer.flush(END_S) == 0
    return stored


def test_exactly_the_poison_is_dead_lettered_and_the_rest_is_indexed_once(
    real_kafka: RealKafka, splunk: Splunk, tmp_path: Path
) -> None:
    """Of 20,000 records the 20 poison ones are dead letters, byte for byte; the others are indexed, once."""
    topics = ("texts", "envelopes")
    for topic in topics:
        real_kafka.create_topic(topic, 3, KEEP)
    real_kafka.create_topic("texts.dead", 2)
    stored = write(real_kafka.bootstrap, list(mixed_records(20_000, int(time.time() * 1000))))
    config = settings(
        real_kafka.bootstrap,
        topics,
        splunk.url,
        hec__event_max_bytes=8_000,
        route=[
            {"topics": ["texts"], "index": "{header:index}"},
            {"topics": ["envelopes"], "value": "envelope"},
        ],
    )
    with SinkProcess(tmp_path / "sink", config, "--until-end") as sink:
        assert sink.wait() == 0
        summary = sink.summary()
    good = {at for at, record in stored.items() if not record.reason}
    indexed = list(Journal(splunk.journal).read())
    assert Counter(at for at, _ in indexed) == Counter(good)
    for at, event in indexed:
        value = stored[at].value
        assert event == (value.decode() if at[0] == "texts" else json.loads(value)["event"])
    letters = {}
    for letter in read_all(real_kafka.bootstrap, "texts.dead"):
        headers = dict(letter.headers() or [])
        about = [headers[f"__connect.errors.{name}"] or b"" for name in ("topic", "partition", "offset")]
        letters[about[0].decode(), int(about[1]), int(about[2])] = letter
    assert letters.keys() == stored.keys() - good
    for at, letter in letters.items():
        record, headers = stored[at], letter.headers() or []
        foreign = [one for one in record.headers if one[0] != "hec.reason"]
        assert (letter.key(), letter.value()) == (record.key, record.value)
        assert headers[: len(foreign)] == foreign
        assert [value for name, value in headers if name == "hec.reason"] == [record.reason.encode()]
        assert dict(headers)["hec.record.timestamp"] == str(record.timestamp).encode()
        assert letter.timestamp()[0] == TIMESTAMP_CREATE_TIME
        assert abs(letter.timestamp()[1] - time.time() * 1000) < DAY_MS / 2
    assert [lag(real_kafka.bootstrap, "group-of-texts", topic) for topic in topics] == [0, 0]
    told = {name: summary[name] for name in ("records", "delivered", "dead_lettered", "committed")}
    assert told == {"records": 20_000, "delivered": 19_980, "dead_lettered": 20, "committed": True}


def test_transactions_leave_no_lag(real_kafka: RealKafka, splunk: Splunk, tmp_path: Path) -> None:
    """Aborted records are not indexed, and the group's commit reaches the end behind the last marker."""
    real_kafka.create_topic("transactions", 2)
    real_kafka.create_topic("transactions.dead")
    producer = Producer({"bootstrap.servers": real_kafka.bootstrap, "transactional.id": "t"})
    producer.init_transactions(END_S)
    for name in ("kept 1", "aborted 1", "kept 2", "aborted 2"):
        producer.begin_transaction()
        for number in range(20):
            producer.produce("transactions", f"{name} {number}", partition=number % 2)
        if name.startswith("kept"):
            producer.commit_transaction(END_S)
        else:
            producer.flush(END_S)  # written, then aborted
            producer.abort_transaction(END_S)
    config = settings(real_kafka.bootstrap, ["transactions"], splunk.url)
    with SinkProcess(tmp_path / "sink", config, "--until-end") as sink:
        assert sink.wait() == 0
    texts = Counter(event for _, event in Journal(splunk.journal).read())
    assert texts == Counter(f"{name} {number}" for name in ("kept 1", "kept 2") for number in range(20))
    ends = end_offsets(real_kafka.bootstrap, "transactions")
    assert committed(real_kafka.bootstrap, "group-of-transactions", "transactions", ends) == ends
    assert ends == {0: 44, 1: 44}  # ten records and a marker in each of four transactions


DEPLOYMENT_FAULTS: list[tuple[str, dict[str, Any], list[str], int, str]] = [
    (
        "compacted dead-letter topic",
        {"dead_letter__topic": "faults.compacted"},
        [],
        8,
        "cleanup.policy=delete",
    ),
    ("missing dead-letter topic", {"dead_letter__topic": "no-such-dead"}, [], 8, "create it"),
    ("missing topic", {"kafka__topics": ["no-such-topic"]}, [], 4, "correct kafka.topics"),
    (
        "unreachable broker",
        {"kafka__bootstrap_servers": "127.0.0.1:1", "run__startup_timeout_s": 2},
        [],
        4,
        "check kafka.bootstrap_servers",
    ),
    ("wrong token", {"hec__token": "env:TEST_WRONG_TOKEN"}, [], 5, "set hec.token"),
    ("refused index", {"route": [{"index": "secret"}]}, [], 5, "create the index"),
    ("token without acks", {"hec__token": "env:TEST_PLAIN_TOKEN"}, [], 5, "turn on indexer acknowledgement"),
    ("misspelt key", {"kafka__topcis": ["faults"]}, [], 3, "kafka.topics"),
    ("value of a wrong type", {"hec__lanes": "many"}, [], 3, "hec.lanes"),
    ("unknown option", {}, ["--until-the-end"], 2, "--help"),
]


@pytest.fixture(scope="module")
def faults_topic(real_kafka: RealKafka) -> str:
    """A topic with records, its dead-letter topic, and a compacted one."""
    real_kafka.create_topic("faults", 2)
    real_kafka.create_topic("faults.dead")
    real_kafka.create_topic("faults.compacted", 1, {"cleanup.policy": "compact"})
    fill(real_kafka.bootstrap, "faults", log_lines(100), 2)
    return "faults"


@pytest.mark.parametrize("fault", DEPLOYMENT_FAULTS, ids=[fault[0] for fault in DEPLOYMENT_FAULTS])
def test_a_fault_of_the_deployment_is_one_line_with_its_fix(
    real_kafka: RealKafka,
    splunk: Splunk,
    faults_topic: str,
    tmp_path: Path,
    fault: tuple[str, dict[str, Any], list[str], int, str],
) -> None:
    """The process ends with the fault's code and one line with its fix; nothing is committed or buried."""
    _, changes, options, code, fix = fault
    config = settings(real_kafka.bootstrap, [faults_topic], splunk.url, **changes)
    with SinkProcess(tmp_path / "sink", config, *options) as sink:
        assert sink.wait() == code
    [line] = sink.said()
    assert line.startswith("hec-kafka-sink: ")
    assert fix in line
    assert "Traceback" not in sink.stderr()
    assert all(token not in sink.stderr() for token in TOKENS.values())
    assert not splunk.indexed()
    done = committed(real_kafka.bootstrap, "group-of-faults", faults_topic, [0, 1])
    assert [offset or 0 for offset in done.values()] == [0, 0]
    assert not read_all(real_kafka.bootstrap, "faults.dead")


def commit(bootstrap: str, group: str, topic: str, offset: int) -> None:
    """Set a group's offset in partition 0."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()


def low_offset(bootstrap: str, topic: str) -> int:
    """The first offset that partition 0 still has."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "low"})
    try:
        return consumer.get_watermark_offsets(TopicPartition(topic, 0), END_S)[0]
    finally:
        consumer.close()


def keep_for(kafka: RealKafka, topic: str, retention_ms: int) -> None:
    """Change a topic's retention."""
    entry = ConfigEntry("retention.ms", str(retention_ms), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = kafka.admin()
    admin.incremental_alter_configs([resource])[resource].result(END_S)


def with_deleted_range(kafka: RealKafka, topic: str, new: int = 50) -> None:
    """A topic with 800 records, 100 of them committed, all deleted by retention; and some new ones."""
    kafka.create_topic(topic, 1, {"retention.ms": "-1"})
    kafka.create_topic(f"{topic}.dead")
    month_ago = int(time.time() * 1000) - 30 * DAY_MS
    write(
        kafka.bootstrap,
        [Record(topic, 0, None, line, [], month_ago, "") for line in log_lines(800)],
    )
    commit(kafka.bootstrap, f"group-of-{topic}", topic, 100)
    keep_for(kafka, topic, 60_000)
    wait_for(lambda: low_offset(kafka.bootstrap, topic) == 800, "retention", END_S)
    keep_for(kafka, topic, -1)
    fill(kafka.bootstrap, topic, log_lines(new), 1)


def test_what_retention_took_is_reported_and_the_rest_delivered(
    real_kafka: RealKafka, splunk: Splunk, tmp_path: Path
) -> None:
    """Offsets that were deleted unread are logged at ERROR and counted; the sink goes on behind them."""
    with_deleted_range(real_kafka, "deleted")
    port = free_port()
    config = settings(real_kafka.bootstrap, ["deleted"], splunk.url, server__listen=f"127.0.0.1:{port}")
    with SinkProcess(tmp_path / "sink", config) as sink:
        sink.wait_until(
            lambda: lag(real_kafka.bootstrap, "group-of-deleted", "deleted") == 0, "no lag", END_S
        )
        assert metrics(port)["hec_sink_lost_records_total", "partition=0,topic=deleted"] == 700
        assert sink.terminate() == 0
        [line] = sink.logged("100 to 799")
    assert (line["level"].upper(), "700 are lost" in line["message"]) == ("ERROR", True)
    assert splunk.indexed() == Counter({("deleted", 0, offset): 1 for offset in range(800, 850)})


def test_an_end_is_not_reached_before_what_retention_took_is_reported(
    real_kafka: RealKafka, splunk: Splunk, tmp_path: Path
) -> None:
    """`--until-end` reads a partition of which nothing is left: what was lost is told and committed."""
    with_deleted_range(real_kafka, "deleted-all", new=0)
    config = settings(real_kafka.bootstrap, ["deleted-all"], splunk.url)
    with SinkProcess(tmp_path / "sink", config, "--until-end") as sink:
        assert sink.wait() == 0
        assert len(sink.logged("100 to 799")) == 1
    assert committed(real_kafka.bootstrap, "group-of-deleted-all", "deleted-all", [0]) == {0: 800}


def test_what_retention_took_ends_a_sink_that_shall_fail(
    real_kafka: RealKafka, splunk: Splunk, tmp_path: Path
) -> None:
    """With start = "fail", an offset that was deleted unread ends the sink with 4; the commit stays."""
    with_deleted_range(real_kafka, "deleted-fail")
    config = settings(real_kafka.bootstrap, ["deleted-fail"], splunk.url, kafka__start="fail")
    with SinkProcess(tmp_path / "sink", config) as sink:
        assert sink.wait() == 4
        assert [line for line in sink.said() if "out of range" in line]
    assert not splunk.indexed()
    assert committed(real_kafka.bootstrap, "group-of-deleted-fail", "deleted-fail", [0]) == {0: 100}


def test_dead_letters_of_old_records_outlive_retention(
    real_kafka: RealKafka, splunk: Splunk, tmp_path: Path
) -> None:
    """The dead letter of a 30 days old record stays in a topic that keeps for a minute."""
    short = {"retention.ms": "60000"}
    real_kafka.create_topic("old", 1, KEEP)
    real_kafka.create_topic("old.dead", 1, short)
    month_ago = int(time.time() * 1000) - 30 * DAY_MS
    write(real_kafka.bootstrap, [Record("old", 0, b"k", b"\xff poison", [], month_ago, "undecodable")])
    config = settings(real_kafka.bootstrap, ["old"], splunk.url)
    with SinkProcess(tmp_path / "sink", config, "--until-end") as sink:
        assert sink.wait() == 0
    # When the second of two controls is deleted, a whole round of retention came after the dead letter.
    for control in ("old.control.1", "old.control.2"):
        real_kafka.create_topic(control, 1, short)
        write(real_kafka.bootstrap, [Record(control, 0, b"k", b"x", [], month_ago, "")])
        wait_for(lambda name=control: low_offset(real_kafka.bootstrap, name) == 1, "retention", END_S)
    assert origins(real_kafka.bootstrap, "old.dead") == Counter({("old", 0, 0): 1})


PROTOCOLS: dict[str, dict[str, Any]] = {
    "range": {'kafka.properties."partition.assignment.strategy"': "range"},
    "cooperative-sticky": {'kafka.properties."partition.assignment.strategy"': "cooperative-sticky"},
    "consumer": {'kafka.properties."group.protocol"': "consumer"},
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_member_that_leaves_loses_and_repeats_nothing(
    real_kafka: RealKafka, splunk: Splunk, tmp_path: Path, protocol: str
) -> None:
    """Two members share a topic; one is ended in mid-run: it drains, the other takes over, once each."""
    topic = f"shared-{protocol}"
    real_kafka.create_topic(topic, 6)
    real_kafka.create_topic(f"{topic}.dead")
    config = settings(real_kafka.bootstrap, [topic], splunk.url) | PROTOCOLS[protocol]
    if protocol == "consumer":
        del config['kafka.properties."session.timeout.ms"']  # the broker's, with this protocol
    with SinkProcess(tmp_path / "one", config) as one:
        with Feed(real_kafka.bootstrap, topic, 6, per_s=1_000):
            one.wait_until(splunk.indexed, "the first member's work", END_S)
            with SinkProcess(tmp_path / "two", config) as two:
                two.wait_until(
                    lambda: two.logged(f"assigned {topic}"), "the second member's partitions", END_S
                )
                await_more(splunk, 1_000)
                assert two.terminate() == 0
                assert two.summary()["committed"] is True
                assert two.summary()["delivered"] == two.summary()["records"] > 0
            await_more(splunk, 1_000)
        one.wait_until(lambda: lag(real_kafka.bootstrap, f"group-of-{topic}", topic) == 0, "no lag", END_S)
        assert one.terminate() == 0
    assert splunk.indexed() == Counter(places(real_kafka.bootstrap, topic))


def await_more(splunk: Splunk, events: int) -> None:
    """Wait until so many more events are indexed."""
    before = splunk.stats()["events_indexed"]
    wait_for(lambda: splunk.stats()["events_indexed"] >= before + events, "events to be indexed", END_S)


def test_sigterm_drains_and_commits(real_kafka: RealKafka, splunk: Splunk, tmp_path: Path) -> None:
    """After SIGTERM all that was consumed is indexed and committed, and the exit code is 0."""
    real_kafka.create_topic("drained", 3)
    real_kafka.create_topic("drained.dead")
    config = settings(real_kafka.bootstrap, ["drained"], splunk.url)
    with (
        Feed(real_kafka.bootstrap, "drained", 3, per_s=1_000),
        SinkProcess(tmp_path / "sink", config) as sink,
    ):
        sink.wait_until(lambda: splunk.stats()["events_indexed"] > 1_000, "work", END_S)
        assert sink.terminate() == 0
        summary = sink.summary()
    assert summary["records"] == summary["delivered"]
    assert summary["committed"] is True
    done = committed(real_kafka.bootstrap, "group-of-drained", "drained", range(3))
    below = {("drained", at, offset) for at, end in done.items() for offset in range(end or 0)}
    assert splunk.indexed() == Counter(below)


def test_a_second_signal_ends_at_once(real_kafka: RealKafka, tmp_path: Path) -> None:
    """While acks are awaited after SIGTERM, another one ends the process with 7, nothing committed."""
    real_kafka.create_topic("impatient")
    real_kafka.create_topic("impatient.dead")
    fill(real_kafka.bootstrap, "impatient", log_lines(100), 1)
    with Splunk(tmp_path, "--ack-delay", "never") as splunk:
        config = settings(real_kafka.bootstrap, ["impatient"], splunk.url, run__shutdown_s=600)
        with SinkProcess(tmp_path / "sink", config) as sink:
            sink.wait_until(lambda: splunk.stats()["events_indexed"] == 100, "the records to be taken", END_S)
            sink.signal(signal.SIGTERM)
            sink.wait_until(lambda: sink.logged("ending: "), "the drain to begin", END_S)
            sink.signal(signal.SIGTERM)
            assert sink.wait() == 7
    done = committed(real_kafka.bootstrap, "group-of-impatient", "impatient", [0])
    assert not done[0]


def test_two_processes_share_the_work_and_end_together(
    real_kafka: RealKafka, splunk: Splunk, tmp_path: Path
) -> None:
    """`--processes 2 --until-end` delivers everything once, merges its pages, and ends with one summary."""
    real_kafka.create_topic("pair", 4)
    real_kafka.create_topic("pair.dead")
    fill(real_kafka.bootstrap, "pair", [*log_lines(5_000), b"\xff poison"], 4)
    port = free_port()
    config = settings(real_kafka.bootstrap, ["pair"], splunk.url, server__listen=f"127.0.0.1:{port}")
    with SinkProcess(tmp_path / "sink", config, "--processes", "2", "--until-end") as sink:
        sink.wait_until(lambda: metrics(port), "the merged metrics", END_S)
        assert get(port, "/livez")[0] == 200
        assert sink.wait() == 0
        summary = sink.summary()
    letters = origins(real_kafka.bootstrap, "pair.dead")
    assert splunk.indexed() + letters == Counter(places(real_kafka.bootstrap, "pair"))
    assert lag(real_kafka.bootstrap, "group-of-pair", "pair") == 0
    told = {name: summary[name] for name in ("records", "delivered", "dead_lettered", "committed")}
    assert told == {"records": 5_001, "delivered": 5_000, "dead_lettered": 1, "committed": True}
