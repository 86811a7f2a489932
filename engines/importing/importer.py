"""Importing a Keras model: read it, translate it, compare it with Keras, and write it with its card, whole or not at all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.families import DecodeSettings
from engines.importing.cards import Meaning, Wishes, input_of, meaning_of, things_of
from engines.importing.errors import KerasImportError
from engines.importing.files import check_file
from engines.importing.head import Head, split_head
from engines.importing.loaded import KerasModel
from engines.importing.network import Network
from engines.importing.parity import OnnxRun, Parity, probe_images, some_windows, whole_frames
from engines.importing.pixels import DEFAULT_SCALE, Pixels, takes_whole_pixels
from engines.importing.sliding import Windows, windows
from engines.importing.translation import Translation, translated
from engines.models.card import ModelCard
from engines.models.model import Model
from engines.onnx_graph.exporting import check_place, write_model
from engines.segmenter import Segmenter
from engines.types import Size

OPEN_SIZE = Size(640, 384)
"""For a network whose input is open: near the usual frames, and a multiple of what nets with many levels want."""

SMALLEST_SIDE_PX = 8


@dataclass(frozen=True, slots=True)
class Source:
    """A Keras model as it is going to be translated. network: without its last activation, `head`."""

    path: Path
    keras: KerasModel
    network: Network
    head: Head
    pixels: Pixels

    def compared(self, made: Translation, size: Size, grid: Windows | None = None) -> Parity:
        """What Keras and the graph say about pictures made for the purpose."""
        run = OnnxRun(made.model, made.result.channels)
        if grid is not None:
            return some_windows(self.keras, run, self.pixels, self.head, probe_images(size), grid)
        return whole_frames(self.keras, run, self.pixels, self.head, probe_images(size))

    def demand(self, parity: Parity) -> None:
        """Raises KerasImportError where the two do not say the same."""
        if not parity.holds(self.keras.network.tolerance):
            raise KerasImportError(
                f"{self.path}: translated, it does not say what Keras {self.keras.version} says ({parity}); nothing was written. "
                "Please report the model's layers (model.summary())"
            )


@dataclass(frozen=True, slots=True)
class Draft:
    """A translated model before it is written. grid: of a classifier that slides."""

    made: Translation
    meaning: Meaning
    size: Size
    parity: Parity
    grid: Windows | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """What was written, and how it came about."""

    model: Model
    draft: Draft
    source: Source
    is_scale_assumed: bool


def import_keras(path: Path, out: Path, wishes: Wishes) -> Imported:
    """Write the Keras model at `path` to `out` (NAME.onnx) with its card beside it (NAME.toml).

    Before the two take their places the network is compared with Keras on pictures, and the file is run by this program's own
    Segmenter. Raises KerasImportError, ModelFileError, CardError; nothing is written then.
    """
    check_file(path)
    check_place(out, [path])
    keras = KerasModel(path)
    network, head = split_head(keras.network)
    pixels, is_assumed = _pixels(network, wishes)
    source = Source(path, keras, network, head, pixels)
    draft = _windows_draft(source, wishes) if wishes.sliding else _map_draft(source, wishes)
    card = _card(source, draft, wishes, out)
    written = write_model(draft.made.model, card, out, lambda found: _run_once(found, draft))
    return Imported(written, draft, source, is_assumed)


def _pixels(network: Network, wishes: Wishes) -> tuple[Pixels, bool]:
    """How pixels enter, and whether their scale is only what networks usually want."""
    is_whole = takes_whole_pixels(network)
    scale = wishes.scale if wishes.scale is not None else 1.0 if is_whole else DEFAULT_SCALE
    return Pixels(network.input_shape[2], wishes.order, scale, wishes.offset or 0.0), wishes.scale is None and not is_whole


def _map_draft(source: Source, wishes: Wishes) -> Draft:
    """Of a network that labels pixels by itself."""
    size = _frame_size(source, wishes)
    made = translated(source.network, source.pixels, size)
    rows, columns = made.result.grid
    if (rows, columns) == (1, 1):
        raise KerasImportError(
            f"{source.path}: says one thing of a whole picture: a classifier, not a segmentation model; "
            "--sliding runs it at every place of a frame"
        )
    for cells, side in ((rows, size.height), (columns, size.width)):
        coarser = max(1, round(side / cells))
        if abs(cells * coarser - side) > coarser:
            raise KerasImportError(
                f"{source.path}: labels {rows}x{columns} cells of a frame of {size.height}x{size.width}, which do not span it: "
                'its convolutions eat the borders; build it with padding="same"'
            )
    meaning = meaning_of(made.result.channels, source.head, wishes, source.path)
    parity = source.compared(made, size)
    source.demand(parity)
    return Draft(translated(source.network, source.pixels, size, meaning=meaning), meaning, size, parity)


def _windows_draft(source: Source, wishes: Wishes) -> Draft:
    """Of a classifier that slides. On one window it must say what Keras says; on a frame too, unless layers see neighbours."""
    height, width, _ = source.network.input_shape
    if height is None or width is None:
        raise KerasImportError(
            f"{source.path}: its input is open ({height}x{width}), so the size of its window is not known; "
            "build it with keras.Input((height, width, channels))"
        )
    made_shape = source.network.result_shape
    if len(made_shape) > 1 and made_shape[:-1] != (1, 1):
        shape = "x".join(map(str, made_shape[:-1]))
        raise KerasImportError(f"{source.path}: labels {shape} cells of its picture by itself; leave --sliding out")
    one = Size(width, height)
    small = translated(source.network, source.pixels, one, is_sliding=True)
    source.demand(source.compared(small, one))
    grid = windows((height, width), small.result.stride, wishes.size, source.path)
    meaning = meaning_of(small.result.channels, source.head, wishes, source.path)
    made = translated(source.network, source.pixels, grid.frame, grid, meaning=meaning)
    parity = source.compared(made, grid.frame, grid)
    if not made.approximate:
        source.demand(parity)
    return Draft(made, meaning, grid.frame, parity, grid)


def _frame_size(source: Source, wishes: Wishes) -> Size:
    """The input's, where it is fixed; else what was asked for."""
    asked = (wishes.size.height, wishes.size.width) if wishes.size else (None, None)
    sides = []
    for fixed, wanted, usual in zip(source.network.input_shape[:2], asked, (OPEN_SIZE.height, OPEN_SIZE.width), strict=True):
        if fixed and wanted and fixed != wanted:
            shape = "x".join(map(str, source.network.input_shape[:2]))
            raise KerasImportError(
                f"{source.path}: its input is fixed at {shape}; leave --size out, "
                "or build it with keras.Input((None, None, channels))"
            )
        sides.append(fixed or wanted or usual)
    height, width = sides
    if min(sides) < SMALLEST_SIDE_PX:
        raise KerasImportError(f"{source.path}: an input of {height}x{width} is smaller than {SMALLEST_SIDE_PX} pixels")
    return Size(width, height)


