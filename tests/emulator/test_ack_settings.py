"""What no one has measured about acknowledgement: each way that a client must survive can be switched on."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Serve, Site

ONE = b'{"event":"a"}'
BAD = b"{oops"


def next_id(site: "Site", channel: str = "C1") -> int:
    """Post one event and return its ack id."""
    return site.post(ONE, "TA", channel).json["ackId"]


@pytest.mark.parametrize(("start", "first"), [("zero", 0), ("one", 1)])
def test_numbering_starts_where_it_is_told(serve: "Serve", start: str, first: int) -> None:
    """Ids may start at 0 or at 1, on each channel."""
    site = serve(ack_ids_start=start)
    assert [next_id(site), next_id(site), next_id(site, "C2")] == [first, first + 1, first]


def test_numbering_may_start_anywhere(serve: "Serve") -> None:
    """With `random`, channels start at numbers of their own, and the seed repeats them."""
    runs = [
        [next_id(site), next_id(site), next_id(site, "C2")]
        for site in (serve(ack_ids_start="random", seed=7) for _ in "ab")
    ]
    assert runs[0] == runs[1]
    first, second, other = runs[0]
    assert second == first + 1
    assert other not in (first, second, second + 1)


@pytest.mark.parametrize(("after", "expected"), [("zero", 0), ("one", 1), ("continued", 2)])
def test_numbering_after_a_restart_is_a_setting(serve: "Serve", after: str, expected: int) -> None:
    """After a restart ids may start again from 0 or 1, or go on."""
    site = serve(ack_ids_after_restart=after)
    next_id(site), next_id(site)
    site.emulator.restart()
    assert next_id(site) == expected


def test_numbering_after_a_restart_may_be_anywhere(serve: "Serve") -> None:
    """With `random` a restarted server may number above or below what it told before."""
    site = serve(ack_ids_after_restart="random")
    assert next_id(site) == 0
    site.emulator.restart()
    assert next_id(site) > 1_000


def test_a_restart_forgets_open_ids_even_if_numbering_goes_on(serve: "Serve") -> None:
    """`continued` numbers on, but what was open stays false."""
    site = serve(ack_ids_after_restart="continued")
    next_id(site)
    site.emulator.restart()
    assert site.poll(0) == {0: False}
    assert next_id(site, "C2") == 0


@pytest.mark.parametrize(("after", "expected"), [("zero", 0), ("continued", 3)])
def test_one_counter_may_serve_all_channels(serve: "Serve", after: str, expected: int) -> None:
    """With a counter per node, channels see gaps and never the same number twice."""
    site = serve(ack_counter="node", ack_ids_after_restart=after)
    assert [next_id(site), next_id(site, "C2"), next_id(site)] == [0, 1, 2]
    assert site.poll(0, 1, 2) == {0: True, 1: False, 2: True}
    site.emulator.restart()
    assert next_id(site, "C2") == expected


@pytest.mark.parametrize(
    ("told", "expected"), [("once", [True, False]), ("always", [True] * 2), ("never", [False] * 2)]
)
def test_true_may_be_told_once_always_or_never(serve: "Serve", told: str, expected: list[bool]) -> None:
    """Servers exist that tell true for ever; a proxy may swallow every one."""
    site = serve(ack_true=told)
    next_id(site)
    assert [site.poll(0)[0] for _ in range(2)] == expected


def test_a_delay_of_never_indexes_but_does_not_confirm(serve: "Serve") -> None:
    """`--ack-delay never`: everything is indexed at once, and no ack ever comes true."""
    site = serve(ack_delay="never")
    next_id(site)
    assert site.indexed() == ["a"]
    assert site.poll(0) == {0: False}


@pytest.mark.parametrize(
    ("way", "has_id", "next_one", "confirmed"),
    [("told", True, 1, True), ("hidden", False, 1, True), ("none", False, 0, False)],
)
@pytest.mark.parametrize(
    ("fault", "body"), [((), ONE + BAD), (("busy:1,count=1",), ONE * 3), (("throttle:/1,count=1",), ONE * 3)]
)
def test_the_id_of_a_prefix_may_be_told_hidden_or_missing(
    serve: "Serve",
    *,
    way: str,
    has_id: bool,
    next_one: int,
    confirmed: bool,
    fault: tuple[str, ...],
    body: bytes,
) -> None:
    """A refusal that took a prefix may tell its id, use one silently, or use none; the prefix is indexed."""
    site = serve(refusal_prefix_ack=way, busy_prefix_ack=way, faults=fault)
    reply = site.post(body, "TA", "C1")
    assert reply.status in (400, 429, 503)
    assert ("ackId" in reply.json) == has_id
    assert site.indexed() == ["a"]
    assert site.poll(0) == {0: confirmed}
    assert next_id(site) == next_one


@pytest.mark.parametrize(
    ("options", "body", "fault"),
    [
        ({"refusal_consumes_id": True}, BAD, ()),
        ({"refusal_consumes_id": True}, b'{"event":""}', ()),
        ({"empty_post_consumes_id": True}, b"", ()),
        ({"busy_consumes_id": True}, ONE, ("busy,count=1",)),
        ({"busy_consumes_id": True}, ONE, ("throttle,count=1",)),
    ],
)
def test_a_refusal_may_use_up_an_id(
    serve: "Serve", *, options: dict[str, Any], body: bytes, fault: tuple[str, ...]
) -> None:
    """Refusals that take nothing, and probes, may each use up an id that no one is told."""
    assert [
        (serve_one.post(body, "TA", "C1").status >= 400, next_id(serve_one))
        for serve_one in (serve(faults=fault), serve(faults=fault, **options))
    ] == [(True, 0), (True, 1)]


@pytest.mark.parametrize(("wins", "channel"), [(False, "C1"), (True, "C2")])
def test_header_or_query_may_name_the_channel(serve: "Serve", wins: bool, channel: str) -> None:
    """Which one counts when both are given is a setting."""
    site = serve(channel_query_wins=wins)
    query = "?channel=c2c2c2c2-0000-4000-8000-000000000002"
    site.post(ONE, "TA", "C1", "/services/collector/event" + query)
    assert site.poll(0, channel=channel) == {0: True}


@pytest.mark.parametrize(("strict", "expected"), [(False, True), (True, False)])
def test_channel_case_may_matter(serve: "Serve", strict: bool, expected: bool) -> None:
    """Whether a GUID in capitals is the same channel is a setting."""
    site = serve(channel_is_case_sensitive=strict)
    site.post(ONE, "TA", "C1")
    assert site.poll(0, channel="C1C1C1C1-0000-4000-8000-000000000001") == {0: expected}


def test_other_limits_on_acks_refuse_too(serve: "Serve") -> None:
    """The limits on channels and on all open ids answer like the one per channel."""
    channels = serve(max_channels=1)
    assert channels.post(ONE, "TA", "C1").json["code"] == 0
    assert channels.post(ONE, "TA", "C2").json["code"] == 27
    assert channels.post(ONE, "TA", "C1").json["code"] == 0
    pending = serve(max_pending_acks=1)
    assert pending.post(ONE, "TA", "C1").json["code"] == 0
    assert pending.post(ONE, "TA", "C2").json["code"] == 27
