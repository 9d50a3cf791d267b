"""librdkafka's mock cluster through ctypes: one Kafka broker on 127.0.0.1, inside the calling process.

The other half of `_mock_kafka`, which runs it in a process of its own and says what it is for.

Non-obvious: the functions are looked up in confluent-kafka's own extension module, so that the very
librdkafka of the client is used, wherever its wheel or a distribution keeps the library.
"""

from __future__ import annotations

import ctypes
from typing import Any

from confluent_kafka import cimpl

LIBRARY = cimpl.__file__
BROKER = 1  # the id of the only broker
_PRODUCER = 0  # rd_kafka_type_t
_ERROR_TEXT_BYTES = 512

_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "rd_kafka_conf_new": (ctypes.c_void_p, ()),
    "rd_kafka_conf_set": (
        ctypes.c_int,
        (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t),
    ),
    "rd_kafka_new": (
        ctypes.c_void_p,
        (ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t),
    ),
    "rd_kafka_err2str": (ctypes.c_char_p, (ctypes.c_int,)),
    "rd_kafka_mock_cluster_new": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_int)),
    "rd_kafka_mock_cluster_bootstraps": (ctypes.c_char_p, (ctypes.c_void_p,)),
    "rd_kafka_mock_topic_create": (
        ctypes.c_int,
        (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int),
    ),
    "rd_kafka_mock_topic_set_error": (None, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)),
    "rd_kafka_mock_push_request_errors_array": (
        None,
        (ctypes.c_void_p, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)),
    ),
    "rd_kafka_mock_clear_request_errors": (None, (ctypes.c_void_p, ctypes.c_int16)),
    "rd_kafka_mock_broker_set_down": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_int32)),
    "rd_kafka_mock_broker_set_up": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_int32)),
    "rd_kafka_mock_broker_set_rtt": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_int32, ctypes.c_int)),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, (ctypes.c_void_p, ctypes.c_int32)),
}
"""What is called, with result and arguments (rdkafka_mock.h; an experimental interface of librdkafka)."""


class UnavailableError(Exception):
    """This librdkafka has no usable mock cluster, or refused what was asked; the text says which."""


class _Library:
    """librdkafka's functions by name; tells at once which of them this build lacks."""

    def __init__(self, path: str) -> None:
        library = ctypes.CDLL(path)
        missing = [name for name in _SIGNATURES if not hasattr(library, name)]
        if missing:
            raise UnavailableError(f"this librdkafka exports no {', '.join(missing)}")
        self._calls: dict[str, Any] = {}
        for name, (result, arguments) in _SIGNATURES.items():
            call = getattr(library, name)
            call.restype, call.argtypes = result, arguments
            self._calls[name] = call

    def call(self, name: str, *arguments: Any) -> Any:
        return self._calls[f"rd_kafka_{name}"](*arguments)

    def demand(self, name: str, *arguments: Any) -> None:
        """Call what returns an error code; raise UnavailableError with its text unless it is 0."""
        if code := self.call(name, *arguments):
            raise UnavailableError(f"{name}: {self.call('err2str', code).decode()}")


class Cluster:
    """The mock cluster inside this process; owned by the main thread, ends with the process.

    Its methods are the controls of the process, by the same names.
    """

    def __init__(self, library_path: str) -> None:
        self._rd = _Library(library_path)
        text = ctypes.create_string_buffer(_ERROR_TEXT_BYTES)
        conf = self._rd.call("conf_new")
        self._rd.call(
            "conf_set", conf, b"log_level", b"2", None, 0
        )  # the broker's host has none to connect to
        producer = self._rd.call("new", _PRODUCER, conf, text, _ERROR_TEXT_BYTES)
        self._at = self._rd.call("mock_cluster_new", producer, 1) if producer else None
        if not self._at:
            raise UnavailableError(f"librdkafka made no mock cluster: {text.value.decode()}")
        self.rebalance_delay(0)

    @property
    def bootstrap(self) -> str:
        """The broker's address, host:port."""
        address: bytes = self._rd.call("mock_cluster_bootstraps", self._at)
        return address.decode()

    def create_topic(self, name: str, partitions: int) -> None:
        if partitions < 1:  # librdkafka would abort the process
            raise UnavailableError(f"topic {name}: {partitions} partitions")
        self._rd.demand("mock_topic_create", self._at, name.encode(), partitions, 1)

    def topic_error(self, name: str, code: int) -> None:
        self._rd.call("mock_topic_set_error", self._at, name.encode(), code)

    def push_errors(self, api_key: int, codes: list[int]) -> None:
        array = (ctypes.c_int * len(codes))(*codes)
        self._rd.call("mock_push_request_errors_array", self._at, api_key, len(codes), array)

    def clear_errors(self, api_key: int) -> None:
        self._rd.call("mock_clear_request_errors", self._at, api_key)

    def broker_down(self) -> None:
        self._rd.demand("mock_broker_set_down", self._at, BROKER)

    def broker_up(self) -> None:
        self._rd.demand("mock_broker_set_up", self._at, BROKER)

    def rtt(self, milliseconds: int) -> None:
        self._rd.demand("mock_broker_set_rtt", self._at, BROKER, milliseconds)

    def rebalance_delay(self, milliseconds: int) -> None:
        self._rd.call("mock_group_initial_rebalance_delay_ms", self._at, milliseconds)
