"""The bar under the picture: buttons for commands, and two sliders."""

from collections.abc import Mapping

from PyQt6.QtCore import QSize, Qt, pyqtSignal
from PyQt6.QtGui import QAction, QResizeEvent
from PyQt6.QtWidgets import QBoxLayout, QHBoxLayout, QLabel, QMenu, QSlider, QToolButton, QWidget

from realtime.knobs import Knobs
from realtime.viewer.icons import icon
from realtime.viewer.style import filled

ONE_ROW_PX = 930
"""Narrower than this, the sliders go under the buttons."""

NARROW_PX = 570
"""Narrower than this, the least important buttons are hidden; their keys still work."""

HIDDEN_WHEN_NARROW = ("mask_style", "background", "step", "help")

MINIMUM_PX = 440

GROUPS = (
    ("pause", "step"),
    ("masks", "mask_style", "boxes", "labels", "trails", "background", "live_overlay"),
    ("screenshot", "record"),
    ("hud", "classes", "full_screen", "help"),
)


class ControlBar(QWidget):
    """Buttons and sliders. None of them takes the keyboard focus, so that all shortcuts work."""

    def __init__(self, actions: Mapping[str, QAction], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("bar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._hidden_when_narrow: list[QToolButton] = []
        self.opacity = PercentSlider("Opacity", self)
        self.threshold = PercentSlider("Threshold", self)
        sliders = filled(QHBoxLayout(), self.opacity, self.threshold, margins=(6, 0, 0, 0), spacing=18)
        self._rows = QBoxLayout(QBoxLayout.Direction.LeftToRight, self)
        filled(self._rows, self._make_buttons(actions), sliders, margins=(8, 6, 12, 6), spacing=6)
        self._rows.setStretchFactor(sliders, 1)

    def show_knobs(self, knobs: Knobs) -> None:
        """Move the sliders to these values, without emitting `moved`."""
        self.opacity.show_fraction(knobs.opacity)
        self.threshold.show_fraction(knobs.threshold)

    def minimumSizeHint(self) -> QSize:
        """Narrower than the layout's minimum, since some buttons are hidden then."""
        return QSize(MINIMUM_PX, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        one_row = self.width() >= ONE_ROW_PX
        self._rows.setDirection(QBoxLayout.Direction.LeftToRight if one_row else QBoxLayout.Direction.TopToBottom)
        for button in self._hidden_when_narrow:
            button.setVisible(self.width() >= NARROW_PX)
        super().resizeEvent(event)

    def _make_buttons(self, actions: Mapping[str, QAction]) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(2)
        row.addWidget(self._open_button(actions))
        for group in GROUPS:
            row.addSpacing(8)
            for name in group:
                button = _button(self)
                button.setDefaultAction(actions[name])
                if name in HIDDEN_WHEN_NARROW:
                    self._hidden_when_narrow.append(button)
                row.addWidget(button)
        row.addStretch()
        return row

    def _open_button(self, actions: Mapping[str, QAction]) -> QToolButton:
        button = _button(self)
        menu = QMenu(button)
        menu.addActions([actions["open_file"], actions["open_url"]])
        button.setMenu(menu)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        button.setIcon(icon("open"))
        button.setToolTip("Open a file or a stream")
        return button


class PercentSlider(QWidget):
    """A caption, a slider from 0 to 1 and its value in per cent."""

    moved = pyqtSignal(float)
    """The user moved the slider to this value, 0..1."""

    def __init__(self, caption: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setRange(0, 100)
        self.slider.setMinimumWidth(56)
        self.slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.slider.setAccessibleName(caption)
        self._value = QLabel(self)
        self._value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._value.setFixedWidth(44)
        name = QLabel(caption, self)
        name.setObjectName("muted")
        filled(QHBoxLayout(self), name, self.slider, self._value, spacing=8, stretch=self.slider)
        self.slider.valueChanged.connect(self._on_moved)

    def show_fraction(self, fraction: float) -> None:
        """Show this value, without emitting `moved`."""
        self.slider.blockSignals(True)
        self.slider.setValue(round(100 * fraction))
        self.slider.blockSignals(False)
        self._value.setText(f"{self.slider.value()} %")

    def _on_moved(self, percent: int) -> None:
        self._value.setText(f"{percent} %")
        self.moved.emit(percent / 100)


def _button(parent: QWidget) -> QToolButton:
    button = QToolButton(parent)
    button.setFixedSize(30, 30)
    button.setIconSize(QSize(20, 20))
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return button
