"""The merged-class loss against a pixel-by-pixel reference."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from engines.training.losses import HEAVIEST, LIGHTEST, SetLoss, balanced_weights, merged_loss, set_loss  # noqa: E402
from engines.training.recipe import SetSettings, recipe_from_dict  # noqa: E402

FINE = np.eye(4, dtype=np.float32)
COARSE = np.array([[1, 1, 0, 0.5], [0, 0, 1, 0.5]], np.float32)


def reference(
    logits: np.ndarray, labels: np.ndarray, origins: list[int], merges: list[np.ndarray], weights: list[np.ndarray]
) -> float:
    total = weight = 0.0
    for image, label, origin in zip(logits.astype(np.float64), labels, origins, strict=True):
        for y, x in np.ndindex(label.shape):
            if label[y, x] != 255:
                probabilities = np.exp(image[:, y, x]) / np.exp(image[:, y, x]).sum()
                w = weights[origin][label[y, x]]
                total -= w * np.log(merges[origin][label[y, x]] @ probabilities)
                weight += w
    return total / weight


def test_loss_of_two_label_sets_in_one_batch_is_the_reference_s() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (4, 4, 5, 6)).astype(np.float32)
    origins = [0, 1, 1, 0]
    labels = np.stack([rng.integers(0, 4 if origin == 0 else 2, (5, 6)) for origin in origins]).astype(np.uint8)
    labels[:, 0, :3] = 255
    weights = [rng.uniform(0.5, 3, 4).astype(np.float32), rng.uniform(0.5, 3, 2).astype(np.float32)]
    sets = [SetLoss(torch.from_numpy(m), torch.from_numpy(w)) for m, w in zip((FINE, COARSE), weights, strict=True)]
    loss = merged_loss(torch.from_numpy(logits), torch.from_numpy(labels), origins, sets)
    assert loss.item() == pytest.approx(reference(logits, labels, origins, [FINE, COARSE], weights), rel=1e-4)


def test_batch_of_void_costs_nothing_and_leaves_finite_gradients() -> None:
    logits = torch.randn(1, 4, 3, 3, requires_grad=True)
    loss = merged_loss(
        logits, torch.full((1, 3, 3), 255, dtype=torch.uint8), [0], [SetLoss(torch.from_numpy(COARSE), torch.ones(2))]
    )
    loss.backward()
    assert loss.detach() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_merged_class_does_not_care_which_of_its_classes_wins() -> None:
    """Two model classes that one set class covers wholly get gradients that leave their ratio alone."""
    logits = torch.tensor([0.3, 1.1, 0.2, -1.0]).reshape(1, 4, 1, 1).requires_grad_()
    merge = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]])
    merged_loss(logits, torch.zeros(1, 1, 1, dtype=torch.uint8), [0], [SetLoss(merge, torch.ones(2))]).backward()
    gradient = logits.grad.flatten()
    probabilities = torch.softmax(logits.detach().flatten(), 0)
    assert (gradient[:2] < 0).all()
    torch.testing.assert_close(gradient[0] / gradient[1], probabilities[0] / probabilities[1], rtol=1e-4, atol=0)


def test_weights_balance_by_the_root_of_frequency_within_bounds() -> None:
    weights = balanced_weights(np.array([0.64, 0.16, 0.04, 0.0001, 0], np.float32))
    # The median of those that occur is 0.1.
    np.testing.assert_allclose(weights, [LIGHTEST, (0.1 / 0.16) ** 0.5, (0.1 / 0.04) ** 0.5, HEAVIEST, 0], rtol=1e-5)


def test_emphasis_reaches_only_the_class_of_that_name(toy_facts) -> None:  # type: ignore[no-untyped-def]
    recipe = recipe_from_dict(toy_facts() | {"emphasis": {"car": 2.0}}, "toy")
    even = np.full(3, 1 / 3, np.float32)
    assert set_loss(recipe.sets[0], even, recipe).weights.tolist() == [1, 1, 2]
    merged = SetSettings("merged", ("ground", "things"), means={"ground": ("sky", "road"), "things": ("car",)})
    assert set_loss(merged, np.full(2, 0.5, np.float32), recipe).weights.tolist() == [1, 1]
