from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from engines.errors import CardError, ModelFileError
from engines.models import zoo
from engines.models.coco import COCO_CLASSES
from engines.models.model import find_card, load_model
from engines.types import Size

ZERO_TO_ONE = "[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n"
UNIT = ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
NAMES = "{0: 'cat', 1: 'dog', 2: 'owl'}"


def yolo_arrays(classes: int = 3, masks: int = 4, boxes: int = 84) -> dict[str, Any]:
    return {"output0": np.zeros((1, 4 + classes + masks, boxes), np.float32), "output1": np.zeros((1, masks, 16, 16), np.float32)}


def refused(path: Path) -> str:
    with pytest.raises(CardError) as caught:
        load_model(path)
    text = str(caught.value)
    assert "\n" not in text
    return text


# What a YOLO export says of itself


def test_an_ultralytics_export_needs_no_card(nets) -> None:
    metadata = {"task": "segment", "names": NAMES, "imgsz": "[64, 64]", "stride": "32", "license": "AGPL-3.0", "description": "d"}
    card = load_model(nets.constant(yolo_arrays(), "pets", metadata=metadata)).card

    assert (card.name, card.file, card.family, card.licence) == ("pets", "pets.onnx", "yolo_seg", "AGPL-3.0")
    assert card.classes == card.things == ("cat", "dog", "owl")
    assert card.outputs == {"predictions": "output0", "prototypes": "output1"}
    assert (card.input.tensor, card.input.size, card.input.layout) == ("images", Size(64, 64), "nchw")
    assert (card.input.fit, card.input.channels, card.input.pad) == ("letterbox", "rgb", 114)
    assert (card.input.mean, card.input.std) == UNIT


def test_the_end_to_end_form_is_recognised_by_its_rows(nets) -> None:
    arrays = {"output0": np.zeros((1, 300, 38), np.float32), "output1": np.zeros((1, 32, 16, 16), np.float32)}
    card = load_model(nets.constant(arrays, metadata={"task": "segment", "names": NAMES})).card
    assert card.family == "yolo_seg"
    assert card.outputs == {"detections": "output0", "prototypes": "output1"}


def test_open_shapes_take_the_embedded_size(nets) -> None:
    shapes = {"output0": ["batch", 11, "anchors"], "output1": ["batch", 4, "h", "w"]}
    metadata = {"names": NAMES, "imgsz": "[480, 640]"}
    path = nets.constant(yolo_arrays(), size=("width", "height"), shapes=shapes, metadata=metadata)
    assert load_model(path).card.input.size == Size(640, 480)


@pytest.mark.parametrize("imgsz", ["", "640", "[640]", "big", "[null, 3]", "{}"])
def test_an_embedded_size_that_is_none_is_passed_over(nets, imgsz: str) -> None:
    shapes = {"output0": ["batch", 11, "anchors"], "output1": ["batch", 4, "h", "w"]}
    path = nets.constant(yolo_arrays(), size=("w", "h"), shapes=shapes, metadata={"names": NAMES, "imgsz": imgsz})
    assert load_model(path).card.input.size == Size(640, 640)


def test_eighty_unnamed_classes_are_not_taken_for_those_of_coco(nets) -> None:
    path = nets.constant(yolo_arrays(80, boxes=100))
    model = load_model(path)
    assert model.card.classes[:2] == ("class 0", "class 1")
    assert model.lacks_names
    path.with_suffix(".toml").write_text('classes = "coco"\n')
    assert load_model(path).card.classes == load_model(path).card.things == COCO_CLASSES
    path.with_suffix(".toml").write_text('classes = "cocoa"\n')
    assert 'constant.toml: classes = "cocoa" is no set of classes. Write a list of names, or "coco"' in refused(path)


def test_a_model_without_names_is_used_with_a_warning(nets, caplog: pytest.LogCaptureFixture) -> None:
    zoo.find(str(nets.semantic()))
    (record,) = caplog.records
    assert 'names none of its 3 classes: they are called "class 0" and so on. Write in colours.toml: classes' in record.message


def test_other_unnamed_classes_are_numbered(nets) -> None:
    assert load_model(nets.constant(yolo_arrays(2))).card.classes == ("class 0", "class 1")


