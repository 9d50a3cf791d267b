"""Someone on the wire: what the client and `check` refuse to speak to, and the one line with which they do.

Each bad certificate against the transport alone, proxies and hints are tests/core/test_transport.py's.
"""

from __future__ import annotations

import json
import socket
import ssl
import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import wire

from splunk_hec import Event, HecClient, HecConfig
from splunk_hec._protocol import Request, TransportError
from splunk_hec._transport import RequestsTransport
from splunk_hec_emulator import Emulator
from splunk_hec_kafka.check import run_checks
from splunk_hec_kafka.config import load
from splunk_hec_kafka.failures import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Trust
    from splunk_hec_kafka._mock_kafka import MockKafka

TOKEN = "5ecre7-70ken-0n-7he-w1re"
OVER = {
    "not_before": datetime.now(UTC) - timedelta(days=9),
    "not_after": datetime.now(UTC) - timedelta(days=1),
}
OLD_VERSIONS = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]


def client(url: str, **settings: Any) -> HecClient:
    """A client that halts at once."""
    return HecClient(
        HecConfig(url=url, token=TOKEN, threads=False, halt_patience_s=0, request_deadline_s=10, **settings)
    )


def probed(url: str, **settings: Any) -> str:
    """What a client that does not get through says of the endpoint."""
    hec = client(url, **settings)
    try:
        probe = hec.probe()
    finally:
        hec.abort()
    assert not probe.token_ok
    assert TOKEN not in repr(probe)
    return probe.text


def bad_server(kind: str, trust: Trust, stranger: Trust) -> tuple[ssl.SSLContext, str]:
    """A server nobody may trust, and what the line about it must say to do."""
    match kind:
        case "expired":
            return trust.server(**OVER), "renew it"
        case "wrong host":
            return trust.server("other.example"), "use a host name that it contains in url"
        case "unknown CA":
            return stranger.server(), "set ca_file to that CA"
        case "self-signed":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            own = stranger.folder / "own.pem"
            own.write_bytes(stranger.ca.cert_pem.bytes() + stranger.ca.private_key_pem.bytes())
            context.load_cert_chain(own)
            return context, "set ca_file to that certificate"
        case _:
            return trust.server(wants_client=True), "set client_cert"


