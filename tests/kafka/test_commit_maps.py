"""Settled maps in commits: when one is used, what is skipped by it, and what a commit takes along."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Position
from map_tools import HERE, TIMED_OUT, Ids

from splunk_hec_kafka.commit_maps import MOST_BYTES_A_COMMIT, CommitMaps
from splunk_hec_kafka.commits import Commits
from splunk_hec_kafka.enquiries import Starts
from splunk_hec_kafka.identities import Identities
from splunk_hec_kafka.offsets import OffsetLedger, Run, TopicPartition
from splunk_hec_kafka.settled_map import MOST_BYTES, SettledMap, SettledRun, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable

P, Q = TopicPartition("logs", 0), TopicPartition("logs", 1)
ANEW = "36RXqN3RQi21w88Ub0Ca6g"
NO_ID = "A" * 22


class Member:
    """A ledger with maps over a scripted Kafka; no time passes."""

    def __init__(self) -> None:
        self.kafka: Any = Ids()
        self.ledger = OffsetLedger(keeps_leaders=True)
        self.maps = CommitMaps(self.ledger, Identities(self.kafka, self.kafka, lambda: 0.0))

    def begin(self, start: int, text: str = "", at: TopicPartition = P) -> None:
        """A partition comes."""
        self.maps.begin({at: start}, {at: text})
        self.ledger.assign({at: start})

    def read(
        self, *offsets: int, leader_epoch: int = 0, at: TopicPartition = P
    ) -> tuple[list[int], list[int]]:
        """Records are consumed; returns which are left to deliver, and which were settled before."""
        chunk = records(offsets, leader_epoch, at)
        self.ledger.open(chunk, 0.0)
        split = self.maps.split(chunk)
        assert [one for one in chunk if one in split.rest] == split.rest
        return [one.offset() or 0 for one in split.rest], [one.offset() or 0 for one in split.settled]

    def settle(self, first: int, last: int, at: TopicPartition = P) -> None:
        """Records settle."""
        assert self.ledger.settle(Run(at, self.ledger.epochs[at], first, last))

    def runs(self, at: TopicPartition = P) -> list[SettledRun]:
        """What the next commit tells."""
        found = decode(self.maps.texts(self.ledger.committable([at]))[at])
        return list(found.runs) if found is not None else []


def records(offsets: Iterable[int], leader_epoch: int = 0, at: TopicPartition = P) -> list[Message]:
    """Records as consumed."""
    return [
        Message(topic=at.topic, partition=at.partition, offset=offset, value=b"v", leader_epoch=leader_epoch)
        for offset in offsets
    ]


def text_of(*runs: SettledRun, base: int = 5, **other: Any) -> str:
    """A map of P."""
    return encode(SettledMap(*HERE, 0, base, runs)._replace(**other))


MAP = text_of(SettledRun(7, 9, 0), SettledRun(12, 13, 1))


@pytest.fixture
def member() -> Member:
    """A group member without partitions."""
    return Member()


# -- use -------------------------------------------------------------------------------------------------


def test_what_the_map_calls_settled_is_skipped(member: Member, caplog: pytest.LogCaptureFixture) -> None:
    """Records in a run are skipped if they were written under its leader; all others are delivered."""
    caplog.set_level(logging.INFO, "splunk_hec_kafka")
    member.begin(5, MAP)
    assert "logs/0@5: 5 offsets up to 13 are settled already" in caplog.text
    assert member.read(5, 6, 7, 8) == ([5, 6], [7, 8])
    assert member.read(9, 10, 11, 12, leader_epoch=1) == ([9, 10, 11], [12])
    assert member.read(13, 14, leader_epoch=2) == ([13, 14], [])
    asked = member.kafka.asked
    assert member.read(15, 16) == ([15, 16], [])
    assert member.kafka.asked == asked  # the map has told all; nobody is asked any more


def test_records_of_several_partitions_are_told_apart(member: Member) -> None:
    """A map concerns its own partition only, however their records are mixed."""
    member.begin(5, MAP)
    member.begin(5, at=Q)
    chunk = records([5, 6, 7]) + records([6, 7, 8], at=Q) + records([8, 9, 10])
    member.ledger.open(chunk, 0.0)
    split = member.maps.split(chunk)
    assert split.settled == chunk[2:3] + chunk[6:8]
    assert split.rest == chunk[:2] + chunk[3:6] + chunk[8:]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            text_of(SettledRun(7, 9, 0), cluster="cluster-2"),
            "it is of the cluster cluster-2, this is cluster-1",
        ),
        (
            text_of(SettledRun(7, 9, 0), topic_id=ANEW),
            f"it is of the topic id {ANEW}, this is {HERE.topic_id}",
        ),
        (text_of(SettledRun(7, 9, 0), partition=1), "it is of partition 1"),
        (text_of(SettledRun(7, 9, 0), base=4), "it belongs to the offset 4"),
    ],
)
def test_a_map_that_belongs_elsewhere_is_not_used(
    member: Member, caplog: pytest.LogCaptureFixture, text: str, why: str
) -> None:
    """A mirror copies texts beside translated offsets, and a topic made anew has its name: neither holds."""
    caplog.set_level(logging.INFO, "splunk_hec_kafka")
    member.begin(5, text)
    assert f"logs/0: the settled map of its commit is not used: {why}" in caplog.text
    assert member.read(5, 6, 7, 8) == ([5, 6, 7, 8], [])


@pytest.mark.parametrize("text", ["", "offset=5", "hec-kafka-sink/2 a b 0 5 CgI 00000000"])
def test_the_texts_of_others_are_passed_over(
    member: Member, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """What another tool, or a later version, wrote beside the offset is neither used nor talked about."""
    caplog.set_level(logging.INFO, "splunk_hec_kafka")
    member.begin(5, text)
    assert not caplog.records
    assert member.read(5, 6, 7, 8) == ([5, 6, 7, 8], [])


def test_a_topic_made_anew_meanwhile_is_read(member: Member, caplog: pytest.LogCaptureFixture) -> None:
    """The new topic's records stand at offsets of the map under the same leader epoch: none is skipped."""
    member.begin(5, MAP)
    member.kafka.topics["logs"] = ANEW
    assert member.read(5, 6, 7, 8) == ([5, 6, 7, 8], [])
    assert "logs/0: the topic was made anew" in caplog.text
    member.kafka.topics["logs"] = HERE.topic_id
    assert member.read(9) == ([9], [])
    member.settle(6, 9)
    assert member.runs() == []  # whose records these are is not known for sure