@pytest.mark.parametrize("name", ["constant.txt", "labels.txt", "classes.txt"])
def test_names_may_lie_beside_the_model(nets, name: str) -> None:
    path = nets.constant(yolo_arrays())
    (path.parent / name).write_text("cat\n dog \n\nowl\n", encoding="utf-8")
    assert load_model(path).card.classes == ("cat", "dog", "owl")


def test_embedded_names_go_by_their_number_not_their_place(nets) -> None:
    path = nets.constant(yolo_arrays(), metadata={"names": "{2: 'owl', 0: 'cat', 1: 'dog'}"})
    assert load_model(path).card.classes == ("cat", "dog", "owl")


def test_embedded_names_may_be_a_list(nets) -> None:
    path = nets.constant(yolo_arrays(), metadata={"names": "['cat', 'dog', 'owl']"})
    assert load_model(path).card.classes == ("cat", "dog", "owl")


@pytest.mark.parametrize("key", ["names", "classes", "labels", "id2label"])
@pytest.mark.parametrize(
    "form", ["json", "json shuffled", "python", "python text keys", "list", "entries", "name to id", "lines"]
)
def test_embedded_names_go_by_their_number_in_every_form(nets, form: str, key: str) -> None:
    """Twelve, of which text would sort the 10 and 11 before the 2."""
    names = [f"n{number}" for number in range(12)]
    numbers = sorted(range(12), key=lambda number: number * 7 % 12)
    text = {
        "json": json.dumps({str(number): names[number] for number in range(12)}),
        "json shuffled": json.dumps({str(number): names[number] for number in numbers}),
        "python": str({number: names[number] for number in numbers}),
        "python text keys": str({str(number): names[number] for number in numbers}),
        "list": json.dumps(names),
        "entries": json.dumps([{"id": number, "name": names[number], "supercategory": "x"} for number in numbers]),
        "name to id": json.dumps({names[number]: number for number in numbers}),
        "lines": "\n".join(f"{number}: {names[number]}" for number in numbers),
    }[form]
    assert load_model(nets.constant(yolo_arrays(12), metadata={key: text})).card.classes == tuple(names)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"0": "a", "2": "c", "3": "d"}', "no name for class 1"),
        ("{1: 'a', 2: 'b', 3: 'c'}", r"no name for class 0 \(they begin with 1\)"),
        ('{"0": "a", "0": "b", "1": "c", "2": "d"}', "two names for class 0"),
        ("{0: 'a', 0: 'b', 1: 'c', 2: 'd'}", "two names for class 0"),
        ('{"1": "a", "01": "b", "0": "c"}', "two names for class 1"),
        ('{"0": "a", "1": null, "2": "c"}', "is not a name"),
        ('["a", "", "c"]', "is not a name"),
        ("{-1: 'a', 0: 'b', 1: 'c'}", "is not a class's number"),
        ("{True: 'a', 0: 'b', 2: 'c'}", "is not a class's number"),
        ("cat, dog", "nor 3 names between commas"),
        ("cat\n\ndog", "line 2 is empty"),
    ],
)
def test_names_that_are_not_sure_are_refused(nets, text: str, says: str) -> None:
    assert re.search(says, refused(nets.constant(yolo_arrays(), metadata={"names": text})))


def test_names_between_commas_need_the_right_number(nets) -> None:
    assert load_model(nets.constant(yolo_arrays(), metadata={"names": "cat,dog, barn owl"})).card.classes[2] == "barn owl"


def test_two_lists_of_names_must_agree(nets) -> None:
    other = {"names": NAMES, "labels": '["dog", "cat", "owl"]'}
    assert "it has other class names under names than under labels in its metadata" in refused(
        nets.constant(yolo_arrays(), metadata=other)
    )
    same = {"names": NAMES, "labels": '["cat", "dog", "owl"]', "classes": "3"}
    assert load_model(nets.constant(yolo_arrays(), metadata=same)).card.classes == ("cat", "dog", "owl")


def test_a_card_s_classes_make_unreadable_ones_irrelevant(nets) -> None:
    path = nets.constant(yolo_arrays(), metadata={"names": "{0: 'cat'"})
    path.with_suffix(".toml").write_text('classes = ["a", "b", "c"]\n')
    assert load_model(path).card.things == ("a", "b", "c")


