"""What the backends of ONNX Runtime share: how it is loaded, and its errors in one line."""

from __future__ import annotations

from typing import Any

from engines.errors import BackendUnavailableError
from engines.loading import import_onnxruntime


def load_onnxruntime(package: str) -> Any:
    """ONNX Runtime's module. `package`: what brings it. Raises BackendUnavailableError where it does not load."""
    try:
        return import_onnxruntime()
    except ImportError as error:
        raise BackendUnavailableError(f"ONNX Runtime is not installed ({error})", f"Install it: pip install {package}") from error


def one_line(error: Exception) -> str:
    """One line, and of a long one its end: it begins with paths and ends with the reason."""
    line = " ".join(str(error).split())
    return line if len(line) <= 200 else f"...{line[-200:]}"
