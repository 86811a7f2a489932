"""Session: what a window needs of a running pipeline. `LiveSession` implements it; the viewer knows no more than this."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from realtime.flow.links import Latest
from realtime.flow.meter import Reading
from realtime.knobs import Knobs
from realtime.sessions.picking import Selected
from realtime.types import Canvas, SourceStatus

Phase = Literal["starting", "running", "ended", "failed"]


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session at one moment, ready to be shown.

    message: one line for people: what it is doing while starting, why it failed, how it ended; empty while running.
    warning: while running, what went wrong beside the picture, such as a recording that broke off.
    colours: one (red, green, blue) per class, the colour of its masks; empty when masks are coloured by track instead.
    shown_classes: the class ids worth a legend entry (void classes left out).
    gives_matte: the model separates foreground and background, so the background can be replaced.
    """

    phase: Phase
    message: str = ""
    warning: str = ""
    source: str = ""
    source_status: SourceStatus = field(default_factory=lambda: SourceStatus("connecting"))
    is_live: bool = True
    model: str = ""
    backend: str = ""
    input: str = ""
    """The size of the network's input, and whether padding is left out; empty while no model is open."""
    notice: str = ""
    """Work in the background, such as the build of a faster engine; empty without any."""
    why_shown: str = ""
    """Why this source is shown, and what to do, where another was wanted: a clip for want of a camera. Empty otherwise."""
    recovering: str = ""
    """What is being done, in one line, while a failed engine is opened again; empty otherwise."""
    classes: tuple[str, ...] = ()
    colours: tuple[tuple[int, int, int], ...] = ()
    shown_classes: tuple[int, ...] = ()
    gives_matte: bool = False
    paused: bool = False
    recording: Path | None = None
    """The file being recorded to, or None."""
    news: str = ""
    """The latest thing to tell once, such as a recording that is complete; empty without any."""
    waits_for_model: bool = False
    """A recording that waits for the model at each frame: with the live overlay it has hardly a newer frame to show."""
    selected: Selected | None = None
    """Facts of the selected object, if there is one."""


class Session(Protocol):
    """One pipeline from a source to the screen. Every method returns at once and may be called from the Qt thread."""

    canvas: Latest[Canvas]
    """The newest canvas; its arrival calls the `wake` the session was opened with (from another thread)."""

    @property
    def knobs(self) -> Knobs: ...

    def turn(self, **changes: Any) -> None:
        """Set the named fields of the knobs; effective with the next frame (a paused picture is redrawn)."""
        ...

    def state(self) -> SessionState:
        """The state now. Asking changes nothing."""
        ...

    def reading(self) -> Reading: ...

    def shown(self, canvas: Canvas) -> None:
        """The window has painted this canvas: the age of the frame ends here."""
        ...

    def set_paused(self, paused: bool) -> None: ...

    def step(self) -> None:
        """Let one frame through while paused (files only; ignored for live sources)."""
        ...

    def select_at(self, x: float, y: float) -> None:
        """Select the object at this pixel of the newest canvas (`knobs.selected_id`), or none where there is none."""
        ...

    def start_recording(self) -> Path:
        """Record what is shown from now on; the file's path. Raises SinkError when it cannot be written."""
        ...

    def stop_recording(self) -> Path | None:
        """Finish the recording; its path, or None when there was none."""
        ...

    def close(self) -> None:
        """End all threads; takes two seconds at the most."""
        ...


OpenSession = Callable[[str, Callable[[], None]], Session]
"""Opens a session on a source (URI or path) and a `wake` that any thread may call. Returns at once: opening a model or a
camera happens on the session's threads and shows as phase "starting". Raises SegmentationError for a URI that makes no sense."""
