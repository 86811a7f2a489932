"""Files are checked before anything of them is loaded. Without Keras: a refused file must be recognised without it."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.importing import KerasImportError
from engines.importing.files import check_file, read_config

CONV = {"module": "keras.layers", "class_name": "Conv2D", "config": {"name": "conv"}, "registered_name": None}


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "net", "layers": list(layers)}}


def write(path: Path, config: Any) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
    return path


def test_a_model_of_keras_own_layers_passes(tmp_path: Path) -> None:
    check_file(write(tmp_path / "good.keras", sequential(CONV, sequential(CONV))))


LAMBDA = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "halve"}, "registered_name": None}
OWN = {"module": "shop", "class_name": "Blur", "config": {"name": "soft"}, "registered_name": "shop>Blur"}
FUNCTION = {"module": "builtins", "class_name": "function", "config": "bent", "registered_name": "function"}
BENT = {"module": "keras.layers", "class_name": "Conv2D", "config": {"name": "conv", "activation": FUNCTION}}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (sequential(CONV, LAMBDA), 'the layer "halve" is a Lambda, Python code inside the file, which is not run. Write it with'),
        (sequential(sequential(sequential(LAMBDA))), 'the layer "halve" is a Lambda'),
        (sequential(OWN), 'needs code that is not in the file, the Blur of "soft"'),
        (sequential(BENT), 'needs code that is not in the file, the function "bent"'),
        (
            {"class_name": "MyNet", "module": "__main__", "config": {}},
            "is a model of a custom class, MyNet, whose code is not in the file. Build it with",
        ),
        ([1, 2], "not a Keras model configuration. Save it with"),
        ("{", "cannot be read as a Keras model"),
        ("[" * 100_000, "cannot be read as a Keras model"),
    ],
    ids=["lambda", "nested lambda", "custom layer", "custom activation", "custom model", "list", "broken", "deep"],
)
def test_a_file_that_may_not_or_cannot_be_loaded_is_refused_by_name(tmp_path: Path, config: Any, message: str) -> None:
    path = write(tmp_path / "model.keras", config)
    with pytest.raises(KerasImportError) as caught:
        check_file(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_lambda_of_an_old_file_is_found_too(tmp_path: Path) -> None:
    """Keras 2 wrote no modules, and a Sequential's layers as a plain list."""
    old = {"class_name": "Sequential", "config": [{"class_name": "Lambda", "config": {"name": "halve"}}]}
    with pytest.raises(KerasImportError, match='"halve" is a Lambda'):
        check_file(write(tmp_path / "old.keras", old))


def test_files_that_are_not_models(tmp_path: Path) -> None:
    (tmp_path / "text.keras").write_text("nothing")
    (tmp_path / "net.onnx").write_bytes(b"\x08\x07")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme", "hello")
    for name, message in (
        ("text.keras", "not a Keras model"),
        ("net.onnx", "is an ONNX file already. Use it: --model"),
        ("other.zip", "a ZIP archive without config.json"),
        ("missing.keras", "no such file"),
        ("", "is a folder"),
    ):
        with pytest.raises(KerasImportError, match=message):
            check_file(tmp_path / name)


def test_a_configuration_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "bomb.keras", sequential(*[CONV] * 100))
    with pytest.raises(KerasImportError, match=r"config\.json is larger than"):
        read_config(path, 1000)


def test_hdf5_files(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="comes with Keras: pip install -e '.[keras]'")
    with h5py.File(tmp_path / "good.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(sequential(CONV))
    check_file(tmp_path / "good.h5")
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(sequential(LAMBDA)).encode()
    with pytest.raises(KerasImportError, match='"halve" is a Lambda'):
        check_file(tmp_path / "bad.h5")
    with h5py.File(tmp_path / "only.weights.h5", "w") as file:
        file.create_dataset("kernel", data=[1.0])
    with pytest.raises(KerasImportError, match=r"weights without a model\. Save the whole model with model\.save"):
        check_file(tmp_path / "only.weights.h5")


def with_weights(path: Path, write: Any) -> Path:
    """A `.keras` file whose weights `write` puts into an HDF5 file."""
    h5py = pytest.importorskip("h5py", reason="comes with Keras: pip install -e '.[keras]'")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write(h5py, file)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(sequential(CONV)))
        archive.writestr("model.weights.h5", buffer.getvalue())
    return path


def test_an_archive_that_unpacks_to_a_thousand_times_its_size_is_not_unpacked(tmp_path: Path) -> None:
    """3 MB became 3 GB."""
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(sequential(CONV)))
        with archive.open("model.weights.h5", "w") as entry:
            for _ in range(100):
                entry.write(bytes(1 << 20))
    with pytest.raises(KerasImportError, match=r"bomb\.keras: unpacks to 100 MiB from 0\.1, which weights do not"):
        check_file(path)


def test_arrays_that_pack_to_nothing_are_not_unpacked(tmp_path: Path) -> None:
    def empty(h5py: Any, file: Any) -> None:
        file.create_dataset("layers/conv/vars/0", (1 << 30, 4), "f4", chunks=(1 << 20, 4), compression="gzip")

    with pytest.raises(KerasImportError, match=r"unpacks to 16384 MiB from 0\.0"):
        check_file(with_weights(tmp_path / "bomb.keras", empty))
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(sequential(CONV))
        empty(h5py, file.create_group("model_weights"))
    with pytest.raises(KerasImportError, match=r"unpacks to 16384 MiB"):
        check_file(tmp_path / "bomb.h5")


def test_values_in_other_files_are_not_read(tmp_path: Path) -> None:
    def linked(h5py: Any, file: Any) -> None:
        file["layers"] = h5py.ExternalLink("/etc/passwd", "/x")

    def outside(h5py: Any, file: Any) -> None:
        file.create_dataset("layers", (100,), "u1", external=[("/etc/passwd", 0, 100)])

    for write_weights, message in ((linked, "layers is a link to another file, /etc/passwd"), (outside, "are in another file")):
        with pytest.raises(KerasImportError, match=message):
            check_file(with_weights(tmp_path / "out.keras", write_weights))


def test_weights_that_hardly_pack_pass_whatever_their_size(tmp_path: Path) -> None:
    def trained(h5py: Any, file: Any) -> None:
        file["kernel"] = np.random.default_rng(0).standard_normal((1 << 20,)).astype(np.float32)

    check_file(with_weights(tmp_path / "good.keras", trained))
