"""Shared by view, process, bench and the demo: settings from their options, the run over a source, and how it ends."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from weakref import WeakSet

import msgspec

from engines.backends import check_backend, check_options
from engines.models import zoo
from engines.plans.passport import TRUST_WARNING
from realtime.app import Run
from realtime.commands.common.choosing import PEOPLE, ROAD, preset_for
from realtime.commands.common.options import Running, parsed
from realtime.errors import SourceError
from realtime.process.redact import redact
from realtime.process.tuning import prepare
from realtime.sessions.headless import run_headless
from realtime.settings import Settings, load_settings
from realtime.sinks import check_outputs
from realtime.sources import Decode, Paced, first_webcam, open_source, shows_people
from realtime.streams.backdrop import open_background
from realtime.streams.outlets import CanvasFormat, FilesOutlet
from realtime.streams.recorder import recording_to
from realtime.streams.stream import StreamPlan
from realtime.tracking import open_tracker, own_settings
from realtime.types import Frame, Source, SourceStatus

log = logging.getLogger(__name__)

AUTO = "auto"
"""The source that the demo shows: the first webcam, or else DEMO_CLIP."""

DEMO_CLIP, DEMO_FILE = "sample://carphone", Path("out/demo.mp4")
DEMO_LIVE_FRAMES = 300
"""A headless demo of a camera ends after about ten seconds."""

DEMO_LEAST_PX = 768
"""The pictures of a headless demo are at least this wide, as in the window: it is made to be looked at."""


def demo() -> int:
    """The first webcam, or else a real clip: in a window where there is a display, else headless to a file."""
    from realtime.viewer.run import has_display

    if has_display():
        return run_in_window(AUTO, parsed(Running))
    log.info("No display here, so this runs headless. Looking for a camera ...")
    shown = CameraOrClip()
    source = shown.open()
    outputs = {"video": DEMO_FILE}
    check_outputs(outputs, replaces=True)
    settings = settings_of(parsed(Running), AUTO)
    frames = None if shown.why_clip else DEMO_LIVE_FRAMES
    return run_to_files(settings, lambda: source, outputs, frames, replaces=True, least_width_px=DEMO_LEAST_PX)


class CameraOrClip:
    """Opens the first webcam, or else DEMO_CLIP, and knows why."""

    def __init__(self) -> None:
        self.why_clip = ""
        """Why the clip is shown instead of a camera, and what to do, in one line. Empty until then."""

    def open(self, options: str = "", decode: Decode = "auto") -> Source:
        """options: of the clip's URI. decode: `Settings.decode`."""
        try:
            return first_webcam(decode=decode)
        except SourceError as error:
            reason = redact(str(error))
            self.why_clip = f"Sample clip: {reason}{'' if reason.endswith('.') else '.'}"
            log.info("No camera to show: %s", reason)
            log.info("Playing %s.", DEMO_CLIP)
            return open_source(f"{DEMO_CLIP}{options}")


def run_in_window(source: str, running: Running, overlay: str | None = None, *, full_screen: bool = False) -> int:
    """Show a source until its window is closed. The process's exit code."""
    from realtime.viewer.run import check_qt, run_viewer

    given, first = source, settings_of(running, source, overlay)
    zoo.locate(first.model)  # a wrong name is an error here, not a message in a window
    check_qt()
    from realtime.sessions.live import LiveSession

    prepare()
    sessions: WeakSet[LiveSession] = WeakSet()

    def open_session(source: str, wake: Callable[[], None]) -> LiveSession:
        settings = first if source == given else settings_of(running, source, overlay)
        shown = CameraOrClip()

        def opener() -> Source:
            return Paced(
                shown.open("?loop=1", settings.decode)
                if source == AUTO
                else open_source(source, waits=True, decode=settings.decode)
            )

        name = "camera or sample clip" if source == AUTO else source
        model, why = lambda: zoo.find(settings.model), lambda: shown.why_clip
        session = LiveSession(settings, name, opener, model, wake, Path("out"), why)
        sessions.add(session)
        return session

    def is_writing() -> bool:
        return any(session.is_writing for session in list(sessions))

    return run_viewer(open_session, source, title="Real-time segmentation", is_writing=is_writing, full_screen=full_screen)


def run_to_files(
    settings: Settings,
    opener: Callable[[], Source],
    paths: dict[str, Path],
    frame_limit: int | None,
    *,
    replaces: bool = False,
    least_width_px: int = 0,
) -> int:
    """Every frame of a source, or the first `frame_limit`, through a model to these files (kind of sink → path).

    replaces: files that exist; otherwise that is an error. least_width_px: pictures of smaller frames are enlarged.
    """
    prepare()
    model = zoo.find(settings.model)  # before anything starts: a bad model leaves no file and no open camera
    recording = recording_to(paths, settings.observers, replaces=replaces, encoder=settings.encoder)
    files = FilesOutlet(CanvasFormat(settings.width, least_width_px), recording, limit=frame_limit)
    limited = (lambda: Limited(opener(), frame_limit, lambda: files.is_full)) if frame_limit else opener
    run = Run(settings, lambda: model, [StreamPlan(settings, limited, [files])])
    summary = run_headless(run, files, paths)
    print(summary.text)
    return summary.code


def settings_of(running: Running, source: str, overlay: str | None = None) -> Settings:
    """The preset and the options, checked: backend, tracker and its settings exist.

    Where neither preset nor model is given, a recording is looked at: does it show people near the camera?
    """
    facts = {**running._asdict(), "overlay": overlay}
    preset, engine = facts.pop("preset"), facts.pop("engine")
    overrides = {key: value for key, value in facts.items() if value is not None}
    if engine:
        if running.backend or not preset:  # a preset may name the backend
            check_options(running.backend or "auto", engine)
        overrides["engine"] = engine
    if not preset:  # the one with a model for what the source shows
        shows = source == AUTO or shows_people(source)
        preset = PEOPLE if shows else preset_for(source) if running.model is None else ROAD
    settings = load_settings(zoo.assets_dir() / "presets", preset, overrides)
    check_backend(settings.backend)
    if settings.engine.trust:
        log.warning(TRUST_WARNING)
    if running.tracker or settings.tracker == "none":  # a preset's tracking table is for its own tracker
        tracking = own_settings(settings.tracker, settings.tracking)
        settings = msgspec.structs.replace(settings, tracking=tracking)
    open_tracker(settings.tracker, **settings.tracking)
    open_background(settings.background)
    return settings


class Limited:
    """The first `frame_limit` frames of a recording. A live source goes on until there are as many results: it drops frames."""

    def __init__(self, source: Source, frame_limit: int, is_full: Callable[[], bool]) -> None:
        """is_full: whether all results have been made."""
        self._source, self._frame_limit, self._is_full = source, frame_limit, is_full
        self.name, self.is_live, self.fps = source.name, source.is_live, source.fps
        self.frame_count: int | None = min(source.frame_count or frame_limit, frame_limit)
        self._is_cut = False

    @property
    def status(self) -> SourceStatus:
        status = self._source.status
        if not self._is_cut and not self._is_full():
            return status
        return replace(status, state="ended", detail=f"the first {self._frame_limit} {'results' if self.is_live else 'frames'}")

    def __iter__(self) -> Iterator[Frame]:
        for count, frame in enumerate(self._source, start=1):
            yield frame
            if self._is_full() if self.is_live else count == self._frame_limit:
                self._is_cut = True
                return

    def close(self) -> None:
        self._source.close()
