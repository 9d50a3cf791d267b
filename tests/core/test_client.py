"""The client as its callers see it: submit, poll, flush, close, and what each of them promises."""

from __future__ import annotations

import gc
import gzip
import json
import logging
import os
import threading
import weakref
from typing import TYPE_CHECKING

import pytest
from hec_desk import Desk, accept_each

from splunk_hec import (
    BudgetExceeded,
    ClosedError,
    ConfigError,
    DeliveryFailed,
    Event,
    Halted,
    HecClient,
    HecConfig,
    InvalidEvent,
    OutcomeKind,
)
from splunk_hec._budget import Budget
from splunk_hec._protocol import ACK_PATH, CHANNEL_HEADER, RAW_PATH
from splunk_hec.testing import Reply, Request, ScriptedTransport, TransportError, accepted, acks, refused

if TYPE_CHECKING:
    from pathlib import Path

NOT_SENT = TransportError("connect", "connection refused", maybe_sent=False)
LOST = TransportError("reset", "reset", maybe_sent=True)
PROBED_WELL = refused(400, 5, "No data")
INVALID_TOKEN = refused(403, 4, "Invalid token")
TRUE_0 = acks({0: True})


class Hec(ScriptedTransport):
    """Accepts and confirms everything, for ever."""

    def send(self, request: Request) -> Reply | TransportError:
        """Whatever it is, it goes well."""
        self.requests.append(request)
        return accept_each(request)


def live(transport: ScriptedTransport, **settings: object) -> HecClient:
    """A client on the real clock, with threads unless told otherwise."""
    config = HecConfig(**{"url": "http://test", "token": "t", "lanes": 1, "linger_s": 0.02, **settings})  # type: ignore[arg-type]
    return HecClient(config, transport_factory=lambda: transport)


# -- the life of an event --------------------------------------------------------------------------------


def test_event_is_delivered_when_its_ack_is_told() -> None:
    """A 200 settles nothing; the acknowledgement does, and the outcome brings the caller's ref back."""
    desk = Desk(accepted(0), acks({0: False}), TRUE_0)
    desk.hec.submit(Event("a line", ref={"offset": 7}))
    assert desk.posted == [["a line"]]
    desk.later(0.2)
    assert desk.hec.poll() == []
    desk.later()
    [outcome] = desk.hec.poll()
    assert outcome.kind is OutcomeKind.DELIVERED
    assert outcome.refs == [{"offset": 7}]
    assert (outcome.count, outcome.attempts, outcome.url) == (1, 1, "http://test")
    assert outcome.ack_latency_s == pytest.approx(1.2)
    assert desk.hec.poll() == []
    assert (desk.hec.budget.used_bytes, desk.hec.budget.used_events) == (0, 0)


def test_poll_alone_makes_progress_without_threads() -> None:
    """A caller that only polls is not stuck: what is due is done inside the call."""
    desk = Desk(accepted(0), TRUE_0)
    desk.hec.submit(Event("a", ref=1))
    desk.clock.advance(1)
    assert [outcome.refs for outcome in desk.hec.poll()] == [[1]]


def test_open_batch_is_sent_after_its_linger() -> None:
    """Events wait for company no longer than linger_s, also if the caller never flushes."""
    desk = Desk(accepted(0), batch_max_events=100, linger_s=5)
    desk.hec.submit(Event("a"))
    desk.later(4)
    desk.hec.submit(Event("b"))
    assert not desk.posted
    desk.later(1)
    assert desk.posted == [["a", "b"]]


def test_batch_is_sealed_before_it_grows_too_large() -> None:
    """An event that does not fit any more begins the next batch; no request is larger than configured."""
    desk = Desk(*[accept_each] * 9, batch_max_events=100, batch_max_bytes=100)
    desk.hec.submit_many([Event("a" * 40), Event("b" * 60), Event("c" * 10)])
    desk.hec.queue.seal()
    desk.later(0)
    assert desk.posted == [["a" * 40], ["b" * 60, "c" * 10]]
    assert all(len(request.body) <= 100 for request in desk.wire.requests)


def test_idle_lane_seals_what_lingers() -> None:
    """With threads, nobody need call anything: a resting lane sends the open batch when it is due."""
    with live(Hec()) as hec:
        hec.submit(Event("a", ref=1))
        assert [outcome.refs for outcome in hec.poll(timeout_s=30)] == [[1]]


