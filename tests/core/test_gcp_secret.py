"""A token in Secret Manager: read on the worker, read again when it rotates, in no message."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

grpc = pytest.importorskip("grpc")
secretmanager = pytest.importorskip("google.cloud.secretmanager")

from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (  # noqa: E402
    SecretManagerServiceGrpcTransport,
)

from splunk_hec import ConfigError, HecConfig  # noqa: E402
from splunk_hec._gcp_secret import READ_AGAIN_S, GcpSecret  # noqa: E402
from splunk_hec.config import TokenSource, is_reference  # noqa: E402
from splunk_hec.testing import ManualClock  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

METHOD = "/google.cloud.secretmanager.v1.SecretManagerService/AccessSecretVersion"
NAME = "projects/p/secrets/hec"


class Vault(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A Secret Manager: `secrets` by version name; what is missing is NOT_FOUND."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.asked: list[str] = []

    def service(self, details: Any) -> Any:
        """The only method that is called."""
        assert details.method == METHOD
        return grpc.unary_unary_rpc_method_handler(
            self.answer,
            request_deserializer=secretmanager.AccessSecretVersionRequest.deserialize,
            response_serializer=secretmanager.AccessSecretVersionResponse.serialize,
        )

    def answer(self, request: Any, context: Any) -> Any:
        """Give the secret, or say that there is none."""
        self.asked.append(request.name)
        if request.name not in self.secrets:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such secret: 5ecret-in-the-message")
        payload = secretmanager.SecretPayload(data=self.secrets[request.name].encode())
        return secretmanager.AccessSecretVersionResponse(name=request.name, payload=payload)


@pytest.fixture
def vault() -> Iterator[tuple[Vault, Callable[[], Any]]]:
    """A Secret Manager on a free port, and what makes clients of it."""
    handler = Vault()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    yield (
        handler,
        lambda: secretmanager.SecretManagerServiceClient(
            transport=SecretManagerServiceGrpcTransport(channel=channel)
        ),
    )
    channel.close()
    server.stop(None).wait()


def test_the_latest_version_is_read_and_kept_for_a_minute(vault: tuple[Vault, Callable[[], Any]]) -> None:
    """A rotated secret is picked up within a minute, and Secret Manager is not asked for each request."""
    handler, new_client = vault
    clock = ManualClock()
    secret = GcpSecret(NAME, new_client=new_client, clock=clock)
    handler.secrets[f"{NAME}/versions/latest"] = "first"
    assert [secret(), secret()] == ["first", "first"]
    handler.secrets[f"{NAME}/versions/latest"] = "second"
    clock.advance(READ_AGAIN_S)
    assert [secret(), secret()] == ["second", "second"]
    assert handler.asked == [f"{NAME}/versions/latest"] * 2


def test_a_version_can_be_named(vault: tuple[Vault, Callable[[], Any]]) -> None:
    """A version that is part of the name is the one that is read."""
    handler, new_client = vault
    handler.secrets[f"{NAME}/versions/7"] = "the seventh"
    assert GcpSecret(f"{NAME}/versions/7", new_client=new_client)() == "the seventh"


def test_an_outage_after_the_first_read_changes_nothing(
    vault: tuple[Vault, Callable[[], Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """What was read once stays in use while Secret Manager fails, with a line that does not hold it."""
    handler, new_client = vault
    clock = ManualClock()
    secret = GcpSecret(NAME, new_client=new_client, clock=clock)
    handler.secrets[f"{NAME}/versions/latest"] = "t0ken"
    assert secret() == "t0ken"
    del handler.secrets[f"{NAME}/versions/latest"]
    clock.advance(READ_AGAIN_S)
    with caplog.at_level(logging.WARNING):
        assert secret() == "t0ken"
    assert "cannot be read again: NotFound" in caplog.text
    assert "t0ken" not in caplog.text


def test_a_secret_that_was_never_read_is_a_configuration_error(
    vault: tuple[Vault, Callable[[], Any]],
) -> None:
    """The error names the secret and what to check, in one line, without what the service said."""
    with pytest.raises(ConfigError, match=f"{NAME}/versions/latest, which fails: NotFound; check") as error:
        GcpSecret(NAME, new_client=vault[1])()
    assert "5ecret-in-the-message" not in str(error.value)
    assert "\n" not in str(error.value)


def test_the_reference_travels_and_nothing_is_read_before_use() -> None:
    """A `gcp-secret:` token is a reference: it is shown, pickled with the config, and read on first use."""
    reference = f"gcp-secret:{NAME}"
    assert is_reference(reference)
    assert HecConfig(url="http://a", token=reference).public()["token"] == reference
    assert repr(TokenSource(reference)) == f"TokenSource({reference})"
