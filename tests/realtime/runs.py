"""Runs as the command line and the window wire them, from sources and sinks in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from engines.models import zoo
from realtime.app import Run
from realtime.sessions.live import LEAST_SCREEN_PX
from realtime.settings import Settings
from realtime.streams.outlets import CanvasFormat, FilesOutlet, WindowOutlet
from realtime.streams.recorder import Recording
from realtime.streams.stream import StreamPlan


def run_of(settings: Settings, open_source: Callable[[], Any], sinks: Sequence[Any] = (), screen: Any = None) -> Run:
    """One source into these sinks and that screen."""
    return Run(settings, lambda: zoo.find(settings.model), [plan_of(settings, open_source, sinks, screen)])


def plan_of(settings: Settings, open_source: Callable[[], Any], sinks: Sequence[Any] = (), screen: Any = None) -> StreamPlan:
    format = CanvasFormat(settings.width, 0 if screen is None else LEAST_SCREEN_PX)
    recording = Recording(lambda card, source: tuple(sinks)) if sinks else None
    files = FilesOutlet(format, recording, survives_errors=screen is not None)
    return StreamPlan(settings, open_source, [files] if screen is None else [WindowOutlet(screen, format), files])


def files_of(run: Run) -> FilesOutlet:
    """The first stream's."""
    return next(outlet for outlet in run.stream.outlets if isinstance(outlet, FilesOutlet))