def test_a_numbered_list_beside_the_model_goes_by_its_numbers(nets) -> None:
    path = nets.constant(yolo_arrays(12))
    path.with_suffix(".txt").write_text("\ufeff" + "\r\n".join(f"{n}  n{n}" for n in sorted(range(12), key=str)), "utf-8")
    assert load_model(path).card.classes == tuple(f"n{n}" for n in range(12))


def test_a_list_with_a_gap_is_refused_where_the_number_of_classes_is_not_known(nets) -> None:
    path = nets.semantic(form="labels", dtype="uint8", card=None)
    path.with_suffix(".txt").write_text("red\n\ngreen\n")
    assert "line 2 is empty, so that the names below it may belong to other classes" in refused(path)


def test_a_name_may_not_stand_for_two_classes(nets) -> None:
    """Its second class would never be cut into objects, nor be found by its name."""
    text = refused(nets.constant(yolo_arrays(), metadata={"names": "['cat', 'dog', 'cat']"}))
    assert '"classes" names "cat" twice, as 0 and 2. Give each class a name of its own' in text


def test_controls_in_names_and_texts_are_shown_not_sent(nets) -> None:
    """Such as a terminal's escape sequences, and characters that turn a line's direction."""
    names = ["car\x1b]0;owned\x07", "tree\u202egnp", "a\nb" + "x" * 10**6]
    metadata = {"names": json.dumps(names), "description": "\x1b[2Jgone\nnext", "license": "MIT\x9b31m"}
    card = load_model(nets.constant(yolo_arrays(), metadata=metadata)).card
    assert card.classes[:2] == card.things[:2] == ("car\\x1b]0;owned\\x07", "tree\\u202egnp")
    assert card.classes[2].startswith("a bxxx")
    assert len(card.classes[2]) == 120
    assert (card.description, card.licence) == ("\\x1b[2Jgone\nnext", "MIT\\x9b31m")
    wordy = load_model(nets.constant(yolo_arrays(), metadata={"names": NAMES, "description": "d" * 10**6})).card
    assert len(wordy.description) == 2000, "a card that is kept must fit its file"


def test_a_tensor_s_name_with_controls_is_refused(nets) -> None:
    arrays = yolo_arrays()
    arrays["out\x1b[31m"] = arrays.pop("output0")
    assert 'the tensor "out\\x1b[31m" has control characters in its name' in refused(nets.constant(arrays))


@pytest.mark.parametrize(
    "names", ["{0: 'cat'", "5", "'cat'", "{0: 'a', 'b': 'c'}", "{0: open('x')}", "(" * 5000, "[" * 300 + "]" * 300]
)
def test_embedded_names_that_cannot_be_read_are_an_error(nets, names: str) -> None:
    assert "Write `classes` in its card" in refused(nets.constant(yolo_arrays(), metadata={"names": names}))


def test_a_labels_file_that_is_not_text_is_named(nets) -> None:
    path = nets.constant(yolo_arrays())
    (path.parent / "labels.txt").write_bytes(b"\xff\xfec\x00a\x00t\x00")
    assert "labels.txt: cannot be read as class names, one a line" in refused(path)


def test_fewer_names_than_classes_are_refused(nets) -> None:
    text = refused(nets.constant(yolo_arrays(), metadata={"names": "['cat', 'dog']"}))
    assert "the network has 3 classes but 2 names are given (cat, dog, ...). Correct `classes` in constant.toml" in text


@pytest.mark.parametrize("task", ["classify", "pose", "obb"])
def test_an_export_for_another_task_is_refused(nets, task: str) -> None:
    text = refused(nets.constant({"output0": np.zeros((1, 84, 100), np.float32)}, metadata={"task": task}))
    assert f'exported for the task "{task}". Export a segmentation model or a detector' in text


@pytest.mark.parametrize(("shape", "role"), [((1, 84, 8400), "predictions"), ((1, 300, 6), "detections")])
def test_an_ultralytics_detector_needs_no_card(nets, shape: tuple[int, ...], role: str) -> None:
    names = str({number: f"thing {number}" for number in range(80)})
    card = load_model(nets.constant({"output0": np.zeros(shape, np.float32)}, metadata={"task": "detect", "names": names})).card
    assert (card.family, card.outputs) == ("boxes", {role: "output0"})
    assert card.things == card.classes
    assert (card.input.fit, card.input.std) == ("letterbox", (255.0, 255.0, 255.0))


