"""Headless: drive a run to its end, show its progress, and sum it up."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from realtime.app import Run
from realtime.errors import SourceLostError
from realtime.flow.meter import Reading
from realtime.process.ending import Ending, orderly
from realtime.process.progress import Progress
from realtime.sinks.common.output_file import part_path
from realtime.streams.outlets import FilesOutlet
from realtime.types import Source

log = logging.getLogger(__name__)

TICK_S = 0.2
STOP_TIMEOUT_S = 1.8
"""An interrupted run must be over within two seconds."""
FILES_TIMEOUT_S = 10.0
"""Only its files get longer, where the disk or the machine is slow."""


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run went. code: 0, 1 where frames have no result or a recording lacks some, 128 + the number of a signal."""

    text: str
    code: int


def run_headless(run: Run, files: FilesOutlet, outputs: Mapping[str, Path]) -> Summary:
    """Start `run`, show its progress on stderr, wait for its end. Raises the run's first error, its files being finished.

    A signal stops it (`realtime.process.ending`). A thread that hangs in a driver is waited for no longer than `STOP_TIMEOUT_S`;
    `run.running` is then True.
    """
    started_s = time.monotonic()
    with orderly(run.stop, is_writing=lambda: files.recorder.is_writing) as ending:
        try:
            run.start()
            _follow(run, files, ending)
        except BaseException:
            run.stop()
            if not ending.requested:  # it may be what stopping does to a part that is half open
                raise
        if ending.requested:
            _wait_for_end(run, files, ending)
    if not ending.requested and not files.recorder.frames_written:
        raise SourceLostError(f"{run.stream.name}: ended without a frame, so nothing was written", "Check that it plays")
    seconds = time.monotonic() - started_s
    code = ending.code or (1 if run.stream.reading().failed or _lacks_pictures(run.stream.source) else 0)
    return Summary(_summary(run, files, outputs, seconds, ending.requested), code)


def _lacks_pictures(source: Source | None) -> bool:
    """Whether a recording has pictures that could not be used: what was made of it is incomplete. A camera may send some."""
    return source is not None and not source.is_live and bool(source.status.rejected)


def _wait_for_end(run: Run, files: FilesOutlet, ending: Ending) -> None:
    """Wait until a stopped run is over, or at least its files are complete. Reports its error: the signal is what ended it."""
    while not run.join(0.02):
        waited_s = time.monotonic() - ending.since_s
        if waited_s > (FILES_TIMEOUT_S if files.recorder.is_writing else STOP_TIMEOUT_S):
            break
    if run.error is not None:
        log.error("%s", run.error)


def _follow(run: Run, files: FilesOutlet, ending: Ending) -> None:
    """Show progress until the run is over, or asked to end."""
    # What fails at once, such as a source that does not exist, is one line without a bar around it.
    with Progress(unit="frames", delay_s=1.0) as progress:
        while not ending.requested and not run.wait(TICK_S):
            if run.error is not None:
                run.wait(STOP_TIMEOUT_S)
                raise run.error
            source = run.stream.source
            total = source.frame_count if source is not None and not source.is_live else None
            doing = f"{run.model.card.name} on {run.model.backend}" if run.model is not None else "opening"
            doing = run.inference.recovering or (trouble_of(source) if source is not None else "") or doing
            progress.show(files.recorder.frames_written, total, doing)


def trouble_of(source: Source) -> str:
    """What is wrong with a source that goes on, as a few words; empty for one that is well."""
    status = source.status
    return "" if status.state in ("connecting", "live", "ended") else f"source {status.state}"


