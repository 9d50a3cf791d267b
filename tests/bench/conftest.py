"""The micro-benchmarks are no tests: they run when they are asked for by name (`poe micro`)."""

from __future__ import annotations

collect_ignore = ["test_micro.py"]
