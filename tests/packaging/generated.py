"""Writes the tables that are generated from the code into the pages between their markers.

`poe docs` writes them; `test_pages.py` fails when one is stale.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from splunk_hec._arguments import markdown as arguments
from splunk_hec._protocol import table
from splunk_hec_kafka.config_show import markdown_table as configuration
from splunk_hec_kafka.connect_keys import markdown_table as connect
from splunk_hec_kafka.metrics import markdown_table as metrics

ROOT = Path(__file__).parents[2]
TABLES = {
    ("README.md", "configuration"): configuration,
    ("connectors/README.md", "metrics"): metrics,
    ("connectors/MIGRATION.md", "connect"): connect,
    ("core/MIGRATION_FROM_FTF.md", "arguments"): arguments,
    ("core/README.md", "replies"): table,
}


def fresh(page: str, name: str) -> tuple[str, str]:
    """The page as it is, and as it should be."""
    text = (ROOT / page).read_text()
    block = re.compile(rf"(<!-- begin {name}[^\n]*-->\n).*?(<!-- end {name} -->)", re.DOTALL)
    assert block.search(text), f"{page} has no markers for {name}"
    body = TABLES[page, name]().strip()
    return text, block.sub(lambda found: f"{found[1]}\n{body}\n\n{found[2]}", text)


if __name__ == "__main__":
    for page, name in TABLES:
        text, wanted = fresh(page, name)
        if text != wanted:
            (ROOT / page).write_text(wanted)
            sys.stdout.write(f"wrote {name} in {page}\n")
