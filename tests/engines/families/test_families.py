from __future__ import annotations

import pytest

from engines import families
from engines.errors import CardError
from engines.models.card import ModelCard, card_from_dict


def card(family: str) -> ModelCard:
    facts = {
        "name": "street",
        "family": family,
        "classes": ["a"],
        "outputs": {"logits": "x"},
        "input": {
            "tensor": "image",
            "size_px": [64, 64],
            "layout": "nchw",
            "dtype": "float32",
            "channels": "rgb",
            "fit": "stretch",
        },
    }
    return card_from_dict(facts, "card")


def test_the_folder_is_the_registry() -> None:
    assert {"boxes", "semantic", "yolo_seg"} <= set(families.names())


def test_an_unknown_family_is_answered_with_the_nearest() -> None:
    with pytest.raises(CardError, match=r'street: unknown family "semantics"\. Did you mean "semantic"\?'):
        families.open_family(card("semantics"))


@pytest.mark.parametrize("name", families.names())
def test_every_family_refuses_a_card_that_lacks_its_outputs(name: str) -> None:
    bare = card(name)
    facts = {field: getattr(bare, field) for field in bare.__struct_fields__} | {"outputs": {}}
    with pytest.raises(CardError, match="street: "):
        families.open_family(ModelCard(**facts))
