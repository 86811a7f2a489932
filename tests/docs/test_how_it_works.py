"""docs/how-it-works.md agrees with the code: its lines of Python give the shown output, and its tables the defaults."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import cv2
import msgspec
import numpy as np
import pytest

from engines.datasets.folder import Sample
from engines.models.card import InputSpec
from engines.training.augment import augment
from engines.training.data import CELL_PX, OFFSET_SCALE_PX, instance_targets
from engines.training.opening import read_recipe
from engines.training.recipe import Augmentation, Composites, Recipe, Schedule

try:
    import torch
except ImportError:  # the tables can be read without it
    torch = None  # type: ignore[assignment]

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "how-it-works.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
PICTURES = ("augmentation.jpg", "centres.jpg", "convolution.jpg", "curves.png", "sight.jpg")
MOST_BYTES = 120_000


needs_torch = pytest.mark.skipif(torch is None, reason='needs torch: pip install -e ".[train]"')


def load(path: Path) -> ModuleType:
    """A script of the repository, as a module."""
    spec = importlib.util.spec_from_file_location(f"scripts_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def chapters() -> list[doctest.DocTest]:
    """The document's lines of Python, by chapter; line numbers are the file's."""
    plain = re.sub(r"^```.*$", "", TEXT, flags=re.MULTILINE)
    starts = [0, *(match.start() for match in re.finditer(r"^## ", plain, re.MULTILINE)), len(plain)]
    found = []
    for start, end in pairwise(starts):
        line = plain.count("\n", 0, start)
        found.append(doctest.DocTestParser().get_doctest(plain[start:end], {}, f"line {line + 1}", str(DOCUMENT), line))
    return [chapter for chapter in found if chapter.examples]


@needs_torch
def test_every_line_of_python_gives_the_output_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    names: dict[str, Any] = {}  # shared by all chapters, as for a reader who types them
    failures: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF)
    for chapter in chapters():
        chapter.globs = names
        runner.run(chapter, out=failures.append, clear_globs=False)
    tried = runner.summarize(verbose=False) if not failures else None
    assert not failures, "".join(failures)
    assert tried is not None
    assert tried.attempted > 70


class Row(NamedTuple):
    """A row of one of the document's tables of settings."""

    key: str
    changes: str
    default: str


def table_rows(heading: str) -> list[Row]:
    """Rows of the table whose header is `heading`: its columns key, changes and default, in any order."""
    lines = TEXT[TEXT.index(heading) :].split("\n\n", 1)[0].splitlines()
    columns = [cell.strip() for cell in lines[0].strip("|").split("|")]
    rows = []
    for line in lines[2:]:
        cells = dict(zip(columns, (cell.strip().strip("`") for cell in line.strip("|").split("|")), strict=True))
        rows.append(Row(cells["key"], cells.get("changes", ""), cells["default"]))
    return rows


AUGMENTATION = table_rows("| key | what it does | changes | default |")
REGULARISATION = table_rows("| name | what it does | key | default |")
OF_AUGMENTATION = [row for row in AUGMENTATION if row.key.startswith("augmentation.")]


def defaults() -> dict[str, Any]:
    """Key → default, of a recipe with only its required keys, as plain values."""
    recipe = Recipe("r", ("a", "b"), (64, 64), Schedule(steps=1), composites=Composites("set", "class"))
    facts: dict[str, Any] = msgspec.to_builtins(recipe)
    tables = {key: value for key, value in facts.items() if isinstance(value, dict)}
    nested = {f"{table}.{key}": value for table, values in tables.items() for key, value in values.items()}
    return {**facts, **nested}


@pytest.mark.parametrize("row", [*AUGMENTATION, *REGULARISATION], ids=lambda row: row.key)
def test_a_setting_has_the_default_of_the_document(row: Row) -> None:
    known = defaults()
    assert row.key in known
    default = known[row.key]
    assert ast.literal_eval(row.default) == (list(default) if isinstance(default, tuple) else default)


def test_no_setting_of_augmentation_is_left_out() -> None:
    documented = {row.key for row in AUGMENTATION}
    assert {f"augmentation.{name}" for name in Augmentation.__struct_fields__} <= documented
    assert {key for key in defaults() if key.startswith("composites.")} <= {*documented, "composites.source", "composites.class"}
    assert all(f"`{key}`" in TEXT for key in ("composites.source", "composites.class"))