def test_rejected_event_comes_back_with_what_splunk_said() -> None:
    """A rejection carries reason, status, code and text; its neighbours are delivered."""
    desk = Desk(refused(400, 6, "Invalid data format", number=1, ack_id=0), accepted(1), batch_max_events=3)
    desk.hec.submit_many([Event("a", ref=1), Event("b", ref=2), Event("c", ref=3)])
    desk.reply(acks({0: True, 1: True}))
    desk.later()
    outcomes = {outcome.refs[0]: outcome for outcome in desk.hec.poll()}
    assert {ref: outcome.kind for ref, outcome in outcomes.items()} == {
        1: OutcomeKind.DELIVERED, 2: OutcomeKind.REJECTED, 3: OutcomeKind.DELIVERED,
    }  # fmt: skip
    rejected = outcomes[2]
    assert (rejected.reason, rejected.http_status, rejected.code) == ("invalid_event", 400, 6)
    assert rejected.text == "Invalid data format"
    assert rejected.first_attempt_s > 1_600_000_000
    assert desk.counts["events/delivered"] == 2
    assert (desk.hec.budget.used_bytes, desk.hec.budget.used_events) == (0, 0)
    assert desk.counts["events/rejected"] == 1
    assert desk.counts["resends/split"] == 1
    assert desk.counts["requests/400/6"] == 1
    assert desk.counts["ack_latency_seconds"] == 2


def test_delivered_events_without_refs_are_only_counted() -> None:
    """Nobody could tell whose outcome it is, so none is kept: memory does not grow with success."""
    desk = Desk(accepted(0), TRUE_0)
    desk.hec.submit(Event("a"))
    desk.later()
    assert desk.hec.poll() == []
    assert desk.counts["events/delivered"] == 1
    assert desk.hec.flush(0) == 0


def test_acks_off_delivers_on_acceptance() -> None:
    """With ack=off a 200 is delivery."""
    desk = Desk(accepted(), ack="off")
    desk.hec.submit(Event("a", ref=1))
    [outcome] = desk.hec.poll()
    assert (outcome.kind, outcome.http_status, outcome.code) == (OutcomeKind.DELIVERED, 200, 0)


@pytest.mark.parametrize("has_acks", [True, False])
def test_auto_asks_the_token_before_the_first_post(has_acks: bool, caplog: pytest.LogCaptureFixture) -> None:
    """ack=auto learns the mode from an ack query, logs it, and then keeps to it."""
    desk = Desk(acks({0: False}) if has_acks else refused(400, 14, "ACK is disabled"), ack="auto")
    desk.reply(accepted(0) if has_acks else accepted())
    with caplog.at_level(logging.WARNING, "splunk_hec"):
        desk.hec.submit(Event("a", ref=1))
    assert [request.path == ACK_PATH for request in desk.wire.requests] == [True, False]
    assert f"acknowledgements are {'on' if has_acks else 'off'}" in caplog.text
    assert bool(desk.hec.poll()) is not has_acks
    desk.reply(TRUE_0)
    desk.later()
    assert desk.hec.flush(0) == 0


def test_request_is_what_splunk_expects() -> None:
    """Token, channel, a User-Agent (without one splunkd falls back to HTTP/1.0) and the coding are named."""
    desk = Desk(accepted(0), TRUE_0, gzip="fast", token="s3cret")
    desk.hec.submit(Event("a" * 500))
    desk.later()
    post, poll = desk.wire.requests
    assert post.headers["Authorization"] == "Splunk s3cret"
    assert post.headers["User-Agent"]
    assert post.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(post.body)) == {"event": "a" * 500}
    assert post.headers[CHANNEL_HEADER] == poll.headers[CHANNEL_HEADER] == post.channel
    assert len(post.channel) == 36
    assert poll.body == b'{"acks":[0]}'
    assert post.deadline_s == 60


def test_compressing_gives_budget_back_at_once() -> None:
    """What is held after compression is what counts: the rest is free for other events."""
    desk = Desk(NOT_SENT, gzip="fast")
    desk.hec.submit(Event("a" * 100_000))
    assert 0 < desk.hec.budget.used_bytes < 2_000
    desk.hec.abort()
    assert desk.hec.budget.used_bytes == 0


def test_raw_batches_are_parted_by_their_metadata() -> None:
    """Raw events of one host, source, sourcetype and index share a request; others get their own."""
    desk = Desk(*[accept_each] * 4, endpoint="raw", batch_max_events=10, sourcetype="st")
    desk.hec.submit_many([Event("a\n b", host="x"), Event("c", host="x"), Event("d", host="y")])
    desk.hec.queue.seal()
    desk.later(0)
    sent = {request.path: request.body for request in desk.wire.requests}
    assert sent == {
        f"{RAW_PATH}?host=x&sourcetype=st": b"a\n b\nc",
        f"{RAW_PATH}?host=y&sourcetype=st": b"d",
    }


