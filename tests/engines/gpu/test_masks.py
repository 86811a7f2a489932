"""Masks painted on the GPU (masks.cu, run on the CPU behind the stand-in) equal those of engines/decoding/masks.py."""

from __future__ import annotations

import gc
import platform
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from engines.decoding.cuts import Cuts
from engines.decoding.masks import chosen_masks, mixed_masks
from engines.errors import BackendUnavailableError, InferenceError
from engines.gpu import masks
from engines.gpu.buffer import Buffer
from engines.gpu.device import Device
from engines.gpu.masks import CUT_NUMBERS, MAP_NUMBERS, MaskPainter
from engines.gpu.staying import MaskOutput
from engines.models.fit import fit
from engines.types import MAX_OBJECTS, Size

from ...fakes import host_masks
from ...fakes.gpu.fake_gpu import World, install
from .mask_scenes import Array, boxes_on, put, smooth

pytestmark = pytest.mark.skipif(not host_masks.is_available(), reason="needs g++, to run the CUDA kernels on the CPU")

FRAME = Size(960, 540)
CASES = [
    pytest.param("letterbox", FRAME, Size(320, 320), Size(80, 80), 3, "float16", id="yolo"),
    pytest.param("letterbox", Size(333, 517), Size(320, 320), Size(80, 80), 2, "float32", id="upright"),
    pytest.param("letterbox_top_left", Size(517, 333), Size(320, 320), Size(80, 80), 1, "float16", id="one pixel to one"),
    pytest.param("stretch", Size(641, 361), Size(312, 312), Size(78, 78), 3, "float32", id="rf-detr"),
    pytest.param("stretch", Size(641, 361), Size(320, 192), Size(37, 29), 2, "float32", id="no whole number of pixels to a cell"),
    pytest.param("stretch", Size(641, 361), Size(320, 192), Size(37, 29), 1, "float16", id="nor of halves"),
    pytest.param("stretch", Size(64, 64), Size(64, 64), Size(1, 1), 1, "float32", id="one cell"),
]

LARGEST_SHARE = 1e-5
"""Of the pixels that may differ: sums of 32 products are rounded in another order. None differs with OpenBLAS on x86-64."""


BOTH = pytest.mark.parametrize("world", [False, True], ids=["discrete", "integrated"], indirect=True)
"""A GPU with memory of its own, and one that shares the host's."""


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with install(World(is_integrated=getattr(request, "param", False))) as world:
        yield world
        gc.collect()
        assert (world.live(), world.leaks, world.violations) == ([], [], [])


@pytest.fixture
def device(world: World) -> Iterator[Device]:
    with Device() as device:
        yield device


def share_that_differs(found: Array, wanted: Array) -> float:
    assert (found.shape, found.dtype) == (wanted.shape, np.uint8)
    return float((found != wanted).mean())


@pytest.mark.parametrize(("how", "frame", "net", "cells", "magnify", "dtype"), CASES)
def test_masks_mixed_of_prototypes_equal_the_cpus(
    device: Device, how: str, frame: Size, net: Size, cells: Size, magnify: int, dtype: str
) -> None:
    rng = np.random.default_rng(7)
    prototypes, geometry = smooth(rng, 32, cells).astype(dtype), fit(frame, net, how)
    boxes, coefficients = boxes_on(rng, frame, 20), rng.standard_normal((20, 32)).astype(np.float32)
    output = put(device, prototypes)
    for count in (20, 1):
        given = (boxes[:count], geometry, magnify)

        found = mixed_masks(coefficients[:count], output, *given).painted()

        wanted = mixed_masks(coefficients[:count], prototypes, *given).painted()
        assert wanted.any() or cells.width == 1
        assert share_that_differs(found, wanted) <= LARGEST_SHARE


@pytest.mark.parametrize(("how", "frame", "net", "cells", "magnify", "dtype"), CASES)
def test_masks_that_are_planes_of_their_own_equal_the_cpus_to_the_pixel(
    device: Device, how: str, frame: Size, net: Size, cells: Size, magnify: int, dtype: str
) -> None:
    rng = np.random.default_rng(8)
    planes, geometry = smooth(rng, 30, cells).astype(dtype), fit(frame, net, how)
    boxes, rows = boxes_on(rng, frame, 12), rng.permutation(30)[:12]

    found = chosen_masks(put(device, planes), rows, boxes, geometry, magnify).painted()

    wanted = chosen_masks(planes, rows, boxes, geometry, magnify).painted()
    assert share_that_differs(found, wanted) <= 0


