"""The models, and the backends that can run them here, as text."""

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from engines.backends import here as backends_here
from engines.errors import CardError
from engines.models import zoo
from engines.models.card import ModelCard
from engines.models.collection.exporters import Exporters, bundled_exporters, read_exporters
from engines.models.collection.manifest import Manifest, bundled_manifest, read_manifest
from realtime.commands.common.tables import table

LICENCE_COLUMNS = 44
"""Of a licence in the table; `models info NAME` shows all of it."""

INDENT = 9
"""Width of a card's keys."""


def list_models(name_or_path: str | None) -> int:
    """Print a table of the bundled models and the user's own, or one model's card."""
    if name_or_path is not None:
        model = zoo.find(name_or_path)
        print_card(model.card, model.path, model.assumed)
        return 0
    here = ", ".join(backends_here())
    head = ("NAME", "FROM", "FAMILY", "CLASSES", "INPUT", "SIZE", "LICENCE", "BACKENDS HERE")
    print("\n".join(table(head, [_row(name, here) for name in zoo.names()], "l" * len(head))))
    print("\nTo download:\n")
    print_downloads(read_manifest(bundled_manifest()), read_exporters(bundled_exporters()))
    print("\nAny other ONNX segmentation model: --model FILE.onnx, or give it a name: run.py models add FILE.onnx")
    return 0


def print_downloads(listed: Manifest, exporters: Exporters) -> None:
    """Print a table of what `models get` can get: size, licence, what it is for."""
    rows = [
        (name, f"{entry.size_bytes / 1e6:.1f} MB", entry.licence.partition(",")[0], entry.description)
        for name, entry in listed.models.items()
    ]
    for name, export in exporters.models.items():
        maker = exporters.maker_of(name)
        rows.append((f"{name} *", f"{export.size_mb:.1f} MB", maker.licence.partition(",")[0], export.description))
    if not rows:
        print("This version lists no downloads. run.py models add takes any .onnx file.")
        return
    print("\n".join(table(("NAME", "SIZE", "LICENCE", "FOR"), rows, "lrll")))
    if exporters.models:
        print(
            "\n* made here by its maker's own exporter, in an environment that is removed at the end: minutes, gigabytes of disk"
        )
    print(f"\nrun.py models get {rows[0][0]} shows where from and under which licence, and asks before it downloads.")


def _row(name: str, here: str) -> tuple[str, ...]:
    origin = "bundled" if name in zoo.bundled_names() else "you"
    try:
        card, path = zoo.card_of(name)
    except CardError:  # listed all the same, as are the others
        return name, origin, "its card cannot be read: run.py models verify", "", "", "", "", ""
    size = f"{path.stat().st_size / 1e6:.1f} MB" if path.is_file() else "missing"
    licence = textwrap.shorten(card.licence, LICENCE_COLUMNS, placeholder=" ...")
    return name, origin, card.family, str(len(card.classes)), str(card.input.size), size, licence, here


def print_card(card: ModelCard, path: Path, assumed: Sequence[str] = ()) -> None:
    """Print all facts of a card, one per line. assumed: those that nothing says."""
    facts = {
        "name": card.name,
        "file": f"{path} ({path.stat().st_size / 1e6:.1f} MB)",
        "family": card.family,
        "input": f"{card.input.size} {card.input.dtype} {card.input.layout} {card.input.channels}, {card.input.fit}",
        "outputs": ", ".join(f"{role} = {tensor}" for role, tensor in card.outputs.items()),
        "assumed": f"{', '.join(assumed)}: neither its file nor a card says so" if assumed else "",
        "states": ", ".join(f"{source} into {tensor}" for tensor, source in card.states.items()),
        "fed": ", ".join(f"{tensor} = {number:g}" for tensor, number in card.constants.items()),
        "classes": ", ".join(card.classes),
        "objects": ", ".join(card.things) if card.things != card.classes else "all classes",
        "about": card.description,
        "licence": card.licence,
        "source": card.source,
        "data": card.data,
        "recipe": card.recipe,
        "limits": card.limits,
        "figures": "\n\n".join(_figures(card.figures)),
    }
    for key, value in facts.items():
        if value:
            print_fact(key, value)


def print_fact(key: str, value: str) -> None:
    """As wide as the terminal."""
    columns = shutil.get_terminal_size((120, 24)).columns - INDENT
    print(f"{key:<{INDENT}}" + f"\n{'':{INDENT}}".join(_folded(value, columns)))


def _figures(figures: Mapping[str, float]) -> list[str]:
    """Figures of one set in one text: "camvid held out: mIoU 52.5, sky 93.3"; those of no set first."""
    by_set: dict[str, list[str]] = {"": []}
    for name, value in figures.items():
        of_set, _, what = name.rpartition(": ")
        by_set.setdefault(of_set, []).append(f"{what} {value:.10g}")
    return [f"{of_set}: {', '.join(figures)}" if of_set else ", ".join(figures) for of_set, figures in by_set.items() if figures]


def _folded(text: str, columns: int) -> list[str]:
    """A card's text in lines of so many columns: paragraphs are wrapped, but a command stays as it is, to be copied."""
    lines: list[str] = []
    prose: list[str] = []
    is_command = False
    for line in [*text.strip().splitlines(), ""]:
        is_command = line.startswith("run.py ") or (is_command and lines[-1].endswith("\\"))
        if is_command or not line:
            lines += textwrap.wrap(" ".join(prose), max(columns, 40), break_long_words=False, break_on_hyphens=False)
            prose = []
        if is_command:
            lines.append(line)
        elif line:
            prose.append(line)
    return lines
