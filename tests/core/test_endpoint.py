"""How a lane stands with its endpoint: well, failing, or halted, and how it comes back."""

from __future__ import annotations

from hec_lane import LongestJitter

from splunk_hec._actions import LaneHealth
from splunk_hec._endpoint import MAX_STRANGE, Endpoint
from splunk_hec._health import Health, Reason, assess

NOW = 1_000.0


def endpoint() -> Endpoint:
    """An endpoint of which nothing is known yet."""
    return Endpoint("http://test", LongestJitter())


def test_failures_back_off_and_are_told_from_the_first_on() -> None:
    """Health shows since when it fails and what failed last; one success ends that."""
    one = endpoint()
    assert one.health(is_confirming=True) == LaneHealth()
    one.fail(NOW, "refused")
    assert one.not_before == NOW + 0.5
    one.fail(NOW + 1, "reset")
    assert one.not_before == NOW + 2
    assert one.is_backing_off
    health = one.health(is_confirming=True)
    assert (health.failing_since, health.failure, health.halted) == (NOW, "reset", "")
    assert repr(one) == "http://test | reset"
    one.accepted(NOW + 2, is_near_capacity=False)
    assert not one.is_backing_off
    assert one.failing_since is None
    assert repr(one) == "http://test | ok"
    assert one.health(is_confirming=True) == LaneHealth()


def test_an_answer_of_any_kind_shows_that_it_is_alive() -> None:
    """A refusal of an event is a judgement: nothing fails any more."""
    one = endpoint()
    one.fail(NOW, "reset")
    one.answered()
    assert not one.is_backing_off
    assert one.health(is_confirming=True) == LaneHealth()


def test_overload_slows_the_pace_for_a_while() -> None:
    """After a busy reply, successes come with a gap that shrinks until it is gone."""
    one = endpoint()
    one.busy(NOW, "Server is busy", 10.0)
    assert one.not_before == NOW + 10.5
    assert one.failure == "Server is busy"
    gaps = []
    now = NOW + 100
    while not gaps or gaps[-1]:
        one.accepted(now, is_near_capacity=False)
        gaps.append(one.not_before - now)
        now += 10
    assert gaps[0] > 0
    assert gaps == sorted(gaps, reverse=True)


def test_near_capacity_slows_without_a_failure() -> None:
    """Codes 24 and 25 slow the pace and are no failure."""
    one = endpoint()
    one.accepted(NOW, is_near_capacity=True)
    assert one.not_before > NOW
    assert not one.is_backing_off
    assert one.failure == ""


def test_doubt_does_not_hold_posts_up() -> None:
    """What fails apart from POSTs (ack queries) shows in health and delays nothing."""
    one = endpoint()
    one.doubt(NOW, "ack queries are not answered")
    assert one.not_before == 0.0
    assert one.health(is_confirming=False).failure == "ack queries are not answered"
    assert not one.health(is_confirming=False).is_confirming


def test_strange_replies_halt_only_in_a_row() -> None:
    """A success or another kind of failure between them starts the count anew."""
    one = endpoint()
    for breaker in (
        lambda: one.unknown(NOW, "reset", is_strange=False),
        lambda: one.accepted(NOW, is_near_capacity=False),
    ):
        for _ in range(MAX_STRANGE - 1):
            one.unknown(NOW, "html", is_strange=True)
            assert one.failure == "html"
        assert one.halted is None
        breaker()
        assert one.halted is None
    for _ in range(MAX_STRANGE - 1):
        one.unknown(NOW, "html", is_strange=True)
    assert one.halted is None
    one.unknown(NOW, "html", is_strange=True)
    assert one.is_halted_for("strange_replies")
    assert one.health(is_confirming=True).halted_text == "html"


def test_halt_is_said_once_and_healed_once() -> None:
    """One line when it halts, one when it heals, none while it stays halted."""
    one = endpoint()
    one.halt("invalid_token", NOW, "Invalid token")
    assert one.health(is_confirming=True) == LaneHealth(
        halted="invalid_token",
        halted_text="Invalid token",
        halted_since=NOW,
        failure="Invalid token",
        failing_since=NOW,
    )
    one.halt("token_disabled", NOW + 1, "Token disabled")
    one.still_halted(NOW + 3)
    assert one.notes == ["http://test halted: invalid_token (Invalid token)"]
    assert one.halted is not None
    assert one.halted.next_probe == NOW + 3 + 4
    health = one.health(is_confirming=True)
    assert (health.halted, health.halted_text, health.halted_since) == (
        "token_disabled",
        "Token disabled",
        NOW,
    )
    assert repr(one) == "http://test | halted token_disabled"
    assert one.heal(NOW + 7)
    assert not one.heal(NOW + 7)
    assert one.notes[1:] == ["http://test healed: token_disabled"]
    assert one.health(is_confirming=True).halted == ""


