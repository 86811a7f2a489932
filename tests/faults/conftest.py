"""Fixtures of the rooms whose faults are injected here."""

from ..engines.building.jobs import start
from ..engines.plans.conftest import store
from ..https_server import authority, other_server, server, trusting
from ..realtime.conftest import _memory_sink, _memory_source, _wait_until, no_thread_is_left, plug_in
from ..realtime.sources.conftest import http_server, kind, plug, reading, rtsp_servers, small_street
from ..realtime.viewer.conftest import app, open_window, script, scripted, wait

__all__ = [
    "_memory_sink",
    "_memory_source",
    "_wait_until",
    "app",
    "authority",
    "http_server",
    "kind",
    "no_thread_is_left",
    "open_window",
    "other_server",
    "plug",
    "plug_in",
    "reading",
    "rtsp_servers",
    "script",
    "scripted",
    "server",
    "small_street",
    "start",
    "store",
    "trusting",
    "wait",
]
