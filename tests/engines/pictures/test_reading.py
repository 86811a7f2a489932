"""Pictures are refused by their headers before a decoder makes room for them, whoever reads them."""

from __future__ import annotations

import contextlib
import os
import resource
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.building.frames import real_frames
from engines.datasets.checking import check_set
from engines.datasets.folder import open_set
from engines.datasets.image_files import read_label
from engines.datasets.settings import SetSettings
from engines.errors import BuildError, DataError, PictureError
from engines.pictures.reading import MAX_PIXELS, MAX_SCANS, check_size, decode, read_picture, silence_opencv
from engines.types import Size
from realtime.errors import SettingsError, SourceOpenError
from realtime.sources import open_source
from realtime.streams.backdrop import open_background
from tests.engines.pictures.files import FORMATS, chunk, claiming, encoded, png

ALLOWED_BYTES = 64 << 20
BOMB = png(12_000, 12_000)


def peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_a_hundred_kilobytes_are_no_gigabytes_for_any_reader(tmp_path: Path) -> None:
    """A PNG of 109 kB took 5.4 GB in images/, --background and data check."""
    assert len(BOMB) < 1 << 20
    images, labels = tmp_path / "images", tmp_path / "labels"
    for folder in (images, labels):
        folder.mkdir()
        (folder / "a.png").write_bytes(BOMB)
    before = peak_bytes()
    said = "declares 12000x12000 pixels; read are at most 50 million"
    with pytest.raises(PictureError, match=said):
        read_picture(images / "a.png")
    with pytest.raises(PictureError, match=said):
        read_label(labels / "a.png")
    with pytest.raises(SourceOpenError, match="none of its 1 image can be read"):
        open_source(str(images))
    with pytest.raises(SettingsError, match=said):
        open_background(str(images / "a.png"))
    with pytest.raises(BuildError, match="no pictures in it"):
        real_frames(images, 1)
    with pytest.raises(DataError, match=said):
        open_set(tmp_path, SetSettings("bombs", ("a",)))
    faults = check_set(tmp_path, SetSettings("bombs", ("a",))).faults
    assert [fault.kind for fault in faults] == ["unreadable", "unreadable"]
    assert all(said in fault.what for fault in faults)
    assert peak_bytes() - before < ALLOWED_BYTES


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_is_refused_by_its_header(suffix: str, tmp_path: Path) -> None:
    data = claiming(suffix, 16_000)
    before, started_s = peak_bytes(), time.monotonic()
    with pytest.raises(PictureError, match="declares 16000x16000 pixels"):
        decode(data)
    (tmp_path / "a.png").write_bytes(data)  # a suffix is only a name
    with pytest.raises(PictureError, match=r"a\.png: declares 16000x16000 pixels"):
        read_label(tmp_path / "a.png")
    assert peak_bytes() - before < ALLOWED_BYTES
    assert time.monotonic() - started_s < 1


def test_the_limit_is_of_pixels_and_of_sides() -> None:
    check_size(Size(8192, 6144))
    for size in (Size(8193, 6144), Size(8000, 8000), Size(40_000, 1), Size(1, 40_000), Size(0, 5), Size(5, 0)):
        with pytest.raises(PictureError, match=f"{size} pixels"):
            check_size(size)
    assert MAX_PIXELS < 8000 * 8000


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt"])
def test_compressed_texts_of_a_png_are_not_unpacked(kind: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """500 chunks of 7 MB kept libpng busy for 17 s."""
    head = b"k\0\1\0\0\0" if kind == b"iTXt" else b"k\0\0"
    data = png(8, 9, chunk(kind, head + zlib.compress(bytes(7 << 20), 9)) * 100)
    started_s = time.monotonic()
    assert decode(data).shape == (9, 8, 3)
    assert time.monotonic() - started_s < 1
    assert capfd.readouterr().err == ""


def test_only_the_picture_of_an_animated_png_is_decoded() -> None:
    control = chunk(b"acTL", bytes([0, 0, 0, 2, 0, 0, 0, 0]))
    frame = chunk(b"fcTL", bytes(4) + (60_000).to_bytes(4, "big") * 2 + bytes(14))
    assert decode(png(8, 9, control + frame)).shape == (9, 8, 3)


def test_transparency_and_orientation_of_a_png_are_kept(tmp_path: Path) -> None:
    turned = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # EXIF's orientation 6
    assert decode(png(8, 9, chunk(b"eXIf", turned))).shape == decode(png(9, 8)).shape
    assert decode(png(8, 9, chunk(b"tRNS", bytes(6))), cv2.IMREAD_UNCHANGED).shape == (9, 8, 4)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    """Every scan is another pass over all pixels, and costs a dozen bytes."""
    data = encoded(".jpg", 64, 48, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert decode(data).shape == (48, 64, 3)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(PictureError, match=f"more than {MAX_SCANS} scans"):
        decode(data[:last] + data[last:-2] * (MAX_SCANS + 1) + data[-2:])
    plain = encoded(".jpg", 64, 48)
    scan = plain.index(b"\xff\xda")
    one_component = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0"
    with pytest.raises(PictureError, match=f"more than {MAX_SCANS} scans"):
        decode(plain[:scan] + one_component * (MAX_SCANS + 1) + b"\xff\xd9")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").mkdir()
    for name in ("a.png", "b.png"):
        with pytest.raises(PictureError, match=f"{name}: is not a file"):
            read_picture(tmp_path / name)
    with pytest.raises(PictureError, match=r"c\.png: cannot be read"):
        read_picture(tmp_path / "c.png")


def test_a_sparse_file_is_not_loaded(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(20 << 30)
    with pytest.raises(PictureError, match=r"a\.png: is larger than 512 MiB"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", FORMATS)
def test_ordinary_pictures_are_read_as_ever(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a{suffix}").write_bytes(encoded(suffix, 31, 17))
    assert read_picture(tmp_path / f"a{suffix}").shape == (17, 31, 3)
    plain = cv2.imdecode(np.frombuffer(encoded(suffix, 31, 17), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read_picture(tmp_path / f"a{suffix}"), plain)


def test_opencv_prints_nothing_about_odd_files(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENCV_LOG_LEVEL", raising=False)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_WARNING)
    tiff = bytearray(encoded(".tif", 40, 40))
    directory = int.from_bytes(tiff[4:8], "little")
    for entry in range(int.from_bytes(tiff[directory : directory + 2], "little")):
        at = directory + 2 + 12 * entry
        if int.from_bytes(tiff[at : at + 2], "little") == 277:  # SamplesPerPixel
            tiff[at + 4 : at + 8] = (3).to_bytes(4, "little")  # as many values, where one is allowed
    with contextlib.suppress(PictureError):
        decode(bytes(tiff))
    assert capfd.readouterr() == ("", "")


def test_opencv_4_is_silenced_by_the_name_that_it_has_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENCV_LOG_LEVEL", raising=False)
    levels: list[int] = []
    monkeypatch.setattr(cv2, "setLogLevel", levels.append, raising=False)
    monkeypatch.delattr(cv2.utils, "logging", raising=False)
    silence_opencv()
    assert levels == [0]
