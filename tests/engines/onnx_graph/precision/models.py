"""The networks that casts are tested on: the bundled ones, and shared ones with the cards that they need."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from engines.building.parity import CANDIDATE_SETTINGS, REFERENCE_SETTINGS, compare
from engines.models.model import Model
from engines.onnx_graph.precision import cast_precision, rounded_for_cpu
from engines.plans.passport import ParityReport
from engines.segmenter import Segmenter
from engines.types import Image

from ...models.test_shared_models import CAMVID, CITYSCAPES, IMAGENET, ODD, VOC, Case

BUNDLED = sorted((Path(__file__).parents[4] / "assets" / "models").glob("*/model.onnx"))

WITH_CARD = {
    "coral_cityscapes": Case("coral-deeplab/deeplab_mobilenet_edgetpu_slim_cityscapes_quant", CITYSCAPES, "", "", 0, 0),
    "coral_voc": Case("coral-deeplab/deeplabv3_mnv2_pascal_quant", VOC, "background", "", 0, 0),
    "coral_voc_small": Case("coral-deeplab/deeplabv3_mnv2_dm05_pascal_quant", VOC, "background", "", 0, 0),
    "espnet": Case("espnet-city-camvid/espnet_camvid_480x360", (*CAMVID, "void"), "void", ODD, 0, 0),
    **{
        f"espnetv2_{size}": Case(
            f"espnetv2-cityscapes/espnetv2_s2.0_city_{size}", (*CITYSCAPES, "ignored"), "ignored", IMAGENET, 0, 0
        )
        for size in ("512x256", "640x480", "1024x512")
    },
}
YOLO = ("yolo11n-seg-coco/yolo11n-seg_coco_320", "yolo11n-seg-coco/yolo11n-seg_coco_640")
WITHOUT_FAMILY = (
    "mediapipe-selfie/selfie_segmentation",
    "mediapipe-selfie/selfie_segmentation_landscape",
    "twinlitenet-bdd100k/twinlitenet_640x360",
    "yolox-nano-coco/yolox_nano",
)
LARGER = ("espnetv2-cityscapes/espnetv2_s2.0_city_1024x512", "yolo11n-seg-coco/yolo11n-seg_coco_640")
"""A network that is also there at a smaller size, with the same nodes: cast, but neither built nor run."""

SHARED = (*(case.file for case in WITH_CARD.values()), *YOLO, *WITHOUT_FAMILY)


@functools.lru_cache(maxsize=32)
def cast_of(path: Path, precision: Any) -> onnx.ModelProto:
    """Cached: other tests get the same object, so do not change it."""
    return cast_precision(onnx.load(path), precision)


def parity(model: Model, network: onnx.ModelProto, frames: Sequence[Image], folder: Path) -> ParityReport:
    """How the results of `network` on `frames`, rounded on the CPU, compare with those of `model`."""
    path = folder / "rounded.onnx"
    onnx.save(rounded_for_cpu(network), str(path))
    with Segmenter(model, "ort") as segmenter:
        wanted = [segmenter(frame, REFERENCE_SETTINGS) for frame in frames]
    with Segmenter(dataclasses.replace(model, path=path), "ort") as segmenter:
        found = [segmenter(frame, CANDIDATE_SETTINGS) for frame in frames]
    return compare(wanted, found)
