"""How the window looks: colours, fonts, the style sheet, and helpers for layouts, buttons and drawn pictures."""

from typing import TypeVar

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QColor, QFont, QFontDatabase, QPainter, QPalette, QPixmap
from PyQt6.QtWidgets import QBoxLayout, QLayout, QPushButton, QWidget

BoxLayout = TypeVar("BoxLayout", bound=QBoxLayout)

BACKGROUND = "#0e1014"
SURFACE = "#171a20"
RAISED = "#252a34"
BORDER = "#2e3440"
TEXT = "#e8ebf1"
MUTED = "#9aa4b4"
ACCENT = "#4cc2ff"
GOOD = "#5dd39e"
WARNING = "#ffb454"
BAD = "#ff6b6b"

STATUS_COLOURS = {"live": GOOD, "connecting": ACCENT, "stalled": WARNING, "retrying": WARNING, "ended": MUTED}
STATUS_COLOURS |= dict.fromkeys(("frozen", "black", "undecodable"), WARNING)

STYLE_SHEET = f"""
* {{ color: {TEXT}; font-size: 13px; }}
QMainWindow, QDialog {{ background: {SURFACE}; }}
QToolTip {{ background: {RAISED}; color: {TEXT}; border: 1px solid {BORDER}; padding: 4px; }}
#bar, QStatusBar {{ background: {SURFACE}; }}
QStatusBar::item {{ border: none; }}
QStatusBar QLabel {{ padding-right: 12px; }}
QStatusBar, QStatusBar QLabel {{ color: {MUTED}; font-size: 12px; }}
QToolButton {{ background: transparent; border: none; border-radius: 6px; padding: 0; }}
QToolButton:hover {{ background: {RAISED}; }}
QToolButton:pressed, QToolButton:checked {{ background: {RAISED}; }}
QToolButton::menu-indicator {{ image: none; }}
QPushButton {{ background: {RAISED}; border: 1px solid {BORDER}; border-radius: 6px; padding: 6px 14px; }}
QPushButton:hover {{ border-color: {ACCENT}; }}
QPushButton:default {{ background: {ACCENT}; border-color: {ACCENT}; color: {BACKGROUND}; }}
QPushButton:disabled {{ color: {MUTED}; }}
QPushButton#small {{ padding: 3px 10px; font-size: 12px; }}
QMenu {{ background: {RAISED}; border: 1px solid {BORDER}; padding: 4px; }}
QMenu::item {{ padding: 6px 24px 6px 12px; border-radius: 4px; }}
QMenu::item:selected {{ background: {BORDER}; }}
QLineEdit {{ background: {BACKGROUND}; border: 1px solid {BORDER}; border-radius: 6px; padding: 5px 8px; }}
QLineEdit:focus {{ border-color: {ACCENT}; }}
QSlider::groove:horizontal {{ background: {BORDER}; height: 4px; border-radius: 2px; }}
QSlider::sub-page:horizontal {{ background: {ACCENT}; height: 4px; border-radius: 2px; }}
QSlider::handle:horizontal {{ background: {TEXT}; width: 12px; height: 12px; margin: -4px 0; border-radius: 6px; }}
QListWidget, QScrollArea, QScrollArea > QWidget > QWidget {{ background: transparent; border: none; outline: none; }}
QListWidget::indicator:unchecked {{ width: 12px; height: 12px; border: 1px solid {MUTED}; border-radius: 2px; }}
QListWidget::item {{ padding: 3px 2px; border-radius: 4px; }}
QListWidget::item:hover {{ background: {RAISED}; }}
QScrollBar:vertical {{ background: transparent; width: 8px; margin: 0; }}
QScrollBar::handle:vertical {{ background: {BORDER}; border-radius: 4px; min-height: 24px; }}
QScrollBar::add-line, QScrollBar::sub-line {{ height: 0; }}
QMainWindow::separator {{ background: {BORDER}; width: 1px; }}
#legend {{ background: {SURFACE}; }}
#card {{ background: {SURFACE}; border: 1px solid {BORDER}; border-radius: 12px; }}
#banner {{ background: {SURFACE}; border: 1px solid {BORDER}; border-radius: 10px; }}
#title {{ font-size: 16px; font-weight: 600; }}
#recording {{ background: {SURFACE}; color: {BAD}; border-radius: 8px; padding: 4px 10px; font-size: 12px; font-weight: bold; }}
#muted {{ color: {MUTED}; }}
#key {{ background: {RAISED}; border: 1px solid {BORDER}; border-radius: 4px; padding: 1px 6px; font-size: 12px; }}
"""


def dark_palette() -> QPalette:
    """For what the style sheet does not cover: file dialogs, selections, disabled text."""
    palette = QPalette()
    role = QPalette.ColorRole
    for colour, roles in {
        SURFACE: (role.Window, role.Button, role.AlternateBase),
        BACKGROUND: (role.Base, role.HighlightedText),
        RAISED: (role.ToolTipBase,),
        TEXT: (role.WindowText, role.Text, role.ButtonText, role.ToolTipText, role.BrightText),
        MUTED: (role.PlaceholderText,),
        ACCENT: (role.Highlight, role.Link),
    }.items():
        for each in roles:
            palette.setColor(each, QColor(colour))
    return palette


def small_button(text: str = "") -> QPushButton:
    """A small button that never takes the keyboard focus."""
    button = QPushButton(text)
    button.setObjectName("small")
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return button


def blank(width_px: int, height_px: int, pixel_ratio: float) -> tuple[QPixmap, QPainter]:
    """A transparent picture of this size in layout pixels, and a painter on it without a pen."""
    pixmap = QPixmap(round(width_px * pixel_ratio), round(height_px * pixel_ratio))
    pixmap.setDevicePixelRatio(pixel_ratio)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    return pixmap, painter


def filled(
    layout: BoxLayout,
    *parts: QWidget | QLayout | None,
    margins: tuple[int, int, int, int] = (0, 0, 0, 0),
    spacing: int = 0,
    stretch: QWidget | None = None,
) -> BoxLayout:
    """`layout` with these parts, None for an empty stretch. stretch: the part that takes the spare room."""
    layout.setContentsMargins(*margins)
    layout.setSpacing(spacing)
    for part in parts:
        if part is None:
            layout.addStretch()
        elif isinstance(part, QWidget):
            layout.addWidget(part)
        else:
            layout.addLayout(part)
    if stretch is not None:
        layout.setStretchFactor(stretch, 1)
    return layout


def text_font(size_px: int, *, digits: bool = False, bold: bool = False) -> QFont:
    """The system's font, at a size in layout pixels. digits: fixed pitch, so that changing figures stay in their columns."""
    kind = QFontDatabase.SystemFont.FixedFont if digits else QFontDatabase.SystemFont.GeneralFont
    font = QFontDatabase.systemFont(kind)
    font.setPixelSize(size_px)
    font.setBold(bold)
    return font
