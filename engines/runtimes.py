"""The doors to runtimes that would report to their makers: what this program sees is nobody else's business."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any


def import_onnxruntime() -> Any:
    """ONNX Runtime, its telemetry off. Raises ImportError where it is not installed.

    From version 1.29 on it tells its maker of each process and model, and keeps an identifier on the disk, unless this variable
    is set before it is loaded. A user who has set it to something else is left in charge.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def import_openvino() -> Any:
    """OpenVINO, its telemetry off. Raises ImportError where it is not installed.

    It reports its import through a package of its own, and does without where that is not installed; so it seems not to be.
    """
    hidden = "openvino_telemetry"
    before = sys.modules.get(hidden)
    sys.modules[hidden] = None  # type: ignore[assignment]  # Python's own way to say that there is no such module
    try:
        import openvino
    finally:
        del sys.modules[hidden]
        if isinstance(before, ModuleType):
            sys.modules[hidden] = before
    return openvino
