"""Fixtures of the rooms whose faults are injected here."""

from ..engines.plans.conftest import store
from ..realtime.conftest import _memory_sink, _memory_source, _wait_until, no_thread_is_left, plug_in
from ..realtime.sources.conftest import http_server, kind, plug, reading, rtsp_servers, small_street

__all__ = [
    "_memory_sink",
    "_memory_source",
    "_wait_until",
    "http_server",
    "kind",
    "no_thread_is_left",
    "plug",
    "plug_in",
    "reading",
    "rtsp_servers",
    "small_street",
    "store",
]
