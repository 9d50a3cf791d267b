"""The table of replies: what each of them proves, and what it does not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splunk_hec._protocol import (
    Accepted,
    Acks,
    AcksLost,
    AcksRefused,
    Answer,
    BadEvent,
    Busy,
    Halt,
    NotSent,
    Reply,
    Request,
    Suspect,
    TooLarge,
    TransportError,
    Unknown,
    Verdict,
    ack_query,
    judge,
    judge_acks,
    judge_probe,
    learn_acks,
    read,
    table,
)
from splunk_hec._retry import retry_after_s
from splunk_hec.testing import accepted, acks, refused

PAGE = b"<html>a page</html>"
LOST = TransportError("reset", "reset by peer", maybe_sent=True)
NOT_SENT = TransportError("connect", "refused", maybe_sent=False)


def verdict_on(reply: Reply | TransportError, *, needs_ack_id: bool = True) -> Verdict:
    """What the reply to a POST of events means."""
    return judge(reply, read(reply), needs_ack_id=needs_ack_id)


@pytest.mark.parametrize("code", [0, 24, 25])
def test_only_three_codes_mean_accepted(code: int) -> None:
    """200 with code 0, 24 or 25 and an id is acceptance; 24 and 25 also ask to slow down."""
    assert verdict_on(accepted(3, code=code)) == Accepted(3, is_near_capacity=code != 0)
    assert verdict_on(accepted(code=code), needs_ack_id=False) == Accepted(None, is_near_capacity=code != 0)


@pytest.mark.parametrize("code", [17, 9, 5, 1, 404])
def test_200_with_any_other_code_proves_nothing(code: int) -> None:
    """A 200 whose code does not mean accepted is unknown, and strange."""
    verdict = verdict_on(accepted(0, code=code))
    assert isinstance(verdict, Unknown)
    assert verdict.is_strange


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", PAGE, b"[]", b"0", b'"Success"', b"{}", b'{"code":"0"}', b'{"code":true}', b'{"code":0.0}',
        b'{"code":null}', b'{"text":"Success"}', b'{"code":0', b"\xff", b'[{"code":0}]',
        b'{"text":"Success","code":0,"ackId":0', b"[" * 100_000,
    ],
)  # fmt: skip
def test_200_that_is_not_hec_json_proves_nothing(body: bytes) -> None:
    """Empty, cut, foreign or odd bodies are never acceptance, with acks or without."""
    for needs_ack_id in (True, False):
        verdict = verdict_on(Reply(200, body), needs_ack_id=needs_ack_id)
        assert isinstance(verdict, Unknown)
        assert verdict.is_strange


@given(st.binary())
def test_no_random_200_is_taken_for_acceptance(body: bytes) -> None:
    """Whatever bytes a 200 carries, it never raises, and is acceptance only as HEC's JSON."""
    verdict = verdict_on(Reply(200, body), needs_ack_id=False)
    assert isinstance(verdict, Unknown) or (isinstance(verdict, Accepted) and b'"code"' in body)


@given(st.integers(100, 599), st.binary(max_size=80), st.booleans())
def test_every_reply_has_a_verdict(status: int, body: bytes, needs_ack_id: bool) -> None:
    """There is no status and no body that the table does not judge."""
    reply = Reply(status, body)
    assert isinstance(verdict_on(reply, needs_ack_id=needs_ack_id), Verdict)
    judge_probe(reply)
    judge_acks(reply, frozenset({0}))
    learn_acks(reply)


def test_acceptance_without_the_id_that_is_due_is_not_delivery() -> None:
    """Code 0 without an id: the token has no acks; 24 and 25 without one: nobody can tell."""
    assert verdict_on(accepted()) == Halt("acks_disabled")
    for code in (24, 25):
        verdict = verdict_on(accepted(code=code))
        assert isinstance(verdict, Unknown)
        assert verdict.is_strange


