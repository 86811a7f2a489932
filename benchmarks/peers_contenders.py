"""This project and its peers over a clip: capture, model, tracks, drawing. `peers.py` runs each in its own process.

ours          this project's pipeline, as `run.py process --size model` runs it, without an encoder
ours tight    the same with --size 384x640: the same network without the padding that a 16:9 picture needs in 640x640
ultralytics   cv2.VideoCapture, YOLO(model).track(frame, persist=True), plot(): the loop in its documentation
supervision   get_video_frames_generator, the runtime, Detections, ByteTrackTracker of `trackers`, and the mask, box, label
              and trace annotators of their documentation. Neither decodes a YOLO network's outputs, so that part is
              the usual code: blobFromImage, one matrix product, masks cut at their boxes and resized to the frame.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

THREADS = 2
SCORE, IOU = 0.25, 0.7
LEAST_FRAMES = 10

Round = dict[str, float]


TIGHT_PX = (640, 384)


def ours(
    model_path: str, clip: str, runtime: str, input_px: tuple[int, int] | Literal["model"] = "model"
) -> Callable[[float], Round]:
    from engines.backends import EngineOptions
    from engines.models import zoo
    from realtime.bench.measuring import Bench, Job
    from realtime.process.tuning import prepare
    from realtime.settings import Settings
    from realtime.sources import open_source
    from realtime.streams.recorder import Recording

    prepare()
    settings = Settings(model=model_path, backend=runtime, threshold=SCORE, engine=EngineOptions(input_px=input_px))
    model = zoo.find(model_path)

    def go(seconds: float) -> Round:
        drawn = Drawn()
        recording = lambda: Recording(lambda card, source: (drawn,))  # noqa: E731
        repeat = Bench(Job(settings, model, lambda: open_source(clip), None, seconds, 0.5, recording)).measure()
        stages = {f"{name} p50 ms": float(np.median(times)) for name, times in repeat.samples_ms.items() if name != "age"}
        return {
            "fps": repeat.fps,
            "cpu_ms": repeat.cpu_ms_per_frame,
            "frames": repeat.counts.processed,
            **drawn.objects,
            **stages,
        }

    return go


class Drawn:
    """A sink that counts objects: those seen in the frame with scores high enough to be drawn."""

    def __init__(self) -> None:
        self._objects = self._frames = 0

    @property
    def objects(self) -> Round:
        return {"objects": self._objects / max(1, self._frames)}

    def write(self, result: Any, canvas: Any) -> None:
        self._objects += sum(track.row is not None and track.best_score >= SCORE for track in result.tracks)
        self._frames += 1

    def close(self) -> None:
        """Nothing is open."""


def ultralytics(model_path: str, clip: str, runtime: str) -> Callable[[float], Round]:
    from ultralytics import YOLO

    model = YOLO(model_path if runtime == "ort" else _as_openvino(model_path), task="segment")

    # The network has one size, so the frame is fitted to it, as with the others.
    asked: dict[str, Any] = {"persist": True, "tracker": "bytetrack.yaml", "conf": SCORE, "rect": False, "imgsz": 640}

    def frames() -> Iterator[int]:
        while True:
            capture = cv2.VideoCapture(clip)
            while (read := capture.read())[0]:
                result = model.track(read[1], verbose=False, **asked)[0]
                result.plot()
                yield len(result.boxes)

    return _timed(frames())


def supervision(model_path: str, clip: str, runtime: str) -> Callable[[float], Round]:
    import supervision as sv
    from trackers import ByteTrackTracker

    infer = _ort(model_path) if runtime == "ort" else _openvino(model_path)
    masks, boxes, labels, traces = sv.MaskAnnotator(), sv.BoxAnnotator(), sv.LabelAnnotator(), sv.TraceAnnotator()

    def frames() -> Iterator[int]:
        tracker = ByteTrackTracker()
        while True:
            for frame in sv.get_video_frames_generator(clip):
                found = tracker.update(_detections(sv, *_letterboxed(frame), infer, frame.shape[:2]))
                names = [f"#{track} {kind}" for track, kind in zip(found.tracker_id, found.class_id, strict=True)]
                scene = masks.annotate(frame.copy(), found)
                scene = boxes.annotate(scene, found)
                scene = labels.annotate(scene, found, labels=names)
                traces.annotate(scene, found)
                yield len(found)

    return _timed(frames())


CONTENDERS = {
    "ours": ours,
    "ours tight": partial(ours, input_px=TIGHT_PX),
    "ultralytics": ultralytics,
    "supervision": supervision,
}


def _timed(frames: Iterator[int]) -> Callable[[float], Round]:
    """A round: a warm-up, then as many frames as fit into the seconds, at least `LEAST_FRAMES`."""

    def go(seconds: float) -> Round:
        for _ in range(5):
            next(frames)
        objects: list[int] = []
        start_s, cpu_s = time.perf_counter(), time.process_time()
        while len(objects) < LEAST_FRAMES or time.perf_counter() - start_s < seconds:
            objects.append(next(frames))
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - start_s
        count = len(objects)
        return {"fps": count / wall_s, "cpu_ms": cpu_s * 1e3 / count, "frames": count, "objects": sum(objects) / count}

    return go


def _ort(model_path: str) -> Callable[[Any], list[Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(model_path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda blob: session.run(None, {name: blob})


def _openvino(model_path: str) -> Callable[[Any], list[Any]]:
    import openvino

    compiled = openvino.compile_model(model_path, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": THREADS})
    return lambda blob: [compiled([blob])[output] for output in compiled.outputs]


def _as_openvino(model_path: str) -> str:
    """The folder that Ultralytics expects for an OpenVINO model, made from the ONNX file next to the clip."""
    import openvino
    import yaml

    from engines.models.coco import COCO_CLASSES

    folder = Path(os.environ["PEERS_FOLDER"]) / f"{Path(model_path).stem}_openvino_model"
    if not folder.is_dir():
        folder.mkdir()
        openvino.save_model(openvino.convert_model(model_path), folder / "model.xml", compress_to_fp16=False)
        facts = {"task": "segment", "stride": 32, "imgsz": [640, 640], "batch": 1, "names": dict(enumerate(COCO_CLASSES))}
        (folder / "metadata.yaml").write_text(yaml.safe_dump(facts), encoding="utf-8")
    return str(folder)


def _letterboxed(frame: Any) -> tuple[Any, float, int, int]:
    """The network's input, and the facts for the way back: (1, 3, 640, 640) float32, scale, left, top."""
    height, width = frame.shape[:2]
    scale = 640 / max(height, width)
    resized = cv2.resize(frame, (round(width * scale), round(height * scale)))
    top, left = (640 - resized.shape[0]) // 2, (640 - resized.shape[1]) // 2
    bottom, right = 640 - resized.shape[0] - top, 640 - resized.shape[1] - left
    padded = cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    return cv2.dnn.blobFromImage(padded, 1 / 255, swapRB=True), scale, left, top


