"""EngineOptions: which engine of a model runs, and how. Declared once: presets, the command line and backends read it here.

A dataclass of the standard library, since `run.py --help` lists its fields and imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

if TYPE_CHECKING:
    from engines.types import Size

Precision = Literal["fp32", "fp16", "bf16", "int8-qdq"]
RuntimeName = Literal["tensorrt", "tensorrt-rtx"]
SizeWord = Literal["auto", "model"]

MOST_INFLIGHT = 3
MOST_BATCH = 256


@dataclass(frozen=True, slots=True)
class Option:
    """How a field is given on the command line."""

    flag: str
    metavar: str
    help: str
    limits: tuple[int, int] | None = None
    """Of a whole number: the least and the most."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """A preset's table [engine], key by key."""

    precision: Annotated[Precision, Option("--precision", "NAME", f"{', '.join(get_args(Precision))} (default: fp16)")] = "fp16"
    input_px: Annotated[
        tuple[int, int] | SizeWord,
        Option(
            "--size",
            "HxW|auto|model",
            "the network's input: auto (default) leaves out the padding around the pictures where that keeps the objects; "
            "model: the model's own size; or height x width, such as 384x640: less is faster",
        ),
    ] = "auto"
    """Width, height. "auto": fits the pictures of a run; what has no run, such as a `Segmenter` alone, takes the model's own."""
    runtime: Annotated[
        RuntimeName | None,
        Option("--runtime", "NAME", f"{' or '.join(get_args(RuntimeName))} (default: the one that is installed)"),
    ] = None
    dla_core: Annotated[
        int | None, Option("--dla", "CORE", "a Jetson's deep-learning accelerator instead of its GPU; the first is 0", (0, 15))
    ] = None
    inflight: Annotated[
        int | None,
        Option(
            "--inflight",
            "N",
            "runs on the GPU at a time (default: 2, the next frame is uploaded while one is computed)",
            (1, MOST_INFLIGHT),
        ),
    ] = None
    """None: as many as suit the backend."""
    batch: Annotated[
        int | None,
        Option(
            "--batch",
            "N",
            "run the engine that was built for up to N images at a time (default: as many as there are sources)",
            (1, MOST_BATCH),
        ),
    ] = None
    """None: of one image, or of as many as there are streams."""
    trust: Annotated[
        str, Option("--trust-engine", "FILE", "run an engine that this machine did not build: it is native code")
    ] = ""

    def __post_init__(self) -> None:
        if self.inflight is not None and not 1 <= self.inflight <= MOST_INFLIGHT:
            raise ValueError(f"inflight is {self.inflight}; 1 to {MOST_INFLIGHT} frames can be on their way at a time")
        if self.batch is not None and not 1 <= self.batch <= MOST_BATCH:
            raise ValueError(f"batch is {self.batch}; an engine takes 1 to {MOST_BATCH} images at a time")

    @property
    def size(self) -> Size | None:
        """Of the network's input, where it is given as numbers."""
        from engines.types import Size

        return None if isinstance(self.input_px, str) else Size(*self.input_px)


def declared() -> dict[str, tuple[Any, Option]]:
    """Field → its type and its command-line option."""
    hints = get_type_hints(EngineOptions, include_extras=True)
    return {name: (get_args(hint)[0], hint.__metadata__[0]) for name, hint in hints.items()}