@pytest.mark.parametrize("code", [5, 6, 7, 12, 13, 15])
def test_codes_that_blame_an_event(code: int) -> None:
    """These codes of a 400 blame one event, by the number if there is one; code 5 names none."""
    assert verdict_on(refused(400, code, number=2)) == BadEvent(code, None if code == 5 else 2)
    assert verdict_on(refused(400, code)) == BadEvent(code, None)


@pytest.mark.parametrize("number", ["2", 2.0, -1, True, None, [2]])
def test_number_of_the_wrong_form_is_no_number(number: object) -> None:
    """A number that is not a plain count is as good as none."""
    body = json.dumps({"text": "x", "code": 6, "invalid-event-number": number}).encode()
    assert verdict_on(Reply(400, body)) == BadEvent(6, None)


@pytest.mark.parametrize("ack_id", ["2", 2.0, -1, True, None])
def test_ack_id_of_the_wrong_form_is_no_id(ack_id: object) -> None:
    """An id that is not a plain count cannot be asked, so it is not there."""
    body = json.dumps({"text": "x", "code": 0, "ackId": ack_id}).encode()
    assert read(Reply(200, body)).ack_id is None


@pytest.mark.parametrize("status", [200, 400, 403, 413, 429, 500, 503])
def test_id_is_read_from_any_reply(status: int) -> None:
    """An ackId can stand in any reply, so it is read before and apart from judgement."""
    assert read(refused(status, 6, number=1, ack_id=4)) == Answer(
        status, is_splunk=True, code=6, text="", number=1, ack_id=4
    )


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (403, 1, "token_disabled"),
        (401, 2, "token_required"),
        (401, 3, "invalid_authorization"),
        (403, 4, "invalid_token"),
        (400, 10, "channel_missing"),
        (400, 11, "invalid_channel"),
        (400, 14, "acks_disabled"),
        (400, 16, "query_token_refused"),
        (400, 21, "invalid_token"),
        (400, 22, "token_disabled"),
        (400, 28, "channel_missing"),
        (404, 404, "not_found"),
        (405, 404, "method_refused"),
        (403, 6, "http_403_code_6"),
        (400, 99, "http_400_code_99"),
    ],
)
def test_faults_of_the_deployment_halt(status: int, code: int, reason: str) -> None:
    """Token, channel and path are nobody's event's fault: these halt, each with its own word."""
    assert verdict_on(refused(status, code)) == Halt(reason)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (401, Halt("unauthorized")),
        (404, Halt("not_found")),
        (405, Halt("method_refused")),
        (407, Halt("proxy_authentication")),
        (415, Halt("encoding_refused")),
        (300, Halt("redirected")),
        (301, Halt("redirected")),
        (307, Halt("redirected")),
        (399, Halt("redirected")),
        (400, Suspect()),
        (403, Suspect()),
        (406, Suspect()),
        (451, Suspect()),
        (499, Suspect()),
        (413, TooLarge()),
    ],
)
def test_pages_are_judged_by_their_status(status: int, verdict: Verdict) -> None:
    """What is not Splunk's JSON halts where the status is plain, and is probed where it is not."""
    assert verdict_on(Reply(status, PAGE)) == verdict


@pytest.mark.parametrize("status", [408, 500, 502, 504, 520, 100, 204, 206])
def test_outcomes_nobody_can_know_are_unknown(status: int) -> None:
    """Server errors, time-outs and other successes say neither taken nor refused, as page or as JSON."""
    for reply in (Reply(status, PAGE), refused(status, 8, "Internal server error")):
        verdict = verdict_on(reply)
        assert isinstance(verdict, Unknown)
        assert not verdict.is_strange


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(502, PAGE), "HTTP 502"),
        (Reply(503, PAGE), "HTTP 503"),
        (refused(500, 8, "Internal server error"), "HTTP 500 Internal server error"),
        (refused(500, 8), "HTTP 500"),
        (Reply(200, PAGE), "a 200 that does not say that the events were accepted"),
        (accepted(code=24), "code 24 without an ackId"),
    ],
)
def test_what_is_unknown_is_told_in_a_few_words(reply: Reply, why: str) -> None:
    """Health and log lines say the status once, and Splunk's own words where it had any."""
    verdict = verdict_on(reply)
    assert isinstance(verdict, Unknown)
    assert verdict.why == why


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (LOST, Answer(0, text="reset by peer")),
        (Reply(503, PAGE, retry_after="7"), Answer(503, text="HTTP 503", retry_after="7")),
        (Reply(400, b'{"code":true}'), Answer(400, text="HTTP 400")),
        (
            Reply(
                503,
                b'{"text":"a\\nb","code":9,"invalid-event-number":0,"ackId":0}',
                retry_after="5",
            ),
            Answer(503, is_splunk=True, code=9, text="a\\nb", number=0, ack_id=0, retry_after="5"),
        ),
    ],
)
def test_replies_are_taken_apart_without_judgement(reply: Reply | TransportError, answer: Answer) -> None:
    """Every part of a reply is read as it stands, its text on one line; what is not there is not made up."""
    assert read(reply) == answer