def _detections(sv: Any, blob: Any, scale: float, left: int, top: int, infer: Any, size: tuple[int, int]) -> Any:
    """The network's objects as supervision's Detections, with a boolean mask of the frame's size each."""
    rows, prototypes = infer(blob)[:2]
    rows, prototypes = rows[0].T, prototypes[0]
    scores = rows[:, 4:84].max(axis=1)
    rows, scores = rows[scores > SCORE], scores[scores > SCORE]
    centres, sides = rows[:, :2], rows[:, 2:4]
    boxes_net = np.concatenate((centres - sides / 2, centres + sides / 2), axis=1)
    offset = np.array((left, top, left, top), np.float32)
    found = sv.Detections(
        xyxy=(boxes_net - offset) / scale,
        confidence=scores,
        class_id=rows[:, 4:84].argmax(axis=1),
        data={"coefficients": rows[:, 84:], "net": boxes_net},
    ).with_nms(threshold=IOU)
    if len(found):
        found.mask = np.stack(list(_masks(found.data["coefficients"], prototypes, found.data["net"], left, top, size)))
    return found


def _masks(coefficients: Any, prototypes: Any, boxes_net: Any, left: int, top: int, size: tuple[int, int]) -> Iterator[Any]:
    count, height, width = prototypes.shape
    logits = (coefficients @ prototypes.reshape(count, -1)).reshape(-1, height, width)
    stride = 640 // width
    rows, columns = np.ogrid[:height, :width]
    inner = slice(top // stride, height - top // stride), slice(left // stride, width - left // stride)
    for logit, box in zip(logits, boxes_net / stride, strict=True):
        inside = (columns >= box[0]) & (columns < box[2]) & (rows >= box[1]) & (rows < box[3])
        cropped = np.where(inside, 1 / (1 + np.exp(-logit)), 0)[inner]
        yield cv2.resize(cropped.astype(np.float32), size[::-1]) > 0.5


def make_clip(tracks: Path, path: Path, count: int = 150) -> str:
    """Write a 720p clip of four views of pedestrians, 640x360 each, cut from the TUD clips; returns its description.

    tracks: the folder of TUD-Campus and TUD-Stadtmitte.
    """
    import av

    clips = {name: list(_pictures(tracks / name / f"{name}.mp4")) for name in ("TUD-Stadtmitte", "TUD-Campus")}
    views = [("TUD-Stadtmitte", 0, False), ("TUD-Stadtmitte", 60, True), ("TUD-Stadtmitte", 120, False), ("TUD-Campus", 0, False)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for index in range(count):
            tiles = []
            for name, offset, is_mirrored in views:
                pictures = clips[name]
                place = (index + offset) % (2 * len(pictures) - 2)  # forwards and backwards, without a jump at the end
                tile = pictures[min(place, 2 * len(pictures) - 2 - place)][90:450]
                tiles.append(tile[:, ::-1] if is_mirrored else tile)
            picture = np.vstack((np.hstack(tiles[:2]), np.hstack(tiles[2:])))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return f"{count} frames of 1280x720: four views of 640x360 from TUD-Stadtmitte (thrice, one mirrored) and TUD-Campus, H.264"


def _pictures(path: Path) -> Iterator[Any]:
    import av

    with av.open(str(path)) as container:
        for frame in itertools.islice(container.decode(video=0), 200):
            yield frame.to_ndarray(format="bgr24")
