"""The part of `check` that asks Splunk: name, connection, token, acknowledgements, index.

Only the asking; what an answer means is in `check_rules`. Guarantee: without --probe-event nothing is
indexed.
"""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import certifi
import msgspec

from splunk_hec import Event, HecClient
from splunk_hec._faults import tls_fault
from splunk_hec.errors import ConfigError
from splunk_hec_kafka.check_rules import (
    HEC_NAMES,
    Finding,
    curl_connect,
    hec_failure,
    judge_certificate,
    judge_outcome,
    judge_probe,
    skipped,
)
from splunk_hec_kafka.config import hec_config
from splunk_hec_kafka.config_tree import hec_of
from splunk_hec_kafka.failures import ExitCode
from splunk_hec_kafka.routes import RouteTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from splunk_hec import Probe
    from splunk_hec.config import HecConfig
    from splunk_hec_kafka.config import SinkConfig

CONNECT_S = 10.0
CONFIRM_S = 60.0
"""How long the acknowledgement of the probe event may take."""
_SEE = "correct it; see hec-kafka-sink config table"


def check_hec(config: SinkConfig, *, probe_event: bool) -> Iterator[Finding]:
    """Ask Splunk.

    Args:
        config: A complete configuration.
        probe_event: Index one event for each index that a route names, else one in the default index.

    Yields:
        A finding for each of `check_rules.HEC_NAMES`; for those of the token, one for each token.
    """
    hec = hec_config(config, "event")
    if hec.proxy:
        yield from skipped(("hec.dns", "hec.tls"), "the proxy resolves names and makes connections")
    else:
        names = _dns(config, hec)
        yield names
        if names.status == "fail":
            yield from skipped(HEC_NAMES[1:], "the name does not resolve")
            return
        tls = _tls(config, hec)
        yield tls
        if tls.status == "fail":
            yield from skipped(HEC_NAMES[2:], "there is no connection")
            return
    routes = RouteTable(config.route, config.hec.token)
    is_refused = False
    for to in {one.token_key: one for one in routes.destinations}.values():
        label, its = routes.label(to), hec_of(config, to.token_key)
        try:
            probe = _probe(hec_config(config, "event", to.token_key))
        except ConfigError as error:
            yield Finding("hec.token", "fail", label + str(error), _SEE, ExitCode.CONFIG)
            yield from skipped(HEC_NAMES[3:], f"{label}there is no client")
            return
        findings = judge_probe(probe, its, label, to.token_key)
        yield from findings
        is_refused = is_refused or any(one.status == "fail" for one in findings)
    if is_refused:
        yield from skipped(("hec.index",), "Splunk refuses the deployment")
    elif probe_event:
        yield _index(config, routes)
    else:
        yield from skipped(("hec.index",), "only an event shows it; --probe-event indexes one")


def _probe(hec: HecConfig) -> Probe:
    client = HecClient(hec)
    try:
        return client.probe()
    finally:
        client.abort()


def _dns(config: SinkConfig, hec: HecConfig) -> Finding:
    found: list[str] = []
    for url in hec.urls:
        host = urlsplit(url).hostname or ""
        try:
            addresses = {str(one[4][0]) for one in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
        except OSError as error:
            fix = "correct hec.url, or the name server"
            return hec_failure("hec.dns", f"{host}: {error.strerror}", fix, curl_connect(config.hec, url))
        found.append(f"{host} is {', '.join(sorted(addresses))}")
    return Finding("hec.dns", "ok", "; ".join(found))


def _tls(config: SinkConfig, hec: HecConfig) -> Finding:
    try:
        context = _tls_context(config)
    except OSError as error:
        text = f"hec.ca_file, hec.client_cert or hec.client_key cannot be used: {error.strerror or error}"
        return Finding("hec.tls", "fail", text, _SEE, ExitCode.CONFIG)
    findings = [_connect(config, context, url) for url in hec.urls]
    worst = [one for status in ("fail", "warn") for one in findings if one.status == status]
    return worst[0] if worst else findings[0]


def _connect(config: SinkConfig, context: ssl.SSLContext, url: str) -> Finding:
    """Connect, and shake hands where the url says https."""
    parts, hec = urlsplit(url), config.hec
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), CONNECT_S) as plain:
            if parts.scheme == "http":
                text = f"{url}: not encrypted: the token can be read on its way"
                return Finding("hec.tls", "warn", text, "turn on SSL for HEC and use https")
            with context.wrap_socket(plain, server_hostname=parts.hostname) as secure:
                certificate = secure.getpeercert() or {}
                version = secure.version() or "TLS"
    except ssl.SSLError as error:
        what, fix = tls_fault(error)
        return hec_failure("hec.tls", f"{url}: {what}", fix, curl_connect(hec, url))
    except OSError as error:
        text = f"{url}: {getattr(error, 'reason', None) or error.strerror or error}"
        fix = "check that HEC listens there, with SSL if the url says https"
        return hec_failure("hec.tls", text, fix, curl_connect(hec, url))
    ends = certificate.get("notAfter")
    left_s = ssl.cert_time_to_seconds(str(ends)) - time.time() if ends else None
    return judge_certificate(url, version, left_s, hec)


def _tls_context(config: SinkConfig) -> ssl.SSLContext:
    hec = config.hec
    context = ssl.create_default_context(cafile=hec.ca_file or certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # as the client, whatever OpenSSL allows here
    if not hec.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if hec.client_cert:
        context.load_cert_chain(hec.client_cert, hec.client_key or None, password="")
    return context


def _index(config: SinkConfig, routes: RouteTable) -> Finding:
    """Index one event for each token and index that a route names; the first that fails is the finding."""
    wanted = routes.named_indexes() or [(one.token_key, "") for one in routes.destinations[:1]]
    findings = [_index_one(config, token_key, index) for token_key, index in wanted]
    failed = [one for one in findings if one.status == "fail"]
    good = Finding("hec.index", "ok", "; ".join(one.text for one in findings))
    return failed[0] if failed else good


def _index_one(config: SinkConfig, token_key: str, index: str) -> Finding:
    hec = msgspec.structs.replace(hec_config(config, "event", token_key), lanes=1, linger_s=0)
    shown = hec_of(config, token_key)
    client = HecClient(hec, configured_indexes=[index] if index else [])
    try:
        client.submit(Event("hec-kafka-sink check", index=index or None, source="hec-kafka-sink", ref=0))
        deadline = time.monotonic() + CONFIRM_S
        while time.monotonic() < deadline:
            outcomes = client.poll(0.2)
            health = client.health()
            if outcomes or health.halted:
                halt = (health.reasons[0].code, health.reasons[0].text) if health.halted else None
                return judge_outcome(outcomes[0] if outcomes else None, halt, index, shown)
        return judge_outcome(None, None, index, shown)
    finally:
        client.abort()
