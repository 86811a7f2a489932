"""Panels over the picture: the message card, the banner and the list of keys."""

from PyQt6.QtCore import QRectF, Qt, QTimer
from PyQt6.QtGui import QColor, QHideEvent, QPainter, QPaintEvent, QPen, QShowEvent
from PyQt6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QPushButton, QScrollArea, QVBoxLayout, QWidget

from realtime.viewer.commands import COMMANDS, key_names
from realtime.viewer.style import ACCENT, BORDER, filled, small_button

CARD_WIDTH_PX = 440
EDGE_PX = 16
"""Minimum distance of panels from the view's edges."""

BANNER_LINES = 3

TURN_MS = 80
KEY_COLUMNS_FROM_PX = 560


class Panel(QFrame):
    """A frame over the view, hidden at first. style: the name of its rules in the style sheet."""

    def __init__(self, view: QWidget, style: str) -> None:
        super().__init__(view)
        self.setObjectName(style)
        self._view = view
        self.hide()

    def _width_px(self) -> int:
        """The width that the view has for panels."""
        return max(0, self._view.width() - 2 * EDGE_PX)


class MessageCard(Panel):
    """A title, a text, and buttons to retry or open another source. In the middle of the view."""

    def __init__(self, view: QWidget) -> None:
        super().__init__(view, "card")
        self.spinner = Spinner(self)
        self.title = QLabel(self)
        self.title.setObjectName("title")
        self.title.setWordWrap(True)
        self.text = QLabel(self)
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.retry = QPushButton("Retry", self)
        self.retry.setDefault(True)
        self.other = QPushButton("Open another…", self)
        for button in (self.retry, self.other):
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        head = filled(QHBoxLayout(), self.spinner, self.title, spacing=12, stretch=self.title)
        buttons = filled(QHBoxLayout(), None, self.other, self.retry, spacing=12)
        self._column = filled(QVBoxLayout(self), head, self.text, buttons, margins=(20, 18, 20, 18), spacing=12)

    def show_message(self, title: str, text: str, busy: bool) -> None:
        """Show a message; with a spinner if `busy`, or else with the buttons."""
        self.title.setText(title)
        self.text.setText(text)
        self.spinner.setVisible(busy)
        self.retry.setVisible(not busy)
        self.other.setVisible(not busy)
        self.place()
        self.show()
        self.raise_()

    def place(self) -> None:
        """Move to the middle of the view, as high as the text needs."""
        width_px = min(CARD_WIDTH_PX, self._width_px())
        # The height of a wrapped text depends on the width; only the layout knows it.
        height_px = min(self._column.totalHeightForWidth(width_px), self._view.height())
        self.setGeometry((self._view.width() - width_px) // 2, (self._view.height() - height_px) // 2, width_px, height_px)


class Banner(Panel):
    """A line at the picture's lower edge, two or three where it is narrow, with a button where one is useful."""

    def __init__(self, view: QWidget) -> None:
        super().__init__(view, "banner")
        self.text = QLabel(self)
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        self.button = small_button()
        filled(QHBoxLayout(self), self.text, self.button, margins=(14, 8, 10, 8), spacing=12, stretch=self.text)
        self.text.setWordWrap(True)
        self._text = ""

    def show_message(self, text: str, colour: str, button: str = "") -> None:
        """Show a line in this colour, with a button of that text if given."""
        self._text = text
        self.text.setStyleSheet(f"color: {colour}")
        self.button.setText(button)
        self.button.setVisible(bool(button))
        self.place()
        self.show()

    def place(self) -> None:
        """Move to the lower edge of the view. A wide text is wrapped; one of more than three lines is shortened."""
        if not self._text:
            return
        metrics = self.text.fontMetrics()
        beside_px = 40 + (self.button.sizeHint().width() if self.button.text() else 0)
        room_px = max(1, self._width_px() - beside_px)
        lines = min(BANNER_LINES, -(-metrics.horizontalAdvance(self._text) // room_px))
        # Words leave a part of each line but the last empty.
        most_px = room_px if lines == 1 else room_px * BANNER_LINES - (BANNER_LINES - 1) * room_px // 4
        text = metrics.elidedText(self._text, Qt.TextElideMode.ElideRight, most_px)
        self.text.setText(text)
        width_px = min(room_px, metrics.horizontalAdvance(text) + 2)
        height_px = metrics.boundingRect(0, 0, width_px, 1000, Qt.TextFlag.TextWordWrap, text).height()
        self.text.setFixedSize(width_px, height_px)
        self.resize(self.sizeHint())
        self.move((self._view.width() - self.width()) // 2, self._view.height() - self.height() - EDGE_PX)


class HelpCard(Panel):
    """All keys, in two columns if they fit, and scrolling if they do not."""

    def __init__(self, view: QWidget) -> None:
        super().__init__(view, "card")
        title = QLabel("Keyboard shortcuts", self)
        title.setObjectName("title")
        self._grid_holder = QWidget()
        self._grid = QGridLayout(self._grid_holder)
        self._grid.setContentsMargins(0, 0, 8, 0)
        self._grid.setHorizontalSpacing(14)
        self._grid.setVerticalSpacing(7)
        self._rows = [(_key_row(key_names(command)), QLabel(command.text.rstrip("…"))) for command in COMMANDS]
        self._columns = 0
        self.area = QScrollArea(self)
        self.area.setWidgetResizable(True)
        self.area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setWidget(self._grid_holder)
        filled(QVBoxLayout(self), title, self.area, margins=(20, 16, 12, 16), spacing=12, stretch=self.area)

    def place(self) -> None:
        """Move to the middle of the view, in as many columns as fit."""
        view = self._view
        columns = 2 if view.width() >= KEY_COLUMNS_FROM_PX else 1
        if columns != self._columns:
            self._columns = columns
            self._arrange(-(-len(self._rows) // columns))
        needed = self._grid_holder.sizeHint()
        width_px = min(needed.width() + 44, self._width_px())
        height_px = min(needed.height() + 80, view.height() - 2 * EDGE_PX)
        self.setGeometry((view.width() - width_px) // 2, (view.height() - height_px) // 2, width_px, height_px)

    def _arrange(self, rows_per_column: int) -> None:
        for i, (keys, text) in enumerate(self._rows):
            column, row = divmod(i, rows_per_column)
            self._grid.addWidget(keys, row, 2 * column, Qt.AlignmentFlag.AlignLeft)
            self._grid.addWidget(text, row, 2 * column + 1)
        for row in range(len(self._rows) + 1):
            self._grid.setRowStretch(row, int(row == rows_per_column))


class Spinner(QWidget):
    """A turning arc. Its timer stops while it is hidden."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setFixedSize(22, 22)
        self._angle_deg = 0
        self._timer = QTimer(self)
        self._timer.setInterval(TURN_MS)
        self._timer.timeout.connect(self._turn)

    def showEvent(self, event: QShowEvent | None) -> None:
        self._timer.start()

    def hideEvent(self, event: QHideEvent | None) -> None:
        self._timer.stop()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        circle = QRectF(3, 3, 16, 16)
        painter.setPen(QPen(QColor(BORDER), 2.5))
        painter.drawEllipse(circle)
        painter.setPen(QPen(QColor(ACCENT), 2.5, cap=Qt.PenCapStyle.RoundCap))
        painter.drawArc(circle, -self._angle_deg * 16, 90 * 16)
        painter.end()

    def _turn(self) -> None:
        self._angle_deg = (self._angle_deg + 30) % 360
        self.update()


def _key_row(names: tuple[str, ...]) -> QWidget:
    holder = QWidget()
    keys = [QLabel(name) for name in names]
    for key in keys:
        key.setObjectName("key")
    filled(QHBoxLayout(holder), *keys, spacing=4)
    return holder
