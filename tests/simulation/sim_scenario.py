"""What one seed means: the settings of the sinks, the records, and a list of faults. Values, drawn at once.

A scenario without some of its faults is a scenario again, which is how a failing one is made short.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from sim_broker import DAY_MS, NOW_MS, Record

KINDS: dict[str, int] = {
    # HEC: one request, or a few
    "lost_before": 3, "lost_after": 4, "cut": 4, "busy": 3, "throttle": 2, "html503": 3, "restart": 4,
    "poll_lost": 3, "ack_error": 3, "data_lost": 3, "halt": 2, "hang": 2, "too_large": 2,
    "near_capacity": 2, "no_ack_id": 2, "rehome": 2, "lane_fault": 2,
    # HEC: a while
    "down": 2, "acks_refused": 2, "acks_slow": 3, "index_gone": 5,
    # processes
    "kill": 8, "stop": 2, "freeze": 3, "zombie": 2, "member": 5, "leave": 3,
    # Kafka
    "rebalance": 5, "commit_refused": 3, "commit_untold": 2, "commit_silent": 2, "commit_retried": 10,
    "broker_down": 2, "retention": 2, "new_partition": 1,
    # dead letters
    "letter_lost": 2, "letter_untold": 1, "letter_refused": 1, "letter_queue_full": 2, "letter_raises": 2,
    "letter_late": 2,
    # what a committed offset stands for changes
    "election": 2, "made_anew": 2, "made_anew_live": 2, "failover": 2, "rewind": 2, "ids_untold": 4,
}  # fmt: skip
"""Every fault, and how often it is drawn."""
CONDITIONS = ("proxy", "poison", "marker", "text_too_large")
"""What goes wrong in some runs from the start, and cannot be left out of them."""
POINTS = ("post", "posted", "poll", "polled", "consume", "commit", "committed", "produce", "letters", "turn")
"""Where a kill may strike: before and after a POST is taken, an ack query, a commit, a dead letter …"""


THEMES = (
    ("down", "rebalance", "rebalance", "member", "leave"),
    ("halt", "rebalance", "member"),
    ("acks_slow", "rebalance", "kill"),
    ("letter_late", "kill", "letter_lost", "letter_untold"),
    ("restart", "lost_after", "html503", "rehome"),
    ("retention", "kill", "freeze", "acks_slow"),
    ("zombie", "commit_silent", "member"),
    ("commit_retried", "acks_slow", "member", "lost_after"),
    ("commit_retried", "restart", "letter_late"),
    ("stop", "commit_refused", "down", "member"),
    ("acks_slow", "data_lost", "kill", "election", "rewind"),
    ("acks_slow", "lost_after", "made_anew_live", "failover", "kill"),
    ("freeze", "zombie", "member", "commit_silent", "lost_after"),
    ("rebalance", "rebalance", "acks_slow", "lost_after"),
    ("commit_retried", "commit_retried", "member", "lost_after"),
    ("retention", "retention", "kill", "down"),
    ("index_gone", "no_ack_id", "near_capacity", "throttle", "too_large"),
    ("letter_raises", "letter_queue_full", "letter_refused", "kill"),
)
"""Faults that are bad together."""
BESIDE_LOSS = ("lost_after", "cut", "busy", "poll_lost", "letter_late", "commit_untold", "stop", "rebalance")
AFTER_LOSS = (
    ("made_anew",), ("made_anew_live",), ("made_anew_live",), ("failover",), ("rewind",),
    ("election",), ("election", "kill"),
)  # fmt: skip
"""The same where settled maps are kept, and a batch that a server lost holds its offset up meanwhile."""


WORLDS = 1
"""Which worlds the seeds stand for: those in which every seeded bug is met within 200 seeds."""


class Fault(NamedTuple):
    """Something goes wrong at a time; what `size` and `point` mean is the fault's own business."""

    kind: str
    at: float
    size: float
    point: str


class Scenario(NamedTuple):
    """All that a run depends on."""

    seed: int
    protocol: str
    nodes: int
    addresses: int
    members: int
    settings: dict[str, object]
    has_index_routes: bool
    has_main_index: bool
    is_sticky: bool
    ack_delay_s: float
    ack_deadline_s: float
    ends_by_itself: bool
    fetch_gap_s: float
    keeps_maps: bool
    most_text_bytes: int
    active_s: float
    records: list[tuple[float, int, Record | None]]
    faults: tuple[Fault, ...]


