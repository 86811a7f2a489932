"""Importing a Keras model: read it, translate it, compare it with Keras, and write it with its card, both or none."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.families import DecodeSettings
from engines.files import sha256_of
from engines.importing import KerasImportError
from engines.importing.cards import ImportOptions, Meaning, meaning_of, things_of
from engines.importing.loaded import KerasModel
from engines.importing.network import Head, Network, split_head
from engines.importing.parity import OnnxRun, Parity, compared, probe_images
from engines.importing.sliding import Windows, windows
from engines.importing.translation import DEFAULT_SCALE, Pixels, Translation, takes_whole_pixels, translated
from engines.models.card import InputSpec, ModelCard
from engines.models.exporting import check_place, write_model
from engines.models.model import Model
from engines.segmenter import Segmenter
from engines.types import Size

OPEN_SIZE = Size(640, 384)
"""For a network with an open input: near usual frames, and multiples of 128, which nets with many levels need."""
SMALLEST_SIDE_PX = 8


@dataclass(frozen=True, slots=True)
class Source:
    """A Keras model to translate. network: without its last activation, `head`. is_scale_assumed: of `pixels`."""

    path: Path
    keras: KerasModel
    network: Network
    head: Head
    pixels: Pixels
    is_scale_assumed: bool

    def compared(self, made: Translation, size: Size, grid: Windows | None = None) -> Parity:
        """Compare Keras and the graph on probe images."""
        run = OnnxRun(made.model, made.result.channels)
        return compared(self.keras, run, self.pixels, self.head, probe_images(size), grid)

    def require(self, parity: Parity) -> None:
        """Raise KerasImportError where the two disagree."""
        if not parity.holds(self.keras.network.tolerance):
            disagreement = f"the translated model and Keras {self.keras.version} disagree ({parity})"
            what = f"{self.path}: {disagreement}, so nothing was written"
            raise KerasImportError(what, "Please report the model's layers (model.summary())")


@dataclass(frozen=True, slots=True)
class Draft:
    """A translated model, not yet written. grid: of a sliding classifier."""

    made: Translation
    meaning: Meaning
    size: Size
    parity: Parity
    grid: Windows | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """The written model and how it was made."""

    model: Model
    draft: Draft
    source: Source


def import_keras(path: Path, out: Path, options: ImportOptions) -> Imported:
    """Write the Keras model at `path` to `out` (NAME.onnx) with its card next to it (NAME.toml).

    Before that, the network is compared with Keras on pictures, and the file is run by this program's Segmenter.
    Raises KerasImportError, ModelFileError and CardError; then nothing is written.
    """
    check_place(out, [path])
    return write_imported(read_source(path, options), out, options)


def read_source(path: Path, options: ImportOptions) -> Source:
    """Load a Keras model. Raises KerasImportError."""
    keras = KerasModel(path)
    network, head = split_head(keras.network)
    is_whole = takes_whole_pixels(network)
    scale = options.scale if options.scale is not None else 1.0 if is_whole else DEFAULT_SCALE
    pixels = Pixels(network.input_shape[2], options.order, scale, options.offset or 0.0)
    return Source(path, keras, network, head, pixels, is_scale_assumed=options.scale is None and not is_whole)


def write_imported(source: Source, out: Path, options: ImportOptions) -> Imported:
    """Translate `source`, compare it with Keras, and write it. Raises as `import_keras` does."""
    draft = _windows_draft(source, options) if options.sliding else _map_draft(source, options)
    card = _card(source, draft, options, out)
    written = write_model(draft.made.model, card, out, lambda found: _run_once(found, draft))
    return Imported(written, draft, source)


def _map_draft(source: Source, options: ImportOptions) -> Draft:
    """The draft of a network that labels pixels."""
    size = _frame_size(source, options)
    made = translated(source.network, source.pixels, size)
    rows, columns = made.result.grid
    if (rows, columns) == (1, 1):
        what = f"{source.path}: is a classifier of whole pictures, not a segmentation model"
        raise KerasImportError(what, "Add --sliding to run it at every position of a frame")
    for cells, side in ((rows, size.height), (columns, size.width)):
        coarser = max(1, round(side / cells))
        if abs(cells * coarser - side) > coarser:
            what = f"{source.path}: labels {rows}x{columns} cells of a frame of {size.height}x{size.width}, without its borders"
            raise KerasImportError(what, 'Build its convolutions with padding="same"')
    meaning = meaning_of(made.result.channels, source.head, options, source.path)
    parity = source.compared(made, size)
    source.require(parity)
    return Draft(translated(source.network, source.pixels, size, meaning=meaning), meaning, size, parity)


def _windows_draft(source: Source, options: ImportOptions) -> Draft:
    """The draft of a sliding classifier. It must equal Keras on one window, and on a frame unless layers see neighbours."""
    height, width, _ = source.network.input_shape
    if height is None or width is None:
        what = f"{source.path}: its input is open ({height}x{width}), so the size of its window is unknown"
        raise KerasImportError(what, "Build it with keras.Input((height, width, channels))")
    made_shape = source.network.result_shape
    if len(made_shape) > 1 and made_shape[:-1] != (1, 1):
        shape = "x".join(map(str, made_shape[:-1]))
        raise KerasImportError(f"{source.path}: labels {shape} cells of its picture already", "Leave out --sliding")
    one = Size(width, height)
    small = translated(source.network, source.pixels, one, is_sliding=True)
    source.require(source.compared(small, one))
    grid = windows((height, width), small.result.stride, options.size, source.path)
    meaning = meaning_of(small.result.channels, source.head, options, source.path)
    made = translated(source.network, source.pixels, grid.frame, grid, meaning=meaning)
    parity = source.compared(made, grid.frame, grid)
    if not made.approximate:
        source.require(parity)
    return Draft(made, meaning, grid.frame, parity, grid)


def _frame_size(source: Source, options: ImportOptions) -> Size:
    """The input's size if it is fixed, else --size."""
    given = (options.size.height, options.size.width) if options.size else (None, None)
    sides = []
    for fixed, chosen, usual in zip(source.network.input_shape[:2], given, (OPEN_SIZE.height, OPEN_SIZE.width), strict=True):
        if fixed and chosen and fixed != chosen:
            shape = "x".join(map(str, source.network.input_shape[:2]))
            cure = "Leave out --size, or build it with keras.Input((None, None, channels))"
            raise KerasImportError(f"{source.path}: its input is fixed at {shape}", cure)
        sides.append(fixed or chosen or usual)
    height, width = sides
    if min(sides) < SMALLEST_SIDE_PX:
        what = f"{source.path}: an input of {height}x{width} is smaller than {SMALLEST_SIDE_PX} pixels"
        raise KerasImportError(what, "Choose a larger --size")
    return Size(width, height)