NEUTRAL = Augmentation(
    crop_px=(96, 64), scale=(1, 1), aspect=(1, 1), rotate_deg=0, flip=0, brightness=0, contrast=0, gamma=(1, 1),
    white_balance=0, saturation=0, hue_deg=0, blur=0, noise=0,
)  # fmt: skip
STRONG: dict[str, Any] = {
    "crop_px": (64, 32), "scale": (2, 2), "aspect": (2, 2), "rotate_deg": 45.0, "gamma": (2.5, 2.5), "hue_deg": 90.0,
    "blur": 1.0, "noise": 1.0, "flip": 1.0, "contrast": 0.9, "saturation": 2.0, "brightness": 0.5, "white_balance": 0.5,
    "jpeg": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("row", OF_AUGMENTATION, ids=lambda row: row.key)
def test_a_setting_changes_the_picture_and_the_label_or_the_picture_alone(row: Row) -> None:
    name = row.key.removeprefix("augmentation.")
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (8, 12, 3), np.uint8)
    image = np.asarray(cv2.resize(coarse, (96, 64), interpolation=cv2.INTER_CUBIC), np.uint8)
    label = np.asarray(cv2.resize(rng.integers(0, 5, (8, 12), np.uint8), (96, 64), interpolation=cv2.INTER_NEAREST), np.uint8)
    spec = InputSpec("image", (96, 64), "nhwc", "uint8", "bgr", "stretch")
    before, after = NEUTRAL, msgspec.structs.replace(NEUTRAL, **{name: STRONG.get(name)})
    if name == "noise_level":  # counts where there is noise
        before, after = msgspec.structs.replace(NEUTRAL, noise=1.0), msgspec.structs.replace(NEUTRAL, noise=1.0, noise_level=60.0)
    first, second = (augment(Sample("s", image, label), spec, how, np.random.default_rng(3)) for how in (before, after))
    assert not np.array_equal(first.image, second.image)
    assert {"both": True, "picture": False}[row.changes] is not np.array_equal(first.label, second.label)


@pytest.mark.parametrize("path", sorted((ROOT / "assets" / "models").glob("*/model.onnx")), ids=lambda path: path.parent.name)
def test_a_bundled_model_has_no_batch_norm(path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    kinds = {node.op_type for node in onnx.load(str(path)).graph.node}
    assert "Conv" in kinds
    assert "BatchNormalization" not in kinds


@needs_torch
def test_batch_norm_folds_into_the_convolution() -> None:
    from engines.training.model import ConvNorm

    torch.manual_seed(0)
    conv, norm, _ = ConvNorm(3, 16, 3, "relu").eval()
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    folded = torch.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
    pixels = torch.rand(1, 3, 32, 32)
    assert torch.allclose(folded(pixels), norm(conv(pixels)), atol=1e-5)


def test_all_cells_of_an_object_point_to_one_centre() -> None:
    objects = np.zeros((96, 160), np.uint8)
    objects[20:60, 24:88] = 1
    targets = instance_targets(objects, objects > 0)
    y, x = np.argwhere(targets.is_object).T
    votes = (np.stack((x, y)) + 0.5) * CELL_PX + targets.offsets[:, y, x] * OFFSET_SCALE_PX
    assert np.allclose(votes, [[56], [40]], atol=1e-3)


@needs_torch
def test_weight_decay_shrinks_a_weight_by_the_documented_factor() -> None:
    from engines.training.train import make_optimizer

    recipe = Recipe("r", ("a", "b"), (64, 64), Schedule(steps=1))
    lonely = torch.nn.Conv2d(1, 1, 1, bias=False)
    lonely.weight.data, lonely.weight.grad = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    make_optimizer(lonely, recipe).step()
    assert lonely.weight.item() == pytest.approx(1 - recipe.schedule.learning_rate * recipe.schedule.weight_decay, abs=1e-7)
    assert f"({lonely.weight.item():.5f} at the full rate)" in TEXT


def test_the_recipe_binary_shows_forty_images_as_often_as_documented() -> None:
    schedule = read_recipe("binary").schedule
    assert f"({schedule.steps} steps of {schedule.batch} crops) shows each {schedule.steps * schedule.batch // 40} times" in TEXT


@needs_torch
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_the_code_makes_today(name: str) -> None:
    path = ROOT / "docs" / "pictures" / name
    assert f"(pictures/{name})" in TEXT
    assert path.stat().st_size <= MOST_BYTES
    made = load(path.with_name("make.py")).PICTURES[name]()
    shown = cv2.imread(str(path))
    assert shown is not None
    assert shown.shape == made.shape
    # By blocks of 8x8 pixels, whose mean JPEG keeps: its artefacts do not count.
    blocks = [cv2.resize(each, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA).astype(int) for each in (shown, made)]
    assert np.abs(blocks[0] - blocks[1]).mean() < 2, "run docs/pictures/make.py, and look at the picture"


def test_the_document_shows_exactly_these_pictures() -> None:
    assert set(re.findall(r"\(pictures/([^)]+)\)", TEXT)) == set(PICTURES)


def test_every_link_leads_to_a_file() -> None:
    links = re.findall(r"\]\(([^)#]+)", TEXT)
    assert len(links) > 8
    assert not [link for link in links if not (DOCUMENT.parent / link).is_file()]


@needs_torch
def test_figures_are_the_measured_ones() -> None:
    ablations = load(ROOT / "benchmarks" / "ablations.py")
    measured = json.loads((ROOT / "benchmarks" / "results" / "ablations.json").read_text(encoding="utf-8"))
    assert measured["summary"] == ablations.summary(measured["runs"])
    assert ablations.table(measured["summary"]) in TEXT
    # The statements below the table.
    differing = {name: row for name, row in measured["summary"].items() if row["beyond_the_spread"]}
    base, colour = measured["summary"]["base"], measured["summary"]["no change of colour"]
    assert list(differing) == ["no change of colour"]
    assert colour["trained_on_miou"] > base["trained_on_miou"]
    assert colour["held_out_miou"] < base["held_out_miou"] - 10
