"""Replies as bytes: HEC's table of codes and the HTML pages that Splunk's HTTP layer answers with.

JSON is compact and its keys come in the order text, code, invalid-event-number, ackId, as measured on
Enterprise 10.4.3. Nothing here decides which reply a request deserves.
"""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, replace

JSON_TYPE = "application/json; charset=UTF-8"
HTML_TYPE = "text/html; charset=UTF-8"
TEXT_TYPE = "text/plain; charset=UTF-8"

_STICKY = (
    "Data channel is missing. If you have multiple indexers, sticky session load balancers must be "
    "provisioned and client requests must be routed accordingly."
)
CODES: dict[int, tuple[int, str]] = {
    0: (200, "Success"),
    1: (403, "Token disabled"),
    2: (401, "Token is required"),
    3: (401, "Invalid authorization"),
    4: (403, "Invalid token"),
    5: (400, "No data"),
    6: (400, "Invalid data format"),
    7: (400, "Incorrect index"),
    8: (500, "Internal server error"),
    9: (503, "Server is busy"),
    10: (400, "Data channel is missing"),
    11: (400, "Invalid data channel"),
    12: (400, "Event field is required"),
    13: (400, "Event field cannot be blank"),
    14: (400, "ACK is disabled"),
    15: (400, "Error in handling indexed fields"),
    16: (400, "Query string authorization is not enabled"),
    17: (200, "HEC is healthy"),
    18: (503, "HEC is unhealthy, queues are full"),
    19: (503, "HEC is unhealthy, ack service unavailable"),
    20: (503, "HEC is unhealthy, queues are full, ack service unavailable"),
    21: (400, "Invalid token"),
    22: (400, "Token disabled"),
    23: (503, "Server is shutting down"),
    24: (200, "HEC queue is approaching its capacity limit"),
    25: (200, "HEC ACK is approaching its capacity limit"),
    26: (429, "HEC queue is at capacity and cannot process any more requests"),
    27: (429, "HEC ACK channel is at capacity and cannot process any more requests"),
    28: (400, _STICKY),
    404: (404, "The requested URL was not found on this server."),
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer. `code` is HEC's, None where the body is not HEC's JSON."""

    status: int
    body: bytes = b""
    code: int | None = None
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()
    stream: Iterator[bytes] | None = None  # instead of `body`, for long answers of the emulator's own pages
    live: AsyncGenerator[bytes] | None = None  # instead of `body`, for what goes on until the client leaves

    def with_header(self, name: str, value: str) -> "Reply":
        """Return the same reply with one more header."""
        return replace(self, headers=(*self.headers, (name, value)))


def hec(code: int, number: int | None = None, ack_id: int | None = None) -> Reply:
    """Build HEC's JSON reply for a code, with the optional keys that are not None."""
    status, text = CODES[code]
    parts = [f'"text":"{text}","code":{code}']
    if number is not None:
        parts.append(f'"invalid-event-number":{number}')
    if ack_id is not None:
        parts.append(f'"ackId":{ack_id}')
    return Reply(status, f"{{{','.join(parts)}}}".encode(), code)


NOT_FOUND = hec(404)
WRONG_METHOD = replace(NOT_FOUND, status=405)  # measured: a 405 carries the same "404" body


def html(status: int, title: str, heading: str, paragraph: str) -> Reply:
    """Build the page Splunk's HTTP layer answers with (byte-exact where measured)."""
    page = (
        '<!doctype html><html><head><meta http-equiv="content-type" content="text/html; charset=UTF-8">'
        f"<title>{title}</title></head><body><h1>{heading}</h1><p>{paragraph}</p></body></html>\r\n"
    )
    return Reply(status, page.encode(), content_type=HTML_TYPE)


BAD_GZIP = html(
    400,
    "400 Unparsable gzip header in request data",
    "Unparsable gzip header in request data",
    "HTTP Request was malformed.",
)
UNSUPPORTED_CODING = html(
    415,
    "415 Unsupported Media Type",
    "Unsupported Media Type",
    "The requested URL does not support the media type sent.",
)


def too_large(length: int, maximum: int) -> Reply:
    """Build the 413: its status is measured, its words are not known."""
    what = f"Content-Length of {length} too large (maximum is {maximum})"
    return html(413, f"413 {what}", what, "HTTP Request was too large.")


def malformed(status: int, what: str) -> Reply:
    """Build the answer to bytes that are not HTTP."""
    return html(status, f"{status} {what}", what, "HTTP Request was malformed.")
