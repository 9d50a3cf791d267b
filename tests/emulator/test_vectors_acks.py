"""Rows 127 to 166 of the conformance vectors: acknowledgement, overload and faults."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Serve

A = "/services/collector/ack"
ONE = b'{"event":"a"}'
FAR_S = 3600  # an ack delay that no test lives to see
NO_CHANNEL = b'{"text":"Data channel is missing","code":10}'
NO_CHANNEL_CLOUD = (
    b'{"text":"Data channel is missing. If you have multiple indexers, sticky session load balancers must be '
    b'provisioned and client requests must be routed accordingly.","code":28}'
)
BAD_CHANNEL = b'{"text":"Invalid data channel","code":11}'
NO_ACKS = b'{"text":"ACK is disabled","code":14}'


def accepted(ack_id: int) -> bytes:
    """Return the body of an accepted request."""
    return f'{{"text":"Success","code":0,"ackId":{ack_id}}}'.encode()


def test_ids_count_per_channel_from_zero(serve: "Serve") -> None:
    """Each accepted request takes the next id of its channel; another channel starts at 0 (rows 129, 130)."""
    site = serve()
    assert site.post(ONE, "TA", "C1").body == accepted(0)
    assert site.post(ONE * 3, "TA", "C1").body == accepted(1)
    assert site.post(ONE, "TA", "C2").body == accepted(0)


@pytest.mark.parametrize(
    ("row", "profile", "path", "body", "token", "channel", "expected"),
    [
        ("127", "ent-10.4", "/services/collector/event", ONE, "TA", "", NO_CHANNEL),
        ("127", "ent-9", "/services/collector/event", ONE, "TA", "", NO_CHANNEL),
        ("128", "cloud-10.5", "/services/collector/event", ONE, "TA", "", NO_CHANNEL_CLOUD),
        ("138", "ent-9", A, b'{"acks":[0]}', "TA", "not-a-guid-at-all", BAD_CHANNEL),
        ("139", "ent-10.4", "/services/collector/event", ONE, "TA", "not-a-guid-at-all", BAD_CHANNEL),
        ("140", "ent-10.4", A, b'{"acks":[0]}', "TA", "", NO_CHANNEL),
        ("140", "cloud-10.5", A, b'{"acks":[0]}', "TA", "", NO_CHANNEL_CLOUD),
        ("141", "ent-10.4", A, b'{"acks":[0]}', "T", "", NO_ACKS),
        ("141", "ent-10.4", A, b'{"acks":[0]}', "T", "C1", NO_ACKS),
    ],
)
def test_channels_are_checked_as_recorded(
    serve: "Serve",
    *,
    row: str,
    profile: str,
    path: str,
    body: bytes,
    token: str,
    channel: str,
    expected: bytes,
) -> None:
    """A missing or malformed channel, and a token without acks, are told in the recorded words."""
    reply = serve(profile=profile).post(body, token, channel, path)
    assert (reply.status, reply.body) == (400, expected)


def test_a_token_without_acks_tells_no_id(serve: "Serve") -> None:
    """A channel alone brings no ackId (row 131)."""
    assert serve().post(ONE, "T", "C1").body == b'{"text":"Success","code":0}'


def test_true_is_told_once(serve: "Serve") -> None:
    """A poll answers every asked id; what it tells true is false from then on (rows 132, 133, 155)."""
    site = serve()
    site.post(ONE, "TA", "C1")
    site.post(ONE, "TA", "C1")
    reply = site.post(b'{"acks":[0,1,5]}', "TA", "C1", A)
    assert reply.body == b'{"acks":{"0":true,"1":true,"5":false}}'
    assert site.post(b'{"acks":[0,1]}', "TA", "C1", A).body == b'{"acks":{"0":false,"1":false}}'


def test_an_ack_takes_its_time(serve: "Serve") -> None:
    """Before the disk point an id is false, the event not searchable, and the id stays open (row 134)."""
    site = serve(ack_delay=FAR_S)
    site.post(ONE, "TA", "C1")
    assert site.post(b'{"acks":[0]}', "TA", "C1", A).body == b'{"acks":{"0":false}}'
    assert site.indexed() == []
    assert site.emulator.stats()["acks_pending"] == 1


def test_an_ack_comes_true_after_its_delay(serve: "Serve") -> None:
    """The event becomes durable without any further request, and then its id is true."""
    site = serve(ack_delay="10ms..30ms")
    site.post(ONE, "TA", "C1")
    (event,) = site.emulator.wait_for_events(1)
    assert event["durable"] >= event["received"] + 0.01
    assert (event["channel"], event["ack_id"]) == ("C1C1C1C1-0000-4000-8000-000000000001", 0)
    assert site.poll(0) == {0: True}


def test_other_channels_and_unknown_ids_are_false(serve: "Serve") -> None:
    """Ids are per channel; a channel nobody used answers false (rows 135, 136)."""
    site = serve()
    site.post(ONE, "TA", "C1")
    assert site.poll(0, channel="C2") == {0: False}
    site.post(ONE, "TA", "C2")
    assert site.poll(0, 1, channel="C2") == {0: True, 1: False}


def test_the_channel_may_come_in_the_query(serve: "Serve") -> None:
    """`?channel=` is as good as the header (row 137)."""
    site = serve()
    query = "?channel=c1c1c1c1-0000-4000-8000-000000000001"
    assert site.post(ONE, "TA", path="/services/collector/event" + query).body == accepted(0)
    assert site.post(b'{"acks":[0]}', "TA", path=A + query).body == b'{"acks":{"0":true}}'


@pytest.mark.parametrize(
    ("options", "body", "status", "expected"),
    [
        pytest.param({}, b'{"acks":[]}', 200, b'{"acks":{}}', id="142"),
        pytest.param({"empty_acks_are_refused": True}, b'{"acks":[]}', 400, 6, id="142-other"),
        pytest.param({}, b"{bad", 400, 6, id="143"),
        pytest.param({}, b'{"ids":[0]}', 400, 6, id="143-no-key"),
        pytest.param({}, b"[0]", 400, 6, id="143-array"),
        pytest.param({}, b'{"acks":["\xff"]}', 400, 6, id="143-utf8"),
        pytest.param({}, b'{"acks":' + b"[" * 100_000, 400, 6, id="143-deep"),
        pytest.param({"ack_bad_body_code": 5}, b"{bad", 400, 5, id="143-other"),
        pytest.param({}, b" ", 400, 5, id="144"),
        pytest.param({"ack_empty_body_code": 6}, b"", 400, 6, id="144-other"),
        pytest.param({}, b'{"acks":["0"]}', 400, 6, id="145-text"),
        pytest.param(
            {"ack_string_ids_are_accepted": True}, b'{"acks":["7"]}', 200, b'{"acks":{"7":false}}', id="145-o"
        ),
        pytest.param({}, b'{"acks":[-1,7,7]}', 200, b'{"acks":{"-1":false,"7":false}}', id="145"),
        pytest.param(
            {},
            b'{"acks":[9223372036854775808]}',
            200,
            b'{"acks":{"9223372036854775808":false}}',
            id="145-big",
        ),
        pytest.param({}, b'{"acks":[true]}', 400, 6, id="145-bool"),
    ],
)
def test_odd_polls_are_answered_by_the_settings(
    serve: "Serve", *, options: dict[str, Any], body: bytes, status: int, expected: bytes | int
) -> None:
    """Nobody has measured odd polls: the defaults are the reference's, and each can be turned round."""
    reply = serve(**options).post(body, "TA", "C1", A)
    assert reply.status == status
    assert (reply.json["code"] if isinstance(expected, int) else reply.body) == expected


