"""A whole bench: single parts, then both modes alternately, and the card."""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from typing import Any, cast

import msgspec

from engines.models.model import Model
from engines.segmenter import Segmenter
from engines.system.unfinished import temporary_folder
from engines.types import Image
from realtime.bench import machine
from realtime.bench.card import FORMAT, Alone, Card, EngineFacts, ModelFacts, SourceFacts, settings_facts
from realtime.bench.conditions import Watch
from realtime.bench.making import alone, mode_of, model_facts, notes_on
from realtime.bench.measuring import WARM_UP_FRAMES, Bench, Job, Repeat
from realtime.errors import SourceOpenError
from realtime.process.redact import redact
from realtime.process.version import version
from realtime.streams.fitting import InputFit, InputNote
from realtime.streams.recorder import recording_to
from realtime.types import Frame

Say = Callable[[str], None]

ALONE_FRAMES = 60
ALONE_WARM_UP = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. job: the fixed rate, without a recording. repeats: of each mode. encodes: whether a video is written.

    ready: called with the model, the first picture and `say` before the model is opened: the engine that will run.
    """

    job: Job
    repeats: int
    encodes: bool
    ready: Callable[[Model, Image, Say], EngineFacts | None] = lambda model, image, say: None


def bench(plan: Plan, say: Say, check: Callable[[Card], None] = lambda card: None) -> Card:
    """Measure, and return the card. Raises the errors of a run.

    say:   called with a line of progress from time to time.
    check: called with the card before the modes are measured; raises to end the bench.
    """
    began = datetime.now(timezone.utc)
    first, source, is_live = _first_frame(plan.job)
    engine = plan.ready(plan.job.model, first.image, say)
    if engine is not None and engine.wall_s is not None:
        say(f"built the engine in {engine.wall_s:.0f} s; from now on it is cached")
    say(f"source {source.name}, {source.size}{f', decoded by {source.decoder}' if source.decoder else ''}")
    facts, model_alone, note, takes = _model_alone(plan.job, first)
    say(f"model {facts.name} on {facts.runs_on}: {model_alone.wall_ms.p50_ms:.1f} ms per frame alone; input {note}")
    card = Card(
        format=FORMAT,
        date=began.isoformat(timespec="seconds"),
        program={"version": version(), "commit": machine.commit()},
        machine=machine.hardware(),
        versions=machine.versions(),
        model=facts,
        source=source,
        settings=settings_facts(plan.job.settings),
        method=_method(plan, is_live),
        fixed=None,
        maximum=None,
        source_alone=None if is_live else _source_alone(plan.job, takes),
        model_alone=model_alone,
        notes=(),
        engine=engine,
    )
    check(card)
    watch = Watch()
    fixed, maximum = _both_ways(plan, is_live, say, watch)
    played = f"played at {plan.job.rate_hz:g} frames per second, like a camera"
    card = msgspec.structs.replace(
        card,
        fixed=mode_of(fixed, "at the source's own rate, as it is live" if is_live else played, is_live=True),
        maximum=mode_of(maximum, "as fast as frames are processed; none is dropped", is_live=False) if maximum else None,
        conditions=watch.conditions(),
    )
    return msgspec.structs.replace(card, notes=notes_on(card))


def _method(plan: Plan, is_live: bool) -> dict[str, Any]:
    return {
        "rate_hz": None if is_live else plan.job.rate_hz,
        "seconds": plan.job.seconds,
        "repeats": plan.repeats,
        "warm_up": f"{plan.job.warm_up_s:g} s and {WARM_UP_FRAMES} frames of each repeat are not in the figures",
        "shown": "a frame counts as shown when it is handed to the screen; painting it is not part of its age",
        "encoded": plan.encodes,
        "order": "both modes alternately; each repeat opens the model again",
    }


def _both_ways(plan: Plan, is_live: bool, say: Say, watch: Watch) -> tuple[list[Repeat], list[Repeat]]:
    """Repeats at the fixed rate and at the maximum alternately, so that other programs' load affects both."""
    fixed: list[Repeat] = []
    maximum: list[Repeat] = []
    for number in range(1, plan.repeats + 1):
        for name, rate_hz, repeats in (("fixed", plan.job.rate_hz, fixed), ("maximum", None, maximum)):
            if rate_hz is None and is_live:
                continue  # a camera has its own rate
            with temporary_folder() as folder:
                recording = (
                    partial(recording_to, {"video": folder / "out.mp4"}, encoder=plan.job.settings.encoder)
                    if plan.encodes
                    else None
                )
                repeat = Bench(replace(plan.job, rate_hz=rate_hz, recording=recording), watch).measure()
            repeats.append(repeat)
            say(f"{name} {number}/{plan.repeats}: {repeat.fps:.1f} FPS, {repeat.cpu_ms_per_frame:.1f} ms of CPU per frame")
    return fixed, maximum


def _first_frame(job: Job) -> tuple[Frame, SourceFacts, bool]:
    """The source's first frame, its facts, and whether it is live."""
    source = job.open_source()
    try:
        first = next(iter(source), None)
        if first is None:
            raise SourceOpenError(f"{source.name}: has no frames, so there is nothing to measure")
        return first, SourceFacts(redact(source.name), str(first.size), source.fps, source.status.decoder), source.is_live
    finally:
        source.close()


def _source_alone(job: Job, takes: frozenset[str]) -> Alone | None:
    """The cost of reading the source's frames, as pictures that the engine takes; None where there is only one."""
    source = job.open_source()
    try:
        frames = iter(source)
        next(frames)
        return _timed(frame.as_taken(takes) for frame in frames)
    finally:
        source.close()


def _model_alone(job: Job, frame: Frame) -> tuple[ModelFacts, Alone, InputNote, frozenset[str]]:
    """The model's facts, the cost of fitting a picture to it and running it, why its input has its size, what it takes raw."""
    fit = InputFit(job.settings.engine)
    model = fit.apply(job.model, lambda limit_s: [frame.image])
    with Segmenter(model, job.settings.backend, job.settings.engine) as segmenter:
        engine = segmenter.choice.engine
        picture = cast("Image", frame.as_taken(segmenter.takes).picture)  # or raw, where the engine takes that
        for _ in range(ALONE_WARM_UP):
            engine.infer(picture)
        cost = _timed((engine.infer(picture) for _ in itertools.count()), job.seconds)
        assert cost is not None, "the iterator has no end"
        note = fit.note(segmenter.card)
        facts = model_facts(job.model, segmenter.card, segmenter.choice.backend, engine.description, note.reason)
        return facts, cost, note, segmenter.takes


def _timed(steps: Iterator[object], limit_s: float = math.inf) -> Alone | None:
    """The cost of each step of an iterator, over `ALONE_FRAMES` of them or until `limit_s`; None where it has no steps."""
    wall_ms: list[float] = []
    cpu_s, begin_s = time.process_time(), time.perf_counter()
    start_s = begin_s
    for _ in itertools.islice(steps, ALONE_FRAMES):
        end_s = time.perf_counter()
        wall_ms.append((end_s - start_s) * 1e3)
        if end_s - begin_s >= limit_s:
            break
        start_s = time.perf_counter()
    cpu_ms = (time.process_time() - cpu_s) * 1e3 / max(1, len(wall_ms))
    return alone(wall_ms, cpu_ms) if wall_ms else None
