"""Recurrent networks: their states come back from frame to frame, on every CPU backend, and constants are fed beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from engines.backends import RecurrentEngine, open_engine
from engines.backends.common.opening import SideInputs
from engines.errors import BackendUnavailableError, BuildError, CardError, ModelFileError
from engines.models.card import card_from_dict
from engines.models.exporting import export_model
from engines.models.model import load_model
from engines.onnx_graph.reading import TensorFacts
from engines.plans.requests import request_for
from engines.segmenter import Segmenter
from engines.types import Size

WHITE = np.full((16, 24, 3), 255, np.uint8)
BLACK = np.zeros_like(WHITE)

CARD = """\
family = "matting"
classes = ["person"]
outputs = {alpha = "pha"}

[states]
before = "after"

[constants]
gain = 0.5

[input]
mean = [0, 0, 0]
std = [255, 255, 255]
"""


def running_mean(nets: Any, card: str = CARD, name: str = "recurrent") -> Path:
    """pha = gain x after; after = half of this picture's brightness and half of what was before. It gives colours too."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["brightness"], axes=[1], keepdims=1),
        helper.make_node("Add", ["brightness", "before"], ["sum"]),
        helper.make_node("Mul", ["sum", "half"], ["after"]),
        helper.make_node("Mul", ["after", "gain"], ["pha"]),
        helper.make_node("Identity", ["image"], ["fgr"]),
    ]
    (nets.folder / f"{name}.toml").write_text(card)
    return Path(
        nets.save(
            name,
            nodes,
            [
                ("image", "float32", ["batch", 3, 16, 24]),
                ("before", "float32", ["batch", "depth", "rows", "columns"]),
                ("gain", "float32", [1]),
            ],
            [("fgr", "float32", [1, 3, 16, 24]), ("pha", "float32", [1, 1, 16, 24]), ("after", "float32", ["a", "b", "c", "d"])],
            {"half": np.array(0.5, np.float32)},
        )
    )


def alpha_of(segmenter: Segmenter, image: np.ndarray, stream: int = 0) -> int:
    """The matte's one value."""
    alpha = segmenter(image, stream=stream).alpha
    assert alpha is not None
    (value,) = np.unique(alpha)
    return int(value)


def test_states_come_back_and_constants_are_fed(nets, cpu_backend: str) -> None:
    with Segmenter(load_model(running_mean(nets)), cpu_backend) as segmenter:
        seen = [alpha_of(segmenter, image) for image in (WHITE, WHITE, WHITE, BLACK, BLACK)]
    expected = np.rint(255 * 0.5 * np.array((1 / 2, 3 / 4, 7 / 8, 7 / 16, 7 / 32)))
    assert np.abs(np.array(seen) - expected).max() <= 1, "bf16 keeps eight bits"


def test_states_are_zero_after_a_reset_and_after_the_warm_up(nets, cpu_backend: str) -> None:
    model = load_model(running_mean(nets))
    with Segmenter(model, cpu_backend) as segmenter:
        segmenter.warm_up(Size(64, 48))
        first = alpha_of(segmenter, WHITE)
        assert alpha_of(segmenter, WHITE) > first
        assert isinstance(segmenter.choice.engine, RecurrentEngine)
        segmenter.choice.engine.reset()
        assert alpha_of(segmenter, WHITE) == first == 64


def test_each_stream_has_its_own_states(nets, cpu_backend: str) -> None:
    model = load_model(running_mean(nets))
    with Segmenter(model, cpu_backend) as segmenter:
        alone = [alpha_of(segmenter, WHITE) for _ in range(3)]
        segmenter.forget(0)
        turns = [(stream, alpha_of(segmenter, WHITE, stream)) for stream in (0, 7, 0, 7, 7, 0)]
        assert [alpha for stream, alpha in turns if stream == 0] == alone
        assert [alpha for stream, alpha in turns if stream == 7] == alone
        segmenter.forget(7)
        assert alpha_of(segmenter, WHITE, 7) == alone[0]
        assert alpha_of(segmenter, BLACK, 0) < alone[2] < alpha_of(segmenter, WHITE, 0) * 2


