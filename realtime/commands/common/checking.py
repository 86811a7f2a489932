"""The work of `data check`: checks sets, prints reports, draws contact sheets, writes dataset.toml."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from engines.datasets.checking import SetReport, check_set
from engines.datasets.checking_objects import ObjectReport, check_objects
from engines.datasets.folder import find_images, read_sample
from engines.datasets.settings import FILE_NAME, open_settings, write_settings
from engines.datasets.truth import TruthSet, open_objects
from engines.errors import DataError, printable
from engines.files import write_whole
from engines.models import zoo
from engines.models.class_sets import class_set
from engines.types import VOID_CLASS, Image, Size
from realtime.commands.common.tables import bar, counted, percent, table
from realtime.errors import SettingsError, SinkError
from realtime.process.progress import Progress
from realtime.render.palette import named_colours
from realtime.reports.sheets import Legend, Row, blend, sheet

if TYPE_CHECKING:
    from realtime.commands.data import Check

SHOWN_FAULTS = 8
"""Of each kind; --all shows all."""

SHOWN_SIZES = 3

PROGRESS_DELAY_S = 1.0
"""Shorter work shows no progress."""

BACKGROUND = "#5c5c5c"
"""Grey, so that other classes stand out."""


def check_sets(options: Check) -> int:
    """Check each folder or dataset.toml file; 1 where one has a fault."""
    sets = options.sets
    known = class_set(options.classes or "")
    classes = known.names if known else tuple(name.strip() for name in options.classes.split(",")) if options.classes else ()
    alone = [f"--{key}" for key in ("out", "sheet") if getattr(options, key)]
    if len(sets) > 1 and alone:
        raise SettingsError(f"{' and '.join(alone)} with {len(sets)} sets: only one file is named", "Check the sets one by one")
    if not all(classes):
        raise SettingsError(f'--classes "{",".join(classes)}": a name is empty', "Write a,b,c")
    is_clean = True
    for index, path in enumerate(sets):
        print("\n" * bool(index), end="")
        is_clean &= _check(Path(path).expanduser(), classes, options)
    return 0 if is_clean else 1


def _check(path: Path, classes: Sequence[str], options: Check) -> bool:
    """Check one set and print the report; whether it has no faults."""
    if not path.exists():
        raise DataError(f"{path}: no such folder")
    if (truths := open_objects(path, "all", tuple(classes))) is not None:
        return _check_objects(path, truths, options)
    is_described = path.is_file() or (path / FILE_NAME).is_file()
    folder, settings = open_settings(path) if is_described else (path, None)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    with Progress(f"checking {folder.resolve().name}", "images", delay_s=PROGRESS_DELAY_S) as progress:
        report = check_set(folder, settings, classes, progress.show)
    print(printable(describe(report, show_all=options.all), "\n"))
    if report.examples:
        target = Path(options.sheet or f"out/{report.settings.name}-sheet.png")
        write_png(target, contact_sheet(report))
        print(f"sheet       {target}")
    if options.write or options.out:
        target = Path(options.out or (path if path.is_file() else folder / FILE_NAME))
        is_new = write_settings(report.settings, target, folder, overwrite=options.force)
        print(f"{'written' if is_new else 'unchanged':<11} {target}")
    elif not is_described:
        names = ["--classes", shlex.quote(",".join(classes))] if classes else []
        command = " ".join(["run.py data check", shlex.quote(str(path)), *names, "--write"])
        before = "fix the faults; then " if report.faults else ""
        print(f"to train    {before}{command}   writes {FILE_NAME} with these classes and this split")
    return not report.faults


def _check_objects(path: Path, truths: TruthSet, options: Check) -> bool:
    """The same for a set of outlines, which has no contact sheet."""
    with Progress(f"checking {truths.settings.name}", "images", delay_s=PROGRESS_DELAY_S) as progress:
        report = check_objects(truths, progress.show)
    print(printable(describe_objects(report, show_all=options.all), "\n"))
    if options.write or options.out:
        if not path.is_dir():
            raise SettingsError(f"{path}: has its classes and its images in itself", "Use it as it is: --data FILE")
        target = Path(options.out or path / FILE_NAME)
        is_new = write_settings(truths.settings, target, path, overwrite=options.force)
        print(f"{'written' if is_new else 'unchanged':<11} {target}")
    return not report.faults


def describe_objects(report: ObjectReport, *, show_all: bool = False) -> str:
    """The report as text."""
    truths, count = report.truths, len(report.truths.names)
    names, most = truths.settings.classes, max(1, *report.objects.values()) if report.objects else 1
    rows = [
        (name, str(report.objects[index]), bar(report.objects[index] / most), str(report.images[index]))
        for index, name in enumerate(names)
    ]
    total = counted(sum(report.objects.values()), "object")
    shown = report.faults if show_all else report.faults[:SHOWN_FAULTS]
    rest = [f"            ... and {len(report.faults) - len(shown)} more (--all shows them)"] if shown != report.faults else []
    lines = [
        f"{truths.settings.name}: {counted(count, 'image')}, {total}, {counted(len(names), 'class', 'classes')}, "
        f"{_sizes(report.sizes)}",
        f"split       {truths.described}",
        "",
        *table(("class", "objects", "", "images"), rows, "lrlr"),
        f"{counted(report.empty, 'image')} without an object",
        "",
        *(f"fault       {line}" for line in shown),
        *rest,
        counted(len(report.faults), "fault") if report.faults else "no faults",
        "to score    run.py evaluate MODEL --data with this path; training needs labels/NAME.png of 8-bit class ids",
    ]
    return "\n".join(lines)


def describe(report: SetReport, *, show_all: bool = False) -> str:
    """The report as text."""
    settings, images = report.settings, len(report.stems)
    held, layers = len(report.held_out), {"surface": settings.surface, "instance": settings.instances}
    lines = [
        f"{settings.name}: {counted(images, 'image')}, {counted(report.label_count, 'label')}, "
        f"{counted(len(settings.classes), 'class', 'classes')}, {_sizes(report.sizes)}",
        f"split       {images - held} to train on, {held} held out ({_split(report)})",
        *(f"note        {note}" for note in report.notes),
        *(f"also        {name}/ has {key} labels" for key, name in layers.items() if name),
    ]
    if report.brightness:
        dark, middle, light = report.brightness
        lines.append(f"brightness  {dark:.0f} to {light:.0f} for nine images of ten, median {middle:.0f} (mean grey, 0..255)")
    lines += ["", *_balance(report), ""]
    lines += [f"warning     {warning}" for warning in report.warnings]
    lines += _faults(report, show_all)
    return "\n".join(lines)


def _sizes(counts: Counter[Size]) -> str:
    sizes = counts.most_common()
    if len(sizes) == 1:
        return f"all {sizes[0][0]}"
    shown = ", ".join(f"{size} ({count})" for size, count in sizes[:SHOWN_SIZES])
    return f"{len(sizes)} sizes: {shown}{', ...' if len(sizes) > SHOWN_SIZES else ''}" if sizes else "none readable"


def _split(report: SetReport) -> str:
    if report.settings.hold_out_list:
        return report.settings.hold_out_list
    patterns = report.settings.hold_out
    return (", ".join(patterns[:6]) + (f", ... {len(patterns)} patterns" if len(patterns) > 6 else "")) or "nothing"


def _balance(report: SetReport) -> list[str]:
    """A table of classes: their share of the labelled pixels, and of the images."""
    pixels, images = report.class_pixels, max(1, report.label_count)
    labelled = max(1, int(pixels[:VOID_CLASS].sum()))
    largest = max(1, int(pixels[:VOID_CLASS].max()))
    rows = [
        (name, percent(pixels[index] / labelled), bar(pixels[index] / largest), percent(report.class_images[index] / images))
        for index, name in enumerate(report.settings.classes)
    ]
    lines = table(("class", "pixels", "", "images"), rows, "lrlr")
    void = pixels[VOID_CLASS] / max(1, int(pixels.sum()))
    return [*lines, f"void: {percent(void)} of all pixels, in {percent(report.class_images[VOID_CLASS] / images)} of the images"]


def _faults(report: SetReport, show_all: bool) -> list[str]:
    if not report.faults:
        return ["no faults"]
    counts = Counter(fault.kind for fault in report.faults)
    listed: Counter[str] = Counter()
    lines = []
    for fault in report.faults:
        listed[fault.kind] += 1
        if show_all or listed[fault.kind] <= SHOWN_FAULTS:
            lines.append(f"fault       {fault}")
        elif listed[fault.kind] == SHOWN_FAULTS + 1:
            lines.append(f"            ... and {counts[fault.kind] - SHOWN_FAULTS} more of this kind (--all shows them)")
    return [*lines, counted(len(report.faults), "fault")]


def contact_sheet(report: SetReport) -> Image:
    """The report's examples, each next to a copy with its label drawn over it."""
    settings = report.settings
    legend = legend_of(settings.classes)
    images = {path.stem: path for path in reversed(find_images(report.folder))}
    rows, seen = [], np.zeros(256, bool)
    for stem in report.examples:
        sample = read_sample(images[stem], report.folder / "labels" / f"{stem}.png", settings)
        seen[np.unique(sample.label)] = True
        held = ", held out" if stem in report.held_out else ""
        rows.append(Row(f"{stem}{held}", (sample.image, blend(sample.image, sample.label, legend))))
    shown = [index for index in range(len(settings.classes)) if seen[index]]
    heading = f"{settings.name}: {len(rows)} of {len(report.stems)} images"
    return sheet(heading, rows, legend, shown=shown, with_void=bool(seen[VOID_CLASS]))


def legend_of(names: tuple[str, ...]) -> Legend:
    """Colours for class names: those of the default model where it has the class, such as a blue sky."""
    card = next((card for card, _ in zoo.cards() if card.name == zoo.DEFAULT_MODEL), None)
    return Legend(names, named_colours(names, {"background": BACKGROUND, **(card.palette if card else {})}))


def write_png(path: Path, image: Image, cure: str = "") -> None:
    """Raises SinkError that names the file."""
    is_encoded, data = cv2.imencode(".png", image)
    assert is_encoded, "any BGR picture can be a PNG"
    write_file(path, data.tobytes(), cure)


def write_file(path: Path, data: bytes | str, cure: str = "") -> None:
    """Raises SinkError that names the file."""
    try:
        write_whole(path, data)
    except OSError as error:
        raise SinkError(f"{path}: cannot be written ({error.strerror or error})", cure) from error