@BOTH
def test_at_the_threshold_itself_both_leave_the_pixel_out(world: World, device: Device) -> None:
    """Whole numbers, whose sums are exact in any order: many pixels lie exactly between inside and outside."""
    rng = np.random.default_rng(9)
    geometry, cells = fit(Size(128, 128), Size(64, 64), "stretch"), Size(16, 16)
    prototypes = rng.integers(-2, 3, (8, cells.height, cells.width)).astype(np.float32)
    boxes, coefficients = boxes_on(rng, Size(128, 128), 12), rng.integers(-2, 3, (12, 8)).astype(np.float32)
    logits = np.einsum("nk,khw->nhw", coefficients, prototypes)
    assert (logits == 0).mean() > 0.02, "ties"
    output = put(device, prototypes)
    for magnify in (1, 2, 4):
        found = mixed_masks(coefficients, output, boxes, geometry, magnify).painted()
        np.testing.assert_array_equal(found, mixed_masks(coefficients, prototypes, boxes, geometry, magnify).painted())


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="OpenCV may round in another way elsewhere")
@pytest.mark.parametrize("axis", ["columns", "rows"])
def test_where_rounding_alone_decides_it_is_the_cpus(device: Device, axis: str) -> None:
    """Pairs of cells between which a pixel is zero but for its last digits: another order, or one rounding more, is seen."""
    rng = np.random.default_rng(11)
    share, size = 3 / 16, Size(128, 128)  # 8 pixels to a cell
    numbers = rng.uniform(1, 2, (40, 16, 8)).astype(np.float32)
    planes = np.stack((-share * numbers, (1 - share) * numbers), axis=-1).reshape(40, 16, 16)
    if axis == "rows":
        planes = np.ascontiguousarray(planes.transpose(0, 2, 1))
    near_zero = cv2.resize(planes[0], (128, 128), interpolation=cv2.INTER_LINEAR)
    near_zero = near_zero[5::16] if axis == "rows" else near_zero[:, 5::16]
    assert 0 < np.abs(near_zero).max() < 1e-6
    assert 0.1 < (near_zero > 0).mean() < 0.9
    output, given = put(device, planes), (np.array([(0, 0, 128, 128)], np.float32), fit(size, size, "stretch"), 1)
    for row in range(len(planes)):
        found = chosen_masks(output, np.array([row]), *given).painted()
        np.testing.assert_array_equal(found, chosen_masks(planes, np.array([row]), *given).painted())


@BOTH
@pytest.mark.parametrize("room_cells", [1 << 20, 400])
def test_254_objects_are_painted_in_as_many_turns_as_there_is_room_for(
    device: Device, world: World, monkeypatch: pytest.MonkeyPatch, room_cells: int
) -> None:
    monkeypatch.setattr(masks, "ROOM_CELLS", room_cells)
    rng = np.random.default_rng(10)
    geometry, prototypes = fit(Size(256, 128), Size(128, 64), "stretch"), smooth(rng, 4, Size(32, 16))
    boxes, coefficients = boxes_on(rng, Size(256, 128), MAX_OBJECTS), rng.standard_normal((MAX_OBJECTS, 4)).astype(np.float32)
    boxes[100] = boxes[99]  # hidden, or seen through
    output = put(device, prototypes)
    taken, launches = world.memory.free_bytes, world.calls["launch"]

    found = mixed_masks(coefficients, output, boxes, geometry, 2).painted()

    wanted = mixed_masks(coefficients, prototypes, boxes, geometry, 2).painted()
    assert len(np.unique(wanted)) > 50
    np.testing.assert_array_equal(found, wanted)
    assert (world.calls["launch"] - launches == 2) == (room_cells == 1 << 20)
    assert taken - world.memory.free_bytes <= 16 + wanted.size, "but for the map, all memory was taken before"


def test_a_box_that_covers_no_pixel_leaves_none_and_its_label_unused(device: Device) -> None:
    geometry = fit(Size(1000, 1000), Size(20, 20), "stretch")
    boxes = np.array([(5, 5, 6, 6), (0, 0, 1000, 1000)], np.float32)  # the first is a fiftieth of a map's pixel wide
    found = mixed_masks(np.ones((2, 1), np.float32), put(device, np.ones((1, 5, 5), np.float32)), boxes, geometry, 1).painted()
    assert (found == 2).all()
    assert (
        not mixed_masks(np.ones((1, 1), np.float32), put(device, np.ones((1, 5, 5), np.float32)), boxes[:1], geometry, 1)
        .painted()
        .any()
    )


def test_no_object_takes_no_work(world: World, device: Device) -> None:
    output, before = put(device, np.ones((2, 5, 5), np.float32)), world.calls["launch"]
    none = np.zeros((0, 4), np.float32)
    painted = mixed_masks(np.zeros((0, 2), np.float32), output, none, fit(Size(40, 20), Size(20, 20), "letterbox"), 2).painted()
    assert painted.shape == (20, 40)
    assert not painted.any()
    assert world.calls["launch"] == before


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_number_that_is_not_finite_is_reported_if_it_lies_under_a_box(device: Device, dtype: str, value: float) -> None:
    geometry = fit(Size(64, 64), Size(64, 64), "stretch")
    prototypes = np.ones((2, 16, 16), dtype)
    prototypes[1, 8, 8] = value
    output, coefficients = put(device, prototypes), np.ones((1, 2), np.float32)
    for _ in range(2):
        with pytest.raises(InferenceError, match="array of masks contains NaN"):
            mixed_masks(coefficients, output, np.array([(20, 20, 50, 50)], np.float32), geometry, 1).painted()
        elsewhere = mixed_masks(coefficients, output, np.array([(50, 50, 60, 60)], np.float32), geometry, 1).painted()
        assert np.count_nonzero(elsewhere) == 100, "an error does not stay"


