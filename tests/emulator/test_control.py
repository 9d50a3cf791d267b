"""The emulator's own pages: routes, counters, switches, and who may turn them."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Serve

ONE = b'{"event":"a"}'


def test_the_routes_are_listed(serve: "Serve") -> None:
    """`/emulator/` tells a newcomer what there is, as text."""
    reply = serve().ask("GET", "/emulator/")
    assert reply.headers["Content-Type"] == "text/plain; charset=UTF-8"
    for route in (b"/services/collector", b"/emulator/stats", b"/emulator/faults", b"/emulator/reset"):
        assert route in reply.body


def test_stats_count_what_happened(serve: "Serve") -> None:
    """Every counter of the interface says what it should after a known run."""
    site = serve()
    site.post(ONE * 2)
    site.post(ONE + b"{bad", "TA", "C1")
    site.post(ONE, "TA", "C2")
    site.post(ONE, "nobody")
    site.poll(0, 5)
    assert site.ask("GET", "/emulator/stats").json == {
        "requests": 5,
        "replies": {"200/0": 2, "400/6": 1, "403/4": 1, "200/": 1},
        "events_indexed": 4,
        "events_refused": 1,
        "acks_issued": 2,
        "acks_told": 1,
        "acks_pending": 1,
        "channels": 2,
        "faults": {},
        "events_accepted": 4,
        "events_waiting": 0,
        "events_lost": 0,
        "bytes_received": 4 * 13 + 13 + 5 + 15,
        "bytes_decoded": 4 * 13 + 5 + 15,
    }


def test_waiting_events_are_counted_as_such(serve: "Serve") -> None:
    """Accepted and not yet durable is its own number, and nothing of it is indexed."""
    site = serve(ack_delay=3600)
    site.post(ONE * 3, "TA", "C1")
    stats = site.emulator.stats()
    assert (stats["events_accepted"], stats["events_waiting"], stats["events_indexed"]) == (3, 3, 0)


def test_a_reset_forgets_everything_but_the_rules(serve: "Serve") -> None:
    """After a reset the emulator is as new; fault rules stay and count anew."""
    site = serve(faults=["busy,count=1"])
    site.post(ONE)
    site.post(ONE, "TA", "C1")
    assert site.ask("POST", "/emulator/reset").status == 200
    assert site.emulator.faults == [{"rule": "busy,count=1", "fired": 0}]
    stats = site.emulator.stats()
    assert (stats["requests"], stats["replies"], stats["events_indexed"], stats["channels"]) == (0, {}, 0, 0)
    assert site.indexed() == []
    assert site.post(ONE).status == 503


def test_a_node_can_be_restarted_over_http(serve: "Serve") -> None:
    """POST /emulator/restart?node=N restarts that node, and refuses one that does not exist."""
    site = serve(ack_delay=3600)
    site.post(ONE, "TA", "C1")
    assert site.ask("POST", "/emulator/restart?node=0").status == 200
    assert site.emulator.stats()["events_lost"] == 1
    assert site.ask("POST", "/emulator/restart?node=1").status == 400
    assert site.ask("POST", "/emulator/restart?node=x").status == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/emulator/faults"), ("POST", "/emulator/reset"), ("POST", "/emulator/restart")],
)
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://[", "http://evil.example:{port}"]
)
def test_a_foreign_origin_changes_nothing(serve: "Serve", method: str, path: str, origin: str) -> None:
    """A web page that a developer looks at cannot turn switches, not even by rebinding its own name."""
    site = serve()
    own = f"127.0.0.1:{site.address[1]}"
    sent = {
        "Origin": origin.format(port=site.address[1]),
        "Host": own if "evil" not in origin else origin[7:].format(port=site.address[1]),
    }
    assert site.ask(method, path, b'["busy"]', sent).status == 403
    assert site.emulator.faults == []


def test_our_own_origin_may_change_things(serve: "Serve") -> None:
    """The emulator's own page may turn its switches, and so may anything that sends no Origin."""
    site = serve()
    assert site.ask("PUT", "/emulator/faults", b'["busy"]', {"Origin": site.emulator.url}).status == 200
    local = f"localhost:{site.address[1]}"
    assert (
        site.ask("POST", "/emulator/reset", headers={"Origin": f"http://{local}", "Host": local}).status
        == 200
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/emulator/stats", 405),
        ("DELETE", "/emulator/events", 405),
        ("GET", "/emulator/reset", 405),
        ("GET", "/emulator/restart", 405),
        ("POST", "/", 405),
        ("GET", "/emulator/nope", 404),
        ("GET", "/nope", 404),
        ("HEAD", "/emulator/stats", 200),
        ("HEAD", "/emulator/events", 200),
    ],
)
def test_wrong_routes_and_methods_are_told(serve: "Serve", method: str, path: str, status: int) -> None:
    """The emulator's own routes refuse like Splunk's."""
    assert serve().ask(method, path).status == status
