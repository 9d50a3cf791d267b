"""What becomes of each record: indexed, dead-lettered or skipped; against a mock broker and the emulator."""

from __future__ import annotations

import json
import time
from random import Random
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest
from confluent_kafka import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka_tools import committed, end_offsets, produce, read_all, wait_for
from record_tools import LIMIT, PLAIN_ROUTES, chunks, epochs_of, exact, exacts
from sink_tools import (
    GROUP,
    LETTERS,
    RunningSink,
    dead_lettered,
    feed,
    indexed,
    lines,
    run_to_end,
    sink_config,
)

from splunk_hec.events import Outcome, OutcomeKind
from splunk_hec_emulator import Emulator
from splunk_hec_kafka._mock_kafka import MockKafka
from splunk_hec_kafka.config import Route
from splunk_hec_kafka.delivery import Delivery
from splunk_hec_kafka.failures import ExitCode
from splunk_hec_kafka.metrics import Metrics
from splunk_hec_kafka.offsets import OffsetLedger, TopicPartition, place
from splunk_hec_kafka.originals import Beside, Originals, Records
from splunk_hec_kafka.records import RecordEncoder, Refusal
from splunk_hec_kafka.routes import Destination, RouteTable
from splunk_hec_kafka.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kafka_tools import Headers

    from splunk_hec_kafka.originals import Consumed

DAY_MS = 86_400_000
PRODUCE = 0
LOGS = TopicPartition("logs", 0)


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    """A broker with one partition of logs, and the topic of dead letters."""
    with MockKafka({"logs": 1, LETTERS: 1}) as broker:
        yield broker


@pytest.fixture
def hec() -> Iterator[Emulator]:
    """An emulator whose acks come at once, and whose first token may write to one index only."""
    with Emulator(ack_delay="0s", tokens=["mine:ack:index=main"]) as emulator:
        yield emulator


def letter_headers(kafka: MockKafka) -> list[dict[str, bytes | None]]:
    """The headers of every dead letter."""
    return [dict(letter.headers() or []) for letter in read_all(kafka.bootstrap, LETTERS)]


def only_commit(kafka: MockKafka) -> int | None:
    """The group's committed offset of the only partition."""
    return committed(kafka.bootstrap, GROUP, "logs", [0])[0]


ENVELOPE = Route(value="envelope")
POISON: dict[str, tuple[Route, bytes, Headers, str]] = {
    "invalid UTF-8": (Route(), b"\xff\xfe bad", [], "undecodable"),
    "empty": (Route(), b"", [], "blank"),
    "white space": (Route(), b" \t ", [], "blank"),
    "too large": (Route(), b"x" * 3000, [], "too_large"),
    "broken JSON": (Route(value="json"), b'{"a":', [], "invalid_event"),
    "no envelope": (ENVELOPE, b'{"event":"x","colour":"red"}', [], "invalid_event"),
    "nested fields": (ENVELOPE, b'{"event":"x","fields":{"a":{"b":1}}}', [], "bad_fields"),
    "bad time": (Route(time="header:t"), b"x", [("t", b"noon")], "bad_time"),
    "refused index": (Route(index="{header:i}"), b"x", [("i", b"secret")], "bad_index"),
}


@pytest.mark.parametrize("kind", POISON)
def test_poison_goes_to_the_dead_letters_as_it_was(kafka: MockKafka, hec: Emulator, kind: str) -> None:
    """A record Splunk can never take is dead-lettered byte for byte, and its good neighbours are indexed."""
    route, value, headers, reason = POISON[kind]
    good = {"json": b'{"a":1}', "envelope": b'{"event":"good"}'}.get(route.value, b"good")
    more: Headers = [("mine", b"\x00\xff"), ("mine", None), *headers]
    now = int(time.time() * 1000)
    fine: Headers = [("i", b"main")]
    produce(
        kafka.bootstrap,
        "logs",
        [good, value, good],
        keys=[b"k", b"\xfekey", None],
        headers=[fine, more, fine],
        timestamps=[now, now - 30 * DAY_MS, now],
    )
    code, running = run_to_end(sink_config(kafka, hec, route=[route], hec_event_max_bytes=2000))
    assert code == ExitCode.OK
    assert set(indexed(hec)) == {("logs", 0, 0), ("logs", 0, 2)}
    (letter,) = read_all(kafka.bootstrap, LETTERS)
    assert (letter.value(), letter.key()) == (value or None, b"\xfekey") or letter.value() == value
    told = letter.headers() or []
    assert told[: len(more)] == more
    context = dict(told)
    assert context["hec.reason"] == reason.encode()
    assert context["hec.record.timestamp"] == str(now - 30 * DAY_MS).encode()
    assert context["__connect.errors.offset"] == b"1"
    assert abs(letter.timestamp()[1] - time.time() * 1000) < 60_000
    assert only_commit(kafka) == 3
    summary = running.sink.summary()
    assert (summary.records, summary.delivered, summary.dead_lettered, summary.skipped) == (3, 2, 1, 0)
    assert summary.committed
    assert running.metrics.total("dead_letters", reason=reason) == 1


