"""A fake plan: facts about the build and the network, as bytes."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field
from typing import Any

MAGIC = b"FAKEPLAN"


@dataclass
class Plan:
    """The content of a plan."""

    version: str
    gpu: str
    capability: str
    onnx: bytes
    is_strongly_typed: bool = True
    lowers_to: str = ""
    """ "Half" if flags, not the graph, reduce the precision."""
    ignores_precision: bool = False
    verbosity: str = "LAYER_NAMES_ONLY"
    profiles: list[dict[str, list[list[int]]]] = field(default_factory=list)
    is_on_dla: bool = False
    allocates_lazily: bool = False
    """Of TensorRT-RTX, without REQUIRE_USER_ALLOCATION."""
    dla_refuses: list[str] = field(default_factory=list)

    def to_bytes(self) -> bytes:
        facts = {key: value for key, value in asdict(self).items() if key != "onnx"}
        header = json.dumps(facts).encode()
        return MAGIC + struct.pack("<II", len(header), len(self.onnx)) + header + self.onnx

    @classmethod
    def from_bytes(cls, data: bytes) -> Plan | None:
        """None if the bytes are not a complete plan."""
        if len(data) < 16 or not data.startswith(MAGIC):
            return None
        header_bytes, onnx_bytes = struct.unpack_from("<II", data, 8)
        if len(data) != 16 + header_bytes + onnx_bytes:
            return None
        try:
            facts: dict[str, Any] = json.loads(data[16 : 16 + header_bytes])
        except ValueError:
            return None
        return cls(onnx=data[16 + header_bytes :], **facts)


def version_tag(version: str) -> int:
    """The version tag that TensorRT writes into plans, and reports if it differs."""
    major, minor = version.split(".")[:2]
    return 20 * int(major) + int(minor) + 2
