"""InputFit: the size of a run's network input. "auto" leaves out the padding around the pictures of all its streams.

The first pictures decide. When others come that this input would shrink, it grows to what both need, and at the second such
change to the model's own size, which fits any: however often a camera changes, the engine is opened anew twice at most.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from engines.backends import EngineOptions
from engines.models.card import InputSpec, ModelCard
from engines.models.fitting import Fitting
from engines.models.model import Model
from engines.models.sizing import content_of, size_option, tight_size
from engines.pictures.raw import PictureLike, as_image, size_of
from engines.types import Image, Size

MOST_CHANGES = 2

PATIENCE_S = 3.0
"""For the first pictures, with the model's opening waiting. A camera that takes longer gets the model's own size first."""


@dataclass(frozen=True, slots=True)
class InputNote:
    """The size of the input that runs. reason: for it, in words; is_tight: padding was cut away."""

    size: Size
    reason: str = ""
    is_tight: bool = False

    def __str__(self) -> str:
        return f"{size_option(self.size)}{f': {self.reason}' if self.reason else ''}"

    @property
    def short(self) -> str:
        """For a narrow panel."""
        return f"{size_option(self.size)}{', padding left out' if self.is_tight else ''}"


class InputFit:
    """Of one run. Used on its inference thread."""

    def __init__(self, options: EngineOptions) -> None:
        self._is_automatic = options.input_px == "auto" and not options.trust
        self._own: InputSpec | None = None
        """The model's; None until a model is known that may have another size."""
        self._content: Size | None = None
        """What pictures have filled of it so far; None before the first."""
        self._first_size: Size | None = None
        self._fitting: Fitting | None = None
        self._changes = 0

    def apply(self, model: Model, first_pictures: Callable[[float], Sequence[Image]]) -> Model:
        """The model with the input size to open it at. first_pictures: waits so many seconds for one of each stream."""
        if not self._is_automatic or model.card.input.fit == "stretch" or model.card.side_inputs:
            return model
        if self._own is None:
            self._own = model.card.input
            pictures = first_pictures(PATIENCE_S)
            for picture in pictures:
                self._widen(self._own, picture)
            if pictures:
                self._fit(pictures[0])
        return replace(model, fitting=self._fitting)

    def outgrown(self, pictures: Sequence[PictureLike], running: Size) -> bool:
        """Whether the engine is to be opened again, as one of these pictures needs another input than that of size `running`."""
        own, is_first = self._own, self._content is None
        if own is None or self._changes == MOST_CHANGES:
            return False
        for picture in pictures:
            wanted = self._widen(own, picture)
        if is_first:  # until now it ran at the model's own size
            self._fit(as_image(pictures[0]))
            return wanted != running
        if wanted.width <= running.width and wanted.height <= running.height:
            return False
        self._changes += 1
        self._fitting = None
        if self._changes < MOST_CHANGES:
            self._fit(as_image(pictures[0]))
        return True

    def note(self, card: ModelCard) -> InputNote:
        """Why the engine that is open has the input that it has."""
        running, own, content = card.input.size, self._own, self._content
        if own is None or content is None:
            return InputNote(running)
        if running != own.size:
            around = f" around {self._first_size}" if not self._changes else ""
            return InputNote(running, f"the padding{around} is left out ({size_option(own.size)} with it)", is_tight=True)
        tight = tight_size(own, content)
        padding = 1 - tight.width * tight.height / (own.size.width * own.size.height)
        reason = self._fitting.refused if self._fitting is not None else ""
        if self._changes == MOST_CHANGES:
            reason = "the pictures change their shape"
        return InputNote(running, f"{padding:.0%} of it is padding, as {reason}" if padding and reason else "")

    def _widen(self, own: InputSpec, picture: PictureLike) -> Size:
        """Take a picture's size in; the input's that all need."""
        size = size_of(picture)
        self._first_size = self._first_size or size
        content = content_of(own, size)
        before = self._content or content
        self._content = Size(max(before.width, content.width), max(before.height, content.height))
        return tight_size(own, self._content)

    def _fit(self, picture: Image) -> None:
        assert self._own is not None, "known since the model was opened"
        assert self._content is not None, "known with the first picture"
        fitting = Fitting(self._own, self._content, picture)
        self._fitting = fitting if fitting.sizes else None
