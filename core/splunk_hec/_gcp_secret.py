"""A token kept in Google Secret Manager: `gcp-secret:projects/P/secrets/S[/versions/V]`.

Not for other secrets, nor for where credentials come from (the library's own rules: Application Default
Credentials). Guarantees: the secret is in no message of ours; once it was read, an outage of Secret Manager
changes nothing but that a rotation is seen later.
Threads: any. Non-obvious: it is read again every minute, since a refused token is probed for as long as the
patience lasts and a rotated one must be picked up by then; who comes while another reads gets the old one.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from splunk_hec.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("splunk_hec")

READ_AGAIN_S = 60.0
ANSWER_S = 10.0
"""How long one question to Secret Manager may take, retries included."""


class GcpSecret:
    """One secret; without `/versions/…` its latest version."""

    def __init__(
        self,
        name: str,
        *,
        new_client: Callable[[], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is read before the first call.

        Args:
            name: `projects/P/secrets/S`, or with `/versions/V`.
            new_client: Makes a `SecretManagerServiceClient`; None makes one with the default credentials.
            clock: Monotonic seconds.
        """
        self._name = name if "/versions/" in name else f"{name}/versions/latest"
        self._new_client = new_client or _default_client
        self._clock = clock
        self._reading = threading.Lock()
        self._value = ""
        self._read_at = 0.0

    def __call__(self) -> str:
        """The secret, at most `READ_AGAIN_S` old while Secret Manager answers.

        Raises:
            ConfigError: It was never read, and cannot be.
        """
        if self._value and self._clock() - self._read_at < READ_AGAIN_S:
            return self._value
        if not self._reading.acquire(blocking=not self._value):
            return self._value
        try:
            if not self._value or self._clock() - self._read_at >= READ_AGAIN_S:
                self._read()
            return self._value
        finally:
            self._reading.release()

    def _read(self) -> None:
        try:
            reply = self._new_client().access_secret_version(name=self._name, timeout=ANSWER_S)
            self._value = reply.payload.data.decode()
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 -- the library's own, its transport's, and its credentials'
            if not self._value:
                raise ConfigError(
                    f"the token is to be read from the secret {self._name}, which fails: "
                    f"{type(error).__name__}; check its name, and that this account may access it"
                ) from None
            log.warning("the secret %s cannot be read again: %s", self._name, type(error).__name__)
        self._read_at = self._clock()


def _default_client() -> Any:
    try:
        from google.cloud import secretmanager  # noqa: PLC0415 -- an extra, and slow to import
    except ImportError:
        raise ConfigError(
            "a gcp-secret: token needs Google's client library: pip install 'splunk-hec-sink[gcp]'"
        ) from None
    return secretmanager.SecretManagerServiceClient()
