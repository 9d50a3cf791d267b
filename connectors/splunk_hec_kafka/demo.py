"""`demo`: the whole main job on this machine, with nothing to install, and an audit at its end.

    lines + poison → embedded Kafka (a process) → the real sink (a process) → HEC emulator (a process)
                                                        └→ dead-letter topic

Not for measuring speed. Guarantees: the configuration and variables of the user do not reach the sink of the
demo; every process is ended, with Ctrl-C too; the verdict is the audit's, never the sink's own.
Non-obvious: all records are written before the sink starts, since `--until-end` fixes the ends then; so all
of them must fit into the embedded Kafka, which forgets silently beyond 5 MiB a partition.
"""

from __future__ import annotations

import heapq
import signal
import tempfile
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import click
from confluent_kafka import KafkaError, Message, Producer

from splunk_hec_kafka._mock_kafka import MockKafka
from splunk_hec_kafka.cli_options import report
from splunk_hec_kafka.demo_audit import Audit, Place, judge, read_committed, read_journal, read_letters
from splunk_hec_kafka.demo_feed import (
    ENVELOPES_TOPIC,
    EVENT_MAX_BYTES,
    INDEXED,
    LINES_TOPIC,
    Record,
    generated_lines,
    own_logs,
    plan,
    read_files,
)
from splunk_hec_kafka.demo_processes import TOKEN_VARIABLE, EmulatorProcess, SinkProcess
from splunk_hec_kafka.failures import ExitCode, SinkFailure
from splunk_hec_kafka.progress import live_line
from splunk_hec_kafka.summary import summary_text

if TYPE_CHECKING:
    from collections.abc import Sequence

GROUP = "demo"
LETTERS_TOPIC = "demo-dead-letters"
MAX_BYTES = 64_000_000
"""What the embedded Kafka is asked to hold at most; it keeps it in memory."""
_PARTITION_BYTES = 2_500_000
"""Half of what a partition keeps: message sets have overhead, and filling is uneven."""
_RECORD_BYTES = 120
_LETTER_BYTES = 1_500
_FEED_S = 60.0
_LOOK_S = 0.5
_SHOWN_FAULTS = 10

CONFIG = """\
[hec]
url = "{url}"
token = "env:{token_variable}"
event_max_bytes = {event_max_bytes}
[kafka]
bootstrap_servers = "{bootstrap}"
topics = ["{lines}", "{envelopes}"]
group_id = "{group}"
[[route]]
topics = ["{envelopes}"]
value = "envelope"
[[route]]
topics = ["{lines}"]
sourcetype = "demo"
source = "{{key}}"
[dead_letter]
topic = "{letters}"
max_ratio = 1.0
max_consecutive = 1_000_000
[server]
listen = "127.0.0.1:0"
"""


def run_demo(files: Sequence[Path], *, keep: bool, output: str, is_quiet: bool, use_color: bool) -> int:
    """Feed, deliver, audit.

    Args:
        files: Whose lines are fed; empty: logs of this machine, else generated lines.
        keep: Leave everything running at the end, until Ctrl-C.
        output: `text` or `json`.
        is_quiet: No progress and no steps.
        use_color: Whether a terminal may be coloured.

    Returns:
        0 only if every record is where it should be and every offset is committed.

    Raises:
        SinkFailure: A process did not start, or the lines are too many.
    """
    records = _records(files)
    signal.signal(signal.SIGTERM, _interrupt)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hec-kafka-sink-demo-")))
        kafka = stack.enter_context(MockKafka(_partitions(records)))
        emulator = stack.enter_context(EmulatorProcess(folder))
        say = partial(_say, is_quiet=is_quiet)
        say(f"embedded Kafka at {kafka.bootstrap}, HEC emulator at {emulator.url}")
        poison = sum(record.fate != INDEXED for record in records)
        say(f"{len(records):,} records to feed, {poison:,} of them poison")
        fed = feed(kafka.bootstrap, records, _partitions(records))
        config = folder / "sink.toml"
        config.write_text(_config(kafka.bootstrap, emulator.url), encoding="utf-8")
        with SinkProcess(config, "--until-end", "-o", "json") as sink:
            total = len(records) - poison
            line = partial(_progress, emulator, total)
            with live_line(line, is_wanted=not is_quiet, use_color=use_color):
                sink.wait(emulator)
        say("auditing against the journal, the dead-letter topic and the committed offsets")
        audit = judge(
            fed,
            read_journal(emulator.journal),
            read_letters(kafka.bootstrap, LETTERS_TOPIC),
            read_committed(kafka.bootstrap, GROUP, fed),
        )
        summary = audited_summary(len(fed), audit, sink.summary)
        report(output, summary, summary_text(summary))
        _explain(audit, sink)
        if keep:
            with SinkProcess(config):
                _keep(kafka.bootstrap, emulator.url)
        is_good = audit.is_perfect and sink.code == ExitCode.OK
        return ExitCode.OK if is_good else sink.code or ExitCode.INTERNAL


