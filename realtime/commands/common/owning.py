"""The work of `run.py models` with the user's own models: add, verify, remove."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engines.backends import check_backend
from engines.building.frames import real_frames
from engines.errors import ModelFileError
from engines.models import zoo
from engines.models.collection.add import add_file
from engines.models.collection.folders import fault_of, name_for, new_model, remove_model
from engines.models.model import Model
from realtime.commands.common.checking import write_png
from realtime.commands.common.listing import print_card
from realtime.commands.common.trying import trial_frames, try_model
from realtime.errors import SettingsError

if TYPE_CHECKING:
    from realtime.commands.models import Add, TrialOptions

OUT = Path("out")


def add(options: Add) -> int:
    """Give an ONNX file a name."""
    path = Path(options.file).expanduser()
    name = options.name or name_for(path)
    card_path = Path(options.card).expanduser() if options.card else None
    classes = options.classes
    keys = {"classes": classes if isinstance(classes, str) else list(classes)} if classes else {}
    preview_path = check_trial(name, options.trial)
    return keep(name, options.trial, preview_path, lambda folder: add_file(path, name, folder, card_path, keys))


def verify(model: str | None) -> int:
    """Compare one model's file, or all of them, with the cards. Raises ModelFileError when one differs."""
    faults = {name: fault_of(name) for name in ([model] if model else zoo.names())}
    for name, fault in faults.items():
        print(f"{name:<24}{fault or 'matches its card'}")
    bad = [name for name, fault in faults.items() if fault]
    if bad:
        what = f"{len(bad)} of {len(faults)} models differ from their cards: {', '.join(bad)}"
        raise ModelFileError(what, "Get or add them again")
    return 0


def remove(model: str) -> int:
    """Delete one of the user's own models."""
    print(f"removed  {remove_model(model)}")
    return 0


def check_trial(name: str, options: TrialOptions) -> Path:
    """The path of the preview. Raises what is wrong with the options of a trial, before there is a model to try."""
    preview_path = Path(options.preview or OUT / f"{name}-preview.png")
    if preview_path.suffix.lower() != ".png":
        raise SettingsError(f"--preview {preview_path}: not a .png file")
    check_backend(options.backend)
    if options.frames:
        real_frames(Path(options.frames), 1)
    return preview_path


def keep(name: str, options: TrialOptions, preview_path: Path, fill: Callable[[Path], Model]) -> int:
    """Let `fill` put a model into a new folder, try it, print its card, and keep it as `name`. After an error nothing stays.

    preview_path: from `check_trial`.
    """
    with new_model(name) as folder:
        model = fill(folder)
        trial = try_model(model, trial_frames(model.card, options.frames), options.backend)
        write_png(preview_path, trial.preview, "Name another file with --preview")
    kept = zoo.find(name)
    print_card(kept.card, kept.path, model.assumed)
    print(f"ran      {trial.ms:.1f} ms per frame on {trial.description}")
    doubt = " (is the card right about mean, std and channels?)" if trial.found == "nothing" else ""
    print(f"found    {trial.found}, in {trial.frames} frames{doubt}")
    assumed = f"; assumed: {', '.join(model.assumed)}" if model.assumed else ""
    print(f"preview  {preview_path}{assumed}")
    print(f"\nAdded: use it with --model {name}. If the picture is wrong, remove the model, write the missing facts (mean, std,")
    print("channels, classes ...) into a card next to the file (docs/models.md), and add it again.")
    return 0
