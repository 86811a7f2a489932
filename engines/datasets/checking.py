"""Checks a whole data set before training: all faults, and the set's statistics."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from engines.datasets.folder import ADD_LABEL, RENAME, find_images, is_hidden, shared_stem
from engines.datasets.holding import hold_out, unknown_lines
from engines.datasets.inspecting import Fault, PairFacts, alike_across, inspect_pair, same_bytes
from engines.datasets.settings import NAME_FILES, SetSettings, check_settings
from engines.datasets.splits import suggest_split, torn_sequences
from engines.datasets.texts import read_names
from engines.errors import DataError
from engines.types import I64, VOID_CLASS, Size

SURFACE_FOLDERS, INSTANCE_FOLDERS = ("surface", "lane"), ("instances", "inst")
"""Usual names of folders with further labels."""

SYSTEM_FILES = ("Thumbs.db", "desktop.ini")
"""What Windows leaves in folders of pictures; what a Mac leaves begins with a dot."""

BRIGHTNESS_PERCENTILES = (5, 50, 95)

EXAMPLES = 12
"""Images on a contact sheet."""


@dataclass(frozen=True)
class SetReport:
    """A set's statistics, and what is wrong with it.

    settings:     as they are, or as they would be written: names, split, folders of further labels.
    notes:        where those come from, in words.
    stems:        of the images. held_out: of the held-out ones.
    faults:       what must be fixed. warnings: what to know.
    class_pixels: (256,) int64 pixels of each class id. class_images: (256,) int64 images it occurs in.
    sizes:        number of images of each size.
    brightness:   5th, 50th and 95th percentile of the images' mean grey, 0..255; empty where no image could be read.
    examples:     stems of a few images without faults, for a contact sheet: every class is in one of them.
    """

    folder: Path
    settings: SetSettings
    notes: tuple[str, ...]
    stems: tuple[str, ...]
    held_out: frozenset[str]
    label_count: int
    faults: tuple[Fault, ...]
    warnings: tuple[str, ...]
    class_pixels: I64
    class_images: I64
    sizes: Counter[Size]
    brightness: tuple[float, ...]
    examples: tuple[str, ...]


def check_set(
    folder: Path,
    settings: SetSettings | None = None,
    class_names: Sequence[str] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> SetReport:
    """Check every file of a set.

    settings: of its dataset.toml, None where there is none. class_names: take precedence. on_progress: called with done, total.
    Raises DataError where there is nothing to check: no images/, no file in it, impossible names.
    """
    images, labels = find_images(folder), _labels(folder)
    names, notes = _class_names(folder, settings, class_names)
    layers = _layers(folder, settings)
    by_stem = {path.stem: path for path in images}
    facts = _inspect(folder, images, labels, layers, len(names) if names else None, on_progress)
    labels_read = [pair.counts for pair in facts if pair.counts is not None]
    pixels: I64 = np.sum(labels_read, axis=0, dtype=np.int64) if labels_read else np.zeros(256, np.int64)
    occurs: I64 = np.count_nonzero(labels_read, axis=0) if labels_read else np.zeros(256, np.int64)
    if not names:
        names = tuple(f"class{class_id}" for class_id in range(int(np.flatnonzero(pixels[:VOID_CLASS]).max(initial=0)) + 1))
        notes.append(f"classes named after their ids, up to the highest, {len(names) - 1}. Name them with --classes a,b,c")
    is_listed = settings is not None and bool(settings.hold_out_list)
    settings, note, warnings = _settings(folder, settings, names, layers, list(by_stem))
    held = hold_out(folder, settings, list(by_stem))
    held_out = frozenset(stem for stem in by_stem if stem in held)
    if held.unknown and is_listed:
        warnings.append(unknown_lines(settings.hold_out_list, held.unknown))
    if settings.hold_out or settings.hold_out_list:
        what = "no image" if not held_out else "every image" if len(held_out) == len(by_stem) else ""
        warnings += [f"hold_out matches {what}. Correct the patterns"] if what else torn_sequences(held_out, list(by_stem))
    faults = [
        *_broken_pairs(folder, images, labels),
        *_strays(folder, layers, by_stem),
        *(f for pair in facts for f in pair.faults),
    ]
    brightness = [pair.brightness for pair in facts if pair.brightness is not None]
    return SetReport(
        folder,
        settings,
        (*notes, note),
        tuple(by_stem),
        held_out,
        sum(path.suffix == ".png" for path in labels),
        tuple(sorted(faults, key=lambda fault: (fault.kind, fault.path))),
        (*warnings, *_set_wide(facts, settings.classes, held_out, pixels)),
        pixels,
        occurs,
        Counter(pair.size for pair in facts if pair.size is not None),
        tuple(float(value) for value in np.percentile(brightness, BRIGHTNESS_PERCENTILES)) if brightness else (),
        _examples(facts, len(settings.classes)),
    )


def _labels(folder: Path) -> list[Path]:
    if not (folder / "labels").is_dir():
        raise DataError(f"{folder}: has no folder labels/", "The label of images/NAME.jpg is labels/NAME.png, 8-bit class ids")
    files = sorted(path for path in (folder / "labels").iterdir() if path.is_file() and not is_hidden(path, folder))
    labels = [path for path in files if path.name not in (*NAME_FILES, *SYSTEM_FILES)]
    return labels


def _class_names(folder: Path, settings: SetSettings | None, class_names: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The names, and a note on their origin; () where none are given."""
    if class_names:
        return tuple(class_names), []
    if settings is not None:
        return settings.classes, []
    for name in NAME_FILES:
        path = folder / name
        if path.is_file():
            return read_names(path), [f"class names from {name}"]
    return (), []


