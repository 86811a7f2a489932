from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engines.models.card import InputSpec
from engines.models.fit import Fit, InputFiller, fit
from engines.types import Size

HOW = ("letterbox", "letterbox_top_left", "stretch")
sizes = st.builds(Size, st.integers(1, 3000), st.integers(1, 3000))
nets = st.builds(Size, st.integers(8, 1300), st.integers(8, 1300))


@settings(deadline=None, max_examples=100)
@given(sizes, nets, st.sampled_from(HOW), st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=5))
def test_to_net_and_back_is_the_identity_inside_the_frame(
    frame: Size, net: Size, how: str, shares: list[tuple[float, float, float, float]]
) -> None:
    geometry = fit(frame, net, how)
    boxes = np.array(shares, np.float32).reshape(-1, 4) * np.array((frame.width, frame.height) * 2, np.float32)

    back = geometry.to_frame(geometry.to_net(boxes))

    assert back.shape == boxes.shape
    assert back.dtype == np.float32
    # float32 carries seven digits of a network coordinate, and a frame pixel may be a small part of one.
    slack = 1e-3 + 4e-7 * max(net.width, net.height) / min(geometry.scale)
    assert np.abs(back - boxes).max(initial=0) <= slack


@settings(deadline=None, max_examples=100)
@given(sizes, nets, st.sampled_from(HOW))
def test_content_lies_in_the_net_and_keeps_the_aspect(frame: Size, net: Size, how: str) -> None:
    geometry = fit(frame, net, how)

    assert 0 <= geometry.left <= geometry.left + geometry.content.width <= net.width
    assert 0 <= geometry.top <= geometry.top + geometry.content.height <= net.height
    assert min(geometry.content.width, geometry.content.height) >= 1
    if how == "stretch":
        assert geometry.content == net
        return
    assert geometry.content.width == net.width or geometry.content.height == net.height
    ratio = min(net.width / frame.width, net.height / frame.height)
    assert abs(geometry.content.width - max(1, frame.width * ratio)) <= 0.5 + 1e-6
    assert abs(geometry.content.height - max(1, frame.height * ratio)) <= 0.5 + 1e-6
    right = net.width - geometry.content.width - geometry.left
    assert (geometry.left == 0) if how == "letterbox_top_left" else (right - geometry.left in (0, 1))


@settings(deadline=None, max_examples=100)
@given(sizes, nets, st.sampled_from(HOW))
def test_cut_at_network_resolution_is_the_content_exactly(frame: Size, net: Size, how: str) -> None:
    geometry = fit(frame, net, how)
    net_map = np.zeros((2, net.height, net.width), np.uint8)
    rows = slice(geometry.top, geometry.top + geometry.content.height)
    columns = slice(geometry.left, geometry.left + geometry.content.width)
    net_map[:, rows, columns] = 1

    cut = geometry.cut(net_map)

    assert cut.shape == (2, geometry.content.height, geometry.content.width)
    assert cut.all()
    assert np.shares_memory(cut, net_map)


@settings(deadline=None, max_examples=100)
@given(sizes, nets, st.sampled_from(HOW), st.sampled_from((2, 4, 8, 32)))
@example(Size(3000, 1), Size(64, 64), "letterbox", 32)
@example(Size(3000, 1), Size(640, 8), "letterbox_top_left", 8)
@example(Size(1, 3000), Size(64, 64), "letterbox", 32)
def test_cut_of_a_coarser_map_is_right_to_half_a_cell_and_never_empty(frame: Size, net: Size, how: str, stride: int) -> None:
    geometry = fit(frame, net, how)
    height, width = -(-net.height // stride), -(-net.width // stride)

    cut = geometry.cut(np.zeros((height, width), np.uint8))

    assert min(cut.shape) >= 1
    assert abs(cut.shape[1] - geometry.content.width * width / net.width) <= 1
    assert abs(cut.shape[0] - geometry.content.height * height / net.height) <= 1


@settings(deadline=None, max_examples=100)
@given(sizes, st.sampled_from(HOW), st.sampled_from((1, 2, 4, 8)), st.integers(1, 20), st.integers(1, 20))
def test_a_map_that_is_finer_by_cells_per_edge_is_cut_exactly(
    frame: Size, how: str, stride: int, width: int, height: int
) -> None:
    net = Size(width * stride * 4, height * stride * 4)
    geometry = fit(frame, net, how)

    finer = geometry.cells_per_edge(Size(width * 4, height * 4))

    assert 1 <= finer <= stride
    assert (finer == 1) or how != "stretch"
    columns = geometry.cut(np.zeros((height * 4 * finer, width * 4 * finer), np.uint8)).shape[1]
    assert columns * stride == geometry.content.width * finer


def test_a_map_of_odd_cells_is_cut_as_near_as_it_goes() -> None:
    geometry = fit(Size(1280, 720), Size(513, 513), "letterbox")
    assert geometry.cells_per_edge(Size(65, 65)) == 1


def test_boxes_in_the_padding_are_clipped_to_the_frame() -> None:
    geometry = fit(Size(1280, 720), Size(640, 640), "letterbox")

    boxes = geometry.to_frame(np.array([(-50, 0, 700, 640), (0, 0, 10, 10)], np.float32))

    assert boxes.tolist() == [[0, 0, 1280, 720], [0, 0, 20, 0]]


@pytest.mark.parametrize("frame", [Size(0, 10), Size(10, 0)], ids=str)
def test_a_frame_without_pixels_is_refused(frame: Size) -> None:
    with pytest.raises(ValueError, match="has no pixels"):
        fit(frame, Size(64, 64), "letterbox")


def test_an_unknown_fit_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match='unknown fit "crop"; known: letterbox, letterbox_top_left, stretch'):
        fit(Size(10, 10), Size(64, 64), "crop")


