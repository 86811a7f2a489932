"""Scores of single objects as COCO defines them: average precision over mask (or box) IoU; precision and recall at the threshold.

The matching is that of pycocotools, COCO's own code. AP is over all areas, 100 objects per image, IoU 0.5 to 0.95 in steps of
0.05, mean over the classes that occur. Source: Lin et al., "Microsoft COCO", 2014; its site, "Evaluate".
"""

import contextlib
import io
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from engines.datasets.folder import TrueObject
from engines.errors import DataError, EvaluationError
from engines.types import F32, U8, VOID_CLASS, Size

MAX_OBJECTS = 100
"""Per image; COCO's own limit."""

AT_50, AT_75 = 0, 5
"""Places of IoU 0.5 and 0.75 among the thresholds."""

By = Literal["mask", "box"]


@dataclass(frozen=True, slots=True)
class ObjectFigures:
    """All in 0..1, NaN where undefined.

    ap, ap50, ap75: mean over the classes. ap_of: of each class. precision, recall, f1: at `threshold`, IoU 0.5.
    truths: ground-truth objects without crowds. found: detections at the threshold. hits: the correct ones of these.
    crowded: images with more objects than the `MAX_OBJECTS` detections of each that count, so that some cannot be found.
    """

    by: By
    ap: float
    ap50: float
    ap75: float
    ap_of: tuple[float, ...]
    threshold: float
    precision: float
    recall: float
    f1: float
    truths: int
    found: int
    hits: int
    crowded: int = 0


@dataclass(frozen=True, slots=True)
class Review:
    """One image's objects. f1: at the threshold and IoU 0.5, NaN where there are none. truth, found: (H, W) uint8, 255 none."""

    f1: float
    truth: U8
    found: U8


