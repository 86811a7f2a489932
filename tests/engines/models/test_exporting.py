"""Exported files: complete or absent, loaded and run again on every backend."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from google.protobuf.message import EncodeError

from engines.building.frames import real_frames
from engines.building.parity import BARS, CANDIDATE_SETTINGS, REFERENCE_SETTINGS, compare, shortfall
from engines.errors import CardError, ModelFileError
from engines.models import zoo
from engines.models.card import ModelCard
from engines.models.exporting import PRECISIONS, cast_model, export_model, quantiser_of, write_model
from engines.models.model import Model, find_card, load_model
from engines.segmenter import Segmenter
from engines.types import Image, Segmentation, Size
from tests.fakes.gpu.tensorrt_rules import refusals

from ..conftest import ZERO_TO_ONE

pytestmark = pytest.mark.slow


@pytest.fixture
def source(nets) -> Model:
    """A network that separates blue, green and red, in a folder of its own."""
    nets.folder = nets.folder / "source"
    nets.folder.mkdir()
    return load_model(nets.semantic(card=f'things = ["class 1"]\n{ZERO_TO_ONE}channels = "bgr"\n'))


@pytest.fixture
def target(source: Model, tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder / "made.onnx"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def see(model: Model, backend: str, image: np.ndarray) -> Segmentation:
    with Segmenter(model, backend) as segmenter:
        return segmenter(image)


# The written files


@pytest.mark.parametrize("batch", [1, "dynamic"])
@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_exported_model_loads_and_runs_on_every_backend(
    source: Model,
    target: Path,
    cpu_backends: tuple[str, ...],
    painted: Callable[..., Any],
    fuse: bool,
    precision: str,
    batch: Any,
) -> None:
    made = export_model(source, target, fuse=fuse, precision=precision, size=Size(40, 24), batch=batch)
    assert names(target.parent) == ["made.onnx", "made.toml"]
    assert load_model(target) == made
    assert find_card(target) == target.with_suffix(".toml")
    assert made.path == target
    assert made.precision == precision
    assert made.card.input.size == Size(40, 24)
    assert made.card.input.dtype == ("float16" if precision == "fp16" else "float32")
    assert ("labels" in made.card.outputs) == fuse
    assert made.card.sha256
    wanted = np.repeat([[0, 1, 1, 2]], 24, axis=0).repeat(10, axis=1)
    for backend in cpu_backends:
        found = see(made, backend, painted(wanted))
        np.testing.assert_array_equal(found.class_map, wanted)
        np.testing.assert_allclose(found.instances.boxes_px, [[10, 0, 30, 24]], atol=1e-3)


def test_the_card_records_the_export_and_keeps_everything_else(nets, tmp_path: Path) -> None:
    source = zoo.find(zoo.DEFAULT_MODEL)
    made = export_model(source, tmp_path / "again.onnx", fuse=True)
    same = {"file": source.card.file, "sha256": source.card.sha256, "recipe": source.card.recipe, "figures": source.card.figures}
    assert msgspec.structs.replace(made.card, **same) == source.card
    assert made.card.recipe.startswith(source.card.recipe)
    last = made.card.recipe.splitlines()[-1]
    assert last.startswith(
        f"Exported from model.onnx (SHA-256 {source.card.sha256}): input 448x256, batch 1; outputs as they were."
    )
    assert made.card.figures == {**source.card.figures, "size_bytes": float(made.path.stat().st_size)}


@pytest.mark.parametrize("options", [{"precision": "fp16"}, {"size": Size(320, 192)}], ids=["fp16", "size"])
def test_figures_measured_on_the_original_are_dropped(tmp_path: Path, options: dict[str, Any]) -> None:
    """50.6 mIoU is what the model reaches at its own size and precision."""
    made = export_model(zoo.find(zoo.DEFAULT_MODEL), tmp_path / "small.onnx", fuse=False, **options)
    assert made.card.figures == {"size_bytes": float(made.path.stat().st_size)}


def test_empty_card_entries_are_not_filled_from_the_metadata_again(nets, tmp_path: Path) -> None:
    """A default that is not written would be guessed again."""
    card = f'things = []\nlicence = "unknown"\ndescription = ""\n{ZERO_TO_ONE}'
    source = load_model(nets.semantic(card=card, metadata={"license": "AGPL-3.0", "description": "colours"}))
    made = export_model(source, tmp_path / "made.onnx", fuse=True)
    for key in ("things", "licence", "description"):
        assert getattr(made.card, key) == getattr(source.card, key)


def test_an_export_can_be_exported(source: Model, target: Path) -> None:
    first = export_model(source, target, fuse=True)
    again = export_model(first, target.with_name("again.onnx"), fuse=True, precision="fp16")
    assert len(again.card.recipe.splitlines()) == 2
    assert again.card.outputs == first.card.outputs
    over = export_model(source, target, fuse=False)
    assert load_model(target) == over, "an earlier export is overwritten"
    assert "logits" in over.card.outputs


def test_weights_in_a_separate_file_are_included(nets, tmp_path: Path, cpu_backend: str) -> None:
    source = load_model(nets.semantic("outside", external_data=True))
    folder = tmp_path / "target"
    folder.mkdir()
    made = export_model(source, folder / "made.onnx", fuse=True)
    assert names(folder) == ["made.onnx", "made.toml"]
    assert see(made, cpu_backend, np.full((24, 32, 3), (0, 255, 0), np.uint8)).class_map.tolist() == [[1] * 32] * 24  # type: ignore[union-attr]


def test_the_longest_file_name_works_also_a_second_time(source: Model, target: Path) -> None:
    path = target.with_name("n" * 250 + ".onnx")
    for fuse in (False, True):
        assert export_model(source, path, fuse=fuse).path.is_file()


# Other precisions


def test_the_command_offers_every_precision() -> None:
    assert tuple(BARS) == PRECISIONS


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_bundled_network_in_another_precision_gives_similar_results(tmp_path: Path, precision: str) -> None:
    frames = real_frames(None, 4)
    model = zoo.find(zoo.DEFAULT_MODEL)
    made = export_model(model, tmp_path / "cast.onnx", fuse=True, precision=precision)
    assert made.precision == precision
    assert f"cast to {precision}" in made.card.recipe
    if precision == "bf16":
        pytest.importorskip("openvino")  # ONNX Runtime's CPU has no bfloat16 products
    backend = "openvino" if precision == "bf16" else "ort"
    seen = []
    for candidate, settings in ((model, REFERENCE_SETTINGS), (made, CANDIDATE_SETTINGS)):
        with Segmenter(candidate, backend if candidate is made else "ort") as segmenter:
            seen.append([segmenter(frame, settings) for frame in frames])
    report = compare(*seen)
    assert not shortfall(report, precision), report


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_bytes_are_cast_from_floats_as_tensorrt_needs_it(nets, tmp_path: Path, precision: str) -> None:
    source = load_model(
        nets.semantic(form="labels_uint8", dtype="uint8", layout="nhwc", card='classes = ["red", "green", "blue"]\n')
    )
    assert refusals(onnx.load(source.path))
    exported = export_model(source, tmp_path / "exported.onnx", fuse=False, precision=precision)
    assert refusals(onnx.load(exported.path)) == []


def test_int8_ranges_are_measured_on_the_given_frames(tmp_path: Path, cpu_backends: tuple[str, ...]) -> None:
    """Its accuracy is tested with engines.onnx_graph.precision."""
    frames = real_frames(None, 4)
    model = zoo.find(zoo.DEFAULT_MODEL)
    written = []
    for number, calibration in enumerate((frames, frames[:1])):
        path = tmp_path / f"int8_{number}.onnx"

        def in_int8(network: Any, card: ModelCard, calibration: list[Image] = calibration) -> tuple[Any, ModelCard]:
            return cast_model(network, card, "int8-qdq", quantiser=quantiser_of(network, card, calibration))

        made = export_model(model, path, fuse=True, precision="int8-qdq", size=Size(160, 96), in_int8=in_int8)
        assert made.precision == "int8"
        assert made.card.input.dtype == model.card.input.dtype
        written.append(path.read_bytes())
        for backend in cpu_backends:
            assert see(made, backend, frames[0]).class_map is not None
    assert written[0] != written[1]


# Refused before any work


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("made.txt", r"an exported model is an .onnx file\. Call it made\.onnx"),
        ("made", r"Call it made\.onnx"),
        ("", r"Call it target\.onnx"),
        ("nowhere/made.onnx", r"there is no folder .*nowhere\. Create it first"),
        ("file/made.onnx", r"there is no folder .*file\. Create it first"),
        ("folder.onnx", r"is a folder\. Choose another file"),
        ("card.onnx", r"card\.toml: is a folder"),
        ("n" * 300 + "/made.onnx", "cannot be written .*File name too long"),
        ("n" * 300 + ".onnx", "cannot be written .*File name too long"),
    ],
    ids=lambda text: text[:20],
)
def test_a_bad_place_is_refused(source: Model, target: Path, name: str, words: str) -> None:
    (target.parent / "file").write_text("")
    for folder in ("folder.onnx", "card.toml"):
        (target.parent / folder).mkdir()
    before = names(target.parent)
    with pytest.raises(ModelFileError, match=words):
        export_model(source, target.parent / name, fuse=False)
    assert names(target.parent) == before


@pytest.mark.parametrize("name", [".", "..", "/", ""])
def test_a_place_without_a_name_is_refused(source: Model, name: str) -> None:
    with pytest.raises(ModelFileError, match=r"Call it model\.onnx"):
        export_model(source, Path(name), fuse=False)


def test_the_source_is_never_overwritten(source: Model, target: Path) -> None:
    """Neither the network nor its card, by whatever path."""
    folder = source.path.parent
    target.symlink_to(source.path)
    shared_card = folder / "shared"
    shared_card.mkdir()
    (shared_card / "model.onnx").write_bytes(source.path.read_bytes())
    (shared_card / "card.toml").write_text(source.path.with_suffix(".toml").read_text())
    before = contents(shared_card)
    for model, out in (
        (source, source.path),
        (source, folder / ".." / folder.name / source.path.name),
        (source, target),
        (load_model(shared_card / "model.onnx"), shared_card / "card.onnx"),
    ):
        with pytest.raises(ModelFileError, match=r"belongs to the model that is exported\. Choose another file"):
            export_model(model, out, fuse=False)
    assert contents(shared_card) == before
    assert load_model(source.path) == source


def test_a_file_of_another_kind_is_not_taken_for_an_old_card(source: Model, target: Path) -> None:
    """`--out pyproject.onnx` would overwrite pyproject.toml."""
    target.with_suffix(".toml").write_text("[project]\n")
    with pytest.raises(ModelFileError, match=r"made\.toml: exists and is not the card of an earlier made\.onnx"):
        export_model(source, target, fuse=False)
    assert contents(target.parent) == {"made.toml": b"[project]\n"}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"precision": "fp8"}, ModelFileError, r'unknown precision "fp8"\. Known: fp32, fp16, bf16, int8-qdq'),
        ({"batch": 2}, CardError, r'a fixed batch of 2 does not suit a camera, which gives one frame at a time\. Use "dynamic"'),
        ({"batch": 0}, CardError, "batch 0 is out of range"),
        ({"size": Size(4, 4)}, CardError, "an input of 4x4 is too small"),
    ],
    ids=["precision", "batch", "no batch", "size"],
)
def test_a_wrong_option_is_refused(
    source: Model, target: Path, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        export_model(source, target, fuse=False, **options)
    assert names(target.parent) == []


def test_a_card_that_its_family_refuses_is_reported_first(source: Model, target: Path) -> None:
    """It ended in a KeyError, or wrote a file that nothing opens."""
    for outputs, family in (({"predictions": "logits"}, "yolo_seg"), ({}, "semantic"), ({"logits": "logits"}, "semantics")):
        card = msgspec.structs.replace(source.card, outputs=outputs, family=family)
        for fuse in (False, True):
            with pytest.raises(CardError):
                export_model(dataclasses.replace(source, card=card), target, fuse=fuse)
    assert names(target.parent) == []


# Complete or not at all


FULL = OSError(errno.ENOSPC, "No space left on device")


def full_disk(*_: Any, **__: Any) -> None:
    raise FULL


@pytest.fixture(params=[False, True], ids=["new", "over an earlier one"])
def before(request: pytest.FixtureRequest, source: Model, target: Path) -> dict[str, bytes]:
    """The files that exist before: none, or an earlier export."""
    if request.param:
        export_model(source, target, fuse=False)
    return contents(target.parent)


@pytest.mark.parametrize("part", ["the network", "the card", "a link to the earlier files"])
def test_a_full_disk_leaves_the_earlier_files(
    source: Model, target: Path, before: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    if part == "the network":
        monkeypatch.setattr(onnx, "save", full_disk)
    elif part == "the card":
        monkeypatch.setattr(Path, "write_text", full_disk)
    else:
        monkeypatch.setattr(os, "link", full_disk)
        monkeypatch.setattr(shutil, "copy2", full_disk)
    if part.startswith("a link") and not before:
        export_model(source, target, fuse=True)  # there is nothing to link to
        return
    with pytest.raises(ModelFileError, match=r"made\.onnx: cannot be written \(No space left on device\)\. Choose another place"):
        export_model(source, target, fuse=True)
    assert contents(target.parent) == before


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full disk", "Ctrl-C"])
@pytest.mark.parametrize("suffix", [".onnx", ".toml"])
@pytest.mark.parametrize("can_link", [True, False])
def test_a_move_that_fails_leaves_the_earlier_files(
    source: Model,
    target: Path,
    before: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    error: BaseException,
    can_link: bool,
) -> None:
    """An earlier export was lost when its new card could not take its place."""
    replace = Path.replace

    def fail_once(path: Path, to: Path) -> Path:
        if path.suffix == suffix and Path(to).suffix == suffix:
            raise error
        return replace(path, to)

    monkeypatch.setattr(Path, "replace", fail_once)
    if not can_link:
        monkeypatch.setattr(os, "link", full_disk)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else ModelFileError):
        export_model(source, target, fuse=True)
    assert contents(target.parent) == before


def test_a_symbolic_link_is_replaced_and_its_target_is_kept(source: Model, target: Path) -> None:
    other = export_model(source, target.with_name("other.onnx"), fuse=False)
    kept = other.path.read_bytes()
    for suffix in (".onnx", ".toml"):
        target.with_suffix(suffix).symlink_to(other.path.with_suffix(suffix))
    export_model(source, target, fuse=True)
    assert not target.is_symlink()
    assert other.path.read_bytes() == kept


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(source: Model, target: Path) -> None:
    target.parent.chmod(0o555)
    try:
        with pytest.raises(ModelFileError, match=r"the folder .* is not writable\. Choose another place"):
            export_model(source, target, fuse=False)
    finally:
        target.parent.chmod(0o755)


def test_a_folder_that_takes_no_files_is_refused(source: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc takes no new files, not even from root."""
    if not Path("/proc/self").is_dir():
        pytest.skip("no /proc here")
    with pytest.raises(ModelFileError, match="Choose another place"):
        export_model(source, Path("/proc/made.onnx"), fuse=False)


@pytest.mark.parametrize("error", [ValueError("message too big"), EncodeError("Failed to serialize proto")], ids=repr)
def test_more_than_an_onnx_file_can_hold_is_refused(
    source: Model, target: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def too_large(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(onnx, "save", too_large)
    with pytest.raises(ModelFileError, match="larger than an ONNX file can be"):
        export_model(source, target, fuse=False)
    assert names(target.parent) == []


def test_a_network_that_does_not_run_is_not_written(source: Model, target: Path, before: dict[str, bytes]) -> None:
    """After a bug in a cast or in fusing: nothing is replaced, and the message does not name the temporary folder."""
    card = msgspec.structs.replace(source.card, outputs={"logits": "nowhere"})
    with pytest.raises(CardError, match=r"made\.onnx: its card names the output") as caught:
        write_model(onnx.load(source.path), card, target)
    assert ".export-" not in str(caught.value)
    assert contents(target.parent) == before