@pytest.mark.parametrize(
    ("row", "bad", "code", "number"),
    [
        ("146", b"{oops", 6, 1),
        ("148", b'{"event":"b","index":"no"}', 7, 2),
        ("148", b'{"time":1}', 12, 1),
        ("148", b'{"event":""}', 13, 1),
        ("148", b'{"event":"b","time":"x"}', 15, 1),
    ],
)
def test_a_prefix_is_acknowledged_in_the_refusal(
    serve: "Serve", *, row: str, bad: bytes, code: int, number: int
) -> None:
    """A 400 after a good prefix carries the ackId of that prefix, which comes true (rows 146, 148)."""
    site = serve()
    reply = site.post(ONE + bad, "TA", "C1")
    assert reply.status == 400
    assert list(reply.json) == ["text", "code", "invalid-event-number", "ackId"]
    assert (reply.json["code"], reply.json["invalid-event-number"], reply.json["ackId"]) == (code, number, 0)
    assert site.poll(0) == {0: True}
    assert site.indexed() == ["a"]


def test_the_recorded_prefix_refusal_is_byte_exact(serve: "Serve") -> None:
    """The one refusal with an ackId that was recorded, to the byte (row 146)."""
    reply = serve().post(ONE + b"{oops", "TA", "C1")
    assert reply.body == b'{"text":"Invalid data format","code":6,"invalid-event-number":1,"ackId":0}'


