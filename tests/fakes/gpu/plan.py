"""A fake plan: who built it for what, and the network, in one piece of bytes."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field
from typing import Any

MAGIC = b"FAKEPLAN"


@dataclass
class Plan:
    """What an engine is made of."""

    version: str
    gpu: str
    capability: str
    onnx: bytes
    is_strongly_typed: bool = True
    lowers_to: str = ""
    """ "Half" where flags, not the graph, asked for less precision."""
    ignores_precision: bool = False
    verbosity: str = "LAYER_NAMES_ONLY"
    profiles: list[dict[str, list[list[int]]]] = field(default_factory=list)
    is_on_dla: bool = False
    dla_refuses: list[str] = field(default_factory=list)

    def to_bytes(self) -> bytes:
        facts = {key: value for key, value in asdict(self).items() if key != "onnx"}
        header = json.dumps(facts).encode()
        return MAGIC + struct.pack("<II", len(header), len(self.onnx)) + header + self.onnx

    @classmethod
    def from_bytes(cls, data: bytes) -> Plan | None:
        """None when it is none, or not all of it."""
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
    """The number that TensorRT writes into plans and names when it differs."""
    major, minor = version.split(".")[:2]
    return 20 * int(major) + int(minor) + 2