@BOTH
def test_the_map_s_memory_grows_with_the_map_and_never_shrinks(world: World, device: Device) -> None:
    output, boxes = put(device, np.ones((1, 16, 16), np.float32)), np.array([(0, 0, 64, 64)], np.float32)
    pinned = world.calls["pagelocked_empty"]
    for magnify in (1, 4, 2, 4):
        painted = mixed_masks(
            np.ones((1, 1), np.float32), output, boxes, fit(Size(64, 64), Size(64, 64), "stretch"), magnify
        ).painted()
        assert painted.shape == (64 * magnify, 64 * magnify)
        assert (painted == 1).all()
    assert world.calls["pagelocked_empty"] - pinned == 2


@BOTH
def test_one_upload_one_download_one_wait(world: World, device: Device) -> None:
    output, boxes = put(device, np.ones((1, 16, 16), np.float32)), np.array([(0, 0, 64, 64)] * 3, np.float32)
    geometry = fit(Size(64, 64), Size(64, 64), "stretch")
    paint = lambda: mixed_masks(np.ones((3, 1), np.float32), output, boxes, geometry, 2).painted()  # noqa: E731
    paint()
    before = world.calls.copy()
    paint()
    names = ("memcpy_htod_async", "launch", "memcpy_dtoh_async", "Event.synchronize", "Stream.synchronize")
    downloads = 0 if world.is_integrated else 1
    assert [world.calls[name] - before[name] for name in names] == [1, 2, downloads, 1, 0]
    assert world.unpinned_copies == world.default_stream_uses == 0


@BOTH
def test_the_whole_output_comes_down_when_it_is_asked_for_and_once(world: World, device: Device) -> None:
    numbers = np.arange(24, dtype=np.float16).reshape(2, 3, 4)
    output = put(device, numbers)
    before = world.calls["memcpy_dtoh_async"]
    for _ in range(2):
        np.testing.assert_array_equal(output.array()[0], numbers)
    assert world.calls["memcpy_dtoh_async"] - before == (0 if world.is_integrated else 1)


def test_masks_of_an_image_that_is_gone_are_refused(device: Device) -> None:
    buffer = Buffer(device, (1, 1, 4, 4), np.float32)
    output = MaskOutput(MaskPainter(device, (1, 1, 4, 4)), buffer, lambda: False)
    cuts = Cuts.of(np.array([(0, 0, 4, 4)], np.float32), fit(Size(4, 4), Size(4, 4), "stretch"), Size(4, 4), 1)
    for use in (output.array, lambda: output.mixed(cuts.table, np.ones((1, 1), np.float32), cuts.map_size)):
        with pytest.raises(InferenceError, match="a later image has taken the place"):
            use()


@BOTH
def test_of_a_batch_only_the_image_that_is_asked_for_comes_down(world: World, device: Device) -> None:
    buffer, stream = Buffer(device, (3, 2, 4, 4), np.float32, stays=True), device.stream()
    there = np.arange(3 * 2 * 4 * 4, dtype=np.float32).reshape(3, 2, 4, 4)
    buffer.array[:] = there
    buffer.upload(stream)
    stream.synchronise()
    buffer.array[:] = -1
    painter = MaskPainter(device, (1, 2, 4, 4))
    found = MaskOutput(painter, buffer, row=1).array()
    np.testing.assert_array_equal(found, there[1:2])
    assert (buffer.array[[0, 2]] == -1).all()


@pytest.mark.parametrize("name", ["launch", "memcpy_htod_async", "work:mask_cells_float32", "work:mask_labels"])
def test_a_failure_is_an_inference_error(name: str) -> None:
    with install(World()) as world, Device() as device:
        output, geometry = put(device, np.ones((1, 16, 16), np.float32)), fit(Size(64, 64), Size(64, 64), "stretch")
        world.fail(name, 1, 700)
        with pytest.raises(InferenceError, match=r"failed to (paint masks|finish its work)"):
            mixed_masks(np.ones((1, 1), np.float32), output, np.array([(0, 0, 64, 64)], np.float32), geometry, 1).painted()


def test_ptx_of_another_version_is_refused(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "MAP_NUMBERS", 10)
    with pytest.raises(BackendUnavailableError, match=r"masks.ptx is of another version\. Install this program again"):
        MaskPainter(device, (1, 1, 4, 4))


def test_both_sides_agree_on_the_structs() -> None:
    assert host_masks.sizes() == (4 * CUT_NUMBERS, 4 * MAP_NUMBERS) == (host_masks.CUT_BYTES, host_masks.MASK_MAP.size)


def test_the_cpu_reads_halves_like_the_gpu() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(host_masks.singles(every), every.astype(np.float32))
