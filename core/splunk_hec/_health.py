"""What a client says of its endpoints: ready or not, halted or not, and why. Values only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from splunk_hec._actions import LaneHealth


class Reason(msgspec.Struct, frozen=True):
    """Why a client is not ready: a stable code, a line for people, and for how many seconds."""

    code: str
    text: str
    for_s: float


class Health(msgspec.Struct, frozen=True):
    """How a client stands with its endpoints. `halted`: every endpoint refuses the deployment."""

    ready: bool
    halted: bool
    halted_for_s: float
    reasons: tuple[Reason, ...]


def assess(urls: Sequence[str], lanes: Sequence[tuple[str, LaneHealth]], fault: str, now: float) -> Health:
    """One health of many lanes'.

    Args:
        urls: All endpoints; the client is halted once each of them has a lane that is.
        lanes: Each lane's url and health.
        fault: A fault of our own, empty if there was none.
        now: Monotonic seconds.
    """
    # Halted lanes first: what they say is why the client is halted, if it is.
    ordered = sorted(lanes, key=lambda item: not item[1].halted)
    found = [reason for url, lane in ordered for reason in _reasons(url, lane, now)]
    reasons: dict[str, Reason] = {}
    for reason in found:  # of lanes that say the same, the one that has said it for longest
        said = reasons.setdefault(reason.code + reason.text, reason)
        if reason.for_s > said.for_s:
            reasons[reason.code + reason.text] = reason
    if fault:
        reasons["internal"] = Reason("internal", fault, 0.0)
    since = [
        min((lane.halted_since for at, lane in lanes if at == url and lane.halted), default=None)
        for url in urls
    ]
    halted = [one for one in since if one is not None]
    is_halted = bool(lanes) and len(halted) == len(since)
    return Health(not reasons, is_halted, now - max(halted) if is_halted else 0.0, tuple(reasons.values()))


def _reasons(url: str, lane: LaneHealth, now: float) -> list[Reason]:
    reasons: list[Reason] = []
    if lane.halted:
        text = f"{url}: {lane.halted_text or lane.halted}"
        reasons.append(Reason(lane.halted, text, now - lane.halted_since))
    elif lane.failure:
        reasons.append(Reason("endpoint", f"{url}: {lane.failure}", now - lane.failing_since))
    if not lane.is_confirming:
        text = f"{url}: takes events but confirms none of them"
        reasons.append(Reason("acks_never", text, now - lane.silent_since))
    return reasons
