"""Event times: from what the envelope says, or what the text shows, to seconds with microseconds.

Measured on 10.4.3: 13 digits are milliseconds, 19 are nanoseconds, digits past the microsecond are cut;
scientific notation and anything but a plain decimal is refused (code 15).
"""

import re
from datetime import UTC, datetime

# Of the JSON text, quotes included; an absent time is the empty text. At most 19 digits before the point.
is_plain_time = re.compile(rb'(?:\d{1,19}(?:\.\d*)?|"\d{1,19}(?:\.\d*)?")?').fullmatch

_STAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\s?(Z|[+-]\d\d:?\d\d)?",
)
_SHIFTS = ((11, 6), (14, 3), (17, 0), (20, -3))  # digits at most, decimal places to microseconds


def epoch_us(text: str) -> int | None:
    """Read a time as HEC does, by its magnitude.

    Args:
        text: a plain decimal, as `is_plain_time` admits it, without quotes.

    Returns:
        Microseconds since 1970, or None for another text.
    """
    whole, _, fraction = text.partition(".")
    if not whole.isdecimal() or not (fraction + "0").isdecimal():
        return None
    digits = len(whole.lstrip("0"))
    for most, shift in _SHIFTS:
        if digits <= most:
            scaled: int = int(whole + (fraction + "0" * 9)[:9])
            return scaled // int(10 ** (9 - shift))
    return None


def stamp_us(text: str) -> int | None:
    """Find the first ISO 8601 time in a text (UTC where it names no zone), in microseconds since 1970."""
    match = _STAMP.search(text[:256])
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{zone or 'Z'}")
    except ValueError:
        return None
    whole = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return whole * 1_000_000 + int(((fraction or "") + "000000")[:6])