def test_raw_builders_of_old_metadata_are_not_kept() -> None:
    """A builder for each host ever seen would only grow: once sealed, they are dropped."""
    desk = Desk(*[accept_each] * 60, endpoint="raw", batch_max_events=10)
    for number in range(20):
        desk.hec.submit(Event("a", host=f"h{number}"))
        desk.later(1)
    assert len(desk.hec._default._box.builders) <= 1


# -- the call site -----------------------------------------------------------------------------------------


def test_invalid_event_is_refused_with_its_position_and_nothing_is_taken() -> None:
    """`submit_many` refuses as a whole, naming the event at fault."""
    desk = Desk()
    with pytest.raises(InvalidEvent) as caught:
        desk.hec.submit_many([Event("a"), Event("b"), Event("")])
    assert (caught.value.position, caught.value.reason) == (2, "blank")
    assert desk.hec.budget.used_events == 0
    with pytest.raises(InvalidEvent, match="bad_time: 'x' is neither"):
        desk.hec.submit(Event("a", time="x"))


def test_refused_index_is_remembered_for_five_minutes() -> None:
    """After one rejection events for that index are refused at their call site, and tried again later."""
    desk = Desk(refused(400, 7, "Incorrect index", number=1))
    desk.hec.submit(Event("a", index="nope", ref=1))
    assert desk.hec.poll()[0].reason == "bad_index"
    with pytest.raises(InvalidEvent, match=r"bad_index.*'nope'"):
        desk.hec.submit(Event("b", index="nope"))
    desk.reply(accepted(0))
    desk.hec.submit(Event("c", index="other"))
    desk.clock.advance(301)
    desk.reply(TRUE_0, accepted(1))
    desk.hec.submit(Event("d", index="nope"))
    assert desk.posted == [["a"], ["c"], ["d"]]


def test_refused_index_is_remembered_on_the_raw_endpoint_too() -> None:
    """There the index stands in the query, and is known from it."""
    desk = Desk(refused(400, 7, "Incorrect index", number=1), endpoint="raw")
    desk.hec.submit(Event("a", index="nope", ref=1))
    assert desk.hec.poll()[0].reason == "bad_index"
    with pytest.raises(InvalidEvent, match="bad_index"):
        desk.hec.submit(Event("b", index="nope"))


@pytest.mark.parametrize("by", ["default", "configured"])
def test_configured_index_halts_instead(by: str) -> None:
    """An index that the configuration names is never remembered as bad: it halts, and heals."""
    settings = {"index": "main"} if by == "default" else {}
    configured = ["main"] if by == "configured" else []
    desk = Desk(refused(400, 7, "Incorrect index", number=1), configured_indexes=configured, **settings)
    desk.hec.submit(Event("a", index="main", ref=1))
    assert desk.hec.health().halted
    assert desk.hec.health().reasons[0].code == "bad_index"
    assert desk.hec.poll() == []
    desk.reply(accepted(0))
    desk.later(2)
    assert not desk.hec.health().halted


def test_full_budget_raises_when_the_time_is_up() -> None:
    """timeout_s=0 does not wait; nothing of the event is kept."""
    desk = Desk(NOT_SENT, in_flight_max_events=2)
    desk.hec.submit(Event("a"))
    desk.hec.submit(Event("b"))
    with pytest.raises(BudgetExceeded):
        desk.hec.submit(Event("c"), timeout_s=0)
    with pytest.raises(BudgetExceeded) as caught:
        desk.hec.submit_many([Event("c"), Event("d")], timeout_s=0)
    assert caught.value.accepted == 0
    assert desk.hec.budget.used_events == 2


def test_bulk_submission_says_how_much_was_taken() -> None:
    """Of a large call the first part that fits is accepted, and no more than the budget allows."""
    desk = Desk(NOT_SENT, in_flight_max_events=16, batch_max_events=100)
    with pytest.raises(BudgetExceeded) as caught:
        desk.hec.submit_many([Event("a", ref=number) for number in range(40)], timeout_s=0)
    assert caught.value.accepted == desk.hec.budget.used_events
    assert 8 <= caught.value.accepted <= 16
    stream = desk.hec.stream()
    assert stream.submit_lines([b'{"event":1}'] * 30, list(range(30)), timeout_s=0) <= 8


def test_one_event_larger_than_the_budget_can_be_sent() -> None:
    """It is let in alone; otherwise it could never be sent."""
    desk = Desk(accepted(0), TRUE_0, in_flight_max_bytes=1_000)
    desk.hec.submit(Event("x" * 5_000, ref=1), timeout_s=0)
    desk.later()
    assert desk.hec.poll()[0].kind is OutcomeKind.DELIVERED


