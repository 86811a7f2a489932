"""Which cameras Linux has, and how to find one again that was unplugged and came back under another number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from realtime.sources.common.uri import natural_key

_ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Camera:
    """A video device.

    path:      /dev/videoN.
    stable_id: what stays when the number changes: its link below /dev/v4l/by-id, else its product name; "" if unknown.
    """

    path: Path
    stable_id: str


def cameras(root: Path = _ROOT) -> list[Camera]:
    """The capture devices, in the order of their numbers; the metadata devices beside them are left out."""
    links = {link.resolve(): link.name for link in sorted((root / "dev/v4l/by-id").glob("*"))}
    found = []
    for path in sorted((root / "dev").glob("video[0-9]*"), key=natural_key):
        facts = root / "sys/class/video4linux" / path.name
        if _read(facts / "index") not in ("", "0"):
            continue
        found.append(Camera(path, links.get(path.resolve()) or _read(facts / "name")))
    return found


def find_again(camera: Camera, root: Path = _ROOT) -> Camera | None:
    """The same camera as it is now, or None while it is away. A number alone is no identity if the name differs."""
    now = cameras(root)
    if not camera.stable_id:
        return next((other for other in now if other.path == camera.path), None)
    same = [other for other in now if other.stable_id == camera.stable_id]
    return next((other for other in same if other.path == camera.path), same[0] if same else None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
