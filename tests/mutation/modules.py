"""The pure modules, and for each the quick tests that must notice when it is wrong.

What decides about delivery stands first, since it is run first.
"""

from __future__ import annotations

LANE = ("core/test_lane_rules.py", "core/test_resend_record.py")

MODULES: dict[str, tuple[str, ...]] = {
    # Delivery: replies, retries, batches, offsets, settled runs, acknowledgements, blocks.
    "splunk_hec._protocol": ("core/test_protocol.py",),
    "splunk_hec._retry": ("core/test_retry.py", "core/test_protocol.py"),
    "splunk_hec._batching": ("core/test_batching.py",),
    "splunk_hec._block": ("core/test_block.py",),
    "splunk_hec._budget": ("core/test_budget.py",),
    "splunk_hec._patience": ("core/test_patience.py",),
    "splunk_hec._channel": ("core/test_channel.py", *LANE),
    "splunk_hec._channels": ("core/test_channel.py", *LANE),
    "splunk_hec._endpoint": ("core/test_endpoint.py", *LANE),
    "splunk_hec._work": LANE,
    "splunk_hec._asking": LANE,
    "splunk_hec._splits": LANE,
    "splunk_hec._lane": LANE,
    "splunk_hec_kafka.offsets": ("kafka/test_offsets.py",),
    "splunk_hec_kafka.settled_map": ("kafka/test_settled_map.py",),
    "splunk_hec_kafka.reject_limit": ("kafka/test_dead_letters.py::TestLimit",),
    # What is sent, and where to.
    "splunk_hec._times": ("core/test_envelope.py",),
    "splunk_hec._envelope": ("core/test_envelope.py",),
    "splunk_hec_kafka.routes": ("kafka/test_routes.py",),
    "splunk_hec_kafka.templates": ("kafka/test_routes.py",),
    "splunk_hec_kafka.dead_letter_record": ("kafka/test_dead_letters.py::TestRecord",),
    # What is told.
    "splunk_hec.errors": ("core/test_errors.py",),
    "splunk_hec._health": ("core/test_endpoint.py",),
}