def test_waiting_submit_is_not_stuck_on_its_own_open_batch() -> None:
    """A submit that must wait seals what is open; a half-full batch would hold the budget for ever."""
    for threads in (True, False):
        with live(Hec(), threads=threads, in_flight_max_events=3, linger_s=1_000) as hec:
            for number in range(10):
                hec.submit(Event("a", ref=number), timeout_s=30)
            assert hec.flush(30) == 0
            assert sorted(ref for outcome in hec.poll() for ref in outcome.refs) == list(range(10))


def test_budget_may_be_shared_between_clients() -> None:
    """One process with two tokens has one bound: what one client holds is missing to the other."""
    budget = Budget(1_000_000, 2)
    one, two = Desk(NOT_SENT, budget=budget), Desk(NOT_SENT, budget=budget)
    one.hec.submit(Event("a"))
    two.hec.submit(Event("b"))
    with pytest.raises(BudgetExceeded):
        one.hec.submit(Event("c"), timeout_s=0)
    two.hec.abort()
    one.hec.submit(Event("c"), timeout_s=0)


# -- halted ------------------------------------------------------------------------------------------------


def test_halted_is_raised_once_the_patience_is_over() -> None:
    """Until then events are taken and held; nothing of them is lost by it."""
    desk = Desk(INVALID_TOKEN, *[INVALID_TOKEN] * 100, halt_patience_s=300)
    desk.hec.submit(Event("a", ref=1))
    desk.hec.submit(Event("b", ref=2))
    for _ in range(15):
        desk.later(30)
    with pytest.raises(Halted, match="Invalid token") as caught:
        desk.hec.submit(Event("c"))
    assert caught.value.reason == "invalid_token"
    with pytest.raises(Halted):
        desk.hec.submit_many([Event("c")] * 3)
    assert desk.hec.budget.used_events == 2
    health = desk.hec.health()
    assert health.halted
    assert not health.ready
    assert health.halted_for_s >= 300
    desk.wire.script.clear()
    desk.reply(PROBED_WELL, accept_each, accept_each, accept_each)
    desk.later(31)
    assert desk.hec.health().ready
    desk.hec.submit(Event("c"))


@pytest.mark.parametrize("endpoint", ["event", "raw"])
def test_halt_in_the_middle_of_a_bulk_call_tells_what_was_taken(endpoint: str) -> None:
    """What was accepted before the refusal must not be submitted again: it is told; the next call raises."""
    desk = Desk(INVALID_TOKEN, halt_patience_s=0, in_flight_max_events=8, endpoint=endpoint)
    events = [Event("a", host=f"h{number}", ref=number) for number in range(4)]
    with pytest.raises(BudgetExceeded) as caught:
        desk.hec.submit_many(events)
    assert caught.value.accepted == desk.hec.budget.used_events == 1
    with pytest.raises(Halted):
        desk.hec.submit_many(events[1:])


def test_no_patience_raises_at_once() -> None:
    """halt_patience_s=0: the first submit after the refusal raises."""
    desk = Desk(refused(401, 2, "Token is required"), halt_patience_s=0)
    desk.hec.submit(Event("a"))
    with pytest.raises(Halted) as caught:
        desk.hec.submit(Event("b"))
    assert caught.value.reason == "token_required"


def test_client_is_halted_only_if_every_endpoint_is() -> None:
    """One good endpoint is enough: events go there, and health names the one that refuses."""
    bad, good = ScriptedTransport([INVALID_TOKEN] * 50), ScriptedTransport([accept_each] * 50)
    desk = Desk(
        url=["http://bad", "http://good"], transports=[bad, good], halt_patience_s=0, batch_max_events=1
    )
    for number in range(3):
        desk.hec.submit(Event("a", ref=number))
    desk.later(0.2)
    health = desk.hec.health()
    assert not health.halted
    assert [reason.code for reason in health.reasons] == ["invalid_token"]
    desk.later(1)
    assert sorted(ref for outcome in desk.hec.poll() for ref in outcome.refs) == [0, 1, 2]


def test_health_tells_a_failing_endpoint_from_a_good_one() -> None:
    """Refused connections are not a halt: the client is not ready, says so, and recovers."""
    desk = Desk(NOT_SENT)
    assert desk.hec.health().ready
    desk.hec.submit(Event("a"))
    [reason] = desk.hec.health().reasons
    assert (reason.code, reason.text) == ("endpoint", "http://test: connection refused")
    assert not desk.hec.health().halted
    desk.reply(accepted(0))
    desk.later(5)
    assert desk.hec.health().ready


def test_health_says_acks_never() -> None:
    """A server that takes events and confirms none is red, though every request goes well."""
    desk = Desk(accepted(0), *[acks({})] * 50, ack_deadline_s=10)
    desk.hec.submit(Event("a"))
    for _ in range(30):
        desk.later(1)
    (reason,) = [reason for reason in desk.hec.health().reasons if reason.code == "acks_never"]
    assert reason.for_s == pytest.approx(30, abs=2)  # since the reply that was never confirmed