def test_rows_of_unknown_meaning_are_not_guessed(nets) -> None:
    assert "unsupported outputs: output0" in refused(nets.constant({"output0": np.zeros((1, 84, 8400), np.float32)}))


@pytest.mark.parametrize("task", ["segment", "semantic", "image-segmentation", "semantic-segmentation"])
def test_other_words_for_segmentation_are_fine(nets, task: str) -> None:
    assert load_model(nets.semantic(metadata={"task": task})).card.family == "semantic"


def test_transposed_predictions_are_not_taken_for_thousands_of_classes(nets) -> None:
    arrays = yolo_arrays(boxes=84)
    arrays["output0"] = np.ascontiguousarray(arrays["output0"].transpose(0, 2, 1))
    assert "unsupported outputs: output0 float32[1, 84, 11]" in refused(nets.constant(arrays))


# What a semantic network says of itself


def test_logits_are_recognised_with_their_class_count(nets) -> None:
    card = load_model(nets.semantic()).card
    assert (card.family, card.outputs) == ("semantic", {"logits": "logits"})
    assert card.classes == ("class 0", "class 1", "class 2")
    assert card.things == ()
    assert (card.input.fit, card.input.layout, card.input.dtype) == ("stretch", "nchw", "float32")


@pytest.mark.parametrize("form", ["labels", "labels_nhwc", "labels_uint8"])
def test_labels_are_recognised_by_their_type(nets, form: str) -> None:
    path = nets.semantic(form=form, card=None, dtype="uint8")
    (path.parent / "labels.txt").write_text("red\ngreen\nblue\n")
    card = load_model(path).card
    assert card.outputs == {"labels": "labels"}
    assert card.classes == ("red", "green", "blue")


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
def test_the_input_is_read_from_the_graph(nets, layout: str, dtype: str) -> None:
    card = load_model(
        nets.semantic(layout=layout, dtype=dtype, card=None if dtype == "uint8" else "[input]\nmean=[1,2,3]\nstd=[4,5,6]")
    ).card
    assert (card.input.layout, card.input.dtype, card.input.size) == (layout, dtype, Size(32, 24))
    if dtype == "uint8":
        assert (card.input.mean, card.input.std) == ((0, 0, 0), (1, 1, 1))


def test_an_open_number_of_channels_is_three(nets) -> None:
    """As Hugging Face exports write it: [batch, channels, height, width], every one a name."""
    path = nets.semantic(
        channels="channels", size=("width", "height"), card="[input]\nsize_px = [32, 24]\nmean=[0,0,0]\nstd=[1,1,1]\n"
    )
    card = load_model(path).card
    assert (card.input.layout, card.input.size) == ("nchw", Size(32, 24))


def test_all_missing_facts_are_in_one_error(nets) -> None:
    text = refused(nets.semantic(form="labels", size=("width", "height"), card=None))
    assert text.startswith(f"{nets.folder / 'colours.onnx'}: facts are missing in the file. Write in ")
    assert f"Write in {nets.folder / 'colours.toml'}: " in text
    for key in ("classes = [", "input.size_px = [width, height]", "input.mean and input.std (pixel units"):
        assert key in text


def test_the_facts_named_in_the_error_are_enough(nets) -> None:
    card = '\nclasses = ["red", "green", "blue"]\n[input]\nsize_px = [32, 24]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n'
    loaded = load_model(nets.semantic(form="labels", size=("width", "height"), card=card)).card
    assert loaded.classes == ("red", "green", "blue")
    assert loaded.input.size == Size(32, 24)


def test_an_existing_card_is_the_one_to_write_in(nets) -> None:
    path = nets.semantic("model", card=None)
    (path.parent / "card.toml").write_text('name = "mine"\n')
    assert f"Write in {path.parent / 'card.toml'}: classes = [" in refused(path)


def test_a_float_input_needs_both_mean_and_std(nets) -> None:
    assert "input.mean and input.std" in refused(nets.semantic(card="[input]\nmean = [0, 0, 0]\n"))