@dataclass
class ObjectScorer:
    """Collects images; `figures` scores them. Raises EvaluationError where pycocotools is not installed.

    threshold: lowest score of an object for precision, recall and F1.
    """

    class_count: int
    threshold: float
    by: By = "mask"
    _images: list[dict[str, Any]] = field(default_factory=list)
    _truths: list[dict[str, Any]] = field(default_factory=list)
    _found: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._mask, self._new_coco, self._new_evaluation = _pycocotools()

    @property
    def has_truths(self) -> bool:
        """Whether any image so far has an object that can be found: crowds are not counted."""
        return any(not entry["iscrowd"] for entry in self._truths)

    def add_image(self, size: Size, truths: Sequence[TrueObject]) -> None:
        """Begin the next image. Raises DataError for an invalid outline."""
        self._images.append({"id": len(self._images) + 1, "width": size.width, "height": size.height})
        for truth in truths:
            rle = self._encode(truth.outline, size)
            self._add(self._truths, truth.class_id, **self._shape(rle), iscrowd=int(truth.is_crowd))

    def add_mask(self, class_id: int, score: float, mask: U8) -> None:
        """A detection in the current image. mask: (H, W) uint8 of 0 and 1, of the image's size."""
        rle = self._mask.encode(np.asfortranarray(mask))
        if self._mask.area(rle):
            self._add(self._found, class_id, **self._shape(rle), score=score, iscrowd=0)

    def add_box(self, class_id: int, score: float, box_px: F32) -> None:
        """A detection without a mask. box_px: x_min, y_min, x_max, y_max."""
        x0, y0, x1, y1 = map(float, box_px)
        box = [x0, y0, x1 - x0, y1 - y0]
        self._add(self._found, class_id, bbox=box, area=box[2] * box[3], segmentation=[], score=score, iscrowd=0)

    def review(self, size: Size) -> Review:
        """The scores and maps of the current image. By mask only."""
        now = len(self._images)
        truths = [entry for entry in self._truths if entry["image_id"] == now and not entry["iscrowd"]]
        found = [entry for entry in self._found if entry["image_id"] == now and entry["score"] >= self.threshold]
        found.sort(key=lambda entry: -float(entry["score"]))
        hits = 0
        if truths and found:
            masks = [[entry["segmentation"] for entry in entries] for entries in (found, truths)]
            overlaps = np.asarray(self._mask.iou(*masks, [0] * len(truths)))
            for row, entry in enumerate(found):
                for column, truth in enumerate(truths):
                    overlaps[row, column] *= entry["category_id"] == truth["category_id"]
                best = int(overlaps[row].argmax())
                if overlaps[row, best] >= 0.5:
                    hits += 1
                    overlaps[:, best] = 0  # one object is found once
        count = len(truths) + len(found)
        return Review(2 * hits / count if count else float("nan"), self._painted(truths, size), self._painted(found[::-1], size))

    def _painted(self, entries: list[dict[str, Any]], size: Size) -> U8:
        """(H, W) uint8 of class ids, the last on top, 255 elsewhere."""
        painted = np.full((size.height, size.width), VOID_CLASS, np.uint8)
        with warnings.catch_warnings():  # pycocotools 2.0.11 does not know NumPy 2's `copy` yet
            warnings.simplefilter("ignore", DeprecationWarning)
            for entry in entries:
                painted[self._mask.decode(entry["segmentation"]) > 0] = entry["category_id"] - 1
        return painted

    def figures(self) -> ObjectFigures:
        """The scores over all images."""
        evaluation = self._evaluated()
        precision = evaluation.eval["precision"][:, :, :, 0, 0]  # (IoU thresholds, recall steps, classes); -1: does not occur
        hits, found, truths = self._at_threshold(evaluation)
        of_class = [_mean_known(precision[:, :, class_id]) for class_id in range(self.class_count)]
        precision_at, recall_at = hits / found if found else float("nan"), hits / truths if truths else float("nan")
        both = found + truths
        return ObjectFigures(
            self.by,
            _mean_known(precision),
            _mean_known(precision[AT_50]),
            _mean_known(precision[AT_75]),
            tuple(of_class),
            self.threshold,
            precision_at,
            recall_at,
            2 * hits / both if both else float("nan"),
            truths,
            found,
            hits,
            self._crowded(),
        )

    def _crowded(self) -> int:
        truths = Counter(entry["image_id"] for entry in self._truths if not entry["iscrowd"])
        found = Counter(entry["image_id"] for entry in self._found if entry["score"] >= self.threshold)
        full = {image for image, count in found.items() if count >= MAX_OBJECTS}
        return len(full | {image for image, count in truths.items() if count > MAX_OBJECTS})

    def _evaluated(self) -> Any:
        categories = [{"id": class_id + 1, "name": str(class_id)} for class_id in range(self.class_count)]
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints each of its steps
            truth, found = self._new_coco(), self._new_coco()
            for coco, annotations in ((truth, self._truths), (found, self._found)):
                coco.dataset = {"images": self._images, "categories": categories, "annotations": annotations}
                coco.createIndex()
            evaluation = self._new_evaluation(truth, found, "segm" if self.by == "mask" else "bbox")
            parameters = evaluation.params
            parameters.areaRng, parameters.areaRngLbl, parameters.maxDets = [[0, 1e10]], ["all"], [MAX_OBJECTS]
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation

    def _at_threshold(self, evaluation: Any) -> tuple[int, int, int]:
        """Hits, detections and ground-truth objects, at IoU 0.5 and with scores from the threshold on.

        Matching goes from the best score down, so detections below the threshold take no object from those above.
        """
        hits = found = truths = 0
        for image in evaluation.evalImgs:
            if image is None:
                continue
            counts = ~np.asarray(image["dtIgnore"][AT_50], bool) & (np.asarray(image["dtScores"]) >= self.threshold)
            found += int(counts.sum())
            hits += int((counts & (np.asarray(image["dtMatches"][AT_50]) > 0)).sum())
            truths += int((np.asarray(image["gtIgnore"]) == 0).sum())
        return hits, found, truths

    def _add(self, entries: list[dict[str, Any]], class_id: int, **facts: Any) -> None:
        """Ids begin at 1: pycocotools takes 0 for "no match"."""
        entries.append({"id": len(entries) + 1, "image_id": len(self._images), "category_id": class_id + 1, **facts})

    def _shape(self, rle: Any) -> dict[str, Any]:
        mask = self._mask
        return {"segmentation": rle, "area": float(mask.area(rle)), "bbox": mask.toBbox(rle).tolist()}

    def _encode(self, outline: Any, size: Size) -> Any:
        """The outline as compressed run lengths. Raises DataError for an invalid one."""
        mask = self._mask
        try:
            if isinstance(outline, np.ndarray):
                return mask.encode(np.asfortranarray(outline))
            if isinstance(outline, dict):
                is_plain = isinstance(outline["counts"], list)
                rle = mask.frPyObjects(outline, *outline["size"]) if is_plain else outline
                if list(rle["size"]) != [size.height, size.width]:
                    raise DataError(f"an outline is for {rle['size'][1]}x{rle['size'][0]} pixels, but its image is {size}")
                return rle
            return mask.merge(mask.frPyObjects([list(map(float, polygon)) for polygon in outline], size.height, size.width))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"an outline is neither polygons nor run lengths in COCO's format ({error})") from error


def _mean_known(precision: Any) -> float:
    """The mean without -1, which means "does not occur" in pycocotools."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")


def _pycocotools() -> tuple[Any, Any, Any]:
    try:
        from pycocotools import mask
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        cure = "Install it: pip install -e '.[evaluate]' (outside of a checkout: pip install 'realtime-segmentation[evaluate]')"
        raise EvaluationError("pycocotools, which scores single objects, is not installed", cure) from error
    return mask, COCO, COCOeval
