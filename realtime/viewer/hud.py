"""The head-up display: performance figures as one small picture, drawn a few times a second and painted over each frame."""

from pathlib import PurePath

from PyQt6.QtCore import QPointF, QRectF, QSize, Qt
from PyQt6.QtGui import QColor, QFont, QFontMetrics, QPainter, QPen, QPixmap

from realtime.flow.meter import Reading
from realtime.sessions.session import SessionState
from realtime.viewer.style import MUTED, STATUS_COLOURS, TEXT, WARNING, blank, text_font

WIDTH_PX = 288
PAD_PX = 12
ROW_PX = 18
FIGURES_PX = 44
FIGURE_PX = 82
GAP_PX = 9
DIGITS_PX = 56
NAME_PX, DOT_PX = 60, 14
"""Of a fact: before its text."""

WHOLE_FROM_PX = 840
"""Width of a view from which on the whole panel covers at most a third of it."""

LEFT_OUT = ("dropped", "backend", "input")
"""Facts that are not shown over a smaller one."""

PANEL = QColor(10, 12, 16, 205)
"""Dark enough that MUTED text has a contrast of 4.5 : 1 over a white picture."""
LINE = QColor(255, 255, 255, 38)

Fact = tuple[str, str, str | None]
"""A name, a text, and the colour of a dot before the text, if any."""


def render_hud(state: SessionState, reading: Reading, pixel_ratio: float, room: QSize) -> QPixmap:
    """Draw the panel for a view of the size `room`. What does not fit is left out: the stage table first.

    Over a small picture only the figures and what the run depends on are shown, or the panel would hide what people look at.
    """
    room_px, is_small = room.height(), room.width() < WHOLE_FROM_PX
    facts = [fact for fact in _facts(state, reading) if not is_small or fact[0] not in LEFT_OUT]
    facts = _fitting(facts, room_px - 2 * PAD_PX - FIGURES_PX - GAP_PX)
    height_px = 2 * PAD_PX + FIGURES_PX + GAP_PX + ROW_PX * len(facts)
    table_px = ROW_PX * (1 + len(reading.stages)) + GAP_PX
    with_table = bool(reading.stages) and not is_small and height_px + table_px <= room_px
    height_px += table_px if with_table else 0
    pixmap, painter = blank(WIDTH_PX, height_px, pixel_ratio)
    painter.setBrush(PANEL)
    painter.drawRoundedRect(QRectF(0, 0, WIDTH_PX, height_px), 10, 10)
    sheet = Sheet(painter)
    sheet.figures(_figures(reading))
    if with_table:
        sheet.rule()
        sheet.row("stage, ms", ("p50", "p95"), heading=True)
        for name, times in reading.stages.items():
            sheet.row(name, (f"{times.p50_ms:.1f}", f"{times.p95_ms:.1f}"))
    sheet.rule()
    for fact in facts:
        sheet.fact(*fact)
    painter.end()
    return pixmap


def _figures(reading: Reading) -> tuple[tuple[str, str], ...]:
    age = reading.age
    return (
        (f"{reading.fps:.1f}", "fps model"),
        (f"{reading.shown_fps:.1f}", "fps screen"),
        (f"{age.p50_ms:.0f}" if age else "–", f"ms age, p95 {age.p95_ms:.0f}" if age else "ms age"),
    )


def _facts(state: SessionState, reading: Reading) -> list[Fact]:
    status, mask_age, selected = state.source_status, reading.mask_age, state.selected
    facts: list[Fact] = [
        ("dropped", _drops(reading), None),
        ("model", state.model or "–", None),
        ("backend", state.backend or "–", None),
        ("input", state.input or "–", None),
        ("source", (state.source if "://" in state.source else PurePath(state.source).name) or "–", None),
        ("state", " · ".join(filter(None, (status.state, status.detail))), STATUS_COLOURS.get(status.state, MUTED)),
    ]
    if state.recovering:
        facts.append(("engine", state.recovering, WARNING))
    if mask_age is not None and mask_age.p95_ms >= 1:
        facts.append(("masks", f"{mask_age.p50_ms:.0f} ms old, p95 {mask_age.p95_ms:.0f}", None))
    if selected is not None and selected.in_sight:
        score = "" if selected.score >= 1 else f" · {selected.score:.0%}"
        facts.append(("selected", f"{selected.class_name} {selected.id}{score}", None))
        facts.append(("", f"seen for {selected.age_s:.1f} s · {selected.speed_px_s:.0f} px/s", None))
    elif selected is not None:
        facts.append(("selected", f"{selected.id} · not visible", None))
    return facts


