"""What the answers of Kafka and Splunk mean for a deployment: one finding a check.

Pure; `check` does the asking.

    ok    nothing to do        warn  works, but look at it
    fail  would not work       skip  not asked, or cannot be known; the text says why

Guarantee: no finding shows a token; a curl line names the place where it is.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Literal

import msgspec

from splunk_hec.config import hide_password
from splunk_hec_kafka.config_tree import HEC_TOKEN
from splunk_hec_kafka.failures import ExitCode
from splunk_hec_kafka.readying import fix_of, refusal
from splunk_hec_kafka.source import matches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from splunk_hec import Outcome, Probe
    from splunk_hec_kafka.config import SinkConfig
    from splunk_hec_kafka.config_tree import Hec
    from splunk_hec_kafka.dead_letter_topic import TopicFinding

Status = Literal["ok", "warn", "fail", "skip"]
KAFKA_NAMES = ("kafka.brokers", "kafka.topics", "kafka.group", "dead_letter.topic", "dead_letter.size")
HEC_NAMES = ("hec.dns", "hec.tls", "hec.token", "hec.acks", "hec.channel", "hec.index")
NAMES = ("config", *KAFKA_NAMES, *HEC_NAMES)
LETTER_HEADERS_BYTES = 16_384
"""Room for what a dead letter adds to its original."""
EXPIRES_SOON_DAYS = 21
_CHANNEL = "11111111-1111-4111-8111-111111111111"
_DAY_S = 86_400
_FIXES = {
    "unreachable": "check that HEC listens at hec.url, and what is between",
    "busy": "wait until Splunk takes events again; the sink would",
    "ack_timeout": "look in Splunk whether the event arrived; indexing is slow or stands still",
}


class Finding(msgspec.Struct, frozen=True):
    """The result of one check; `code` is the process's exit code if it is the first failure."""

    name: str
    status: Status
    text: str
    fix: str = ""
    code: int = 0


def exit_code(findings: Sequence[Finding]) -> int:
    """The first failure's code; 0 if nothing failed."""
    return next((one.code for one in findings if one.status == "fail"), ExitCode.OK)


def line(finding: Finding) -> str:
    """A finding as one line."""
    fix = f"  fix: {finding.fix}" if finding.fix else ""
    return f"{finding.status:<4}  {finding.name:<17}  {finding.text}{fix}"


def skipped(names: Sequence[str], why: str) -> list[Finding]:
    """Checks that were not made."""
    return [Finding(name, "skip", why) for name in names]


# ---- Kafka -------------------------------------------------------------------------------------------


def no_brokers(servers: str, why: str) -> Finding:
    """No broker answered."""
    fix = "check kafka.bootstrap_servers, the network, and security.protocol in kafka.properties"
    return Finding("kafka.brokers", "fail", f"no broker answered at {servers}: {why}", fix, ExitCode.KAFKA)


def judge_topics(config: SinkConfig, topics: Mapping[str, int], refused: Mapping[str, str]) -> Finding:
    """Whether what is to be read exists.

    Args:
        config: `kafka.topics` is read.
        topics: Partitions of each topic of the cluster.
        refused: Topics that the broker names with an error, and the error.
    """
    name = "kafka.topics"
    for wanted in config.kafka.topics:
        if wanted in refused:
            fix = "grant this user DESCRIBE and READ on it"
            return Finding(name, "fail", f"{wanted!r}: {refused[wanted]}", fix, ExitCode.KAFKA)
        if not wanted.startswith("^") and wanted not in topics:
            fix = "create it, or correct kafka.topics"
            return Finding(name, "fail", f"the topic {wanted!r} does not exist", fix, ExitCode.KAFKA)
    found = {topic: count for topic, count in topics.items() if matches(topic, config.kafka.topics)}
    for wanted in config.kafka.topics:
        if not any(matches(topic, [wanted]) for topic in found):
            return Finding(name, "warn", f"no topic matches {wanted!r} yet", "check the expression")
    return Finding(name, "ok", f"topics: {len(found)}, partitions: {sum(found.values())}")