@pytest.mark.parametrize("shift_ms", [-30 * DAY_MS, 2 * 3_600_000])
def test_the_original_time_is_kept_in_a_header(kafka: MockKafka, hec: Emulator, shift_ms: int) -> None:
    """A dead letter is written now, whenever its record was; its time is told in a header."""
    then = int(time.time() * 1000) + shift_ms
    produce(kafka.bootstrap, "logs", [b"\xff"], timestamps=[then])
    assert run_to_end(sink_config(kafka, hec))[0] == ExitCode.OK
    (letter,) = read_all(kafka.bootstrap, LETTERS)
    assert dict(letter.headers() or [])["hec.record.timestamp"] == str(then).encode()
    assert abs(letter.timestamp()[1] - time.time() * 1000) < 60_000


def test_tombstones_and_dropped_topics_settle(hec: Emulator) -> None:
    """Records that are skipped on purpose are committed and counted, and nothing is sent for them."""
    with MockKafka({"logs": 1, "noise": 1, LETTERS: 1}) as kafka:
        produce(kafka.bootstrap, "logs", [b"good", None, None], keys=[b"a", b"b", b"c"])
        produce(kafka.bootstrap, "noise", lines(5))
        drop = Route(topics=("noise",), action="drop")
        code, running = run_to_end(sink_config(kafka, hec, "logs", "noise", route=[drop]))
        assert code == ExitCode.OK
        assert set(indexed(hec)) == {("logs", 0, 0)}
        assert only_commit(kafka) == 3
        assert committed(kafka.bootstrap, GROUP, "noise", [0]) == {0: 5}
        assert running.sink.summary().skipped == 7
        assert running.metrics.total("records_skipped", reason="tombstone") == 2
        assert running.metrics.total("records_skipped", reason="drop") == 5


def test_raw_routes_use_the_raw_endpoint_beside_the_other(hec: Emulator) -> None:
    """Topics with value = raw go through a client of their own and settle in the same ledger."""
    with MockKafka({"logs": 1, "plain": 1, LETTERS: 1}) as kafka:
        produce(kafka.bootstrap, "logs", lines(3))
        produce(kafka.bootstrap, "plain", [b"raw one", b"\xff", b"raw two"])
        raw = Route(topics=("plain",), value="raw")
        code, _ = run_to_end(sink_config(kafka, hec, "logs", "plain", route=[raw]))
        assert code == ExitCode.OK
        assert len(hec.events(containing="line ")) == 3
        assert len(hec.events(containing="raw ")) >= 1
        assert set(dead_lettered(kafka)) == {("plain", 0, 1)}
        assert committed(kafka.bootstrap, GROUP, "plain", [0]) == {0: 3}


@pytest.mark.parametrize(
    ("routes", "kinds"),
    [
        ((), ["event"]),
        ((Route(value="raw"),), ["raw"]),
        ((Route(topics=("a",), value="raw"),), ["raw", "event"]),
        ((Route(topics=("a",), value="raw", action="drop"),), ["event"]),
    ],
)
def test_only_the_endpoints_that_routes_lead_to_are_used(
    hec: Emulator, routes: tuple[Route, ...], kinds: list[Literal["event", "raw"]]
) -> None:
    """No client is made, and no endpoint probed, that no record can reach."""
    destinations = RouteTable(routes, hec.token).destinations
    assert destinations == tuple(Destination(kind, "hec.token") for kind in kinds)


