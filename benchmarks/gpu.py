"""Times of a frame on the GPU, part by part, and the share besides the network.

    python benchmarks/gpu.py road                      # the engine that `run.py build road` made
    python benchmarks/gpu.py road --backend ort-cuda   # without TensorRT
    python benchmarks/gpu.py road --backend none       # copies, kernels and masks alone: needs PyCUDA only

Wall times are those of `infer`: copy into pinned memory, upload, kernel, network, download, one wait; with and without the CUDA
graph, in turns. Times of the parts are measured on the GPU by events, without a graph. Everything after 100 warm-up frames.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.gpu_masks import measure_masks
from engines.backends import EngineOptions, open_engine
from engines.backends.trt import TrtEngine
from engines.errors import SegmentationError
from engines.files import write_whole
from engines.gpu.buffer import Buffer
from engines.gpu.device import Device
from engines.gpu.driver import Driver
from engines.gpu.letterbox import FrameBuffer, LetterboxKernel
from engines.models import zoo
from engines.models.card import InputSpec
from engines.models.fit import fit
from engines.pictures.pixels import Colours
from engines.pictures.raw import FORMATS, PictureLike, RawPicture, pixels_of, size_of
from engines.types import Image, Size
from realtime.bench.conditions import Watch
from realtime.bench.machine import facts
from realtime.bench.power import PowerMeter

WARM_UP, TURNS = 100, 10


def quantiles(times_ms: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times_ms, n=100)
    return {"p50_ms": round(cuts[49], 3), "p95_ms": round(cuts[94], 3), "p99_ms": round(cuts[98], 3)}


def frame_of(size: Size) -> Image:
    """Noise: the content of a frame does not affect the times, and no clip is needed."""
    return np.random.default_rng(0).integers(0, 255, (size.height, size.width, 3), np.uint8)


def wall(run: Callable[[], object], count: int) -> tuple[list[float], float]:
    """Wall milliseconds of each run, and this thread's CPU milliseconds per run."""
    times = []
    cpu_s = time.thread_time()
    for _ in range(count):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return times, (time.thread_time() - cpu_s) * 1e3 / count


