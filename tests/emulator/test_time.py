"""Times: by magnitude, to the microsecond, and out of texts."""

import pytest

from splunk_hec_emulator._time import epoch_us, is_plain_time, stamp_us


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1.", 1_000_000),
        ("1700000000.1234567", 1_700_000_000_123_456),
        ("99999999999", 99_999_999_999_000_000),
        ("1700000000123.5", 1_700_000_000_123_500),
        ("1700000000123456", 1_700_000_000_123_456),
        ("1700000000123456789", 1_700_000_000_123_456),
        ("0000001700000000", 1_700_000_000_000_000),
        ("1" * 21, None),
        ("x", None),
        ("", None),
        ("-1", None),
        ("1.x", None),
    ],
)
def test_a_number_is_read_by_its_digits(text: str, expected: int | None) -> None:
    """11 digits are seconds, 14 milliseconds, 17 microseconds, 20 nanoseconds; the rest is cut."""
    assert epoch_us(text) == expected


@pytest.mark.parametrize(
    ("text", "is_plain"),
    [
        (b"", True),
        (b"1", True),
        (b"1.5", True),
        (b'"1.5"', True),
        (b"1e3", False),
        (b"-1", False),
        (b'"1', False),
        (b'""', False),
        (b"1" * 20, False),
        (b"true", False),
    ],
)
def test_only_plain_decimals_are_times(text: bytes, is_plain: bool) -> None:
    """Signs, exponents and anything else are refused with code 15."""
    assert bool(is_plain_time(text)) == is_plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at 2023-11-14 22:13:20 it", 1_700_000_000_000_000),
        ("2023-11-14T23:13:20.123456789+01:00", 1_700_000_000_123_456),
        ("2023-11-14T22:13:20,5Z", 1_700_000_000_500_000),
        ("2023-13-99T22:13:20Z", None),
        ("no time", None),
        (" " * 300 + "2023-11-14T22:13:20Z", None),
    ],
)
def test_a_timestamp_is_found_in_a_text(text: str, expected: int | None) -> None:
    """ISO times near the start of a text, UTC unless they say otherwise."""
    assert stamp_us(text) == expected
