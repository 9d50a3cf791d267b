"""The rows that `WriteToSplunkHEC` puts out: receipts, and dead letters. Values with schemas, nothing else.

Non-obvious: the type of a dead letter depends on that of the elements, since it carries the element itself;
elements without a portable schema make it readable to Python alone. Beam reads the annotations of `Receipt`
while it runs, so they must not be made text (`from __future__`): other languages could not read its fields.
"""

from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import apache_beam as beam
from apache_beam import coders
from apache_beam.typehints.row_type import RowTypeConstraint

if TYPE_CHECKING:
    from splunk_hec.events import Outcome


class Receipt(NamedTuple):
    """One batch that Splunk acknowledged (with acks off: accepted).

    Attributes:
        events: How many events.
        bytes: Encoded size.
        ack_latency_s: From the reply that took it to its acknowledgement; 0.0 without acks.
        attempts: HTTP tries.
        endpoint: The url that took it.
    """

    events: int
    bytes: int
    ack_latency_s: float
    attempts: int
    endpoint: str


coders.registry.register_coder(Receipt, coders.RowCoder)

_FIELDS: tuple[tuple[str, Any], ...] = (
    ("event_bytes", bytes),
    ("reason", str),
    ("http_status", int),
    ("code", Optional[int]),  # noqa: UP045 -- Beam's schemas know this form of it
    ("text", str),
    ("attempts", int),
)
_WITH_SCHEMA = (str, bytes, int, float)


def receipt_of(outcome: "Outcome") -> Receipt:
    """What a delivered batch's outcome says."""
    return Receipt(outcome.count, outcome.size_bytes, outcome.ack_latency_s, outcome.attempts, outcome.url)


def dead_letter(
    element: Any,
    *,
    event_bytes: bytes,
    reason: str,
    text: str,
    http_status: int = 0,
    code: int | None = None,
    attempts: int = 0,
) -> beam.Row:
    """An event that Splunk did not take.

    Args:
        element: As it came into the transform.
        event_bytes: The HEC envelope; empty if none could be made of the element.
        reason: `invalid_event`, `too_large`, `bad_index`, `bad_time`, `bad_fields`, `blank`, `undecodable`,
            `refused_by_proxy`, `gave_up`, `unconfirmed`.
        text: What is wrong, for people.
        http_status: Of the reply that decided; 0 if none did.
        code: HEC's code in that reply; None if it had none.
        attempts: HTTP tries that carried the event.
    """
    return beam.Row(
        element=element,
        event_bytes=event_bytes,
        reason=reason,
        http_status=http_status,
        code=code,
        text=text,
        attempts=attempts,
    )


def dead_letter_type(element_type: Any) -> Any:
    """The schema of dead letters of such elements; if they have none, none: the rows are pickled whole.

    One field of any type in a schema would do, but runners in Java fail to read that schema.
    """
    has_schema = element_type in _WITH_SCHEMA or RowTypeConstraint.from_user_type(element_type) is not None
    if not has_schema and not isinstance(element_type, RowTypeConstraint):
        return Any
    return RowTypeConstraint.from_fields([("element", element_type), *_FIELDS])
