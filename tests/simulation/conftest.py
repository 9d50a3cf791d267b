"""Lets the tests find the modules beside them, and the model of a HEC server in `tests/core`."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [path for path in (str(_HERE), str(_HERE.parent / "core")) if path not in sys.path]