def test_an_index_from_a_record_is_refused_before_sending_the_second_time(
    kafka: MockKafka, hec: Emulator
) -> None:
    """Once Splunk refused an index, later records that name it are dead-lettered without a request."""
    config = sink_config(kafka, hec, route=[Route(index="{header:i}")])
    bad: Headers = [("i", b"secret")]
    produce(kafka.bootstrap, "logs", [b"first"], headers=[bad])
    with RunningSink(config) as running:
        wait_for(lambda: running.metrics.total("dead_letters") == 1, "the first dead letter")
        refused = hec.stats()["replies"]["400/7"]
        produce(kafka.bootstrap, "logs", [b"second", b"good"], headers=[bad, [("i", b"main")]])
        wait_for(lambda: only_commit(kafka) == 3, "the commit")
        assert running.stopped() == ExitCode.OK
    assert hec.stats()["replies"]["400/7"] == refused
    first, second = letter_headers(kafka)
    assert first["hec.reason"] == second["hec.reason"] == b"bad_index"
    assert first["hec.code"] == b"7"
    assert b"less than 5 minutes ago" in (second["hec.text"] or b"")


def test_an_index_from_the_configuration_halts_and_dead_letters_nothing(
    kafka: MockKafka, hec: Emulator
) -> None:
    """If Splunk refuses an index that the configuration names, the deployment is at fault, not the record."""
    feed(kafka, "logs", 1, 20)
    config = sink_config(kafka, hec, route=[Route(index="secret")], hec_halt_patience_s=1)
    with RunningSink(config) as running:
        assert running.ended() == ExitCode.HEC
        assert "index" in str(running.failure)
    assert read_all(kafka.bootstrap, LETTERS) == []
    assert only_commit(kafka) in (None, 0)
    assert not indexed(hec)


@pytest.mark.parametrize(
    ("keys", "fault", "reason"),
    [
        ({"hec_give_up_after_s": 0.5}, "busy", b"gave_up"),
        ({"hec_on_ack_timeout": "unconfirmed", "hec_ack_deadline_s": 1}, "ack-never", b"unconfirmed"),
    ],
)
def test_what_was_given_up_by_configuration_is_dead_lettered(
    kafka: MockKafka, hec: Emulator, keys: dict[str, Any], fault: str, reason: bytes
) -> None:
    """A deadline that somebody configured ends in a dead letter that says so, never in silence."""
    feed(kafka, "logs", 1, 3)
    hec.set_faults(fault)
    config = sink_config(kafka, hec, letter_max_consecutive=100, **keys)
    assert run_to_end(config)[0] == ExitCode.OK
    assert [headers["hec.reason"] for headers in letter_headers(kafka)] == [reason] * 3
    assert [letter.value() for letter in read_all(kafka.bootstrap, LETTERS)] == lines(3)
    assert only_commit(kafka) == 3


def test_a_passing_produce_error_costs_time_only(kafka: MockKafka, hec: Emulator) -> None:
    """A dead letter that the broker refuses three times for a moment is written in the end, once."""
    produce(kafka.bootstrap, "logs", [b"\xff", b"good"])
    kafka.push_errors(PRODUCE, [56, 56, 56])  # KAFKA_STORAGE_ERROR
    code, _ = run_to_end(sink_config(kafka, hec, letter_properties={"retry.backoff.ms": 10}))
    assert code == ExitCode.OK
    assert dead_lettered(kafka) == {("logs", 0, 0): 1}
    assert only_commit(kafka) == 2


def test_a_dead_letter_topic_that_refuses_for_good_ends_the_sink(kafka: MockKafka, hec: Emulator) -> None:
    """A rejected record that can be written nowhere ends the sink with 8, and stays uncommitted."""
    produce(kafka.bootstrap, "logs", [b"good", b"\xff", b"good"])
    kafka.push_errors(PRODUCE, [29] * 5)  # TOPIC_AUTHORIZATION_FAILED
    with RunningSink(sink_config(kafka, hec)) as running:
        assert running.ended() == ExitCode.DEAD_LETTER_TOPIC
        assert LETTERS in str(running.failure)
    assert only_commit(kafka) in (None, 0, 1)