def _layers(folder: Path, settings: SetSettings | None) -> tuple[str, str]:
    """Folders of surface and of instance labels: from the settings, else the existing ones; "" for none."""
    if settings is not None:
        return settings.surface, settings.instances
    surface, instances = (
        next((name for name in names if (folder / name).is_dir()), "") for names in (SURFACE_FOLDERS, INSTANCE_FOLDERS)
    )
    return surface, instances


def _inspect(
    folder: Path,
    images: Sequence[Path],
    labels: Sequence[Path],
    layers: tuple[str, str],
    class_count: int | None,
    on_progress: Callable[[int, int], None] | None,
) -> list[PairFacts]:
    label_of = {path.stem: path for path in labels if path.suffix == ".png"}

    def inspect(image: Path) -> PairFacts:
        surface, instances = (folder / name / f"{image.stem}.png" if name else None for name in layers)
        return inspect_pair(image, label_of.get(image.stem), surface, instances, class_count)

    facts = []
    with ThreadPoolExecutor(2) as threads:
        for pair in threads.map(inspect, images):
            facts.append(pair)
            if on_progress:
                on_progress(len(facts), len(images))
    return facts


def _settings(
    folder: Path, given: SetSettings | None, names: tuple[str, ...], layers: tuple[str, str], stems: Sequence[str]
) -> tuple[SetSettings, str, list[str]]:
    """The given settings with missing parts added, checked; a note on the split, and warnings."""
    settings = given or SetSettings(folder.resolve().name, names, surface=layers[0], instances=layers[1])
    settings = msgspec.structs.replace(settings, classes=names)
    note, warnings = "held out as in its settings", []
    if not (settings.hold_out or settings.hold_out_list):
        split = suggest_split(folder, stems)
        settings = msgspec.structs.replace(settings, hold_out=split.hold_out, hold_out_list=split.hold_out_list)
        note, warnings = f"held out {split.why}", list(split.warnings)
    check_settings(settings, str(folder))
    return settings, note, warnings


