"""The one door to ONNX Runtime: what this program sees is nobody else's business, so its telemetry is off before it loads."""

from __future__ import annotations

import os
from typing import Any


def import_onnxruntime() -> Any:
    """The module. Raises ImportError where it is not installed.

    From version 1.29 on it reports each process and model to its maker over the network, and keeps an identifier on the disk,
    unless this variable is set before it is loaded; a user who has set it to something else is left in charge.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
