"""The real ONNX Runtime, imported before it is replaced."""

from onnxruntime import InferenceSession, SessionOptions, get_available_providers

__all__ = ["InferenceSession", "SessionOptions", "get_available_providers"]