def test_a_refusal_at_object_0_tells_no_id(serve: "Serve") -> None:
    """Nothing taken, no ackId; the next good request gets 0 (row 147)."""
    site = serve()
    assert site.post(b"{oops", "TA", "C1").body == (
        b'{"text":"Invalid data format","code":6,"invalid-event-number":0}'
    )
    assert site.post(ONE, "TA", "C1").body == accepted(0)


def test_after_a_restart_an_old_id_comes_true_for_a_new_request(serve: "Serve") -> None:
    """The trap: the counter starts again, so id 0 of a lost request confirms another (rows 149, 150)."""
    site = serve(ack_delay="50ms")
    site.post(b'{"event":"lost"}', "TA", "C1")
    site.emulator.restart()
    assert site.poll(0, 1) == {0: False, 1: False}
    assert site.post(b'{"event":"kept"}', "TA", "C1").body == accepted(0)
    site.emulator.wait_for_events(1)
    assert site.poll(0) == {0: True}
    assert site.indexed() == ["kept"]
    assert site.emulator.stats()["events_lost"] == 1


def test_acks_switched_off_lose_the_status(serve: "Serve") -> None:
    """When useACK is turned off between send and poll, the poll is refused with 14 (row 156)."""
    site = serve()
    site.post(ONE, "TA", "C1")
    site.emulator.set_tokens("20000000-0000-0000-0000-000000000000")
    assert site.post(b'{"acks":[0]}', "TA", "C1", A).body == NO_ACKS


def test_unfetched_acks_reach_a_limit(serve: "Serve") -> None:
    """Acks nobody fetches bring 200 code 25, then 429 code 27; older releases say busy (row 153)."""
    site = serve(max_pending_acks_per_channel=10)
    codes = [site.post(ONE, "TA", "C1").json for _ in range(11)]
    assert [reply["code"] for reply in codes] == [0] * 9 + [25, 27]
    assert codes[9]["ackId"] == 9
    assert site.post(ONE, "TA", "C1").body == (
        b'{"text":"HEC ACK channel is at capacity and cannot process any more requests","code":27}'
    )
    assert site.poll(*range(10)) == dict.fromkeys(range(10), True)
    assert site.post(ONE, "TA", "C1").body == accepted(10)
    old = serve(max_pending_acks_per_channel=1, profile="ent-9")
    assert [old.post(ONE, "TA", "C1").json["code"] for _ in range(2)] == [0, 9]


