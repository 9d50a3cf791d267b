"""What the judge keeps for people: counters, and splunkd's log line for each refusal."""

import logging
from dataclasses import dataclass, field

from splunk_hec_emulator._replies import Reply
from splunk_hec_emulator._request import Request

_log = logging.getLogger("splunk_hec_emulator")


def _no_replies() -> dict[str, int]:
    return {}


@dataclass(slots=True)
class Counts:
    """The counters of /emulator/stats that the store and the nodes do not know. One owner: the loop."""

    requests: int = 0
    replies: dict[str, int] = field(default_factory=_no_replies)
    events_accepted: int = 0
    events_refused: int = 0
    acks_issued: int = 0
    acks_told: int = 0
    bytes_received: int = 0
    bytes_decoded: int = 0

    def reply(self, reply: Reply) -> None:
        """Count a reply by its status and HEC code (none for HTML and the answers of /ack)."""
        key = f"{reply.status}/{'' if reply.code is None else reply.code}"
        self.replies[key] = self.replies.get(key, 0) + 1


def refused(request: Request, reply: Reply, why: str, taken: int = 0) -> Reply:
    """Log a refusal in splunkd's words, which administrators search for, and return it.

    The token goes by its name; neither its value nor any payload is ever logged.
    """
    _log.info(
        "Failed processing http input, token name=%s, channel=%s, source_IP=%s, reply=%s, "
        'events_processed=%d, http_input_body_size=%d, parsing_err="%s"',
        request.token.name if request.token else "n/a",
        request.guid or "n/a",
        request.peer,
        reply.status if reply.code is None else reply.code,
        taken,
        len(request.body),
        why,
    )
    return reply
