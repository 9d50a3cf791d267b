"""`dlq`: letters are found, shown and replayed as the records they were, and no loop lasts."""

from __future__ import annotations

import json
import time
from array import array
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from click import UsageError
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st
from kafka_tools import produce, read_all
from record_tools import exact
from sink_tools import LETTERS, dead_lettered, indexed, run_to_end, sink_config

from splunk_hec.errors import ConfigError
from splunk_hec_emulator import Emulator
from splunk_hec_kafka._mock_kafka import MockKafka
from splunk_hec_kafka.config import Loaded, Route
from splunk_hec_kafka.dead_letter_reader import DeadLetterReader
from splunk_hec_kafka.dead_letter_record import REPLAYS, dead_letter_record
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.records import Refusal
from splunk_hec_kafka.replay import Pace, Plan, cut, run_replay
from splunk_hec_kafka.replay_rules import MOST_REPLAYS, ReplayRules, restored
from splunk_hec_kafka.stored_letter import (
    REPLAY_OF,
    Place,
    StoredLetter,
    Wanted,
    letter_json,
    letter_text,
    letters_text,
    newest_of,
    stored_letter,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from splunk_hec_kafka.config import SinkConfig

MS = 1_700_000_000_123
FIRST = Place(0, 0)
BROKEN = Route(value="json")
"""What sends text to the dead letters."""
SUM = ["to", "dry_run", "matched", "replayed", "refused_again", "skipped", "unsettled", "left", "next_since"]


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    """A broker with logs in two partitions, and the topic of dead letters."""
    with MockKafka({"logs": 2, LETTERS: 1}) as broker:
        yield broker


@pytest.fixture
def hec() -> Iterator[Emulator]:
    """An emulator whose acks come at once."""
    with Emulator(ack_delay="0s", tokens=["mine:ack:index=main"]) as emulator:
        yield emulator


def plan(to: Any = "splunk", **more: Any) -> Plan:
    """What to replay: all, unless said otherwise."""
    keys: dict[str, Any] = {"wanted": Wanted(), "limit": None, "rate": None, "is_dry": False}
    return Plan(to=to, **(keys | more))


def replay(
    config: SinkConfig, capsys: pytest.CaptureFixture[str], to: Any = "splunk", **more: Any
) -> tuple[int, dict[str, Any], str]:
    """Replay; exit code, summary and what was said."""
    capsys.readouterr()
    code = run_replay(Loaded(config, {}), plan(to, **more), output="json", is_quiet=True, use_color=False)
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert list(document) == SUM
    return code, document, said.err


def letters(config: SinkConfig) -> list[StoredLetter]:
    """All that are in the topic."""
    with DeadLetterReader(config) as reader:
        return list(reader.each())


def break_and_mend(
    kafka: MockKafka, hec: Emulator, values: list[bytes], **more: Any
) -> tuple[SinkConfig, SinkConfig]:
    """Let a wrong route make dead letters of all values; that configuration, and one that is mended."""
    produce(kafka.bootstrap, "logs", values, partition=1, **more)
    broken = sink_config(kafka, hec, route=[BROKEN])
    assert run_to_end(broken)[0] == ExitCode.OK
    assert indexed(hec) == {}
    return broken, msgspec.structs.replace(broken, route=(Route(),))


# ---- round trips ---------------------------------------------------------------------------------------


def test_a_mended_route_makes_letters_good(
    kafka: MockKafka, hec: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Replayed to Splunk, each record is indexed once, at its own place and time; its letter stays."""
    _, mended = break_and_mend(kafka, hec, [b"one", b"two"], timestamps=[MS, MS + 1])
    code, told, _ = replay(mended, capsys)
    assert code == ExitCode.OK
    assert (told["matched"], told["replayed"], told["refused_again"], told["left"]) == (2, 2, 0, {})
    assert indexed(hec) == {("logs", 1, 0): 1, ("logs", 1, 1): 1}
    assert sorted(float(one["time"]) for one in hec.events()) == [MS / 1000, (MS + 1) / 1000]
    assert len(read_all(kafka.bootstrap, LETTERS)) == 2


def test_back_to_its_topic_a_record_is_what_it_was(
    kafka: MockKafka, hec: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Key, value, headers byte for byte, time and partition are the original's; the sink indexes it once."""
    now = int(time.time() * 1000) - 5_000
    headers: list[tuple[str, bytes | None]] = [("a", b"\x00\xff"), ("a", None), ("b", b"")]
    _, mended = break_and_mend(
        kafka, hec, [b"\tone \n"], keys=[b"\xfek"], headers=[headers], timestamps=[now]
    )
    code, told, _ = replay(mended, capsys, "topic")
    assert (code, told["replayed"]) == (ExitCode.OK, 1)
    first, again = read_all(kafka.bootstrap, "logs")
    assert (first.partition(), again.partition()) == (1, 1)
    one, other = exact(first), exact(again)
    assert other.headers[: len(headers)] == one.headers == headers
    assert dict(other.headers)[REPLAYS] == b"1"
    assert other._replace(offset=0, headers=[]) == one._replace(headers=[])
    assert run_to_end(mended)[0] == ExitCode.OK
    assert indexed(hec) == {("logs", 1, 1): 1}


@pytest.mark.e2e
@pytest.mark.parametrize("to", ["topic", "splunk"])
def test_the_third_replay_is_refused(
    kafka: MockKafka, hec: Emulator, capsys: pytest.CaptureFixture[str], to: str
) -> None:
    """What nobody mended comes back counted up; after two replays it is left alone, and a line says so."""
    broken, _ = break_and_mend(kafka, hec, [b"one"])
    for times in (1, 2):
        code, told, _ = replay(broken, capsys, to)
        assert code == ExitCode.OK
        assert told["replayed"] + told["refused_again"] == 1
        assert told["left"] == ({"superseded": 1} if times == 2 else {})
        if to == "topic":
            assert run_to_end(broken)[0] == ExitCode.OK
        assert [one.replays for one in letters(broken)] == list(range(times + 1))
    code, told, said = replay(broken, capsys, to)
    assert code == ExitCode.DEAD_LETTER_LIMIT
    assert (told["replayed"], told["left"]) == (0, {"superseded": 2, "spent": 1})
    (line,) = said.splitlines()
    assert "letter 0:2 (logs/1@" in line
    assert "replayed 2 times" in line
    assert len(letters(broken)) == 3


def test_a_dry_run_changes_nothing_and_tells_what_would_be_refused(
    kafka: MockKafka, hec: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither Splunk nor Kafka gets anything; with the route as it is, it would all come back."""
    broken, mended = break_and_mend(kafka, hec, [b"one", b"two"])
    assert replay(broken, capsys, is_dry=True)[1]["refused_again"] == 2
    dropping = msgspec.structs.replace(broken, route=(Route(action="drop"),))
    assert replay(dropping, capsys, is_dry=True)[1]["skipped"] == 2
    for to in ("splunk", "topic"):
        code, told, _ = replay(mended, capsys, to, is_dry=True)
        assert (code, told["dry_run"], told["replayed"], told["next_since"]) == (0, True, 2, None)
    assert indexed(hec) == {}
    assert len(read_all(kafka.bootstrap, "logs")) == len(letters(broken)) == 2


def test_filters_and_limit_choose(
    kafka: MockKafka, hec: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only what reason, topic, time and place leave is replayed, the oldest first."""
    _, mended = break_and_mend(kafka, hec, [b"one", b"two", b"three"])
    for wanted in (
        Wanted(reasons=("blank",)),
        Wanted(topics=("other",)),
        Wanted(until_ms=MS),
        Wanted(since_ms=int(time.time() * 1000) + 3_600_000),
    ):
        assert replay(mended, capsys, wanted=wanted)[1]["matched"] == 0
    chosen = Wanted(("invalid_event",), ("logs",), MS, None, (Place(0, 2),))
    assert replay(mended, capsys, wanted=chosen, rate=1000)[1]["replayed"] == 1
    assert set(indexed(hec)) == {("logs", 1, 2)}


def test_runs_that_begin_where_the_last_ended_replay_each_letter_once(
    kafka: MockKafka, hec: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a limit the oldest go first; next_since, given as --since, leaves none out and repeats none."""
    from splunk_hec_kafka.cli_dlq import moment

    records = [Message(topic="logs", partition=0, offset=at, value=b"v%d" % at) for at in range(5)]
    headers: Any = [dead_letter_record(one, Refusal(one, "blank", "", "PUT"))[2] for one in records]
    written = [MS + 5, MS, MS + 2, MS + 2, MS + 9]
    produce(kafka.bootstrap, LETTERS, [one.value() for one in records], headers=headers, timestamps=written)
    config, since, found = sink_config(kafka, hec), None, []
    for _ in range(3):
        told = replay(config, capsys, limit=2, wanted=Wanted(since_ms=since))[1]
        found.append(sorted(at for _, _, at in indexed(hec)))
        since = moment(None, None, told["next_since"])  # type: ignore[arg-type]
    assert found == [[1], [1, 2, 3], [0, 1, 2, 3, 4]]
    assert set(indexed(hec).values()) == {1}
    assert replay(config, capsys, wanted=Wanted(since_ms=since))[1]["matched"] == 0


def test_letters_of_one_millisecond_stay_together() -> None:
    """A limit below their number is refused with the number that would do."""
    assert cut(array("q", [3, 1, 2]), None) == cut(array("q", [3, 1, 2]), 3) == (3, 4)
    assert cut(array("q", [3, 1, 2]), 2) == (2, 3)
    assert cut(array("q"), 1) == (0, 0)
    with pytest.raises(UsageError, match="--limit 3"):
        cut(array("q", [7, 7, 7, 8]), 2)


def test_letters_that_come_meanwhile_are_not_read(kafka: MockKafka, hec: Emulator) -> None:
    """What is read ends where the topic ended at the start, each time it is read."""
    config, _ = break_and_mend(kafka, hec, [b"one"])
    with DeadLetterReader(config) as reader:
        produce(kafka.bootstrap, LETTERS, [b"later"] * 3)
        for _ in range(2):
            assert [letter.place for letter in reader.each()] == [FIRST]


def test_a_letter_that_was_written_twice_is_replayed_once(
    kafka: MockKafka, hec: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a crash a record may have two letters; of another record at that place nothing is left out."""
    _, mended = break_and_mend(kafka, hec, [b"one"])
    (letter,) = read_all(kafka.bootstrap, LETTERS)
    told = letter.headers() or []
    produce(kafka.bootstrap, LETTERS, [b"one", b"another"], headers=[told, told])
    code, summary, said = replay(mended, capsys)
    assert (code, summary["replayed"], summary["left"]) == (ExitCode.OK, 2, {"duplicate": 1})
    assert "replayed already" in said
    assert sorted(one["event"] for one in hec.events()) == ["another", "one"]


def test_what_cannot_go_back_is_told(
    kafka: MockKafka, hec: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """A topic that is gone and a record that is no letter are left alone; no topic is created."""
    _, mended = break_and_mend(kafka, hec, [b"one"])
    (letter,) = read_all(kafka.bootstrap, LETTERS)
    gone = [(name, b"gone" if name.endswith(".topic") else value) for name, value in letter.headers() or []]
    produce(kafka.bootstrap, LETTERS, [b"x", b"y"], headers=[gone, []])
    code, told, said = replay(mended, capsys, "topic")
    assert (code, told["replayed"]) == (ExitCode.KAFKA, 1)
    assert told["left"] == {"no_topic": 1, "foreign": 1}
    assert "--to splunk" in said


def test_a_record_older_than_its_topic_keeps_is_not_written_to_be_deleted(
    kafka: MockKafka, hec: Emulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the broker tells a retention, an older record is left alone; going to Splunk it is not."""
    from splunk_hec_kafka.dead_letter_topic import TopicFinding

    _, mended = break_and_mend(kafka, hec, [b"one"], timestamps=[MS])
    finding = TopicFinding(topic="logs", exists=True, retention_ms=86_400_000)
    monkeypatch.setattr("splunk_hec_kafka.replay_to_topic.check_topic", lambda *_: finding)
    code, told, _ = replay(mended, capsys, "topic")
    assert (code, told["left"]) == (ExitCode.KAFKA, {"too_old": 1})
    assert replay(mended, capsys)[1]["replayed"] == 1


# ---- failures ------------------------------------------------------------------------------------------


def test_failures_have_their_exit_codes(
    kafka: MockKafka, hec: Emulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No topic of dead letters is 8, no broker 4, a refused token 5, a name that is missing 3."""
    _, mended = break_and_mend(kafka, hec, [b"one"])

    def changed(section: str, **keys: Any) -> SinkConfig:
        own = msgspec.structs.replace(getattr(mended, section), **keys)
        return msgspec.structs.replace(mended, **{section: own})

    for config, code in (
        (changed("dead_letter", topic="nope"), ExitCode.DEAD_LETTER_TOPIC),
        (changed("kafka", bootstrap_servers="127.0.0.1:1"), ExitCode.KAFKA),
        (changed("hec", token="wrong", halt_patience_s=0.1), ExitCode.HEC),
    ):
        quick = msgspec.structs.replace(config.run, startup_timeout_s=1)
        with pytest.raises(SinkFailure) as caught:
            replay(msgspec.structs.replace(config, run=quick), capsys)
        assert caught.value.exit_code == code
    with pytest.raises(ConfigError, match=r"dead_letter\.topic"):
        replay(changed("dead_letter", topic="", on_reject="fail"), capsys)
    with pytest.raises(ConfigError, match=r"hec\.url"):
        replay(changed("hec", url=""), capsys)
    kafka.topic_error("logs", 29)
    with pytest.raises(SinkFailure, match="WRITE") as caught:
        replay(mended, capsys, "topic")
    assert caught.value.exit_code == ExitCode.KAFKA
    assert json.loads(capsys.readouterr().out)["replayed"] == 0


def test_an_index_that_is_refused_for_good_ends_it(
    kafka: MockKafka, hec: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """An index that the route names and Splunk refuses is a fault of the deployment: 5, and no new letter."""
    _, mended = break_and_mend(kafka, hec, [b"one"])
    config = msgspec.structs.replace(
        mended,
        route=(Route(index="nope"),),
        hec=msgspec.structs.replace(mended.hec, halt_patience_s=0.1),
    )
    with pytest.raises(SinkFailure) as caught:
        replay(config, capsys)
    assert caught.value.exit_code == ExitCode.HEC
    assert sum(dead_lettered(kafka).values()) == 1


# ---- rules ---------------------------------------------------------------------------------------------


def letter_of(record: Message, place: Place = FIRST, written_ms: int = MS) -> StoredLetter:
    """What is read when the letter of a record was written."""
    key, value, headers = dead_letter_record(record, Refusal(record, "undecodable", "not UTF-8", "DECODE"))
    return stored_letter(
        Message(
            topic="d", key=key, value=value, headers=headers, timestamp=(1, written_ms), **place._asdict()
        )
    )


names = st.text(min_size=1, max_size=5).filter(lambda name: not name.startswith(("hec.", "__connect.")))
records = st.builds(
    Message,
    topic=st.just("logs"),
    partition=st.integers(0, 9),
    offset=st.integers(0, 2**40),
    key=st.none() | st.binary(max_size=9),
    value=st.binary(max_size=20),
    headers=st.lists(st.tuples(names, st.none() | st.binary(max_size=9)), max_size=4),
    timestamp=st.tuples(st.sampled_from([1, 2]), st.integers(0, 2**42)) | st.just((0, 0)),
)


@given(records)
def test_what_goes_into_a_letter_comes_out(record: Message) -> None:
    """Whatever a record holds, its letter gives it back, with two headers of ours behind its own."""
    one, other = exact(record), exact(restored(letter_of(record)))
    assert other.headers == [*one.headers, (REPLAYS, b"1"), (REPLAY_OF, b"0:0@%d" % MS)]
    assert other._replace(headers=[]) == one._replace(headers=[])


@pytest.mark.parametrize(
    "name", ["__connect.errors.partition", "__connect.errors.offset", "hec.record.timestamp"]
)
@pytest.mark.parametrize("digits", ["9" * 5_000, str(2**63), "\u0669", "-", ""])
def test_a_foreign_number_is_no_number(name: str, digits: str) -> None:
    """What others wrote into the topic is told apart; it ends no command."""
    record = Message(topic="logs", partition=0, offset=1, value=b"x", timestamp=(1, MS))
    key, value, headers = dead_letter_record(record, Refusal(record, "undecodable", "not UTF-8", "DECODE"))
    spoilt = [(header, digits.encode() if header == name else text) for header, text in headers]
    letter = stored_letter(Message(topic="d", key=key, value=value, headers=spoilt, **FIRST._asdict()))
    json.dumps(letter_json(letter, is_whole=True))
    assert letters_text([letter])
    assert (letter.origin is None) == name.startswith("__connect")
    if letter.origin is not None:
        assert restored(letter).value() == b"x"


@given(records)
def test_a_letter_is_shown_without_harm(record: Message) -> None:
    """No byte of a record reaches the terminal as a control character; JSON holds all of it."""
    letter = letter_of(record)
    lines = [*letter_text(letter).split("\n"), *letters_text([letter])]
    assert all(line.isprintable() for line in lines)
    whole = json.loads(json.dumps(letter_json(letter, is_whole=True)))
    assert (whole["topic"], whole["offset"], whole["reason"]) == ("logs", record.offset(), "undecodable")
    assert len(whole["headers"]) == len(record.headers() or [])


def test_a_chain_of_replays_has_one_end() -> None:
    """Of a letter, the letter it became and the one that became, only the last is judged, and it is spent."""
    rules, chain = ReplayRules(), [letter_of(Message(topic="t", partition=0, offset=5, value=b"v"))]
    for times in range(1, MOST_REPLAYS + 1):
        chain.append(letter_of(restored(chain[-1]), Place(0, times), MS + times))
    for letter in chain:
        rules.note(letter)
    assert [rules.judge(letter) for letter in chain] == ["superseded"] * MOST_REPLAYS + ["spent"]


def test_no_record_makes_history_of_another_letter() -> None:
    """A producer who writes the header itself cannot keep somebody else's letter from being replayed."""
    rules, letter = ReplayRules(), letter_of(Message(topic="t", partition=0, offset=5, value=b"v"))
    forged = [(REPLAY_OF, letter.name.encode())]
    rules.note(letter_of(Message(topic="t", value=b"w", headers=forged), Place(0, 1)))
    assert rules.judge(letter) is None


def test_a_topic_made_anew_makes_no_letter_history() -> None:
    """A letter at the place of an older one that was replayed is another letter."""
    rules, old = ReplayRules(), letter_of(Message(topic="t", partition=0, offset=5, value=b"v"))
    rules.note(letter_of(restored(old), Place(0, 9)))
    new = letter_of(Message(topic="t", partition=0, offset=6, value=b"w"), old.place, MS + 1)
    assert rules.judge(new) is None


def test_the_newest_are_listed_and_all_are_counted() -> None:
    """However many there are, the newest N are kept, the newest last; reasons count all."""
    some = [letter_of(Message(topic="t", value=b"v"), Place(0, at), MS + at % 7) for at in range(20)]
    newest, reasons = newest_of(iter(some), 3)
    assert [(one.written_ms - MS, one.place.offset) for one in newest] == [(5, 19), (6, 6), (6, 13)]
    assert reasons == {"undecodable": 20}


def test_the_pace_lets_no_more_go_than_it_should() -> None:
    """At 10 a second the second letter waits a tenth; a pause is made up for by a second's worth at most."""
    now = [100.0]
    pace = Pace(10, lambda: now[0])
    assert pace.wait_s() <= 0
    assert pace.wait_s() == pytest.approx(0.1)
    now[0] += 100
    assert sum(pace.wait_s() <= 0 for _ in range(50)) <= 11