def _drops(reading: Reading) -> str:
    """Where frames were lost; the model fails rarely, and then that is said first."""
    failed = f"{reading.failed} failed · " if reading.failed else ""
    rejected = f" · {reading.rejected} unusable" if reading.rejected else ""
    return f"{failed}{reading.dropped_before_model} model · {reading.dropped_before_screen} screen{rejected}"


def _fitting(facts: list[Fact], room_px: float) -> list[Fact]:
    """The rows that fit, without the least important facts."""
    for name in ("input", "backend", "source", "model", "dropped", "state"):
        if ROW_PX * len(_rows(facts)) > room_px:
            facts = [fact for fact in facts if fact[0] != name]
    return _rows(facts)


def _rows(facts: list[Fact]) -> list[Fact]:
    """Facts of the source and the input that are too long for a row, on several, broken at spaces: nothing of them is lost."""
    metrics, rows = QFontMetrics(text_font(12)), []
    for name, text, dot in facts:
        room_px = WIDTH_PX - 2 * PAD_PX - NAME_PX - (DOT_PX if dot else 0)
        lines = [""]
        for word in text.split() if name in ("state", "input") else ():
            longer = f"{lines[-1]} {word}".strip()
            if metrics.horizontalAdvance(longer) <= room_px or not lines[-1]:
                lines[-1] = longer
            else:
                lines.append(word)
        rows += [(name, lines[0] or text, dot), *(("", line, None) for line in lines[1:])]
    return rows


class Sheet:
    """Writes rows onto the panel from top to bottom."""

    def __init__(self, painter: QPainter) -> None:
        self._painter = painter
        self._y = float(PAD_PX)
        self._label, self._digits = text_font(12), text_font(12, digits=True)

    def figures(self, figures: tuple[tuple[str, str], ...]) -> None:
        """Large numbers side by side, each above a small caption."""
        for i, (figure, caption) in enumerate(figures):
            x = PAD_PX + i * FIGURE_PX
            self._write(figure, QRectF(x, self._y, FIGURE_PX, 26), text_font(21, digits=True, bold=True), TEXT)
            self._write(caption, QRectF(x, self._y + 27, WIDTH_PX - PAD_PX - x, 15), text_font(11), MUTED)
        self._y += FIGURES_PX

    def rule(self) -> None:
        self._y += GAP_PX / 2
        self._painter.setPen(QPen(LINE, 1))
        self._painter.drawLine(QPointF(PAD_PX, self._y), QPointF(WIDTH_PX - PAD_PX, self._y))
        self._y += GAP_PX / 2

    def row(self, name: str, cells: tuple[str, ...], heading: bool = False) -> None:
        """A name, and right-aligned cells in columns of equal width."""
        cells_x = WIDTH_PX - PAD_PX - DIGITS_PX * len(cells)
        self._write(name, QRectF(PAD_PX, self._y, cells_x - PAD_PX, ROW_PX), self._label, MUTED)
        for i, cell in enumerate(cells):
            at = QRectF(cells_x + i * DIGITS_PX, self._y, DIGITS_PX, ROW_PX)
            self._write(cell, at, self._digits, MUTED if heading else TEXT, right=True)
        self._y += ROW_PX

    def fact(self, name: str, text: str, dot: str | None) -> None:
        """A name, a coloured dot if given, and a text, shortened in its middle to fit."""
        x = float(PAD_PX + NAME_PX)
        self._write(name, QRectF(PAD_PX, self._y, NAME_PX, ROW_PX), self._label, MUTED)
        if dot:
            self._painter.setPen(Qt.PenStyle.NoPen)
            self._painter.setBrush(QColor(dot))
            self._painter.drawEllipse(QPointF(x + 4, self._y + ROW_PX / 2), 4, 4)
            x += DOT_PX
        self._write(text, QRectF(x, self._y, WIDTH_PX - PAD_PX - x, ROW_PX), self._label, TEXT)
        self._y += ROW_PX

    def _write(self, text: str, at: QRectF, font: QFont, colour: str, right: bool = False) -> None:
        align = Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft
        self._painter.setFont(font)
        self._painter.setPen(QColor(colour))
        fitting = QFontMetrics(font).elidedText(text, Qt.TextElideMode.ElideMiddle, int(at.width()))
        self._painter.drawText(at, align | Qt.AlignmentFlag.AlignVCenter, fitting)
