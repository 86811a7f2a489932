"""What is held out: as a file says, or whole sequences; and patterns that match just that."""

from __future__ import annotations

import fnmatch
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from engines.datasets.splits import patterns_for, sequences, suggest_split, torn_sequences


def matched(patterns: tuple[str, ...], stems: list[str]) -> set[str]:
    return {stem for stem in stems if any(fnmatch.fnmatchcase(stem, pattern) for pattern in patterns)}


NAMES = st.lists(st.text("ab0[*_-", min_size=1, max_size=5), min_size=1, max_size=30, unique=True)


@settings(max_examples=40, deadline=None)
@given(NAMES, st.data())
def test_patterns_match_what_is_held_and_nothing_else(stems: list[str], data: st.DataObject) -> None:
    held = set(data.draw(st.lists(st.sampled_from(stems), unique=True)))
    assert matched(patterns_for(held, stems), stems) == held


def test_a_whole_part_of_a_name_makes_the_pattern() -> None:
    stems = [f"{clip}_{number:04}" for clip in ("0001TP", "0006R0") for number in range(5)]
    assert patterns_for(stems[:5], stems) == ("0001TP_*",)
    assert patterns_for(stems[:1], stems) == ("0001TP_0000",)


def test_sequences_are_grouped_by_the_text_before_the_frame_number() -> None:
    assert sequences(["clip7_0001", "clip7_0002", "b-3"]) == {"b": ["b-3"], "clip7": ["clip7_0001", "clip7_0002"]}
    assert list(sequences(["578_frame8508", "578_frame8509"])) == ["578"]
    assert list(sequences(["bottle0001", "cup0001"])) == ["bottle", "cup"]
    assert list(sequences(["0001", "0002"])) == [""]
    assert list(sequences(["a_000000_000294_leftImg8bit", "a_000000_000576_leftImg8bit"])) == ["a_000000"]


def test_no_sequence_is_on_both_sides(tmp_path: Path) -> None:
    stems = [f"{sequence:03}_{frame:06}" for sequence in range(60) for frame in range(4)]
    split = suggest_split(tmp_path, stems)
    held = matched(split.hold_out, stems)
    assert len(held) == 24
    assert all(len(held & set(group)) in (0, 4) for group in sequences(stems).values())


def test_of_few_sequences_the_smallest_are_held_out(tmp_path: Path) -> None:
    stems = [f"{clip}_{frame:03}" for clip, count in (("a", 62), ("b", 101), ("c", 305)) for frame in range(count)]
    assert suggest_split(tmp_path, stems).hold_out == ("a_*",)


def test_without_sequences_the_end_is_held_out(tmp_path: Path) -> None:
    stems = [f"{number:03}" for number in range(40)]
    split = suggest_split(tmp_path, stems)
    assert matched(split.hold_out, stems) == set(stems[34:])
    assert "names show no sequences" in split.why
    assert suggest_split(tmp_path, stems[:3]).hold_out == ()


def test_a_list_of_names_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("003\n001\n")
    split = suggest_split(tmp_path, [f"{number:03}" for number in range(9)])
    assert (split.hold_out, split.hold_out_list, split.warnings) == ((), "val.txt", ())


def test_a_list_of_paths_is_used_as_it_is_too(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("images/003.jpg\nimages/001.jpg 1\nimages/nobody.jpg\n")
    split = suggest_split(tmp_path, [f"{number:03}" for number in range(9)])
    assert (split.hold_out, split.hold_out_list) == ((), "val.txt")
    (warning,) = split.warnings
    assert "val.txt names 1 image that does not exist, such as images/nobody.jpg" in warning


def test_a_split_that_divides_a_clip_is_reported_with_a_better_one() -> None:
    stems = [f"{clip}_{frame:03}" for clip in ("day", "night") for frame in range(20)]
    (warning,) = torn_sequences(set(stems[10:20]), stems)
    assert "10 of 10 held-out images are from sequences that are also trained on (day)" in warning
    assert 'hold_out = ["day_*"]' in warning
    assert not torn_sequences(set(stems[:20]), stems)
    assert not torn_sequences(set(stems[15:20]), stems[:20]), "a single clip has to be divided"