def measure_engine(model_name: str, backend: str, options: EngineOptions, frame: Image, count: int) -> dict[str, Any]:
    model = zoo.find(model_name)
    start = time.perf_counter()
    engine = open_engine(model, backend, options).engine
    engine.infer(frame)
    result: dict[str, Any] = {"first_frame_s": round(time.perf_counter() - start, 3), "engine": engine.description}
    try:
        wall(lambda: engine.infer(frame), WARM_UP)
        ways: dict[str, tuple[list[float], list[float]]] = {}
        for _ in range(TURNS):  # in turns, so that the load of other processes affects both
            for with_graph in (True, False) if isinstance(engine, TrtEngine) else (False,):
                if isinstance(engine, TrtEngine):
                    engine.runner.uses_graphs = with_graph
                    engine.runner.forget_graphs()
                    wall(lambda: engine.infer(frame), 3)
                times, cpu_ms = wall(lambda: engine.infer(frame), count // TURNS)
                kept = ways.setdefault("with graph" if with_graph else "without graph", ([], []))
                kept[0].extend(times)
                kept[1].append(cpu_ms)
        result["frame"] = {
            name: {**quantiles(times), "thread_cpu_ms": round(statistics.median(cpu), 3)} for name, (times, cpu) in ways.items()
        }
        if isinstance(engine, TrtEngine):
            parts = engine.runner.part_times(frame, count // 2)
            result["gpu_parts"] = {name: quantiles(times) for name, times in parts.items()}
            network_ms = statistics.median(parts["network"])
            best_ms = min(way["p50_ms"] for way in result["frame"].values())
            result["not_network_ms"] = round(best_ms - network_ms, 3)
            result["not_network_share"] = round(1 - network_ms / best_ms, 3)
            result["cpu_share_at_60_fps"] = round(min(way["thread_cpu_ms"] for way in result["frame"].values()) * 60 / 1000, 4)
    finally:
        engine.close()
    return result


def measure_ways(spec: InputSpec, frame: Image, count: int) -> dict[str, Any]:
    """`measure_parts` of BGR and, in a quarter of the runs, of each raw format; of a GPU that shares the host's memory also with
    copies, for comparison."""
    measured = measure_parts(spec, frame, count, copies=False)
    raw = {
        format: measure_parts(spec, raw_of(format, Size.of(frame)), max(2, count // 4), copies=False) for format in FORMATS[1:]
    }
    copied = {"with copies": measure_parts(spec, frame, count, copies=True)} if measured["zero copy"] else {}
    return measured | {"raw": raw} | copied


def raw_of(format: str, size: Size) -> RawPicture:
    """A picture of a camera or decoder, of noise."""
    dice, half = np.random.default_rng(0), (-(-size.height // 2), -(-size.width // 2))
    whole = (size.height, size.width)
    shapes = {"bgrx": [(*whole, 4)], "nv12": [whole, (*half, 2)], "i420": [whole, half, half]}[format]
    planes = [dice.integers(0, 255, shape, np.uint8) for shape in shapes]
    return RawPicture(format, planes, None if format == "bgrx" else Colours(1, False))


def measure_parts(spec: InputSpec, frame: PictureLike, count: int, *, copies: bool) -> dict[str, Any]:
    """Times of the upload, the kernel and the download of a label map, without a network."""
    geometry, pixels = fit(size_of(frame), spec.size, spec.fit), pixels_of(frame)
    with Device(copies=copies) as device:
        stream, buffer = device.stream(), FrameBuffer(device)
        kernel = LetterboxKernel(device, spec)
        input_bytes = spec.size.width * spec.size.height * 3 * np.dtype(spec.dtype).itemsize
        target, labels = device.memory(input_bytes), Buffer(device, (spec.size.height, spec.size.width), np.uint8)
        marks = [device.event(timed=True) for _ in range(4)]
        times: dict[str, list[float]] = {"staging (CPU)": [], "upload": [], "kernel": [], "download": [], "all, wall": []}

        def work() -> None:
            marks[0].record(stream)
            buffer.upload(stream)
            marks[1].record(stream)
            kernel.enqueue(buffer.address, target.address, geometry, stream, pixels)
            marks[2].record(stream)
            labels.download(stream)
            marks[3].record(stream)

        for index in range(WARM_UP + count):
            start = time.perf_counter()
            buffer.stage(frame)
            staged = time.perf_counter()
            with device.running("be measured"):
                work()
            stream.synchronise()
            if index >= WARM_UP:
                times["staging (CPU)"].append((staged - start) * 1e3)
                times["all, wall"].append((time.perf_counter() - start) * 1e3)
                for name, before, after in zip(("upload", "kernel", "download"), marks, marks[1:], strict=False):
                    times[name].append(after.ms_since(before))

        def record() -> None:
            buffer.upload(stream)
            kernel.enqueue(buffer.address, target.address, geometry, stream, pixels)
            labels.download(stream)

        graph = stream.capture(record)

        def replay() -> None:
            buffer.stage(frame)
            graph.launch()
            stream.synchronise()

        wall(replay, WARM_UP)
        replayed, cpu_ms = wall(replay, count)
        result: dict[str, Any] = {"zero copy": device.shares_memory}
    result |= {name: quantiles(values) for name, values in times.items()}
    result["all, wall, one graph"] = {**quantiles(replayed), "thread_cpu_ms": round(cpu_ms, 3)}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="road")
    parser.add_argument("--backend", choices=("trt", "ort-cuda", "none"), default="trt")
    parser.add_argument("--precision", default="fp16")
    parser.add_argument("--runtime", default=None)
    parser.add_argument("--frame", default="1920x1080", help="width x height (default: 1920x1080)")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    size = Size(*(int(length) for length in options.frame.split("x")))
    frame = frame_of(size)
    try:
        gpu = Driver().facts()
        machine = facts() | {
            "gpu": gpu.name,
            "compute capability": gpu.compute_capability,
            "driver": gpu.driver_version,
            "cuda": gpu.cuda_version,
        }
        watch = Watch()
        with PowerMeter() as meter:
            if options.backend == "none":
                spec = InputSpec("image", (640, 640), "nchw", "float16", "rgb", "letterbox", std=(255.0, 255.0, 255.0))
                measured = measure_ways(spec, frame, options.count) | {"masks": measure_masks(size, options.count // 2)}
            else:
                engine = EngineOptions(precision=options.precision, runtime=options.runtime, inflight=1)
                measured = measure_engine(options.model, options.backend, engine, frame, options.count)
            watch.look()  # before the clocks go down again
    except SegmentationError as error:
        sys.exit(f"error: {error}")
    watch.take(meter.state())
    reading = meter.reading()
    power = {"mean_w": round(reading.mean_w, 1), "source": reading.source} if reading else {"none": meter.why_not}
    result = {
        "machine": machine,
        "model": options.model,
        "backend": options.backend,
        "frame": str(size),
        **measured,
        "power": power,
        "conditions": msgspec.to_builtins(watch.conditions()),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.out:
        write_whole(options.out, text + "\n")


if __name__ == "__main__":
    main()
