"""The legend of classes: a colour, a name and a check mark for each."""

from PyQt6.QtCore import QSize, Qt, pyqtSignal
from PyQt6.QtGui import QColor
from PyQt6.QtWidgets import QDockWidget, QHBoxLayout, QLabel, QLineEdit, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from realtime.sessions.session import SessionState
from realtime.viewer.icons import swatch
from realtime.viewer.style import MUTED, TEXT, filled, small_button

WIDTH_PX = 208

SEARCH_FROM = 16
"""From this many classes on there is a search field."""


class LegendDock(QDockWidget):
    """Lists the model's classes; unchecked ones are not drawn."""

    changed = pyqtSignal(frozenset)
    """The user changed a check mark: the ids of all hidden classes."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Classes", parent)
        self.setFeatures(QDockWidget.DockWidgetFeature.NoDockWidgetFeatures)
        self.setTitleBarWidget(QWidget(self))  # empty: the header below has the title and the buttons in one row
        self._table: tuple[object, ...] = ()
        self.list = QListWidget()
        self.list.setIconSize(QSize(16, 16))
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.setSelectionMode(QListWidget.SelectionMode.NoSelection)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.itemChanged.connect(lambda _item: self.changed.emit(self.hidden_classes()))
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search…")
        self.search.setClearButtonEnabled(True)
        self.search.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.search.textChanged.connect(self._filter)
        self.search.returnPressed.connect(self.search.clearFocus)
        self.all_button, self.none_button = small_button("All"), small_button("None")
        self.all_button.clicked.connect(lambda: self._set_all(True))
        self.none_button.clicked.connect(lambda: self._set_all(False))
        self.setWidget(self._lay_out())

    def show_classes(self, state: SessionState, hidden: frozenset[int]) -> None:
        """Rebuild the list if the classes have changed, and set the check marks. Does not emit `changed`."""
        self.list.blockSignals(True)
        table = (state.classes, state.colours, state.shown_classes)
        if table != self._table:
            self._table = table
            self._fill(state)
        for item in self._items():
            _set_mark(item, _class_id(item) not in hidden)
        self.list.blockSignals(False)

    def hidden_classes(self) -> frozenset[int]:
        """The ids of the unchecked classes."""
        return frozenset(_class_id(item) for item in self._items() if item.checkState() == Qt.CheckState.Unchecked)

    def _fill(self, state: SessionState) -> None:
        self.list.clear()
        for class_id in state.shown_classes:
            item = QListWidgetItem(state.classes[class_id], self.list)
            if state.colours:
                item.setIcon(swatch(*state.colours[class_id]))
            item.setData(Qt.ItemDataRole.UserRole, class_id)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
            item.setToolTip(state.classes[class_id])
        self.search.clear()
        self.search.setVisible(len(state.shown_classes) >= SEARCH_FROM)

    def _items(self) -> list[QListWidgetItem]:
        return [item for i in range(self.list.count()) if (item := self.list.item(i)) is not None]

    def _filter(self, text: str) -> None:
        for item in self._items():
            item.setHidden(text.casefold() not in item.text().casefold())

    def _set_all(self, visible: bool) -> None:
        """Set every mark that the search has not filtered out, and emit `changed` once."""
        self.list.blockSignals(True)
        for item in self._items():
            if not item.isHidden():
                _set_mark(item, visible)
        self.list.blockSignals(False)
        self.changed.emit(self.hidden_classes())

    def _lay_out(self) -> QWidget:
        header = filled(QHBoxLayout(), QLabel("Classes"), None, self.all_button, self.none_button, spacing=6)
        body = QWidget()
        body.setObjectName("legend")
        body.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        body.setFixedWidth(WIDTH_PX)
        filled(QVBoxLayout(body), header, self.search, self.list, margins=(12, 10, 8, 8), spacing=8, stretch=self.list)
        return body


def _class_id(item: QListWidgetItem) -> int:
    return int(item.data(Qt.ItemDataRole.UserRole))


def _set_mark(item: QListWidgetItem, visible: bool) -> None:
    item.setCheckState(Qt.CheckState.Checked if visible else Qt.CheckState.Unchecked)
    item.setForeground(QColor(TEXT if visible else MUTED))
