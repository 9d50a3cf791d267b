"""Google Cloud Functions: a Pub/Sub message, or the lines of a new object in Cloud Storage, to Splunk.

Entry points `pubsub` and `storage`, both for CloudEvents. They raise where anything is unconfirmed, so that
with retries on (`--retry`) the same event comes again.
"""

from __future__ import annotations

import base64
import functools
import os
from typing import IO, TYPE_CHECKING, Any, cast

from delivery import deliver, lines_of

from splunk_hec import Event

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_S = float(os.environ.get("DELIVERY_TIMEOUT_S", "50"))
"""Keep it below the function's own time-out, 60 s by default: an error says more than a time-out."""


def pubsub(cloud_event: Any) -> None:
    """For the trigger `google.cloud.pubsub.topic.v1.messagePublished`: one message, one event."""
    message: Mapping[str, Any] = cloud_event.data["message"]
    text = base64.b64decode(message.get("data", ""))
    event = Event(
        text,
        time=message.get("publishTime"),
        source=cloud_event["source"],
        fields=message.get("attributes") or None,
        ref=message.get("messageId"),
    )
    deliver([event], TIMEOUT_S)


def storage(cloud_event: Any) -> None:
    """For the trigger `google.cloud.storage.object.v1.finalized`: each line of the object, one event."""
    bucket, name = cloud_event.data["bucket"], cloud_event.data["name"]
    deliver(lines_of(open_object(bucket, name), f"gs://{bucket}/{name}"), TIMEOUT_S)


def open_object(bucket: str, name: str) -> IO[bytes]:
    """The bytes of an object, as they come."""
    # As they are stored: what is stored with Content-Encoding: gzip is not unpacked on the way.
    return cast("IO[bytes]", _storage().bucket(bucket).blob(name).open("rb", raw_download=True))


@functools.cache
def _storage() -> Any:
    from google.cloud import storage as google_storage  # noqa: PLC0415 -- functions for Pub/Sub need none

    return google_storage.Client()