@pytest.mark.e2e
def test_a_full_queue_of_dead_letters_pauses_for_that_reason(kafka: MockKafka, hec: Emulator) -> None:
    """While dead letters cannot be written nothing is fetched, the reason is told, and it heals by itself."""
    produce(kafka.bootstrap, "logs", [b"\xff"] * 50)
    small = {"queue.buffering.max.messages": 2, "retry.backoff.ms": 10, "linger.ms": 0}
    kafka.push_errors(PRODUCE, [56] * 40)
    with RunningSink(sink_config(kafka, hec, letter_properties=small)) as running:
        wait_for(
            lambda: any(one.code == "paused_dead_letters" for one in running.sink.readiness().reasons),
            "the reason",
        )
        wait_for(lambda: running.metrics.total("paused", reason="dead_letters") == 1, "the metric")
        kafka.clear_errors(PRODUCE)
        wait_for(lambda: only_commit(kafka) == 50, "all to be written")
        wait_for(lambda: running.sink.readiness().ready, "readiness")
        assert running.metrics.total("paused", reason="dead_letters") == 0
        assert running.stopped() == ExitCode.OK
    assert dead_lettered(kafka) == {("logs", 0, offset): 1 for offset in range(50)}


def test_on_reject_fail_commits_nothing_past_the_record(kafka: MockKafka, hec: Emulator) -> None:
    """With on_reject = fail the first rejection ends the sink with 6, and it is read again next time."""
    produce(kafka.bootstrap, "logs", [b"good", b"good", b"\xff", b"good"])
    config = sink_config(kafka, hec, letter_on_reject="fail", letter_topic="")
    for _ in range(2):
        with RunningSink(config) as running:
            assert running.ended() == ExitCode.DEAD_LETTER_LIMIT
            assert "logs/0@2" in str(running.failure)
        assert only_commit(kafka) in (None, 0, 1, 2)


def test_a_rejection_by_splunk_fails_as_well_and_commits_what_came_before(
    kafka: MockKafka, hec: Emulator
) -> None:
    """With on_reject = fail what Splunk refuses ends the sink, and what was settled before is committed."""
    produce(kafka.bootstrap, "logs", [b"good"], headers=[[("i", b"main")]])
    route = Route(index="{header:i}")
    config = sink_config(kafka, hec, route=[route], letter_on_reject="fail", letter_topic="")
    with RunningSink(config) as running:
        wait_for(lambda: indexed(hec), "the first record")
        produce(kafka.bootstrap, "logs", [b"bad"], headers=[[("i", b"secret")]])
        assert running.ended() == ExitCode.DEAD_LETTER_LIMIT
        assert "bad_index" in str(running.failure)
    assert only_commit(kafka) == 1


@pytest.mark.parametrize(
    ("keys", "count"), [({"letter_max_consecutive": 10}, 12), ({"letter_max_ratio": 0.1}, 1000)]
)
def test_too_many_rejections_end_the_sink(
    kafka: MockKafka, hec: Emulator, keys: dict[str, Any], count: int
) -> None:
    """A topic that is rejected as a whole is not shredded into dead letters: exit 6."""
    produce(kafka.bootstrap, "logs", [b"\xff"] * count)
    with RunningSink(sink_config(kafka, hec, **keys)) as running:
        assert running.ended() == ExitCode.DEAD_LETTER_LIMIT
        assert "rejected" in str(running.failure)
    letters = set(dead_lettered(kafka))
    assert all(("logs", 0, offset) in letters for offset in range(only_commit(kafka) or 0))