# -- several endpoints, ages -------------------------------------------------------------------------------


def test_batches_of_a_dead_endpoint_go_to_the_other() -> None:
    """What one endpoint cannot take, the other does, and nothing is sent twice."""
    dead, good = ScriptedTransport(), ScriptedTransport([accept_each] * 50)
    desk = Desk(url=["http://dead", "http://good"], transports=[dead, good])
    desk.hec.submit_many([Event("a", ref=number) for number in range(4)])
    for _ in range(5):
        desk.later(1)
    outcomes = desk.hec.poll()
    assert sorted(ref for outcome in outcomes for ref in outcome.refs) == [0, 1, 2, 3]
    assert {outcome.url for outcome in outcomes} == {"http://good"}


def test_give_up_after_bounds_the_age_of_everything() -> None:
    """Batches in a lane, in the queue and still open are given up when they are too old."""
    desk = Desk(INVALID_TOKEN, *[INVALID_TOKEN] * 100, give_up_after_s=60, batch_max_events=2, linger_s=5)
    for number in range(7):
        desk.hec.submit(Event("a", ref=number))
    for _ in range(80):
        desk.later(1)
    outcomes = desk.hec.poll()
    assert sorted(ref for outcome in outcomes for ref in outcome.refs) == list(range(7))
    assert {(outcome.kind, outcome.reason) for outcome in outcomes} == {(OutcomeKind.GAVE_UP, "gave_up")}
    assert desk.hec.budget.used_events == 0


# -- the token ---------------------------------------------------------------------------------------------


def test_rotated_token_file_is_read_again(tmp_path: Path) -> None:
    """A new secret in the file is used from the next request on; a missing one sends nothing and heals."""
    path = tmp_path / "token"
    path.write_text("first\n")
    desk = Desk(INVALID_TOKEN, token=f"file:{path}")
    desk.hec.submit(Event("a", ref=1))
    path.unlink()
    desk.later(1)
    assert len(desk.wire.requests) == 1
    path.write_text("second-one")
    desk.reply(PROBED_WELL, accepted(0))
    desk.later(30)
    assert [request.headers["Authorization"] for request in desk.wire.requests] == [
        "Splunk first", "Splunk second-one", "Splunk second-one",
    ]  # fmt: skip
    assert not desk.hec.health().halted


def test_token_that_leads_nowhere_is_refused_at_once(tmp_path: Path) -> None:
    """A reference to nothing fails where the client is made, and says where it looked."""
    for token in ("env:NO_SUCH_VARIABLE_AT_ALL", f"file:{tmp_path}/none"):
        with pytest.raises(ConfigError, match="is missing or empty"):
            Desk(token=token)


# -- ends --------------------------------------------------------------------------------------------------


def test_close_raises_the_failures_nobody_polled() -> None:
    """Leaving `with` flushes first, then raises with every unpolled failure; a polled one is not raised."""
    reject = refused(400, 6, "Invalid data format", number=0)
    polled = Desk(reject)
    polled.hec.submit(Event("a", ref=1))
    assert len(polled.hec.poll()) == 1
    polled.hec.close(0)
    unpolled = Desk(reject)
    unpolled.hec.submit(Event("a", ref=2))
    with pytest.raises(
        DeliveryFailed, match=r"1 events were not delivered \(rejected/invalid_event\)"
    ) as caught:
        unpolled.hec.close(0)
    assert [outcome.refs for outcome in caught.value.outcomes] == [[2]]
    unpolled.hec.close()


@pytest.mark.parametrize("threads", [True, False])
def test_outcomes_can_be_polled_after_the_end(threads: bool) -> None:
    """Leaving `with` delivers, and what was delivered in there can still be polled."""
    with live(Hec(), threads=threads) as hec:
        hec.submit(Event("a", ref=1))
        stream = hec.stream()
        stream.submit(Event("b", ref=2))
        stream.close()
    assert [outcome.refs for outcome in hec.poll()] == [[1]]
    assert [outcome.refs for outcome in stream.poll()] == [[2]]


def test_close_gives_up_what_it_could_not_deliver() -> None:
    """When the time is up, what is sent, queued or open is settled as gave_up, and the budget is free."""
    desk = Desk(accepted(0), acks({}), NOT_SENT, batch_max_events=2)
    for number in range(5):
        desk.hec.submit(Event("a", ref=number))
    with pytest.raises(DeliveryFailed) as caught:
        desk.hec.close(0.01)
    outcomes = caught.value.outcomes
    assert sorted(ref for outcome in outcomes for ref in outcome.refs) == list(range(5))
    assert {(outcome.kind, outcome.reason) for outcome in outcomes} == {(OutcomeKind.GAVE_UP, "closed")}
    assert desk.hec.budget.used_events == 0
    assert desk.counts["events/gave_up"] == 5
    assert desk.wire.is_closed


