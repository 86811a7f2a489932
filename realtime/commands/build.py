"""Build a TensorRT engine for this machine's GPU.

Build a model's TensorRT engine, check its precision and its answers, and cache it for view and process.
"""

from typing import Any, NamedTuple

from engines.backends.common.options import MOST_BATCH
from realtime.commands.common.options import BUNDLED_CLIPS, MODEL, MODEL_HELP, Command, argument, engine_group, option, switch
from realtime.commands.common.values import positive, whole


class Options(NamedTuple):
    model: str = argument(MODEL, MODEL_HELP)
    source: str | None = option(
        "SOURCE",
        "build for the pictures of this source, as process and view would run it: without the padding around them, where "
        "the network can",
        flag="--for",
    )
    engine: dict[str, Any] = engine_group(
        "",
        without=("inflight", "batch", "trust"),
        size=("HxW", "height x width of the network's input, such as 384x640 (default: the model's own, or see --for)"),
    )
    batch: int = option("N", "up to N images at a time, for as many sources (default: 1)", whole(1, MOST_BATCH), 1)
    target: str | None = option("SM", 'build ahead for a compute capability, such as 86 (with "tensorrt-rtx")')
    calibrate: str | None = option(
        "VIDEO|DIR", "int8-qdq: footage of your camera; ranges are measured on it, and judged on the rest"
    )
    frames: str | None = option("FILE|DIR", f"pictures to compare precisions on ({BUNDLED_CLIPS})")
    timeout: int = option("MIN", "stop the build after this time (default: 60)", positive, 60)
    memory: int | None = option("GIB", "stop the build above so much memory (default: no limit)", positive)
    workspace: int = option("MIB", "GPU memory for one layer (default: 1024)", positive, 1024)
    force: bool = switch("build again even if the engine is cached")


def run(options: Options) -> int:
    """Build the engine, or find the cached one, and print its passport."""
    from realtime.commands.common.building import build

    return build(options)


COMMAND = Command(
    "build",
    Options,
    run,
    __doc__,
    example=("run.py build road", "a TensorRT engine of a model for this machine's NVIDIA GPU"),
    rank=110,
)
