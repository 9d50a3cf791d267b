"""`bench`: so many events through the real client to a Splunk, and what that took.

Not for comparing sinks, nor for Kafka (`tests/bench`). Without an address it starts the HEC emulator as a
process; with one it indexes events, so it says how much beforehand and needs --yes. Every event carries the
source and sourcetype `hec-kafka-sink:bench` and the indexed field `bench_id`, so that all can be found and
deleted. Guarantees: it accepts no more than it said; Ctrl-C ends it orderly, a second one at once.

Non-obvious: the events are made beforehand and given to the client many at a time, so what is measured is
encoding, batching, compression, HTTP and acknowledgements, as in the sink, without Kafka.
"""

from __future__ import annotations

import random
import signal
import time
import uuid
from contextlib import ExitStack
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from splunk_hec import Event, HecClient
from splunk_hec.errors import BudgetExceeded, Halted
from splunk_hec_kafka.bench_figures import Figures, Tally, document, rows
from splunk_hec_kafka.cli_options import report
from splunk_hec_kafka.config import hec_config, require
from splunk_hec_kafka.demo_processes import TOKEN, EmulatorProcess
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.metrics import Metrics
from splunk_hec_kafka.progress import live_line
from splunk_hec_kafka.readying import fix_of, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from splunk_hec import HecConfig
    from splunk_hec._protocol import Transport
    from splunk_hec_kafka.config import SinkConfig

MARK = "hec-kafka-sink:bench"
"""Source and sourcetype of every event."""
CHUNK = 500
WAIT_S = 0.1
DISTINCT = 2_000
PATIENCE_S = 5.0
"""A refusal after the first look: the index, mostly."""
SETTLE_S = 60.0
"""How long acknowledgements may take at the end; after Ctrl-C the sink's `run.shutdown_s`."""
_NOT_THERE = "check that HEC listens at hec.url, and what is between; 'hec-kafka-sink check' looks closer"
_WORDS = ("accepted", "cache", "checkout", "delivered", "expired", "orders", "retry", "session", "upstream")


class Plan(msgspec.Struct, frozen=True):
    """What is asked for.

    Attributes:
        events: At most so many, for each kind of acknowledgement.
        seconds: At most so long.
        size: Bytes of each generated event.
        file: Whose lines are sent instead; None generates.
        acks: Which kinds are measured.
        index: Where to; empty: the token's default index.
        is_agreed: They may be indexed.
    """

    events: int
    seconds: float
    size: int
    file: Path | None
    acks: Literal["on", "off", "both"]
    index: str
    is_agreed: bool


def run_bench(config: SinkConfig, plan: Plan, *, output: str, is_quiet: bool, use_color: bool) -> int:
    """Measure, and say what binds.

    Args:
        config: Its `[hec]` section is used, and `run.shutdown_s`.
        plan: How much.
        output: `text` or `json`.
        is_quiet: No progress.
        use_color: Whether a terminal may be coloured.

    Returns:
        0 if every event that was accepted is settled, else 7.

    Raises:
        ConfigError: A needed key is missing, or a value is wrong.
        SinkFailure: Splunk refuses the deployment, or the events were not agreed to.
    """
    texts = _texts(plan)
    stop = _Stop()
    with ExitStack() as stack:
        if config.hec.url:
            require(config, ("hec.url", "hec.token"))
            hec = hec_config(config, "event")
        else:
            emulator = stack.enter_context(EmulatorProcess(None, "--count-only"))
            local = msgspec.structs.replace(config.hec, url=emulator.url, token=TOKEN)
            hec = hec_config(msgspec.structs.replace(config, hec=local), "event")
        kinds = _kinds(hec, plan)
        _warn(hec, plan, texts, len(kinds), is_real=bool(config.hec.url))
        bench_id = uuid.uuid4().hex[:12]
        found: list[Figures] = []
        for ack in kinds:
            if not stop.times:
                one = msgspec.structs.replace(
                    hec,
                    ack=ack,
                    source=MARK,
                    sourcetype=MARK,
                    index=plan.index,
                    fields={"bench_id": bench_id},
                    halt_patience_s=min(hec.halt_patience_s, PATIENCE_S),
                )
                metrics = Metrics()
                line = partial(_progress, metrics)
                with live_line(line, is_wanted=not is_quiet, use_color=use_color):
                    found.append(
                        _measure(one, metrics, texts, plan, stop=stop, shutdown_s=config.run.shutdown_s)
                    )
    told = document(found, bench_id, hec.urls, is_local=not config.hec.url, is_stopped=bool(stop.times))
    report(output, told, rows(told))
    return ExitCode.UNSETTLED if any(one.unsettled for one in found) else ExitCode.OK


def _kinds(hec: HecConfig, plan: Plan) -> list[Literal["required", "off"]]:
    """The kinds of acknowledgement that this token can give, of those asked for."""
    client = HecClient(hec)
    try:
        probe = client.probe()
    finally:
        client.abort()
    refused = refusal(probe, "required" if plan.acks == "on" else "off")
    if refused is None and not probe.token_ok:
        refused = probe.reason, f"{probe.url}: {probe.text or probe.reason}"
    if refused is not None:
        fix = _NOT_THERE if refused[0] in ("unreachable", "busy") else fix_of(refused[0])
        raise SinkFailure(ExitCode.HEC, f"Splunk takes no events: {refused[1]}", fix)
    if probe.acks is False:
        click.echo("this token has no acknowledgements: only sending is measured", err=True)
    has_on = plan.acks != "off" and probe.acks is not False
    return [*(["required"] if has_on else []), *(["off"] if plan.acks != "on" else [])]  # type: ignore[list-item] # literals


