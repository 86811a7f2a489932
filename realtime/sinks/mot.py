"""MOTChallenge text for evaluators: a line per object and frame.

    frame, id, x, y, width, height, score, class, visibility

Frames and classes count from 1 as in MOTChallenge (so COCO's person, class id 0, is its pedestrian, 1); x and y are the top
left corner in pixels from 0. Only confirmed tracks that were seen in the frame are written, so visibility is 1: readers such as
CVAT take a box below their threshold, and thus -1 for "unknown", for occluded. The score is where MOTChallenge's results have
it; its ground truth has a flag there, 1 for a box that counts.
Source: MOT16 (Milan et al., 2016), section 4.
"""

from pathlib import Path

from realtime.sinks import StreamFacts
from realtime.sinks.common.output_file import LineFile, mend_lines
from realtime.types import Canvas, Result

SUFFIXES = (".txt", ".csv")
OPTION = "--mot"
HELP = "tracks in MOTChallenge format (.txt)"
NEEDS_TRACKS = True


class MotSink:
    """Writes the seen tracks of each result."""

    def __init__(self, path: Path) -> None:
        self._file = LineFile(path)

    def write(self, result: Result, canvas: Canvas | None) -> None:
        """Append this frame's lines, one per track. Raises SinkError once, when the disk fails."""
        frame = result.frame.index + 1
        lines = []
        for track in result.tracks or ():
            if track.row is not None:
                x, y, x_max, y_max = track.box_px.tolist()
                place = f"{x:.2f},{y:.2f},{x_max - x:.2f},{y_max - y:.2f}"
                lines.append(f"{frame},{track.id},{place},{track.score:.4f},{track.class_id + 1},1\n")
        self._file.write("".join(lines).encode("ascii"))

    def close(self) -> None:
        """Give the file its name. Raises SinkError."""
        self._file.close()


def create(path: Path, facts: StreamFacts) -> MotSink:
    """A sink for `path`; nothing is on disk until the first result."""
    return MotSink(path)


mend = mend_lines