def judge_group(config: SinkConfig, commits: Sequence[int | None]) -> Finding:
    """Whether the group has a place to start at, in each partition."""
    name, start = "kafka.group", config.kafka.start
    missing = sum(commit is None for commit in commits)
    if missing and start == "fail":
        return Finding(
            name,
            "fail",
            f"{missing} of {len(commits)} partitions have no committed offset, and kafka.start is 'fail'",
            "commit one with kafka-consumer-groups --reset-offsets, or set kafka.start",
            ExitCode.KAFKA,
        )
    text = f"{config.kafka.group_id}: {len(commits) - missing} of {len(commits)} partitions have a commit"
    return Finding(name, "ok", f"{text}; the others start at the {start}" if missing else text)


# ---- dead letters --------------------------------------------------------------------------------------


def judge_letter_topic(found: TopicFinding) -> Finding:
    """Whether dead letters have a place that keeps them."""
    name = "dead_letter.topic"
    if found.exists is None:
        fix = "check bootstrap.servers in dead_letter.properties"
        return Finding(name, "fail", found.warning, fix, ExitCode.DEAD_LETTER_TOPIC)
    if found.problem is not None:
        return Finding(name, "fail", *found.problem, ExitCode.DEAD_LETTER_TOPIC)
    if found.warning:
        return Finding(name, "warn", f"{found.topic} exists; {found.warning}")
    return Finding(name, "ok", f"{found.topic}; retention {found.retention}")


def judge_letter_size(letters: TopicFinding, sources: Sequence[TopicFinding]) -> Finding:
    """Whether any record that can be read also fits as a dead letter, headers included."""
    name = "dead_letter.size"
    if letters.max_message_bytes is None or any(one.max_message_bytes is None for one in sources):
        return Finding(name, "skip", "the broker does not tell max.message.bytes")
    largest = max((one.max_message_bytes or 0 for one in sources), default=0)
    needed = largest + LETTER_HEADERS_BYTES
    if letters.max_message_bytes < needed:
        return Finding(
            name,
            "warn",
            f"records may have {largest:,} bytes, but dead letters only {letters.max_message_bytes:,}, with"
            " their headers: one that does not fit stops the sink (exit 8)",
            f"set max.message.bytes={needed} on {letters.topic}",
        )
    return Finding(name, "ok", f"up to {letters.max_message_bytes:,} bytes; records have up to {largest:,}")


# ---- Splunk --------------------------------------------------------------------------------------------


def hec_failure(name: str, text: str, fix: str, shown_by: str) -> Finding:
    """A failing HEC check, with the curl line that shows it."""
    return Finding(name, "fail", text, f"{fix}; it shows with: {shown_by}", ExitCode.HEC)


def judge_certificate(url: str, version: str, left_s: float | None, hec: Hec) -> Finding:
    """A TLS handshake that went well; `left_s` until the certificate ends, None if it was not verified."""
    if not hec.verify:
        text = f"{url}: {version}, but hec.verify is false: anyone between can read the token"
        return Finding("hec.tls", "warn", text, "set hec.verify = true, and hec.ca_file for a CA of your own")
    days = (left_s or 0) / _DAY_S
    if left_s is not None and days < EXPIRES_SOON_DAYS:
        text = f"{url}: {version}; the certificate ends in {days:.0f} days"
        return Finding("hec.tls", "warn", text, "renew the certificate")
    return Finding("hec.tls", "ok", f"{url}: {version}" + (f"; {days:.0f} days left" if left_s else ""))


def judge_probe(probe: Probe, hec: Hec, label: str = "", token_key: str = HEC_TOKEN) -> list[Finding]:
    """Token, acknowledgements and channel, out of one probe; `label` begins each text."""
    return [
        msgspec.structs.replace(one, text=label + one.text) for one in _probe_findings(probe, hec, token_key)
    ]


def _probe_findings(probe: Probe, hec: Hec, token_key: str) -> list[Finding]:
    if not probe.token_ok:
        reply = f" (HTTP {probe.status}, code {probe.code})" if probe.status else ""
        text = f"{probe.url}: {probe.reason}: {probe.text or 'no text'}{reply}"
        failed = hec_failure("hec.token", text, _fix(probe.reason, token_key), curl_probe(hec, probe.url))
        return [failed, *skipped(("hec.acks", "hec.channel"), "the token is not accepted")]
    channel = {True: "posts need a channel", False: "posts need no channel"}
    return [
        Finding("hec.token", "ok", f"{probe.url} takes events with it"),
        _judge_acks(probe, hec),
        Finding("hec.channel", "ok", f"{channel[bool(probe.channel_required)]}; the sink always sends one"),
    ]


