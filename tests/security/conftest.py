"""Fixtures of the security tier: a broker, certificates, and a log that hears every logger at every level."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from splunk_hec_kafka._mock_kafka import MockKafka

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def mock_kafka() -> Iterator[MockKafka]:
    """An empty Kafka broker of the test's own."""
    with MockKafka() as broker:
        yield broker


@pytest.fixture
def every_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What anybody logs, libraries included, from DEBUG on."""
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    levels = {logger: logger.level for logger in loggers}
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG):
        yield caplog
    for logger, level in levels.items():
        logger.setLevel(level)


@dataclass
class Trust:
    """A CA whose certificate is in `file`, and server certificates that it signed, each in files."""

    ca: trustme.CA
    file: str
    folder: Path

    def issue(self, host: str = "127.0.0.1", **kwargs: Any) -> tuple[str, str]:
        """A certificate and its key as files."""
        made = self.ca.issue_cert(host, **kwargs)
        number = len(list(self.folder.iterdir()))
        cert, key = self.folder / f"cert-{number}.pem", self.folder / f"key-{number}.pem"
        for blob in made.cert_chain_pems:
            blob.write_to_path(str(cert), append=True)
        made.private_key_pem.write_to_path(str(key))
        return str(cert), str(key)

    def server(self, host: str = "127.0.0.1", *, wants_client: bool = False, **kwargs: Any) -> ssl.SSLContext:
        """The server side of TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(host, **kwargs))
        if wants_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.file)
        return context


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    """Whom the tests' clients trust."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    made = Trust(trustme.CA(), str(folder / "ca.pem"), folder)
    made.ca.cert_pem.write_to_path(made.file)
    return made


@pytest.fixture
def stranger(tmp_path: Path) -> Trust:
    """A CA that nobody trusts."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    made = Trust(trustme.CA(), str(folder / "ca.pem"), folder)
    made.ca.cert_pem.write_to_path(made.file)
    return made
