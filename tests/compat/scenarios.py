"""The scenario table: what the server does, and with which deadlines the sender meets it."""

from __future__ import annotations

import socket
from collections import Counter
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from splunk_hec_emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "scenario-token"
KINDS = ("raw", "json")
THREADS = (0, 3)
SHORT = {"ack_interval": 0.1, "max_ack_attempts": 2}
"""For scenarios that end in giving up; all others have the defaults' deadlines."""


class Scenario(NamedTuple):
    """How a server behaves, and what is special about the sender."""

    name: str
    faults: tuple[str, ...] = ()
    ack_delay: str = "0s"
    is_down: bool = False
    token: str = TOKEN
    arguments: dict[str, Any] = {}  # noqa: RUF012 -- read only


SCENARIOS = (
    Scenario("all good"),
    Scenario("one bad event"),
    Scenario("server down", is_down=True, arguments=SHORT),
    Scenario("down then up", faults=("reset-before,count=2",)),
    Scenario("503 storm", faults=("busy,count=4",)),
    Scenario("ack never", faults=("ack-never",), arguments=SHORT),
    Scenario("ack late", ack_delay="1s"),
    Scenario("wrong token", token="not-the-token"),
    Scenario("slow server", faults=("hang:1,count=1",)),
    Scenario("huge event"),
    Scenario("empty input"),
    Scenario("flush twice"),
    Scenario("use after stop"),
)
GRID = list(product(SCENARIOS, KINDS, (False, True), THREADS))


class Outcome(NamedTuple):
    """What became of the events of one run."""

    indexed: int
    lost: int
    duplicated: int
    backup: int
    requests: int
    wall_s: float


@contextmanager
def world(scenario: Scenario, *, has_acks: bool) -> Iterator[tuple[Emulator, dict[str, Any]]]:
    """The server of a scenario, and the arguments that lead to it."""
    token = f"{TOKEN}{':ack' if has_acks else ''}:index=main"
    with (
        Emulator(
            tokens=[token], faults=list(scenario.faults), ack_delay=scenario.ack_delay, seed=1
        ) as server,
        _refusing_port() as nowhere,
    ):
        port = nowhere if scenario.is_down else int(server.url.rpartition(":")[2])
        yield (
            server,
            {"token": scenario.token, "hec_server": "127.0.0.1", "hec_port": port, "use_ack": has_acks},
        )


@contextmanager
def _refusing_port() -> Iterator[int]:
    """A port that is taken, so that nobody else gets it, and refuses connections."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield one.getsockname()[1]


def texts_of(events: list[dict[str, Any]]) -> list[str]:
    """The texts that the server has indexed; a raw request is one text, to be broken at its line ends."""
    return [line for one in events for line in str(one["event"]).split("\n") if line.strip()]


def outcome(sent: list[str], indexed: list[str], played: dict[str, Any], requests: int) -> Outcome:
    """Set what was sent (its texts) against what the server holds, and what came back."""
    known = Counter(indexed)
    missing = len([text for text in sent if text not in known])
    return Outcome(
        indexed=len(known),
        lost=max(0, missing - len(played["backup"])),
        duplicated=sum(known.values()) - len(known),
        backup=len(played["backup"]),
        requests=requests,
        wall_s=played["wall_s"],
    )
