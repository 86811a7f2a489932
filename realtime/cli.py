"""The command line. Parses, checks, picks the job; everything heavy is imported by the job that needs it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from engines.nearest import did_you_mean

COMMANDS = ("view", "process", "models", "export", "build")
PRECISIONS = ("fp32", "fp16", "bf16", "int8-qdq")
RUNTIMES = ("tensorrt", "tensorrt-rtx")

DESCRIPTION = """\
Real-time video segmentation: masks and object tracks over a camera or a video.

  run.py                            the first webcam, or else a real clip (in a window, or headless to out/demo.mp4)
  run.py view dashcam.mp4           play a file, camera (0), folder of images, rtsp://..., http://... or sample://bikes
  run.py process in.mp4 --out o.mp4 every frame, in order, none dropped, to files
  run.py models                     what there is to run
  run.py export road --size 256x512 --out small.onnx    a model in another size, precision, or with small outputs
  run.py build road                 a TensorRT engine of a model for this machine's NVIDIA GPU"""


class _Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line, with the nearest right word."""

    def error(self, message: str) -> NoReturn:
        marker = "unrecognized arguments: "
        if message.startswith(marker):
            wrong = message[len(marker) :].split()[0].split("=")[0]
            known = [option for parser in self._family() for action in parser._actions for option in action.option_strings]
            if wrong in known:
                others = [parser.prog for parser in self._family() if wrong in parser._option_string_actions]
                message = f'this command has no option "{wrong}"; {", ".join(others)} has it'
            else:
                message = f'unknown option "{wrong}"{did_you_mean(wrong, known)}; see {self.prog} --help'
        self.exit(2, f"error: {message}\n")

    def _family(self) -> list[argparse.ArgumentParser]:
        """This parser and its commands': argparse tells an unknown option of a command on the parser above it."""
        commands = [action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return [self, *(parser for choices in commands for parser in choices.values())]


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="run.py", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    commands = parser.add_subparsers(dest="command", metavar="{view,process,models,export,build}", parser_class=_Parser)

    view = commands.add_parser("view", help="show a source in a window", description="Show a source in a window.")
    view.add_argument(
        "source", nargs="?", default="auto", help="file, folder of images, 0, csi://0, rtsp://, http://, sample://bikes ..."
    )
    _add_shared(view)

    process = commands.add_parser(
        "process",
        help="run over a source without a window, to files",
        description="Run over a source without a window, to files: every frame, in order (a live source drops what is too much).",
    )
    process.add_argument("source", help="file, folder of images, 0, csi://0, rtsp://, http://, sample://bikes ...")
    process.add_argument("--out", metavar="FILE", help="video of what a viewer would show (.mp4, .mov, .mkv)")
    process.add_argument("--mot", metavar="FILE", help="tracks in MOTChallenge format (.txt)")
    process.add_argument("--jsonl", metavar="FILE", help="objects, tracks and masks, one JSON object per frame (.jsonl)")
    process.add_argument("--frames", metavar="N", type=_positive, help="stop after so many frames")
    _add_shared(process)

    models = commands.add_parser("models", help="list the models there are", description="List the models there are.")
    models.add_argument("--model", metavar="NAME|FILE.onnx", help="only this one, with everything its card says")
    _add_export(commands)
    _add_build(commands)
    return parser


def _add_export(commands: Any) -> None:
    export = commands.add_parser(
        "export",
        help="write a model in another form",
        description="Write a model as ONNX with its card: small outputs, another size or precision.",
    )
    export.add_argument("model", metavar="NAME|FILE.onnx", help="a bundled model or your own ONNX file")
    export.add_argument("--out", metavar="FILE.onnx", required=True, help="file to write; its card is written beside it")
    export.add_argument(
        "--fuse", action="store_true", help="argmax, or the best boxes, inside the graph: less to download and decode"
    )
    export.add_argument("--precision", metavar="NAME", type=_one_of(PRECISIONS), default="fp32", help="default: fp32, as it is")
    export.add_argument("--size", metavar="HxW", type=_size, help="another input size, such as 384x640")
    export.add_argument("--batch", metavar="1|dynamic", type=_batch, default=1, help="default: 1")
    export.add_argument(
        "--frames", metavar="FILE|DIR", help="what int8-qdq measures its ranges on (default: the clips that come along)"
    )


def _add_shared(parser: argparse.ArgumentParser) -> None:
    """Options of every command that runs a model. Their defaults are the presets' and settings', so None here."""
    parser.add_argument("--model", metavar="NAME|FILE.onnx", help="a bundled model or your own ONNX file (default: road)")
    parser.add_argument(
        "--backend", metavar="NAME", help="auto, trt, ort-cuda, openvino or ort (default: auto, the fastest that works)"
    )
    parser.add_argument("--tracker", metavar="NAME", help="bytetrack or none (default: bytetrack)")
    parser.add_argument("--preset", metavar="NAME", help="webcam, dashcam, or a .toml file of settings")
    parser.add_argument("--width", metavar="PX", type=_positive, help="the picture is at most this wide (default: 1280)")
    parser.add_argument(
        "--threshold", metavar="0..1", type=float, help="lowest score of an object that is shown (default: the model's)"
    )

    engine = parser.add_argument_group("with --backend trt, which of the model's engines (see run.py build)")
    _add_engine_choice(engine)
    engine.add_argument(
        "--inflight", metavar="N", type=_positive, help="2: upload the next frame meanwhile: more frames, each a little later"
    )
    engine.add_argument("--trust-engine", metavar="FILE", help="run an engine that this machine did not build: it is native code")


def _add_engine_choice(group: Any) -> None:
    precisions, runtimes = ", ".join(PRECISIONS), " or ".join(RUNTIMES)
    size = "height x width of the network's input, such as 384x640 (default: the model's own)"
    group.add_argument("--precision", metavar="NAME", type=_one_of(PRECISIONS), help=f"{precisions} (default: fp16)")
    group.add_argument("--size", metavar="HxW", type=_size, help=size)
    group.add_argument("--runtime", metavar="NAME", type=_one_of(RUNTIMES), help=f"{runtimes} (default: what is installed)")
    group.add_argument("--dla", metavar="CORE", type=_core, help="a Jetson's deep-learning accelerator instead of its GPU")


def _add_build(commands: Any) -> None:
    build = commands.add_parser(
        "build",
        help="build a TensorRT engine for this machine's GPU",
        description="Build a model's TensorRT engine, prove its precision and its answers, and keep it for view and process.",
    )
    build.add_argument("model", metavar="NAME|FILE.onnx", help="a bundled model or your own ONNX file")
    _add_engine_choice(build)
    build.add_argument("--batch", metavar="N", type=_positive, default=1, help="up to N images, for your own code (default: 1)")
    build.add_argument("--target", metavar="SM", help='build ahead for a compute capability, such as 86 (with "tensorrt-rtx")')
    build.add_argument("--frames", metavar="FILE|DIR", help="what to compare precisions on (default: the clips that come along)")
    build.add_argument("--timeout", metavar="MIN", type=_positive, default=60, help="give up after this long (default: 60)")
    build.add_argument("--memory", metavar="GIB", type=_positive, help="give up above so much memory (default: no limit)")
    build.add_argument(
        "--workspace", metavar="MIB", type=_positive, default=1024, help="GPU memory a layer may take (default: 1024)"
    )
    build.add_argument("--anew", action="store_true", help="build again even if there is one")


def _one_of(known: Sequence[str]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f'"{text}" is not known; known: {", ".join(known)}{did_you_mean(text, known)}')
        return text

    return check


def _core(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f'"{text}" is not the number of a DLA core; the first is 0')
    return int(text)


def _size(text: str) -> tuple[int, int]:
    """Height, width, as in "384x640"."""
    height, separator, width = text.partition("x")
    if not (separator and height.isdigit() and width.isdigit()):
        raise argparse.ArgumentTypeError(f'"{text}" is not a size; write height x width, as in 384x640')
    return int(height), int(width)


def _batch(text: str) -> int | str:
    return text if text == "dynamic" else _positive(text)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number of 1 or more')
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the process's exit code. Errors that a user can mend are one line on stderr and code 2."""
    arguments = _with_command(list(sys.argv[1:] if argv is None else argv))
    options = vars(build_parser().parse_args(arguments))
    from engines.errors import SegmentationError

    try:
        return _dispatch(options)
    except SegmentationError as error:
        from realtime.redact import one_line

        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _with_command(arguments: list[str]) -> list[str]:
    """`run.py SOURCE` and `run.py --OPTION ...` mean view; a word that is neither command nor source gets the nearest command."""
    first = next((word for word in arguments if not word.startswith("-")), None)
    if first is None or first in COMMANDS or arguments[0] in ("-h", "--help"):
        return arguments
    looks_like_source = first.isdigit() or "://" in first or Path(first).exists() or "." in first or os.sep in first
    if arguments[0] == first and not looks_like_source:
        hint = did_you_mean(first, COMMANDS)
        print(f'error: no command "{first}"; there are: {", ".join(COMMANDS)}{hint}', file=sys.stderr)
        raise SystemExit(2)
    if arguments[0] != first and ("--version" in arguments or any(word in COMMANDS for word in arguments)):
        return arguments
    return ["view", *arguments]


def _dispatch(options: dict[str, Any]) -> int:
    if options["version"]:
        from realtime.version import version

        print(version())
        return 0
    if options["command"] == "models":
        from realtime.listing import list_models

        return list_models(options["model"])
    if options["command"] == "export":
        from realtime.making import export

        return export(options)
    if options["command"] == "build":
        from realtime.building import build

        return build(options)
    from realtime import commands

    if options["command"] == "process":
        return commands.process(options)
    if options["command"] == "view":
        return commands.view(options)
    return commands.demo()