def _judge_acks(probe: Probe, hec: Hec) -> Finding:
    name = "hec.acks"
    refused = refusal(probe, hec.ack)
    if refused is not None:
        reason, text = refused
        return hec_failure(name, text, _fix(reason), curl_acks(hec, probe.url))
    if hec.ack == "off":
        text = (
            "hec.ack is off: an offset is committed when Splunk has taken its record, not when it is indexed"
        )
        return Finding(name, "warn", text, "set hec.ack = 'required'")
    if probe.acks is None:
        return Finding(name, "warn", "it could not be learnt whether the token has acknowledgements")
    if probe.acks is False:
        text = "hec.ack is auto and the token has none: what Splunk loses after taking it is lost"
        return Finding(name, "warn", text, fix_of("acks_disabled"))
    return Finding(name, "ok", "the token has indexer acknowledgement")


def judge_outcome(outcome: Outcome | None, halt: tuple[str, str] | None, index: str, hec: Hec) -> Finding:
    """What became of the probe event for an index; `halt`: code and text, if the client halted."""
    where = f"index {index!r}" if index else "the token's default index"
    if outcome is not None and outcome.kind == "delivered":
        return Finding("hec.index", "ok", f"one event was indexed in {where}")
    reason, text = halt or (
        (outcome.reason, outcome.text) if outcome else ("ack_timeout", "not confirmed in time")
    )
    shown_by = curl_event(hec, index)
    return hec_failure("hec.index", f"{where}: {reason}: {text}", _fix(reason), shown_by)


def _fix(reason: str, token_key: str = HEC_TOKEN) -> str:
    return _FIXES.get(reason) or fix_of(reason, token_key)


# ---- curl ----------------------------------------------------------------------------------------------


def curl_connect(hec: Hec, url: str) -> str:
    """Shows names, connection and TLS."""
    return f"curl -v {_ways(hec)}{url}/services/collector/health"


def curl_probe(hec: Hec, url: str) -> str:
    """Shows what the endpoint says of the token: an empty event, which indexes nothing."""
    return f"curl -i {_ways(hec)}{url}/services/collector/event {_token(hec)} {_channel()} -d ''"


def curl_acks(hec: Hec, url: str) -> str:
    """Shows whether the token has acknowledgements."""
    return (
        f"curl -i {_ways(hec)}{url}/services/collector/ack {_token(hec)} {_channel()} -d '{{\"acks\":[0]}}'"
    )


def curl_event(hec: Hec, index: str) -> str:
    """Indexes one event."""
    url = hec.url if isinstance(hec.url, str) else hec.url[0]
    named = f',"index":"{index}"' if index else ""
    event = shlex.quote(f'{{"event":"hec-kafka-sink check"{named}}}')
    return f"curl -i {_ways(hec)}{url}/services/collector/event {_token(hec)} {_channel()} -d {event}"


def _ways(hec: Hec) -> str:
    options = [] if hec.verify else ["-k"]
    for option, value in (("--cacert", hec.ca_file), ("--cert", hec.client_cert), ("--key", hec.client_key)):
        options += [option, shlex.quote(value)] if value else []
    if not hec.proxy:
        options += ["--noproxy", "'*'"]
    elif hec.proxy != "env":
        options += ["-x", shlex.quote(hide_password(hec.proxy))]
    return " ".join(options) + " " if options else ""


def _token(hec: Hec) -> str:
    kind, _, name = hec.token.partition(":")
    place = {"env": f"${name}", "file": f"$(cat {shlex.quote(name)})"}.get(kind, "$SPLUNK_HEC_TOKEN")
    return f'-H "Authorization: Splunk {place}"'


def _channel() -> str:
    return f"-H 'X-Splunk-Request-Channel: {_CHANNEL}'"
