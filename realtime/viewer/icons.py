"""Icons, each drawn from a few strokes: no files to load, sharp at any pixel ratio, independent of fonts."""

from collections.abc import Callable

from PyQt6.QtCore import QPointF, QRectF, Qt
from PyQt6.QtGui import QColor, QIcon, QPainter, QPen, QPixmap, QPolygonF

from realtime.viewer.style import ACCENT, BAD, BORDER, TEXT, blank

GRID = 24
"""Icons are drawn on a square of 24 units."""

PIXEL_RATIO = 3
"""Drawn once at three times the size on screen; Qt scales them down on coarser screens."""

Shape = tuple[str, tuple[float, ...]]

ICONS: dict[str, tuple[Shape, ...]] = {
    "open": (("line", (3, 19, 3, 5, 9, 5, 11.5, 8, 21, 8, 21, 19, 3, 19)),),
    "pause": (("fill", (7, 5, 10, 5, 10, 19, 7, 19)), ("fill", (14, 5, 17, 5, 17, 19, 14, 19))),
    "play": (("fill", (7, 4, 20, 12, 7, 20)),),
    "step": (("fill", (5, 5, 15, 12, 5, 19)), ("fill", (16.5, 5, 19, 5, 19, 19, 16.5, 19))),
    "masks": (("ring", (12, 12, 8)), ("half", (12, 12, 8))),
    "mask_style": (("ring", (9.5, 12, 6.5)), ("disc", (15.5, 12, 5.2))),
    "live_overlay": (("ring", (12, 12, 8.5)), ("line", (12, 6.8, 12, 12, 15.8, 14.2))),
    "boxes": (("line", (4, 8, 20, 8, 20, 20, 4, 20, 4, 8)), ("fill", (3.2, 3, 12, 3, 12, 8, 3.2, 8))),
    "labels": (("line", (3, 6, 14, 6, 20.5, 12, 14, 18, 3, 18, 3, 6)), ("disc", (8, 12, 1.6))),
    "trails": (("line", (4, 20, 7, 14, 13, 13, 17, 7)), ("disc", (18, 5.5, 3)), ("disc", (4, 20, 1.4))),
    "background": (
        ("disc", (12, 8.6, 3.6)),
        ("fill", (4.5, 20, 5.2, 17, 7.4, 14.8, 12, 13.8, 16.6, 14.8, 18.8, 17, 19.5, 20)),
        *(("line", numbers) for numbers in ((3, 4, 3, 11), (21, 4, 21, 11), (7, 3, 17, 3))),
    ),
    "screenshot": (("line", (8, 7, 10, 4, 14, 4, 16, 7, 21, 7, 21, 19, 3, 19, 3, 7, 8, 7)), ("ring", (12, 13, 3.6))),
    "record": (("ring", (12, 12, 8.5)), ("disc", (12, 12, 4.5))),
    "hud": (("line", (4, 20, 20, 20)), ("line", (6, 15, 6, 20)), ("line", (12, 5, 12, 20)), ("line", (18, 10, 18, 20))),
    "classes": tuple(shape for y in (6.0, 12.0, 18.0) for shape in (("disc", (4.5, y, 1.8)), ("line", (9.0, y, 21.0, y)))),
    "full_screen": (
        ("line", (4, 9, 4, 4, 9, 4)),
        ("line", (15, 4, 20, 4, 20, 9)),
        ("line", (20, 15, 20, 20, 15, 20)),
        ("line", (9, 20, 4, 20, 4, 15)),
    ),
    "help": (
        ("ring", (12, 12, 9)),
        ("line", (9.3, 9.8, 9.8, 8.2, 11.4, 7.2, 13.4, 7.5, 14.6, 9, 14.2, 10.9, 12, 12.4, 12, 14)),
        ("disc", (12, 16.8, 1.1)),
    ),
}


def icon(name: str, on_name: str | None = None) -> QIcon:
    """The icon in the text colour. While checked: the icon `on_name`, if given, in the accent colour, or red for recording."""
    result = QIcon()
    on_colour = BAD if name == "record" else ACCENT
    result.addPixmap(_draw(name, TEXT), QIcon.Mode.Normal, QIcon.State.Off)
    result.addPixmap(_draw(on_name or name, on_colour), QIcon.Mode.Normal, QIcon.State.On)
    for state in (QIcon.State.Off, QIcon.State.On):
        result.addPixmap(_draw(name, BORDER), QIcon.Mode.Disabled, state)
    return result


def swatch(red: int, green: int, blue: int) -> QIcon:
    """A rounded patch of one colour for the legend."""
    pixmap, painter = blank(GRID, GRID, PIXEL_RATIO)
    painter.setBrush(QColor(red, green, blue))
    painter.drawRoundedRect(QRectF(2, 3, 20, 18), 5, 5)
    painter.end()
    return QIcon(pixmap)


def _draw(name: str, colour: str) -> QPixmap:
    pixmap, painter = blank(GRID, GRID, PIXEL_RATIO)
    for shape, numbers in ICONS[name]:
        pen = QPen(QColor(colour), 1.9, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin)
        hollow = shape in ("line", "ring")
        painter.setPen(pen if hollow else QPen(Qt.PenStyle.NoPen))
        painter.setBrush(Qt.BrushStyle.NoBrush if hollow else QColor(colour))
        PAINTERS[shape](painter, numbers)
    painter.end()
    return pixmap


def _points(numbers: tuple[float, ...]) -> QPolygonF:
    return QPolygonF([QPointF(x, y) for x, y in zip(numbers[::2], numbers[1::2], strict=True)])


def _square(numbers: tuple[float, ...]) -> QRectF:
    x, y, radius = numbers
    return QRectF(x - radius, y - radius, 2 * radius, 2 * radius)


PAINTERS: dict[str, Callable[[QPainter, tuple[float, ...]], None]] = {
    "line": lambda painter, numbers: painter.drawPolyline(_points(numbers)),
    "fill": lambda painter, numbers: painter.drawPolygon(_points(numbers)),
    "ring": lambda painter, numbers: painter.drawEllipse(_square(numbers)),
    "disc": lambda painter, numbers: painter.drawEllipse(_square(numbers)),
    "half": lambda painter, numbers: painter.drawChord(_square(numbers), 225 * 16, 180 * 16),
}