def draw(seed: int) -> Scenario:
    """The scenario of a seed."""
    rng = Random(seed * 1_000 + WORLDS)
    active_s = rng.uniform(6, 14)
    keeps_maps = rng.random() < 0.45
    is_held_up = keeps_maps and rng.random() < 0.6
    has_index_routes = rng.random() < 0.4
    ack_deadline_s = 9.0 if is_held_up else rng.choice((5.0, 15.0))
    poisons = (0.0, 0.0, 0.01) if is_held_up else (0.0, 0.02, 0.05)
    is_slow = not is_held_up and rng.random() < 0.03
    ack_deadline_s = 5.0 if is_slow else ack_deadline_s
    settings: dict[str, object] = {
        "batch_max_events": rng.choice((12, 25, 25) if is_held_up else (12, 25, 60, 60)),
        "linger_s": rng.choice((0.1, 0.3)),
        "in_flight_max_events": rng.choice((30, 60, 5_000) if is_held_up else (60, 150, 5_000, 5_000)),
        "ack_deadline_s": ack_deadline_s,
        "request_deadline_s": 5.0,
        "on_ack_timeout": "unconfirmed" if rng.random() < 0.04 else "resend",
        "give_up_after_s": 25.0 if rng.random() < 0.04 else 0.0,
        "halt_patience_s": rng.choice((15.0, 3_600.0)),
    }
    return Scenario(
        seed=seed,
        protocol=rng.choice(("range", "cooperative", "consumer")),
        nodes=2,
        addresses=rng.choice((1, 1, 2)),
        members=rng.choice((1, 1, 1, 1, 2) if is_held_up else (1, 1, 2)),
        settings=settings,
        has_index_routes=has_index_routes,
        has_main_index=not has_index_routes and rng.random() < 0.4,
        is_sticky=is_held_up or rng.random() < 0.85,
        ack_delay_s=15.0
        if is_slow
        else rng.choice((0.0, 0.1, 0.2) if is_held_up else (0.0, 0.1, 0.2, 0.2, 1.0)),
        ack_deadline_s=ack_deadline_s,
        ends_by_itself=rng.random() < 0.25,
        fetch_gap_s=rng.choice((0.0, 0.2) if is_held_up else (0.0, 0.0, 0.2)),
        keeps_maps=keeps_maps,
        most_text_bytes=rng.choice((4096, 4096, 4096, 40)),
        active_s=active_s,
        records=list(_records(rng, active_s, poisons, has_index_routes=has_index_routes)),
        faults=_faults_beyond_loss(rng, active_s) if is_held_up else _faults(rng, active_s),
    )


def _records(
    rng: Random, active_s: float, poisons: tuple[float, ...], *, has_index_routes: bool
) -> list[tuple[float, int, Record | None]]:
    found: list[tuple[float, int, Record | None]] = []
    number = 0
    poison = rng.choice(poisons)
    attacks = ("attack",) if rng.random() < 0.2 else ()
    markers = rng.choice((0.0, 0.1))
    bursts = sorted([0.0, *(rng.uniform(0, active_s) for _ in range(rng.randrange(1, 4)))])
    total = rng.randrange(200, 206)
    for burst in bursts:
        for _ in range(total // len(bursts) + 1):
            number += 1
            made = _record(rng, number, poison, attacks, has_index_routes=has_index_routes)
            found.append((burst, int(rng.random() * 3), made))
        if rng.random() < markers * 5:
            found.append((burst, rng.randrange(3), None))
    return found


def _record(
    rng: Random, number: int, poison: float, attacks: tuple[str, ...], *, has_index_routes: bool
) -> Record:
    kind = "e"
    if rng.random() < poison:
        kind = rng.choice(
            ("bad", "bad", "nope" if has_index_routes else "bad", "utf8", "blank", "tomb", *attacks)
        )
    uid = f"{kind}-{number}"
    value: bytes | None = uid.encode()
    if kind == "utf8":
        value = b"\xff" + uid.encode()
    elif kind == "blank":
        value = b"  "
    elif kind == "tomb":
        value = None
    headers: list[tuple[str, bytes | None]] = [("trace", b"t")] if number % 4 else []
    if kind == "nope":
        headers.append(("index", b"nope"))
    old_ms = NOW_MS - 30 * DAY_MS if number % 7 == 0 else NOW_MS
    return Record(uid, b"k%d" % number if number % 3 else None, value, headers, old_ms)


def _faults_beyond_loss(rng: Random, active_s: float) -> tuple[Fault, ...]:
    """A batch is lost, and something happens that makes what settled beyond it matter; and once more."""
    kinds = rng.choice(AFTER_LOSS)
    found = [Fault(rng.choice(BESIDE_LOSS), active_s * rng.random(), rng.random(), "") for _ in range(2)]
    at = rng.choice((0.0, 0.0, 1.5))
    for _ in range(1 if kinds == ("made_anew_live",) else 2):  # a second one would hide what came of it
        found.append(Fault("data_lost", at, 0.0, ""))
        at += rng.uniform(1.5, active_s / 2 - 1)
        found.append(Fault(rng.choice(kinds), at, rng.random(), rng.choice(POINTS)))
        at += 0.5  # before those who died are there again
    return tuple(sorted(found, key=lambda fault: fault.at))


def _faults(rng: Random, active_s: float) -> tuple[Fault, ...]:
    kinds = list(KINDS)
    weights = list(KINDS.values())
    chance = rng.random()
    if chance < 0.6:  # a theme: a few kinds, again and again, meet each other more often
        kinds = list(rng.choice(THEMES)) if chance < 0.4 else rng.choices(kinds, weights, k=3)
        weights = [1] * len(kinds)
    found = [
        Fault(kind, rng.uniform(0, active_s), rng.random(), rng.choice(POINTS))
        for kind in rng.choices(kinds, weights, k=rng.randrange(5, 11))
    ]
    return tuple(sorted(found, key=lambda fault: fault.at))
