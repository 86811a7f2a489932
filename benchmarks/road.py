"""How well models see streets that nobody trained them on: `python -m benchmarks.road MODEL ... --shared SHARED`.

Of each set the images that the recipe `road` holds out, scored as pictures of a user are: through the whole program, at the
size of the labels, in the set's classes, or in the model's where the set has more. On the clips of fixed street cameras: how
many confirmed tracks of pedestrians there are, and how many people walk there. And the CPU time of a frame, one thread, in
turns with a reference network in the same run. SHARED is the folder with data/, tracks/ and models/. The result goes to
benchmarks/results/road.json.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before the libraries load: figures of one thread, without threads that spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import cv2
import numpy as np
import onnxruntime
import openvino

from engines.datasets.folder import DRIVABLE_BIT, LANE_BIT, Sample, open_set
from engines.datasets.settings import SetSettings
from engines.evaluation.mapping import class_table, truth_table
from engines.evaluation.scores import class_iou, confusion
from engines.families import DecodeSettings
from engines.models import zoo
from engines.segmenter import Segmenter
from engines.training.opening import read_recipe
from engines.types import I64, U8, VOID_CLASS
from realtime.cli import main as program
from realtime.judging.files import read_tracks

RESULTS = Path(__file__).parent / "results" / "road.json"
SETS = ("camvid", "idd-lite", "cityscapes-256", "pennfudan", "coco-220", "street-pseudo")
CLIPS = ("TUD-Campus", "TUD-Stadtmitte")
REFERENCE = "yolo11n-seg-coco/yolo11n-seg_coco_640.onnx"
ROUNDS = 15
SURFACES = {"drivable": DRIVABLE_BIT, "lane line": LANE_BIT}


def score(segmenter: Segmenter, folder: Path, settings: SetSettings) -> dict[str, float]:
    """mIoU, and the IoU of each class that is labelled there, in percent, on the set's held-out images."""
    names, table, truth = settings.classes, class_table(settings, segmenter.card.classes), np.arange(256).astype(np.uint8)
    if len(segmenter.card.classes) < len(names):
        names, table, truth = segmenter.card.classes, truth, truth_table(settings, segmenter.card.classes)
    counts = np.zeros((len(names), len(names) + 1), np.int64)
    surfaces = {name: [0, 0] for name in SURFACES}
    samples = open_set(folder, settings).held_out
    for sample in samples:
        found = segmenter(sample.image, DecodeSettings())
        assert found.class_map is not None
        counts += confusion(truth[sample.label], table[_sized(found.class_map, sample)], len(names))
        for name, bit in SURFACES.items() if sample.surface is not None and found.surface is not None else ():
            known, mine = sample.label != VOID_CLASS, _sized(found.surface, sample)
            is_there, is_found = (sample.surface & bit) > 0, mine == 2 if bit == LANE_BIT else mine > 0
            surfaces[name][0] += int((is_there & is_found & known).sum())
            surfaces[name][1] += int(((is_there | is_found) & known).sum())
    iou = labelled_iou(names, counts)
    mean = float(np.mean(list(iou.values())))
    iou |= {name: hits / either for name, (hits, either) in surfaces.items() if either}
    return {"images": len(samples), "mIoU": _percent(mean), **{name: _percent(v) for name, v in iou.items()}}


def labelled_iou(names: tuple[str, ...], counts: I64) -> dict[str, float]:
    """The IoU of each class that the set labels somewhere, 0..1: any other could only be found wrongly."""
    is_labelled = counts.sum(axis=1) > 0
    return {name: float(value) for name, value, there in zip(names, class_iou(counts), is_labelled, strict=True) if there}


def _sized(found: U8, sample: Sample) -> U8:
    return np.asarray(cv2.resize(found, sample.label.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def _percent(share: float) -> float:
    return round(100 * float(share), 1)


def walkers(model: str, clip: Path, card_classes: tuple[str, ...]) -> dict[str, int]:
    """The people who walk in a clip, and the confirmed tracks of pedestrians that the program counts."""
    with tempfile.TemporaryDirectory() as folder:
        mot = Path(folder) / "tracks.txt"
        code = program(["process", str(clip / f"{clip.name}.mp4"), "--model", model, "--backend", "ort", "--mot", str(mot)])
        assert code == 0
        rows = read_tracks(mot)
    assert rows.classes is not None
    kinds = [np.bincount(rows.classes[rows.ids == track]).argmax() for track in set(rows.ids.tolist())]
    mine = kinds.count(card_classes.index("pedestrian") + 1)
    return {"people": len(set(read_tracks(clip / "gt.txt").ids)), "pedestrian tracks": mine}


def runs(path: Path) -> dict[str, Callable[[], Any]]:
    """One frame of noise through a network, in each runtime, FP32, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (tensor,) = session.get_inputs()
    shape = [side if isinstance(side, int) else (1, 3, 640, 640)[axis] for axis, side in enumerate(tensor.shape)]
    kind = np.uint8 if "uint8" in tensor.type else np.float32
    frame = np.random.default_rng(0).integers(0, 255, shape).astype(kind)
    model = openvino.Core().read_model(path)
    model.reshape(shape)
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    return {"ONNX Runtime": lambda: session.run(None, {tensor.name: frame}), "OpenVINO": lambda: request.infer([frame])}


def cpu_ratios(models: list[str], reference: Path) -> dict[str, dict[str, float]]:
    """CPU time of a frame, relative to the reference network's: medians, all taking turns."""
    contenders = {name: runs(zoo.find(name).path) for name in models} | {"": runs(reference)}
    times: dict[tuple[str, str], list[float]] = {(name, key): [] for name, each in contenders.items() for key in each}
    for turn in range(ROUNDS + 1):
        for (name, key), spent in times.items():
            began = time.process_time()
            contenders[name][key]()
            if turn:  # the first one allocates
                spent.append(time.process_time() - began)
    middle = {pair: float(np.median(spent)) for pair, spent in times.items()}
    return {name: {key: round(middle[name, key] / middle["", key], 3) for key in contenders[name]} for name in models}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names or .onnx files")
    parser.add_argument("--shared", type=Path, required=True, help="the folder with data/, tracks/ and models/")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    sets = {settings.name: settings for settings in read_recipe("road").sets}
    ratios = cpu_ratios(options.models, options.shared / "models" / REFERENCE)
    results: dict[str, Any] = {}
    for model in options.models:
        with Segmenter(zoo.find(model), "ort") as segmenter:
            classes = segmenter.card.classes
            parts: dict[str, Any] = {name: score(segmenter, options.shared / "data" / name, _plain(sets[name])) for name in SETS}
        for clip in CLIPS:
            parts[clip] = walkers(model, options.shared / "tracks" / clip, classes)
        results[Path(model).stem] = parts | {f"CPU time relative to {Path(REFERENCE).stem}": ratios[model]}
        for title, figures in results[Path(model).stem].items():
            print(f"{model:12} {title:40} " + "  ".join(f"{name} {value:g}" for name, value in figures.items()), flush=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _plain(settings: SetSettings) -> SetSettings:
    """Without single objects, which are not scored here and which a set of one's own may lack."""
    return SetSettings(
        settings.name, settings.classes, hold_out=settings.hold_out, means=settings.means, surface=settings.surface
    )


if __name__ == "__main__":
    main()