def _card(source: Source, draft: Draft, wishes: Wishes, out: Path) -> ModelCard:
    digest = hashlib.sha256(source.path.read_bytes()).hexdigest()
    how = [f"Imported from {source.path.name} (SHA-256 {digest}) with Keras {source.keras.version}", f"pixels {source.pixels}"]
    if draft.grid:
        (rows, columns), (down, across) = draft.grid.window, draft.grid.stride
        how.append(f"a window of {rows}x{columns} slides over the frame in steps of {down}x{across}")
    share = np.floor(draft.parity.agreement * 1e4) / 1e2
    return ModelCard(
        name=wishes.name or out.stem,
        family=draft.meaning.family,
        input=input_of(draft.size, wishes.sliding),
        outputs={draft.meaning.role: draft.meaning.role},
        classes=draft.meaning.classes,
        things=things_of(draft.meaning, wishes),
        void=draft.meaning.void,
        recipe="; ".join(how) + ".",
        limits=_limits(draft),
        figures={"size_bytes": 0.0, f"{draft.parity.what}_as_keras_percent": float(share)},
    )


def _limits(draft: Draft) -> str:
    if draft.grid is None:
        return ""
    rows, columns = draft.grid.window
    said = (
        f"Knows things that fill a window of {rows}x{columns} pixels of its input; larger and smaller ones it takes for others."
    )
    if draft.made.approximate:
        said += (
            f" {', '.join(draft.made.approximate)} pad a window's edge with noughts alone, and see its neighbours when it slides."
        )
    return said


def _run_once(written: Model, draft: Draft) -> None:
    """The file through this program's own Segmenter: it must label a frame as ONNX Runtime's plain answer says."""
    image = probe_images(draft.size)[0]
    with Segmenter(written, "ort") as segmenter:
        segmentation = segmenter(image, DecodeSettings())
    if draft.meaning.family == "matting":
        whole: Any = segmentation.alpha
        ok = whole is not None and whole.size > 0
    else:
        void = [written.card.classes.index(name) for name in written.card.void]
        labels = OnnxRun(written.path)(image).argmax(axis=0)
        labels[np.isin(labels, void)] = 255
        ok = segmentation.class_map is not None and np.array_equal(segmentation.class_map, labels)
    if not ok:
        raise KerasImportError(f"{written.path.name}: its card makes this program read it wrongly; please report this")