@pytest.mark.e2e
@pytest.mark.parametrize("is_kept_beside", [False, True])
def test_the_budget_bounds_what_is_held(kafka: MockKafka, is_kept_beside: bool) -> None:
    """While acks are late no more is taken than the budget has room for; the rest follows when they come."""
    # Lines that do not compress well; or such that do, but do not hold the values as they were.
    noise = Random(1)
    values = [noise.randbytes(250).hex().encode() for _ in range(600)]
    ready = [b'{"event":"%b"}' % (b"." * 500)] * 600
    produce(kafka.bootstrap, "logs", ready if is_kept_beside else values)
    route = [Route(value="envelope")] if is_kept_beside else []
    with Emulator(ack_delay="2s") as hec:
        config = sink_config(
            kafka, hec, route=route, hec_in_flight_max_bytes=150_000, hec_in_flight_max_events=1_000
        )
        with RunningSink(config) as running:
            wait_for(lambda: running.metrics.total("paused", reason="budget") == 1, "the pause")
            budget = running.sink._delivery.budget
            assert budget.used_share <= 1
            assert running.sink.summary().delivered < 600
            assert "paused_budget" in [one.code for one in running.sink.readiness().reasons]
            wait_for(lambda: only_commit(kafka) == 600, "the rest", 40)
            assert running.metrics.total("paused", reason="budget") == 0
            assert running.metrics.total("pause_seconds", reason="budget") > 0
            assert running.stopped() == ExitCode.OK
            assert (budget.used_bytes, budget.used_events) == (0, 0)
        assert indexed(hec) == {("logs", 0, offset): 1 for offset in range(600)}


def test_one_record_larger_than_the_budget_still_passes(kafka: MockKafka, hec: Emulator) -> None:
    """A budget that is too small for one record must not stop the partition for ever."""
    produce(kafka.bootstrap, "logs", [b"a", b"b" * 5000, b"c"])
    assert run_to_end(sink_config(kafka, hec, hec_in_flight_max_bytes=1500))[0] == ExitCode.OK
    assert set(indexed(hec)) == {("logs", 0, offset) for offset in range(3)}


def delivery_of(kafka: MockKafka, hec: Emulator, **keys: Any) -> tuple[Delivery, OffsetLedger]:
    """A delivery with one assigned partition, turned by the test itself."""
    ledger = OffsetLedger()
    ledger.assign({LOGS: 0})
    return Delivery(sink_config(kafka, hec, **keys), ledger, Metrics()), ledger


def consumed(ledger: OffsetLedger, *offsets: int, value: bytes = b"\xff") -> list[Message]:
    """Records that arrived."""
    found = [Message(topic="logs", partition=0, offset=offset, value=value) for offset in offsets]
    ledger.open(found, 1.0)
    return found


def manifest(ledger: OffsetLedger, messages: list[Message]) -> Records:
    """The manifest of records that went to Splunk as raw lines."""
    return Records.of(
        Originals("raw", Beside(messages, [one.timestamp() for one in messages], {})), ledger.epochs
    )


@pytest.mark.e2e
def test_an_offset_dead_lettered_under_two_assignments_is_not_mixed_up(
    kafka: MockKafka, hec: Emulator
) -> None:
    """The report of a letter of an earlier assignment settles nothing of the current one, nor breaks it."""
    delivery, ledger = delivery_of(kafka, hec)
    try:
        kafka.rtt(0.3)
        delivery.take(consumed(ledger, 0))
        delivery.settle()
        ledger.revoke([LOGS])
        ledger.assign({LOGS: 0})
        delivery.take(consumed(ledger, 0))
        delivery.settle()
        end = time.monotonic() + 20
        while ledger.open_count() and time.monotonic() < end:
            delivery.settle()
            assert delivery.dead_lettered or ledger.committable() == {LOGS: 0}
            delivery.wait(0.01)
        assert (delivery.dead_lettered, ledger.fenced) == (1, 1)
        assert (delivery.budget.used_bytes, delivery.budget.used_events) == (0, 0)
    finally:
        delivery.close()
    assert end_offsets(kafka.bootstrap, LETTERS) == {0: 2}


def test_a_rejection_after_the_partition_went_writes_no_dead_letter(kafka: MockKafka, hec: Emulator) -> None:
    """The new owner reads the record again and will write the letter: two would be one too many."""
    delivery, ledger = delivery_of(kafka, hec)
    try:
        late = manifest(ledger, consumed(ledger, 0, 1))
        ledger.revoke([LOGS])
        ledger.assign({LOGS: 0})
        rejected = Outcome(
            kind=OutcomeKind.REJECTED, refs=late, count=2, reason="invalid_event", lines=[b"0", b"1"]
        )
        delivery._settle(rejected)
        assert delivery.settle() == 0
        assert ledger.fenced == 2
        assert delivery.budget.used_events == 0
        assert not delivery._letters
    finally:
        delivery.close()


