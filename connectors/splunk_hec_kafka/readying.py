"""Before the group is joined: is this deployment one that Splunk takes events from?

A refusal is waited out as long as the patience lasts (a new token answers 403 for seconds), then it ends the
sink with its fix. An endpoint that is unreachable or busy is no reason to wait here: the lanes retry.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from splunk_hec_kafka.config_tree import HEC_TOKEN
from splunk_hec_kafka.failures import ExitCode, SinkFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from splunk_hec import Probe
    from splunk_hec._health import Health
    from splunk_hec_kafka.config_tree import Hec
    from splunk_hec_kafka.delivery import Delivery
    from splunk_hec_kafka.outside import Outside
    from splunk_hec_kafka.routes import Destination

log = logging.getLogger("splunk_hec_kafka")

_FIXES = {
    "invalid_token": "set {token} to a token that exists on every indexer behind hec.url",
    "token_disabled": "enable the token in Splunk (Settings, Data inputs, HTTP Event Collector)",
    "token_required": "set {token}",
    "token_unreadable": "make the file or variable that {token} names readable",
    "invalid_authorization": "set {token} to the bare token, without 'Splunk ' before it",
    "unauthorized": "set {token} to a token that exists; or let the proxy pass the Authorization header",
    "forbidden": "let the proxy or firewall pass POSTs to /services/collector",
    "acks_disabled": "turn on indexer acknowledgement for the token, or set hec.ack = 'off'",
    "not_found": "hec.url must lead to the HTTP Event Collector (port 8088), not to splunkd or the web page",
    "redirected": "hec.url must be the final address, with the right scheme",
    "bad_index": "create the index, allow it for the token, or correct the route's index",
    "not_hec": "hec.url must lead to the HTTP Event Collector (port 8088)",
    "strange_replies": "hec.url must lead to the HTTP Event Collector; a proxy or login page answers instead",
}
_WAITS = frozenset({"unreachable", "busy"})
_FIRST_GAP_S = 1.0
_LONGEST_GAP_S = 10.0
_LOOK_S = 0.1


def fix_of(reason: str, token_key: str = HEC_TOKEN) -> str:
    """What to do about a halt's reason; `token_key`: the key of the token that is refused."""
    fix = _FIXES.get(reason, "run 'hec-kafka-sink check' to see what Splunk answers")
    return fix.replace("{token}", token_key)


def refusal(probe: Probe, ack: str) -> tuple[str, str] | None:
    """The reason and text of a refused deployment; None if it is accepted, or cannot be known yet."""
    if probe.token_ok:
        if ack == "required" and probe.acks is False:
            return "acks_disabled", f"{probe.url}: the token has no indexer acknowledgement"
        return None
    if probe.reason in _WAITS:
        return None
    return probe.reason, f"{probe.url}: {probe.text or probe.reason}"


def await_hec(
    delivery: Delivery,
    hec: Hec,
    is_stopped: Callable[[], bool],
    on_refused: Callable[[str, str], None],
    outside: Outside,
) -> None:
    """Wait until some client is not refused, or the sink is stopped.

    One that is refused while others are not keeps nobody waiting: its lanes find out, and hold its records.

    Args:
        delivery: Its clients are asked one after the other.
        hec: How long to be patient, and whether acks are required.
        is_stopped: Asked several times a second.
        on_refused: Told the reason (a code, a text) of each refusal.
        outside: How time passes.

    Raises:
        SinkFailure: All are refused for longer than the patience (exit 5).
    """
    deadline = outside.clock() + hec.halt_patience_s
    gap_s = _FIRST_GAP_S
    while not is_stopped():
        refused = list(_refusals(delivery, hec.ack))
        if not refused:
            return
        reason, text, fix = refused[0]
        if len(refused) < len(delivery.clients):
            for _, other, its_fix in refused:
                log.error("Splunk refuses a part of the deployment: %s (fix: %s)", other, its_fix)
            return
        on_refused(reason, text)
        left_s = deadline - outside.clock()
        if left_s <= 0:
            raise SinkFailure(ExitCode.HEC, f"Splunk refuses the deployment: {text}", fix)
        log.error("Splunk refuses the deployment: %s (fix: %s); asking again for %.0f s", text, fix, left_s)
        _wait(min(gap_s, left_s), is_stopped, outside)
        gap_s = min(_LONGEST_GAP_S, gap_s * 2)


def end_if_halted(delivery: Delivery, healths: Mapping[Destination, Health], hec: Hec) -> None:
    """End what waits for a client that is refused, once the patience is over.

    Raises:
        SinkFailure: A client was refused for longer than that (exit 5).
    """
    for to, health in healths.items():
        if health.halted and health.halted_for_s >= hec.halt_patience_s:
            reason, label = health.reasons[0], delivery.routes.label(to)
            text = f"Splunk refuses the deployment: {label}{reason.text}"
            raise SinkFailure(ExitCode.HEC, text, fix_of(reason.code, to.token_key))


def _refusals(delivery: Delivery, ack: str) -> Iterator[tuple[str, str, str]]:
    """Reason, text and fix of each client that is refused."""
    for to, client in delivery.clients.items():
        refused = refusal(client.probe(), ack)
        if refused is not None:
            reason, text = refused
            yield reason, delivery.routes.label(to) + text, fix_of(reason, to.token_key)


def _wait(for_s: float, is_stopped: Callable[[], bool], outside: Outside) -> None:
    until = outside.clock() + for_s
    while not is_stopped() and (left_s := until - outside.clock()) > 0:
        outside.sleep(min(_LOOK_S, left_s))