def test_still_halted_means_nothing_for_one_that_is_not() -> None:
    """A failed probe of an endpoint that only fails does not halt it."""
    one = endpoint()
    one.still_halted(NOW)
    assert one.halted is None


def test_patience_ends_where_probes_go_well_and_posts_do_not() -> None:
    """A halt that returns at once after a good probe is the same halt: its patience goes on."""
    one = endpoint()
    one.halt("bad_index", NOW, "")
    one.heal(NOW + 1)
    one.halt("bad_index", NOW + 2, "no such index")
    assert one.halted is not None
    assert one.halted.since == NOW
    assert (one.halted.reason, one.halted.text) == ("bad_index", "no such index")
    one.heal(NOW + 3)
    one.accepted(NOW + 4, is_near_capacity=False)
    one.halt("bad_index", NOW + 5, "")
    assert one.halted.since == NOW + 5


def test_ack_fault_is_known_as_one() -> None:
    """Only an ack query can show that a halt for acks healed."""
    one = endpoint()
    one.halt("invalid_token", NOW, "", by_ack_query=True)
    assert one.is_ack_fault
    one.heal(NOW)
    one.halt("invalid_token", NOW, "")
    assert not one.is_ack_fault
    one.heal(NOW)
    one.halt("acks_disabled", NOW, "")
    assert one.is_ack_fault


def test_halt_without_a_text_is_told_by_its_reason() -> None:
    """Where nothing was said, health names at least the kind of fault."""
    one = endpoint()
    one.halt("not_found", NOW, "")
    assert one.failure == "not_found"


def test_unanswered_ack_queries_hold_up_only_what_depends_on_them() -> None:
    """Before the token's mode is known nothing can be posted; later, POSTs go on while queries fail."""
    one = endpoint()
    assert not one.is_ack_fault
    one.unanswered(NOW, is_blocking=False)
    assert (one.not_before, one.failing_since) == (0.0, NOW)
    assert one.failure == "ack queries are not answered"
    one.answered()
    one.unanswered(NOW, is_blocking=True)
    assert one.not_before == NOW + 0.5
    assert one.failure == "ack queries are not answered"
    one.halt("acks_disabled", NOW, "")
    assert one.halted is not None
    one.unanswered(NOW + 5, is_blocking=False)
    assert one.halted.next_probe == NOW + 5 + 2


A, B = "http://a", "http://b"
WELL = LaneHealth()
REFUSED = LaneHealth(halted="invalid_token", halted_text="Invalid token", halted_since=NOW, failure="x")


def test_a_client_without_lanes_yet_is_ready() -> None:
    """Before the first batch there is nothing to complain of."""
    assert assess([A], [], "", NOW) == Health(ready=True, halted=False, halted_for_s=0.0, reasons=())


def test_a_client_is_halted_once_every_endpoint_refuses_it() -> None:
    """One that takes events is enough to go on; halted is counted from the last one that joined."""
    one = assess([A, B], [(A, REFUSED), (B, WELL)], "", NOW + 7)
    refused = Reason("invalid_token", f"{A}: Invalid token", 7.0)
    assert one == Health(ready=False, halted=False, halted_for_s=0.0, reasons=(refused,))
    later = LaneHealth(halted="not_found", halted_since=NOW + 2)
    latest = LaneHealth(halted="not_found", halted_since=NOW + 4)
    both = assess([A, B], [(A, REFUSED), (B, latest), (B, later)], "", NOW + 7)
    assert (both.ready, both.halted, both.halted_for_s) == (False, True, 5.0)


def test_health_tells_what_halts_before_what_fails() -> None:
    """The first reason is why the client is halted, if it is; each is told once, by however many lanes."""
    failing = LaneHealth(failure="reset", failing_since=NOW + 1, is_confirming=False, silent_since=NOW + 2)
    lanes = [(A, failing), (A, failing), (B, LaneHealth(halted="not_found", halted_since=NOW)), (A, WELL)]
    assert assess([A, B], lanes, "worker failed", NOW + 3).reasons == (
        Reason("not_found", f"{B}: not_found", 3.0),
        Reason("endpoint", f"{A}: reset", 2.0),
        Reason("acks_never", f"{A}: takes events but confirms none of them", 1.0),
        Reason("internal", "worker failed", 0.0),
    )