def test_a_letter_keeps_no_more_than_its_record(kafka: MockKafka, hec: Emulator) -> None:
    """A dead letter that waits holds neither the lines nor the manifest of the batch it came from."""
    delivery, ledger = delivery_of(kafka, hec)
    try:
        records = manifest(ledger, consumed(ledger, 0, 1))
        delivery._settle(
            Outcome(
                kind=OutcomeKind.REJECTED, refs=records, count=2, reason="invalid_event", lines=[b"0", b"1"]
            )
        )
        causes = [letter.cause for letter in delivery._letters]
        assert [
            (cause.reason, cause.refs, list(cause.lines)) for cause in causes if isinstance(cause, Outcome)
        ] == [("invalid_event", None, [])] * 2
    finally:
        delivery.close()


def test_what_ends_with_us_is_left_open(kafka: MockKafka, hec: Emulator) -> None:
    """A record that was given up because the client closes is neither settled nor dead-lettered."""
    delivery, ledger = delivery_of(kafka, hec)
    try:
        records = manifest(ledger, consumed(ledger, 0))
        gone = Outcome(kind=OutcomeKind.GAVE_UP, refs=records, count=1, reason="closed", lines=[b"0"])
        assert delivery._settle(gone) == 0
        assert ledger.committable() == {LOGS: 0}
        assert not delivery._letters
    finally:
        delivery.close()


def waiting(delivery: Delivery) -> list[tuple[Consumed, bytes]]:
    """What no client has yet: each record, put together again, with its line."""
    return [
        (record, text)
        for waiting in delivery._waiting.values()
        for one in waiting
        for (record, _), text in zip(one.records.each(one.lines), one.lines, strict=True)
    ]


def test_what_was_settled_before_is_skipped_and_counted(kafka: MockKafka, hec: Emulator) -> None:
    """A record that a map calls settled is done at once: not sent, and counted with its reason."""
    metrics, ledger = Metrics(), OffsetLedger()
    delivery = Delivery(sink_config(kafka, hec), ledger, metrics)
    try:
        ledger.assign({LOGS: 3})
        messages = [Message(topic="logs", partition=0, offset=offset, value=b"v") for offset in (3, 4, 6)]
        ledger.open(messages, 0.0)
        delivery.skip_settled(messages)
        assert ledger.committable() == {LOGS: 7}
        assert (delivery.consumed, delivery.skipped) == (3, 3)
        assert metrics.total("records_skipped", reason="settled") == 3
    finally:
        delivery.close()
    assert not indexed(hec)


def test_waiting_records_of_partitions_that_go_are_left_to_the_next_owner(
    kafka: MockKafka, hec: Emulator
) -> None:
    """What no client has yet is dropped for those partitions alone, and its budget is given back."""
    other = TopicPartition("logs", 1)
    keys = {"hec_in_flight_max_events": 1, "letter_properties": {"queue.buffering.max.messages": 1}}
    delivery, ledger = delivery_of(kafka, hec, **keys)
    try:
        hec.set_faults("busy")
        ledger.assign({other: 0})
        mixed = [
            Message(
                topic="logs", partition=number % 2, offset=number // 2, value=b"good %d\n" % number, key=b"k"
            )
            for number in range(6)
        ]
        ledger.open(mixed, 1.0)
        delivery.take(mixed)
        assert not delivery.submit()
        before = waiting(delivery)
        assert [exact(one) for one, _ in before] == exacts(mixed[-len(before) :])
        assert 0 < len(before) < 6
        for number in range(2):
            message = Message(topic="logs", partition=number, offset=9, value=b"\xff")
            ledger.open([message], 1.0)
            delivery._reject(message, ledger.epochs, Refusal(message, "undecodable", "", "DECODE"))
        held = delivery.budget.used_events
        dropped = delivery.drop_waiting([LOGS])
        left = waiting(delivery)
        assert [(exact(one), text) for one, text in left] == [
            (exact(one), text) for one, text in before if one.partition() == 1
        ]
        assert [json.loads(text)["event"] for _, text in left] == ["good 1", "good 3", "good 5"][-len(left) :]
        assert [letter.run.at for letter in delivery._letters] == [other]
        assert dropped == len(before) - len(left) + 1
        assert delivery.budget.used_events == held - 1
    finally:
        delivery.close()


