# ruff: noqa: E402
"""The deployed net: every output against the net's maps, pixel by pixel or cell by cell."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from engines.training.data import CELL_PX, OFFSET_SCALE_PX
from engines.training.deployed import PEAK_WINDOW_CELLS, PEAKS, Deployed, as_byte, centre_heat, peaks, torch_predictor
from engines.training.model import normalised, upsampled

from .nets import random_net, ripples

ALL = ("surface", "instances")


def answers(deployed: Deployed, *images: np.ndarray) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return dict(zip(deployed.output_names, deployed(torch.from_numpy(np.stack(images))), strict=True))


@pytest.mark.parametrize(
    ("output", "heads", "names"),
    [
        ("labels", (), ("labels", "confidence")),
        ("labels", ("surface",), ("labels", "confidence", "surface")),
        ("labels", ALL, ("labels", "confidence", "peaks", "offsets", "surface")),
        ("alpha", (), ("alpha",)),
        ("alpha", ("instances",), ("alpha", "peaks", "offsets")),
    ],
)
def test_it_has_the_outputs_of_its_heads(output: str, heads: tuple[str, ...], names: tuple[str, ...]) -> None:
    deployed = Deployed(random_net(2, heads), output)  # type: ignore[arg-type]
    assert deployed.output_names == names
    found = answers(deployed, ripples(), ripples(seed=1))
    shapes = {name: (tuple(answer.shape[1:]), answer.dtype) for name, answer in found.items()}
    whole = {"labels": ((32, 48), torch.uint8), "alpha": ((64, 96), torch.uint8), "surface": ((32, 48), torch.uint8)}
    cells = {"confidence": ((8, 12), torch.uint8), "peaks": ((PEAKS, 3), torch.float32), "offsets": ((2, 16, 24), torch.float32)}
    assert shapes == {name: {**whole, **cells}[name] for name in names}
    assert all(len(answer) == 2 for answer in found.values())


def test_labels_surface_confidence_and_offsets_come_from_the_maps() -> None:
    net, image = random_net(5, ALL), ripples()
    found = answers(Deployed(net), image)
    with torch.inference_mode():
        maps = net(normalised(torch.from_numpy(image)[None]))
    assert torch.equal(found["labels"], upsampled(maps["semantic"], 2).argmax(1).to(torch.uint8))
    assert torch.equal(found["surface"], upsampled(maps["surface"], 2).argmax(1).to(torch.uint8))
    assert torch.equal(found["confidence"], as_byte(torch.softmax(maps["semantic"], 1).amax(1))[:, ::2, ::2])
    assert torch.equal(found["offsets"], maps["instances"][:, 1:] * OFFSET_SCALE_PX)
    assert len(found["labels"].unique()) > 1


def test_a_matte_is_the_probability_of_the_second_class() -> None:
    net, image = random_net(2), ripples()
    with torch.inference_mode():
        logits = upsampled(net(normalised(torch.from_numpy(image)[None]))["semantic"], 4)
    wanted = torch.softmax(logits, 1)[:, 1] * 255
    assert (answers(Deployed(net, "alpha"), image)["alpha"].float() - wanted).abs().max() <= 0.51


def slow_peaks(heat: np.ndarray) -> list[tuple[float, float, float]]:
    """Cells that are the maximum of their window."""
    reach, found = PEAK_WINDOW_CELLS // 2, []
    for row, column in np.ndindex(heat.shape):
        window = heat[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        if heat[row, column] == window.max():
            found.append(((column + 0.5) * CELL_PX, (row + 0.5) * CELL_PX, float(heat[row, column])))
    return sorted(found, key=lambda peak: -peak[2])[:PEAKS]


def test_peaks_are_local_maxima_by_falling_value_and_then_empty_slots() -> None:
    heat = np.random.default_rng(0).permutation(16 * 24).reshape(16, 24).astype(np.float32) / 384
    found = peaks(torch.from_numpy(heat)[None, None])[0].numpy()
    wanted = slow_peaks(heat)
    assert 3 < len(wanted) < PEAKS
    np.testing.assert_allclose(found[: len(wanted)], wanted, rtol=1e-6)
    assert (found[len(wanted) :, 2] == 0).all()


def test_each_image_of_a_batch_has_its_own_peaks() -> None:
    heat = torch.rand(3, 1, 16, 24, generator=torch.Generator().manual_seed(1))
    together = peaks(heat)
    for index in range(3):
        assert torch.equal(together[index : index + 1], peaks(heat[index : index + 1]))


@pytest.mark.parametrize("output", ["labels", "alpha"])
def test_the_predictor_gives_class_ids(output: str) -> None:
    net, image = random_net(2), ripples()
    found = torch_predictor(net, output)(image)  # type: ignore[arg-type]
    assert (found.shape, found.dtype) == ((64, 96) if output == "alpha" else (32, 48), np.uint8)
    assert set(np.unique(found)) == {0, 1}
    finer = torch_predictor(net)(image).repeat(found.shape[0] // 32, axis=0).repeat(found.shape[0] // 32, axis=1)
    agreeing = np.mean(found == finer)
    assert agreeing > 0.95, "an opacity of one half is where both classes are equally likely"


def test_a_centre_that_points_elsewhere_is_none_where_centres_must_agree() -> None:
    maps = torch.zeros(1, 3, 8, 8)
    maps[0, 1, :, 4:] = 2.0  # the right half points 64 px to the right
    with_offsets, without = centre_heat(maps, True), centre_heat(maps, False)
    assert torch.equal(without, torch.sigmoid(maps[:, :1]))
    assert torch.equal(with_offsets[..., :4], without[..., :4])
    assert float(with_offsets[..., 4:].max()) < 0.02 * float(without.max())
