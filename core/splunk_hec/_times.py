"""An event's time as HEC wants it. Pure; not for reading clocks."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from splunk_hec.errors import InvalidEvent


def fixed_time(value: float | str | Decimal | datetime) -> str:
    """An event's time as HEC wants it: fixed-point seconds since 1970, cut to microseconds.

    HEC answers code 15 to scientific notation, commas and text, so none of those is ever written.

    Args:
        value: Seconds, milli-, micro- or nanoseconds by magnitude, as a number or numeric text; RFC 3339
            text; or an aware datetime.

    Raises:
        InvalidEvent: `bad_time`.
    """
    if isinstance(value, datetime):
        return _from_datetime(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise InvalidEvent("bad_time", f"{type(value).__name__} is not a time")
    try:
        # Not by way of text for integers: Python refuses to write those of more than 4,300 digits.
        number = Decimal(str(value).strip() if isinstance(value, float | str) else value)
    except InvalidOperation:
        return _from_datetime(_parse_rfc3339(str(value)))
    if not number.is_finite() or number < 0:
        raise InvalidEvent("bad_time", f"{number:.6g} is not a time since 1970")
    for digits in (0, 3, 6, 9):
        if number < Decimal(10) ** (11 + digits):
            return _micros(int(number.scaleb(6 - digits)))
    raise InvalidEvent("bad_time", f"{number:.6g} is too large for a time, even in nanoseconds")


def _micros(micros: int) -> str:
    seconds, rest = divmod(micros, 1_000_000)
    return f"{seconds}.{rest:06d}".rstrip("0").rstrip(".") if rest else str(seconds)


def _from_datetime(value: datetime) -> str:
    if value.tzinfo is None:
        raise InvalidEvent("bad_time", f"{value.isoformat()} has no time zone; give an aware datetime")
    since = value - datetime(1970, 1, 1, tzinfo=UTC)
    micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    if micros < 0:
        raise InvalidEvent("bad_time", f"{value.isoformat()} is before 1970")
    return _micros(micros)


def _parse_rfc3339(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidEvent("bad_time", f"{text[:40]!r} is neither a number nor an RFC 3339 time") from None