KINDS = ["expired", "wrong host", "unknown CA", "self-signed", "no client certificate"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_cannot_prove_itself_gets_no_request(kind: str, trust: Trust, stranger: Trust) -> None:
    """The client sends nothing to it, and its one line says what to do about this very fault."""
    context, fix = bad_server(kind, trust, stranger)
    with wire.WireServer(wire.reply(), tls=context) as server:
        said = probed(server.url, ca_file=trust.file)
        assert fix in said
        assert said.isprintable()
        assert server.received == []


class Site:
    """An embedded Kafka with topics, to run `check` beside."""

    def __init__(self, kafka: MockKafka, capsys: pytest.CaptureFixture[str]) -> None:
        self._kafka, self._capsys = kafka, capsys

    def check(self, url: str, *sets: str) -> tuple[int, dict[str, dict[str, str]]]:
        """The exit code and the findings by name."""
        flags = {
            "kafka.bootstrap_servers": self._kafka.bootstrap, "kafka.topics": ["logs"],
            "kafka.group_id": "g", "hec.url": url, "hec.token": "env:CHECKED_TOKEN",
        }  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CHECKED_TOKEN", TOKEN)
            code = run_checks(
                lambda: load(None, {}, sets, flags), offline=False, probe_event=False, output="json"
            )
        out = self._capsys.readouterr().out
        assert TOKEN not in out
        return code, {one["name"]: one for one in json.loads(out)}


@pytest.fixture
def site(mock_kafka: MockKafka, capsys: pytest.CaptureFixture[str]) -> Site:
    """Kafka as a good configuration wants it."""
    mock_kafka.create_topic("logs", 1)
    mock_kafka.create_topic("hec-kafka-sink.dead-letters", 1)
    return Site(mock_kafka, capsys)


@pytest.mark.parametrize("kind", KINDS)
def test_check_names_the_fault_of_a_certificate_and_its_fix(
    kind: str, site: Site, trust: Trust, stranger: Trust
) -> None:
    """`check` fails at TLS (or at the token: TLS 1.3 may tell late) with exit 5 and this very fault's fix."""
    context, fix = bad_server(kind, trust, stranger)
    with wire.WireServer(wire.reply(), tls=context) as server:
        code, found = site.check(server.url, f"hec.ca_file='{trust.file}'")
        assert server.received == []
    failed = next(one for name, one in found.items() if name.startswith("hec.") and one["status"] == "fail")
    assert code == ExitCode.HEC
    assert fix in failed["text"] + failed["fix"]
    assert (failed["text"] + failed["fix"]).isprintable()


@pytest.fixture
def old_server(trust: Trust) -> Iterator[Callable[[ssl.TLSVersion], wire.WireServer]]:
    """Servers that speak one old version of TLS and no other."""
    running: list[wire.WireServer] = []

    def start(version: ssl.TLSVersion) -> wire.WireServer:
        context = trust.server()
        allow_old(context, version)
        running.append(wire.WireServer(wire.reply(), tls=context))
        return running[-1]

    yield start
    for server in running:
        server.stop()


def allow_old(context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    """Let a context speak this version, and nothing newer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = version


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_an_old_tls_is_refused_by_us_and_not_by_chance(
    version: ssl.TLSVersion, trust: Trust, site: Site, old_server: Any
) -> None:
    """TLS 1.0 and 1.1, which a lax client gets there, are spoken by neither client nor `check`."""
    server = old_server(version)
    lax = ssl.create_default_context(cafile=trust.file)
    allow_old(lax, version)
    with (
        socket.create_connection(("127.0.0.1", server.port), 10) as plain,
        lax.wrap_socket(plain, server_hostname="127.0.0.1") as spoken,
    ):
        assert spoken.version() == version.name.replace("_", ".")
    assert "no TLS 1.2 or newer: upgrade it" in probed(server.url, ca_file=trust.file)
    code, found = site.check(server.url, f"hec.ca_file='{trust.file}'")
    assert (code, found["hec.tls"]["status"]) == (ExitCode.HEC, "fail")
    assert "no TLS 1.2 or newer: upgrade it" in found["hec.tls"]["fix"]
    assert server.received == []


def test_an_openssl_that_allows_old_tls_does_not_lower_ours(trust: Trust, old_server: Any) -> None:
    """Even with the ciphers of old, as a machine's openssl.cnf may allow them, we speak nothing below 1.2."""
    server = old_server(ssl.TLSVersion.TLSv1_1)
    transport = RequestsTransport(HecConfig(url=server.url, token=TOKEN, ca_file=trust.file))
    context = transport._adapter._context  # type: ignore[attr-defined]
    context.set_ciphers("ALL:@SECLEVEL=0")
    said = transport.send(Request(server.url, "/", {}, b"", "C", 10))
    transport.close()
    assert isinstance(said, TransportError)
    assert said.kind == "tls"
    assert server.received == []


def test_a_client_certificate_opens_the_door(trust: Trust) -> None:
    """A server that demands one takes events of a client that has one, end to end."""
    cert, key = trust.issue("client.example")
    with wire.WireServer(
        wire.reply(400, b'{"text":"No data","code":5}'), tls=trust.server(wants_client=True)
    ) as server:
        hec = client(server.url, ca_file=trust.file, client_cert=cert, client_key=key)
        try:
            assert hec.probe().token_ok
        finally:
            hec.abort()
        assert server.received[0].headers["authorization"] == f"Splunk {TOKEN}"


@pytest.mark.parametrize(
    ("status", "scheme"),
    [
        (301, "http"),
        (302, "http"),
        (303, "http"),
        (307, "http"),
        (308, "http"),
        (307, "//"),
        (308, "relative"),
    ],
)
def test_a_redirect_takes_the_token_nowhere(status: int, scheme: str) -> None:
    """Posts, probes and acks that are redirected halt; neither another listener nor another path is asked."""
    with wire.WireServer(wire.reply()) as elsewhere:
        place = {
            "http": f"{elsewhere.url}/services/collector/event",
            "//": f"//127.0.0.1:{elsewhere.port}/services/collector/event",
            "relative": "/elsewhere",
        }[scheme]
        with wire.WireServer(wire.reply(status, b"moved", f"Location: {place}")) as server:
            hec = client(server.url, batch_max_events=1)
            hec.submit(Event("a"))
            hec.flush(0)
            assert hec.probe().reason == "redirected"
            assert hec.health().halted
            hec.abort()
            assert {one.target for one in server.received} <= {
                "/services/collector/event", "/services/collector/ack"
            }  # fmt: skip
        assert elsewhere.connections == 0


def test_the_emulators_own_tls_is_modern(trust: Trust) -> None:
    """What stands in for Splunk in tests refuses old TLS as well, so no test passes for the wrong reason."""
    cert, key = trust.issue()
    with Emulator(tls=(cert, key)) as emulator:
        lax = ssl.create_default_context(cafile=trust.file)
        allow_old(lax, ssl.TLSVersion.TLSv1_1)
        port = int(emulator.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 10) as plain, pytest.raises(ssl.SSLError):
            lax.wrap_socket(plain, server_hostname="127.0.0.1")
