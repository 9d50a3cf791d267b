"""What the snippets of connectors/ROUTES.md make of the records beside them, by the sink's own code.

A recipe is a heading, a `toml` block, and one or more pairs: a `json` block with a record, a `text` block
with what becomes of it. `python -I tests/packaging/cookbook.py` writes the latter; `test_operations_pages.py`
fails when one is stale.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from confluent_kafka import Message

from splunk_hec_kafka.config import load
from splunk_hec_kafka.records import RecordEncoder
from splunk_hec_kafka.routes import RouteTable

PAGE = Path(__file__).parents[2] / "connectors/ROUTES.md"
_PAIR = re.compile(r"(```json\n(.*?)```\n\n```text\n)(.*?)(```)", re.DOTALL)
_TOML = re.compile(r"```toml\n(.*?)```", re.DOTALL)


def becomes(toml: str, record: dict[str, Any]) -> str:
    """The envelope of a record, or why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sink.toml"
        path.write_text(toml)
        config = load(path, {}).config
    value = record["value"]
    text = json.dumps(value, separators=(",", ":")) if isinstance(value, dict) else value
    message = Message(
        topic=record["topic"],
        partition=record.get("partition", 0),
        offset=record.get("offset", 0),
        key=record.get("key", "").encode() or None,
        headers=[(name, text.encode()) for name, text in record.get("headers", {}).items()],
        timestamp=(1, record.get("timestamp", 1_700_000_000_000)),
        value=None if text is None else text.encode("latin-1"),
    )
    encoded = RecordEncoder(RouteTable(config.route), event_max_bytes=config.hec.event_max_bytes).encode(
        [message]
    )
    for refusal in encoded.refusals:
        return f"dead letter, {refusal.reason}: {refusal.text}\n"
    for skip in encoded.skips:
        return f"skipped: {skip.reason}\n"
    (send,) = encoded.sends
    (line,) = send.lines
    query = f"POST /services/collector/raw?{send.query}\n" if send.to.kind == "raw" else ""
    return f"{query}{line.decode()}\n"


def fresh() -> str:
    """The page as it should be."""
    parts = re.split(r"(?m)^(?=## )", PAGE.read_text())
    return "".join(_cooked(part) for part in parts)


def _cooked(recipe: str) -> str:
    toml = _TOML.search(recipe)
    if toml is None:
        return recipe
    return _PAIR.sub(lambda at: at[1] + becomes(toml[1], json.loads(at[2])) + at[4], recipe)


if __name__ == "__main__":
    PAGE.write_text(fresh())