def _broken_pairs(folder: Path, images: Sequence[Path], labels: Sequence[Path]) -> list[Fault]:
    label_stems = {path.stem for path in labels if path.suffix == ".png"}
    faults = [
        Fault(path, "no label", f"has no label {folder / 'labels' / path.stem}.png", ADD_LABEL)
        for path in images
        if path.stem not in label_stems
    ]
    image_stems = {path.stem for path in images}
    for path in labels:
        if path.suffix != ".png" and path.suffix.lower() == ".png":
            faults.append(Fault(path, "not png", "is not found under this name", f"Rename it to {path.stem}.png"))
        elif path.suffix != ".png":
            faults.append(Fault(path, "not png", "is not a .png file", "Save labels as PNG: JPEG and the like change the ids"))
        elif path.stem not in image_stems:
            faults.append(Fault(path, "no image", _no_image(folder, path), "Add the image, or remove the label"))
    first: dict[str, Path] = {}
    doubles = [path for path in images if first.setdefault(path.stem, path) is not path]
    return faults + [Fault(path, "same stem", shared_stem(first[path.stem]), RENAME) for path in doubles]


def _no_image(folder: Path, label: Path) -> str:
    return f"has no image {folder / 'images' / label.stem}.*"


def _strays(folder: Path, layers: tuple[str, str], by_stem: dict[str, Path]) -> list[Fault]:
    """Further labels without an image, and missing folders."""
    faults = []
    for key, name in zip(("surface", "instances"), layers, strict=True):
        if name and not (folder / name).is_dir():
            faults.append(
                Fault(folder / name, "no folder", f'is missing, but the settings have {key} = "{name}"', "Correct them")
            )
        elif name:
            strays = (path for path in (folder / name).glob("*.png") if path.stem not in by_stem and not is_hidden(path, folder))
            faults += [Fault(path, "no image", _no_image(folder, path), "Remove it") for path in strays]
    return faults


def _set_wide(facts: Sequence[PairFacts], classes: Sequence[str], held_out: frozenset[str], pixels: I64) -> list[str]:
    """Warnings about the set as a whole."""
    used = np.flatnonzero(pixels)
    warnings = []
    if used.tolist() == [0, VOID_CLASS]:
        warnings.append("labels have only 0 and 255, and 255 is void. If 255 is meant as a class, write it as 1")
    missing = [name for class_id, name in enumerate(classes) if not pixels[class_id]]
    if missing:
        warnings.append(f"no pixel of {', '.join(missing)}: nothing can be learnt about it")
    digests = {pair.stem: pair.digest for pair in facts if pair.digest is not None}
    looks = {pair.stem: pair.look for pair in facts if pair.look is not None}
    twice = same_bytes(digests, held_out) + alike_across(looks, digests, held_out)
    return warnings + _one_sided(facts, classes, held_out, missing) + twice


def _one_sided(facts: Sequence[PairFacts], classes: Sequence[str], held_out: frozenset[str], missing: Sequence[str]) -> list[str]:
    """Classes that occur on one side of the split only."""
    if not held_out:
        return []
    there = {side: np.zeros(256, bool) for side in (False, True)}
    for pair in facts:
        if pair.counts is not None:
            there[pair.stem in held_out] |= pair.counts > 0
    warnings = []
    sides = {False: "only in held-out images: it cannot be learnt", True: "in no held-out image: it cannot be evaluated"}
    for side, text in sides.items():
        lacking = [name for index, name in enumerate(classes) if not there[side][index] and name not in missing]
        if lacking:
            warnings.append(f"{', '.join(lacking)}: {text}")
    return warnings


def _examples(facts: Sequence[PairFacts], class_count: int) -> tuple[str, ...]:
    """Stems that show every class, rare ones first, and then others spread over the set."""
    sound = [pair for pair in facts if pair.counts is not None and not pair.faults]
    if not sound:
        return ()
    shares = np.array([pair.counts[:class_count] / pair.counts.sum() for pair in sound if pair.counts is not None])
    chosen: dict[int, None] = {}
    for class_id in np.argsort(shares.sum(axis=0)).tolist():
        if shares[:, class_id].any() and not any(shares[index, class_id] > 0.01 for index in chosen):
            chosen[int(shares[:, class_id].argmax())] = None
    spread = np.unique(np.linspace(0, len(sound) - 1, EXAMPLES).round().astype(int)).tolist()
    for index in spread:
        chosen.setdefault(index)
    return tuple(sound[index].stem for index in sorted(list(chosen)[:EXAMPLES]))
