"""Fixtures of the tests that start whole processes and real brokers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from real_kafka import RealKafka, why_impossible

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def real_kafka() -> Iterator[RealKafka]:
    """A real broker for the whole session; skipped loudly without Java, demanded when CI is set."""
    missing = why_impossible()
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI must test against a real Kafka broker: {missing}")
    if missing:
        pytest.skip(f"NOT TESTED AGAINST A REAL KAFKA BROKER: {missing}")
    with RealKafka() as kafka:
        yield kafka
