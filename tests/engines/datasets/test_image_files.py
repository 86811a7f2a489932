"""Image files are read whole or not at all, and a label's numbers are its ids, however the file stores them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PilImage

from engines.datasets.checking import check_set
from engines.datasets.folder import open_set
from engines.datasets.image_files import read_label
from engines.datasets.settings import SetSettings
from engines.errors import DataError
from engines.pictures.reading import read_picture

SETTINGS = SetSettings("halves", ("left", "right"), hold_out=("clipb_*",))
COLOURS = [0, 0, 0, 0, 200, 0, 200, 0, 0] + [9, 9, 9] * 253


def write_palette(path: Path, ids: np.ndarray, bits: int, transparent: bool = False) -> None:
    """The ids as VOC, ADE20K and most labelling tools store them: numbers of colours, of `bits` bits each."""
    picture = PilImage.fromarray(ids).convert("L")
    picture.putpalette(COLOURS)
    picture.save(path, bits=bits, **({"transparency": 0} if transparent else {}))
    with PilImage.open(path) as written:
        assert written.mode == "P"


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [False, True])
def test_a_palette_png_holds_its_numbers_not_its_colours(tmp_path: Path, bits: int, transparent: bool) -> None:
    ids = np.random.default_rng(0).integers(0, min(2**bits, 250), (13, 21), np.uint8)  # 13 pixels end in the middle of a byte
    write_palette(tmp_path / "a.png", ids, bits, transparent)
    read = read_label(tmp_path / "a.png")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, ids)


def test_a_set_with_palette_labels_is_one_like_any_other(clean_set: Path) -> None:
    before = [sample.label for sample in open_set(clean_set, SETTINGS).training]
    for path in (clean_set / "labels").glob("*.png"):
        write_palette(path, cv2.imread(str(path), cv2.IMREAD_UNCHANGED), 8)
    assert check_set(clean_set, SETTINGS).faults == ()
    np.testing.assert_array_equal([sample.label for sample in open_set(clean_set, SETTINGS).training], before)


def test_a_palette_png_cut_short_is_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_palette(tmp_path / "a.png", np.random.default_rng(0).integers(0, 9, (64, 64), np.uint8), 8)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-300])
    with pytest.raises(DataError, match=r"a\.png: is incomplete, its end is missing"):
        read_label(tmp_path / "a.png")
    assert capfd.readouterr().err == ""


def jpeg(progressive: bool = False, thumbnail: bool = False) -> bytes:
    """A photograph's file; with a whole small JPEG in its header, as cameras write them."""
    image = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    data: bytes = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])[1].tobytes()
    if thumbnail:
        inner = b"Exif\0\0" + jpeg()
        data = data[:2] + b"\xff\xe1" + (len(inner) + 2).to_bytes(2, "big") + inner + data[2:]
    return data


WHOLE: dict[str, Callable[[], bytes]] = {
    "plain": jpeg,
    "progressive": lambda: jpeg(progressive=True),
    "with a thumbnail": lambda: jpeg(thumbnail=True),
    "with a film behind it": lambda: jpeg() + b"\0\0\0\x20ftypmp42\xff\xda",
}


@pytest.mark.parametrize("make", WHOLE.values(), ids=WHOLE)
def test_a_whole_jpeg_is_read(tmp_path: Path, make: Callable[[], bytes]) -> None:
    (tmp_path / "a.jpg").write_bytes(make())
    assert read_picture(tmp_path / "a.jpg").shape == (48, 64, 3)


@pytest.mark.parametrize("make", [jpeg, lambda: jpeg(thumbnail=True)], ids=["plain", "with a thumbnail"])
def test_a_jpeg_cut_short_is_no_image_with_a_grey_half(
    tmp_path: Path, make: Callable[[], bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    """OpenCV reads it as if nothing were wrong, and half of it is made up."""
    (tmp_path / "a.jpg").write_bytes(make()[:-500])
    with pytest.raises(DataError, match=r"a\.jpg: is incomplete, its end is missing. Replace or remove it"):
        read_picture(tmp_path / "a.jpg")
    assert capfd.readouterr().err == ""


def test_the_check_reports_an_image_cut_short(clean_set: Path) -> None:
    (clean_set / "images" / "clipa_001.png").rename(clean_set / "images" / "clipa_001.jpg")
    (clean_set / "images" / "clipa_001.jpg").write_bytes(jpeg()[:-500])
    (fault,) = check_set(clean_set, SETTINGS).faults
    assert (fault.kind, fault.path.name) == ("unreadable", "clipa_001.jpg")
    assert "incomplete" in fault.what
