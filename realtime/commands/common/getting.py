"""The work of `run.py models get`: a listed model is shown, accepted, downloaded, tried and kept."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from engines.models import zoo
from engines.models.collection.add import add_downloaded
from engines.models.collection.download import download
from engines.models.collection.folders import check_free, check_name
from engines.models.collection.manifest import Entry, Manifest, bundled_manifest, read_manifest
from realtime.commands.common.checking import PROGRESS_DELAY_S
from realtime.commands.common.listing import print_downloads
from realtime.commands.common.owning import keep
from realtime.errors import SettingsError
from realtime.process.progress import Progress

if TYPE_CHECKING:
    from realtime.commands.models import Get


def get(options: Get) -> int:
    """Download a model that the manifest lists, or list these models."""
    listed = read_manifest(Path(options.manifest) if options.manifest else bundled_manifest())
    if options.model is None:
        print_downloads(listed)
        return 0
    entry = listed.entry(options.model)
    name = options.name or options.model
    check_name(name)
    check_free(name)  # before the download and the question about the licence
    _show(options.model, entry)
    accept(options.model, is_accepted=options.accept_licence)
    return _download(listed, entry, name, options)


def _download(listed: Manifest, entry: Entry, name: str, options: Get) -> int:
    with Progress(name, "MB", delay_s=PROGRESS_DELAY_S) as progress:
        size_mb = entry.size_bytes / 1e6
        path = download(
            entry, listed.hosts, zoo.own_dir() / ".downloads", on_progress=lambda done: progress.show(done / 1e6, size_mb)
        )
    facts = {"description": entry.description, **entry.card, "licence": entry.licence, "source": entry.url}
    return keep(name, options.trial, lambda folder: add_downloaded(path, name, facts, folder))


def _show(name: str, entry: Entry) -> None:
    """What is about to be downloaded; a licence that people may not expect before everything else."""
    if entry.notice:
        print(f"notice   {entry.notice}")
    print(f"model    {name}: {entry.description}" if entry.description else f"model    {name}")
    print(f"from     {entry.url} ({entry.size_bytes / 1e6:.1f} MB)")
    print(f"licence  {entry.licence} {entry.licence_url}".rstrip())


def accept(name: str, *, is_accepted: bool) -> None:
    """Ask for consent. Raises SettingsError when it is not given, or there is no terminal to ask on."""
    if is_accepted:
        return
    if not sys.stdin.isatty():
        raise SettingsError(f"{name}: its licence must be accepted", "Read it, then add --accept-licence")
    sys.stdout.flush()
    try:
        answer = input("Accept this licence and download? [y/N] ")
    except EOFError:  # Ctrl-D
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise SettingsError(f"{name}: its licence was not accepted", "Nothing was downloaded")
