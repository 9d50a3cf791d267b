"""Before the group is joined: is this deployment one that Splunk takes events from?

A refusal is waited out as long as the patience lasts (a new token answers 403 for seconds), then it ends the
sink with its fix. An endpoint that is unreachable or busy is no reason to wait here: the lanes retry.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from splunk_hec_kafka.failures import ExitCode, SinkFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from splunk_hec import HecClient, Probe
    from splunk_hec_kafka.config_tree import Hec
    from splunk_hec_kafka.outside import Outside

log = logging.getLogger("splunk_hec_kafka")

_FIXES = {
    "invalid_token": "set hec.token to a token that exists on every indexer behind hec.url",
    "token_disabled": "enable the token in Splunk (Settings, Data inputs, HTTP Event Collector)",
    "token_required": "set hec.token",
    "token_unreadable": "make the file or variable that hec.token names readable",
    "invalid_authorization": "set hec.token to the bare token, without 'Splunk ' before it",
    "unauthorized": "set hec.token to a token that exists; or let the proxy pass the Authorization header",
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


def fix_of(reason: str) -> str:
    """What to do about a halt's reason."""
    return _FIXES.get(reason, "run 'hec-kafka-sink check' to see what Splunk answers")


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
    clients: Iterable[HecClient],
    hec: Hec,
    is_stopped: Callable[[], bool],
    on_refused: Callable[[str, str], None],
    outside: Outside,
) -> None:
    """Wait until no client is refused, or the sink is stopped.

    Args:
        clients: Asked one after the other.
        hec: How long to be patient, and whether acks are required.
        is_stopped: Asked several times a second.
        on_refused: Told the reason (a code, a text) of each refusal.
        outside: How time passes.

    Raises:
        SinkFailure: One is refused for longer than the patience (exit 5).
    """
    deadline = outside.clock() + hec.halt_patience_s
    gap_s = _FIRST_GAP_S
    for client in clients:
        while not is_stopped() and (refused := refusal(client.probe(), hec.ack)) is not None:
            reason, text = refused
            on_refused(reason, text)
            left_s = deadline - outside.clock()
            if left_s <= 0:
                raise SinkFailure(ExitCode.HEC, f"Splunk refuses the deployment: {text}", fix_of(reason))
            log.error(
                "Splunk refuses the deployment: %s (fix: %s); asking again for %.0f s",
                text,
                fix_of(reason),
                left_s,
            )
            _wait(min(gap_s, left_s), is_stopped, outside)
            gap_s = min(_LONGEST_GAP_S, gap_s * 2)


def _wait(for_s: float, is_stopped: Callable[[], bool], outside: Outside) -> None:
    until = outside.clock() + for_s
    while not is_stopped() and (left_s := until - outside.clock()) > 0:
        outside.sleep(min(_LOOK_S, left_s))