@pytest.mark.parametrize("status", [429, 503])
def test_busy_is_believed_only_in_splunks_words(status: int) -> None:
    """A busy Splunk took nothing beyond its number; a proxy's page may hide that it was served."""
    assert verdict_on(refused(status, 9, number=3)) == Busy(3, "")
    assert verdict_on(Reply(status, b'{"text":"busy","code":9}', retry_after="7")) == Busy(None, "7")
    assert isinstance(verdict_on(Reply(status, PAGE)), Unknown)


def test_lost_replies_are_unknown_only_if_something_may_have_left() -> None:
    """A refused connection is no duplicate; a reset after the body is one, possibly."""
    assert verdict_on(LOST) == Unknown("reset by peer")
    assert verdict_on(NOT_SENT) == NotSent("refused")


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (refused(400, 5, "No data"), None),
        (refused(400, 5, "No data", ack_id=3), None),
        (refused(403, 4), Halt("invalid_token")),
        (Reply(403, PAGE), Halt("refused_with_403")),
        (Reply(404, PAGE), Halt("not_found")),
        (refused(503, 9), Busy(None, "")),
        (LOST, Unknown("reset by peer")),
        (NOT_SENT, NotSent("refused")),
    ],
)
def test_probe_shows_whether_the_deployment_is_well(reply: Reply | TransportError, verdict: object) -> None:
    """Code 5 to an empty POST means token, path and channel are good; nothing else does."""
    assert judge_probe(reply) == verdict


@pytest.mark.parametrize(
    "reply", [accepted(), accepted(0), refused(400, 6), Reply(413, PAGE), Reply(200, PAGE)]
)
def test_probe_answered_with_nonsense_is_strange(reply: Reply) -> None:
    """Whoever accepts an empty request, or blames an event of it, is no HEC."""
    verdict = judge_probe(reply)
    assert isinstance(verdict, Unknown)
    assert verdict.is_strange
    assert verdict.why.startswith(("an empty request was answered with", "a 200 that does not say"))


def test_acks_are_the_ids_told_true_among_those_asked() -> None:
    """Ids that were not asked, are missing, or are not literally true count as false."""
    reply = Reply(200, b'{"acks":{"0":true,"1":false,"3":true,"4":1,"5":"true"}}')
    assert judge_acks(reply, frozenset({0, 1, 2, 4, 5})) == Acks(frozenset({0}))
    assert judge_acks(Reply(200, b'{"acks":{}}'), frozenset({0})) == Acks(frozenset())


@pytest.mark.parametrize(
    "reply",
    [
        LOST,
        Reply(200, b""),
        Reply(200, PAGE),
        Reply(200, b'{"acks":[true]}'),
        Reply(500, PAGE),
        Reply(502, PAGE),
        accepted(0),
    ],
)
def test_answer_that_may_have_told_a_true_is_lost(reply: Reply | TransportError) -> None:
    """Where the one true may be gone, the ids are in doubt, and it is said why."""
    answer = judge_acks(reply, frozenset({0}))
    assert isinstance(answer, AcksLost)
    assert answer.why in {"reset by peer", "a 200 without acks", "HTTP 500", "HTTP 502"}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (NOT_SENT, None),
        (refused(503, 9), None),
        (refused(400, 6), None),
        (refused(400, 14), "acks_disabled"),
        (refused(403, 4), "invalid_token"),
        (Reply(404, PAGE), "not_found"),
    ],
)
def test_refused_query_tells_nothing(reply: Reply | TransportError, reason: str | None) -> None:
    """A refusal resolves no id; it may show a fault of the deployment."""
    answer = judge_acks(reply, frozenset({0}))
    assert isinstance(answer, AcksRefused)
    assert answer.halt == (Halt(reason) if reason else None)


