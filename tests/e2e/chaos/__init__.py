"""Chaos against a real broker: everything that may fail fails, and a checker reads the logs afterwards.

    python -m tests.e2e.chaos --seed N --minutes M     from the repository's root

    producer ──→ Kafka ──→ sink processes ──→ proxy ──→ two HEC servers ──→ journals
       │           │            │ own logs      │ wire log
       └ reports   └ observer: commits, samples, dead letters         nemesis: seeded faults

`world` builds it, `nemesis` and `faults` break it, `checker` judges the files alone: it runs again on a kept
folder (`--check FOLDER`). Not for single faults, which have tests of their own in the other tiers.

Non-obvious: this package is imported as `tests.e2e.chaos` from the command line and as `chaos` by pytest, and
stands on modules beside the tests; so it puts their folders on the path itself.
"""

import sys
from pathlib import Path

for _folder in ("e2e", "kafka"):
    _path = str(Path(__file__).parents[2] / _folder)
    if _path not in sys.path:
        sys.path.insert(0, _path)