def test_ids_that_cannot_be_told_after_reading_use_the_map_no_more(
    member: Member, caplog: pytest.LogCaptureFixture
) -> None:
    """Without an answer a record is sent again, and the question is not repeated: one wait at most."""
    member.begin(5, MAP)
    member.kafka.failure = TIMED_OUT
    assert member.read(5, 6, 7) == ([5, 6, 7], [])
    assert "logs/0: the topic's id cannot be told" in caplog.text
    asked = member.kafka.asked
    assert member.read(8, 9) == ([8, 9], [])
    assert member.kafka.asked == asked
    member.settle(6, 9)
    assert member.runs() == [SettledRun(6, 9, 0)]  # it was known before reading, which is enough to write


def test_a_partition_that_is_distrusted_has_no_map(member: Member) -> None:
    """When its offsets may mean something else, a partition's map is neither used nor written."""
    member.begin(5, MAP)
    member.maps.drop(P)
    assert member.read(5, 6, 7, 8) == ([5, 6, 7, 8], [])
    member.settle(6, 8)
    assert member.runs() == []
    member.maps.forget([P, Q])
    member.begin(5, MAP)  # assigned anew
    assert member.read(5, 6, 7, 8) == ([5, 6], [7, 8])


# -- ids -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"failure": TIMED_OUT},
        {"failure": TimeoutError()},
        {"cluster": None},
        {"cluster": ""},
        {"consumers_cluster": None},
        {"consumers_cluster": "cluster-2"},
        {"topics": {}},
        {"topics": {"logs": NO_ID}},
    ],
)
def test_without_ids_there_are_no_maps(
    member: Member, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    """No answer, no ids in this cluster, or two clients in two clusters: no map is used, none is written."""
    caplog.set_level(logging.INFO, "splunk_hec_kafka")
    for name, value in change.items():
        setattr(member.kafka, name, value)
    member.begin(5, MAP)
    assert "the ids of the cluster and of logs cannot be told" in caplog.text
    assert "is not used: the ids of cluster and topic cannot be told" in caplog.text
    assert member.read(5, 6, 7) == ([5, 6, 7], [])
    member.settle(6, 7)
    assert member.runs() == []


def test_one_topic_that_is_gone_takes_nothing_from_the_others() -> None:
    """Of several topics, those that are known are told."""
    kafka: Any = Ids()
    identities = Identities(kafka, kafka, lambda: 0.0)
    assert identities.now({"logs", "gone"}) == {"logs": HERE}
    assert identities.before_reading({"gone"}) == {}


# -- what is written -------------------------------------------------------------------------------------


def test_a_commit_tells_what_settled_beyond_it(member: Member) -> None:
    """Runs beyond the committed offset, each under its leader, with the ids that held before reading."""
    member.begin(5)
    assert member.runs() == []
    member.read(5, 6, 7, 8)
    member.read(9, 10, leader_epoch=3)
    member.settle(7, 10)
    member.kafka.topics["logs"] = ANEW
    assert decode(member.maps.texts({P: 5})[P]) == SettledMap(
        *HERE, 0, 5, (SettledRun(7, 8, 0), SettledRun(9, 10, 3))
    )
    member.settle(5, 6)
    assert member.maps.texts(member.ledger.committable()) == {P: ""}


def test_what_was_skipped_or_not_read_again_yet_stays_in_the_map(member: Member) -> None:
    """A second crash soon after the first repeats no more than the first."""
    member.begin(5, MAP)
    assert member.maps.texts({P: 5}) == {P: MAP}  # before anything is read again
    member.read(5, 6, 7)
    member.settle(7, 7)
    assert member.maps.texts(member.ledger.committable()) == {P: MAP}
    member.read(8, 9, 10)
    member.settle(8, 9)
    assert member.runs() == [SettledRun(7, 9, 0), SettledRun(12, 13, 1)]
    member.settle(5, 6)
    assert member.ledger.committable() == {P: 10}
    assert member.runs() == [SettledRun(12, 13, 1)]


def test_a_fresh_partition_has_a_map_too(member: Member) -> None:
    """Without a commit there is nothing to use, and what settles is written all the same."""
    member.maps.begin({P: -2}, {})
    member.ledger.assign({P: None})
    assert member.maps.texts({P: 0}) == {P: ""}
    member.read(0, 1)
    member.settle(1, 1)
    assert member.runs() == [SettledRun(1, 1, 0)]


def test_many_partitions_share_the_room_of_a_commit(member: Member) -> None:
    """All maps of one commit together stay well below what a broker takes at once."""
    runs = [SettledRun(offset, offset + 4, 0) for offset in range(5, 9_000, 9)]
    for number in range(200):
        member.begin(5, text_of(*runs, partition=number), at=TopicPartition("logs", number))
    texts = member.maps.texts(member.ledger.committable())
    assert MOST_BYTES_A_COMMIT / 2 < sum(map(len, texts.values())) <= MOST_BYTES_A_COMMIT
    assert min(map(len, texts.values())) > 1_000
    assert MOST_BYTES / 2 < len(member.maps.texts({P: 5})[P]) <= MOST_BYTES


# -- commits ---------------------------------------------------------------------------------------------


class _Consumer:
    """What of a librdkafka consumer commits; notes it, and fails as the test says."""

    def __init__(self, *failures: int) -> None:
        self.failures = list(failures)
        self.commits: list[dict[TopicPartition, tuple[int, str | None]]] = []

    def commit(self, offsets: list[Position], *, asynchronous: bool) -> list[Position]:
        self.commits.append(
            {TopicPartition(one.topic, one.partition): (one.offset, one.metadata) for one in offsets}
        )
        if not asynchronous and self.failures:
            raise KafkaException(KafkaError(self.failures.pop(0)))
        return offsets

    def last(self) -> list[Position]:
        """The last commit as it is reported."""
        return [Position(*at, offset, text) for at, (offset, text) in self.commits[-1].items()]


class Committing(Member):
    """A member with P, whose first record hangs, and Q, whose commits have little to tell."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = Commits(self.ledger, maps=self.maps)
        self.consumer: Any = _Consumer()
        for at in (P, Q):
            self.commits.learn(Starts({at: 5}, {}, {at: ""}))
            self.ledger.assign({at: 5})
        self.read(*range(5, 400))
        for offset in range(7, 400, 2):
            self.settle(offset, offset)
        self.read(5, 6, 7, at=Q)
        self.settle(7, 7, at=Q)

    def texts(self) -> dict[TopicPartition, str | None]:
        """Those of the last commit."""
        return {at: text for at, (_, text) in self.consumer.commits[-1].items()}


@pytest.fixture
def stuck() -> Committing:
    """Much is settled beyond an offset that cannot move."""
    return Committing()


def test_news_of_a_map_are_committed_and_owed_once(stuck: Committing) -> None:
    """Progress beyond an unmoved offset is told; offsets alone say whether a commit is up to date."""
    assert stuck.commits.are_up_to_date()
    assert stuck.commits.owe_a_map()
    stuck.commits.begin(stuck.consumer, 0.0)
    assert all(decode(text) for text in stuck.texts().values())
    assert stuck.commits.owe_a_map()
    stuck.commits.on_report(None, stuck.consumer.last())
    assert not stuck.commits.owe_a_map()
    stuck.settle(6, 6, at=Q)
    assert stuck.commits.are_up_to_date()
    assert stuck.commits.owe_a_map()


def test_a_revoke_takes_news_of_a_map_along_and_nothing_else(stuck: Committing) -> None:
    """Where an offset did not move, the next owner is told what settled beyond it, once."""
    stuck.commits.carry_out(stuck.consumer, [P, Q], 0.0)
    assert {at: offset for at, (offset, _) in stuck.consumer.commits[0].items()} == {P: 5, Q: 5}
    stuck.commits.carry_out(stuck.consumer, [P, Q], 0.0)
    assert len(stuck.consumer.commits) == 1
    stuck.settle(6, 6, at=Q)
    stuck.commits.carry_out(stuck.consumer, [P, Q], 0.0)
    assert list(stuck.texts()) == [Q]


@pytest.mark.parametrize(
    "code", [KafkaError.OFFSET_METADATA_TOO_LARGE, KafkaError.INVALID_COMMIT_OFFSET_SIZE, KafkaError.UNKNOWN]
)
def test_a_map_that_is_too_large_is_left_out(
    stuck: Committing, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    """The offsets are committed again at once without the map that was refused, and it is not tried again."""
    stuck.consumer.failures = [code]
    stuck.commits.carry_out(stuck.consumer, [P, Q], 0.0)
    assert len(stuck.consumer.commits) == 2
    assert stuck.texts()[P] == ""
    assert decode(stuck.texts()[Q])
    assert "logs/0: the broker refuses a settled map" in caplog.text
    assert "logs/1: the broker" not in caplog.text
    stuck.maps.begin({P: 5}, {P: ""})  # also when it is assigned again
    stuck.commits.begin(stuck.consumer, 0.0)
    assert stuck.texts()[P] == ""


def test_maps_that_are_all_too_large_are_all_left_out(stuck: Committing) -> None:
    """However small its maps are, a broker that refuses them gets the offsets without."""
    stuck.consumer.failures = [KafkaError.OFFSET_METADATA_TOO_LARGE] * 2
    stuck.commits.carry_out(stuck.consumer, [P, Q], 0.0)
    assert len(stuck.consumer.commits) == 3
    assert stuck.texts() == {P: "", Q: ""}
    assert stuck.commits.committed == {P: 5, Q: 5}
    assert not stuck.commits.owe_a_map()


def test_a_refusal_without_maps_is_a_failure_as_any(
    stuck: Committing, caplog: pytest.LogCaptureFixture
) -> None:
    """A commit that fails though no map goes along is not repeated at once."""
    stuck.maps.forget([P, Q])
    stuck.ledger.jump(Q, 9)
    stuck.settle(5, 5)
    stuck.consumer.failures = [KafkaError.UNKNOWN] * 9
    stuck.commits.carry_out(stuck.consumer, [P, Q], 0.0)
    assert len(stuck.consumer.commits) == 1
    assert "what it covers is read again" in caplog.text


def test_a_report_of_a_map_that_is_too_large_leaves_it_out(stuck: Committing) -> None:
    """The error is reported for every partition: none is believed, and the next commit goes without."""
    stuck.commits.begin(stuck.consumer, 0.0)
    error = KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE)
    stuck.commits.on_report(error, stuck.consumer.last())
    stuck.commits.begin(stuck.consumer, 1.0)
    assert stuck.texts()[P] == ""
    assert decode(stuck.texts()[Q])
    stuck.commits.on_report(None, stuck.consumer.last())
    assert not stuck.commits.owe_a_map()


def test_without_the_setting_nothing_goes_along() -> None:
    """A commit of a member without maps has no metadata at all, and owes none."""
    ledger = OffsetLedger()
    commits, consumer = Commits(ledger), _Consumer()
    commits.learn(Starts({P: 5}, {}, {P: MAP}))
    ledger.assign({P: 5})
    commits.begin(consumer, 0.0)  # type: ignore[arg-type]
    assert consumer.commits == [{P: (5, None)}]
    assert not commits.owe_a_map()