@pytest.mark.parametrize(
    ("row", "fault", "status", "expected", "indexed"),
    [
        ("157", "busy", 503, b'{"text":"Server is busy","code":9}', []),
        ("157", "busy:0", 503, b'{"text":"Server is busy","code":9,"invalid-event-number":0}', []),
        (
            "158",
            "busy:10",
            503,
            b'{"text":"Server is busy","code":9,"invalid-event-number":10}',
            list(range(10)),
        ),
        (
            "159",
            "near-capacity",
            200,
            b'{"text":"HEC queue is approaching its capacity limit","code":24}',
            list(range(12)),
        ),
        (
            "161",
            "throttle",
            429,
            b'{"text":"HEC queue is at capacity and cannot process any more requests","code":26}',
            [],
        ),
        (
            "161",
            "queue-full",
            429,
            b'{"text":"HEC queue is at capacity and cannot process any more requests","code":26}',
            [],
        ),
        (
            "161",
            "throttle:5/3",
            429,
            (
                b'{"text":"HEC queue is at capacity and cannot process any more requests","code":26,'
                b'"invalid-event-number":3}'
            ),
            [0, 1, 2],
        ),
        ("162", "error500", 500, b'{"text":"Internal server error","code":8}', []),
        ("162", "error500:taken", 500, b'{"text":"Internal server error","code":8}', list(range(12))),
    ],
)
def test_overload_is_answered_as_recorded(
    serve: "Serve", *, row: str, fault: str, status: int, expected: bytes, indexed: list[int]
) -> None:
    """Busy, near and at capacity, and internal errors, with exactly the prefix they say was taken."""
    site = serve(faults=[fault])
    reply = site.post(b"".join(b'{"event":%d}' % n for n in range(12)))
    assert (reply.status, reply.body) == (status, expected)
    assert site.indexed() == indexed


def test_a_full_queue_is_busy_on_older_releases(serve: "Serve") -> None:
    """Codes 24 to 27 are absent from older tables (row 157)."""
    assert serve(faults=["queue-full"], profile="legacy-7").post(ONE).json["code"] == 9


def test_a_queue_that_fills_after_the_last_object_refuses_nothing(serve: "Serve") -> None:
    """A body shorter than the room in the queue is accepted whole."""
    assert serve(faults=["busy:2"]).post(ONE * 2).json["code"] == 0


def test_near_capacity_with_acks_tells_an_id_by_default(serve: "Serve") -> None:
    """200 code 24 or 25 carries an ackId unless the setting says otherwise (row 160)."""
    assert serve(faults=["near-capacity"]).post(ONE, "TA", "C1").json["ackId"] == 0
    silent = serve(faults=["near-capacity"], near_capacity_has_ack_id=False)
    assert "ackId" not in silent.post(ONE, "TA", "C1").json


def test_a_lost_poll_loses_its_true(serve: "Serve") -> None:
    """The one true of a poll whose reply is lost is never told again (row 164)."""
    site = serve(faults=["ack-lost,count=1"])
    site.post(ONE, "TA", "C1")
    with pytest.raises(ConnectionError):
        site.poll(0)
    assert site.poll(0) == {0: False}
    assert site.indexed() == ["a"]


def test_data_lost_after_its_200_is_never_confirmed(serve: "Serve") -> None:
    """lose-after-200: the reply promises, nothing is indexed, the ack stays false for ever (row 165)."""
    site = serve(faults=["lose-after-200,count=1"])
    assert site.post(ONE, "TA", "C1").body == accepted(0)
    assert site.poll(0) == {0: False}
    assert site.indexed() == []
    assert site.emulator.stats()["events_lost"] == 1


def test_an_ack_may_never_come_though_the_data_is_indexed(serve: "Serve") -> None:
    """ack-never: indexed, never confirmed; the next request is."""
    site = serve(faults=["ack-never,count=1"])
    site.post(ONE, "TA", "C1")
    site.post(ONE, "TA", "C1")
    assert site.poll(0, 1) == {0: False, 1: True}
    assert site.indexed() == ["a", "a"]
