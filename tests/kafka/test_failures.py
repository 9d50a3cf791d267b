"""The exit codes are an interface, and a failure is one line that says how to mend it."""

from __future__ import annotations

import pickle

from splunk_hec_kafka.failures import ExitCode, SinkFailure


def test_exit_codes_never_change_their_numbers() -> None:
    """Scripts and orchestrators act on these."""
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "INTERNAL": 1,
        "USAGE": 2,
        "CONFIG": 3,
        "KAFKA": 4,
        "HEC": 5,
        "DEAD_LETTER_LIMIT": 6,
        "UNSETTLED": 7,
        "DEAD_LETTER_TOPIC": 8,
    }


def test_a_failure_says_what_and_how_to_mend_it_and_crosses_processes() -> None:
    """Its text is one line; a copy from another process says the same."""
    failure = SinkFailure(ExitCode.KAFKA, "no broker at b:9092 within 60 s", "start it")
    copy = pickle.loads(pickle.dumps(failure))
    assert str(failure) == str(copy) == "no broker at b:9092 within 60 s (fix: start it)"
    assert copy.exit_code is ExitCode.KAFKA