def test_outputs_that_the_card_does_not_name_stay_out(nets, cpu_backend: str) -> None:
    engine = open_engine(load_model(running_mean(nets)), cpu_backend).engine
    assert set(engine.infer(WHITE).outputs) == {"pha"}
    engine.close()


@pytest.mark.parametrize("backend", ["trt", "ort-cuda"])
def test_a_gpu_refuses_side_inputs_and_auto_goes_on_to_the_cpu(nets, backend: str) -> None:
    model = load_model(running_mean(nets))
    with pytest.raises(
        BackendUnavailableError, match=f"recurrent is fed before, gain beside the image, which {backend} cannot do"
    ):
        open_engine(model, backend)
    choice = open_engine(model, "auto")
    assert choice.backend not in ("trt", "ort-cuda")
    assert not choice.unbuilt
    choice.engine.close()


def test_it_is_not_exported(nets, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="takes before, gain in addition to the image"):
        export_model(load_model(running_mean(nets)), tmp_path / "out.onnx", fuse=False)


def test_no_engine_is_built_of_it(nets) -> None:
    with pytest.raises(BuildError, match=r"takes before, gain in addition to the image.*Run it on the CPU"):
        request_for(load_model(running_mean(nets)), precision="fp16", runtime="tensorrt")


def test_robust_video_matting_needs_no_card_but_its_size(nets, cpu_backend: str) -> None:
    """Its names, open dimensions and first states; a net that counts frames in place of its weights."""
    rounds = [helper.make_node("Add", [f"r{n}i", f"step{n}"], [f"r{n}o"]) for n in (1, 2, 3, 4)]
    nodes = [
        *rounds,
        helper.make_node("ReduceMean", ["src"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["grey", "zero"], ["nothing"]),
        helper.make_node("Sum", ["nothing", "r1o", "r2o", "r3o", "r4o"], ["counted"]),
        helper.make_node("Mul", ["counted", "downsample_ratio"], ["scaled"]),
        helper.make_node("Clip", ["scaled", "zero", "one"], ["pha"]),
        helper.make_node("Identity", ["src"], ["fgr"]),
    ]
    states = [(f"r{n}i", "float32", [f"b{n}", f"c{n}", f"h{n}", f"w{n}"]) for n in (1, 2, 3, 4)]
    given = [(f"r{n}o", "float32", [f"B{n}", f"C{n}", f"H{n}", f"W{n}"]) for n in (1, 2, 3, 4)]
    weights = {f"step{n}": np.full((1, 1, 1, 1), 0.01 * n, np.float32) for n in (1, 2, 3, 4)}
    weights |= {"zero": np.array(0, np.float32), "one": np.array(1, np.float32)}
    picture = ["batch", 3, "height", "width"]
    matte = ["batch", 1, "height", "width"]
    path = Path(
        nets.save(
            "rvm",
            nodes,
            [("src", "float32", picture), *states, ("downsample_ratio", "float32", [1])],
            [("fgr", "float32", picture), ("pha", "float32", matte), *given],
            weights,
        )
    )
    with pytest.raises(CardError, match=r"Write in .*rvm\.toml: input.size_px = \[width, height\]"):
        load_model(path)
    path.with_suffix(".toml").write_text("[input]\nsize_px = [1024, 576]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n")
    model = load_model(path)
    assert model.card.family == "matting"
    assert model.card.outputs == {"alpha": "pha"}
    assert model.card.classes == ("foreground",)
    assert model.card.states == {"r1i": "r1o", "r2i": "r2o", "r3i": "r3o", "r4i": "r4o"}
    assert model.card.constants == {"downsample_ratio": 0.5}
    with Segmenter(model, cpu_backend) as segmenter:
        seen = [alpha_of(segmenter, WHITE) for _ in range(3)]
    assert np.abs(np.array(seen) - 255 * 0.5 * np.array((0.1, 0.2, 0.3))).max() <= 1


def test_the_first_state_is_zero_with_a_length_of_one_where_it_is_open() -> None:
    card = card_from_dict(
        {
            "name": "net",
            "family": "matting",
            "classes": ["person"],
            "outputs": {"alpha": "a"},
            "states": {"s": "t"},
            "constants": {"c": 0.25},
            "input": {
                "tensor": "image",
                "size_px": [16, 16],
                "layout": "nchw",
                "dtype": "float32",
                "channels": "rgb",
                "fit": "stretch",
            },
        },
        "card",
    )
    side = SideInputs(card, (TensorFacts("s", "float16", (1, None, 4, None)), TensorFacts("c", "float32", ())))
    assert {name: (array.shape, array.dtype.name) for name, array in side.feeds(0).items()} == {
        "s": ((1, 1, 4, 1), "float16"),
        "c": ((), "float32"),
    }
    assert side.feeds(0)["c"] == np.float32(0.25)
    given = np.full((1, 2, 4, 3), 7, np.float32)
    side.keep(0, {"t": given})
    given[:] = 0
    assert side.feeds(0)["s"].shape == (1, 2, 4, 3)
    assert (side.feeds(0)["s"] == 7).all(), "a copy: the runtime writes over its own"
    assert not side.feeds(1)["s"].any(), "another stream"
    side.reset()
    assert not side.feeds(0)["s"].any()


@pytest.mark.parametrize(
    ("card", "expected_text"),
    [
        (CARD.replace('before = "after"', 'before = "later"'), r'\[states\] in its card names "later", .* has: after, fgr, pha'),
        (CARD.replace('before = "after"', 'ago = "after"'), r"must have one image input.*\[states\] INPUT = "),
        (
            CARD.replace("gain = 0.5", "gain = 0.5\nloss = 1.0"),
            r'\[constants\] in its card names "loss", .* has: before, gain, image',
        ),
        (CARD.replace("gain = 0.5", ""), r"must have one image input.*\[constants\] INPUT = number"),
        (CARD.replace("gain = 0.5", "gain = inf"), "constants.gain is inf. Write a finite number"),
        (CARD.replace("gain = 0.5", "gain = 0.5\nbefore = 1.0"), '"before" is named twice'),
        (CARD.replace('[states]\nbefore = "after"', 'states = "before"').replace("outputs", "#"), "must have one image input"),
    ],
)
def test_a_card_that_feeds_it_wrongly_is_refused(nets, card: str, expected_text: str) -> None:
    with pytest.raises(CardError, match=expected_text):
        load_model(running_mean(nets, card))


def test_a_state_may_be_an_integer(nets, cpu_backend: str) -> None:
    nodes = [
        helper.make_node("Cast", ["count"], ["counted"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["image"], ["brightness"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["brightness", "nought"], ["nothing"]),
        helper.make_node("Mul", ["counted", "tenth"], ["tenths"]),
        helper.make_node("Add", ["nothing", "tenths"], ["pha"]),
        helper.make_node("Add", ["count", "one"], ["next"]),
    ]
    (nets.folder / "counter.toml").write_text(
        CARD.replace('before = "after"', 'count = "next"').replace("[constants]\ngain = 0.5\n", "")
    )
    path = nets.save(
        "counter",
        nodes,
        [("image", "float32", [1, 3, 16, 24]), ("count", "int64", [1])],
        [("pha", "float32", [1, 1, 16, 24]), ("next", "int64", [1])],
        {"nought": np.array(0, np.float32), "tenth": np.array(0.1, np.float32), "one": np.array([1], np.int64)},
    )
    with Segmenter(load_model(Path(path)), cpu_backend) as segmenter:
        seen = [alpha_of(segmenter, WHITE) for _ in range(3)]
    assert np.abs(np.array(seen) - (0, 25.5, 51)).max() <= 1
