# ruff: noqa: E402
"""The mobile net: its heads, its pretrained encoder, and what training does to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from engines.datasets.folder import open_set
from engines.training import TrainingError
from engines.training.checkpoint import load_checkpoint, new_net, save_weights, started
from engines.training.deployed import Deployed
from engines.training.export import export_checkpoint, export_onnx
from engines.training.losses import set_loss
from engines.training.mobile import VOC, MobileNet, enlarged, from_deeplab
from engines.training.model import SEMANTIC_HEAD, normalised
from engines.training.recipe import NetSettings, Recipe, recipe_from_dict
from engines.training.train import Stepper, make_optimizer, train

Facts = Callable[..., dict[str, Any]]
SETTINGS = NetSettings(kind="mobile", width=0.5, top_down=(16, 16, 8))


def mobile_recipe(facts: dict[str, Any], **net: Any) -> Recipe:
    own = {"kind": "mobile", "width": 0.5, "top_down": [16, 16, 8], "dropout": 0.0, **net}
    return recipe_from_dict(facts | {"net": own, "heads": ["instances"], "name": "mobile"}, "mobile")


@pytest.fixture(scope="module")
def source() -> MobileNet:
    """A net whose encoder stands for the pretrained one: it sees RGB, (x - 128) / 128."""
    torch.manual_seed(3)
    return MobileNet(SETTINGS, 2).eval()


@pytest.fixture(scope="module")
def deeplab(source: MobileNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of `source` and a classifier, as the convolutions of a graph in DeepLab's order."""
    nodes, weights = [], []
    for index, layer in enumerate([*source.encoder.layers(), torch.nn.Conv2d(256, 21, 1)]):
        for part, value in (("w", layer.weight), ("b", layer.bias)):
            weights.append(numpy_helper.from_array(value.detach().numpy(), f"{part}{index}"))
        nodes.append(helper.make_node("Conv", [f"x{index}", f"w{index}", f"b{index}"], [f"x{index + 1}"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x0", f"x{len(nodes)}")]
    path = tmp_path_factory.mktemp("deeplab") / "deeplab.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)), str(path))
    return path


def test_the_classes_are_finer_than_the_objects() -> None:
    net = MobileNet(SETTINGS, 2, ("instances",)).eval()
    with torch.inference_mode():
        maps = net(torch.zeros(1, 3, 64, 96))
    assert {name: tuple(found.shape) for name, found in maps.items()} == {"semantic": (1, 2, 32, 48), "instances": (1, 3, 16, 24)}
    assert net.semantic_step == 2
    assert torch.sigmoid(maps["instances"][:, 0]).mean() < 0.1, "centres are rare, and the net starts with that"
    assert f"{SEMANTIC_HEAD}bias" in net.state_dict()


def test_with_two_entries_in_top_down_the_classes_are_as_coarse_as_the_other_heads() -> None:
    settings = msgspec.structs.replace(SETTINGS, top_down=(16, 8))
    net = MobileNet(settings, 5, ("surface", "instances")).eval()
    with torch.inference_mode():
        maps = net(torch.zeros(1, 3, 64, 96))
    shapes = {"semantic": (1, 5, 16, 24), "surface": (1, 3, 16, 24), "instances": (1, 3, 16, 24)}
    assert {name: tuple(found.shape) for name, found in maps.items()} == shapes
    assert net.semantic_step == 4


@pytest.mark.parametrize("factor", [2, 16])
def test_enlarged_maps_keep_their_cells_in_place(factor: int) -> None:
    ramp = torch.arange(3.0)[:, None] * 10 + torch.arange(4.0)[None, :]
    large = enlarged(ramp[None, None], factor)[0, 0]
    assert large.shape == (3 * factor, 4 * factor)
    torch.testing.assert_close(large[::factor, ::factor], ramp)
    torch.testing.assert_close(large[1, 1], torch.tensor(11 / factor))
    torch.testing.assert_close(large[-1], large[-factor], msg="beyond the last cell it is continued")


def test_one_enlargement_is_one_node_of_the_exported_graph(tmp_path: Path) -> None:
    """Padding, enlarging and cutting were half a dozen; the bundled model took a quarter longer for them in ONNX Runtime."""
    facts = {"classes": ["background", "person"], "input_px": [64, 64], "schedule": {"steps": 1}, "things": ["person"]}
    recipe = mobile_recipe(facts)
    deployed = Deployed(new_net(recipe).eval(), "alpha").eval()
    image = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)
    assert export_onnx(deployed, recipe.input, tmp_path / "m.onnx", [image]) > 0.999, "the same numbers as the net's"
    graph = onnx.load(str(tmp_path / "m.onnx")).graph
    modes = [attribute.s for node in graph.node if node.op_type == "Resize" for attribute in node.attribute]
    assert modes.count(b"asymmetric") == 7, "four on the way up, two for objects, one of the evidence"
    assert not [node for node in graph.node if node.op_type == "Pad"]


def test_before_training_the_classes_are_the_pretrained_evidence(deeplab: Path) -> None:
    net = MobileNet(SETTINGS, 2).eval()
    from_deeplab(net, ("background", "person"), deeplab)
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        wanted = enlarged(net.encoder.evidence(net.encoder(image)[-1]), 16)
        torch.testing.assert_close(net(image)["semantic"], wanted + net.heads["semantic"][1].bias[:, None, None])


def test_training_computes_what_inference_does(source: MobileNet) -> None:
    """In training the strided convolutions are computed in another way. The encoder has neither norms nor dropout."""
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        still = source.encoder.eval()(images)
        learning = source.encoder.train()(images)
    for one, other in zip(still, learning, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    source.eval()


def test_the_pretrained_encoder_sees_the_same_picture_in_the_net_s_own_pixels(source: MobileNet, deeplab: Path) -> None:
    net = MobileNet(SETTINGS, 2).eval()
    from_deeplab(net, ("person", "zebra"), deeplab)
    for ours, theirs in zip(net.encoder.layers()[1:], source.encoder.layers()[1:], strict=True):
        assert torch.equal(ours.weight, theirs.weight)
        assert torch.equal(cast(Any, ours.bias), cast(Any, theirs.bias))
    classifier = next(each for each in onnx.load(str(deeplab)).graph.initializer if each.name == f"w{len(net.encoder.layers())}")
    evidence = net.encoder.evidence.weight.detach().numpy()
    np.testing.assert_array_equal(evidence[0], numpy_helper.to_array(classifier)[VOC.index("person")])
    assert not (numpy_helper.to_array(classifier) == evidence[1]).all(axis=1).any(), "VOC has no zebra"
    image = torch.from_numpy(np.random.default_rng(0).integers(60, 256, (1, 32, 32, 3), np.uint8))  # bright: not changed first
    as_rgb = (image.flip(3).permute(0, 3, 1, 2).float() - 128) / 128
    with torch.inference_mode():
        ours, theirs = net.encoder.stem(normalised(image)), source.encoder.stem(as_rgb)
    torch.testing.assert_close(ours[:, :, 1:-1, 1:-1], theirs[:, :, 1:-1, 1:-1], rtol=1e-4, atol=1e-4)  # padding differs in value


def test_only_the_network_it_knows_gives_weights(toy_facts: Facts, deeplab: Path, tmp_path: Path) -> None:
    graph = onnx.load(str(deeplab))
    del graph.graph.node[5]
    onnx.save(graph, str(tmp_path / "other.onnx"))
    with pytest.raises(TrainingError, match=r"other\.onnx: not Coral's DeepLabv3 MobileNetV2 for Pascal VOC of this net\.width"):
        started(mobile_recipe(toy_facts()), tmp_path / "other.onnx")
    with pytest.raises(TrainingError, match=r"of this net\.width"):
        started(mobile_recipe(toy_facts(), width=1.0), deeplab)
    with pytest.raises(TrainingError, match=r"only a net of the kind mobile begins with an ONNX file"):
        started(recipe_from_dict(toy_facts(), "toy"), deeplab)


def test_a_mobile_net_refuses_a_width_that_nobody_pretrained() -> None:
    with pytest.raises(TrainingError, match=r"net\.width is 0\.75, and a mobile net has 0\.5 or 1\.0"):
        MobileNet(msgspec.structs.replace(SETTINGS, width=0.75), 2)


def test_frozen_blocks_keep_their_weights_and_the_encoder_learns_more_slowly(toy_set: Path, toy_facts: Facts) -> None:
    recipe = mobile_recipe(toy_facts(encoder_rate=0.1), frozen=2)
    data = open_set(toy_set, recipe.sets[0])
    net = new_net(recipe)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    stepper = Stepper(net, recipe, [set_loss(data.settings, data.pixel_shares(), recipe)])
    from engines.training.data import TrainingSets, batch_at

    stepper(batch_at(0, TrainingSets(recipe, (data,))), 0)
    after = net.state_dict()
    moved = {name: float((after[name] - before[name]).abs().max()) for name in before if name.endswith("weight")}
    assert all(moved[name] == 0 for name in moved if name.startswith(("encoder.stem", "encoder.blocks.0.", "encoder.blocks.1.")))
    slow, fast = moved["encoder.blocks.2.narrow.weight"], moved[f"{SEMANTIC_HEAD}weight"]
    assert 0 < slow < 0.2 * fast, "AdamW's first step has the size of the rate"
    assert {group["rate"] for group in make_optimizer(net, recipe).param_groups} == {1.0, 0.1}


def test_a_mobile_net_is_trained_from_a_pretrained_encoder_and_exported(
    toy_set: Path, toy_facts: Facts, deeplab: Path, tmp_path: Path
) -> None:
    recipe = mobile_recipe(toy_facts(steps=2), frozen=1)
    sets = [open_set(toy_set, recipe.sets[0])]
    train(recipe, sets, tmp_path / "run", start_from=deeplab)
    made = export_checkpoint(load_checkpoint(tmp_path / "run" / "last.pt"), tmp_path / "run", sets)
    assert made.parity > 0.999
    assert "kind" in msgspec.to_builtins(load_checkpoint(tmp_path / "run" / "weights.pt").recipe.net)


def test_what_is_exported_keeps_a_share_of_the_encoder_s_start(
    toy_set: Path, toy_facts: Facts, deeplab: Path, tmp_path: Path
) -> None:
    """Training forgets pictures unlike its own; the mean of both encoders does not."""
    recipe = mobile_recipe(toy_facts(steps=2, encoder_rate=1.0, keep=0.25))
    train(recipe, [open_set(toy_set, recipe.sets[0])], tmp_path / "run", start_from=deeplab)
    last, start = load_checkpoint(tmp_path / "run" / "last.pt"), started(recipe, deeplab)
    name, head = "encoder.both.weight", f"{SEMANTIC_HEAD}weight"
    assert not torch.equal(last.ema[name], start[name])
    found = last.net().state_dict()
    torch.testing.assert_close(found[name], 0.75 * last.ema[name] + 0.25 * start[name])
    assert torch.equal(found[head], last.ema[head]), "the rest was never pretrained"
    save_weights(tmp_path / "weights.pt", last)
    torch.testing.assert_close(
        load_checkpoint(tmp_path / "weights.pt").net().state_dict()[name], found[name], rtol=1e-2, atol=1e-3
    )
