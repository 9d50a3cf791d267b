"""Fixtures of the Kafka tier: a broker per test, and what several test files need of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from splunk_hec_kafka._mock_kafka import MockKafka

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def mock_kafka() -> Iterator[MockKafka]:
    """An empty Kafka broker of the test's own (0.1 s); `create_topic` makes the topics."""
    with MockKafka() as broker:
        yield broker
