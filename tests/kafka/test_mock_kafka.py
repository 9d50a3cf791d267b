"""The embedded Kafka behaves as a broker, fails on demand, and never outlives its parent."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
from ctypes.util import find_library

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from kafka_tools import committed, end_offsets, partitions_of, produce, read_all, wait_for

from splunk_hec_kafka import _mock_kafka
from splunk_hec_kafka._mock_kafka import MockKafka
from splunk_hec_kafka.failures import ExitCode, SinkFailure

OFFSET_COMMIT = 8
PRODUCE = 0
PARENT = """
import sys
from splunk_hec_kafka._mock_kafka import MockKafka
broker = MockKafka({"t": 1})
print(broker.bootstrap, flush=True)
sys.stdin.read()
"""


def is_alive(pid: int) -> bool:
    """Whether the process runs (one that ended and awaits its parent does not)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def takes_connections(bootstrap: str) -> bool:
    """Whether anyone listens at host:port."""
    host, port = bootstrap.split(":")
    with socket.socket() as trial:
        return trial.connect_ex((host, int(port))) == 0


class TestBroker:
    """What clients may rely on."""

    def test_records_come_back_whole(self, mock_kafka: MockKafka) -> None:
        """Value, key, headers, timestamp and partition are read as they were written."""
        mock_kafka.create_topic("t", 3)
        produce(
            mock_kafka.bootstrap,
            "t",
            [b"\xff\x00", None],
            partition=2,
            keys=[b"k"],
            headers=[[("h", b"1"), ("h", None)]],
            timestamps=[1_700_000_000_123],
        )
        first, second = read_all(mock_kafka.bootstrap, "t")
        assert (first.value(), first.key(), first.headers()) == (
            b"\xff\x00",
            b"k",
            [("h", b"1"), ("h", None)],
        )
        assert (first.partition(), first.timestamp()[1]) == (2, 1_700_000_000_123)
        assert (second.value(), second.key(), second.offset()) == (None, None, 1)

    def test_topics_have_the_partitions_asked_for(self) -> None:
        """Topics of the start and topics created later have exactly their partitions."""
        with MockKafka({"early": 2, "with.dots-and_more": 1}) as broker:
            broker.create_topic("late", 5)
            counts = {topic: len(partitions_of(broker.bootstrap, topic)) for topic in ("early", "late")}
            assert counts == {"early": 2, "late": 5}
            assert partitions_of(broker.bootstrap, "with.dots-and_more") == [0]

    def test_a_group_joins_and_its_commit_is_seen_from_outside(self, mock_kafka: MockKafka) -> None:
        """A subscribed member gets the records, and a second client sees what it committed."""
        mock_kafka.create_topic("t", 2)
        produce(mock_kafka.bootstrap, "t", [b"a", b"b"], partition=1)
        member = Consumer(
            {"bootstrap.servers": mock_kafka.bootstrap, "group.id": "g", "auto.offset.reset": "earliest"}
        )
        try:
            member.subscribe(["t"])
            got: list[bytes | None] = []
            wait_for(
                lambda: got.extend(m.value() for m in member.consume(10, 0.1)) or len(got) == 2, "records"
            )
            member.commit(offsets=[TopicPartition("t", 1, 2)], asynchronous=False)
        finally:
            member.close()
        assert committed(mock_kafka.bootstrap, "g", "t", [0, 1]) == {0: None, 1: 2}
        assert end_offsets(mock_kafka.bootstrap, "t") == {0: 0, 1: 2}


class TestFaults:
    """What tests and the demonstration may make go wrong."""

    def test_pushed_errors_fail_requests_of_that_kind_once_each(self, mock_kafka: MockKafka) -> None:
        """A refused commit fails with the code pushed, the one after it succeeds; clearing takes it back."""
        mock_kafka.create_topic("t", 1)
        member = Consumer({"bootstrap.servers": mock_kafka.bootstrap, "group.id": "g"})
        at = [TopicPartition("t", 0, 3)]
        try:
            member.assign(at)
            refused = KafkaError.GROUP_AUTHORIZATION_FAILED
            mock_kafka.push_errors(OFFSET_COMMIT, [refused])
            with pytest.raises(KafkaException) as caught:
                member.commit(offsets=at, asynchronous=False)
            assert caught.value.args[0].code() == refused
            mock_kafka.push_errors(OFFSET_COMMIT, [refused])
            mock_kafka.clear_errors(OFFSET_COMMIT)
            member.commit(offsets=at, asynchronous=False)
        finally:
            member.close()
        assert committed(mock_kafka.bootstrap, "g", "t", [0]) == {0: 3}

    def test_a_broker_that_is_down_stores_nothing_until_it_is_up(self, mock_kafka: MockKafka) -> None:
        """While down a record times out; what was stored before is there when the broker is back."""
        mock_kafka.create_topic("t", 1)
        produce(mock_kafka.bootstrap, "t", [b"before"])
        mock_kafka.broker_down()
        producer = Producer(
            {"bootstrap.servers": mock_kafka.bootstrap, "message.timeout.ms": 300, "log_level": 0}
        )
        errors: list[KafkaError | None] = []
        producer.produce("t", b"lost", on_delivery=lambda error, _message: errors.append(error))
        wait_for(lambda: producer.flush(0.1) == 0, "the report")
        assert [error.code() for error in errors if error] == [KafkaError._MSG_TIMED_OUT]
        mock_kafka.broker_up()
        assert [one.value() for one in read_all(mock_kafka.bootstrap, "t")] == [b"before"]

    def test_a_topic_answers_with_its_error(self, mock_kafka: MockKafka) -> None:
        """A topic told to fail says so in the metadata."""
        mock_kafka.create_topic("t", 1)
        mock_kafka.topic_error("t", KafkaError.TOPIC_AUTHORIZATION_FAILED)
        producer = Producer({"bootstrap.servers": mock_kafka.bootstrap})
        error = producer.list_topics("t", 5).topics["t"].error
        assert error is not None
        assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED

    def test_answers_wait_for_the_round_trip_time(self, mock_kafka: MockKafka) -> None:
        """A client gives up on a broker that is slower than its time-out."""
        mock_kafka.rebalance_delay(0)
        mock_kafka.rtt(60)
        with pytest.raises(KafkaException):
            Producer({"bootstrap.servers": mock_kafka.bootstrap, "log_level": 0}).list_topics(timeout=0.2)

    def test_what_the_cluster_refuses_is_told(self, mock_kafka: MockKafka) -> None:
        """A refused control names itself and the reason, and the broker goes on."""
        mock_kafka.create_topic("t", 1)
        with pytest.raises(ValueError, match=r"create_topic.*already exists"):
            mock_kafka.create_topic("t", 1)
        with pytest.raises(ValueError, match="TypeError"):
            mock_kafka.create_topic("u", "many")  # type: ignore[arg-type]
        produce(mock_kafka.bootstrap, "t", [b"on"])