@pytest.mark.parametrize(
    ("reply", "has_acks"),
    [
        (acks({0: False}), True),
        (refused(400, 14), False),
        (refused(403, 4), None),
        (Reply(502, PAGE), None),
        (LOST, None),
    ],
)
def test_ack_mode_is_learnt_from_an_answer_only(reply: Reply | TransportError, has_acks: bool | None) -> None:
    """Code 14 means no acks, a well-formed answer means acks; all else leaves it open."""
    assert learn_acks(reply) is has_acks


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 0.0), ("0", 0.0), ("7", 7.0), (" 120 ", 120.0), ("-5", 0.0), ("1.5", 0.0), ("soon", 0.0),
        ("٣", 0.0), ("9" * 50, 999_999_999.0), ("Tue, 99 Foo 2026 00:00:00 GMT", 0.0),
    ],
)  # fmt: skip
def test_retry_after_in_seconds(header: str, seconds: float) -> None:
    """Whole seconds are read; what is no number of seconds asks for nothing."""
    assert retry_after_s(header, 1_700_000_000.0) == seconds


@given(st.integers(-10_000, 10_000), st.booleans())
def test_retry_after_as_a_date(seconds: int, is_aware: bool) -> None:
    """A date asks for the time until then, a past one for nothing, with or without a zone (it is GMT)."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    header = format_datetime(now + timedelta(seconds=seconds), usegmt=True)
    header = header if is_aware else header.replace(" GMT", "")
    assert retry_after_s(header, now.timestamp()) == max(0, seconds)


@given(st.text())
def test_retry_after_never_raises(header: str) -> None:
    """Whatever a server writes there, a wait comes out."""
    assert retry_after_s(header, 1_700_000_000.0) >= 0


def test_printed_table_says_what_is_done() -> None:
    """The table of the documentation has each code once, with what `judge` makes of it."""
    assert table().splitlines()[:2] == ["| HEC code | leads to |", "|---|---|"]
    rows = {int(row.split(" | ")[0][2:]): row for row in table().splitlines()[2:]}
    assert list(rows) == sorted(rows)
    assert [code for code, row in rows.items() if "slow down" in row] == [24, 25]
    assert [code for code, row in rows.items() if "busy" in row] == [9, 18, 19, 20, 23, 26, 27]
    assert "unknown" in rows[8]
    assert set(rows) >= {0, 1, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 24, 25, 26, 28}
    assert all(("accepted" in row) == (code in {0, 24, 25}) for code, row in rows.items())
    for code in (1, 4, 10, 14):
        verdict = verdict_on(refused(400, code))
        assert isinstance(verdict, Halt)
        assert verdict.reason in rows[code]


def test_text_of_a_reply_is_bounded() -> None:
    """A server cannot fill our logs: 200 characters of its text are kept."""
    assert len(read(refused(400, 6, "x" * 5_000)).text) == 200
    assert read(Reply(400, b'{"code":6,"text":7}')).text == ""


def test_ack_query_is_what_splunk_reads() -> None:
    """The body of a query names the ids as numbers."""
    assert ack_query([0, 12]) == b'{"acks":[0,12]}'


def test_request_shows_neither_headers_nor_body() -> None:
    """A request can be logged: its repr has neither the token nor the events."""
    request = Request(
        "http://test", "/services/collector", {"Authorization": "Splunk secret"}, b"payload", "C1", 5.0
    )
    assert repr(request) == "<Request POST http://test/services/collector 7 B channel C1>"