def audited_summary(fed: int, audit: Audit, told: dict[str, Any]) -> dict[str, Any]:
    """The summary of a run, in which every count of records is the audit's."""
    return {
        "records": fed,
        "delivered": audit.delivered,
        "dead_lettered": audit.dead_lettered,
        "skipped": told.get("skipped", 0),
        "committed": audit.committed,
        "resends": told.get("resends", {}),
        "records_per_s": told.get("records_per_s", 0.0),
        "ack_latency_s": told.get("ack_latency_s", {"p50": 0.0, "p99": 0.0}),
        "seconds": told.get("seconds", 0.0),
        "lost": audit.lost,
        "duplicates": audit.duplicates,
    }


# ---- feeding -----------------------------------------------------------------------------------------


def _records(files: Sequence[Path]) -> list[Record]:
    records: list[Record] = []
    size_bytes = 0
    for record in plan(read_files(files) if files else own_logs() or generated_lines()):
        size_bytes += _size_bytes(record)
        if size_bytes > MAX_BYTES:
            raise SinkFailure(
                ExitCode.USAGE,
                f"these files hold more than the {MAX_BYTES:,} bytes that the embedded Kafka keeps in memory",
                "give fewer or smaller files",
            )
        records.append(record)
    return records


def _size_bytes(record: Record) -> int:
    return len(record.value) + len(record.key) + _RECORD_BYTES


def _partitions(records: Sequence[Record]) -> dict[str, int]:
    """How many partitions each topic needs, so that the embedded Kafka forgets nothing."""
    sizes: dict[str, int] = dict.fromkeys((LINES_TOPIC, ENVELOPES_TOPIC, LETTERS_TOPIC), 0)
    for record in records:
        sizes[record.topic] += _size_bytes(record)
        if record.fate != INDEXED:
            sizes[LETTERS_TOPIC] += 2 * (
                len(record.value) + _LETTER_BYTES
            )  # spread by chance: twice the room
    return {topic: max(4, size // _PARTITION_BYTES + 1) for topic, size in sizes.items()}


def feed(bootstrap: str, records: Sequence[Record], partitions: dict[str, int]) -> dict[Place, Record]:
    """Write all records, each to the partition that holds least, and wait for the broker's word.

    Returns:
        Where each record stands.

    Raises:
        SinkFailure: The broker did not take one.
    """
    fed: dict[Place, Record] = {}
    failed: list[KafkaError] = []

    def on_delivery(record: Record, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error)
        else:
            fed[Place(record.topic, message.partition() or 0, message.offset() or 0)] = record

    fill = {topic: [(0, number) for number in range(count)] for topic, count in partitions.items()}
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "enable.idempotence": True})
    for record in records:
        held, partition = fill[record.topic][0]
        heapq.heapreplace(fill[record.topic], (held + _size_bytes(record), partition))
        report_of = partial(on_delivery, record)
        while True:
            try:
                producer.produce(
                    record.topic, record.value, record.key, partition=partition, on_delivery=report_of
                )
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush(_FEED_S)
    if failed or len(fed) < len(records):
        why = failed[0].str() if failed else f"{len(records) - len(fed)} records had no answer"
        raise SinkFailure(
            ExitCode.INTERNAL, f"the embedded Kafka did not take all records: {why}", "try again"
        )
    return fed


def _config(bootstrap: str, url: str) -> str:
    return CONFIG.format(
        url=url,
        token_variable=TOKEN_VARIABLE,
        event_max_bytes=EVENT_MAX_BYTES,
        bootstrap=bootstrap,
        lines=LINES_TOPIC,
        envelopes=ENVELOPES_TOPIC,
        group=GROUP,
        letters=LETTERS_TOPIC,
    )


# ---- telling -----------------------------------------------------------------------------------------


def _progress(emulator: EmulatorProcess, total: int) -> str:
    stats = emulator.stats()
    indexed = stats.get("events_indexed", 0)
    return f"{indexed:,} of {total:,} indexed · {stats.get('acks_told', 0):,} acknowledgements"


def _explain(audit: Audit, sink: SinkProcess) -> None:
    for fault in audit.faults[:_SHOWN_FAULTS]:
        click.echo(f"audit: {fault}", err=True)
    more = len(audit.faults) - _SHOWN_FAULTS
    if more > 0:
        click.echo(f"audit: and {more} more", err=True)
    if sink.code:
        last = sink.log.read_text(encoding="utf-8").splitlines()[-_SHOWN_FAULTS:]
        click.echo("\n".join([f"the sink ended with {sink.code}; its last lines:", *last]), err=True)


def _keep(bootstrap: str, url: str) -> None:
    """Everything runs on, the sink too."""
    with suppress(KeyboardInterrupt):  # from the first word on: a reader may answer it at once
        click.echo(
            f"still running: Kafka at {bootstrap} (topics {LINES_TOPIC}, {ENVELOPES_TOPIC}), HEC at {url}/\n"
            "end with Ctrl-C",
            err=True,
        )
        forever = Event()
        while True:  # not signal.pause: a signal that comes just before it would be waited for again
            forever.wait(_LOOK_S)


def _say(text: str, *, is_quiet: bool) -> None:
    if not is_quiet:
        click.echo(text, err=True)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
