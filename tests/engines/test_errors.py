"""Errors carry their parts, and print both."""

from __future__ import annotations

import pickle

import pytest

from engines.errors import CardError, SegmentationError, choices
from realtime.errors import SourceNotFoundError


@pytest.mark.parametrize("kind", [SegmentationError, CardError, SourceNotFoundError])
def test_an_error_prints_what_is_wrong_and_then_the_cure(kind: type[SegmentationError]) -> None:
    error = kind("a.toml: the key is wrong", "Write another one")
    assert (error.what, error.cure) == ("a.toml: the key is wrong", "Write another one")
    assert str(error) == "a.toml: the key is wrong. Write another one"
    assert str(kind("broken")) == "broken"


def test_an_error_keeps_its_parts_from_process_to_process() -> None:
    error = pickle.loads(pickle.dumps(SourceNotFoundError("no such file", "Check the path")))
    assert (error.what, error.cure, str(error)) == ("no such file", "Check the path", "no such file. Check the path")


def test_a_wrong_word_gets_the_nearest_or_all() -> None:
    assert choices("Rod", ("road", "people")) == 'Did you mean "road"?'
    assert choices("xyz", ("road", "people")) == "Known: road, people"
    assert choices("xyz", ()) == "Known: none"