# ---- what Splunk rejects ---------------------------------------------------------------------------------

DEEP_JSON = b'{"event":' * 300 + b"1.50" + b"}" * 300
REJECTED: dict[str, tuple[Route, list[bytes]]] = {
    "text": (Route(), [b"one", b" two\x00\x1f ", "\u2028\u3000drei".encode()]),
    "text with a line end": (Route(), [b"one\n", b"two\r\n", b"three\n\n"]),
    "replaced text": (Route(invalid_utf8="replace"), [b"a\xff", b"\xfe\xfeb\n", b"c\xe2\x28"]),
    "JSON": (Route(value="json"), [b'{"a":1.50,"a":1e400}', b'["\\u0041\\u2028"]', b'{"event":{"event":0}}']),
    "JSON in white space": (Route(value="json"), [b' {"a":1}\n', b'{\r\n "a":\n  [ 1 ]\n}', DEEP_JSON]),
    "envelope": (
        Route(value="envelope"),
        [
            b'{"event":"a","time":1.50}',
            b' {"fields":{"a":"b"}, "event":{"b":1.0}}\n',
            b'{"host":null,"event":1e2}',
        ],
    ),
    "raw": (Route(value="raw"), [b"raw one", b"raw\ntwo", b"{}"]),
    "raw with a line end": (Route(value="raw"), [b"raw one\n", b"raw\ntwo\r\n", b"\nthree"]),
}


@pytest.mark.parametrize("kind", REJECTED)
def test_what_splunk_rejects_is_dead_lettered_as_it_was(kafka: MockKafka, hec: Emulator, kind: str) -> None:
    """A record that left as a line comes back from Splunk's refusal byte for byte, with key and headers."""
    route, values = REJECTED[kind]
    good = {"json": b'{"a":1}', "envelope": b'{"event":"good"}'}.get(route.value, b"good")
    chunk = [good, values[0], good, good, values[1], values[2], good]
    indexes = [b"main" if value is good else b"secret" for value in chunk]
    now = int(time.time() * 1000)
    keys = [None if value is good else b"\xfekey %d" % at for at, value in enumerate(chunk)]
    headers: list[Headers] = [
        [("mine", b"\x00\xff"), ("i", index), ("mine", None), ("mine", b"%d" % at), ("", b"")]
        for at, index in enumerate(indexes)
    ]
    times = [now - at * DAY_MS for at in range(len(chunk))]
    produce(kafka.bootstrap, "logs", chunk, keys=keys, headers=headers, timestamps=times)
    config = sink_config(kafka, hec, route=[msgspec.structs.replace(route, index="{header:i}")])
    assert run_to_end(config)[0] == ExitCode.OK
    found = {}
    for letter in read_all(kafka.bootstrap, LETTERS):
        context = dict(letter.headers() or [])
        at = int(context["__connect.errors.offset"] or b"")
        assert context["hec.reason"] == b"bad_index"
        assert context["hec.record.timestamp"] == str(times[at]).encode()
        assert context["hec.record.timestamp_type"] == b"CreateTime"
        found[at] = (
            letter.key(),
            letter.value(),
            (letter.headers() or [])[: len(headers[at])],
            context.get("hec.code"),
        )
    assert {at: letter[:3] for at, letter in found.items()} == {
        at: (keys[at], chunk[at], headers[at]) for at in (1, 4, 5)
    }
    assert b"7" in {letter[3] for letter in found.values()}, "Splunk itself was asked"
    assert only_commit(kafka) == 7


def turned(delivery: Delivery, ledger: OffsetLedger) -> None:
    """Turn until nothing is open any more."""
    end = time.monotonic() + 20
    while ledger.open_count():
        assert time.monotonic() < end, ledger
        delivery.submit()
        delivery.seal()
        delivery.settle()
        delivery.wait(0.01)


