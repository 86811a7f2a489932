"""Importing as a whole, on real Keras models: a written file equals Keras, and otherwise nothing is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from engines.errors import CardError, ModelFileError
from engines.importing import KerasImportError
from engines.importing.cards import ALL, ImportOptions
from engines.importing.importer import Imported, Source, import_keras, read_source, write_imported
from engines.importing.loaded import KerasModel
from engines.importing.maker import OPSET
from engines.importing.parity import OnnxRun
from engines.models.model import load_model
from engines.segmenter import Segmenter
from engines.types import VOID_CLASS, Size

Save = Callable[..., Path]


@pytest.fixture
def digits(keras: Any, layers: Any, save: Save) -> Path:
    """The classic small classifier: 28 x 28 grey pixels to ten classes."""
    return save(keras.Sequential([keras.Input((28, 28, 1)), *classic(layers)]), "digits.keras")


@pytest.fixture
def small(keras: Any, layers: Any, save: Save) -> Path:
    """A faster one."""
    body = [layers.Conv2D(4, 3, strides=2), layers.Flatten(), layers.Dense(6, activation="relu"), layers.Dense(3)]
    return save(keras.Sequential([keras.Input((12, 12, 1)), *body]), "small.keras")


def classic(layers: Any, last: Any = "softmax") -> list[Any]:
    return [
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(10, activation=last),
    ]


def noise(size: Size, seed: int = 0) -> Any:
    coarse = np.random.default_rng(seed).integers(0, 256, (size.height // 4, size.width // 4, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (size.width, size.height), interpolation=cv2.INTER_LINEAR), np.uint8)


def every_window(path: Path, imported: Imported, image: Any) -> Any:
    """Keras' outputs for each window of `image`: (rows, columns, classes). Only the geometry is ours."""
    grid = imported.draft.grid
    assert grid is not None
    top, left, bottom, right = grid.pads
    padded = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REPLICATE)
    pixels = cv2.cvtColor(padded, cv2.COLOR_BGR2GRAY)[..., None] / np.float32(255)
    if imported.source.pixels.channels == 3:
        pixels = padded[..., ::-1] / np.float32(255)
    (height, width), (down, across) = grid.window, grid.stride
    rows, columns = image.shape[0] // down, image.shape[1] // across
    corners = [(row * down, column * across) for row in range(rows) for column in range(columns)]
    windows = np.stack([pixels[y : y + height, x : x + width] for y, x in corners])
    return KerasModel(path).predict(windows.astype(np.float32)).reshape(rows, columns, -1)


def softmax(logits: Any) -> Any:
    """(C, rows, columns) → (rows, columns, C)."""
    exponentials = np.exp(logits - logits.max(axis=0))
    return np.moveaxis(exponentials / exponentials.sum(axis=0), 0, -1)


def test_the_sliding_classifier_equals_the_classifier_on_every_window(digits: Path, tmp_path: Path) -> None:
    out, size = tmp_path / "digits.onnx", Size(100, 76)
    imported = import_keras(digits, out, ImportOptions(sliding=True, size=size))
    image = noise(size)
    wanted, found = every_window(digits, imported, image), OnnxRun(out)(image)
    assert found.shape == (10, 19, 25)
    np.testing.assert_allclose(softmax(found), wanted, atol=1e-5)
    np.testing.assert_array_equal(found.argmax(axis=0), wanted.argmax(axis=-1))
    assert len(np.unique(wanted.argmax(axis=-1))) > 1, "a constant output proves little"
    assert str(imported.draft.parity).startswith("100.00 % of 768 windows get Keras' class; ")
    model = load_model(out)
    assert (model.card.family, model.card.input.size, model.card.input.channels) == ("semantic", size, "bgr")
    assert model.card.input.dtype == "uint8"
    with Segmenter(model, "ort") as segmenter:
        np.testing.assert_array_equal(segmenter(image).class_map, wanted.argmax(axis=-1))
    assert onnx.load(out).opset_import[0].version == OPSET >= 17


