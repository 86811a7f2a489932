"""Which images to hold out: those in a set's own val.txt, or else whole sequences, so that neighbouring frames stay together.

Two frames of one clip are nearly the same picture. A network trained on one cannot be evaluated on the other.
"""

import glob
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from engines.datasets.holding import listed_names, unknown_lines

VAL_FILE = "val.txt"

MANY_SEQUENCES = 20
"""From this number on, every tenth is held out: enough to represent the rest."""

SMALLEST_SHARE, LARGEST_SHARE = 0.10, 0.35
"""Of the images. Of few sequences, the smallest are held out until the first limit is reached, without exceeding the second."""

BLOCK_SHARE = 0.15
"""Of the images of one sequence, or of images without sequences: held out at the end."""

FEWEST = 4
"""With fewer images, nothing is held out."""

_FRAME_NUMBER = re.compile(r"(?:[_\-. ]+[A-Za-z]*)?\d+$")
_SEPARATORS = "_-. "


@dataclass(frozen=True, slots=True)
class Split:
    """hold_out, hold_out_list: for `SetSettings`. why: their origin, in words."""

    hold_out: tuple[str, ...]
    why: str
    warnings: tuple[str, ...] = ()
    hold_out_list: str = ""


def suggest_split(folder: Path, stems: Sequence[str]) -> Split:
    """What to hold out of the images with these stems. Raises DataError where there is a val.txt that cannot be read."""
    ordered = sorted(stems)
    if (folder / VAL_FILE).is_file():
        return _by_file(folder / VAL_FILE, ordered)
    return _by_sequence(ordered)


def sequences(stems: Iterable[str]) -> dict[str, list[str]]:
    """Stems by the text before their frame number ("clip7_0001" and "clip7_0002" are of "clip7"), which may be "".

    An ending that all stems share ("_leftImg8bit") is ignored.
    """
    ordered = sorted(stems)
    ending = _common_ending(ordered)
    groups: dict[str, list[str]] = defaultdict(list)
    for stem in ordered:
        groups[_FRAME_NUMBER.sub("", stem[: len(stem) - ending])].append(stem)
    return dict(groups)


def patterns_for(held: Iterable[str], stems: Sequence[str]) -> tuple[str, ...]:
    """The fewest prefixes (`clip7_*`) and names that match the stems in `held` and no other of `stems`."""
    held = set(held)
    of_prefix = Counter(stem[:length] for stem in stems for length in range(1, len(stem) + 1))
    held_of_prefix = Counter(stem[:length] for stem in held for length in range(1, len(stem) + 1))
    found: dict[str, None] = {}
    for stem in sorted(held):
        lengths = range(1, len(stem) + 1)
        # Prefixes that end with a part of the name are easiest to read; else the shortest is taken.
        for length in sorted(lengths, key=lambda length: (stem[length - 1] not in _SEPARATORS, length)):
            prefix = stem[:length]
            if of_prefix[prefix] == held_of_prefix[prefix] > 1:
                found[glob.escape(prefix) + "*"] = None
                break
        else:
            found[glob.escape(stem)] = None
    return tuple(found)


def _by_file(path: Path, stems: Sequence[str]) -> Split:
    held, strange = listed_names(path, stems)
    warnings = (unknown_lines(str(path), strange),) if strange else ()
    if not held:
        return Split((), f"none: {path.name} names no image that exists", warnings)
    return Split((), f"as in {path.name}", warnings, path.name)


def torn_sequences(held: Set[str], stems: Sequence[str]) -> list[str]:
    """A warning where a split divides the frames of one sequence although there are several sequences."""
    groups = {name: set(group) for name, group in sequences(stems).items()}
    torn = {name: group for name, group in groups.items() if name and len(group) > 2 and held & group and group - held}
    if not torn or len(groups) == 1:
        return []
    count = sum(len(held & group) for group in torn.values())
    better = _by_sequence(stems).hold_out
    instead = f". Hold out whole sequences instead: hold_out = {_as_toml(better)}" if better else ""
    return [
        f"{count} of {len(held)} held-out images are from sequences that are also trained on ({', '.join(list(torn)[:3])}): "
        f"their scores will be too good{instead}"
    ]


def _by_sequence(stems: Sequence[str]) -> Split:
    if len(stems) < FEWEST:
        return Split((), f"none: too few images to split ({len(stems)}, at least {FEWEST} are needed)")
    groups = sequences(stems)
    if len(groups) >= MANY_SEQUENCES:
        chosen = list(groups)[5::10]
        what = "images" if len(groups) == len(stems) else "sequences"
        return Split(_patterns(groups, chosen, stems), f"every tenth of {len(groups)} {what}")
    if len(groups) > 1:
        chosen = _smallest(groups, len(stems))
        return Split(_patterns(groups, chosen, stems), f"{len(chosen)} of {len(groups)} sequences, whole")
    count = max(1, round(BLOCK_SHARE * len(stems)))
    name = next(iter(groups))
    where = f'the last of one sequence, "{name}"' if name else "the last by name, since the names show no sequences"
    return Split(patterns_for(stems[-count:], stems), f"{where}: frames at the seam may be alike")


def _smallest(groups: dict[str, list[str]], image_count: int) -> list[str]:
    chosen: list[str] = []
    taken = 0
    for name, group in sorted(groups.items(), key=lambda entry: (len(entry[1]), entry[0])):
        if chosen and (taken >= SMALLEST_SHARE * image_count or taken + len(group) > LARGEST_SHARE * image_count):
            break
        chosen.append(name)
        taken += len(group)
    return sorted(chosen)


def _patterns(groups: dict[str, list[str]], chosen: Sequence[str], stems: Sequence[str]) -> tuple[str, ...]:
    return patterns_for((stem for name in chosen for stem in groups[name]), stems)


def _common_ending(stems: Sequence[str]) -> int:
    """Length of the ending that all stems share, without its digits: they number frames."""
    if len(stems) < 2:
        return 0
    backwards = zip(*(stem[:0:-1] for stem in stems), strict=False)  # each keeps its first letter
    length = sum(1 for _ in itertools.takewhile(lambda letters: len(set(letters)) == 1, backwards))
    return len(stems[0][len(stems[0]) - length :].lstrip("0123456789"))


def _as_toml(patterns: Sequence[str]) -> str:
    shown = ", ".join(f'"{pattern}"' for pattern in patterns[:6])
    return f"[{shown}{', ...' if len(patterns) > 6 else ''}]"