def test_leaving_by_an_exception_aborts() -> None:
    """Nothing is flushed: what is unsettled is given up, can be polled, and the exception goes on."""
    desk = Desk(batch_max_events=10)
    with pytest.raises(InvalidEvent), desk.hec as hec:
        hec.submit_many([Event("a", ref=1)]) or hec.submit(Event(""))
    assert not desk.wire.requests
    assert [outcome.reason for outcome in desk.hec.poll()] == ["closed"]
    desk.hec.abort()
    assert desk.hec.poll(timeout_s=0.01) == []


def test_closed_client_takes_nothing() -> None:
    """After its end every call that would start something is refused."""
    desk = Desk(accepted(0))
    stream = desk.hec.stream()
    desk.hec.close(0)
    for call in (lambda: desk.hec.submit(Event("a")), desk.hec.stream, lambda: stream.submit(Event("a"))):
        with pytest.raises(ClosedError, match="closed"):
            call()


def test_flush_says_how_much_is_unsettled() -> None:
    """0 is success; when the time is up, the number of events that are not settled."""
    desk = Desk(NOT_SENT, batch_max_events=10)
    desk.hec.submit_many([Event("a"), Event("b")])
    assert desk.hec.flush(0.01) == 2
    with live(Hec()) as hec:
        hec.submit(Event("a"))
        assert hec.flush(30) == 0


def test_no_thread_is_started_without_threads() -> None:
    """threads=False: a whole life, real clock included, on the caller's thread alone."""
    before = threading.active_count()
    seen: set[str] = set()

    class Watching(Hec):
        def send(self, request: Request) -> Reply | TransportError:
            seen.add(threading.current_thread().name)
            return super().send(request)

    with live(Watching(), threads=False) as hec:
        for number in range(5):
            hec.submit(Event("a", ref=number))
        assert hec.flush(30) == 0
        assert threading.active_count() == before
    assert seen == {threading.current_thread().name}


def test_threads_end_with_the_client() -> None:
    """After close no lane thread is left, and each transport was closed."""
    transport = Hec()
    before = set(threading.enumerate())  # other tests' clients may still be ending, or idle
    hec = live(transport, lanes=3)
    hec.submit(Event("a"))
    lanes = set(threading.enumerate()) - before
    assert sorted(thread.name for thread in lanes) == ["hec-lane-0", "hec-lane-1", "hec-lane-2"]
    hec.close()
    assert not any(thread.is_alive() for thread in lanes)
    assert transport.is_closed


def test_forked_child_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child has copies of events, sockets and locks: what it tries is refused, its abort does nothing."""
    desk = Desk(NOT_SENT, accepted(0))
    stream = desk.hec.stream()
    desk.hec.submit(Event("a", ref=1))
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    for call in (
        lambda: desk.hec.submit(Event("b")),
        lambda: stream.submit(Event("b")),
        lambda: desk.hec.flush(1),
        desk.hec.poll,
        desk.hec.close,
    ):
        with pytest.raises(ClosedError, match="fork"):
            call()
    stream.abort()
    desk.hec.abort()
    monkeypatch.undo()
    assert desk.hec.budget.used_events == 1
    desk.later(5)
    assert desk.posted == [["a"], ["a"]]


def test_closed_client_is_collected() -> None:
    """Nothing holds a client once its caller lets it go."""
    desk = Desk(accepted(0))
    desk.hec.submit(Event("a"))
    gone = weakref.ref(desk.hec)
    desk.hec.abort()
    del desk
    gc.collect()
    assert gone() is None


# -- faults of our own -------------------------------------------------------------------------------------


class Broken(Hec):
    """Raises at each of the first `faults` requests."""

    def __init__(self, faults: int) -> None:
        super().__init__()
        self.faults = faults

    def send(self, request: Request) -> Reply | TransportError:
        """What no transport should ever do."""
        if self.faults:
            self.faults -= 1
            raise RuntimeError("a fault of our own")
        return super().send(request)


@pytest.mark.parametrize("threads", [True, False])
@pytest.mark.parametrize("faults", [1, 2])
def test_batches_of_a_failed_lane_move_once(
    threads: bool, faults: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A fresh lane takes them over; if that fails too they are given up as internal, never lost."""
    hec = live(Broken(faults), threads=threads)
    hec.submit(Event("a", ref=1))
    assert hec.flush(30) == 0
    [outcome] = hec.poll()
    expected = (OutcomeKind.DELIVERED, "") if faults == 1 else (OutcomeKind.GAVE_UP, "internal")
    assert (outcome.kind, outcome.reason) == expected
    assert [reason.code for reason in hec.health().reasons] == ["internal"]
    assert caplog.text.count("its batches move to a fresh one") == faults
    hec.submit(Event("b", ref=2))
    assert hec.flush(30) == 0
    hec.close()
    assert hec.budget.used_events == 0


