"""How networks are fed: mean and std of a card, in pixel units, and what they are called."""

from collections.abc import Sequence

RANGES: dict[str, tuple[list[float], list[float]]] = {
    "0..1": ([0, 0, 0], [255, 255, 255]),
    "-1..1": ([127.5, 127.5, 127.5], [127.5, 127.5, 127.5]),
    "ImageNet's": ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
    "0..255": ([0, 0, 0], [1, 1, 1]),
}
"""Name → mean, std."""


def range_name(mean: Sequence[float], std: Sequence[float]) -> str:
    """Such as "0..1", or the numbers where they have no name."""
    for name, known in RANGES.items():
        if all(abs(a - b) < 0.51 for a, b in zip((*mean, *std), (*known[0], *known[1]), strict=True)):
            return name
    return f"mean {list(mean)}, std {list(std)}"