def _card(source: Source, draft: Draft, options: ImportOptions, out: Path) -> ModelCard:
    digest = sha256_of(source.path)
    how = [f"Imported from {source.path.name} (SHA-256 {digest}) with Keras {source.keras.version}", f"pixels {source.pixels}"]
    if draft.grid:
        (rows, columns), (down, across) = draft.grid.window, draft.grid.stride
        how.append(f"a window of {rows}x{columns} slides over the frame in steps of {down}x{across}")
    share = np.floor(draft.parity.agreement * 1e4) / 1e2
    # Windows were trained on undistorted pictures, so frames keep their aspect; other networks mostly on stretched ones.
    size_px = (draft.size.width, draft.size.height)
    spec = InputSpec("image", size_px, "nhwc", "uint8", "bgr", "letterbox" if options.sliding else "stretch")
    return ModelCard(
        name=options.name or out.stem,
        family=draft.meaning.family,
        input=spec,
        outputs={draft.meaning.role: draft.meaning.role},
        classes=draft.meaning.classes,
        things=things_of(draft.meaning, options),
        void=draft.meaning.void,
        recipe="; ".join(how) + ".",
        limits=_limits(draft),
        figures={"size_bytes": 0.0, f"{draft.parity.what}_as_keras_percent": float(share)},
    )


def _limits(draft: Draft) -> str:
    if draft.grid is None:
        return ""
    rows, columns = draft.grid.window
    text = f"Recognises things that fill a window of {rows}x{columns} pixels of its input, and not larger or smaller ones."
    if draft.made.approximate:
        text += f" {', '.join(draft.made.approximate)} pad a window with zeros, and see its neighbours when it slides."
    return text


def _run_once(written: Model, draft: Draft) -> None:
    """Run the file in this program's Segmenter: its labels must be those of plain ONNX Runtime."""
    image = probe_images(draft.size)[0]
    with Segmenter(written, "ort") as segmenter:
        segmentation = segmenter(image, DecodeSettings())
    if draft.meaning.family == "matting":
        ok = segmentation.alpha is not None and segmentation.alpha.size > 0
    else:
        void = [written.card.classes.index(name) for name in written.card.void]
        labels = OnnxRun(written.path)(image).argmax(axis=0)
        labels[np.isin(labels, void)] = 255
        ok = segmentation.class_map is not None and np.array_equal(segmentation.class_map, labels)
    if not ok:
        raise KerasImportError(f"{written.path.name}: this program reads its outputs wrongly", "Please report this")