ODD: dict[str, tuple[tuple[int, int, int], Size, Callable[[Any], list[Any]]]] = {
    "odd window, stride 3 and 2": (
        (27, 19, 3),
        Size(46, 51),
        lambda k: [k.Conv2D(8, (4, 3), strides=(3, 1), activation="relu"), k.MaxPooling2D((1, 2)), k.Flatten(), k.Dense(5)],
    ),
    "stride 1": ((9, 9, 1), Size(23, 17), lambda k: [k.Conv2D(6, 3, dilation_rate=2), k.ReLU(), k.Flatten(), k.Dense(4)]),
    "global average": (
        (16, 16, 3),
        Size(40, 32),
        lambda k: [k.Conv2D(6, 3, strides=2), k.BatchNormalization(), k.ReLU(), k.GlobalAveragePooling2D(), k.Dense(3)],
    ),
    "global maximum": ((16, 16, 1), Size(40, 32), lambda k: [k.SeparableConv2D(6, 3), k.GlobalMaxPooling2D(), k.Dense(3)]),
    "convolutional already": ((12, 12, 1), Size(40, 32), lambda k: [k.Conv2D(8, 4, strides=4), k.Conv2D(4, 3), k.Flatten()]),
    "normalised when flat": (
        (12, 14, 1),
        Size(40, 32),
        lambda k: [k.MaxPooling2D(2), k.Conv2D(5, 3), k.Flatten(), k.BatchNormalization(), k.Dense(7), k.Softmax()],
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_other_windows_slide_too(name: str, keras: Any, layers: Any, save: Save, tmp_path: Path) -> None:
    shape, size, body = ODD[name]
    path = save(keras.Sequential([keras.Input(shape), *body(layers)]))
    imported = import_keras(path, tmp_path / "out.onnx", ImportOptions(sliding=True, size=size))
    image = noise(size)
    wanted, found = every_window(path, imported, image), OnnxRun(tmp_path / "out.onnx")(image)
    found = softmax(found) if imported.source.head == "softmax" else np.moveaxis(found, 0, -1)
    assert imported.draft.made.approximate == ()
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    np.testing.assert_array_equal(found.argmax(axis=-1), wanted.argmax(axis=-1))


@pytest.mark.parametrize("last", ["softmax", "Softmax", "Activation", "linear", "sigmoid"])
def test_the_last_activation_is_left_out_wherever_it_is(last: str, keras: Any, layers: Any, save: Save, tmp_path: Path) -> None:
    """A semantic model's scores are softmax probabilities of its logits: a softmax in the graph would be taken twice."""
    after = {"Softmax": [layers.Softmax(), layers.Dropout(0.1)], "Activation": [layers.Activation("softmax")]}.get(last, [])
    dense = layers.Dense(4, activation=last if last in ("softmax", "sigmoid") else None)
    path = save(keras.Sequential([keras.Input((12, 12, 1)), layers.Conv2D(4, 3, strides=2), layers.Flatten(), dense, *after]))
    imported = import_keras(path, tmp_path / "out.onnx", ImportOptions(sliding=True, size=Size(24, 24)))
    assert imported.source.head == {"linear": "none", "sigmoid": "sigmoid"}.get(last, "softmax")
    assert not {"Softmax", "Sigmoid"} & {node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node}
    image = noise(Size(24, 24))
    logits = OnnxRun(tmp_path / "out.onnx")(image)
    ours = {"linear": np.moveaxis(logits, 0, -1), "sigmoid": np.moveaxis(1 / (1 + np.exp(-logits)), 0, -1)}
    np.testing.assert_allclose(ours.get(last, softmax(logits)), every_window(path, imported, image), atol=1e-5)


def test_padding_inside_a_window_makes_it_approximate_as_the_card_says(
    keras: Any, layers: Any, save: Save, tmp_path: Path
) -> None:
    """Alone, a window sees zeros beyond its edge; in a frame, its neighbours: the two must agree only on one window."""
    body = [layers.Conv2D(8, 3, padding="same", name="first"), layers.MaxPooling2D(4), layers.Flatten(), layers.Dense(3)]
    path = save(keras.Sequential([keras.Input((16, 16, 1)), *body]))
    imported = import_keras(path, tmp_path / "out.onnx", ImportOptions(sliding=True, size=Size(64, 48)))
    assert imported.draft.made.approximate == ("first",)
    assert "first pad a window with zeros" in imported.model.card.limits
    assert 0 < imported.draft.parity.difference < 0.5


@pytest.fixture
def unet(keras: Any, layers: Any) -> Callable[..., Any]:
    def unet(classes: int, activation: str, shape: tuple[int | None, ...] = (32, 48, 3)) -> Any:
        x = image = keras.Input(shape)
        skips = []
        for width in (4, 8):
            x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
            skips.append(layers.BatchNormalization()(x))
            x = layers.MaxPooling2D()(skips[-1])
        x = layers.Conv2D(12, 3, padding="same", activation="relu")(x)
        for width in (8, 4):
            x = layers.Concatenate()([layers.Conv2DTranspose(width, 2, strides=2)(x), skips.pop()])
            x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        return keras.Model(image, layers.Conv2D(classes, 1, activation=activation)(x))

    return unet


def test_a_unet_labels_every_pixel_as_keras_does(unet: Callable[..., Any], save: Save, tmp_path: Path) -> None:
    path = save(unet(5, "softmax"))
    names = ("sky", "road", "car", "tree", "rest")
    options = ImportOptions("street", classes=names, things=("car",), void=("rest",), scale=1 / 127.5, offset=-1.0, order="bgr")
    imported = import_keras(path, tmp_path / "street.onnx", options)
    image = noise(Size(48, 32))
    wanted = KerasModel(path).predict((image.astype(np.float32) / 127.5 - 1)[None])[0].argmax(axis=-1)
    with Segmenter(imported.model, "ort") as segmenter:
        class_map = segmenter(image).class_map
    np.testing.assert_array_equal(class_map, np.where(wanted == 4, VOID_CLASS, wanted))
    assert len(np.unique(wanted)) > 1
    card = load_model(tmp_path / "street.onnx").card
    assert (card.name, card.classes, card.things, card.void, card.input.fit) == ("street", names, ("car",), ("rest",), "stretch")
    assert card.figures["pixels_as_keras_percent"] == 100.0


def test_a_unet_of_open_size_runs_at_the_given_size(unet: Callable[..., Any], save: Save, tmp_path: Path) -> None:
    path = save(unet(3, "softmax", (None, None, 3)))
    imported = import_keras(path, tmp_path / "out.onnx", ImportOptions(size=Size(64, 40)))
    assert imported.model.card.input.size == Size(64, 40)
    with pytest.raises(KerasImportError, match=r"maps of 36x24 and 37x24 cannot be joined\. Choose a --size"):
        import_keras(path, tmp_path / "odd.onnx", ImportOptions(size=Size(48, 75)))
    assert not (tmp_path / "odd.onnx").exists()


def test_one_sigmoid_per_pixel_is_a_matte_or_two_classes(unet: Callable[..., Any], save: Save, tmp_path: Path) -> None:
    path, image = save(unet(1, "sigmoid")), noise(Size(48, 32))
    wanted = KerasModel(path).predict(image[None, ..., ::-1] / np.float32(255))[0, ..., 0]
    matte = import_keras(path, tmp_path / "matte.onnx", ImportOptions(classes=("person",))).model
    with Segmenter(matte, "ort") as segmenter:
        alpha = segmenter(image).alpha
    assert alpha is not None
    np.testing.assert_allclose(alpha / 255, wanted, atol=1 / 255)
    pair = import_keras(path, tmp_path / "pair.onnx", ImportOptions(family="semantic")).model
    assert (pair.card.classes, pair.card.void) == (("background", "foreground"), ("background",))
    with Segmenter(pair, "ort") as segmenter:
        np.testing.assert_array_equal(segmenter(image).class_map, np.where(wanted > 0.5, 1, VOID_CLASS))
    two = import_keras(path, tmp_path / "two.onnx", ImportOptions(classes=("field", "weed"), things=ALL)).model
    assert (two.card.family, two.card.classes, two.card.things) == ("semantic", ("field", "weed"), ("field", "weed"))


def test_labels_as_a_list_of_pixels_are_a_map(keras: Any, layers: Any, save: Save, tmp_path: Path) -> None:
    """Many tutorials end a SegNet like this: Reshape to (rows x columns, classes), then a softmax."""
    body = [layers.Conv2D(4, 3, padding="same"), layers.Reshape((24 * 32, 4)), layers.Activation("softmax")]
    path = save(keras.Sequential([keras.Input((24, 32, 3)), *body]))
    imported = import_keras(path, tmp_path / "out.onnx", ImportOptions())
    assert imported.draft.made.result.shape == (24, 32, 4)


def test_an_old_hdf5_file(keras: Any, layers: Any, save: Save, tmp_path: Path) -> None:
    body = [layers.Conv2D(4, 3, strides=2), layers.Flatten(), layers.Dense(3, activation="softmax")]
    path, size = save(keras.Sequential([keras.Input((12, 12, 1)), *body]), "old.h5"), Size(24, 24)
    imported = import_keras(path, tmp_path / "old.onnx", ImportOptions(sliding=True, size=size))
    image = noise(size)
    found = OnnxRun(tmp_path / "old.onnx")(image)
    np.testing.assert_allclose(softmax(found), every_window(path, imported, image), atol=1e-5)


def refused(path: Path, error: type[Exception] = KerasImportError, **options: Any) -> str:
    out = path.with_name("refused.onnx")
    with pytest.raises(error) as caught:
        import_keras(path, out, ImportOptions(**options))
    assert "\n" not in str(caught.value)
    assert not list(path.parent.glob("refused*")) + list(path.parent.glob(".export-*"))
    return str(caught.value)


def test_an_error_of_a_classifier_names_the_cure(small: Path) -> None:
    assert refused(small).endswith("not a segmentation model. Add --sliding to run it at every position of a frame")
    assert "Choose --size 96x200" in refused(small, sliding=True, size=Size(201, 97))
    assert "has 3 classes, and --classes names 2" in refused(small, CardError, sliding=True, classes=("a", "b"))
    assert '"class_1", which is not a class. Did you mean "class 1"?' in refused(
        small, CardError, sliding=True, size=Size(24, 24), void=("class_1",)
    )
    assert "a matte is one number per pixel" in refused(small, CardError, sliding=True, family="matting")
    with pytest.raises(ModelFileError, match=r"an exported model is an \.onnx file"):
        import_keras(small, small.with_suffix(".bin"), ImportOptions(sliding=True))


def test_an_error_of_a_segmentation_model_names_the_cure(unet: Callable[..., Any], keras: Any, layers: Any, save: Save) -> None:
    path = save(unet(3, "softmax"))
    assert "labels 32x48 cells of its picture already. Leave out --sliding" in refused(path, sliding=True)
    assert "its input is fixed at 32x48. Leave out --size" in refused(path, size=Size(64, 64))
    narrow = save(keras.Sequential([keras.Input((40, 40, 3)), layers.Conv2D(3, 9), layers.Conv2D(3, 9)]), "narrow.keras")
    assert "labels 24x24 cells of a frame of 40x40, without its borders" in refused(narrow)
    open_net = keras.Sequential([keras.Input((None, None, 3)), layers.GlobalAveragePooling2D(), layers.Dense(3)])
    assert "the size of its window is unknown" in refused(save(open_net, "open.keras"), sliding=True)


def test_models_of_another_form_are_refused(keras: Any, layers: Any, save: Save) -> None:
    one, other = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    two = save(keras.Model([one, other], layers.Add()([one, other])), "two.keras")
    assert "has 2 inputs and 1 outputs instead of one each. Cut it: keras.Model(" in refused(two)
    flat = save(keras.Sequential([keras.Input((8,)), layers.Dense(3)]), "flat.keras")
    assert "its input is (8,), which is not a picture. Train on pictures of (height, width, 1 or 3)" in refused(flat)
    layered = save(keras.Sequential([keras.Input((8, 8, 3)), layers.LayerNormalization(name="norm")]), "layered.keras")
    assert 'layer "norm" (LayerNormalization): this kind of layer is not supported' in refused(layered)


def test_code_inside_a_file_is_not_run(keras: Any, layers: Any, save: Save, tmp_path: Path) -> None:
    """Loading this one without Keras' safe mode would make a file."""
    trace = tmp_path / "ran"
    name = str(trace)
    sneaky = layers.Lambda(lambda x: (open(name, "w").close(), x)[1], output_shape=(8, 8, 3), name="sneaky")  # noqa: PTH123
    path = save(keras.Sequential([keras.Input((8, 8, 3)), sneaky]))
    trace.unlink(missing_ok=True)
    assert 'the layer "sneaky" is a Lambda, Python code inside the file, which is not run' in refused(path, sliding=True)
    assert not trace.exists()


def test_custom_layers_are_named(keras: Any, layers: Any, save: Save) -> None:
    class Doubled(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x * 2

    path = save(keras.Sequential([keras.Input((8, 8, 3)), Doubled(name="twice")]))
    assert 'needs code that is not in the file, the Doubled of "twice"' in refused(path)


def misread(path: Path, options: ImportOptions) -> Source:
    """A source whose Dense layer flattens in another order: it runs as well, and only the comparison with Keras shows it."""
    source = read_source(path, options)
    steps = list(source.network.steps)
    (index,) = (number for number, step in enumerate(steps) if step.weights and step.weights[0].shape[0] == 100)
    kernel, bias = steps[index].weights
    shuffled = kernel.reshape(5, 5, 4, 6).transpose(2, 0, 1, 3).reshape(100, 6)
    steps[index] = dataclasses.replace(steps[index], weights=(shuffled, bias))
    return dataclasses.replace(source, network=dataclasses.replace(source.network, steps=tuple(steps)))


def test_a_translation_that_differs_from_keras_is_not_written(small: Path, tmp_path: Path) -> None:
    options = ImportOptions(sliding=True, size=Size(24, 24))
    with pytest.raises(KerasImportError, match=r"the translated model and Keras 3.* disagree .*, so nothing was written\."):
        write_imported(misread(small, options), tmp_path / "net.onnx", options)
    assert [path.name for path in tmp_path.iterdir()] == ["small.keras"]


def test_an_error_leaves_the_files_of_an_earlier_import(small: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "net.onnx", ImportOptions(sliding=True, size=Size(24, 24))
    import_keras(small, out, options)
    before = {path: path.read_bytes() for path in (out, out.with_suffix(".toml"))}
    with pytest.raises(KerasImportError):
        write_imported(misread(small, options), out, options)
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "net.toml", "small.keras"]
