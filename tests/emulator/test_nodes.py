"""Several simulated indexers behind one port: balancing, and acks that only one of them knows."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Serve, Site

ONE = b'{"event":"a"}'
COOKIE = "hec_emulator_node"


def cookie_of(site: "Site") -> dict[str, str]:
    """Post without a cookie and return the one that was set, as a client sends it back."""
    return {"Cookie": site.post(ONE).headers["Set-Cookie"].partition(";")[0]}


def nodes_of(site: "Site") -> list[int]:
    """Return the node of each event."""
    return [event["node"] for event in site.emulator.events()]


def test_a_cookie_sticks_to_its_node(serve: "Serve") -> None:
    """The first reply sets the cookie; requests that carry it reach the same node, and set no other."""
    site = serve(nodes=3)
    for expected in (0, 1, 2, 0):
        sent = cookie_of(site)
        assert sent == {"Cookie": f"{COOKIE}={expected}"}
        for _ in range(3):
            assert "Set-Cookie" not in site.post(ONE, headers=sent).headers
    assert nodes_of(site) == [0] * 4 + [1] * 4 + [2] * 4 + [0] * 4


def test_a_cookie_for_no_node_is_replaced(serve: "Serve") -> None:
    """What is not a node's number is treated as no cookie."""
    site = serve(nodes=2)
    for value in ("2", "x", "-1", "9" * 5_000, "²", '"'):
        reply = site.post(ONE, headers={"Cookie": f"{COOKIE}={value}".encode("latin-1").decode("latin-1")})
        assert reply.headers["Set-Cookie"].startswith(COOKIE)


def test_round_robin_sets_no_cookie(serve: "Serve") -> None:
    """Without stickiness every request goes to the next node, whatever the client sends."""
    site = serve(nodes=2, balance="round-robin")
    for _ in range(4):
        assert "Set-Cookie" not in site.post(ONE, headers={"Cookie": f"{COOKIE}=0"}).headers
    assert nodes_of(site) == [0, 1, 0, 1]


def test_one_node_sets_no_cookie(serve: "Serve") -> None:
    """A single server has nothing to stick to."""
    assert "Set-Cookie" not in serve().post(ONE).headers


def test_each_node_numbers_by_itself_so_ids_collide(serve: "Serve") -> None:
    """Off stickiness a poll on the other node is false, or confirms another request (row 154)."""
    site = serve(nodes=2, balance="round-robin")
    assert [site.post(ONE, "TA", "C1").json["ackId"] for _ in range(3)] == [0, 0, 1]
    assert site.poll(0, 1) == {0: True, 1: False}  # node 1: its own 0, and never a 1
    assert site.poll(0, 1) == {0: True, 1: True}  # node 0


def test_a_restart_is_of_one_node(serve: "Serve") -> None:
    """The other nodes keep their channels and what they have not written yet."""
    site = serve(nodes=2, balance="round-robin", ack_delay=3600)
    for _ in range(2):
        site.post(ONE, "TA", "C1")
    site.emulator.restart(1)
    stats = site.emulator.stats()
    assert (stats["channels"], stats["events_waiting"], stats["events_lost"]) == (1, 1, 1)


def test_faults_may_strike_one_node(serve: "Serve") -> None:
    """A rule with node=N leaves the others alone."""
    site = serve(nodes=2, balance="round-robin", faults=["busy,node=1"])
    assert [site.post(ONE).status for _ in range(4)] == [200, 503, 200, 503]
