"""The program of a child that runs a GStreamer pipeline with a password in it, which gst-launch-1.0 shows to every user in `ps`.

Reads the words of the pipeline as JSON from its standard input. Writes what gst-launch-1.0 -v writes, as far as it is read here.
It is started by its path, imports nothing of this project, and uses GStreamer's library through ctypes.
"""

import ctypes
import json
import signal
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_uint, c_uint64, c_ulong, c_void_p
from typing import Any

SINK = b"frames_out"
NULL, PLAYING = 1, 4
EOS, ERROR, WARNING = 1 << 0, 1 << 1, 1 << 2
POLL_NS = 50_000_000

_KINDS = {"GstMessageError": ("ERROR", "gst_message_parse_error"), "GstMessageWarning": ("WARNING", "gst_message_parse_warning")}


class GError(ctypes.Structure):
    _fields_ = [("domain", ctypes.c_uint32), ("code", c_int), ("message", c_char_p)]


def load() -> tuple[Any, Any]:
    """GStreamer and GObject. Raises OSError where they are not installed."""
    gst, gobject = ctypes.CDLL("libgstreamer-1.0.so.0"), ctypes.CDLL("libgobject-2.0.so.0")
    for name, result, arguments in (
        ("gst_init", None, [c_void_p, c_void_p]),
        ("gst_parse_launchv", c_void_p, [POINTER(c_char_p), POINTER(POINTER(GError))]),
        ("gst_bin_get_by_name", c_void_p, [c_void_p, c_char_p]),
        ("gst_element_get_static_pad", c_void_p, [c_void_p, c_char_p]),
        ("gst_pad_get_current_caps", c_void_p, [c_void_p]),
        ("gst_caps_to_string", c_char_p, [c_void_p]),
        ("gst_mini_object_unref", None, [c_void_p]),
        ("gst_element_set_state", c_int, [c_void_p, c_int]),
        ("gst_element_get_bus", c_void_p, [c_void_p]),
        ("gst_bus_timed_pop_filtered", c_void_p, [c_void_p, c_uint64, c_int]),
        ("gst_message_get_structure", c_void_p, [c_void_p]),
        ("gst_structure_get_name", c_char_p, [c_void_p]),
        ("gst_message_parse_error", None, [c_void_p, POINTER(POINTER(GError)), POINTER(c_char_p)]),
        ("gst_message_parse_warning", None, [c_void_p, POINTER(POINTER(GError)), POINTER(c_char_p)]),
    ):
        function = getattr(gst, name)
        function.restype, function.argtypes = result, arguments
    connect = gobject.g_signal_connect_data
    connect.restype, connect.argtypes = c_ulong, [c_void_p, c_char_p, c_void_p, c_void_p, c_void_p, c_uint]
    return gst, gobject


def main() -> int:
    """Run the pipeline until it ends or a signal comes. 1 where it cannot be made, or fails."""
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda given, _: stopped.append(given))
    words = [word.encode("utf-8", "surrogateescape") for word in json.load(sys.stdin)]
    try:
        gst, gobject = load()
    except OSError as error:
        say(f"ERROR: a pipeline with a password needs GStreamer's library: {error}")
        return 1
    gst.gst_init(None, None)
    wrong = POINTER(GError)()
    pipeline = gst.gst_parse_launchv((c_char_p * (len(words) + 1))(*words, None), byref(wrong))
    if wrong or not pipeline:
        say(f"WARNING: erroneous pipeline: {message_of(wrong)}")
        return 1
    pad = gst.gst_element_get_static_pad(gst.gst_bin_get_by_name(pipeline, SINK), b"sink")

    def caps_changed(changed: int, *_: Any) -> None:
        caps = gst.gst_pad_get_current_caps(changed)
        if caps:
            text = gst.gst_caps_to_string(caps).decode("utf-8", "replace")
            say(f"/GstPipeline:pipeline0/GstFdSink:{SINK.decode()}.GstPad:sink: caps = {text}")
            gst.gst_mini_object_unref(caps)

    listener = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_void_p)(caps_changed)  # lives as long as the pipeline
    gobject.g_signal_connect_data(pad, b"notify::caps", ctypes.cast(listener, c_void_p), None, None, 0)
    gst.gst_element_set_state(pipeline, PLAYING)  # a failure is on the bus, with its reason
    bus, result = gst.gst_element_get_bus(pipeline), None
    while result is None and not stopped:
        message = gst.gst_bus_timed_pop_filtered(bus, POLL_NS, EOS | ERROR | WARNING)
        if message:
            result = told(gst, message)
            gst.gst_mini_object_unref(message)
    gst.gst_element_set_state(pipeline, NULL)  # frees the camera
    return result or 0


def told(gst: Any, message: int) -> int | None:
    """Write a message of the bus. Returns the child's exit status where it ends the pipeline."""
    structure = gst.gst_message_get_structure(message)
    if not structure:
        return 0  # the end of the stream
    kind, parse = _KINDS[gst.gst_structure_get_name(structure).decode()]
    error, details = POINTER(GError)(), c_char_p()
    getattr(gst, parse)(message, byref(error), byref(details))
    say(f"{kind}: {message_of(error)}")
    say((details.value or b"").decode("utf-8", "replace"))
    return 1 if kind == "ERROR" else None


def message_of(error: Any) -> str:
    return error.contents.message.decode("utf-8", "replace") if error else "no reason given"


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