def test_a_refused_index_takes_its_own_records_out_of_those_that_wait(
    kafka: MockKafka, hec: Emulator
) -> None:
    """Records of an index that Splunk refused are buried as they were; their neighbours go on, in order."""
    delivery, ledger = delivery_of(kafka, hec, route=[Route(index="{header:i}")])
    try:
        queue = delivery.clients[Destination("event", "hec.token")].queue
        with queue._lock:
            queue._remember_bad_index("secret")
        secret = {0, 3, 4, 9}
        chunk = [
            Message(
                topic="logs",
                partition=0,
                offset=offset,
                value=b"v%d\n" % offset if offset % 2 else b"v%d" % offset,
                key=b"%d" % offset,
                headers=[("i", b"secret" if offset in secret else b"main"), ("n", b"%d" % offset)],
                timestamp=(1, 1_000 + offset),
            )
            for offset in range(10)
        ]
        ledger.open(chunk, 1.0)
        delivery.take(chunk)
        assert exacts(letter.record for letter in delivery._letters) == [
            exact(chunk[at]) for at in sorted(secret)
        ]
        assert [letter.run.first for letter in delivery._letters] == sorted(secret)
        assert all(letter.cause.reason == "bad_index" for letter in delivery._letters)
        turned(delivery, ledger)
        assert (delivery.delivered, delivery.dead_lettered) == (6, 4)
        assert (delivery.budget.used_bytes, delivery.budget.used_events) == (0, 0)
    finally:
        delivery.close()
    assert {("logs", 0, offset) for offset in range(10) if offset not in secret} == set(indexed(hec))
    assert dead_lettered(kafka) == {("logs", 0, offset): 1 for offset in secret}
    events = {event["fields"]["kafka_offset"]: event["event"] for event in hec.events()}
    assert all(event == f"v{offset}" for offset, event in events.items())


def test_the_budget_is_given_back_to_the_byte_when_partitions_go(kafka: MockKafka, hec: Emulator) -> None:
    """Records cut by the budget and by a revoke, with keys and kept values, leave nothing behind."""
    delivery, ledger = delivery_of(kafka, hec, hec_in_flight_max_events=7)
    try:
        hec.set_faults("busy")
        other = TopicPartition("logs", 1)
        ledger.assign({other: 0})
        chunk = [
            Message(
                topic="logs", partition=n % 3 // 2, offset=n, value=b"v" * n + b"\n" * (n % 2), key=b"k" * n
            )
            for n in range(1, 31)
        ]
        ledger.open(chunk, 1.0)
        delivery.take(chunk)
        kept = {place(one) for one, _ in waiting(delivery)}
        delivery.drop_waiting([LOGS])
        ledger.revoke([LOGS])
        hec.set_faults()
        turned(delivery, ledger)
        delivery.seal()
        end = time.monotonic() + 20
        while delivery.budget.used_events and time.monotonic() < end:
            delivery.settle()
            delivery.wait(0.01)
        assert (delivery.budget.used_bytes, delivery.budget.used_events) == (0, 0)
        assert len(kept) == 23
        assert set(indexed(hec)) == {
            (at.topic, at.partition, offset)
            for at, offset in map(place, chunk)
            if at == other or (at, offset) not in kept
        }
    finally:
        delivery.close()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_stays_of_waiting_lines_is_exactly_that(data: st.DataObject) -> None:
    """Whichever records are taken out, the others keep lines, order and their share of the budget."""
    route = data.draw(PLAIN_ROUTES)
    messages = data.draw(chunks(route, 20))
    epochs = epochs_of(messages)
    for send in RecordEncoder(RouteTable([route]), event_max_bytes=LIMIT).encode(messages).sends:
        whole = Waiting(
            send.to, send.query, send.lines, Records.of(send.originals, epochs), send.originals.held_bytes
        )
        records = list(whole.records.each(whole.lines))
        size = len(records)
        stays = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
        pieces = whole.only(stays)
        gone = whole.only([not one for one in stays])
        left = [
            (exact(record), run, text)
            for one in pieces
            for (record, run), text in zip(one.records.each(one.lines), one.lines, strict=True)
        ]
        every = [(exact(record), run, text) for (record, run), text in zip(records, send.lines, strict=True)]
        assert left == [one for one, is_staying in zip(every, stays, strict=True) if is_staying]
        assert all(one.lines and (one.to, one.query) == (send.to, send.query) for one in pieces)
        assert sum(one.held_bytes for one in [*pieces, *gone]) == whole.held_bytes
