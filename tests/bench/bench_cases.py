"""The cases of the benchmark: which records, which server, which sink, which settings.

`headline` is what one command measures in minutes; `--all` adds the whole grid. Each case differs from the
first one in what its name says, and in nothing else.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from bench_loads import Load

Sink = Literal["sink", "by_hand", "ftf"]
SECOND_S = 1.0


class Case(NamedTuple):
    """One row of the table.

    Attributes:
        name: What differs.
        load: The records.
        ack_s: When the server acknowledges; None: the token has no acknowledgements.
        sink: Ours, or a rival.
        processes: Of ours.
        has_tls: Between sink and server.
        sets: Further settings of ours, by dotted key.
        routes: Routes that no record takes, before the one that all take.
        has_provenance: Our indexed fields of topic, partition and offset; rivals have none.
        predicted: Records/s that Little's law allows; 0: not asked.
        is_headline: Measured without `--all`.
        is_slow: Measured once, however many runs are asked for.
    """

    name: str
    load: Load
    ack_s: float | None = SECOND_S
    sink: Sink = "sink"
    processes: int = 1
    has_tls: bool = False
    sets: tuple[tuple[str, object], ...] = ()
    routes: int = 0
    has_provenance: bool = False
    predicted: float = 0.0
    is_headline: bool = False
    is_slow: bool = False


def cases(scale: float) -> list[Case]:
    """All cases; `scale` multiplies how many records they send."""

    def load(records: int, size: int = 512, **more: object) -> Load:
        return Load(max(2_000, int(records * scale)), size, **more)  # type: ignore[arg-type] # checked there

    base = load(400_000)
    first = Case("acks after 1 s", base, is_headline=True)
    held = max(1_000, base.records // 5)  # what is sent is four times that
    found = [
        first,
        first._replace(name="as it comes: with provenance", has_provenance=True),
        first._replace(name="acks off", ack_s=None, sets=(("hec.ack", "off"),)),
        first._replace(name="by hand, no acks", ack_s=None, sink="by_hand"),
        first._replace(name="splunk-hec-ftf, no acks", ack_s=None, sink="ftf", load=load(200_000)),
        first._replace(name="splunk-hec-ftf, with acks (1 s)", sink="ftf", load=load(20_000), is_slow=True),
        first._replace(name="acks after 0.2 s", ack_s=0.2),
        first._replace(name="acks after 10 s", ack_s=10.0),
        first._replace(
            name=f"acks after 10 s, {held:,} events in flight",
            ack_s=10.0,
            load=load(320_000),
            sets=(("hec.in_flight_max_events", held),),
            predicted=held / 10.0,
            is_slow=True,
        ),
        first._replace(name="100 B", load=load(800_000, 100)),
        first._replace(name="1 KB", load=load(300_000, 1024)),
        first._replace(name="10 KB", load=load(30_000, 10_240)),
        first._replace(name="json", load=load(400_000, value="json")),
        first._replace(name="gzip off", sets=(("hec.gzip", "off"),)),
        first._replace(name="TLS", has_tls=True),
        first._replace(name="64 partitions", load=load(400_000, partitions=64)),
        first._replace(name="2 processes", processes=2),
        first._replace(name="4 processes", processes=4),
        first._replace(name="1,000 routes", routes=1_000),
        first._replace(name="a poison record in 1,000", load=load(400_000, poison_every=1_000)),
    ]
    return found + grid(base)


def grid(base: Load) -> list[Case]:
    """Every size by every kind of value by every kind of acknowledgement, and processes by partitions."""
    found: list[Case] = []
    for size, records in ((100, 2.0), (512, 1.0), (1_024, 0.6), (10_240, 0.08)):
        for value in ("text", "json"):
            load = base._replace(size=size, value=value, records=max(2_000, int(base.records * records)))
            for ack_s in (None, 0.2, 1.0, 10.0):
                acks = "acks off" if ack_s is None else f"acks after {ack_s:g} s"
                sets = (("hec.ack", "off"),) if ack_s is None else ()
                found.append(Case(f"{size} B {value}, {acks}", load, ack_s, sets=sets))
    for partitions in (6, 64):
        for processes in (1, 2, 4):
            load = base._replace(partitions=partitions)
            name = f"{partitions} partitions, {processes} process{'es' * (processes > 1)}"
            found.append(Case(f"{name}", load, processes=processes))
            found.append(Case(f"{name}, TLS", load, processes=processes, has_tls=True))
    return found


def quick(records: int) -> list[Case]:
    """A few cases of few records: that everything works, not how fast it is."""
    first = Case("acks after 0.2 s", Load(records, partitions=2), 0.2, is_headline=True)
    return [
        first,
        first._replace(name="acks off, TLS", ack_s=None, has_tls=True, sets=(("hec.ack", "off"),)),
        first._replace(name="2 processes", processes=2),
        first._replace(name="a poison record in 1,000", load=first.load._replace(poison_every=1_000)),
        first._replace(name="by hand, no acks", ack_s=None, sink="by_hand"),
    ]