def spec(
    size: tuple[int, int] = (64, 48),
    layout: str = "nchw",
    dtype: str = "float32",
    channels: str = "rgb",
    how: str = "letterbox",
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
    std: tuple[float, float, float] = (1.0, 1.0, 1.0),
    pad: int = 114,
) -> InputSpec:
    return InputSpec("image", size, layout, dtype, channels, how, mean, std, pad)  # type: ignore[arg-type]


def slow_tensor(image: npt.NDArray[np.uint8], given: InputSpec) -> npt.NDArray[np.float64]:
    """What an InputFiller must fill, in double precision and one plain step at a time."""
    geometry = fit(Size.of(image), given.size, given.fit)
    canvas = np.full((given.size.height, given.size.width, 3), given.pad, np.float64)
    content = (geometry.content.width, geometry.content.height)
    resized = image if Size.of(image) == geometry.content else cv2.resize(image, content, interpolation=cv2.INTER_LINEAR)
    rows = slice(geometry.top, geometry.top + geometry.content.height)
    columns = slice(geometry.left, geometry.left + geometry.content.width)
    canvas[rows, columns] = resized[..., ::-1] if given.channels == "rgb" else resized
    canvas = (canvas - np.array(given.mean)) / np.array(given.std)
    return (canvas.transpose(2, 0, 1) if given.layout == "nchw" else canvas)[None]


NORMALISATIONS = {
    "as_is": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "unit": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("dtype", "normalisation"),
    [("uint8", "as_is"), *((dtype, name) for dtype in ("float32", "float16") for name in NORMALISATIONS)],
)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_filling_agrees_with_a_slow_reference(layout: str, dtype: str, normalisation: str, channels: str, how: str) -> None:
    mean, std = NORMALISATIONS[normalisation]
    given_spec = spec((64, 48), layout, dtype, channels, how, mean, std, pad=37)
    fill = InputFiller(given_spec)
    rng = np.random.default_rng(5)
    # Wider, taller, the network's own size, odd, and the first again: padding and buffers must follow each.
    for height, width in ((100, 200), (200, 61), (48, 64), (7, 5), (333, 111), (100, 200)):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        image.flags.writeable = False
        tensor, geometry = fill(image)
        assert tensor.dtype == np.dtype(dtype)
        assert geometry == fit(Size(width, height), given_spec.size, how)
        expected = slow_tensor(image, given_spec)
        precision = {"uint8": 0, "float32": 1e-6, "float16": 1e-3}[dtype]
        np.testing.assert_allclose(tensor.astype(np.float64), expected, rtol=precision, atol=precision)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=4),
    st.sampled_from(["nchw", "nhwc"]),
    st.sampled_from(["float32", "float16", "uint8"]),
    st.sampled_from(HOW),
)
@example([(1, 3000), (3000, 1), (1, 1)], "nchw", "float16", "letterbox")
@example([(1, 3000), (3000, 1), (1, 1)], "nhwc", "float16", "letterbox_top_left")
def test_filling_follows_any_series_of_frame_sizes(series: list[tuple[int, int]], layout: str, dtype: str, how: str) -> None:
    given_spec = spec((40, 24), layout, dtype, "rgb", how)
    fill = InputFiller(given_spec)
    for number, (width, height) in enumerate(series):
        image = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        tensor, _ = fill(image)
        np.testing.assert_array_equal(tensor.astype(np.float64), slow_tensor(image, given_spec))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_a_frame_that_is_a_view_of_a_bigger_one_is_read_right(layout: str) -> None:
    big = np.random.default_rng(1).integers(0, 256, (120, 160, 3), np.uint8)
    for view in (big[10:90, 20:140], big[10:34, 20:60], big[::-1], big[:, ::2]):
        tensor, _ = InputFiller(spec((40, 24), layout))(view)
        np.testing.assert_array_equal(tensor, slow_tensor(np.ascontiguousarray(view), spec((40, 24), layout)))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("size", [(40, 24), (80, 48)])
def test_filling_leaves_the_frame_alone(size: tuple[int, int], layout: str) -> None:
    image = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    before = image.copy()
    InputFiller(spec((40, 24), layout, "uint8"))(image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=lambda image: f"{image.shape}-{image.dtype}",
)
def test_another_array_than_an_image_is_refused_with_its_shape(image: npt.NDArray[np.generic]) -> None:
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8, not|has no pixels"):
        InputFiller(spec())(image)  # type: ignore[arg-type]


def test_geometry_is_a_value() -> None:
    assert fit(Size(1280, 720), Size(640, 640), "letterbox") == Fit(
        Size(1280, 720), Size(640, 640), left=0, top=140, content=Size(640, 360)
    )
