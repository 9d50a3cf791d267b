"""The commands `dlq ls`, `dlq show` and `dlq replay`: their options, and listing.

Not for reading (`dead_letter_reader`) or replaying (`replay`), which are imported when they run.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from splunk_hec_kafka.cli_options import (
    CONTEXT,
    common,
    configured_for_letters,
    load_config,
    report,
    reporting,
    uses_color,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from splunk_hec_kafka.config import SinkConfig
    from splunk_hec_kafka.stored_letter import Place, StoredLetter, Wanted

_Command = TypeVar("_Command", bound="Callable[..., Any]")
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def moment(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """A time as RFC 3339 (UTC if it names no zone), or as so long ago (`90s`, `15m`, `2h`, `7d`), in ms."""
    if value is None:
        return None
    ago = re.fullmatch(r"(\d{1,9})([smhd])", value, re.ASCII)
    if ago:
        return int((time.time() - int(ago[1]) * _UNITS_S[ago[2]]) * 1000)
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no time; give e.g. 2h, 7d or 2026-03-01T10:00:00Z") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def places_of(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[Place, ...]:
    """Letters as `PARTITION:OFFSET`, as `dlq ls` prints them."""
    from splunk_hec_kafka.stored_letter import Place  # noqa: PLC0415 -- --help answers at once

    found: list[Place] = []
    for value in values:
        place = Place.of(value)
        if place is None:
            raise click.BadParameter(f"{value!r} is no letter; give PARTITION:OFFSET as 'dlq ls' prints it")
        found.append(place)
    return tuple(found)


def _filtered(command: _Command) -> _Command:
    for option in reversed(
        (
            click.option("--reason", "reasons", multiple=True, help="Of this hec.reason; may be repeated."),
            click.option(
                *("--topic", "of_topics"), multiple=True, help="Of records of this topic; may be repeated."
            ),
            click.option(
                *("--since", "since_ms"), callback=moment, metavar="TIME",
                help="Written then or later: 2h, 7d, or RFC 3339."),
            click.option("--until", "until_ms", callback=moment, metavar="TIME", help="Written before then."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


_places = click.argument("places", nargs=-1, callback=places_of, metavar="[LETTER]...")


@click.group(context_settings=CONTEXT)
def dlq() -> None:
    """Look at dead letters, and replay them."""


@dlq.command()
@_filtered
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="The newest N.")
@configured_for_letters
@reporting
@common
def ls(*, limit: int, output: str, **given: Any) -> int:
    """List dead letters, the newest last, and count them by reason."""
    from splunk_hec_kafka.stored_letter import letter_json, letters_text  # noqa: PLC0415 -- as above

    newest, reasons = _newest(load_config(given).config, _wanted(given), limit)
    matched = sum(reasons.values())
    counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
    rows = letters_text(newest)
    heading = click.style(rows[0], bold=True) if uses_color(given) else rows[0]
    text = "\n".join([heading, *rows[1:], "", f"{matched:,} letters{': ' if counts else ''}{counts}"])
    letters = [letter_json(one, is_whole=False) for one in newest]
    report(output, {"matched": matched, "reasons": reasons, "letters": letters}, text)
    return 0


@dlq.command()
@_places
@_filtered
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="The newest N.")
@configured_for_letters
@reporting
@common
def show(*, limit: int, output: str, **given: Any) -> int:
    """Show dead letters whole: reason, reply, key, headers and value.

    LETTER is PARTITION:OFFSET as 'dlq ls' prints it; without, the newest that the filters leave.
    """
    from splunk_hec_kafka.stored_letter import letter_json, letter_text  # noqa: PLC0415 -- as above

    newest, _ = _newest(load_config(given).config, _wanted(given), limit)
    texts = [letter_text(one) for one in newest]
    report(output, [letter_json(one, is_whole=True) for one in newest], "\n\n".join(texts) or "no letters")
    return 0


@dlq.command()
@_places
@_filtered
@click.option("--limit", type=click.IntRange(1), help="At most N, the oldest first.")
@click.option("--to", type=click.Choice(["topic", "splunk"]), required=True,
              help="topic: back to where they came from; splunk: by the routes, without Kafka.")  # fmt: skip
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), metavar="N", help="At most N letters a second."
)
@click.option("--dry-run", "is_dry", is_flag=True, help="Only tell what would be done.")
@configured_for_letters
@reporting
@common
def replay(*, to: Any, limit: int | None, rate: float | None, is_dry: bool, output: str, **given: Any) -> int:
    """Send the records of dead letters again; a third time is refused.

    The letters stay in their topic. LETTER is PARTITION:OFFSET as 'dlq ls' prints it; without, all that the
    filters leave.
    """
    from splunk_hec_kafka.replay import Plan, run_replay  # noqa: PLC0415 -- as above

    plan = Plan(to, _wanted(given), limit, rate, is_dry)
    return run_replay(
        load_config(given), plan, output=output, is_quiet=given["quiet"], use_color=uses_color(given)
    )


def _wanted(given: dict[str, Any]) -> Wanted:
    from splunk_hec_kafka.stored_letter import Wanted  # noqa: PLC0415 -- as above

    return Wanted(
        given["reasons"], given["of_topics"], given["since_ms"], given["until_ms"], given.get("places", ())
    )


def _newest(config: SinkConfig, wanted: Wanted, limit: int) -> tuple[Sequence[StoredLetter], dict[str, int]]:
    """The newest letters that are wanted, oldest first, and the number of all of them by reason."""
    from splunk_hec_kafka.dead_letter_reader import DeadLetterReader  # noqa: PLC0415 -- as above
    from splunk_hec_kafka.stored_letter import newest_of  # noqa: PLC0415 -- as above

    with DeadLetterReader(config) as reader:
        return newest_of((letter for letter in reader.each() if wanted.takes(letter)), limit)
