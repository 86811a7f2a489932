"""A small classifier as a fully convolutional network: the positions of its windows on a frame.

The classifier was trained on pictures of one size, its window. On a larger picture the same layers classify a window at every
`stride` pixels, where the stride is the product of the layers' strides, and share the work of overlapping windows (Sermanet et
al., "OverFeat", 2014; Long et al., "Fully convolutional networks", 2015).

A label belongs to a cell of stride x stride pixels, and its window is centred on the cell: rows [i s, (i + 1) s) of the frame get
the label of rows [i s - before, i s - before + window), where before = (window - stride) // 2. So the graph pads the frame by
`before` and the rest of window - stride, with copies of its outermost rows and columns; the cells then tile a frame whose sides
are multiples of the stride exactly. Where window - stride is odd, a window is half a pixel further right and down than its cell.
"""

from dataclasses import dataclass

from engines.importing import KerasImportError
from engines.types import Size

USUAL = Size(640, 360)


@dataclass(frozen=True, slots=True)
class Windows:
    """window: rows and columns of the classifier's input. stride: pixels between windows, down and across. frame: the input."""

    window: tuple[int, int]
    stride: tuple[int, int]
    frame: Size

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of labels."""
        return self.frame.height // self.stride[0], self.frame.width // self.stride[1]

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """Rows and columns to add at the top, left, bottom and right."""
        spare = [window - stride for window, stride in zip(self.window, self.stride, strict=True)]
        return spare[0] // 2, spare[1] // 2, spare[0] - spare[0] // 2, spare[1] - spare[1] // 2

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """The first row and column of a cell's window, in the padded frame."""
        return row * self.stride[0], column * self.stride[1]


def windows(window: tuple[int, int], stride: tuple[int, int], size: Size | None, where: object) -> Windows:
    """The windows over a frame of size `size`, or near 360x640. Raises KerasImportError for a frame that cannot be tiled."""
    down, across = stride
    if down > window[0] or across > window[1]:
        strides = f"its layers have a stride of {down}x{across}, more than its window of {window[0]}x{window[1]}"
        cure = "Train it with smaller strides, or larger pictures"
        raise KerasImportError(f"{where}: {strides}, so windows would leave gaps", cure)
    if size is None:
        width, height = max(1, round(USUAL.width / across)) * across, max(1, round(USUAL.height / down)) * down
        return Windows(window, stride, Size(width, height))
    near = [Size(width, height) for height in _near(size.height, down) for width in _near(size.width, across)]
    if size not in near:
        what = f"a frame of {size.height}x{size.width} (height x width) is not a multiple of the stride, {down}x{across}"
        raise KerasImportError(f"{where}: {what}", f"Choose --size {', '.join(f'{each.height}x{each.width}' for each in near)}")
    return Windows(window, stride, size)


def _near(side: int, step: int) -> list[int]:
    """The multiples of `step` around `side`, or `side` if it is one."""
    return sorted({max(step, side // step * step), -(-side // step) * step})