def _warn(hec: HecConfig, plan: Plan, texts: list[str], kinds: int, *, is_real: bool) -> None:
    """Say how much will be indexed, before the first event.

    Raises:
        SinkFailure: It was not agreed to.
    """
    mean = sum(len(text.encode()) for text in texts) / len(texts)
    most_mb = plan.events * kinds * mean / 1e6
    where = " ".join(hec.urls) if is_real else "an embedded HEC emulator"
    text = f"up to {plan.events * kinds:,} events, {most_mb:,.1f} MB, will be indexed in {where}"
    if is_real and not plan.is_agreed:
        raise SinkFailure(ExitCode.USAGE, text, "repeat it with --yes; --events and --size make it smaller")
    click.echo(f"{text}; sourcetype {MARK}", err=True)


class _Stop:
    """Counts SIGINT and SIGTERM, instead of what they do otherwise."""

    def __init__(self) -> None:
        self.times = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: object) -> None:
        self.times += 1


def _measure(
    hec: HecConfig, metrics: Metrics, texts: list[str], plan: Plan, *, stop: _Stop, shutdown_s: float
) -> Figures:
    """Send for as long as the plan says, then wait until all is settled."""
    tally = Tally()
    client = HecClient(
        hec,
        observer=metrics,
        configured_indexes=[hec.index] if hec.index else [],
        transport_factory=lambda: tally.observed(_transport(hec)),
    )
    started, cpu_before = time.monotonic(), time.process_time()
    until = started + plan.seconds
    sent = 0
    try:
        for chunk in _chunks(texts, plan.events):
            sent += _submit(client, chunk, tally, until, stop)
            client.poll()
            if stop.times or time.monotonic() >= until:
                break
        sent_s, sent_cpu_s = time.monotonic() - started, time.process_time() - cpu_before
        settle_s = shutdown_s if stop.times else SETTLE_S
        if stop.times:
            click.echo(
                f"waiting up to {settle_s:g} s for what is open; interrupt again to end at once", err=True
            )
        settle_until = time.monotonic() + settle_s
        while (left := client.flush(WAIT_S)) and time.monotonic() < settle_until and stop.times < 2:
            client.poll()
            client.raise_if_halted()
        ended = time.monotonic()
        cpu_s = time.process_time() - cpu_before
    except Halted as halt:
        raise SinkFailure(
            ExitCode.HEC, f"Splunk refuses the deployment: {halt}", fix_of(halt.reason)
        ) from None
    finally:
        client.abort()
    return Figures(
        acks=hec.ack != "off",
        events=sent,
        size_bytes=sum(len(text.encode()) for text in islice(cycle(texts), sent)),
        unsettled=left,
        outcomes={kind: int(metrics.total("events", outcome=kind)) for kind in _KINDS},
        sent_s=sent_s,
        seconds=ended - started,
        sent_cpu_s=sent_cpu_s,
        cpu_s=cpu_s,
        ack_latency_s=metrics.ack_latency(),
        requests=metrics.requests(),
        resends=metrics.resends(),
        lanes=max(hec.lanes, len(hec.urls)),
        in_flight_max_events=hec.in_flight_max_events,
        in_flight_max_bytes=hec.in_flight_max_bytes,
        tally=tally,
    )


_KINDS = ("delivered", "rejected", "unconfirmed")


def _submit(client: HecClient, chunk: list[Event], tally: Tally, until: float, stop: _Stop) -> int:
    """Hand over a chunk as the budget allows; how many were accepted before the time was up."""
    accepted = 0
    while accepted < len(chunk):
        before = time.monotonic()
        try:
            client.submit_many(chunk[accepted:], timeout_s=WAIT_S)
            return len(chunk)
        except BudgetExceeded as full:
            accepted += full.accepted
        tally.full_s += time.monotonic() - before
        client.poll()
        if stop.times or time.monotonic() >= until:
            break
    return accepted


def _transport(hec: HecConfig) -> Transport:
    from splunk_hec._transport import RequestsTransport  # noqa: PLC0415 -- requests is slow to import

    return RequestsTransport(hec)


def _texts(plan: Plan) -> list[str]:
    """The different events; they are sent in turn."""
    if plan.file is None:
        return list(islice(generated(plan.size), min(DISTINCT, plan.events)))
    text = plan.file.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise SinkFailure(ExitCode.USAGE, f"{plan.file} has no lines that could be sent", "give another file")
    return lines


def generated(size: int, seed: int = 1) -> Iterator[str]:
    """Texts of `size` bytes that look like a log, and compress about as well."""
    source = random.Random(seed)  # noqa: S311 -- no secrets
    while True:
        text = ""
        while len(text) < size:
            words = " ".join(source.choices(_WORDS, k=4))
            text += (
                f"2026-01-01T12:{source.randrange(60):02}:{source.randrange(60):02}Z INFO {words} "
                f"id={source.randrange(10**9):09} took={source.randrange(500)}ms "
            )
        yield text[: size - 1] + "."


def _chunks(texts: list[str], events: int) -> Iterator[list[Event]]:
    source = cycle(texts)
    for start in range(0, events, CHUNK):
        yield [Event(text) for text in islice(source, min(CHUNK, events - start))]


def _progress(metrics: Metrics) -> str:
    delivered = metrics.total("events", outcome="delivered")
    p50, _ = metrics.ack_latency()
    return f"{delivered:,.0f} delivered · acknowledged after {p50:.2f} s"


def plan_of(given: dict[str, Any]) -> Plan:
    """The plan out of the command's options."""
    return Plan(**{name: given[name] for name in Plan.__struct_fields__})