def _summary(run: Run, files: FilesOutlet, outputs: Mapping[str, Path], seconds: float, interrupted: bool) -> str:
    reading = run.stream.reading()
    lines = []
    if run.model is not None:
        lines.append(f"model    {run.model.card.name} on {run.model.backend}")
        reasons = dict.fromkeys(run.model.refusals.values())
        for reason in reasons:  # two GPU backends lack the same GPU
            names = ", ".join(name for name, given in run.model.refusals.items() if given == reason)
            lines.append(f"         not {names}: {reason}")
        lines.append(f"input    {run.model.input}")
    if run.stream.source is not None:
        status = run.stream.source.status
        ending = "interrupted" if interrupted else status.detail or "ended"
        lines.append(f"source   {run.stream.source.name} ({ending})")
        if status.decoder not in ("", "CPU"):
            lines.append(f"decoder  {status.decoder}")
    lines.append(_rate(reading, seconds))
    # Only a live source drops frames; what an interrupted recording has left in its links was cut off.
    dropped = reading.dropped_before_model if run.stream.source is not None and run.stream.source.is_live else 0
    cut_off = reading.captured - reading.processed - reading.failed - dropped
    unwritten = reading.processed + reading.failed - files.recorder.frames_written
    ends = {"cut off": cut_off, "processed and not written": unwritten}
    counts = [f"{dropped} of {reading.captured} captured", *(f"{count} {what}" for what, count in ends.items() if count > 0)]
    lines.append(f"dropped  {', '.join(counts)}")
    if run.stream.source is not None and (rejected := run.stream.source.status.rejected):
        why = ", ".join(f"{reason} ({count})" for reason, count in rejected.items())
        lines.append(f"unusable {reading.rejected} pictures of the source: {why}")
    if run.inference.recoveries:
        lines.append(f"reopened {run.inference.recoveries} times, after the model had failed: see the log")
    if reading.failed:
        lines.append(f"failed   {reading.failed} frames have no result: {listed(run.stream.failed_frames, reading.failed)}")
    if reading.stages:
        lines.append("stage    p50 ms   p95 ms")
        lines += [f"  {name:<10}{q.p50_ms:7.2f}  {q.p95_ms:7.2f}" for name, q in reading.stages.items()]
    if run.settings.tracker != "none" and run.model is not None:
        card = run.model.card
        most_first = sorted(run.stream.counts.items(), key=lambda item: -item[1])
        counts = [f"{count:.0f} {card.class_name(class_id)}" for class_id, count in most_first]
        lines.append(f"tracks   {', '.join(counts) or 'none'}")
    if reading.cut_off[1]:
        objects, frames = reading.cut_off
        lines.append(
            f"cut off  {objects} objects in {frames} frames that had more than the {run.settings.max_objects} that are kept"
        )
    if "video" in outputs and run.stream.source is not None and (sound := run.stream.source.status.sound):
        lines.append(f"sound    not written: {sound}")
    lines += [_outcome(path, files) for path in outputs.values()]
    return "\n".join(lines)


def listed(numbers: Sequence[int], count: int) -> str:
    """Frame numbers, those that follow one another as "12-15"; numbers: the first of `count`."""
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    text = ", ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in spans)
    return text + (" ..." if count > len(numbers) else "")


def _rate(reading: Reading, seconds: float) -> str:
    """Frames, seconds and their quotient, from when the first frame goes into the model; what was before is told apart."""
    frames_s = min(seconds, reading.since_first_s)
    if not reading.processed or frames_s <= 0:
        return f"frames   {reading.processed} in {seconds:.2f} s"
    text = f"{frames_s:.3f}" if frames_s < 1 else f"{frames_s:.2f}"
    rate = reading.processed / float(text)  # as the reader would divide
    return f"frames   {reading.processed} in {text} s, {rate:.1f} FPS; {seconds - frames_s:.2f} s before the first"


def _outcome(path: Path, files: FilesOutlet) -> str:
    """What became of an output."""
    part = part_path(path)
    if part.exists():
        return f"unfinished  {path}: what was written is in {part}; run.py recover {path} finishes it"
    if not files.recorder.frames_written:
        return f"nothing  {path}: no frame was written"
    return f"written  {path}" if path.exists() else f"missing  {path}"
