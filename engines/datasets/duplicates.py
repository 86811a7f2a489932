"""Duplicate images, exact or nearly so. Across the split they leak evaluation images into training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import cv2
import numpy as np

from engines.types import U8, Image

LOOK_SIDE = 16
"""A look has this many bits squared."""

ALIKE_BITS = 16
"""Of 256. Measured: photos saved again (JPEG of quality 40 to 95, half to full size) differ from themselves in 3, in 14 at
the 99th percentile; true doubles among a thousand street photos in 14 and 16, all other pairs of them in 34 or more."""


def look_of(image: Image) -> U8:
    """(32,) uint8: 256 bits of a tiny grey copy, each set where the next pixel to the right is darker.

    Source: the "difference hash" of Krawetz, "Kind of Like That" (2013).
    """
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    tiny = np.asarray(cv2.resize(grey, (LOOK_SIDE + 1, LOOK_SIDE), interpolation=cv2.INTER_AREA), np.int16)
    return np.packbits(tiny[:, 1:] < tiny[:, :-1])


def same_bytes(digests: Mapping[str, bytes], held_out: frozenset[str]) -> list[str]:
    """A warning for each group of stems whose files are the same."""
    by_digest: dict[bytes, list[str]] = defaultdict(list)
    for stem, digest in digests.items():
        by_digest[digest].append(stem)
    warnings = []
    for stems in by_digest.values():
        if len(stems) > 1:
            is_leak = len({stem in held_out for stem in stems}) == 2
            leak = ", and some of them are held out: a leak" if is_leak else ""
            warnings.append(f"{', '.join(stems[:5])} are the same image, byte for byte{leak}. Keep one")
    return warnings


def alike_across(looks: Mapping[str, U8], digests: Mapping[str, bytes], held_out: frozenset[str]) -> list[str]:
    """A warning where held-out images look like training images: copies saved again, and neighbouring frames of a clip."""
    held = [stem for stem in looks if stem in held_out]
    others = [stem for stem in looks if stem not in held_out]
    if not held or not others:
        return []
    table = np.stack([looks[stem] for stem in others])
    pairs = []
    for stem in held:
        if not looks[stem].any():
            continue  # one shade all over looks like nothing
        differing_bits = np.unpackbits(table ^ looks[stem], axis=1).sum(axis=1)
        nearest = int(differing_bits.argmin())
        if differing_bits[nearest] <= ALIKE_BITS and digests[others[nearest]] != digests[stem]:
            pairs.append(f"{stem} like {others[nearest]}")
    if not pairs:
        return []
    looking = "1 held-out image looks" if len(pairs) == 1 else f"{len(pairs)} held-out images look"
    few = ", ".join(pairs[:3]) + (", ..." if len(pairs) > 3 else "")
    return [f"{looking} nearly like a training image ({few}): their scores will be too good"]