# What cannot be used


@pytest.mark.parametrize(
    ("array", "expected_text"),
    [
        (np.zeros((1, 64, 64, 1), np.float32), "float32[1, 64, 64, 1]"),
        (np.zeros((1, 1, 64, 64), np.float32), "float32[1, 1, 64, 64]"),
        (np.zeros((1, 64, 32, 21), np.float32), "float32[1, 64, 32, 21]"),
        (np.zeros((1, 300, 64, 64), np.float32), "float32[1, 300, 64, 64]"),
        (np.zeros((1, 1000), np.float32), "float32[1, 1000]"),
        (np.zeros((1, 8400, 85), np.float32), "float32[1, 8400, 85]"),
        (np.zeros((1, 3, 64, 64), np.uint8), "uint8[1, 3, 64, 64]"),
        (np.zeros((4, 64, 64), np.int64), "int64[4, 64, 64]"),
        (np.zeros((1, 64, 64, 3), np.uint8), "uint8[1, 64, 64, 3]"),
        (np.zeros(5, np.int64), "int64[5]"),
    ],
    ids=[
        "matte",
        "one channel",
        "another aspect",
        "300 classes",
        "classifier",
        "boxes",
        "quantised",
        "batch",
        "picture",
        "vector",
    ],
)
def test_an_unsupported_output_is_refused_with_what_is_supported(nets, array: Any, expected_text: str) -> None:
    text = refused(nets.constant({"out": array}, "odd"))
    assert f"odd.onnx: unsupported outputs: out {expected_text}; supported are " in text
    assert "semantic logits [1,C,H,W]; semantic labels [1,H,W]" in text
    assert "name it in odd.toml" in text


@pytest.mark.parametrize("name", ["selfie_segmentation", "selfie_segmentation_landscape"])
def test_a_shared_matte_lacks_its_normalisation_only(shared: Path, name: str) -> None:
    text = refused(shared / "models" / "mediapipe-selfie" / f"{name}.onnx")
    assert text.endswith("toml: input.mean and input.std (pixel units; a 0..1 input is mean = [0, 0, 0], std = [255, 255, 255])")


def test_a_shared_face_detector_is_refused(shared: Path) -> None:
    text = refused(shared / "models" / "yunet" / "yunet_n_dynamic.onnx")
    assert "unsupported outputs: cls_8 " in text


@pytest.mark.parametrize(
    ("inputs", "expected_text"),
    [
        ([("a", "float32", [1, 3, 8, 8]), ("b", "float32", [1, 3, 8, 8])], "a float32[1, 3, 8, 8], b float32[1, 3, 8, 8]"),
        ([("a", "float32", [1, 4, 8, 8])], "a float32[1, 4, 8, 8]"),
        ([("a", "float32", [1, 3])], "a float32[1, 3]"),
        ([("a", "float32", [8, 3, 8, 8])], "a float32[8, 3, 8, 8]"),
    ],
    ids=["two", "four channels", "no rows", "batch of eight"],
)
def test_inputs_that_are_not_one_image_are_refused(nets, inputs: list[Any], expected_text: str) -> None:
    node = helper.make_node("Sum", [name for name, _, _ in inputs], ["logits"])
    path = nets.save("inputs", [node], inputs, [("logits", "float32", inputs[0][2])])
    assert f"must have one image input, [1,3,H,W] or [1,H,W,3]; it has: {expected_text}" in refused(path)


# Card and network against each other


@pytest.mark.parametrize(
    ("card", "says"),
    [
        (
            'family = "semantic"\noutputs = {logits = "scores"}\nclasses = ["a", "b", "c"]\n',
            'output logits = "scores", which is not in the network. It has: logits',
        ),
        (
            'classes = ["a", "b"]\n',
            "the network has 3 classes but 2 names are given (a, b, ...). Correct `classes` in colours.toml",
        ),
        ('outputs = "logits"\n', "`outputs` in its card is not a table. Write it as [outputs]"),
        ("clases = []\n", 'unknown key "clases". Did you mean "classes"?'),
        ("name = ", "colours.toml: is not valid TOML"),
    ],
)
def test_a_card_that_contradicts_the_network_is_refused(nets, card: str, says: str) -> None:
    assert says in refused(nets.semantic(card=f"{card}\n[input]\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n"))