def test_observer_that_raises_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It must not raise; if it does, outcomes are handed over all the same."""
    desk = Desk(*[accept_each] * 9, ack="off")

    def broken(name: str, amount: float = 1, /, **labels: str) -> None:
        if name == "events":
            raise RuntimeError("an observer's fault")

    desk.counts.count = broken  # type: ignore[method-assign]
    desk.hec.submit(Event("a", ref=1))
    assert [outcome.refs for outcome in desk.hec.poll()] == [[1]]
    assert desk.hec.budget.used_events == 0
    assert "an observer's fault" in caplog.text


# -- streams -----------------------------------------------------------------------------------------------


def test_streams_are_independent() -> None:
    """Each stream gets exactly its own outcomes, and flushes without waiting for the others."""
    desk = Desk(*[accept_each] * 50, batch_max_events=10)
    one, two = desk.hec.stream(), desk.hec.stream()
    one.submit(Event("a", ref="one"))
    two.submit(Event("b", ref="two"))
    desk.hec.submit(Event("c", ref="client"))
    desk.hec.queue.seal()
    desk.later(0)
    desk.later(1)
    assert [outcome.refs for outcome in one.poll()] == [["one"]]
    assert [outcome.refs for outcome in two.poll()] == [["two"]]
    assert [outcome.refs for outcome in desk.hec.poll()] == [["client"]]
    assert desk.posted == [["a"], ["b"], ["c"]]


def test_a_stream_that_asks_for_failures_alone_holds_nothing_for_what_was_delivered() -> None:
    """Delivered events leave no outcome behind that somebody would have to poll; refused ones do."""
    desk = Desk(accepted(), refused(400, 6, "Invalid data format", number=0), ack="off")
    stream = desk.hec.stream(tells_delivered=False)
    stream.submit(Event("good", ref=1))
    stream.submit(Event("bad", ref=2))
    assert stream.unsettled == 0
    assert [(outcome.kind, outcome.refs) for outcome in stream.poll()] == [(OutcomeKind.REJECTED, [2])]


def test_flush_without_patience_has_sent_what_was_open() -> None:
    """flush(0) waits for nothing, but what was gathered is on its way when it returns."""
    desk = Desk(accepted(0), batch_max_events=10)
    desk.hec.submit(Event("a"))
    assert desk.posted == []
    assert desk.hec.flush(0) == 1
    assert desk.posted == [["a"]]


@pytest.mark.parametrize("codec", ["off", "fast"])
def test_failures_bring_their_envelopes_along_on_request(codec: str) -> None:
    """On a stream that keeps lines a failure holds what was sent, of a piece of a batch too; else nothing."""
    lines = {}
    for keeps_lines in (True, False):
        refusal = refused(400, 6, "bad", number=1, ack_id=0)
        desk = Desk(refusal, accept_each, acks({0: True, 1: True}), gzip=codec, batch_max_events=3)
        stream = desk.hec.stream(keeps_lines=keeps_lines)
        stream.submit_many([Event(name, ref=name) for name in ("good", "bad", "good too")])
        desk.later(10)
        outcomes = {outcome.refs[0]: outcome for outcome in stream.poll()}
        assert outcomes["bad"].kind is OutcomeKind.REJECTED
        lines[keeps_lines] = {ref: list(outcome.lines) for ref, outcome in outcomes.items()}
    assert lines[True] == {"good": [], "bad": [b'{"event":"bad"}'], "good too": []}
    assert lines[False] == {"good": [], "bad": [], "good too": []}


def test_aborted_stream_gives_its_budget_back() -> None:
    """What is open, queued, sent or awaiting its ack is forgotten; no outcome follows, others go on."""
    desk = Desk(accepted(0), accepted(1), batch_max_events=2)
    other = desk.hec.stream()
    other.submit_many([Event("x", ref=1), Event("y", ref=2)])
    stream = desk.hec.stream()
    stream.submit_many([Event("a", ref=number) for number in range(5)])
    desk.reply(acks({0: True, 1: True, 2: True}))
    stream.abort()
    assert desk.hec.budget.used_events == 2
    assert stream.unsettled == 0
    desk.later()
    assert stream.poll() == []
    assert other.poll()[0].kind is OutcomeKind.DELIVERED
    assert desk.hec.budget.used_events == 0
    with pytest.raises(ClosedError):
        stream.submit(Event("b"))
    stream.abort()


def test_collected_stream_aborts_itself() -> None:
    """A stream that is let go gives its budget back at the next chance, and its events are not sent."""
    desk = Desk(batch_max_events=10)
    stream = desk.hec.stream()
    stream.submit_many([Event("a"), Event("b")])
    assert desk.hec.budget.used_events == 2
    del stream
    gc.collect()
    desk.later(60)
    assert desk.hec.budget.used_events == 0
    assert not desk.wire.requests


def test_collection_inside_our_lock_does_not_hang() -> None:
    """Garbage may be collected at any allocation, also where this very thread holds the queue's lock."""
    desk = Desk(batch_max_events=10)
    streams = [desk.hec.stream()]
    streams[0].submit(Event("a"))
    with desk.hec.queue._lock:
        streams.clear()
        gc.collect()
    desk.later(0)
    assert desk.hec.budget.used_events == 0