class TestLife:
    """It starts or says why, and ends with its parent."""

    def test_closing_ends_the_process(self) -> None:
        """After close no process is left, and closing again does nothing."""
        broker = MockKafka()
        broker.close()
        assert not is_alive(broker.pid)
        broker.close()

    def test_it_does_not_outlive_a_killed_parent(self) -> None:
        """When the parent is killed without a chance to clean up, the broker ends by itself."""
        command = [sys.executable, "-c", PARENT]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            bootstrap = parent.stdout.readline().strip()
            assert takes_connections(bootstrap)
            parent.kill()
            wait_for(lambda: not takes_connections(bootstrap), "the end of the broker")

    def test_it_ignores_the_interrupt_meant_for_its_parent_and_ends_on_sigterm(self) -> None:
        """Ctrl-C leaves it serving while the parent drains; SIGTERM ends it, as success."""
        broker = MockKafka({"t": 1})
        try:
            os.kill(broker.pid, signal.SIGINT)
            broker.create_topic("still", 1)
            os.kill(broker.pid, signal.SIGTERM)
            assert broker._process.wait(10) == ExitCode.OK
        finally:
            broker.close()

    def test_a_process_that_died_is_a_failure_of_one_line(self) -> None:
        """A control after the process was killed says so, with a way out."""
        with MockKafka() as broker:
            os.kill(broker.pid, signal.SIGKILL)
            broker._process.wait(10)
            with pytest.raises(SinkFailure, match="rtt: the process has ended") as caught:
                broker.rtt(0)
        assert caught.value.exit_code is ExitCode.INTERNAL

    def test_one_that_does_not_end_is_killed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A process that is stopped cannot keep close from returning."""
        monkeypatch.setattr(_mock_kafka, "CLOSE_DEADLINE_S", 0.05)
        broker = MockKafka()
        os.kill(broker.pid, signal.SIGSTOP)
        broker.close()
        assert not is_alive(broker.pid)

    def test_a_start_that_fails_says_why(self) -> None:
        """A topic the cluster refuses fails the start with the cluster's reason."""
        with pytest.raises(SinkFailure, match=r"did not start: topic t: 0 partitions \(fix: ") as caught:
            MockKafka({"t": 0})
        assert caught.value.exit_code is ExitCode.INTERNAL


class TestInside:
    """The process itself, run here to look into it."""

    def test_a_build_without_the_mock_cluster_is_named(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Where librdkafka lacks the functions, the first line names the missing ones and nothing starts."""
        monkeypatch.setattr(_mock_kafka, "LIBRARY", find_library("c"))
        assert _mock_kafka.main([]) == ExitCode.INTERNAL
        assert "exports no rd_kafka_conf_new" in json.loads(capsys.readouterr().out)["error"]

    def test_it_speaks_json_lines(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The address first, then one answer a line, errors included, until the input ends."""
        asked = ['{"do": "broker_down", "with": []}', '{"do": "nonsense", "with": []}', "{"]
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(asked) + "\n"))
        assert _mock_kafka.main(["--topic", "t:2"]) == ExitCode.OK
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert told[0]["bootstrap"].startswith("127.0.0.1:")
        assert told[1] == {"ok": True}
        assert [line["error"].split(":")[0] for line in told[2:]] == ["KeyError", "JSONDecodeError"]

    @pytest.mark.parametrize("text", ["t", "t:many", ":1"])
    def test_a_topic_without_a_number_is_a_usage_error(
        self, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """NAME:PARTITIONS or nothing."""
        with pytest.raises(SystemExit) as caught:
            _mock_kafka.main(["--topic", text])
        assert caught.value.code == ExitCode.USAGE
        assert "--topic" in capsys.readouterr().err
