"""The real ONNX Runtime, held before anything is put in its place."""

from onnxruntime import InferenceSession, SessionOptions, get_available_providers

__all__ = ["InferenceSession", "SessionOptions", "get_available_providers"]
