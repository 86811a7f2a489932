"""`run.py build`: a model's TensorRT engine."""

from __future__ import annotations

from typing import Any

from realtime.commands.common.options import MODEL, MODEL_HELP, add_engine_options, positive

NAME = "build"


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        NAME,
        help="build a TensorRT engine for this machine's GPU",
        description="Build a model's TensorRT engine, prove its precision and its answers, and keep it for view and process.",
    )
    parser.add_argument("model", metavar=MODEL, help=MODEL_HELP)
    add_engine_options(parser, without=("inflight", "trust"))
    parser.add_argument("--batch", metavar="N", type=positive, default=1, help="up to N images, for your own code (default: 1)")
    parser.add_argument("--target", metavar="SM", help='build ahead for a compute capability, such as 86 (with "tensorrt-rtx")')
    parser.add_argument("--frames", metavar="FILE|DIR", help="what to compare precisions on (default: the clips that come along)")
    parser.add_argument("--timeout", metavar="MIN", type=positive, default=60, help="give up after this long (default: 60)")
    parser.add_argument("--memory", metavar="GIB", type=positive, help="give up above so much memory (default: no limit)")
    parser.add_argument(
        "--workspace", metavar="MIB", type=positive, default=1024, help="GPU memory a layer may take (default: 1024)"
    )
    parser.add_argument("--anew", action="store_true", help="build again even if there is one")


def run(options: dict[str, Any]) -> int:
    """Build, or find what was built before, and print its passport."""
    from realtime.commands.common.building import build

    return build(options)
