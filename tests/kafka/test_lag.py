"""`lag` and `run --print`: what they read of Kafka, and that they change nothing there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from kafka_tools import committed, produce

from splunk_hec.errors import ConfigError
from splunk_hec_kafka.config import SinkConfig, load
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.lag import group_lag, lag_json, lag_text
from splunk_hec_kafka.preview import print_envelopes

if TYPE_CHECKING:
    from splunk_hec_kafka._mock_kafka import MockKafka


def config(bootstrap: str, **more: Any) -> SinkConfig:
    """A configuration that is enough to read."""
    flags = {"kafka.bootstrap_servers": bootstrap, "kafka.topics": ["logs"], "kafka.group_id": "group"}
    flags["run.startup_timeout_s"] = 1
    return load(None, {}, flags=flags | more).config


def commit(bootstrap: str, offsets: dict[int, int]) -> None:
    """Commit for the group from outside."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "group", "enable.auto.commit": False})
    try:
        positions = [TopicPartition("logs", number, offset) for number, offset in offsets.items()]
        consumer.commit(offsets=positions, asynchronous=False)
    finally:
        consumer.close()


def test_lag_is_the_end_less_the_commit(mock_kafka: MockKafka) -> None:
    """A row for each partition; without a commit there is neither offset nor lag."""
    mock_kafka.create_topic("logs", 2)
    produce(mock_kafka.bootstrap, "logs", [b"a", b"b", b"c"], partition=0)
    commit(mock_kafka.bootstrap, {0: 1})
    rows = group_lag(config(mock_kafka.bootstrap))
    assert lag_json(rows) == [
        {
            "group": "group",
            "topic": "logs",
            "partition": 0,
            "current_offset": 1,
            "log_end_offset": 3,
            "lag": 2,
        },
        {
            "group": "group",
            "topic": "logs",
            "partition": 1,
            "current_offset": None,
            "log_end_offset": 0,
            "lag": None,
        },
    ]
    assert [line.split() for line in lag_text(rows).splitlines()] == [
        ["GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"],
        ["group", "logs", "0", "1", "3", "2"],
        ["group", "logs", "1", "-", "0", "-"],
    ]


def test_a_group_that_may_not_be_read_is_a_failure(mock_kafka: MockKafka) -> None:
    """A refused group is told with exit 4, not shown as one without commits."""
    mock_kafka.create_topic("logs", 2)
    mock_kafka.push_errors(9, [30] * 10)
    with pytest.raises(SinkFailure, match="authorization") as caught:
        group_lag(config(mock_kafka.bootstrap))
    assert caught.value.exit_code is ExitCode.KAFKA


def test_ends_that_are_not_told_are_a_failure(mock_kafka: MockKafka) -> None:
    """A broker that does not say where a partition ends is told with exit 4."""
    mock_kafka.create_topic("logs", 1)
    mock_kafka.push_errors(2, [29] * 20)
    with pytest.raises(SinkFailure, match="authorization") as caught:
        group_lag(config(mock_kafka.bootstrap))
    assert caught.value.exit_code is ExitCode.KAFKA


def test_no_topic_no_rows(mock_kafka: MockKafka) -> None:
    """Where nothing matches there is a heading and no row."""
    assert group_lag(config(mock_kafka.bootstrap, **{"kafka.topics": ["^nothing.*"]})) == []
    assert len(lag_text([]).splitlines()) == 1


@pytest.mark.parametrize("ask", [group_lag, lambda given: print_envelopes(given, 1)])
def test_questions_without_an_answer_end_in_a_failure(ask: Any) -> None:
    """No broker is exit 4; a property that librdkafka does not know, and a missing group, are exit 3."""
    with pytest.raises(SinkFailure) as caught:
        ask(config("127.0.0.1:1"))
    assert caught.value.exit_code is ExitCode.KAFKA
    with pytest.raises(ConfigError, match="nosuchprop"):
        ask(config("127.0.0.1:1", **{"kafka.properties.nosuchprop": "1"}))
    with pytest.raises(ConfigError, match="group_id"):
        ask(config("127.0.0.1:1", **{"kafka.group_id": None}))


def test_print_shows_what_would_be_sent(mock_kafka: MockKafka, capsys: pytest.CaptureFixture[str]) -> None:
    """Envelopes on stdout, one a line, from the group's commit on; what is refused or skipped on stderr."""
    mock_kafka.create_topic("logs", 1)
    produce(mock_kafka.bootstrap, "logs", [b"old", b"one", b"\xff", None, b"two", b"three"])
    commit(mock_kafka.bootstrap, {0: 1})
    assert print_envelopes(config(mock_kafka.bootstrap), 2) == ExitCode.OK
    captured = capsys.readouterr()
    assert [json.loads(line)["event"] for line in captured.out.splitlines()] == ["one", "two"]
    assert "logs/0@2 would become a dead letter (undecodable" in captured.err
    assert "logs/0@3 would be skipped (tombstone)" in captured.err


def test_print_ends_at_the_end_and_commits_nothing(
    mock_kafka: MockKafka, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fewer records than asked for are all shown; the group has committed nothing by it."""
    mock_kafka.create_topic("logs", 3)
    produce(mock_kafka.bootstrap, "logs", [b"one"])
    assert print_envelopes(config(mock_kafka.bootstrap), 100) == ExitCode.OK
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert set(committed(mock_kafka.bootstrap, "group", "logs", range(3)).values()) == {None}
    latest = config(mock_kafka.bootstrap, **{"kafka.start": "latest"})
    assert print_envelopes(latest, 100) == ExitCode.OK
    assert capsys.readouterr().out == ""


def test_print_tells_what_kafka_refuses(mock_kafka: MockKafka) -> None:
    """An error in mid-reading ends it with exit 4 instead of showing too little."""
    mock_kafka.create_topic("logs", 1)
    produce(mock_kafka.bootstrap, "logs", [b"one"])
    mock_kafka.push_errors(1, [29] * 20)
    with pytest.raises(SinkFailure, match="authorization") as caught:
        print_envelopes(config(mock_kafka.bootstrap), 1)
    assert caught.value.exit_code is ExitCode.KAFKA
