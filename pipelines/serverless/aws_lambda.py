"""AWS Lambda: records of a Kinesis stream, or lines of new S3 objects, to Splunk.

Set the function's handler to `aws_lambda.handler`. It raises where anything is unconfirmed, so that Lambda
brings the same records again.
"""

from __future__ import annotations

import base64
import functools
import io
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from delivery import deliver, lines_of

from splunk_hec import Event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MARGIN_S = 2.0
"""What is left of the invocation's time when `handler` gives up: an error says more than a time-out."""
READ_BYTES = 262_144


def handler(event: Mapping[str, Any], context: Any) -> dict[str, int]:
    """Lambda calls this; returns how many events were confirmed."""
    left_s = context.get_remaining_time_in_millis() / 1000 - MARGIN_S
    return {"confirmed": deliver(_events(event["Records"]), left_s)}


def open_object(bucket: str, key: str) -> IO[bytes]:
    """The bytes of an S3 object, as they come."""
    body = _s3().get_object(Bucket=bucket, Key=key)["Body"]  # which by itself iterates over chunks, not lines
    return io.BufferedReader(body, READ_BYTES)


@functools.cache
def _s3() -> Any:
    import boto3  # noqa: PLC0415 -- Lambda brings it; functions for Kinesis need not wait for it

    return boto3.client("s3")


def _events(records: list[dict[str, Any]]) -> Iterator[Event]:
    for record in records:
        if "kinesis" in record:
            yield _of_kinesis(record)
        elif "s3" in record:
            yield from _of_s3(record["s3"])
        else:
            raise ValueError(f"neither a Kinesis nor an S3 record: {', '.join(sorted(record))}")


def _of_kinesis(record: dict[str, Any]) -> Event:
    told = record["kinesis"]
    return Event(
        base64.b64decode(told["data"]),
        time=told["approximateArrivalTimestamp"],
        source=record["eventSourceARN"],
        ref=told["sequenceNumber"],
    )


def _of_s3(told: dict[str, Any]) -> Iterator[Event]:
    bucket, key = told["bucket"]["name"], unquote_plus(told["object"]["key"])
    return lines_of(open_object(bucket, key), f"s3://{bucket}/{key}")