def test_a_card_with_another_input_is_refused(nets) -> None:
    text = refused(nets.semantic(card='[input]\ntensor = "picture"\nmean = [0, 0, 0]\nstd = [255, 255, 255]\n'))
    assert 'input "picture", which is not in the network. It has: image' in text


def test_an_input_that_is_not_a_table_is_refused(nets) -> None:
    assert "`input` in its card is not a table. Write it as [input]" in refused(nets.semantic(card="input = 5\n"))


def test_a_vector_named_as_logits_is_a_card_that_loads_and_a_family_that_refuses(nets) -> None:
    """The network's shape does not tell the class count; the first frame will."""
    card = 'family = "semantic"\noutputs = {logits = "out"}\nclasses = ["a", "b"]\n[input]\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n'
    path = nets.constant({"out": np.zeros(5, np.float32)}, "vector")
    path.with_suffix(".toml").write_text(card)
    assert load_model(path).card.outputs == {"logits": "out"}


def test_the_card_wins_over_what_the_graph_says(nets) -> None:
    card = 'name = "mine"\nclasses = ["r", "g", "b"]\nthings = ["g"]\nlicence = "MIT"\n'
    card += '[input]\nchannels = "bgr"\nfit = "letterbox"\npad = 0\nmean = [1, 2, 3]\nstd = [4, 5, 6]\n'
    loaded = load_model(nets.semantic(card=card)).card
    assert (loaded.name, loaded.classes, loaded.things, loaded.licence) == ("mine", ("r", "g", "b"), ("g",), "MIT")
    assert (loaded.input.channels, loaded.input.fit, loaded.input.pad) == ("bgr", "letterbox", 0)
    assert (loaded.input.mean, loaded.input.std) == ((1, 2, 3), (4, 5, 6))


def test_a_card_that_names_the_tensors_overrules_the_embedded_task(nets) -> None:
    card = 'family = "semantic"\noutputs = {logits = "logits"}\nclasses = ["a", "b", "c"]\n' + ZERO_TO_ONE
    assert load_model(nets.semantic(card=card, metadata={"task": "depth"})).card.family == "semantic"


def test_a_model_file_called_model_is_named_after_its_folder(nets) -> None:
    assert load_model(nets.semantic("model")).card.name == nets.folder.name


def test_find_card(tmp_path: Path) -> None:
    network = tmp_path / "net.onnx"
    assert find_card(network) is None
    (tmp_path / "card.toml").write_text('file = "other.onnx"\n')
    assert find_card(network) is None
    (tmp_path / "card.toml").write_text('file = "net.onnx"\n')
    assert find_card(network) == tmp_path / "card.toml"
    (tmp_path / "net.toml").write_text("")
    assert find_card(network) == tmp_path / "net.toml"
    assert find_card(tmp_path / "model.onnx") is None
    (tmp_path / "card.toml").write_text("")
    assert find_card(tmp_path / "model.onnx") == tmp_path / "card.toml"


def test_the_fingerprint_is_checked(nets) -> None:
    path = nets.semantic()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    card = path.with_suffix(".toml")
    card.write_text(f'sha256 = "{digest.upper()}"\n' + card.read_text())
    assert load_model(path).card.sha256 == digest.upper()
    card.write_text(card.read_text().replace(digest.upper(), "0" * 64))
    with pytest.raises(ModelFileError, match=rf"SHA-256 is {digest[:12]}\.\.\., its card says 000000000000.*export it again"):
        load_model(path)


def test_a_user_s_yolo_needs_no_other_file(shared: Path, tmp_path: Path) -> None:
    """No metadata: the names are in a file beside it."""
    source = shared / "models" / "yolo11n-seg-coco" / "yolo11n-seg_coco_320.onnx"
    path = tmp_path / source.name
    shutil.copyfile(source, path)
    shutil.copyfile(source.with_name("labels.txt"), tmp_path / "labels.txt")
    card = load_model(path).card
    assert (card.family, card.classes, card.input.size) == ("yolo_seg", COCO_CLASSES, Size(320, 320))
    assert card.outputs == {"predictions": "output0", "prototypes": "output1"}
