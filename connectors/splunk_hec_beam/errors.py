"""What fails a bundle, so that the runner retries it.

Besides these, a bundle fails with the core's own exceptions:

    HecError
    ├── BundleNotDelivered   events were not settled in time, or by a fault of our own
    ├── Halted               Splunk refuses the deployment (token, channel, index) past the patience
    └── DeliveryFailed       an event was refused and on_reject is "fail"
"""

from __future__ import annotations

from splunk_hec.errors import HecError


class BundleNotDelivered(HecError):  # noqa: N818 -- a public name that says what happened
    """Nobody knows that this whole bundle is indexed; nothing of it was emitted, the runner has it still."""
