from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from engines.errors import CollectionError, ModelFileError, ModelNotFoundError
from engines.models import zoo
from engines.models.collection.folders import new_model, remove_model

from ....conftest import write_brightness_model


def everything_in(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def fill(folder: Path) -> None:
    source = write_brightness_model(folder)
    source.rename(folder / "model.onnx")
    (folder / "tiny.toml").rename(folder / "card.toml")


def test_a_model_appears_whole_when_the_block_ends(own_folder: Path) -> None:
    with new_model("mine") as folder:
        fill(folder)
        assert zoo.own_names() == ()
    assert everything_in(own_folder) == ["mine", "mine/card.toml", "mine/model.onnx"]
    assert zoo.own_names() == ("mine",)
    assert zoo.names() == (*zoo.bundled_names(), "mine")
    assert zoo.find("mine").card.classes == ("ground", "car", "person")
    assert zoo.find("mine").typed == "mine"
    if os.name == "posix":
        assert stat.S_IMODE((own_folder / "mine").stat().st_mode) & 0o700 == 0o700


def make_and_fail(name: str, error: BaseException) -> None:
    with new_model(name) as folder:
        fill(folder)
        raise error


@pytest.mark.parametrize(
    "error", [ModelFileError("bad"), KeyboardInterrupt(), OSError(28, "No space left on device"), ValueError()]
)
def test_after_an_error_nothing_is_left(own_folder: Path, error: BaseException) -> None:
    expected = CollectionError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        make_and_fail("mine", error)
    assert everything_in(own_folder) == []


def test_a_full_disk_is_an_error_with_the_cure(own_folder: Path) -> None:
    with pytest.raises(CollectionError, match=r"No space left on device.*XDG_DATA_HOME"), new_model("mine"):
        raise OSError(28, "No space left on device")


def test_a_folder_that_cannot_be_made_is_an_error(own_folder: Path) -> None:
    own_folder.parent.mkdir(parents=True)
    own_folder.write_text("not a folder")
    with pytest.raises(CollectionError, match="XDG_DATA_HOME"), new_model("mine"):
        pytest.fail("there is nowhere to put it")


def test_two_models_of_one_name_at_the_same_time_do_not_mix(own_folder: Path) -> None:
    def slower() -> None:
        with new_model("mine") as folder:
            fill(folder)
            with new_model("mine") as faster:
                fill(faster)
                (faster / "extra").write_text("the faster one's")

    with pytest.raises(CollectionError, match="another process"):
        slower()
    assert everything_in(own_folder) == ["mine", "mine/card.toml", "mine/extra", "mine/model.onnx"]


@pytest.mark.parametrize("name", ["../escape", "road", "NUL", "/tmp/escape"])
def test_no_name_is_a_path_out_of_the_folder(own_folder: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(CollectionError), new_model(name):
        pytest.fail("it has begun")
    with pytest.raises(CollectionError):
        remove_model(name)
    assert everything_in(tmp_path) == []


def test_removing_takes_one_and_leaves_the_others(own_folder: Path) -> None:
    for name in ("one", "two"):
        with new_model(name) as folder:
            fill(folder)
    assert remove_model("one") == own_folder / "one"
    assert everything_in(own_folder) == ["two", "two/card.toml", "two/model.onnx"]
    with pytest.raises(ModelNotFoundError, match=r"Known: .*two"):
        zoo.find("one")


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need no rights on POSIX only")
def test_removing_a_link_leaves_its_target(own_folder: Path, tmp_path: Path) -> None:
    with new_model("mine") as folder:
        fill(folder)
    elsewhere = shutil.move(own_folder / "mine", tmp_path / "elsewhere")
    (own_folder / "mine").symlink_to(elsewhere)
    remove_model("mine")
    assert everything_in(own_folder) == []
    assert (tmp_path / "elsewhere" / "model.onnx").is_file()


def test_folders_left_by_killed_processes_are_removed_later(own_folder: Path) -> None:
    for name in (".old-1.part", ".new-1.part"):
        (own_folder / name).mkdir(parents=True)
        (own_folder / name / "card.toml").write_text("")
    os.utime(own_folder / ".old-1.part", (0, 0))
    assert zoo.own_names() == ()
    with new_model("mine") as folder:
        fill(folder)
    assert sorted(path.name for path in own_folder.iterdir()) == [".new-1.part", "mine"]


def test_a_bundled_name_takes_precedence_over_an_own_folder(own_folder: Path) -> None:
    """Such as one that was added before the name was bundled."""
    fill(own_folder / "road")
    assert zoo.names() == zoo.bundled_names()
    assert zoo.find("road").path.is_relative_to(zoo.assets_dir())
