"""What acknowledgements cost: the same sink with and without them, at the same time on the same topic.

Between two runs in turn the machine's neighbours change the CPU that the same work takes by a fifth and more;
two processes side by side meet the same minute. Both get less of the machine than one alone, so more time
passes, and more acknowledgement queries are sent for the same records: what is found is rather too much.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bench_run import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench_cases import Case
    from bench_run import Run
    from real_kafka import RealKafka

WITH_ACKS, WITHOUT = "acks after 1 s", "acks off"


def pair_of(cases: Sequence[Case]) -> list[Case]:
    """The case with acknowledgements and the one without; empty unless both are to be measured."""
    found = [case for name in (WITH_ACKS, WITHOUT) for case in cases if case.name == name]
    return found if len(found) == 2 else []


def ack_cost(pair: Sequence[Case], kafka: RealKafka, number: int) -> dict[str, float]:
    """By how much acknowledgements raise the CPU, and how many queries it took.

    Measured twice, each case started first once, since the first one started took up to 3 % less; the
    geometric mean of both.
    """
    acked, plain = side_by_side(pair, kafka, f"{number}-0")
    late_plain, late_acked = side_by_side(pair[::-1], kafka, f"{number}-1")
    ratios = (
        acked.flow_cpu_s_per_gb / plain.flow_cpu_s_per_gb,
        late_acked.flow_cpu_s_per_gb / late_plain.flow_cpu_s_per_gb,
    )
    return {"more_cpu": math.sqrt(math.prod(ratios)) - 1, "polls": (acked.polls + late_acked.polls) / 2}


def side_by_side(cases: Sequence[Case], kafka: RealKafka, name: str) -> list[Run]:
    """Run them all at once; in their order."""
    with ThreadPoolExecutor(len(cases)) as pool:
        running = [pool.submit(run, case, kafka, f"bench-pair-{name}-{at}") for at, case in enumerate(cases)]
        return [one.result() for one in running]