def test_waiting_submit_takes_the_budget_of_a_collected_stream() -> None:
    """What a collected stream held is found by whoever needs it, though no lane is working."""
    desk = Desk(INVALID_TOKEN, *[INVALID_TOKEN] * 20, in_flight_max_events=1, halt_patience_s=1_000)
    stream = desk.hec.stream()
    stream.submit(Event("a"))
    del stream
    gc.collect()
    desk.hec.submit(Event("b"), timeout_s=1)


def test_stream_close_raises_its_failures_only() -> None:
    """A stream's close speaks for its own events, and gives up what is unsettled."""
    desk = Desk(refused(400, 6, number=0), NOT_SENT)
    one, two = desk.hec.stream(), desk.hec.stream()
    one.submit(Event("a", ref=1))
    two.submit(Event("b", ref=2))
    with pytest.raises(DeliveryFailed) as caught:
        one.close(0)
    assert [outcome.refs for outcome in caught.value.outcomes] == [[1]]
    one.close()
    with pytest.raises(DeliveryFailed, match="1 events were not delivered"):
        two.close(0)
    assert desk.hec.budget.used_events == 0
    three = desk.hec.stream()
    three.close(0)


# -- probe -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([PROBED_WELL, acks({0: False})], (True, True, False, "ok")),
        ([PROBED_WELL, refused(400, 14)], (True, False, False, "ok")),
        ([refused(400, 10), PROBED_WELL, acks({0: False})], (True, True, True, "ok")),
        ([refused(400, 28), PROBED_WELL, LOST], (True, None, True, "ok")),
        ([INVALID_TOKEN], (False, None, None, "invalid_token")),
        ([refused(503, 9)], (False, None, None, "busy")),
        ([NOT_SENT], (False, None, None, "unreachable")),
        ([Reply(200, b"<html>login</html>")], (False, None, None, "not_hec")),
        ([Reply(404, b"")], (False, None, None, "not_found")),
    ],
)
def test_probe_tells_what_is_wrong_without_indexing(
    script: list[Reply], expected: tuple[object, ...]
) -> None:
    """An empty POST and an ack query tell token, acks and channel; no event is ever sent."""
    desk = Desk(*script)
    probe = desk.hec.probe()
    assert (probe.token_ok, probe.acks, probe.channel_required, probe.reason) == expected
    assert all(request.path == ACK_PATH or not request.body for request in desk.wire.requests)
    assert desk.wire.is_closed
    assert probe.url == "http://test"


def test_probe_names_the_endpoint_at_fault() -> None:
    """Of several endpoints, one that is at fault is told before those that are well."""
    wire = ScriptedTransport([PROBED_WELL, acks({0: False}), INVALID_TOKEN])
    desk = Desk(url=["http://good", "http://bad"], transports=[wire])
    probe = desk.hec.probe()
    assert (probe.url, probe.reason, probe.status, probe.code) == ("http://bad", "invalid_token", 403, 4)


def test_probe_without_its_token_says_so(tmp_path: Path) -> None:
    """A token file that went away is an answer, not an exception."""
    path = tmp_path / "token"
    path.write_text("t")
    desk = Desk(token=f"file:{path}")
    path.unlink()
    probe = desk.hec.probe()
    assert (probe.token_ok, probe.reason) == (False, "token_unreadable")


def test_everything_shows_itself_in_one_line() -> None:
    """The reprs are for whoever debugs: who waits for what."""
    desk = Desk(accepted(0))
    desk.hec.submit(Event("a", ref=1))
    stream = desk.hec.stream()
    assert repr(desk.hec).startswith("<HecClient http://test | <Budget ")
    assert repr(desk.hec._crew.workers[0]).startswith(
        "<Worker <Lane http://test | ok | todo 0 | awaiting ack 1"
    )
    assert repr(stream) == "<Stream unsettled 0 | outcomes 0>"
    assert repr(desk.hec.queue) == "<BatchQueue sealed 0 | open 0 | stopping False>"
