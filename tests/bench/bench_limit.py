"""What kept a run from being faster: stated rules over measured things, the first that holds.

    budget    the in-flight budget stood at 95 % or more in half of what was sampled, or fetching was paused
              for it a fifth of the time; and most of what was open waited for its acknowledgement
    lanes     the same, but most of what was open waited to be sent
    CPU       each sink process kept 85 % of a core or more busy (Python code of one process can use one)
    server    the counting server did: the figure says nothing about the sink
    machine   all cores together were busy 90 % of the time or more: sink, server and broker share them
    broker    the consumer waited for records more than 30 % of the time
    replies   none of these: the process waited for the server's replies

Judged between the first and the last record consumed.
"""

from __future__ import annotations

from typing import NamedTuple

BUDGET_FULL = 0.95
OFTEN = 0.5
PAUSED = 0.2
CORE = 0.85
MACHINE = 0.9
WAITING = 0.3
NAMES = ("budget", "lanes", "CPU", "server", "machine", "broker", "replies")


class Signs(NamedTuple):
    """What is measured of a run.

    Attributes:
        sink_cores: Cores that the sink kept busy, for each of its processes.
        server_cores, machine_share: Cores of the server; share of all cores that was busy, whoever used them.
        waiting_share: Of the time, spent in `consume`.
        budget_shares: Samples of how much of the budget was used.
        paused_share: Of the time, paused for the budget.
        unsent_share: Of the records that were open at the most, those the server had not been given.
    """

    sink_cores: float
    server_cores: float
    machine_share: float
    waiting_share: float
    budget_shares: tuple[float, ...] = ()
    paused_share: float = 0.0
    unsent_share: float = 0.0


def binding(signs: Signs) -> str:
    """The limit that binds."""
    full = sum(share >= BUDGET_FULL for share in signs.budget_shares)
    is_often_full = bool(signs.budget_shares) and full / len(signs.budget_shares) >= OFTEN
    if is_often_full or signs.paused_share >= PAUSED:
        return "lanes" if signs.unsent_share > OFTEN else "budget"
    if signs.sink_cores >= CORE:
        return "CPU"
    if signs.server_cores >= CORE:
        return "server"
    if signs.machine_share >= MACHINE:
        return "machine"
    return "broker" if signs.waiting_share > WAITING else "replies"
