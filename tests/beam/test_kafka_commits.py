"""The committer: offsets never go back, failures never get out, whoever calls and when."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from kafka_source_tools import commit
from kafka_tools import committed

from splunk_hec.errors import ConfigError
from splunk_hec_beam.kafka_commits import REFRESH_S, REPORT_S, Committer, committer_of
from splunk_hec_beam.kafka_group import KafkaGroup
from splunk_hec_beam.kafka_mark import KafkaMark, Share
from splunk_hec_kafka._mock_kafka import MockKafka

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P, Q = ("logs", 0), ("logs", 1)
GROUP = "commits"


class _Erring(TopicPartition):
    """A partition as the broker tells it with an error (librdkafka's own has no setter for it)."""

    error = KafkaError(KafkaError.UNKNOWN_MEMBER_ID)


class _Broker:
    """Group and client in one: keeps offsets, reports commits when polled, fails as the test says."""

    group_id = GROUP

    def __init__(self, **held: int) -> None:
        self.held: dict[int, int] = {int(name[1:]): offset for name, offset in held.items()}
        self.commits: list[dict[int, int]] = []
        self.questions: list[list[int]] = []
        self.made = self.closed = 0
        self.now = 0.0
        self.failure: BaseException | None = None
        self.is_silent = False
        self.report: Callable[[KafkaError | None, list[TopicPartition]], None] = lambda *_: None
        self.waiting: list[TopicPartition] = []
        self.on_poll: Callable[[], None] = lambda: None
        self.refuses: list[int] = []

    def consumer(self, more: dict[str, Any]) -> _Broker:
        self.made += 1
        self.report = more["on_commit"]
        return self

    def committed(self, asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert timeout > 0
        self.questions.append([one.partition for one in asked])
        return [
            TopicPartition(one.topic, one.partition, self.held.get(one.partition, -1001)) for one in asked
        ]

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous
        if self.failure is not None:
            raise self.failure
        self.commits.append({one.partition: one.offset for one in offsets})
        self.waiting = offsets

    def poll(self, _timeout_s: float) -> None:
        self.on_poll()
        self.now += 1
        told, self.waiting = ([], self.waiting) if self.is_silent else (self.waiting, [])
        if told:
            self.held |= {one.partition: one.offset for one in told if one.partition not in self.refuses}
            self.report(
                None,
                [
                    (_Erring if one.partition in self.refuses else TopicPartition)(
                        one.topic, one.partition, one.offset
                    )
                    for one in told
                ],
            )

    def close(self) -> None:
        self.closed += 1


def over(broker: _Broker) -> Committer:
    """A committer over a scripted broker, kept by a reader."""
    group: Any = broker
    committer = Committer(group, clock=lambda: broker.now)
    committer.hold()
    return committer


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    """A broker with two partitions of logs."""
    with MockKafka({"logs": 2}) as broker:
        yield broker


def test_an_offset_never_goes_back() -> None:
    """Marks that come late, twice, or out of order change nothing; higher ones do, partition by partition."""
    broker = _Broker()
    committer = over(broker)
    committer.commit({P: (0, 5), Q: (0, 1)})
    for late in ({P: (0, 5)}, {P: (0, 3)}, {}, {P: (0, 0), Q: (0, 1)}):
        committer.commit(late)
    committer.commit({P: (0, 4), Q: (0, 2)})
    assert broker.commits == [{0: 5, 1: 1}, {1: 2}]
    assert broker.held == {0: 5, 1: 2}


def test_what_the_group_has_already_is_not_undone() -> None:
    """A job that starts again from an older checkpoint delivers again, but does not take the group back."""
    broker = _Broker(p0=100)
    committer = over(broker)
    committer.commit({P: (0, 40), Q: (0, 7)})
    committer.commit({P: (0, 99)})
    committer.commit({P: (0, 101)})
    assert broker.commits == [{1: 7}, {0: 101}]


def test_the_group_is_asked_once_a_partition() -> None:
    """Before its first commit, and not before each."""
    broker = _Broker()
    committer = over(broker)
    for offset in range(1, 5):
        committer.commit({P: (0, offset)})
    assert [asked for asked in broker.questions if asked] == [[0]]


def test_a_log_that_began_anew_may_take_the_group_back() -> None:
    """A higher generation wins over any offset of a lower one, and late marks of the old log are ignored."""
    broker = _Broker()
    committer = over(broker)
    committer.commit({P: (0, 1000)})
    committer.commit({P: (1, 3)})
    committer.commit({P: (0, 1001)})
    assert broker.commits == [{0: 1000}, {0: 3}]


def test_a_reader_that_begins_from_the_group_sets_the_memory() -> None:
    """Somebody set the group back between two jobs of one process: the second one's commits count."""
    broker = _Broker()
    committer = over(broker)
    committer.commit({P: (0, 1000)})
    broker.held[0] = 0
    committer.learn({P: 0})
    committer.commit({P: (0, 10)})
    assert broker.commits == [{0: 1000}, {0: 10}]


@pytest.mark.parametrize(
    "failure",
    [
        KafkaException(KafkaError(KafkaError._TRANSPORT)),
        ConfigError("the property sasl.password is read from env:X, which is missing or empty"),
        RuntimeError("a fault of our own"),
    ],
)
def test_a_failure_is_logged_and_tried_again(failure: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing gets out of a commit; the next one, of whatever, carries what failed."""
    broker = _Broker()
    committer = over(broker)
    broker.failure = failure
    committer.commit({P: (0, 5)})
    assert "commit failed" in caplog.text
    broker.failure = None
    committer.commit({Q: (0, 1)})
    assert broker.commits == [{0: 5, 1: 1}]


def test_a_lower_mark_does_not_replace_what_failed() -> None:
    """What is tried again is the highest that was asked for, not the last."""
    broker = _Broker()
    committer = over(broker)
    broker.failure = KafkaException(KafkaError(KafkaError._TRANSPORT))
    committer.commit({P: (0, 9)})
    broker.failure = None
    committer.commit({P: (0, 3)})
    assert broker.commits == [{0: 9}]


def test_a_commit_without_an_answer_ends(caplog: pytest.LogCaptureFixture) -> None:
    """A broker that hangs holds finalization up for `REPORT_S`; its late word confirms nothing newer."""
    broker = _Broker()
    committer = over(broker)
    broker.is_silent = True
    committer.commit({P: (0, 5)})
    assert broker.now >= REPORT_S
    assert "no answer" in caplog.text
    late, broker.waiting, broker.is_silent = broker.waiting, [], False
    broker.on_poll = lambda: broker.report(None, late)
    broker.refuses = [0]
    committer.commit({P: (0, 6)})
    broker.refuses = []
    committer.commit({})
    assert broker.commits == [{0: 5}, {0: 6}, {0: 6}]
    assert broker.held == {0: 6}


def test_a_refused_partition_is_told_with_a_hint(caplog: pytest.LogCaptureFixture) -> None:
    """Consumers that join the same group make commits fail: the line says so; the others are committed."""
    broker = _Broker()
    broker.refuses = [0]
    committer = over(broker)
    committer.commit({P: (0, 5), Q: (0, 6)})
    assert "commit of logs/0 failed" in caplog.text
    assert "must be this job's alone" in caplog.text
    assert broker.held == {1: 6}
    broker.refuses = []
    committer.commit({})
    assert broker.commits[-1] == {0: 5}


def test_nobody_waits_behind_a_commit() -> None:
    """A second thread leaves its offsets to the one that is at it, and returns; they are committed next."""
    broker = _Broker()
    committer = over(broker)
    is_under_way, may_go_on = threading.Event(), threading.Event()

    def hang() -> None:
        is_under_way.set()
        assert may_go_on.wait(10)

    broker.on_poll = hang
    first = threading.Thread(target=committer.commit, args=({P: (0, 5)},))
    first.start()
    assert is_under_way.wait(10)
    committer.commit({P: (0, 9), Q: (0, 1)})
    assert broker.commits == [{0: 5}]
    may_go_on.set()
    first.join(10)
    assert broker.commits == [{0: 5}, {0: 9, 1: 1}]


def test_many_threads_end_at_the_highest() -> None:
    """Whatever the order of threads, the group holds the highest offset of each partition."""
    broker = _Broker()
    committer = over(broker)
    threads = [
        threading.Thread(target=committer.commit, args=({P: (0, number), Q: (0, 50 - number)},))
        for number in range(50)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join(10)
    assert broker.held == {0: 49, 1: 50}


def test_an_interrupt_does_not_stop_commits_for_good() -> None:
    """After a KeyboardInterrupt in the middle of one, the next commit is carried out."""
    broker = _Broker()
    committer = over(broker)
    broker.failure = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        committer.commit({P: (0, 5)})
    broker.failure = None
    committer.commit({})
    assert broker.held == {0: 5}


def test_the_client_lives_as_long_as_readers_do() -> None:
    """Made by the first commit, kept while there are readers, then closed; later ones close theirs."""
    broker = _Broker()
    committer = over(broker)
    assert broker.made == 0
    committer.commit({P: (0, 1)})
    committer.commit({P: (0, 2)})
    assert (broker.made, broker.closed) == (1, 0)
    committer.release()
    assert broker.closed == 1
    committer.commit({P: (0, 3)})
    assert (broker.made, broker.closed) == (2, 2)
    assert not [one for one in threading.enumerate() if one.name == "commits-close"]


def test_what_does_not_change_is_committed_again_in_time() -> None:
    """Brokers drop the offsets of an idle partition after a week: once an hour they are told again."""
    broker = _Broker()
    committer = over(broker)
    committer.commit({P: (0, 5)})
    broker.now += REFRESH_S
    committer.commit({P: (0, 5)})
    assert broker.commits == [{0: 5}, {0: 5}]


def test_an_hourly_commit_undoes_nothing() -> None:
    """Another process has come further meanwhile: it is asked first, and the old offset is not repeated."""
    broker = _Broker()
    committer = over(broker)
    committer.commit({P: (0, 5)})
    broker.held[0] = 50
    broker.now += REFRESH_S
    committer.commit({P: (0, 5)})
    assert broker.commits == [{0: 5}]


# -- with a real client --------------------------------------------------------------------------------


def mark(kafka: MockKafka, *offsets: int, group: str = GROUP) -> KafkaMark:
    """A mark with an offset for each partition."""
    shares = [Share("logs", partition, offset) for partition, offset in enumerate(offsets)]
    return KafkaMark(KafkaGroup.of(kafka.bootstrap, group), shares)


def test_marks_are_finalized_in_any_order(kafka: MockKafka) -> None:
    """Finalizing late, twice and from another thread leaves the group at the highest offsets."""
    marks = [mark(kafka, 5, 1), mark(kafka, 3, 2), mark(kafka, 9, 0), mark(kafka, 3, 2), mark(kafka, 9, 0)]
    for one in marks:
        thread = threading.Thread(target=one.finalize_checkpoint)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
    assert committed(kafka.bootstrap, GROUP, "logs", [0, 1]) == {0: 9, 1: 2}


def test_a_group_that_is_further_is_left_alone(kafka: MockKafka) -> None:
    """The same with a commit that another process made before."""
    commit(kafka.bootstrap, GROUP, "logs", {0: 100})
    mark(kafka, 40, 7).finalize_checkpoint()
    assert committed(kafka.bootstrap, GROUP, "logs", [0, 1]) == {0: 100, 1: 7}


def test_a_mark_of_a_log_that_began_anew_counts(kafka: MockKafka) -> None:
    """Its generation goes with it to the committer."""
    group = KafkaGroup.of(kafka.bootstrap, GROUP)
    KafkaMark(group, [Share("logs", 0, 1000)]).finalize_checkpoint()
    KafkaMark(group, [Share("logs", 0, 3, None, 1)]).finalize_checkpoint()
    assert committed(kafka.bootstrap, GROUP, "logs", [0]) == {0: 3}


def test_a_broker_that_refuses_commits_does_not_fail_a_bundle(
    kafka: MockKafka, caplog: pytest.LogCaptureFixture
) -> None:
    """The refusal is logged; the next mark commits all."""
    caplog.set_level(logging.WARNING)
    kafka.push_errors(8, [29])  # TOPIC_AUTHORIZATION_FAILED
    mark(kafka, 5, 1).finalize_checkpoint()
    assert "commit of logs/0 failed" in caplog.text
    mark(kafka, 5, 2).finalize_checkpoint()
    assert committed(kafka.bootstrap, GROUP, "logs", [0, 1]) == {0: 5, 1: 2}


def test_there_is_one_committer_a_group(kafka: MockKafka) -> None:
    """Equal groups share a committer and its memory; another group has its own."""
    one = KafkaGroup.of(kafka.bootstrap, "a", {"fetch.wait.max.ms": 5})
    again = KafkaGroup.of([kafka.bootstrap], "a", {"fetch.wait.max.ms": "5"})
    assert committer_of(one) is committer_of(again)
    assert committer_of(one) is not committer_of(KafkaGroup.of(kafka.bootstrap, "b"))
    assert "| 0 partitions | readers 0>" in repr(committer_of(one))
