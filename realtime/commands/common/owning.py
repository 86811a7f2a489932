"""What `run.py models` does with the user's own models: add, get, verify, remove."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

from engines.backends import check_backend
from engines.building.frames import real_frames
from engines.errors import ModelFileError
from engines.models import zoo
from engines.models.collection.add import add_downloaded, add_file
from engines.models.collection.download import download
from engines.models.collection.folders import new_model, remove_model
from engines.models.collection.manifest import Entry, bundled_manifest, read_manifest
from engines.models.collection.names import check_free, check_name, name_for
from engines.models.collection.verify import verify as verdict_of
from engines.models.model import Model
from realtime.commands.common.listing import print_card
from realtime.commands.common.trial import Trial, try_model
from realtime.errors import SettingsError

TRIAL_FRAMES = 4
OUT = Path("out")


def add(options: dict[str, Any]) -> int:
    """Make an ONNX file a model with a name."""
    path = Path(options["file"]).expanduser()
    name = options["name"] or name_for(path)
    card_path = Path(options["card"]).expanduser() if options["card"] else None
    return _keep(name, options, lambda folder: add_file(path, name, folder, card_path))


def get(options: dict[str, Any]) -> int:
    """Download a model that the manifest lists, or list what there is."""
    manifest = read_manifest(Path(options["manifest"]) if options["manifest"] else bundled_manifest())
    if options["model"] is None:
        for name, entry in manifest.models.items():
            print(f"{name:<24}{entry.size_bytes / 1e6:8.1f} MB  {entry.licence}")
        if not manifest.models:
            print("This version lists no downloads. run.py models add takes any .onnx file.")
        return 0
    entry = manifest.entry(options["model"])
    name = options["name"] or options["model"]
    check_name(name)
    check_free(name)  # before the download, and before anybody reads a licence
    _accept(options["model"], entry, is_accepted=options["accept_licence"])
    with _Progress(name, entry.size_bytes) as progress:
        path = download(entry, manifest.hosts, zoo.own_dir() / ".downloads", on_progress=progress.show)
    facts = {"description": entry.description, **entry.card, "licence": entry.licence, "source": entry.url}
    return _keep(name, options, lambda folder: add_downloaded(path, name, facts, folder))


def verify(options: dict[str, Any]) -> int:
    """Compare files with their cards. Raises ModelFileError when one of them is another."""
    names = [options["model"]] if options["model"] else zoo.names()
    verdicts = [verdict_of(name) for name in names]
    for verdict in verdicts:
        print(f"{verdict.name:<24}{verdict.problem or 'as its card says'}")
    bad = [verdict.name for verdict in verdicts if verdict.problem]
    if bad:
        raise ModelFileError(
            f"{len(bad)} of {len(verdicts)} models are not what their cards say: {', '.join(bad)}; get them again"
        )
    return 0


def remove(options: dict[str, Any]) -> int:
    """Delete one of the user's own models."""
    print(f"removed  {remove_model(options['model'])}")
    return 0


def _keep(name: str, options: dict[str, Any], fill: Callable[[Path], Model]) -> int:
    """Let `fill` put a model into a new folder, try it, tell what was understood, and keep it as `name`; or nothing of it all."""
    preview_path = Path(options["preview"] or OUT / f"{name}-preview.png")
    if preview_path.suffix.lower() != ".png":
        raise SettingsError(f"--preview {preview_path}: a preview is a .png file")
    check_backend(options["backend"])
    with new_model(name) as folder:
        model = fill(folder)
        frames = real_frames(Path(options["frames"]) if options["frames"] else None, TRIAL_FRAMES)
        trial = try_model(model, frames, options["backend"])
        _write_png(trial, preview_path)
    kept = zoo.find(name)
    print_card(kept.card, kept.path)
    print(f"ran      {trial.ms:.1f} ms a frame on {trial.description}")
    print(f"saw      {trial.seen}, in {len(frames)} frames{_doubt(trial)}")
    print(f"preview  {preview_path}")
    print(
        f"\nAdded: it works everywhere as --model {name}. If the picture is wrong, remove it, write what the file does not tell"
    )
    print("(mean, std, channels, classes ...) into a card beside the file (docs/models.md), and add it again.")
    return 0


def _doubt(trial: Trial) -> str:
    return " (is the card right about mean, std and channels?)" if trial.seen == "nothing" else ""


def _write_png(trial: Trial, path: Path) -> None:
    """Whole or not at all."""
    encoded, png = cv2.imencode(".png", trial.preview)
    assert encoded, "a BGR image always can be"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.stem}-", suffix=".part", delete=False) as file:
            part = Path(file.name)
            try:
                file.write(png.tobytes())
                file.close()
                part.chmod(0o644)
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise SettingsError(f"{path}: the preview cannot be written ({error.strerror}); name another with --preview") from error


def _accept(name: str, entry: Entry, *, is_accepted: bool) -> None:
    """Show the licence and ask. Raises SettingsError when it is not accepted, or nobody is there to ask."""
    print(f"model    {name}: {entry.description}" if entry.description else f"model    {name}")
    print(f"from     {entry.url} ({entry.size_bytes / 1e6:.1f} MB)")
    print(f"licence  {entry.licence} {entry.licence_url}".rstrip())
    if is_accepted:
        return
    if not sys.stdin.isatty():
        raise SettingsError(f"{name}: its licence must be accepted: read it, then add --accept-licence")
    sys.stdout.flush()
    try:
        answer = input("Accept this licence and download? [y/N] ")
    except EOFError:  # Ctrl-D: no answer is none
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise SettingsError(f"{name}: its licence was not accepted; nothing was downloaded")


class _Progress:
    """A bar on a terminal, nothing elsewhere."""

    def __init__(self, name: str, size_bytes: int) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=size_bytes, unit="B", unit_scale=True, desc=name, leave=False, disable=None)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._bar.close()

    def show(self, have_bytes: int) -> None:
        self._bar.update(have_bytes - self._bar.n)
